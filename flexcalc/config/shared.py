"""Options that several commands share."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from flexcalc import files
from flexcalc.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class OpensPotentials:
    """Permission to open potentials that contain code."""

    trust: bool = False
    """Open model files that can only be read by running code they contain."""


class Command(Protocol):
    """The config of a command.

    `positional` are the options that are given by place; one with a star takes several. `usual` are
    those that one needs first, in the help of the command; an option of a section goes by its name.
    """

    positional: ClassVar[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class MapsAtoms:
    """Handling of geometries whose identical atoms are in another order than the model's."""

    map_atoms: bool | None = None
    """Reorder the atoms of a geometry to the order of the model's training frames where its bonds
    match only then; by default such a geometry is refused. Coordinates then count atoms in the
    model's order."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """Units and keys of the labels in a dataset file."""

    panel: ClassVar[str] = "Units and keys of the dataset"

    energy_unit: str | None = None
    """Unit of the dataset's energies, such as kcal/mol, for a file that does not declare it: needed
    for an npz, eV by default for an extxyz."""
    force_unit: str | None = None
    """Unit of the dataset's forces; by default the energy unit per angstrom."""
    length_unit: str | None = None
    """Unit of the dataset's positions, for a file that does not declare it; angstrom by default."""
    energy_key: str | None = None
    """Key of the dataset's energies, such as `REF_energy`; by default any of the common ones."""
    forces_key: str | None = None
    """Key or column of the dataset's forces, such as `dft_forces`."""
    labels: Literal["new", "old"] = "new"
    """Labels to use of an rMD17 file: `old` reads old_energies and old_forces."""

    def read(self, path: Path | str | Dataset) -> Dataset:
        """Read a dataset with these units and keys.

        Warns:
            FileWarning: labels, also of a Dataset from memory, that are unlike those of molecules.

        Raises:
            InputError: see `flexcalc.files.read`.
        """
        if isinstance(path, Dataset) and not path.provenance.sha256:
            for line in files.suspicions(path):
                warnings.warn(f"{path.provenance.source}: {line}", files.FileWarning, stacklevel=2)
        return files.read(
            path,
            energy_unit=self.energy_unit,
            length_unit=self.length_unit,
            force_unit=self.force_unit,
            labels=self.labels,
            energy_key=self.energy_key,
            forces_key=self.forces_key,
        )
