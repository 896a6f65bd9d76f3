"""What a crash test of a potential tells: how runs ended, where they went, and the errors there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.analysis.populations import Conformers, map_edges, visit_counts
from flexcalc.analysis.visited import evenly, force_errors, slopes
from flexcalc.benchmarking import calls
from flexcalc.benchmarking.endurance import ENERGY_EVERY, Subject, endured, trajectory
from flexcalc.config import Label
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate
from flexcalc.methods.crash import KINDS, CrashState, atom_label
from flexcalc.methods.sampling import AsIs
from flexcalc.potential import in_batches
from flexcalc.progress import Progress, silent
from flexcalc.storage import read_text
from flexcalc.units import KCAL_MOL


def outcome(
    subject: Subject,
    reference: str,
    own: Subject | None = None,
    workers: int = 1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Do a crash test and say what came of it.

    Args:
        subject: what is tested.
        reference: address of the method that labels the frames that were visited.
        own: the reference's own run, done before, to compare populations with.
        workers: processes that label.
        progress: atom_label how far the run is.

    Returns:
        `rows`, one for each temperature as in crash.json, and `said`, a line about them.
    """
    state = endured(subject, progress)
    frames = trajectory(subject)
    theirs = None if own is None else trajectory(own)
    errors = _visited_errors(subject, reference, state, frames, workers)
    drifts = _drifts(subject)
    rows = [
        {
            **_fates(subject, state, kelvin),
            "drift_meV_atom_ps": drifts.get(kelvin),
            **_places(
                subject, _at(frames, kelvin), None if theirs is None else _at(theirs, kelvin)
            ),
            **errors[kelvin],
        }
        for kelvin in subject.test.temperatures_K
    ]
    whole = ", ".join(f"{row['survived']} at {row['temperature_K']:g} K" for row in rows)
    return {"rows": rows, "said": f"of {subject.test.seeds} runs survived {whole}"}


def _fates(subject: Subject, state: CrashState, kelvin: float) -> dict[str, Any]:
    """How the replicas of a temperature ended."""
    test, replicas = subject.test, subject.method.replicas
    own = np.flatnonzero(replicas.temperature_K == kelvin)
    steps = state.failed_step[own]
    failed = (steps >= 0) & (steps <= test.steps)
    times = [
        float(step * test.timestep_fs * 1e-3) if bad else None
        for step, bad in zip(steps, failed, strict=True)
    ]
    failures = [
        {
            "seed": int(replicas.seed[who]),
            "start": subject.names[replicas.start[who]],
            "time_ps": time,
            "kind": KINDS[state.kind[who]],
            "what": atom_label(subject.minima.numbers, state.atoms[who]),
        }
        for who, time in zip(own, times, strict=True)
        if time is not None
    ]
    return {
        "temperature_K": kelvin,
        "seeds": test.seeds,
        "time_ps": test.steps * test.timestep_fs * 1e-3,
        "timestep_fs": test.timestep_fs,
        "survived": int((~failed).sum()),
        "time_to_failure_ps": times,
        "failures": failures,
        "failed_without_thermostat": int((steps > test.steps).sum()),
    }


def _drifts(subject: Subject) -> dict[float, float]:
    """Mean drift of the energy in meV an atom and picosecond, by temperature, of whole runs."""
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
    found = {}
    for kelvin in subject.test.temperatures_K:
        own = [who for who in whole if subject.method.replicas.temperature_K[who] == kelvin]
        if own:
            energies = np.stack([table[table[:, 1] == who, 2] for who in own], axis=1)
            found[kelvin] = float(slopes(times, energies).mean() * 1e3 / atoms)
    return found


def _at(frames: Dataset, kelvin: float) -> np.ndarray:
    """The positions (frames, atoms, 3) of one temperature."""
    return frames.positions[frames.tags["temperature_K"] == kelvin]


def _places(subject: Subject, frames: np.ndarray, theirs: np.ndarray | None) -> dict[str, Any]:
    """Populations and the map of a temperature, and those of the reference's own run."""
    minima = dict(zip(subject.names, subject.minima.positions, strict=True))
    conformers = Conformers.of(subject.minima.numbers, minima, subject.axes)
    row: dict[str, Any] = {
        "frames": len(frames),
        "populations": conformers.shares(frames),
        "reference_populations": None if theirs is None else conformers.shares(theirs),
        "map": None,
        "reference_map": None,
    }
    if len(subject.axes) >= 2:
        pair = subject.axes[:2]
        parts = [subject.minima.positions, frames, *([] if theirs is None else [theirs])]
        edges = [map_edges(one, subject.test.map_bins, *parts) for one in pair]
        row["map"] = _map(pair, edges, frames)
        row["reference_map"] = None if theirs is None else _map(pair, edges, theirs)
    return row


def _map(
    pair: Sequence[Coordinate], edges: Sequence[np.ndarray], positions: np.ndarray
) -> dict[str, Any]:
    counts = visit_counts((pair[0], pair[1]), edges, positions)
    return {
        "coordinates": [one.label for one in pair],
        "edges": [edge.tolist() for edge in edges],
        "counts": counts.tolist(),
    }


def _visited_errors(
    subject: Subject, reference: str, state: CrashState, frames: Dataset, workers: int
) -> dict[float, Mapping[str, Any]]:
    """Force errors of a model where it went itself, by temperature; writes visited.xyz.

    A geometry that the reference cannot label is counted, and has no part in the errors.
    """
    heats = subject.test.temperatures_K
    chosen = _chosen(subject, state, frames) if subject.test.relabelled_frames else None
    if chosen is None or not len(chosen):
        return {kelvin: _no_errors() for kelvin in heats}
    files.write(subject.folder / "visited.xyz", chosen)
    labels = _labelled(subject, reference, workers)
    numbered = {frame.tobytes(): index for index, frame in enumerate(labels.positions)}
    index = np.array([numbered.get(frame.tobytes(), -1) for frame in chosen.positions])
    forces = in_batches(subject.potential, labels.positions, silent).forces
    exact = labels.labels()[1]
    found: dict[float, Mapping[str, Any]] = {}
    for kelvin in heats:
        own = chosen.tags["temperature_K"] == kelvin
        known = own & (index >= 0)
        row = _no_errors() | {
            "relabelled_frames": int(known.sum()),
            "not_labelled_frames": int((own & (index < 0)).sum()),
        }
        ended = chosen.tags["before_failure"]
        for key, rows in (("", known & ~ended), ("before_failure_", known & ended)):
            if rows.any():
                rmse, largest = force_errors(forces[index[rows]], exact[index[rows]])
                row[f"force_rmse_{key or 'visited_'}kcal_mol_A"] = rmse / KCAL_MOL
                row[f"force_max_error_{key}kcal_mol_A"] = largest / KCAL_MOL
        found[kelvin] = row
    return found


def _no_errors() -> dict[str, Any]:
    return {
        "relabelled_frames": 0,
        "not_labelled_frames": 0,
        "force_rmse_visited_kcal_mol_A": None,
        "force_max_error_kcal_mol_A": None,
        "force_rmse_before_failure_kcal_mol_A": None,
        "force_max_error_before_failure_kcal_mol_A": None,
    }


def _chosen(subject: Subject, state: CrashState, frames: Dataset) -> Dataset:
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


def _labelled(subject: Subject, reference: str, workers: int) -> Dataset:
    config = Label(
        reference=reference,
        starts=(str(subject.folder / "visited.xyz"),),
        samples=(AsIs(),),
        workers=workers,
        trust=subject.trust,
    )
    return calls.label(config, subject.folder / "visited")
