"""What several configs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class OpensPotentials:
    """What a command is allowed in opening potentials."""

    trust: bool = False
    """Open model files that can only be read by running code they contain."""


@dataclass(frozen=True, kw_only=True)
class MapsAtoms:
    """What is done with a geometry whose like atoms are in another order than the model's."""

    map_atoms: bool | None = None
    """Put the atoms of a geometry into the order of the model's training frames where only then
    its bonds fit; by default such a geometry is refused. Coordinates then count atoms in the
    model's order."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """How the labels of a dataset file are to be read."""

    energy_unit: str | None = None
    """Unit of the dataset's energies, where an npz does not say."""
    force_unit: str | None = None
    """Unit of the dataset's forces; by default the energy unit per angstrom."""
    labels: Literal["new", "old"] = "new"
    """Which labels of an rMD17 file: `old` takes old_energies and old_forces."""
