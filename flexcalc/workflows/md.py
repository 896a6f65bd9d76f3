"""`flexcalc md`: dynamics of many replicas, restartable to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import Md
from flexcalc.methods.dynamics import (
    DynamicsState,
    conserved_energy,
    kinetic_energy,
    temperature,
)
from flexcalc.methods.iterate import Recorder
from flexcalc.registry import open_potential
from flexcalc.storage import AppendLog, whole_lines
from flexcalc.workflows.moving import Watch, moved
from flexcalc.workflows.runs import batch_frames, open_run

COLUMNS = "step,time_fs,replica,temperature_K,potential_eV,kinetic_eV,conserved_eV\n"


def run_md(config: Md, output: Path) -> dict[str, Any]:
    """Run dynamics; writes trajectory.xyz and scalars.csv, and a checkpoint every few seconds.

    Raises:
        InputError: the start or the potential cannot be used; nothing is written.
        GuardError: a guard stopped the run (`methods/guard.py`); what went before is on disk, and
            the geometries that were no good are in stopped.xyz.
    """
    start = files.read(config.start)
    potential = open_potential(config.model, start.numbers, trust=config.trust)
    positions = start.positions[np.arange(config.replicas) % len(start)]
    fixed = config.method.fixed(potential.numbers)
    guards = config.guards(potential, positions, fixed, config.model)
    render = _Render(config, potential.numbers)
    watch = Watch(config, config.replicas, render.words)
    with (
        open_run("md", config, output) as here,
        files.open_frame_log(here.folder / "trajectory.xyz") as frames,
        AppendLog(here.folder / "scalars.csv", whole_lines) as scalars,
    ):
        if here.finished is not None:
            return here.finished
        recorders = [
            Recorder(frames, config.frame_every, render.frames),
            Recorder(scalars, config.frame_every, render.scalars),
        ]
        state = moved(
            here,
            watch,
            config.method,
            potential,
            positions,
            DynamicsState,
            recorders=recorders,
            guards=guards,
        )
        results = _results(config, state, here.folder / "scalars.csv", len(potential.numbers))
        results |= watch.speed()
        here.say(
            f"{config.replicas} replicas, {state.step} steps of {config.method.timestep_fs:g} fs; "
            f"mean temperature {results['temperature_mean_K']:.1f} K; {watch.told()}"
        )
        return here.finish(results)


class _Render:
    """Turns states into words, and into records of the two logs."""

    def __init__(self, config: Md, numbers: np.ndarray):
        self.config, self.numbers = config, numbers
        self.fixed = config.method.fixed(numbers)

    def frames(self, state: DynamicsState) -> bytes:
        time_fs = state.step * self.config.method.timestep_fs
        return batch_frames(self.numbers, state.positions, state.evaluation, time_fs, "replica")

    def words(self, state: DynamicsState) -> str:
        return f"{temperature(state.momenta, self.numbers, self.fixed).mean():.0f} K"

    def scalars(self, state: DynamicsState) -> bytes:
        columns = (
            temperature(state.momenta, self.numbers, self.fixed),
            state.evaluation.energies,
            kinetic_energy(state.momenta, self.numbers),
            conserved_energy(state, self.numbers),
        )
        time_fs = state.step * self.config.method.timestep_fs
        lines = [COLUMNS] if state.step == 0 else []
        for replica, values in enumerate(zip(*columns, strict=True)):
            numbers = ",".join(repr(float(value)) for value in values)
            lines.append(f"{state.step},{time_fs!r},{replica},{numbers}\n")
        return "".join(lines).encode()


def _results(config: Md, state: DynamicsState, scalars: Path, atoms: int) -> dict[str, Any]:
    table = np.genfromtxt(scalars, delimiter=",", names=True)
    conserved = table["conserved_eV"].reshape(-1, config.replicas)
    picoseconds = state.step * config.method.timestep_fs * 1e-3
    drift = (conserved[-1] - conserved[0]).mean() / max(atoms * picoseconds, 1e-12)
    return {
        "model": config.model,
        "method": config.method.kind,
        "replicas": config.replicas,
        "steps": state.step,
        "time_ps": picoseconds,
        "temperature_mean_K": float(table["temperature_K"].mean()),
        "potential_mean_eV": float(table["potential_eV"].mean()),
        "conserved_drift_meV_atom_ps": float(drift * 1e3),
    }
