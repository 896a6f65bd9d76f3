"""A model judged on the labels of its round, which it has not seen."""

from __future__ import annotations

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.methods.exploration import deviation_of
from flexcalc.potential import Evaluation
from flexcalc.results.calibration import PURPOSE, JudgedFrame
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
