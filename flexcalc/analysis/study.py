"""Analysis of a metadynamics run: surface, errors, basins, convergence, and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.analysis.freeenergy import (
    Profile,
    after,
    bias_on_nodes,
    log_weights,
    node_of,
    reweighted,
    rounds,
    surface,
    tempering,
    time_blocks,
)
from flexcalc.analysis.transitions import Basins, Verdict, judge
from flexcalc.files.plumed import Colvar, HillList
from flexcalc.geometry import Coordinate
from flexcalc.methods.bias import Axis
from flexcalc.units import KCAL_MOL

EQUILIBRATION = 0.2
"""Fraction of a run that reweighting discards, while the bias fills the first basin."""
TIMES = 100
"""Number of times at which the difference of the basins is recorded."""


@dataclass(frozen=True, eq=False)
class Study:
    """Results of the analysis of a run.

    Args:
        axes: of the grid, one per coordinate.
        surface: free energy at the nodes in eV, from the bias.
        errors: at the nodes in eV, standard errors by blocks of the reweighted samples;
            NaN where unknown.
        basins: of the surface.
        time_fs: (times,) when the differences were taken.
        differences: (times, basins) free energy of each basin above the first, in eV.
        reweighted: free energy of each basin above the first from samples, in eV, with errors;
            None if the run is too short.
        verdict: whether the coordinates drove the transition.
    """

    axes: tuple[Axis, ...]
    surface: np.ndarray
    errors: np.ndarray
    basins: Basins
    time_fs: np.ndarray
    differences: np.ndarray
    reweighted: Profile | None
    verdict: Verdict

    def basin_differences(self) -> tuple[float | None, float | None, float | None]:
        """Free energy of the second basin above the first in kcal/mol: from the bias, reweighted,
        and the standard error of the latter; None if unknown."""
        if len(self.basins) < 2:
            return None, None, None
        biased = float(self.differences[-1, 1] / KCAL_MOL)
        if self.reweighted is None:
            return biased, None, None
        energy = self.reweighted.energies[1] - self.reweighted.energies[0]
        error = float(np.hypot(*self.reweighted.errors[:2]))
        if not (np.isfinite(energy) and np.isfinite(error)):
            return biased, None, None
        return biased, float(energy / KCAL_MOL), error / KCAL_MOL

    def arrays(self, coordinates: Sequence[Coordinate]) -> dict[str, np.ndarray]:
        """Nodes of each axis, surface and errors in eV, basins and their differences."""
        return {
            **{f"nodes_{n}": axis.points for n, axis in enumerate(self.axes)},
            "periodic": np.array([axis.periodic for axis in self.axes]),
            "surface": self.surface,
            "errors": self.errors,
            "basins": self.basins.labels.reshape(self.surface.shape),
            "coordinates": np.array([one.label for one in coordinates]),
            "units": np.array([one.unit for one in coordinates]),
            "minima": np.array(self.basins.minima, dtype=int),
            "time_fs": self.time_fs,
            "differences": self.differences,
        }


def study(colvar: Colvar, hills: HillList, axes: Sequence[Axis], temperature_K: float) -> Study:
    """Analyse a run from its COLVAR and HILLS.

    Args:
        colvar: samples of every walker.
        hills: at least one.
        axes: of the grid.
        temperature_K: of the molecule.
    """
    last = surface(hills, axes)
    verdict, found = judge(colvar, hills, axes, temperature_K)
    times, differences = _history(hills, axes, found, temperature_K)
    late = after(colvar, EQUILIBRATION * float(colvar.time_fs.max()))
    weight = log_weights(late, hills, axes, temperature_K)
    blocks = time_blocks(late, len(np.unique(late.walker)))
    node = node_of(axes, late.values)
    errors, by_basin = np.full(last.shape, np.nan), None
    if len(np.unique(blocks)) > 1:
        errors = reweighted(node, last.size, weight, blocks, temperature_K).errors
        errors = errors.reshape(last.shape)
    if len(np.unique(blocks)) > 1 and len(found):
        by_basin = reweighted(found.labels[node], len(found), weight, blocks, temperature_K)
    return Study(tuple(axes), last, errors, found, times, differences, by_basin, verdict)


def _history(
    hills: HillList, axes: Sequence[Axis], found: Basins, temperature_K: float
) -> tuple[np.ndarray, np.ndarray]:
    """Free energies of the basins above the first over time."""
    full = tempering(hills)
    bias = np.zeros(tuple(axis.nodes for axis in axes))
    moments = np.unique(hills.time_fs)
    marks = set(moments[np.linspace(0, len(moments) - 1, TIMES).astype(int)].tolist())
    times, rows = [], []
    for time, which in rounds(hills):
        bias = bias + bias_on_nodes(hills, axes, which)
        if time in marks:
            energies = found.energies(-full * bias, temperature_K)
            times.append(time)
            rows.append(energies - energies[:1])
    return np.array(times), np.array(rows)
