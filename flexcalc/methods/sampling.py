"""Sampling of geometries to label: independent frames of dynamics, random displacements, or the
starts themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset, Provenance
from flexcalc.fields import (
    Batch,
    Count,
    Femtoseconds,
    NonNegativeFemtoseconds,
    Positive,
    Timestep,
)
from flexcalc.masses import of_frames
from flexcalc.methods.dynamics import DynamicsState, Langevin
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, run
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.store import Store


@dataclass(frozen=True, kw_only=True)
class Thermal:
    """Langevin dynamics from every start; kept frames are one autocorrelation time apart."""

    kind: ClassVar[str] = "md"

    frames: Count = 300
    """Number of frames to keep, in total over all starts and replicas."""
    temperature_K: Positive = 500.0
    """Temperature in kelvin."""
    timestep_fs: Timestep = 1.0
    """Timestep in femtoseconds."""
    friction_per_ps: Positive = 10.0
    """Friction coefficient, in 1/ps; higher friction decorrelates momenta faster."""
    replicas: Batch = 1
    """Number of independent runs from every start."""
    equilibration_fs: NonNegativeFemtoseconds = 250.0
    """Time discarded at the beginning of each run, in femtoseconds."""
    spacing_fs: Femtoseconds = 20.0
    """Minimum time between kept frames, in femtoseconds."""
    patience: Count = 4
    """Maximum length of a run, as a multiple of the time for `frames` at `spacing_fs`."""


@dataclass(frozen=True, kw_only=True)
class Displaced:
    """Random displacements of the starts, from the same normal distribution for all coordinates."""

    kind: ClassVar[str] = "displacement"

    frames: Count = 100
    """Number of frames, in total over all starts."""
    amplitude_A: Positive = 0.05
    """Standard deviation of each coordinate, in angstrom."""


@dataclass(frozen=True, kw_only=True)
class AsIs:
    """The starts themselves: to label the frames of a file at another level of theory."""

    kind: ClassVar[str] = "frames"


Sampling = Thermal | Displaced | AsIs


def as_they_are(how: AsIs, starts: Dataset) -> Dataset:
    """The starts (frames, atoms, 3) with the tags of sampled geometries."""
    tags = _still(how.kind, _names(starts))
    return Dataset(starts.numbers, starts.positions, tags=tags, masses=starts.masses)


def displace(how: Displaced, starts: Dataset, rng: Generator) -> Dataset:
    """Geometries (frames, atoms, 3) around the starts, in turn."""
    origin = np.arange(how.frames) % len(starts)
    noise = how.amplitude_A * rng.standard_normal((how.frames, len(starts.numbers), 3))
    tags = _still(how.kind, _names(starts)[origin])
    masses = None if starts.masses is None else starts.masses[origin]
    return Dataset(starts.numbers, starts.positions[origin] + noise, tags=tags, masses=masses)


def _still(kind: str, origins: np.ndarray) -> dict[str, np.ndarray]:
    """Tags of geometries (frames,) that do not come from dynamics."""
    nothing = np.zeros(len(origins))
    return {
        "start": origins,
        "sampling": np.full(len(origins), kind),
        "time_fs": nothing,
        "temperature_K": nothing,
    }


@dataclass(frozen=True)
class Place:
    """Where a sampling is kept; a second one with the same place resumes the first.

    Args:
        store: keeps the trajectory and the checkpoint.
        name: of both in the store.
        progress: called with the steps done, those in total and a note.
    """

    store: Store
    name: str
    progress: Progress = silent


def sample_dynamics(
    how: Thermal, potential: Potential, starts: Dataset, rng: Generator, place: Place
) -> Dataset:
    """Run dynamics until there are enough independent frames, and select those.

    Independent frames are separated by the autocorrelation time of the potential energy. All runs
    are integrated in one batch.

    Args:
        how: options of the sampling.
        potential: surface to sample.
        starts: starting geometries.
        rng: source of momenta and noise.
        place: where the trajectory and the checkpoint are kept.

    Returns:
        Geometries with tags start, sampling, time_fs and temperature_K.
    """
    store, name = place.store, place.name
    batch = _Runs(how, starts)
    method = Langevin(
        timestep_fs=how.timestep_fs,
        temperature_K=how.temperature_K,
        friction_per_ps=how.friction_per_ps,
        masses=batch.masses,
    )
    recorder = Recorder(store.frames(f"{name}.xyz"), batch.every, batch.render)
    checkpoint = Checkpoint(store, f"{name}.checkpoint", rng, [recorder])
    stride = 1
    while True:
        run(
            method,
            Setup(potential, starts.positions[batch.origin]),
            DynamicsState,
            steps=batch.steps(stride),
            checkpoint=checkpoint,
            observers=[batch.watcher(stride, place.progress)],
        )
        frames = store.get(f"{name}.xyz")
        late = frames[frames.tags["time_fs"] > how.equilibration_fs]
        needed = min(_stride(late, len(batch.origin)), how.patience)
        if needed <= stride:
            return _thinned(late, how, len(batch.origin), batch.wanted)
        stride = needed


class _Runs:
    """All runs of one sampling, in one batch.

    Args:
        how: options of the sampling.
        starts: starting geometries.

    `origin` (runs,) is the index of the start of each run, `every` the number of steps between
    records, and `wanted` the number of frames that each run contributes.
    """

    def __init__(self, how: Thermal, starts: Dataset):
        self.how, self.numbers = how, starts.numbers
        own = starts.own_masses()
        self.masses = () if own is None else tuple(own.tolist())
        self.origin = np.tile(np.arange(len(starts)), how.replicas)
        self.names = _names(starts)[self.origin]
        self.every = max(1, round(how.spacing_fs / how.timestep_fs))
        self.wanted = -(-how.frames // len(self.origin))

    def steps(self, stride: int) -> int:
        """Steps after which there are enough frames `stride` records apart."""
        return round(self.how.equilibration_fs / self.how.timestep_fs) + (
            stride * self.wanted * self.every
        )

    def render(self, state: DynamicsState) -> Dataset:
        """A record of the trajectory: one frame of every run."""
        runs = len(self.origin)
        tags = {
            "run": np.arange(runs),
            "start": self.names,
            "time_fs": np.full(runs, state.step * self.how.timestep_fs),
        }
        energies, masses = state.evaluation.energies, of_frames(self.masses, runs)
        return Dataset(self.numbers, state.positions, energies, tags=tags, masses=masses)

    def watcher(self, stride: int, progress: Progress) -> Callable[[DynamicsState], None]:
        """An observer that reports progress."""
        total, note = self.steps(stride), f"{self.how.temperature_K:g} K"
        return lambda state: progress(state.step, total, note)


def autocorrelation_time(series: np.ndarray) -> float:
    """Integrated autocorrelation time of series (frames, runs), in frames.

    tau = sum_t (1 - t/T) C(t), with C averaged over the series and summed while positive.
    Source: Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), doi:10.1021/ct0502864.
    """
    frames = len(series)
    centred = series - series.mean(axis=0)
    variance = (centred**2).mean()
    if frames < 3 or variance == 0:
        return 0.0
    total = 0.0
    for lag in range(1, frames - 1):
        correlation = (centred[:-lag] * centred[lag:]).mean() / variance
        if correlation <= 0:
            break
        total += correlation * (1 - lag / frames)
    return total


def _stride(late: Dataset, runs: int) -> int:
    """Recorded frames between independent ones."""
    energies, rows = late.energies, len(late) // runs
    if energies is None or rows == 0:
        return 1
    return max(1, round(autocorrelation_time(energies.reshape(rows, runs))))


def _thinned(late: Dataset, how: Thermal, runs: int, wanted: int) -> Dataset:
    """The last frames at even spacing, as far apart as the length of the run allows."""
    rows = np.arange(len(late)).reshape(-1, runs)
    stride = max(1, len(rows) // wanted)
    kept = rows[::-1][::stride][:wanted][::-1].ravel()[-how.frames :]
    tags = {
        "start": late.tags["start"][kept],
        "sampling": np.full(len(kept), how.kind),
        "time_fs": late.tags["time_fs"][kept],
        "temperature_K": np.full(len(kept), how.temperature_K),
    }
    masses = None if late.masses is None else late.masses[kept]
    return Dataset(late.numbers, late.positions[kept], tags=tags, masses=masses)


def _names(starts: Dataset) -> np.ndarray:
    return starts.tags.get("start", np.full(len(starts), "start")).astype(str)


def concatenate_unlabelled(parts: Sequence[Dataset]) -> Dataset:
    """Concatenate geometries of one molecule, without labels."""
    from flexcalc.dataset import concatenate

    bare = [replace(part, energies=None, forces=None, provenance=Provenance()) for part in parts]
    return concatenate(*bare)
