"""What a family of models is: hyperparameters that can be fitted into a potential.

A family is a frozen dataclass of hyperparameters, which is also its config section. Fitting it
gives a trained potential, which can be saved as a folder and loaded again.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, cast, runtime_checkable

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.domain import Domain
from flexcalc.errors import ConfigError, FileFormatError, InputError
from flexcalc.models.facts import ErrorRow, FeatureRow, ModelFacts, domain_in, energies_in
from flexcalc.models.folder import ModelContent, write_model
from flexcalc.potential import (
    CheckedPotential,
    Evaluation,
    Potential,
    check_molecule,
    check_positions,
    first_domain,
)
from flexcalc.progress import Progress, silent
from flexcalc.units import KCAL_MOL

if TYPE_CHECKING:
    from flexcalc.models.training_set import TrainingSet


class TrainedPotential(CheckedPotential):
    """A potential made from data.

    `facts` is what `model.json` and `flexcalc info` tell of it: among others the training
    points and their hash, the errors at training time and the warnings.
    """

    facts: ModelFacts
    training_set: TrainingSet | None = None
    """Its training points, where it does not compare geometries with them itself."""

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """See `CheckedPotential.distance`; None for models of other packages or versions."""
        if self.training_set is None:
            return None
        return self.training_set.distances(check_positions(positions, self.numbers))

    @property
    def domain(self) -> Domain | None:
        """Where the errors are known; None where `distance` is."""
        return None if self.training_set is None else domain_in(self.facts)

    @abstractmethod
    def content(self) -> ModelContent:
        """What the model's folder holds."""

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write the model as a folder, such as NAME.flex.

        Args:
            folder: the destination.
            overwrite: replace another model that is there.

        Raises:
            InputError: the destination is not a model folder, or holds another model; or a part
                of the model cannot be saved.
        """
        write_model(Path(folder), self.content(), overwrite=overwrite)

    def sha256(self) -> str:
        """Hash of all that its energies and forces depend on; the same in memory and on disk."""
        return self.content().sha256()


def model_sha256(potential: Potential) -> str:
    """Hash of a trained model, or of the file of another package; empty for a reference."""
    if isinstance(potential, TrainedPotential):
        return potential.sha256()
    facts = getattr(potential, "facts", None)
    return str(facts.get("source_sha256", "")) if isinstance(facts, Mapping) else ""


def domain_with_parts(model: TrainedPotential, parts: Iterable[Potential]) -> Domain | None:
    """The domain of a model that is made of others; theirs where it was not calibrated itself.

    Args:
        model: whose own training points, or those of its parts, tell distances.
        parts: that it asks for distances where it has no training points of its own.
    """
    if model.training_set is None and "domain" not in model.facts:
        found = first_domain(parts)
        own = energies_in(model.facts)
        return found if found is None or own is None else replace(found, energies_eV=own)
    return domain_in(model.facts)


def saves_of(parts: Mapping[str, Potential], owner: str) -> dict[str, Callable[[Path], None]]:
    """What `write_model` takes as the members of a model that is made of others.

    Args:
        parts: potentials by the names of their folders, such as "member-0.flex".
        owner: what they are parts of, for the error.

    Raises:
        InputError: one is no trained model.
    """
    for name, part in parts.items():
        if not isinstance(part, TrainedPotential):
            what = name.removesuffix(".flex").replace("-", " ")
            raise InputError(
                f"{what} of the {owner}, a {type(part).__name__}, is no trained model and cannot "
                "be saved; open it by its address each time"
            )
    return {name: cast(TrainedPotential, part).save for name, part in parts.items()}


@runtime_checkable
class Family(Protocol):
    """A kind of model with its hyperparameters."""

    name: ClassVar[str]

    def candidates(self) -> Sequence[Self]:
        """The choices of hyperparameters to be tried; just itself where all are set.

        Each of them has all set, so is the one candidate of its own.
        """

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
    ) -> TrainedPotential:
        """Train on one dataset; the other may be used to stop or to set constants."""

    @classmethod
    def load(cls, folder: Path) -> TrainedPotential:
        """Read a model folder of this family."""


@runtime_checkable
class SharingFamily(Family, Protocol):
    """A family whose candidates share work, such as descriptors or kernel matrices."""

    def session(
        self,
        train: Dataset,
        validation: Dataset | None,
        rng: Generator,
        progress: Progress = silent,
        folder: Path | None = None,
    ) -> Session[Self]:
        """Begin to train candidates on one dataset: check it, and do the work that they share.

        In `folder`, if there is one, a long candidate may keep what it has done.
        """


class Session[F](Protocol):
    """Trains candidates of a family that share work, one after the other."""

    def fit(self, candidate: F) -> TrainedPotential:
        """Train a candidate; the result must not depend on those that were trained before it."""


@runtime_checkable
class FoldingFamily(SharingFamily, Protocol):
    """A family that can choose hyperparameters by folds of its training points quickly.

    Its sessions are `FoldingSession`s.
    """

    @property
    def folds_at_once(self) -> bool:
        """Whether it can with the hyperparameters that it has."""


@runtime_checkable
class FoldingSession[F](Session[F], Protocol):
    """A session that can judge candidates by folds of its training points, without retraining."""

    def left_out(
        self, candidate: F, folds: Sequence[np.ndarray], others: Sequence[Evaluation] = ()
    ) -> list[Evaluation] | None:
        """Predict every training point by the candidate trained on the points of other folds.

        Args:
            candidate: with all hyperparameters set.
            folds: indices of the points of each fold; together all points, each once.
            others: further energies and forces of the training points, to be learned instead of
                the labels.

        Returns:
            predictions for all training points, of the labels and of each of `others`; None where
            the candidate has to be trained for each fold.
        """


@runtime_checkable
class GrowingFamily(Family, Protocol):
    """A family whose grid of candidates goes on beyond its edges."""

    def extend_grid(self, best: Self) -> Self | None:
        """The next candidate outwards, where the best one is the outermost so far.

        None where it lies inside the grid, or the grid ends here for good.
        """


@runtime_checkable
class ReducingFamily(Family, Protocol):
    """A family that can do without some features of the molecule.

    Once its best candidate is trained on all of them, `training.reduction` drops the least
    important ones.
    """

    @property
    def reduction_tolerance(self) -> float:
        """Share by which the validation force RMSE may rise over the lowest, for fewer features."""

    @property
    def kept(self) -> Sequence[int]:
        """Indices of the features it is trained on, in the full set; empty for all."""

    def reductions(self) -> Sequence[float]:
        """Percentages of the features to drop, ascending; empty where no reduction is wanted."""

    def importances(
        self, potential: TrainedPotential, positions: np.ndarray, progress: Progress = silent
    ) -> list[FeatureRow]:
        """A row for each feature that says how much a potential of this family depends on it.

        Args:
            potential: trained on all features.
            positions: (frames, atoms, 3) in angstrom, over which is averaged.
            progress: told the steps.

        Returns:
            rows that JSON can hold, for `reduced` and for people to read.
        """

    def reduced(
        self, potential: TrainedPotential, importances: Sequence[FeatureRow], percentile: float
    ) -> Self:
        """The family that drops this percentage of the features, those that count least."""


@runtime_checkable
class SettlingFamily(Family, Protocol):
    """A family with hyperparameters that by default follow from the number of training points."""

    def settled(self, points: int) -> Self:
        """The family with those set for a number of training points."""


def settled(family: Family, points: int) -> Family:
    """The family for a number of training points in all, so that models of parts of them are alike.

    Such parts are folds, regions, members of a committee, or sizes of a learning curve.
    """
    return family.settled(points) if isinstance(family, SettlingFamily) else family


@runtime_checkable
class CheckingFamily(Family, Protocol):
    """A family with hyperparameters that only fit some molecules, such as atom indices."""

    def check(self, numbers: np.ndarray) -> None:
        """Raise ConfigError where they do not fit the molecule, before anything is written."""


def check_family(family: Family, numbers: np.ndarray) -> None:
    """Refuse hyperparameters that do not fit the molecule (atoms,), or that leave nothing to try.

    Raises:
        ConfigError: a list of values to try is empty, or what the family's own check says.
    """
    if isinstance(family, CheckingFamily):
        family.check(numbers)
    if not family.candidates():
        raise ConfigError(
            f"{family.name}: a list of values to try is empty; give at least one, such as sigmas = "
            "[20]"
        )


@runtime_checkable
class ForcesFamily(Family, Protocol):
    """A family that can learn from forces without energies.

    Its energies are then right except for a constant; their mean over its training points is zero.
    """

    @property
    def forces_alone(self) -> bool:
        """Whether it can with the hyperparameters that it has."""


@runtime_checkable
class WeighingFamily(Family, Protocol):
    """A family that heeds the weights of a dataset's labels."""

    @property
    def weighs_labels(self) -> bool:
        """Whether it does with the hyperparameters that it has."""


