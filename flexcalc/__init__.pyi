"""Machine-learned force fields for flexible molecules: train, check, and move on them.

    import flexcalc

    atoms.calc = flexcalc.Calculator("azobenzene.flex")     # an ASE calculator
    potential = flexcalc.load("azobenzene.flex")            # the same object, for batches
    data = flexcalc.read("azobenzene.xyz")                  # a Dataset
    fit = flexcalc.train(data, "sgdml", points=200, seed=0)  # fit.model is the potential

Names are imported on first use, so that `import flexcalc` is quick."""

# Written by `python -m flexcalc.stub`; do not edit.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from flexcalc.adapters.ase import Calculator as Calculator
from flexcalc.config.methods import AsIs as AsIs
from flexcalc.config.methods import Displaced as Displaced
from flexcalc.config.methods import FIRE as FIRE
from flexcalc.config.methods import Guards as Guards
from flexcalc.config.methods import IRC as IRC
from flexcalc.config.methods import LBFGS as LBFGS
from flexcalc.config.methods import Langevin as Langevin
from flexcalc.config.methods import NEB as NEB
from flexcalc.config.methods import NVE as NVE
from flexcalc.config.methods import NoseHoover as NoseHoover
from flexcalc.config.methods import PlainHills as PlainHills
from flexcalc.config.methods import RFO as RFO
from flexcalc.config.methods import Rescaling as Rescaling
from flexcalc.config.methods import Scan as Scan
from flexcalc.config.methods import String as String
from flexcalc.config.methods import Thermal as Thermal
from flexcalc.config.methods import WellTempered as WellTempered
from flexcalc.dataset import Dataset as Dataset
from flexcalc.errors import FlexcalcError as FlexcalcError
from flexcalc.files import read as read
from flexcalc.files import write as write
from flexcalc.models.committee import Committee as Committee
from flexcalc.potential import Evaluation as Evaluation
from flexcalc.potential import Potential as Potential
from flexcalc.potential import Sum as Sum
from flexcalc.registry import load as load
from flexcalc.config.benchmark import Mechanism
from flexcalc.config.benchmark import Model
from flexcalc.config.benchmark import Sample
from flexcalc.config.benchmark_tests import Withheld
from flexcalc.methods.crash import CrashTest
from flexcalc.models.family import Family
from flexcalc.results.benchmark import BenchmarkResult
from flexcalc.results.demo import DemoRun
from flexcalc.results.description import Description
from flexcalc.results.errors import Errors
from flexcalc.results.free_energy import FreeEnergyProfile
from flexcalc.results.free_energy import FreeEnergySurface
from flexcalc.results.ipi import IpiRun
from flexcalc.results.labels import Labels
from flexcalc.results.path import Path as PathResult
from flexcalc.results.saddle import Saddle
from flexcalc.results.training import Training
from flexcalc.results.trajectory import Trajectory

class HasImages(Protocol):
    """A result that has images."""

    def to_dataset(self) -> Dataset: ...

Geometries: TypeAlias = str | Path | Atoms | Dataset | HasImages
GeometryLike: TypeAlias = Geometries | Sequence[Geometries]
PotentialLike: TypeAlias = str | Path | Potential | BaseCalculator

__version__: str
__all__ = ['AsIs', 'Calculator', 'Committee', 'Dataset', 'Displaced', 'Evaluation', 'FIRE', 'FlexcalcError', 'Guards', 'IRC', 'LBFGS', 'Langevin', 'NEB', 'NVE', 'NoseHoover', 'PlainHills', 'Potential', 'RFO', 'Rescaling', 'Scan', 'String', 'Sum', 'Thermal', 'WellTempered', 'benchmark', 'demo', 'evaluate', 'export', 'info', 'init', 'ipi', 'label', 'load', 'md', 'metad', 'path', 'read', 'report', 'saddle', 'serve', 'train', 'umbrella', 'write']

