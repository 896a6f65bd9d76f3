"""Figures that compare models; each takes plain arrays and returns a `Drawing`.

None has a legend of its own: a page says once what each line is, by `styles.key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcalc.display.drawing import Drawing, drawing
from flexcalc.display.palette import LIGHT
from flexcalc.display.plots import shades
from flexcalc.display.smoothing import smooth
from flexcalc.display.styles import LineStyle
from flexcalc.display.svg import SMALL, log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = np.array([1.0, 2.0, 5.0])
"""Where an axis by `svg.log_axis` has its numbers, in every decade."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One model's values.

    Args:
        x, y: (points,), y not-a-number where there is none.
        low, high: (points,) each, the edges of a band about it, or None.
        hollow: draw its marks as rings, to tell a second curve of the same model from the first.
    """

    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    hollow: bool = False


@dataclass(frozen=True, eq=False)
class Reference:
    """What models are compared with: x and y (points,)."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """The axes that curves are drawn on.

    Args:
        labels: of the two axes.
        log: the axes to make logarithmic, such as "xy".
        level: of a dashed line across, such as chemical accuracy.
        band: shade from minus to plus this value of y, and mark zero.
        span: values that the vertical axis holds too, to be the same as another figure's.
    """

    labels: tuple[str, str]
    log: str = ""
    level: float | None = None
    band: float | None = None
    span: np.ndarray | None = None


@drawing()
def lines(
    axes: Axes,
    curves: Sequence[tuple[LineStyle, Curve]],
    frame: Frame,
    reference: Reference | None = None,
    smoothed: bool = False,
) -> None:
    """Values of several models over one quantity.

    Args:
        curves: how each looks, and what it is.
        frame: the axes.
        reference: drawn with rings over the models.
        smoothed: draw lines that do not overshoot instead of straight ones.
    """
    level, span = frame.level, frame.span
    if frame.band is not None:
        axes.axhspan(-frame.band, frame.band, color=LIGHT["rule"], alpha=0.55, linewidth=0)
        axes.axhline(0, color=LIGHT["muted"], linewidth=0.9)
    for look, curve in curves:
        _curve(axes, look, curve, smoothed)
    if reference is not None:
        axes.plot(
            reference.x, reference.y, "o", color=LIGHT["ink"], markerfacecolor="none",
            markeredgewidth=1.4, markersize=9,
        )  # fmt: skip
    if span is not None:
        axes.update_datalim([(axes.dataLim.x0, value) for value in span[np.isfinite(span)]])
    _level(axes, level)
    axes.set(xlabel=frame.labels[0], ylabel=frame.labels[1])
    axes.margins(x=0.04, y=0.07)
    for which in frame.log:
        _logarithmic(axes, which, curves, level if span is None else [level, *span])


def _curve(axes: Axes, look: LineStyle, curve: Curve, smoothed: bool) -> None:
    seen = np.isfinite(curve.x) & np.isfinite(curve.y)
    x, y = curve.x[seen], curve.y[seen]
    style = look.style
    if curve.low is not None and curve.high is not None:
        low, high = curve.low[seen], curve.high[seen]
        axes.fill_between(x, low, high, color=style["color"], alpha=0.13, linewidth=0)
    axes.plot(*(smooth(x, y) if smoothed else (x, y)), **style)
    face = LIGHT["card"] if curve.hollow else style["color"]
    axes.plot(
        x, y, look.mark, color=style["color"], markerfacecolor=face, markeredgewidth=1.3,
        markersize=5.4 if curve.hollow else 4.6,
    )  # fmt: skip


def _level(axes: Axes, level: float | None) -> None:
    if level is not None:
        axes.axhline(level, color=LIGHT["muted"], linewidth=1.0, linestyle=(0, (2, 2)), zorder=1)


def _logarithmic(
    axes: Axes, which: str, curves: Sequence[tuple[LineStyle, Curve]], others: Any
) -> None:
    """A logarithmic axis with two numbers at least, others being values that it holds too."""
    parts = [getattr(curve, which) for _, curve in curves]
    if which == "y":
        parts += [edge for _, one in curves for edge in (one.low, one.high) if edge is not None]
        parts += [np.atleast_1d(np.array(others, dtype=float))]
    values = np.concatenate(parts) if parts else np.empty(0)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return
    log_axis(axes, which)
    low, high = values.min() / 1.12, values.max() * 1.12
    decades = np.arange(np.floor(np.log10(low)) - 1, np.ceil(np.log10(high)) + 2)
    ticks = np.sort(np.outer(10.0**decades, STEPS).ravel())
    if np.sum((ticks >= low) & (ticks <= high)) < 2:
        low, high = ticks[ticks <= low].max() / 1.02, ticks[ticks >= high].min() * 1.02
    axes.set(**{f"{which}lim": (low, high)})


@drawing()
def by_region(
    axes: Axes,
    edges: np.ndarray,
    population: np.ndarray,
    curves: Sequence[tuple[LineStyle, np.ndarray]],
    labels: tuple[str, str],
) -> None:
    """Errors of several models by bins of a coordinate, the frames in each bin behind them.

    Args:
        edges: (bins + 1,) in the coordinate's unit.
        population: (bins,) frames.
        curves: how each looks, and errors (bins,), not-a-number where a bin is empty.
        labels: of the coordinate and of the error.
    """
    middles = (edges[1:] + edges[:-1]) / 2
    behind = axes.twinx()
    behind.bar(middles, population, 0.94 * np.diff(edges), color=LIGHT["grid"], linewidth=0)
    behind.set(ylabel="frames", ylim=(0, 1.04 * max(float(population.max()), 1.0)))
    behind.grid(visible=False)
    behind.spines["right"].set_visible(False)
    # The axes of the errors come to the front, and are clear, so that bars show through.
    axes.set_zorder(behind.get_zorder() + 1)
    for look, errors in curves:
        _curve(axes, look, Curve(middles, errors), smoothed=False)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(visible=False)
    axes.set_ylim(bottom=0)
    axes.set_xlim(edges[0], edges[-1])
    if edges[0] == -180 and edges[-1] == 180:
        axes.set_xticks(np.arange(-180, 181, 60))


def ranges(
    rows: Sequence[tuple[str, LineStyle, float, float, float]],
    label: str,
    log: bool = True,
    band: float | None = None,
) -> Drawing:
    """A mark for each row, on a line from its least to its largest value.

    Args:
        rows: (name, look, value, least, largest) each, from the top down; not-a-number is left out.
        label: of the values.
        log: a logarithmic axis, for positive values; else a line marks zero.
        band: shade from minus to plus this value, such as chemical accuracy.
    """
    size = (SMALL[0], max(SMALL[1], 0.9 + 0.3 * len(rows)))
    return Drawing(partial(_ranges, rows=rows, label=label, log=log, band=band), size)


def _ranges(
    axes: Axes,
    rows: Sequence[tuple[str, LineStyle, float, float, float]],
    label: str,
    log: bool,
    band: float | None,
) -> None:
    places = np.arange(len(rows))[::-1]
    if band is not None:
        low = 0 if all(least >= 0 for _, _, _, least, _ in rows) else -band
        axes.axvspan(low, band, color=LIGHT["rule"], alpha=0.55, linewidth=0)
    if not log:
        axes.axvline(0, color=LIGHT["muted"], linewidth=0.9)
    for place, (_, look, value, least, most) in zip(places, rows, strict=True):
        colour = LIGHT[look.colour]
        axes.plot([least, most], [place, place], color=colour, linewidth=3.4, alpha=0.3)
        axes.plot([value], [place], look.mark, color=colour, markersize=6.4)
    axes.set_yticks(places, [_short(row[0]) for row in rows])
    axes.tick_params(axis="y", labelcolor=LIGHT["ink"])
    axes.set(xlabel=label, ylim=(-0.6, len(rows) - 0.4))
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    if log:
        seen = [(row[1], Curve(np.array(row[2:]), np.zeros(3))) for row in rows]
        _logarithmic(axes, "x", seen, None)


def _short(label: str, most: int = 26) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


@drawing()
def survival(axes: Axes, runs: Sequence[tuple[LineStyle, np.ndarray]], end: float) -> None:
    """The share of runs that have not failed, over time, as steps.

    Args:
        runs: how each model looks, and the time of each run's failure (runs,) in ps,
            not-a-number where it lasted.
        end: of the runs in ps.
    """
    for place, (look, failures) in enumerate(runs):
        style = look.style
        failed = np.sort(failures[np.isfinite(failures)])
        x = np.concatenate([[0.0], failed, [end]])
        left = 1 - np.arange(len(failed) + 1) / max(len(failures), 1)
        # Models that all last would hide each other: each is drawn a hair lower.
        y = 100 * np.concatenate([left, left[-1:]]) - 0.6 * place
        axes.step(x, y, where="post", **style)
        axes.plot([end], y[-1:], look.mark, color=style["color"], clip_on=False)
    axes.set(xlabel="time / ps", ylabel="runs that survive / %", ylim=(-5, 104))
    axes.set_xlim(0, end)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.locator_params(axis="x", nbins=5)


@drawing((2.6, 2.5))
def counts_map(
    axes: Axes, edges: tuple[np.ndarray, np.ndarray], counts: np.ndarray, labels: tuple[str, str]
) -> None:
    """How often two coordinates were met together, on a logarithmic scale.

    Args:
        edges: (n + 1,) and (m + 1,) of the two coordinates.
        counts: (n, m).
        labels: of the two axes.
    """
    share = np.log1p(counts) / np.log1p(max(float(counts.max()), 1.0))
    extent = (edges[0][0], edges[0][-1], edges[1][0], edges[1][-1])
    axes.imshow(
        np.where(counts > 0, share, np.nan).T, extent=extent, origin="lower", aspect="auto",
        interpolation="nearest", cmap=shades(), vmin=0, vmax=1,
    )  # fmt: skip
    axes.set(xlabel=labels[0], ylabel=labels[1])
    for which, values in (("x", edges[0]), ("y", edges[1])):
        if values[0] == -180 and values[-1] == 180:
            axes.set(**{f"{which}ticks": np.arange(-180, 181, 90)})
    axes.grid(visible=True, axis="both")
    axes.set_axisbelow(True)
