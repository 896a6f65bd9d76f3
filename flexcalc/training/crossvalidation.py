"""Cross-validation: errors and hyperparameters from several splits of the same frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.facts import ErrorRow, Row, errors_in, joined_row
from flexcalc.models.family import (
    Family,
    FoldingSession,
    SharingFamily,
    TrainedPotential,
    announce,
    errors,
)
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, part, silent
from flexcalc.training.calibration import with_domain_of_folds
from flexcalc.training.checkpoints import NO_CHECKPOINTS, Checkpoints
from flexcalc.training.tuning import (
    ENERGY,
    FORCE,
    Judged,
    Search,
    Trial,
    Trials,
    best_row,
    note_edge,
)

FOLDS = 5
"""Folds that choose hyperparameters where there are no validation frames."""

AS_GOOD_SHARE = 0.02
"""Share of the lowest force error within which two candidates count as equally good in folds: with
a good baseline errors are so low that the fixed bound of `best_row` would take almost any."""


class SpreadRow(TypedDict, total=False):
    """Sample standard deviations of the errors over the folds."""

    force_rmse_spread_kcal_mol_A: float
    energy_rmse_spread_kcal_mol: float


class FoldRow(ErrorRow):
    """Errors of the model of a fold."""

    fold: int


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The result of a cross-validation.

    Args:
        family: the candidate that was chosen.
        table: a row for each candidate that one of the folds found worth a trial: the
            hyperparameters in which they differ, means of the errors over the folds and their
            spreads, in kcal/mol(/A).
        index: of the chosen candidate's row.
        means, spreads: of the errors of the chosen candidate over the folds.
        folds: a row for each fold, with the errors of the chosen candidate trained there.
        best: index of the best fold.
        potential: the chosen candidate as trained in the best fold.
        train, test: ascending indices of the frames that were used there.
        trials: for each candidate of the table a row for each fold.
    """

    family: Family
    table: list[Row]
    index: int
    means: ErrorRow
    spreads: SpreadRow
    folds: list[FoldRow]
    best: int
    potential: TrainedPotential
    train: np.ndarray
    test: np.ndarray
    trials: list[list[FoldRow]]


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


@dataclass(frozen=True, eq=False)
class FoldChoice:
    """Hyperparameters that were chosen by folds, and the model of all frames with them.

    Args:
        family: the candidate that was chosen.
        potential: trained with it on all frames.
        table: a row for each candidate, with its errors on the frames left out.
        errors: of the chosen candidate on the frames left out, in kcal/mol(/A).
        count: number of folds.
    """

    family: Family
    potential: TrainedPotential
    table: list[Row]
    errors: ErrorRow
    count: int


class FoldSearch(NamedTuple):
    """What candidates say of frames that were left out.

    Args:
        family: the candidate that was chosen.
        table: a row for each candidate, with its errors.
        errors: of the chosen candidate, in kcal/mol(/A).
        at_edge: whether it is at the edge of the grid.
    """

    family: Family
    table: list[Row]
    errors: ErrorRow
    at_edge: bool