def benchmark(
    *,
    reference: str,
    minima: Mapping[str, str],
    mechanisms: Mechanism | str | Mapping[str, Any] | Sequence[Mechanism | str | Mapping[str, Any]],
    models: Model | str | Mapping[str, Any] | Sequence[Model | str | Mapping[str, Any]],
    samples: Sample | str | Mapping[str, Any] | Sequence[Sample | str | Mapping[str, Any]] = ...,
    title: str | None = None,
    relax_minima: bool = True,
    dispersion: str | None = None,
    naive_steps: int = 0,
    naive_images: int = 11,
    coordinates: str | Sequence[str],
    bins: int = 18,
    sizes: int | Sequence[int] = (100, 200, 400, 600, 800, 1000),
    folds: int = 5,
    cutoffs: float | Sequence[float] = (),
    cutoff_points: int | None = None,
    budgets: int | Sequence[int] = (),
    validation_points: int = 200,
    test_frames: int = 2000,
    crash: CrashTest | str | Mapping[str, Any] | Sequence[CrashTest | str | Mapping[str, Any]] = ...,
    withheld: Withheld | str | Mapping[str, Any] | Sequence[Withheld | str | Mapping[str, Any]] = ...,
    stages: Literal['minima', 'paths', 'data', 'subsets', 'curves', 'cutoffs', 'regions', 'barriers', 'joint', 'crash', 'withheld', 'findings'] | Sequence[Literal['minima', 'paths', 'data', 'subsets', 'curves', 'cutoffs', 'regions', 'barriers', 'joint', 'crash', 'withheld', 'findings']] = (),
    only: str | Sequence[str] = (),
    seed: int = 0,
    trust: bool = False,
    workers: int = 1,
    scheduler: str | Mapping[str, Any] | None = None,
    worker_wait_s: float = 86400.0,
    allow_remote: bool = False,
    output: Path | str | None = None,
    progress: bool = True,
    method: NEB | String | Scan = ...,
    spring_eV_A2: float = ...,
    softest_spring_eV_A2: float | None = ...,
    images: int = ...,
    interpolation: Literal['idpp', 'linear', 'geodesic'] = ...,
    climb: bool = ...,
    climb_below_eV_A: float = ...,
    force_tolerance_eV_A: float = ...,
    align: bool = ...,
    rows: Literal['path', 'image'] = ...,
    optimiser: LBFGS | FIRE = ...,
    history: int = ...,
    stiffness_eV_A2: float = ...,
    step_A: float = ...,
    timestep: float = ...,
    longest_timestep: float = ...,
    drive: str | Sequence[str] = ...,
    relax: str | Sequence[str] = ...,
    steps: int = ...,
    sampling: Thermal | Displaced | AsIs = ...,
    frames: int = ...,
    temperature_K: float = ...,
    timestep_fs: float = ...,
    friction_per_ps: float = ...,
    replicas: int = ...,
    equilibration_fs: float = ...,
    spacing_fs: float = ...,
    patience: int = ...,
    amplitude_A: float = ...,
) -> BenchmarkResult:
    """Compare model families on minima, mechanisms and barriers of one flexible molecule.

    The reference is an address and the minima are files, as other processes open them too. Without
    `output` everything is kept in a temporary folder as long as the result lives.

    Args:
        reference: Method that gives energies and forces, such as xtb:GFN2-xTB or
            dft:PBE-D4/def2-SVP.
        minima: The molecule's minima: a name and a geometry file each, the last frame of which
            counts.
        mechanisms: Ways between the minima.
            One of Mechanism; its own options may stand here too.
        models: Models to compare.
            One of Model; its own options may stand here too.
        samples: Kinds of sampling that make the data of a mechanism.
            One of Sample; its own options may stand here too.
        title: The molecule's name.
        relax_minima: Relax the minima on the reference first.
        dispersion: The reference without its dispersion, for what dispersion does to the
            barriers.
        naive_steps: Most steps of an elastic band and of a string from interpolations that know
            only the ends of the mechanisms, to see whether they find a way by themselves; 0 for
            none.
        naive_images: Images of these.
        coordinates: Coordinates whose bins are the regions, such as "dihedral 5 6 7 8" (counted
            from 0).
        bins: Bins of each coordinate.
        sizes: Numbers of training points of the learning curves.
        folds: Folds of the cross-validation, one to train on and the others to test on; the
            subset that is drawn for a size is so many times as large.
        cutoffs: Cutoffs in angstrom of a scan, of every model that can try several.
        cutoff_points: Training points of that scan; by default the largest of `sizes`.
        budgets: Numbers of training points of one model for all mechanisms; none by default.
        validation_points: Frames that choose the hyperparameters of these.
        test_frames: Most frames that a trained model is tested on.
        crash: Dynamics of every model until it fails; none by default.
            One of CrashTest; its own options may stand here too.
        withheld: Parts of the data that models are trained without, to be tested there; none by
            default.
            One of Withheld; its own options may stand here too.
        stages: Parts of the benchmark to do; all by default. What they build on must have been
            done.
        only: Labels of the models to train; all by default. The same command without it does
            the rest.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        workers: Processes that label or train at the same time on this machine, one thread
            each.
        scheduler: Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as
            {cluster = "SLURM", jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime
            = "04:00:00"}. Required are cluster, cores and memory of a job; any key of
            dask-jobqueue's class may follow. The jobs call this machine: host = "127.0.0.1"
            where they all run on it, else allow_remote, with tls = true, or {ca_file = "", cert
            = "", key = ""}, so that nobody else is let in.
        worker_wait_s: Longest time without any worker of `scheduler`, in seconds; the same
            command goes on.
        allow_remote: Let other machines reach the Dask scheduler; without TLS, whoever does can
            run code here.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The barriers, the best models and the findings; `rows` has the tables of all stages.

    Example:
        >>> import tempfile, flexcalc as fx
        >>> from ase.build import molecule
        >>> start = tempfile.mkdtemp() + "/peroxide.xyz"
        >>> molecule("H2O2").write(start)
        >>> turn = {"kind": "scan", "drive": ["dihedral 2 0 1 3"]}
        >>> found = fx.benchmark(
        ...     reference="ase:ase.calculators.emt:EMT",
        ...     minima={"skew": start},
        ...     mechanisms=[{"name": "turn", "start": "skew", "end": "skew", "method": turn}],
        ...     models=[{"label": "sGDML", "family": "sgdml"}],
        ...     coordinates=["dihedral 2 0 1 3"],
        ...     sizes=[10],
        ...     stages=["minima"],
        ... )
        >>> found.rows("minima")[0]["name"]
        'skew'

    Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    doi:10.1063/5.0038516.
    """

def demo(
    *,
    reference: str = 'xtb:GFN2-xTB',
    frames: int = 800,
    temperature_K: float = 500.0,
    sampling_replicas: int = 4,
    spacing_fs: float = 20.0,
    points: int = 300,
    validation_points: int = 150,
    replicas: int = 8,
    steps: int = 4000,
    workers: int = 2,
    seed: int = 0,
    output: Path | str | None = None,
    progress: bool = True,
) -> DemoRun:
    """Label, train, evaluate, find a path, run dynamics, serve i-PI, and report it all.

    Every step is what its command does, in a folder of its own in `output`; a demo that was
    interrupted goes on with the step it was in. Without `output` the folders are temporary and go
    with the result.

    Args:
        reference: Method that labels.
        frames: Frames to label.
        temperature_K: Temperature of the sampling, in kelvin.
        sampling_replicas: Sampling runs from each of the two minima.
        spacing_fs: Time between two labelled frames, in femtoseconds.
        points: Training points.
        validation_points: Frames that choose the hyperparameters.
        replicas: Replicas of the dynamics at 300 K.
        steps: Steps of the dynamics at 300 K.
        workers: Processes that label at the same time.
        seed: Seed of all random numbers.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The figures of all steps. Raises MissingExtraError where tblite or i-PI is not installed.

    Example:
        >>> import flexcalc as fx
        >>> run = fx.demo(frames=60, points=20, validation_points=10, steps=20)
        >>> run.molecule, run.training_points, run.dynamics.replicas
        ('glycine', 20, 8)
    """

