"""Intrinsic reaction coordinates (IRC): both sides of saddles, downhill, in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.errors import InputError
from flexcalc.fields import Count, Masses, Positive
from flexcalc.masses import atomic_masses
from flexcalc.methods.hessian import (
    free_of_motions,
    hessian,
    update_hessians,
    vibrations,
)
from flexcalc.potential import Evaluation, Potential
from flexcalc.units import WAVENUMBER

EARLIEST = 8
"""Steps before which small forces are not those of a minimum."""
MIN_STEP = 0.01
"""A row has reached a minimum when its step is below this fraction of `arc_step`."""


FIRST_DROP_EV = 5e-4
"""Energy by which the first step leads down: along soft modes it is longer than `arc_step`, as the
force that is left at the saddle would else lead back over it."""


FARTHEST = 12.0
"""Logarithm of the parameter of a descent where it has reached its minimum."""
ITERATIONS, SAME = 60, 1e-13
"""Of the search for the parameter of a step: as many at most, and the change that ends them."""
MOST_FIRST_STEPS = 5
"""The first step is no longer than this multiple of `arc_step`."""


@dataclass(frozen=True, eq=False)
class IRCState:
    """Both sides of every saddle during the descent; rows 2 k and 2 k + 1 belong to saddle k.

    Args:
        step: steps taken.
        positions: (rows, atoms, 3) in angstrom.
        evaluation: energies and forces there.
        hessians: (rows, 3 atoms, 3 atoms) in eV/angstrom^2, updated at every step.
        lengths: (rows,) of the next step, in angstrom sqrt(amu).
        done: (rows,) whether a row has reached a minimum; it is not moved any more.
        points: (step + 1, rows, atoms, 3) all positions so far; the first are the saddles.
        energies: (step + 1, rows) in eV.
        arcs: (step + 1, rows) arc length from the saddle, in angstrom sqrt(amu).
    """

    step: int
    positions: np.ndarray
    evaluation: Evaluation
    hessians: np.ndarray
    lengths: np.ndarray
    done: np.ndarray
    points: np.ndarray
    energies: np.ndarray
    arcs: np.ndarray


@dataclass(frozen=True, kw_only=True)
class IRC:
    """Steepest descent in mass-weighted coordinates, by the local quadratic approximation.

    Every step follows the steepest descent of the quadratic model exactly up to a given distance.
    The Hessian is that of the saddle, updated with the gradients along the path. A step uphill is
    rejected; the Hessian is updated with it, and the next step is half as long.

    Sources: Fukui, Acc. Chem. Res. 14, 363 (1981), doi:10.1021/ar00072a001; Page and McIver,
    J. Chem. Phys. 88, 922 (1988), doi:10.1063/1.454172, equations 12 to 20.
    """

    kind: ClassVar[str] = "irc"

    arc_step: Positive = 0.1
    """Length of a step along the reaction path, in angstrom sqrt(amu)."""
    arc_steps: Count = 400
    """Maximum number of steps on each side of the saddle."""
    arc_force_eV_A: Positive = 0.005
    """A minimum is reached when the force on every atom is below this, in eV/angstrom."""
    masses: Masses = ()

    def init(
        self,
        potential: Potential,
        positions: np.ndarray,
        rng: Generator,
        hessians: np.ndarray | None = None,
    ) -> IRCState:
        """Start at saddles; their Hessians are computed unless they are given.

        Args:
            potential: surface, in eV and angstrom.
            positions: (saddles, atoms, 3) in angstrom.
            rng: not used.
            hessians: (saddles, 3 atoms, 3 atoms) in eV/angstrom^2, if known.

        Raises:
            InputError: a geometry has no mode of negative curvature.
        """
        if hessians is None:
            hessians = hessian(potential, positions)
        masses = atomic_masses(potential.numbers, self.masses)
        modes, sizes = [], []
        for index, (place, curved) in enumerate(zip(positions, hessians, strict=True)):
            normal = vibrations(place, curved, masses)
            if not len(normal.modes) or normal.frequencies_cm[0] >= 0:
                raise InputError(
                    f"geometry {index} is no saddle: expected an imaginary frequency, found none; "
                    "refine it first"
                )
            modes.append(normal.modes[0])
            bent = (WAVENUMBER * normal.frequencies_cm[0]) ** 2
            sizes.append(max(self.arc_step, np.sqrt(2 * FIRST_DROP_EV / bent)))
        rows, curvatures = np.repeat(positions, 2, axis=0), np.repeat(hessians, 2, axis=0)
        lengths = np.minimum(np.repeat(sizes, 2), MOST_FIRST_STEPS * self.arc_step)
        first = lengths[:, None, None] * np.repeat(np.stack(modes), 2, axis=0)
        first[1::2] *= -1
        top, found = potential(positions), potential(rows + first)
        gradients = -np.repeat(top.forces, 2, axis=0)
        arcs = np.zeros((1, len(rows)))
        flat = (len(rows), -1)
        return IRCState(
            step=1,
            positions=rows + first,
            evaluation=found,
            hessians=update_hessians(
                curvatures, first.reshape(flat), (-found.forces - gradients).reshape(flat)
            ),
            lengths=np.full(len(rows), self.arc_step),
            done=np.zeros(len(rows), dtype=bool),
            points=np.stack([rows, rows + first]),
            energies=np.stack([np.repeat(top.energies, 2), found.energies]),
            arcs=np.concatenate([arcs, arcs + lengths]),
        )

    def step(self, potential: Potential, state: IRCState, rng: Generator) -> IRCState:
        """Move every row that has not reached a minimum; one potential call for all rows."""
        masses = atomic_masses(potential.numbers, self.masses)
        moves, lengths, bent = self._moves(state, masses)
        forces = np.sqrt((state.evaluation.forces**2).sum(axis=2)).max(axis=1)
        # Near the saddle forces are small too, but the curvature along the path is negative.
        # Next to a soft saddle it is not known well enough to tell.
        small = (forces < self.arc_force_eV_A) & (bent > 0) & (state.step >= EARLIEST)
        arrived = state.done | small
        tried = np.where(arrived[:, None, None], state.positions, state.positions + moves)
        found = self._evaluated(potential, state, tried, arrived)
        flat = (len(tried), -1)
        changes = (state.evaluation.forces - found.forces).reshape(flat)
        uphill = found.energies > state.evaluation.energies
        stay = arrived | uphill
        kept = Evaluation(
            np.where(stay, state.evaluation.energies, found.energies),
            np.where(stay[:, None, None], state.evaluation.forces, found.forces),
        )
        positions = np.where(stay[:, None, None], state.positions, tried)
        return replace(
            state,
            step=state.step + 1,
            positions=positions,
            evaluation=kept,
            hessians=update_hessians(
                state.hessians, (tried - state.positions).reshape(flat), changes
            ),
            lengths=np.where(
                uphill, state.lengths / 2, np.minimum(1.5 * state.lengths, self.arc_step)
            ),
            done=arrived | (uphill & (state.lengths < MIN_STEP * self.arc_step)),
            points=np.concatenate([state.points, positions[None]]),
            energies=np.concatenate([state.energies, kept.energies[None]]),
            arcs=np.concatenate([state.arcs, state.arcs[-1:] + np.where(stay, 0.0, lengths)]),
        )

    def converged(self, state: IRCState) -> bool:
        """Whether every row has reached a minimum."""
        return bool(state.done.all())

    def _moves(
        self, state: IRCState, masses: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Moves (rows, atoms, 3), their mass-weighted lengths and the curvatures along the path."""
        rows, shape = len(state.positions), state.positions.shape
        roots = np.repeat(np.sqrt(masses), 3)
        free = free_of_motions(state.positions, masses)
        hessians = free @ (state.hessians / roots / roots[:, None]) @ free
        gradients = -state.evaluation.forces.reshape(rows, -1) / roots
        gradients = np.einsum("rij,rj->ri", free, gradients)
        values, vectors = np.linalg.eigh(hessians)
        slopes = np.einsum("rim,ri->rm", vectors, gradients)
        steps = steepest_descent(values, slopes, state.lengths)
        bent = (slopes**2 * values).sum(axis=1) / np.maximum((slopes**2).sum(axis=1), 1e-300)
        moves = np.einsum("rim,rm->ri", vectors, steps)
        return (moves / roots).reshape(shape), np.sqrt((steps**2).sum(axis=1)), bent

    @staticmethod
    def _evaluated(
        potential: Potential, state: IRCState, positions: np.ndarray, arrived: np.ndarray
    ) -> Evaluation:
        """Energies and forces of all rows; rows that have arrived are not evaluated again."""
        energies, forces = state.evaluation.energies.copy(), state.evaluation.forces.copy()
        if not arrived.all():
            found = potential(positions[~arrived])
            energies[~arrived], forces[~arrived] = found.energies, found.forces
        return Evaluation(energies, forces)


