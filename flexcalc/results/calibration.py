"""Force errors that the committee of a learning predicts, compared with the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from flexcalc.analysis.calibration import (
    FACTOR,
    confident_half_large_errors,
    deviation_scale,
    share_within_factor,
)
from flexcalc.display import learning
from flexcalc.display.drawing import Drawing
from flexcalc.ranks import rank_correlation
from flexcalc.results.base import Figures, figure
from flexcalc.results.rows import Row

CALIBRATION = "calibration.json"
PURPOSE = "purpose"
UNSURE, BAND, SCAN = "unsure", "band", "scan"
RANDOM, FIRST, CHECK = "random", "first", "check"
KNOWN = "known"
"""The tag of a labelled frame that says why it was chosen, and its values."""
ENOUGH = 10
"""Random frames from which on they have figures of their own."""


@dataclass(frozen=True, kw_only=True)
class JudgedFrame(Row):
    """A labelled frame before it was trained on, as the model of its round predicted it.

    Errors and deviations are root mean squares over the Cartesian components of all atoms.
    """

    stage: ClassVar[str] = "calibration"
    needed: ClassVar[tuple[str, ...]] = (
        *("round", "purpose", "deviation_kcal_mol_A"),
        *("predicted_error_kcal_mol_A", "error_kcal_mol_A"),
    )

    round: int
    purpose: str
    """Why it was labelled: random, unsure or band."""
    deviation_kcal_mol_A: float
    """Of the committee's forces, in kcal/mol/angstrom."""
    predicted_error_kcal_mol_A: float
    """The deviation times the scale of the rounds before, in kcal/mol/angstrom."""
    error_kcal_mol_A: float
    """Of the forces, in kcal/mol/angstrom."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Calibration(Figures):
    """How reliable predicted force errors are, on frames before they were trained on."""

    judged_frames: int = figure("frames with predicted errors")
    """Frames of all rounds."""
    confident_half_large_errors: float | None = figure(
        "large errors in the confident half, share", default=None
    )
    """Of the half of the frames with the lowest predicted errors, the share whose true error
    exceeds twice the force target."""
    rank_correlation: float | None = figure(
        "rank correlation of predicted and true errors", default=None
    )
    """Spearman's."""
    share_within_factor_2: float | None = figure("errors predicted within factor 2", default=None)
    """Share of the frames whose true error is between half and twice the predicted one."""

    @classmethod
    def of(cls, frames: Sequence[JudgedFrame], target_kcal_mol_A: float) -> Self:
        """The figures of some frames, at least one.

        Args:
            frames: of one or several rounds.
            target_kcal_mol_A: of the forces.
        """
        predicted, errors = predicted_and_true(frames)
        return cls(
            judged_frames=len(frames),
            confident_half_large_errors=confident_half_large_errors(
                predicted, errors, target_kcal_mol_A
            ),
            rank_correlation=rank_correlation(predicted, errors) if len(frames) > 2 else None,
            share_within_factor_2=share_within_factor(predicted, errors),
        )


def random_frames(frames: Sequence[JudgedFrame]) -> list[JudgedFrame]:
    """Those that were drawn at random, whose errors are unbiased."""
    return [frame for frame in frames if frame.purpose == RANDOM]


def predicted_and_true(frames: Sequence[JudgedFrame]) -> tuple[np.ndarray, np.ndarray]:
    """Errors (frames,) each, in kcal/mol/angstrom."""
    predicted = [frame.predicted_error_kcal_mol_A for frame in frames]
    return np.array(predicted), np.array([frame.error_kcal_mol_A for frame in frames])


def scale_of(frames: Sequence[JudgedFrame]) -> float:
    """Factor from a deviation to the error that it lets expect; 1 without frames."""
    rounds = np.array([frame.round for frame in frames])
    deviations = np.array([frame.deviation_kcal_mol_A for frame in frames])
    return deviation_scale(rounds, deviations, predicted_and_true(frames)[1])


def calibration_drawing(frames: Sequence[JudgedFrame]) -> Drawing | None:
    """Predicted against true errors; None without frames."""
    chosen = [frame for frame in frames if frame.purpose != RANDOM]
    groups = {"random frames": random_frames(frames), "chosen frames": chosen}
    pairs = {name: predicted_and_true(group) for name, group in groups.items() if group}
    return learning.calibration(pairs, FACTOR) if pairs else None
