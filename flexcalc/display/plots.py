"""The kinds of figures; each function takes plain arrays and returns a `Drawing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcalc.display.drawing import drawing
from flexcalc.display.palette import LIGHT, SERIES, series
from flexcalc.display.smoothing import smooth
from flexcalc.display.svg import (
    SMALL,
    WIDE,
    legend,
    log_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_POINTS = 500
"""Points of a trace that are drawn; more would only make the page heavy."""

FEW = 1500
"""Up to so many points a parity plot shows each; beyond, their density."""

DENSITY_COLOUR = (0.31, 0.55, 0.80)
"""Readable on white and on black, as an image cannot follow the reader's colour scheme."""


@drawing()
def histogram(
    axes: Axes,
    groups: Mapping[str, np.ndarray],
    label: str,
    bins: int = 36,
    counted: str = "frames",
    keyed: bool = True,
) -> None:
    """Stacked counts of each group's values.

    Args:
        groups: legend -> values.
        label: of the values.
        bins: how many.
        counted: what each value is of.
        keyed: draw the legend; without it the page has one (`styles.key`).
    """
    columns = list(groups.values())
    colours = [series(index) for index in range(len(columns))]
    edges = np.histogram_bin_edges(np.concatenate(columns), bins=bins)
    axes.hist(
        columns,
        bins=edges.tolist(),
        stacked=True,
        color=colours,
        label=list(groups),
        rwidth=0.9,
    )
    axes.set(xlabel=label, ylabel=counted)
    if keyed and len(groups) > 1:
        legend(axes, 3)


@drawing()
def curves(
    axes: Axes,
    x: np.ndarray,
    columns: Mapping[str, np.ndarray],
    labels: tuple[str, str],
    log: str = "",
    markers: bool = True,
) -> None:
    """Values over a few points, or many.

    Args:
        x: (points,).
        columns: legend -> values (points,), not-a-number where there is none.
        labels: of the two axes.
        log: the axes to make logarithmic, such as "xy".
        markers: show each point.
    """
    for index, (key, values) in enumerate(columns.items()):
        axes.plot(x, values, color=series(index), marker="o" if markers else "", label=key)
    for which in log:
        log_axis(axes, which)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    if "x" not in log and np.array_equal(x, np.round(x)):
        axes.locator_params(axis="x", integer=True)
    if markers and len(x) <= 8:
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.set_xticks([], minor=True)
    if len(columns) > 1:
        legend(axes, 1)


@drawing((SMALL[0], 4.1))
def parity(axes: Axes, reference: np.ndarray, predicted: np.ndarray, what: str) -> None:
    """Predicted against reference values, with the diagonal where they agree."""
    reference, predicted = reference.ravel(), predicted.ravel()
    low = float(min(reference.min(), predicted.min()))
    high = float(max(reference.max(), predicted.max()))
    margin = 0.04 * (high - low or 1.0)
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color=LIGHT["muted"], linewidth=0.9, zorder=1)
    if reference.size <= FEW:
        axes.plot(
            reference, predicted, "o", color=LIGHT["model"], markersize=3.4, alpha=0.55,
            markeredgewidth=0,
        )  # fmt: skip
    else:
        extent = (*limits, *limits)
        axes.imshow(
            _density(reference, predicted, limits), extent=extent, origin="lower",
            interpolation="nearest", zorder=2,
        )  # fmt: skip
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.set(xlabel=f"reference {what}", ylabel=f"predicted {what}")
    axes.grid(visible=True, axis="both")


