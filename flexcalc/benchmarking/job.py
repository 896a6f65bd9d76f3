"""The job of a benchmark: molecule, reference, models, and the names of its files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc import files
from flexcalc.benchmarking.calls import Echo
from flexcalc.config.benchmark import Benchmark, Mechanism, Model, Sample
from flexcalc.config.options import placed
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, InputError
from flexcalc.geometry import Coordinate
from flexcalc.masses import atomic_masses, isotopes
from flexcalc.methods.sampling import AsIs
from flexcalc.models.family import check_family
from flexcalc.parallel.workers import WorkerOptions
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import open_potential
from flexcalc.results.rows import Row
from flexcalc.store import Store

JOINT = "joint"
"""Name of the set of all mechanisms together."""


class Fit(NamedTuple):
    """One training of a benchmark: mechanism or JOINT, label of the model, training points."""

    mechanism: str
    label: str
    points: int

    @property
    def place(self) -> str:
        """The label as the name of a folder."""
        return word(self.label)

    @property
    def text(self) -> str:
        """For messages."""
        return f"{self.mechanism}, {self.label}, {self.points} points"


@dataclass(frozen=True, eq=False)
class BenchmarkJob:
    """A benchmark with its files read and checked.

    Args:
        config: the options.
        store: the run folder, or a temporary one.
        numbers: (atoms,) atomic numbers of the molecule.
        starts: the given minima, one frame each, with the tag `minimum`.
        reference: opens the reference; it can be pickled for a worker process.
        dispersion_free: opens the reference without dispersion, None where there is none.
        models: label -> the model's table.
        coordinates: their bins are the regions.
    """

    config: Benchmark
    store: Store
    numbers: np.ndarray
    starts: Dataset
    reference: Callable[[], Potential]
    dispersion_free: Callable[[], Potential] | None
    models: Mapping[str, Model]
    coordinates: tuple[Coordinate, ...]

    @cached_property
    def folder(self) -> Path:
        """The run folder; a temporary one in memory."""
        return self.store.place("")

    @property
    def echo(self) -> Echo:
        """Takes the lines of the called commands; None to drop them."""
        return getattr(self.store, "echo", None)

    @property
    def worker_options(self) -> WorkerOptions:
        """Options of the processes or machines for trainings."""
        return self.config.worker_options

    @property
    def models_to_train(self) -> tuple[Model, ...]:
        """The models to train in this run."""
        only = self.config.only
        return tuple(m for m in self.models.values() if not only or m.label in only)

    @property
    def cutoff_points(self) -> int:
        """Training points of the scan of cutoffs."""
        return self.config.cutoff_points or max(self.config.sizes)

    @cached_property
    def mechanisms(self) -> dict[str, Mechanism]:
        """Mechanisms by their names."""
        return {mechanism.name: mechanism for mechanism in self.config.mechanisms}

    @property
    def minima(self) -> Dataset:
        """The minima of the stage `minima`, labelled by the reference, in the order of the config.

        Raises:
            InputError: that stage has not been done.
        """
        return self._read("minima.xyz", "minima")

    def lowest(self) -> float:
        """Energy of the lowest minimum, in eV."""
        return float(self.minima.labels()[0].min())

    def minimum(self, name: str) -> Path:
        """The file of one minimum."""
        return self.folder / "minima" / f"{name}.xyz"

    def progress(self, mechanism: str) -> Coordinate:
        """The progress coordinate of a mechanism."""
        text = self.mechanisms[mechanism].coordinate or self.config.coordinates[0]
        return Coordinate.parse(text, trust=self.config.trust)

    def path(self, mechanism: str) -> Dataset:
        """The images of a mechanism's path, labelled by the reference."""
        return self._read(f"paths/{mechanism}/path.xyz", "paths")

    def data(self, mechanism: str) -> Dataset:
        """The labelled frames of a mechanism, with the tags `sampling` and `start`."""
        return self._read(f"data/{mechanism}.xyz", "data")

    def subset(self, mechanism: str, points: int) -> Path:
        """The file of the frames for cross-validation with `points` training points."""
        return self.folder / "subsets" / f"{mechanism}-{points}.xyz"

    def sizes(self, label: str) -> tuple[int, ...]:
        """The numbers of training points of a model's learning curves, ascending."""
        return tuple(sorted(self.models[label].sizes or self.config.sizes))

    def fits(self) -> list[Fit]:
        """All trainings of the learning curves."""
        return [
            Fit(name, label, points)
            for name in self.mechanisms
            for label in self.models
            for points in self.sizes(label)
        ]

    def training(self, mechanism: str, label: str, points: int) -> Path:
        """The run folder of a model's training; of all mechanisms together for JOINT."""
        place = self.folder / (JOINT if mechanism == JOINT else f"curves/{mechanism}")
        return place / word(label) / str(points)

    def model_path(self, mechanism: str, label: str, points: int) -> Path:
        """The folder of a trained model: of the best fold, or for JOINT of the whole budget."""
        return self.training(mechanism, label, points) / f"{self.models[label].family.name}.flex"

    def model(self, mechanism: str, label: str, points: int) -> Potential:
        """A trained model.

        Raises:
            AddressError: it has not been trained.
        """
        return open_potential(
            str(self.model_path(mechanism, label, points)), self.numbers, trust=self.config.trust
        )

    def seed(self, *of: int | str) -> list[int]:
        """A seed for a part of the work, independent of all other parts."""
        words = [part if isinstance(part, int) else _number(part) for part in of]
        return [self.config.seed, *words]

    def _read(self, name: str, stage: str) -> Dataset:
        path = self.folder / name
        if not path.exists():
            raise InputError(f"{path}: not there yet; run the stage {stage} first")
        return files.read(path)


