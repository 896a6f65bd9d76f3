"""Umbrella sampling of all windows at once, restartable to the byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flexcalc.analysis.umbrella import require_pymbar, study
from flexcalc.config.dynamics import UmbrellaSampling
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import InputError
from flexcalc.files import plumed
from flexcalc.files.plumed import WINDOW_COLUMNS, WindowSamples
from flexcalc.methods.guard import BendGuard, Guard
from flexcalc.methods.iterate import Recorder, Setup
from flexcalc.methods.umbrella import Umbrella, UmbrellaState, Windows
from flexcalc.potential import Potential
from flexcalc.results.free_energy import (
    COLVAR,
    PROFILE,
    TRAJECTORY,
    FreeEnergyProfile,
)
from flexcalc.store import Store
from flexcalc.tasks.coverage import (
    coverage_of_run,
    coverage_of_windows,
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

MOST_PAIRS = 1 << 27
"""Samples times windows that are analysed: 1 GiB an array; of more samples every n-th time is."""


def umbrella(options: UmbrellaSampling, store: Store) -> FreeEnergyProfile:
    """Run umbrella sampling, and combine the windows by MBAR.

    Keeps COLVAR, trajectory.xyz (labels of the model without the springs) and umbrella.npz.

    Raises:
        InputError: the start, the potential or a coordinate cannot be used; nothing is written.
        MissingExtraError: pymbar is not installed.
    """
    require_pymbar()
    start = open_start(options, 1, "replicas")
    options, numbers = start.options, start.potential.numbers
    method = method_of(options)
    positions = method.starts(start.positions)
    coordinates = tuple(line.coordinate for line in method.lines)
    notes = checked_start(coordinates, positions)
    guards: list[Guard] = [*start.guards(positions), BendGuard(coordinates)]
    batch = Setup(start.potential, positions, guards)
    found = store.begin(options)
    if found is not None:
        return FreeEnergyProfile.from_dict(found, store)
    known = start.describe(store, notes)
    announce_sampling(store, options, batch, len(coordinates) + 4, start.provenance)
    render = _Render(options, method, numbers, start.provenance)
    watch = Watch("umbrella", options, len(positions), render.message)
    recorders = [
        Recorder(store.frames(TRAJECTORY), options.frame_every, render.frames),
        Recorder(store.lines(COLVAR), options.colvar_every, render.colvar),
        *distance_recorders(
            store, start.potential, options.colvar_every, options.method.timestep_fs
        ),
    ]
    steps, stopped = move(store, watch, method, UmbrellaState, batch, recorders)
    result = FreeEnergyProfile(
        store=store,
        stopped=stopped,
        coordinates=tuple(one.label for one in coordinates),
        windows=len(method.centres),
        steps=steps,
        time_ps=steps * options.method.timestep_fs * 1e-3,
        temperature_K=options.method.temperature_K,
        coverage=coverage_of_run(store, start.potential, len(positions), "window"),
        **known,
        **watch.speed(),
    )
    result = result if stopped else _studied(result, options, method, start.potential)
    warn_of(store, result.coverage)
    return result


def _studied(
    result: FreeEnergyProfile, options: UmbrellaSampling, method: Umbrella, potential: Potential
) -> FreeEnergyProfile:
    """The result with what is read off the run's own COLVAR; the profile is kept."""
    store = result.store
    coordinates = [line.coordinate for line in method.lines]
    # MBAR has a number for each sample in each window.
    most = min(plumed.MOST_SAMPLES, max(MOST_PAIRS // len(method.centres), 1))
    everything = plumed.read_windows(store.stream(COLVAR), coordinates, most)
    # Half a step more, as times in the file are rounded to the last digit.
    after_fs = (options.equilibration + 0.5) * options.method.timestep_fs
    settled = everything.time_fs > after_fs
    samples = WindowSamples(**{name: one[settled] for name, one in vars(everything).items()})
    with store.bar("free energy"):
        found = study(samples, method, options.method.temperature_K)
    store.put(PROFILE, found.arrays())
    warning = found.warning()
    if warning is not None:
        store.warn(warning)
    mean = float(samples.temperature_K.mean())
    sampled = Sampled.of_rows(
        samples.time_fs, samples.temperature_K, samples.energies, result.windows
    )
    warnings = warned(store, implausible_motion(options.method, potential, sampled))
    coverage = coverage_of_windows(store, potential, found, after_fs)
    return replace(
        result.with_study(found), temperature_mean_K=mean, warnings=warnings, coverage=coverage
    )


def method_of(options: UmbrellaSampling) -> Umbrella:
    """The method that a config asks for.

    Raises:
        InputError: a coordinate, the windows or the integrator do not fit, or nothing would be
            sampled after the equilibration.
    """
    first = (options.equilibration // options.colvar_every + 1) * options.colvar_every
    if options.steps < first:
        raise InputError(
            f"steps: expected at least {first}, for a sample after the equilibration of "
            f"{options.equilibration}, found {options.steps}"
        )
    return Umbrella.on(
        biased_coordinates(options.coordinate, trust=options.trust),
        bath_of(options.method),
        Windows(
            low=options.low,
            high=options.high,
            windows=options.windows,
            kappa_kcal_mol=options.kappa_kcal_mol,
        ),
        equilibration=options.equilibration,
    )


class _Render:
    """Turns states into progress messages and records of the logs."""

    def __init__(
        self,
        options: UmbrellaSampling,
        method: Umbrella,
        numbers: np.ndarray,
        provenance: Provenance,
    ):
        self.options, self.method, self.numbers = options, method, numbers
        self.provenance = provenance
        self.coordinates = [line.coordinate for line in method.lines]

    def message(self, state: UmbrellaState) -> str:
        pulled = "pulled to the windows" if state.step <= self.options.equilibration // 2 else ""
        settling = "equilibration" if state.step <= self.options.equilibration else "sampling"
        kelvin = self.options.method.temperature(state.momenta, self.numbers).mean()
        return f"{pulled or settling}, {kelvin:.0f} K"

    def frames(self, state: UmbrellaState) -> Dataset:
        tags = {
            "window": np.arange(len(state.positions)),
            "time_fs": state.step * self.options.method.timestep_fs,
        }
        masses = self.options.method.masses
        return frames_of(
            self.numbers, state.positions, state.evaluation, tags, self.provenance, masses
        )

    def colvar(self, state: UmbrellaState) -> bytes:
        first = state.step == 0
        head = plumed.colvar_head(self.coordinates, WINDOW_COLUMNS) if first else b""
        return head + plumed.colvar_lines(
            self.coordinates,
            state.step * self.options.method.timestep_fs,
            self.method.values(state.positions),
            (state.bias, state.evaluation.energies),
            self.options.method.temperature(state.momenta, self.numbers),
        )