def evaluate(
    models: PotentialLike | Sequence[PotentialLike],
    dataset: GeometryLike,
    *,
    by: str | Sequence[str] = (),
    bins: int = 18,
    frames: int | None = None,
    worst: int = 10,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    labels: Literal['new', 'old'] = 'new',
    output: Path | str | None = None,
    progress: bool = True,
) -> Errors:
    """Measure the errors of potentials on labelled frames, overall and by region.

    Args:
        models: Potentials to measure.
        dataset: Labelled frames to measure on.
        by: Coordinates whose bins are the regions, such as "dihedral 4 6 7 12" (counted from
            0).
        bins: Bins of each coordinate.
        frames: Most frames, drawn at random; all by default.
        worst: Frames with the largest errors to write out.
        seed: Seed of the bootstrap and of the draw of frames.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Put the atoms of a geometry into the order of the model's training frames
            where only then its bonds fit; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        energy_unit: Unit of the dataset's energies, where an npz does not say.
        force_unit: Unit of the dataset's forces; by default the energy unit per angstrom.
        length_unit: Unit of the dataset's positions, where the file does not say; angstrom by
            default.
        energy_key: Key of the dataset's energies, such as `REF_energy`; by default any of the
            usual ones.
        forces_key: Key or column of the dataset's forces, such as `dft_forces`.
        labels: Which labels of an rMD17 file: `old` takes old_energies and old_forces.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The errors in eV and eV/angstrom. Of several potentials those of the first, and those of
        each in `models`.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> frames = [molecule("H2O") for _ in range(5)]
        >>> for atoms in frames:
        ...     atoms.rattle(0.05)
        ...     atoms.calc = EMT()
        ...     force = atoms.get_forces()
        >>> errors = fx.evaluate(EMT(), frames, by="distance 0 1")
        >>> errors.forces.rmse < 1e-9
        True

    Source: bootstrap intervals by the percentile method, Efron and Tibshirani, An Introduction to
    the Bootstrap (1993), chapter 13.
    """

def export(
    model: PotentialLike,
    file: Path | str,
    *,
    trust: bool = False,
) -> Path:
    """Write an sGDML model as a file of the sgdml package (.npz), or a model as one folder (.flex).

    Args:
        model: Trained model, or a committee such as committee:a.flex,b.flex.
        file: File or folder to write, NAME.npz or NAME.flex; a model that is there is replaced.
        trust: Open model files that can only be read by running code they contain.

    Returns:
        The path that was written. Raises InputError where the model is not a trained one, or for
        .npz no sGDML model, or one that the package cannot compute.

    Example:
        >>> import numpy as np
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> water = molecule("H2O")
        >>> jitter = 0.05 * np.random.default_rng(0).standard_normal((40, 3, 3))
        >>> potential = fx.load(EMT(), water)
        >>> positions = water.positions + jitter
        >>> found = potential(positions)
        >>> data = fx.Dataset(water.numbers, positions, found.energies, found.forces)
        >>> model = fx.train(data, points=20, sigma=5.0, symmetry=False)
        >>> print(fx.export(model, "water.flex"))
        water.flex

    Source: the format is that of Chmiela et al., Comput. Phys. Commun. 240, 38 (2019).
    """

def info(
    place: Any,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    audit: PotentialLike | None = None,
    trust: bool = False,
) -> Description:
    """Describe a model, a dataset, a run folder, or an object that is one of these.

    Args:
        place: File, folder or address; in Python also a potential, a Dataset, ase.Atoms or a
            result.
        energy_key: Key of a dataset's energies; by default any of the usual ones.
        forces_key: Key or column of a dataset's forces.
        audit: Potential that a dataset's labels come from: a sample is computed again and
            compared with it, which finds wrong units, signs, zeros of energy and orders of
            atoms.
        trust: Open model files that can only be read by running code they contain.

    Returns:
        The facts, which print as a line each. Raises InputError where it is none of these.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> found = fx.info(molecule("H2O"))
        >>> found.what, found.molecule, found.facts["frames"]
        ('dataset', 'H2O', 1)
    """

def init(
    command: str,
) -> str:
    """Give a commented TOML file with every field of a command, as the command line prints it.

    Args:
        command: Name of the command, such as label.

    Returns:
        The text of the file. Raises InputError where no command of that name takes one.

    Example:
        >>> import flexcalc as fx
        >>> print(fx.init("md").splitlines()[1])
        # Run it with: flexcalc md md.toml
    """

def ipi(
    input: Path | str,
    model: PotentialLike,
    start: GeometryLike,
    *,
    clients: int = 1,
    steps: int | None = None,
    compare: bool = True,
    timeout_s: float = 600.0,
    allow_remote: bool = False,
    trust: bool = False,
    output: Path | str | None = None,
    progress: bool = True,
) -> IpiRun:
    """Run i-PI on an input file together with its clients, from start to end.

    A potential that is given as an object is served by one client in this process.

    Args:
        input: i-PI input file (XML).
        model: Potential to serve.
        start: The molecule as i-PI has it, atom by atom; also where it starts.
        clients: Client processes.
        steps: Number of steps, instead of the input's.
        compare: Compare the energies and forces that i-PI received with the direct call's.
        timeout_s: Longest time without a new line of output from i-PI, in seconds.
        allow_remote: Let i-PI listen on an address that other machines reach.
        trust: Let the input have i-PI run, load or unpickle what it names, and open model files
            that contain code.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The records of the run, or the path that i-PI sought, and how far what i-PI received is
        from direct calls. Without `output`, i-PI's own files are in a temporary folder that goes
        with the result.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> from flexcalc.files.shipped import shipped
        >>> run = fx.ipi(shipped("ipi-nvt.xml"), EMT(), molecule("CH3OH"), steps=3)
        >>> run.steps
        3

    Source: Kapil et al., Comput. Phys. Commun. 236, 214 (2019).
    """

