"""Free energies over coordinates: what metadynamics and umbrella sampling draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from flexcalc.display import plots
from flexcalc.display.drawing import Drawing
from flexcalc.errors import FileFormatError
from flexcalc.units import KB, KCAL_MOL

ENERGY = "free energy / kcal mol⁻¹"
UNITS = {"A": "Å", "degrees": "degrees"}
"""Of coordinates, as they are printed."""
FEW = 8
"""Pairs of windows that are marked and numbered one by one."""
MOST_BASINS = 6
"""Basins that are drawn over time."""

Arrays = Mapping[str, np.ndarray]
Ways = Sequence[tuple[np.ndarray, np.ndarray]]
"""Of each walker two coordinates (points,) over time, not-a-number where the line breaks."""


def axis_label(arrays: Arrays, n: int) -> str:
    """The n-th coordinate with its unit."""
    unit = UNITS.get(str(arrays["units"][n]), "")
    return f"{arrays['coordinates'][n]} / {unit}" if unit else str(arrays["coordinates"][n])


@dataclass(frozen=True, eq=False)
class Surface:
    """A free-energy surface by metadynamics, in kcal/mol.

    Args:
        nodes: of each axis.
        surface, errors: at the nodes.
        minima: (basins, d) their coordinates.
        labels: of the axes, with units.
        units: of the coordinates, as the file has them.
        time_ps: (times,).
        differences: (times, basins), free energies of the basins over time.
        outside: at the nodes, whether most records there are outside the training data.
    """

    nodes: Sequence[np.ndarray]
    surface: np.ndarray
    errors: np.ndarray
    minima: np.ndarray
    labels: Sequence[str]
    units: Sequence[str]
    time_ps: np.ndarray
    differences: np.ndarray
    outside: np.ndarray

    @classmethod
    def of(cls, arrays: Arrays) -> Self:
        """The surface whose arrays surface.npz holds.

        Raises:
            FileFormatError: one is missing, or has another shape than the others ask for.
        """
        surface = _array(arrays, "surface")
        nodes = [_array(arrays, f"nodes_{n}") for n in range(surface.ndim)]
        minima, time = _array(arrays, "minima"), _array(arrays, "time_fs")
        errors, differences = _array(arrays, "errors"), _array(arrays, "differences")
        units, names = _array(arrays, "units"), _array(arrays, "coordinates")
        _check(1 <= surface.ndim <= 3 and surface.size > 1 and min(surface.shape) > 1)
        _check(all(axis.ndim == 1 for axis in (*nodes, minima, time, units, names)))
        _check(errors.shape == surface.shape == tuple(len(axis) for axis in nodes))
        _check(len(units) == len(names) == len(nodes))
        _check(minima.dtype.kind in "iu" and bool((minima >= 0).all()))
        _check(bool((minima < surface.size).all()))
        _check(differences.shape == (len(time), len(minima)))
        share = _array(arrays, "outside") if "outside" in arrays else np.zeros(surface.shape)
        _check(share.shape == surface.shape)
        places = np.unravel_index(minima, surface.shape)
        return cls(
            nodes=nodes,
            surface=surface / KCAL_MOL,
            errors=errors / KCAL_MOL,
            minima=np.stack([axis[at] for axis, at in zip(nodes, places, strict=True)], axis=1),
            labels=[axis_label(arrays, n) for n in range(len(nodes))],
            units=[str(one) for one in units],
            time_ps=time / 1000,
            differences=differences / KCAL_MOL,
            outside=np.nan_to_num(share) > 0.5,
        )

    def drawing(self, temperature_K: float, ways: Ways = ()) -> Drawing:
        """The profile with its standard error; or a map of two coordinates.

        Args:
            temperature_K: at which a third coordinate is integrated out, and which tells how far
                below the top of the bias the surface is known.
            ways: of the walkers, drawn over the map.
        """
        if len(self.nodes) == 1:
            marks = [float(one) for one in self.minima[:, 0]]
            axes = (self.labels[0], ENERGY)
            return plots.band(self.nodes[0], self.surface, self.errors, marks, axes, self.outside)
        marked = [(float(one[0]), float(one[1])) for one in self.minima]
        edges, labels = (self.nodes[0], self.nodes[1]), (self.labels[0], self.labels[1], ENERGY)
        outside = self.outside if self.outside.ndim == 2 else np.asarray(self.outside.any(axis=2))
        return plots.surface(edges, self.over_two(temperature_K), ways, marked, labels, outside)

    def over_two(self, temperature_K: float) -> np.ndarray:
        """The surface over its first two coordinates, not-a-number where no bias came."""
        kT = KB * temperature_K / KCAL_MOL
        surface = self.surface
        if surface.ndim == 3:
            lowest = surface.min(axis=2)
            weight = np.exp(-(surface - lowest[..., None]) / kT).sum(axis=2)
            surface = lowest - kT * np.log(weight)
            surface = surface - surface.min()
        return np.where(surface < surface.max() - kT / 4, surface, np.nan)

    def convergence(self) -> Drawing:
        """Free energy of each basin above the first over time."""
        limit = 3 * float(np.abs(self.differences[-1]).max() + 1)
        above = np.where(np.abs(self.differences) < limit, self.differences, np.nan)
        curves = {f"basin {n + 1}": above[:, n] for n in range(1, min(above.shape[1], MOST_BASINS))}
        labels = ("time / ps", "above basin 1 / kcal mol⁻¹")
        return plots.curves(self.time_ps, curves, labels, markers=False)


def table_of(
    nodes: Sequence[np.ndarray], labels: Sequence[str], surface: np.ndarray, errors: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of a table with a row for each node.

    Args:
        nodes: of each axis.
        labels: of the axes, which head their columns.
        surface, errors: at the nodes in kcal/mol.
    """
    places = np.meshgrid(*nodes, indexing="ij")
    return {
        **{label: place.ravel() for label, place in zip(labels, places, strict=True)},
        "free_energy_kcal_mol": surface.ravel(),
        "standard_error_kcal_mol": errors.ravel(),
    }