def open_job(config: Benchmark, store: Store) -> BenchmarkJob:
    """Read the minima and check all options before any work.

    Raises:
        ConfigError: names that do not fit together, or options that a family refuses.
        InputError: a file or a potential cannot be used.
    """
    _check_names(config)
    _check_frames(config)
    config.worker_options.check()
    config = _with_absolute_addresses(config)
    starts = _read_minima(config)
    numbers = starts.numbers
    for model in config.models:
        check_family(model.family, numbers)
    opening = partial(open_potential, numbers=numbers.tolist(), trust=config.trust)
    reference = partial(opening, config.reference)
    reference()
    without = None if config.dispersion is None else partial(opening, config.dispersion)
    if without is not None:
        without()
    texts = [*config.coordinates, *(m.coordinate for m in config.mechanisms if m.coordinate)]
    texts += [part.coordinate for part in config.withheld if part.coordinate]
    for text in texts:
        coordinate = Coordinate.parse(text, trust=config.trust)
        coordinate.values(starts.positions[:1])
        for name, minimum in zip(config.minima, starts.positions, strict=True):
            coordinate.check_defined(minimum[None], f"minimum {name}")
    for mechanism in config.mechanisms:
        first = starts.positions[list(config.minima).index(mechanism.start)]
        mechanism.method.check(f"mechanism {mechanism.name}", numbers, first[None], True)
    return BenchmarkJob(
        config=config,
        store=store,
        numbers=numbers,
        starts=starts,
        reference=reference,
        dispersion_free=without,
        models={model.label: model for model in config.models},
        coordinates=tuple(Coordinate.parse(t, trust=config.trust) for t in config.coordinates),
    )


def _with_absolute_addresses(config: Benchmark) -> Benchmark:
    """The same with absolute paths in addresses, which datasets keep as their provenance."""
    without = None if config.dispersion is None else placed(config.dispersion, Path.cwd())
    return replace(config, reference=placed(config.reference, Path.cwd()), dispersion=without)


def _read_minima(config: Benchmark) -> Dataset:
    """The last frame of each minimum's file."""
    read = {name: files.read(path) for name, path in config.minima.items()}
    first = next(iter(read.values()))
    for name, data in read.items():
        check_molecule(first.numbers, data.numbers, config.minima[name])
        if isotopes(data.numbers, atomic_masses(data.numbers, data.own_masses())):
            raise InputError(
                f"{config.minima[name]}: has isotopes, and a benchmark takes standard masses; "
                "leave D, T and the masses out"
            )
    positions = np.stack([data.positions[-1] for data in read.values()])
    return Dataset(first.numbers, positions, tags={"minimum": np.array(list(read))})


