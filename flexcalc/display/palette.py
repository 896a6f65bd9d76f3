"""The colours of a report, light and dark, in one place.

Figures are drawn with the light colours; `style.inlined` turns each into its CSS variable, so
that a figure changes with the reader's colour scheme.

The colours of curves differ for readers without one kind of cones too: by CIEDE2000, in the
simulation of Machado and others (IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009)), the first four
by 15 at least, all eight by 9, as `tests/display/test_colours.py` measures. For that they differ
in lightness too.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#fbfaf7",
    "card": "#ffffff",
    "ink": "#1c2227",
    "muted": "#5f6973",
    "rule": "#e2dfd7",
    "grid": "#eceae4",
    "model": "#1f4586",
    "reference": "#a8280f",
    "third": "#559c7e",
    "fourth": "#b873d9",
    "fifth": "#5c1f36",
    "sixth": "#d37222",
    "seventh": "#965a7b",
    "eighth": "#868c92",
    "warn": "#8a4b00",
    "warn-paper": "#fdf3e1",
}
DARK = {
    "paper": "#131619",
    "card": "#1a1e22",
    "ink": "#e7e4dd",
    "muted": "#9ba5ae",
    "rule": "#2d333a",
    "grid": "#262b31",
    "model": "#6f9fdc",
    "reference": "#d65a4a",
    "third": "#7ae8c8",
    "fourth": "#f3cf45",
    "fifth": "#b6799a",
    "sixth": "#bbb980",
    "seventh": "#776ff7",
    "eighth": "#6b7178",
    "warn": "#f2c37c",
    "warn-paper": "#2b2317",
}

SERIES = ("model", "reference", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
"""Names of the colours of curves, in order."""


def series(index: int) -> str:
    """The light colour of the curve of this index; after the eighth they begin again."""
    return LIGHT[SERIES[index % len(SERIES)]]


def css_variables() -> str:
    """Both palettes as CSS custom properties, chosen by prefers-color-scheme."""
    light, dark = (
        " ".join(f"--{name}: {colour};" for name, colour in palette.items())
        for palette in (LIGHT, DARK)
    )
    return (
        f":root {{ color-scheme: light dark; {light} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {light} }} }}\n"
    )
