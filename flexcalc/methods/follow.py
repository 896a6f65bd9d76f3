"""Mode following in internal coordinates: from the top of a path to its saddle, without Hessians.

The Hessian is at first that of a model, with the negative curvature along the path that the path
has, and is updated at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.errors import LabelError
from flexcalc.geometry.internals import Internals, Place
from flexcalc.methods.hessian import update_hessians
from flexcalc.methods.saddle import (
    BAD,
    BISECTIONS,
    GOOD,
    LIKE,
    MOST_SCALED,
    REJECTED,
    RFO,
    prediction_errors,
    rational_steps,
)
from flexcalc.potential import Evaluation, Potential

MIN_TRUST_A = 0.01
"""Minimum trust radius, in angstrom; a move within it is not taken back."""

MIN_CURVATURE = -0.01
"""Curvature along the path that is assumed where the path has none that is more negative, in
eV/angstrom^2."""

TOO_HIGH_EV = 0.5
"""Energy above the top of the path, or below its higher end, at which the mode is lost."""

STEPS = 60
"""Evaluations after which the mode is lost, by default."""


@dataclass(frozen=True, eq=False)
class Top:
    """The highest image of a path and its neighbours.

    Args:
        positions: (3, atoms, 3) in angstrom.
        evaluation: energies and forces there.
        floor: energy of the higher end of the path, in eV.
    """

    positions: np.ndarray
    evaluation: Evaluation
    floor: float

    @classmethod
    def of(cls, images: np.ndarray, evaluation: Evaluation) -> Top | None:
        """The top of a path (images, atoms, 3); None where it is an end."""
        energies = evaluation.energies
        top = int(np.argmax(energies))
        if not 0 < top < len(images) - 1:
            return None
        near = slice(top - 1, top + 2)
        labels = Evaluation(energies[near], evaluation.forces[near])
        return cls(images[near], labels, float(max(energies[0], energies[-1])))


class Walk:
    """The way of one geometry from the top of a path to a saddle.

    It asks for the evaluation of one geometry after the other: `trial` is the next, `tell` takes
    its evaluation, until it is `finished`.

    Args:
        numbers: (atoms,) atomic numbers.
        top: where it starts.
        method: tolerance and trust radii.
        steps: evaluations after which the mode is lost.

    Sources: Banerjee, Adams, Simons and Shepard, J. Phys. Chem. 89, 52 (1985),
    doi:10.1021/j100247a015, for the steps; Bofill, Int. J. Quantum Chem. 94, 324 (2003),
    doi:10.1002/qua.10709, for the updates; Peng, Ayala, Schlegel and Frisch, J. Comput. Chem. 17,
    49 (1996), for the coordinates.
    """

    def __init__(self, numbers: np.ndarray, top: Top, method: RFO, steps: int = STEPS):
        self.numbers, self.method, self._top, self._steps = numbers, method, top, steps
        self.positions, self.forces = top.positions[1], top.evaluation.forces[1]
        self.energy = float(top.evaluation.energies[1])
        self.step = 0
        """Geometries that it has been told of."""
        self.lost = False
        """Whether it has left the path, so that another start is needed."""
        self.curvature = np.inf
        """Along the mode that is followed, in eV/angstrom^2 or eV/rad^2; negative at a saddle."""
        self._trust_A = min(method.trust_A, method.longest_trust_A)
        self._coordinates = Internals.of(numbers, self.positions)
        self._here = self._coordinates.at(self.positions)
        self._hessian, self._mode = self._first_hessian()
        self.lost = self._here.modes.shape[1] < 3 * len(numbers) - 6
        self._propose()

    @property
    def force(self) -> float:
        """Largest norm of the force on an atom, in eV/angstrom."""
        return float(np.sqrt((self.forces**2).sum(axis=1)).max())

    @property
    def converged(self) -> bool:
        """Whether it is at a saddle, as far as its Hessian tells."""
        return not self.lost and self.force < self.method.saddle_force_eV_A and self.curvature < 0

    @property
    def finished(self) -> bool:
        """Whether it needs no more evaluations."""
        return self.lost or self.converged

    def tell(self, energy: float, forces: np.ndarray) -> None:
        """Take the energy in eV and the forces (atoms, 3) in eV/angstrom of `trial`."""
        self.step += 1
        here, there = self._here, self._coordinates.at(self.trial)
        move = self._coordinates.change(there.values, here.values)
        self._update(move, gradient(there, forces) - gradient(here, self.forces))
        miss = prediction_errors(np.array([energy - self.energy]), self._predicted[None])[0]
        if miss < REJECTED or self._trust_A <= MIN_TRUST_A:
            self.positions, self.energy, self.forces = self.trial, energy, forces
            self._here = there
        if miss > BAD:
            self._trust_A = max(0.4 * self._longest_A, MIN_TRUST_A)
        elif miss < GOOD and self._longest_A > 0.8 * self._trust_A:
            self._trust_A = min(1.5 * self._trust_A, self.method.longest_trust_A)
        highest = float(self._top.evaluation.energies[1]) + TOO_HIGH_EV
        within = self._top.floor - TOO_HIGH_EV < self.energy < highest
        self.lost = not within or self.step >= self._steps
        if self._coordinates.are_straight(self.positions):
            self._change_coordinates()
        self._propose()

    def refuse(self) -> None:
        """Take a shorter step, as `trial` cannot be evaluated; within `MIN_TRUST_A` it is lost."""
        self.step += 1
        self.lost = self._trust_A <= MIN_TRUST_A or self.step >= self._steps
        self._trust_A = max(0.4 * self._longest_A, MIN_TRUST_A)
        self._propose()

    def _propose(self) -> None:
        """Find the mode that is followed, and the next trial."""
        here = self._here
        values, vectors = np.linalg.eigh(here.modes.T @ self._hessian @ here.modes)
        directions = here.modes @ vectors
        overlaps = np.abs(directions.T @ self._mode)
        climbed = int(np.argmax(overlaps + ((values < 0) & (overlaps > LIKE))))
        self._mode, self.curvature = directions[:, climbed], float(values[climbed])
        if self.finished:
            return
        slopes = directions.T @ gradient(here, self.forces)
        for _ in range(2):
            step = self._within_trust(values, slopes, climbed, here.moves @ vectors)
            trial = self._coordinates.moved(self.positions, directions @ step)
            if trial is not None:
                break
            self._trust_A = max(self._trust_A / 4, MIN_TRUST_A)
        else:
            self.lost = True
            return
        changes = slopes * step + values * step**2 / 2
        self._predicted = np.array([changes[climbed], changes.sum() - changes[climbed]])
        self._longest_A = float(np.linalg.norm(trial - self.positions, axis=1).max())
        self.trial = trial

    def _within_trust(
        self, values: np.ndarray, slopes: np.ndarray, climbed: int, moves: np.ndarray
    ) -> np.ndarray:
        """The step (modes,) up along the climbed mode and down along the others.

        Args:
            values, slopes: (modes,) of the quadratic model.
            climbed: index of the mode.
            moves: (3 atoms, modes) of the atoms along each mode.
        """

        def step(power: float) -> tuple[np.ndarray, float]:
            row = np.array([climbed])
            found = rational_steps(values[None], slopes[None], row, 10**power)[0]
            return found, float(np.linalg.norm((moves @ found).reshape(-1, 3), axis=1).max())

        found, longest = step(0.0)
        if longest <= self._trust_A:
            return found
        low, high = 0.0, float(MOST_SCALED)
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if step(middle)[1] > self._trust_A else (low, middle)
        return step(high)[0]

    def _update(self, move: np.ndarray, change: np.ndarray) -> None:
        """Update the Hessian from a move (coordinates,) and the change of the gradient."""
        modes = self._here.modes
        old = modes.T @ self._hessian @ modes
        new = update_hessians(old[None], (modes.T @ move)[None], (modes.T @ change)[None])[0]
        self._hessian = self._hessian + modes @ (new - old) @ modes.T

    def _first_hessian(self) -> tuple[np.ndarray, np.ndarray]:
        """The model Hessian with the curvature of the path along it, and the path's direction.

        It is then updated with the changes of the gradient to both neighbours.
        """
        top, coordinates = self._top, self._coordinates
        places = [coordinates.at(place) for place in top.positions]
        steps = [coordinates.change(places[k].values, places[1].values) for k in (0, 2)]
        behind, ahead = (float(np.linalg.norm(step)) for step in steps)
        along = steps[1] / ahead - steps[0] / behind
        along /= np.linalg.norm(along)
        before, here, after = top.evaluation.energies
        bend = 2 * ((after - here) / ahead - (here - before) / behind) / (ahead + behind)
        across = np.eye(len(along)) - np.outer(along, along)
        self._hessian = across @ np.diag(coordinates.constants) @ across
        self._hessian += min(float(bend), MIN_CURVATURE) * np.outer(along, along)
        gradients = list(map(gradient, places, top.evaluation.forces))
        for k, step in zip((0, 2), steps, strict=True):
            self._update(step, gradients[k] - gradients[1])
        return self._hessian, along

    def _change_coordinates(self) -> None:
        """Take new coordinates where a bend has become linear; the Hessian comes along."""
        old, jacobian = self._here, self._coordinates.jacobian(self.positions)
        cartesian = jacobian.T @ self._hessian @ jacobian
        direction = old.moves @ (old.modes.T @ self._mode)
        self._coordinates = Internals.of(self.numbers, self.positions)
        self._here = self._coordinates.at(self.positions)
        modes, moves = self._here.modes, self._here.moves
        self._hessian = modes @ (moves.T @ cartesian @ moves) @ modes.T
        mode = self._coordinates.jacobian(self.positions) @ direction
        self._mode = mode / np.linalg.norm(mode)


def gradient(place: Place, forces: np.ndarray) -> np.ndarray:
    """Gradient (coordinates,) of forces (atoms, 3), in the coordinates that are not redundant."""
    return -place.modes @ (place.moves.T @ forces.ravel())


def follow(
    potential: Potential, walks: Sequence[Walk], observer: Callable[[], None] = lambda: None
) -> None:
    """Let walks go until all are finished, with one call of the potential for a step of all.

    Args:
        potential: surface, in eV and angstrom.
        walks: of one molecule; those that are finished leave the batch.
        observer: called before every step, and at the end.
    """
    observer()
    while going := [walk for walk in walks if not walk.finished]:
        _step(potential, going)
        observer()


def _step(potential: Potential, walks: Sequence[Walk]) -> None:
    """Tell walks of their trials; those where the potential cannot be evaluated are refused."""
    try:
        found = potential(np.stack([walk.trial for walk in walks]))
    except LabelError:
        if len(walks) == 1:
            walks[0].refuse()
        else:
            for walk in walks:
                _step(potential, [walk])
        return
    for walk, energy, forces in zip(walks, found.energies, found.forces, strict=True):
        walk.tell(float(energy), forces)
