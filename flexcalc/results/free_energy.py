"""Results of metadynamics and umbrella sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from flexcalc.analysis.study import Study
from flexcalc.analysis.umbrella import UmbrellaStudy
from flexcalc.dataset import Dataset
from flexcalc.display import free_energy
from flexcalc.display.drawing import Drawing
from flexcalc.files import plumed
from flexcalc.results.base import MoleculeResult, data_frame, figure, part
from flexcalc.results.coverage import Coverage
from flexcalc.units import KCAL_MOL

SURFACE, PROFILE = "surface.npz", "umbrella.npz"
HILLS, COLVAR = "HILLS", "COLVAR"
TRAJECTORY = "trajectory.xyz"
MOST_WALKERS, MOST_SAMPLES = 8, 400
"""Walkers whose ways are drawn, and points of each."""
MOST_ROWS = 200_000
"""Rows of COLVAR that are read for a drawing; of a longer one every n-th time is."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Sampled(MoleculeResult):
    """Figures that all biased dynamics have."""

    coordinates: tuple[str, ...] = figure("coordinates")
    """Coordinates that were biased."""
    steps: int = figure("steps")
    """Number of timesteps done."""
    time_ps: float = figure("time simulated", "ps")
    """Time simulated, of each replica, in ps."""
    temperature_K: float = figure("temperature asked for", "K")
    """Temperature of the thermostat, in kelvin."""
    temperature_mean_K: float | None = figure("mean temperature", "K", default=None)
    """Mean kinetic temperature of the samples, in kelvin."""
    steps_per_second: float = figure("steps per second")
    """Timesteps per second of wall time."""
    ns_per_day: float = figure("of all replicas together", "ns/day")
    """Time simulated by all replicas together per day of wall time, in ns."""
    coverage: Coverage | None = part(Coverage)
    """How far the replicas went from the training data; None without a domain."""

    def _covered(self) -> str:
        """What the last line says of the training data."""
        return "" if self.coverage is None else f"; {self.coverage.summary()}"

    @property
    def frames(self) -> Dataset:
        """All recorded frames; labels without the bias."""
        return self.store.get(TRAJECTORY)

    def first_geometry(self) -> Dataset | None:
        """The first frame."""
        return self.store.first(TRAJECTORY)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FreeEnergySurface(Sampled):
    """A free-energy surface by metadynamics, and whether its coordinates drove the change."""

    command: ClassVar[str] = "metad"
    headline: ClassVar[tuple[str, ...]] = (
        *("isotopes", "verdict", "basins", "basin_difference_kcal_mol"),
        *("basin_difference_reweighted_kcal_mol", "basin_difference_error_kcal_mol"),
        *("drift_kcal_mol", "walkers", "hills", "time_ps", "temperature_mean_K", "ns_per_day"),
        "largest_distance",
    )

    method: str = figure("method")
    """Kind of metadynamics."""
    walkers: int = figure("walkers")
    """Walkers that shared the bias."""
    hills: int = figure("hills")
    """Hills that were added."""
    verdict: str | None = figure("verdict", default=None)
    """"driven", "not converged", "one-way" or "no transition"."""
    verdict_line: str | None = figure("", default=None)
    """The verdict and its reason in one line."""
    basins: int | None = figure("basins", default=None)
    """Basins of the surface."""
    transitions: tuple[int, ...] | None = figure("transitions", default=None)
    """Of each walker, from the core of one basin to that of another."""
    round_trips: tuple[int, ...] | None = figure("round trips", default=None)
    """Of each walker, back to a basin it had been in."""
    longest_stay: float | None = figure("longest stay", default=None)
    """Largest share of a walker's run in one basin without a transition."""
    drift_kcal_mol: float | None = figure("change in the second half", "kcal/mol", default=None)
    """Largest difference of the surfaces after half and all of the time, in kcal/mol."""
    hysteresis_kcal_mol: float | None = figure("hysteresis", "kcal/mol", default=None)
    """Mean difference of the energy between walkers that come from either of two basins."""
    hysteresis_error_kcal_mol: float | None = figure("its standard error", "kcal/mol", default=None)
    basin_difference_kcal_mol: float | None = figure(
        "second basin above the first", "kcal/mol", default=None
    )
    """Free energy of the second basin above the first, from the bias, in kcal/mol."""
    basin_difference_reweighted_kcal_mol: float | None = figure(
        "the same, reweighted", "kcal/mol", default=None
    )
    """The same from reweighted samples, in kcal/mol."""
    basin_difference_error_kcal_mol: float | None = figure(
        "its standard error", "kcal/mol", default=None
    )
    """Standard error of the reweighted difference, in kcal/mol."""

    def summary(self) -> str:
        """The run in one line."""
        line = "" if self.verdict_line is None else f"{self.verdict_line}; "
        return (
            f"{line}{self.walkers} walkers, {self.time_ps:g} ps each, {self.hills} hills; "
            f"{self.steps_per_second:.0f} steps/s, {self.ns_per_day:.3g} ns/day{self._covered()}"
        )

    def with_study(self, found: Study) -> Self:
        """The result with the figures of a study of its hills and samples."""
        biased, reweighted, error = found.basin_differences()
        verdict = found.verdict
        return replace(
            self,
            verdict=verdict.word,
            verdict_line=verdict.line,
            basins=verdict.basins,
            transitions=verdict.transitions,
            round_trips=verdict.round_trips,
            longest_stay=verdict.longest_stay,
            drift_kcal_mol=verdict.drift_kcal_mol,
            hysteresis_kcal_mol=verdict.hysteresis_kcal_mol,
            hysteresis_error_kcal_mol=verdict.hysteresis_error_kcal_mol,
            basin_difference_kcal_mol=biased,
            basin_difference_reweighted_kcal_mol=reweighted,
            basin_difference_error_kcal_mol=error,
        )

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of surface.npz: nodes_0 (and on) of each coordinate, surface and errors in
        eV, basins, minima, time_fs and differences in eV; for a model with a domain also outside,
        the share of the records around a node that left the training data."""
        return self.store.get(SURFACE) or {}

    @property
    def nodes(self) -> tuple[np.ndarray, ...]:
        """Nodes of the grid along each coordinate, in degrees or angstrom."""
        return tuple(self.arrays[f"nodes_{n}"] for n in range(len(self.coordinates)))

    @property
    def free_energy_eV(self) -> np.ndarray:
        """Free energy at the nodes in eV, the lowest zero."""
        surface = self.arrays["surface"]
        return surface - surface.min()

    def drawing(self) -> Drawing | None:
        """The profile with its standard error; or a map with the ways of the walkers over it."""
        if not self.arrays:
            return None
        surface = free_energy.Surface.of(self.arrays)
        if len(surface.nodes) == 1:
            return surface.drawing(self.temperature_K)
        samples = plumed.read_table(self.store.stream(COLVAR), MOST_ROWS)
        return surface.drawing(self.temperature_K, ways_of(surface, samples))

    def to_frame(self) -> Any:
        """A pandas table of the nodes: the coordinates, the free energy and its error."""
        return _nodes_frame(self.coordinates, self.nodes, self.free_energy_eV, self.arrays)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class FreeEnergyProfile(Sampled):
    """A free-energy profile by umbrella sampling, with errors."""

    command: ClassVar[str] = "umbrella"
    headline: ClassVar[tuple[str, ...]] = (
        *("isotopes", "windows", "time_ps", "samples", "independent_samples", "least_overlap"),
        *("windows_apart", "highest_kcal_mol", "highest_error_kcal_mol", "temperature_mean_K"),
        *("ns_per_day", "largest_distance"),
    )

    windows: int = figure("windows")
    """Number of windows."""
    samples: int | None = figure("samples", default=None)
    """Samples after the equilibration."""
    independent_samples: int | None = figure("of them independent", default=None)
    """How many independent samples they are worth."""
    least_overlap: float | None = figure("least overlap of neighbours", default=None)
    """Smallest share of their samples that two neighbouring windows have in common."""
    windows_apart: int | None = figure("neighbours without overlap", default=None)
    """Pairs of neighbours that overlap too little."""
    pieces: int | None = figure("pieces of the profile", default=None)
    """Groups of windows that do not overlap with each other."""
    highest_kcal_mol: float | None = figure("highest free energy", "kcal/mol", default=None)
    """Highest free energy of the profile above its lowest, in kcal/mol."""
    highest_error_kcal_mol: float | None = figure("its standard error", "kcal/mol", default=None)
    """Standard error of the highest free energy, in kcal/mol."""
    empty_bins: int | None = figure("empty bins", default=None)
    """Bins without samples."""
    warning: str | None = figure("", default=None)
    """Which neighbours overlap too little."""

    def summary(self) -> str:
        """The run in one line."""
        found = ""
        if self.highest_kcal_mol is not None:
            found = (
                f"{self.independent_samples} independent samples; highest free energy "
                f"{self.highest_kcal_mol:.2f} +- {self.highest_error_kcal_mol:.2f} kcal/mol; "
            )
        return (
            f"{self.windows} windows, {self.time_ps:g} ps each, {found}"
            f"{self.steps_per_second:.0f} steps/s, {self.ns_per_day:.3g} ns/day{self._covered()}"
        )

    def with_study(self, found: UmbrellaStudy) -> Self:
        """The result with the figures of a study of its samples."""
        highest, error = found.highest()
        return replace(
            self,
            samples=int(found.samples.sum()),
            independent_samples=int((found.samples / found.inefficiency).sum()),
            least_overlap=float(found.shared.min()),
            windows_apart=len(found.apart()),
            pieces=found.parts(),
            highest_kcal_mol=highest / KCAL_MOL,
            highest_error_kcal_mol=error / KCAL_MOL,
            empty_bins=found.empty_bins(),
            warning=found.warning(),
        )

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of umbrella.npz: nodes_0 (and nodes_1) of each coordinate, profile and errors
        in eV, and of the windows centres, means, spreads, samples, overlap and the like."""
        return self.store.get(PROFILE) or {}

    @property
    def nodes(self) -> tuple[np.ndarray, ...]:
        """Middles of the bins along each coordinate, in degrees or angstrom."""
        return tuple(self.arrays[f"nodes_{n}"] for n in range(len(self.coordinates)))

    @property
    def free_energy_eV(self) -> np.ndarray:
        """Free energy of the bins in eV, the lowest zero; not-a-number where none was sampled."""
        return self.arrays["profile"]

    @property
    def error_eV(self) -> np.ndarray:
        """Standard error of the free energy of the bins in eV."""
        return self.arrays["errors"]

    def drawing(self) -> Drawing | None:
        """The profile with its standard error; or a map of two coordinates."""
        return free_energy.profile(self.arrays) if self.arrays else None

    def to_frame(self) -> Any:
        """A pandas table of the bins: the coordinates, the free energy and its error."""
        return _nodes_frame(self.coordinates, self.nodes, self.free_energy_eV, self.arrays)


