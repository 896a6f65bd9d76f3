"""What each command can be told: one dataclass a command, one field an option.

The text under a field is its help everywhere: in `flexcalc COMMAND --help`, in the TOML that
`flexcalc init COMMAND` prints, and here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from flexcalc.analysis.rates import LowModes
from flexcalc.config.benchmark import Benchmark
from flexcalc.config.shared import LabelledFrames, MapsAtoms, OpensPotentials
from flexcalc.fields import (
    FAMILY,
    Address,
    Batch,
    Bins,
    Count,
    Femtoseconds,
    GeometryLike,
    Members,
    Natural,
    Port,
    Positive,
    PotentialLike,
    Seconds,
    Workers,
)
from flexcalc.methods.dynamics import Dynamics, Langevin
from flexcalc.methods.guard import Guards
from flexcalc.methods.irc import IRC
from flexcalc.methods.metadynamics import Hills, WellTempered
from flexcalc.methods.path import NEB, PathMethod
from flexcalc.methods.saddle import RFO
from flexcalc.methods.sampling import Sampling, Thermal
from flexcalc.training.refinement import By
from flexcalc.training.selection import Selection


@dataclass(frozen=True, kw_only=True)
class Label(OpensPotentials):
    """Sample geometries of a molecule and label them with a reference method."""

    positional: ClassVar[tuple[str, ...]] = ("reference", "*starts")
    changeable: ClassVar[tuple[str, ...]] = (
        *("workers", "scheduler", "timeout_s"),
        *("retry_quarantined", "worker_wait_s", "allow_remote"),
    )

    reference: PotentialLike
    """Method that gives energies and forces, such as xtb:GFN2-xTB or dft:PBE-D4/def2-SVP."""
    starts: tuple[GeometryLike, ...]
    """Geometries to start from: files (every frame counts), or smiles:TEXT for conformers."""
    samples: tuple[Sampling, ...] = (Thermal(),)
    """Ways to sample; a flag for one of their fields goes to every one that has it."""
    sampler: PotentialLike | None = None
    """Potential that drives the sampling; by default the reference, or GFN2-xTB for dft:."""
    conformers: Batch = 10
    """Most conformers kept of a smiles: start, lowest energy first."""
    workers: Workers = 1
    """Processes that label at the same time on this machine."""
    scheduler: str | dict[str, Any] | None = None
    """Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as {cluster = "SLURM",
    jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime = "04:00:00"}. Required are
    cluster, cores and memory of a job; any key of dask-jobqueue's class may follow. The jobs call
    this machine: host = "127.0.0.1" where they all run on it, else allow_remote, with tls = true,
    or {ca_file = "", cert = "", key = ""}, so that nobody else is let in."""
    worker_wait_s: Seconds = 86400.0
    """Longest time without any worker of `scheduler`, in seconds; the same command goes on."""
    allow_remote: bool = False
    """Let other machines reach the Dask scheduler; without TLS, whoever does can run code here."""
    timeout_s: Seconds = 3600.0
    """Longest time for one label, in seconds."""
    retry_quarantined: bool = False
    """Try the geometries in quarantine.xyz again, once what was wrong is mended."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Train(LabelledFrames, OpensPotentials):
    """Train one or several model families on a dataset."""

    positional: ClassVar[tuple[str, ...]] = ("dataset",)
    changeable: ClassVar[tuple[str, ...]] = ()

    dataset: GeometryLike
    """Labelled frames: extxyz, or npz with its units. sGDML, its mixtures and networks learn from
    forces alone where there are no energies."""
    family: Annotated[tuple[Any, ...], FAMILY] = ("sgdml",)
    """Model families to train, each with its hyperparameters."""
    points: Count = 200
    """Training points."""
    validation_points: Count = 200
    """Frames that choose the hyperparameters."""
    selection: Selection = "stratified"
    """How training points are chosen: `stratified` follows the distribution of energies, if any,
    `random` nothing, `farthest` takes what is least like the points it has, `clusters` draws
    from each group of like geometries and energies."""
    refine_rounds: Natural = 0
    """Rounds that add points where the model is worst, from an equal share up to `points`."""
    refine_by: By = "worst"
    """How those points are chosen: `worst` takes the worst frames of the clusters with the largest
    errors; `error` draws frames with a chance in proportion to their force error, which does
    better where the errors of all frames count."""
    folds: Natural = 0
    """Folds of a cross-validation, whose mean errors choose the hyperparameters instead of
    validation frames; the model kept is that of the best fold. 0 for none."""
    train_folds: Count | None = None
    """Folds that a model is trained on, `points` in all; by default all but one."""
    committee: Members = 1
    """Models of a committee, each trained without another part of the points and with the
    hyperparameters that all points chose; their spread tells how sure the forces are. 1 for a
    single model."""
    baseline: PotentialLike | None = None
    """Potential whose energies and forces are taken from the labels first, such as xtb:GFN2-xTB or
    dispersion:D4/PBE; the model is its sum with what is learned of the rest."""
    learning_curve: tuple[Count, ...] = ()
    """Smaller numbers of training points to train as well, with the hyperparameters found."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Evaluate(LabelledFrames, MapsAtoms, OpensPotentials):
    """Measure the errors of potentials on a dataset, overall and by region."""

    positional: ClassVar[tuple[str, ...]] = ("*models", "dataset")
    changeable: ClassVar[tuple[str, ...]] = ()

    models: tuple[PotentialLike, ...]
    """Potentials to measure."""
    dataset: GeometryLike
    """Labelled frames to measure on."""
    by: tuple[str, ...] = ()
    """Coordinates whose bins are the regions, such as "dihedral 4 6 7 12" (counted from 0)."""
    bins: Bins = 18
    """Bins of each coordinate."""
    frames: Count | None = None
    """Most frames, drawn at random; all by default."""
    worst: Count = 10
    """Frames with the largest errors to write out."""
    seed: Natural = 0
    """Seed of the bootstrap and of the draw of frames."""


@dataclass(frozen=True, kw_only=True)
class SaddleAndRates:
    """What is done with a guess of a saddle: refinement, the way down, rates."""

    refinement: RFO = field(default_factory=RFO)
    """How the saddle is found from the guess."""
    descent: IRC = field(default_factory=IRC)
    """How the way down from the saddle is followed."""
    temperatures_K: tuple[Positive, ...] = (298.15,)
    """Temperatures of the rates, in kelvin; results.json has those at the first."""
    low_modes: LowModes = "harmonic"
    """Vibrations below 100 cm^-1: `harmonic` as all others, `quasi-rrho` as hindered rotors whose
    moment of inertia is bounded by the molecule's own mean (as in xtb and ORCA),
    `quasi-rrho-grimme` by 1e-44 kg m^2 (as in Grimme's paper and GoodVibes)."""
    symmetry_start: Count = 1
    """Rotational symmetry number of the first minimum; 2 for cis-azobenzene."""
    symmetry_end: Count = 1
    """Rotational symmetry number of the last minimum."""
    symmetry_saddle: Count = 1
    """Rotational symmetry number of the saddle."""


@dataclass(frozen=True, kw_only=True)
class PathSearch(SaddleAndRates, MapsAtoms, OpensPotentials):
    """Find a path between two geometries, and its barrier."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start", "end")
    changeable: ClassVar[tuple[str, ...]] = ("steps",)

    model: PotentialLike
    """Potential to search on."""
    start: GeometryLike
    """First geometry; its last frame counts. Where `end` is not given: the whole first path, or
    for a scan with its own end values the one geometry."""
    end: GeometryLike | None = None
    """Last geometry; like atoms are relabelled to fit the start, unless start and end differ by
    their labels alone (a degenerate rearrangement)."""
    method: PathMethod = field(default_factory=NEB)
    """Path method."""
    relax_ends: bool = True
    """Relax both ends on the potential first."""
    relabel: PotentialLike | None = None
    """Reference that is computed along the path, for the error of the barrier."""
    equivalents: bool = False
    """Write the other paths that are this one with like atoms relabelled, by the permutations
    of the model or else of the bonds."""
    saddle: bool = False
    """Refine the highest image to a saddle, follow the way down from it, and give rates."""
    refine: Natural = 0
    """Most rounds that label the worst images by `relabel`, train the model anew with them, and
    search again."""
    dataset: GeometryLike | None = None
    """Labelled frames that the model was trained on, for `refine`."""
    refine_images: Count = 3
    """Images that each round adds, the highest among them; saddle and minima come on top."""
    barrier_tolerance_kcal_mol: Positive = 0.5
    """The rounds end when the error of the barrier is smaller, in kcal/mol."""
    steps: Count = 1000
    """Most steps."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class SaddleSearch(SaddleAndRates, MapsAtoms, OpensPotentials):
    """Refine a guess to a saddle, find the minima that it joins, and give rates."""

    positional: ClassVar[tuple[str, ...]] = ("model", "guess", "start", "end")
    changeable: ClassVar[tuple[str, ...]] = ("steps",)

    model: PotentialLike
    """Potential to search on."""
    guess: GeometryLike
    """Geometry near the saddle; of several frames that are a path, the highest counts."""
    start: GeometryLike | None = None
    """First minimum, to tell it at the end of the way down; its last frame counts."""
    end: GeometryLike | None = None
    """Last minimum, likewise."""
    relabel: PotentialLike | None = None
    """Reference that is computed at the saddle and at both minima."""
    steps: Count = 200
    """Most steps to the saddle."""


@dataclass(frozen=True, kw_only=True)
class Md(Guards, MapsAtoms, OpensPotentials):
    """Run molecular dynamics of many replicas in one batch."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """First geometry; of several frames, replicas take them in turn."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator: `nve` keeps the energy; `langevin`, `rescaling` (Bussi) and `nose-hoover` keep a
    temperature."""
    steps: Count = 10000
    """Timesteps."""
    replicas: Batch = 1
    """Replicas in the batch."""
    plumed: Path | None = None
    """A PLUMED input whose bias acts on every replica; `{replica}` and `{replicas}` in it become
    numbers. Files it reads need full names; those it writes are in OUTPUT/plumed. What could run
    code or write elsewhere needs `trust`. PLUMED_KERNEL names another libplumedKernel.so than that
    of flexcalc[plumed]."""
    frame_every: Count = 20
    """Steps between two frames on disk, which have the labels of the model without any bias."""
    frame_replicas: Count | None = None
    """Replicas, from the first, whose frames are written; all by default."""
    scalars_every: Count | None = None
    """Steps between two records of scalars.csv; by default those between two frames."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Metad(Guards, MapsAtoms, OpensPotentials):
    """Run metadynamics of walkers that share one bias, for a free-energy surface."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """First geometry; of several frames, walkers take them in turn."""
    coordinate: tuple[str, ...]
    """One to three coordinates to bias, such as "dihedral 4 6 7 12" (counted from 0)."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat."""
    hills: Hills = field(default_factory=WellTempered)
    """Kind of metadynamics."""
    upper_wall: tuple[str, ...] = ()
    """Walls that keep coordinates below, such as "distance 0 1 at 3.5 kappa 50": in degrees or
    angstrom, and kcal/mol per unit squared."""
    lower_wall: tuple[str, ...] = ()
    """Walls that keep coordinates above."""
    steps: Count = 100000
    """Timesteps."""
    walkers: Batch = 1
    """Walkers that share the bias, all in one batch."""
    frame_every: Count = 20
    """Steps between two frames on disk, which have the labels of the model without the bias."""
    colvar_every: Count = 20
    """Steps between two lines of COLVAR."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class UmbrellaSampling(Guards, MapsAtoms, OpensPotentials):
    """Run umbrella sampling, all windows in one batch, for a free-energy profile with errors."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """First geometry; of several frames, such as a path, each window takes the nearest."""
    coordinate: tuple[str, ...]
    """One or two coordinates to hold, such as "dihedral 4 6 7 12" (counted from 0)."""
    low: tuple[float, ...] = ()
    """Centre of the first window, one a coordinate, in degrees or angstrom; without low and high
    dihedrals go all the way round."""
    high: tuple[float, ...] = ()
    """Centre of the last window, one a coordinate."""
    windows: tuple[Batch, ...] = ()
    """Windows along each coordinate; by default one every 15 degrees of a dihedral, 5 degrees of
    an angle, 0.1 otherwise. Of two coordinates, all combinations are windows."""
    kappa_kcal_mol: tuple[Positive, ...] = ()
    """Strength of the springs kappa/2 (s - centre)^2, one a coordinate, in kcal/mol per degree or
    angstrom squared; by default their thermal width is half the distance of two windows."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat."""
    steps: Count = 60000
    """Timesteps, those of the equilibration included."""
    equilibration: Count = 10000
    """Timesteps that do not count; in the first half of them each window is pulled from its start
    to its centre."""
    frame_every: Count = 200
    """Steps between two frames on disk, which have the labels of the model without the springs."""
    colvar_every: Count = 20
    """Steps between two lines of COLVAR, of which the free energy is made."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Serve(OpensPotentials):
    """Serve a potential to a running i-PI."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")

    model: PotentialLike
    """Potential to serve."""
    start: GeometryLike
    """The molecule as i-PI has it, atom by atom."""
    unix: str | None = None
    """Name of i-PI's unix socket (its <address>)."""
    host: str = "127.0.0.1"
    """Host of i-PI's inet socket."""
    port: Port | None = None
    """Port of i-PI's inet socket."""
    timeout_s: Seconds = 60.0
    """Longest wait for the server, in seconds."""
    allow_remote: bool = False
    """Connect to another machine than this one."""


