"""Weights of several baselines, from folds of the training points.

What a kernel model predicts is linear in its labels. So the error on frames left out, of a model on
the labels minus a weighted sum of baselines, is that of the labels minus the same sum of those of
the baselines, each learned as if it were the labels; and the best weights are a linear
least-squares problem, without a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.facts import ErrorRow
from flexcalc.models.family import FoldingSession, SharingFamily
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, silent
from flexcalc.training.crossvalidation import FOLDS, folds, order_of
from flexcalc.training.tuning import FORCE, Judged, Search
from flexcalc.units import KCAL_MOL

WORTH = 0.01
"""Share by which a baseline must lower the error, as it takes time at every call."""
ROWS = 7000
"""Rows of the kernel matrix for which training points are drawn at most."""
LEAST_POINTS = 20
"""Training points that are drawn at least, if there are so many."""
LARGEST = 3.0
"""Largest change of a parameter of a baseline, in steps; a step is about a tenth of it."""
MOST_WEIGHT = 2.0
"""Largest weight of a baseline while parameters are fitted."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights that were chosen.

    Args:
        values: (baselines,), none below zero; 0 for those that do not help.
        error: force RMSE on frames left out with these weights, in kcal/mol/angstrom.
        without: the same without any baseline.
        alone: the same with each baseline alone, its weight being 1.
    """

    values: np.ndarray
    error: float
    without: float
    alone: list[float]


def choose_weights(
    family: SharingFamily,
    train: Dataset,
    baselines: Sequence[Evaluation],
    rng: Generator,
    progress: Progress = silent,
) -> Weights:
    """Choose the weights of baselines for which models on the rest have the lowest error.

    Of the candidates of the family the best is taken, with its best weights; then as many baselines
    are left out as raise the error by no more than WORTH.

    Args:
        family: of kernels; its `candidates()` are tried.
        train: training points with their labels.
        baselines: energies and forces of each baseline for all training points.
        rng: draws points if there are many, and divides them into folds.
        progress: called with the steps.

    Raises:
        InputError: there are too few points.
    """
    drawn = drawn_points(train, rng)
    others = [Evaluation(one.energies[drawn], one.forces[drawn]) for one in baselines]
    found = _judged(family, train[drawn], others, _best, rng, progress)
    best = min(found, key=lambda one: one.error)
    lowest = np.min([[one.without, *one.alone] for one in found], axis=0)
    return Weights(best.values, best.error, float(lowest[0]), lowest[1:].tolist())


def drawn_points(train: Dataset, rng: Generator) -> np.ndarray:
    """Indices of the training points that weights are chosen by, ascending."""
    most = max(LEAST_POINTS, ROWS // (3 * len(train.numbers) - 5))
    return np.sort(rng.permutation(len(train))[:most])


class Judgement(Protocol):
    """What is made of the errors on frames left out."""

    @property
    def error(self) -> float:
        """Force RMSE that is left, in kcal/mol/angstrom."""


def _judged[J: Judgement](
    family: SharingFamily,
    train: Dataset,
    others: Sequence[Evaluation],
    judge: Callable[[np.ndarray], J],
    rng: Generator,
    progress: Progress,
) -> list[J]:
    """Judge the errors on frames left out of each candidate of a family.

    Args:
        judge: takes the errors (components, 1 + others) of the labels and of each of the others.
    """
    if len(train) < 2:
        raise InputError("weights of several baselines need at least two training points")
    parts = folds(order_of(train), min(FOLDS, len(train)), rng)
    session = family.session(train, None, rng, progress)
    search: Search[Judged] = Search(family)
    found: list[J] = []
    while (candidate := search.ask()) is not None:
        said = None
        if isinstance(session, FoldingSession):
            said = session.left_out(candidate, parts, others)
        if said is None:
            raise InputError(
                "the weights of several baselines need a kernel matrix that fits into memory; "
                "give one baseline"
            )
        off = [train.force_labels() - said[0].forces]
        off += [one.forces - own.forces for one, own in zip(others, said[1:], strict=True)]
        found.append(judge(np.stack([one.ravel() for one in off], axis=1) / KCAL_MOL))
        errors: ErrorRow = {FORCE: found[-1].error}
        search.tell(Judged(candidate, search.hyperparameters(candidate), errors))
    return found


@dataclass(frozen=True, eq=False)
class Changes:
    """Changes of the parameters of a baseline.

    Args:
        values: (parameters,) in steps.
        error: force RMSE on frames left out with these changes, in kcal/mol/angstrom.
    """

    values: np.ndarray
    error: float


def fit_changes(
    family: SharingFamily,
    train: Dataset,
    baselines: Sequence[Evaluation],
    derivatives: Sequence[Evaluation],
    rng: Generator,
    progress: Progress = silent,
) -> Changes:
    """Change parameters of the first baseline such that models on the rest have the lowest error.

    The same least-squares problem as for weights, with the derivatives of the baseline by its
    parameters as further columns. Changes are bounded by LARGEST steps.

    Args:
        family: of kernels; its `candidates()` are tried.
        train: training points with their labels, not too many; see `drawn_points`.
        baselines: energies and forces of each baseline for them; weights of them are free.
        derivatives: of the first baseline by its parameters, per step.
        rng: divides the points into folds.
        progress: called with the steps.

    Raises:
        InputError: there are too few points.
    """
    from scipy.optimize import lsq_linear

    count = len(baselines)
    lower = np.r_[np.zeros(count), np.full(len(derivatives), -LARGEST)]
    upper = np.r_[np.full(count, MOST_WEIGHT), np.full(len(derivatives), LARGEST)]

    def judge(off: np.ndarray) -> Changes:
        found = lsq_linear(off[:, 1:], off[:, 0], (lower, upper)).x
        error = _rms(off[:, 0] - off[:, 1:] @ found)
        # Per unit of the baseline, which will have a weight of its own.
        return Changes(found[count:] / max(found[0], 0.1), error)

    tried = _judged(family, train, [*baselines, *derivatives], judge, rng, progress)
    return min(tried, key=lambda one: one.error)


def _best(off: np.ndarray) -> Weights:
    """Weights for the errors (components, 1 + baselines) of the labels and of each baseline."""
    labels, others = off[:, 0], off[:, 1:]
    count = others.shape[1]
    whole = _least_squares(labels, others, range(count))
    bound = _rms(labels - others @ whole) * (1 + WORTH)
    # The fewest baselines that are good enough, and the best of those that are as many.
    for size in range(count + 1):
        tried = [_least_squares(labels, others, some) for some in combinations(range(count), size)]
        errors = [_rms(labels - others @ weights) for weights in tried]
        if min(errors) <= bound:
            break
    best = int(np.argmin(errors))
    return Weights(
        tried[best],
        errors[best],
        _rms(labels),
        [_rms(labels - others[:, index]) for index in range(count)],
    )


def _least_squares(labels: np.ndarray, others: np.ndarray, some: Sequence[int]) -> np.ndarray:
    """Weights (baselines,) that are not negative, and zero for all but some; two decimals."""
    from scipy.optimize import nnls

    weights = np.zeros(others.shape[1])
    if len(some):
        weights[list(some)] = nnls(others[:, list(some)], labels)[0]
    return np.round(weights, 2)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
