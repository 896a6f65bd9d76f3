"""What the commands share that move a batch of replicas: `md`, `metad` and `umbrella`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from flexcalc.errors import GuardError, InputError
from flexcalc.geometry import Coordinate
from flexcalc.geometry.named import LINEAR_DEGREES
from flexcalc.methods.dynamics import Bath, Dynamics
from flexcalc.methods.guard import Guard
from flexcalc.methods.iterate import Checkpoint, Method, Recorder, State, run
from flexcalc.potential import Evaluation, Potential
from flexcalc.progress import Progress
from flexcalc.workflows.runs import Run, batch_frames

NS_A_DAY_PER_FS_A_SECOND = 86400 * 1e-6

TELL_EVERY = 10
"""Steps between two words to the progress bar."""


class Moving(Protocol):
    """What a config says of a batch in motion."""

    @property
    def method(self) -> Dynamics: ...

    @property
    def steps(self) -> int: ...

    @property
    def seed(self) -> int: ...


class Watch:
    """An observer that tells the progress of a batch in motion, and how fast it is.

    Args:
        config: of the run.
        batch: replicas.
        describe: a state -> what to say of it.
    """

    def __init__(self, config: Moving, batch: int, describe: Callable[[Any], str]):
        self.config, self.batch, self.describe = config, batch, describe
        self.begun, self.seen = time.monotonic(), 0
        self.progress: Progress = lambda *_: None

    def __call__(self, state: State) -> None:
        if not self.seen:  # what comes before loads, compiles and starts processes
            self.begun = time.monotonic()
        self.seen += 1
        if state.step % TELL_EVERY == 0 or state.step == self.config.steps:
            text = f"{self.describe(state)}, {self.told()}"
            self.progress(state.step, self.config.steps, text)

    def speed(self) -> dict[str, float]:
        """Steps a second, and nanoseconds a day of all replicas together."""
        rate = max(self.seen - 1, 0) / max(time.monotonic() - self.begun, 1e-9)
        day = rate * self.batch * self.config.method.timestep_fs * NS_A_DAY_PER_FS_A_SECOND
        return {"steps_per_second": round(rate, 1), "ns_per_day": float(f"{day:.4g}")}

    def told(self) -> str:
        """The same in words."""
        speed = self.speed()
        return f"{speed['steps_per_second']:.0f} steps/s, {speed['ns_per_day']:.3g} ns/day"


def moved[S: State](
    here: Run,
    watch: Watch,
    method: Method[S],
    potential: Potential,
    positions: np.ndarray,
    kind: type[S],
    *,
    recorders: Sequence[Recorder],
    guards: Sequence[Guard],
) -> S:
    """Run a method to its last step under guards, from its checkpoint if there is one.

    Args:
        here: the open run folder; it gets the checkpoint, and word of a guard that stops the run.
        watch: knows the config, and gets the progress bar.
        method: what moves the replicas.
        potential: surface, in eV and angstrom.
        positions: (batch, atoms, 3) in angstrom, where a fresh run starts.
        kind: class of the method's states.
        recorders: the logs of the run.
        guards: what stops the run.

    Raises:
        GuardError: the run was stopped; what went before is on disk.
    """
    config, path = watch.config, here.folder / f"{here.command}.checkpoint"
    checkpoint = Checkpoint(path, np.random.default_rng(config.seed), recorders)
    try:
        with here.bar(here.command) as progress:
            watch.progress = progress
            return run(
                method,
                potential,
                positions,
                kind,
                steps=config.steps,
                checkpoint=checkpoint,
                observers=[watch],
                guards=guards,
            )
    except GuardError as error:
        here.stopped(error)
        raise


STATE_ARRAYS = 20
"""Arrays (rows, atoms, 3) that a step of dynamics holds at least: states, bonds, frames as text."""

LARGE_BYTES = 10**9
"""Output beyond which a run says beforehand how much there will be."""


def announce_output(here: Run, sizes: Mapping[str, int]) -> None:
    """Say how large the files of a run will be, where that is much; warn where it does not fit.

    Args:
        here: the open run folder.
        sizes: file -> bytes that it will have at the end.
    """
    total = sum(sizes.values())
    there = sum(path.stat().st_size for name in sizes if (path := here.folder / name).exists())
    free = shutil.disk_usage(here.folder).free
    short = total - there > free
    if total < LARGE_BYTES and not short:
        return
    files = ", ".join(f"{name} {size / 1e9:.3g} GB" for name, size in sizes.items())
    line = f"this run will write about {total / 1e9:.3g} GB ({files}); {free / 1e9:.3g} GB are free"
    advice = "; a larger --frame-every writes less"
    here.say(f"warning: {line}{advice}" if short else f"{line}{advice}")


def trajectory_bytes(config: Moving, every: int, positions: np.ndarray, numbers: Any) -> int:
    """Bytes of a trajectory with a frame of each row of positions (rows, atoms, 3)."""
    # A frame with numbers that have all their digits, as those of dynamics do.
    digits = np.random.default_rng(0).standard_normal((1, *positions.shape[1:]))
    example = Evaluation(1000 * digits[:, 0, 0], digits)
    end_fs = config.steps * config.method.timestep_fs
    frame = batch_frames(numbers, positions[:1] + 1e-3 * digits, example, end_fs, "replica")
    return len(frame) * len(positions) * (config.steps // every + 1)


def table_bytes(config: Moving, every: int, rows: int, columns: int) -> int:
    """Bytes of a table that gets so many rows of numbers every so many steps.

    Columns of few digits, such as the time and the replica, count as one together.
    """
    return BYTES_A_NUMBER * columns * rows * (config.steps // every + 1)


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
                f"warning: {one.label!r} is {largest:.1f} degrees at the start; at 180 its "
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
