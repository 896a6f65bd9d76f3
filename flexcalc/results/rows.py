"""Rows of tables in JSON files. The name of a field is its key in the file.

A field that has a default is left out of the file while it has that value. What is read of a
damaged file by `from_damaged` has not-a-number, an empty text or nothing where a value is missing
or not of its type.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, get_args, get_origin, get_type_hints

from flexcalc.errors import FileFormatError

LARGEST = 1e300
"""Number beyond which a value is damage: an integer of JSON may have any length."""


def keyed(key: str) -> Any:
    """Declare a field whose key is no name of Python."""
    return field(metadata={"key": key})


@dataclass(frozen=True, kw_only=True)
class Row:
    """What stands in a JSON file as an object."""

    stage: ClassVar[str] = ""
    """Name of the file of such rows, without `.json`."""
    needed: ClassVar[tuple[str, ...]] = ()
    """Keys without which a row of a damaged file is left out: texts that are not empty, and finite
    numbers."""

    @classmethod
    def from_dict(cls, found: Any) -> Self:
        """The row of an object of JSON.

        Raises:
            FileFormatError: a value is missing or not of its type.
        """
        if not isinstance(found, Mapping):
            raise FileFormatError(f"expected a row, found {found!r:.60}")
        values = {}
        for item, key, kind in _declared(cls):
            if key in found:
                values[item.name] = _whole(kind, found[key], key)
            elif item.default is MISSING:
                raise FileFormatError(f"expected {key}")
        return cls(**values)

    @classmethod
    def from_damaged(cls, found: Mapping[str, Any]) -> Self:
        """The row of an object of a file that may be damaged; nothing is raised."""
        return cls(
            **{item.name: _sound(kind, found.get(key)) for item, key, kind in _declared(cls)}
        )

    @property
    def is_usable(self) -> bool:
        """Whether all that is needed of a damaged row is there."""
        values = (getattr(self, name) for name in self.needed)
        return all(value if isinstance(value, str) else math.isfinite(value) for value in values)

    def to_dict(self) -> dict[str, Any]:
        """The row as an object of JSON."""
        values = ((item, key, getattr(self, item.name)) for item, key, _ in _declared(type(self)))
        return {
            key: _plain(value)
            for item, key, value in values
            if item.default is MISSING or value != item.default
        }


def _declared(cls: type[Row]) -> Iterator[tuple[Field, str, Any]]:
    """The fields of a class, their keys and their types."""
    hints = get_type_hints(cls)
    for item in fields(cls):
        yield item, item.metadata.get("key", item.name), hints[item.name]


def _whole(kind: Any, value: Any, key: str) -> Any:
    """A value of JSON as its field has it.

    Raises:
        FileFormatError: it is not of the type.
    """
    origin, inside = get_origin(kind), get_args(kind)
    if origin is UnionType:
        if NoneType not in inside:
            return value
        return None if value is None else _whole(inside[0], value, key)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_whole(inside[0], one, key) for one in value)
    if origin is Mapping and isinstance(value, Mapping):
        return {name: _whole(inside[1], one, key) for name, one in value.items()}
    if isinstance(kind, type) and issubclass(kind, Row):
        return kind.from_dict(value)
    if kind is Any or _is_number(kind, value) or (kind in (str, bool) and isinstance(value, kind)):
        return value
    raise FileFormatError(f"{key}: expected another value than {value!r:.60}")


def _is_number(kind: Any, value: Any) -> bool:
    return kind in (int, float) and isinstance(value, int | float) and not isinstance(value, bool)


def _sound(kind: Any, value: Any) -> Any:
    """A value as far as it is of a type, and what stands for none of that type."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return _sound(inside[0], value) if NoneType in inside else value
    if origin is tuple:
        return tuple(_sound_entries(inside[0], value)) if isinstance(value, list) else ()
    if origin is Mapping:
        entries = value.items() if isinstance(value, dict) else ()
        return {name: _sound(inside[1], one) for name, one in entries}
    if kind is int or kind is float:
        return value if _is_number(kind, value) and abs(value) < LARGEST else math.nan
    if kind is str:
        return "" if value is None or isinstance(value, dict | list) else str(value)
    if kind is bool:
        return value if isinstance(value, bool) else None
    if issubclass(kind, Row):
        return kind.from_damaged(value) if isinstance(value, dict) else None
    return value


def _sound_entries(kind: Any, value: list[Any]) -> Iterator[Any]:
    """The entries of a list; of rows only those that are objects."""
    for one in value:
        if not (isinstance(kind, type) and issubclass(kind, Row)) or isinstance(one, dict):
            yield _sound(kind, one)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Row):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value
