"""Descriptors: the features that the kernel compares, and their derivatives.

A descriptor maps positions (batch, atoms, 3) in angstrom to features (batch, size). It also has the
products with its Jacobian J for prediction and training, and the permutation of features that
belongs to a permutation of atoms (`Descriptor`). `InverseDistances`, `Angles` and `Dihedrals`, all
or a subset of them, are concatenated in a `CompositeDescriptor`; `RootDistances` are distances in a
learned metric.
"""

from flexcalc.models.gdml.descriptor.angular import Angles, Dihedrals
from flexcalc.models.gdml.descriptor.composite import CompositeDescriptor, extended
from flexcalc.models.gdml.descriptor.distances import InverseDistances, RootDistances
from flexcalc.models.gdml.descriptor.interface import Descriptor, Linearised
from flexcalc.models.gdml.descriptor.internal import InternalCoordinates
from flexcalc.models.gdml.descriptor.stored import from_arrays

__all__ = [
    "Angles",
    "Descriptor",
    "Dihedrals",
    "InternalCoordinates",
    "InverseDistances",
    "CompositeDescriptor",
    "Linearised",
    "RootDistances",
    "extended",
    "from_arrays",
]
