"""Internal coordinates with gradients, bonds, alignment and matching, for whole batches.

Angles are in radians inside and in degrees for users (`Coordinate`). Atom indices count from 0.
"""

from flexcalc.geometry.coordinates import Coordinate, angle, dihedral, distance, distances
from flexcalc.geometry.matching import align, bonds, match_atoms

__all__ = [
    "Coordinate",
    "align",
    "angle",
    "bonds",
    "dihedral",
    "distance",
    "distances",
    "match_atoms",
]
