"""Masses, charge and multiplicity that the file of a geometry states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import AddressError, FileFormatError, MoleculeError
from flexcalc.fields import Address, GeometryLike, PotentialLike
from flexcalc.masses import atomic_masses, isotopes
from flexcalc.registry import electron_options, with_options
from flexcalc.store import Store

ADDRESSES = ("model", "models", "reference", "sampler", "relabel", "baseline", "teacher")
"""Fields of configs that hold potentials."""


@dataclass(frozen=True)
class Electrons:
    """What is known of a molecule's electrons.

    Args:
        source: who says so.
        charge: total charge, or None where it is not said.
        multiplicity: 2S + 1, or None.
        proposed: whether the multiplicity is only the usual one, which an address may differ from.
    """

    source: str
    charge: int | None = None
    multiplicity: int | None = None
    proposed: bool = False


def with_masses[C](config: C, *geometries: Dataset) -> C:
    """The config of a command whose methods have the masses that files of its geometries state.

    Raises:
        MoleculeError: the files have different masses.
    """
    masses = common_masses(*geometries)
    if masses is None:
        return config
    found = {item.name: getattr(config, item.name) for item in fields(config)}  # type: ignore[arg-type]
    changed = {
        name: replace(method, masses=tuple(masses.tolist()))
        for name, method in found.items()
        if is_dataclass(method)
        and not isinstance(method, Dataset | type)
        and any(item.name == "masses" for item in fields(method))
    }
    return replace(config, **changed)  # type: ignore[type-var]


def common_masses(*parts: Dataset) -> np.ndarray | None:
    """Masses (atoms,) in amu that geometries of one molecule share, or None for standard ones.

    Raises:
        MoleculeError: they differ.
    """
    own = [part.own_masses() for part in parts]
    if all(masses is None for masses in own):
        return None
    first = atomic_masses(parts[0].numbers, own[0])
    for part, masses in zip(parts, own, strict=True):
        away = np.abs(atomic_masses(part.numbers, masses) - first)
        if away.max() > 1e-6:
            atom = int(away.argmax())
            raise MoleculeError(
                f"{part.provenance.source}: atom {atom} has another mass than in "
                f"{parts[0].provenance.source}; write the same isotopes into both"
            )
    return first


def isotopes_in(store: Store, numbers: np.ndarray, masses: Sequence[float]) -> str | None:
    """Which atoms are isotopes, which is said; None where none are."""
    found = isotopes(numbers, atomic_masses(numbers, masses))
    if not found:
        return None
    store.say(f"isotopes: {found}")
    return found


def source_of(given: GeometryLike) -> str:
    """What messages call geometries: their file, or where those in memory come from."""
    return given.provenance.source if isinstance(given, Dataset) else str(given)


def electrons_of(data: Dataset) -> Electrons:
    """Charge and multiplicity that a file states for all its frames.

    Raises:
        FileFormatError: no whole numbers, or not the same in all frames.
    """
    return Electrons(data.provenance.source, _whole(data, "charge"), _whole(data, "multiplicity"))


def _whole(data: Dataset, name: str) -> int | None:
    column = data.tags.get(name)
    if column is None or not len(column):
        return None
    try:
        values = column.astype(float)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all() or (values != np.round(values[0])).any():
        raise FileFormatError(
            f"{data.provenance.source}: {name}: expected one whole number for all frames, found "
            f"{', '.join(map(str, np.unique(column)[:3]))}"
        )
    return int(values[0])


def following[C](config: C, electrons: Electrons) -> C:
    """A config whose addresses of references state charge and multiplicity.

    Raises:
        AddressError: one states another.
    """
    changed: dict[str, PotentialLike | tuple[PotentialLike, ...]] = {}
    for name in ADDRESSES:
        value = getattr(config, name, None)
        if isinstance(value, str):
            changed[name] = stated(value, electrons)
        elif isinstance(value, tuple):
            changed[name] = tuple(
                stated(one, electrons) if isinstance(one, str) else one for one in value
            )
    return replace(config, **changed)  # type: ignore[type-var]


def stated(address: Address, electrons: Electrons) -> Address:
    """An address with charge and multiplicity, where it is a reference's that takes them.

    Those that every reference has by itself, charge 0 and multiplicity 1, are not written.

    Raises:
        AddressError: it states another charge, or another multiplicity than a file's.
    """
    known = electron_options(address)
    wanted = {"charge": electrons.charge, "multiplicity": electrons.multiplicity}
    added = {}
    for name, value in wanted.items():
        if value is None or name not in known:
            continue
        said = known[name]
        if said is None:
            if value != (0 if name == "charge" else 1):
                added[name] = value
        elif said != value and not (name == "multiplicity" and electrons.proposed):
            raise AddressError(
                f"{address}: {name}={said} differs from {name} {value} of {electrons.source}"
            )
    return with_options(address, added)
