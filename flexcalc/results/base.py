"""Base classes of results, and the declaration of their figures.

A figure is declared once, as a field made by `figure`: its name is its attribute and, unless `key`
says otherwise, its key in results.json; the label and the unit are those of reports and tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display import html, molecule, numbers
from flexcalc.display.drawing import Drawing
from flexcalc.errors import FileFormatError, InputError, MissingExtraError
from flexcalc.potential import formula
from flexcalc.storage import JSON
from flexcalc.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def part(kind: type[Figures], prefix: str = "") -> Any:
    """Declare a field that holds further figures, whose keys stand among those of the result.

    Args:
        kind: class of the part; the field is None where results.json does not have its keys.
        prefix: of its keys there, where the result has another part of the same kind.
    """
    return field(default=None, metadata={"part": kind, "prefix": prefix})


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
    def _values(cls, found: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
        """Values of the fields by name."""
        values = {}
        for item, key in _declared(cls):
            if key in found:
                values[item.name] = _frozen(found[key])
            elif item.default is MISSING:
                raise FileFormatError(f"{store.where('results.json')}: expected {key}")
        for item in _parts(cls):
            own = _keys_of_part(item, found)
            if item.metadata["part"].stand_in(own):
                values[item.name] = item.metadata["part"].from_dict(own, store)
        return values

    @classmethod
    def from_damaged(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The object of a results.json of any version, or of one that is damaged.

        A figure that is missing, or whose value is not of its type, is None, and a list of warnings
        is empty; nothing is raised.
        """
        return cls(**cls._sound_values(found, store))

    @classmethod
    def _sound_values(cls, found: Mapping[str, Any], store: Store) -> Mapping[str, Any]:
        """Values of the fields by name, as `from_damaged` has them."""
        values, hints = {}, get_type_hints(cls)
        for item, key in _declared(cls):
            value = _frozen(found.get(key))
            missing = () if item.default == () else None
            values[item.name] = value if _fits(value, hints[item.name]) else missing
        for item in _parts(cls):
            kind, own = item.metadata["part"], _keys_of_part(item, found)
            if any(key in own for _, key in _declared(kind)):
                values[item.name] = kind.from_damaged(own, store)
        return values

    def to_dict(self) -> dict[str, JSON]:
        """The figures as results.json has them; those that are not known are left out."""
        found = {key: getattr(self, item.name) for item, key in _declared(type(self))}
        known = {key: _plain(value) for key, value in found.items() if value is not None}
        for prefix, one in self._known_parts():
            known |= {prefix + key: value for key, value in one.to_dict().items()}
        return known

    def figures(self) -> Iterator[Figure]:
        """The single figures that are known, in the order of their declaration."""
        for item, key in _declared(type(self)):
            value = getattr(self, item.name)
            if item.metadata["label"] and isinstance(value, bool | int | float | str):
                yield Figure(key, item.metadata["label"], value, item.metadata["unit"])
        for prefix, one in self._known_parts():
            yield from (item._replace(key=prefix + item.key) for item in one.figures())

    def _known_parts(self) -> list[tuple[str, Figures]]:
        """The parts that are known, and the prefixes of their keys."""
        held = [(item.metadata["prefix"], getattr(self, item.name)) for item in _parts(type(self))]
        return [(prefix, one) for prefix, one in held if one is not None]

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
    headline: ClassVar[tuple[str, ...]] = ()
    """Fields of the figures that reports and notebooks show first, in their order."""

    store: Store
    stopped: Stop | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before the result is used, a line each."""
        return ()

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The result whose figures stand in results.json.

        Raises:
            FileFormatError: a figure is missing.
        """
        return cls(store=store, **cls._values(found, store))

    @classmethod
    def from_damaged(cls, found: Mapping[str, Any], store: Store) -> Self:
        """The result of a results.json of any version, or of one that is damaged.

        A figure that is missing, or whose value is not of its type, is None, and a list of warnings
        is empty; nothing is raised.
        """
        return cls(store=store, **cls._sound_values(found, store))

    def key_figures(self) -> Iterator[Figure]:
        """The single figures of `headline` that are known."""
        return self.selected_figures(*self.headline)

    def selected_figures(self, *names: str) -> Iterator[Figure]:
        """The single figures of some fields that are known, in the order of the names.

        Args:
            names: of fields, those of the parts included, or keys of figures without a field.
        """
        keys: dict[str, str] = {}
        for item, key in _all_declared(type(self)):
            keys.setdefault(item.name, key)  # a part may have a field of the same name
        known = {one.key: one for one in self.figures() if not isinstance(one.value, bool)}
        for name in names:
            key = keys.get(name, name)
            if key in known:
                yield known[key]

    def cards(self) -> list[html.Card]:
        """The key figures, as reports and notebooks show them."""
        return [html.Card.of(one.label, one.value, one.unit) for one in self.key_figures()]

    def to_frame(self) -> Any:
        """A pandas table of the result's rows; here one row of its single figures.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return data_frame({figure.key: [figure.value] for figure in self.figures()})

    def drawing(self) -> Drawing | None:
        """What `plot` draws; None where there is nothing to draw."""
        return None

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw what the report draws first of the result.

        Args:
            axes: of matplotlib; those of a new figure by default.

        Returns:
            The axes.

        Raises:
            InputError: there is nothing to draw.
        """
        drawing = self.drawing()
        if drawing is None:
            raise InputError(f"{type(self).__name__}: there is nothing to plot")
        return drawing.on(axes)

    def first_geometry(self) -> Dataset | None:
        """A geometry that shows the molecule, or None."""
        return None

    def _repr_html_(self) -> str:
        """The head of the report, for a notebook."""
        geometry, title, picture = self.first_geometry(), type(self).__name__, ""
        if geometry is not None:
            known = formula(geometry.numbers)
            title = f"{title} of {numbers.formula(known)}"
            view = molecule.look(geometry.numbers, geometry.positions)
            picture = molecule.picture(view, 0, f"flexcalc-{known}", f"The molecule {known}")
        notes = [] if self.stopped is None else [f"Stopped: {self.stopped.message}"]
        notes += [f"Warning: {one}" for one in self.warnings]
        body = html.notes(notes) + html.cards(self.cards())
        return html.in_notebook(f"flexcalc {self.command}", title, body, picture)


