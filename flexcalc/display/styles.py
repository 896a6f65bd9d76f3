"""One look of each model on a whole page: its family's colour, a line and a mark of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from flexcalc.display import html
from flexcalc.display.palette import LIGHT, SERIES

FAMILIES = {
    "sgdml": "model",
    "gdml": "model",
    "schnet": "reference",
    "gap": "third",
    "bpnn": "fourth",
    "mace": "fifth",
    "delta": "sixth",
    "mixture": "seventh",
}
"""Colours of families, as names in the palette; others are grey."""

LINES = ("solid", "dashed", "dotted", "dashdot")
DASHES: Mapping[str, Any] = {
    "solid": "solid",
    "dashed": (0, (4.5, 2)),
    "dotted": (0, (1.2, 1.7)),
    "dashdot": (0, (6, 1.8, 1.2, 1.8)),
}
MARKS = ("o", "s", "^", "D")


class PlotStyle(TypedDict):
    """Keywords of matplotlib for a line."""

    color: str
    linestyle: Any


@dataclass(frozen=True)
class LineStyle:
    """How a model is drawn.

    Args:
        colour: name in the palette.
        line: one of LINES.
        mark: matplotlib's letter of the marker.
    """

    colour: str
    line: str = "solid"
    mark: str = "o"

    @property
    def style(self) -> PlotStyle:
        """Keywords of matplotlib for a line without marks.

        The colour is one that becomes a variable of the page.
        """
        return {"color": LIGHT[self.colour], "linestyle": DASHES[self.line]}


def line_styles(models: Iterable[tuple[str, str]]) -> dict[str, LineStyle]:
    """Looks by label of (label, family) pairs, which may come more than once.

    A row may not say its family: then the label's first known family is taken.
    """
    families: dict[str, str] = {}
    for label, family in models:
        families[label] = families.get(label) or family
    found: dict[str, LineStyle] = {}
    used: dict[str, int] = {}
    for label, family in families.items():
        colour = _colour(family) or _colour(label) or "eighth"
        place = used[colour] = used.get(colour, -1) + 1
        found[label] = LineStyle(colour, LINES[place % len(LINES)], MARKS[place % len(MARKS)])
    return found


def _colour(name: str) -> str:
    lowered = name.lower()
    # A mixture of sGDML models is a mixture.
    order = sorted(FAMILIES, key=lambda family: (family not in ("mixture", "delta"), -len(family)))
    return next((FAMILIES[family] for family in order if family in lowered), "")


def groups(names: Iterable[str]) -> dict[str, LineStyle]:
    """Looks of things that are no models, such as kinds of sampling: the palette in order."""
    return {
        name: LineStyle(SERIES[index % len(SERIES)])
        for index, name in enumerate(dict.fromkeys(names))
    }


def key(shown: Mapping[str, LineStyle], filled: bool = False, reference: str = "") -> str:
    """A legend as HTML, for all figures below it.

    Args:
        shown: by label.
        filled: patches, for bars and areas, instead of lines.
        reference: label of the reference's rings, where they are drawn.
    """
    entries = [(_swatch(look, filled), label) for label, look in shown.items()]
    if reference:
        entries.insert(0, (_swatch(LineStyle("ink", mark="ring"), filled), reference))
    body = "".join(f"<li>{mark}{html.text(label)}</li>" for mark, label in entries)
    return f'<ul class="key">{body}</ul>' if entries else ""


def _swatch(look: LineStyle, filled: bool) -> str:
    colour = f"var(--{look.colour})"
    if filled:
        inner = f'<rect x="1" y="1" width="20" height="10" rx="2" fill="{colour}"/>'
    else:
        dash = {"dashed": "9 4", "dotted": "2 3", "dashdot": "11 3 2 3"}.get(look.line, "none")
        line = f'<path d="M1 6H43" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        marks = {
            "o": f'<circle cx="22" cy="6" r="4" fill="{colour}"/>',
            "s": f'<rect x="18.4" y="2.4" width="7.2" height="7.2" fill="{colour}"/>',
            "^": f'<path d="M22 1.4L26.8 9.8H17.2Z" fill="{colour}"/>',
            "D": f'<path d="M22 1L27 6L22 11L17 6Z" fill="{colour}"/>',
            "ring": f'<circle cx="22" cy="6" r="4" fill="var(--card)" stroke="{colour}" '
            'stroke-width="1.6"/>',
        }
        inner = marks[look.mark] if look.mark == "ring" else line + marks[look.mark]
    box = 'class="patch" viewBox="0 0 22 12"' if filled else 'viewBox="0 0 44 12"'
    return f'<svg role="img" aria-hidden="true" {box}>{inner}</svg>'
