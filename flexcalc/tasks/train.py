"""Model families trained on one split of a dataset."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NotRequired, TypedDict

import numpy as np

from flexcalc.config import Train
from flexcalc.dataset import Dataset, first_equal
from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.delta import check_baseline
from flexcalc.models.facts import ErrorRow
from flexcalc.models.family import TrainingWarning, check_family, check_labels, errors
from flexcalc.progress import silent
from flexcalc.results.training import HELD_OUT, SPLIT, TrainedModel, Training, scalars
from flexcalc.store import UNFINISHED, Store
from flexcalc.tasks.baseline import (
    Baseline,
    Differences,
    differences,
    needed_frames,
    open_baseline,
)
from flexcalc.tasks.fitting import Fit, Fitted, Split, held_out, split, with_validation_points
from flexcalc.tasks.molecule import electrons_of, following
from flexcalc.training.checkpoints import Checkpoints


class SplitRecord(TypedDict):
    """split.json: what the models are trained on."""

    dataset: str
    dataset_sha256: str
    train: list[int]
    validation: list[int]
    baseline: NotRequired[str | None]
    baseline_sha256: NotRequired[str]


class LearningRow(ErrorRow):
    """Errors on the validation frames by the number of training points."""

    points: int


def train(options: Train, store: Store) -> Training:
    """Train families on the same split of a dataset.

    Models are kept as FAMILY.flex, frames that were not used in heldout.xyz. A run that was
    interrupted resumes after the last candidate, round or fold that it finished.

    Raises:
        InputError: the dataset or the split cannot be used; nothing is written.
    """
    data = options.read(options.dataset)
    options = following(options, electrons_of(data))
    options = with_validation_points(options, len(data))
    parts = split(data, options, np.random.default_rng(options.seed))
    baseline = _checked(options, store, data)
    found = store.begin(options)
    if found is not None:
        store.deliver(found["model"])
        return Training.from_dict(found, store).opened_with(options.trust)
    _note_split(store, _split_record(data, parts, baseline))
    equal = first_equal(data.positions)
    repeated = int((equal != np.arange(len(data))).sum())
    labels = _differences(options, store, data, parts, baseline)
    if repeated:
        store.warn(f"{repeated} of {len(data)} frames repeat the geometry of another one")
    fitted, models = [], []
    for index, name in enumerate(_names(options)):
        one = _Model(options, store, labels, index, name)
        with training_warnings(store.warn):
            fitted.append(one.fit())
        seen = _seen(store, name, equal, fitted[-1].split)
        models.append(one.result(fitted[-1], repeated, seen))
    rest = held_out(parts, fitted)
    if len(rest):
        store.put(HELD_OUT, data[rest])
    store.deliver(models[0].file)
    if len(models) > 1:
        store.table(*_comparison(models))
    return Training.of(models)


def _checked(options: Train, store: Store, data: Dataset) -> Baseline | None:
    """The baseline, once it is known that all families can be trained.

    Raises:
        InputError: one cannot be, or could not be kept.
    """
    if any(points > options.points for points in options.learning_curve):
        raise InputError(f"learning_curve: expected sizes up to points = {options.points}")
    for family in options.family:
        check_labels(family, data)
        check_family(family, data.numbers)
    baseline = open_baseline(options.baseline, data.numbers, options.trust)
    if baseline is not None and store.unfinished("baseline") is not None:
        check_baseline(baseline.potential, baseline.facts["baseline"])
    if store.target is not None and len(options.family) > 1:
        raise InputError(
            f"{store.target}: one model folder cannot hold {len(options.family)} families; "
            "give --output a folder without the suffix .flex"
        )
    return baseline


def _differences(
    options: Train, store: Store, data: Dataset, parts: Split, baseline: Baseline | None
) -> Differences:
    """The labels to train on, without the baseline's."""
    needed = needed_frames(parts, everything=options.refine_rounds > 0)
    checkpoints = Checkpoints(store.unfinished("baseline"))
    with store.bar("baseline") if baseline else nullcontext(silent) as progress:
        return differences(data, parts, needed, baseline, checkpoints, progress)


