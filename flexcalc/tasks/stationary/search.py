"""The minima of a model and the saddles between them, from short searches in large batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from flexcalc.analysis.network import components
from flexcalc.dataset import Dataset
from flexcalc.geometry import align_consecutive
from flexcalc.methods.follow import Top, Walk, follow
from flexcalc.methods.hessian import hessian, vibrations
from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import NEB
from flexcalc.methods.saddle import RFO
from flexcalc.potential import Evaluation, Potential
from flexcalc.store import Store
from flexcalc.tasks.stationary.minima import (
    distinct,
    have_bonds_of,
    in_turns,
    is_same,
    relax_rows,
    search_path,
    separation,
    surviving,
)
from flexcalc.units import KCAL_MOL

POINTS = "points.npz"
"""The stationary points that were found, in the store of the search."""
MIRROR = np.array([1.0, 1.0, -1.0])
BAND = NEB(images=9, interpolation="geodesic", force_tolerance_eV_A=0.1)
BAND_STEPS = 80
REFINEMENT = RFO(saddle_force_eV_A=0.002, hessian_every=0)
"""Where the direction of a band is lost: restarted with new Hessians every few steps, for the
guesses alone that are not converged."""
RESTARTS, REFINEMENT_STEPS = 6, 8
MINIMUM_FORCE_EV_A = 0.002
PUSH_A = 0.1
"""Longest move of an atom along an imaginary mode, from where both sides are relaxed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a search goes."""

    lowest: int = 40
    """Known geometries that are relaxed: those lowest in energy,"""
    random: int = 40
    """and some of the others, drawn at random."""
    window_eV: float = 10 * KCAL_MOL
    """Minima that are higher above the lowest known geometry are left out."""
    minima: int = 12
    """Maximum number of minima, mirror images counted once,"""
    pairs: int = 15
    """of bands of a round,"""
    guesses: int = 20
    """of guesses of saddles from them,"""
    rounds: int = 1
    """and of rounds. Those after the first search bands between parts that nothing joins yet, with
    the minima on both sides of the saddles that were found."""


@dataclass(frozen=True, eq=False)
class Points:
    """Minima and saddles of a model.

    Args:
        minima: (minima, atoms, 3) in angstrom, lowest first; mirror images are there once.
        minima_eV: (minima,) energies of the model.
        saddles: (saddles, atoms, 3) of first order, lowest first.
        saddles_eV: (saddles,).
        ends: (saddles, 2) of int, the minima, or their mirror images, on both sides.
        imaginary_cm: (saddles,) absolute imaginary frequencies, in cm^-1.
        relaxations: (2,) of int, labelled geometries that were relaxed to find the minima, and
            those that ended with other bonds than a start, or on whose way the model failed.
    """

    minima: np.ndarray
    minima_eV: np.ndarray
    saddles: np.ndarray
    saddles_eV: np.ndarray
    ends: np.ndarray
    imaginary_cm: np.ndarray
    relaxations: np.ndarray

    @property
    def lower(self) -> np.ndarray:
        """The lower one (saddles,) of the minima of each saddle: they are in order of energy."""
        return self.ends.min(axis=1)

    @property
    def barriers_eV(self) -> np.ndarray:
        """Energies (saddles,) above the lower minimum."""
        return self.saddles_eV - self.minima_eV[self.lower]


class Tops(NamedTuple):
    """The highest images of bands, each between its neighbours.

    Args:
        images: (tops, 3, atoms, 3) in angstrom.
        energies: (tops, 3) in eV.
        forces: (tops, 3, atoms, 3) in eV/angstrom.
        floors: (tops,) energy of the lower end of the band.
    """

    images: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    floors: np.ndarray

    @classmethod
    def of(cls, images: np.ndarray, energies: np.ndarray, forces: np.ndarray) -> Tops:
        """The tops of a band (images, atoms, 3) with its labels."""
        inner = energies[1:-1]
        tops = 1 + np.flatnonzero((inner > energies[:-2]) & (inner >= energies[2:]))
        near = tops[:, None] + np.array([-1, 0, 1])
        floor = min(energies[0], energies[-1])
        return cls(images[near], energies[near], forces[near], np.full(len(tops), floor))

    @classmethod
    def joined(cls, parts: Sequence[Tops]) -> Tops:
        """Those of several bands."""
        return cls(*(np.concatenate(one) for one in zip(*parts, strict=True)))

    def chosen(self, rows: np.ndarray) -> Tops:
        """Some of them."""
        return Tops(*(one[rows] for one in self))


@dataclass(frozen=True, eq=False)
class PointSearch:
    """A search of the stationary points of a model.

    Args:
        model: surface.
        starts: (starts, atoms, 3) in angstrom, with all bondings that minima may have.
        masses: (atoms,) in amu.
        ceiling_eV: energy above the lowest known geometry up to which saddles are of interest.
        store: keeps what is found, which a second search reads.
        limits: of the search.
    """

    model: Potential
    starts: np.ndarray
    masses: np.ndarray
    ceiling_eV: float
    store: Store
    limits: Limits = Limits()

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (atoms,)."""
        return self.model.numbers

    def run(self, known: Dataset, rng: Generator) -> Points:
        """Minima relaxed from labelled geometries, and saddles from bands between them.

        Args:
            known: labelled frames.
            rng: draws some of those that are relaxed.
        """
        found = self.store.get(POINTS)
        if found is None:
            first = self._minima(known, rng)
            highest_eV = float(known.labels()[0].min()) + self.ceiling_eV
            found = self._rounds(first["minima"], highest_eV)
            found |= {"relaxations": first["relaxations"]}
            self.store.put(POINTS, found)
        return Points(**found)

    def _rounds(self, minima: np.ndarray, highest_eV: float) -> dict[str, np.ndarray]:
        """The points of all rounds, without `relaxations`."""
        groups = self._groups(minima)
        pairs = nearest_pairs(self._apart(minima), groups, self.limits.pairs)
        tops = self._tops(minima, pairs, highest_eV)
        found = self._points(minima, tops, minima[:0], highest_eV)
        for number in range(1, self.limits.rounds):
            part = components(len(found["minima"]), found["ends"])
            if part.max(initial=0) == 0:
                break
            # A path to the mirror image may be the shorter one.
            minima = np.concatenate([found["minima"], found["minima"] * MIRROR])
            groups = np.tile(np.arange(len(part)), 2)
            apart = self._apart(minima)
            apart[np.equal.outer(np.tile(part, 2), np.tile(part, 2))] = np.inf
            pairs = nearest_pairs(apart, groups, self.limits.pairs)
            tops = self._tops(minima, pairs, highest_eV, f"round-{number}-")
            if not len(tops.floors):
                break
            found = self._points(found["minima"], tops, found["saddles"], highest_eV)
        return found

    def _apart(self, minima: np.ndarray) -> np.ndarray:
        """Distances (minima, minima) in angstrom from each other."""
        apart = np.zeros((len(minima), len(minima)))
        for i, j in combinations(range(len(minima)), 2):
            apart[i, j] = apart[j, i] = separation(self.numbers, minima[i], minima[j])
        return apart

    def _minima(self, known: Dataset, rng: Generator) -> Mapping[str, np.ndarray]:
        """Distinct minima (minima, atoms, 3) within the window, lowest first, and `relaxations`
        as in `Points`."""
        kept = self.store.get("minima.npz")
        if kept is not None:
            return kept
        energies, _ = known.labels()
        highest_eV = float(energies.min()) + self.limits.window_eV
        order = np.argsort(energies, kind="stable")
        lowest = self.limits.lowest
        others = rng.permutation(order[lowest:])[: self.limits.random]
        starts = known.positions[np.concatenate([order[:lowest], others])]
        with self.store.bar("minima") as progress:
            progress(0, 3, f"{len(starts)} geometries")
            rough = self._relaxed(starts)
            broken = len(starts) - len(rough[0])
            progress(1, 3, f"{len(rough[0])} relaxed")
            fine, _ = self._relaxed(self._lowest(*rough, highest_eV), MINIMUM_FORCE_EV_A)
            progress(2, 3, f"{len(fine)} minima")
            found = self._relaxed(self._off_saddles(fine), MINIMUM_FORCE_EV_A)
        kept = {
            "minima": self._lowest(*found, highest_eV),
            "relaxations": np.array([len(starts), broken]),
        }
        self.store.put("minima.npz", kept)
        return kept

    def _relaxed(
        self, positions: np.ndarray, force_tolerance_eV_A: float = 0.01
    ) -> tuple[np.ndarray, np.ndarray]:
        """Relaxed geometries (relaxed, atoms, 3) with the bonds of a start, and energies."""

        def relaxed(given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            places, energies = relax_rows(self.model, given, force_tolerance_eV_A)
            intact = self._intact(places)
            return places[intact], energies[intact]

        places, energies = surviving(relaxed, positions) or (positions[:0], np.zeros(0))
        return places, energies

    def _lowest(self, positions: np.ndarray, energies: np.ndarray, highest_eV: float) -> np.ndarray:
        """The distinct minima below an energy, lowest first, not too many of them."""
        kept = [
            row for row in distinct(self.numbers, positions, energies) if energies[row] < highest_eV
        ]
        minima = positions[kept]
        return minima[self._groups(minima) < self.limits.minima]

    def _groups(self, minima: np.ndarray) -> np.ndarray:
        """Consecutive numbers (minima,) that mirror images share."""
        groups: list[int] = []
        for row, place in enumerate(minima):
            twin = [
                groups[old]
                for old in range(row)
                if is_same(self.numbers, place, minima[old], mirror=True)
            ]
            groups.append(twin[0] if twin else len(set(groups)))
        return np.array(groups, dtype=int)

    def _off_saddles(self, positions: np.ndarray) -> np.ndarray:
        """Relaxed geometries; those at a saddle are replaced by both of its sides."""
        found = surviving(self._modes, positions, np.arange(len(positions)))
        if found is None:
            return positions
        _, orders, modes, rows = found
        at_saddle = rows[orders > 0]
        pushes = PUSH_A * modes[orders > 0]
        sides = [positions[at_saddle] + pushes, positions[at_saddle] - pushes]
        return np.concatenate([np.delete(positions, at_saddle, axis=0), *sides])

    def _modes(self, positions: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Lowest frequencies (batch,) in cm^-1, numbers of imaginary ones (batch,), and lowest
        modes (batch, atoms, 3), scaled to a longest move of 1; and the rows."""
        found = [
            vibrations(place, curved, self.masses)
            for place, curved in zip(positions, hessian(self.model, positions), strict=True)
        ]
        modes = np.array([one.modes[0] for one in found])
        longest = np.sqrt((modes**2).sum(axis=2)).max(axis=1)
        return (
            np.array([one.frequencies_cm[0] for one in found]),
            np.array([one.imaginary() for one in found]),
            modes / longest[:, None, None],
            rows,
        )

    def _tops(
        self,
        minima: np.ndarray,
        pairs: Sequence[tuple[int, int]],
        highest_eV: float,
        prefix: str = "",
    ) -> Tops:
        """The tops of bands between pairs of minima, below an energy and lowest first. All bands
        are one batch."""
        ends = ((minima[one], minima[other]) for one, other in pairs)
        names = (f"{prefix}band-{one}-{other}.npz" for one, other in pairs)
        works = [partial(self._band, *pair, name) for pair, name in zip(ends, names, strict=True)]
        none = np.zeros((2, *self.numbers.shape, 3))
        with self.store.bar("barriers: bands") as progress:
            bands = [(none, np.zeros(2), none), *in_turns(self.model, works, progress)]
        tops = Tops.joined([Tops.of(*band) for band in bands])
        order = np.argsort(tops.energies[:, 1], kind="stable")
        low = (tops.energies[:, 1] < highest_eV + self.limits.window_eV).sum()
        return tops.chosen(order[:low][: self.limits.guesses])

    def _band(
        self, start: np.ndarray, end: np.ndarray, name: str, model: Potential
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, energies and forces of a band; of its ends alone where the search fails."""
        kept = self.store.get(name)
        if kept is None:
            state = search_path(BAND, model, start, end, BAND_STEPS)
            images = np.stack([start, end]) if state is None else state.images
            found = Evaluation(np.zeros(2), np.zeros_like(images))
            found = found if state is None else state.evaluation
            kept = {"images": images, "energies": found.energies, "forces": found.forces}
            self.store.put(name, kept)
        return kept["images"], kept["energies"], kept["forces"]

    def _points(
        self, minima: np.ndarray, tops: Tops, known: np.ndarray, highest_eV: float
    ) -> dict[str, np.ndarray]:
        """Saddles below an energy, with the minima on both sides, some of them new; arrays as in
        `Points`.

        Args:
            minima: (minima, atoms, 3).
            tops: from which saddles are searched.
            known: saddles (saddles, atoms, 3) that are there already.
            highest_eV: energy.
        """
        saddles, imaginary, modes = self._saddles(tops, known, highest_eV)
        with self.store.bar("barriers: ends") as progress:
            progress(0, 1, f"{len(saddles)} saddles")
            found = surviving(self._sides, saddles, modes, np.arange(len(saddles)))
        sides, rows = found or (np.zeros((0, 2, *saddles.shape[1:])), np.zeros(0, dtype=int))
        flat = sides.reshape(-1, *saddles.shape[1:])
        places = np.concatenate([minima, flat[self._intact(flat)]])
        energies = self.model(places).energies if len(places) else np.zeros(0)
        kept = distinct(self.numbers, places, energies, mirror=True)
        ends = np.array(
            [[self._which(side, places[kept]) for side in pair] for pair in sides], dtype=int
        ).reshape(-1, 2)
        joined = (ends >= 0).all(axis=1)
        heights = self.model(saddles).energies if len(saddles) else np.zeros(0)
        return {
            "minima": places[kept],
            "minima_eV": energies[kept],
            "saddles": saddles[rows[joined]],
            "saddles_eV": heights[rows[joined]],
            "ends": ends[joined],
            "imaginary_cm": imaginary[rows[joined]],
        }

    def _intact(self, positions: np.ndarray) -> np.ndarray:
        return have_bonds_of(self.numbers, positions, self.starts)

    def _which(self, place: np.ndarray, minima: np.ndarray) -> int:
        """Index of the minimum that a geometry or its mirror image is; -1 for none."""
        for index, minimum in enumerate(minima):
            if is_same(self.numbers, place, minimum, mirror=True):
                return index
        return -1

    def _sides(
        self, saddles: np.ndarray, modes: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The relaxed geometries (saddles, 2, atoms, 3) on both sides; and the rows."""
        pushed = np.stack([saddles + PUSH_A * modes, saddles - PUSH_A * modes], axis=1)
        flat = pushed.reshape(-1, *saddles.shape[1:])
        relaxed, _ = relax_rows(self.model, flat, MINIMUM_FORCE_EV_A)
        return relaxed.reshape(pushed.shape), rows

    def _saddles(
        self, tops: Tops, known: np.ndarray, highest_eV: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distinct saddles of first order (saddles, atoms, 3) below an energy, lowest first, with
        their imaginary frequencies and modes; `known` ones are among them."""
        done = [known]
        with self.store.bar("barriers: saddles") as progress:
            progress(0, RESTARTS + 1, f"{len(tops.floors)} left")
            walked = surviving(partial(self._followed, tops), np.arange(len(tops.floors)))
            left = np.zeros(0, dtype=int)
            if walked is not None:
                ends, at_saddle, rows = walked
                done.append(ends[at_saddle])
                left = rows[~at_saddle]
            lost = np.array([align_consecutive(images) for images in tops.images[left]])
            guesses, tangents = tops.images[left, 1], tops.images[left, 1]
            if len(left):
                guesses, tangents = lost[:, 1], lost[:, 2] - lost[:, 0]
            for restart in range(RESTARTS if len(left) else 0):
                progress(restart + 1, RESTARTS + 1, f"{len(guesses)} left")
                found = surviving(self._refined, guesses, tangents)
                if found is None:
                    break
                places, modes, converged = found
                done.append(places[converged])
                guesses, tangents = places[~converged], modes[~converged]
            saddles = np.concatenate(done)
            found = surviving(self._modes, saddles, np.arange(len(saddles)))
        if found is None:
            return saddles[:0], np.zeros(0), saddles[:0]
        frequencies, orders, modes, rows = found
        first = orders == 1
        saddles, frequencies, modes = saddles[rows[first]], frequencies[first], modes[first]
        energies = self.model(saddles).energies if len(saddles) else np.zeros(0)
        kept = [
            row
            for row in distinct(self.numbers, saddles, energies, mirror=True)
            if energies[row] <= highest_eV
        ]
        return saddles[kept], -frequencies[kept], modes[kept]

    def _followed(self, tops: Tops, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions to which the directions of some bands lead from their tops, whether they are
        saddles, and the rows."""
        walks = [
            Walk(
                self.numbers,
                Top(tops.images[row], Evaluation(tops.energies[row], tops.forces[row]),
                    float(tops.floors[row])),
                REFINEMENT,
            )
            for row in rows
        ]  # fmt: skip
        follow(self.model, walks)
        places = np.stack([walk.positions for walk in walks])
        return places, np.array([walk.converged for walk in walks]), rows

    def _refined(
        self, guesses: np.ndarray, tangents: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positions after some steps, the modes that are climbed, and which are converged."""
        rng = np.random.default_rng(0)  # which the search does not use
        state = REFINEMENT.init(self.model, guesses, rng, tangents)
        state = iterate(REFINEMENT, self.model, state, steps=REFINEMENT_STEPS, rng=rng)
        converged = state.largest_forces() < REFINEMENT.saddle_force_eV_A
        return state.positions, state.modes, converged


def nearest_pairs(distances: np.ndarray, groups: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Pairs of minima to search barriers between: near ones, which connect all, first.

    Args:
        distances: (minima, minima) from each other; infinite for pairs that are left out.
        groups: (minima,) of int; mirror images share one. Two groups, and a group with itself,
            are joined by the nearest of their pairs alone: the others are its mirror images.
        most: maximum number of pairs.
    """
    nearest: dict[tuple[int, int], tuple[float, int, int]] = {}
    for i, j in combinations(range(len(distances)), 2):
        if not np.isfinite(distances[i, j]):
            continue
        key = (int(min(groups[i], groups[j])), int(max(groups[i], groups[j])))
        found = (float(distances[i, j]), i, j)
        nearest[key] = min(found, nearest.get(key, found))
    part = {int(group): {int(group)} for group in groups}
    joining, further = [], []
    for (one, other), (_, i, j) in sorted(nearest.items(), key=lambda item: item[1]):
        if part[one] is part[other]:
            further.append((i, j))
            continue
        joining.append((i, j))
        joined = part[one] | part[other]
        part |= dict.fromkeys(joined, joined)
    return (joining + further)[:most]
