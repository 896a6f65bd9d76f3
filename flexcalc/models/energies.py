"""The range of the energies that a model was trained on."""

from __future__ import annotations

from typing import cast

import numpy as np

from flexcalc.models.facts import ModelFacts, TrainingEnergies, training_energies_in
from flexcalc.potential import Potential


def energies_of(energies_eV: np.ndarray) -> TrainingEnergies:
    """The range, mean and spread of training energies (frames,) in eV."""
    return {
        "lowest": float(energies_eV.min()),
        "highest": float(energies_eV.max()),
        "mean": float(energies_eV.mean()),
        "spread": float(energies_eV.std()),
    }


def training_energies(potential: Potential) -> TrainingEnergies | None:
    """The training energies of a model, or of all members of a committee together.

    None for references, for models that were trained on forces alone, and for models of other
    packages or earlier versions.

    Raises:
        FileFormatError: the entry of the model folder is invalid.
    """
    facts = getattr(potential, "facts", None)
    own = training_energies_in(cast(ModelFacts, facts)) if isinstance(facts, dict) else None
    if own is None:
        members = [training_energies(member) for member in getattr(potential, "members", ())]
        known = [member for member in members if member is not None]
        return _together(known) if members and len(known) == len(members) else None
    return own


def _together(known: list[TrainingEnergies]) -> TrainingEnergies:
    return {
        "lowest": min(one["lowest"] for one in known),
        "highest": max(one["highest"] for one in known),
        "mean": float(np.mean([one["mean"] for one in known])),
        "spread": max(one["spread"] for one in known),
    }
