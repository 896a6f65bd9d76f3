"""The free energy of umbrella windows, by the multistate Bennett acceptance ratio (MBAR)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np

from flexcalc.analysis.freeenergy import Profile
from flexcalc.errors import InputError, MissingExtraError
from flexcalc.files.plumed import WindowSamples
from flexcalc.methods.umbrella import Line, Umbrella, grid_of
from flexcalc.units import KB

LEAST_OVERLAP = 0.03
"""Minimum overlap of a window with its neighbour, as a fraction of its samples.

Source: Klimovich, Shirts and Mobley, J. Comput.-Aided Mol. Des. 29, 397 (2015),
doi:10.1007/s10822-015-9840-9, who ask for it of neighbouring alchemical states.
"""

BINS_A_WINDOW = 3

FEWEST = 10
"""Number of samples of a window below which no correlation time is estimated, and all are used."""


def require_pymbar() -> None:
    """Raise an error if pymbar is not installed.

    Raises:
        MissingExtraError: it is not.
    """
    if find_spec("pymbar") is None:
        raise MissingExtraError("pymbar", "umbrella")


def _pymbar() -> Any:
    """Import pymbar, without its log messages about other packages."""
    require_pymbar()
    logging.getLogger("pymbar").setLevel(logging.ERROR)
    import pymbar

    return pymbar


@dataclass(frozen=True, eq=False)
class Equations:
    """The solved equations of MBAR.

    Args:
        free_energies: (windows,) of the windows in kT, the first zero.
        weights: (samples,) of each sample in the unbiased state, their sum one.
        in_windows: (samples, windows) weight of each sample in each window.
        counts: (windows,) samples.
    """

    free_energies: np.ndarray
    weights: np.ndarray
    in_windows: np.ndarray
    counts: np.ndarray

    @property
    def overlap(self) -> np.ndarray:
        """Overlap matrix O_ij (windows, windows)."""
        return (self.in_windows.T @ self.in_windows) * self.counts

    def populations(self, bins: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Populations (bins,), and variances of ln(population / that of the fullest bin).

        A bin is one more state, whose weights are those of the unbiased state in the bin. What
        the asymptotic covariance of all states adds up to is needed for bins alone: with G the
        products of weights and N the counts, G_bb + G_bK N^1/2 (1 - N^1/2 G_KK N^1/2)^+ N^1/2 G_Kb
        is it, except for a constant that cancels in differences. So thousands of bins cost little.

        Args:
            bins: (samples,) the bin of each sample, -1 for none.
            count: bins.

        Source: Shirts and Chodera, J. Chem. Phys. 129, 124105 (2008), doi:10.1063/1.2978177,
        eqs. 8, 12 and D6.
        """
        used = bins >= 0
        found = np.bincount(bins[used], self.weights[used], count)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(used, self.weights / found[bins], 0.0)
        own = np.bincount(bins[used], share[used] ** 2, count)
        across = np.zeros((count, len(self.counts)))
        np.add.at(across, bins[used], share[used, None] * self.in_windows[used])
        root = np.sqrt(self.counts)
        gram = (self.in_windows.T @ self.in_windows) * np.multiply.outer(root, root)
        inner = np.linalg.pinv(np.eye(len(root)) - gram, rcond=1e-10, hermitian=True)
        scaled = across * root
        best = int(np.argmax(found))
        apart = scaled - scaled[best]
        variances = own + own[best] + np.einsum("bk,kl,bl->b", apart, inner, apart)
        variances[best] = 0.0
        return found, np.where(found > 0, variances, np.nan)


