"""Refinement of guessed geometries to saddle points of first order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from flexcalc.errors import LabelError, ShapeError
from flexcalc.fields import Natural, Positive
from flexcalc.methods.hessian import free_of_motions, hessian, update_hessians
from flexcalc.potential import Evaluation, Potential

RIGID_EV_A2 = 1e6
"""Stiffness given to translation and rotation, so that no step goes along them."""

LIKE = 0.3
"""Overlap with the tangent above which a mode counts as one along the path."""

MIN_TRUST_A = 1e-3
"""Minimum trust radius, in angstrom; a move within it is not taken back."""

GOOD, BAD, REJECTED = 0.25, 0.5, 1.0
"""Error of the energy that the quadratic model predicts for a move, relative to the changes along
the climbed mode and the others: below the first the trust radius grows, above the second it
shrinks, and above the third the move is taken back."""

ROUNDING_EV = 1e-5
"""Change of the energy below which its error is rounding, and says nothing about the model."""

MOST_SCALED, BISECTIONS = 12, 20
"""Largest power of ten by which steps are scaled to be within the trust radius, and the number of
bisections to it."""


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
    predicts the energy; a move that it predicts badly is taken back. Steps are shortened to the
    trust radius along soft modes first, so that stiff bonds stay relaxed while a torsion turns.

    Sources: Banerjee, Adams, Simons and Shepard, J. Phys. Chem. 89, 52 (1985),
    doi:10.1021/j100247a015; restricted steps: Besalu and Bofill, Theor. Chem. Acc. 100, 265
    (1998), doi:10.1007/s002140050387; updates of the Hessian: see
    `methods.hessian.update_hessians`.
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
        return self.at(
            positions, potential(positions), hessian(potential, positions), tangents=tangents
        )

    def at(
        self,
        positions: np.ndarray,
        evaluation: Evaluation,
        hessians: np.ndarray,
        tangents: np.ndarray | None = None,
    ) -> SaddleState:
        """The first state where energies, forces and Hessians are known; see `init`.

        Args:
            positions: (batch, atoms, 3) in angstrom.
            evaluation: there.
            hessians: there, (batch, 3 atoms, 3 atoms) in eV/angstrom^2.
            tangents: (batch, atoms, 3), or None.
        """
        state = SaddleState(
            step=0,
            positions=positions,
            evaluation=evaluation,
            hessians=hessians,
            modes=np.zeros_like(positions),
            curvatures=np.zeros(len(positions)),
            trust_A=np.full(len(positions), min(self.trust_A, self.longest_trust_A)),
        )
        values, vectors = inner_modes(state.positions, state.hessians)
        lowest = np.zeros(len(positions), dtype=int)
        chosen = lowest if tangents is None else _climbed(values, vectors, tangents)
        return _with_modes(state, values, vectors, chosen)

    def step(self, potential: Potential, state: SaddleState, rng: Generator) -> SaddleState:
        """Try a move of every geometry that has not converged; one potential call for the batch.

        A move whose energy the quadratic model has missed is taken back, and the next is shorter,
        as is one to where the potential cannot be evaluated.
        """
        batch = len(state.positions)
        moves, predicted = self._moves(state)
        tried = state.positions + moves.reshape(state.positions.shape)
        try:
            found = potential(tried)
        except LabelError:
            if (state.trust_A <= MIN_TRUST_A).all():
                raise
            shorter = np.maximum(0.4 * _longest(moves.reshape(tried.shape)), MIN_TRUST_A)
            return replace(state, step=state.step + 1, trust_A=shorter)
        misses = prediction_errors(found.energies - state.evaluation.energies, predicted)
        kept = (misses < REJECTED) | (state.trust_A <= MIN_TRUST_A)
        changes = (state.evaluation.forces - found.forces).reshape(batch, -1)
        positions = np.where(kept[:, None, None], tried, state.positions)
        renew = self.hessian_every and (state.step + 1) % self.hessian_every == 0
        moved = replace(
            state,
            step=state.step + 1,
            positions=positions,
            evaluation=_of_either(kept, found, state.evaluation),
            hessians=hessian(potential, positions)
            if renew
            else update_hessians(state.hessians, moves, changes),
            trust_A=self._trust(state.trust_A, misses, moves),
        )
        values, vectors = inner_modes(moved.positions, moved.hessians)
        return _with_modes(moved, values, vectors, _climbed(values, vectors, state.modes))

    def converged(self, state: SaddleState) -> bool:
        """Whether every force is below the tolerance."""
        return bool((state.largest_forces() < self.saddle_force_eV_A).all())

    def _moves(self, state: SaddleState) -> tuple[np.ndarray, np.ndarray]:
        """Moves (batch, 3 atoms) in angstrom within the trust radii, and the changes of energy
        (batch, 2) that the quadratic model predicts for them, along the climbed mode and along
        the others."""
        batch, shape = len(state.positions), state.positions.shape
        values, vectors = inner_modes(state.positions, state.hessians)
        gradients = -state.evaluation.forces.reshape(batch, -1)
        slopes = np.einsum("bim,bi->bm", vectors, gradients)
        climbed = np.argmax(_overlaps(vectors, state.modes), axis=1)

        def steps(scales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = rational_steps(values, slopes, climbed, scales)
            return found, _longest(np.einsum("bim,bm->bi", vectors, found).reshape(shape))

        least, most = np.zeros(batch), np.full(batch, MOST_SCALED)
        found, longest = steps(np.ones(batch))
        free = longest <= state.trust_A
        if not free.all():
            for _ in range(BISECTIONS):
                middle = (least + most) / 2
                far = steps(10**middle)[1] > state.trust_A
                least, most = np.where(far, middle, least), np.where(far, most, middle)
            found = np.where(free[:, None], found, steps(10**most)[0])
        found[state.largest_forces() < self.saddle_force_eV_A] = 0.0
        moves = np.einsum("bim,bm->bi", vectors, found)
        changes = slopes * found + values * found**2 / 2
        up = changes[np.arange(batch), climbed]
        return moves, np.stack([up, changes.sum(axis=1) - up], axis=1)

    def _trust(self, trust_A: np.ndarray, misses: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """The next trust radii (batch,): larger where the model predicted well, else smaller.

        Args:
            trust_A: (batch,) of the moves.
            misses: (batch,) errors of the predicted changes, relative to their size.
            moves: (batch, 3 atoms) in angstrom.
        """
        longest = _longest(moves.reshape(len(moves), -1, 3))
        larger = np.where((misses < GOOD) & (longest > 0.8 * trust_A), 1.5 * trust_A, trust_A)
        smaller = np.maximum(0.4 * longest, MIN_TRUST_A)
        return np.minimum(np.where(misses > BAD, smaller, larger), self.longest_trust_A)


def inner_modes(positions: np.ndarray, hessians: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (batch, 3 atoms) and eigenvectors (batch, 3 atoms, 3 atoms; columns).

    Translations and rotations come last, with the eigenvalue RIGID_EV_A2.
    """
    free = free_of_motions(positions, np.ones(positions.shape[1]))
    stiff = RIGID_EV_A2 * (np.eye(free.shape[1]) - free)
    return np.linalg.eigh(free @ hessians @ free + stiff)


