"""What a gate sees of a geometry: numbers that no relabelling of like atoms changes.

A model of a molecule answers the same for like atoms under other labels, and so must the weight
it answers with. So features are summed over all that a relabelling could put in their place:
inverse distances over classes of pairs, named coordinates over their images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.random import Generator

from flexcalc.errors import InputError
from flexcalc.geometry import Coordinate
from flexcalc.geometry.graph import bonded_share
from flexcalc.geometry.named import LINEAR_DEGREES
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.descriptor.interface import Linearised
from flexcalc.models.gdml.symmetry import recover

SOMETIMES = (0.1, 0.9)
"""Shares of the frames between which a pair is neither bonded nor apart, as of a proton that
changes sides."""
MOST_ROUNDS = 100
"""Bound on the rounds of refinement, which end by themselves after a few."""


class Terms(Protocol):
    """Numbers that describe a geometry, to first order, such as inverse distances."""

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features (batch, size) and their pull-back at positions (batch, atoms, 3)."""


@dataclass(frozen=True, eq=False)
class CoordinateFeatures:
    """Cosines of angles and dihedrals, other coordinates as they are, and the squares of all.

    Squares tell two like angles that are 120 degrees both from one of 180 and one of 60, where
    only sums over like atoms may count. Mirror images have the same cosine, and the same energy.

    Args:
        coordinates: such as "dihedral 5 6 7 8".
    """

    coordinates: tuple[Coordinate, ...]

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features (batch, 2 coordinates), the plain ones first, and their pull-back.

        The gradient of a dihedral has no bound where three of its atoms are in a line.

        Raises:
            ShapeError: a coordinate names an atom that the molecule has not.
        """
        found = [coordinate.measured(positions) for coordinate in self.coordinates]
        turning = np.array([one.unit == "degrees" for one in self.coordinates])
        values = np.stack([values for values, _ in found], axis=1)
        gradients = np.stack([gradients for _, gradients in found], axis=1)
        plain = np.where(turning, np.cos(values), values)
        slopes = np.where(turning, -np.sin(values), 1.0)

        def pull(weights: np.ndarray) -> np.ndarray:
            first, second = np.split(weights, 2, axis=1)
            return np.einsum("bf,bfax->bax", (first + 2 * plain * second) * slopes, gradients)

        def push(motions: np.ndarray) -> np.ndarray:
            moved = slopes * np.einsum("bfax,bax->bf", gradients, motions)
            return np.concatenate([moved, 2 * plain * moved], axis=1)

        return Linearised(np.concatenate([plain, plain**2], axis=1), pull, push)


@dataclass(frozen=True, eq=False)
class Averages:
    """Sums of terms over the classes that relabelling like atoms mixes.

    A sum over n terms is divided by the square root of n: these are the coordinates of the
    terms' part that no relabelling changes, in which distances are those of the terms.

    Args:
        terms: of a molecule.
        classes: (terms,) class of each, numbered from 0 without gaps.
    """

    terms: Terms
    classes: np.ndarray

    @cached_property
    def matrix(self) -> np.ndarray:
        """What takes terms to their averages, (terms, classes)."""
        sizes = np.bincount(self.classes)
        return np.eye(len(sizes))[self.classes] / np.sqrt(sizes)

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Averages (batch, classes) at positions (batch, atoms, 3)."""
        return self.terms.linearise(positions).features @ self.matrix


