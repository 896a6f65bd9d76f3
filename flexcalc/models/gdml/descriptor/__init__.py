"""Descriptors: what the kernel compares, and how a batch's derivatives pass through it.

A descriptor maps positions (batch, atoms, 3) in angstrom to features (batch, size). It also
gives the products with its Jacobian J that prediction and training need, and how its features
move when atoms are relabelled (`Descriptor`). It is made of parts: `InverseDistances`, `Angles`
and `Dihedrals`, alone, in a subset, or `Joined`; `RootDistances` puts distances in a metric.
"""

from flexcalc.models.gdml.descriptor.angular import Angles, Dihedrals
from flexcalc.models.gdml.descriptor.distances import InverseDistances, RootDistances
from flexcalc.models.gdml.descriptor.interface import Descriptor, Linearised
from flexcalc.models.gdml.descriptor.internal import InternalCoordinates
from flexcalc.models.gdml.descriptor.joined import Joined, extended
from flexcalc.models.gdml.descriptor.stored import from_arrays

__all__ = [
    "Angles",
    "Descriptor",
    "Dihedrals",
    "InternalCoordinates",
    "InverseDistances",
    "Joined",
    "Linearised",
    "RootDistances",
    "extended",
    "from_arrays",
]