def _declared(cls: type) -> Iterator[tuple[Field, str]]:
    """The figures of a result, with their keys."""
    for item in fields(cls):
        if item.metadata.get("figure"):
            yield item, item.metadata["key"] or item.name


def _parts(cls: type) -> list[Field]:
    """The fields of a result that hold further figures."""
    return [item for item in fields(cls) if "part" in item.metadata]


def _all_declared(cls: type) -> Iterator[tuple[Field, str]]:
    """The figures of a result and of its parts, with their keys."""
    yield from _declared(cls)
    for item in _parts(cls):
        for one, key in _all_declared(item.metadata["part"]):
            yield one, item.metadata["prefix"] + key


def _keys_of_part(item: Field, found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What results.json has under the keys of a part, without their prefix."""
    prefix = item.metadata["prefix"]
    return {
        key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)
    }


def labels_of(cls: type) -> dict[str, tuple[str, str]]:
    """Label and unit of each figure of a class of results, by key."""
    declared = _all_declared(cls)
    return {key: (item.metadata["label"], item.metadata["unit"]) for item, key in declared}


def data_frame(columns: Mapping[str, Any]) -> Any:
    """A pandas table of columns of one length.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError("pandas", "pandas") from None
    return pd.DataFrame(dict(columns))


def frame_of_rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A pandas table of rows, which need not all have the same keys.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    keys = dict.fromkeys(key for row in rows for key in row)
    return data_frame({key: [row.get(key) for row in rows] for key in keys})


LARGEST = 1e300
"""Number beyond which what stands in a results.json is damage: an integer may have any length."""


def is_sound(value: Any) -> bool:
    """Whether it is a text or a number that can be shown."""
    return _fits(value, str) or _fits(value, float)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value that was read is of an annotated type."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, inside[0]) for one in value)
    if hint is float or hint is int:
        kinds = int if hint is int else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < LARGEST
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    return isinstance(hint, type) and isinstance(value, hint)


def _plain(value: Any) -> JSON:
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
    warnings: tuple[str, ...] = figure("", default=())
    """What is implausible in the result, a line each (`analysis/plausibility.py`)."""
