"""The crash test: how long dynamics on a potential lasts, and what goes wrong first.

All replicas of all temperatures run in one batch. A replica that fails is recorded and removed. The
others continue as if it had never been there, because every replica has its own stream of random
numbers. (With a potential whose rounding depends on the batch size, as that of matrix products may,
the trajectories of the survivors depend on it too.)

Source: after the TEA challenge of 2023, Chem. Sci. 16, 3720 and 3738 (2025).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.random import Generator

from flexcalc.errors import LabelError, NonFiniteError
from flexcalc.fields import (
    Batch,
    Bins,
    Count,
    Natural,
    NonNegative,
    NonNegativePicoseconds,
    Picoseconds,
    Positive,
    Timestep,
)
from flexcalc.geometry.graph import covalent_lengths
from flexcalc.methods.dynamics import NVE, DynamicsState, Langevin
from flexcalc.methods.guard import DistanceGuard
from flexcalc.methods.iterate import Checkpoint, Setup, run
from flexcalc.potential import Evaluation, Potential
from flexcalc.progress import Progress

KINDS = ("bond broken", "bond formed", "contact", "flying atom", "non-finite", "not computed")
"""Kinds of failure. `not computed`: a reference returned no label, such as an SCF that did not
converge."""
BROKEN_BOND, FORMED_BOND, CONTACT, FLYING_ATOM, NON_FINITE, NOT_COMPUTED = range(len(KINDS))

FLYING = 3.0
"""An atom counts as flying where all others are farther away than this multiple of the sum of their
covalent radii."""


@dataclass(frozen=True, kw_only=True)
class CrashTest:
    """Langevin dynamics of each model from the minima, until it fails or the time is over.

    Source: after the TEA challenge of 2023, Chem. Sci. 16, 3720 and 3738 (2025).
    """

    kind: ClassVar[str] = "crash"

    temperatures_K: tuple[Positive, ...] = (300.0, 500.0, 750.0)
    """Temperatures in kelvin."""
    seeds: Batch = 10
    """Number of runs at each temperature, distributed over the minima in turn."""
    time_ps: Picoseconds = 10.0
    """Length of a complete run, in picoseconds."""
    timestep_fs: Timestep = 0.5
    """Timestep in femtoseconds."""
    friction_per_ps: Positive = 5.0
    """Friction coefficient of the Langevin thermostat, in 1/ps."""
    frame_every: Count = 100
    """Steps between frames of the trajectories."""
    min_contact: NonNegative = 0.6
    """A run fails where two atoms come closer than this multiple of the sum of their covalent
    radii."""
    keep_bonds: bool = True
    """A run fails where a bond of its start breaks or a new one forms: beyond 1.6 and below 1.15
    times the sum of the covalent radii."""
    nve_ps: NonNegativePicoseconds = 1.0
    """Time in picoseconds that complete runs continue without thermostat, to measure the energy
    drift; 0 for none."""
    relabelled_frames: Natural = 100
    """Number of frames per temperature that the reference labels, for the force errors on the
    model's own trajectories, plus the last intact geometry of every failed run. 0 for none."""
    map_bins: Bins = 36
    """Number of bins for each of the two coordinates of a map."""
    reference_seeds: Natural = 2
    """Number of runs at each temperature with the reference itself, for its populations, if it is
    semiempirical (an xtb: address); 0 for none."""
    reference_time_ps: Picoseconds | None = None
    """Length of the reference runs, in picoseconds; by default that of the models' runs."""

    @property
    def steps(self) -> int:
        """Steps with the thermostat."""
        return max(1, round(1e3 * self.time_ps / self.timestep_fs))

    @property
    def nve_steps(self) -> int:
        """Steps without thermostat that follow."""
        return round(1e3 * self.nve_ps / self.timestep_fs)

    def replicas(self, starts: np.ndarray) -> Replicas:
        """Runs from starts (starts, atoms, 3) in angstrom; more seeds leave the first unchanged.

        Runs of the same seed are adjacent, one per temperature.
        """
        seed, heat = np.divmod(
            np.arange(self.seeds * len(self.temperatures_K)), self.temperature_count
        )
        start = seed % len(starts)
        return Replicas(seed, np.array(self.temperatures_K)[heat], start, starts[start])

    @property
    def temperature_count(self) -> int:
        """Number of temperatures."""
        return len(self.temperatures_K)


class Replicas(NamedTuple):
    """Seed, temperature and start of each replica of a crash test, one row per replica.

    Args:
        seed: (replicas,) number of the run at its temperature.
        temperature_K: (replicas,).
        start: (replicas,) index of its starting geometry.
        positions: (replicas, atoms, 3) in angstrom, its starting geometry.
    """

    seed: np.ndarray
    temperature_K: np.ndarray
    start: np.ndarray
    positions: np.ndarray


class Moves(Protocol):
    """What moves replicas; see `Integrator`."""

    def init(
        self, potential: Potential, positions: np.ndarray, rng: Generator
    ) -> DynamicsState: ...

    def step(self, potential: Potential, state: DynamicsState, rng: Generator) -> DynamicsState: ...


