"""Which local model answers where: weights that sum to one, smooth, and zero far away.

With the features f of a geometry, region k has the logit l_k = a_k.f + b_k and the share

    p_k = exp(l_k) / sum_j exp(l_j),    w_k = u_k / sum_j u_j,    u_k = max(p_k - e, 0)^4,

so a region whose share is below e has no weight at all and its model need not be evaluated. The
weights have three continuous derivatives. The mixture's energy is E = sum_k w_k E_k, and its
force is sum_k w_k F_k less the sum over k of E_k times the gradient of w_k, which with
E_k - E in place of E_k needs no energy of a region without weight.

The logits are those of a linear discriminant analysis: regions are taken for Gaussians with
their own centres and one covariance, so this is a softmax of squared distances to the centres,
exp(-d_k^2 / 2), in which what they have in common has dropped out. The covariance is learned from
the frames and shrunk towards an even one. A common factor, which says how wide the borders are,
is set by the share of the frames that shall lie on borders: where nothing lies between regions they
take up the gap. Where regions overlap this alone would make them so narrow that the molecule shook
across within a timestep, which no dynamics follows; so they are wide enough for thermal motion to
take `QUICKEST_FS` across.

Source: the softmax gate of Jacobs, Jordan, Nowlan, Hinton, Neural Comput. 3, 79 (1991),
doi:10.1162/neco.1991.3.1.79; Friedman, J. Am. Stat. Assoc. 84, 165 (1989), for the shrinking.
Cutting shares off and the width of the borders are flexcalc's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flexcalc.models.mixture.features import Averages, Terms
from flexcalc.units import FS, KB

POWER = 4
"""Of the excess over the least share; its derivatives below this order are continuous."""
LEAST_SHARE = 0.05
"""Share, of a region among few, below which it has no weight."""
SHRUNK = 0.1
"""Part of the covariance that is taken to be the same in all directions, as there are few frames.
Any from 0.01 to 0.5 tells all of 800 frames of cis- and trans-azobenzene at 750 K apart, by 100
others; with 1, plain distances to the centres, 2 in 100 are taken for the other isomer."""
NARROWEST, TINY = 1e-6, 1e-30
"""Least variance within regions that is believed, relative to that between them, and at all."""
QUICKEST_FS, WARM_K = 10.0, 300.0
"""Least time, and at which temperature, that motion at the thermal pace needs to cross a border,
from the share at which a region gets weight to that at which the others lose it: as long as the
period of a bond with hydrogen. Ethanol in two regions whose border is crossed in 1 fs drifts by 0.2
meV an atom a ps with steps of 0.5 fs, in 9 fs by 8e-4 (four runs of 10 ps)."""
SHARPEST, SOFTEST, HALVINGS = 7.0, -7.0, 50
"""Logarithms of the factor on the logits between which it is searched for."""


@dataclass(frozen=True, eq=False)
class Weighing:
    """Weights at some geometries.

    Args:
        weights: (batch, regions), each row sums to one.
        force: takes energies (batch, regions) in eV, any where the weight is zero, to minus
            the sum over regions of energy times gradient of the weight, (batch, atoms, 3).
    """

    weights: np.ndarray
    force: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Gate:
    """The weights of regions.

    Args:
        terms: what is seen of a geometry.
        slopes: (terms, regions), a_k.
        offsets: (regions,), b_k.
    """

    terms: Terms
    slopes: np.ndarray
    offsets: np.ndarray

    @property
    def regions(self) -> int:
        """How many there are."""
        return len(self.offsets)

    @property
    def least(self) -> float:
        """The share e below which a region has no weight; less than the largest can be."""
        return min(LEAST_SHARE, 0.5 / self.regions) if self.regions > 1 else 0.0

    def shares(self, positions: np.ndarray) -> np.ndarray:
        """The shares p (batch, regions) at positions (batch, atoms, 3)."""
        return self._shares(self.terms.linearise(positions).features)

    def _shares(self, features: np.ndarray) -> np.ndarray:
        logits = features @ self.slopes + self.offsets
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def __call__(self, positions: np.ndarray) -> Weighing:
        """Weights at positions (batch, atoms, 3), and the force that comes of them."""
        seen = self.terms.linearise(positions)
        shares = self._shares(seen.features)
        excess = np.maximum(shares - self.least, 0.0)
        raised = excess**POWER
        total = raised.sum(axis=1, keepdims=True)
        weights = raised / total

        def force(energies: np.ndarray) -> np.ndarray:
            there = np.where(weights > 0, energies, 0.0)
            mean = (weights * there).sum(axis=1, keepdims=True)
            steep = np.where(weights > 0, there - mean, 0.0) * POWER * excess ** (POWER - 1) / total
            common = (shares * steep).sum(axis=1, keepdims=True)
            logits = shares * (steep - common)
            return -seen.pull(logits @ self.slopes.T)

        return Weighing(weights, force)


def discriminant(
    averages: Averages,
    numbers: np.ndarray,
    positions: np.ndarray,
    regions: np.ndarray,
    shared: float,
) -> Gate:
    """The gate that tells regions apart by the frames that are in them.

    Args:
        averages: what is seen of a geometry.
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
        regions: (frames,) region of each, numbered from 0 without gaps.
        shared: least share of these frames on which more than one region has weight.
    """
    seen = averages(positions)
    count, size = int(regions.max()) + 1, seen.shape[1]
    centres = np.stack([seen[regions == index].mean(axis=0) for index in range(count)])
    middle = centres.mean(axis=0)
    off = seen - centres[regions]
    covariance = off.T @ off / len(seen)
    even = max(float(np.trace(covariance)) / size, NARROWEST * float(np.var(centres)), TINY)
    covariance = (1 - SHRUNK) * covariance + SHRUNK * even * np.eye(size)
    pulls = np.linalg.solve(covariance, (centres - middle).T)
    slopes = averages.matrix @ pulls
    offsets = -0.5 * np.einsum("kf,fk->k", centres - middle, pulls) - middle @ pulls
    gate = Gate(averages.terms, slopes, offsets)
    if count == 1:
        return gate
    gate = _widened(gate, positions, shared)
    return _scaled(gate, min(1.0, _crossing_fs(gate, numbers, positions) / QUICKEST_FS))


def _scaled(gate: Gate, factor: float) -> Gate:
    return Gate(gate.terms, gate.slopes * factor, gate.offsets * factor)


def _crossing_fs(gate: Gate, numbers: np.ndarray, positions: np.ndarray) -> float:
    """Time to cross a border at the thermal pace: of the tenth of the frames nearest to one."""
    from ase.data import atomic_masses

    masses = atomic_masses[numbers][:, None]
    seen = gate.terms.linearise(positions)
    logits = seen.features @ gate.slopes + gate.offsets
    second, first = np.argsort(logits, axis=1)[:, -2:].T
    rows = np.arange(len(logits))
    rise = seen.pull((gate.slopes[:, first] - gate.slopes[:, second]).T)
    pace = np.sqrt(KB * WARM_K * (rise**2 / masses).sum(axis=(1, 2))) * FS
    nearest = np.argsort(logits[rows, first] - logits[rows, second])[: -(-len(rows) // 10)]
    width = 2 * np.log((1 - gate.least) / gate.least)
    return float(width / max(np.median(pace[nearest]), TINY))


def _widened(gate: Gate, positions: np.ndarray, shared: float) -> Gate:
    """The same gate with borders as wide as to have a share of the frames on them."""
    features = gate.terms.linearise(positions).features

    def scaled(logarithm: float) -> Gate:
        return _scaled(gate, float(np.exp(logarithm)))

    sharp, soft = SHARPEST, SOFTEST
    for _ in range(HALVINGS):
        half = (sharp + soft) / 2
        found = scaled(half)
        on_border = (found._shares(features) > gate.least).sum(axis=1) > 1
        sharp, soft = (half, soft) if on_border.mean() < shared else (sharp, half)
    return scaled(sharp)