def label(
    reference: PotentialLike,
    starts: GeometryLike | Sequence[GeometryLike],
    *,
    samples: AsIs | Displaced | Thermal | str | Mapping[str, Any] | Sequence[AsIs | Displaced | Thermal | str | Mapping[str, Any]] = ...,
    sampler: PotentialLike | None = None,
    conformers: int = 10,
    timeout_s: float = 3600.0,
    retry_quarantined: bool = False,
    seed: int = 0,
    trust: bool = False,
    workers: int = 1,
    scheduler: str | Mapping[str, Any] | None = None,
    worker_wait_s: float = 86400.0,
    allow_remote: bool = False,
    output: Path | str | None = None,
    progress: bool = True,
    frames: int = ...,
    temperature_K: float = ...,
    timestep_fs: float = ...,
    friction_per_ps: float = ...,
    replicas: int = ...,
    equilibration_fs: float = ...,
    spacing_fs: float = ...,
    patience: int = ...,
    amplitude_A: float = ...,
) -> Labels:
    """Sample geometries of a molecule and label them with a reference method.

    Labels are computed in worker processes, to which a reference that is given as an object is
    copied; one that cannot be copied is refused, and its address will do instead. Geometries for
    which there is no label are in quarantine, with the reason.

    Args:
        reference: Method that gives energies and forces, such as xtb:GFN2-xTB or
            dft:PBE-D4/def2-SVP.
        starts: Geometries to start from: files (every frame counts), or smiles:TEXT for
            conformers.
        samples: Ways to sample; a flag for one of their fields goes to every one that has it.
            One of AsIs | Displaced | Thermal; its own options may stand here too.
        sampler: Potential that drives the sampling; by default the reference, or GFN2-xTB for
            dft:.
        conformers: Most conformers kept of a smiles: start, lowest energy first.
        timeout_s: Longest time for one label, in seconds.
        retry_quarantined: Try the geometries in quarantine.xyz again, once what was wrong is
            mended.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        workers: Processes that label or train at the same time on this machine, one thread
            each.
        scheduler: Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as
            {cluster = "SLURM", jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime
            = "04:00:00"}. Required are cluster, cores and memory of a job; any key of
            dask-jobqueue's class may follow. The jobs call this machine: host = "127.0.0.1"
            where they all run on it, else allow_remote, with tls = true, or {ca_file = "", cert
            = "", key = ""}, so that nobody else is let in.
        worker_wait_s: Longest time without any worker of `scheduler`, in seconds; the same
            command goes on.
        allow_remote: Let other machines reach the Dask scheduler; without TLS, whoever does can
            run code here.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The labelled frames, which can be given wherever a dataset is wanted.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> data = fx.label(EMT(), molecule("H2O"), samples="displacement", frames=4)
        >>> len(data), data.forces.shape
        (4, (4, 3, 3))

    Source: frames of dynamics are kept an autocorrelation time apart, Chodera et al., J. Chem.
    Theory Comput. 3, 26 (2007), doi:10.1021/ct0502864.
    """

def md(
    model: PotentialLike,
    start: GeometryLike,
    *,
    method: Langevin | NVE | NoseHoover | Rescaling | str | Mapping[str, Any] = ...,
    steps: int = 10000,
    replicas: int = 1,
    plumed: Path | str | None = None,
    frame_every: int = 20,
    frame_replicas: int | None = None,
    scalars_every: int | None = None,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    min_contact: float = 0.6,
    keep_bonds: bool = True,
    max_temperature_K: float | None = None,
    max_training_distance: float | None = None,
    max_deviation_eV_A: float | None = None,
    max_rms_deviation_eV_A: float | None = None,
    output: Path | str | None = None,
    progress: bool = True,
    timestep_fs: float = ...,
    temperature_K: float = ...,
    rigid_motion: Literal['free', 'removed at start', 'removed'] = ...,
    friction_per_ps: float = ...,
    schedule: str | Sequence[str] = ...,
    replica_temperatures_K: float | Sequence[float] = ...,
    relaxation_fs: float = ...,
) -> Trajectory:
    """Run molecular dynamics of many replicas in one batch.

    Args:
        model: Potential to run on.
        start: First geometry; of several frames, replicas take them in turn.
        method: Integrator: `nve` keeps the energy; `langevin`, `rescaling` (Bussi) and
            `nose-hoover` keep a temperature.
            One of Langevin | NVE | NoseHoover | Rescaling; its own options may stand here too.
        steps: Timesteps.
        replicas: Replicas in the batch.
        plumed: A PLUMED input whose bias acts on every replica; `{replica}` and `{replicas}` in
            it become numbers. Files it reads need full names; those it writes are in
            OUTPUT/plumed. What could run code or write elsewhere needs `trust`. PLUMED_KERNEL
            names another libplumedKernel.so than that of flexcalc[plumed].
        frame_every: Steps between two frames on disk, which have the labels of the model
            without any bias.
        frame_replicas: Replicas, from the first, whose frames are written; all by default.
        scalars_every: Steps between two records of scalars.csv; by default those between two
            frames.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Put the atoms of a geometry into the order of the model's training frames
            where only then its bonds fit; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        min_contact: Stop where two atoms come closer than this multiple of the sum of their
            covalent radii.
        keep_bonds: Stop where a bond of the start breaks or a new one forms: beyond 1.6 and
            below 1.15 times the sum of the covalent radii.
        max_temperature_K: Stop where the kinetic temperature of a replica exceeds this, in
            kelvin; that of few atoms spreads widely without any fault.
        max_training_distance: Stop where a geometry is farther from all training points than
            this multiple of the largest distance that one of them has to its nearest other one;
            for sGDML.
        max_deviation_eV_A: Stop where a committee's forces deviate on any atom by more than
            this, in eV/angstrom.
        max_rms_deviation_eV_A: The same for the root mean square over a replica's atoms, in
            eV/angstrom, which tells good from bad geometries more surely than the worst atom
            does.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The trajectory, whose frames have the labels of the model without any bias. Where a guard
        stops the run, `stopped` says why, and the result holds what went before.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> run = fx.md(EMT(), molecule("H2O"), steps=40, replicas=2, keep_bonds=False)
        >>> run.positions.shape
        (3, 2, 3, 3)

    Source: the integrators name theirs, such as `help(flexcalc.Langevin)`.
    """