@drawing()
def against_limit(
    axes: Axes,
    points: tuple[np.ndarray, np.ndarray],
    curve: tuple[np.ndarray, np.ndarray],
    limit: float | None,
    labels: tuple[str, str],
    legends: tuple[str, str],
) -> None:
    """Points, an expected curve, and a limit as a dashed vertical line.

    Args:
        points: x and y, (points,) each; of many, as many as `FEW`.
        curve: x and y, (knots,) each; may be empty.
        limit: on the x axis; None for none.
        labels: of the two axes.
        legends: of the points and of the curve.
    """
    step = -(-len(points[0]) // FEW)
    axes.plot(
        points[0][::step], points[1][::step], "o", color=LIGHT["model"], markersize=3.4,
        alpha=0.55, markeredgewidth=0, label=legends[0],
    )  # fmt: skip
    if len(curve[0]):
        axes.plot(*curve, color=series(1), marker="", label=legends[1])
    if limit is not None:
        axes.axvline(limit, color=LIGHT["muted"], linestyle="--", linewidth=1.0, label="limit")
    log_axis(axes, "y")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    legend(axes, 3)


def _density(x: np.ndarray, y: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Counts on a grid as the opacity of one colour, on a logarithmic scale: (y, x, rgba)."""
    counts, _, _ = np.histogram2d(x, y, bins=120, range=(limits, limits))
    opacity = np.log1p(counts) / np.log1p(counts.max())
    image = np.empty((*counts.shape, 4))
    image[..., :3] = DENSITY_COLOUR
    image[..., 3] = np.where(counts > 0, 0.45 + 0.55 * opacity, 0).round(2)
    return image.swapaxes(0, 1)


@drawing((SMALL[0], 4.1))
def pairs(axes: Axes, values: np.ndarray, chosen: np.ndarray, label: str) -> None:
    """A triangular matrix of values on a logarithmic scale, and in the other triangle a choice.

    Args:
        values: (size, size), not-a-number where there is none or above the diagonal.
        chosen: (size, size) of bool, above the diagonal.
        label: of the values.
    """
    from matplotlib.colors import LogNorm

    found = values[np.isfinite(values) & (values > 0)]
    low, high = (found.min(), found.max()) if found.size else (1.0, 1.0)
    shown = np.where(values > 0, values, np.nan)
    image = axes.imshow(
        shown, norm=LogNorm(low, max(high, 1.001 * low)), cmap=shades(), aspect="equal",
        interpolation="nearest",
    )  # fmt: skip
    marks = np.zeros((*chosen.shape, 4))
    marks[chosen] = (*DENSITY_COLOUR, 1.0)
    axes.imshow(marks, aspect="equal", interpolation="nearest")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, aspect=25, pad=0.02)
    log_axis(bar.ax, "y")
    bar.outline.set_visible(False)
    bar.set_label(label)
    axes.set(xlabel="atom", ylabel="atom")
    axes.grid(visible=False)


def shades() -> Any:
    """From clear to the colour of densities, readable on white and on black."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "shades", [(*DENSITY_COLOUR, 0.05), (*DENSITY_COLOUR, 1.0)]
    )


@drawing((WIDE[0], 4.0))
def regions(
    axes: Axes,
    edges: np.ndarray,
    errors: np.ndarray,
    population: np.ndarray,
    labels: tuple[str, str],
    names: Sequence[str] = (),
) -> None:
    """Error by bins of a coordinate, the worst marked; frames in each bin below.

    Args:
        edges: (bins + 1,) in the coordinate's unit.
        errors: (bins,), not-a-number where a bin is empty.
        population: (bins,).
        labels: of the coordinate and of the error.
        names: (bins,) of the bins; without them they are told by their edges.
    """
    below = axes.inset_axes((0.0, -0.5, 1.0, 0.42), sharex=axes)
    middles, widths = (edges[1:] + edges[:-1]) / 2, 0.86 * np.diff(edges)
    worst = np.nan_to_num(errors, nan=-1.0).argmax()
    colours = [LIGHT["reference" if n == worst else "model"] for n in range(len(errors))]
    axes.bar(middles, errors, widths, color=colours)
    below.bar(middles, population, widths, color=LIGHT["eighth"])
    below.grid(visible=False, axis="x")
    margin = 0.01 * (edges[-1] - edges[0] or 1.0)
    below.set_xlim(edges[0] - margin, edges[-1] + margin)
    if edges[0] == -180 and edges[-1] == 180:
        below.set_xticks(np.arange(-180, 181, 60))
    if names:
        below.set_xticks(middles, names, rotation=30, ha="right", rotation_mode="anchor")
    axes.tick_params(labelbottom=False)
    axes.set(ylabel=labels[1])
    below.set(ylabel="frames", xlabel=labels[0])


@drawing(WIDE)
def profile(
    axes: Axes,
    along: np.ndarray,
    model: np.ndarray,
    reference: np.ndarray | None,
    outside: np.ndarray | None = None,
) -> None:
    """Energy along a path, in kcal/mol above its first image, of model and reference.

    Args:
        along: (images,) length along the path.
        model, reference: (images,).
        outside: (images,) whether each is outside the domain of the model; their stretches are
            shaded and their markers hollow.
    """
    outside = np.zeros(len(along), dtype=bool) if outside is None else outside
    shade(axes, along, outside)
    if reference is not None:
        axes.plot(
            *smooth(along, reference), color=LIGHT["reference"], linewidth=1.4,
            linestyle=(0, (4, 2.2)),
        )  # fmt: skip
        axes.plot(
            along, reference, "o", color=LIGHT["reference"], markerfacecolor="none",
            markeredgewidth=1.6, markersize=8.5, label="reference",
        )  # fmt: skip
    axes.plot(*smooth(along, model), color=LIGHT["model"])
    if not outside.all():
        axes.plot(along[~outside], model[~outside], "o", color=LIGHT["model"], label="model")
    if outside.any():
        axes.plot(
            along[outside], model[outside], "o", color=LIGHT["model"],
            markerfacecolor=LIGHT["card"], markeredgewidth=1.6, label=f"model, {OUTSIDE}",
        )  # fmt: skip
    above = axes.secondary_xaxis("top")
    above.set_xticks(along, [str(index) for index in range(len(along))])
    above.tick_params(length=0)
    above.spines["top"].set_visible(False)
    above.set_xlabel("image")
    axes.margins(x=0.03, y=0.08)
    axes.set(xlabel="length along the path / Å", ylabel="energy / kcal mol⁻¹")
    axes.legend(loc="best", borderaxespad=0.8)


OUTSIDE = "outside the training data"
MOST_CROSSES = 36
"""Crosses along each axis of a map."""


def shade(axes: Axes, x: np.ndarray, chosen: np.ndarray, label: str = "") -> None:
    """Shade the stretches of an axis that belong to chosen ones of the points x (points,).

    The stretch of a point ends halfway to its neighbours. The first one has the label.
    """
    edges = np.concatenate([x[:1], (x[1:] + x[:-1]) / 2, x[-1:]])
    # One patch per run of neighbours: patches that touch would show their seams.
    steps = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]])))
    for begin, end in steps.reshape(-1, 2):
        axes.axvspan(
            edges[begin], edges[end], color=LIGHT["reference"], alpha=0.12, linewidth=0, label=label
        )
        label = ""


