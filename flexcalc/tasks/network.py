"""All minima of a molecule, the saddles between them, and the rates over these."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flexcalc.analysis.network import rate_matrix, relaxation_times_s
from flexcalc.analysis.rates import StationaryPoint
from flexcalc.config.label import Label
from flexcalc.config.paths import NetworkSearch
from flexcalc.dataset import Dataset
from flexcalc.domain import domain_of
from flexcalc.errors import InputError
from flexcalc.geometry.rotations import RotationalSymmetry, rotational_symmetry
from flexcalc.geometry.torsions import torsions
from flexcalc.masses import atomic_masses, of_frames
from flexcalc.methods.hessian import Vibrations, hessian, vibrations
from flexcalc.models.bonding import check_order
from flexcalc.potential import Counted, Potential, distances_of, in_batches
from flexcalc.registry import name_of, open_potential
from flexcalc.results.coverage import Coverage
from flexcalc.results.evaluations import Evaluations
from flexcalc.results.network import POINTS, Network, NetworkBarrier, NetworkMinimum, parts_of
from flexcalc.results.stationary import STATIONARY, points_checked
from flexcalc.store import Store
from flexcalc.tasks.coverage import warn_of
from flexcalc.tasks.molecule import common_masses, following, isotopes_in
from flexcalc.tasks.plausible import warned
from flexcalc.tasks.provenance import labels_by
from flexcalc.tasks.remembered import RELABELLED_LOG, remembered
from flexcalc.tasks.starts import Start, frames_of, read_starts, start_geometries
from flexcalc.tasks.stationary.compared import compare, minimum_name, saddle_name
from flexcalc.tasks.stationary.minima import turn
from flexcalc.tasks.stationary.search import Limits, Points, PointSearch
from flexcalc.units import HBAR, KB, KCAL_MOL, PER_SECOND

SEARCH, COUNT = "search", "evaluations.json"
"""The part of the store with the search, and what it has cost."""
RELAXED = 400
"""Start geometries that are relaxed at most: half of them the lowest, the others at random."""


@dataclass(frozen=True, eq=False)
class _Job:
    """The search with everything read and open.

    Args:
        options: with charge and multiplicity that the starts state.
        potential: to search on.
        reference: to check with, if one is named.
        starts: as they were given.
        masses: (atoms,) in amu.
    """

    options: NetworkSearch
    potential: Potential
    reference: Potential | None
    starts: list[Start]
    masses: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """Atomic numbers (atoms,)."""
        return self.potential.numbers


def network(options: NetworkSearch, store: Store) -> Network:
    """Search minima and saddles; keeps points.xyz, minima.json and barriers.json.

    A second call resumes an interrupted search with the parts that are finished.

    Raises:
        InputError: a start, the potential or the reference cannot be used; nothing is written.
    """
    job = _prepared(options)
    found = store.begin(job.options)
    if found is not None:
        return Network.from_dict(found, store)
    job = replace(
        job,
        potential=remembered(job.potential, store),
        reference=remembered(job.reference, store, RELABELLED_LOG),
    )
    isotopes = isotopes_in(store, job.numbers, job.masses.tolist())
    points, evaluations = _searched(job, store)
    labels = _by_reference(job, points, store)
    thermal = _Thermal.of(job, points, store)
    minima, barriers = _rows(points, labels, thermal)
    store.put("minima.json", [row.to_dict() for row in minima])
    store.put("barriers.json", [row.to_dict() for row in barriers])
    coverage = _coverage(job.potential, points)
    warn_of(store, coverage)
    times = relaxation_times_s(thermal.rate_matrix(), np.maximum(thermal.populations, 1e-300))
    return Network(
        store=store,
        model=name_of(job.options.model),
        isotopes=isotopes,
        warnings=warned(store, thermal.warnings),
        minima_found=len(minima),
        saddles_found=len(barriers),
        parts=parts_of(len(minima), points.ends),
        temperature_K=job.options.temperature_K,
        slowest_relaxation_s=float(times[0]) if len(times) else None,
        evaluations=evaluations,
        coverage=coverage,
        checked=None if labels is None else points_checked(minima, barriers),
    )


def _prepared(options: NetworkSearch) -> _Job:
    """Read the starts and open the potentials.

    Raises:
        InputError: one of them cannot be used.
    """
    starts = read_starts(options.starts)
    if not starts:
        raise InputError("starts: expected geometries, or smiles:TEXT, got none")
    own = common_masses(*frames_of(starts))
    for start in starts:
        options = following(options, start.electrons)
    numbers = starts[0].numbers
    potential = open_potential(options.model, numbers, trust=options.trust)
    reference = None
    if options.relabel is not None:
        reference = open_potential(options.relabel, numbers, trust=options.trust)
    for start in starts:
        if start.frames is not None:
            check_order(potential, start.frames.positions, start.source)
    return _Job(options, potential, reference, starts, atomic_masses(numbers, own))


def _searched(job: _Job, store: Store) -> tuple[Points, Evaluations | None]:
    """The stationary points, and what they have cost; None where that was resumed."""
    options, part = job.options, store.within(SEARCH)
    counted, resumed = Counted(job.potential), part.get("minima.npz") is not None
    sampling = Label(
        reference=options.model,
        starts=options.starts,
        conformers=options.conformers,
        seed=options.seed,
    )
    starts = start_geometries(sampling, store, job.starts, counted)
    positions = np.concatenate([starts.positions, _turned(job, starts.positions)])
    with store.bar("starts") as progress:
        found = in_batches(counted, positions, progress)
    known = Dataset(job.numbers, positions, found.energies, found.forces)
    limits = Limits(
        lowest=RELAXED // 2,
        random=RELAXED // 2,
        window_eV=options.max_energy_kcal_mol * KCAL_MOL,
        minima=options.max_minima,
        pairs=options.max_pairs,
        guesses=2 * options.max_pairs,
        rounds=options.rounds,
    )
    ceiling_eV = options.max_barrier_kcal_mol * KCAL_MOL
    search = PointSearch(counted, starts.positions, job.masses, ceiling_eV, part, limits)
    points = search.run(known, np.random.default_rng(options.seed))
    count = part.get(COUNT)
    if count is None and not resumed:
        count = counted.geometries
        part.put(COUNT, count)
    tags = _names(points)
    geometries = np.concatenate([points.minima, points.saddles])
    labels = job.potential(geometries) if len(geometries) else None
    store.put(
        POINTS,
        Dataset(
            job.numbers,
            geometries,
            None if labels is None else labels.energies,
            None if labels is None else labels.forces,
            tags,
            labels_by(options.model, job.potential),
            of_frames(job.masses, len(geometries)),
        ),
    )
    return points, None if count is None else Evaluations(total=count)


def _turned(job: _Job, positions: np.ndarray) -> np.ndarray:
    """Geometries (turned, atoms, 3) whose rotatable bonds are turned at random from the starts."""
    bonds = torsions(job.numbers, positions[0])
    rng = np.random.default_rng([job.options.seed, 1])
    count = job.options.turned if bonds else 0
    found = [turn(job.numbers, positions, bonds, rng) for _ in range(count)]
    return np.array(found).reshape(-1, *positions.shape[1:])


def _names(points: Points) -> dict[str, np.ndarray]:
    """The tags of minima and saddles."""
    low, high = range(len(points.minima)), range(len(points.saddles))
    names = [*map(minimum_name, low), *map(saddle_name, high)]
    kinds = np.repeat(["minimum", "saddle"], [len(low), len(high)])
    return {"kind": kinds, "name": np.array(names, dtype=str)}


def _by_reference(job: _Job, points: Points, store: Store) -> Dataset | None:
    """Labels of the reference at all points; None without one, or without points."""
    geometries = np.concatenate([points.minima, points.saddles])
    if job.reference is None or job.options.relabel is None or not len(geometries):
        return None
    labels = store.get(STATIONARY)
    if labels is None:
        with store.bar("relabel") as progress:
            found = in_batches(job.reference, geometries, progress, 1)
        made = labels_by(job.options.relabel, job.reference)
        labels = Dataset(
            job.numbers, geometries, found.energies, found.forces, _names(points), made
        )
        store.put(STATIONARY, labels)
    return labels


@dataclass(frozen=True, eq=False)
class _Thermal:
    """Vibrations and what follows from them.

    Args:
        vibrations: of minima and saddles, in this order.
        symmetries: likewise.
        minima_eV: (minima,) Gibbs energies, those of both mirror images together; infinite where
            one is not known.
        saddles_eV: (saddles,) likewise.
        ends: (saddles, 2) of int.
        temperature_K: of all of it.
        warnings: what is not known, a line each.
    """

    vibrations: list[Vibrations]
    symmetries: list[RotationalSymmetry]
    minima_eV: np.ndarray
    saddles_eV: np.ndarray
    ends: np.ndarray
    temperature_K: float
    warnings: list[str]

    @classmethod
    def of(cls, job: _Job, points: Points, store: Store) -> _Thermal:
        """Calculate the vibrations of all points in one batch."""
        geometries = np.concatenate([points.minima, points.saddles])
        energies = np.concatenate([points.minima_eV, points.saddles_eV])
        names, warnings = _names(points)["name"].tolist(), []
        with store.bar("vibrations") as progress:
            curved = np.zeros((0, 0, 0))
            if len(geometries):
                curved = hessian(job.potential, geometries, progress=progress)
        found, symmetries, free = [], [], np.full(len(geometries), np.inf)
        thermal = KB * job.options.temperature_K
        for index, (place, matrix) in enumerate(zip(geometries, curved, strict=True)):
            found.append(vibrations(place, matrix, job.masses))
            symmetry = rotational_symmetry(job.numbers, place)
            if symmetry is None:
                symmetry = RotationalSymmetry(1, True)
                warnings.append(f"{names[index]}: too many permutations to find its symmetry")
            symmetries.append(symmetry)
            point = StationaryPoint(float(energies[index]), place, found[-1], symmetry.number)
            try:
                gibbs = point.free_energy_eV(job.options.temperature_K, job.options.low_modes)
            except InputError as error:
                warnings.append(f"{names[index]} has no rates: {error}")
                continue
            # Mirror images are one state.
            free[index] = gibbs - (thermal * np.log(2) if symmetry.chiral else 0.0)
        count = len(points.minima)
        return cls(
            found, symmetries, free[:count], free[count:], points.ends, job.options.temperature_K,
            warnings,
        )  # fmt: skip

    @property
    def populations(self) -> np.ndarray:
        """Shares (minima,) at equilibrium."""
        if not len(self.minima_eV) or not np.isfinite(self.minima_eV).any():
            return np.zeros(len(self.minima_eV))
        weights = np.exp(-(self.minima_eV - self.minima_eV.min()) / (KB * self.temperature_K))
        return weights / weights.sum()

    @property
    def activation_eV(self) -> np.ndarray:
        """Gibbs energies of activation (saddles, 2) from both ends; infinite where not known."""
        below = self.minima_eV[self.ends].reshape(-1, 2)
        known = np.isfinite(below) & np.isfinite(self.saddles_eV)[:, None]
        safe = np.where(np.isfinite(below), below, 0.0)
        return np.where(known, self.saddles_eV[:, None] - safe, np.inf)

    @property
    def rates_per_s(self) -> np.ndarray:
        """Eyring's rates (saddles, 2) from both ends; see `analysis.rates.eyring_rate`."""
        thermal = KB * self.temperature_K
        return thermal / (2 * np.pi * HBAR) * np.exp(-self.activation_eV / thermal) * PER_SECOND

    def rate_matrix(self) -> np.ndarray:
        """Rates (minima, minima) in 1/s."""
        return rate_matrix(len(self.minima_eV), self.ends, self.rates_per_s)


