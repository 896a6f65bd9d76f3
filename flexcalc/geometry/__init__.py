"""Internal coordinates with gradients, bonds, alignment and matching, for whole batches.

Angles are in radians inside and in degrees for users (`Coordinate`). Atom indices count from 0.
"""

from flexcalc.geometry.coordinates import (
    angle,
    coordination,
    difference,
    dihedral,
    distance,
    distances,
)
from flexcalc.geometry.graph import bonded_angles, bonded_dihedrals, bonds, consensus_bonds
from flexcalc.geometry.matching import (
    align,
    align_consecutive,
    align_neighbours,
    equivalents,
    is_degenerate,
    is_isomorphic,
    labellings,
    largest_move,
    match_atoms,
)
from flexcalc.geometry.named import Coordinate
from flexcalc.geometry.structure import Structure
from flexcalc.geometry.zmatrix import ZMatrix, zmatrix

__all__ = [
    "Coordinate",
    "Structure",
    "ZMatrix",
    "align",
    "align_consecutive",
    "align_neighbours",
    "angle",
    "bonded_angles",
    "bonded_dihedrals",
    "bonds",
    "consensus_bonds",
    "coordination",
    "difference",
    "dihedral",
    "distance",
    "distances",
    "equivalents",
    "is_degenerate",
    "is_isomorphic",
    "labellings",
    "largest_move",
    "match_atoms",
    "zmatrix",
]
