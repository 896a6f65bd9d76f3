"""Basins of a free-energy surface, transitions between them, and test for hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flexcalc.analysis.freeenergy import node_of, surface
from flexcalc.files.plumed import Colvar, HillList
from flexcalc.methods.bias import Axis
from flexcalc.units import KB, KCAL_MOL

LOW_KCAL_MOL = 6.0
"""Free energy up to which surfaces are compared."""
GOOD_KCAL_MOL = 1.0
"""Tolerance for the agreement of surfaces and differences."""
GROUPS = 20
"""Number of jackknife groups of passages."""
ROUND_TRIPS = 4
"""Minimum number of round trips of all walkers together for a converged result."""


@dataclass(frozen=True, eq=False)
class Basins:
    """The basins of a surface.

    Args:
        labels: (nodes,) flat, index of the basin of each node; -1 for unexplored nodes.
        core: (nodes,) flat, the same within kT of the basin's minimum, else -1.
        minima: flat node of each basin's minimum, the lowest basin first.
    """

    labels: np.ndarray
    core: np.ndarray
    minima: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.minima)

    def energies(self, free_energy: np.ndarray, temperature_K: float) -> np.ndarray:
        """Free energy (basins,) of each basin in eV: -kT ln of its population."""
        kT = KB * temperature_K
        flat = free_energy.ravel()
        weight = np.exp(-(flat - flat.min()) / kT)
        shares = [weight[self.labels == n].sum() for n in range(len(self))]
        return -kT * np.log(np.maximum(shares, 1e-300))


def basins(free_energy: np.ndarray, axes: Sequence[Axis], temperature_K: float) -> Basins:
    """Basins separated by barriers of more than 2 kT, found by flooding the surface from below.

    Nodes within kT of the maximum, the level without bias, are unexplored and belong to no basin.

    Args:
        free_energy: at the nodes, in eV, from `surface`.
        axes: of the grid.
        temperature_K: of the molecule.
    """
    kT = KB * temperature_K
    shape, flat = free_energy.shape, free_energy.ravel()
    parent: dict[int, int] = {}
    owner = np.full(flat.size, -1)

    def root(node: int) -> int:
        while parent[node] != node:
            node = parent[node]
        return node

    for node in np.argsort(flat, kind="stable"):
        node = int(node)
        if flat[node] > flat.max() - kT:
            break
        around = {root(int(owner[n])) for n in _neighbours(node, shape, axes) if owner[n] >= 0}
        if not around:
            parent[node] = owner[node] = node
            continue
        lowest = min(around, key=lambda one: flat[one])
        owner[node] = lowest
        for other in around - {lowest}:
            if flat[node] - flat[other] < 2 * kT:
                parent[other] = lowest
    return _named(flat, owner, root, kT)


def _named(flat: np.ndarray, owner: np.ndarray, root: Any, kT: float) -> Basins:
    roots = np.array([root(int(one)) if one >= 0 else -1 for one in owner])
    minima = sorted((int(one) for one in np.unique(roots) if one >= 0), key=lambda one: flat[one])
    labels = np.full(flat.size, -1)
    for n, minimum in enumerate(minima):
        labels[roots == minimum] = n
    floor = np.append(flat[minima], np.inf)[labels]
    core = np.where((labels >= 0) & (flat - np.minimum(floor, flat.max() + 1) <= kT), labels, -1)
    return Basins(labels, core, tuple(minima))


def pass_between(
    free_energy: np.ndarray, axes: Sequence[Axis], first: int, second: int
) -> int | None:
    """The flat node at the top of the lowest way between two nodes; None where there is no way.

    Args:
        free_energy: at the nodes.
        axes: of the grid.
        first, second: flat nodes, such as minima of basins.
    """
    shape, flat = free_energy.shape, free_energy.ravel()
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for node in map(int, np.argsort(flat, kind="stable")):
        parent[node] = node
        for other in _neighbours(node, shape, axes):
            if other in parent:
                parent[root(other)] = node
        if first in parent and second in parent and root(first) == root(second):
            return node
    return None


def _neighbours(node: int, shape: tuple[int, ...], axes: Sequence[Axis]) -> list[int]:
    place = [int(one) for one in np.unravel_index(node, shape)]
    found = []
    for n, axis in enumerate(axes):
        for step in (-1, 1):
            there = place[n] + step
            if axis.periodic:
                there %= axis.nodes
            elif not 0 <= there < axis.nodes:
                continue
            found.append(int(np.ravel_multi_index([*place[:n], there, *place[n + 1 :]], shape)))
    return found


@dataclass(frozen=True)
class Verdict:
    """Whether the coordinates drove the transition.

    Args:
        word: "driven", "not converged", "one-way" or "no transition".
        line: the finding in one line.
        basins: how many.
        transitions: of each walker, from the core of one basin to that of another.
        round_trips: of each walker, back to a basin it had been in.
        longest_stay: share of a walker's run in one basin without a transition, at most.
        drift_kcal_mol: largest difference of the surfaces after half and all of the time.
        hysteresis_kcal_mol: mean difference of the model's energy between walkers that come from
            one and from the other of the two most visited basins, at the same coordinates
            between them; None where too few passed.
        hysteresis_error_kcal_mol: its standard error.
    """

    word: str
    line: str
    basins: int
    transitions: tuple[int, ...]
    round_trips: tuple[int, ...]
    longest_stay: float
    drift_kcal_mol: float
    hysteresis_kcal_mol: float | None
    hysteresis_error_kcal_mol: float | None


def judge(
    colvar: Colvar, hills: HillList, axes: Sequence[Axis], temperature_K: float
) -> tuple[Verdict, Basins]:
    """Judge a run by the paths of its walkers, and by its surface after half of the time."""
    last = surface(hills, axes)
    found = basins(last, axes, temperature_K)
    ways = visits(colvar, axes, found)
    transitions = tuple(max(len(way) - 1, 0) for way, _ in ways)
    trips = tuple(_round_trips(way) for way, _ in ways)
    longest = max((stay for _, stay in ways), default=1.0)
    drift = largest_difference(surface(hills, axes, hills.time_fs[-1] / 2), last)
    lag, error = hysteresis(colvar, axes, found)
    word, why = _sentence(len(found), transitions, trips, drift, lag, error)
    counts = ", ".join(map(str, transitions))
    line = (
        f"{word}: {len(found)} basin{'s' if len(found) != 1 else ''}, {sum(transitions)} "
        f"transitions ({counts} by walker), {sum(trips)} round trips; {why}"
    )
    verdict = Verdict(word, line, len(found), transitions, trips, longest, drift, lag, error)
    return verdict, found


def _sentence(
    count: int,
    transitions: Sequence[int],
    trips: Sequence[int],
    drift: float,
    lag: float | None,
    error: float | None,
) -> tuple[str, str]:
    """The verdict on a run, and the reason."""
    if count < 2:
        return (
            "no transition",
            "no barrier above 2 kT divides what the walkers have visited: they stayed in one "
            "basin, or there is no other along these coordinates",
        )
    if not sum(transitions):
        return "no transition", "these coordinates did not take the molecule out of its basin"
    if not sum(trips):
        return (
            "one-way",
            "no walker came back, so the depths of the basins are not known: run longer, or the "
            "coordinates do not drive the way back",
        )
    if lag is not None and error is not None and abs(lag) > max(GOOD_KCAL_MOL, 3 * error):
        return (
            "not converged",
            f"hysteresis: at the same coordinates the energy differs by {lag:.1f} +- {error:.1f} "
            "kcal/mol with the basin that a walker comes from, so something slow is not among them",
        )
    if sum(trips) < ROUND_TRIPS:
        return "not converged", f"fewer than {ROUND_TRIPS} round trips say little: run longer"
    if drift > GOOD_KCAL_MOL:
        return (
            "not converged",
            f"the second half of the run moved the surface by {drift:.1f} kcal/mol: run longer",
        )
    return (
        "driven",
        f"the walkers go back and forth, and the surface of the first half differs by {drift:.2f} "
        "kcal/mol at most",
    )


def visits(colvar: Colvar, axes: Sequence[Axis], found: Basins) -> list[tuple[list[int], float]]:
    """Sequence of basin cores of each walker, and its longest stay as a fraction of the run."""
    node = node_of(axes, colvar.values)
    ways = []
    for walker in np.unique(colvar.walker):
        mine = colvar.walker == walker
        cores, times = found.core[node[mine]], colvar.time_fs[mine]
        inside = cores >= 0
        cores, times = cores[inside], times[inside]
        turns = np.flatnonzero(np.diff(cores)) + 1
        way = [int(one) for one in cores[np.concatenate([[0], turns])]] if len(cores) else []
        span = max(float(np.ptp(colvar.time_fs[mine])), 1e-9)
        edges = np.concatenate(
            [[colvar.time_fs[mine][0]], times[turns], [colvar.time_fs[mine][-1]]]
        )
        ways.append((way, float(np.diff(edges).max() / span)))
    return ways


def _round_trips(way: Sequence[int]) -> int:
    """Number of returns of a walker to a basin; each exit counts once."""
    trips, seen = 0, set(way[:1])
    for basin in way[1:]:
        if basin in seen:
            trips += 1
            seen = {basin}
        else:
            seen.add(basin)
    return trips


def largest_difference(
    one: np.ndarray, other: np.ndarray, below_kcal_mol: float = LOW_KCAL_MOL
) -> float:
    """Largest difference of two surfaces in kcal/mol where the second is low.

    Args:
        one, other: at the same nodes, in eV; a constant between them is taken out.
        below_kcal_mol: compares the nodes where `other` is lower than this.
    """
    low = other - other.min() < below_kcal_mol * KCAL_MOL
    apart = (one - other)[low]
    # The constant that minimises the maximum difference.
    middle = (apart.max() + apart.min()) / 2
    return float(np.abs(apart - middle).max() / KCAL_MOL)


def hysteresis(
    colvar: Colvar, axes: Sequence[Axis], found: Basins
) -> tuple[float | None, float | None]:
    """Hysteresis: whether the energy between two basins depends on the origin of the walker.

    If the coordinates are all that is slow, at given coordinates everything else has the same
    distribution whichever basin was left. Samples outside all cores are put together by node
    and origin; the mean over nodes has the weight of the rarer origin.

    Samples of one passage, from one core to the next, are no independent ones. So the error is
    that of a jackknife over groups of passages (Quenouille, Biometrika 43, 353 (1956)).

    Returns:
        Mean difference and its standard error in kcal/mol, or None for both.
    """
    if len(found) < 2:
        return None, None
    node = node_of(axes, colvar.values)
    cores = found.core[node]
    names, counts = np.unique(cores[cores >= 0], return_counts=True)
    if len(names) < 2:
        return None, None
    pair = np.sort(names[np.argsort(counts)[-2:]])
    origin, passage = _origins(colvar, cores)
    between = (cores < 0) & np.isin(origin, pair)
    node, second = node[between], origin[between] == pair[1]
    energies = colvar.energies[between] / KCAL_MOL
    _, passage = np.unique(passage[between], return_inverse=True)
    whole = _apart(node, second, energies)
    groups = min(GROUPS, passage.max(initial=-1) + 1)
    if whole is None or groups < 2:
        return None, None
    left = [passage % groups != group for group in range(groups)]
    parts = [_apart(node[kept], second[kept], energies[kept]) for kept in left]
    known = np.array([part for part in parts if part is not None])
    if len(known) < groups:
        return None, None
    return whole, float(np.sqrt((groups - 1) / groups * ((known - known.mean()) ** 2).sum()))


def _apart(node: np.ndarray, second: np.ndarray, energies: np.ndarray) -> float | None:
    """Mean difference of energies at the same node, of one origin less the other's; or None."""
    sums, numbers = np.zeros((2, 2, node.max(initial=0) + 1))
    for side, mine in enumerate((~second, second)):
        numbers[side] = np.bincount(node[mine], minlength=sums.shape[1])
        sums[side] = np.bincount(node[mine], energies[mine], minlength=sums.shape[1])
    both = (numbers >= 3).all(axis=0)
    if numbers[:, both].sum() < 100:
        return None
    means = sums[:, both] / numbers[:, both]
    weight = numbers[:, both].min(axis=0)
    return float((means[1] - means[0]) @ weight / weight.sum())


def _origins(colvar: Colvar, cores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last core visited before each sample, -1 for none, and the index of its passage.

    Both are (samples,). A passage goes from one core to the next, and is named by the last sample
    that was in the first of them.
    """
    origin, passage = np.full((2, len(cores)), -1)
    for walker in np.unique(colvar.walker):
        mine = np.flatnonzero(colvar.walker == walker)
        inside = np.where(cores[mine] >= 0, np.arange(len(mine)), -1)
        last = np.maximum.accumulate(inside)
        origin[mine] = np.where(last >= 0, cores[mine][last], -1)
        passage[mine] = mine[last]
    return origin, passage