def _rows(
    points: Points, labels: Dataset | None, thermal: _Thermal
) -> tuple[list[NetworkMinimum], list[NetworkBarrier]]:
    """The rows of minima and saddles."""
    low, high = compare(points, labels)
    populations = thermal.populations
    least = float(thermal.minima_eV.min(initial=np.inf))
    minima = []
    for index, row in enumerate(low):
        symmetry, above = thermal.symmetries[index], float(thermal.minima_eV[index]) - least
        minima.append(
            NetworkMinimum(
                **row.to_dict(),
                gibbs_kcal_mol=_known(above),
                population=float(populations[index]),
                symmetry_number=symmetry.number,
                chiral=symmetry.chiral,
                lowest_frequency_cm=float(thermal.vibrations[index].frequencies_cm[0]),
            )
        )
    barriers = []
    for index, barrier in enumerate(high):
        # Rows go from the lower one of the two minima, which has the smaller number.
        order = np.argsort(points.ends[index], kind="stable")
        there, back = map(_known, thermal.activation_eV[index][order].tolist())
        rate, rate_back = thermal.rates_per_s[index][order].tolist()
        barriers.append(
            NetworkBarrier(
                **barrier.to_dict(),
                activation_kcal_mol=there,
                activation_back_kcal_mol=back,
                rate_per_s=rate,
                rate_back_per_s=rate_back,
            )
        )
    return minima, barriers


def _known(energy_eV: float) -> float | None:
    """An energy in kcal/mol; None for an infinite one, which is not known."""
    return energy_eV / KCAL_MOL if np.isfinite(energy_eV) else None


def _coverage(potential: Potential, points: Points) -> Coverage | None:
    """How far the points are from the training data; None without a domain."""
    domain = domain_of(potential)
    geometries = np.concatenate([points.minima, points.saddles])
    if domain is None or not len(geometries):
        return None
    energies = np.concatenate([points.minima_eV, points.saddles_eV])
    distances = distances_of(potential, geometries, energies)
    if distances is None:
        return None
    names = _names(points)["name"]
    outside = names[~domain.contains(distances)].tolist()
    found = Coverage.of_geometries(domain, distances, ", ".join(outside) or None)
    doubts = ("barriers and rates over these",) if outside else None
    return replace(found, unsupported=doubts)
