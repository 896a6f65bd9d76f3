"""Errors of a potential against labels: how large, how sure, and where.

Force errors are per Cartesian component: the mean runs over all 3N components of all frames.
The other convention in use, the mean length of an atom's error vector, gives about twice that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from flexcalc.analysis import slips
from flexcalc.dataset import Dataset
from flexcalc.display.rows import dicts, finite, listed, numbers
from flexcalc.errors import FileFormatError, ShapeError
from flexcalc.geometry import Coordinate
from flexcalc.potential import Evaluation
from flexcalc.storage import JSON
from flexcalc.units import KCAL_MOL, MEV

CONVENTION = "force errors are means over the 3N Cartesian components of all frames"
CONFIDENCE = 0.95

FORCE, ENERGY = "_A", ""
"""What stands behind the unit of energy in keys of forces and of energies."""
MEASURES = (("mae", "mae"), ("rmse", "rmse"), ("max", "maximum"))
"""Words of the keys, and the attributes of `Errors` that they stand for."""
INTERVAL = "_interval"
"""What stands in keys of intervals."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Tag:
    """A tag of the frames that defines regions.

    Args:
        label: its name.
    """

    label: str


MOST_VALUES = 50
"""Maximum number of values of a tag that are regions each; of more numbers there are bins."""


@dataclass(frozen=True)
class Axis:
    """The coordinate or tag that regions are bins or values of.

    Args:
        label: as it was asked for, such as "dihedral 0 1 2 3".
        unit: "A", "degrees" or "".
        periodic: whether it goes round a circle.
    """

    label: str
    unit: str
    periodic: bool


@dataclass(frozen=True)
class Binning:
    """Regions to give errors by.

    Args:
        coordinates: errors are given by bins of each of these, or by the values of a tag.
        bins: number of equal bins, over the whole circle for a dihedral and over the range of
            the data otherwise.
    """

    coordinates: Sequence[Coordinate | Tag] = ()
    bins: int = 18


@dataclass(frozen=True)
class Errors:
    """Errors of one quantity, in eV or eV/angstrom.

    Args:
        mae: mean absolute error.
        rmse: root mean square error.
        maximum: largest absolute error.
        mae_interval: 95 % bootstrap interval of the mean, frames resampled; None where not
            asked for. The maximum has none: a bootstrap cannot see beyond the sample.
        rmse_interval: the same of the root mean square.
    """

    mae: float
    rmse: float
    maximum: float
    mae_interval: Interval | None = None
    rmse_interval: Interval | None = None

    def to_dict(self, name: str, per: str = "") -> dict[str, JSON]:
        """Flat keys such as `force_mae_kcal_mol_A`, in kcal/mol and meV."""
        keys: dict[str, JSON] = {}
        for word, attribute in MEASURES:
            keys |= in_units(f"{name}_{word}", getattr(self, attribute), per)
        for word in ("mae", "rmse"):
            interval = getattr(self, f"{word}_interval")
            if interval is not None:
                keys |= in_units(f"{name}_{word}{INTERVAL}", interval, per)
        return keys

    @classmethod
    def from_dict(
        cls, keys: Mapping[str, Any], name: str, per: str = "", *, incomplete: bool = False
    ) -> Self | None:
        """The errors that `to_dict` gave such keys, to rounding; None where there are none.

        Args:
            keys: flat keys -> values.
            name: of the quantity.
            per: see `in_units`.
            incomplete: whether some of the errors may be missing, and are then not-a-number.
        """
        values = {item: from_units(keys, f"{name}_{word}", per) for word, item in MEASURES}
        missing = [item for item, value in values.items() if value is None]
        if len(missing) == len(values) or (missing and not incomplete):
            return None
        values |= dict.fromkeys(missing, math.nan)
        intervals = {
            f"{word}_interval": from_units(keys, f"{name}_{word}{INTERVAL}", per)
            for word in ("mae", "rmse")
        }
        return cls(**values, **intervals)


@dataclass(frozen=True)
class Part:
    """Force errors of one element or one atom.

    Args:
        symbol: of the element.
        atoms: indices of the atoms.
        force: their errors, in eV/angstrom.
    """

    symbol: str
    atoms: tuple[int, ...]
    force: Errors


