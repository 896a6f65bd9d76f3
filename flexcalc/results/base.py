"""What all results have in common, and how their figures are declared.

A figure is declared once, as a field made by `figure`: its name is its attribute and, unless `key`
says otherwise, its key in results.json; the label and the unit are those of reports and tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.store import Store


class Figure(NamedTuple):
    """A figure of a result, to be shown."""

    key: str
    label: str
    value: Any
    unit: str


def figure(label: str, unit: str = "", *, key: str = "", default: Any = MISSING) -> Any:
    """Declare a field of a result that stands in results.json.

    Args:
        label: what reports and tables call it; empty for one that they leave out.
        unit: as it is printed.
        key: in results.json; the name of the field by default.
        default: of the field; None for a figure that not every run has.
    """
    metadata = {"figure": True, "label": label, "unit": unit, "key": key}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, eq=False)
class Stop:
    """Why a guard has stopped a run.

    Args:
        message: one line.
        reason: two or three words, such as "broken bond".
        replicas: (stopped,) rows of the batch.
        positions: (stopped, atoms, 3) in angstrom, the geometries that were no good.
    """

    message: str
    reason: str
    replicas: np.ndarray
    positions: np.ndarray


def part(kind: type[Figures]) -> Any:
    """Declare a field that holds further figures, whose keys stand among those of the result.

    Args:
        kind: class of the part; the field is None where results.json does not have its keys.
    """
    return field(default=None, metadata={"part": kind})


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Figures:
    """Figures that stand in results.json."""

    @classmethod
    def stand_in(cls, found: Mapping[str, Any]) -> bool:
        """Whether all figures without a default are there."""
        return all(key in found for item, key in _declared(cls) if item.default is MISSING)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The object whose figures stand in results.json.

        Raises:
            FileFormatError: a figure is missing.
        """
        return cls(**cls._values(found, store))

    @classmethod
    def _values(cls, found: Mapping[str, Any], store: Store) -> dict[str, Any]:
        """Values of the fields by name."""
        values = {}
        for item, key in _declared(cls):
            if key in found:
                values[item.name] = _frozen(found[key])
            elif item.default is MISSING:
                raise FileFormatError(f"{store.where('results.json')}: expected {key}")
        for item in _parts(cls):
            if item.metadata["part"].stand_in(found):
                values[item.name] = item.metadata["part"].from_dict(found, store)
        return values

    def to_dict(self) -> dict[str, Any]:
        """The figures as results.json has them; those that are not known are left out."""
        found = {key: getattr(self, item.name) for item, key in _declared(type(self))}
        known = {key: _plain(value) for key, value in found.items() if value is not None}
        for one in self._known_parts():
            known |= one.to_dict()
        return known

    def figures(self) -> Iterator[Figure]:
        """The single figures that are known, in the order of their declaration."""
        for item, key in _declared(type(self)):
            value = getattr(self, item.name)
            if item.metadata["label"] and isinstance(value, bool | int | float | str):
                yield Figure(key, item.metadata["label"], value, item.metadata["unit"])
        for one in self._known_parts():
            yield from one.figures()

    def _known_parts(self) -> list[Figures]:
        held = [getattr(self, item.name) for item in _parts(type(self))]
        return [one for one in held if one is not None]

    def summary(self) -> str:
        """The figures in one line."""
        known = self.figures()
        return ", ".join(f"{one.label} {_shown(one.value)} {one.unit}".rstrip() for one in known)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.summary()})"


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result(Figures):
    """What a task returns.

    Args:
        store: where the arrays of the result are kept, in memory or in the run folder.
        stopped: why a guard has stopped the run, or None.
    """

    command: ClassVar[str]

    store: Store
    stopped: Stop | None = None

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The result whose figures stand in results.json.

        Raises:
            FileFormatError: a figure is missing.
        """
        return cls(store=store, **cls._values(found, store))

    def to_frame(self) -> Any:
        """A pandas table of the result's rows; here one row of its single figures.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame([{figure.key: figure.value for figure in self.figures()}])


def _declared(cls: type) -> Iterator[tuple[Field, str]]:
    """The figures of a result, with their keys."""
    for item in fields(cls):
        if item.metadata.get("figure"):
            yield item, item.metadata["key"] or item.name


def _parts(cls: type) -> list[Field]:
    """The fields of a result that hold further figures."""
    return [item for item in fields(cls) if "part" in item.metadata]


def label_of(cls: type, name: str) -> tuple[str, str]:
    """Label and unit of a result's figure."""
    metadata = next(item.metadata for item in fields(cls) if item.name == name)
    return metadata["label"], metadata["unit"]


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(entry) for entry in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


def _frozen(value: Any) -> Any:
    """Tuples for the lists of JSON."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _shown(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MoleculeResult(Result):
    """A result on one potential, for one molecule."""

    model: str = figure("potential")
    """Address of the potential, or the class of one that was given as an object."""
    isotopes: str | None = figure("isotopes", default=None)
    """Atoms whose masses are not the standard ones."""
    atom_map: tuple[int, ...] | None = figure("", default=None)
    """Order (atoms,) in which the atoms of the start were put to be those of the model."""
