"""Equations as MathML, which browsers draw without a script.

They stand as `$...$` in a line, or as `$$...$$` on lines of their own.
"""

from __future__ import annotations

import re

from latex2mathml.converter import convert

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]+`")
DISPLAY = re.compile(r"^\$\$\n?(.+?)\n?\$\$$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\w$])")


def with_mathml(page: str) -> str:
    """A page with its equations as MathML; what stands in code stays."""
    kept: list[str] = []

    def keep(match: re.Match) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x00"

    text = CODE.sub(keep, FENCE.sub(keep, page))
    text = DISPLAY.sub(lambda found: f"<div>{_mathml(found[1], 'block')}</div>", text)
    # In a span, as Markdown would take a line that begins with <math> for a block.
    text = INLINE.sub(lambda found: f"<span>{_mathml(found[1], 'inline')}</span>", text)
    while "\x00" in text:
        text = re.sub(r"\x00(\d+)\x00", lambda found: kept[int(found[1])], text)
    return text


def _mathml(latex: str, display: str) -> str:
    return convert(" ".join(latex.split()), display=display)
