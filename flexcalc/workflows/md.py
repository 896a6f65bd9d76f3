"""`flexcalc md`: dynamics of many replicas, restartable to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import Md
from flexcalc.errors import InputError
from flexcalc.files.tables import csv_blocks
from flexcalc.memory import geometry_bytes, require_memory
from flexcalc.methods.dynamics import (
    DynamicsState,
)
from flexcalc.methods.iterate import Method, Recorder
from flexcalc.methods.plumed import Kernels, PlumedState, UnderPlumed, read_script
from flexcalc.potential import Evaluation
from flexcalc.registry import open_potential
from flexcalc.storage import AppendLog, atomic_write, read_text, whole_lines
from flexcalc.workflows.molecule import electrons_of, following, say_isotopes, with_masses
from flexcalc.workflows.moving import (
    STATE_ARRAYS,
    Watch,
    announce_output,
    moved,
    table_bytes,
    trajectory_bytes,
)
from flexcalc.workflows.ordering import ordered
from flexcalc.workflows.runs import batch_frames, open_run

COLUMNS = "step,time_fs,replica,temperature_K,potential_eV,kinetic_eV,conserved_eV\n"


def run_md(config: Md, output: Path) -> dict[str, Any]:
    """Run dynamics; writes trajectory.xyz and scalars.csv, and a checkpoint every few seconds.

    Under PLUMED its files are in the folder plumed; trajectory.xyz and the potential energy are
    of the model without the bias, the conserved energy has it.

    Raises:
        InputError: the start, the potential or PLUMED's input cannot be used; nothing is written.
        GuardError: a guard stopped the run (`methods/guard.py`); what went before is on disk, and
            the geometries that were no good are in stopped.xyz.
    """
    start = files.read(config.start)
    require_memory(
        geometry_bytes(config.replicas, len(start.numbers), STATE_ARRAYS),
        f"{config.replicas} replicas of {len(start.numbers)} atoms",
        "take fewer replicas",
    )
    config = following(config, electrons_of(start))
    potential = open_potential(config.model, start.numbers, trust=config.trust)
    fitting = ordered(potential, start, str(config.start), config.map_atoms)
    start = fitting.data
    config = with_masses(config, start)
    positions = start.positions[np.arange(config.replicas) % len(start)]
    fixed = config.method.fixed(potential.numbers)
    guards = config.guards(potential, positions, fixed, config.model, config.method.masses)
    scalars_every = config.scalars_every or config.frame_every
    render = _Render(config, potential.numbers)
    watch = Watch(config, config.replicas, render.words)
    script = None
    if config.plumed is not None:
        script = read_script(
            config.plumed,
            potential.numbers,
            config.replicas,
            config.method,
            folder=output / "plumed",
            trust=config.trust,
        )
    with (
        open_run("md", config, output) as here,
        files.open_frame_log(here.folder / "trajectory.xyz") as frames,
        AppendLog(here.folder / "scalars.csv", whole_lines) as scalars,
        _moving(config, script, here.folder, potential.numbers) as (method, kind),
    ):
        if here.finished is not None:
            return here.finished
        known = fitting.told(here) | say_isotopes(here, potential.numbers, config.method.masses)
        recorders = [
            Recorder(frames, config.frame_every, render.frames),
            Recorder(scalars, scalars_every, render.scalars),
        ]
        announce_output(
            here,
            {
                "trajectory.xyz": trajectory_bytes(
                    config,
                    config.frame_every,
                    positions[: config.frame_replicas],
                    potential.numbers,
                ),
                "scalars.csv": table_bytes(config, scalars_every, config.replicas, 5),
            },
        )
        state = moved(
            here,
            watch,
            method,
            potential,
            positions,
            kind,
            recorders=recorders,
            guards=guards,
        )
        results = _results(config, state.step, here.folder / "scalars.csv", len(potential.numbers))
        results |= watch.speed() | known
        here.say(
            f"{config.replicas} replicas, {state.step} steps of {config.method.timestep_fs:g} fs; "
            f"mean temperature {results['temperature_mean_K']:.1f} K; {watch.told()}"
        )
        return here.finish(results)


@contextmanager
def _moving(
    config: Md, script: str | None, folder: Path, numbers: np.ndarray
) -> Iterator[tuple[Method, type]]:
    """What moves the replicas, and the class of its states.

    Args:
        script: PLUMED's input, or None for dynamics without it.

    Raises:
        InputError: the run in the folder has another input of PLUMED.
    """
    if script is None:
        yield config.method, DynamicsState
        return
    kept = folder / "plumed.dat"
    if kept.exists() and read_text(kept) != script:
        raise InputError(f"{config.plumed}: is not what {kept} is; choose another --output")
    atomic_write(kept, script)
    with closing(
        Kernels(script, folder / "plumed", numbers, config.replicas, config.method)
    ) as kernels:
        yield UnderPlumed(dynamics=config.method, kernels=kernels), PlumedState


class _Render:
    """Turns states into words, and into records of the two logs."""

    def __init__(self, config: Md, numbers: np.ndarray):
        self.config, self.numbers = config, numbers
        self.masses = config.method.masses

    def frames(self, state: DynamicsState | PlumedState) -> bytes:
        time_fs = state.step * self.config.method.timestep_fs
        rows = slice(self.config.frame_replicas)
        found = state.evaluation
        deviation = None if found.deviation is None else found.deviation[rows]
        shown = Evaluation(found.energies[rows], found.forces[rows], deviation)
        return batch_frames(
            self.numbers, state.positions[rows], shown, time_fs, "replica", self.masses
        )

    def words(self, state: DynamicsState | PlumedState) -> str:
        return f"{self.config.method.temperature(state.momenta, self.numbers).mean():.0f} K"

    def scalars(self, state: DynamicsState | PlumedState) -> bytes:
        dynamics = state.dynamics if isinstance(state, PlumedState) else state
        columns = (
            self.config.method.temperature(state.momenta, self.numbers),
            state.evaluation.energies,
            self.config.method.kinetic_energy(state.momenta, self.numbers),
            self.config.method.conserved_energy(dynamics, self.numbers),
        )
        time_fs = state.step * self.config.method.timestep_fs
        lines = [COLUMNS] if state.step == 0 else []
        for replica, values in enumerate(zip(*columns, strict=True)):
            numbers = ",".join(repr(float(value)) for value in values)
            lines.append(f"{state.step},{time_fs!r},{replica},{numbers}\n")
        return "".join(lines).encode()


def _results(config: Md, steps: int, scalars: Path, atoms: int) -> dict[str, Any]:
    """The figures of a run, read off scalars.csv a block at a time."""
    sums, rows = np.zeros(2), 0
    first = last = np.zeros(0)
    for block in csv_blocks(scalars):
        conserved = block["conserved_eV"]
        rows += len(conserved)
        sums += block["temperature_K"].sum(), block["potential_eV"].sum()
        first = np.append(first, conserved[: config.replicas - len(first)])
        last = np.append(last, conserved)[-config.replicas :]
    picoseconds = steps * config.method.timestep_fs * 1e-3
    drift = (last - first).mean() / max(atoms * picoseconds, 1e-12)
    return {
        "model": config.model,
        "method": config.method.kind,
        "replicas": config.replicas,
        "steps": steps,
        "time_ps": picoseconds,
        "temperature_mean_K": float(sums[0] / rows),
        "potential_mean_eV": float(sums[1] / rows),
        "conserved_drift_meV_atom_ps": float(drift * 1e3),
    }
