"""Model families trained on one split of a dataset."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from flexcalc.config.options import placed
from flexcalc.config.train import Train
from flexcalc.dataset import Dataset
from flexcalc.display import numbers
from flexcalc.errors import FileFormatError, InputError
from flexcalc.geometry.fingerprint import first_repeated, repeats
from flexcalc.models.delta import check_baseline
from flexcalc.models.facts import BaselineFacts, ErrorRow, TeacherFacts
from flexcalc.models.family import TrainingWarning, check_family, check_labels, errors
from flexcalc.models.frames import with_frames
from flexcalc.models.networks.family import NetworkFamily
from flexcalc.potential import Potential
from flexcalc.progress import Progress, part, silent
from flexcalc.results.errors import repeated_text
from flexcalc.results.training import HELD_OUT, SPLIT, TrainedModel, Training, scalars
from flexcalc.storage import write_json
from flexcalc.store import UNFINISHED, Store
from flexcalc.tasks.baseline import (
    Baseline,
    Differences,
    differences,
    needed_frames,
    open_baselines,
)
from flexcalc.tasks.fitting import Fit, Fitted, Split, held_out, said_sizes, split, with_sizes
from flexcalc.tasks.molecule import electrons_of, following
from flexcalc.tasks.provenance import warn_of_model_labels
from flexcalc.tasks.teacher import TEACHER, Taught, open_teacher, taught, teacher_facts
from flexcalc.training.checkpoints import Checkpoints


class SplitRecord(TypedDict):
    """split.json: what the models are trained on."""

    dataset: str
    dataset_sha256: str
    train: list[int]
    validation: list[int]
    baseline: NotRequired[str | None]
    baseline_sha256: NotRequired[str]
    baselines: NotRequired[list[BaselineFacts]]
    teacher: NotRequired[TeacherFacts]


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
    options = _starting(options)
    teacher = open_teacher(options, data)
    asked, options = options, with_sizes(options, len(data))
    parts = split(data, options, np.random.default_rng(options.seed))
    baselines = _checked(options, store, data)
    # What is there already does not belong to what the run is.
    found = store.begin(replace(options, overwrite=False), overwrite=options.overwrite)
    if found is not None:
        store.deliver(found["model"])
        return Training.from_dict(found, store).opened_with(options.trust)
    sizes = said_sizes(asked, options, len(data))
    if sizes is not None:
        store.say(sizes)
    _note_split(store, _split_record(data, parts, baselines, teacher))
    equal = first_repeated(data.numbers, data.positions)
    repeated = repeats(equal)
    labels: Differences | Taught = _differences(options, store, data, parts, baselines)
    if teacher is not None:
        with store.bar("teacher") as progress, training_warnings(store.warn):
            labels = taught(options, store, labels, teacher, progress)
        options = replace(options, family=(labels.family, *options.family[1:]))
    if labels.said:
        store.say(labels.said)
    warn_of_model_labels(data, store, "what is trained on them learns its errors too")
    if repeated:
        store.warn(repeated_text(repeated, len(data)))
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


def _starting(options: Train) -> Train:
    """The options with networks that know what they start from.

    Raises:
        InputError: a family is none of networks.
    """
    if options.start_from is None:
        return options
    for family in options.family:
        if not isinstance(family, NetworkFamily):
            raise InputError(f"start_from: {family.name} is no network; train a family of networks")
    path = placed(options.start_from, Path.cwd())
    return replace(options, family=tuple(replace(one, start_from=path) for one in options.family))


def _checked(options: Train, store: Store, data: Dataset) -> list[Baseline]:
    """The baselines, once it is known that all families can be trained.

    Raises:
        InputError: one cannot be, or could not be kept.
    """
    largest = options.training_points
    if any(points > largest for points in options.learning_curve):
        raise InputError(f"learning_curve: expected sizes up to points = {largest}")
    for family in options.family:
        check_labels(family, data)
        check_family(family, data.numbers)
    baselines = open_baselines(options.baseline, data.numbers, options.trust)
    for one in baselines if store.unfinished("baseline") is not None else ():
        check_baseline(one.potential, one.facts["baseline"])
    if store.target is not None and len(options.family) > 1:
        raise InputError(
            f"{store.target}: one model folder cannot hold {len(options.family)} families; "
            "give --output a folder without the suffix .flex"
        )
    return baselines


def _differences(
    options: Train, store: Store, data: Dataset, parts: Split, baselines: Sequence[Baseline]
) -> Differences:
    """The labels to train on, without the baseline's."""
    needed = needed_frames(parts, everything=options.refine_rounds > 0)
    checkpoints = Checkpoints(store.unfinished("baseline"))
    with store.bar("baseline") if baselines else nullcontext(silent) as progress:
        family = options.family[0]
        return differences(data, parts, needed, baselines, family, checkpoints, progress)