@dataclass(frozen=True)
class Region:
    """One bin of a coordinate, or one value of a tag.

    Args:
        coordinate: its label.
        low, high: the bin's edges, in the coordinate's unit; of a value the number of it and the
            next, in alphabetical order.
        population: frames in it.
        energy: errors of the raw energies in eV; None without energies or frames.
        force: errors in eV/angstrom; None without forces or frames.
        name: value of the tag; empty for a bin.
    """

    coordinate: str
    low: float
    high: float
    population: int
    energy: Errors | None
    force: Errors | None
    name: str = ""

    def extent(self, axis: Axis) -> str:
        """The edges of the bin with their unit, or the value."""
        return self.name or f"{self.low:g} to {self.high:g} {axis.unit}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """The bin and its errors under flat keys."""
        row: dict[str, Any] = {"name": self.name} if self.name else {}
        row |= {"from": self.low, "to": self.high, "population": self.population}
        if self.force is not None:
            row |= self.force.to_dict("force", FORCE)
        if self.energy is not None:
            row |= self.energy.to_dict("energy", ENERGY)
        return row


@dataclass(frozen=True)
class Regions:
    """The bins of one coordinate, worst first, empty ones last."""

    coordinate: Axis
    bins: tuple[Region, ...]


@dataclass(frozen=True)
class Accuracy:
    """All errors of one potential on one dataset, in eV and eV/angstrom.

    Args:
        frames, atoms: size of the dataset.
        energy: errors of the energies as predicted; None without reference energies.
        energy_offset_free: errors once the mean error is taken off.
        energy_offset: that mean error, predicted minus reference.
        energy_zero: errors of a model that predicts the mean energy, for scale.
        force: errors per component; None without reference forces.
        force_zero: errors of a model that predicts no forces, for scale.
        elements, each_atom: force errors by element and by atom.
        regions: errors by bins of each coordinate asked for.
        net_force: largest length of a predicted net force.
        net_torque: largest length of a predicted net torque, in eV.
        energy_line, force_line: regression of predicted on reference values.
        worst: indices of the worst frames, by force RMSE (by energy without forces).
        warnings: for the user, one line each.
    """

    frames: int
    atoms: int
    energy: Errors | None
    energy_offset_free: Errors | None
    energy_offset: float | None
    energy_zero: Errors | None
    force: Errors | None
    force_zero: Errors | None
    elements: tuple[Part, ...]
    each_atom: tuple[Part, ...]
    regions: tuple[Regions, ...]
    net_force: float
    net_torque: float
    energy_line: slips.Regression | None
    force_line: slips.Regression | None
    worst: tuple[int, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """Everything as JSON can hold it: flat keys with units, tables as lists of rows."""
        keys: dict[str, JSON] = {"frames": self.frames, "atoms": self.atoms}
        keys["convention"] = CONVENTION
        for name, per in QUANTITIES.items():
            errors: Errors | None = getattr(self, name)
            if errors is not None:
                keys |= errors.to_dict(name, per)
        for key, (attribute, per) in SINGLE.items():
            value = getattr(self, attribute)
            if value is not None:
                keys |= in_units(key, value, per)
        for name in LINES:
            line: slips.Regression | None = getattr(self, f"{name}_line")
            if line is not None:
                keys |= line.to_dict(name)
        keys["elements"] = [_part_row(part, part.symbol) for part in self.elements]
        keys["each_atom"] = [
            _part_row(part, f"{part.symbol}{part.atoms[0]}") for part in self.each_atom
        ]
        keys["regions"] = [_regions_row(regions) for regions in self.regions]
        return keys | {"worst_frames": list(self.worst), "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any]) -> Self:
        """The errors that `to_dict` gave, to rounding; tables that are not there are empty.

        Raises:
            KeyError: they have no size.
        """
        return cls(
            frames=keys["frames"],
            atoms=keys["atoms"],
            **_singles(keys),
            elements=tuple(map(_part_of, keys.get("elements", ()))),
            each_atom=tuple(map(_part_of, keys.get("each_atom", ()))),
            regions=tuple(map(_regions_of, keys.get("regions", ()))),
            worst=tuple(keys.get("worst_frames", ())),
            warnings=tuple(keys.get("warnings", ())),
        )

    @classmethod
    def from_damaged(cls, keys: Mapping[str, Any]) -> Self:
        """The errors of a file of any version, or of one that is damaged.

        Sizes that are missing, or not of their type, are None, and errors not-a-number; rows of
        tables that are damaged are left out; nothing is raised.
        """
        sound = sound_numbers(keys)
        sizes: dict[str, Any] = {key: sound.get(key) for key in ("frames", "atoms")}
        texts = [one for one in listed(keys.get("warnings")) if isinstance(one, str)]
        return cls(
            **sizes,
            **_singles(sound, incomplete=True),
            elements=_sound_parts(keys.get("elements")),
            each_atom=_sound_parts(keys.get("each_atom")),
            regions=_sound_regions(keys.get("regions")),
            worst=tuple(one for one in listed(keys.get("worst_frames")) if type(one) is int),
            warnings=tuple(texts),
        )


def _singles(keys: Mapping[str, Any], incomplete: bool = False) -> dict[str, Any]:
    """The attributes of `Accuracy` that flat keys hold."""
    return {
        **{
            name: Errors.from_dict(keys, name, per, incomplete=incomplete)
            for name, per in QUANTITIES.items()
        },
        **{name: from_units(keys, key, per) for key, (name, per) in SINGLE.items()},
        **{f"{name}_line": slips.Regression.from_dict(keys, name) for name in LINES},
    }


QUANTITIES = {
    **{"force": FORCE, "energy": ENERGY, "energy_offset_free": ENERGY},
    **{"energy_zero": ENERGY, "force_zero": FORCE},
}
"""Attributes of `Accuracy` that are `Errors`, and their names in keys."""

SINGLE = {
    "energy_offset": ("energy_offset", ENERGY),
    "net_force_max": ("net_force", FORCE),
    "net_torque_max": ("net_torque", ENERGY),
}
"""Keys of single values of `Accuracy`, and the attributes that they stand for."""

LINES = ("energy", "force")
"""Quantities whose predictions are regressed on the reference."""


def accuracy(
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    rng: np.random.Generator,
    by: Binning = Binning(),
    resamples: int = 200,
    worst: int = 10,
) -> Accuracy:
    """Compare predictions with labels.

    Args:
        dataset: reference labels; energies or forces alone will do.
        evaluation: predictions for the dataset's positions.
        rng: source of the bootstrap's resampling.
        by: regions to give errors by too.
        resamples: bootstrap samples of frames.
        worst: number of worst frames to list.

    Raises:
        FileFormatError: the dataset has no frames or no labels at all.
        ShapeError: the predictions do not fit the dataset.
    """
    _check(dataset, evaluation)
    frames, atoms = dataset.positions.shape[:2]
    draws = rng.integers(frames, size=(resamples, frames))
    energy_error = None if dataset.energies is None else evaluation.energies - dataset.energies
    force_error = None if dataset.forces is None else evaluation.forces - dataset.forces
    net_force, net_torque = _net(dataset.positions, evaluation.forces)
    energy_line = _line(dataset.energies, evaluation.energies)
    force_line = _line(dataset.forces, evaluation.forces)
    offset = None if energy_error is None else float(energy_error.mean())
    offset_free = None if energy_error is None else _offset_free(energy_error, draws)
    energy_zero = _zero_energy(dataset.energies)
    return Accuracy(
        frames=frames,
        atoms=atoms,
        energy=None if energy_error is None else _errors(energy_error, draws),
        energy_offset_free=offset_free,
        energy_offset=offset,
        energy_zero=energy_zero,
        force=None if force_error is None else _errors(force_error, draws),
        force_zero=None if dataset.forces is None else _errors(dataset.forces),
        elements=_by_element(dataset.numbers, force_error),
        each_atom=_by_atom(dataset.numbers, force_error),
        regions=tuple(
            _by_tag(one, dataset, by.bins, (energy_error, force_error))
            if isinstance(one, Tag)
            else Regions(
                Axis(one.label, one.unit, one.periodic),
                _bins(one, dataset.positions, by.bins, (energy_error, force_error)),
            )
            for one in by.coordinates
        ),
        net_force=net_force,
        net_torque=net_torque,
        energy_line=energy_line,
        force_line=force_line,
        worst=_worst(energy_error, force_error, worst),
        warnings=(
            *_line_warnings(energy_line, force_line),
            *_offset_warnings(offset, offset_free, energy_zero),
        ),
    )


def key_of(name: str, per: str = "") -> str:
    """The key of a value in kcal/mol, such as `force_rmse_kcal_mol_A`; see `in_units`."""
    return f"{name}_kcal_mol{per}"


def in_units(name: str, value: Any, per: str = "") -> dict[str, Any]:
    """A value in eV as two flat keys, in kcal/mol and in meV.

    Args:
        name: key without its unit.
        value: a number, or several, in eV or eV/angstrom.
        per: "_A" for a force, "" for an energy.
    """
    array = np.asarray(value, dtype=float)
    return {
        key_of(name, per): (array / KCAL_MOL).tolist(),
        f"{name}_meV{per}": (array / MEV).tolist(),
    }


def from_units(keys: Mapping[str, Any], name: str, per: str = "") -> Any:
    """The value, or the tuple of values, that `in_units` gave such keys; None where there is none.

    Args:
        keys: flat keys -> values.
        name: key without its unit.
        per: "_A" for a force, "" for an energy.
    """
    value = keys.get(key_of(name, per))
    if isinstance(value, list | tuple):
        return tuple(float(one) * KCAL_MOL for one in value)
    return None if value is None else float(value) * KCAL_MOL


def _part_row(part: Part, name: str) -> dict[str, JSON]:
    row: dict[str, JSON] = {"name": name, "symbol": part.symbol, "atoms": list(part.atoms)}
    return row | part.force.to_dict("force", FORCE)


def _part_of(row: Mapping[str, Any]) -> Part:
    errors = Errors.from_dict(row, "force", FORCE)
    if errors is None:
        raise KeyError("force")
    return Part(row["symbol"], tuple(row["atoms"]), errors)


def _regions_row(regions: Regions) -> dict[str, Any]:
    rows = [region.to_dict() for region in regions.bins]
    axis = regions.coordinate
    facts = {"coordinate": axis.label, "unit": axis.unit}
    return facts | {"periodic": axis.periodic, "bins": rows}


def _regions_of(block: Mapping[str, Any]) -> Regions:
    axis = Axis(block["coordinate"], block["unit"], block["periodic"])
    bins = [
        Region(
            axis.label,
            row["from"],
            row["to"],
            row["population"],
            Errors.from_dict(row, "energy", ENERGY),
            Errors.from_dict(row, "force", FORCE),
            row.get("name", ""),
        )
        for row in block["bins"]
    ]
    return Regions(axis, tuple(bins))


def sound_numbers(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of a damaged file that are finite numbers or, of intervals, pairs of them."""
    found: dict[str, Any] = {}
    for key in keys:
        pair = numbers(keys[key])
        if INTERVAL not in key and math.isfinite(finite(keys, key)):
            found[key] = keys[key]
        elif INTERVAL in key and len(pair) == 2 and np.isfinite(pair).all():
            found[key] = pair.tolist()
    return found


