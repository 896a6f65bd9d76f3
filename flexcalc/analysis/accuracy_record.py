"""What errors of a potential are, and how files hold them: flat keys with units, and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from flexcalc.analysis import slips
from flexcalc.display.rows import dicts, finite, listed, numbers
from flexcalc.storage import JSON
from flexcalc.units import KCAL_MOL, MEV

CONVENTION = "force errors are means over the 3N Cartesian components of all frames"

FORCE, ENERGY = "_A", ""
"""What stands behind the unit of energy in keys of forces and of energies."""
MEASURES = (("mae", "mae"), ("rmse", "rmse"), ("max", "maximum"))
"""Words of the keys, and the attributes of `Errors` that they stand for."""
INTERVAL = "_interval"
"""What stands in keys of intervals."""

Interval = tuple[float, float]


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


def badness(region: Region) -> float:
    """The RMSE of a region's forces, or else of its energies; -1 without frames."""
    errors = region.force or region.energy
    return -1.0 if errors is None else errors.rmse


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