def metad(
    model: PotentialLike,
    start: GeometryLike,
    coordinate: str | Sequence[str],
    *,
    method: Langevin | NVE | NoseHoover | Rescaling | str | Mapping[str, Any] = ...,
    hills: PlainHills | WellTempered | str | Mapping[str, Any] = ...,
    upper_wall: str | Sequence[str] = (),
    lower_wall: str | Sequence[str] = (),
    steps: int = 100000,
    walkers: int = 1,
    frame_every: int = 20,
    colvar_every: int = 20,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    min_contact: float = 0.6,
    keep_bonds: bool = True,
    max_temperature_K: float | None = None,
    max_training_distance: float | None = None,
    max_deviation_eV_A: float | None = None,
    max_rms_deviation_eV_A: float | None = None,
    output: Path | str | None = None,
    progress: bool = True,
    timestep_fs: float = ...,
    temperature_K: float = ...,
    rigid_motion: Literal['free', 'removed at start', 'removed'] = ...,
    friction_per_ps: float = ...,
    schedule: str | Sequence[str] = ...,
    replica_temperatures_K: float | Sequence[float] = ...,
    relaxation_fs: float = ...,
    bias_factor: float = ...,
    height_kcal_mol: float = ...,
    pace: int = ...,
    sigma: float | Sequence[float] = ...,
    grid_min: float | Sequence[float] = ...,
    grid_max: float | Sequence[float] = ...,
    grid_spacing: float | Sequence[float] = ...,
) -> FreeEnergySurface:
    """Run metadynamics of walkers that share one bias, for a free-energy surface.

    Args:
        model: Potential to run on.
        start: First geometry; of several frames, walkers take them in turn.
        coordinate: One to three coordinates to bias, such as "dihedral 4 6 7 12" (counted from
            0).
        method: Integrator and thermostat.
            One of Langevin | NVE | NoseHoover | Rescaling; its own options may stand here too.
        hills: Kind of metadynamics.
            One of PlainHills | WellTempered; its own options may stand here too.
        upper_wall: Walls that keep coordinates below, such as "distance 0 1 at 3.5 kappa 50":
            in degrees or angstrom, and kcal/mol per unit squared.
        lower_wall: Walls that keep coordinates above.
        steps: Timesteps.
        walkers: Walkers that share the bias, all in one batch.
        frame_every: Steps between two frames on disk, which have the labels of the model
            without the bias.
        colvar_every: Steps between two lines of COLVAR.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Put the atoms of a geometry into the order of the model's training frames
            where only then its bonds fit; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        min_contact: Stop where two atoms come closer than this multiple of the sum of their
            covalent radii.
        keep_bonds: Stop where a bond of the start breaks or a new one forms: beyond 1.6 and
            below 1.15 times the sum of the covalent radii.
        max_temperature_K: Stop where the kinetic temperature of a replica exceeds this, in
            kelvin; that of few atoms spreads widely without any fault.
        max_training_distance: Stop where a geometry is farther from all training points than
            this multiple of the largest distance that one of them has to its nearest other one;
            for sGDML.
        max_deviation_eV_A: Stop where a committee's forces deviate on any atom by more than
            this, in eV/angstrom.
        max_rms_deviation_eV_A: The same for the root mean square over a replica's atoms, in
            eV/angstrom, which tells good from bad geometries more surely than the worst atom
            does.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The surface, and a verdict on whether the coordinates drove the transition. Where a guard
        stops the run, or a walker leaves the grid, `stopped` says why.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> surface = fx.metad(
        ...     EMT(), molecule("H2O"), "distance 0 1", grid_min=0.5, grid_max=3.0, steps=200,
        ...     pace=50, keep_bonds=False,
        ... )
        >>> surface.hills
        4

    Source: Laio and Parrinello, PNAS 99, 12562 (2002); Barducci, Bussi and Parrinello, Phys. Rev.
    Lett. 100, 020603 (2008).
    """