def rational_steps(
    values: np.ndarray, slopes: np.ndarray, climbed: np.ndarray, scales: np.ndarray | float = 1.0
) -> np.ndarray:
    """Steps (batch, modes) uphill along one mode and downhill along the others.

    Args:
        values: (batch, modes) eigenvalues of the Hessian.
        slopes: (batch, modes) gradient along each mode.
        climbed: (batch,) index of the mode to climb.
        scales: of the step's metric, a common one or (batch,), 1 for a free step; larger ones
            shorten the steps along soft modes first, and hardly those along stiff modes.

    Sources: Banerjee et al. (1985), equations 27 to 31; for the scale Besalu and Bofill, Theor.
    Chem. Acc. 100, 265 (1998), doi:10.1007/s002140050387.
    """
    roots = np.sqrt(np.broadcast_to(scales, len(values)))[:, None]
    rows, modes = np.arange(len(values)), values.shape[1]
    up_value, up_slope = values[rows, climbed], (roots * slopes)[rows, climbed]
    shifts = np.zeros_like(values)
    others = np.ones(values.shape, dtype=bool)
    others[rows, climbed] = False
    # The lowest eigenvalue of the Hessian bordered by the gradient, without the climbed mode.
    bordered = np.zeros((len(values), modes + 1, modes + 1))
    inside = np.arange(modes)
    bordered[:, inside, inside] = np.where(others, values, RIGID_EV_A2)
    bordered[:, -1, :-1] = bordered[:, :-1, -1] = np.where(others, roots * slopes, 0.0)
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


def _overlaps(vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Overlaps (batch, modes) of eigenvectors with directions (batch, atoms, 3)."""
    flat = directions.reshape(len(directions), -1)
    found = np.abs(np.einsum("bim,bi->bm", vectors, flat))
    return found / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-300)


def _climbed(values: np.ndarray, vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Index (batch,) of the mode to climb along directions (batch, atoms, 3).

    A mode of negative curvature is preferred to one of positive curvature with more overlap,
    unless it has hardly any: tangents of paths and modes of the step before are approximate.
    """
    overlaps = _overlaps(vectors, directions)
    return np.argmax(overlaps + ((values < 0) & (overlaps > LIKE)), axis=1)


def prediction_errors(found: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Errors (batch,) of predicted changes of the energy, relative to the size of their parts.

    Args:
        found: (batch,) changes, in eV.
        predicted: (batch, parts) of them, in eV.
    """
    off = np.abs(found - predicted.sum(axis=1))
    return np.where(off < ROUNDING_EV, 0.0, off) / np.maximum(abs(predicted).sum(axis=1), 1e-300)


def _of_either(first: np.ndarray, one: Evaluation, other: Evaluation) -> Evaluation:
    """The rows of one evaluation where `first` (batch,), else those of the other."""
    energies = np.where(first, one.energies, other.energies)
    forces = np.where(first[:, None, None], one.forces, other.forces)
    if one.deviation is None or other.deviation is None:
        return Evaluation(energies, forces)
    return Evaluation(energies, forces, np.where(first[:, None], one.deviation, other.deviation))


def _longest(moves: np.ndarray) -> np.ndarray:
    """Maximum move (batch,) of an atom of moves (batch, atoms, 3), in angstrom."""
    return np.sqrt((moves**2).sum(axis=2)).max(axis=1)
