"""Weights of several baselines, from folds of the training points.

What a kernel model predicts is linear in its labels. So the error on frames left out, of a model on
the labels minus a weighted sum of baselines, is that of the labels minus the same sum of those of
the baselines, each learned as if it were the labels; and the best weights are a linear
least-squares problem, without a grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import Family, FoldingSession, SharingFamily
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, silent
from flexcalc.training.crossvalidation import FOLDS, folds, order_of
from flexcalc.units import KCAL_MOL

WORTH = 0.01
"""Share by which a baseline must lower the error, as it takes time at every call."""
ROWS = 7000
"""Rows of the kernel matrix for which training points are drawn at most."""
MANY = 3
"""Candidates up to which all of them are tried."""
LEAST_POINTS = 20
"""Training points that are drawn at least, if there are so many."""


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

    Of every second candidate of the family the best is taken, with its best weights; then as many
    baselines are left out as raise the error by no more than WORTH.

    Args:
        family: of kernels, whose `candidates()` are tried.
        train: training points with their labels.
        baselines: energies and forces of each baseline for all training points.
        rng: draws points if there are many, and divides them into folds.
        progress: called with the steps.

    Raises:
        InputError: there are too few points.
    """
    atoms = len(train.numbers)
    most = max(LEAST_POINTS, ROWS // (3 * atoms - 5))
    drawn = np.sort(rng.permutation(len(train))[:most])
    if len(drawn) < 2:
        raise InputError("weights of several baselines need at least two training points")
    train = train[drawn]
    others = [Evaluation(one.energies[drawn], one.forces[drawn]) for one in baselines]
    parts = folds(order_of(train), min(FOLDS, len(train)), rng)
    session = family.session(train, None, rng, progress)
    found: list[Weights] = []
    for candidate in _coarse(family.candidates()):
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
        found.append(_best(np.stack([one.ravel() for one in off], axis=1) / KCAL_MOL))
    best = min(found, key=lambda one: one.error)
    lowest = np.min([[one.without, *one.alone] for one in found], axis=0)
    return Weights(best.values, best.error, float(lowest[0]), lowest[1:].tolist())


def _coarse(candidates: Sequence[Family]) -> Sequence[Family]:
    """Every second of many candidates, as each takes the solution of a kernel matrix.

    Weights may depend on the length scale, but the lowest error hardly depends on which half of the
    grid is tried: by less than 1 % for ethanol and azobenzene with 50 points (RESULTS.md).
    """
    return candidates[1::2] if len(candidates) > MANY else candidates


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
