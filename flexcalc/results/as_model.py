"""Results that can be used in place of the model that they gave."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.domain import Domain
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import ModelContent
from flexcalc.potential import Evaluation


class ActsAsModel:
    """Called with positions, saved, or handed to a `Calculator`; see `TrainedPotential`."""

    @property
    @abstractmethod
    def model(self) -> TrainedPotential:
        """The model that answers."""

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (atoms,) of the molecule."""
        return self.model.numbers

    @property
    def facts(self) -> ModelFacts:
        """The facts of the model; see `TrainedPotential`."""
        return self.model.facts

    @property
    def domain(self) -> Domain | None:
        """See `TrainedPotential.domain`."""
        return self.model.domain

    def __call__(self, positions: ArrayLike) -> Evaluation:
        """Evaluate a batch (batch, atoms, 3) in angstrom."""
        return self.model(positions)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Evaluate positions that have been checked."""
        return self.model.evaluate(positions)

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """See `CheckedPotential.distance`."""
        return self.model.distance(positions)

    def content(self) -> ModelContent:
        """What the folder of the model holds."""
        return self.model.content()

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as a folder; see `TrainedPotential.save`."""
        self.model.save(Path(folder), overwrite=overwrite)

    def sha256(self) -> str:
        """See `TrainedPotential.sha256`."""
        return self.model.sha256()