def _comparison(models: Sequence[TrainedModel]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of several models."""
    head = ["model (kcal/mol/A and kcal/mol)", "points", "force RMSE", "energy RMSE"]
    known = [index for index, value in enumerate(models[0].errors) if value is not None]
    return head[: 2 + len(known)], [
        [model.file, str(model.training_points), *(f"{model.errors[i]:.3f}" for i in known)]
        for model in models
    ]


def _note_split(store: Store, record: SplitRecord) -> None:
    """Keep the split; checkpoints of another one, or of changed labels, are removed."""
    try:
        same = store.get(SPLIT) == record
    except FileFormatError:
        same = False
    if not same:
        store.remove(UNFINISHED)
        store.put(SPLIT, record)


def _split_record(data: Dataset, parts: Split, baseline: Baseline | None) -> SplitRecord:
    record: SplitRecord = {
        "dataset": data.provenance.source,
        "dataset_sha256": data.sha256(),
        "train": parts.train.tolist(),
        "validation": parts.validation.tolist(),
    }
    if baseline is not None:
        record |= baseline.facts
    return record


def _names(options: Train) -> list[str]:
    """Names of the models; the second of a family is NAME-2."""
    families = [family.name for family in options.family]
    before = [families[:index].count(name) for index, name in enumerate(families)]
    return [name + (f"-{n + 1}" if n else "") for name, n in zip(families, before, strict=True)]


def _seen(store: Store, name: str, equal: np.ndarray, parts: Split) -> int:
    """Number of validation frames that have the geometry of a training point, with a warning."""
    seen = int(np.isin(equal[parts.validation], equal[parts.train]).sum())
    if seen:
        store.warn(
            f"{name}: {seen} of {len(parts.validation)} validation frames have the "
            "geometry of a training point, so validation errors are lower than on new geometries"
        )
    return seen


class _Model:
    """One of the models of a training.

    Args:
        options: of the training.
        store: takes the model and its tables.
        labels: to train on.
        index: of its family.
        name: of the model.
    """

    def __init__(self, options: Train, store: Store, labels: Differences, index: int, name: str):
        self.options, self.store, self.labels = options, store, labels
        self.index, self.name = index, name
        self.suffix = "" if index == 0 else f"-{name}"
        self.checkpoints = Checkpoints(store.unfinished(name))

    def fit(self) -> Fitted:
        """Fit the family and keep its model."""
        family = self.options.family[self.index]
        rng = np.random.default_rng([self.options.seed, self.index])
        with self.store.bar(f"train {self.name}") as progress:
            labels = self.labels
            task = Fit(
                self.options, labels.data, labels.split, family, rng, progress, self.checkpoints
            )
            fitted = labels.restored(task.run())
        self.store.put(f"{self.name}.flex", fitted.potential)
        return fitted

    def result(self, fitted: Fitted, repeated: int, seen: int) -> TrainedModel:
        """Keep the tables of a family that was fitted.

        Args:
            fitted: see `fit`.
            repeated: frames of the dataset with the geometry of another one.
            seen: validation frames with the geometry of a training point.
        """
        facts, found = fitted.potential.facts, self._errors(fitted)
        model = TrainedModel(
            store=self.store,
            family=self.options.family[self.index].name,
            file=f"{self.name}.flex",
            training_points=len(fitted.split.train),
            validation_points=len(fitted.split.validation),
            hyperparameters=scalars(facts.get("hyperparameters", {})),
            permutations=facts.get("permutations"),
            repeated_frames=repeated,
            validation_frames_trained_on=seen,
            trained=fitted.potential,
            suffix=self.suffix,
            trust=self.options.trust,
            **found,
            **fitted.figures,
        )
        self.store.say(model.described())
        tables: dict[str, object] = {"table": fitted.table, **fitted.tables}
        if "curve" in facts:
            tables["curve"] = facts["curve"]
        if self.options.learning_curve:
            last: LearningRow = {"points": model.training_points, **found}
            tables["learning"] = [*self._learning_curve(fitted), last]
        for kind, table in tables.items():
            self.store.put(f"{kind}{self.suffix}.json", table)
        return model

    def _errors(self, fitted: Fitted) -> ErrorRow:
        """Errors on the validation frames; empty where there are none."""
        if fitted.errors is not None:
            return fitted.errors
        judged = self.labels.complete[fitted.split.validation]
        return errors(fitted.potential(judged.positions), judged) if len(judged) else {}

    def _learning_curve(self, fitted: Fitted) -> Iterator[LearningRow]:
        """Errors of smaller training sets, nested, with the hyperparameters that were found."""
        options, labels = self.options, self.labels
        judged = labels.labels(fitted.split.validation)
        order = np.random.default_rng([options.seed, 1]).permutation(fitted.split.train)
        for points in sorted(set(options.learning_curve) - {options.points}):
            row = self.checkpoints.load(f"learning-{points}")
            if row is None:
                fewer = labels.labels(np.sort(order[:points]))
                with warnings.catch_warnings():
                    # Those of the model of all points are known already.
                    warnings.simplefilter("ignore", TrainingWarning)
                    smaller = fitted.family.fit(fewer, judged, np.random.default_rng(options.seed))
                found: ErrorRow = {}
                if len(judged):
                    found = errors(smaller(judged.positions), judged)
                row = LearningRow(points=points, **found)
                self.checkpoints.save(f"learning-{points}", row)
            yield row


@contextmanager
def training_warnings(warn: Callable[[str, type[Warning]], None]) -> Iterator[None]:
    """Hand the training's warnings to a store's or a run's `warn`; others are issued as they were.

    They are issued after the block, where the progress bar is gone, also if it raises.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            yield
    finally:
        for note in caught:
            if issubclass(note.category, TrainingWarning):
                warn(str(note.message), TrainingWarning)
            else:
                warnings.warn_explicit(
                    note.message, note.category, note.filename, note.lineno, source=note.source
                )
