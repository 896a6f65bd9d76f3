"""`flexcalc umbrella`: umbrella sampling of all windows at once, restartable to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.analysis.umbrella import require_pymbar, study
from flexcalc.config import UmbrellaSampling
from flexcalc.errors import InputError
from flexcalc.files import plumed
from flexcalc.files.plumed import WINDOW_COLUMNS, WindowSamples
from flexcalc.methods.guard import BendGuard
from flexcalc.methods.iterate import Recorder
from flexcalc.methods.umbrella import Umbrella, UmbrellaState
from flexcalc.registry import open_potential
from flexcalc.storage import AppendLog, atomic_write, whole_lines
from flexcalc.workflows.molecule import electrons_of, following, say_isotopes, with_masses
from flexcalc.workflows.moving import (
    Watch,
    announce_output,
    bath_of,
    biased_coordinates,
    checked_start,
    moved,
    table_bytes,
    trajectory_bytes,
)
from flexcalc.workflows.ordering import ordered
from flexcalc.workflows.runs import Run, batch_frames, open_run


def run_umbrella(config: UmbrellaSampling, output: Path) -> dict[str, Any]:
    """Run umbrella sampling, and put the windows together by MBAR.

    Writes COLVAR, trajectory.xyz (labels of the model without the springs), umbrella.npz, and a
    checkpoint every few seconds.

    Raises:
        InputError: the start, the potential or a coordinate cannot be used; nothing is written.
        MissingExtraError: pymbar is not installed.
        GuardError: a guard stopped the run (`methods/guard.py`); what went before is on disk, and
            the geometries that were no good are in stopped.xyz.
    """
    require_pymbar()
    start = files.read(config.start)
    config = following(config, electrons_of(start))
    potential = open_potential(config.model, start.numbers, trust=config.trust)
    fitting = ordered(potential, start, str(config.start), config.map_atoms)
    start = fitting.data
    config = with_masses(config, start)
    method = method_of(config)
    positions = method.starts(start.positions)
    coordinates = [line.coordinate for line in method.lines]
    notes = checked_start(coordinates, positions)
    fixed = config.method.fixed(potential.numbers)
    guards = config.guards(potential, positions, fixed, config.model, config.method.masses)
    guards.append(BendGuard(tuple(coordinates)))
    render = _Render(config, method, potential.numbers)
    watch = Watch(config, len(positions), render.words)
    with (
        open_run("umbrella", config, output) as here,
        files.open_frame_log(here.folder / "trajectory.xyz") as frames,
        AppendLog(here.folder / "COLVAR", whole_lines) as colvar,
    ):
        if here.finished is not None:
            return here.finished
        known = fitting.told(here) | say_isotopes(here, potential.numbers, config.method.masses)
        for note in notes:
            here.say(note)
        recorders = [
            Recorder(frames, config.frame_every, render.frames),
            Recorder(colvar, config.colvar_every, render.colvar),
        ]
        every, columns = config.colvar_every, len(method.lines) + 4
        announce_output(
            here,
            {
                "trajectory.xyz": trajectory_bytes(
                    config, config.frame_every, positions, potential.numbers
                ),
                "COLVAR": table_bytes(config, every, len(positions), columns),
            },
        )
        moved(
            here,
            watch,
            method,
            potential,
            positions,
            UmbrellaState,
            recorders=recorders,
            guards=guards,
        )
        return _finish(here, config, method, watch, known)


def method_of(config: UmbrellaSampling) -> Umbrella:
    """The method that a config asks for.

    Raises:
        InputError: a coordinate, the windows or the integrator do not fit, or nothing would be
            sampled after the equilibration.
    """
    first = (config.equilibration // config.colvar_every + 1) * config.colvar_every
    if config.steps < first:
        raise InputError(
            f"steps: expected at least {first}, for a sample after the equilibration of "
            f"{config.equilibration}, found {config.steps}"
        )
    return Umbrella.on(
        biased_coordinates(config.coordinate, trust=config.trust),
        bath_of(config.method),
        low=config.low,
        high=config.high,
        windows=config.windows,
        kappa_kcal_mol=config.kappa_kcal_mol,
        equilibration=config.equilibration,
    )


MOST_PAIRS = 1 << 27
"""Samples times windows that are analysed: 1 GiB an array; of more samples every n-th time is."""


class _Render:
    """Turns states into words, and into records of the logs."""

    def __init__(self, config: UmbrellaSampling, method: Umbrella, numbers: np.ndarray):
        self.config, self.method, self.numbers = config, method, numbers
        self.coordinates = [line.coordinate for line in method.lines]
        self.masses = config.method.masses

    def words(self, state: UmbrellaState) -> str:
        pulled = "pulled to the windows" if state.step <= self.config.equilibration // 2 else ""
        settling = "equilibration" if state.step <= self.config.equilibration else "sampling"
        kelvin = self.config.method.temperature(state.momenta, self.numbers).mean()
        return f"{pulled or settling}, {kelvin:.0f} K"

    def frames(self, state: UmbrellaState) -> bytes:
        time_fs = state.step * self.config.method.timestep_fs
        return batch_frames(
            self.numbers, state.positions, state.evaluation, time_fs, "window", self.masses
        )

    def colvar(self, state: UmbrellaState) -> bytes:
        first = state.step == 0
        head = plumed.colvar_head(self.coordinates, WINDOW_COLUMNS) if first else b""
        return head + plumed.colvar_lines(
            self.coordinates,
            state.step * self.config.method.timestep_fs,
            self.method.values(state.positions),
            (state.bias, state.evaluation.energies),
            self.config.method.temperature(state.momenta, self.numbers),
        )


def _finish(
    here: Run, config: UmbrellaSampling, method: Umbrella, watch: Watch, known: dict[str, Any]
) -> dict[str, Any]:
    """Read the run's own COLVAR, and write what comes of it."""
    coordinates = [line.coordinate for line in method.lines]
    # MBAR has a number for each sample in each window.
    most = min(plumed.MOST_SAMPLES, max(MOST_PAIRS // len(method.centres), 1))
    everything = plumed.read_windows(here.folder / "COLVAR", coordinates, most)
    # Half a step more, as times in the file are rounded to the last digit.
    settled = everything.time_fs > (config.equilibration + 0.5) * config.method.timestep_fs
    samples = WindowSamples(**{name: one[settled] for name, one in vars(everything).items()})
    found = study(samples, method, config.method.temperature_K)
    atomic_write(here.folder / "umbrella.npz", found.to_bytes())
    picoseconds = config.steps * config.method.timestep_fs * 1e-3
    results = {
        "model": config.model,
        "coordinates": [one.label for one in coordinates],
        "windows": len(method.centres),
        "steps": config.steps,
        "time_ps": picoseconds,
        "temperature_K": config.method.temperature_K,
        "temperature_mean_K": float(samples.temperature_K.mean()),
        **watch.speed(),
        **known,
        **found.results(),
    }
    if "warning" in results:
        here.say(f"warning: {results['warning']}")
    here.say(
        f"{results['windows']} windows, {picoseconds:g} ps each, "
        f"{results['independent_samples']} independent samples; highest free energy "
        f"{results['highest_kcal_mol']:.2f} +- {results['highest_error_kcal_mol']:.2f} kcal/mol; "
        f"{watch.told()}"
    )
    return here.finish(results)
