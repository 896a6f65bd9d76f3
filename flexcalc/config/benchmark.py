"""What `flexcalc benchmark` can be told: one molecule, its mechanisms, data, models and tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from flexcalc.config.benchmark_tests import Withheld
from flexcalc.config.shared import WORKER_OPTIONS, OpensPotentials, RunsOnWorkers
from flexcalc.fields import FAMILY, Address, Batch, Bins, Count, Natural, Positive
from flexcalc.methods.crash import CrashTest
from flexcalc.methods.path import NEB, PathMethod
from flexcalc.methods.sampling import Sampling, Thermal


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """A way from one minimum to another."""

    kind: ClassVar[str] = "mechanism"
    file_only: ClassVar[tuple[str, ...]] = ("name", "start", "end", "coordinate")

    name: str
    """Word for the mechanism."""
    start: str
    """Name of the minimum where it begins."""
    end: str
    """Name of the minimum where it ends; like atoms are relabelled to fit the start, unless the
    two differ by their labels alone."""
    method: PathMethod = field(default_factory=NEB)
    """Path method, on the reference."""
    steps: Count = 1000
    """Most steps of the path method."""
    coordinate: str | None = None
    """Coordinate that tells how far the way has come; by default the first of `coordinates`."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One kind of sampling that every mechanism's data gets, or those that are named."""

    kind: ClassVar[str] = "sample"
    file_only: ClassVar[tuple[str, ...]] = ("name", "origin", "images", "mechanisms")

    name: str
    """Words for it, such as "300 K from the minima"; the tag `sampling` of its frames."""
    origin: Literal["minima", "images"] = "minima"
    """Where it starts from: both minima of the mechanism, or the images of its path."""
    images: tuple[Natural, ...] = ()
    """Images to start from, counted from 0; all by default."""
    mechanisms: tuple[str, ...] = ()
    """Mechanisms whose data get it; all by default."""
    sampling: Sampling = field(default_factory=Thermal)
    """How it samples; `frames` is the number of a whole mechanism."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model family with its hyperparameters, under a label."""

    kind: ClassVar[str] = "model"
    file_only: ClassVar[tuple[str, ...]] = ("label", "family", "sizes")

    label: str
    """Words for it in tables and figures, such as "sGDML extended"."""
    family: Annotated[Any, FAMILY]
    """The family and its hyperparameters."""
    sizes: tuple[Count, ...] = ()
    """Numbers of training points of its own learning curves; by default those of all."""


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
"""Parts of a benchmark, in their order."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(RunsOnWorkers, OpensPotentials):
    """Compare model families on minima, mechanisms and barriers of one flexible molecule.

    Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    doi:10.1063/5.0038516.
    """

    positional: ClassVar[tuple[str, ...]] = ()
    changeable: ClassVar[tuple[str, ...]] = (
        *WORKER_OPTIONS,
        *("stages", "only", "crash", "withheld"),
    )
    file_only: ClassVar[tuple[str, ...]] = ("minima", "crash", "withheld")

    reference: Address
    """Method that gives energies and forces, such as xtb:GFN2-xTB or dft:PBE-D4/def2-SVP."""
    minima: dict[str, str]
    """The molecule's minima: a name and a geometry file each, the last frame of which counts."""
    mechanisms: tuple[Mechanism, ...]
    """Ways between the minima."""
    models: tuple[Model, ...]
    """Models to compare."""
    samples: tuple[Sample, ...] = (Sample(name="500 K from the minima"),)
    """Kinds of sampling that make the data of a mechanism."""
    title: str | None = None
    """The molecule's name."""
    relax_minima: bool = True
    """Relax the minima on the reference first."""
    dispersion: Address | None = None
    """The reference without its dispersion, for what dispersion does to the barriers."""
    naive_steps: Natural = 0
    """Most steps of an elastic band and of a string from interpolations that know only the ends of
    the mechanisms, to see whether they find a way by themselves; 0 for none."""
    naive_images: Batch = 11
    """Images of these."""
    coordinates: tuple[str, ...]
    """Coordinates whose bins are the regions, such as "dihedral 5 6 7 8" (counted from 0)."""
    bins: Bins = 18
    """Bins of each coordinate."""
    sizes: tuple[Count, ...] = (100, 200, 400, 600, 800, 1000)
    """Numbers of training points of the learning curves."""
    folds: Batch = 5
    """Folds of the cross-validation, one to train on and the others to test on; the subset that
    is drawn for a size is so many times as large."""
    cutoffs: tuple[Positive, ...] = ()
    """Cutoffs in angstrom of a scan, of every model that can try several."""
    cutoff_points: Count | None = None
    """Training points of that scan; by default the largest of `sizes`."""
    budgets: tuple[Count, ...] = ()
    """Numbers of training points of one model for all mechanisms; none by default."""
    validation_points: Count = 200
    """Frames that choose the hyperparameters of these."""
    test_frames: Count = 2000
    """Most frames that a trained model is tested on."""
    crash: tuple[CrashTest, ...] = ()
    """Dynamics of every model until it fails; none by default."""
    withheld: tuple[Withheld, ...] = ()
    """Parts of the data that models are trained without, to be tested there; none by default."""
    stages: tuple[Stage, ...] = ()
    """Parts of the benchmark to do; all by default. What they build on must have been done."""
    only: tuple[str, ...] = ()
    """Labels of the models to train; all by default. The same command without it does the rest."""
    seed: Natural = 0
    """Seed of all random numbers."""
