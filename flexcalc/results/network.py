"""The result of a search of all minima and saddles of a molecule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from flexcalc.analysis.network import (
    Branch,
    components,
    disconnectivity,
    mean_first_passage_s,
    rate_matrix,
    relaxation_times_s,
)
from flexcalc.dataset import Dataset
from flexcalc.display import plots
from flexcalc.display.drawing import Drawing
from flexcalc.results.base import MoleculeResult, figure, frame_of_rows, part
from flexcalc.results.coverage import Coverage
from flexcalc.results.evaluations import Evaluations
from flexcalc.results.stationary import LearnedBarrier, LearnedMinimum, PointsChecked

POINTS = "points.xyz"
"""The minima and saddles with the model's labels, and the tags `kind` and `name`."""


@dataclass(frozen=True, kw_only=True)
class NetworkMinimum(LearnedMinimum):
    """A minimum, and what follows from its vibrations. Mirror images are one minimum."""

    gibbs_kcal_mol: float | None
    """Gibbs energy above that of the most stable minimum; None where a frequency is zero within
    the noise."""
    population: float
    """Share of the molecules at equilibrium, over all minima."""
    symmetry_number: int
    """Of the rotations that turn the rigid geometry into itself."""
    chiral: bool
    """Whether its mirror image is another geometry, which doubles its population."""
    lowest_frequency_cm: float


@dataclass(frozen=True, kw_only=True)
class NetworkBarrier(LearnedBarrier):
    """A saddle, and the rates over it."""

    activation_kcal_mol: float | None
    """Gibbs energy of activation from the start; None, and the rate zero, where it is not known."""
    activation_back_kcal_mol: float | None
    """The same from the end."""
    rate_per_s: float
    """Rate from the start to the end."""
    rate_back_per_s: float
    """Rate from the end to the start."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Network(MoleculeResult):
    """Minima of a molecule and the saddles between them, with rates."""

    command: ClassVar[str] = "network"
    headline: ClassVar[tuple[str, ...]] = (
        *("isotopes", "minima_found", "saddles_found", "parts", "slowest_relaxation_s"),
        *("largest_barrier_error_kcal_mol", "total", "largest_distance"),
    )

    warnings: tuple[str, ...] = figure("", key="network_warnings", default=())
    """What is implausible, a line each."""
    minima_found: int = figure("minima")
    """Number of minima; mirror images are one."""
    saddles_found: int = figure("saddles between them")
    """Number of saddles of first order whose both sides are among the minima."""
    parts: int = figure("parts that no saddle joins")
    """1 where all minima are connected."""
    temperature_K: float = figure("temperature", "K")
    """Temperature of Gibbs energies, populations and rates."""
    slowest_relaxation_s: float | None = figure("slowest relaxation", "s", default=None)
    """Longest time in which populations relax to equilibrium, within the parts."""
    evaluations: Evaluations | None = part(Evaluations)
    """Geometries that were evaluated."""
    coverage: Coverage | None = part(Coverage)
    """How far minima and saddles are from the training data; None without a domain."""
    checked: PointsChecked | None = part(PointsChecked)
    """What the reference says of minima and barriers; None without one."""

    def summary(self) -> str:
        """The network in one line."""
        words = [f"{self.minima_found} minima, {self.saddles_found} saddles"]
        if self.parts > 1:
            words.append(f"IN {self.parts} PARTS that no saddle joins")
        if self.slowest_relaxation_s is not None:
            slowest = f"{self.slowest_relaxation_s:.3g} s at {self.temperature_K:g} K"
            words.append(f"slowest relaxation {slowest}")
        if self.checked is not None:
            words.append(self.checked.verdict())
        known = (self.evaluations, self.coverage)
        return "; ".join([*words, *(one.summary() for one in known if one is not None)])

    @cached_property
    def minima(self) -> list[NetworkMinimum]:
        """The minima, lowest energy first."""
        return [NetworkMinimum.from_dict(row) for row in self.store.get("minima.json") or ()]

    @cached_property
    def barriers(self) -> list[NetworkBarrier]:
        """The saddles, lowest energy first."""
        return [NetworkBarrier.from_dict(row) for row in self.store.get("barriers.json") or ()]

    @cached_property
    def points(self) -> Dataset:
        """Minima and saddles with the model's labels, and the tags `kind` and `name`."""
        return self.store.get(POINTS)

    @property
    def ends(self) -> np.ndarray:
        """Numbers (saddles, 2) of the minima of each saddle, from 0."""
        return ends_of(self.minima, self.barriers)

    @property
    def populations(self) -> np.ndarray:
        """Populations (minima,) at equilibrium."""
        return np.array([row.population for row in self.minima])

    @property
    def rates_per_s(self) -> np.ndarray:
        """Rates (minima, minima) in 1/s from each minimum (row) to each other one, over all saddles
        between the two."""
        rates = [(row.rate_per_s, row.rate_back_per_s) for row in self.barriers]
        return rate_matrix(len(self.minima), self.ends, np.array(rates).reshape(-1, 2))

    @property
    def relaxation_times_s(self) -> np.ndarray:
        """Times in s in which populations relax to equilibrium, longest first."""
        return relaxation_times_s(self.rates_per_s, self.populations)

    @property
    def mean_first_passage_s(self) -> np.ndarray:
        """Mean times (minima, minima) in s until each minimum (column) is first reached from each
        (row); infinite where no saddles join them."""
        return mean_first_passage_s(self.rates_per_s)

    def first_geometry(self) -> Dataset | None:
        """The lowest minimum."""
        return self.store.first(POINTS)

    def to_frame(self) -> Any:
        """A pandas table with a row for each minimum."""
        return frame_of_rows([row.to_dict() for row in self.minima])

    def drawing(self) -> Drawing | None:
        """The disconnectivity graph: minima, and the energies at which they join."""
        return drawing_of(self.minima, self.barriers)


