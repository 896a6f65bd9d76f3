"""The sGDML family: hyperparameters and training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal, cast

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, InputError
from flexcalc.fields import Count, Fraction, Natural, NonNegative, Percentile, Positive
from flexcalc.files.label_check import coherent
from flexcalc.models.facts import FeatureRow, ModelFacts, Row
from flexcalc.models.family import ALONE, TrainedPotential, announce, check_sets, errors
from flexcalc.models.gdml import reduction
from flexcalc.models.gdml.bonds import bond_centres, terms_of
from flexcalc.models.gdml.descriptor import (
    CompositeDescriptor,
    Descriptor,
    InverseDistances,
    RootDistances,
    extended,
)
from flexcalc.models.gdml.diagnosis import diagnosis
from flexcalc.models.gdml.engine import engine
from flexcalc.models.gdml.folds import Folds, fits_into_memory
from flexcalc.models.gdml.groups import generators_of
from flexcalc.models.gdml.kernel import Kernel, TrainingPoints, prepare
from flexcalc.models.gdml.metric import learn_metric
from flexcalc.models.gdml.potential import Expansion, GDMLPotential, read_potential
from flexcalc.models.gdml.session import Basis, SGDMLSession
from flexcalc.models.gdml.solver import Setting, Solver
from flexcalc.models.gdml.symmetry import Symmetry, check, find
from flexcalc.potential import Evaluation
from flexcalc.progress import Progress, silent

FIRST_POINTS, FIRST_SIGMA = 300, 10.0
"""Training points and length scale of the model that a metric is learned from."""
GRID = (5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0)
DOWNWARDS, UPWARDS = 0.5, 1.5
"""Default grid of length scales, and the factors by which it is extended beyond its edges."""
PERCENTILES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
"""Percentages of the features that may be dropped, by default."""
FEW_POINTS = 200
"""Training points up to which `kernel = "auto"` is by bonds: up to there its errors were found to
be lower for every molecule, and a call takes some milliseconds at most."""
DIAGNOSED = 100
"""Training points on which it is checked that energies and forces belong together."""


@dataclass(frozen=True, kw_only=True)
class SGDML:
    """Symmetric gradient-domain machine learning.

    Source: Chmiela, Sauceda, Mueller, Tkatchenko, Nat. Commun. 9, 3887 (2018),
    doi:10.1038/s41467-018-06169-2.
    """

    name: ClassVar[str] = "sgdml"

    sigma: Positive | None = None
    """Length scale of the kernel in descriptor space; by default the best of `sigmas`."""
    sigmas: tuple[Positive, ...] = GRID
    """Length scales to try if `sigma` is not set, ascending; the default grid is extended while the
    best one is at its edge."""
    regularization: NonNegative = 1e-10
    """Regularisation: added to the diagonal of the kernel matrix of standardised forces."""
    regularizations: tuple[NonNegative, ...] = ()
    """Regularisations to try instead of `regularization`, each with every length scale."""
    symmetry: bool = True
    """Recover permutation symmetries of identical atoms from the training geometries, and impose
    them."""
    generators: tuple[str, ...] = ()
    """Permutations in cycle notation, atoms counted from 0, such as "(3 4 5)" or "(1 2)(7 8)": the
    group that they generate is imposed instead of a recovered one."""
    max_permutations: Count = 100
    """Maximum size of the symmetry group; beyond it, the rarest permutations are left out."""
    descriptor: Literal["extended", "distances"] = "extended"
    """Descriptor of geometries: all inverse `distances`, as in the sgdml package, or `extended` by
    all bonded angles and dihedrals."""
    angle_weight: Positive = 0.3
    """Weight of angles relative to inverse distances, in the extended descriptor."""
    dihedral_weight: Positive = 0.1
    """Weight of dihedrals relative to inverse distances, in the extended descriptor."""
    kernel: Literal["auto", "molecule", "bonds"] = "auto"
    """Similarity of geometries: of the `molecule`, by all features at once, as in the sgdml
    package, or the sum over `bonds`, each compared by the features of its two atoms: lower errors
    with few training points, and slower calls. `auto` is by bonds up to 200 training points, with
    the extended descriptor and all its features."""
    features: Literal["all", "reduced"] = "all"
    """Features of the descriptor to use: `all`, or `reduced`: the best model with all features is
    retrained without the least important ones."""
    ranking: Literal["importance", "distance"] = "importance"
    """Ranking of features for dropping: by `importance` for the model's forces, lowest first; or by
    `distance`, longest first, which may be better with few training points."""
    percentiles: tuple[Percentile, ...] = PERCENTILES
    """Percentages of features to drop that are tried; the highest within `reduction_tolerance` is
    used."""
    reduction_tolerance: Fraction = 0.05
    """Accepted relative increase of the validation force RMSE over that of the best number of
    features."""
    kept: tuple[Natural, ...] = ()
    """Indices of the features to use, ascending and counted from 0, if known; all by default."""
    metric: Literal["plain", "learned"] = "plain"
    """Similarity metric of geometries: `plain`, the descriptor, as in the sgdml package; or
    `learned`, the combinations of distances that the energy depends on, from a first model."""
    energies: Literal["fitted", "labelled", "training"] = "fitted"
    """Use of the energy labels, if any: `fitted` together with the forces; or only to determine the
    constant of integration, from all `labelled` frames (training and validation) or, as in the
    sgdml package, from the `training` points."""
    solver: Literal["auto", "exact", "iterative"] = "auto"
    """Linear solver: `exact` stores half the kernel matrix, `iterative` some of its columns; `auto`
    is exact up to 30,000 rows (450 points of azobenzene), on a GPU always, if memory allows."""
    columns: Count | None = None
    """Columns of the preconditioner of the iterative solver; by default a tenth of the matrix, at
    most 4000."""
    tolerance: Fraction = 1e-4
    """Residual, relative to the labels, at which the iterative solver stops."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """Device for training; `auto` is a GPU if torch finds one."""

    @property
    def forces_alone(self) -> bool:
        """It can learn from forces alone; see `ForcesFamily`."""
        return True

    @property
    def weighs_labels(self) -> bool:
        """The regularization of a point is divided by its weight; see `WeighingFamily`."""
        return True

    def candidates(self) -> Sequence[SGDML]:
        """One family for each sigma with each regularization; those that are set do not vary."""
        sigmas = sorted(self.sigmas) if self.sigma is None else (self.sigma,)
        # Ascending, so that the factor for the first serves the others.
        regularizations = sorted(self.regularizations) or (self.regularization,)
        return tuple(
            replace(self, sigma=sigma, regularization=regularization, regularizations=())
            for sigma in sigmas
            for regularization in regularizations
        )

    def settled(self, points: int) -> SGDML:
        """With the kernel that `auto` is for a number of training points; see `SettlingFamily`."""
        if self.kernel != "auto":
            return self
        whole = self.features == "all" and not self.kept and self.metric == "plain"
        fit = whole and self.descriptor == "extended" and points <= FEW_POINTS
        return replace(self, kernel="bonds" if fit else "molecule")

    def extend_grid(self, best: SGDML) -> SGDML | None:
        """The next sigma outwards of the grid that is tried by default; see `GrowingFamily`."""
        if self.sigma is not None or self.sigmas != GRID or best.sigma is None:
            return None
        if GRID[0] < best.sigma < GRID[-1]:
            return None
        factor = DOWNWARDS if best.sigma <= GRID[0] else UPWARDS
        return replace(best, sigma=best.sigma * factor)

    def reductions(self) -> Sequence[float]:
        """The percentiles to try, ascending, if a reduction is wanted; see `ReducingFamily`."""
        return sorted(self.percentiles) if self.features == "reduced" and not self.kept else ()

    def importances(
        self, potential: TrainedPotential, positions: np.ndarray, progress: Progress = silent
    ) -> list[FeatureRow]:
        """How much each feature matters to a model of this family; see `reduction.table`."""
        return reduction.table(cast(GDMLPotential, potential), positions, progress)

    def reduced(
        self, potential: TrainedPotential, importances: Sequence[FeatureRow], percentile: float
    ) -> SGDML:
        """This family without the features that rank lowest; with the potential's own group.

        The group is pinned, as features that it exchanges were kept or dropped together.
        """
        model = cast(GDMLPotential, potential)
        order = model.descriptor.relabelled(model.permutations)
        rank = reduction.ranks(importances, self.ranking)
        generators = tuple(generators_of(model.permutations))
        return replace(
            self,
            kept=tuple(reduction.kept(rank, order, percentile).tolist()),
            symmetry=bool(generators),
            generators=generators,
        )

    def check(self, numbers: np.ndarray) -> None:
        """Refuse hyperparameters that do not fit the molecule of `numbers` (atoms,).

        Raises:
            ConfigError: the generators cannot be, see `symmetry.find`; or two hyperparameters
                contradict each other.
            InputError: the features to keep are none of the molecule's, or there is no such
                device.
        """
        engine(self.device)
        if self.kernel == "bonds" and (
            self.metric == "learned" or self.kept or self.features == "reduced"
        ):
            raise ConfigError(
                'kernel = "bonds" needs all features as they are: set kernel = "molecule", or '
                'metric = "plain", features = "all" and no kept'
            )
        if self.metric == "learned" and self.descriptor != "distances":
            raise ConfigError('metric = "learned" works with descriptor = "distances" only')
        if self.metric == "learned" and (self.kept or self.features == "reduced"):
            raise ConfigError(
                'metric = "learned" mixes all distances, so none can be left out: set features = '
                '"all" and no kept, or metric = "plain"'
            )
        if self.kept and self.descriptor == "distances":
            InverseDistances(len(numbers)).subset(np.array(self.kept))
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

        Args:
            train: the training points, with forces; energies may be missing.
            validation: further labelled frames, or None.
            rng: subsamples the geometries for the symmetry search if there are many, and draws the
                columns of the preconditioner.
            progress: called with the steps of the kernel matrix or of the iterations.

        Raises:
            ConfigError: sigma is not set, or two hyperparameters contradict each other.
            InputError: the kernel matrix does not fit into memory or is singular.
            FileFormatError: a dataset has no labels.
            MoleculeError: the datasets are of different molecules.
        """
        trained = self.session(train, validation, rng, progress).fit(self)
        announce(trained)
        return trained

    def session(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
        folder: Path | None = None,
    ) -> SGDMLSession:
        """Begin to train candidates that differ in sigma or regularization.

        They share the symmetry search, the descriptors and their Jacobians, and candidates of the
        same sigma the factor of the kernel matrix. See `fit`; `folder` is for checkpoints of the
        iterative solver, from which it resumes.
        """
        self._check(train, validation)
        group = find(
            train.numbers,
            train.positions,
            rng,
            symmetry=self.symmetry,
            generators=self.generators,
            largest=self.max_permutations,
        )
        descriptor = self._descriptor(train, group, rng)
        seed = int(rng.integers(2**62))
        fitted = self._fits_energies(train)
        centres = self._centres(train, group)
        points = prepare(
            descriptor,
            train.positions,
            group.permutations,
            fitted,
            train.weights,
            () if centres is None else terms_of(descriptor, centres),
        )

        def solver(sigma: float) -> Solver:
            kernel = Kernel(points, sigma, engine(self.device))
            setting = replace(self._setting(), folder=folder)
            return Solver(kernel, setting, progress, self.regularizations)

        def folding(sigma: float, folds: Sequence[np.ndarray]) -> Folds:
            return Folds(Kernel(points, sigma, engine(self.device)), folds, progress)

        basis = Basis(descriptor, group, train, validation, seed, centres)
        return SGDMLSession(basis, solver, folding if self._leaves_out(points) else None)

    @property
    def folds_at_once(self) -> bool:
        """Whether models without some of the points follow from one kernel matrix.

        Not where labels shape the descriptor, or where energies only set the constant.
        """
        return self.metric == "plain" and self.energies == "fitted" and self.solver != "iterative"

    def _leaves_out(self, points: TrainingPoints) -> bool:
        """Whether the kernel matrix of these points can be made once for all folds."""
        size = points.features.shape[1]
        exact = self._setting().chosen(len(points), points.unknowns, size) == "exact"
        return self.folds_at_once and exact and fits_into_memory(points.rows)

    def _check(self, train: Dataset, validation: Dataset | None) -> None:
        """Refuse what cannot be trained on, before any work."""
        check_sets(self, train, validation)
        self.check(train.numbers)
        if float(np.std(train.force_labels())) == 0.0:
            raise InputError("every training force is the same: there is nothing to learn")
        atoms = len(train.numbers)
        unknowns = max(3 * atoms - 6, 3) + self._fits_energies(train)
        self._setting().chosen(len(train), unknowns, self._size(train))

    def _fits_energies(self, train: Dataset) -> bool:
        """Whether energies are fitted together with the forces."""
        return self.energies == "fitted" and train.energies is not None

    def _size(self, train: Dataset) -> int:
        """Features, as far as that is known before the symmetry is."""
        if self.kept:
            return len(self.kept)
        if self.descriptor == "extended":
            return extended(train.numbers, train.positions).size
        return InverseDistances(len(train.numbers)).size

    def _setting(self) -> Setting:
        return Setting(
            kind=self.solver,
            columns=self.columns,
            tolerance=self.tolerance,
            engine=engine(self.device),
        )

    def _descriptor(self, train: Dataset, group: Symmetry, rng: Generator) -> Descriptor:
        base = InverseDistances(len(train.numbers))
        if self.kept:
            everything = replace(self, kept=())._descriptor(train, group, rng)
            return cast(InverseDistances | CompositeDescriptor, everything).subset(
                np.array(self.kept)
            )
        if self.descriptor == "extended":
            weights = (1.0, self.angle_weight, self.dihedral_weight)
            return extended(train.numbers, train.positions, weights, group.permutations)
        if self.metric == "learned":
            return RootDistances(base, self._metric(base, group, train, rng))
        return base

    def _centres(self, train: Dataset, group: Symmetry) -> np.ndarray | None:
        """The atoms (terms, 2) of the terms of a kernel by bonds; None for that of the molecule."""
        if self.settled(len(train)).kernel == "molecule":
            return None
        return bond_centres(train.numbers, train.positions, group.permutations)

    def _metric(
        self, base: InverseDistances, group: Symmetry, train: Dataset, rng: Generator
    ) -> np.ndarray:
        """The transform of `RootDistances`, learned from a model of at most FIRST_POINTS."""
        chosen = np.sort(rng.permutation(len(train))[:FIRST_POINTS])
        first = train[chosen]
        setting = replace(self, sigma=FIRST_SIGMA)

        def fit(transform: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            model = setting._of_forces(RootDistances(base, transform), group, first)
            return lambda features: model.contract(features)[1]

        return learn_metric(base, train.positions, group.permutations, fit)

    def _of_forces(self, descriptor: Descriptor, group: Symmetry, train: Dataset) -> GDMLPotential:
        """A preliminary model of forces alone, to analyse the labels."""
        points = prepare(descriptor, train.positions, group.permutations, weights=train.weights)
        kernel = Kernel(points, self.sigma or FIRST_SIGMA, engine(self.device))
        solver = Solver(kernel, replace(self._setting(), kind="auto"))
        return self._trained(solver, Basis(descriptor, group, train, None, 0, None))

    def _suspicion(self, descriptor: Descriptor, group: Symmetry, train: Dataset) -> str | None:
        """Problems of the labels, found by a model of forces alone."""
        if not self._fits_energies(train):
            return None  # the model itself tells, or there is nothing to tell
        spread = np.linspace(0, len(train) - 1, min(DIAGNOSED, len(train))).astype(int)
        some = train[np.unique(spread)]
        model = self._of_forces(descriptor, group, some)
        energies = model(some.positions).energies
        return diagnosis(some.labels()[0], energies, lambda: coherent(train))

    def _trained(
        self,
        solver: Solver,
        basis: Basis,
    ) -> GDMLPotential:
        train = basis.train
        forces = train.force_labels()
        energies = np.zeros(len(train)) if train.energies is None else train.energies
        points: TrainingPoints = solver.kernel.points
        scale, mean = float(np.std(forces)), float(np.mean(energies))
        labels = points.labels((energies - mean) / scale, forces / scale)
        solution = solver.solve(labels, self.regularization, basis.seed)
        slopes, weights = points.contracted(solution.beta)
        return GDMLPotential(
            train.numbers,
            Expansion(
                permutations=basis.group.permutations,
                features=points.features,
                coefficients=-slopes,
                energies=weights,
                sigma=solver.kernel.sigma,
                scale=scale,
                constant=mean + scale * solution.constant,
                centres=basis.centres,
            ),
            descriptor=basis.descriptor,
            facts={
                "solution": solution.facts,
                "warnings": [solution.warning] if solution.warning else [],
            },
        )

    def _finished(
        self,
        trained: GDMLPotential,
        group: Symmetry,
        train: Dataset,
        validation: Dataset | None,
        suspicion: str | None,
    ) -> GDMLPotential:
        """The same model with its constant of integration and the facts about it."""
        sets = {"training": train}
        if validation is not None and len(validation):
            sets["validation"] = validation
        found = {name: trained(frames.positions) for name, frames in sets.items()}
        # Fitted energies leave the weighted mean over the training points at zero within the
        # tolerance of the solver, which this takes away.
        used = list(sets) if self.energies == "labelled" else ["training"]
        alone = train.energies is None
        offsets = [(0.0 if alone else sets[name].energies) - found[name].energies for name in used]
        weights = [np.ones(len(sets[name])) for name in used]
        if train.weights is not None:
            weights[0] = train.weights
        shift = float(np.average(np.concatenate(offsets), weights=np.concatenate(weights)))
        if train.energies is not None and self.energies != "fitted":
            energies = found["training"].energies
            suspicion = diagnosis(train.energies, energies, lambda: coherent(train))
        notes = (group.warning, *trained.facts["warnings"], suspicion, ALONE if alone else None)
        facts: ModelFacts = {
            "hyperparameters": _plain(self.settled(len(train))),
            "training_sha256": train.sha256(),
            "training_points": len(train),
            "features": trained.descriptor.size,
            **self._of_kept(trained.descriptor, train.positions),
            "permutations": len(group.permutations),
            "symmetry": {"generators": group.generators(), "notes": list(group.notes)},
            "solution": trained.facts["solution"],
            "level": train.provenance.level,
            "errors": {
                name: errors(_shifted(found[name], shift), frames) for name, frames in sets.items()
            },
            "warnings": [note for note in notes if note],
        }
        return trained.finished(trained.constant + shift, facts)

    def _of_kept(self, descriptor: Descriptor, positions: np.ndarray) -> ModelFacts:
        """What a reduced model says of its features."""
        if not self.kept:
            return {}
        return {"longest_feature_A": reduction.longest(descriptor, positions)}

    @classmethod
    def load(cls, folder: Path) -> GDMLPotential:
        """Read a model folder.

        Raises:
            FileFormatError: damaged, of another family, or its arrays do not fit together.
        """
        return read_potential(folder, cls.name)


def _plain(family: SGDML) -> Row:
    """The hyperparameters one model has; the grids are not among them, nor what arrays hold."""
    others = ("sigmas", "regularizations", "percentiles", "kept")
    return {key: value for key, value in asdict(family).items() if key not in others}


def _shifted(evaluation: Evaluation, constant: float) -> Evaluation:
    return replace(evaluation, energies=evaluation.energies + constant)
