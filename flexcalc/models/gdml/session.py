"""Training of many candidates on one dataset, which share what does not depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError
from flexcalc.models.gdml.descriptor import Descriptor
from flexcalc.models.gdml.folds import Folds
from flexcalc.models.gdml.kernel import TrainingPoints
from flexcalc.models.gdml.potential import GDMLPotential
from flexcalc.models.gdml.solver import Solver
from flexcalc.models.gdml.symmetry import Symmetry
from flexcalc.potential import Evaluation

if TYPE_CHECKING:
    from flexcalc.models.gdml.family import SGDML


class Basis(NamedTuple):
    """What the candidates of one session have in common.

    Args:
        descriptor, group: of the molecule.
        train, validation: frames to train on, and others.
        seed: that every candidate draws from.
        centres: (terms, 2) atoms of a kernel by bonds, see `bonds`; None for that of the molecule.
    """

    descriptor: Descriptor
    group: Symmetry
    train: Dataset
    validation: Dataset | None
    seed: int
    centres: np.ndarray | None


class SGDMLSession:
    """Trains candidates of one dataset; see `SGDML.session`.

    Args:
        basis: what the candidates have in common.
        solver: makes the solver for a length scale.
        folding: makes what leaves out folds, for a length scale; None where models have to be
            trained again for each fold.
    """

    def __init__(
        self,
        basis: Basis,
        solver: Callable[[float], Solver],
        folding: Callable[[float, Sequence[np.ndarray]], Folds] | None,
    ):
        self.basis, self.make_solver, self.make_folds = basis, solver, folding
        self.solver: Solver | None = None
        self.folds: Folds | None = None
        self.suspicion: str | None = None
        self.begun = False

    def fit(self, candidate: SGDML) -> GDMLPotential:
        """Train a candidate; every one draws from the same seed.

        Raises:
            ConfigError: its sigma is not set.
        """
        _, group, train, validation, _, _ = self.basis
        if candidate.sigma is None:
            raise ConfigError(
                "sigma is not set: set it, or let training.tuning.fit_best choose from sigmas"
            )
        if not self.begun:
            self.suspicion = candidate._suspicion(self.basis.descriptor, group, train)
            self.begun = True
        if self.solver is None or self.solver.kernel.sigma != candidate.sigma:
            self.solver = self.folds = None  # their memory is needed
            self.solver = self.make_solver(candidate.sigma)
        trained = candidate._trained(self.solver, self.basis)
        return candidate._finished(trained, group, train, validation, self.suspicion)

    def left_out(
        self, candidate: SGDML, folds: Sequence[np.ndarray], others: Sequence[Evaluation] = ()
    ) -> list[Evaluation] | None:
        """See `FoldingSession.left_out`.

        Raises:
            ConfigError: its sigma is not set.
            InputError: the kernel matrix is singular.
        """
        if self.make_folds is None:
            return None
        if candidate.sigma is None:
            raise ConfigError("sigma is not set")
        same = self.folds is not None and self.folds.kernel.sigma == candidate.sigma
        if self.folds is None or not same:
            self.solver = self.folds = None  # their memory is needed
            self.folds = self.make_folds(candidate.sigma, folds)
        train, points = self.basis.train, self.folds.kernel.points
        energies = np.zeros(len(train)) if train.energies is None else train.energies
        sets = [Evaluation(energies, train.force_labels()), *others]
        # Large energies would lose digits.
        means = [float(np.mean(one.energies)) for one in sets]
        labels = [
            points.labels(one.energies - mean, one.forces)
            for one, mean in zip(sets, means, strict=True)
        ]
        found = self.folds.predict(np.stack(labels, axis=2), candidate.regularization)
        return [_evaluation(points, found[..., index], mean) for index, mean in enumerate(means)]


def _evaluation(points: TrainingPoints, values: np.ndarray, mean: float) -> Evaluation:
    """Energies and forces from values (points, unknowns) of the unknowns of training points."""
    motions = points.motions.shape[2]
    forces = (points.motions @ values[:, :motions, None])[..., 0].reshape(len(values), -1, 3)
    energies = values[:, motions] if points.energies else np.zeros(len(values))
    return Evaluation(energies + mean, forces)
