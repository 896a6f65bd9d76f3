"""The intrinsic reaction coordinate from a saddle down to both minima."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.geometry import align, align_consecutive
from flexcalc.masses import of_frames
from flexcalc.methods.hessian import Vibrations, hessian, vibrations
from flexcalc.methods.irc import FIRST_DROP_EV, IRCState
from flexcalc.methods.iterate import Checkpoint, Setup, StartedWith, run
from flexcalc.methods.relax import RelaxState, relax
from flexcalc.potential import Evaluation, Potential
from flexcalc.results.saddle import DESCENT, MINIMA
from flexcalc.store import Store
from flexcalc.tasks.saddle.endpoints import Endpoint, identify_endpoints

if TYPE_CHECKING:
    from flexcalc.tasks.saddle.search import SaddleJob

MINIMUM_FORCE_EV_A = 0.001
"""Minima are relaxed to this force: soft modes are only then free of the slope."""

SPLITS = 3
"""How often a side goes on downhill from another saddle that it has ended on."""

SIDEWAYS_A = 0.01
"""Length along the mode of a saddle below which a given minimum is on neither side of it."""

NAMES = ("start", "end")

CHECKPOINTS = (
    "irc.checkpoint",
    *(f"irc-{name}-{leg}.checkpoint" for name in NAMES for leg in range(1, SPLITS + 1)),
)
"""What a descent resumes from."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a descent.

    Args:
        points: (points, atoms, 3) in angstrom, from the saddle downhill.
        energies: (points,) in eV.
        arcs: (points,) arc length from the saddle, in angstrom sqrt(amu).
        bottom: (atoms, 3) where it ends, relaxed.
        energy: there, in eV.
        hessian: there (3 atoms, 3 atoms) in eV/angstrom^2; None where it is not computed yet.
        split: whether it came by another saddle, from which two ways lead down.
    """

    points: np.ndarray
    energies: np.ndarray
    arcs: np.ndarray
    bottom: np.ndarray
    energy: float
    hessian: np.ndarray | None = None
    split: bool = False

    @classmethod
    def of(cls, state: IRCState, minima: RelaxState, row: int) -> Side:
        """A row of a descent, and of its relaxed ends."""
        moved = np.concatenate([[True], np.diff(state.arcs[:, row]) > 0])
        return cls(
            state.points[moved, row],
            state.energies[moved, row],
            state.arcs[moved, row],
            minima.positions[row],
            float(minima.evaluation.energies[row]),
        )

    def followed_by(self, other: Side, masses: np.ndarray) -> Side:
        """This side and another one that begins at its bottom; masses are (atoms,) in amu."""
        moves = align(other.points[:1], self.points[-1])[0] - self.points[-1]
        begin = self.arcs[-1] + np.sqrt((masses[:, None] * moves**2).sum())
        return Side(
            np.concatenate([self.points, other.points]),
            np.concatenate([self.energies, other.energies]),
            np.concatenate([self.arcs, begin + other.arcs]),
            other.bottom,
            other.energy,
            split=True,
        )


@dataclass(frozen=True, eq=False)
class OneWay(StartedWith):
    """A descent of which only one side is followed.

    Args:
        row: of that side.
    """

    row: int

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> IRCState:
        """The first state, whose other side has ended."""
        state: IRCState = super().init(potential, positions, rng)
        return replace(state, done=np.arange(2) != self.row)


def descend(
    job: SaddleJob, store: Store, positions: np.ndarray, hessian: np.ndarray
) -> list[Endpoint]:
    """Follow the descent to both sides, and relax and identify its ends.

    A symmetric molecule goes down within its symmetry, and may end on another saddle. From there
    it goes on along the imaginary mode, to the nearer of the given minima.

    Keeps irc.xyz and minima.xyz.

    Args:
        job: with the potential, the method and the given minima.
        store: keeps the checkpoint too.
        positions: of the saddle (atoms, 3) in angstrom.
        hessian: there (3 atoms, 3 atoms), in eV/angstrom^2.

    Returns:
        The minima, start first and end last.
    """
    state = _followed(job, store, "irc", StartedWith(job.options.descent, hessian[None]), positions)
    minima = _relaxed(job, store, state)
    _, forward = identify_endpoints(
        job.numbers, minima.positions, minima.evaluation, job.guess, state
    )
    sides = [
        _to_minimum(job, store, NAMES[row == forward], Side.of(state, minima, row))
        for row in range(2)
    ]
    bottoms = np.stack([side.bottom for side in sides])
    labels = Evaluation(np.array([side.energy for side in sides]), np.zeros_like(bottoms))
    endpoints, forward = identify_endpoints(job.numbers, bottoms, labels, job.guess, state)
    start, end = sides[1 - forward], sides[forward]
    store.put(DESCENT, _coordinate(job, start, end))
    store.put(MINIMA, labelled(job, np.stack([one.positions for one in endpoints])))
    return [
        replace(one, hessian=side.hessian, split=side.split)
        for one, side in zip(endpoints, (start, end), strict=True)
    ]


def _to_minimum(job: SaddleJob, store: Store, name: str, side: Side) -> Side:
    """A side with the Hessian at its bottom, which goes on where that is another saddle."""
    for leg in range(SPLITS + 1):
        curved = kept_hessian(job, store, name if leg == 0 else f"{name}-{leg}", side.bottom)
        side = replace(side, hessian=curved)
        found = vibrations(side.bottom, curved, job.masses)
        if not found.imaginary() or leg == SPLITS:
            break
        way = OneWay(job.options.descent, curved[None], _nearer_way(job, side.bottom, found))
        state = _followed(job, store, f"irc-{name}-{leg + 1}", way, side.bottom)
        further = Side.of(state, _relaxed(job, store, state), way.row)
        if further.energy > side.energy - FIRST_DROP_EV:
            break
        store.say(
            "the path downhill splits: it comes by another saddle, with "
            f"{-found.frequencies_cm[0]:.0f}i cm^-1, and goes on along one of two ways"
        )
        side = side.followed_by(further, job.masses)
    return side


def _nearer_way(job: SaddleJob, place: np.ndarray, found: Vibrations) -> int:
    """The row of the descent along the lowest mode that leads nearer to the nearest given minimum.

    Where both are equally near, a fixed one of them.
    """
    mode = found.modes[0].ravel()
    moves = [(align(end[None], place)[0] - place).ravel() for end in job.guess.minima.values()]
    if moves:
        along = float(mode @ min(moves, key=np.linalg.norm)) / np.linalg.norm(mode)
        if abs(along) > SIDEWAYS_A:
            return int(along < 0)
    first = mode[np.abs(mode) > np.abs(mode).max() / 2][0]
    return int(first < 0)


def _followed(
    job: SaddleJob, store: Store, name: str, method: StartedWith, positions: np.ndarray
) -> IRCState:
    """The descent from a saddle (atoms, 3), from its checkpoint NAME.checkpoint if there is one."""
    surface, most = job.counting("descent"), job.options.descent.arc_steps
    rng = np.random.default_rng(0)
    checkpoint = Checkpoint(store, f"{name}.checkpoint", rng, counted=surface)
    with store.bar("way down") as progress:

        def watch(state: IRCState) -> None:
            done = int(state.done.sum())
            progress(state.step, most, f"{done} of 2 sides at the bottom")

        state = run(
            method,
            Setup(surface, positions[None]),
            IRCState,
            steps=most,
            checkpoint=checkpoint,
            observers=[watch],
        )
    if not method.converged(state):
        store.say("the way down did not come to its end: run with more arc_steps")
    return state


def _relaxed(job: SaddleJob, store: Store, state: IRCState) -> RelaxState:
    """The relaxed ends of a descent."""
    with store.bar("minima") as progress:
        minima = relax(
            job.counting("descent"),
            state.positions,
            force_tolerance_eV_A=MINIMUM_FORCE_EV_A,
            steps=2000,
        )
        progress(1, 1, "relaxed")
    return minima


def _coordinate(job: SaddleJob, start: Side, end: Side) -> Dataset:
    """The points from start to end through the saddle, as frames with their arc."""
    points = align_consecutive(np.concatenate([start.points[::-1], end.points[1:]]))
    energies = np.concatenate([start.energies[::-1], end.energies[1:]])
    arcs = np.concatenate([-start.arcs[::-1], end.arcs[1:]])
    own = of_frames(job.own_masses, len(points))
    return Dataset(job.numbers, points, energies, None, {"arc": arcs}, job.provenance, own)


def kept_hessian(job: SaddleJob, store: Store, name: str, positions: np.ndarray) -> np.ndarray:
    """The Hessian of one geometry, kept as NAME.hessian; reused from there if it was computed."""
    known, surface = store.arrays(f"{name}.hessian"), job.counting("hessians")
    if known is not None and np.array_equal(known[0]["positions"], positions):
        surface.geometries += 2 * positions.size
        return known[0]["hessian"]
    with store.bar(f"Hessian of {name}") as progress:
        found = hessian(surface, positions[None], progress=progress)[0]
    store.put_arrays(f"{name}.hessian", {"positions": positions, "hessian": found}, {})
    return found


def labelled(job: SaddleJob, positions: np.ndarray) -> Dataset:
    """Geometries (frames, atoms, 3) with the labels of the potential."""
    found = job.counting("labels")(positions)
    own = of_frames(job.own_masses, len(positions))
    return Dataset(job.numbers, positions, found.energies, found.forces, {}, job.provenance, own)
