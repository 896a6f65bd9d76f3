"""Refinement of guessed geometries to saddle points of first order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.errors import ShapeError
from flexcalc.fields import Natural, Positive
from flexcalc.methods.hessian import free_of_motions, hessian, update_hessians
from flexcalc.methods.optimisers import limit
from flexcalc.potential import Evaluation, Potential

RIGID_EV_A2 = 1e6
"""Stiffness given to translation and rotation, so that no step goes along them."""

LIKE = 0.3
"""Overlap with the tangent above which a mode counts as one along the path."""

MIN_TRUST_A = 1e-3
"""Minimum trust radius, in angstrom."""


@dataclass(frozen=True, eq=False)
class SaddleState:
    """Geometries during a saddle search.

    Args:
        step: steps taken.
        positions: (batch, atoms, 3) in angstrom.
        evaluation: energies and forces there.
        hessians: (batch, 3 atoms, 3 atoms) in eV/angstrom^2, updated at every step.
        modes: (batch, atoms, 3) unit vectors of the modes that are climbed.
        curvatures: (batch,) along them, in eV/angstrom^2; negative at a saddle.
        trust_A: (batch,) trust radius: maximum move of an atom in the next step, in angstrom.
    """

    step: int
    positions: np.ndarray
    evaluation: Evaluation
    hessians: np.ndarray
    modes: np.ndarray
    curvatures: np.ndarray
    trust_A: np.ndarray

    def largest_forces(self) -> np.ndarray:
        """Maximum norm (batch,) of the force on an atom, in eV/angstrom."""
        return np.sqrt((self.evaluation.forces**2).sum(axis=2)).max(axis=1)


@dataclass(frozen=True, kw_only=True)
class RFO:
    """Partitioned rational-function optimisation: up along one mode, down along the others.

    The Hessian is computed by finite differences in one batch, updated at every step, and
    recomputed every few steps. The trust radius is adjusted by how well the quadratic model
    predicts the energy.

    Source: Banerjee, Adams, Simons and Shepard, J. Phys. Chem. 89, 52 (1985),
    doi:10.1021/j100247a015; updates of the Hessian: see `methods.hessian.update_hessians`.
    """

    kind: ClassVar[str] = "rfo"

    saddle_force_eV_A: Positive = 0.002
    """Converged when the force on every atom is below this, in eV/angstrom."""
    trust_A: Positive = 0.1
    """Initial trust radius: maximum move of an atom in a step, in angstrom."""
    longest_trust_A: Positive = 0.25
    """Maximum trust radius, in angstrom."""
    hessian_every: Natural = 5
    """Steps between Hessians by finite differences, 0 for only the first; between them the Hessian
    is updated from gradients, which is not accurate enough for long in floppy molecules."""

    def init(
        self,
        potential: Potential,
        positions: np.ndarray,
        rng: Generator,
        tangents: np.ndarray | None = None,
    ) -> SaddleState:
        """Start from guesses, with their Hessians.

        Args:
            potential: surface, in eV and angstrom.
            positions: (batch, atoms, 3) in angstrom, of at least two atoms.
            rng: not used.
            tangents: (batch, atoms, 3) directions across the barrier, such as those of a path.
                The mode of negative curvature with the largest overlap is climbed, by default
                the lowest mode.

        Raises:
            ShapeError: a single atom, or tangents of another shape than the positions.
        """
        if positions.shape[1] < 2:
            raise ShapeError("a saddle needs a molecule of at least two atoms, got one atom")
        if tangents is not None and tangents.shape != positions.shape:
            raise ShapeError(f"expected tangents {positions.shape}, got {tangents.shape}")
        state = SaddleState(
            step=0,
            positions=positions,
            evaluation=potential(positions),
            hessians=hessian(potential, positions),
            modes=np.zeros_like(positions),
            curvatures=np.zeros(len(positions)),
            trust_A=np.full(len(positions), min(self.trust_A, self.longest_trust_A)),
        )
        values, vectors = inner_modes(state.positions, state.hessians)
        overlap = -np.arange(values.shape[1]) * np.ones(values.shape)
        if tangents is not None:
            flat = tangents.reshape(len(tangents), -1)
            overlap = np.abs(np.einsum("bim,bi->bm", vectors, flat))
            overlap /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
            # A path's tangent is approximate: a mode of negative curvature is preferred to one
            # of positive curvature with more overlap, unless it has hardly any overlap.
            overlap = overlap + ((values < 0) & (overlap > LIKE))
        return _with_modes(state, values, vectors, np.argmax(overlap, axis=1))

    def step(self, potential: Potential, state: SaddleState, rng: Generator) -> SaddleState:
        """Move every geometry that has not converged; one potential call for the batch."""
        batch = len(state.positions)
        moves, predicted = self._moves(state)
        positions = state.positions + moves.reshape(state.positions.shape)
        evaluation = potential(positions)
        changes = (state.evaluation.forces - evaluation.forces).reshape(batch, -1)
        found = evaluation.energies - state.evaluation.energies
        renew = self.hessian_every and (state.step + 1) % self.hessian_every == 0
        moved = replace(
            state,
            step=state.step + 1,
            positions=positions,
            evaluation=evaluation,
            hessians=hessian(potential, positions)
            if renew
            else update_hessians(state.hessians, moves, changes),
            trust_A=self._trust(state.trust_A, found, predicted, moves),
        )
        values, vectors = inner_modes(moved.positions, moved.hessians)
        flat = state.modes.reshape(batch, -1)
        overlap = np.abs(np.einsum("bim,bi->bm", vectors, flat))
        return _with_modes(moved, values, vectors, np.argmax(overlap, axis=1))

    def converged(self, state: SaddleState) -> bool:
        """Whether every force is below the tolerance."""
        return bool((state.largest_forces() < self.saddle_force_eV_A).all())

    def _moves(self, state: SaddleState) -> tuple[np.ndarray, np.ndarray]:
        """Moves (batch, 3 atoms) in angstrom, and the predicted changes of energy (batch,)."""
        batch, shape = len(state.positions), state.positions.shape
        values, vectors = inner_modes(state.positions, state.hessians)
        gradients = -state.evaluation.forces.reshape(batch, -1)
        slopes = np.einsum("bim,bi->bm", vectors, gradients)
        flat = state.modes.reshape(batch, -1)
        climbed = np.argmax(np.abs(np.einsum("bim,bi->bm", vectors, flat)), axis=1)
        steps = rational_steps(values, slopes, climbed)
        steps[state.largest_forces() < self.saddle_force_eV_A] = 0.0
        moves = np.einsum("bim,bm->bi", vectors, steps).reshape(shape)
        moves = _at_most(moves, state.trust_A).reshape(batch, -1)
        bent = np.einsum("bi,bij,bj->b", moves, state.hessians, moves)
        return moves, np.einsum("bi,bi->b", gradients, moves) + bent / 2

    def _trust(
        self, trust_A: np.ndarray, found: np.ndarray, predicted: np.ndarray, moves: np.ndarray
    ) -> np.ndarray:
        """The next trust radii (batch,): larger where the model predicted well, else smaller."""
        off = np.abs(found - predicted)
        # Below 1e-5 eV the difference is rounding, which says nothing about the model.
        good = off < np.maximum(0.25 * np.abs(predicted), 1e-5)
        bad = off > np.maximum(np.abs(predicted), 1e-5)
        longest = np.sqrt((moves.reshape(len(moves), -1, 3) ** 2).sum(axis=2)).max(axis=1)
        used = longest > 0.8 * trust_A
        larger = np.where(good & used, 1.5 * trust_A, trust_A)
        smaller = np.maximum(0.4 * longest, MIN_TRUST_A)
        return np.minimum(np.where(bad, smaller, larger), self.longest_trust_A)


def inner_modes(positions: np.ndarray, hessians: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (batch, 3 atoms) and eigenvectors (batch, 3 atoms, 3 atoms; columns).

    Translations and rotations come last, with the eigenvalue RIGID_EV_A2.
    """
    free = free_of_motions(positions, np.ones(positions.shape[1]))
    stiff = RIGID_EV_A2 * (np.eye(free.shape[1]) - free)
    return np.linalg.eigh(free @ hessians @ free + stiff)


