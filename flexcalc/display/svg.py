"""The house style of figures: matplotlib without pyplot, as SVG that lives in a page.

Text stays text, colours become CSS variables, and ids get a prefix, so that many figures share
one page and follow its fonts and its light or dark scheme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flexcalc.display import html
from flexcalc.display.numbers import superscript
from flexcalc.display.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = (4.7, 3.2)
"""Inches: two figures of this size stand side by side on a wide page."""
WIDE = (8.6, 3.6)

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "flexcalc",
    "font.family": "sans-serif",
    "font.size": 10.5,
    # A label may come from a file, and a dollar sign in it is no formula.
    "text.parse_math": False,
    "axes.labelsize": 10.5,
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelpad": 6,
    "axes.edgecolor": LIGHT["muted"],
    "axes.linewidth": 0.8,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.9,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.size": 3.5,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.labelcolor": LIGHT["ink"],
    "legend.borderaxespad": 0,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "savefig.dpi": 160,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib with the house's settings; the user's own come back afterwards."""
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


def new_figure(size: tuple[float, float] = SMALL) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; call within `house_style`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="x")
    return figure, axes


def legend(axes: Axes, columns: int = 4) -> None:
    """A legend in a line above the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.02), ncols=columns, columnspacing=1.4)


def log_axis(axes: Axes, which: str) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", size=0)


def inlined(figure: Figure, name: str, title: str) -> str:
    """The figure as SVG for a page.

    Args:
        figure: drawn within `house_style`.
        name: prefix of all ids, unique in the page.
        title: what a screen reader says.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:)?href="#', f'href="#{name}-', svg).replace("xlink:href", "href")
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    for variable, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{variable})")
    # In a data address the line breaks are noise; elsewhere they only cost bytes.
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"base64,\s+", "base64,", svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    opening = (
        f'<svg class="plot" role="img" {box[0] if box else ""} '
        f'aria-labelledby="{name}-title"><title id="{name}-title">{html.text(title)}</title>'
    )
    return re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1).strip()


def _plain(value: float) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10{superscript(int(exponent))}"
    return power if mantissa == "1" else f"{mantissa}·{power}"