def steepest_descent(values: np.ndarray, slopes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Steps (rows, modes) along the steepest descent of quadratic surfaces.

    Along each mode the descent from 0 is (exp(-value t) - 1) slope / value. Its distance from the
    start grows with t, which is found by Newton's method for the logarithms of both, within bounds
    that close in. If the minimum is nearer than the length, the step ends there.

    Args:
        values: (rows, modes) second derivatives.
        slopes: (rows, modes) first derivatives.
        lengths: (rows,) lengths of the steps, in the unit of the coordinates.

    Source: Page and McIver (1988), equation 16.
    """

    def at(log_t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Steps, their lengths, and the derivatives of the squares of these by log t, halved."""
        t = np.exp(log_t)[:, None]
        flat = np.abs(values * t) < 1e-8
        # The exponent is capped against overflow; such steps exceed any length anyway.
        decay = np.expm1(np.minimum(-values * t, 200.0))
        steps = slopes * np.where(flat, -t, decay / np.where(flat, 1.0, values))
        squares = (steps**2).sum(axis=1)
        return steps, np.sqrt(squares), -(steps * slopes * t * (decay + 1.0)).sum(axis=1)

    low, high = np.full(len(values), -30.0), np.full(len(values), FARTHEST)
    near = at(high)[1] <= lengths
    # Of a straight line.
    straight = np.log(lengths / np.maximum(np.sqrt((slopes**2).sum(axis=1)), 1e-300))
    log_t = np.where(near, high, np.clip(straight, low, high))
    for _ in range(ITERATIONS):
        _, found, growth = at(log_t)
        low, high = np.where(found > lengths, low, log_t), np.where(found > lengths, log_t, high)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            guess = log_t - np.log(found / lengths) * found**2 / growth
        # Where exponents are capped the growth is not that of the lengths.
        within = (guess > low) & (guess < high) & (found < 1e6 * lengths)
        trial = np.where(near, FARTHEST, np.where(within, guess, (low + high) / 2))
        moved, log_t = np.abs(trial - log_t).max(initial=0.0), trial
        if moved < SAME:
            break
    return at(log_t)[0]