ALONE = "trained on forces alone: energies are right except for a constant"
"""What the training of a `ForcesFamily` notes where the labels have no energies."""


class TrainingWarning(UserWarning):
    """Something about a training deserves a second look; the model is made all the same."""


def announce(potential: TrainedPotential, known: Collection[str] = ()) -> None:
    """Warn of what the training noted in `facts["warnings"]`, except what is known already."""
    for note in potential.facts.get("warnings", ()):
        if note not in known:
            warnings.warn(note, TrainingWarning, stacklevel=3)


def check_weighs(family: Family) -> None:
    """Refuse a family that does not heed the weights of labels.

    Raises:
        InputError: it is one.
    """
    if not (isinstance(family, WeighingFamily) and family.weighs_labels):
        raise InputError(f"{family.name} takes no weights of labels; train sgdml or a network")


def check_labels(family: Family, data: Dataset) -> None:
    """Refuse a dataset without what a family learns from: forces, and energies where it must.

    Raises:
        FileFormatError: a label is missing.
        InputError: the labels have weights, which the family does not heed.
    """
    data.force_labels()
    if data.weights is not None:
        check_weighs(family)
    alone = isinstance(family, ForcesFamily) and family.forces_alone
    if data.energies is None and not alone:
        raise FileFormatError(
            f"{data.provenance.source}: the dataset has no energies, and {family.name} needs them; "
            "label its geometries with `flexcalc label`, or train a family that learns from "
            "forces alone, such as sgdml"
        )


