"""Geometries to choose from: the first ones, and what the model's own dynamics visits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset, concatenate
from flexcalc.geometry import Coordinate
from flexcalc.methods.crash import KINDS, CrashState, CrashTest, Replicas, run_replicas
from flexcalc.methods.exploration import UNSURE, Drive, Exploration, deviation_of
from flexcalc.methods.iterate import Checkpoint, Recorder, Setup
from flexcalc.methods.sampling import Place, Thermal, sample_dynamics
from flexcalc.methods.umbrella import SPACINGS, Line
from flexcalc.potential import Evaluation, Potential, in_batches
from flexcalc.progress import Progress, silent
from flexcalc.results.learning import EXPLORED
from flexcalc.store import Store
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.stationary.minima import turn
from flexcalc.training.acquisition import choose_batch
from flexcalc.training.clusters import pair_distances
from flexcalc.units import KB, KCAL_MOL

DEVIATION, ENERGY = "deviation_rms_eV_A", "model_eV"
HOT_K = 600.0
"""Temperature of the first sampling, in kelvin."""
PER_POINT = 3
"""Sampled geometries for each of the first ones to be labelled."""
FRAMES_PER_REPLICA = 40
"""Frames of each replica that are recorded."""
EARLY = 0.1
"""Share of the exploration in which a replica is still near its start, which is labelled."""
CANDIDATES = 3
"""Explored frames for each that is chosen, drawn at random, or evenly along the user's coordinates.
Of all frames the choice would be of the hottest ones: with 160 points of glycine the force RMSE at
500 K is then a seventh larger."""
DRIVEN_FRAMES = "driven.xyz"
DRIVEN_AT_FIRST, DRIVEN_PS = 18, 0.5
"""Replicas that are driven on the sampler, and for how long: it takes milliseconds a step."""
FREE, TURNED, DRIVEN = range(3)
"""Kinds of replicas, a third each at every temperature."""
HELD_AT_K = 500.0
"""Temperature in kelvin at which a replica that is held spreads by a third of two spacings of
umbrella sampling, such as 10 degrees of a dihedral."""
WIDTHS, WIDER = 10, 2
"""Widths of the range of a coordinate without a default spacing, and widths that targets go beyond
the range of the known frames."""


def first_geometries(job: LearnJob, starts: Dataset, store: Store) -> Dataset:
    """The starts, geometries with turned bonds, and hot dynamics from both on the sampler.

    If the user names coordinates, replicas are driven along them on the sampler too, and candidates
    are drawn evenly along them. The chosen ones are different from each other, and from labels that
    are known already (see `choose_batch`).
    """
    options, rng = job.options, np.random.default_rng([job.options.seed, 0])
    bonds = list(job.rotors(starts))
    turned = [turn(job.numbers, starts.positions, bonds, rng) for _ in range(job.first_count // 4)]
    origins = Dataset(job.numbers, np.concatenate([starts.positions, *[t[None] for t in turned]]))
    how = Thermal(
        frames=PER_POINT * job.first_count, temperature_K=HOT_K, timestep_fs=options.timestep_fs
    )
    with store.bar("first geometries") as progress:
        sampled = sample_dynamics(
            how, job.sampler, origins, rng, Place(store, "sampling", progress)
        )
    driven = _driven_on_sampler(job, starts.positions, store)
    others = np.concatenate([sampled.positions, driven])
    if job.along:
        others = others[evenly(job.along, others, rng)[: CANDIDATES * job.first_count]]
    pool = np.concatenate([starts.positions, others])
    alike = np.ones(len(pool))
    known = pool[:0] if job.known is None else job.known.positions
    chosen = choose_batch(features(pool), alike, features(known), job.first_count)
    return Dataset(job.numbers, pool[chosen])


def _driven_on_sampler(job: LearnJob, starts: np.ndarray, store: Store) -> np.ndarray:
    """Geometries (frames, atoms, 3) of replicas that are driven along the user's coordinates."""
    rng = np.random.default_rng([job.options.seed, 0, 7])
    lines = named_lines(job, starts)
    if not lines:
        return starts[:0]
    who = np.arange(DRIVEN_AT_FIRST)
    test = CrashTest(
        temperatures_K=(HELD_AT_K,),
        seeds=len(who),
        time_ps=DRIVEN_PS,
        timestep_fs=job.options.timestep_fs,
        nve_ps=0.0,
    )
    places = starts[rng.choice(len(starts), len(who))]
    drive = drive_of(lines, (), starts, places, who, rng)
    replicas = Replicas(who, np.full(len(who), HELD_AT_K), who, places)
    method = Exploration(test, job.numbers, replicas, drive=drive)

    def render(state: CrashState) -> Dataset:
        return Dataset(job.numbers, state.moving.positions)

    setup, recorder = Setup(job.sampler, places), _recorder(method, store, DRIVEN_FRAMES, render)
    checkpoint = Checkpoint(store, "driven.checkpoint", rng, [recorder])
    with store.bar("first geometries, driven") as progress:
        run_replicas(method, setup, checkpoint, progress)
    found: np.ndarray = store.get(DRIVEN_FRAMES).positions
    return found


