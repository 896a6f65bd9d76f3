"""Errors and hyperparameters from several divisions of the same frames."""

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
from flexcalc.training.memory import NOTHING, Memory
from flexcalc.training.tuning import ENERGY, FORCE, Search, Tried, best_row, note_edge

SPREADS = {
    FORCE: "force_rmse_spread_kcal_mol_A",
    ENERGY: "energy_rmse_spread_kcal_mol",
}
"""Errors and the names of their standard deviations over the folds."""


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """What came of a cross-validation.

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
    """What `folds` sorts frames by (frames,): their energies; without, how they come."""
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
    count: int,
    train_folds: int,
    rng: Generator,
    progress: Progress = silent,
    memory: Memory = NOTHING,
) -> CrossValidation:
    """Train every candidate on some folds and test it on the others, all the way round.

    Test frames take no part in the training, not even to stop it or to set a constant. The
    candidate is chosen by its mean errors and the best fold by its own, both by the rule of
    `training.tuning.best_row`. One fold to train and the others to test is the protocol of the
    source; all but one to train is the usual one.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.

    Args:
        family: its `candidates()` are tried.
        data: labelled frames.
        count: folds.
        train_folds: folds to train on; fold n and those after it.
        rng: divides the frames and seeds the training.
        progress: told the steps of all folds.
        memory: what an earlier call with the same arguments had finished.

    Raises:
        InputError: numbers of folds that leave none to train on or to test on.
    """
    if not 1 <= train_folds < count:
        raise InputError(f"train_folds: expected from 1 to {count - 1}, got {train_folds}")
    seed = int(rng.integers(2**62))
    parts = folds(order_of(data), count, rng)
    searches, splits = [], []
    for fold in range(count):
        train = np.sort(np.concatenate([parts[(fold + n) % count] for n in range(train_folds)]))
        test = np.setdiff1d(np.arange(len(data)), train)
        search = Search(
            family, data[test], memory.within(f"fold-{fold}"), part(fold, count, progress)
        )
        search.run(data[train], None, np.random.default_rng([seed, fold]))
        searches.append(search)
        splits.append((train, test))
    _complete(searches, [data[train] for train, _ in splits], seed)
    return _judged(searches, splits)


def _complete(searches: Sequence[Search], trains: Sequence[Dataset], seed: int) -> None:
    """Try in every fold what was tried in one, since what a fold left out may win on average."""
    everywhere: list[Family] = []
    for search in searches:
        tried = [one.family for one in search.tried]
        everywhere += [candidate for candidate in tried if candidate not in everywhere]
    for fold, (search, train) in enumerate(zip(searches, trains, strict=True)):
        missing = [candidate for candidate in everywhere if not search.knows(candidate)]
        search.run(train, None, np.random.default_rng([seed, fold]), missing)


def _judged(
    searches: Sequence[Search], splits: Sequence[tuple[np.ndarray, np.ndarray]]
) -> CrossValidation:
    candidates = [one.family for one in searches[0].tried]
    trials = [[_trial(search, candidate) for search in searches] for candidate in candidates]
    table = [_mean_row([one.row for one in trial]) for trial in trials]
    index = best_row(table)
    by_fold = [
        [
            {"fold": fold, **{key: one.row[key] for key in SPREADS if key in one.row}}
            for fold, one in enumerate(trial)
        ]
        for trial in trials
    ]
    folds = by_fold[index]
    best = best_row(folds)
    potential = trials[index][best].potential
    if searches[best].at_edge(candidates[index]):
        note_edge(potential, table[index], len(table))
    announce(potential)
    return CrossValidation(
        candidates[index], table, index, folds, best, potential, *splits[best], by_fold
    )


def _trial(search: Search, candidate: Family) -> Tried:
    return next(one for one in search.tried if one.family == candidate)


def _mean_row(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A row of the folds' means, with the sample standard deviations."""
    known = {key: name for key, name in SPREADS.items() if key in rows[0]}
    means = {key: float(np.mean([row[key] for row in rows])) for key in known}
    spreads = {
        name: float(np.std([row[key] for row in rows], ddof=1)) for key, name in known.items()
    }
    return rows[0] | means | spreads
