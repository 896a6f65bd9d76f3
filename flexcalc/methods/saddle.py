"""Refinement of guessed geometries to saddle points of first order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.errors import ShapeError
from flexcalc.fields import Natural, Positive
from flexcalc.methods.hessian import corrected, free_of_motions, hessian
from flexcalc.methods.optimisers import limit
from flexcalc.potential import Evaluation, Potential

RIGID_EV_A2 = 1e6
"""Stiffness given to translation and rotation, so that no step goes along them."""

LIKE = 0.3
"""Overlap above which a mode counts as one along the path."""

SMALLEST_A = 1e-3
"""A trust radius shrinks no further, in angstrom."""


@dataclass(frozen=True, eq=False)
class SaddleState:
    """Geometries on their way to a saddle.

    Args:
        step: steps taken.
        positions: (batch, atoms, 3) in angstrom.
        evaluation: energies and forces there.
        hessians: (batch, 3 atoms, 3 atoms) in eV/angstrom^2, corrected at every step.
        modes: (batch, atoms, 3) unit directions that are climbed.
        curvatures: (batch,) along them, in eV/angstrom^2; negative at a saddle.
        trust_A: (batch,) longest move of an atom in the next step, in angstrom.
    """

    step: int
    positions: np.ndarray
    evaluation: Evaluation
    hessians: np.ndarray
    modes: np.ndarray
    curvatures: np.ndarray
    trust_A: np.ndarray

    def largest_forces(self) -> np.ndarray:
        """Largest length of an atom's force (batch,), in eV/angstrom."""
        return np.sqrt((self.evaluation.forces**2).sum(axis=2)).max(axis=1)


@dataclass(frozen=True, kw_only=True)
class RFO:
    """Partitioned rational-function optimisation: up along one mode, down along the others.

    It starts from a Hessian by finite differences, all in one batch, corrects it at every step
    and renews it every few. The trust radius follows how well the quadratic model foretold the
    energy.

    Source: Banerjee, Adams, Simons and Shepard, J. Phys. Chem. 89, 52 (1985),
    doi:10.1021/j100247a015; corrections of the Hessian: see `methods.hessian.corrected`.
    """

    kind: ClassVar[str] = "rfo"

    saddle_force_eV_A: Positive = 0.002
    """A saddle is found when no atom's force is longer, in eV/angstrom."""
    trust_A: Positive = 0.1
    """Longest move of an atom in the first step to the saddle, in angstrom."""
    longest_trust_A: Positive = 0.25
    """Longest move of an atom in any step to the saddle, in angstrom."""
    hessian_every: Natural = 5
    """Steps to the saddle between two Hessians by finite differences, 0 for only the first: a
    floppy molecule outruns what corrections can keep up with."""

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
            tangents: (batch, atoms, 3) directions across the barrier, such as a path's; the
                mode of negative curvature most like it is climbed, by default the lowest.

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
        likeness = -np.arange(values.shape[1]) * np.ones(values.shape)
        if tangents is not None:
            flat = tangents.reshape(len(tangents), -1)
            likeness = np.abs(np.einsum("bim,bi->bm", vectors, flat))
            likeness /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)
            # A path's tangent is rough: a mode that curves down is taken rather than a better
            # fit that curves up, unless it has nothing to do with the path.
            likeness = likeness + ((values < 0) & (likeness > LIKE))
        return _following(state, values, vectors, np.argmax(likeness, axis=1))

    def step(self, potential: Potential, state: SaddleState, rng: Generator) -> SaddleState:
        """Move every geometry that has not arrived; one potential call for the batch."""
        batch = len(state.positions)
        moves, foretold = self._moves(state)
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
            else corrected(state.hessians, moves, changes),
            trust_A=self._trust(state.trust_A, found, foretold, moves),
        )
        values, vectors = inner_modes(moved.positions, moved.hessians)
        flat = state.modes.reshape(batch, -1)
        likeness = np.abs(np.einsum("bim,bi->bm", vectors, flat))
        return _following(moved, values, vectors, np.argmax(likeness, axis=1))

    def converged(self, state: SaddleState) -> bool:
        """Whether every force is below the tolerance."""
        return bool((state.largest_forces() < self.saddle_force_eV_A).all())

    def _moves(self, state: SaddleState) -> tuple[np.ndarray, np.ndarray]:
        """Moves (batch, 3 atoms) in angstrom, and the changes of energy (batch,) they foretell."""
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
        self, trust_A: np.ndarray, found: np.ndarray, foretold: np.ndarray, moves: np.ndarray
    ) -> np.ndarray:
        """The next trust radii (batch,): larger where the model was right, smaller where not."""
        off = np.abs(found - foretold)
        # Below 1e-5 eV rounding decides, which says nothing of the model.
        good = off < np.maximum(0.25 * np.abs(foretold), 1e-5)
        bad = off > np.maximum(np.abs(foretold), 1e-5)
        longest = np.sqrt((moves.reshape(len(moves), -1, 3) ** 2).sum(axis=2)).max(axis=1)
        used = longest > 0.8 * trust_A
        larger = np.where(good & used, 1.5 * trust_A, trust_A)
        smaller = np.maximum(0.4 * longest, SMALLEST_A)
        return np.minimum(np.where(bad, smaller, larger), self.longest_trust_A)


def inner_modes(positions: np.ndarray, hessians: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (batch, 3 atoms) and eigenvectors (batch, 3 atoms, 3 atoms; one a column).

    Translation and rotation come last, with the stiffness RIGID_EV_A2.
    """
    free = free_of_motions(positions, np.ones(positions.shape[1]))
    stiff = RIGID_EV_A2 * (np.eye(free.shape[1]) - free)
    return np.linalg.eigh(free @ hessians @ free + stiff)


def rational_steps(values: np.ndarray, slopes: np.ndarray, climbed: np.ndarray) -> np.ndarray:
    """Steps (batch, modes) that climb along one mode and go down along the others.

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


def _following(
    state: SaddleState, values: np.ndarray, vectors: np.ndarray, chosen: np.ndarray
) -> SaddleState:
    """The state with the chosen eigenvectors as the modes that are climbed."""
    rows = np.arange(len(values))
    modes = vectors[rows, :, chosen].reshape(state.positions.shape)
    return replace(state, modes=modes, curvatures=values[rows, chosen])


def _at_most(moves: np.ndarray, longest_A: np.ndarray) -> np.ndarray:
    """Moves (batch, atoms, 3) shortened to the longest move of an atom that each row may take."""
    return np.concatenate(
        [limit(move[None], float(most)) for move, most in zip(moves, longest_A, strict=True)]
    )
