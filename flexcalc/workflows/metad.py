"""`flexcalc metad`: metadynamics of many walkers, restartable to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.analysis.study import study
from flexcalc.config import Metad
from flexcalc.errors import GuardError, InputError
from flexcalc.files import plumed
from flexcalc.memory import geometry_bytes, require_memory
from flexcalc.methods.bias import Wall
from flexcalc.methods.guard import BendGuard
from flexcalc.methods.iterate import Recorder
from flexcalc.methods.metadynamics import Metadynamics, MetadynamicsState, WellTempered
from flexcalc.registry import open_potential
from flexcalc.storage import AppendLog, atomic_write, whole_lines
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.molecule import electrons_of, following, say_isotopes, with_masses
from flexcalc.workflows.moving import (
    STATE_ARRAYS,
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


def run_metad(config: Metad, output: Path) -> dict[str, Any]:
    """Run metadynamics, and read the free-energy surface off its hills.

    Writes HILLS, COLVAR, trajectory.xyz (labels of the model without the bias), surface.npz, and
    a checkpoint every few seconds.

    Raises:
        InputError: the start, the potential or a coordinate cannot be used; nothing is written.
        GuardError: a guard stopped the run (`methods/guard.py`), or a walker left the grid; what
            went before is on disk, and the geometries that were no good are in stopped.xyz.
    """
    start = files.read(config.start)
    require_memory(
        geometry_bytes(config.walkers, len(start.numbers), STATE_ARRAYS),
        f"{config.walkers} walkers of {len(start.numbers)} atoms",
        "take fewer walkers",
    )
    config = following(config, electrons_of(start))
    potential = open_potential(config.model, start.numbers, trust=config.trust)
    fitting = ordered(potential, start, str(config.start), config.map_atoms)
    start = fitting.data
    config = with_masses(config, start)
    method = method_of(config)
    positions = start.positions[np.arange(config.walkers) % len(start)]
    notes = _check_start(method, potential.numbers, positions)
    fixed = config.method.fixed(potential.numbers)
    guards = config.guards(potential, positions, fixed, config.model, config.method.masses)
    guards.append(BendGuard(method.coordinates))
    render = _Render(config, method, potential.numbers)
    watch = _Watch(config, method, potential.numbers)
    with (
        open_run("metad", config, output) as here,
        files.open_frame_log(here.folder / "trajectory.xyz") as frames,
        AppendLog(here.folder / "HILLS", whole_lines) as hills,
        AppendLog(here.folder / "COLVAR", whole_lines) as colvar,
    ):
        if here.finished is not None:
            return here.finished
        known = fitting.told(here) | say_isotopes(here, potential.numbers, config.method.masses)
        for note in notes:
            here.say(note)
        recorders = [
            Recorder(frames, config.frame_every, render.frames),
            Recorder(hills, config.hills.pace, render.hills),
            Recorder(colvar, config.colvar_every, render.colvar),
        ]
        every, columns = config.colvar_every, len(method.coordinates) + 5
        announce_output(
            here,
            {
                "trajectory.xyz": trajectory_bytes(
                    config, config.frame_every, positions, potential.numbers
                ),
                "COLVAR": table_bytes(config, every, len(positions), columns),
            },
        )
        state = moved(
            here,
            watch,
            method,
            potential,
            positions,
            MetadynamicsState,
            recorders=recorders,
            guards=guards,
        )
        return _finish(here, config, method, state, watch, known)


def method_of(config: Metad) -> Metadynamics:
    """The method that a config asks for.

    Raises:
        InputError: a coordinate, a wall, the hills or the integrator do not fit.
    """
    bath = bath_of(config.method)
    coordinates = biased_coordinates(config.coordinate, trust=config.trust)
    walls = [
        Wall.parse(text, upper=upper, trust=config.trust)
        for upper, texts in ((True, config.upper_wall), (False, config.lower_wall))
        for text in texts
    ]
    return Metadynamics.on(coordinates, bath, config.hills, walls)


def _check_start(method: Metadynamics, numbers: np.ndarray, positions: np.ndarray) -> list[str]:
    """Refuse a start that is off the grid, or where a coordinate or a wall cannot be used.

    Returns:
        What to warn of.

    Raises:
        InputError: a coordinate is off the grid or has no value, or an atom is not there.
    """
    for wall in method.walls:
        wall.coordinate.values(positions[:1])
    notes = checked_start(method.coordinates, positions)
    bias = method.bias(numbers, np.zeros(0))
    try:
        bias.check(bias.values(positions))
    except GuardError as error:
        raise InputError(f"start: {error}") from None
    return notes


class _Watch(Watch):
    """Tells of the height of hills and the first walker's place too."""

    def __init__(self, config: Metad, method: Metadynamics, numbers: np.ndarray):
        super().__init__(config, config.walkers, self.words)
        self.bias, self.height = method.bias(numbers, np.zeros(0)), 0.0

    def __call__(self, state: Any) -> None:
        if state.heights.any():
            self.height = float(state.heights.mean()) / KCAL_MOL
        super().__call__(state)

    def words(self, state: MetadynamicsState) -> str:
        where = self.bias.values(state.positions[:1])[0]
        shown = ", ".join(f"{value:.4g}" for value in where)
        return f"hill {self.height:.3f} kcal/mol, walker 0 at {shown}"