def _sound_parts(rows: Any) -> tuple[Part, ...]:
    """The rows of a damaged file that are errors of atoms."""
    found = []
    for row in dicts(rows):
        errors = Errors.from_dict(sound_numbers(row), "force", FORCE, incomplete=True)
        atoms = tuple(one for one in listed(row.get("atoms")) if type(one) is int)
        if errors is not None and isinstance(row.get("symbol"), str) and atoms:
            found.append(Part(row["symbol"], atoms, errors))
    return tuple(found)


def _sound_regions(blocks: Any) -> tuple[Regions, ...]:
    """The rows of a damaged file that are errors by bins of a coordinate."""
    found = []
    for block in dicts(blocks):
        label, unit = str(block.get("coordinate", "coordinate")), str(block.get("unit", ""))
        bins = []
        for given in dicts(block.get("bins")):
            row, name = sound_numbers(given), given.get("name")
            if all(type(row.get(key)) in (int, float) for key in ("from", "to", "population")):
                force = Errors.from_dict(row, "force", FORCE, incomplete=True)
                energy = Errors.from_dict(row, "energy", ENERGY, incomplete=True)
                size = int(row["population"])
                word = name if isinstance(name, str) else ""
                bins.append(Region(label, row["from"], row["to"], size, energy, force, word))
        found.append(Regions(Axis(label, unit, block.get("periodic") is True), tuple(bins)))
    return tuple(found)


