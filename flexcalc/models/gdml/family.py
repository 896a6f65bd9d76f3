"""The sGDML family: hyperparameters, training, loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError
from flexcalc.fields import Count, NonNegative, Positive
from flexcalc.models.family import announce, errors
from flexcalc.models.folder import check_arrays, read_model
from flexcalc.models.gdml import solver
from flexcalc.models.gdml.descriptor import InverseDistances, RootDistances
from flexcalc.models.gdml.metric import learn_metric
from flexcalc.models.gdml.predictor import GDMLPotential, check_model
from flexcalc.models.gdml.symmetry import Symmetry, check, find
from flexcalc.potential import Evaluation, check_molecule
from flexcalc.progress import Progress, silent

FIRST_POINTS, FIRST_SIGMA = 300, 10.0
"""Training points and length scale of the model that a metric is learned from."""
FEWEST_TO_DIAGNOSE = 10
LEAST_CORRELATION = 0.95
MOST_OFF_SCALE = 0.1
"""Correlation and slope of training energies that are still taken to be right; the figures are
those of the sgdml package."""


@dataclass(frozen=True, kw_only=True)
class SGDML:
    """Symmetric gradient-domain machine learning on inverse distances.

    Source: Chmiela, Sauceda, Mueller, Tkatchenko, Nat. Commun. 9, 3887 (2018),
    doi:10.1038/s41467-018-06169-2.
    """

    name: ClassVar[str] = "sgdml"

    sigma: Positive | None = None
    """Length scale of the kernel in the space of inverse distances; unset, the best of `sigmas`
    is taken."""
    sigmas: tuple[Positive, ...] = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0)
    """Length scales to try, ascending, when `sigma` is not set."""
    regularization: NonNegative = 1e-10
    """Added to the diagonal of the kernel matrix of forces scaled to unit deviation."""
    symmetry: bool = True
    """Recover the permutations of like atoms from the training geometries and build them in."""
    generators: tuple[str, ...] = ()
    """Permutations in cycle notation, atoms counted from 0, such as "(3 4 5)" or "(1 2)(7 8)":
    the group that they generate is built in instead of one recovered."""
    metric: Literal["plain", "learned"] = "plain"
    """How geometries are compared: `plain` by inverse distances, as in the sgdml package;
    `learned` by the combinations of distances that the energy depends on, found by a first
    model."""
    max_permutations: Count = 100
    """Largest symmetry group to accept; the rarest permutations beyond it are left out."""

    def candidates(self) -> Sequence[SGDML]:
        """One family for each sigma to try; just itself where sigma is set."""
        if self.sigma is not None:
            return (self,)
        return tuple(replace(self, sigma=sigma) for sigma in sorted(self.sigmas))

    def check(self, numbers: np.ndarray) -> None:
        """Refuse hyperparameters that do not fit the molecule of `numbers` (atoms,).

        Raises:
            ConfigError: the generators cannot be; see `symmetry.find`.
        """
        check(
            numbers,
            symmetry=self.symmetry,
            generators=self.generators,
            largest=self.max_permutations,
        )

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> GDMLPotential:
        """Train with the sigma that is set.

        The constant of integration is the mean of E_ref - E_model over all labelled frames at
        hand, those of `validation` included: energies of flexible molecules are nearly
        degenerate, and a constant from the training points alone can be off for the rest.

        Args:
            train: the training points, with energies and forces.
            validation: further labelled frames, or None.
            rng: thins out the geometries of the symmetry search where there are many.
            progress: told the steps of the kernel matrix.

        Raises:
            ConfigError: sigma is not set.
            InputError: the kernel matrix does not fit into memory or is singular.
            FileFormatError: a dataset has no labels.
            MoleculeError: the datasets are of different molecules.
        """
        trained = next(self.fit_many((self,), train, validation, rng, progress))
        announce(trained)
        return trained

    def fit_many(
        self,
        candidates: Sequence[SGDML],
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> Iterator[GDMLPotential]:
        """Train candidates that differ in sigma or regularization, each when it is asked for.

        They share the symmetry search, the descriptors and their Jacobians. See `fit`.
        """
        train.labels()
        if validation is not None:
            check_molecule(train.numbers, validation.numbers, "validation frames")
            validation.labels()
        if len(train.numbers) < 2 or not len(train):
            raise InputError("sgdml needs at least one training point of at least two atoms")
        base = InverseDistances(len(train.numbers))
        solver.check_memory(len(train), len(train.numbers), base.size)
        group = self._group(train, rng)
        transform = None
        if self.metric == "learned":
            transform = self._metric(base, group, train, rng)
        points = solver.prepare(
            base if transform is None else RootDistances(base, transform),
            train.positions,
            group.permutations,
        )
        for candidate in candidates:
            trained = candidate._train(points, group, train, transform, progress)
            yield candidate._finished(trained, group, train, validation)

    def _metric(
        self, base: InverseDistances, group: Symmetry, train: Dataset, rng: Generator
    ) -> np.ndarray:
        """The transform of `RootDistances`, learned from a model of at most FIRST_POINTS."""
        chosen = np.sort(rng.permutation(len(train))[:FIRST_POINTS])
        first = train[chosen]
        setting = replace(self, sigma=FIRST_SIGMA)

        def fit(transform: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            descriptor = RootDistances(base, transform)
            points = solver.prepare(descriptor, first.positions, group.permutations)
            model = setting._train(points, group, first, transform, silent)
            return lambda features: model.contract(features)[1]

        return learn_metric(base, train.positions, group.permutations, fit)

    def _group(self, train: Dataset, rng: Generator) -> Symmetry:
        return find(
            train.numbers,
            train.positions,
            rng,
            symmetry=self.symmetry,
            generators=self.generators,
            largest=self.max_permutations,
        )

    def _train(
        self,
        points: solver.TrainingPoints,
        group: Symmetry,
        train: Dataset,
        transform: np.ndarray | None,
        progress: Progress,
    ) -> GDMLPotential:
        if self.sigma is None:
            raise ConfigError(
                "sigma is not set: set it, or let training.tuning.fit_best choose from sigmas"
            )
        _, forces = train.labels()
        scale = float(np.std(forces))
        if scale == 0.0:
            raise InputError("every training force is the same: there is nothing to learn")
        labels = forces.reshape(len(train), 1, -1) @ points.motions / scale
        kernel = solver.assemble(points, self.sigma, progress)
        beta = solver.solve(kernel, labels.ravel(), self.regularization)
        del kernel
        beta = beta.reshape(len(train), -1, 1)
        return GDMLPotential(
            numbers=train.numbers,
            permutations=group.permutations,
            features=points.features,
            coefficients=-(points.jacobians @ beta)[..., 0],
            sigma=self.sigma,
            scale=scale,
            transform=transform,
        )

    def _finished(
        self,
        trained: GDMLPotential,
        group: Symmetry,
        train: Dataset,
        validation: Dataset | None,
    ) -> GDMLPotential:
        """The same model with its constant of integration and the facts about it."""
        sets = {"training": train}
        if validation is not None and len(validation):
            sets["validation"] = validation
        found = {name: trained(frames.positions) for name, frames in sets.items()}
        offsets = [frames.labels()[0] - found[name].energies for name, frames in sets.items()]
        constant = float(np.mean(np.concatenate(offsets)))
        notes = (group.warning, diagnosis(train.labels()[0], found["training"].energies))
        facts: dict[str, Any] = {
            "hyperparameters": _plain(self),
            "training_sha256": train.sha256(),
            "training_points": len(train),
            "permutations": len(group.permutations),
            "symmetry": {"generators": group.generators(), "notes": list(group.notes)},
            "level": train.provenance.level,
            "errors": {
                name: errors(_shifted(found[name], constant), frames)
                for name, frames in sets.items()
            },
            "warnings": [note for note in notes if note],
        }
        return trained.finished(constant, facts)

    @classmethod
    def load(cls, folder: Path) -> GDMLPotential:
        """Read a model folder.

        Raises:
            FileFormatError: damaged, of another family, or its arrays do not fit together.
        """
        facts, arrays = read_model(folder)
        if facts["family"] != cls.name:
            raise FileFormatError(
                f"{folder}: expected a model of the family {cls.name}, found {facts['family']!r}"
            )
        atoms = len(facts["numbers"])
        size = InverseDistances(atoms).size
        points = len(arrays.get("features", ()))
        shapes = {
            "permutations": ("i", (None, atoms)),
            "features": ("f", (None, size)),
            "coefficients": ("f", (points, size)),
            "scale": ("f", ()),
            "constant": ("f", ()),
        }
        if "transform" in arrays:
            shapes["transform"] = ("f", (size, size))
        check_arrays(folder, arrays, shapes)
        sigma = facts["hyperparameters"].get("sigma")
        check_model(folder, np.array(facts["numbers"]), arrays, sigma)
        return GDMLPotential(
            numbers=np.array(facts["numbers"]),
            permutations=arrays["permutations"],
            features=arrays["features"],
            coefficients=arrays["coefficients"],
            sigma=sigma,
            scale=float(arrays["scale"]),
            constant=float(arrays["constant"]),
            transform=arrays.get("transform"),
            facts=facts,
        )


def diagnosis(reference: np.ndarray, predicted: np.ndarray) -> str | None:
    """What is suspicious about the energies of training frames, as one line, or None.

    The forces alone determine the predicted energies up to a constant: where the two disagree,
    energies and forces do not belong together.

    Args:
        reference: (frames,) energies of the labels, in eV.
        predicted: (frames,) energies of the model, with any offset.
    """
    reference, predicted = reference - reference.mean(), predicted - predicted.mean()
    norms = float(np.linalg.norm(reference)), float(np.linalg.norm(predicted))
    if len(reference) < FEWEST_TO_DIAGNOSE or min(norms) == 0.0:
        return None
    product = float(reference @ predicted)
    correlation, slope = product / (norms[0] * norms[1]), product / norms[1] ** 2
    if slope < 0:
        return (
            "the training energies fall where the forces say they rise "
            f"(correlation {correlation:.2f}): gradients seem to have been given as forces"
        )
    if correlation < LEAST_CORRELATION:
        return (
            f"the training energies correlate by only {correlation:.2f} with those that the "
            "forces give: too few training points, or labels that do not belong together"
        )
    if abs(slope - 1) > MOST_OFF_SCALE:
        return (
            f"the training energies vary {slope:.3g} times as much as the forces say: "
            "check that energies and forces are in eV and eV/angstrom"
        )
    return None


def _plain(family: SGDML) -> dict[str, Any]:
    """The hyperparameters one model has; the grid is not one of them."""
    return {key: value for key, value in asdict(family).items() if key != "sigmas"}


def _shifted(evaluation: Evaluation, constant: float) -> Evaluation:
    return replace(evaluation, energies=evaluation.energies + constant)
