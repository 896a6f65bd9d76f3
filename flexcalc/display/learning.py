"""What a learning draws: predicted against true force errors, and a map of dihedrals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flexcalc.display.drawing import Drawing, drawing
from flexcalc.display.palette import LIGHT, series
from flexcalc.display.plots import shades
from flexcalc.display.svg import SMALL, legend, log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMALLEST = 1e-6
"""Error in kcal/mol/A that is drawn for a smaller one, on a logarithmic axis."""
DEGREES_PER_BIN = 5
EDGES = np.arange(-180, 181, DEGREES_PER_BIN)
TICKS = np.arange(-180, 181, 60)


@drawing((SMALL[0], 4.3))
def calibration(
    axes: Axes, groups: Mapping[str, tuple[np.ndarray, np.ndarray]], factor: float
) -> None:
    """Predicted against true force errors of frames, with the diagonal and a band about it.

    Args:
        groups: legend -> predicted and true errors, (frames,) each, in kcal/mol/angstrom.
        factor: within which the band is of the diagonal.
    """
    both = np.maximum(np.concatenate([one for pair in groups.values() for one in pair]), SMALLEST)
    limits = np.array([both.min() / 1.3, both.max() * 1.3])
    axes.fill_between(
        limits, limits / factor, limits * factor, color=LIGHT["eighth"], alpha=0.18, linewidth=0,
        label=f"within a factor of {factor:g}",
    )  # fmt: skip
    axes.plot(limits, limits, color=LIGHT["muted"], linewidth=0.9)
    for index, (name, pair) in enumerate(groups.items()):
        predicted, errors = np.maximum(pair, SMALLEST)
        axes.plot(
            predicted, errors, "o", color=series(index), markersize=4, alpha=0.7,
            markeredgewidth=0, label=name,
        )  # fmt: skip
    for which in "xy":
        log_axis(axes, which)
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    unit = "kcal mol⁻¹ Å⁻¹"
    axes.set(xlabel=f"predicted force error / {unit}", ylabel=f"true force error / {unit}")
    legend(axes, 3)


def dihedral_map(
    explored: np.ndarray, groups: Mapping[str, np.ndarray], labels: Sequence[str]
) -> Drawing:
    """Explored geometries as a density, and labelled ones as points, over one or two dihedrals.

    Args:
        explored: (frames, dihedrals) in degrees.
        groups: legend -> labelled geometries (labels, dihedrals) in degrees.
        labels: of the dihedrals, such as "dihedral 0 1 2 3 / degrees".
    """
    if len(labels) == 1:
        ticks = {name: values[:, 0] for name, values in groups.items()}
        return _along_dihedral(explored[:, 0], ticks, labels[0])
    return _over_dihedrals(explored, groups, (labels[0], labels[1]))


@drawing()
def _along_dihedral(
    axes: Axes, explored: np.ndarray, groups: Mapping[str, np.ndarray], label: str
) -> None:
    """A histogram of explored values, and above it a row of marks for each group."""
    counts, _, _ = axes.hist(explored, EDGES.tolist(), color=LIGHT["eighth"], alpha=0.5)
    top = max(float(np.max(counts)), 1.0)
    for index, (name, values) in enumerate(groups.items()):
        height = np.full(len(values), top * (1.1 + 0.1 * index))
        axes.plot(
            values, height, "|", color=series(index), markersize=8, markeredgewidth=1.2, label=name
        )
    axes.set(xlim=(-180, 180), ylim=(0, top * (1.1 + 0.1 * len(groups))), xticks=TICKS)
    axes.set(xlabel=label, ylabel="explored frames")
    legend(axes)


@drawing((SMALL[0], 4.3))
def _over_dihedrals(
    axes: Axes, explored: np.ndarray, groups: Mapping[str, np.ndarray], labels: tuple[str, str]
) -> None:
    """A density of explored values on a logarithmic scale, and a point for each labelled one."""
    counts, _, _ = np.histogram2d(
        explored[:, 0], explored[:, 1], bins=len(EDGES) - 1, range=((-180, 180), (-180, 180))
    )
    density = np.log1p(np.where(counts > 0, counts, np.nan))
    top = np.log1p(max(counts.max(), 1.0))
    axes.imshow(
        density.T, extent=(-180, 180, -180, 180), origin="lower", interpolation="nearest",
        cmap=shades(), vmin=-top / 2, vmax=2 * top,  # light, but a single frame is seen
    )  # fmt: skip
    for index, (name, values) in enumerate(groups.items()):
        axes.plot(
            *values.T, "o", color=series(index), markersize=4.5, markeredgewidth=0.5,
            markeredgecolor=LIGHT["card"], label=name,
        )  # fmt: skip
    axes.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal", xticks=TICKS, yticks=TICKS)
    axes.set(xlabel=labels[0], ylabel=labels[1])
    legend(axes)
