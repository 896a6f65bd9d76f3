"""The crash test of the final model: dynamics from its minima, until it fails or time is over."""

from __future__ import annotations

from functools import partial

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.methods.crash import KINDS, Crash, CrashState, CrashTest, run_replicas
from flexcalc.methods.iterate import Checkpoint, Setup
from flexcalc.potential import Potential
from flexcalc.results.crash import CrashedAt, crash_verdict
from flexcalc.results.stationary import STATIONARY
from flexcalc.store import Store
from flexcalc.tasks.learn.bands import CANDIDATES
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.stationary.minima import distinct, have_bonds_of, relax_rows, surviving

CRASH = "crash"
"""The part of the store with the minima, the checkpoint and the geometries before failures."""
MINIMA, FAILED = "minima.xyz", "failed.xyz"


def crash_test(
    job: LearnJob, model: Potential, starts: Dataset, known: Dataset, store: Store
) -> list[CrashedAt]:
    """Run dynamics of the final model from its minima at the temperatures of the exploration.

    Keeps crash.json, and in the part `crash` the minima and the last geometry before each failure.

    Args:
        job: of the learning.
        model: the final one.
        starts: start geometries, whose bonds the minima have.
        known: labelled frames.
        store: of the learning.

    Returns:
        A row per temperature, ascending; none where the model has no minimum.

    Source: after the TEA challenge of 2023, Chem. Sci. 16, 3720 and 3738 (2025).
    """
    name, part = f"{CrashedAt.stage}.json", store.within(CRASH)
    found = store.get(name)
    if found is not None:
        return [CrashedAt.from_dict(row) for row in found]
    minima = _minima(job.numbers, model, starts, known, store)
    rows = _crash(job, model, minima, part) if len(minima) else []
    store.put(name, [row.to_dict() for row in rows])
    store.say(crash_verdict(rows))
    return rows


def _minima(
    numbers: np.ndarray, model: Potential, starts: Dataset, known: Dataset, store: Store
) -> np.ndarray:
    """Minima (minima, atoms, 3) of the final model, lowest first; mirror images are there once.

    They are relaxed from the minima that were checked and from the lowest labelled frames.
    """
    part = store.within(CRASH)
    kept = part.get(MINIMA)
    if kept is not None:
        return kept.positions
    lowest = known.positions[np.argsort(known.labels()[0], kind="stable")[:CANDIDATES]]
    checked = store.get(STATIONARY)
    if checked is not None:
        minima = checked.positions[checked.tags["kind"] == "minimum"]
        lowest = np.concatenate([minima, lowest])
    places, energies = surviving(partial(relax_rows, model), lowest) or (lowest[:0], np.zeros(0))
    intact = have_bonds_of(numbers, places, starts.positions)
    places, energies = places[intact], energies[intact]
    rows = distinct(numbers, places, energies, mirror=True)
    if rows:
        part.put(MINIMA, Dataset(numbers, places[rows]))
    return places[rows]


def _crash(job: LearnJob, model: Potential, minima: np.ndarray, part: Store) -> list[CrashedAt]:
    """The dynamics, and what came of it."""
    options = job.options
    count = max(1, options.replicas // len(options.temperatures_K))
    test = CrashTest(
        temperatures_K=options.temperatures_K,
        seeds=count,
        time_ps=1e3 * options.crash_ns / (count * len(options.temperatures_K)),
        timestep_fs=options.timestep_fs,
        nve_ps=0.0,
    )
    method = Crash(test, job.numbers, test.replicas(minima))
    rng = np.random.default_rng([options.seed, 0, 8])
    setup = Setup(model, method.replicas.positions)
    with part.bar("crash test") as progress:
        state = run_replicas(method, setup, Checkpoint(part, "crash.checkpoint", rng), progress)
    failed = np.flatnonzero(state.failed_step >= 0)
    if len(failed):
        tags = {
            "temperature_K": method.replicas.temperature_K[failed],
            "time_ps": state.failed_step[failed] * test.timestep_fs / 1000,
            "reason": np.array([KINDS[kind] for kind in state.kind[failed]]),
        }
        part.put(FAILED, Dataset(job.numbers, state.before[failed], tags=tags))
    return crash_rows(method, state)


def crash_rows(method: Crash, state: CrashState) -> list[CrashedAt]:
    """What a crash test shows by temperature, ascending.

    Args:
        method: the test, without a part that has no thermostat.
        state: its last one.
    """
    steps, rows = state.steps_taken, []
    for kelvin in np.unique(method.replicas.temperature_K):
        own = method.replicas.temperature_K == kelvin
        failed = own & (state.failed_step >= 0)
        rows.append(
            CrashedAt(
                temperature_K=float(kelvin),
                replicas=int(own.sum()),
                intact_replicas=int((own & ~failed).sum()),
                time_ns=float(steps[own].sum() * method.test.timestep_fs * 1e-6),
                failures=tuple(KINDS[kind] for kind in state.kind[failed]),
            )
        )
    return rows