@dataclass(frozen=True, eq=False)
class CrashState:
    """Replicas that are still intact, and how the others failed.

    Args:
        step: steps taken.
        moving: dynamics of the intact replicas.
        alive: (intact,) of int, their indices.
        failed_step: (replicas,) of int, the step at which each failed; -1 for intact ones.
        kind: (replicas,) of int, the kind of failure as an index into KINDS; else -1.
        atoms: (replicas, 2) of int, the atoms involved; -1 for none.
        before: (replicas, atoms, 3) in angstrom, the last geometry before the failure; zero for
            intact ones.
    """

    step: int
    moving: DynamicsState
    alive: np.ndarray
    failed_step: np.ndarray
    kind: np.ndarray
    atoms: np.ndarray
    before: np.ndarray

    @property
    def steps_taken(self) -> np.ndarray:
        """Steps (replicas,) of each, up to its failure."""
        return np.where(self.failed_step < 0, self.step, self.failed_step)


class Fault(NamedTuple):
    """A failure of a row of a batch: an index into KINDS, and atoms or -1."""

    row: int
    kind: int
    first: int = -1
    second: int = -1


@dataclass(frozen=True, eq=False)
class Crash:
    """The method of a crash test: each step moves the intact replicas, then checks them.

    Args:
        test: options of the crash test.
        numbers: (atoms,) atomic numbers.
        replicas: the runs.
    """

    test: CrashTest
    numbers: np.ndarray
    replicas: Replicas

    @property
    def steps(self) -> int:
        """All steps, with and without thermostat."""
        return self.test.steps + self.test.nve_steps

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> CrashState:
        """Start all replicas with thermal momenta.

        Args:
            potential: surface of the molecule, in eV and angstrom.
            positions: (replicas, atoms, 3) in angstrom; they must be intact.
            rng: gives each replica the key of its own stream of random numbers.

        Raises:
            GuardError: a start is not finite.
        """
        everyone = np.arange(len(positions))
        none = np.full(len(positions), -1)
        return CrashState(
            step=0,
            moving=self._dynamics(everyone, 0).init(potential, positions, rng),
            alive=everyone,
            failed_step=none,
            kind=none,
            atoms=np.stack([none, none], axis=1),
            before=np.zeros(np.shape(positions)),
        )

    def converged(self, state: CrashState) -> bool:
        """Whether no intact replica is left."""
        return not len(state.alive)

    def step(self, potential: Potential, state: CrashState, rng: Generator) -> CrashState:
        """Advance the intact replicas by one timestep, and remove those that fail in it.

        Args:
            potential: surface of the molecule; called once, and again without a row that it
                cannot evaluate.
            state: before the step.
            rng: not used; noise comes from each replica's own stream.
        """
        after, rows, faults = self._advance(potential, state, rng)
        guard = self._guard(state.alive[rows])
        for fault in (*faults_of(guard, after.positions), *self.further_faults(after)):
            faults.append(fault._replace(row=int(rows[fault.row])))
        if not faults:
            return replace(state, step=after.step, moving=after)
        lost = np.array([fault.row for fault in faults])
        kept = ~np.isin(rows, lost)
        who = state.alive[lost]
        failed_step, kind, atoms, before = (
            part.copy() for part in (state.failed_step, state.kind, state.atoms, state.before)
        )
        failed_step[who] = after.step
        kind[who] = [fault.kind for fault in faults]
        atoms[who] = [fault[2:] for fault in faults]
        before[who] = state.moving.positions[lost]
        return CrashState(
            after.step,
            select_replicas(after, np.flatnonzero(kept)),
            state.alive[rows[kept]],
            failed_step,
            kind,
            atoms,
            before,
        )

    def further_faults(self, moving: DynamicsState) -> list[Fault]:
        """Failures of replicas, apart from those by distances between atoms."""
        return []

    def _advance(
        self, potential: Potential, state: CrashState, rng: Generator
    ) -> tuple[DynamicsState, np.ndarray, list[Fault]]:
        """Advance the replicas by one step; replicas for which the potential fails are left out.

        If a replica fails, the step is repeated without it. The others make the same step as they
        would have made on their own.

        Returns:
            The replicas after the step, their rows in `state`, and the failures.
        """
        rows, faults = np.arange(len(state.alive)), list[Fault]()
        while len(rows):
            dynamics = self._dynamics(state.alive[rows], state.step)
            current = select_replicas(state.moving, rows)
            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    return dynamics.step(potential, current, rng), rows, faults
            except (NonFiniteError, LabelError) as error:
                failures = self._failures(potential, current, state.alive[rows], rng, error)
            faults += [fault._replace(row=int(rows[fault.row])) for fault in failures]
            rows = np.delete(rows, [fault.row for fault in failures])
        empty = select_replicas(state.moving, rows)
        return replace(empty, step=state.step + 1), rows, faults

    def _failures(
        self,
        potential: Potential,
        current: DynamicsState,
        who: np.ndarray,
        rng: Generator,
        error: NonFiniteError | LabelError,
    ) -> list[Fault]:
        """Rows whose step raises an error: those named by it, or else each tried on its own."""
        if isinstance(error, NonFiniteError) and error.rows is not None:
            return [Fault(int(row), NON_FINITE) for row in error.rows]
        found = []
        for row in range(len(who)):
            try:
                dynamics = self._dynamics(who[[row]], current.step)
                dynamics.step(potential, select_replicas(current, np.array([row])), rng)
            except (NonFiniteError, LabelError) as failure:
                kind = NON_FINITE if isinstance(failure, NonFiniteError) else NOT_COMPUTED
                found.append(Fault(row, kind))
        if not found:  # the batch fails, but no row of it does
            raise error
        return found

    def _dynamics(self, who: np.ndarray, step: int) -> Moves:
        """The dynamics of replicas (rows,) in the step after `step` steps."""
        if step >= self.test.steps:
            return NVE(timestep_fs=self.test.timestep_fs, rigid_motion="free")
        temperatures = tuple(self.replicas.temperature_K[who].tolist())
        return _langevin(self.test.timestep_fs, self.test.friction_per_ps, temperatures)

    def _guard(self, who: np.ndarray) -> DistanceGuard:
        """The guard of replicas (rows,)."""
        key = who.tobytes()
        if key not in self._guards:
            self._guards.clear()
            self._guards[key] = self._every_guard.of(who)
        return self._guards[key]

    @cached_property
    def _every_guard(self) -> DistanceGuard:
        least, bonds = self.test.min_contact, self.test.keep_bonds
        return DistanceGuard.around(self.numbers, self.replicas.positions, least, bonds)

    @cached_property
    def _guards(self) -> dict[bytes, DistanceGuard]:
        """Cache of the most recent guard."""
        return {}


