"""How tasks find out how far they left the training data of their model.

A potential without a domain, such as a reference method, is asked nothing and nothing is said.
Dynamics records distances in a table, as it records its other scalars, so that a run that is
resumed ends with the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.analysis.outside import MOSTLY, Visits, share_on_grid
from flexcalc.analysis.study import Study
from flexcalc.analysis.transitions import pass_between
from flexcalc.analysis.umbrella import UmbrellaStudy
from flexcalc.domain import Domain, domain_of
from flexcalc.files.tables import csv_blocks, numbers_of
from flexcalc.methods.iterate import Recorder
from flexcalc.methods.metadynamics import Metadynamics
from flexcalc.potential import Potential, distances_of
from flexcalc.results.coverage import DISTANCES, Coverage, expected_error, left_by, named_rows
from flexcalc.storage import read_file
from flexcalc.store import Store

LEAST_STEPS = 50
"""Minimum number of steps between two records of distances: with sGDML a distance and its line cost
about half an evaluation of one geometry, so that records cost about 1 % of a run."""

CONFIRMED_KCAL_MOL = 1.0
"""Error up to which a reference confirms an energy difference: chemical accuracy."""


def distance_recorders(
    store: Store,
    potential: Potential,
    every: int,
    timestep_fs: float,
    values: Callable[[np.ndarray], np.ndarray] | None = None,
    count: int = 0,
) -> list[Recorder]:
    """The recorder of distances.csv; none for a potential without a domain.

    Args:
        store: keeps the table.
        potential: of the dynamics.
        every: steps between other records; distances are at some or all of them.
        timestep_fs: of the run.
        values: positions -> biased coordinates (batch, count), which are recorded too.
        count: how many coordinates.
    """
    if domain_of(potential) is None:
        return []

    def render(state: Any) -> bytes:
        distances = distances_of(potential, state.positions, state.evaluation.energies)
        columns = [] if values is None else list(values(state.positions).T)
        rows = zip(np.asarray(distances), *columns, strict=True)
        lines = []
        for replica, row in enumerate(rows):
            numbers = ",".join(repr(float(value)) for value in row)
            lines.append(f"{state.step},{state.step * timestep_fs!r},{replica},{numbers}\n")
        return "".join(lines).encode()

    names = ["step", "time_fs", "replica", "distance", *(f"value_{n}" for n in range(count))]
    head = f"{','.join(names)}\n".encode()
    steps = every * math.ceil(LEAST_STEPS / every)
    return [Recorder(store.lines(DISTANCES), steps, render, head=head, optional=True)]


def coverage_of_run(
    store: Store, potential: Potential, replicas: int, what: str = "replica"
) -> Coverage | None:
    """Coverage of dynamics, from its distances.csv; None without a domain or records.

    Args:
        store: keeps the table.
        potential: of the dynamics.
        replicas: how many there are.
        what: they are called.
    """
    domain = domain_of(potential)
    blocks = None if domain is None else _records(store)
    if domain is None or blocks is None:
        return None
    return _of_visits(domain, Visits.of(blocks, domain, replicas), what)


def _records(store: Store) -> Iterator[dict[str, np.ndarray]] | None:
    """The records of distances.csv, a block at a time; None without any."""
    return csv_blocks(store.stream(DISTANCES)) if store.lines(DISTANCES).size else None


def _of_visits(domain: Domain, visits: Visits, what: str) -> Coverage | None:
    if not visits.records.any():
        return None
    largest = float(visits.largest.max())
    coverage = Coverage(
        limit=domain.limit,
        largest_distance=largest,
        share_outside=visits.share,
        left=left_by(domain, visits.share, largest),
        expected_error_eV_A=expected_error(domain, largest),
    )
    if not visits.outside.any():
        return coverage
    first, farthest = int(visits.first_fs.argmin()), int(visits.largest.argmax())
    first_ps, farthest_ps = visits.first_fs[first] / 1000, visits.largest_fs[farthest] / 1000
    where = (
        f"first {what} {first} at {first_ps:.4g} ps, farthest {what} {farthest} at "
        f"{farthest_ps:.4g} ps"
    )
    return replace(coverage, where=where, first_time_ps=float(first_ps), first_replica=first)


def coverage_of_requests(potential: Potential, path: Path) -> Coverage | None:
    """Coverage of what i-PI asked for, from the table of its clients; None without one.

    Args:
        potential: that was served.
        path: table of `adapters.ipi.serve`.
    """
    domain = domain_of(potential)
    if domain is None or not path.is_file():
        return None
    distances = numbers_of(read_file(path).decode().splitlines(), 3, ",")[:, 2]
    found = Coverage.of_geometries(domain, distances, None)
    left = left_by(domain, found.share_outside, found.largest_distance)
    return replace(found, left=left)


def coverage_of_windows(
    store: Store, potential: Potential, found: UmbrellaStudy, after_fs: float
) -> Coverage | None:
    """Coverage of umbrella sampling, and whether the top of its profile is supported.

    Args:
        store: keeps distances.csv.
        potential: of the dynamics.
        found: the profile and its windows.
        after_fs: records up to this time, that of the equilibration, are left out.
    """
    domain = domain_of(potential)
    blocks = None if domain is None else _records(store)
    if domain is None or blocks is None:
        return None
    windows = len(found.means)
    visits = Visits.of(blocks, domain, windows, after_fs)
    coverage = _of_visits(domain, visits, "window")
    outside = visits.mostly_outside()
    if coverage is None or not len(outside):
        return coverage
    gaps = [
        line.gaps(found.means[:, n], np.asarray(place)) / line.spacing
        for n, (line, place) in enumerate(zip(found.method.lines, found.top(), strict=True))
    ]
    nearest = int(np.sum(np.square(gaps), axis=0).argmin())
    doubts = {"highest free energy": nearest in outside}
    where = f"{named_rows('windows', outside, windows)}; {coverage.where}"
    return replace(coverage, left=True, where=where, unsupported=_chosen(doubts))


def coverage_of_surface(
    store: Store, coverage: Coverage | None, method: Metadynamics, found: Study
) -> tuple[Coverage | None, dict[str, np.ndarray]]:
    """Where on its surface metadynamics was outside, and what is therefore not supported.

    Args:
        store: keeps distances.csv.
        coverage: of the walkers.
        method: with the coordinates and the widths of hills, within which records count together.
        found: the surface and its basins.

    Returns:
        The coverage, and for surface.npz the share of records outside around each node.
    """
    blocks = None if coverage is None else _records(store)
    if coverage is None or blocks is None:
        return coverage, {}
    share = share_on_grid(method.axes, method.sigmas, blocks, Domain(coverage.limit))
    outside = np.nan_to_num(share) > MOSTLY
    if not outside.any():
        return coverage, {"outside": share}
    flat, minima = outside.ravel(), found.basins.minima[:2]
    doubts = {}
    if len(minima) == 2:
        top = pass_between(found.surface, method.axes, *minima)
        ends = bool(flat[list(minima)].any())
        doubts = {
            "free-energy barrier": ends or (top is not None and bool(flat[top])),
            "free energies of the basins": ends,
        }
    regions = [
        f"{one.label} {_intervals(axis.points, along)}"
        for n, (one, axis) in enumerate(zip(method.coordinates, method.axes, strict=True))
        if (along := outside.any(axis=tuple(m for m in range(outside.ndim) if m != n))).any()
    ]
    where = f"{' and '.join(regions)}; {coverage.where}"
    covered = replace(coverage, left=True, where=where, unsupported=_chosen(doubts))
    return covered, {"outside": share}


def _intervals(points: np.ndarray, chosen: np.ndarray) -> str:
    """The stretches of an axis that belong to chosen ones of its points, in words."""
    runs = np.split(np.flatnonzero(chosen), np.flatnonzero(np.diff(np.flatnonzero(chosen)) > 1) + 1)
    return ", ".join(f"{points[run[0]]:.4g} to {points[run[-1]]:.4g}" for run in runs)


def coverage_of_path(
    potential: Potential,
    distances: np.ndarray | None,
    strayed: Mapping[str, np.ndarray] | None = None,
) -> Coverage | None:
    """Coverage of the images of a path, and which of its energies are not supported.

    Args:
        potential: of the path.
        distances: (images,), None without a domain.
        strayed: ends (atoms, 3) by name as they were given, from which relaxation led to another
            minimum. One that is outside was asked for, and the model does not know it.
    """
    domain = domain_of(potential)
    if domain is None or distances is None:
        return None
    outside = ~domain.contains(distances)
    given = {name: _judged(potential, end[None]) for name, end in (strayed or {}).items()}
    lost = {
        name: float(one[0])
        for name, one in given.items()
        if one is not None and not domain.contains(one)[0]
    }
    # An image outside may be the top in truth, whichever is highest on the model.
    anywhere, ends = bool(lost) or bool(outside.any()), bool(lost) or bool(outside[[0, -1]].any())
    doubts = {"barrier": anywhere, "barrier back": anywhere, "reaction energy": ends}
    images = named_rows("images", np.flatnonzero(outside), len(outside))
    where = ", ".join([*([images] if images else []), *(f"the {name} as given" for name in lost)])
    found = Coverage.of_geometries(domain, np.append(distances, list(lost.values())), where or None)
    return replace(found, unsupported=_chosen(doubts))


def coverage_of_saddle(
    potential: Potential, positions: Mapping[str, np.ndarray]
) -> Coverage | None:
    """Coverage of a saddle and its minima, and what of it is not supported.

    Args:
        potential: of the search.
        positions: (atoms, 3) of `saddle`, and of `start` and `end` where there was a descent.
    """
    distances = _judged(potential, np.stack(list(positions.values())))
    domain = domain_of(potential)
    if domain is None or distances is None:
        return None
    outside = dict(zip(positions, (~domain.contains(distances)).tolist(), strict=True))
    doubts = {"saddle": outside["saddle"]}
    if "start" in outside:
        doubts = {
            "barrier": outside["saddle"] or outside["start"],
            "barrier back": outside["saddle"] or outside["end"],
            "rates": any(outside.values()),
        }
    where = ", ".join(name for name, one in outside.items() if one) or None
    found = Coverage.of_geometries(domain, distances, where)
    return replace(found, unsupported=_chosen(doubts))


def _judged(potential: Potential, positions: np.ndarray) -> np.ndarray | None:
    """Distances (geometries,), with the energies; None without a domain."""
    if domain_of(potential) is None:
        return None
    return distances_of(potential, positions, potential(positions).energies)


def judged_by_reference(coverage: Coverage | None, *errors_kcal_mol: float) -> Coverage | None:
    """The coverage, with whether a reference confirms what the training data do not support.

    Args:
        coverage: of a path or a saddle.
        errors_kcal_mol: of its energy differences, model minus reference.
    """
    if coverage is None or not coverage.unsupported:
        return coverage
    confirmed = max(map(abs, errors_kcal_mol)) < CONFIRMED_KCAL_MOL
    return replace(coverage, supported_by_reference=confirmed)


def warn_of(store: Store, coverage: Coverage | None) -> None:
    """Warn of a run that left the training data, unless a reference confirmed its result."""
    if coverage is not None and coverage.left and not coverage.supported_by_reference:
        store.warn(coverage.warning())


def _chosen(doubts: Mapping[str, bool]) -> tuple[str, ...] | None:
    return tuple(name for name, doubtful in doubts.items() if doubtful) or None