def _check(dataset: Dataset, evaluation: Evaluation) -> None:
    shapes = np.shape(evaluation.energies), np.shape(evaluation.forces)
    expected = (len(dataset),), dataset.positions.shape
    if shapes != expected:
        raise ShapeError(
            f"the predictions do not fit the dataset: expected energies {expected[0]} and "
            f"forces {expected[1]}, got {shapes[0]} and {shapes[1]}"
        )
    if len(dataset) == 0 or (dataset.energies is None and dataset.forces is None):
        lack = "frames" if len(dataset) == 0 else "energies and no forces"
        raise FileFormatError(
            f"{dataset.provenance.source}: the dataset has no {lack} to compare with; "
            "label geometries with `flexcalc label`"
        )


def _errors(error: np.ndarray, draws: np.ndarray | None = None) -> Errors:
    """Errors of an array (frames, ...); each row of draws is one bootstrap sample of frames."""
    absolute = np.abs(error).reshape(len(error), -1)
    by_frame, squares = absolute.mean(axis=1), (absolute**2).mean(axis=1)
    intervals: tuple[Interval | None, Interval | None] = (None, None)
    if draws is not None:
        intervals = (
            _interval([by_frame[draw].mean() for draw in draws]),
            _interval([np.sqrt(squares[draw].mean()) for draw in draws]),
        )
    rmse = float(np.sqrt(squares.mean()))
    return Errors(float(by_frame.mean()), rmse, float(absolute.max()), *intervals)


