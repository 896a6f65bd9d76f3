"""Tables that a reader takes along: plain text with tabs for a spreadsheet, and LaTeX.

The script is `copying.js`; `html.page` puts it in once where a page has such a table.
"""

from __future__ import annotations

from collections.abc import Sequence

from flexcalc.display import html
from flexcalc.display.numbers import MINUS, NONE, THIN

LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "Å": r"\AA{}",
    "×": r"$\times$",
}


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML of a table to copy, folded away, as text with tabs and as LaTeX."""
    shapes = (("Text with tabs", tabbed(head, rows)), ("LaTeX", latex(head, rows)))
    body = "".join(
        f'<div class="copy"><p>{html.text(name)}<button type="button">Copy</button></p>'
        f'<textarea readonly rows="6" wrap="off" spellcheck="false" '
        f'aria-label="{html.text(f"{title}, {name}")}">\n{html.text(content)}</textarea></div>'
        for name, content in shapes
    )
    return html.details(title, body)


def tabbed(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines of cells with tabs between them; numbers have a plain minus and no thin spaces."""
    return "\n".join("\t".join(_plain(cell) for cell in row) for row in (head, *rows)) + "\n"


def latex(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A tabular in the style of the booktabs package."""

    def line(row: Sequence[str]) -> str:
        return " & ".join(_escaped(_plain(cell)) for cell in row) + r" \\"

    words = sum(not _is_number(cell) for cell in rows[0]) if rows else 1
    columns = "l" * words + "r" * (len(head) - words)
    body = [line(row) for row in rows]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", line(head), r"\midrule", *body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _plain(cell: str) -> str:
    """A cell without line breaks or tabs; a dash for nothing becomes nothing."""
    flat = " ".join(str(cell).split()) if THIN not in cell else cell.replace(THIN, "")
    return "" if flat == NONE else flat.replace(MINUS, "-")


def _is_number(cell: str) -> bool:
    plain = _plain(cell)
    return not plain or plain[0].isdigit() or (plain[0] in "+-" and plain[1:2].isdigit())


def _escaped(cell: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in cell)