def _nodes_frame(
    coordinates: Sequence[str],
    nodes: Sequence[np.ndarray],
    free_energy_eV: np.ndarray,
    arrays: Mapping[str, np.ndarray],
) -> Any:
    """A row per node of a grid."""
    places = np.meshgrid(*nodes, indexing="ij")
    return data_frame(
        {
            **{name: place.ravel() for name, place in zip(coordinates, places, strict=True)},
            "free_energy_kcal_mol": free_energy_eV.ravel() / KCAL_MOL,
            "error_kcal_mol": arrays["errors"].ravel() / KCAL_MOL,
        }
    )


def ways_of(
    surface: free_energy.Surface, samples: Mapping[str, np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two coordinates of each walker over time, broken where a dihedral goes round.

    Args:
        surface: over whose map they are drawn.
        samples: columns (rows,) of COLVAR, in PLUMED's units.
    """
    names = [name for name in samples if name not in ("time", *plumed.COLVAR_COLUMNS)]
    walker = samples["walker"]
    found = []
    for which in np.unique(walker)[:MOST_WALKERS]:
        mine = np.flatnonzero(walker == which)
        mine = mine[:: max(1, len(mine) // MOST_SAMPLES)]
        way = []
        for n, name in enumerate(names[:2]):
            values = samples[name][mine] / plumed.UNITS.get(surface.units[n], 1.0)
            jumps = np.abs(np.diff(values, prepend=values[:1])) > np.ptp(surface.nodes[n]) / 2
            way.append((values, jumps))
        broken = way[0][1] | way[1][1]
        across, up = (np.where(broken, np.nan, values) for values, _ in way)
        found.append((across, up))
    return found
