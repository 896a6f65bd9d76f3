"""The house style of figures: matplotlib without pyplot, as SVG that lives in a page.

Text stays text, colours become CSS variables, and ids get a prefix, so that many figures share
one page and follow its fonts and its light or dark scheme.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcalc.display import font, html
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


COLUMN_IN = 3.3
"""Width of a journal's column in inches, in which texts are as large relative to a figure as in one
of `SMALL` width."""
FLATTEST = 0.7
"""Least height of a figure over its width in a column, where text takes more of the room."""

AXES = "#1c2328"
"""Colour of the labels of axes in a column, next to that of ink; on a page they are muted."""

_COLUMN_RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.labelcolor": AXES,
    "axes.labelpad": 3,
    "axes.linewidth": 0.6,
    "figure.facecolor": "white",
    "grid.linewidth": 0.6,
    "xtick.color": AXES,
    "ytick.color": AXES,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.size": 2.5,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
    # Matplotlib takes the maximum number of glyphs in one font of a PDF from this setting.
    "ps.fonttype": 42,
}
"""What differs from the page in a figure for a column; its fonts are embedded in a PDF."""


@contextmanager
def house_style(column: bool = False) -> Iterator[None]:
    """Matplotlib with the house's settings; the user's own come back afterwards.

    Args:
        column: those for a column of a journal instead of those for a page.
    """
    import matplotlib

    font.register()
    family = {"font.family": font.families()}
    with matplotlib.rc_context(_RC | family | (_COLUMN_RC if column else {})):
        yield


def column_size(size: tuple[float, float]) -> tuple[float, float]:
    """Size in inches in a column of a figure that has another size on a page."""
    return COLUMN_IN, COLUMN_IN * max(size[1] / size[0], FLATTEST)


def is_small(size: tuple[float, float]) -> bool:
    """Whether a figure is the same on a page as in a column, only enlarged."""
    return size[0] == SMALL[0] and size[1] >= SMALL[1]


def saved(figure: Figure, suffix: str) -> bytes:
    """The figure as a file: svg, whose text stays text, or pdf.

    To be called within `house_style`. The same figure gives the same bytes.
    """
    buffer = io.BytesIO()
    undated = {"CreationDate": None} if suffix == "pdf" else {"Date": None}
    figure.savefig(buffer, format=suffix, metadata={**undated, "Creator": "flexcalc"})
    if suffix == "pdf":
        return buffer.getvalue()
    # Programs that open it have the complete font, if any.
    return buffer.getvalue().replace(f"'{font.SMALL}', ".encode(), b"")


def new_figure(size: tuple[float, float] = SMALL) -> tuple[Figure, Axes]:
    """A figure with one pair of axes; call within `house_style`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=False, axis="x")
    return figure, axes


def lay_out(figure: Figure) -> None:
    """Give a figure of `new_figure` room for its legend, and lay it out.

    A legend above the axes is added to the figure's height. Axes below or above others are placed
    by those, so that their labels fit in only after a few rounds.
    """
    for axes in figure.axes:
        drawn = axes.get_legend()
        box = None if drawn is None else drawn.get_window_extent()
        if box is not None and box.y0 > axes.bbox.y1:
            figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)
    engine = figure.get_layout_engine()
    if engine is None:
        return
    nested = any(axes.child_axes for axes in figure.axes)
    for _ in range(ROUNDS if nested else 1):
        before = _places(figure)
        engine.execute(figure)
        if np.abs(_places(figure) - before).max(initial=0) < 1:
            break
    figure.set_layout_engine("none")  # saving would lay it out again


def _places(figure: Figure) -> np.ndarray:
    """Edges of the axes in pixels, (axes, 4)."""
    return np.array([axes.bbox.extents for axes in figure.axes])


ROUNDS = 4
"""Maximum number of rounds of the layout of axes that hang on others; it ends when no axes move by
a pixel."""


def legend(axes: Axes, columns: int = 4, share: float = 1.0) -> None:
    """A legend above the axes, in as many columns as there is room for.

    Args:
        axes: of a figure that is not laid out yet.
        columns: at most.
        share: of the figure's width without tick labels that the axes have.
    """
    import matplotlib

    figure = axes.get_figure(root=True)
    labels = axes.get_legend_handles_labels()[1]
    if figure is None or not labels:
        return
    edge = TICK_LABELS_EM * matplotlib.rcParams["font.size"] / 72
    room = share * (figure.get_figwidth() - edge) * figure.dpi
    for count in range(min(columns, len(labels)), 0, -1):
        drawn = axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1.02), ncols=count, columnspacing=1.4
        )
        width = drawn.get_window_extent().width
        if width <= room:
            return
    for text in drawn.get_texts():  # the longest is too long for a line
        whole = text.get_text()
        most = int(len(whole) * room / max(text.get_window_extent().width + width / 10, 1))
        text.set_text(textwrap.fill(whole, max(most, SHORTEST_LINE)))


TICK_LABELS_EM = 6
"""Width of an axis' label and tick labels, in font sizes."""
SHORTEST_LINE = 12
"""Letters at which a label of a legend may be wrapped."""


def log_axis(axes: Axes, which: str) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5 of every decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", size=0)


def inlined(file: bytes, name: str, title: str) -> str:
    """An SVG file as SVG for a page.

    Args:
        file: of `saved`.
        name: prefix of all ids, unique in the page.
        title: what a screen reader says.
    """
    svg = file.decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:)?href="#', f'href="#{name}-', svg).replace("xlink:href", "href")
    svg = svg.replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    for variable, colour in (*LIGHT.items(), ("muted", AXES)):
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