def solved(reduced: np.ndarray, counts: np.ndarray) -> Equations:
    """Solve the equations of MBAR.

    Args:
        reduced: (windows, samples) energies of the springs over kT, samples window by window.
        counts: (windows,) numbers of samples.

    Raises:
        MissingExtraError: pymbar is not installed.
    """
    from scipy.special import logsumexp

    found = _pymbar().MBAR(reduced, counts, solver_protocol="robust")
    free = np.asarray(found.f_k)
    mixture = logsumexp(free[:, None] - reduced, b=counts[:, None], axis=0)
    unbiased = np.exp(-(mixture - mixture.min()))
    in_windows = np.exp(free[:, None] - reduced - mixture).T
    return Equations(free, unbiased / unbiased.sum(), in_windows, counts)


@dataclass(frozen=True, eq=False)
class UmbrellaStudy:
    """Results of the analysis of umbrella windows.

    Args:
        method: the windows.
        nodes: the middles of the profile's bins along each coordinate.
        profile: free energy of the bins in eV, shaped as they are.
        means, spreads: (windows, d) of the coordinates about the centre, in their units.
        samples: (windows,) that were recorded after the equilibration.
        inefficiency: (windows,) samples that are worth one independent one.
        counts: (windows, bins along the first coordinate) histogram of all samples.
        overlap: (windows, windows) of `Equations`.
        pairs: windows that lie side by side.
        shared: (pairs,) how much of their samples they share, from 0 to 1.
        free_energies: (windows,) of the windows themselves in eV, the lowest zero.
    """

    method: Umbrella
    nodes: tuple[np.ndarray, ...]
    profile: Profile
    means: np.ndarray
    spreads: np.ndarray
    samples: np.ndarray
    inefficiency: np.ndarray
    counts: np.ndarray
    overlap: np.ndarray
    pairs: tuple[tuple[int, int], ...]
    shared: np.ndarray
    free_energies: np.ndarray

    def apart(self) -> list[tuple[int, int]]:
        """Pairs of neighbours that overlap too little."""
        return [self.pairs[n] for n in np.flatnonzero(self.shared < LEAST_OVERLAP)]

    def parts(self) -> int:
        """Number of groups of windows without overlap between them."""
        part = np.arange(len(self.samples))
        for n in np.flatnonzero(self.shared >= LEAST_OVERLAP):
            one, other = self.pairs[n]
            part[part == part[other]] = part[one]
        return len(np.unique(part))

    def warning(self) -> str | None:
        """One line about neighbours with too little overlap; None if there are none."""
        pairs = self.apart()
        if not pairs:
            return None
        centres = self.method.centres
        named = [
            f"{one} and {other} ({_place(centres[one])} and {_place(centres[other])})"
            for one, other in pairs[:8]
        ]
        more = f" and {len(pairs) - 8} more pairs" if len(pairs) > 8 else ""
        parts = self.parts()
        severed = (
            f"they part the profile into {parts} pieces whose heights say nothing of each other"
            if parts > 1
            else "the profile is held together by other pairs alone"
        )
        return (
            f"too little overlap of windows {', '.join(named)}{more}: {severed}; "
            "use more windows, a smaller kappa_kcal_mol, or longer equilibration"
        )

    def highest(self) -> tuple[float, float]:
        """The range of the free energy and its standard error, in eV."""
        highest = self._highest_bin()
        return float(self.profile.energies.flat[highest]), float(self.profile.errors.flat[highest])

    def top(self) -> tuple[float, ...]:
        """The coordinates of the highest free energy."""
        place = np.unravel_index(self._highest_bin(), self.profile.energies.shape)
        return tuple(float(axis[at]) for axis, at in zip(self.nodes, place, strict=True))

    def _highest_bin(self) -> int:
        finite = np.isfinite(self.profile.energies)
        return int(np.argmax(np.where(finite, self.profile.energies, -np.inf)))

    def empty_bins(self) -> int:
        """Bins without samples."""
        return int((~np.isfinite(self.profile.energies)).sum())

    def arrays(self) -> dict[str, np.ndarray]:
        """Nodes of each coordinate, profile and errors in eV, and the windows."""
        coordinates = [line.coordinate for line in self.method.lines]
        return {
            **{f"nodes_{n}": one for n, one in enumerate(self.nodes)},
            "profile": self.profile.energies,
            "errors": self.profile.errors,
            "coordinates": np.array([one.label for one in coordinates]),
            "units": np.array([one.unit for one in coordinates]),
            "centres": self.method.centres,
            "means": self.means,
            "spreads": self.spreads,
            "samples": self.samples,
            "inefficiency": self.inefficiency,
            "counts": self.counts,
            "free_energies": self.free_energies,
            "pairs": np.array(self.pairs),
            "shared": self.shared,
            "overlap": self.overlap,
        }


