"""Types and defaults of options as users read them, in signatures and in the stub."""

from __future__ import annotations

import types
from collections.abc import Iterable
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from flexcalc.config import options
from flexcalc.config.options import Option
from flexcalc.fields import FAMILY, GEOMETRIES, POTENTIAL

MARKED = {GEOMETRIES: "GeometryLike", POTENTIAL: "PotentialLike", FAMILY: "Family | str"}
"""Descriptions of the marks of fields."""


class Words(str):
    """An annotation that is printed as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


class Default:
    """A default that is printed in short, such as `Langevin()`.

    Args:
        value: the default itself.
    """

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return bool(self.value == (other.value if isinstance(other, Default) else other))

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return in_short(self.value)


def in_short(value: Any) -> str:
    """A value; of an object only what differs from its class's defaults."""
    if isinstance(value, tuple):
        inner = ", ".join(map(in_short, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if not is_dataclass(value):
        return repr(value)
    kind: Any = type(value)
    given = [(option.name, getattr(value, option.name), option.default) for option in options(kind)]
    told = [f"{name}={in_short(own)}" for name, own, usual in given if own != usual]
    return f"{kind.__name__}({', '.join(told)})"


def type_of(option: Option) -> str:
    """The type of an option, of which several values may be given alone or as a list."""
    if not option.choices or _mark(option.annotation) == FAMILY:
        return in_words(option.annotation)
    names = sorted({kind.__name__ for kind in option.choices.values()})
    one = " | ".join([*names, "str", "Mapping[str, Any]"])
    return f"{one} | Sequence[{one}]" if option.many else one


def in_words(annotation: Any) -> str:
    """A type without its bounds, as it would be written."""
    mark = _mark(annotation)
    if mark == FAMILY:
        return f"{MARKED[mark]} | Sequence[{MARKED[mark]}]"
    if mark in MARKED:
        return MARKED[mark]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(inner[0])
    if origin in (Union, types.UnionType):
        return _either(map(in_words, inner))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, inner))}]"
    if origin is tuple:
        one = in_words(inner[0])
        return _either([one, f"Sequence[{one}]"])
    if origin is dict:
        return f"Mapping[{', '.join(map(in_words, inner))}]"
    if annotation is Path:
        return "Path | str"
    if annotation is type(None):
        return "None"
    return getattr(annotation, "__name__", str(annotation))


def _either(parts: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(parts))


def _mark(annotation: Any) -> str | None:
    marks = getattr(annotation, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, str) and mark in MARKED), None)
