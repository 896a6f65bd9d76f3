"""Paths between two geometries: first guesses, the band, the string, and driven coordinates."""

from flexcalc.methods.path.chain import PathState, improved_tangents, neighbour_steps
from flexcalc.methods.path.interpolation import (
    PairTargets,
    chained,
    interpolate,
    joined_ends,
    path_length,
    respaced,
)
from flexcalc.methods.path.neb import NEB
from flexcalc.methods.path.scan import Scan, ScanState
from flexcalc.methods.path.string import String

PathMethod = NEB | String | Scan

__all__ = [
    "NEB",
    "PairTargets",
    "PathMethod",
    "PathState",
    "Scan",
    "ScanState",
    "String",
    "chained",
    "improved_tangents",
    "interpolate",
    "joined_ends",
    "neighbour_steps",
    "path_length",
    "respaced",
]
