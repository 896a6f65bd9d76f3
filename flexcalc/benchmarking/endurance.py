"""The crash test of one potential, in a folder of its own: its dynamics and their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate
from flexcalc.methods.crash import Crash, CrashState, CrashTest, run_replicas
from flexcalc.methods.dynamics import conserved_energy
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.registry import open_potential
from flexcalc.storage import read_json, write_json
from flexcalc.store import FolderStore

ENERGY_EVERY = 10
"""Steps between two records of the energy without thermostat."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A potential to test, in a form that can be pickled for another process.

    Args:
        test: the test.
        address: of the potential.
        starts: file of the minima, a frame each, with the tag `minimum`.
        coordinates: that distinguish conformers; the first two make the map.
        folder: of this potential's run; an unfinished run in it is resumed.
        trust: whether model files may run code.
        seed: of the momenta and the noise.
    """

    test: CrashTest
    address: str
    starts: Path
    coordinates: tuple[str, ...]
    folder: Path
    trust: bool = False
    seed: int = 0

    @cached_property
    def minima(self) -> Dataset:
        """The minima as read."""
        return files.read(self.starts)

    @cached_property
    def names(self) -> list[str]:
        """Names of the minima; start-0, start-1, ... where the file has none."""
        known = self.minima.tags.get("minimum")
        if known is None:
            return [f"start-{index}" for index in range(len(self.minima))]
        return [str(name) for name in known]

    @cached_property
    def axes(self) -> tuple[Coordinate, ...]:
        """The coordinates as read."""
        return tuple(Coordinate.parse(text, trust=self.trust) for text in self.coordinates)

    @cached_property
    def potential(self) -> Potential:
        """The potential, opened."""
        return open_potential(self.address, self.minima.numbers, trust=self.trust)

    @cached_property
    def method(self) -> Crash:
        """The dynamics."""
        replicas = self.test.replicas(self.minima.positions)
        return Crash(self.test, self.minima.numbers, replicas)


def run_test(subject: Subject, progress: Progress = silent) -> CrashState:
    """Run the dynamics of a crash test to its end; an interrupted run is resumed.

    Writes trajectory.xyz (the whole replicas, with thermostat) and energies.csv (without).

    Raises:
        InputError: the folder holds another test.
        GuardError: the potential is not finite at a start.
    """
    folder, method = subject.folder, subject.method
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(subject)
    with FolderStore(folder) as store:
        recorders = [
            Recorder(store.frames("trajectory.xyz"), subject.test.frame_every, _frames_of(subject)),
            Recorder(store.lines("energies.csv"), ENERGY_EVERY, _energies_of(subject)),
        ]
        rng = np.random.default_rng(subject.seed)
        setup = Setup(subject.potential, method.replicas.positions)
        checkpoint = Checkpoint(store, "crash.checkpoint", rng, recorders)
        return run_replicas(method, setup, checkpoint, progress)


def _check_same(subject: Subject) -> None:
    """Write the settings to test.json, and refuse another test in the folder."""
    facts = {
        "test": asdict(subject.test),
        "address": subject.address,
        "minima": subject.minima.sha256(),
        "seed": subject.seed,
    }
    place = subject.folder / "test.json"
    if not place.exists():
        write_json(place, facts)
    elif read_json(place) != json.loads(json.dumps(facts)):
        raise InputError(f"{place}: holds another crash test; choose another folder")


def _frames_of(subject: Subject) -> Callable[[CrashState], Dataset]:
    replicas, numbers = subject.method.replicas, subject.minima.numbers

    def render(state: CrashState) -> Dataset:
        if state.step > subject.test.steps:
            return Dataset(numbers, np.zeros((0, len(numbers), 3)))
        who = np.asarray(state.alive)
        tags = {
            "replica": who,
            "seed": replicas.seed[who],
            "temperature_K": replicas.temperature_K[who],
            "time_fs": np.full(len(who), state.step * subject.test.timestep_fs),
        }
        moving = state.moving
        return Dataset(numbers, moving.positions, moving.evaluation.energies, tags=tags)

    return render


def _energies_of(subject: Subject) -> Callable[[CrashState], bytes]:
    def render(state: CrashState) -> bytes:
        if state.step < subject.test.steps or not subject.test.nve_steps:
            return b""
        energies = conserved_energy(state.moving, subject.minima.numbers)
        rows = zip(state.alive, energies, strict=True)
        return "".join(f"{state.step},{who},{float(e)!r}\n" for who, e in rows).encode()

    return render


def trajectory(subject: Subject) -> Dataset:
    """The frames of a test after its starts, tagged replica, seed, temperature_K and time_fs."""
    frames = files.read_frames(subject.folder / "trajectory.xyz")
    return frames[frames.tags["time_fs"] > 0]


def reference_test(subject: Subject, reference: str, folder: Path) -> Subject | None:
    """The crash test of the reference itself: shorter, and only where it is cheap.

    Args:
        subject: any of the models' tests.
        reference: its address; anything but an xtb: one costs too much.
        folder: of its run.
    """
    test = subject.test
    if not test.reference_seeds or not reference.startswith("xtb:"):
        return None
    shorter = replace(
        test,
        seeds=test.reference_seeds,
        time_ps=test.reference_time_ps or test.time_ps,
        nve_ps=0.0,
    )
    return replace(subject, test=shorter, address=reference, folder=folder)
