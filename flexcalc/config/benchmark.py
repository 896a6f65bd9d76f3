"""Options of `flexcalc benchmark`: one molecule, its mechanisms, data, models and tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from flexcalc.config.benchmark_tests import Withheld
from flexcalc.config.shared import OpensPotentials
from flexcalc.config.workers import WORKER_OPTIONS, RunsOnWorkers
from flexcalc.fields import FAMILY, Address, Batch, Bins, Count, Natural, Positive
from flexcalc.methods.crash import CrashTest
from flexcalc.methods.path import NEB, PathMethod
from flexcalc.methods.sampling import Sampling, Thermal


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """A reaction mechanism from one minimum to another."""

    kind: ClassVar[str] = "mechanism"
    file_only: ClassVar[tuple[str, ...]] = ("name", "start", "end", "coordinate")

    name: str
    """Name of the mechanism."""
    start: str
    """Name of the minimum where it starts."""
    end: str
    """Name of the minimum where it ends. Identical atoms are permuted to match the start, unless
    the two differ by such a permutation alone."""
    method: PathMethod = field(default_factory=NEB)
    """Path method, on the reference."""
    steps: Count = 1000
    """Maximum number of steps of the path method."""
    coordinate: str | None = None
    """Progress coordinate of the mechanism; by default the first of `coordinates`."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One kind of sampling, for the data of all mechanisms or of those named."""

    kind: ClassVar[str] = "sample"
    file_only: ClassVar[tuple[str, ...]] = ("name", "origin", "images", "mechanisms")

    name: str
    """Description, such as "300 K from the minima"; the tag `sampling` of its frames."""
    origin: Literal["minima", "images"] = "minima"
    """Starting geometries: both minima of the mechanism, or the images of its path."""
    images: tuple[Natural, ...] = ()
    """Images to start from, counted from 0; all by default."""
    mechanisms: tuple[str, ...] = ()
    """Mechanisms whose data include it; all by default."""
    sampling: Sampling = field(default_factory=Thermal)
    """Sampling method; `frames` is the number for a whole mechanism."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model family with its hyperparameters and a label."""

    kind: ClassVar[str] = "model"
    file_only: ClassVar[tuple[str, ...]] = ("label", "family", "sizes")

    label: str
    """Label in tables and figures, such as "sGDML extended"."""
    family: Annotated[Any, FAMILY]
    """The family and its hyperparameters."""
    sizes: tuple[Count, ...] = ()
    """Numbers of training points of its learning curves; by default the common `sizes`."""


Stage = Literal[
    "minima",
    "paths",
    "data",
    "subsets",
    "curves",
    "cutoffs",
    "regions",
    "barriers",
    "joint",
    "crash",
    "withheld",
    "findings",
]
"""Stages of a benchmark, in their order."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(RunsOnWorkers, OpensPotentials):
    """Compare model families on minima, mechanisms and barriers of one flexible molecule.

    Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    doi:10.1063/5.0038516.
    """

    positional: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[tuple[str, ...]] = ("stages", "only", "sizes", "workers")
    changeable: ClassVar[tuple[str, ...]] = (
        *WORKER_OPTIONS,
        *("stages", "only", "crash", "withheld"),
    )
    file_only: ClassVar[tuple[str, ...]] = ("minima", "crash", "withheld")

    reference: Address
    """Method that gives energies and forces, such as xtb:GFN2-xTB or dft:PBE-D4/def2-SVP."""
    minima: dict[str, str]
    """The molecule's minima: name and geometry file of each; the last frame of a file is used."""
    mechanisms: tuple[Mechanism, ...]
    """Mechanisms between the minima."""
    models: tuple[Model, ...]
    """Models to compare."""
    samples: tuple[Sample, ...] = (Sample(name="500 K from the minima"),)
    """Kinds of sampling for the data of a mechanism."""
    title: str | None = None
    """The molecule's name."""
    relax_minima: bool = True
    """Relax the minima on the reference first."""
    dispersion: Address | None = None
    """The reference without its dispersion correction, to see its effect on the barriers."""
    naive_steps: Natural = 0
    """Maximum number of steps of NEB and string searches that start from plain interpolations
    between the endpoints of each mechanism, to see whether they find it; 0 for none."""
    naive_images: Batch = 11
    """Number of images of these searches."""
    coordinates: tuple[str, ...]
    """Coordinates whose bins define the regions, such as "dihedral 5 6 7 8" (counted from 0)."""
    bins: Bins = 18
    """Number of bins per coordinate."""
    sizes: tuple[Count, ...] = (100, 200, 400, 600, 800, 1000)
    """Numbers of training points of the learning curves."""
    folds: Batch = 5
    """Folds of the cross-validation: models train on one and are tested on the others. The subset
    drawn for each size is this many times as large."""
    cutoffs: tuple[Positive, ...] = ()
    """Cutoffs in angstrom to scan, for every model that has a cutoff."""
    cutoff_points: Count | None = None
    """Number of training points of that scan; by default the largest of `sizes`."""
    budgets: tuple[Count, ...] = ()
    """Numbers of training points of one model for all mechanisms; none by default."""
    validation_points: Count = 200
    """Number of validation frames that select their hyperparameters."""
    test_frames: Count = 2000
    """Maximum number of frames that a trained model is tested on."""
    crash: tuple[CrashTest, ...] = ()
    """Crash test: dynamics with every model until it fails; none by default."""
    withheld: tuple[Withheld, ...] = ()
    """Parts of the data withheld from training and used for testing; none by default."""
    stages: tuple[Stage, ...] = ()
    """Stages to run; all by default. Stages they depend on must be complete."""
    only: tuple[str, ...] = ()
    """Labels of the models to train; all by default. A run without it later trains the rest."""
    seed: Natural = 0
    """Seed of all random numbers."""
