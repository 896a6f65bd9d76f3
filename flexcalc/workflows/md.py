"""`flexcalc md`: dynamics of many replicas, restartable to the byte."""

from __future__ import annotations

import time
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
from flexcalc.methods.guard import DeviationGuard, check_deviation_known
from flexcalc.methods.iterate import Checkpoint, Recorder, run
from flexcalc.registry import open_potential
from flexcalc.storage import AppendLog, whole_lines
from flexcalc.workflows.runs import open_run

COLUMNS = "step,time_fs,replica,temperature_K,potential_eV,kinetic_eV,conserved_eV\n"


def run_md(config: Md, output: Path) -> dict[str, Any]:
    """Run dynamics; writes trajectory.xyz and scalars.csv, and a checkpoint every few seconds.

    Raises:
        InputError: the start or the potential cannot be used; nothing is written.
        GuardError: an energy or a force was not finite, or the members of a committee disagree;
            what went before is on disk.
    """
    start = files.read(config.start)
    potential = open_potential(config.model, start.numbers, trust=config.trust)
    positions = start.positions[np.arange(config.replicas) % len(start)]
    guards = []
    if config.max_deviation_eV_A is not None:
        check_deviation_known(potential, positions, config.model)
        guards.append(
            DeviationGuard(numbers=potential.numbers, max_deviation_eV_A=config.max_deviation_eV_A)
        )
    render = _Render(config, potential.numbers)
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
        checkpoint = Checkpoint(
            here.folder / "md.checkpoint", np.random.default_rng(config.seed), recorders
        )
        begun = [time.monotonic(), 0]
        with here.bar("md") as progress:

            def watch(state: DynamicsState) -> None:
                begun[1] += 1
                if state.step % 10 == 0 or state.step == config.steps:
                    kelvin = temperature(state.momenta, potential.numbers, config.method.fixed)
                    progress(state.step, config.steps, f"{kelvin.mean():.0f} K")

            state = run(
                config.method,
                potential,
                positions,
                DynamicsState,
                steps=config.steps,
                checkpoint=checkpoint,
                observers=[watch],
                guards=guards,
            )
        rate = begun[1] / max(time.monotonic() - begun[0], 1e-9)
        results = _results(config, state, here.folder / "scalars.csv", len(potential.numbers))
        results["steps_per_second"] = round(rate, 1)
        here.say(
            f"{config.replicas} replicas, {state.step} steps of {config.method.timestep_fs:g} fs; "
            f"mean temperature {results['temperature_mean_K']:.1f} K; {rate:.0f} steps/s"
        )
        return here.finish(results)


class _Render:
    """Turns states into records of the two logs."""

    def __init__(self, config: Md, numbers: np.ndarray):
        self.config, self.numbers = config, numbers

    def frames(self, state: DynamicsState) -> bytes:
        time_fs = state.step * self.config.method.timestep_fs
        deviation = state.evaluation.deviation
        return b"".join(
            files.frame_bytes(
                self.numbers,
                state.positions[replica],
                state.evaluation.energies[replica],
                state.evaluation.forces[replica],
                replica=replica,
                time_fs=time_fs,
                **({} if deviation is None else {"deviation_max_eV_A": deviation[replica].max()}),
            )
            for replica in range(len(state.positions))
        )

    def scalars(self, state: DynamicsState) -> bytes:
        columns = (
            temperature(state.momenta, self.numbers, self.config.method.fixed),
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
