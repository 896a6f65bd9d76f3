"""Features of the gate, which are invariant under permutations of identical atoms.

Models are invariant under such permutations, so their weights must be too. Features are therefore
summed over all features that a permutation maps onto each other: inverse distances over classes of
pairs, named coordinates over their images.
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
"""Fractions of frames between which a pair is sometimes bonded, as that of a transferred proton."""
MAX_ROUNDS = 100
"""Maximum number of refinement rounds, which converge after a few."""


class Terms(Protocol):
    """Numbers that describe a geometry, to first order, such as inverse distances."""

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features (batch, size) and their pull-back at positions (batch, atoms, 3)."""


@dataclass(frozen=True, eq=False)
class CoordinateFeatures:
    """Cosines of angles and dihedrals, other coordinates unchanged, and the squares of all.

    As only sums over identical atoms are invariant, squares are needed to distinguish two angles of
    120 degrees from angles of 180 and 60. Mirror images have the same cosine, and the same energy.

    Args:
        coordinates: such as "dihedral 5 6 7 8".
    """

    coordinates: tuple[Coordinate, ...]

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features (batch, 2 coordinates), the plain ones first, and their pull-back.

        The gradient of a dihedral diverges where three of its atoms are collinear.

        Raises:
            ShapeError: a coordinate names an atom that does not exist.
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
    """Sums of terms over classes that permutations of identical atoms mix.

    A sum over n terms is divided by the square root of n: these are orthonormal coordinates of the
    invariant part of the terms, so distances are preserved.

    Args:
        terms: of a molecule.
        classes: (terms,) class of each, numbered from 0 without gaps.
    """

    terms: Terms
    classes: np.ndarray

    @cached_property
    def matrix(self) -> np.ndarray:
        """Matrix (terms, classes) from terms to averages."""
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
        positions: (frames, atoms, 3) in angstrom, from which bonds and symmetry are derived.
        rng: subsamples the geometries for the symmetry search if there are many.
        coordinates: by default all inverse distances are used.

    Raises:
        ShapeError: a coordinate names an atom that does not exist.
        InputError: a user-defined coordinate, whose images under a permutation are unknown; or a
            dihedral with an angle that is linear in most of the frames.
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
    classes = _merge_classes(table[first, second], terms.relabelled(group))
    return Averages(terms, classes)


def pair_classes(numbers: np.ndarray, bonded: np.ndarray) -> np.ndarray:
    """Classes (atoms, atoms) of pairs of atoms that are equivalent in the bond graph.

    Pairs are distinguished by their elements and bonds, then iteratively by the classes of the two
    pairs that each third atom forms with their ends, until the classes are stable. Pairs that an
    automorphism maps onto each other are always in one class; others may be too.

    Source: Weisfeiler and Leman, Nauchno-Tekhnicheskaya Informatsia 2, 9 (1968), in two
    dimensions.

    Args:
        numbers: (atoms,) atomic numbers.
        bonded: (atoms, atoms) shares of frames in which pairs are bonded.
    """
    atoms = len(numbers)
    kinds = np.digitize(bonded, SOMETIMES)
    first, second = np.meshgrid(numbers, numbers, indexing="ij")
    colours = _number_distinct(np.stack([first, second, kinds, np.eye(atoms, dtype=int)], axis=-1))
    for _ in range(MAX_ROUNDS):
        both = colours[:, None, :] * (colours.max() + 1) + colours.T[None, :, :]
        seen = np.concatenate([colours[..., None], np.sort(both, axis=2)], axis=2)
        refined = _number_distinct(seen)
        if refined.max() == colours.max():
            break
        colours = refined
    return _number_distinct(np.sort(np.stack([colours, colours.T], axis=-1), axis=-1))


def _number_distinct(rows: np.ndarray) -> np.ndarray:
    """Number the distinct rows of an array (atoms, atoms, entries): (atoms, atoms)."""
    flat = rows.reshape(-1, rows.shape[-1])
    return np.unique(flat, axis=0, return_inverse=True)[1].reshape(rows.shape[:2])


def _merge_classes(classes: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Merge classes (terms,) that the permutations (group, terms) mix."""
    while True:
        # For each term, the lowest class that any permutation maps onto it; it applies to the
        # whole class of the term.
        least = classes[order].min(axis=0)
        lowest = np.full(classes.max() + 1, len(classes))
        np.minimum.at(lowest, classes, least)
        merged = np.unique(lowest[classes], return_inverse=True)[1]
        if np.array_equal(merged, classes):
            return merged
        classes = merged


def check_kind(coordinate: Coordinate) -> None:
    """Refuse a coordinate whose images under permutations of atoms are unknown.

    Raises:
        InputError: it is not a distance, angle or dihedral.
    """
    if coordinate.kind not in ("distance", "angle", "dihedral"):
        raise InputError(
            f"coordinate {coordinate.label!r}: regions need distances, angles or dihedrals"
        )


def _of_coordinates(coordinates: Sequence[Coordinate], group: np.ndarray) -> Averages:
    """Averages over the images of coordinates under a group (permutations, atoms)."""
    images: dict[Coordinate, int] = {}
    for number, coordinate in enumerate(coordinates):
        for permutation in group:
            atoms = tuple(int(permutation[atom]) for atom in coordinate.atoms)
            # In reverse order it is the same coordinate.
            images.setdefault(Coordinate(coordinate.kind, min(atoms, atoms[::-1])), number)
    classes = np.unique(list(images.values()), return_inverse=True)[1]
    both = np.concatenate([classes, classes + classes.max() + 1])
    return Averages(CoordinateFeatures(tuple(images)), both)
