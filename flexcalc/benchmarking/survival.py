"""Results of the crash test of a potential: failures, visited conformers, and errors there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from flexcalc import files
from flexcalc.analysis.populations import Conformers, map_edges, visit_counts
from flexcalc.analysis.visited import evenly, force_errors, slopes
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.endurance import ENERGY_EVERY, Subject, run_test, trajectory
from flexcalc.benchmarking.record import Outcome
from flexcalc.config.label import Label
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate
from flexcalc.methods.crash import KINDS, CrashState, atom_label
from flexcalc.methods.sampling import AsIs
from flexcalc.potential import in_batches
from flexcalc.progress import Progress, silent
from flexcalc.results.benchmark_rows import CrashRow, FailureRow, VisitMap
from flexcalc.storage import read_text
from flexcalc.units import KCAL_MOL


@dataclass(frozen=True, kw_only=True)
class Survival(Outcome):
    """A crash test of one potential, a row for each temperature."""

    rows: tuple[CrashRow, ...]


class Fates(NamedTuple):
    """How the replicas of a temperature ended; times (replicas,) are None for those that did not.

    `later` is the number of those that failed without thermostat.
    """

    survived: int
    times_ps: tuple[float | None, ...]
    failures: tuple[FailureRow, ...]
    later: int


class Visits(NamedTuple):
    """Shares of the conformers and the map of two coordinates; None where there is none."""

    populations: Mapping[str, float]
    map: VisitMap | None


class Errors(NamedTuple):
    """RMSE and largest error of the forces, in kcal/mol/angstrom."""

    rmse: float | None = None
    largest: float | None = None


class VisitedErrors(NamedTuple):
    """Numbers of visited frames with and without a label, and errors there and before failures."""

    labelled: int = 0
    unlabelled: int = 0
    visited: Errors = Errors()
    before_failure: Errors = Errors()


def measure_survival(
    subject: Subject,
    reference: str,
    own: Subject | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> Survival:
    """Do a crash test and analyse it.

    Args:
        subject: the potential to test.
        reference: address of the method that labels the visited frames.
        own: the reference's own run, done before, to compare populations with.
        workers: processes that label.
        progress: called with the steps done.
    """
    state = run_test(subject, progress)
    frames = trajectory(subject)
    theirs = None if own is None else trajectory(own)
    errors = _visited_errors(subject, reference, state, frames, workers)
    drifts = _drifts(subject)
    rows = []
    for kelvin in subject.test.temperatures_K:
        fates = _fates(subject, state, kelvin)
        positions = _at(frames, kelvin)
        ours, exact = _visits(subject, positions, None if theirs is None else _at(theirs, kelvin))
        visited = errors[kelvin]
        rows.append(
            CrashRow(
                temperature_K=kelvin,
                seeds=subject.test.seeds,
                time_ps=subject.test.steps * subject.test.timestep_fs * 1e-3,
                timestep_fs=subject.test.timestep_fs,
                survived=fates.survived,
                time_to_failure_ps=fates.times_ps,
                failures=fates.failures,
                failed_without_thermostat=fates.later,
                drift_meV_atom_ps=drifts.get(kelvin),
                frames=len(positions),
                populations=ours.populations,
                reference_populations=None if exact is None else exact.populations,
                map=ours.map,
                reference_map=None if exact is None else exact.map,
                relabelled_frames=visited.labelled,
                not_labelled_frames=visited.unlabelled,
                force_rmse_visited_kcal_mol_A=visited.visited.rmse,
                force_max_error_kcal_mol_A=visited.visited.largest,
                force_rmse_before_failure_kcal_mol_A=visited.before_failure.rmse,
                force_max_error_before_failure_kcal_mol_A=visited.before_failure.largest,
            )
        )
    whole = ", ".join(f"{row.survived} at {row.temperature_K:g} K" for row in rows)
    return Survival(rows=tuple(rows), summary=f"of {subject.test.seeds} runs survived {whole}")


def _fates(subject: Subject, state: CrashState, kelvin: float) -> Fates:
    test, replicas = subject.test, subject.method.replicas
    own = np.flatnonzero(replicas.temperature_K == kelvin)
    steps = state.failed_step[own]
    failed = (steps >= 0) & (steps <= test.steps)
    times = tuple(
        float(step * test.timestep_fs * 1e-3) if bad else None
        for step, bad in zip(steps, failed, strict=True)
    )
    failures = tuple(
        FailureRow(
            seed=int(replicas.seed[who]),
            start=subject.names[replicas.start[who]],
            time_ps=time,
            kind=KINDS[state.kind[who]],
            what=atom_label(subject.minima.numbers, state.atoms[who]),
        )
        for who, time in zip(own, times, strict=True)
        if time is not None
    )
    return Fates(int((~failed).sum()), times, failures, int((steps > test.steps).sum()))


def _drifts(subject: Subject) -> dict[float, float]:
    """Mean energy drift of complete runs by temperature, in meV per atom and picosecond."""
    text = read_text(subject.folder / "energies.csv")
    if not text:
        return {}
    table = np.array([[float(cell) for cell in line.split(",")] for line in text.splitlines()])
    steps = np.unique(table[:, 0])
    replicas, counts = np.unique(table[:, 1].astype(int), return_counts=True)
    last = table[table[:, 0] == steps[-1], 1]
    whole = replicas[(counts == len(steps)) & np.isin(replicas, last)]
    if len(steps) < 3 or steps[-1] + ENERGY_EVERY <= subject.method.steps:
        return {}
    atoms, times = len(subject.minima.numbers), steps * subject.test.timestep_fs * 1e-3
    drifts = {}
    for kelvin in subject.test.temperatures_K:
        own = [who for who in whole if subject.method.replicas.temperature_K[who] == kelvin]
        if own:
            energies = np.stack([table[table[:, 1] == who, 2] for who in own], axis=1)
            drifts[kelvin] = float(slopes(times, energies).mean() * 1e3 / atoms)
    return drifts


def _at(frames: Dataset, kelvin: float) -> np.ndarray:
    """The positions (frames, atoms, 3) of one temperature."""
    return frames.positions[frames.tags["temperature_K"] == kelvin]


def _visits(
    subject: Subject, frames: np.ndarray, theirs: np.ndarray | None
) -> tuple[Visits, Visits | None]:
    """Visits at a temperature, and those of the reference's own run on the same map."""
    minima = dict(zip(subject.names, subject.minima.positions, strict=True))
    conformers = Conformers.of(subject.minima.numbers, minima, subject.axes)
    runs = [frames] if theirs is None else [frames, theirs]
    pair = subject.axes[:2]
    parts = (subject.minima.positions, *runs)
    edges = [map_edges(one, subject.test.map_bins, *parts) for one in pair if len(pair) == 2]
    ours, *others = [Visits(conformers.shares(one), _map(pair, edges, one)) for one in runs]
    return ours, others[0] if others else None


