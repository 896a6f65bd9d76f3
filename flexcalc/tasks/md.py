"""Molecular dynamics of many replicas, restartable to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

import numpy as np

from flexcalc.analysis.exchange import attempts_of, round_trips
from flexcalc.config.dynamics import Md
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import InputError
from flexcalc.files.tables import csv_blocks
from flexcalc.methods.dynamics import DynamicsState, ExchangeState, ReplicaExchange
from flexcalc.methods.dynamics.exchange import Ladders
from flexcalc.methods.guard import DistanceGuard, Guard
from flexcalc.methods.iterate import Method, Recorder, Setup
from flexcalc.methods.plumed import Kernels, PlumedState, UnderPlumed, read_script
from flexcalc.potential import Evaluation
from flexcalc.results.exchange import EXCHANGES, ExchangedPair, Exchanges
from flexcalc.results.trajectory import SCALARS, TRAJECTORY, Trajectory
from flexcalc.store import Store
from flexcalc.tasks.coverage import coverage_of_run, distance_recorders, warn_of
from flexcalc.tasks.motion import (
    ADVICE,
    Sampled,
    Start,
    Watch,
    frames_of,
    implausible_motion,
    move,
    open_start,
    table_bytes,
    trajectory_bytes,
)
from flexcalc.tasks.plausible import warned

COLUMNS = "step,time_fs,replica,temperature_K,potential_eV,kinetic_eV,conserved_eV\n"
WALKERS = "step,time_fs,replica,walker\n"
PLUMED, SCRIPT = "plumed", "plumed.dat"


def md(options: Md, store: Store) -> Trajectory:
    """Run dynamics, with frames in trajectory.xyz and scalars in scalars.csv.

    Under PLUMED its files are in the folder plumed; trajectory.xyz and the potential energy are
    of the model without the bias, the conserved energy has it.

    Raises:
        InputError: the start, the potential or PLUMED's input cannot be used; nothing is written.
    """
    start = open_start(options, options.replicas, "replicas")
    options = start.options
    positions = start.positions[np.arange(options.replicas) % len(start.positions)]
    batch = Setup(start.potential, positions, start.guards(positions))
    script = _script(start, store)
    _check_exchange(options, batch.guards)
    found = store.begin(options)
    if found is not None:
        return Trajectory.from_dict(found, store)
    known = start.describe(store)
    store.announce(_sizes(options, positions, start), ADVICE)
    render = _Render(options, start.potential.numbers, start.provenance)
    watch = Watch("md", options, options.replicas, render.message)
    recorders = [
        Recorder(store.frames(TRAJECTORY), options.frame_every, render.frames),
        Recorder(store.lines(SCALARS), _scalars_every(options), render.scalars),
    ]
    if options.exchange_every is not None:
        log = store.lines(EXCHANGES)
        recorders.append(Recorder(log, options.exchange_every, render.walkers))
    recorders += distance_recorders(
        store, start.potential, options.frame_every, options.method.timestep_fs
    )
    with _moving(options, script, store, start.potential.numbers) as (method, kind):
        steps, stopped = move(store, watch, method, kind, batch, recorders)
    coverage = coverage_of_run(store, start.potential, options.replicas)
    warn_of(store, coverage)
    means = _means(options.replicas, csv_blocks(store.stream(SCALARS)))
    picoseconds = steps * options.method.timestep_fs * 1e-3
    drift = means.conserved_change_eV
    # PLUMED's work is what the conserved energy has gained; without it a gain is an error.
    work_eV = drift if drift is not None and script is not None else 0.0
    messages = implausible_motion(options.method, start.potential, means.sampled, work_eV)
    exchanges, unlikely = _exchanges(options, store)
    if drift is not None:
        drift *= 1e3 / max(len(start.potential.numbers) * picoseconds, 1e-12)
    return Trajectory(
        store=store,
        stopped=stopped,
        method=options.method.kind,
        replicas=options.replicas,
        steps=steps,
        time_ps=picoseconds,
        # Replicas that exchange have different temperatures, and no common one.
        temperature_mean_K=None if exchanges is not None else means.temperature_K,
        potential_mean_eV=means.potential_eV,
        conserved_drift_meV_atom_ps=drift,
        warnings=warned(store, [*messages, *unlikely]),
        exchanges=exchanges,
        coverage=coverage,
        **known,
        **watch.speed(),
    )


def _check_exchange(options: Md, guards: Sequence[Guard]) -> None:
    """Refuse replica exchange where it cannot be.

    Raises:
        ConfigError: there are no temperatures to exchange between.
        InputError: PLUMED has a bias for each replica, or starts differ in their bonds.
    """
    if options.exchange_every is None:
        return
    ReplicaExchange(dynamics=options.method, every=options.exchange_every)
    if options.plumed is not None:
        raise InputError("exchange_every and plumed: expected one of them, found both")
    for guard in guards:
        if isinstance(guard, DistanceGuard) and (guard.longest != guard.longest[:1]).any():
            raise InputError(
                "exchange_every: expected starts with the same bonds, as their geometries are "
                "exchanged, found others; choose starts of one kind, or --no-keep-bonds"
            )


def _exchanges(options: Md, store: Store) -> tuple[Exchanges | None, list[str]]:
    """What replica exchange has done, and what to warn of."""
    if options.exchange_every is None:
        return None, []
    blocks = csv_blocks(store.stream(EXCHANGES))
    walkers = np.concatenate([block["walker"] for block in blocks]).astype(int)
    walkers = walkers.reshape(-1, options.replicas)
    exchange = ReplicaExchange(dynamics=options.method, every=options.exchange_every)
    ladders = Ladders(exchange.temperatures_K, options.replicas)
    pairs = [ExchangedPair(**pair._asdict()) for pair in attempts_of(walkers, ladders)]
    store.put(f"{ExchangedPair.stage}.json", [pair.to_dict() for pair in pairs])
    warnings = [pair.warning() for pair in pairs]
    found = Exchanges.of(
        options.method.target_K(0, options.replicas).tolist(), pairs, round_trips(walkers, ladders)
    )
    return found, [warning for warning in warnings if warning is not None]


def _script(start: Start[Md], store: Store) -> str | None:
    """PLUMED's input, checked; None for dynamics without it."""
    options = start.options
    if options.plumed is None:
        return None
    return read_script(
        options.plumed,
        start.potential.numbers,
        options.replicas,
        options.method,
        folder=store.place(PLUMED),
        trust=options.trust,
    )


