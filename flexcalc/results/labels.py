"""The result of labelling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import figures
from flexcalc.display.drawing import Drawing
from flexcalc.labelling import LABELS, QUARANTINE
from flexcalc.results.base import Result, data_frame, figure

if TYPE_CHECKING:
    from ase import Atoms


CONFORMERS = "conformers.xyz"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Labels(Result):
    """Geometries with energies and forces of a reference, in the order they were sampled.

    Can be given wherever a dataset is wanted, such as to `flexcalc.train` and `flexcalc.write`.
    """

    command: ClassVar[str] = "label"
    headline: ClassVar[tuple[str, ...]] = ("reference", "frames", "quarantined")

    reference: str = figure("reference")
    """Address of the reference, or the class of one that was given as an object."""
    sampler: str = figure("sampler")
    """Potential that drove the sampling."""
    frames: int = figure("labelled frames")
    """Number of frames with energies and forces."""
    quarantined: int = figure("frames in quarantine")
    """Number of geometries that the reference gave no label for."""
    workers: int = figure("workers")
    """Processes that labelled at the same time on this machine."""
    labelling_seconds: float = figure("labelling", "s")
    """Wall time of the labelling, in seconds."""

    def __len__(self) -> int:
        return self.frames

    @cached_property
    def dataset(self) -> Dataset:
        """The labelled frames, with the tags `start`, `sampling`, `time_fs`, `temperature_K` and
        `index`, the number of the geometry."""
        return self.store.get(LABELS)

    @cached_property
    def quarantine(self) -> Dataset | None:
        """The geometries without a label, with the tag `reason`; None where there are none."""
        return self.store.get(QUARANTINE)

    @cached_property
    def conformers(self) -> Dataset | None:
        """The relaxed conformers of a SMILES with their energies by the reference, lowest first;
        None where no start was a SMILES."""
        return self.store.get(CONFORMERS)

    def to_dataset(self) -> Dataset:
        """The labelled frames; see `dataset`."""
        return self.dataset

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (atoms,)."""
        return self.dataset.numbers

    @property
    def positions(self) -> np.ndarray:
        """Positions (frames, atoms, 3) in angstrom."""
        return self.dataset.positions

    @property
    def energies(self) -> np.ndarray:
        """Energies (frames,) in eV."""
        return self.dataset.labels()[0]

    @property
    def forces(self) -> np.ndarray:
        """Forces (frames, atoms, 3) in eV/angstrom."""
        return self.dataset.force_labels()

    def atoms(self) -> list[Atoms]:
        """The frames as ase.Atoms, with energies and forces."""
        return self.dataset.to_atoms()

    def to_frame(self) -> Any:
        """A pandas table with a row for each frame: its energy in eV and its tags."""
        return data_frame({"energy_eV": self.energies, **self.dataset.tags})

    def first_geometry(self) -> Dataset | None:
        """The first labelled frame."""
        return self.store.first(LABELS)

    def drawing(self) -> Drawing | None:
        """A histogram of the energies above the lowest, by start where there are several."""
        found = self.store.get(LABELS)
        if found is None or found.energies is None:
            return None
        return figures.energies(figures.groups(found.tags, found.energies))

    def summary(self) -> str:
        """The labels in one line."""
        rest = ""
        if self.quarantine is not None:
            first = self.quarantine.tags["reason"][0]
            rest = f", {self.quarantined} in quarantine (the first: {first})"
        return f"labelled {self.frames} frames with {self.reference}{rest}"
