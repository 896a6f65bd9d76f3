"""The gate of a mixture: smooth weights of local models, which sum to one and vanish far away.

With the features f of a geometry, region k has the logit l_k = a_k.f + b_k and the share

    p_k = exp(l_k) / sum_j exp(l_j),    w_k = u_k / sum_j u_j,    u_k = max(p_k - e, 0)^4,

so a region with a share below e has zero weight, and its model is not evaluated. The weights have
three continuous derivatives. The mixture's energy is E = sum_k w_k E_k, and its
force is sum_k w_k F_k less the sum over k of E_k times the gradient of w_k, which with
E_k - E in place of E_k needs no energy of a region without weight.

The logits are those of a linear discriminant analysis. Regions are modelled as Gaussians with their
own centres and a common covariance, so this is a softmax of squared distances to the centres,
exp(-d_k^2 / 2), without their common part. The covariance is estimated from the frames and shrunk
towards an isotropic one. A common factor sets the width of the borders, from the fraction of frames
that shall be on borders: between separate regions, the border fills the gap. For overlapping
    regions
the border would be so narrow that vibrations cross it within a timestep, so it is at least so wide
that thermal motion takes `MIN_CROSSING_FS` across.

Source: the softmax gate of Jacobs, Jordan, Nowlan, Hinton, Neural Comput. 3, 79 (1991),
doi:10.1162/neco.1991.3.1.79; Friedman, J. Am. Stat. Assoc. 84, 165 (1989), for the shrinkage.
The cutoff of shares and the width of the borders are new here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flexcalc.models.mixture.features import Averages, Terms
from flexcalc.units import FS, KB

POWER = 4
"""Exponent of the excess over the minimum share; derivatives below this order are continuous."""
MIN_SHARE = 0.05
"""Share below which a region has no weight, if there are few regions."""
SHRINKAGE = 0.1
"""Fraction of the covariance that is isotropic, as there are few frames. Any from 0.01 to 0.5
classifies all of 800 frames of cis- and trans-azobenzene at 750 K correctly, from 100 others; with
1, plain distances to the centres, 2 % are assigned to the other isomer."""
MIN_VARIANCE, TINY = 1e-6, 1e-30
"""Minimum variance within regions, relative to that between them, and absolute."""
MIN_CROSSING_FS, WARM_K = 10.0, 300.0
"""Minimum time, and the temperature, for thermal motion to cross a border, from the share at which
a region gets weight to that at which the others lose it: the period of a bond with hydrogen. With
steps of 0.5 fs the energy of ethanol in two regions drifts by 0.2 meV per atom and ps if the border
is crossed in 1 fs, and by 8e-4 if in 9 fs (four runs of 10 ps)."""
MAX_LOG, MIN_LOG, BISECTIONS = 7.0, -7.0, 50
"""Bounds of the logarithm of the factor on the logits, and number of bisections."""


@dataclass(frozen=True, eq=False)
class GateWeights:
    """Weights of a batch of geometries.

    Args:
        weights: (batch, regions), each row sums to one.
        force: function of energies (batch, regions) in eV, arbitrary where the weight is zero, that
            returns minus the sum over regions of energy times gradient of the weight,
            (batch, atoms, 3).
    """

    weights: np.ndarray
    force: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Gate:
    """The weights of regions.

    Args:
        terms: features of a geometry.
        slopes: (terms, regions), a_k.
        offsets: (regions,), b_k.
    """

    terms: Terms
    slopes: np.ndarray
    offsets: np.ndarray

    @property
    def regions(self) -> int:
        """Number of regions."""
        return len(self.offsets)

    @property
    def min_share(self) -> float:
        """The share e below which a region has no weight."""
        return min(MIN_SHARE, 0.5 / self.regions) if self.regions > 1 else 0.0

    def shares(self, positions: np.ndarray) -> np.ndarray:
        """The shares p (batch, regions) at positions (batch, atoms, 3)."""
        return self._shares(self.terms.linearise(positions).features)

    def _shares(self, features: np.ndarray) -> np.ndarray:
        logits = features @ self.slopes + self.offsets
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    def __call__(self, positions: np.ndarray) -> GateWeights:
        """Weights at positions (batch, atoms, 3), and their contribution to the force."""
        seen = self.terms.linearise(positions)
        shares = self._shares(seen.features)
        excess = np.maximum(shares - self.min_share, 0.0)
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

        return GateWeights(weights, force)


def discriminant(
    averages: Averages,
    numbers: np.ndarray,
    positions: np.ndarray,
    regions: np.ndarray,
    shared: float,
) -> Gate:
    """Linear discriminant analysis: the gate that separates regions, from their frames.

    Args:
        averages: features of a geometry.
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom.
        regions: (frames,) region of each, numbered from 0 without gaps.
        shared: minimum fraction of these frames on which several regions have weight.
    """
    seen = averages(positions)
    count, size = int(regions.max()) + 1, seen.shape[1]
    centres = np.stack([seen[regions == index].mean(axis=0) for index in range(count)])
    middle = centres.mean(axis=0)
    off = seen - centres[regions]
    covariance = off.T @ off / len(seen)
    even = max(float(np.trace(covariance)) / size, MIN_VARIANCE * float(np.var(centres)), TINY)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * even * np.eye(size)
    pulls = np.linalg.solve(covariance, (centres - middle).T)
    slopes = averages.matrix @ pulls
    offsets = -0.5 * np.einsum("kf,fk->k", centres - middle, pulls) - middle @ pulls
    gate = Gate(averages.terms, slopes, offsets)
    if count == 1:
        return gate
    gate = _widen_borders(gate, positions, shared)
    return _scale(gate, min(1.0, _crossing_fs(gate, numbers, positions) / MIN_CROSSING_FS))


def _scale(gate: Gate, factor: float) -> Gate:
    return Gate(gate.terms, gate.slopes * factor, gate.offsets * factor)


def _crossing_fs(gate: Gate, numbers: np.ndarray, positions: np.ndarray) -> float:
    """Time to cross a border at thermal velocity, from the tenth of frames nearest to a border."""
    from ase.data import atomic_masses

    masses = atomic_masses[numbers][:, None]
    seen = gate.terms.linearise(positions)
    logits = seen.features @ gate.slopes + gate.offsets
    second, first = np.argsort(logits, axis=1)[:, -2:].T
    rows = np.arange(len(logits))
    rise = seen.pull((gate.slopes[:, first] - gate.slopes[:, second]).T)
    pace = np.sqrt(KB * WARM_K * (rise**2 / masses).sum(axis=(1, 2))) * FS
    nearest = np.argsort(logits[rows, first] - logits[rows, second])[: -(-len(rows) // 10)]
    width = 2 * np.log((1 - gate.min_share) / gate.min_share)
    return float(width / max(np.median(pace[nearest]), TINY))


def _widen_borders(gate: Gate, positions: np.ndarray, shared: float) -> Gate:
    """A gate with borders so wide that a fraction of the frames are on them."""
    features = gate.terms.linearise(positions).features

    def scaled(logarithm: float) -> Gate:
        return _scale(gate, float(np.exp(logarithm)))

    sharp, soft = MAX_LOG, MIN_LOG
    for _ in range(BISECTIONS):
        half = (sharp + soft) / 2
        found = scaled(half)
        on_border = (found._shares(features) > gate.min_share).sum(axis=1) > 1
        sharp, soft = (half, soft) if on_border.mean() < shared else (sharp, half)
    return scaled(sharp)
