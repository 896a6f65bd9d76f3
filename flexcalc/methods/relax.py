"""Relaxation of a batch of geometries to the nearest minima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from flexcalc.fields import Positive
from flexcalc.methods.iterate import iterate
from flexcalc.methods.optimisers import LBFGS, Memory, Optimiser
from flexcalc.potential import Evaluation, Potential


@dataclass(frozen=True, eq=False)
class RelaxState:
    """Geometries during a relaxation.

    Args:
        step: steps taken.
        positions: (batch, atoms, 3) in angstrom.
        evaluation: energies and forces there.
        memory: of the optimiser.
    """

    step: int
    positions: np.ndarray
    evaluation: Evaluation
    memory: Memory

    def largest_force(self) -> float:
        """Maximum norm of the force on an atom in the batch, in eV/angstrom."""
        return float(np.sqrt((self.evaluation.forces**2).sum(axis=2)).max(initial=0.0))


@dataclass(frozen=True, kw_only=True)
class Relax:
    """Relax each geometry of a batch to a minimum; one potential call per step."""

    force_tolerance_eV_A: Positive = 0.01
    """Converged when the force on every atom is below this, in eV/angstrom."""
    optimiser: Optimiser = field(default_factory=LBFGS)
    """Optimiser."""

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> RelaxState:
        """Start from positions (batch, atoms, 3) in angstrom."""
        return RelaxState(0, positions, potential(positions), self.optimiser.start(positions))

    def step(self, potential: Potential, state: RelaxState, rng: Generator) -> RelaxState:
        """Move every geometry once."""
        positions, memory = self.optimiser.move(
            state.positions, state.evaluation.forces, state.memory
        )
        return RelaxState(state.step + 1, positions, potential(positions), memory)

    def converged(self, state: RelaxState) -> bool:
        """Whether every force is below the tolerance."""
        return state.largest_force() < self.force_tolerance_eV_A


def relax(
    potential: Potential,
    positions: np.ndarray,
    *,
    force_tolerance_eV_A: float = 0.01,
    steps: int = 1000,
) -> RelaxState:
    """Relax positions (batch, atoms, 3) in angstrom with L-BFGS; look at `largest_force()`."""
    method = Relax(force_tolerance_eV_A=force_tolerance_eV_A)
    rng = np.random.default_rng(0)
    return iterate(method, potential, method.init(potential, positions, rng), steps=steps, rng=rng)


def relax_each(
    forces_of: Callable[[np.ndarray, np.ndarray], np.ndarray],
    problems: np.ndarray,
    *,
    rows: int,
    optimiser: Optimiser,
    force_tolerance_eV_A: float,
    steps: int,
) -> np.ndarray:
    """Relax several problems at once, each until all of its forces are below the tolerance.

    Args:
        forces_of: called with indices (some,) and positions (some, images, atoms, 3) of the
            problems that are not converged; returns their forces.
        problems: (problems, images, atoms, 3) in angstrom.
        rows: of each problem for the optimiser: 1, or one for every image.
        optimiser: of all.
        force_tolerance_eV_A: for the force on every atom, in eV/angstrom.
        steps: maximum number of steps.

    Returns:
        The relaxed positions, in the shape of `problems`. Each is what it would be alone.
    """
    found, left = np.array(problems), np.arange(len(problems))
    positions = found.reshape(len(found) * rows, -1, 3)
    memory = optimiser.start(positions)
    for step in range(steps + 1):
        places = positions.reshape(-1, *found.shape[1:])
        forces = forces_of(left, places)
        largest = np.sqrt((forces**2).sum(axis=-1)).max(axis=(1, 2))
        going = (largest >= force_tolerance_eV_A) & (step < steps)
        found[left[~going]] = places[~going]
        if not going.any():
            break
        forces = forces.reshape(positions.shape)
        if not going.all():
            kept = np.repeat(going, rows)
            left, positions, forces = left[going], positions[kept], forces[kept]
            memory = memory.of_rows(kept)
        positions, memory = optimiser.move(positions, forces, memory)
    return found
