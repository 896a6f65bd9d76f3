"""Frames that a model has seen: fingerprints of the geometries that it was trained or chosen on.

They stand in `model.json`, so that an evaluation finds these frames in any file, in any order and
however they are turned; see `flexcalc.geometry.fingerprint`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError
from flexcalc.geometry.fingerprint import NUMBERS, fingerprints, known, tolerance
from flexcalc.models.family import TrainedPotential
from flexcalc.potential import Potential

FACT = "frames"
"""Key of `model.json`: fingerprints (frames, 8) in base64, of training and validation frames."""

TRAINING, VALIDATION = "training", "validation"

MOST_FRAMES = 100_000
"""Number of frames beyond which none are stored, as model.json would become too large."""


def with_frames(
    potential: TrainedPotential,
    training: Dataset,
    validation: Dataset | None,
    seen: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Store the fingerprints of training and validation frames in the facts of a model.

    Args:
        potential: the model.
        training, validation: its frames.
        seen: fingerprints (frames, 8) of frames that its labels were made with, see `used_frames`.
    """
    used = {TRAINING: training, VALIDATION: training[:0] if validation is None else validation}
    if sum(map(len, used.values())) > MOST_FRAMES:
        return
    others = [np.empty((0, NUMBERS))] * 2 if seen is None else seen
    potential.facts["frames"] = {
        name: base64.b64encode(
            np.concatenate([fingerprints(data.numbers, data.positions), other]).tobytes()
        ).decode()
        for (name, data), other in zip(used.items(), others, strict=True)
    }


def used_frames(potential: Potential) -> tuple[np.ndarray, np.ndarray] | None:
    """Fingerprints (frames, 8) of the training and of the validation frames of a model.

    Those of all members of a committee. None for references, and for models of other packages or
    earlier versions.

    Raises:
        FileFormatError: the entry of the model folder is invalid.
    """
    facts = getattr(potential, "facts", None)
    kept = facts.get(FACT) if isinstance(facts, dict) else None
    if kept is not None:
        return _decoded(kept, TRAINING), _decoded(kept, VALIDATION)
    parts = [used_frames(member) for member in getattr(potential, "members", ())]
    there = [part for part in parts if part is not None]
    if not there:
        return None
    first, second = (np.concatenate(prints) for prints in zip(*there, strict=True))
    return first, second


def _decoded(kept: object, name: str) -> np.ndarray:
    try:
        content = base64.b64decode(kept[name], validate=True)  # type: ignore[index]
        found = np.frombuffer(content).reshape(-1, NUMBERS)
    except (KeyError, TypeError, ValueError, binascii.Error):
        found = np.full((1, NUMBERS), np.nan)
    if not np.isfinite(found).all():
        raise FileFormatError(f"{FACT} of the model: expected fingerprints of its {name} frames")
    return found


@dataclass(frozen=True, eq=False)
class Use:
    """What frames were to a model.

    Args:
        training: (frames,) whether it was trained on them.
        validation: (frames,) whether they chose its hyperparameters, and it was not trained on
            them.
    """

    training: np.ndarray
    validation: np.ndarray


def use_of(potential: Potential, prints: np.ndarray) -> Use | None:
    """What frames of these fingerprints (frames, 8) were to a model; None where it is not known.

    Raises:
        FileFormatError: see `used_frames`.
    """
    used = used_frames(potential)
    if used is None:
        return None
    within = tolerance(potential.numbers)
    training, validation = (known(prints, others, within) for others in used)
    return Use(training, validation & ~training)
