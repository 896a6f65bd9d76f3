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
from typing import Any, Literal, Protocol, TypeAlias, overload

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
from flexcalc.results.learning import Learning
from flexcalc.results.network import Network
from flexcalc.results.path import Path as PathResult
from flexcalc.results.paths import Paths
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
__all__ = ['AsIs', 'Calculator', 'Committee', 'Dataset', 'Displaced', 'Evaluation', 'FIRE', 'FlexcalcError', 'Guards', 'IRC', 'LBFGS', 'Langevin', 'NEB', 'NVE', 'NoseHoover', 'PlainHills', 'Potential', 'RFO', 'Rescaling', 'Scan', 'String', 'Sum', 'Thermal', 'WellTempered', 'benchmark', 'demo', 'evaluate', 'export', 'info', 'init', 'ipi', 'label', 'learn', 'load', 'md', 'metad', 'network', 'path', 'read', 'report', 'saddle', 'serve', 'train', 'umbrella', 'write']

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

    The reference is an address and the minima are files, because other processes open them too.
    Without `output` everything is kept in a temporary folder as long as the result exists.

    Args:
        reference: Method that gives energies and forces, such as xtb:GFN2-xTB or
            dft:PBE-D4/def2-SVP.
        minima: The molecule's minima: name and geometry file of each; the last frame of a file
            is used.
        mechanisms: Mechanisms between the minima.
            One of Mechanism; its own options may stand here too.
        models: Models to compare.
            One of Model; its own options may stand here too.
        samples: Kinds of sampling for the data of a mechanism.
            One of Sample; its own options may stand here too.
        title: The molecule's name.
        relax_minima: Relax the minima on the reference first.
        dispersion: The reference without its dispersion correction, to see its effect on the
            barriers.
        naive_steps: Maximum number of steps of NEB and string searches that start from plain
            interpolations between the endpoints of each mechanism, to see whether they find it;
            0 for none.
        naive_images: Number of images of these searches.
        coordinates: Coordinates whose bins define the regions, such as "dihedral 5 6 7 8"
            (counted from 0).
        bins: Number of bins per coordinate.
        sizes: Numbers of training points of the learning curves.
        folds: Folds of the cross-validation: models train on one and are tested on the others.
            The subset drawn for each size is this many times as large.
        cutoffs: Cutoffs in angstrom to scan, for every model that has a cutoff.
        cutoff_points: Number of training points of that scan; by default the largest of
            `sizes`.
        budgets: Numbers of training points of one model for all mechanisms; none by default.
        validation_points: Number of validation frames that select their hyperparameters.
        test_frames: Maximum number of frames that a trained model is tested on.
        crash: Crash test: dynamics with every model until it fails; none by default.
            One of CrashTest; its own options may stand here too.
        withheld: Parts of the data withheld from training and used for testing; none by
            default.
            One of Withheld; its own options may stand here too.
        stages: Stages to run; all by default. Stages they depend on must be complete.
        only: Labels of the models to train; all by default. A run without it later trains the
            rest.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        workers: Number of worker processes that label or train in parallel on this machine,
            with one thread each.
        scheduler: Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as
            {cluster = "SLURM", jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime
            = "04:00:00"}. Required are cluster, cores and memory; any other keyword of
            dask-jobqueue's class is accepted. The jobs connect to this machine: set host =
            "127.0.0.1" if they all run on it; otherwise set allow_remote, and tls = true or
            {ca_file = "", cert = "", key = ""} to authenticate them.
        worker_wait_s: Timeout for a worker of `scheduler` to connect, in seconds; the same
            command resumes.
        allow_remote: Let other machines connect to the Dask scheduler; without TLS, any can run
            code here.
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
        >>> result = fx.benchmark(
        ...     reference="ase:ase.calculators.emt:EMT",
        ...     minima={"skew": start},
        ...     mechanisms=[{"name": "turn", "start": "skew", "end": "skew", "method": turn}],
        ...     models=[{"label": "sGDML", "family": "sgdml"}],
        ...     coordinates=["dihedral 2 0 1 3"],
        ...     sizes=[10],
        ...     stages=["minima"],
        ... )
        >>> result.rows("minima")[0].name
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
        reference: Reference method.
        frames: Number of frames to label.
        temperature_K: Temperature of the sampling, in kelvin.
        sampling_replicas: Number of sampling runs from each of the two minima.
        spacing_fs: Time between labelled frames, in femtoseconds.
        points: Number of training points.
        validation_points: Number of validation frames, which select the hyperparameters.
        replicas: Number of replicas of the dynamics at 300 K.
        steps: Number of steps of the dynamics at 300 K.
        workers: Number of worker processes that label in parallel.
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
        models: Potentials to evaluate.
        dataset: Labelled test frames.
        by: Coordinates whose bins define the regions, such as "dihedral 4 6 7 12" (counted from
            0), or tags of the frames, such as config_type, whose values do.
        bins: Number of bins per coordinate.
        frames: Maximum number of frames, drawn at random; all by default.
        worst: Number of frames to write out, those with the largest errors.
        seed: Seed of the bootstrap and of the random choice of frames.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        energy_unit: Unit of the dataset's energies, such as kcal/mol, for a file that does not
            declare it: needed for an npz, eV by default for an extxyz.
        force_unit: Unit of the dataset's forces; by default the energy unit per angstrom.
        length_unit: Unit of the dataset's positions, for a file that does not declare it;
            angstrom by default.
        energy_key: Key of the dataset's energies, such as `REF_energy`; by default any of the
            common ones.
        forces_key: Key or column of the dataset's forces, such as `dft_forces`.
        labels: Labels to use of an rMD17 file: `old` reads old_energies and old_forces.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The errors in eV and eV/angstrom. Of several potentials those of the first, and those of
        each in `models`. For a trained model `domain` has the distances of the frames to its
        training set, and the errors inside and outside the domain in which it was calibrated.

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
    overwrite: bool = False,
    trust: bool = False,
) -> Path:
    """Write an sGDML model as a file of the sgdml package (.npz), or a model as one folder (.flex).

    Args:
        model: Trained model, or a committee such as committee:a.flex,b.flex.
        file: File or folder to write, NAME.npz or NAME.flex.
        overwrite: Replace another model that is there; without it that is refused.
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
    picture: Path | str | None = None,
    audit: PotentialLike | None = None,
    trust: bool = False,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    energy_key: str | None = None,
    forces_key: str | None = None,
    labels: Literal['new', 'old'] = 'new',
) -> Description:
    """Describe a model, a dataset, a run folder, or an object that is one of these.

    Args:
        place: File, folder, address or smiles:TEXT; in Python also a potential, a Dataset,
            ase.Atoms or a result. Of geometries, atoms are numbered and dihedrals listed.
        picture: File NAME.svg to write: a picture of the molecule with its atoms numbered.
        audit: Potential that a dataset's labels come from: a sample is computed again and
            compared with it, which finds wrong units, signs, zeros of energy and orders of
            atoms.
        trust: Open model files that can only be read by running code they contain.
        energy_unit: Unit of the dataset's energies, such as kcal/mol, for a file that does not
            declare it: needed for an npz, eV by default for an extxyz.
        force_unit: Unit of the dataset's forces; by default the energy unit per angstrom.
        length_unit: Unit of the dataset's positions, for a file that does not declare it;
            angstrom by default.
        energy_key: Key of the dataset's energies, such as `REF_energy`; by default any of the
            common ones.
        forces_key: Key or column of the dataset's forces, such as `dft_forces`.
        labels: Labels to use of an rMD17 file: `old` reads old_energies and old_forces.

    Returns:
        The facts, which print as a line each. Raises InputError where it is none of these.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> found = fx.info(molecule("H2O"))
        >>> found.what, found.molecule, found.facts["frames"]
        ('dataset', 'H2O', 1)
        >>> found.structure.bonded_to
        ((1, 2), (0,), (0,))
        >>> fx.info(molecule("CH3CH2OH")).rotatable_dihedrals
        ('dihedral 6 0 1 2', 'dihedral 0 1 2 3')
    """

def init(
    command: str | None = None,
    *,
    examples: bool = False,
) -> str:
    """Return a commented TOML file with every field of a command, as the command line prints it.

    With `examples=True` the example inputs are copied into a new folder `inputs` instead.

    Args:
        command: Name of the command, such as label.
        examples: Copy the example inputs that come with flexcalc, run files and geometries,
            into a new folder inputs in the current folder.

    Returns:
        The text of the file, or a line that says what was copied. Raises InputError where no
        command of that name takes one, or if there is a folder `inputs` already.

    Example:
        >>> import flexcalc as fx
        >>> print(fx.init("md").splitlines()[1])
        # Run it with: flexcalc md md.toml
    """

def ipi(
    input: Path | str,
    model: PotentialLike,
    start: GeometryLike | None = None,
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

    A potential that is given as an object is served by one client in this process. The input
    starts from its `<file>`, or from `start` where it has none.

    Args:
        input: i-PI input file (XML).
        model: Potential to serve.
        start: Starting geometry, with atoms in the order of i-PI; by default the `<file>` of
            the input. Where both are given they must be the same.
        clients: Number of client processes.
        steps: Number of steps; overrides the input's.
        compare: Compare the energies and forces that i-PI received with those of a direct call.
        timeout_s: Timeout for the next line of output from i-PI, in seconds.
        allow_remote: Let i-PI listen on an address that other machines can reach.
        trust: Allow an input that makes i-PI run code, load libraries or unpickle files, and
            model files that contain code.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The records of the run, or the path that i-PI sought, and how far what i-PI received is
        from direct calls. Without `output`, i-PI's own files are in a temporary folder that goes
        with the result.

    Example:
        >>> import flexcalc as fx
        >>> from ase.calculators.emt import EMT
        >>> from flexcalc.files.shipped import shipped
        >>> run = fx.ipi(shipped("ipi-nvt.xml"), EMT(), steps=3)
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
        starts: Starting geometries: files, all frames of which are used, or smiles:TEXT for
            conformers.
        samples: Sampling methods; a flag for one of their options applies to all methods that
            have it.
            One of AsIs | Displaced | Thermal; its own options may stand here too.
        sampler: Potential used for sampling; by default the reference, or GFN2-xTB for a dft:
            reference.
        conformers: Maximum number of conformers of a smiles: start, lowest energy first.
        timeout_s: Timeout for one label, in seconds.
        retry_quarantined: Retry the geometries in quarantine.xyz, after the cause of their
            failure is fixed.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        workers: Number of worker processes that label or train in parallel on this machine,
            with one thread each.
        scheduler: Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as
            {cluster = "SLURM", jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime
            = "04:00:00"}. Required are cluster, cores and memory; any other keyword of
            dask-jobqueue's class is accepted. The jobs connect to this machine: set host =
            "127.0.0.1" if they all run on it; otherwise set allow_remote, and tls = true or
            {ca_file = "", cert = "", key = ""} to authenticate them.
        worker_wait_s: Timeout for a worker of `scheduler` to connect, in seconds; the same
            command resumes.
        allow_remote: Let other machines connect to the Dask scheduler; without TLS, any can run
            code here.
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

def learn(
    starts: GeometryLike | Sequence[GeometryLike],
    *,
    reference: PotentialLike,
    budget: int = 200,
    dataset: GeometryLike | None = None,
    first: int | None = None,
    batch: int | None = None,
    checks: int | None = None,
    random_share: float = 0.25,
    family: Family | str | Sequence[Family | str] = ...,
    baseline: PotentialLike | Sequence[PotentialLike] = ('auto',),
    committee: int = 4,
    sampler: PotentialLike | None = None,
    conformers: int = 10,
    temperatures_K: float | Sequence[float] = (300.0, 500.0, 800.0),
    coordinate: str | Sequence[str] = (),
    replicas: int = 24,
    max_energy_kcal_mol: float = 20.0,
    time_ps: float = 2.0,
    timestep_fs: float = 0.5,
    overlap: bool = False,
    crash_test_ns: float | None = None,
    force_target_kcal_mol_A: float = 1.0,
    energy_target_kcal_mol: float = 0.5,
    stops_per_ns_target: float | None = None,
    barrier_target_kcal_mol: float | None = None,
    patience: int = 2,
    timeout_s: float = 3600.0,
    seed: int = 0,
    trust: bool = False,
    workers: int = 1,
    scheduler: str | Mapping[str, Any] | None = None,
    worker_wait_s: float = 86400.0,
    allow_remote: bool = False,
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
    kernel: Literal['auto', 'molecule', 'bonds'] = ...,
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
) -> Learning:
    """Learn a force field of a molecule by itself: explore, label where unsure, train, repeat.

    A first set of geometries is sampled and labelled. Then every round trains a committee, runs
    replicas of dynamics on it (at several temperatures, some with rotatable bonds turned at random,
    some driven along coordinates), searches bands between the minima that it has, and labels a
    batch of what was visited: a share of the dynamics at random, which tests the model, the others
    where the models of the committee differ and the geometries are new. It ends when the errors on
    random new frames have stayed below the targets, or when the budget is spent. The last labels
    check minima and barriers, and then the final model is trained on all. A crash test runs its
    dynamics from its minima.

    Args:
        starts: Starting geometries: files, all frames of which are used, or smiles:TEXT for
            conformers.
        reference: Method that gives energies and forces, such as xtb:GFN2-xTB or
            dft:PBE-D4/def2-SVP.
        budget: Maximum number of reference calculations.
        dataset: Frames that the reference has labelled already, such as labels.xyz of an
            earlier run: the learning starts with them, and they do not count towards the
            budget.
        first: Number of labels before the first model, those of `dataset` included; by default
            a fifth of the budget, and two per model of the committee at least.
        batch: Number of reference calculations per round; by default a tenth of the budget.
        checks: Number of reference calculations that check minima and barriers at the end,
            before the final model is trained on them too; 0 for none, by default a tenth of the
            budget.
        random_share: Share of each batch that is drawn at random from the exploration: the
            unbiased test of the model of the round, and from then on validation frames.
        family: Model family to train, with its hyperparameters.
            One of 'sgdml', 'schnet', 'painn', 'bpnn', 'so3net', 'mace', 'gap', 'gap-study',
            'mixture'; its own options may stand here too.
        baseline: Baseline for delta learning, such as xtb:GFN2-xTB. Of several, a sum with
            weights that folds of the labels choose in every round; those that do not help are
            left out. "auto" is GFN2-xTB for a dft: reference and none otherwise; "none" is
            none.
        committee: Models of the committee whose spread estimates the uncertainty.
        sampler: Potential that the first geometries are sampled on; by default the reference,
            or GFN2-xTB for a dft: reference.
        conformers: Maximum number of conformers of a smiles: start, lowest energy first.
        temperatures_K: Temperatures of the exploration, in kelvin, distributed over the
            replicas in turn.
        coordinate: Coordinates that replicas are driven along besides the rotatable dihedrals,
            such as 'dihedral 3 4 6 7' of a double bond, with the bends at its nitrogens.
            Candidates for labels are drawn evenly along them.
        replicas: Number of replicas of the exploration. A third starts with its rotatable bonds
            turned at random, another third is driven to random values of rotatable dihedrals
            and coordinates.
        max_energy_kcal_mol: Energy above the lowest labelled geometry, thermal motion not
            counted, up to which geometries are labelled; to be raised for barriers above it.
        time_ps: Length of the exploration of a round, in picoseconds.
        timestep_fs: Timestep of the exploration, in femtoseconds.
        overlap: Explore for the next round while the labels of a round are calculated, on the
            model at hand, which has not been trained on them: for an expensive reference that
            other cores calculate.
        crash_test_ns: Dynamics of the final model from its minima at the temperatures of the
            exploration, in nanoseconds, all replicas together; 0 for none, by default as much
            as in two rounds.
        force_target_kcal_mol_A: Stop when the force RMSE on geometries that the model has not
            seen stays below this.
        energy_target_kcal_mol: Stop when the energy error (RMSE about its mean) there stays
            below this as well.
        stops_per_ns_target: Stop only if at most so many replicas per nanosecond end early as
            well, where the model is unsure or fails; driven replicas do not count. By default
            they are not asked for.
        barrier_target_kcal_mol: Stop only if the error of barriers stays below this as well, in
            kcal/mol: that of the tops of bands, which are then the first of the bands to be
            labelled. By default it is not asked for.
        patience: Number of rounds in a row, with ten random frames in all, that must reach all
            targets.
        timeout_s: Timeout for one label, in seconds.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        workers: Number of worker processes that label or train in parallel on this machine,
            with one thread each.
        scheduler: Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as
            {cluster = "SLURM", jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime
            = "04:00:00"}. Required are cluster, cores and memory; any other keyword of
            dask-jobqueue's class is accepted. The jobs connect to this machine: set host =
            "127.0.0.1" if they all run on it; otherwise set allow_remote, and tls = true or
            {ca_file = "", cert = "", key = ""} to authenticate them.
        worker_wait_s: Timeout for a worker of `scheduler` to connect, in seconds; the same
            command resumes.
        allow_remote: Let other machines connect to the Dask scheduler; without TLS, any can run
            code here.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The model with all labels and a row for each round, minimum and barrier; it can be used as
        a potential.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> learned = fx.learn(
        ...     molecule("H2O"), reference=EMT(), budget=32, checks=2, first=20, batch=10,
        ...     replicas=4, time_ps=0.05, sigma=10.0,
        ... )
        >>> learned.labels, learned.round_count
        (31, 1)

    Sources: committees in active learning, Schran, Brezina and Marsalek, J. Chem. Phys. 153, 104105
    (2020), doi:10.1063/5.0016004; selection of batches, Holzmueller et al., J. Mach. Learn. Res.
    24, 164 (2023), arXiv:2203.09410.
    """

def md(
    model: PotentialLike,
    start: GeometryLike,
    *,
    method: Langevin | NVE | NoseHoover | Rescaling | str | Mapping[str, Any] = ...,
    steps: int = 10000,
    replicas: int = 1,
    exchange_every: int | None = None,
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
        start: Starting geometry; several frames are distributed over the replicas in turn.
        method: Integrator and thermostat: `nve` is constant-energy; `langevin`, `rescaling`
            (Bussi) and `nose-hoover` are constant-temperature dynamics.
            One of Langevin | NVE | NoseHoover | Rescaling; its own options may stand here too.
        steps: Number of timesteps.
        replicas: Number of replicas, integrated in one batch.
        exchange_every: Steps between attempts to exchange the geometries of replicas that are
            neighbours in temperature (replica exchange, parallel tempering); the temperatures
            are `replica_temperatures_K` of the method. Without, replicas are independent.
        plumed: PLUMED input whose bias acts on every replica; `{replica}` and `{replicas}` in
            it stand for numbers. Files it reads need absolute paths; those it writes go to
            OUTPUT/plumed. Actions that can run code or write elsewhere need `trust`. Set the
            environment variable PLUMED_KERNEL to use another libplumedKernel.so than that of
            flexcalc[plumed].
        frame_every: Steps between saved frames; their energies and forces are the model's,
            without any bias.
        frame_replicas: Number of replicas whose frames are saved, from the first; all by
            default.
        scalars_every: Steps between rows of scalars.csv; `frame_every` by default.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        min_contact: Stop if two atoms come closer than this multiple of the sum of their
            covalent radii.
        keep_bonds: Stop if a bond of the start breaks or a new one forms: beyond 1.6 and below
            1.15 times the sum of the covalent radii.
        max_temperature_K: Stop if the kinetic temperature of a replica exceeds this, in kelvin;
            the temperature of a small molecule fluctuates strongly.
        max_training_distance: Stop if a geometry is farther from all training points than this
            multiple of the largest nearest-neighbour distance within the training set.
            `flexcalc info MODEL` shows the limit of a model's domain; models of other packages,
            and networks and GAP of earlier versions, know no distance.
        max_deviation_eV_A: Stop if the forces of a committee deviate by more than this on any
            atom, in eV/angstrom.
        max_rms_deviation_eV_A: Stop if the root-mean-square deviation over the atoms of a
            replica exceeds this, in eV/angstrom; it separates good from bad geometries better
            than the worst atom does.
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
        start: Starting geometry; several frames are distributed over the walkers in turn.
        coordinate: One to three coordinates to bias, such as "dihedral 4 6 7 12" (counted from
            0).
        method: Integrator and thermostat.
            One of Langevin | NVE | NoseHoover | Rescaling; its own options may stand here too.
        hills: Kind of hills.
            One of PlainHills | WellTempered; its own options may stand here too.
        upper_wall: Harmonic walls that keep coordinates below a value, such as "distance 0 1 at
            3.5 kappa 50": in degrees or angstrom, and kcal/mol per unit squared.
        lower_wall: Harmonic walls that keep coordinates above a value.
        steps: Number of timesteps.
        walkers: Number of walkers that share the bias, integrated in one batch.
        frame_every: Steps between saved frames; their energies and forces are the model's,
            without the bias.
        colvar_every: Steps between lines of COLVAR.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        min_contact: Stop if two atoms come closer than this multiple of the sum of their
            covalent radii.
        keep_bonds: Stop if a bond of the start breaks or a new one forms: beyond 1.6 and below
            1.15 times the sum of the covalent radii.
        max_temperature_K: Stop if the kinetic temperature of a replica exceeds this, in kelvin;
            the temperature of a small molecule fluctuates strongly.
        max_training_distance: Stop if a geometry is farther from all training points than this
            multiple of the largest nearest-neighbour distance within the training set.
            `flexcalc info MODEL` shows the limit of a model's domain; models of other packages,
            and networks and GAP of earlier versions, know no distance.
        max_deviation_eV_A: Stop if the forces of a committee deviate by more than this on any
            atom, in eV/angstrom.
        max_rms_deviation_eV_A: Stop if the root-mean-square deviation over the atoms of a
            replica exceeds this, in eV/angstrom; it separates good from bad geometries better
            than the worst atom does.
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

def network(
    model: PotentialLike,
    starts: GeometryLike | Sequence[GeometryLike],
    *,
    conformers: int = 30,
    turned: int = 100,
    max_energy_kcal_mol: float = 10.0,
    max_barrier_kcal_mol: float = 40.0,
    max_minima: int = 40,
    max_pairs: int = 80,
    rounds: int = 3,
    temperature_K: float = 298.15,
    low_modes: Literal['harmonic', 'quasi-rrho', 'quasi-rrho-grimme'] = 'harmonic',
    relabel: PotentialLike | None = None,
    seed: int = 0,
    trust: bool = False,
    output: Path | str | None = None,
    progress: bool = True,
) -> Network:
    """Find the minima of a molecule, the saddles between them, and the rates over these.

    Args:
        model: Potential to search on.
        starts: Geometries to begin with: files, such as a trajectory, or smiles:TEXT for
            conformers. Minima that are found behind saddles are added.
        conformers: Maximum number of conformers of a smiles: start, lowest energy first.
        turned: Further geometries to begin with, whose rotatable bonds are turned at random.
        max_energy_kcal_mol: Energy above the lowest geometry up to which minima are of
            interest, in kcal/mol.
        max_barrier_kcal_mol: The same of saddles.
        max_minima: Maximum number of minima; mirror images are one.
        max_pairs: Maximum number of pairs of minima between which a path is searched in a
            round: first near pairs that join all minima, then other near ones. All paths are
            one batch.
        rounds: Rounds of searches; those after the first join parts that no saddle joins yet.
        temperature_K: Temperature of Gibbs energies, populations and rates, in kelvin.
        low_modes: Vibrations below 100 cm^-1, as for `flexcalc saddle`.
        relabel: Reference method to evaluate at all minima and saddles; results say which
            barriers hold.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The minima and saddles with energies, Gibbs energies, populations and rates; from these the
        relaxation times of the populations and mean first-passage times.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> found = fx.network(EMT(), molecule("NH3"))
        >>> found.minima_found, found.saddles_found
        (1, 0)

    Source: rates by Eyring, J. Chem. Phys. 3, 107 (1935); first passages by Wales, J. Chem. Phys.
    130, 204111 (2009).
    """

@overload
def path(
    model: PotentialLike,
    start: GeometryLike | None = None,
    end: GeometryLike | None = None,
    *,
    ends: GeometryLike | Sequence[GeometryLike] = (),
    method: NEB | Scan | String | str | Mapping[str, Any] = ...,
    relax_ends: bool = True,
    relabel: PotentialLike | None = None,
    equivalents: bool = False,
    saddle: bool = False,
    follow_below_eV_A: float = 0.5,
    adaptive: bool = True,
    assist: PotentialLike | None = None,
    assist_rounds: int = 20,
    refine: int = 0,
    dataset: GeometryLike | None = None,
    refine_images: int = 3,
    barrier_tolerance_kcal_mol: float = 0.5,
    steps: int = 1000,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    refinement: RFO | str | Mapping[str, Any] = ...,
    follow: bool = True,
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
    """Find a minimum-energy path between two geometries, and its barrier; or several in one batch.

    Args:
        model: Potential to search on.
        start: First geometry; the last frame of a file is used. Without `end`: the initial
            path, or the only geometry of a scan that gives its own end values.
        end: Last geometry. Identical atoms are permuted to match the start, unless start and
            end differ by such a permutation alone (a degenerate rearrangement).
        starts: First geometries of several paths, in place of `start` and `end`: all frames of
            the files. The paths are searched in one batch, which each leaves when it is
            finished, or, on a kernel model, in a batch for each core.
        ends: Last geometries of these paths, one for each first geometry; by default there are
            paths between all pairs of `starts`.
        method: Path method.
            One of NEB | Scan | String; its own options may stand here too.
        relax_ends: Relax both endpoints on the potential first.
        relabel: Reference method to evaluate along the path, for the error of the barrier.
        equivalents: Also write the symmetry-equivalent paths, with identical atoms permuted: by
            the symmetry group of the model, or else of the bond graph.
        saddle: Find the saddle of the path, follow the reaction path downhill from it, and
            compute rates.
        follow_below_eV_A: With `saddle` and `follow`: force perpendicular to the path below
            which a band or string is left for its saddle, in eV/angstrom. Where the saddle does
            not join the ends, the search of the path goes on until it converges.
        adaptive: With `saddle` and `follow`: begin with 5 images, or as many as the bends of
            the initial path need, and add two next to the highest where the direction to the
            saddle is lost. If no saddle joins the ends then, the search begins again with all
            images, as without this option.
        assist: With `saddle`: cheap potential, such as `xtb:GFN2-xTB`, for a search on an
            expensive `model`, such as DFT. The search is done on the cheap potential with a
            correction that is trained on the way. `model` labels only the saddle and minima of
            each round, until its own forces there are small; path, Hessians and descent are
            those of the corrected potential.
        assist_rounds: With `assist`: maximum number of rounds.
        refine: Maximum number of rounds that label the worst images with `relabel`, retrain the
            model with them, and search again.
        dataset: Labelled frames that the model was trained on, for `refine`.
        refine_images: Number of images that each round adds, including the highest; saddle and
            minima are added too.
        barrier_tolerance_kcal_mol: Stop retraining when the error of the barrier is below this,
            in kcal/mol.
        steps: Maximum number of steps.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        refinement: Optimiser of the saddle.
            One of RFO; its own options may stand here too.
        follow: Follow the direction of a path from its highest image to the saddle, in internal
            coordinates and without Hessians; `refinement` takes over where that fails. Without
            it, or where the guess is no path, `refinement` starts at once.
        descent: Integration of the intrinsic reaction coordinate, downhill from the saddle.
            One of IRC; its own options may stand here too.
        temperatures_K: Temperatures of the rates, in kelvin; results.json has the rates at the
            first.
        low_modes: Vibrations below 100 cm^-1: `harmonic`, or hindered rotors with a bounded
            moment of inertia. The bound is the molecule's mean for `quasi-rrho` (as in xtb and
            ORCA), and 1e-44 kg m^2 for `quasi-rrho-grimme` (as in Grimme's paper and
            GoodVibes).
        symmetry_start: Rotational symmetry number of the first minimum; 2 for cis-azobenzene.
        symmetry_end: Rotational symmetry number of the last minimum.
        symmetry_saddle: Rotational symmetry number of the saddle.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The path with its images, energies and barrier; with `relabel` also the errors against
        the reference, with `saddle` the saddle and the rates, with `refine` the rounds. With
        `starts` a `Paths`, whose `paths` are such results.

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
@overload
def path(
    model: PotentialLike,
    start: GeometryLike | None = None,
    end: GeometryLike | None = None,
    *,
    starts: GeometryLike | Sequence[GeometryLike],
    ends: GeometryLike | Sequence[GeometryLike] = (),
    method: NEB | Scan | String | str | Mapping[str, Any] = ...,
    relax_ends: bool = True,
    relabel: PotentialLike | None = None,
    equivalents: bool = False,
    saddle: bool = False,
    follow_below_eV_A: float = 0.5,
    adaptive: bool = True,
    assist: PotentialLike | None = None,
    assist_rounds: int = 20,
    refine: int = 0,
    dataset: GeometryLike | None = None,
    refine_images: int = 3,
    barrier_tolerance_kcal_mol: float = 0.5,
    steps: int = 1000,
    seed: int = 0,
    trust: bool = False,
    map_atoms: bool | None = None,
    refinement: RFO | str | Mapping[str, Any] = ...,
    follow: bool = True,
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
) -> Paths:
    """Find a minimum-energy path between two geometries, and its barrier; or several in one batch.

    Args:
        model: Potential to search on.
        start: First geometry; the last frame of a file is used. Without `end`: the initial
            path, or the only geometry of a scan that gives its own end values.
        end: Last geometry. Identical atoms are permuted to match the start, unless start and
            end differ by such a permutation alone (a degenerate rearrangement).
        starts: First geometries of several paths, in place of `start` and `end`: all frames of
            the files. The paths are searched in one batch, which each leaves when it is
            finished, or, on a kernel model, in a batch for each core.
        ends: Last geometries of these paths, one for each first geometry; by default there are
            paths between all pairs of `starts`.
        method: Path method.
            One of NEB | Scan | String; its own options may stand here too.
        relax_ends: Relax both endpoints on the potential first.
        relabel: Reference method to evaluate along the path, for the error of the barrier.
        equivalents: Also write the symmetry-equivalent paths, with identical atoms permuted: by
            the symmetry group of the model, or else of the bond graph.
        saddle: Find the saddle of the path, follow the reaction path downhill from it, and
            compute rates.
        follow_below_eV_A: With `saddle` and `follow`: force perpendicular to the path below
            which a band or string is left for its saddle, in eV/angstrom. Where the saddle does
            not join the ends, the search of the path goes on until it converges.
        adaptive: With `saddle` and `follow`: begin with 5 images, or as many as the bends of
            the initial path need, and add two next to the highest where the direction to the
            saddle is lost. If no saddle joins the ends then, the search begins again with all
            images, as without this option.
        assist: With `saddle`: cheap potential, such as `xtb:GFN2-xTB`, for a search on an
            expensive `model`, such as DFT. The search is done on the cheap potential with a
            correction that is trained on the way. `model` labels only the saddle and minima of
            each round, until its own forces there are small; path, Hessians and descent are
            those of the corrected potential.
        assist_rounds: With `assist`: maximum number of rounds.
        refine: Maximum number of rounds that label the worst images with `relabel`, retrain the
            model with them, and search again.
        dataset: Labelled frames that the model was trained on, for `refine`.
        refine_images: Number of images that each round adds, including the highest; saddle and
            minima are added too.
        barrier_tolerance_kcal_mol: Stop retraining when the error of the barrier is below this,
            in kcal/mol.
        steps: Maximum number of steps.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        refinement: Optimiser of the saddle.
            One of RFO; its own options may stand here too.
        follow: Follow the direction of a path from its highest image to the saddle, in internal
            coordinates and without Hessians; `refinement` takes over where that fails. Without
            it, or where the guess is no path, `refinement` starts at once.
        descent: Integration of the intrinsic reaction coordinate, downhill from the saddle.
            One of IRC; its own options may stand here too.
        temperatures_K: Temperatures of the rates, in kelvin; results.json has the rates at the
            first.
        low_modes: Vibrations below 100 cm^-1: `harmonic`, or hindered rotors with a bounded
            moment of inertia. The bound is the molecule's mean for `quasi-rrho` (as in xtb and
            ORCA), and 1e-44 kg m^2 for `quasi-rrho-grimme` (as in Grimme's paper and
            GoodVibes).
        symmetry_start: Rotational symmetry number of the first minimum; 2 for cis-azobenzene.
        symmetry_end: Rotational symmetry number of the last minimum.
        symmetry_saddle: Rotational symmetry number of the saddle.
        output: Folder that everything is kept in; an unfinished run in it is resumed. Without
            it nothing is written.
        progress: Show a progress bar, on a terminal or in a notebook.

    Returns:
        The path with its images, energies and barrier; with `relabel` also the errors against
        the reference, with `saddle` the saddle and the rates, with `refine` the rounds. With
        `starts` a `Paths`, whose `paths` are such results.

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
    *,
    exports: bool = True,
) -> Path:
    """Write report.html, one self-contained page, for a run folder.

    The plots stand in figures/NAME.svg and figures/NAME.pdf too, 3.3 inches wide, and the numbers
    in tables/NAME.csv; those of a demo in the folders of its steps.

    A folder of a run that is going on, or lacks files, gives a page of what there is.

    Args:
        folder: Output folder of a command, such as label; or a folder with several of `flexcalc
            path`, which are compared.
        exports: Also write the plots as figures/NAME.svg and .pdf, in the size of a journal's
            column, and the numbers as tables/NAME.csv.

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
    follow: bool = True,
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
    """Refine a guess to a saddle, find the minima that it connects, and compute rates.

    Args:
        model: Potential to search on.
        guess: Geometry near the saddle; of a path, the highest frame is used.
        start: First minimum, to identify the minima found downhill; the last frame of a file is
            used.
        end: Last minimum, likewise.
        relabel: Reference method to evaluate at the saddle and at both minima.
        steps: Maximum number of steps to the saddle.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        refinement: Optimiser of the saddle.
            One of RFO; its own options may stand here too.
        follow: Follow the direction of a path from its highest image to the saddle, in internal
            coordinates and without Hessians; `refinement` takes over where that fails. Without
            it, or where the guess is no path, `refinement` starts at once.
        descent: Integration of the intrinsic reaction coordinate, downhill from the saddle.
            One of IRC; its own options may stand here too.
        temperatures_K: Temperatures of the rates, in kelvin; results.json has the rates at the
            first.
        low_modes: Vibrations below 100 cm^-1: `harmonic`, or hindered rotors with a bounded
            moment of inertia. The bound is the molecule's mean for `quasi-rrho` (as in xtb and
            ORCA), and 1e-44 kg m^2 for `quasi-rrho-grimme` (as in Grimme's paper and
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

    One of `unix` and `port` says where the server listens. It may also be ASE's
    `SocketIOCalculator`, which closes the socket instead.

    Args:
        model: Potential to serve.
        start: The molecule, with atoms in the order of i-PI's input.
        unix: Name of i-PI's unix socket (its <address>).
        host: Host of i-PI's inet socket.
        port: Port of i-PI's inet socket.
        timeout_s: Timeout for connecting to the server, in seconds.
        allow_remote: Allow a server on another machine.
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
    points: int | None = None,
    validation_points: int | None = None,
    selection: Literal['stratified', 'random', 'farthest', 'clusters'] = 'stratified',
    refine_rounds: int = 0,
    refine_by: Literal['worst', 'error'] = 'worst',
    folds: int = 0,
    train_folds: int | None = None,
    committee: int = 1,
    baseline: PotentialLike | Sequence[PotentialLike] = (),
    teacher: PotentialLike | None = None,
    teacher_points: int | None = None,
    teacher_temperature_K: float | None = None,
    label_weight: float = 10.0,
    start_from: str | None = None,
    learning_curve: int | Sequence[int] = (),
    overwrite: bool = False,
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
    kernel: Literal['auto', 'molecule', 'bonds'] = ...,
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
    `NAME.flex` the model is that folder, and all else is kept in `NAME-train`. With a `teacher`,
    its labels are kept in the folder `teacher`.

    Args:
        dataset: Labelled frames: extxyz, or npz with its units. Without energies, sGDML,
            mixtures of sGDML and networks are trained on forces alone.
        family: Model families to train, each with its hyperparameters.
            One of 'sgdml', 'schnet', 'painn', 'bpnn', 'so3net', 'mace', 'gap', 'gap-study',
            'mixture'; its own options may stand here too.
        points: Number of training points; by default 200, or half of the frames if there are
            fewer than 400.
        validation_points: Number of validation frames, which select the hyperparameters; by
            default 200, or all remaining frames if those are fewer, or a quarter of fewer than
            400 frames if `points` is left to its default too.
        selection: Selection of training points: `stratified` preserves the distribution of
            energies, if any; `random` draws frames uniformly; `farthest` adds the frame least
            similar to those selected so far; `clusters` draws from each cluster of similar
            geometries and energies.
        refine_rounds: Rounds of active learning that add points where errors are largest, up to
            `points` in total; the first model and every round get equal numbers.
        refine_by: Selection of the points that are added: `worst` takes the worst frames of the
            clusters with the largest errors; `error` draws frames with a probability
            proportional to their force error, which gives lower errors on average over all
            frames.
        folds: Folds of a cross-validation: mean errors over the folds select the
            hyperparameters, without validation frames, and the model of the best fold is kept.
            0 for none.
        train_folds: Folds that each model is trained on, with `points` in total; by default all
            but one.
        committee: Models of a committee, each trained on all but a different part of the
            points, with the hyperparameters selected on all points. Their spread estimates the
            uncertainty of the forces. 1 for a single model.
        baseline: Baseline for delta learning, such as xtb:GFN2-xTB or dispersion:D4/PBE: the
            difference between labels and baseline is learned, and the model is the sum of both.
            Of several, a sum with weights that folds of the training points choose; those that
            do not help are left out.
        teacher: Teacher of a student, such as a model on a baseline: it labels further
            geometries, and the model that is trained on them and on the dataset does without
            it.
        teacher_points: Number of geometries that the teacher labels for the training; by
            default 1000, or 60 for each atom of a molecule of more than 16 (1440 of
            azobenzene), and fewer of one of more than 24.
        teacher_temperature_K: Temperature in kelvin of the dynamics that visits those
            geometries; by default that of the training points, estimated from the spread of
            their energies.
        label_weight: Weight of a label of the dataset, where one of the teacher has weight 1:
            it divides the regularization of sGDML and multiplies the squared errors of a
            network.
        start_from: Trained network whose weights the training starts from: the folder of a
            model of the same family, such as one of many cheap labels. The constant of the
            energies is fitted again.
        learning_curve: Smaller numbers of training points for a learning curve, with the same
            hyperparameters.
        overwrite: Replace another model at the output NAME.flex; without it that is refused.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        energy_unit: Unit of the dataset's energies, such as kcal/mol, for a file that does not
            declare it: needed for an npz, eV by default for an extxyz.
        force_unit: Unit of the dataset's forces; by default the energy unit per angstrom.
        length_unit: Unit of the dataset's positions, for a file that does not declare it;
            angstrom by default.
        energy_key: Key of the dataset's energies, such as `REF_energy`; by default any of the
            common ones.
        forces_key: Key or column of the dataset's forces, such as `dft_forces`.
        labels: Labels to use of an rMD17 file: `old` reads old_energies and old_forces.
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
        start: Starting geometry; of several frames, such as a path, each window uses the
            nearest.
        coordinate: One or two coordinates to restrain, such as "dihedral 4 6 7 12" (counted
            from 0).
        low: Centre of the first window, one per coordinate, in degrees or angstrom. By default
            windows cover the full circle of a dihedral.
        high: Centre of the last window, one per coordinate.
        windows: Number of windows along each coordinate; by default one every 15 degrees of a
            dihedral, 5 degrees of an angle, 0.1 otherwise. Two coordinates get a window for
            every combination.
        kappa_kcal_mol: Force constants of the restraints kappa/2 (s - centre)^2, one per
            coordinate, in kcal/mol per degree or angstrom squared; by default their thermal
            width is half the window spacing.
        method: Integrator and thermostat.
            One of Langevin | NVE | NoseHoover | Rescaling; its own options may stand here too.
        steps: Number of timesteps, including equilibration.
        equilibration: Timesteps that are discarded; in the first half of them each window is
            pulled from its start to its centre.
        frame_every: Steps between saved frames; their energies and forces are the model's,
            without restraints.
        colvar_every: Steps between lines of COLVAR, from which the free energy is computed.
        seed: Seed of all random numbers.
        trust: Open model files that can only be read by running code they contain.
        map_atoms: Reorder the atoms of a geometry to the order of the model's training frames
            where its bonds match only then; by default such a geometry is refused. Coordinates
            then count atoms in the model's order.
        min_contact: Stop if two atoms come closer than this multiple of the sum of their
            covalent radii.
        keep_bonds: Stop if a bond of the start breaks or a new one forms: beyond 1.6 and below
            1.15 times the sum of the covalent radii.
        max_temperature_K: Stop if the kinetic temperature of a replica exceeds this, in kelvin;
            the temperature of a small molecule fluctuates strongly.
        max_training_distance: Stop if a geometry is farther from all training points than this
            multiple of the largest nearest-neighbour distance within the training set.
            `flexcalc info MODEL` shows the limit of a model's domain; models of other packages,
            and networks and GAP of earlier versions, know no distance.
        max_deviation_eV_A: Stop if the forces of a committee deviate by more than this on any
            atom, in eV/angstrom.
        max_rms_deviation_eV_A: Stop if the root-mean-square deviation over the atoms of a
            replica exceeds this, in eV/angstrom; it separates good from bad geometries better
            than the worst atom does.
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