def judge_by_folds[R](
    family: Family,
    data: Dataset,
    parts: Sequence[np.ndarray],
    judge: Callable[[Evaluation, Dataset], R],
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> Callable[[Family], R | None]:
    """A judge of a family's candidates, one after the other, by what they say of frames left out.

    Args:
        family: of the candidates.
        data: labelled frames.
        parts: indices of the frames of each fold, from `folds`.
        judge: what to say of the predictions for all frames; in terms of JSON.
        rng, progress, checkpoints: see `choose_by_folds`.

    Returns:
        What gives the judgement of the next candidate, or None where candidates have to be trained
        for each fold.
    """
    session = (
        family.session(data, None, rng, progress) if isinstance(family, SharingFamily) else None
    )
    numbers = count()

    def judged(candidate: Family) -> R | None:
        if not isinstance(session, FoldingSession):
            return None
        step = f"left-out-{next(numbers):03d}"
        row: R | None = checkpoints.load(step)
        if row is None:
            said = session.left_out(candidate, parts)
            if said is None:
                return None
            row = judge(said[0], data)
            checkpoints.save(step, row)
        return row

    return judged


def choose_by_folds(
    family: Family,
    train: Dataset,
    parts: Sequence[np.ndarray],
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> FoldSearch | None:
    """Choose among a family's candidates by what they say of folds of the frames, without training
    a model for each.

    Args:
        family: its `candidates()` are tried.
        train: frames to train on.
        parts: indices of the frames of each fold, from `folds`.
        rng: seeds the training.
        progress: called with the steps.
        checkpoints: what an earlier call with the same arguments had finished.

    Returns:
        The choice; None for a family that has to be trained for each fold.
    """
    judged = judge_by_folds(family, train, parts, errors, rng, progress, checkpoints)
    search: Search[Judged] = Search(family, share=AS_GOOD_SHARE)
    while (candidate := search.ask()) is not None:
        row = judged(candidate)
        if row is None:
            return None
        search.tell(Judged(candidate, search.hyperparameters(candidate), errors_in(row)))
    best = search.trials[search.best]
    rows = [trial.row for trial in search.trials]
    return FoldSearch(best.family, rows, best.errors, search.is_at_edge(best.family))


def fit_by_folds(
    family: Family,
    train: Dataset,
    rng: Generator,
    progress: Progress = silent,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    count: int = FOLDS,
) -> FoldChoice:
    """Choose among a family's candidates by folds of the training points, and train on all.

    Each candidate predicts every frame from those of the other folds; the rule is
    `training.tuning.best_row`, with AS_GOOD_SHARE. No further labels are needed.

    Args:
        family: its `candidates()` are tried.
        train: frames to train on, at least two.
        rng: divides the frames and seeds the training.
        progress: called with the steps.
        checkpoints: what an earlier call with the same arguments had finished.
        count: number of folds, at most one per frame.
    """
    count, seed = min(count, len(train)), int(rng.integers(2**62))
    parts = folds(order_of(train), count, np.random.default_rng(seed))
    found = choose_by_folds(
        family, train, parts, np.random.default_rng(seed), progress, checkpoints
    )
    folded = found is not None
    if found is None:
        every = cross_validate(
            family, train, (count, count - 1), np.random.default_rng(seed), progress, checkpoints
        )
        found = FoldSearch(every.family, every.table, every.means, False)
    chosen = found.family
    fit = chosen.fit(train, None, np.random.default_rng(seed), progress)
    if folded:
        with_domain_of_folds(fit, chosen, train, parts, np.random.default_rng(seed))
    if found.at_edge:
        known = fit.facts.get("warnings", ())
        note_edge(fit, Search(family).hyperparameters(chosen), len(found.table))
        announce(fit, known)
    return FoldChoice(chosen, fit, found.table, found.errors, count)


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
    means = [_means([trial.errors for trial in row]) for row in trials]
    spreads = [_spreads([trial.errors for trial in row]) for row in trials]
    table = [
        joined_row(row[0].hyperparameters, mean, spread)
        for row, mean, spread in zip(trials, means, spreads, strict=True)
    ]
    index = best_row(means)
    by_fold: list[list[FoldRow]] = [
        [{"fold": fold, **trial.errors} for fold, trial in enumerate(row)] for row in trials
    ]
    rows = by_fold[index]
    best = best_row(rows)
    potential = trials[index][best].potential
    if searches[best].is_at_edge(candidates[index]):
        note_edge(potential, trials[index][best].hyperparameters, len(table))
    announce(potential)
    return CrossValidation(
        family=candidates[index],
        table=table,
        index=index,
        means=means[index],
        spreads=spreads[index],
        folds=rows,
        best=best,
        potential=potential,
        train=splits[best][0],
        test=splits[best][1],
        trials=by_fold,
    )


def _trial(trials: Sequence[Trial], candidate: Family) -> Trial:
    return next(trial for trial in trials if trial.family == candidate)


def _means(rows: Sequence[ErrorRow]) -> ErrorRow:
    found: ErrorRow = {FORCE: float(np.mean([row[FORCE] for row in rows]))}
    if ENERGY in rows[0]:
        found[ENERGY] = float(np.mean([row[ENERGY] for row in rows]))
    return found


def _spreads(rows: Sequence[ErrorRow]) -> SpreadRow:
    found: SpreadRow = {"force_rmse_spread_kcal_mol_A": _deviation([row[FORCE] for row in rows])}
    if ENERGY in rows[0]:
        found["energy_rmse_spread_kcal_mol"] = _deviation([row[ENERGY] for row in rows])
    return found


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1))
