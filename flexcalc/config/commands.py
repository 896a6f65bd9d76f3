"""The options of each command: one dataclass per command, one field per option.

The docstring of a field is its help text everywhere: in `flexcalc COMMAND --help`, in the TOML that
`flexcalc init COMMAND` prints, and here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from flexcalc.analysis.rates import LowModes
from flexcalc.config.benchmark import Benchmark
from flexcalc.config.learn import Learn
from flexcalc.config.shared import (
    WORKER_OPTIONS,
    Command,
    LabelledFrames,
    MapsAtoms,
    OpensPotentials,
    RunsOnWorkers,
)
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

USUAL_POINTS = 200
"""Training points by default, where there are twice as many frames; see `tasks/fitting.py`."""


@dataclass(frozen=True, kw_only=True)
class Label(RunsOnWorkers, OpensPotentials):
    """Sample geometries of a molecule and label them with a reference method."""

    positional: ClassVar[tuple[str, ...]] = ("reference", "*starts")
    usual: ClassVar[tuple[str, ...]] = ("samples", "frames", "temperature_K", "workers")
    changeable: ClassVar[tuple[str, ...]] = (
        *WORKER_OPTIONS,
        *("timeout_s", "retry_quarantined"),
    )

    reference: PotentialLike
    """Method that gives energies and forces, such as xtb:GFN2-xTB or dft:PBE-D4/def2-SVP."""
    starts: tuple[GeometryLike, ...]
    """Starting geometries: files, all frames of which are used, or smiles:TEXT for conformers."""
    samples: tuple[Sampling, ...] = (Thermal(),)
    """Sampling methods; a flag for one of their options applies to all methods that have it."""
    sampler: PotentialLike | None = None
    """Potential used for sampling; by default the reference, or GFN2-xTB for a dft: reference."""
    conformers: Batch = 10
    """Maximum number of conformers of a smiles: start, lowest energy first."""
    timeout_s: Seconds = 3600.0
    """Timeout for one label, in seconds."""
    retry_quarantined: bool = False
    """Retry the geometries in quarantine.xyz, after the cause of their failure is fixed."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Train(LabelledFrames, OpensPotentials):
    """Train one or several model families on a dataset."""

    positional: ClassVar[tuple[str, ...]] = ("dataset",)
    usual: ClassVar[tuple[str, ...]] = (
        "family",
        "points",
        "validation_points",
        "committee",
        "baseline",
    )
    changeable: ClassVar[tuple[str, ...]] = ()
    makes_model: ClassVar[bool] = True

    dataset: GeometryLike
    """Labelled frames: extxyz, or npz with its units. Without energies, sGDML, mixtures of sGDML
    and networks are trained on forces alone."""
    family: Annotated[tuple[Any, ...], FAMILY] = ("sgdml",)
    """Model families to train, each with its hyperparameters."""
    points: Count | None = None
    """Number of training points; by default 200, or half of the frames if there are fewer than
    400."""
    validation_points: Natural | None = None
    """Number of validation frames, which select the hyperparameters; by default 200, or all
    remaining frames if those are fewer, or a quarter of fewer than 400 frames if `points` is left
    to its default too."""
    selection: Selection = "stratified"
    """Selection of training points: `stratified` preserves the distribution of energies, if any;
    `random` draws frames uniformly; `farthest` adds the frame least similar to those selected
    so far; `clusters` draws from each cluster of similar geometries and energies."""
    refine_rounds: Natural = 0
    """Rounds of active learning that add points where errors are largest, up to `points` in total;
    the first model and every round get equal numbers."""
    refine_by: By = "worst"
    """Selection of the points that are added: `worst` takes the worst frames of the clusters with
    the largest errors; `error` draws frames with a probability proportional to their force
    error, which gives lower errors on average over all frames."""
    folds: Natural = 0
    """Folds of a cross-validation: mean errors over the folds select the hyperparameters, without
    validation frames, and the model of the best fold is kept. 0 for none."""
    train_folds: Count | None = None
    """Folds that each model is trained on, with `points` in total; by default all but one."""
    committee: Members = 1
    """Models of a committee, each trained on all but a different part of the points, with the
    hyperparameters selected on all points. Their spread estimates the uncertainty of the
    forces. 1 for a single model."""
    baseline: tuple[PotentialLike, ...] = ()
    """Baseline for delta learning, such as xtb:GFN2-xTB or dispersion:D4/PBE: the difference
    between labels and baseline is learned, and the model is the sum of both. Of several, a sum with
    weights that folds of the training points choose; those that do not help are left out."""
    teacher: PotentialLike | None = None
    """Teacher of a student, such as a model on a baseline: it labels further geometries, and the
    model that is trained on them and on the dataset does without it."""
    teacher_points: Count | None = None
    """Number of geometries that the teacher labels for the training; by default 1000, or fewer of a
    molecule of more than 10 atoms (395 of azobenzene)."""
    teacher_temperature_K: Positive | None = None
    """Temperature in kelvin of the dynamics that visits those geometries; by default that of the
    training points, estimated from the spread of their energies."""
    label_weight: Positive = 10.0
    """Weight of a label of the dataset, where one of the teacher has weight 1: it divides the
    regularization of sGDML and multiplies the squared errors of a network."""
    start_from: Address | None = None
    """Trained network whose weights the training starts from: the folder of a model of the same
    family, such as one of many cheap labels. The constant of the energies is fitted again."""
    learning_curve: tuple[Count, ...] = ()
    """Smaller numbers of training points for a learning curve, with the same hyperparameters."""
    overwrite: bool = False
    """Replace another model at the output NAME.flex; without it that is refused."""
    seed: Natural = 0
    """Seed of all random numbers."""

    @property
    def training_points(self) -> int:
        """`points`, or the usual number where it is not set."""
        return self.points or USUAL_POINTS


