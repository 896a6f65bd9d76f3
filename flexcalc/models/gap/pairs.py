"""Energies of pairs of atoms by their distance, under a squared-exponential kernel.

Source: QUIP 0.10.3, src/GAP/descriptors.F90 (distance_2b) and gp_predict.F90 (ARD_SE).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.models.gap.radial import cutoff_function


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Parameters of `distance_2b`, named as in QUIP.

    Args:
        elements: atomic numbers of the two atoms; 0 is any.
        cutoff, cutoff_transition_width: in angstrom.
    """

    elements: tuple[int, int]
    cutoff: float
    cutoff_transition_width: float


@dataclass(frozen=True, kw_only=True)
class SquaredExponential:
    """Parameters of the kernel, named as in QUIP.

    Args:
        delta, f0: in eV.
        theta: in angstrom.
    """

    delta: float
    f0: float
    theta: float


class PairEnergies:
    """f(r) sum_s a_s (delta^2 exp(-(r - r_s)^2 / 2 theta^2) + f0^2), twice for each pair.

    Args:
        pairs: which.
        numbers: (atoms,) atomic numbers of the molecule.
        sparse: (points,) distances in angstrom.
        weights: (points,) in 1/eV, a_s with the cutoff function of the point.
        kernel: of the distances.
    """

    def __init__(
        self,
        pairs: Pairs,
        numbers: np.ndarray,
        sparse: np.ndarray,
        weights: np.ndarray,
        kernel: SquaredExponential,
    ):
        first, second = ((numbers == one) | (one == 0) for one in pairs.elements)
        chosen = first[:, None] & second | second[:, None] & first
        self._first, self._second = np.nonzero(np.triu(chosen, 1))
        atoms = np.arange(len(numbers))[:, None]
        self._incidence = (atoms == self._first).astype(float) - (atoms == self._second)
        self._cutoff = pairs.cutoff, pairs.cutoff_transition_width
        self._sparse, self._theta = sparse, kernel.theta
        self._weights = 2.0 * kernel.delta**2 * weights
        self._constant = 2.0 * kernel.f0**2 * float(weights.sum())

    @property
    def size(self) -> int:
        """Float64 numbers that a geometry takes, about."""
        return len(self._first) * (3 * len(self._sparse) + 12)

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (rows,) in eV and forces (rows, atoms, 3) of positions (rows, atoms, 3)."""
        apart = positions[:, self._second] - positions[:, self._first]
        distances = np.sqrt(np.einsum("rpk,rpk->rp", apart, apart))
        steps = (self._sparse - distances[..., None]) / self._theta
        kernel = np.exp(-0.5 * steps**2)
        values = kernel @ self._weights + self._constant
        slopes = (kernel * steps) @ (self._weights / self._theta)
        fade, fade_slope = cutoff_function(distances, *self._cutoff)
        pull = ((slopes * fade + values * fade_slope) / distances)[..., None] * apart
        return np.einsum("rp,rp->r", values, fade), self._incidence @ pull