@lru_cache(maxsize=4)
def _langevin(
    timestep_fs: float, friction_per_ps: float, temperatures: tuple[float, ...]
) -> Langevin:
    return Langevin(
        timestep_fs=timestep_fs,
        friction_per_ps=friction_per_ps,
        replica_temperatures_K=temperatures,
    )


def run_replicas(
    method: Crash, setup: Setup, checkpoint: Checkpoint, progress: Progress
) -> CrashState:
    """Run all replicas to their ends; an interrupted run is resumed.

    Raises:
        GuardError: the potential is not finite at a start.
    """
    total = len(method.replicas.positions)

    def watch(state: CrashState) -> None:
        if state.step % 10 == 0:
            progress(state.step, method.steps, f"{len(state.alive)} of {total} replicas")

    return run(
        method, setup, CrashState, steps=method.steps, checkpoint=checkpoint, observers=[watch]
    )


def select_replicas(state: DynamicsState, rows: np.ndarray) -> DynamicsState:
    """Some of the replicas, by index (rows,)."""
    if len(rows) == len(state.positions):
        return state
    deviation = state.evaluation.deviation
    return replace(
        state,
        positions=state.positions[rows],
        momenta=state.momenta[rows],
        evaluation=Evaluation(
            state.evaluation.energies[rows],
            state.evaluation.forces[rows],
            None if deviation is None else deviation[rows],
        ),
        heat=state.heat[rows],
        keys=state.keys[rows],
        chain=state.chain[rows],
    )


def faults_of(guard: DistanceGuard, positions: np.ndarray) -> list[Fault]:
    """Failures of geometries; for each, the pair of atoms that exceeds its bounds the most.

    Args:
        guard: of these replicas, with the same criteria as in dynamics.
        positions: (batch, atoms, 3) in angstrom.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        bad, squares = guard.outside(positions)
    flying = _flying_atoms(guard.numbers, squares)
    found = []
    for row in np.flatnonzero(bad.any(axis=(1, 2)) | flying.any(axis=1)):
        if flying[row].any():
            found.append(Fault(int(row), FLYING_ATOM, int(np.argmax(flying[row]))))
            continue
        least, most = (bound[row] for bound in guard.squared_bounds)
        square = np.maximum(squares[row], 1e-12)
        excess = np.where(square > most, square / most, least / square)
        i, j = divmod(int(np.where(bad[row], excess, 0.0).argmax()), len(square))
        if square[i, j] > most[i, j]:
            kind = BROKEN_BOND
        else:
            kind = CONTACT if square[i, j] < guard.contact[i, j] ** 2 else FORMED_BOND
        found.append(Fault(int(row), kind, i, j))
    return found


def _flying_atoms(numbers: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Which atoms (batch, atoms) are far from all others; distances that overflow count as far."""
    if len(numbers) == 1:
        return np.zeros(squares.shape[:2], dtype=bool)
    far = np.logical_not(squares <= (FLYING * covalent_lengths(numbers)) ** 2)
    far[:, np.arange(len(numbers)), np.arange(len(numbers))] = True
    return np.asarray(far.all(axis=2))


def atom_label(numbers: np.ndarray, atoms: np.ndarray) -> str:
    """Label of atoms (2,), -1 for none, such as `C3-H9`."""
    from ase.data import chemical_symbols

    return "-".join(f"{chemical_symbols[numbers[atom]]}{atom}" for atom in atoms if atom >= 0)