class _Render:
    """Turns states into records of the logs."""

    def __init__(self, config: Metad, method: Metadynamics, numbers: np.ndarray):
        self.config, self.method, self.numbers = config, method, numbers
        self.bias = method.bias(numbers, np.zeros(0))
        self.masses = config.method.masses

    def _time(self, state: MetadynamicsState) -> float:
        return state.step * self.config.method.timestep_fs

    def frames(self, state: MetadynamicsState) -> bytes:
        time_fs = self._time(state)
        return batch_frames(
            self.numbers, state.positions, state.evaluation, time_fs, "walker", self.masses
        )

    def hills(self, state: MetadynamicsState) -> bytes:
        coordinates = self.method.coordinates
        if state.step == 0:
            return plumed.hills_head(coordinates, self.config.walkers)
        return plumed.hills_lines(
            coordinates,
            self._time(state),
            self.bias.values(state.positions),
            self.method.sigmas,
            state.heights,
            bias_factor_of(self.config),
        )

    def colvar(self, state: MetadynamicsState) -> bytes:
        coordinates = self.method.coordinates
        head = plumed.colvar_head(coordinates) if state.step == 0 else b""
        return head + plumed.colvar_lines(
            coordinates,
            self._time(state),
            self.bias.values(state.positions),
            (state.bias, state.walls, state.evaluation.energies),
            self.config.method.temperature(state.momenta, self.numbers),
        )


def bias_factor_of(config: Metad) -> float | None:
    """The bias factor of well-tempered metadynamics; None for plain."""
    return config.hills.bias_factor if isinstance(config.hills, WellTempered) else None


def _finish(
    here: Run,
    config: Metad,
    method: Metadynamics,
    state: MetadynamicsState,
    watch: Watch,
    known: dict[str, Any],
) -> dict[str, Any]:
    """Read the run's own files, judge it, and write what comes of it."""
    hills = plumed.read_hills(here.folder / "HILLS", method.coordinates)
    colvar = plumed.read_colvar(here.folder / "COLVAR", method.coordinates)
    picoseconds = state.step * config.method.timestep_fs * 1e-3
    results: dict[str, Any] = {
        "model": config.model,
        "method": config.hills.kind,
        "coordinates": [one.label for one in method.coordinates],
        "walkers": config.walkers,
        "steps": state.step,
        "time_ps": picoseconds,
        "temperature_K": config.method.temperature_K,
        "temperature_mean_K": float(colvar.temperature_K.mean()),
        "hills": len(hills),
        **watch.speed(),
        **known,
    }
    if len(hills):
        found = study(colvar, hills, method.axes, config.method.temperature_K)
        atomic_write(here.folder / "surface.npz", found.to_bytes(method.coordinates))
        results |= found.results()
        here.say(found.verdict.line)
    here.say(
        f"{config.walkers} walkers, {picoseconds:g} ps each, {len(hills)} hills; {watch.told()}"
    )
    return here.finish(results)