def hill_heights(time_ps: np.ndarray, heights_kcal_mol: np.ndarray) -> Drawing:
    """Mean height (times,) of the hills that were added at each time."""
    chosen = plots.thinned(len(time_ps))
    labels = ("time / ps", "hill height / kcal mol⁻¹")
    height = {"height": heights_kcal_mol[chosen]}
    return plots.curves(time_ps[chosen], height, labels, markers=False)


PROFILE_ARRAYS = (
    *("nodes_0", "profile", "errors", "coordinates", "units", "centres", "means", "spreads"),
    *("samples", "inefficiency", "counts", "free_energies", "pairs", "shared"),
)


def check_profile(arrays: Arrays) -> None:
    """Whether these are the arrays of umbrella.npz.

    Raises:
        FileFormatError: one is missing, or has another shape than the others ask for.
    """
    found = {name: _array(arrays, name) for name in PROFILE_ARRAYS}
    shape, centres = found["profile"].shape, found["centres"]
    _check(1 <= len(shape) <= 2 and min(shape) > 0 and found["errors"].shape == shape)
    _check(all(_array(arrays, f"nodes_{n}").shape == (size,) for n, size in enumerate(shape)))
    _check(found["units"].shape == found["coordinates"].shape == (len(shape),))
    _check(centres.ndim == 2 and len(centres) > 0 and centres.shape[1] == len(shape))
    _check(centres.shape == found["means"].shape == found["spreads"].shape)
    for name in ("samples", "inefficiency", "free_energies"):
        _check(found[name].shape == centres.shape[:1])
    _check(found["counts"].shape == (len(centres), shape[0]))
    _check(found["shared"].ndim == 1 and found["shared"].size > 0)
    _check(found["pairs"].shape == (len(found["shared"]), 2))


def profile(arrays: Arrays) -> Drawing:
    """The free energy by umbrella sampling, with its standard error; or a map of two coordinates.

    Args:
        arrays: of umbrella.npz, as `check_profile` wants them.
    """
    free = arrays["profile"] / KCAL_MOL
    free = np.where(np.isfinite(free), free, np.nan)
    if free.ndim == 1:
        errors = arrays["errors"] / KCAL_MOL
        return plots.band(arrays["nodes_0"], free, errors, [], (axis_label(arrays, 0), ENERGY))
    labels = (axis_label(arrays, 0), axis_label(arrays, 1), ENERGY)
    return plots.surface((arrays["nodes_0"], arrays["nodes_1"]), free, [], [], labels)


def window_samples(arrays: Arrays) -> Drawing:
    """How often each window was where along the first coordinate.

    Windows at the same place of the first coordinate are counted together.
    """
    first = arrays["centres"][:, 0]
    summed = [arrays["counts"][first == place].sum(axis=0) for place in np.unique(first)]
    return plots.traces(
        [arrays["nodes_0"]] * len(summed),
        [np.where(one > 0, one, np.nan) for one in summed],
        (axis_label(arrays, 0), "samples"),
    )


def window_overlaps(arrays: Arrays, least: float) -> Drawing:
    """The overlap of neighbouring windows, and the least that will do."""
    shared = arrays["shared"]
    curves = {"overlap": shared, "least that will do": np.full(len(shared), least)}
    labels = ("pair of neighbours", "overlap")
    return plots.curves(np.arange(len(shared)), curves, labels, markers=len(shared) <= FEW)


TEXTS = ("units", "coordinates")


def _array(arrays: Arrays, name: str) -> np.ndarray:
    """An array of numbers, or of texts where they belong."""
    found = arrays.get(name)
    _check(found is not None)
    array = np.asarray(found)
    _check(array.dtype.kind in ("SU" if name in TEXTS else "biuf"))
    return array


def _check(good: bool) -> None:
    if not good:
        raise FileFormatError("lacks a part")