@dataclass(frozen=True, kw_only=True)
class Ipi:
    """Start i-PI and its clients for one i-PI input."""

    positional: ClassVar[tuple[str, ...]] = ("input", "model", "start")
    changeable: ClassVar[tuple[str, ...]] = ("clients", "steps", "timeout_s")

    input: Path
    """i-PI input file (XML)."""
    model: PotentialLike
    """Potential to serve."""
    start: GeometryLike
    """The molecule as i-PI has it, atom by atom; also where it starts."""
    clients: Workers = 1
    """Client processes."""
    steps: Count | None = None
    """Number of steps, instead of the input's."""
    compare: bool = True
    """Compare the energies and forces that i-PI received with the direct call's."""
    timeout_s: Seconds = 600.0
    """Longest time without a new line of output from i-PI, in seconds."""
    allow_remote: bool = False
    """Let i-PI listen on an address that other machines reach."""
    trust: bool = False
    """Let the input have i-PI run, load or unpickle what it names, and open model files that
    contain code."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run the main job on glycine, from nothing to a report, in a few minutes on two cores."""

    positional: ClassVar[tuple[str, ...]] = ()
    changeable: ClassVar[tuple[str, ...]] = ("workers",)

    reference: Address = "xtb:GFN2-xTB"
    """Method that labels."""
    frames: Count = 800
    """Frames to label."""
    temperature_K: Positive = 500.0
    """Temperature of the sampling, in kelvin."""
    sampling_replicas: Batch = 4
    """Sampling runs from each of the two minima."""
    spacing_fs: Femtoseconds = 20.0
    """Time between two labelled frames, in femtoseconds."""
    points: Count = 300
    """Training points."""
    validation_points: Count = 150
    """Frames that choose the hyperparameters."""
    replicas: Batch = 8
    """Replicas of the dynamics at 300 K."""
    steps: Count = 4000
    """Steps of the dynamics at 300 K."""
    workers: Workers = 2
    """Processes that label at the same time."""
    seed: Natural = 0
    """Seed of all random numbers."""


COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "label": Label,
    "train": Train,
    "evaluate": Evaluate,
    "path": PathSearch,
    "saddle": SaddleSearch,
    "md": Md,
    "metad": Metad,
    "umbrella": UmbrellaSampling,
    "serve": Serve,
    "ipi": Ipi,
    "benchmark": Benchmark,
}
"""Configs by the name of their command."""