def path(
    model: PotentialLike,
    start: GeometryLike,
    end: GeometryLike | None = None,
    *,
    method: NEB | Scan | String | str | Mapping[str, Any] = ...,
    relax_ends: bool = True,
    relabel: PotentialLike | None = None,
    equivalents: bool = False,
    saddle: bool = False,
    refine: int = 0,
    dataset: GeometryLike | None = None,
    refine_images: int = 3,
    barrier_tolerance_kcal_mol: float = 0.5,
    steps: int = 1000,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    refinement: RFO | str | Mapping[str, Any] = ...,
    descent: IRC | str | Mapping[str, Any] = ...,
    temperatures_K: float | Sequence[float] = (298.15,),
    low_modes: Literal['harmonic', 'quasi-rrho', 'quasi-rrho-grimme'] = 'harmonic',
    symmetry_start: int = 1,
    symmetry_end: int = 1,
    symmetry_saddle: int = 1,
    output: Path | str | None = None,
    progress: bool = True,
    spring_eV_A2: float = ...,
    softest_spring_eV_A2: float | None = ...,
    images: int = ...,
    interpolation: Literal['idpp', 'linear', 'geodesic'] = ...,
    climb: bool = ...,
    climb_below_eV_A: float = ...,
    force_tolerance_eV_A: float = ...,
    align: bool = ...,
    rows: Literal['path', 'image'] = ...,
    optimiser: LBFGS | FIRE = ...,
    history: int = ...,
    stiffness_eV_A2: float = ...,
    step_A: float = ...,
    timestep: float = ...,
    longest_timestep: float = ...,
    drive: str | Sequence[str] = ...,
    relax: str | Sequence[str] = ...,
    saddle_force_eV_A: float = ...,
    trust_A: float = ...,
    longest_trust_A: float = ...,
    hessian_every: int = ...,
    arc_step: float = ...,
    arc_steps: int = ...,
    arc_force_eV_A: float = ...,
) -> PathResult:
    """Find a minimum-energy path between two geometries, and its barrier.

    Args:
        model: Potential to search on.
        start: First geometry; its last frame counts. Where `end` is not given: the whole first
            path, or for a scan with its own end values the one geometry.
        end: Last geometry; like atoms are relabelled to fit the start, unless start and end
            differ by their labels alone (a degenerate rearrangement).
        method: Path method.
            One of NEB | Scan | String; its own options may stand here too.
        relax_ends: Relax both ends on the potential first.
        relabel: Reference that is computed along the path, for the error of the barrier.
        equivalents: Write the other paths that are this one with like atoms relabelled, by the
            permutations of the model or else of the bonds.
        saddle: Refine the highest image to a saddle, follow the way down from it, and give
            rates.
        refine: Most rounds that label the worst images by `relabel`, train the model anew with
            them, and search again.
        dataset: Labelled frames that the model was trained on, for `refine`.
        refine_images: Images that each round adds, the highest among them; saddle and minima
            come on top.
        barrier_tolerance_kcal_mol: The rounds end when the error of the barrier is smaller, in
            kcal/mol.
        steps: Most steps.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Put the atoms of a geometry into the order of the model's training frames
            where only then its bonds fit; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        refinement: How the saddle is found from the guess.
            One of RFO; its own options may stand here too.
        descent: How the way down from the saddle is followed.
            One of IRC; its own options may stand here too.
        temperatures_K: Temperatures of the rates, in kelvin; results.json has those at the
            first.
        low_modes: Vibrations below 100 cm^-1: `harmonic` as all others, `quasi-rrho` as
            hindered rotors whose moment of inertia is bounded by the molecule's own mean (as in
            xtb and ORCA), `quasi-rrho-grimme` by 1e-44 kg m^2 (as in Grimme's paper and
            GoodVibes).
        symmetry_start: Rotational symmetry number of the first minimum; 2 for cis-azobenzene.
        symmetry_end: Rotational symmetry number of the last minimum.
        symmetry_saddle: Rotational symmetry number of the saddle.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The path with its images, energies and barrier; with `relabel` also the errors against
        the reference, with `saddle` the saddle and the rates, with `refine` the rounds.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> up = molecule("NH3")
        >>> down = up.copy()
        >>> down.positions[:, 2] *= -1
        >>> inversion = fx.path(EMT(), up, down, method=fx.NEB(images=5))
        >>> inversion.converged, inversion.degenerate, len(inversion.images)
        (True, True, 5)

    Source: the path methods name theirs, such as `help(flexcalc.NEB)`.
    """

def report(
    folder: Path | str,
) -> Path:
    """Write report.html, one page that needs nothing else, for a run folder.

    A folder of a run that is going on, or lacks files, gives a page of what there is.

    Args:
        folder: Output folder of a command, such as label; or a folder with several of `flexcalc
            path`, which are compared.

    Returns:
        The path of the page. Raises InputError where the folder is none of a run.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> run = fx.md(EMT(), molecule("H2O"), steps=20, keep_bonds=False, output="md")
        >>> print(fx.report("md"))
        md/report.html
    """

def saddle(
    model: PotentialLike,
    guess: GeometryLike,
    start: GeometryLike | None = None,
    end: GeometryLike | None = None,
    *,
    relabel: PotentialLike | None = None,
    steps: int = 200,
    trust: bool = False,
    map_atoms: bool | None = None,
    refinement: RFO | str | Mapping[str, Any] = ...,
    descent: IRC | str | Mapping[str, Any] = ...,
    temperatures_K: float | Sequence[float] = (298.15,),
    low_modes: Literal['harmonic', 'quasi-rrho', 'quasi-rrho-grimme'] = 'harmonic',
    symmetry_start: int = 1,
    symmetry_end: int = 1,
    symmetry_saddle: int = 1,
    output: Path | str | None = None,
    progress: bool = True,
    saddle_force_eV_A: float = ...,
    trust_A: float = ...,
    longest_trust_A: float = ...,
    hessian_every: int = ...,
    arc_step: float = ...,
    arc_steps: int = ...,
    arc_force_eV_A: float = ...,
) -> Saddle:
    """Refine a guess to a saddle, find the minima that it joins, and give rates.

    Args:
        model: Potential to search on.
        guess: Geometry near the saddle; of several frames that are a path, the highest counts.
        start: First minimum, to tell it at the end of the way down; its last frame counts.
        end: Last minimum, likewise.
        relabel: Reference that is computed at the saddle and at both minima.
        steps: Most steps to the saddle.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Put the atoms of a geometry into the order of the model's training frames
            where only then its bonds fit; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        refinement: How the saddle is found from the guess.
            One of RFO; its own options may stand here too.
        descent: How the way down from the saddle is followed.
            One of IRC; its own options may stand here too.
        temperatures_K: Temperatures of the rates, in kelvin; results.json has those at the
            first.
        low_modes: Vibrations below 100 cm^-1: `harmonic` as all others, `quasi-rrho` as
            hindered rotors whose moment of inertia is bounded by the molecule's own mean (as in
            xtb and ORCA), `quasi-rrho-grimme` by 1e-44 kg m^2 (as in Grimme's paper and
            GoodVibes).
        symmetry_start: Rotational symmetry number of the first minimum; 2 for cis-azobenzene.
        symmetry_end: Rotational symmetry number of the last minimum.
        symmetry_saddle: Rotational symmetry number of the saddle.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The saddle with its imaginary mode, the minima at the ends of the reaction coordinate, and
        rates at any temperature.

    Example:
        >>> import flexcalc as fx
        >>> from ase import Atoms
        >>> from ase.calculators.lj import LennardJones
        >>> rhombus = Atoms("Ar4", [[0.56, 0, 0], [-0.56, 0, 0], [0, 0.97, 0], [0, -0.97, 0]])
        >>> top = fx.saddle(LennardJones(), rhombus)  # between two tetrahedra
        >>> top.first_order, top.degenerate, len(top.minima)
        (True, True, 2)
        >>> f"{top.rates(300.0).half_life_s:.0f} s"
        '49 s'

    Source: `help(flexcalc.RFO)` for the refinement, `help(flexcalc.IRC)` for the descent, and
    Eyring, J. Chem. Phys. 3, 107 (1935), doi:10.1063/1.1749604, for the rates.
    """

