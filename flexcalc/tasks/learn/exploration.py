"""Geometries to choose from: the first ones, and what the model's own dynamics visits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.geometry.torsions import Torsion
from flexcalc.methods.crash import KINDS, CrashState, CrashTest, Replicas
from flexcalc.methods.exploration import UNSURE, Exploration, deviation_of
from flexcalc.methods.guard import DistanceGuard
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup, run
from flexcalc.methods.sampling import Place, Thermal, sample_dynamics
from flexcalc.potential import Potential
from flexcalc.progress import Progress
from flexcalc.results.learning import EXPLORED
from flexcalc.store import Store
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.training.clusters import pair_distances
from flexcalc.training.selection import choose

DEVIATION = "deviation_rms_eV_A"
HOT_K = 600.0
"""Temperature of the first sampling, in kelvin."""
PER_POINT = 5
"""Sampled geometries for each of the first ones to be labelled."""
FRAMES_PER_REPLICA = 40
"""Frames of each replica that are recorded."""
MIN_CONTACT = 0.6
"""Distance of two atoms in sums of covalent radii at which they meet."""
ATTEMPTS = 50
"""Attempts to turn rotatable bonds without a close contact."""


def first_geometries(job: LearnJob, starts: Dataset, store: Store) -> Dataset:
    """The starts, geometries with turned bonds, and hot dynamics from both on the sampler.

    They are as different from each other as can be (farthest-point selection).
    """
    options, rng = job.options, np.random.default_rng([job.options.seed, 0])
    bonds = list(job.rotors(starts))
    turned = [turn(job.numbers, starts.positions, bonds, rng) for _ in range(options.first // 4)]
    origins = Dataset(job.numbers, np.concatenate([starts.positions, *[t[None] for t in turned]]))
    how = Thermal(
        frames=PER_POINT * options.first, temperature_K=HOT_K, timestep_fs=options.timestep_fs
    )
    with store.bar("first geometries") as progress:
        sampled = sample_dynamics(
            how, job.sampler, origins, rng, Place(store, "sampling", progress)
        )
    pool = Dataset(job.numbers, np.concatenate([starts.positions, sampled.positions]))
    chosen = choose("farthest", pool, min(options.first, len(pool)), rng)
    return Dataset(job.numbers, pool.positions[chosen])


def turn(
    numbers: np.ndarray, positions: np.ndarray, bonds: list[Torsion], rng: Generator
) -> np.ndarray:
    """One of the geometries (frames, atoms, 3), its rotatable bonds turned by random angles.

    Geometries with a close contact or another bonding are rejected; if all attempts fail, the
    geometry is returned as it is.
    """
    origin = positions[rng.integers(len(positions))]
    guard = DistanceGuard.around(numbers, origin[None], MIN_CONTACT, keep_bonds=True)
    for _ in range(ATTEMPTS):
        found = origin
        for bond in bonds:
            found = bond.turned(found, rng.uniform(-np.pi, np.pi))
        if not guard.outside(found[None])[0].any():
            return found
    return origin


@dataclass(frozen=True, eq=False)
class Explored:
    """What the replicas of a round have visited.

    Args:
        frames: (frames, atoms, 3) with the tags deviation_rms_eV_A, temperature_K and replica.
        ends: (replicas,) of text, why a replica ended early; empty for a complete one.
        temperatures_K: (replicas,).
    """

    frames: Dataset
    ends: tuple[str, ...]
    temperatures_K: np.ndarray


def explore(
    job: LearnJob, model: Potential, known: Dataset, bound_eV_A: float, store: Store, rng: Generator
) -> Explored:
    """Run replicas on the model from known geometries, and from such with turned bonds.

    Args:
        job: of the learning.
        model: a committee.
        known: labelled frames to start from.
        bound_eV_A: deviation beyond which a replica ends.
        store: keeps the frames and the checkpoint.
        rng: draws the starts.
    """
    options = job.options
    test = CrashTest(
        temperatures_K=options.temperatures_K,
        seeds=options.replicas,
        time_ps=options.time_ps,
        timestep_fs=options.timestep_fs,
        nve_ps=0.0,
    )
    bonds = list(job.rotors(known))
    starts = known.positions[rng.choice(len(known), options.replicas)]
    if bonds:
        turned = [turn(job.numbers, known.positions, bonds, rng) for _ in starts[1::2]]
        starts[1::2] = np.reshape(turned, starts[1::2].shape)
    who = np.arange(options.replicas)
    kelvin = np.array(options.temperatures_K)[who % len(options.temperatures_K)]
    method = Exploration(
        test, job.numbers, Replicas(who, kelvin, who, starts), max_deviation_eV_A=bound_eV_A
    )
    every = max(1, test.steps // FRAMES_PER_REPLICA)
    recorder = Recorder(store.frames(EXPLORED), every, _frames_of(method))
    with store.bar("explore") as progress:
        state = run(
            method,
            Setup(model, starts),
            CrashState,
            steps=method.steps,
            checkpoint=Checkpoint(store, "explore.checkpoint", rng, [recorder]),
            observers=[_watcher(method, progress)],
        )
    ends = tuple(_end(int(kind)) for kind in state.kind)
    return Explored(store.get(EXPLORED), ends, kelvin)


def features(positions: np.ndarray) -> np.ndarray:
    """Inverse distances (frames, pairs) of geometries (frames, atoms, 3), in 1/angstrom."""
    return 1.0 / pair_distances(positions)


def _frames_of(method: Exploration) -> Callable[[CrashState], Dataset]:
    numbers, replicas = method.numbers, method.replicas

    def render(state: CrashState) -> Dataset:
        tags = {
            "replica": state.alive,
            "temperature_K": replicas.temperature_K[state.alive],
            DEVIATION: deviation_of(state.moving.evaluation),
        }
        return Dataset(numbers, state.moving.positions, tags=tags)

    return render


def _watcher(method: Exploration, progress: Progress) -> Callable[[CrashState], None]:
    total = len(method.replicas.positions)

    def tell(state: CrashState) -> None:
        if state.step % 10 == 0:
            progress(state.step, method.steps, f"{len(state.alive)} of {total} replicas")

    return tell


def _end(kind: int) -> str:
    """Why a replica has ended."""
    if kind < 0:
        return ""
    return "unsure" if kind == UNSURE else KINDS[kind]