@dataclass(frozen=True, eq=False)
class Explored:
    """What the replicas of a round have visited.

    Args:
        frames: (frames, atoms, 3) with the tags deviation_rms_eV_A, model_eV, temperature_K,
            time_ps and replica; among them the last ones of replicas that ended unsure.
        ends: (replicas,) of text, why a replica ended early; empty for a complete one.
        temperatures_K: (replicas,).
        driven: (replicas,) whether they were driven along coordinates.
        times_ps: (replicas,) of their dynamics.
    """

    frames: Dataset
    ends: tuple[str, ...]
    temperatures_K: np.ndarray
    driven: np.ndarray
    times_ps: np.ndarray

    def doubted_by(self, model: Potential) -> Explored:
        """The same frames with the deviations of another committee."""
        found = in_batches(model, self.frames.positions, silent)
        tags = {**self.frames.tags, DEVIATION: deviation_of(found)}
        return replace(self, frames=replace(self.frames, tags=tags))


def explore(
    job: LearnJob,
    model: Potential,
    known: Dataset,
    bound_eV_A: float,
    store: Store,
    rng: Generator,
    progress: Progress | None = None,
) -> Explored:
    """Run replicas on the model: from known geometries, from such with turned bonds, and driven.

    Args:
        job: of the learning.
        model: a committee.
        known: labelled frames to start from.
        bound_eV_A: deviation beyond which a replica ends.
        store: keeps the frames and the checkpoint.
        rng: draws the starts.
        progress: is called often; by default there is a progress bar.
    """
    options = job.options
    test = CrashTest(
        temperatures_K=options.temperatures_K,
        seeds=options.replicas,
        time_ps=options.time_ps,
        timestep_fs=options.timestep_fs,
        nve_ps=0.0,
    )
    who = np.arange(options.replicas)
    turns, heat = np.divmod(who, len(options.temperatures_K))
    kelvin, kind = np.array(options.temperatures_K)[heat], (turns + heat) % 3
    low = known[job.low(known)].positions
    starts = low[rng.choice(len(low), options.replicas)]
    bonds = list(job.rotors(known))
    if bonds:
        for row in np.flatnonzero(kind == TURNED):
            starts[row] = turn(job.numbers, low, bonds, rng)
    named = named_lines(job, known.positions)
    turning = driven_lines(job.turning(known), known.positions)
    drive = None
    if named or turning:
        rows = np.flatnonzero(kind == DRIVEN)
        drive = drive_of(named, turning, low, starts, rows, rng)
    method = Exploration(
        test,
        job.numbers,
        Replicas(who, kelvin, who, starts),
        max_deviation_eV_A=bound_eV_A,
        drive=drive,
    )
    setup, recorder = Setup(model, starts), _recorder(method, store, EXPLORED, _frames_of(method))
    checkpoint = Checkpoint(store, "explore.checkpoint", rng, [recorder])
    with store.bar("explore") if progress is None else nullcontext(progress) as told:
        state = run_replicas(method, setup, checkpoint, told)
    ends = tuple(_end(int(kind)) for kind in state.kind)
    driven = np.zeros(len(who), bool) if drive is None else np.isfinite(drive.targets).any(axis=1)
    frames = store.get(EXPLORED)
    times_ps = state.steps_taken * options.timestep_fs / 1000
    early = frames.tags["time_ps"] < EARLY * options.time_ps
    unsure = np.flatnonzero(state.kind == UNSURE)
    if len(unsure):
        last, found = state.before[unsure], model(state.before[unsure])
        tags = _tags(unsure, kelvin[unsure], times_ps[unsure], found, found.energies)
        frames = concatenate(frames, Dataset(job.numbers, last, tags=tags))
    early = np.concatenate([early, np.zeros(len(unsure), dtype=bool)])
    return Explored(frames[_of_interest(job, frames, early, known)], ends, kelvin, driven, times_ps)