def _comparison(models: Sequence[TrainedModel]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of several models."""
    names = ("force RMSE", "energy RMSE")
    known = [index for index, value in enumerate(models[0].errors) if value is not None]
    head = ["model (kcal/mol/A and kcal/mol)", "points", *(names[index] for index in known)]
    return [*head, "training", "per call"], [
        [
            model.file,
            str(model.training_points),
            *(f"{model.errors[index]:.3f}" for index in known),
            numbers.duration(model.training_seconds or 0.0),
            f"{model.call_ms:.3g} ms",
        ]
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
        store.remove(TEACHER)
        store.put(SPLIT, record)


def _split_record(
    data: Dataset, parts: Split, baselines: Sequence[Baseline], teacher: Baseline | None
) -> SplitRecord:
    record: SplitRecord = {
        "dataset": data.provenance.source,
        "dataset_sha256": data.sha256(),
        "train": parts.train.tolist(),
        "validation": parts.validation.tolist(),
    }
    if len(baselines) == 1:
        only = baselines[0].facts
        record["baseline"] = only.get("baseline")
        if "baseline_sha256" in only:
            record["baseline_sha256"] = only["baseline_sha256"]
    elif baselines:
        record["baselines"] = [one.facts for one in baselines]
    if teacher is not None:
        record["teacher"] = teacher_facts(teacher)
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
        self.seconds = 0.0

    def fit(self) -> Fitted:
        """Fit the family and keep its model."""
        family = self.options.family[self.index]
        rng = np.random.default_rng([self.options.seed, self.index])
        with self.store.bar(f"train {self.name}") as progress, self._timed():
            labels = self.labels
            task = Fit(
                self.options, labels.data, labels.split, family, rng, progress, self.checkpoints
            )
            fitted = task.run()
            labels.calibrated(fitted, rng)
            fitted = labels.restored(fitted)
        self._keep_frames(fitted)
        self.store.put(f"{self.name}.flex", fitted.potential)
        return fitted

    def _keep_frames(self, fitted: Fitted) -> None:
        """Let the model know its frames: all others that were drawn chose its hyperparameters."""
        drawn, train = self.labels.drawn, fitted.split.train
        judged = np.setdiff1d(np.union1d(drawn, fitted.split.validation), train)
        complete = self.labels.complete
        with_frames(fitted.potential, complete[train], complete[judged], self.labels.seen)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time of the training, also that before it was interrupted."""
        known = self.checkpoints.load(SECONDS) or {SECONDS: 0.0}
        before, begun = float(known[SECONDS]), time.monotonic()
        try:
            yield
        except KeyboardInterrupt:
            folder = self.checkpoints.folder
            if folder is not None and folder.exists():
                spent = {SECONDS: before + time.monotonic() - begun}
                write_json(folder / f"{SECONDS}.json", spent)
            raise
        self.seconds = before + time.monotonic() - begun

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
            training_seconds=round(self.seconds, 2),
            call_ms=float(f"{_call_ms(fitted.potential, self.labels.complete):.3g}"),
            repeated_frames=repeated,
            validation_frames_trained_on=seen,
            trained=fitted.potential,
            suffix=self.suffix,
            trust=self.options.trust,
            **found,
            **fitted.figures,
        )
        self.store.say(f"{model.described()}; {model.timing()}")
        tables: dict[str, object] = {"table": fitted.table, **fitted.tables}
        if "curve" in facts:
            tables["curve"] = facts["curve"]
        if self.options.learning_curve:
            last: LearningRow = {"points": model.training_points, **found}
            with self.store.bar(f"learning curve of {self.name}") as progress:
                tables["learning"] = [*self._learning_curve(fitted, progress), last]
        for kind, table in tables.items():
            self.store.put(f"{kind}{self.suffix}.json", table)
        return model

    def _errors(self, fitted: Fitted) -> ErrorRow:
        """Errors on the validation frames; empty where there are none."""
        if fitted.errors is not None:
            return fitted.errors
        judged = self.labels.complete[fitted.split.validation]
        return errors(fitted.potential(judged.positions), judged) if len(judged) else {}

    def _learning_curve(self, fitted: Fitted, progress: Progress) -> Iterator[LearningRow]:
        """Errors of smaller training sets, nested, with the hyperparameters that were found."""
        options, labels = self.options, self.labels
        judged = labels.labels(fitted.split.validation)
        order = np.random.default_rng([options.seed, 1]).permutation(fitted.split.train)
        sizes = sorted(set(options.learning_curve) - {options.training_points})
        for index, points in enumerate(sizes):
            row = self.checkpoints.load(f"learning-{points}")
            if row is None:
                fewer = labels.labels(np.sort(order[:points]))
                with warnings.catch_warnings():
                    # Those of the model of all points are known already.
                    warnings.simplefilter("ignore", TrainingWarning)
                    rng = np.random.default_rng(options.seed)
                    own = part(index, len(sizes), progress)
                    smaller = fitted.family.fit(fewer, judged, rng, own)
                found: ErrorRow = {}
                if len(judged):
                    found = errors(smaller(judged.positions), judged)
                row = LearningRow(points=points, **found)
                self.checkpoints.save(f"learning-{points}", row)
            yield row


SECONDS = "seconds"
"""Checkpoint of the time that a training has taken."""
CALLS, ENOUGH_S = 20, 0.2
"""Calls that are timed at most, and the time after which there are enough; two at least."""


def _call_ms(potential: Potential, data: Dataset) -> float:
    """Shortest time of a few calls to evaluate one geometry, in milliseconds."""
    times: list[float] = []
    while len(times) < 2 or (len(times) < CALLS and sum(times[1:]) < ENOUGH_S):
        begun = time.perf_counter()
        potential(data.positions[:1])
        times.append(time.perf_counter() - begun)
    return 1e3 * min(times)


@contextmanager
def training_warnings(warn: Callable[[str, type[Warning]], None]) -> Iterator[None]:
    """Hand the training's warnings to a store's or a run's `warn`; others are issued as they were.

    Each is said once, although the folds, candidates or members of a committee may all give it.
    They are issued after the block, where the progress bar is gone, also if it raises.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", TrainingWarning)
            yield
    finally:
        told: set[str] = set()
        for note in caught:
            if issubclass(note.category, TrainingWarning):
                if str(note.message) not in told:
                    warn(str(note.message), TrainingWarning)
                told.add(str(note.message))
            else:
                warnings.warn_explicit(
                    note.message, note.category, note.filename, note.lineno, source=note.source
                )
