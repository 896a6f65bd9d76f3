"""The intrinsic reaction coordinate from a saddle down to both minima."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.geometry import align_consecutive
from flexcalc.masses import of_frames
from flexcalc.methods.irc import IRCState
from flexcalc.methods.iterate import Checkpoint, Setup, StartedWith, run
from flexcalc.methods.relax import relax
from flexcalc.results.saddle import DESCENT, MINIMA
from flexcalc.store import Store
from flexcalc.tasks.saddle.endpoints import Endpoint, identify_endpoints

if TYPE_CHECKING:
    from flexcalc.tasks.saddle.search import SaddleJob

MINIMUM_FORCE_EV_A = 0.001
"""Minima are relaxed to this force: soft modes are only then free of the slope."""


def descend(
    job: SaddleJob, store: Store, positions: np.ndarray, hessian: np.ndarray
) -> list[Endpoint]:
    """Follow the descent to both sides, and relax and identify its ends.

    Keeps irc.xyz and minima.xyz.

    Args:
        job: with the potential, the method and the given minima.
        store: keeps the checkpoint too.
        positions: of the saddle (atoms, 3) in angstrom.
        hessian: there (3 atoms, 3 atoms), in eV/angstrom^2.

    Returns:
        The minima, start first and end last.
    """
    method = job.options.descent
    state = _followed(job, store, positions, hessian)
    if not method.converged(state):
        store.say("the way down did not come to its end: run with more arc_steps")
    with store.bar("minima") as progress:
        minima = relax(
            job.counting("descent"),
            state.positions,
            force_tolerance_eV_A=MINIMUM_FORCE_EV_A,
            steps=2000,
        )
        progress(1, 1, "relaxed")
    endpoints, forward = identify_endpoints(
        job.numbers, minima.positions, minima.evaluation, job.guess, state
    )
    store.put(DESCENT, _coordinate(job, state, forward))
    found = np.stack([one.positions for one in endpoints])
    store.put(MINIMA, labelled(job, found))
    return endpoints


def _followed(job: SaddleJob, store: Store, positions: np.ndarray, hessian: np.ndarray) -> IRCState:
    """The descent to both sides, from its checkpoint if there is one."""
    method, surface = job.options.descent, job.counting("descent")
    rng = np.random.default_rng(0)
    checkpoint = Checkpoint(store, "irc.checkpoint", rng, counted=surface)
    with store.bar("way down") as progress:

        def watch(state: IRCState) -> None:
            done = int(state.done.sum())
            progress(state.step, method.arc_steps, f"{done} of 2 sides at the bottom")

        return run(
            StartedWith(method, hessian[None]),
            Setup(surface, positions[None]),
            IRCState,
            steps=method.arc_steps,
            checkpoint=checkpoint,
            observers=[watch],
        )


def _coordinate(job: SaddleJob, state: IRCState, forward: int) -> Dataset:
    """The points from start to end through the saddle, as frames with their arc."""
    halves = []
    for row, sign in ((1 - forward, -1), (forward, 1)):
        moved = np.concatenate([[True], np.diff(state.arcs[:, row]) > 0])
        arcs = sign * state.arcs[moved, row]
        halves.append((state.points[moved, row], state.energies[moved, row], arcs))
    (p, e, a), (q, f, b) = halves
    points = align_consecutive(np.concatenate([p[::-1], q[1:]]))
    energies, arcs = np.concatenate([e[::-1], f[1:]]), np.concatenate([a[::-1], b[1:]])
    own = of_frames(job.own_masses, len(points))
    return Dataset(job.numbers, points, energies, None, {"arc": arcs}, job.provenance, own)


def labelled(job: SaddleJob, positions: np.ndarray) -> Dataset:
    """Geometries (frames, atoms, 3) with the labels of the potential."""
    found = job.counting("labels")(positions)
    own = of_frames(job.own_masses, len(positions))
    return Dataset(job.numbers, positions, found.energies, found.forces, {}, job.provenance, own)
