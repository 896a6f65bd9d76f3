"""The domain of a trained model: errors against distances, on frames that it was not trained on."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.domain import Domain
from flexcalc.models.facts import DomainFacts
from flexcalc.models.family import TrainedPotential
from flexcalc.models.gdml import GDMLPotential
from flexcalc.models.training_set import TrainingSet
from flexcalc.potential import distances_of

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
    distances = np.asarray(distances_of(potential, others.positions))
    new = distances > REPEATED
    others, distances = others[new], distances[new]
    if len(others) >= FEWEST:
        off = potential(others.positions).forces - others.force_labels()
        found = calibrated(distances, np.sqrt(np.mean(off**2, axis=(1, 2))))
        facts: DomainFacts = {
            "limit": found.limit,
            "distances": list(found.distances),
            "errors_eV_A": list(found.errors_eV_A),
            "frames": len(others),
        }
        if isinstance(potential, GDMLPotential):
            facts["unit"] = potential.max_nearest_distance
        potential.facts["domain"] = facts
    return potential


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