def _scalars_every(options: Md) -> int:
    return options.scalars_every or options.frame_every


def _sizes(options: Md, positions: np.ndarray, start: Start[Md]) -> Mapping[str, int]:
    """Bytes that the files of a run will have."""
    shown, every = positions[: options.frame_replicas], options.exchange_every
    exchanges = {} if every is None else {EXCHANGES: table_bytes(options, every, len(positions), 1)}
    return {
        **exchanges,
        TRAJECTORY: trajectory_bytes(options, shown, start.potential.numbers, start.provenance),
        SCALARS: table_bytes(options, _scalars_every(options), options.replicas, 5),
    }


@contextmanager
def _moving(
    options: Md, script: str | None, store: Store, numbers: np.ndarray
) -> Iterator[tuple[Method, type]]:
    """What moves the replicas, and the class of its states.

    Args:
        script: PLUMED's input, or None for dynamics without it.

    Raises:
        InputError: the run in the folder has another input of PLUMED.
    """
    if options.exchange_every is not None:
        every = options.exchange_every
        yield ReplicaExchange(dynamics=options.method, every=every), ExchangeState
        return
    if script is None:
        yield options.method, DynamicsState
        return
    before = store.get(SCRIPT)
    if before is not None and before != script.encode():
        where = store.where(SCRIPT)
        raise InputError(f"{options.plumed}: is not what {where} is; choose another --output")
    store.put(SCRIPT, script.encode())
    folder = store.place(PLUMED)
    with closing(Kernels(script, folder, numbers, options.replicas, options.method)) as kernels:
        yield UnderPlumed(dynamics=options.method, kernels=kernels), PlumedState


