"""Rotational symmetry of a rigid geometry: its symmetry number, and whether it is chiral."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flexcalc.geometry.matching import labellings, largest_move

SAME_A = 0.1
"""Largest move of an atom, in angstrom, up to which a geometry counts as turned into itself."""


class RotationalSymmetry(NamedTuple):
    """Symmetry of a rigid geometry.

    Args:
        number: rotations that turn the geometry into itself with identical atoms permuted, the
            identity among them.
        chiral: whether none turns it into its mirror image.
    """

    number: int
    chiral: bool


def rotational_symmetry(numbers: np.ndarray, positions: np.ndarray) -> RotationalSymmetry | None:
    """Find the rotational symmetry by trying all permutations that keep the bonds.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom.

    Returns:
        The symmetry; None where there are too many permutations to try.
    """
    orders = labellings(numbers, positions, positions)
    if orders is None:
        return None
    turned = sum(largest_move(positions[order], positions) < SAME_A for order in orders)
    mirrored = (largest_move(-positions[order], positions) < SAME_A for order in orders)
    return RotationalSymmetry(turned, not any(mirrored))