def study(samples: WindowSamples, method: Umbrella, temperature_K: float) -> UmbrellaStudy:
    """Analyse umbrella windows.

    Args:
        samples: of all windows, each taken after the equilibration; at least one of each.
        method: the windows.
        temperature_K: of the molecule.

    Raises:
        MissingExtraError: pymbar is not installed.
        InputError: no sample is where the windows are.
    """
    windows, centres = len(method.centres), method.centres
    rows = [np.flatnonzero(samples.window == window) for window in range(windows)]
    gaps = np.stack(
        [
            line.gaps(samples.values[:, n], centres[samples.window, n])
            for n, line in enumerate(method.lines)
        ],
        axis=1,
    )
    inefficiency = np.array([inefficiency_of(gaps[mine]) for mine in rows])
    kept = [thinned(mine, one) for mine, one in zip(rows, inefficiency, strict=True)]
    chosen = np.concatenate(kept)
    reduced = spring_energies(method.lines, samples.values[chosen]) / (KB * temperature_K)
    equations = solved(reduced, np.array([len(one) for one in kept]))
    nodes, bins = binned(method.lines, samples.values)
    shape = tuple(map(len, nodes))
    flat = _flat(bins, shape)
    if (flat[chosen] < 0).all():
        raise InputError(_nowhere(method.lines, samples.values))
    counts = [
        np.stack([_histogram(along[mine], length) for mine in rows])
        for along, length in zip(bins, shape, strict=True)
    ]
    side_by_side = neighbours(method.lines)
    free = equations.free_energies - equations.free_energies.min()
    return UmbrellaStudy(
        method=method,
        nodes=nodes,
        profile=_profile(equations, flat[chosen], shape, temperature_K),
        means=centres + np.stack([gaps[mine].mean(axis=0) for mine in rows]),
        spreads=np.stack([gaps[mine].std(axis=0) for mine in rows]),
        samples=np.array([len(mine) for mine in rows]),
        inefficiency=inefficiency,
        counts=counts[0],
        overlap=equations.overlap,
        pairs=tuple(pair for pair, _ in side_by_side),
        shared=_shared(equations.overlap, counts, side_by_side),
        free_energies=free * KB * temperature_K,
    )


def _nowhere(lines: Sequence[Line], values: np.ndarray) -> str:
    """Message that no sample (samples, d) is in the range of the windows."""
    found = ", ".join(
        f"{line.coordinate.label} from {column.min():.4g} to {column.max():.4g} "
        f"{line.coordinate.unit} for windows from {line.centres[0]:g} to {line.centres[-1]:g}"
        for line, column in zip(lines, values.T, strict=True)
    )
    return (
        f"no sample is where the windows are: found {found}; use springs with a larger "
        "kappa_kcal_mol, a longer equilibration, or windows that the molecule can reach"
    )


def _profile(
    equations: Equations, bins: np.ndarray, shape: tuple[int, ...], temperature_K: float
) -> Profile:
    kT, count = KB * temperature_K, int(np.prod(shape))
    populations, variances = equations.populations(bins, count)
    with np.errstate(divide="ignore"):
        energies = -kT * np.log(populations / populations.max())
    return Profile(energies.reshape(shape), kT * np.sqrt(variances).reshape(shape))


