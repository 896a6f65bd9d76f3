"""A model judged on the labels of its round, which it has not seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.methods.exploration import deviation_of
from flexcalc.potential import Evaluation, Potential
from flexcalc.results.calibration import PURPOSE, JudgedFrame
from flexcalc.tasks.learn.bands import TOP
from flexcalc.tasks.learn.exploration import Explored
from flexcalc.units import KCAL_MOL


def judged_frames(number: int, found: Evaluation, data: Dataset, scale: float) -> list[JudgedFrame]:
    """Predicted and true force errors of the frames of a round.

    Args:
        number: of the round.
        found: evaluation of a committee.
        data: frames with labels and purposes.
        scale: from deviations to errors, as the rounds before have it.
    """
    errors = np.sqrt(((found.forces - data.force_labels()) ** 2).mean(axis=(1, 2))) / KCAL_MOL
    deviations = deviation_of(found) / (np.sqrt(3) * KCAL_MOL)  # of vectors -> of components
    rows = zip(data.tags[PURPOSE].tolist(), deviations.tolist(), errors.tolist(), strict=True)
    return [
        JudgedFrame(
            round=number,
            purpose=purpose,
            deviation_kcal_mol_A=deviation,
            predicted_error_kcal_mol_A=scale * deviation,
            error_kcal_mol_A=error,
        )
        for purpose, deviation, error in rows
    ]


def by_temperature(explored: Explored) -> dict[str, Any]:
    """Replicas that are not driven at each temperature, the complete ones of them, and how many
    ended early in which time."""
    free = np.flatnonzero(~explored.driven)
    kelvin, which = np.unique(explored.temperatures_K[free], return_inverse=True)
    complete = [not explored.ends[replica] for replica in free]
    time_ns = float(explored.times_ps[free].sum()) / 1000
    return {
        "explored_ns": time_ns,
        "stops_per_ns": complete.count(False) / time_ns if time_ns else None,
        "temperatures_K": tuple(kelvin.tolist()),
        "replicas_by_temperature": tuple(np.bincount(which).tolist()),
        "complete_by_temperature": tuple(np.bincount(which, complete).astype(int).tolist()),
    }


def barrier_error(
    model: Potential, found: Evaluation, data: Dataset, known: Dataset
) -> float | None:
    """Largest error of labelled tops of bands above the lowest labelled geometry, in kcal/mol.

    Args:
        model: of the round.
        found: its evaluation of the labelled frames of the round.
        data: these frames; the tag `top` says which are tops.
        known: frames that the model was trained on, or that chose its hyperparameters.
    """
    top = data.tags.get(TOP, np.zeros(len(data), bool))
    if not top.any():
        return None
    lowest = int(known.labels()[0].argmin())
    origin = model(known.positions[[lowest]]).energies - known.labels()[0][lowest]
    off = found.energies[top] - data.labels()[0][top] - origin
    return float(np.abs(off).max()) / KCAL_MOL


def rms(values: np.ndarray) -> float:
    """Root mean square of an array."""
    return float(np.sqrt((values**2).mean()))


def force_rmse(squares: np.ndarray) -> float:
    """RMSE of force components in kcal/mol/A from mean squared lengths (frames,) in eV/A."""
    return float(np.sqrt(squares.mean() / 3)) / KCAL_MOL