def check_sets(family: Family, train: Dataset, validation: Dataset | None) -> None:
    """Refuse datasets that a family cannot be trained on, before any work.

    Args:
        family: that is to be trained.
        train: the training points.
        validation: further frames, or None.

    Raises:
        FileFormatError: a dataset has not the labels that the family needs.
        InputError: there is no training point, or only one atom.
        MoleculeError: the datasets are of different molecules.
    """
    check_labels(family, train)
    if validation is not None:
        check_molecule(train.numbers, validation.numbers, "validation frames")
        check_labels(family, validation)
        if (train.energies is None) != (validation.energies is None):
            lacking = "training points" if train.energies is None else "validation frames"
            raise FileFormatError(
                f"the {lacking} have no energies and the others have: give both or neither"
            )
    if len(train.numbers) < 2 or not len(train):
        raise InputError(f"{family.name} needs at least one training point of at least two atoms")


def errors(evaluation: Evaluation, labels: Dataset) -> ErrorRow:
    """Root-mean-square errors of an evaluation of a dataset's positions.

    Forces are taken per component, energies without removing an offset.

    Args:
        evaluation: what a potential gave, in eV and eV/angstrom.
        labels: the dataset with its labels; without energies there is no error of them.

    Raises:
        FileFormatError: the dataset has no forces.
    """
    force = _rms(evaluation.forces - labels.force_labels()) / KCAL_MOL
    found: ErrorRow = {"force_rmse_kcal_mol_A": force}
    if labels.energies is not None:
        found["energy_rmse_kcal_mol"] = _rms(evaluation.energies - labels.energies) / KCAL_MOL
    return found


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