def averages_of(
    numbers: np.ndarray,
    positions: np.ndarray,
    rng: Generator,
    coordinates: Sequence[Coordinate] = (),
) -> Averages:
    """The averages for a molecule: of its inverse distances, or of named coordinates.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom; they tell the bonds and the symmetry.
        rng: thins out the geometries of the symmetry search where there are many.
        coordinates: by default all inverse distances are taken.

    Raises:
        ShapeError: a coordinate names an atom that the molecule has not.
        InputError: a coordinate of one's own, whose images under a relabelling nobody knows; or
            a dihedral over an angle that is linear in most of the frames.
    """
    group = recover(numbers, positions, rng).permutations
    if coordinates:
        for coordinate in coordinates:
            check_kind(coordinate)
            coordinate.check(len(numbers))
            straight = np.flatnonzero(coordinate.bend(positions) < LINEAR_DEGREES)
            if 2 * len(straight) > len(positions):
                raise InputError(f"coordinates: {coordinate.undefined(positions[straight[0]])}")
        return _of_coordinates(coordinates, group)
    terms = InverseDistances(len(numbers))
    table = pair_classes(numbers, bonded_share(numbers, positions))
    first, second = terms.members.T
    classes = _joined(table[first, second], terms.relabelled(group))
    return Averages(terms, classes)


def pair_classes(numbers: np.ndarray, bonded: np.ndarray) -> np.ndarray:
    """Classes (atoms, atoms) of pairs of atoms that no automorphism of the bonds tells apart.

    Pairs are told apart by their elements and bonds, then again and again by the classes of the
    two pairs that each third atom makes with their ends, until that tells no more. Pairs that an
    automorphism exchanges never are; some that none does may be in one class.

    Source: Weisfeiler and Leman, Nauchno-Tekhnicheskaya Informatsia 2, 9 (1968), in two
    dimensions.

    Args:
        numbers: (atoms,) atomic numbers.
        bonded: (atoms, atoms) shares of frames in which pairs are bonded.
    """
    atoms = len(numbers)
    kinds = np.digitize(bonded, SOMETIMES)
    first, second = np.meshgrid(numbers, numbers, indexing="ij")
    colours = _coloured(np.stack([first, second, kinds, np.eye(atoms, dtype=int)], axis=-1))
    for _ in range(MOST_ROUNDS):
        both = colours[:, None, :] * (colours.max() + 1) + colours.T[None, :, :]
        seen = np.concatenate([colours[..., None], np.sort(both, axis=2)], axis=2)
        refined = _coloured(seen)
        if refined.max() == colours.max():
            break
        colours = refined
    return _coloured(np.sort(np.stack([colours, colours.T], axis=-1), axis=-1))


def _coloured(rows: np.ndarray) -> np.ndarray:
    """Numbers (atoms, atoms) of the different rows (atoms, atoms, entries)."""
    flat = rows.reshape(-1, rows.shape[-1])
    return np.unique(flat, axis=0, return_inverse=True)[1].reshape(rows.shape[:2])


def _joined(classes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Classes (terms,) with those joined that the relabellings (group, terms) mix."""
    while True:
        # Of each term the least class that any relabelling brings to its place, and with it
        # all of its own class.
        least = classes[order].min(axis=0)
        lowest = np.full(classes.max() + 1, len(classes))
        np.minimum.at(lowest, classes, least)
        joined = np.unique(lowest[classes], return_inverse=True)[1]
        if np.array_equal(joined, classes):
            return joined
        classes = joined


def check_kind(coordinate: Coordinate) -> None:
    """Refuse a coordinate whose images under a relabelling of like atoms are not known.

    Raises:
        InputError: it is no distance, angle or dihedral.
    """
    if coordinate.kind not in ("distance", "angle", "dihedral"):
        raise InputError(
            f"coordinate {coordinate.label!r}: regions are told by distances, angles and dihedrals"
        )


def _of_coordinates(coordinates: Sequence[Coordinate], group: np.ndarray) -> Averages:
    """Averages over the images of coordinates under a group (permutations, atoms)."""
    images: dict[Coordinate, int] = {}
    for number, coordinate in enumerate(coordinates):
        for permutation in group:
            atoms = tuple(int(permutation[atom]) for atom in coordinate.atoms)
            # Read from either end it is the same coordinate.
            images.setdefault(Coordinate(coordinate.kind, min(atoms, atoms[::-1])), number)
    classes = np.unique(list(images.values()), return_inverse=True)[1]
    both = np.concatenate([classes, classes + classes.max() + 1])
    return Averages(CoordinateFeatures(tuple(images)), both)