def serve(
    model: PotentialLike,
    start: GeometryLike,
    *,
    unix: str | None = None,
    host: str = '127.0.0.1',
    port: int | None = None,
    timeout_s: float = 60.0,
    allow_remote: bool = False,
    trust: bool = False,
) -> int:
    """Answer a running i-PI server with a potential until the server says EXIT.

    One of `unix` and `port` says where the server listens.

    Args:
        model: Potential to serve.
        start: The molecule as i-PI has it, atom by atom.
        unix: Name of i-PI's unix socket (its <address>).
        host: Host of i-PI's inet socket.
        port: Port of i-PI's inet socket.
        timeout_s: Longest wait for the server, in seconds.
        allow_remote: Connect to another machine than this one.
        trust: Open model files that can only be read by running code they contain.

    Returns:
        The number of geometries that were evaluated. Raises ServerLostError where no server came,
        or it went away or fell silent, and ProtocolError where it broke the protocol.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> try:
        ...     fx.serve(EMT(), molecule("H2O"), unix="no-server", timeout_s=0.2)
        ... except fx.FlexcalcError as error:
        ...     print(type(error).__name__)
        ServerLostError

    Source: the protocol is that of i-PI, Kapil et al., Comput. Phys. Commun. 236, 214 (2019).
    """

def train(
    dataset: GeometryLike,
    family: Family | str | Sequence[Family | str] = ...,
    *,
    points: int = 200,
    validation_points: int | None = None,
    selection: Literal['stratified', 'random', 'farthest', 'clusters'] = 'stratified',
    refine_rounds: int = 0,
    refine_by: Literal['worst', 'error'] = 'worst',
    folds: int = 0,
    train_folds: int | None = None,
    committee: int = 1,
    baseline: PotentialLike | None = None,
    learning_curve: int | Sequence[int] = (),
    seed: int = 0,
    trust: bool = False,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    labels: Literal['new', 'old'] = 'new',
    output: Path | str | None = None,
    progress: bool = True,
    sigma: float | None = ...,
    sigmas: float | Sequence[float] = ...,
    regularization: float = ...,
    regularizations: float | Sequence[float] = ...,
    symmetry: bool = ...,
    generators: str | Sequence[str] = ...,
    max_permutations: int = ...,
    descriptor: Literal['extended', 'distances'] = ...,
    angle_weight: float = ...,
    dihedral_weight: float = ...,
    features: Literal['all', 'reduced'] = ...,
    ranking: Literal['importance', 'distance'] = ...,
    percentiles: float | Sequence[float] = ...,
    reduction_tolerance: float = ...,
    kept: int | Sequence[int] = ...,
    metric: Literal['plain', 'learned'] = ...,
    energies: Literal['fitted', 'labelled', 'training'] = ...,
    solver: Literal['auto', 'exact', 'iterative'] = ...,
    columns: int | None = ...,
    tolerance: float = ...,
    device: Literal['cpu', 'cuda', 'auto'] = ...,
    **section_options: Any,
) -> Training:
    """Train one or several model families on the same split of a dataset.

    Hyperparameters of the family, such as `sigma=20`, may be given as options; of a mixture's
    `of`, names of families or tables such as `{"kind": "sgdml", "sigma": 20}`. With an output
    `NAME.flex` the model is that folder, and all else is kept in `NAME-train`.

    Args:
        dataset: Labelled frames: extxyz, or npz with its units. sGDML, its mixtures and
            networks learn from forces alone where there are no energies.
        family: Model families to train, each with its hyperparameters.
            One of 'sgdml', 'schnet', 'painn', 'bpnn', 'so3net', 'mace', 'gap', 'gap-study',
            'mixture'; its own options may stand here too.
        points: Training points.
        validation_points: Frames that choose the hyperparameters; by default 200, or all that
            are left where those are fewer.
        selection: How training points are chosen: `stratified` follows the distribution of
            energies, if any, `random` nothing, `farthest` takes what is least like the points
            it has, `clusters` draws from each group of like geometries and energies.
        refine_rounds: Rounds that add points where the model is worst, from an equal share up
            to `points`.
        refine_by: How those points are chosen: `worst` takes the worst frames of the clusters
            with the largest errors; `error` draws frames with a chance in proportion to their
            force error, which does better where the errors of all frames count.
        folds: Folds of a cross-validation, whose mean errors choose the hyperparameters instead
            of validation frames; the model kept is that of the best fold. 0 for none.
        train_folds: Folds that a model is trained on, `points` in all; by default all but one.
        committee: Models of a committee, each trained without another part of the points and
            with the hyperparameters that all points chose; their spread tells how sure the
            forces are. 1 for a single model.
        baseline: Potential whose energies and forces are taken from the labels first, such as
            xtb:GFN2-xTB or dispersion:D4/PBE; the model is its sum with what is learned of the
            rest.
        learning_curve: Smaller numbers of training points to train as well, with the
            hyperparameters found.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        energy_unit: Unit of the dataset's energies, where an npz does not say.
        force_unit: Unit of the dataset's forces; by default the energy unit per angstrom.
        length_unit: Unit of the dataset's positions, where the file does not say; angstrom by
            default.
        energy_key: Key of the dataset's energies, such as `REF_energy`; by default any of the
            usual ones.
        forces_key: Key or column of the dataset's forces, such as `dft_forces`.
        labels: Which labels of an rMD17 file: `old` takes old_energies and old_forces.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The models with their errors on the validation frames. It can be called, saved, and handed
        to a `Calculator` as its first model.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> frames = []
        >>> for seed in range(30):
        ...     frames.append(molecule("H2O", calculator=EMT()))
        ...     frames[-1].rattle(0.05, seed=seed)
        ...     _ = frames[-1].get_forces()
        >>> fit = fx.train(frames, "sgdml", points=20, sigma=10)
        >>> fit.training_points, fit.validation_points
        (20, 10)
        >>> fit([molecule("H2O").positions]).forces.shape
        (1, 3, 3)

    Source: the families name theirs; the selection of points and of hyperparameters follows
    Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021).
    """

