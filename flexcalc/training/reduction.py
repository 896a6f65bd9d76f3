"""Fewer features for a model that is as good, or nearly."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.facts import ErrorRow, FeatureRow
from flexcalc.models.family import Family, ReducingFamily, TrainedPotential
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.tuning import FORCE, Trial, Trials

GEOMETRIES = 100
"""Geometries over which the importance of features is averaged; more are thinned out. The source
takes some 3000; but the ranks that 50 give agree with those of 300 to a correlation of 0.999, for
Ac-Ala3-NHMe and for azobenzene (GFN2-xTB at 500 K; benchmarks/reduction.py)."""
CALLS = 3
"""Calls of which the fastest is taken for the cost of a prediction."""


class ReducedRow(ErrorRow, total=False):
    """A model on fewer features, and its errors on the validation frames."""

    percentile: float
    """Percentage of the features that was to be dropped; 0 for all features."""
    features: int
    """Features that are kept."""
    prediction_ms: float
    """Milliseconds to predict one geometry of the validation frames."""


@dataclass(frozen=True, eq=False)
class Reduction:
    """The result of a reduction.

    Args:
        family: with the features that are kept; the full one if none could be dropped.
        potential: trained with them.
        percentile: percentage of the features that was to be dropped; 0 if none were.
        errors: of the potential on the validation frames.
        table: a row for each percentile tried.
        features: a row for each feature, see `ReducingFamily.importances`, and whether it is
            kept.
    """

    family: Family
    potential: TrainedPotential
    percentile: float
    errors: ErrorRow
    table: list[ReducedRow]
    features: list[FeatureRow]


def reduce(
    full: Trial,
    train: Dataset,
    validation: Dataset,
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
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
        full: a `ReducingFamily` with the hyperparameters that were chosen for all features, the
            potential trained with them, and its errors on the validation frames.
        train: frames to train on.
        validation: frames to judge by, the same as for the hyperparameters.
        rng: draws geometries, and seeds the training.
        progress: told the steps of each training.
        checkpoints: what an earlier call with the same arguments had finished.

    Raises:
        InputError: there are no validation frames.
    """
    family, potential = cast(ReducingFamily, full.family), full.potential
    if not len(validation):
        raise InputError(
            f"{full.family.name}: no validation frames to tell how many features can be dropped; "
            "keep some frames out of the training, or use all features"
        )
    seed = int(rng.integers(2**62))
    positions = _thinned([train, validation], np.random.default_rng(seed))
    rows = checkpoints.load("importances")
    if rows is None:
        rows = family.importances(potential, positions, progress)
        checkpoints.save("importances", rows)
    setup = _Setup(family, rows, train, validation, seed)
    trials = _Bisection(setup, full, progress, checkpoints)
    best, percentiles = trials.highest(), [0.0, *family.reductions()]
    chosen = trials.done[best]
    inside = set(chosen.family.kept) or set(range(len(rows)))
    _note(chosen.potential, potential, chosen.row, len(rows))
    return Reduction(
        cast(Family, chosen.family),
        chosen.potential,
        percentiles[best],
        chosen.errors,
        [trial.row for _, trial in sorted(trials.done.items())],
        [FeatureRow(**row, kept=index in inside) for index, row in enumerate(rows)],
    )


def _thinned(sets: Sequence[Dataset], rng: Generator) -> np.ndarray:
    """At most GEOMETRIES of all the frames' positions."""
    positions = np.concatenate([frames.positions for frames in sets])
    return positions[np.sort(rng.permutation(len(positions))[:GEOMETRIES])]


def _note(chosen: TrainedPotential, full: TrainedPotential, row: ReducedRow, features: int) -> None:
    """Tell in the chosen potential's facts how it came about, and what the full one warned of."""
    chosen.facts["reduction"] = {
        "percentile": row["percentile"],
        "features": row["features"],
        "of": features,
        "warnings_before": list(full.facts.get("warnings", ())),
    }


@dataclass(frozen=True, eq=False)
class _Reduced:
    """A model on fewer features, its row of the table and its errors."""

    family: ReducingFamily
    potential: TrainedPotential
    row: ReducedRow
    errors: ErrorRow


@dataclass(frozen=True, eq=False)
class _Setup:
    """What the trainings of a reduction have in common."""

    family: ReducingFamily
    importances: list[FeatureRow]
    train: Dataset
    validation: Dataset
    seed: int

    def judged(
        self,
        family: ReducingFamily,
        potential: TrainedPotential,
        percentile: float,
        errors: ErrorRow,
    ) -> _Reduced:
        """A model with its errors and its cost."""
        row: ReducedRow = {
            "percentile": percentile,
            "features": len(family.kept) or len(self.importances),
            **errors,
            "prediction_ms": milliseconds(potential, self.validation.positions),
        }
        return _Reduced(family, potential, row, errors)


class _Bisection:
    """Trainings on fewer features, by index of the percentile; the full model has index 0."""

    def __init__(self, setup: _Setup, full: Trial, progress: Progress, checkpoints: Checkpoints):
        self.setup, self.progress, self.checkpoints = setup, progress, checkpoints
        self.done = {0: setup.judged(setup.family, full.potential, 0.0, full.errors)}

    def highest(self) -> int:
        """Index of the highest percentile within the tolerance, found by bisection."""
        percentiles = self.setup.family.reductions()
        good, bad = 0, len(percentiles) + 1
        while bad - good > 1:
            index = (good + bad) // 2
            self.done[index] = self._train(percentiles[index - 1])
            if self._is_good(index):
                good = index
            else:
                bad = index
        return max(filter(self._is_good, self.done))

    def _is_good(self, index: int) -> bool:
        """Whether the error is within the tolerance of the lowest one met so far."""
        lowest = min(trial.errors[FORCE] for trial in self.done.values())
        tolerance = self.setup.family.reduction_tolerance
        return self.done[index].errors[FORCE] <= (1.0 + tolerance) * lowest

    def _train(self, percentile: float) -> _Reduced:
        setup = self.setup
        reduced = setup.family.reduced(self.done[0].potential, setup.importances, percentile)
        within = self.checkpoints.within(f"percentile-{percentile:g}")
        trials = Trials(cast(Family, reduced), setup.validation, within, self.progress)
        trials.run(setup.train, setup.validation, np.random.default_rng(setup.seed))
        (trial,) = trials.search.trials
        return setup.judged(reduced, trial.potential, percentile, trial.errors)


def milliseconds(potential: Potential, positions: np.ndarray) -> float:
    """Least time of a few calls to predict one geometry of a batch (batch, atoms, 3)."""
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        potential(positions)
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times) / len(positions)
