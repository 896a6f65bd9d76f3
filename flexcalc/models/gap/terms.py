"""The energy of a GAP as a sum of terms, each for whole batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.models.gap.kernel import DotProduct
from flexcalc.models.gap.pairs import PairEnergies
from flexcalc.models.gap.soap import Environments, Soap
from flexcalc.parallel.batches import evaluate_in_pieces
from flexcalc.potential import Evaluation

Results = tuple[np.ndarray, np.ndarray]
"""Energies (batch,) in eV and forces (batch, atoms, 3) in eV/angstrom."""

BLOCK = 1 << 22
"""Approximate maximum number of float64 values of a block of geometries."""
FEWEST, SHARES = 4, 4
"""Geometries per core and chunk, if they fit, and number of chunks of larger batches: products of
large matrices are faster, but no core should wait for another."""


@dataclass(frozen=True)
class Kernel:
    """Sparse points of the environments of one element.

    Args:
        centre: its atomic number; 0 is any.
        sparse: (points, components).
        weights: (points,) in eV; see `DotProduct`.
        zeta: the power.
    """

    centre: int
    sparse: np.ndarray
    weights: np.ndarray
    zeta: float


class SoapEnergies:
    """The sum over atoms of the energies of their environments.

    Args:
        soap: parameters of all power spectra.
        numbers: (atoms,) atomic numbers of the molecule.
        kernels: at most one for each element, or one of any.
    """

    def __init__(self, soap: Soap, numbers: np.ndarray, kernels: Sequence[Kernel]):
        members = [
            np.flatnonzero((numbers == kernel.centre) | (kernel.centre == 0)) for kernel in kernels
        ]
        self._environments = Environments(soap, numbers, np.concatenate(members))
        self._kernels = [
            DotProduct(kernel.sparse, kernel.weights, kernel.zeta, self._environments)
            for kernel in kernels
        ]
        self._ends = np.cumsum([len(atoms) for atoms in members])

    @property
    def size(self) -> int:
        """Float64 numbers that a geometry takes, about."""
        most = 2 * max(kernel.points for kernel in self._kernels)
        return len(self._environments.centres) * (self._environments.size + most)

    def __call__(self, positions: np.ndarray) -> Results:
        """Energies (rows,) in eV and forces (rows, atoms, 3) of positions (rows, atoms, 3)."""
        rows, found = len(positions), self._environments(positions)
        energies = np.empty(len(found.features))
        shrinking = np.empty_like(energies)
        slopes = np.empty_like(found.features)
        start = 0
        for kernel, end in zip(self._kernels, self._ends * rows, strict=True):
            part = slice(start, end)
            energies[part], shrinking[part] = kernel(
                found.features[part], found.lengths[part], slopes[part]
            )
            start = end
        found.add_lengths(shrinking, slopes)
        forces = np.zeros_like(positions)
        found.add_forces(slopes, forces)
        return energies.reshape(-1, rows).sum(axis=0), forces


class Energies:
    """A constant and terms that depend on the positions, on all cores.

    The result of a row does not depend on the number of cores: batches are cut alike on all
    machines, and every block is one core's.

    Args:
        constant: in eV, of the isolated atoms.
        terms: see above.
    """

    def __init__(self, constant: float, terms: Sequence[SoapEnergies | PairEnergies]):
        self._constant, self._terms = constant, terms
        self._most = max(1, BLOCK // max((term.size for term in terms), default=1))

    def __call__(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3)."""
        count = len(positions)
        rows = -(-count // max(1, min(SHARES, count // FEWEST)))
        return evaluate_in_pieces(self, positions, min(self._most, rows))

    def alone(self, positions: np.ndarray) -> Evaluation:
        """The same in one chunk, on one thread."""
        energies = np.full(len(positions), self._constant)
        forces = np.zeros(positions.shape)
        with np.errstate(all="ignore"):  # results are checked for finiteness at the end
            for term in self._terms:
                energy, force = term(positions)
                energies += energy
                forces += force
        return Evaluation(energies, forces)