def umbrella(
    model: PotentialLike,
    start: GeometryLike,
    coordinate: str | Sequence[str],
    *,
    low: float | Sequence[float] = (),
    high: float | Sequence[float] = (),
    windows: int | Sequence[int] = (),
    kappa_kcal_mol: float | Sequence[float] = (),
    method: Langevin | NVE | NoseHoover | Rescaling | str | Mapping[str, Any] = ...,
    steps: int = 60000,
    equilibration: int = 10000,
    frame_every: int = 200,
    colvar_every: int = 20,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    min_contact: float = 0.6,
    keep_bonds: bool = True,
    max_temperature_K: float | None = None,
    max_training_distance: float | None = None,
    max_deviation_eV_A: float | None = None,
    max_rms_deviation_eV_A: float | None = None,
    output: Path | str | None = None,
    progress: bool = True,
    timestep_fs: float = ...,
    temperature_K: float = ...,
    rigid_motion: Literal['free', 'removed at start', 'removed'] = ...,
    friction_per_ps: float = ...,
    schedule: str | Sequence[str] = ...,
    replica_temperatures_K: float | Sequence[float] = ...,
    relaxation_fs: float = ...,
) -> FreeEnergyProfile:
    """Run umbrella sampling, all windows in one batch, for a free-energy profile with errors.

    Args:
        model: Potential to run on.
        start: First geometry; of several frames, such as a path, each window takes the nearest.
        coordinate: One or two coordinates to hold, such as "dihedral 4 6 7 12" (counted from
            0).
        low: Centre of the first window, one a coordinate, in degrees or angstrom; without low
            and high dihedrals go all the way round.
        high: Centre of the last window, one a coordinate.
        windows: Windows along each coordinate; by default one every 15 degrees of a dihedral, 5
            degrees of an angle, 0.1 otherwise. Of two coordinates, all combinations are
            windows.
        kappa_kcal_mol: Strength of the springs kappa/2 (s - centre)^2, one a coordinate, in
            kcal/mol per degree or angstrom squared; by default their thermal width is half the
            distance of two windows.
        method: Integrator and thermostat.
            One of Langevin | NVE | NoseHoover | Rescaling; its own options may stand here too.
        steps: Timesteps, those of the equilibration included.
        equilibration: Timesteps that do not count; in the first half of them each window is
            pulled from its start to its centre.
        frame_every: Steps between two frames on disk, which have the labels of the model
            without the springs.
        colvar_every: Steps between two lines of COLVAR, of which the free energy is made.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Put the atoms of a geometry into the order of the model's training frames
            where only then its bonds fit; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        min_contact: Stop where two atoms come closer than this multiple of the sum of their
            covalent radii.
        keep_bonds: Stop where a bond of the start breaks or a new one forms: beyond 1.6 and
            below 1.15 times the sum of the covalent radii.
        max_temperature_K: Stop where the kinetic temperature of a replica exceeds this, in
            kelvin; that of few atoms spreads widely without any fault.
        max_training_distance: Stop where a geometry is farther from all training points than
            this multiple of the largest distance that one of them has to its nearest other one;
            for sGDML.
        max_deviation_eV_A: Stop where a committee's forces deviate on any atom by more than
            this, in eV/angstrom.
        max_rms_deviation_eV_A: The same for the root mean square over a replica's atoms, in
            eV/angstrom, which tells good from bad geometries more surely than the worst atom
            does.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The profile by MBAR, with standard errors and the overlap of the windows. Where a guard
        stops the run, `stopped` says why, and there is no profile.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> profile = fx.umbrella(
        ...     EMT(), molecule("H2O"), "distance 0 1", low=0.9, high=1.1, windows=3,
        ...     steps=300, equilibration=100, keep_bonds=False,
        ... )
        >>> profile.windows
        3

    Source: Torrie and Valleau, J. Comput. Phys. 23, 187 (1977); Shirts and Chodera, J. Chem. Phys.
    129, 124105 (2008).
    """