def _offset_free(error: np.ndarray, draws: np.ndarray) -> Errors:
    """Errors of energies about their mean, which every bootstrap sample has its own of."""
    plain = _errors(error - error.mean())
    samples = [error[draw] - error[draw].mean() for draw in draws]
    return Errors(
        plain.mae,
        plain.rmse,
        plain.maximum,
        _interval([np.abs(sample).mean() for sample in samples]),
        _interval([sample.std() for sample in samples]),
    )


def _interval(samples: Sequence[float]) -> Interval | None:
    """The central 95 % of bootstrap samples (the percentile method).

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if not len(samples):
        return None
    low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _zero_energy(energies: np.ndarray | None) -> Errors | None:
    """Errors of the mean energy as a prediction."""
    return None if energies is None else _errors(energies - energies.mean())


def _by_atom(numbers: np.ndarray, error: np.ndarray | None) -> tuple[Part, ...]:
    if error is None:
        return ()
    return tuple(_part((atom,), numbers, error) for atom in range(len(numbers)))


def _by_element(numbers: np.ndarray, error: np.ndarray | None) -> tuple[Part, ...]:
    if error is None:
        return ()
    groups = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    return tuple(_part(tuple(group.tolist()), numbers, error) for group in groups)


def _part(atoms: tuple[int, ...], numbers: np.ndarray, error: np.ndarray) -> Part:
    from ase.data import chemical_symbols

    return Part(chemical_symbols[numbers[atoms[0]]], atoms, _errors(error[:, list(atoms)]))


Differences = tuple[np.ndarray | None, np.ndarray | None]
"""Predicted less reference energies (frames,) and forces (frames, atoms, 3), where known."""


def _bins(
    coordinate: Coordinate, positions: np.ndarray, count: int, differences: Differences
) -> tuple[Region, ...]:
    """Errors by equal bins of the coordinate, worst first, empty bins last."""
    values = coordinate.values(positions)
    first, last = (-180.0, 180.0) if coordinate.periodic else (values.min(), values.max())
    return _in_bins(coordinate.label, values, np.linspace(first, last, count + 1), differences)


def _by_tag(tag: Tag, dataset: Dataset, count: int, differences: Differences) -> Regions:
    """Errors by the values of a tag, or by equal bins of numbers that have many values.

    Raises:
        ShapeError: too many values that are no numbers.
    """
    column = dataset.tags[tag.label]
    names, which = np.unique(column.astype(str), return_inverse=True)
    if len(names) <= MOST_VALUES:
        edges = np.arange(len(names) + 1.0)
        found = _in_bins(tag.label, which + 0.5, edges, differences)
        bins = tuple(replace(one, name=str(names[int(one.low)])) for one in found)
    elif column.dtype.kind in "iuf" and np.isfinite(column).all():
        values = column.astype(float)
        edges = np.linspace(values.min(), values.max(), count + 1)
        bins = _in_bins(tag.label, values, edges, differences)
    else:
        raise ShapeError(
            f"tag {tag.label}: expected numbers or at most {MOST_VALUES} values as regions, "
            f"found {len(names)}"
        )
    return Regions(Axis(tag.label, "", False), bins)


def _in_bins(
    label: str, values: np.ndarray, edges: np.ndarray, differences: Differences
) -> tuple[Region, ...]:
    """Errors by bins of values (frames,) between edges (bins + 1,); see `_bins`."""
    # The last bin takes its upper edge in, so that the largest value falls into a bin.
    count = len(edges) - 1
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, count - 1)
    regions = []
    for number in range(count):
        inside = which == number
        energy, force = (
            None if one is None or not inside.any() else _errors(one[inside]) for one in differences
        )
        low, high = float(edges[number]), float(edges[number + 1])
        regions.append(Region(label, low, high, int(inside.sum()), energy, force))
    return tuple(sorted(regions, key=badness, reverse=True))


def badness(region: Region) -> float:
    """The RMSE of a region's forces, or else of its energies; -1 without frames."""
    errors = region.force or region.energy
    return -1.0 if errors is None else errors.rmse