@drawing(WIDE)
def profiles(axes: Axes, energies: Mapping[str, np.ndarray]) -> None:
    """Energies of several paths, in kcal/mol above their first images, on one scale of 0 to 1.

    Args:
        energies: by the name of the path, (images,) each.
    """
    for index, (label, above) in enumerate(energies.items()):
        share = np.linspace(0.0, 1.0, len(above))
        axes.plot(*smooth(share, above), color=series(index))
        axes.plot(share, above, "o", color=series(index), label=label)
    axes.margins(x=0.03, y=0.08)
    axes.set(xlabel="share of the way", ylabel="energy / kcal mol⁻¹")
    legend(axes)


@drawing()
def traces(
    axes: Axes,
    time: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    labels: tuple[str, str],
    level: float | None = None,
) -> None:
    """A quantity over time, a line for each replica.

    Args:
        time, values: one array (steps,) each per replica.
        labels: of the two axes.
        level: where to draw a dashed line, such as the mean over all.
    """
    width = 1.5 if len(time) == 1 else 0.9
    for index, (x, y) in enumerate(zip(time, values, strict=True)):
        chosen = thinned(len(x))
        axes.plot(x[chosen], y[chosen], color=series(index), linewidth=width, alpha=0.85)
    if level is not None:
        axes.axhline(level, color=LIGHT["ink"], linewidth=1.1, linestyle=(0, (5, 3)))
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.margins(x=0.01)


