"""Local models joined into one potential by weights that sum to one."""

from flexcalc.models.mixture.features import Averages, CoordinateFeatures, averages_of
from flexcalc.models.mixture.gate import Gate, Weighing
from flexcalc.models.mixture.potential import MixturePotential, aligned, background_shares

__all__ = [
    "Averages",
    "CoordinateFeatures",
    "Gate",
    "MixturePotential",
    "Weighing",
    "aligned",
    "averages_of",
    "background_shares",
]
