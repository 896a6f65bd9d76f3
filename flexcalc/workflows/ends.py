"""Which minima a way down has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flexcalc.geometry import align, largest_move, match_atoms
from flexcalc.methods.irc import IRCState
from flexcalc.potential import Evaluation

SAME_A = 0.25
"""Root-mean-square distance of the atoms below which two geometries are one minimum."""

TIED_A = 0.05
"""Difference of two such distances below which the ends differ by labels of like atoms alone."""

OTHER = "another minimum"


@dataclass(frozen=True, eq=False)
class Named:
    """A minimum and what it is.

    Args:
        positions: (atoms, 3) in angstrom.
        energy: in eV.
        name: of the end that it is, or OTHER.
        rmsd_A: root-mean-square distance from the nearest end, None where there is none.
        mirrored: whether it is that end's mirror image.
    """

    positions: np.ndarray
    energy: float
    name: str
    rmsd_A: float | None
    mirrored: bool

    def told(self) -> str:
        """What it is, in words."""
        if self.rmsd_A is None:
            return "a minimum"
        mirror = "the mirror image of " if self.mirrored and self.name != OTHER else ""
        near = f"{self.rmsd_A:.2f} A"
        return f"{mirror}{self.name} ({near}{' from the nearest end' * (self.name == OTHER)})"


def name_ends(
    numbers: np.ndarray,
    minima: np.ndarray,
    evaluation: Evaluation,
    ends: Mapping[str, np.ndarray],
    state: IRCState,
    tangent: np.ndarray | None,
) -> tuple[list[Named], int]:
    """Name both minima, and put the one on the side of the start first.

    The sides are told by the names, else by the tangent, which leads from start to end; without
    either the higher minimum is the start.

    Args:
        numbers: (atoms,).
        minima: (2, atoms, 3) in angstrom.
        evaluation: at the minima.
        ends: geometries (atoms, 3) by name.
        state: of the way down, whose rows the minima belong to.
        tangent: (atoms, 3), or None.

    Returns:
        The minima, start first, and the row of the way that leads to the end.
    """
    found = [
        _named(numbers, place, float(energy), ends)
        for place, energy in zip(minima, evaluation.energies, strict=True)
    ]
    names = [one.name for one in found]
    if names[0] != names[1] and not {"start", "end"}.isdisjoint(names):
        forward = 1 if names[0] == "start" or names[1] == "end" else 0
    elif tangent is not None:
        forward = 0 if ((state.points[1, 0] - state.points[0, 0]) * tangent).sum() > 0 else 1
    else:
        forward = 1 if found[0].energy >= found[1].energy else 0
    return [found[1 - forward], found[forward]], forward


def misfit(numbers: np.ndarray, place: np.ndarray, target: np.ndarray) -> float:
    """Root-mean-square distance in angstrom of a geometry, like atoms relabelled, from a target."""
    fitted = align(place[match_atoms(numbers, place, target)][None], target)[0]
    return float(np.sqrt(((fitted - target) ** 2).sum(axis=1).mean()))


def _named(
    numbers: np.ndarray, place: np.ndarray, energy: float, ends: Mapping[str, np.ndarray]
) -> Named:
    fits = [
        (misfit(numbers, place * sign, end), name, sign < 0)
        for name, end in ends.items()
        for sign in (1, -1)
    ]
    if not fits:
        return Named(place, energy, OTHER, None, False)
    # A flat molecule is its own mirror image: the plain one comes first where both fit.
    fits.sort(key=lambda fit: (round(fit[0], 3), fit[2]))
    bound = min(fits[0][0] + TIED_A, SAME_A)
    tied = {fits[0][1], *(name for fit, name, _ in fits if fit < bound)}
    # Ends that differ by the labels of like atoms alone are told by the labels.
    nearest = min(tied, key=lambda name: (largest_move(place, ends[name]), name))
    rmsd, name, mirrored = next(fit for fit in fits if fit[1] == nearest)
    return Named(place, energy, name if rmsd < SAME_A else OTHER, rmsd, mirrored)
