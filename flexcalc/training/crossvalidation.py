"""Cross-validation: errors and hyperparameters from several splits of the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import Family, TrainedPotential, announce
from flexcalc.progress import Progress, part, silent
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.tuning import ENERGY, FORCE, Trial, Trials, best_row, note_edge

SPREADS = {
    FORCE: "force_rmse_spread_kcal_mol_A",
    ENERGY: "energy_rmse_spread_kcal_mol",
}
"""Errors and the names of their standard deviations over the folds."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The result of a cross-validation.

    Args:
        family: the candidate that was chosen.
        table: a row for each candidate that one of the folds found worth a trial: the
            hyperparameters in which they differ, means of the errors over the folds and their
            spreads, in kcal/mol(/A).
        index: of the chosen candidate's row.
        folds: a row for each fold, with the errors of the chosen candidate trained there.
        best: index of the best fold.
        potential: the chosen candidate as trained in the best fold.
        train, test: ascending indices of the frames that were used there.
        trials: for each candidate of the table a row for each fold.
    """

    family: Family
    table: list[dict[str, Any]]
    index: int
    folds: list[dict[str, Any]]
    best: int
    potential: TrainedPotential
    train: np.ndarray
    test: np.ndarray
    trials: list[list[dict[str, Any]]]


def order_of(data: Dataset) -> np.ndarray:
    """Values (frames,) that `folds` sorts frames by: their energies, or else their order."""
    return np.arange(float(len(data))) if data.energies is None else data.energies


def folds(energies: np.ndarray, count: int, rng: Generator) -> list[np.ndarray]:
    """Divide frames into folds that each keep the distribution of energies.

    Of every `count` frames that follow each other in energy, each fold gets one, by draw.

    Args:
        energies: (frames,) in any unit.
        count: folds wanted.
        rng: source of the draws.

    Returns:
        ascending indices of each fold's frames; disjoint, sizes alike to within one.

    Raises:
        InputError: fewer than two folds, or fewer frames than folds.
    """
    if not 2 <= count <= len(energies):
        raise InputError(
            f"folds: expected from 2 to {len(energies)}, the frames there are, got {count}"
        )
    order = np.argsort(energies, kind="stable")
    runs = -(-len(energies) // count)
    fold_of = np.concatenate([rng.permutation(count) for _ in range(runs)])[: len(energies)]
    return [np.sort(order[fold_of == fold]) for fold in range(count)]


def cross_validate(
    family: Family,
    data: Dataset,
    division: tuple[int, int],
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> CrossValidation:
    """Train every candidate on some folds and test it on the others, for all rotations.

    Test frames take no part in the training, not even to stop it or to set a constant. The
    candidate is chosen by its mean errors and the best fold by its own, both by the rule of
    `training.tuning.best_row`. One fold to train and the others to test is the protocol of the
    source; all but one to train is the usual one.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.

    Args:
        family: its `candidates()` are tried.
        data: labelled frames.
        division: number of folds, and of those to train on: fold n and those after it.
        rng: divides the frames and seeds the training.
        progress: called with the steps of all folds.
        checkpoints: what an earlier call with the same arguments had finished.

    Raises:
        InputError: numbers of folds that leave none to train on or to test on.
    """
    count, train_folds = division
    if not 1 <= train_folds < count:
        raise InputError(f"train_folds: expected from 1 to {count - 1}, got {train_folds}")
    seed = int(rng.integers(2**62))
    parts = folds(order_of(data), count, rng)
    trials, splits = [], []
    for fold in range(count):
        train = np.sort(np.concatenate([parts[(fold + n) % count] for n in range(train_folds)]))
        test = np.setdiff1d(np.arange(len(data)), train)
        one = Trials(
            family, data[test], checkpoints.within(f"fold-{fold}"), part(fold, count, progress)
        )
        one.run(data[train], None, np.random.default_rng([seed, fold]))
        trials.append(one)
        splits.append((train, test))
    _complete(trials, [data[train] for train, _ in splits], seed)
    return _judged(trials, splits)


def _complete(folds: Sequence[Trials], trains: Sequence[Dataset], seed: int) -> None:
    """Try in every fold what was tried in one, since what a fold left out may win on average."""
    everywhere: list[Family] = []
    for trials in folds:
        tried = [trial.family for trial in trials.search.trials]
        everywhere += [candidate for candidate in tried if candidate not in everywhere]
    for fold, (trials, train) in enumerate(zip(folds, trains, strict=True)):
        missing = [one for one in everywhere if not trials.search.is_tried(one)]
        trials.add(missing, train, None, np.random.default_rng([seed, fold]))


def _judged(
    folds: Sequence[Trials], splits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> CrossValidation:
    searches = [trials.search for trials in folds]
    candidates = [trial.family for trial in searches[0].trials]
    trials = [[_trial(search.trials, one) for search in searches] for one in candidates]
    table = [_mean_row([trial.row for trial in row]) for row in trials]
    index = best_row(table)
    by_fold = [
        [
            {"fold": fold, **{key: trial.row[key] for key in SPREADS if key in trial.row}}
            for fold, trial in enumerate(row)
        ]
        for row in trials
    ]
    errors = by_fold[index]
    best = best_row(errors)
    potential = trials[index][best].potential
    if searches[best].is_at_edge(candidates[index]):
        note_edge(potential, table[index], len(table))
    announce(potential)
    return CrossValidation(
        candidates[index], table, index, errors, best, potential, *splits[best], by_fold
    )


def _trial(trials: Sequence[Trial], candidate: Family) -> Trial:
    return next(trial for trial in trials if trial.family == candidate)


def _mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A row of the folds' means, with the sample standard deviations."""
    known = {key: name for key, name in SPREADS.items() if key in rows[0]}
    means = {key: float(np.mean([row[key] for row in rows])) for key in known}
    spreads = {
        name: float(np.std([row[key] for row in rows], ddof=1)) for key, name in known.items()
    }
    return rows[0] | means | spreads
