"""The smallest family there can be: all that adding one takes, besides a registry line.

Energies are linear in the inverse distances, E = c + sum_p w_p / r_p, fitted to energies and
forces by least squares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.fields import NonNegative
from flexcalc.models.family import TrainedPotential, errors
from flexcalc.models.folder import ModelContent, check_arrays, read_model
from flexcalc.models.training_set import read_training_set, training_set_arrays
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, silent


def features(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse distances (batch, pairs) and their gradient (batch, pairs, atoms, 3)."""
    atoms = positions.shape[1]
    first, second = np.triu_indices(atoms, 1)
    apart = positions[:, first] - positions[:, second]
    inverse = 1 / np.linalg.norm(apart, axis=-1)
    slope = -apart * inverse[..., None] ** 3
    gradient = np.zeros((*inverse.shape, atoms, 3))
    pair = np.arange(len(first))
    gradient[:, pair, first], gradient[:, pair, second] = slope, -slope
    return inverse, gradient


class ToyPotential(TrainedPotential):
    def __init__(self, numbers, weights, constant, facts):
        self.numbers, self.weights, self.constant = np.asarray(numbers), weights, constant
        self.facts = facts

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        inverse, gradient = features(positions)
        forces = -np.einsum("p,bpax->bax", self.weights, gradient)
        return Evaluation(self.constant + inverse @ self.weights, forces)

    def content(self) -> ModelContent:
        return ModelContent(
            family=Toy.name,
            numbers=self.numbers,
            hyperparameters=self.facts["hyperparameters"],
            arrays={
                "weights": self.weights,
                "constant": np.array(self.constant),
                **training_set_arrays(self),
            },
            facts=self.facts,
        )


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Linear regression on inverse distances."""

    name: ClassVar[str] = "toy"

    ridge: NonNegative = 1e-6
    """Penalty of the squared weights."""

    def candidates(self) -> Sequence[Toy]:
        return (self,)

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> ToyPotential:
        energies, forces = train.labels()
        inverse, gradient = features(train.positions)
        rows = -gradient.swapaxes(1, 2).swapaxes(2, 3).reshape(-1, inverse.shape[1])
        rows = np.concatenate([inverse - inverse.mean(axis=0), rows])
        labels = np.concatenate([energies - energies.mean(), forces.ravel()])
        square = rows.T @ rows + self.ridge * np.eye(inverse.shape[1])
        weights = np.linalg.solve(square, rows.T @ labels)
        constant = float(np.mean(energies - inverse @ weights))
        progress(1, 1, "")
        facts = {"hyperparameters": asdict(self), "training_sha256": train.sha256()}
        potential = ToyPotential(train.numbers, weights, constant, facts)
        facts["errors"] = {"training": errors(potential(train.positions), train)}
        return potential

    @classmethod
    def load(cls, folder: Path) -> ToyPotential:
        facts, arrays = read_model(folder)
        pairs = len(facts["numbers"]) * (len(facts["numbers"]) - 1) // 2
        check_arrays(folder, arrays, {"weights": ("f", (pairs,)), "constant": ("f", ())})
        constant = float(arrays["constant"])
        potential = ToyPotential(facts["numbers"], arrays["weights"], constant, facts)
        potential.training_set = read_training_set(folder, potential.numbers, arrays)
        return potential
