"""The pieces of a page: small functions from text to HTML.

Arguments named `html` or `body` are HTML already; everything else is text and is escaped here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Self

from flexcalc.display.numbers import number
from flexcalc.display.numbers import unit as typeset
from flexcalc.display.palette import css_variables

SCRIPTS = {"viewer": "viewer.js", "explorer": "explorer.js", "copy": "copying.js"}
"""The script that a page needs for elements of a class, in the order in which they run."""


@dataclass(frozen=True)
class Card:
    """A key figure: what it is, its value and its unit."""

    label: str
    value: str
    unit: str = ""

    @classmethod
    def of(cls, label: str, value: Any, unit: str = "") -> Self:
        """The card of a number or a text; its unit is typeset."""
        return cls(label, number(value), typeset(unit))


def text(content: str) -> str:
    """Any text, safe to stand in HTML."""
    return escape(str(content), quote=True)


def paragraph(content: str, kind: str = "") -> str:
    """A paragraph of text; kind is a CSS class such as "lead" or "note"."""
    return f"<p{_class(kind)}>{text(content)}</p>"


def notes(contents: Iterable[str]) -> str:
    """Warnings, each in a box of its own."""
    return "".join(paragraph(content, "note") for content in contents)


def heading(content: str) -> str:
    """A heading inside a section."""
    return f"<h3>{text(content)}</h3>"


def subheading(content: str) -> str:
    """A heading below those of `heading`."""
    return f"<h4>{text(content)}</h4>"


def cards(items: Sequence[Card]) -> str:
    """Key figures side by side; nothing when there are none."""
    if not items:
        return ""
    rows = "".join(
        f'<li><span class="label">{text(card.label[:1].upper() + card.label[1:])}</span>'
        f'<span class="value{_size(card.value)}">{text(card.value)}</span>'
        f'<span class="unit">{text(card.unit)}</span></li>'
        for card in items
    )
    return f'<ul class="cards" style="--columns: {_columns(len(items))}">{rows}</ul>'


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str = "",
    words: int = 1,
    notes: int = 0,
    dense: bool = False,
) -> str:
    """A table whose first column names the rows; it scrolls sideways on a narrow screen.

    Args:
        head: titles of the columns.
        rows: cells each.
        caption: stands below.
        words: columns from the left that hold words.
        notes: columns from the right that hold sentences.
        dense: many columns, set closer.
    """
    last = len(head) - notes
    titles = "".join(
        f'<th scope="col"{_class("word" if 0 < place < words or place >= last else "")}>'
        f"{text(title)}</th>"
        for place, title in enumerate(head)
    )
    body = "".join(
        f'<tr><th scope="row">{text(first)}</th>'
        + "".join(
            f"<td{_class(_kind(cell, place < words, place >= last))}>{text(cell)}</td>"
            for place, cell in enumerate(rest, 1)
        )
        + "</tr>"
        for first, *rest in rows
    )
    below = paragraph(caption, "below") if caption else ""
    return (
        _scrolling(
            f"<table{_class('dense' if dense else '')}><thead><tr>{titles}</tr></thead>"
            f"<tbody>{body}</tbody></table>",
            f"Table: {caption or ', '.join(title for title in head if title)}",
        )
        + below
    )


def _scrolling(body: str, name: str) -> str:
    """Something that scrolls sideways where there is no room, with the arrow keys too."""
    label = textwrap.shorten(name, LONGEST_NAME, placeholder="...")
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{text(label)}">{body}</div>'


def figure(body: str, caption: str, numbers: str = "", wide: bool = False, title: str = "") -> str:
    """A picture with its caption and, folded away, its numbers.

    Args:
        body: HTML of the picture.
        caption: says what is compared and the units.
        numbers: HTML of a table of what is drawn.
        wide: keep it readable on a phone by letting it scroll sideways.
        title: one or two words before the caption.
    """
    inner = _scrolling(f'<div class="wide">{body}</div>', title or caption) if wide else body
    folded = details("The numbers", numbers) if numbers else ""
    lead = f"<b>{text(title)}.</b> " if title else ""
    return f"<figure>{inner}<figcaption><p>{lead}{text(caption)}</p>{folded}</figcaption></figure>"


def figures(*bodies: str) -> str:
    """Figures side by side where there is room."""
    return f'<div class="figures">{"".join(bodies)}</div>' if any(bodies) else ""


def film(tiles: Sequence[tuple[str, str, str]], marked: int | None = None) -> str:
    """Pictures in a row.

    Args:
        tiles: (HTML of a picture, first line, second line) each.
        marked: index of a tile to frame.
    """
    body = "".join(
        f"<div{_class('marked' if index == marked else '')}>{html}"
        f"<span><b>{text(first)}</b></span><span>{text(second)}</span></div>"
        for index, (html, first, second) in enumerate(tiles)
    )
    return f'<div class="film">{body}</div>'


def details(summary: str, body: str) -> str:
    """Something folded away."""
    return f"<details><summary>{text(summary)}</summary><div>{body}</div></details>"


def preformatted(content: str) -> str:
    """Text as it stands in a file."""
    return f"<pre><code>{text(content)}</code></pre>"


def section(anchor: str, title: str, body: str) -> str:
    """A part of the page that can be linked to."""
    return f'<section id="{text(anchor)}"><h2>{text(title)}</h2>{body}</section>'


def chapter(anchor: str, title: str, intro: str, body: str) -> str:
    """A part of a section that can be linked to; intro is text, and may be empty."""
    first = paragraph(intro, "lead") if intro else ""
    return f'<section class="chapter" id="{text(anchor)}">{heading(title)}{first}{body}</section>'


def links(targets: Sequence[tuple[str, str]]) -> str:
    """Links to (anchor, title) of parts of the page."""
    anchors = "".join(f'<a href="#{text(anchor)}">{text(title)}</a>' for anchor, title in targets)
    return f'<nav aria-label="Contents">{anchors}</nav>'


def in_notebook(kind: str, title: str, body: str, picture: str = "") -> str:
    """The head of a report as an output of a notebook: no script, and its own style alone.

    Args:
        kind: a word or two above the title.
        title: of the output.
        body: HTML below the title.
        picture: HTML next to the title.
    """
    style = files("flexcalc.display").joinpath("notebook.css").read_text()
    image = f'<div class="molecule">{picture}</div>' if picture else ""
    return (
        f'<div class="flexcalc"><style>\n{style}</style>'
        f'<div class="masthead"><div>{paragraph(kind, "kind")}<b>{text(title)}</b></div>{image}'
        f"</div>{body}</div>"
    )


def page(title: str, header: str, body: str, footer: str) -> str:
    """The whole page: one file, nothing fetched from anywhere, no script but what it needs.

    Args:
        title: text of the browser's tab.
        header, body, footer: HTML.
    """
    own = files("flexcalc.display")
    style = css_variables() + own.joinpath("page.css").read_text()
    script = "".join(
        f"<script>\n{own.joinpath(name).read_text()}</script>\n"
        for kind, name in SCRIPTS.items()
        if f'class="{kind}"' in body
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # An empty icon of its own keeps the browser from asking a server for one.
        '<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>{header}</header>\n<main>{body}</main>\n"
        f"<footer>{footer}</footer>\n{script}</body>\n</html>\n"
    )


LONGEST_NAME = 100
"""Characters of the name of a table or figure that a screen reader says."""

LONGEST_FIGURE = 16
"""Characters of the longest value that stands on one line of a card."""


def _size(value: str) -> str:
    """A further CSS class for a value that is too long to be set large."""
    if len(value) <= 9:
        return ""
    words = value[0].isalpha() or len(value) > LONGEST_FIGURE
    return " word" if words else " long"


def _columns(count: int) -> int:
    """Cards side by side, four to six, so that the last row is as full as can be."""
    return min((4, 5, 6), key=lambda columns: (-count % columns if count > 3 else 0, columns))


def _class(kind: str) -> str:
    return f' class="{text(kind)}"' if kind else ""


def _kind(cell: str, word: bool, note: bool) -> str:
    """Words do not wrap, sentences and long cells may; short ones are numbers."""
    if word:
        return "word"
    return "text" if note or len(cell) > 32 else ""