def _map(
    pair: Sequence[Coordinate], edges: Sequence[np.ndarray], positions: np.ndarray
) -> VisitMap | None:
    """Counts in bins of two coordinates; None where there is only one."""
    if not edges:
        return None
    counts = visit_counts((pair[0], pair[1]), edges, positions)
    return VisitMap(
        coordinates=tuple(one.label for one in pair),
        edges=tuple(tuple(edge.tolist()) for edge in edges),
        counts=tuple(tuple(row) for row in counts.tolist()),
    )


def _visited_errors(
    subject: Subject, reference: str, state: CrashState, frames: Dataset, workers: int
) -> dict[float, VisitedErrors]:
    """Force errors on the frames that a model visited, by temperature; writes visited.xyz.

    A geometry that the reference cannot label is counted, and left out of the errors.
    """
    heats = subject.test.temperatures_K
    chosen = _choose_frames(subject, state, frames) if subject.test.relabelled_frames else None
    if chosen is None or not len(chosen):
        return {kelvin: VisitedErrors() for kelvin in heats}
    files.write(subject.folder / "visited.xyz", chosen)
    labels = _label_visited(subject, reference, workers)
    numbered = {frame.tobytes(): index for index, frame in enumerate(labels.positions)}
    index = np.array([numbered.get(frame.tobytes(), -1) for frame in chosen.positions])
    forces = in_batches(subject.potential, labels.positions, silent).forces
    exact = labels.labels()[1]
    ended = chosen.tags["before_failure"]
    by_temperature = {}
    for kelvin in heats:
        own = chosen.tags["temperature_K"] == kelvin
        known = own & (index >= 0)
        visited, before = index[known & ~ended], index[known & ended]
        by_temperature[kelvin] = VisitedErrors(
            labelled=int(known.sum()),
            unlabelled=int((own & (index < 0)).sum()),
            visited=_errors(forces[visited], exact[visited]),
            before_failure=_errors(forces[before], exact[before]),
        )
    return by_temperature


def _errors(forces: np.ndarray, exact: np.ndarray) -> Errors:
    """Errors of forces (frames, atoms, 3); none without frames."""
    if not len(forces):
        return Errors()
    rmse, largest = force_errors(forces, exact)
    return Errors(rmse / KCAL_MOL, largest / KCAL_MOL)


def _choose_frames(subject: Subject, state: CrashState, frames: Dataset) -> Dataset:
    """Frames evenly from the trajectories, and the last geometry of each replica that failed."""
    replicas, rows = subject.method.replicas, []
    for kelvin in subject.test.temperatures_K:
        own = np.flatnonzero(frames.tags["temperature_K"] == kelvin)
        rows.append(own[evenly(len(own), subject.test.relabelled_frames)])
    kept = np.concatenate(rows)
    failed = (state.failed_step >= 0) & (state.failed_step <= subject.test.steps)
    lost = np.flatnonzero(failed)
    heat = np.concatenate([frames.tags["temperature_K"][kept], replicas.temperature_K[lost]])
    ended = np.arange(len(heat)) >= len(kept)
    return Dataset(
        subject.minima.numbers,
        np.concatenate([frames.positions[kept], state.before[lost]]),
        tags={"temperature_K": heat.astype(float), "before_failure": ended},
    )


def _label_visited(subject: Subject, reference: str, workers: int) -> Dataset:
    config = Label(
        reference=reference,
        starts=(str(subject.folder / "visited.xyz"),),
        samples=(AsIs(),),
        workers=workers,
        trust=subject.trust,
    )
    return calls.label(config, subject.folder / "visited")