def _tags(
    who: np.ndarray,
    kelvin: np.ndarray,
    times_ps: np.ndarray,
    found: Evaluation,
    energies_eV: np.ndarray,
) -> dict[str, np.ndarray]:
    """The tags of explored frames; the energies (frames,) are those without restraints."""
    return {
        "replica": who,
        "temperature_K": kelvin,
        "time_ps": times_ps,
        DEVIATION: deviation_of(found),
        ENERGY: energies_eV,
    }


def _of_interest(job: LearnJob, frames: Dataset, early: np.ndarray, known: Dataset) -> np.ndarray:
    """Rows of explored frames that are worth a label: neither near their start nor too high.

    Where all are one of the two, the early ones will do, and after them the high ones.
    """
    tags = frames.tags
    high = tags[ENERGY] > known.labels()[0].min() + job.ceiling_eV(tags["temperature_K"])
    for usable in (~high & ~early, ~high):
        if usable.any():
            return np.flatnonzero(usable)
    return np.arange(len(frames))


def named_lines(job: LearnJob, positions: np.ndarray) -> tuple[Line, ...]:
    """The user's coordinates and the bends within them, to drive replicas along.

    Args:
        job: of the learning.
        positions: (frames, atoms, 3) of the known frames.
    """
    climb = job.options.max_energy_kcal_mol
    bends = driven_lines(job.bends, positions, climb, straight=True)
    return (*driven_lines(job.coordinates, positions, climb), *bends)


def driven_lines(
    coordinates: Sequence[Coordinate],
    positions: np.ndarray,
    climb_kcal_mol: float = 0.0,
    *,
    straight: bool = False,
) -> tuple[Line, ...]:
    """Coordinates that replicas can be driven along, with force constants and ranges of targets.

    The range is the whole circle of a dihedral, and a little more than that of the known frames of
    another coordinate, so that it grows from round to round.

    Args:
        coordinates: some.
        positions: (frames, atoms, 3) of the known frames.
        climb_kcal_mol: height of a barrier over the quarter of a circle, such as that of a double
            bond, on whose steepest slope a dihedral is held within its width.
        straight: whether angles may be bent until they are almost straight.
    """
    lines = []
    for coordinate in coordinates:
        values = coordinate.values(positions)
        low, high = float(values.min()), float(values.max())
        width = SPACINGS.get(coordinate.kind, (high - low) / WIDTHS) / 1.5
        if coordinate.periodic:
            low, high = -180.0, 180.0
        else:
            low, high = low - WIDER * width, high + WIDER * width
            if straight:
                high = 180.0 - width
        if width > 0:
            kappa = KB * HELD_AT_K / width**2
            if coordinate.periodic:  # climb * sin^2, which is steepest halfway
                kappa = max(kappa, np.radians(climb_kcal_mol * KCAL_MOL) / width)
            lines.append(Line(coordinate, np.array([low, high]), kappa, coordinate.periodic))
    return tuple(lines)


