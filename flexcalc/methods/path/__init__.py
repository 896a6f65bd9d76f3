"""Paths between two geometries: interpolation, nudged elastic band, string method, and scans of
driven coordinates."""

from flexcalc.methods.path.chain import (
    Chain,
    PathState,
    improved_tangents,
    neighbour_steps,
)
from flexcalc.methods.path.divergence import DIVERGED, DivergenceGuard
from flexcalc.methods.path.interpolation import (
    Ends,
    PairTargets,
    interpolate,
    match_endpoints,
    path_length,
    respace,
)
from flexcalc.methods.path.neb import NEB
from flexcalc.methods.path.scan import Scan, ScanState
from flexcalc.methods.path.stages import FEWEST_IMAGES, MORE_IMAGES, Stage, with_few_images
from flexcalc.methods.path.string import String

PathMethod = NEB | String | Scan

__all__ = [
    "DIVERGED",
    "FEWEST_IMAGES",
    "MORE_IMAGES",
    "NEB",
    "Chain",
    "DivergenceGuard",
    "Ends",
    "PairTargets",
    "PathMethod",
    "PathState",
    "Scan",
    "ScanState",
    "Stage",
    "String",
    "improved_tangents",
    "interpolate",
    "match_endpoints",
    "neighbour_steps",
    "path_length",
    "respace",
    "with_few_images",
]
