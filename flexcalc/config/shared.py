"""What several configs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flexcalc import files
from flexcalc.dataset import Dataset


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
    length_unit: str | None = None
    """Unit of the dataset's positions, where the file does not say; angstrom by default."""
    energy_key: str | None = None
    """Key of the dataset's energies, such as `REF_energy`; by default any of the usual ones."""
    forces_key: str | None = None
    """Key or column of the dataset's forces, such as `dft_forces`."""
    labels: Literal["new", "old"] = "new"
    """Which labels of an rMD17 file: `old` takes old_energies and old_forces."""

    def read(self, path: Path) -> Dataset:
        """Read a dataset so.

        Raises:
            InputError: see `flexcalc.files.read`.
        """
        return files.read(
            path,
            energy_unit=self.energy_unit,
            length_unit=self.length_unit,
            force_unit=self.force_unit,
            labels=self.labels,
            energy_key=self.energy_key,
            forces_key=self.forces_key,
        )