def ends_of(minima: Sequence[LearnedMinimum], barriers: Sequence[LearnedBarrier]) -> np.ndarray:
    """Numbers (saddles, 2) of the minima of each saddle, from 0; those of others are left out."""
    number = {row.name: index for index, row in enumerate(minima)}
    found = [
        (number[row.start], number[row.end])
        for row in barriers
        if row.start in number and row.end in number
    ]
    return np.array(found, dtype=int).reshape(-1, 2)


def drawing_of(
    minima: Sequence[LearnedMinimum], barriers: Sequence[LearnedBarrier]
) -> Drawing | None:
    """The disconnectivity graph of minima and barriers; None without a minimum."""
    if not minima:
        return None
    heights = np.array([row.energy_kcal_mol for row in minima])
    number = {row.name: index for index, row in enumerate(minima)}
    known = [row for row in barriers if row.start in number and row.end in number]
    tops = np.array([row.energy_kcal_mol + heights[number[row.start]] for row in known])
    trees = disconnectivity(heights, tops, ends_of(minima, known))
    lines: list[np.ndarray] = []
    places: dict[int, float] = {}
    for tree in trees:
        _lay_out(tree, lines, places)
    leaves = {
        row.name.removeprefix("minimum-"): (places[index], row.energy_kcal_mol)
        for index, row in enumerate(minima)
    }
    return plots.dendrogram(lines, leaves, "energy / kcal/mol")


def _lay_out(tree: Branch, lines: list[np.ndarray], places: dict[int, float]) -> float:
    """Append the lines of a branch, and the places of its minima; returns its own place."""
    if not tree.below:
        places[tree.minima[0]] = float(len(places))
        return places[tree.minima[0]]
    at = [_lay_out(one, lines, places) for one in tree.below]
    heights = [one.energy for one in tree.below]
    corners = [(at[0], heights[0]), (at[0], tree.energy), (at[1], tree.energy), (at[1], heights[1])]
    lines.append(np.array(corners))
    return float(np.mean(at))


def parts_of(minima: int, ends: np.ndarray) -> int:
    """Number of parts that no saddle joins."""
    return int(components(minima, ends).max(initial=0)) + 1
