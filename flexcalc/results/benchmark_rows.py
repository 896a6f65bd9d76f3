"""Rows of the tables of a benchmark; see `flexcalc.results.rows`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from flexcalc.results.rows import Row, keyed

Quantity = Literal["force", "energy"]
"""What an error is of."""


@dataclass(frozen=True, kw_only=True)
class MinimumRow(Row):
    """A minimum on the reference, in kcal/mol above the lowest one."""

    stage: ClassVar[str] = "minima"
    needed: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    energy_kcal_mol: float
    coordinates: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class PathRow(Row):
    """A mechanism's path on the reference; energies (images,) are above the first image."""

    stage: ClassVar[str] = "paths"
    needed: ClassVar[tuple[str, ...]] = ("mechanism",)

    mechanism: str
    start: str
    end: str
    images: int
    barrier_kcal_mol: float
    barrier_without_dispersion_kcal_mol: float | None
    profile_kcal_mol: tuple[float, ...]
    profile_without_dispersion_kcal_mol: tuple[float, ...] | None
    coordinate: str
    progress: tuple[float, ...]
    """Values (images,) of the coordinate; those of a dihedral without jumps."""
    converged: bool


@dataclass(frozen=True, kw_only=True)
class NaiveRow(Row):
    """A search that began with an interpolation between two minima.

    `ended` is why it came to no path; `steps` and the barrier are None then.
    """

    stage: ClassVar[str] = "naive"
    needed: ClassVar[tuple[str, ...]] = ("method",)

    start: str = ""
    end: str = ""
    method: str = ""
    interpolation: str = ""
    converged: bool
    steps: int | None
    barrier_kcal_mol: float | None
    ended: str | None


@dataclass(frozen=True, kw_only=True)
class DataRow(Row):
    """The frames of one kind of sampling of a mechanism."""

    stage: ClassVar[str] = "data"
    needed: ClassVar[tuple[str, ...]] = ("mechanism", "kind")

    mechanism: str
    kind: str
    frames: int
    energy_kcal_mol: tuple[float, ...]
    """Energies (frames,) above the lowest minimum."""
    nearest_other_A: tuple[float, ...]
    """Distances (frames,) to the nearest other frame, of all pair distances."""


@dataclass(frozen=True, kw_only=True)
class SubsetRow(Row):
    """The frames that a number of training points are cross-validated in."""

    stage: ClassVar[str] = "subsets"
    needed: ClassVar[tuple[str, ...]] = ("mechanism",)

    mechanism: str
    points: int
    frames: int
    file: str


@dataclass(frozen=True, kw_only=True)
class CurveRow(Row):
    """A model at one size, with hyperparameters chosen by the force error or by both errors."""

    stage: ClassVar[str] = "curves"
    needed: ClassVar[tuple[str, ...]] = ("mechanism", "model", "points")

    mechanism: str = ""
    model: str = ""
    family: str
    points: int
    by: str
    """`force` or `joint`."""
    fold_force_rmse_kcal_mol_A: tuple[float, ...]
    fold_energy_rmse_kcal_mol: tuple[float, ...]
    best_force_rmse_kcal_mol_A: float
    best_energy_rmse_kcal_mol: float
    mean_force_rmse_kcal_mol_A: float
    mean_energy_rmse_kcal_mol: float
    hyperparameters: Mapping[str, int | float | str]
    permutations: int | None = None
    train_seconds: float
    predict_ms: float

    def best(self, what: Quantity) -> float:
        """RMSE of the best fold."""
        both = self.best_force_rmse_kcal_mol_A, self.best_energy_rmse_kcal_mol
        return both[what == "energy"]

    def mean(self, what: Quantity) -> float:
        """Mean RMSE over the folds."""
        both = self.mean_force_rmse_kcal_mol_A, self.mean_energy_rmse_kcal_mol
        return both[what == "energy"]

    def folds(self, what: Quantity) -> tuple[float, ...]:
        """RMSE of each fold."""
        both = self.fold_force_rmse_kcal_mol_A, self.fold_energy_rmse_kcal_mol
        return both[what == "energy"]


@dataclass(frozen=True, kw_only=True)
class CutoffRow(Row):
    """Mean errors over the folds of a model with one cutoff."""

    stage: ClassVar[str] = "cutoffs"
    needed: ClassVar[tuple[str, ...]] = ("mechanism", "model", "cutoff_A")

    mechanism: str = ""
    model: str = ""
    points: int = 0
    cutoff_A: float
    force_rmse_kcal_mol_A: float
    energy_rmse_kcal_mol: float

    def rmse(self, what: Quantity) -> float:
        """The error of a quantity."""
        return (self.force_rmse_kcal_mol_A, self.energy_rmse_kcal_mol)[what == "energy"]


@dataclass(frozen=True, kw_only=True)
class RegionBin(Row):
    """Errors on the test frames of one bin of a coordinate; None without energies and forces."""

    low: float = keyed("from")
    high: float = keyed("to")
    population: int
    force_rmse_kcal_mol_A: float | None = None
    energy_rmse_kcal_mol: float | None = None

    def rmse(self, what: Quantity) -> float:
        """The error of a quantity; not-a-number where it is not known."""
        value = (self.force_rmse_kcal_mol_A, self.energy_rmse_kcal_mol)[what == "energy"]
        return math.nan if value is None else value


@dataclass(frozen=True, kw_only=True)
class RegionTable(Row):
    """Errors by bins of one coordinate."""

    coordinate: str
    unit: str
    bins: tuple[RegionBin, ...]


