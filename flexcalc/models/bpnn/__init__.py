"""Behler-Parrinello networks: symmetry functions of every atom, and a network for each element.

`family` holds the hyperparameters and imports no torch, `parameters` chooses the symmetry
functions, `functions` evaluates them on all pairs and triplets of a molecule, `network` sums the
energies of the atoms, and `potential` compiles it for the processor (`arithmetic`).
"""

from flexcalc.models.bpnn.family import BPNN

__all__ = ["BPNN"]