def _net(positions: np.ndarray, forces: np.ndarray) -> tuple[float, float]:
    """Largest net force (eV/angstrom) and net torque about the centroid (eV) of any frame."""
    arms = positions - positions.mean(axis=1, keepdims=True)
    torques = np.cross(arms, forces).sum(axis=1)
    net_forces = forces.sum(axis=1)
    return (
        float(np.linalg.norm(net_forces, axis=1).max()),
        float(np.linalg.norm(torques, axis=1).max()),
    )


def _line(reference: np.ndarray | None, predicted: np.ndarray) -> slips.Regression | None:
    return None if reference is None else slips.regression(reference, predicted)


def _worst(
    energy_error: np.ndarray | None, force_error: np.ndarray | None, count: int
) -> tuple[int, ...]:
    if force_error is not None:
        size = (force_error**2).mean(axis=(1, 2))
    elif energy_error is not None:
        size = np.abs(energy_error - energy_error.mean())
    return tuple(np.argsort(-size, kind="stable")[:count].tolist())


def _line_warnings(
    energy_line: slips.Regression | None, force_line: slips.Regression | None
) -> tuple[str, ...]:
    found = [slips.warning(energy_line, "energy"), slips.warning(force_line, "force")]
    if energy_line is not None and abs(energy_line.correlation) < 0.95:
        found.append(
            f"predicted and reference energies correlate only by {energy_line.correlation:.2f}: "
            "the model is poor here, or energies and forces do not belong together"
        )
    return tuple(text for text in found if text is not None)


def _offset_warnings(
    offset: float | None, offset_free: Errors | None, zero: Errors | None
) -> tuple[str, ...]:
    """One of zeros of energy that differ."""
    if offset is None or offset_free is None or zero is None:
        return ()
    if abs(offset) <= max(zero.rmse, offset_free.rmse):
        return ()
    return (
        f"the mean energy error is {offset:.4g} eV, more than the energies vary: the zeros "
        "of energy differ; read the offset-free errors",
    )
