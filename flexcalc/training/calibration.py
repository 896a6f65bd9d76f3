"""The domain of a trained model: errors against distances, on frames that it was not trained on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.domain import Domain, domain_of
from flexcalc.models.facts import DomainFacts
from flexcalc.models.family import Family, TrainedPotential, TrainingWarning
from flexcalc.models.gdml import GDMLPotential
from flexcalc.models.training_set import TrainingSet
from flexcalc.potential import Potential, distances_of

FEWEST = 20
"""Frames below which a model is not calibrated: its limit is then that of `Domain`."""
KNOTS = 10
"""Maximum number of knots of the expected error."""
TYPICAL, TAIL = 0.5, 0.95
"""Quantiles of the distances from which the limit is extrapolated."""
STRETCH = 2.5
"""The limit lies beyond the typical distance by this multiple of the tail. Of held-out frames of
the same kind less than 1 % are then outside (benchmarks/domain.py); an outlier moves it little."""
REPEATED = 0.01
"""Distance below which a frame repeats a training point and tells nothing of others."""


def with_domain(
    potential: TrainedPotential, train: Dataset, others: Dataset | None, rng: Generator
) -> TrainedPotential:
    """Store with a model where its errors are known.

    Args:
        potential: trained; one that knows no distances to its training points keeps them from now
            on.
        train: the training points.
        others: labelled frames that it was not trained on, such as the validation frames.
        rng: see `TrainingSet.of`.
    """
    if potential.distance(train.positions[:1]) is None:
        training_set = TrainingSet.of(potential, train.positions, rng)
        if training_set.unit == 0:
            return potential  # all training points are the same
        potential.training_set = training_set
    if others is None or not len(others):
        return potential
    _note_domain(potential, *_distances_and_errors(potential, others))
    return potential


def with_domain_of_folds(
    potential: TrainedPotential,
    family: Family,
    train: Dataset,
    folds: Sequence[np.ndarray],
    rng: Generator,
) -> TrainedPotential:
    """The same for a model of all frames: each fold tells of a model trained on the others.

    Args:
        potential: trained on all of `train`.
        family: with the hyperparameters that it has.
        train: the training points.
        folds: indices of the points of each fold.
        rng: see `TrainingSet.of`.
    """
    found = []
    for fold in folds:
        others = train[np.setdiff1d(np.arange(len(train)), fold)]
        with warnings.catch_warnings():
            # Those of the model of all points are known already.
            warnings.simplefilter("ignore", TrainingWarning)
            model = with_domain(family.fit(others, None, rng), others, None, rng)
        if model.distance(others.positions[:1]) is None:
            return potential
        found.append(_distances_and_errors(model, train[fold]))
    distances, errors = (np.concatenate(parts) for parts in zip(*found, strict=True))
    with_domain(potential, train, None, rng)
    _note_domain(potential, distances, errors)
    return potential


def with_domain_of_student(
    potential: TrainedPotential,
    train: Dataset,
    others: Dataset,
    teacher: Potential,
    held: Dataset,
    rng: Generator,
) -> TrainedPotential:
    """The same for a student: distances are to the frames with true labels alone.

    Without enough frames to judge by, the errors are those that the teacher expects of itself, plus
    what the student differs from it, as independent ones add up. Of a teacher that knows no errors
    nothing is stored.

    Args:
        potential: trained on true labels and on those of the teacher.
        train: the training points with true labels.
        others: further frames with true labels.
        teacher: that labelled.
        held: labels of the teacher that the student was not trained on.
        rng: see `TrainingSet.of`.
    """
    training_set = TrainingSet.of(potential, train.positions, rng)
    if training_set.unit == 0:
        return potential
    potential.training_set = training_set
    potential.facts.pop("domain", None)
    if len(others) >= FEWEST:
        _note_domain(potential, *_distances_and_errors(potential, others))
        return potential
    domain, known = domain_of(teacher), distances_of(teacher, held.positions)
    expected = None if domain is None or known is None else domain.expected_errors(known)
    if expected is not None:
        distances, off = _distances_and_errors(potential, held, REPEATED - 1)
        _note_domain(potential, distances, np.sqrt(off**2 + expected**2))
    return potential


def _distances_and_errors(
    potential: TrainedPotential, others: Dataset, repeated: float = REPEATED
) -> tuple[np.ndarray, np.ndarray]:
    """Distances and force errors (frames,) of those frames that repeat no training point."""
    distances = np.asarray(distances_of(potential, others.positions))
    new = distances > repeated
    others = others[new]
    if not len(others):
        return np.empty(0), np.empty(0)
    off = potential(others.positions).forces - others.force_labels()
    return distances[new], np.sqrt(np.mean(off**2, axis=(1, 2)))


def _note_domain(potential: TrainedPotential, distances: np.ndarray, errors: np.ndarray) -> None:
    """Store the domain with a model, where there are enough frames to tell it."""
    if len(distances) < FEWEST:
        return
    found = calibrated(distances, errors)
    facts: DomainFacts = {
        "limit": found.limit,
        "distances": list(found.distances),
        "errors_eV_A": list(found.errors_eV_A),
        "frames": len(distances),
    }
    if isinstance(potential, GDMLPotential) and potential.training_set is None:
        facts["unit"] = potential.max_nearest_distance
    potential.facts["domain"] = facts


def calibrated(distances: np.ndarray, errors_eV_A: np.ndarray) -> Domain:
    """The domain of a model with these distances and errors.

    The frames are divided by their distance into parts of equal size. The knots are the mean
    distance and the root-mean-square error of each, made monotone by isotonic regression.

    Args:
        distances: (frames,) of frames that the model was not trained on.
        errors_eV_A: (frames,) root-mean-square errors of their force components.

    Source: Barlow, Bartholomew, Bremner, Brunk, Statistical Inference under Order Restrictions
    (1972).
    """
    from scipy.optimize import isotonic_regression

    parts = np.array_split(np.argsort(distances, kind="stable"), min(KNOTS, len(distances) // 5))
    squares = [float(np.mean(errors_eV_A[part] ** 2)) for part in parts]
    rising = np.sqrt(isotonic_regression(squares, weights=list(map(len, parts))).x)
    typical, tail = np.quantile(distances, (TYPICAL, TAIL))
    return Domain(
        limit=float(typical + STRETCH * (tail - typical)),
        distances=tuple(float(distances[part].mean()) for part in parts),
        errors_eV_A=tuple(rising.tolist()),
    )