@dataclass(frozen=True, kw_only=True)
class RegionRow(Row):
    """Errors of a model by bins of one coordinate."""

    stage: ClassVar[str] = "regions"
    needed: ClassVar[tuple[str, ...]] = ("mechanism", "model", "coordinate")

    mechanism: str
    model: str
    points: int
    coordinate: str
    unit: str
    bins: tuple[RegionBin, ...]


@dataclass(frozen=True, kw_only=True)
class BarrierRow(Row):
    """A model along its mechanism's path on the reference, in kcal/mol above the first image."""

    stage: ClassVar[str] = "barriers"
    needed: ClassVar[tuple[str, ...]] = ("mechanism", "model")

    mechanism: str = ""
    model: str = ""
    points: int = 0
    barrier_kcal_mol: float
    barrier_reference_kcal_mol: float
    barrier_error_kcal_mol: float
    profile_rmse_kcal_mol: float
    profile_kcal_mol: tuple[float, ...]
    profile_reference_kcal_mol: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class BarrierError(Row):
    """Error of a mechanism's barrier."""

    mechanism: str
    error_kcal_mol: float


@dataclass(frozen=True, kw_only=True)
class JointRow(Row):
    """A model of all mechanisms on held-out frames.

    The worst and the best region, and their ratio, are None where no bin has enough frames;
    the seconds to train where the training was interrupted.
    """

    stage: ClassVar[str] = "joint"
    needed: ClassVar[tuple[str, ...]] = ("model", "budget")

    model: str
    family: str
    budget: int
    data: str = keyed("set")
    force_rmse_kcal_mol_A: float
    energy_rmse_kcal_mol: float
    worst_region_kcal_mol_A: float | None
    best_region_kcal_mol_A: float | None
    ratio: float | None
    regions: tuple[RegionTable, ...]
    barriers: tuple[BarrierError, ...]
    train_seconds: float | None
    predict_ms: float
    permutations: int | None = None


@dataclass(frozen=True, kw_only=True)
class FailureRow(Row):
    """How a replica of a crash test failed: the kind of failure, and of which atoms."""

    seed: int
    start: str
    time_ps: float
    kind: str
    what: str


@dataclass(frozen=True, kw_only=True)
class VisitMap(Row):
    """How often two coordinates were met together: edges of bins, and counts (first, second)."""

    coordinates: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    counts: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class CrashRow(Row):
    """A crash test of a model at one temperature.

    `reference_populations` and `reference_map` are of the reference's own run, if it was one.
    Errors are those on frames that the model visited, and on the last geometries before failures.
    """

    stage: ClassVar[str] = "crash"
    needed: ClassVar[tuple[str, ...]] = ("model", "temperature_K")

    model: str = ""
    mechanism: str = ""
    points: int = 0
    temperature_K: float
    seeds: int
    time_ps: float
    timestep_fs: float
    survived: int
    time_to_failure_ps: tuple[float | None, ...]
    failures: tuple[FailureRow, ...]
    failed_without_thermostat: int
    drift_meV_atom_ps: float | None
    frames: int
    populations: Mapping[str, float]
    reference_populations: Mapping[str, float] | None
    map: VisitMap | None
    reference_map: VisitMap | None
    relabelled_frames: int
    not_labelled_frames: int
    force_rmse_visited_kcal_mol_A: float | None
    force_max_error_kcal_mol_A: float | None
    force_rmse_before_failure_kcal_mol_A: float | None
    force_max_error_before_failure_kcal_mol_A: float | None


@dataclass(frozen=True, kw_only=True)
class WithheldRow(Row):
    """A model on frames like its training set's and on those that were withheld."""

    stage: ClassVar[str] = "withheld"
    needed: ClassVar[tuple[str, ...]] = ("model",)

    model: str = ""
    withheld: str = ""
    points: int
    frames_seen: int
    force_rmse_seen_kcal_mol_A: float
    energy_rmse_seen_kcal_mol: float
    frames_withheld: int
    force_rmse_withheld_kcal_mol_A: float
    energy_rmse_withheld_kcal_mol: float
    ratio: float
    barriers: tuple[BarrierError, ...]


@dataclass(frozen=True, kw_only=True)
class FeatureRow(Row):
    """The features that a reduced model kept."""

    stage: ClassVar[str] = "features"
    needed: ClassVar[tuple[str, ...]] = ("mechanism", "model")

    mechanism: str
    model: str
    kept: int
    all: int
    features: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Finding(Row):
    """A finding of the study: its words, ours, and whether it holds here."""

    stage: ClassVar[str] = "findings"
    needed: ClassVar[tuple[str, ...]] = ("finding",)

    finding: str
    paper: str
    ours: str
    holds: str
    """`yes`, `partly`, `no` or `not measured`."""


@dataclass(frozen=True, kw_only=True)
class FrameErrors(Row):
    """A test frame and the errors of each model on it, by label."""

    mechanism: str
    coordinates: Mapping[str, float]
    energy_kcal_mol: float
    energy_error_kcal_mol: Mapping[str, float]
    force_rmse_kcal_mol_A: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ErrorsByFrame(Row):
    """The content of errors.json: labels of the models, and the frames of errors.xyz."""

    stage: ClassVar[str] = "errors"

    models: tuple[str, ...]
    frames: tuple[FrameErrors, ...]


ROWS: Mapping[str, type[Row]] = {
    kind.stage: kind
    for kind in (
        *(MinimumRow, PathRow, NaiveRow, DataRow, SubsetRow, CurveRow, CutoffRow, RegionRow),
        *(BarrierRow, JointRow, CrashRow, WithheldRow, Finding),
    )
}
"""The rows of each stage's JSON file."""
