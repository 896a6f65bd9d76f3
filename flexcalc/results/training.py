"""The result of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast, get_args

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import numbers, training
from flexcalc.display.drawing import Drawing
from flexcalc.display.rows import dicts
from flexcalc.display.training import SIGMA
from flexcalc.errors import InputError
from flexcalc.models.facts import Row
from flexcalc.models.family import TrainedPotential
from flexcalc.registry import load
from flexcalc.results.as_model import ActsAsModel
from flexcalc.results.base import Figure, Result, figure, frame_of_rows, is_sound, labels_of
from flexcalc.storage import JSON
from flexcalc.store import Store

SPLIT, HELD_OUT = "split.json", "heldout.xyz"
NOT_OF_A_MODEL = frozenset({"command", "seconds", "models", "report"})
"""Keys of results.json that are no hyperparameters."""

LABELS = {SIGMA: "kernel length sigma"}
"""What reports call a hyperparameter; others have their names."""

Table = Literal["models", "candidates", "learning curve"]


def scalars(values: Mapping[str, object]) -> dict[str, int | float | str]:
    """Those values that are single numbers or words."""
    return {key: value for key, value in values.items() if isinstance(value, int | float | str)}


class UsedFrames(NamedTuple):
    """Frames of the dataset that a model was trained and validated on: ascending indices."""

    train: np.ndarray
    validation: np.ndarray


class ValidationErrors(NamedTuple):
    """Errors on the validation frames; None where there are none of them, or no energies."""

    force_rmse_kcal_mol_A: float | None
    """Root-mean-square error of the force components in kcal/mol/angstrom."""
    energy_rmse_kcal_mol: float | None
    """Root-mean-square error of the energies in kcal/mol."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class TrainedModel(Result):
    """A trained model of one family, with its errors and hyperparameters.

    Args:
        trained: the potential; where it is None, `model` reads it from the run folder.
        hyperparameters: name -> value, of those that are single numbers or words.
        suffix: what follows the names of its tables: nothing for the first model of a training.
        trust: whether reading the model may run code that it names.
    """

    command: ClassVar[str] = "train"
    headline: ClassVar[tuple[str, ...]] = (
        *(
            "family",
            "baseline",
            "teacher",
            "training_points",
            "teacher_labels",
            "validation_points",
            SIGMA,
            "permutations",
        ),
        *("kept_features", "all_features", "committee", "force_error_over_deviation"),
        *("force_rmse_kcal_mol_A", "energy_rmse_kcal_mol", "force_rmse_mean_kcal_mol_A"),
        *("energy_rmse_mean_kcal_mol", "folds", "tuning_folds", "refine_rounds"),
    )

    family: str = figure("family")
    """Name of the model family."""
    file: str = figure("model", key="model")
    """Folder of the model in the run folder, such as sgdml.flex."""
    training_points: int = figure("training points")
    """Frames that it was trained on."""
    validation_points: int = figure("validation points")
    """Frames that chose its hyperparameters."""
    permutations: int | None = figure("permutations", default=None)
    """Permutations of identical atoms that are built in."""
    force_rmse_kcal_mol_A: float | None = figure("force RMSE", "kcal/mol/A", default=None)
    """Error of the force components on the validation frames, in kcal/mol/angstrom."""
    energy_rmse_kcal_mol: float | None = figure("energy RMSE", "kcal/mol", default=None)
    """Error of the energies on the validation frames, in kcal/mol."""
    refine_rounds: int | None = figure("refinement rounds", default=None)
    """Rounds that added training points."""
    folds: int | None = figure("folds", default=None)
    """Folds of the cross-validation."""
    best_fold: int | None = figure("best fold", default=None)
    """Fold whose model was kept."""
    tuning_folds: int | None = figure("folds that chose the hyperparameters", default=None)
    """Folds of the training points that chose the hyperparameters, without validation frames."""
    force_rmse_mean_kcal_mol_A: float | None = figure(
        "mean force RMSE of the folds", "kcal/mol/A", default=None
    )
    """Mean over the folds of the error of the forces, in kcal/mol/angstrom."""
    energy_rmse_mean_kcal_mol: float | None = figure(
        "mean energy RMSE of the folds", "kcal/mol", default=None
    )
    """Mean over the folds of the error of the energies, in kcal/mol."""
    force_rmse_spread_kcal_mol_A: float | None = figure(
        "standard deviation of the force RMSE", "kcal/mol/A", default=None
    )
    """Standard deviation over the folds, in kcal/mol/angstrom."""
    energy_rmse_spread_kcal_mol: float | None = figure(
        "standard deviation of the energy RMSE", "kcal/mol", default=None
    )
    """Standard deviation over the folds, in kcal/mol."""
    kept_features: int | None = figure("kept features", default=None)
    """Features of the reduced model."""
    all_features: int | None = figure("all features", default=None)
    """Features before the reduction."""
    committee: int | None = figure("committee members", default=None)
    """Members of the committee."""
    force_error_over_deviation: float | None = figure("force error over deviation", default=None)
    """Force RMSE on the validation frames divided by the committee's deviation there."""
    single_force_rmse_kcal_mol_A: float | None = figure(
        "force RMSE of a single model", "kcal/mol/A", default=None
    )
    """Error of the single model that the committee replaced, in kcal/mol/angstrom."""
    single_energy_rmse_kcal_mol: float | None = figure(
        "energy RMSE of a single model", "kcal/mol", default=None
    )
    """Error of the single model that the committee replaced, in kcal/mol."""
    baseline: str | None = figure("baseline", default=None)
    """Potential that the model is added to."""
    teacher: str | None = figure("teacher", default=None)
    """Potential that labelled further geometries."""
    teacher_labels: int | None = figure("labels of the teacher", default=None)
    """Geometries labelled by the teacher that the model was trained on, besides the training
    points."""
    teacher_force_rmse_kcal_mol_A: float | None = figure(
        "force RMSE against the teacher", "kcal/mol/A", default=None
    )
    """Difference of the force components from the teacher's, on labels of the teacher that were not
    trained on, in kcal/mol/angstrom."""
    training_seconds: float | None = figure("training", "s", default=None)
    """Wall time of the training, in seconds, with its search of hyperparameters."""
    call_ms: float | None = figure("time per call", "ms", default=None)
    """Time to evaluate one geometry, in milliseconds."""
    repeated_frames: int = figure("repeated frames", default=0)
    """Frames of the dataset with the geometry of an earlier one."""
    validation_frames_trained_on: int = figure("validation frames trained on", default=0)
    """Validation frames with the geometry of a training point."""

    hyperparameters: Mapping[str, int | float | str] = field(default_factory=dict)
    trained: TrainedPotential | None = None
    suffix: str = ""
    trust: bool = False

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """See `Result.from_dict`; keys that are no figures are hyperparameters."""
        model = super().from_dict(found, store)
        known = model._own_figures().keys() | NOT_OF_A_MODEL
        others = {key: value for key, value in found.items() if key not in known}
        return replace(model, hyperparameters=scalars(others))

    @classmethod
    def from_damaged(cls, found: Mapping[str, JSON], store: Store) -> Self:
        """See `Result.from_damaged`; keys that are no figures are hyperparameters."""
        known = labels_of(cls).keys() | NOT_OF_A_MODEL
        others = {key: value for key, value in found.items() if key not in known}
        sound = {key: value for key, value in scalars(others).items() if is_sound(value)}
        return replace(super().from_damaged(found, store), hyperparameters=sound)

    def figures(self) -> Iterator[Figure]:
        """The single figures that are known, then the hyperparameters."""
        yield from super().figures()
        for name, value in self.hyperparameters.items():
            yield Figure(name, LABELS.get(name, name), value, "")

    def to_dict(self) -> dict[str, JSON]:
        """The figures and the hyperparameters, as results.json has them."""
        figures = self._own_figures()
        head = ("family", "model", "training_points", "validation_points")
        first = {key: figures.pop(key) for key in head if key in figures}
        return {**first, **self.hyperparameters, **figures}

    def _own_figures(self) -> dict[str, JSON]:
        return super().to_dict()

    @cached_property
    def model(self) -> TrainedPotential:
        """The trained potential.

        Raises:
            AddressError, FileFormatError: its folder is gone or damaged.
        """
        if self.trained is not None:
            return self.trained
        return cast(TrainedPotential, load(self.store.place(self.file), trust=self.trust))

    @property
    def errors(self) -> ValidationErrors:
        """Errors on the validation frames."""
        return ValidationErrors(self.force_rmse_kcal_mol_A, self.energy_rmse_kcal_mol)

    @property
    def candidates(self) -> list[Row]:
        """A row for each candidate: hyperparameters in which they differ, and errors."""
        return self.table("table")

    @property
    def learning_curve(self) -> list[Row]:
        """Errors on the validation frames by the number of training points, ascending."""
        return self.table("learning")

    @property
    def split(self) -> UsedFrames:
        """Training and validation frames of this model."""
        drawn = self.store.get(SPLIT)
        refined = self.store.get(f"refinement{self.suffix}.json") or {}
        best_fold = self.store.get(f"frames{self.suffix}.json") or {}
        train = best_fold.get("train", refined.get("train", drawn["train"]))
        validation = best_fold.get("test", drawn["validation"])
        return UsedFrames(np.array(train, dtype=int), np.array(validation, dtype=int))

    def table(self, name: str) -> list[Row]:
        """A table of the training: "table", "learning", "curve", "folds"; empty without it."""
        return self.store.get(f"{name}{self.suffix}.json") or []

    def first_geometry(self) -> Dataset | None:
        """The first of the frames that took part in no training; None where there are none."""
        return self.store.first(HELD_OUT)

    def drawing(self) -> Drawing | None:
        """What there is first of the training curve of a network, the validation errors of the
        candidates, the folds of a cross-validation, and the learning curve."""
        drawn = (
            training.training_curve(self.table("curve")),
            training.validation_curve(self.candidates),
            training.fold_errors(self.table("folds")),
            training.learning_curve(self.learning_curve),
        )
        return next((one for one in drawn if one is not None), None)

    def timing(self) -> str:
        """How long the training took, and a call takes; nothing where that is not known."""
        known = []
        if self.training_seconds is not None:
            known.append(f"trained in {numbers.duration(self.training_seconds)}")
        if self.call_ms is not None:
            known.append(f"{self.call_ms:.3g} ms per call")
        return ", ".join(known)

    def described(self) -> str:
        """The model in one line."""
        name = (self.file or self.family or "model").removesuffix(".flex")
        line = f"{name}: {self.training_points} training points"
        if self.teacher_labels is not None:
            line += f" and {self.teacher_labels} labels of {self.teacher}"
        if self.force_rmse_kcal_mol_A is not None:
            line += f", validation force RMSE {self.force_rmse_kcal_mol_A:.3f} kcal/mol/A"
        elif self.tuning_folds is not None:
            line += (
                f", force RMSE {self.force_rmse_mean_kcal_mol_A:.3f} kcal/mol/A in "
                f"{self.tuning_folds} folds"
            )
        if self.energy_rmse_kcal_mol is not None:
            line += f", energy RMSE {self.energy_rmse_kcal_mol:.3f} kcal/mol"
        elif self.tuning_folds is not None and self.energy_rmse_mean_kcal_mol is not None:
            line += f", energy RMSE {self.energy_rmse_mean_kcal_mol:.3f} kcal/mol"
        return line


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Training(TrainedModel, ActsAsModel):
    """Models of one or several families, trained on the same split of a dataset.

    The figures are those of the first model, and the training can be used in its place: called
    with positions, saved, or handed to a `Calculator`.

    Args:
        others: the further models.
    """

    others: tuple[TrainedModel, ...] = ()

    @classmethod
    def of(cls, fits: list[TrainedModel]) -> Self:
        """The result of a training that gave these models."""
        first, *others = fits
        values = {item.name: getattr(first, item.name) for item in fields(first)}
        return cls(**values, others=tuple(others))

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """See `TrainedModel.from_dict`."""
        rows = list(found.get("models", ()))[1:]
        others = [TrainedModel.from_dict(row, store) for row in rows]
        named = [replace(one, suffix=f"-{one.file.removesuffix('.flex')}") for one in others]
        return replace(super().from_dict(found, store), others=tuple(named))

    @classmethod
    def from_damaged(cls, found: Mapping[str, JSON], store: Store) -> Self:
        """See `TrainedModel.from_damaged`."""
        rows = dicts(found.get("models"))[1:]
        others = tuple(TrainedModel.from_damaged(row, store) for row in rows)
        return replace(super().from_damaged(found, store), others=others)

    def to_dict(self) -> dict[str, JSON]:
        """The figures of the first model and, of several, those of each of them in `models`."""
        own = super().to_dict()
        if not self.others:
            return own
        return {**own, "models": [own, *(one.to_dict() for one in self.others)]}

    def opened_with(self, trust: bool) -> Self:
        """The same, whose models are read with or without `trust`; see `flexcalc.load`."""
        others = tuple(replace(one, trust=trust) for one in self.others)
        return replace(self, trust=trust, others=others)

    @property
    def fits(self) -> tuple[TrainedModel, ...]:
        """The models with their figures, in the order of the families."""
        return (self, *self.others)

    @property
    def models(self) -> tuple[TrainedPotential, ...]:
        """The trained potentials, in the order of the families."""
        return tuple(fit.model for fit in self.fits)

    @property
    def held_out(self) -> Dataset | None:
        """Frames used neither for training nor for validation; None where there are none."""
        return self.store.get(HELD_OUT)

    @property
    def places(self) -> str:
        """Where the models are kept."""
        if self.store.target is not None:
            return str(self.store.target)
        return ", ".join(self.store.where(fit.file) for fit in self.fits)

    def summary(self) -> str:
        """Where the models are."""
        return f"model: {self.places}"

    def __repr__(self) -> str:
        return f"Training({'; '.join(fit.described() for fit in self.fits)})"

    def to_frame(self, rows: Table = "models") -> Any:
        """A pandas table.

        Args:
            rows: a row for each of the "models", or of the first of them for each of its
                "candidates" or for each size of the "learning curve".

        Raises:
            MissingExtraError: pandas is not installed.
            InputError: there is no such table.
        """
        if rows == "candidates":
            return frame_of_rows(self.candidates)
        if rows == "learning curve":
            return frame_of_rows(self.learning_curve)
        if rows != "models":
            known = ", ".join(get_args(Table))
            raise InputError(f"rows: expected one of {known}, found {rows!r}")
        return frame_of_rows([TrainedModel.to_dict(fit) for fit in self.fits])

    @property
    def potential(self) -> TrainedPotential:
        """The first model."""
        return self.model


TrainedPotential.register(Training)
