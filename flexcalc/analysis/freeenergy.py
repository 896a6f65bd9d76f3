"""Free energies from metadynamics: from the hills, and by reweighting samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flexcalc.errors import ShapeError
from flexcalc.files.plumed import Colvar, HillList
from flexcalc.methods.bias import Axis
from flexcalc.units import KB

Reweighting = Literal["tiwary-parrinello", "final-bias"]


def bias_on_nodes(
    hills: HillList, axes: Sequence[Axis], rows: slice | np.ndarray = slice(None)
) -> np.ndarray:
    """The sum of hills at the nodes of a grid, in eV.

    Args:
        hills: in the coordinates' units.
        axes: of the grid, one a coordinate.
        rows: which hills.
    """
    heights = hills.heights[rows]
    parts = [
        axis.gaussians(hills.centres[rows, n], hills.sigmas[rows, n])[:, 0]
        for n, axis in enumerate(axes)
    ]
    names = "abc"[: len(axes)]
    each = ",".join(f"h{name}" for name in names)
    return np.einsum(f"{each}->{names}", heights[:, None] * parts[0], *parts[1:], optimize=True)


def rounds(hills: HillList) -> Iterator[tuple[float, slice]]:
    """(time in fs, which hills) of each time at which hills were added, all walkers together."""
    times, first = np.unique(hills.time_fs, return_index=True)
    edges = [*first, len(hills)]
    for n, time in enumerate(times):
        yield float(time), slice(edges[n], edges[n + 1])


def tempering(hills: HillList) -> float:
    """gamma/(gamma - 1), or 1 for plain hills: F = -tempering V up to a constant."""
    gamma = hills.bias_factor
    return 1.0 if gamma is None else gamma / (gamma - 1)


def surface(hills: HillList, axes: Sequence[Axis], until_fs: float = np.inf) -> np.ndarray:
    """Free energy at the nodes in eV, its minimum zero, from the hills up to a time.

    Source: Barducci, Bussi and Parrinello, Phys. Rev. Lett. 100, 020603 (2008), eq. 3.
    """
    energies = -tempering(hills) * bias_on_nodes(hills, axes, hills.time_fs <= until_fs)
    return energies - energies.min()


def offsets(
    hills: HillList, axes: Sequence[Axis], temperature_K: float
) -> tuple[np.ndarray, np.ndarray]:
    """The constant c(t) by which the bias runs ahead of minus the free energy.

    Returns:
        Times (rounds,) in fs and c (rounds + 1,) in eV: c[n] holds after n rounds of hills.

    Source: Tiwary and Parrinello, J. Phys. Chem. B 119, 736 (2015), doi:10.1021/jp504920s, eq. 12.
    """
    kT = KB * temperature_K
    weight = np.ones(())
    for axis in axes:
        weight = np.multiply.outer(weight, axis.widths)
    full, bias = tempering(hills), np.zeros(weight.shape)
    times, found = [], [0.0]
    for time, rows in rounds(hills):
        bias = bias + bias_on_nodes(hills, axes, rows)
        upper = _log_integral(full * bias / kT, weight)
        lower = _log_integral((full - 1) * bias / kT, weight)
        times.append(time)
        found.append(kT * (upper - lower))
    return np.array(times), np.array(found)


def _log_integral(exponents: np.ndarray, weight: np.ndarray) -> float:
    top = exponents.max()
    return float(top + np.log((weight * np.exp(exponents - top)).sum()))


def log_weights(
    colvar: Colvar,
    hills: HillList,
    axes: Sequence[Axis],
    temperature_K: float,
    how: Reweighting = "tiwary-parrinello",
) -> np.ndarray:
    """Logarithms (samples,) of the weights that undo the bias on samples.

    Args:
        colvar: the samples, with the bias each was taken under.
        hills: all hills of the run.
        axes: of the grid.
        temperature_K: of the molecule.
        how: exp((V(s, t) - c(t))/kT), or exp(V(s)/kT) with the last bias, which is good only for
            samples from when it hardly changed any more.

    Source: Tiwary and Parrinello, J. Phys. Chem. B 119, 736 (2015), doi:10.1021/jp504920s;
    Branduardi, Bussi and Parrinello, J. Chem. Theory Comput. 8, 2247 (2012).
    """
    kT = KB * temperature_K
    if how == "final-bias":
        from flexcalc.methods.bias import empty_grid, on_grid, with_hills

        grid = with_hills(empty_grid(axes), axes, hills.centres, hills.sigmas, hills.heights)
        return (on_grid(grid, axes, colvar.values)[0] + colvar.walls) / kT
    times, c = offsets(hills, axes, temperature_K)
    # A sample precedes the hills of the same time.
    return (colvar.bias + colvar.walls - c[np.searchsorted(times, colvar.time_fs)]) / kT


@dataclass(frozen=True, eq=False)
class Profile:
    """A free energy over the bins of a coordinate, or over regions.

    Args:
        energies: (bins,) in eV, the lowest zero; infinite where nothing was seen.
        errors: (bins,) standard errors in eV; NaN where unknown.
    """

    energies: np.ndarray
    errors: np.ndarray


def reweighted(
    bins: np.ndarray,
    count: int,
    log_weight: np.ndarray,
    blocks: np.ndarray,
    temperature_K: float,
) -> Profile:
    """Free energy of each bin, -kT ln p, with the error by leaving out one block in turn.

    Args:
        bins: (samples,) the bin of each sample, -1 for none.
        count: bins.
        log_weight: (samples,) from `log_weights`; zeros for samples without bias.
        blocks: (samples,) which block each sample is of: pieces longer than its memory.
        temperature_K: of the molecule.

    Raises:
        ShapeError: fewer than two blocks.
    """
    names = np.unique(blocks)
    if len(names) < 2:
        raise ShapeError(f"expected at least two blocks for an error, found {len(names)}")
    weight = np.exp(log_weight - log_weight.max())
    table = np.zeros((len(names), count))
    used = bins >= 0
    np.add.at(table, (np.searchsorted(names, blocks[used]), bins[used]), weight[used])
    whole = table.sum(axis=0)
    energies = _minus_log(whole, temperature_K)
    left_out = _minus_log(whole - table, temperature_K)
    best = int(np.argmin(energies))
    with np.errstate(invalid="ignore"):
        # Relative to the best bin, as the energies are.
        apart = left_out - left_out[:, best, None]
        spread = apart - apart.mean(axis=0)
        errors = np.sqrt((len(names) - 1) / len(names) * (spread**2).sum(axis=0))
    return Profile(energies - energies[best], errors)


def _minus_log(share: np.ndarray, temperature_K: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return -KB * temperature_K * np.log(np.maximum(share, 0))


def time_blocks(colvar: Colvar, walkers: int, least: int = 10) -> np.ndarray:
    """Block indices (samples,): each walker has its own blocks, at least `least` in total."""
    pieces = -(-least // walkers)
    span = colvar.time_fs.max() - colvar.time_fs.min()
    share = (colvar.time_fs - colvar.time_fs.min()) / max(span, 1e-9)
    return colvar.walker * pieces + np.minimum((share * pieces).astype(int), pieces - 1)


def node_of(axes: Sequence[Axis], values: np.ndarray) -> np.ndarray:
    """The flat index (samples,) of the node nearest to values (samples, d)."""
    index = []
    for n, axis in enumerate(axes):
        place = np.rint((values[:, n] - axis.low) / axis.spacing).astype(int)
        index.append(place % axis.nodes if axis.periodic else np.clip(place, 0, axis.nodes - 1))
    return np.ravel_multi_index(tuple(index), tuple(axis.nodes for axis in axes))


def after(colvar: Colvar, time_fs: float) -> Colvar:
    """The samples from a time on."""
    kept = colvar.time_fs >= time_fs
    return Colvar(**{name: column[kept] for name, column in vars(colvar).items()})
