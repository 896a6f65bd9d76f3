"""Metadynamics of many walkers, restartable to the byte."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from flexcalc.analysis.study import study
from flexcalc.config.dynamics import Metad
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import GuardError, InputError
from flexcalc.files import plumed
from flexcalc.methods.bias import Wall
from flexcalc.methods.guard import BendGuard, Guard
from flexcalc.methods.iterate import Recorder, Setup
from flexcalc.methods.metadynamics import Metadynamics, MetadynamicsState, WellTempered
from flexcalc.potential import Potential
from flexcalc.results.free_energy import (
    COLVAR,
    HILLS,
    SURFACE,
    TRAJECTORY,
    FreeEnergySurface,
)
from flexcalc.store import Store
from flexcalc.tasks.coverage import (
    coverage_of_run,
    coverage_of_surface,
    distance_recorders,
    warn_of,
)
from flexcalc.tasks.motion import (
    Sampled,
    Watch,
    announce_sampling,
    bath_of,
    biased_coordinates,
    checked_start,
    frames_of,
    implausible_motion,
    move,
    open_start,
)
from flexcalc.tasks.plausible import warned
from flexcalc.units import KCAL_MOL


def metad(options: Metad, store: Store) -> FreeEnergySurface:
    """Run metadynamics, and compute the free-energy surface from its hills.

    Keeps HILLS, COLVAR, trajectory.xyz (labels of the model without the bias) and surface.npz.

    Raises:
        InputError: the start, the potential or a coordinate cannot be used; nothing is written.
    """
    start = open_start(options, options.walkers, "walkers")
    options, numbers = start.options, start.potential.numbers
    method = method_of(options)
    positions = start.positions[np.arange(options.walkers) % len(start.positions)]
    notes = _check_start(method, numbers, positions)
    guards: list[Guard] = [*start.guards(positions), BendGuard(method.coordinates)]
    batch = Setup(start.potential, positions, guards)
    found = store.begin(options)
    if found is not None:
        return FreeEnergySurface.from_dict(found, store)
    known = start.describe(store, notes)
    announce_sampling(store, options, batch, len(method.coordinates) + 5, start.provenance)
    render = _Render(options, method, numbers, start.provenance)
    watch = _Watch(options, method, numbers)
    samples = Recorder(store.lines(COLVAR), options.colvar_every, render.colvar)
    recorders = [
        Recorder(store.frames(TRAJECTORY), options.frame_every, render.frames),
        Recorder(store.lines(HILLS), options.hills.pace, render.hills),
        samples,
        *distance_recorders(
            store,
            start.potential,
            options.colvar_every,
            options.method.timestep_fs,
            render.bias.values,
            len(method.coordinates),
        ),
    ]
    steps, stopped = move(store, watch, method, MetadynamicsState, batch, recorders)
    coverage = coverage_of_run(store, start.potential, options.walkers, "walker")
    result = FreeEnergySurface(
        store=store,
        stopped=stopped,
        method=options.hills.kind,
        coordinates=tuple(one.label for one in method.coordinates),
        walkers=options.walkers,
        hills=0,
        steps=steps,
        time_ps=steps * options.method.timestep_fs * 1e-3,
        temperature_K=options.method.temperature_K,
        coverage=coverage,
        **known,
        **watch.speed(),
    )
    # A guard that refuses the start itself leaves nothing to study.
    result = _studied(result, options, method, start.potential) if samples.log.size else result
    warn_of(store, result.coverage)
    return result


def _studied(
    result: FreeEnergySurface, options: Metad, method: Metadynamics, potential: Potential
) -> FreeEnergySurface:
    """The result with what is read off the run's own files; the surface is kept."""
    store = result.store
    colvar = plumed.read_colvar(store.stream(COLVAR), method.coordinates)
    hills = plumed.read_hills(store.stream(HILLS), method.coordinates)
    kelvin = float(colvar.temperature_K.mean()) if len(colvar.time_fs) else None
    sampled = Sampled.of_rows(colvar.time_fs, colvar.temperature_K, colvar.energies, result.walkers)
    # All hills lift a walker only where it is at the centre of each.
    work_eV = float(hills.heights.sum())
    warnings = warned(store, implausible_motion(options.method, potential, sampled, work_eV))
    result = replace(result, hills=len(hills), temperature_mean_K=kelvin, warnings=warnings)
    if not len(hills):
        return result
    with store.bar("free energy"):
        found = study(colvar, hills, method.axes, result.temperature_K)
    coverage, outside = coverage_of_surface(store, result.coverage, method, found)
    store.put(SURFACE, found.arrays(method.coordinates) | outside)
    return replace(result.with_study(found), coverage=coverage)


def method_of(options: Metad) -> Metadynamics:
    """The method that a config asks for.

    Raises:
        InputError: a coordinate, a wall, the hills or the integrator do not fit.
    """
    bath = bath_of(options.method)
    coordinates = biased_coordinates(options.coordinate, trust=options.trust)
    walls = [
        Wall.parse(text, upper=upper, trust=options.trust)
        for upper, texts in ((True, options.upper_wall), (False, options.lower_wall))
        for text in texts
    ]
    return Metadynamics.on(coordinates, bath, options.hills, walls)


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
    """Shows the height of hills and the first walker's place too."""

    def __init__(self, options: Metad, method: Metadynamics, numbers: np.ndarray):
        super().__init__("metad", options, options.walkers, self.message)
        self.bias, self.height = method.bias(numbers, np.zeros(0)), 0.0

    def __call__(self, state: Any) -> None:
        if state.heights.any():
            self.height = float(state.heights.mean()) / KCAL_MOL
        super().__call__(state)

    def message(self, state: MetadynamicsState) -> str:
        where = self.bias.values(state.positions[:1])[0]
        shown = ", ".join(f"{value:.4g}" for value in where)
        return f"hill {self.height:.3f} kcal/mol, walker 0 at {shown}"


class _Render:
    """Turns states into records of the logs."""

    def __init__(
        self, options: Metad, method: Metadynamics, numbers: np.ndarray, provenance: Provenance
    ):
        self.options, self.method, self.numbers = options, method, numbers
        self.provenance = provenance
        self.bias = method.bias(numbers, np.zeros(0))

    def _time(self, state: MetadynamicsState) -> float:
        return state.step * self.options.method.timestep_fs

    def frames(self, state: MetadynamicsState) -> Dataset:
        tags = {"walker": np.arange(len(state.positions)), "time_fs": self._time(state)}
        masses = self.options.method.masses
        return frames_of(
            self.numbers, state.positions, state.evaluation, tags, self.provenance, masses
        )

    def hills(self, state: MetadynamicsState) -> bytes:
        coordinates = self.method.coordinates
        if state.step == 0:
            return plumed.hills_head(coordinates, self.options.walkers)
        return plumed.hills_lines(
            coordinates,
            self._time(state),
            self.bias.values(state.positions),
            self.method.sigmas,
            state.heights,
            _bias_factor(self.options),
        )

    def colvar(self, state: MetadynamicsState) -> bytes:
        coordinates = self.method.coordinates
        head = plumed.colvar_head(coordinates) if state.step == 0 else b""
        return head + plumed.colvar_lines(
            coordinates,
            self._time(state),
            self.bias.values(state.positions),
            (state.bias, state.walls, state.evaluation.energies),
            self.options.method.temperature(state.momenta, self.numbers),
        )


def _bias_factor(options: Metad) -> float | None:
    """The bias factor of well-tempered metadynamics; None for plain."""
    return options.hills.bias_factor if isinstance(options.hills, WellTempered) else None
