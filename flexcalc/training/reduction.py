"""Fewer features for a model that is as good, or nearly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import Family, ReducingFamily, TrainedPotential, errors
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.training.memory import NOTHING, Memory
from flexcalc.training.tuning import FORCE, Search

GEOMETRIES = 100
"""Geometries over which the importance of features is averaged; more are thinned out. The source
takes some 3000; but the ranks that 50 give agree with those of 300 to a correlation of 0.999, for
Ac-Ala3-NHMe and for azobenzene (GFN2-xTB at 500 K; benchmarks/reduction.py)."""
CALLS = 3
"""Calls of which the fastest is taken for the cost of a prediction."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """What came of a reduction.

    Args:
        family: with the features that are kept; the full one if none could be dropped.
        potential: trained with them.
        percentile: percentage of the features that was to be dropped; 0 if none were.
        table: a row for each percentile tried, 0 for all features: features kept, errors on the
            validation frames in kcal/mol(/A), and milliseconds to predict one geometry of them.
        features: a row for each feature, see `ReducingFamily.importances`, and whether it is
            kept.
    """

    family: Family
    potential: TrainedPotential
    percentile: float
    table: list[dict[str, Any]]
    features: list[dict[str, Any]]


def reduce(
    family: ReducingFamily,
    potential: TrainedPotential,
    train: Dataset,
    validation: Dataset,
    rng: Generator,
    progress: Progress = silent,
    memory: Memory = NOTHING,
) -> Reduction:
    """Drop the features that matter least, as many as the family's tolerance allows.

    The error often falls at first, as what is dropped was noise to a small training set, and
    rises steeply in the end. So the bound is the tolerance above the lowest error met, and the
    highest percentile below it is sought by bisection. Every percentile is trained with the
    hyperparameters of the full model: with 259 of the 861 distances of Ac-Ala3-NHMe (100 points)
    length scales from 20 to 120 change the force RMSE by no more than 7 %.

    Source: Kabylda, Vassilev-Galindo, Chmiela, Poltavsky, Tkatchenko, Nat. Commun. 14, 3562
    (2023), arXiv:2209.03985.

    Args:
        family: with the hyperparameters that were chosen for all features.
        potential: trained with them.
        train: frames to train on.
        validation: frames to judge by, the same as for the hyperparameters.
        rng: draws geometries, and seeds the training.
        progress: told the steps of each training.
        memory: what an earlier call with the same arguments had finished.

    Raises:
        InputError: there are no validation frames.
    """
    if not len(validation):
        raise InputError(
            f"{family.name}: no validation frames to tell how many features can be dropped; keep "
            "some frames out of the training, or use all features"
        )
    seed = int(rng.integers(2**62))
    positions = _thinned([train, validation], np.random.default_rng(seed))
    rows = memory.recall("importances")
    if rows is None:
        rows = family.importances(potential, positions, progress)
        memory.remember("importances", rows)
    trials = _Trials(family, potential, rows, train, validation, seed, progress, memory)
    best, percentiles = trials.highest(), [0.0, *family.reductions()]
    chosen = trials.done[best]
    inside = set(chosen.family.kept) or set(range(len(rows)))
    _note(chosen.potential, potential, chosen.row, len(rows))
    return Reduction(
        cast(Family, chosen.family),
        chosen.potential,
        percentiles[best],
        [one.row for _, one in sorted(trials.done.items())],
        [row | {"kept": index in inside} for index, row in enumerate(rows)],
    )


def _thinned(sets: Sequence[Dataset], rng: Generator) -> np.ndarray:
    """At most GEOMETRIES of all the frames' positions."""
    positions = np.concatenate([frames.positions for frames in sets])
    return positions[np.sort(rng.permutation(len(positions))[:GEOMETRIES])]


def _note(
    chosen: TrainedPotential, full: TrainedPotential, row: dict[str, Any], features: int
) -> None:
    """Tell in the chosen potential's facts how it came about, and what the full one warned of."""
    chosen.facts["reduction"] = {
        "percentile": row["percentile"],
        "features": row["features"],
        "of": features,
        "warnings_before": list(full.facts.get("warnings", ())),
    }


@dataclass(frozen=True, eq=False)
class _Trial:
    family: ReducingFamily
    potential: TrainedPotential
    row: dict[str, Any]


class _Trials:
    """Trainings on fewer features, by index of the percentile; the full model has index 0."""

    def __init__(
        self,
        family: ReducingFamily,
        potential: TrainedPotential,
        importances: list[dict[str, Any]],
        train: Dataset,
        validation: Dataset,
        seed: int,
        progress: Progress,
        memory: Memory,
    ):
        self.family, self.importances = family, importances
        self.train, self.validation = train, validation
        self.seed, self.progress, self.memory = seed, progress, memory
        found = errors(potential(validation.positions), validation)
        self.done = {0: self._judged(family, potential, 0.0, found)}

    def highest(self) -> int:
        """Index of the highest percentile within the tolerance, found by bisection."""
        percentiles = self.family.reductions()
        good, bad = 0, len(percentiles) + 1
        while bad - good > 1:
            index = (good + bad) // 2
            self.done[index] = self._trained(percentiles[index - 1])
            if self._is_good(index):
                good = index
            else:
                bad = index
        return max(filter(self._is_good, self.done))

    def _is_good(self, index: int) -> bool:
        """Whether the error is within the tolerance of the lowest one met so far."""
        lowest = min(trial.row[FORCE] for trial in self.done.values())
        return self.done[index].row[FORCE] <= (1.0 + self.family.reduction_tolerance) * lowest

    def _trained(self, percentile: float) -> _Trial:
        reduced = self.family.reduced(self.done[0].potential, self.importances, percentile)
        memory = self.memory.within(f"percentile-{percentile:g}")
        search = Search(reduced, self.validation, memory, self.progress)
        search.run(self.train, self.validation, np.random.default_rng(self.seed))
        (tried,) = search.tried
        return self._judged(reduced, tried.potential, percentile, tried.row)

    def _judged(
        self, family: ReducingFamily, potential: TrainedPotential, percentile: float, row: Any
    ) -> _Trial:
        return _Trial(
            family,
            potential,
            {
                "percentile": percentile,
                "features": len(family.kept) or len(self.importances),
                **{key: value for key, value in row.items() if "_rmse_" in key},
                "prediction_ms": milliseconds(potential, self.validation.positions),
            },
        )


def milliseconds(potential: Potential, positions: np.ndarray) -> float:
    """Least time of a few calls to predict one geometry of a batch (batch, atoms, 3)."""
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        potential(positions)
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times) / len(positions)