def _check_names(config: Benchmark) -> None:
    """Refuse unknown names and names given twice.

    Raises:
        ConfigError: with the name and the known ones.
    """
    if not config.minima:
        raise ConfigError("minima: expected at least one, as in minima = {cis = 'cis.xyz'}")
    if not config.coordinates:
        raise ConfigError('coordinates: expected at least one, such as "dihedral 0 1 2 3"')
    names = [mechanism.name for mechanism in config.mechanisms]
    labels = [model.label for model in config.models]
    for name in (*config.minima, *names):
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]{0,60}", name, re.ASCII) or name == JOINT:
            raise ConfigError(
                f"{name!r}: expected a name of letters, digits and - + . _ for a minimum or a "
                f"mechanism, other than {JOINT}"
            )
    samples = [sample.name for sample in config.samples]
    for where, words in (
        ("mechanisms.name", names),
        ("models.label", [word(label) for label in labels]),
        ("samples.name", [word(sample) for sample in samples]),
        ("withheld.name", [word(part.name) for part in config.withheld]),
    ):
        twice = sorted({one for one in words if words.count(one) > 1})
        if twice or "" in words:
            raise ConfigError(f"{where}: expected different names, found {(twice or [''])[0]!r}")
    for mechanism in config.mechanisms:
        _check_known("mechanisms.start", mechanism.start, config.minima)
        _check_known("mechanisms.end", mechanism.end, config.minima)
        if mechanism.start == mechanism.end and mechanism.method.takes_path:
            raise ConfigError(
                f"mechanisms.end: expected another minimum than the start of {mechanism.name}, "
                f"found {mechanism.end!r} twice; only a scan can come back to where it began"
            )
    for sample in config.samples:
        for name in sample.mechanisms:
            _check_known("samples.mechanisms", name, names)
    for part in config.withheld:
        part.check(config.minima)
    for label in config.only:
        _check_known("only", label, labels)


def _check_frames(config: Benchmark) -> None:
    """Refuse sizes that need more frames than the samples have, before hours of sampling.

    Raises:
        ConfigError: names the mechanism.
    """
    models = [model for model in config.models if not config.only or model.label in config.only]
    without = [model.label for model in models if not (model.sizes or config.sizes)]
    if without:
        raise ConfigError(f"sizes: expected at least one for {without[0]!r}, got []")
    largest = max(points for model in models for points in model.sizes or config.sizes)
    for mechanism in config.mechanisms:
        samples = [s for s in config.samples if not s.mechanisms or mechanism.name in s.mechanisms]
        _check_images(mechanism, samples)
        frames = sum(_frames_of(sample, mechanism) for sample in samples)
        if frames < config.folds * largest:
            raise ConfigError(
                f"samples: {frames} frames of {mechanism.name} are too few for {config.folds} "
                f"folds of {largest} points; ask for more frames or smaller sizes"
            )


def _frames_of(sample: Sample, mechanism: Mechanism) -> int:
    """Number of frames of a mechanism by one kind of sampling."""
    if not isinstance(sample.sampling, AsIs):
        return sample.sampling.frames
    if sample.origin == "minima":
        return len({mechanism.start, mechanism.end})
    return len(sample.images) or mechanism.method.images


def _check_images(mechanism: Mechanism, samples: Sequence[Sample]) -> None:
    """Refuse to start from images that the path will not have.

    Raises:
        ConfigError: names the sample.
    """
    for sample in samples:
        if sample.images and max(sample.images) >= mechanism.method.images:
            raise ConfigError(
                f"samples.images: {sample.name!r} starts from image {max(sample.images)}, but "
                f"{mechanism.name} has {mechanism.method.images}, 0 to "
                f"{mechanism.method.images - 1}"
            )


def _check_known(key: str, name: str, known: Sequence[str] | Mapping[str, str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{key}: unknown {name!r}; {hint}")


def word(text: str) -> str:
    """A label as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9.+]+", "-", text).strip("-.")


def _number(text: str) -> int:
    """A number that depends on a text only."""
    return int.from_bytes(text.encode()[:256], "big") % (2**61 - 1)


Stage = Callable[[BenchmarkJob], Sequence[Row]]
"""Does one part of a benchmark, as far as it is not done, and returns the rows of its file."""
