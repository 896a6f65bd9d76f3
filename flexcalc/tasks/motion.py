"""What the tasks share that move a batch of replicas: `md`, `metad` and `umbrella`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypedDict

import numpy as np

from flexcalc import files
from flexcalc.analysis import plausibility
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import GuardError, InputError
from flexcalc.files.frames import to_bytes
from flexcalc.geometry import Coordinate
from flexcalc.geometry.named import LINEAR_DEGREES
from flexcalc.masses import of_frames
from flexcalc.memory import geometry_bytes, require_memory
from flexcalc.methods.dynamics import Bath, Dynamics
from flexcalc.methods.guard import Guard
from flexcalc.methods.iterate import Checkpoint, Method, Recorder, Setup, State, run
from flexcalc.models.energies import training_energies
from flexcalc.potential import Evaluation, Potential
from flexcalc.progress import Progress, silent
from flexcalc.registry import name_of, open_potential
from flexcalc.results.base import Stop
from flexcalc.results.free_energy import COLVAR, TRAJECTORY
from flexcalc.store import Store
from flexcalc.tasks.molecule import (
    electrons_of,
    following,
    isotopes_in,
    source_of,
    with_masses,
)
from flexcalc.tasks.ordering import Ordered, ordered
from flexcalc.tasks.provenance import labels_by

NS_A_DAY_PER_FS_A_SECOND = 86400 * 1e-6

TELL_EVERY = 10
"""Steps between two updates of the progress bar."""


class Moving(Protocol):
    """Options of a batch in motion."""

    @property
    def method(self) -> Dynamics: ...

    @property
    def steps(self) -> int: ...

    @property
    def seed(self) -> int: ...

    @property
    def frame_every(self) -> int: ...


class Sampling(Moving, Protocol):
    """Options of a batch whose coordinates are recorded in COLVAR."""

    @property
    def colvar_every(self) -> int: ...


class Watch:
    """An observer that shows the progress of a batch in motion, and how fast it is.

    Args:
        name: of the command.
        options: of the run.
        batch: replicas.
        describe: a state -> what to say of it.
    """

    def __init__(self, name: str, options: Moving, batch: int, describe: Callable[[Any], str]):
        self.name, self.options, self.batch, self.describe = name, options, batch, describe
        self.begun, self.seen = time.monotonic(), 0
        self.progress: Progress = silent

    def __call__(self, state: State) -> None:
        if not self.seen:  # what comes before loads, compiles and starts processes
            self.begun = time.monotonic()
        self.seen += 1
        if state.step % TELL_EVERY == 0 or state.step == self.options.steps:
            note = f"{self.describe(state)}, {self.speed()['ns_per_day']:.3g} ns/day"
            self.progress(state.step, self.options.steps, note)

    def speed(self) -> Speed:
        """How fast the batch has moved so far."""
        rate = max(self.seen - 1, 0) / max(time.monotonic() - self.begun, 1e-9)
        day = rate * self.batch * self.options.method.timestep_fs * NS_A_DAY_PER_FS_A_SECOND
        return {"steps_per_second": round(rate, 1), "ns_per_day": float(f"{day:.4g}")}


class Speed(TypedDict):
    """Timesteps per second, and nanoseconds per day of all replicas together."""

    steps_per_second: float
    ns_per_day: float


class Known(TypedDict):
    """What results say of a start."""

    model: str
    atom_map: tuple[int, ...] | None
    isotopes: str | None


@dataclass(frozen=True, eq=False)
class Start[C]:
    """Where dynamics starts, everything read and opened.

    Args:
        options: of the run, with masses, charge and multiplicity that the start states.
        potential: to run on.
        positions: (frames, atoms, 3) in angstrom, in the order of the potential's atoms.
        fitting: how the atoms were put into that order.
    """

    options: C
    potential: Potential
    positions: np.ndarray
    fitting: Ordered

    def guards(self, positions: np.ndarray) -> list[Guard]:
        """The guards of replicas that start at positions (batch, atoms, 3)."""
        options: Any = self.options
        fixed = options.method.fixed(self.potential.numbers)
        return options.guards(
            self.potential, positions, fixed, name_of(options.model), options.method.masses
        )

    @cached_property
    def provenance(self) -> Provenance:
        """Of the labels of the frames."""
        options: Any = self.options
        return labels_by(options.model, self.potential)

    def describe(self, store: Store, notes: Sequence[str] = ()) -> Known:
        """Report how the start was read, warn of notes, and return its figures for the results."""
        for note in notes:
            store.warn(note)
        options: Any = self.options
        return {
            "model": name_of(options.model),
            "atom_map": self.fitting.said(store),
            "isotopes": isotopes_in(store, self.potential.numbers, options.method.masses),
        }


def open_start[C](options: C, replicas: int, what: str) -> Start[C]:
    """Read the start and open the potential that options name.

    Args:
        options: with model, start, method and what opening them takes.
        replicas: that will move at once.
        what: they are called.

    Raises:
        InputError: one of them cannot be used, or memory does not suffice.
    """
    given: Any = options
    start = files.read(given.start)
    require_memory(
        geometry_bytes(replicas, len(start.numbers), STATE_ARRAYS),
        f"{replicas} {what} of {len(start.numbers)} atoms",
        f"take fewer {what}",
    )
    given = following(given, electrons_of(start))
    potential = open_potential(given.model, start.numbers, trust=given.trust)
    fitting = ordered(potential, start, source_of(given.start), given.map_atoms)
    given = with_masses(given, fitting.data)
    return Start(given, potential, fitting.data.positions, fitting)


def move[S: State](
    store: Store,
    watch: Watch,
    method: Method[S],
    kind: type[S],
    batch: Setup,
    recorders: Sequence[Recorder],
) -> tuple[int, Stop | None]:
    """Run a method to its last step under guards, from its checkpoint if there is one.

    Args:
        store: keeps the checkpoint.
        watch: knows the options, and gets the progress bar.
        method: what moves the replicas.
        kind: class of the method's states.
        batch: what is moved.
        recorders: the logs of the run.

    Returns:
        The number of steps done, and why a guard stopped the run, if one did.
    """
    options = watch.options
    rng = np.random.default_rng(options.seed)
    checkpoint = Checkpoint(store, f"{watch.name}.checkpoint", rng, recorders)
    try:
        with store.bar(watch.name) as progress:
            watch.progress = progress
            run(
                method,
                batch,
                kind,
                steps=options.steps,
                checkpoint=checkpoint,
                observers=[watch],
            )
    except GuardError as error:
        return checkpoint.steps, stop_of(error)
    return checkpoint.steps, None


def stop_of(error: GuardError) -> Stop:
    """Why a guard has stopped a run."""
    none = np.zeros(0)
    rows = none.astype(int) if error.rows is None else np.asarray(error.rows)
    return Stop(
        str(error), error.reason, rows, none if error.positions is None else error.positions
    )


@dataclass(frozen=True, eq=False)
class Sampled:
    """What dynamics has recorded, to be judged.

    Args:
        time_fs: (records,) from the start.
        temperatures_K: (records, replicas) kinetic temperatures.
        lowest_eV: lowest energy of the model, without a bias.
    """

    time_fs: np.ndarray
    temperatures_K: np.ndarray
    lowest_eV: float

    @classmethod
    def of_rows(
        cls, time_fs: np.ndarray, kelvin: np.ndarray, energies_eV: np.ndarray, replicas: int
    ) -> Sampled:
        """The records whose rows (records x replicas,) have the replicas in turn."""
        lowest = float(energies_eV.min(initial=np.inf))
        return cls(time_fs[::replicas], kelvin.reshape(-1, replicas), lowest)


def implausible_motion(
    method: Dynamics, potential: Potential, found: Sampled, work_eV: float = 0.0
) -> list[str]:
    """What to warn of in dynamics.

    Args:
        method: of the dynamics.
        potential: without any bias.
        found: what was recorded.
        work_eV: that a bias may have done on each replica.
    """
    numbers, time_fs, kelvin = potential.numbers, found.time_fs, found.temperatures_K
    if not len(time_fs):
        return []
    freedom, replicas = 3 * len(numbers) - method.fixed(numbers), kelvin.shape[1]
    targets = np.broadcast_to(method.target_K(0, replicas), kelvin.shape)
    if getattr(method, "schedule", ()):
        steps = np.rint(time_fs / method.timestep_fs).astype(int)
        targets = np.stack([method.target_K(int(step), replicas) for step in steps])
    known = training_energies(potential)
    messages = plausibility.exploded(time_fs, kelvin, targets, freedom)
    relaxation_fs = method.energy_relaxation_fs
    if relaxation_fs is not None and not messages:
        messages = plausibility.mean_temperature(
            time_fs,
            kelvin,
            targets,
            freedom=freedom,
            relaxation_fs=relaxation_fs,
            timestep_fs=method.timestep_fs,
            heating_K=plausibility.bias_heating_K(work_eV, time_fs[-1], relaxation_fs, freedom),
        )
    lowest = [found.lowest_eV]
    return messages + plausibility.below_training(lowest, len(numbers), known, "the dynamics")


STATE_ARRAYS = 20
"""Arrays (rows, atoms, 3) that a step of dynamics holds at least: states, bonds, frames as text."""

ADVICE = "a larger --frame-every writes less"


def frames_of(
    numbers: Any,
    positions: np.ndarray,
    evaluation: Evaluation,
    tags: Mapping[str, Any],
    provenance: Provenance,
    masses: Any = (),
) -> Dataset:
    """A frame of each row of a batch.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (batch, atoms, 3) in angstrom.
        evaluation: energies and forces there, and the deviation where it is known.
        tags: of the frames; one that is a number is that of all.
        provenance: of energies and forces.
        masses: (atoms,) in amu; empty for standard ones.
    """
    rows = len(positions)
    columns = {name: np.broadcast_to(value, rows) for name, value in tags.items()}
    if evaluation.deviation is not None:
        columns["deviation_max_eV_A"] = evaluation.deviation.max(axis=1)
    return Dataset(
        numbers,
        positions,
        evaluation.energies,
        evaluation.forces,
        columns,
        provenance,
        of_frames(masses, rows),
    )


def trajectory_bytes(
    options: Moving, positions: np.ndarray, numbers: Any, provenance: Provenance
) -> int:
    """Bytes of a trajectory with a frame of each row of positions (rows, atoms, 3)."""
    # A frame with numbers that have all their digits, as those of dynamics do.
    digits = np.random.default_rng(0).standard_normal((1, *positions.shape[1:]))
    example = Evaluation(1000 * digits[:, 0, 0], digits)
    tags = {"replica": 0, "time_fs": options.steps * options.method.timestep_fs}
    place = positions[:1] + 1e-3 * digits
    frame = to_bytes(frames_of(numbers, place, example, tags, provenance))
    return len(frame) * len(positions) * (options.steps // options.frame_every + 1)


def announce_sampling(
    store: Store, options: Sampling, setup: Setup, columns: int, provenance: Provenance
) -> None:
    """Report the sizes of the trajectory and of COLVAR, whose rows have so many numbers."""
    rows = len(setup.positions)
    sizes = {
        TRAJECTORY: trajectory_bytes(options, setup.positions, setup.potential.numbers, provenance),
        COLVAR: table_bytes(options, options.colvar_every, rows, columns),
    }
    store.announce(sizes, ADVICE)


def table_bytes(options: Moving, every: int, rows: int, columns: int) -> int:
    """Size in bytes of a table with a number of rows per recorded step.

    Columns of few digits, such as the time and the replica, count as one together.
    """
    return BYTES_A_NUMBER * columns * rows * (options.steps // every + 1)


BYTES_A_NUMBER = 19
"""Of a number in double precision with all its digits, and what stands between two of them."""


def biased_coordinates(texts: Sequence[str], *, trust: bool) -> list[Coordinate]:
    """The coordinates that a bias acts on.

    Raises:
        InputError: one cannot be read, or stands twice.
    """
    coordinates = [Coordinate.parse(text, trust=trust) for text in texts]
    if len({one.label for one in coordinates}) != len(coordinates):
        raise InputError("coordinate: expected different ones, found the same twice")
    return coordinates


def checked_start(coordinates: Sequence[Coordinate], positions: np.ndarray) -> list[str]:
    """What to warn of where a bias on coordinates starts.

    Args:
        coordinates: that a bias acts on.
        positions: (batch, atoms, 3) in angstrom.

    Raises:
        InputError: a dihedral has no value, as one of its angles is linear.
        ShapeError: a coordinate names an atom that is not there.
    """
    notes = []
    for one in coordinates:
        one.check_defined(positions, "start")
        largest = float(one.values(positions).max()) if one.kind == "angle" else 0.0
        if largest > 180 - LINEAR_DEGREES:
            notes.append(
                f"{one.label!r} is {largest:.1f} degrees at the start; at 180 its "
                "gradient changes sign, and so does the force of a bias: the distance between "
                "its ends is smooth"
            )
    return notes


def bath_of(method: Dynamics) -> Bath:
    """The thermostat of dynamics whose free energy is asked for.

    Raises:
        InputError: it keeps no temperature, or more than one.
    """
    if not isinstance(method, Bath):
        raise InputError("method: expected a thermostat, found nve: a bias would heat the molecule")
    if method.schedule or method.replica_temperatures_K:
        raise InputError(
            "method: expected one temperature, found schedule or replica_temperatures_K: the "
            "surface is that of one temperature"
        )
    return method