def rational_steps(values: np.ndarray, slopes: np.ndarray, climbed: np.ndarray) -> np.ndarray:
    """Steps (batch, modes) uphill along one mode and downhill along the others.

    Args:
        values: (batch, modes) eigenvalues of the Hessian.
        slopes: (batch, modes) gradient along each mode.
        climbed: (batch,) index of the mode to climb.

    Source: Banerjee et al. (1985), equations 27 to 31.
    """
    rows, modes = np.arange(len(values)), values.shape[1]
    up_value, up_slope = values[rows, climbed], slopes[rows, climbed]
    shifts = np.zeros_like(values)
    others = np.ones(values.shape, dtype=bool)
    others[rows, climbed] = False
    # The lowest eigenvalue of the Hessian bordered by the gradient, without the climbed mode.
    bordered = np.zeros((len(values), modes + 1, modes + 1))
    inside = np.arange(modes)
    bordered[:, inside, inside] = np.where(others, values, RIGID_EV_A2)
    bordered[:, -1, :-1] = bordered[:, :-1, -1] = np.where(others, slopes, 0.0)
    shifts[:] = np.linalg.eigvalsh(bordered)[:, :1]
    shifts[rows, climbed] = (up_value + np.sqrt(up_value**2 + 4 * up_slope**2)) / 2
    gaps = values - shifts
    return np.where(np.abs(gaps) > 1e-12, -slopes / np.where(gaps == 0, 1.0, gaps), 0.0)


def _with_modes(
    state: SaddleState, values: np.ndarray, vectors: np.ndarray, chosen: np.ndarray
) -> SaddleState:
    """The state that climbs along the chosen eigenvectors."""
    rows = np.arange(len(values))
    modes = vectors[rows, :, chosen].reshape(state.positions.shape)
    return replace(state, modes=modes, curvatures=values[rows, chosen])


def _at_most(moves: np.ndarray, longest_A: np.ndarray) -> np.ndarray:
    """Moves (batch, atoms, 3), shortened to the maximum move of an atom in each row."""
    return np.concatenate(
        [limit(move[None], float(most)) for move, most in zip(moves, longest_A, strict=True)]
    )
