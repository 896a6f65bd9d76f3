"""Mixtures: local models combined into one potential by a gate, whose weights sum to one."""

from flexcalc.models.mixture.features import Averages, CoordinateFeatures, averages_of
from flexcalc.models.mixture.gate import Gate, GateWeights
from flexcalc.models.mixture.potential import MixturePotential, align_energies, background_shares

__all__ = [
    "Averages",
    "CoordinateFeatures",
    "Gate",
    "MixturePotential",
    "GateWeights",
    "align_energies",
    "averages_of",
    "background_shares",
]