@dataclass(frozen=True, kw_only=True)
class Evaluate(LabelledFrames, MapsAtoms, OpensPotentials):
    """Measure the errors of potentials on a dataset, overall and by region."""

    positional: ClassVar[tuple[str, ...]] = ("*models", "dataset")
    usual: ClassVar[tuple[str, ...]] = ("by", "bins")
    changeable: ClassVar[tuple[str, ...]] = ()

    models: tuple[PotentialLike, ...]
    """Potentials to evaluate."""
    dataset: GeometryLike
    """Labelled test frames."""
    by: tuple[str, ...] = ()
    """Coordinates whose bins define the regions, such as "dihedral 4 6 7 12" (counted from 0), or
    tags of the frames, such as config_type, whose values do."""
    bins: Bins = 18
    """Number of bins per coordinate."""
    frames: Count | None = None
    """Maximum number of frames, drawn at random; all by default."""
    worst: Count = 10
    """Number of frames to write out, those with the largest errors."""
    seed: Natural = 0
    """Seed of the bootstrap and of the random choice of frames."""


@dataclass(frozen=True, kw_only=True)
class SaddleAndRates:
    """Options of a saddle search: refinement, reaction path downhill, rates."""

    panel: ClassVar[str] = "Saddle and rates"

    refinement: RFO = field(default_factory=RFO)
    """Optimiser of the saddle."""
    follow: bool = True
    """Follow the direction of a path from its highest image to the saddle, in internal coordinates
    and without Hessians; `refinement` takes over where that fails. Without it, or where the guess
    is no path, `refinement` starts at once."""
    descent: IRC = field(default_factory=IRC)
    """Integration of the intrinsic reaction coordinate, downhill from the saddle."""
    temperatures_K: tuple[Positive, ...] = (298.15,)
    """Temperatures of the rates, in kelvin; results.json has the rates at the first."""
    low_modes: LowModes = "harmonic"
    """Vibrations below 100 cm^-1: `harmonic`, or hindered rotors with a bounded moment of inertia.
    The bound is the molecule's mean for `quasi-rrho` (as in xtb and ORCA), and 1e-44 kg m^2 for
    `quasi-rrho-grimme` (as in Grimme's paper and GoodVibes)."""
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
    usual: ClassVar[tuple[str, ...]] = ("method", "images", "relabel", "saddle")
    changeable: ClassVar[tuple[str, ...]] = ("steps",)

    model: PotentialLike
    """Potential to search on."""
    start: GeometryLike | None = None
    """First geometry; the last frame of a file is used. Without `end`: the initial path, or the
    only geometry of a scan that gives its own end values."""
    end: GeometryLike | None = None
    """Last geometry. Identical atoms are permuted to match the start, unless start and end differ
    by such a permutation alone (a degenerate rearrangement)."""
    starts: tuple[GeometryLike, ...] = ()
    """First geometries of several paths, in place of `start` and `end`: all frames of the files.
    The paths are searched in one batch, which each leaves when it is finished."""
    ends: tuple[GeometryLike, ...] = ()
    """Last geometries of these paths, one for each first geometry; by default there are paths
    between all pairs of `starts`."""
    method: PathMethod = field(default_factory=NEB)
    """Path method."""
    relax_ends: bool = True
    """Relax both endpoints on the potential first."""
    relabel: PotentialLike | None = None
    """Reference method to evaluate along the path, for the error of the barrier."""
    equivalents: bool = False
    """Also write the symmetry-equivalent paths, with identical atoms permuted: by the symmetry
    group of the model, or else of the bond graph."""
    saddle: bool = False
    """Find the saddle of the path, follow the reaction path downhill from it, and compute rates."""
    follow_below_eV_A: Positive = 0.5
    """With `saddle` and `follow`: force perpendicular to the path below which a band or string is
    left for its saddle, in eV/angstrom. Where the saddle does not join the ends, the search of the
    path goes on until it converges."""
    refine: Natural = 0
    """Maximum number of rounds that label the worst images with `relabel`, retrain the model with
    them, and search again."""
    dataset: GeometryLike | None = None
    """Labelled frames that the model was trained on, for `refine`."""
    refine_images: Count = 3
    """Number of images that each round adds, including the highest; saddle and minima are added
    too."""
    barrier_tolerance_kcal_mol: Positive = 0.5
    """Stop retraining when the error of the barrier is below this, in kcal/mol."""
    steps: Count = 1000
    """Maximum number of steps."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class SaddleSearch(SaddleAndRates, MapsAtoms, OpensPotentials):
    """Refine a guess to a saddle, find the minima that it connects, and compute rates."""

    positional: ClassVar[tuple[str, ...]] = ("model", "guess", "start", "end")
    usual: ClassVar[tuple[str, ...]] = ("relabel", "temperatures_K")
    changeable: ClassVar[tuple[str, ...]] = ("steps",)

    model: PotentialLike
    """Potential to search on."""
    guess: GeometryLike
    """Geometry near the saddle; of a path, the highest frame is used."""
    start: GeometryLike | None = None
    """First minimum, to identify the minima found downhill; the last frame of a file is used."""
    end: GeometryLike | None = None
    """Last minimum, likewise."""
    relabel: PotentialLike | None = None
    """Reference method to evaluate at the saddle and at both minima."""
    steps: Count = 200
    """Maximum number of steps to the saddle."""


@dataclass(frozen=True, kw_only=True)
class NetworkSearch(OpensPotentials):
    """Find the minima of a molecule, the saddles between them, and the rates over these."""

    positional: ClassVar[tuple[str, ...]] = ("model", "*starts")
    usual: ClassVar[tuple[str, ...]] = ("turned", "relabel", "temperature_K")
    changeable: ClassVar[tuple[str, ...]] = ()

    model: PotentialLike
    """Potential to search on."""
    starts: tuple[GeometryLike, ...]
    """Geometries to begin with: files, such as a trajectory, or smiles:TEXT for conformers. Minima
    that are found behind saddles are added."""
    conformers: Batch = 30
    """Maximum number of conformers of a smiles: start, lowest energy first."""
    turned: Natural = 100
    """Further geometries to begin with, whose rotatable bonds are turned at random."""
    max_energy_kcal_mol: Positive = 10.0
    """Energy above the lowest geometry up to which minima are of interest, in kcal/mol."""
    max_barrier_kcal_mol: Positive = 40.0
    """The same of saddles."""
    max_minima: Count = 40
    """Maximum number of minima; mirror images are one."""
    max_pairs: Count = 80
    """Maximum number of pairs of minima between which a path is searched in a round: first near
    pairs that join all minima, then other near ones. All paths are one batch."""
    rounds: Count = 3
    """Rounds of searches; those after the first join parts that no saddle joins yet."""
    temperature_K: Positive = 298.15
    """Temperature of Gibbs energies, populations and rates, in kelvin."""
    low_modes: LowModes = "harmonic"
    """Vibrations below 100 cm^-1, as for `flexcalc saddle`."""
    relabel: PotentialLike | None = None
    """Reference method to evaluate at all minima and saddles; results say which barriers hold."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Md(Guards, MapsAtoms, OpensPotentials):
    """Run molecular dynamics of many replicas in one batch."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = (
        "method",
        "temperature_K",
        "timestep_fs",
        "steps",
        "replicas",
    )
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """Starting geometry; several frames are distributed over the replicas in turn."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat: `nve` is constant-energy; `langevin`, `rescaling` (Bussi) and
    `nose-hoover` are constant-temperature dynamics."""
    steps: Count = 10000
    """Number of timesteps."""
    replicas: Batch = 1
    """Number of replicas, integrated in one batch."""
    exchange_every: Count | None = None
    """Steps between attempts to exchange the geometries of replicas that are neighbours in
    temperature (replica exchange, parallel tempering); the temperatures are
    `replica_temperatures_K` of the method. Without, replicas are independent."""
    plumed: Path | None = None
    """PLUMED input whose bias acts on every replica; `{replica}` and `{replicas}` in it stand for
    numbers. Files it reads need absolute paths; those it writes go to OUTPUT/plumed. Actions
    that can run code or write elsewhere need `trust`. Set the environment variable PLUMED_KERNEL
    to use another libplumedKernel.so than that of flexcalc[plumed]."""
    frame_every: Count = 20
    """Steps between saved frames; their energies and forces are the model's, without any bias."""
    frame_replicas: Count | None = None
    """Number of replicas whose frames are saved, from the first; all by default."""
    scalars_every: Count | None = None
    """Steps between rows of scalars.csv; `frame_every` by default."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Metad(Guards, MapsAtoms, OpensPotentials):
    """Run metadynamics of walkers that share one bias, for a free-energy surface."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = (
        "temperature_K",
        "timestep_fs",
        "steps",
        "walkers",
        "height_kcal_mol",
        "bias_factor",
        "pace",
    )
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """Starting geometry; several frames are distributed over the walkers in turn."""
    coordinate: tuple[str, ...]
    """One to three coordinates to bias, such as "dihedral 4 6 7 12" (counted from 0)."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat."""
    hills: Hills = field(default_factory=WellTempered)
    """Kind of hills."""
    upper_wall: tuple[str, ...] = ()
    """Harmonic walls that keep coordinates below a value, such as "distance 0 1 at 3.5 kappa 50":
    in degrees or angstrom, and kcal/mol per unit squared."""
    lower_wall: tuple[str, ...] = ()
    """Harmonic walls that keep coordinates above a value."""
    steps: Count = 100000
    """Number of timesteps."""
    walkers: Batch = 1
    """Number of walkers that share the bias, integrated in one batch."""
    frame_every: Count = 20
    """Steps between saved frames; their energies and forces are the model's, without the bias."""
    colvar_every: Count = 20
    """Steps between lines of COLVAR."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class UmbrellaSampling(Guards, MapsAtoms, OpensPotentials):
    """Run umbrella sampling, all windows in one batch, for a free-energy profile with errors."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = (
        "low",
        "high",
        "windows",
        "temperature_K",
        "steps",
        "equilibration",
    )
    changeable: ClassVar[tuple[str, ...]] = ("steps", *Guards.changeable_guards)

    model: PotentialLike
    """Potential to run on."""
    start: GeometryLike
    """Starting geometry; of several frames, such as a path, each window uses the nearest."""
    coordinate: tuple[str, ...]
    """One or two coordinates to restrain, such as "dihedral 4 6 7 12" (counted from 0)."""
    low: tuple[float, ...] = ()
    """Centre of the first window, one per coordinate, in degrees or angstrom. By default windows
    cover the full circle of a dihedral."""
    high: tuple[float, ...] = ()
    """Centre of the last window, one per coordinate."""
    windows: tuple[Batch, ...] = ()
    """Number of windows along each coordinate; by default one every 15 degrees of a dihedral, 5
    degrees of an angle, 0.1 otherwise. Two coordinates get a window for every combination."""
    kappa_kcal_mol: tuple[Positive, ...] = ()
    """Force constants of the restraints kappa/2 (s - centre)^2, one per coordinate, in kcal/mol
    per degree or angstrom squared; by default their thermal width is half the window spacing."""
    method: Dynamics = field(default_factory=Langevin)
    """Integrator and thermostat."""
    steps: Count = 60000
    """Number of timesteps, including equilibration."""
    equilibration: Count = 10000
    """Timesteps that are discarded; in the first half of them each window is pulled from its start
    to its centre."""
    frame_every: Count = 200
    """Steps between saved frames; their energies and forces are the model's, without restraints."""
    colvar_every: Count = 20
    """Steps between lines of COLVAR, from which the free energy is computed."""
    seed: Natural = 0
    """Seed of all random numbers."""