Moved = DynamicsState | ExchangeState | PlumedState
"""State of the replicas."""


class _Render:
    """Turns states into progress messages and records of the two logs."""

    def __init__(self, options: Md, numbers: np.ndarray, provenance: Provenance):
        self.options, self.method, self.numbers = options, options.method, numbers
        self.provenance = provenance

    def frames(self, state: Moved) -> Dataset:
        rows = slice(self.options.frame_replicas)
        found = state.evaluation
        deviation = None if found.deviation is None else found.deviation[rows]
        shown = Evaluation(found.energies[rows], found.forces[rows], deviation)
        tags = {
            "replica": np.arange(len(shown.energies)),
            "time_fs": state.step * self.method.timestep_fs,
        }
        if isinstance(state, ExchangeState):
            tags["walker"] = state.walkers[rows]
        masses = self.method.masses
        return frames_of(self.numbers, state.positions[rows], shown, tags, self.provenance, masses)

    def message(self, state: Moved) -> str:
        return f"{self.method.temperature(state.momenta, self.numbers).mean():.0f} K"

    def scalars(self, state: Moved) -> bytes:
        dynamics = state if isinstance(state, DynamicsState) else state.dynamics
        columns = (
            self.method.temperature(state.momenta, self.numbers),
            state.evaluation.energies,
            self.method.kinetic_energy(state.momenta, self.numbers),
            self.method.conserved_energy(dynamics, self.numbers),
        )
        time_fs = state.step * self.method.timestep_fs
        lines = [COLUMNS] if state.step == 0 else []
        for replica, values in enumerate(zip(*columns, strict=True)):
            numbers = ",".join(repr(float(value)) for value in values)
            lines.append(f"{state.step},{time_fs!r},{replica},{numbers}\n")
        return "".join(lines).encode()

    def walkers(self, state: ExchangeState) -> bytes:
        time_fs = state.step * self.method.timestep_fs
        lines = [WALKERS] if state.step == 0 else []
        for replica, walker in enumerate(state.walkers):
            lines.append(f"{state.step},{time_fs!r},{replica},{walker}\n")
        return "".join(lines).encode()


class _Means(NamedTuple):
    """Means over replicas and records, the mean change of the conserved energy, and what is judged.

    Those are None where there are no records.
    """

    sampled: Sampled
    temperature_K: float | None = None
    potential_eV: float | None = None
    conserved_change_eV: float | None = None


def _means(replicas: int, blocks: Iterable[Mapping[str, np.ndarray]]) -> _Means:
    """Means of the scalars, which are read a block at a time, and what is judged of them."""
    columns: dict[str, list[np.ndarray]] = {"time_fs": [], "temperature_K": []}
    sums, rows, lowest = np.zeros(2), 0, np.inf
    first = last = np.zeros(0)
    for block in blocks:
        conserved = block["conserved_eV"]
        rows += len(conserved)
        sums += block["temperature_K"].sum(), block["potential_eV"].sum()
        first = np.append(first, conserved[: replicas - len(first)])
        last = np.append(last, conserved)[-replicas:]
        lowest = float(block["potential_eV"].min(initial=lowest))
        for name, parts in columns.items():
            parts.append(block[name])
    if not rows:
        return _Means(Sampled(np.zeros(0), np.zeros((0, replicas)), np.inf))
    time_fs, temperatures = (np.concatenate(parts) for parts in columns.values())
    sampled = Sampled(time_fs[::replicas], temperatures.reshape(-1, replicas), lowest)
    kelvin, potential_eV = (sums / rows).tolist()
    return _Means(sampled, kelvin, potential_eV, float((last - first).mean()))