def inefficiency_of(gaps: np.ndarray) -> float:
    """Statistical inefficiency of samples (samples, d), of the slowest coordinate.

    Source: Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), doi:10.1021/ct0502864.
    """
    if len(gaps) < FEWEST:
        return 1.0
    if (np.ptp(gaps, axis=0) == 0).any():
        return float(len(gaps))
    timeseries = _pymbar().timeseries
    found = max(float(timeseries.statistical_inefficiency(column)) for column in gaps.T)
    return min(found, float(len(gaps)))


def thinned(rows: np.ndarray, inefficiency: float) -> np.ndarray:
    """Approximately independent rows (samples,)."""
    count = max(1, int(len(rows) / inefficiency))
    return rows[(np.arange(count) * len(rows) / count).astype(int)]


def spring_energies(lines: Sequence[Line], values: np.ndarray) -> np.ndarray:
    """Energies (windows, samples) in eV of the restraint of every window at values (samples, d)."""
    centres = grid_of([line.centres for line in lines])
    energies = np.zeros((len(centres), len(values)))
    for n, line in enumerate(lines):
        energies += line.kappa / 2 * line.gaps(values[None, :, n], centres[:, n, None]) ** 2
    return energies


def binned(
    lines: Sequence[Line], values: np.ndarray
) -> tuple[tuple[np.ndarray, ...], list[np.ndarray]]:
    """Bins along each coordinate, a few per window, with the centres of windows in the middle.

    Args:
        values: (samples, d).

    Returns:
        The middles of the bins, and the bin (samples,) of each sample, -1 beyond the last windows.
    """
    nodes, bins = [], []
    for n, line in enumerate(lines):
        count = BINS_A_WINDOW * len(line.centres)
        width = line.spacing / BINS_A_WINDOW
        first = float(line.centres[0]) - line.spacing / 2
        nodes.append(first + width * (np.arange(count) + 0.5))
        middle = first + width * count / 2
        place = np.floor(line.gaps(values[:, n], np.array(middle)) / width + count / 2).astype(int)
        if line.ring:
            place %= count
        bins.append(np.where((place >= 0) & (place < count), place, -1))
    return tuple(nodes), bins


def _flat(bins: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    inside = np.all([one >= 0 for one in bins], axis=0)
    flat = np.ravel_multi_index(tuple(np.maximum(one, 0) for one in bins), shape)
    return np.where(inside, flat, -1)


def _shared(
    overlap: np.ndarray,
    counts: Sequence[np.ndarray],
    pairs: Sequence[tuple[tuple[int, int], int]],
) -> np.ndarray:
    """Overlap of neighbours (pairs,): the minimum of three estimates.

    MBAR tells how much the windows would overlap if each had sampled what it should. A window that
    never got where it belongs is identified by the part that its histogram has in common with the
    other's, along the coordinate that they differ in.

    Args:
        overlap: (windows, windows) by MBAR.
        counts: of each coordinate (windows, bins), histograms.
        pairs: of `neighbours`.
    """
    shares = [one / np.maximum(one.sum(axis=1, keepdims=True), 1) for one in counts]
    return np.array(
        [
            min(
                overlap[one, other],
                overlap[other, one],
                np.minimum(shares[n][one], shares[n][other]).sum(),
            )
            for (one, other), n in pairs
        ]
    )


def _histogram(bins: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(bins[bins >= 0], minlength=count)


def neighbours(lines: Sequence[Line]) -> list[tuple[tuple[int, int], int]]:
    """Pairs of windows, counted as `Umbrella.centres` does, and the coordinate they differ in."""
    shape = tuple(len(line.centres) for line in lines)
    number = np.arange(int(np.prod(shape))).reshape(shape)
    pairs: list[tuple[tuple[int, int], int]] = []
    for n, line in enumerate(lines):
        along = np.moveaxis(number, n, 0)
        rings = [*along, along[0]] if line.ring else [*along]
        for one, other in pairwise(rings):
            ends = zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)
            pairs += [(pair, n) for pair in ends]
    return pairs


def _place(centre: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in centre)
