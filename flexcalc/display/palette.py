"""The colours of a report, light and dark, in one place.

Figures are drawn with the light colours; `style.inlined` turns each into its CSS variable, so
that a figure changes with the reader's colour scheme.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#fbfaf7",
    "card": "#ffffff",
    "ink": "#1c2227",
    "muted": "#5f6973",
    "rule": "#e2dfd7",
    "grid": "#eceae4",
    "model": "#2c5c8f",
    "reference": "#b4512a",
    "third": "#3d7b57",
    "fourth": "#8a6d1e",
    "fifth": "#78568f",
    "sixth": "#24777c",
    "seventh": "#a4446b",
    "eighth": "#6a7681",
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
    "model": "#82b4e6",
    "reference": "#ee946c",
    "third": "#7fc49a",
    "fourth": "#d9bb62",
    "fifth": "#bd9ad6",
    "sixth": "#6dc3c7",
    "seventh": "#e58cb0",
    "eighth": "#a5b0ba",
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