def drive_of(
    named: tuple[Line, ...],
    turning: tuple[Line, ...],
    known: np.ndarray,
    starts: np.ndarray,
    rows: np.ndarray,
    rng: Generator,
) -> Drive:
    """Targets of driven replicas, each along one or two coordinates; their starts are changed.

    Args:
        named: coordinates that the user names; each replica is driven along one of them, to targets
            that are spread over its range.
        turning: rotatable dihedrals; it is driven along one of them too, or two without the others.
        known: (frames, atoms, 3) of labelled frames; the one nearest to the targets is the start.
        starts: (replicas, atoms, 3), those of the driven rows are replaced.
        rows: (driven,) of int.
        rng: draws coordinates and targets.
    """
    lines = (*named, *turning)
    values = np.stack([line.coordinate.values(known) for line in lines], axis=1)
    targets = np.full((len(starts), len(lines)), np.nan)
    of_line = np.array_split(rng.permutation(rows), len(named)) if named else []
    for n, some in enumerate(of_line):
        shares = (rng.permutation(len(some)) + rng.uniform(size=len(some))) / max(len(some), 1)
        low, high = lines[n].centres
        targets[some, n] = low + shares * (high - low)
    for row in rows:
        others = len(named) + rng.permutation(len(turning))
        for n in others[: 1 if named else 2]:
            targets[row, n] = rng.uniform(*lines[n].centres)
        apart = np.zeros(len(known))
        for n in np.flatnonzero(np.isfinite(targets[row])):
            apart += lines[n].kappa * lines[n].gaps(values[:, n], targets[row, n]) ** 2
        starts[row] = known[apart.argmin()]
    begun = np.stack([line.coordinate.values(starts) for line in lines], axis=1)
    return Drive(lines, begun, targets)


def evenly(coordinates: Sequence[Coordinate], positions: np.ndarray, rng: Generator) -> np.ndarray:
    """Rows of geometries (frames, atoms, 3) at random, those first that are rare along coordinates.

    Of the first of many rows there are then about as many at all values: dynamics that is driven
    over a barrier is at its top for moments.

    Source: Efraimidis and Spirakis, Inf. Process. Lett. 97, 181 (2006), for the weighted draw.
    """
    weights = np.zeros(len(positions))
    for coordinate in coordinates:
        values = coordinate.values(positions)
        width = SPACINGS.get(coordinate.kind, np.ptp(values) / WIDTHS)
        places = np.floor((values - values.min()) / width) if width > 0 else np.zeros(len(values))
        _, which, counts = np.unique(places, return_inverse=True, return_counts=True)
        weights += 1 / counts[which]
    return np.argsort(rng.exponential(size=len(positions)) / weights)


def features(positions: np.ndarray) -> np.ndarray:
    """Inverse distances (frames, pairs) of geometries (frames, atoms, 3), in 1/angstrom."""
    return 1.0 / pair_distances(positions)


def _recorder(
    method: Exploration, store: Store, name: str, render: Callable[[CrashState], Dataset]
) -> Recorder:
    """Of the frames of all replicas, some dozens of each."""
    return Recorder(store.frames(name), max(1, method.steps // FRAMES_PER_REPLICA), render)


def _frames_of(method: Exploration) -> Callable[[CrashState], Dataset]:
    numbers, replicas = method.numbers, method.replicas

    def render(state: CrashState) -> Dataset:
        who = state.alive
        time_ps = np.full(len(who), state.step * method.test.timestep_fs / 1000)
        kelvin, found = replicas.temperature_K[who], state.moving.evaluation
        tags = _tags(who, kelvin, time_ps, found, method.energies(state))
        return Dataset(numbers, state.moving.positions, tags=tags)

    return render


def _end(kind: int) -> str:
    """Why a replica has ended."""
    if kind < 0:
        return ""
    return "unsure" if kind == UNSURE else KINDS[kind]