def thinned(count: int, most: int = MOST_POINTS) -> np.ndarray:
    """Indices of at most `most` of `count` values, evenly from the first to the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


@drawing(WIDE)
def band(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    errors: np.ndarray,
    marked: Sequence[float],
    labels: tuple[str, str],
    outside: np.ndarray | None = None,
) -> None:
    """A curve with its standard error on both sides.

    Args:
        x, y, errors: (points,); where an error is not-a-number there is no band.
        marked: places on x to mark, such as minima.
        labels: of the two axes.
        outside: (points,) whether each is outside the domain of the model; they are shaded.
    """
    if outside is not None and outside.any():
        shade(axes, x, outside, OUTSIDE)
        legend(axes, 1)
    axes.fill_between(x, y - errors, y + errors, color=LIGHT["model"], alpha=0.25, linewidth=0)
    axes.plot(x, y, color=LIGHT["model"])
    for index, place in enumerate(marked):
        height = float(np.interp(place, x, y))
        axes.plot([place], [height], "o", color=LIGHT["reference"])
        _numbered(axes, (place, height), index)
    axes.margins(x=0.01)
    axes.set(xlabel=labels[0], ylabel=labels[1])


@drawing((WIDE[0], 5.6))
def surface(
    axes: Axes,
    edges: tuple[np.ndarray, np.ndarray],
    values: np.ndarray,
    paths: Sequence[tuple[np.ndarray, np.ndarray]],
    marked: Sequence[tuple[float, float]],
    labels: tuple[str, str, str],
    outside: np.ndarray | None = None,
) -> None:
    """A map of values that fade as they grow, with lines at whole values and paths over it.

    Args:
        edges: nodes (n,) and (m,) of the two axes.
        values: (n, m), not-a-number where nothing is known.
        paths: x and y of each walker, not-a-number where a line breaks.
        marked: places to number, such as minima.
        labels: of the two axes and of the values.
        outside: (n, m) whether each node is outside the domain of the model; they are marked by
            crosses.
    """
    x, y = edges
    half = (x[1] - x[0]) / 2, (y[1] - y[0]) / 2
    extent = (x[0] - half[0], x[-1] + half[0], y[0] - half[1], y[-1] + half[1])
    image = axes.imshow(
        values.T, extent=extent, origin="lower", aspect="auto", interpolation="bilinear",
        cmap=shades().reversed(),
    )  # fmt: skip
    top = np.nanmax(values) if np.isfinite(values).any() else 1.0
    step = max(1.0, float(np.ceil(top / 12)))
    axes.contour(
        x, y, values.T, levels=np.arange(step, top, step).tolist() or [top],
        colors=[LIGHT["muted"]], linewidths=0.6,
    )  # fmt: skip
    for index, (across, up) in enumerate(paths):
        axes.plot(
            across, up, color=series(index + 1), linewidth=0.5, marker="o", markersize=1.2,
            alpha=0.5, label=_walkers(index, len(paths)),
        )  # fmt: skip
    if outside is not None and outside.any():
        some = np.ix_(thinned(len(x), MOST_CROSSES), thinned(len(y), MOST_CROSSES))
        across, up = np.meshgrid(x, y, indexing="ij")
        crossed = outside[some]
        axes.plot(
            across[some][crossed], up[some][crossed], "x", color=LIGHT["reference"],
            markersize=3, markeredgewidth=0.8, label=OUTSIDE,
        )  # fmt: skip
    for index, place in enumerate(marked):
        axes.plot(*place, "o", color=LIGHT["ink"], markersize=4)
        _numbered(axes, place, index)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, aspect=25, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(labels[2])
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=extent[:2], ylim=extent[2:])
    axes.grid(visible=False)
    if len(paths) > 1 or (outside is not None and outside.any()):
        legend(axes, 8, share=0.8)  # next to the colour bar


def _walkers(index: int, count: int) -> str:
    """What the legend calls a walker: each colour once, as after the last they begin again."""
    if index >= len(SERIES):
        return ""
    return (
        f"walker {index}, {index + len(SERIES)} …"
        if index + len(SERIES) < count
        else f"walker {index}"
    )


def _numbered(axes: Any, place: tuple[float, float], index: int) -> None:
    axes.annotate(
        str(index + 1), place, (6, 6), textcoords="offset points", color=LIGHT["ink"],
        fontweight="bold",
    )  # fmt: skip


@drawing(WIDE)
def dendrogram(
    axes: Axes,
    lines: Sequence[np.ndarray],
    leaves: Mapping[str, tuple[float, float]],
    label: str,
) -> None:
    """Branches that join upwards, with their leaves named below.

    Args:
        lines: corners (corners, 2) of each branch.
        leaves: name -> its place (2,).
        label: of the vertical axis.
    """
    for corners in lines:
        axes.plot(*corners.T, color=series(0), linewidth=1.3, solid_joinstyle="round")
    for name, place in leaves.items():
        axes.annotate(name, place, (0, -3), textcoords="offset points", ha="center", va="top")
    axes.set(xticks=[], ylabel=label)
    axes.margins(x=0.05, y=0.12)
