"""Identification of the minima at the ends of a descent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flexcalc.geometry import align, largest_move, match_atoms
from flexcalc.methods.follow import Top
from flexcalc.methods.irc import IRCState
from flexcalc.potential import Evaluation

SAME_A = 0.25
"""Root-mean-square distance of the atoms below which two geometries are one minimum."""

TIED_A = 0.05
"""Difference of two such distances below which the ends differ only by a permutation of identical
atoms."""

OTHER = "another minimum"


@dataclass(frozen=True, eq=False)
class Guess:
    """Where the search for a saddle starts.

    Args:
        positions: (atoms, 3) in angstrom.
        tangent: (atoms, 3) direction across the barrier from start to end, or None.
        minima: geometries (atoms, 3) by name, `start` and `end`, which the descent may end in.
        top: the highest image of the path that the guess comes from, None without a path.
    """

    positions: np.ndarray
    tangent: np.ndarray | None
    minima: Mapping[str, np.ndarray]
    top: Top | None = None


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A minimum at the end of a descent, and which of the given ones it is.

    Args:
        positions: (atoms, 3) in angstrom.
        energy: in eV.
        name: of the given minimum that it is, or OTHER.
        rmsd_A: root-mean-square distance from the nearest given one, None where none is given.
        mirrored: whether it is the mirror image of that one.
        hessian: there (3 atoms, 3 atoms) in eV/angstrom^2; None where it is not computed.
        split: whether the descent came by another saddle, from which two ways lead down.
    """

    positions: np.ndarray
    energy: float
    name: str
    rmsd_A: float | None
    mirrored: bool
    hessian: np.ndarray | None = None
    split: bool = False

    def describe(self) -> str:
        """Description for messages."""
        if self.rmsd_A is None:
            return "a minimum"
        mirror = "the mirror image of " if self.mirrored and self.name != OTHER else ""
        near = f"{self.rmsd_A:.2f} A"
        return f"{mirror}{self.name} ({near}{' from the nearest end' * (self.name == OTHER)})"


def identify_endpoints(
    numbers: np.ndarray,
    minima: np.ndarray,
    evaluation: Evaluation,
    guess: Guess,
    state: IRCState,
) -> tuple[list[Endpoint], int]:
    """Identify both minima, and put the one on the side of the start first.

    The names decide the sides, else the tangent, which leads from start to end; without either
    the higher minimum is the start.

    Args:
        numbers: (atoms,).
        minima: (2, atoms, 3) in angstrom.
        evaluation: at the minima.
        guess: with the tangent and the given minima.
        state: of the descent, whose rows the minima belong to.

    Returns:
        The minima, start first, and the row of the descent that leads to the end.
    """
    found = [
        _identified(numbers, place, float(energy), guess.minima)
        for place, energy in zip(minima, evaluation.energies, strict=True)
    ]
    names = [one.name for one in found]
    if names[0] != names[1] and not {"start", "end"}.isdisjoint(names):
        forward = 1 if names[0] == "start" or names[1] == "end" else 0
    elif guess.tangent is not None:
        forward = 0 if ((state.points[1, 0] - state.points[0, 0]) * guess.tangent).sum() > 0 else 1
    else:
        forward = 1 if found[0].energy >= found[1].energy else 0
    return [found[1 - forward], found[forward]], forward


def misfit(numbers: np.ndarray, place: np.ndarray, target: np.ndarray) -> float:
    """RMSD in angstrom of a geometry from a target, with identical atoms permuted to fit."""
    fitted = align(place[match_atoms(numbers, place, target)][None], target)[0]
    return float(np.sqrt(((fitted - target) ** 2).sum(axis=1).mean()))


def _identified(
    numbers: np.ndarray, place: np.ndarray, energy: float, ends: Mapping[str, np.ndarray]
) -> Endpoint:
    fits = [
        (misfit(numbers, place * sign, end), name, sign < 0)
        for name, end in ends.items()
        for sign in (1, -1)
    ]
    if not fits:
        return Endpoint(place, energy, OTHER, None, False)
    # A flat molecule is its own mirror image: the plain one comes first where both fit.
    fits.sort(key=lambda fit: (round(fit[0], 3), fit[2]))
    bound = min(fits[0][0] + TIED_A, SAME_A)
    tied = {fits[0][1], *(name for fit, name, _ in fits if fit < bound)}
    # Endpoints that differ by a permutation of identical atoms are distinguished by their order.
    nearest = min(tied, key=lambda name: (largest_move(place, ends[name]), name))
    rmsd, name, mirrored = next(fit for fit in fits if fit[1] == nearest)
    return Endpoint(place, energy, name if rmsd < SAME_A else OTHER, rmsd, mirrored)