@dataclass(frozen=True, kw_only=True)
class Serve(OpensPotentials):
    """Serve a potential to a running i-PI."""

    positional: ClassVar[tuple[str, ...]] = ("model", "start")
    usual: ClassVar[tuple[str, ...]] = ("unix", "host", "port")

    model: PotentialLike
    """Potential to serve."""
    start: GeometryLike
    """The molecule, with atoms in the order of i-PI's input."""
    unix: str | None = None
    """Name of i-PI's unix socket (its <address>)."""
    host: str = "127.0.0.1"
    """Host of i-PI's inet socket."""
    port: Port | None = None
    """Port of i-PI's inet socket."""
    timeout_s: Seconds = 60.0
    """Timeout for connecting to the server, in seconds."""
    allow_remote: bool = False
    """Allow a server on another machine."""


@dataclass(frozen=True, kw_only=True)
class Ipi:
    """Start i-PI and its clients for one i-PI input."""

    positional: ClassVar[tuple[str, ...]] = ("input", "model", "start")
    usual: ClassVar[tuple[str, ...]] = ("clients", "steps")
    changeable: ClassVar[tuple[str, ...]] = ("clients", "steps", "timeout_s")

    input: Path
    """i-PI input file (XML)."""
    model: PotentialLike
    """Potential to serve."""
    start: GeometryLike | None = None
    """Starting geometry, with atoms in the order of i-PI; by default the `<file>` of the input.
    Where both are given they must be the same."""
    clients: Workers = 1
    """Number of client processes."""
    steps: Count | None = None
    """Number of steps; overrides the input's."""
    compare: bool = True
    """Compare the energies and forces that i-PI received with those of a direct call."""
    timeout_s: Seconds = 600.0
    """Timeout for the next line of output from i-PI, in seconds."""
    allow_remote: bool = False
    """Let i-PI listen on an address that other machines can reach."""
    trust: bool = False
    """Allow an input that makes i-PI run code, load libraries or unpickle files, and model files
    that contain code."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Run the complete workflow on glycine, with a report, in minutes on two cores."""

    positional: ClassVar[tuple[str, ...]] = ()
    usual: ClassVar[tuple[str, ...]] = ("reference", "frames", "points", "steps", "workers")
    changeable: ClassVar[tuple[str, ...]] = ("workers",)

    reference: Address = "xtb:GFN2-xTB"
    """Reference method."""
    frames: Count = 800
    """Number of frames to label."""
    temperature_K: Positive = 500.0
    """Temperature of the sampling, in kelvin."""
    sampling_replicas: Batch = 4
    """Number of sampling runs from each of the two minima."""
    spacing_fs: Femtoseconds = 20.0
    """Time between labelled frames, in femtoseconds."""
    points: Count = 300
    """Number of training points."""
    validation_points: Count = 150
    """Number of validation frames, which select the hyperparameters."""
    replicas: Batch = 8
    """Number of replicas of the dynamics at 300 K."""
    steps: Count = 4000
    """Number of steps of the dynamics at 300 K."""
    workers: Workers = 2
    """Number of worker processes that label in parallel."""
    seed: Natural = 0
    """Seed of all random numbers."""


COMMANDS: dict[str, type[Command]] = {
    "demo": Demo,
    "label": Label,
    "train": Train,
    "evaluate": Evaluate,
    "path": PathSearch,
    "saddle": SaddleSearch,
    "network": NetworkSearch,
    "md": Md,
    "metad": Metad,
    "umbrella": UmbrellaSampling,
    "serve": Serve,
    "ipi": Ipi,
    "learn": Learn,
    "benchmark": Benchmark,
}
"""Config dataclass of each command, by name."""
