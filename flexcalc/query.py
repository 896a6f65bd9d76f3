"""Options in the query of an address, such as `?charge=1&density_fit=no`.

An option is declared once, as a keyword-only argument of what the address opens; its type says
how its text is read: `bool`, `int`, `float`, `str`, a `Literal` of choices, with bounds from
`flexcalc.fields`; or any of these or None, as a default.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le

from flexcalc.errors import AddressError

SWITCH = {"yes": True, "true": True, "on": True, "1": True} | {
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}


def read_options(constructor: Callable, texts: Mapping[str, str], where: str) -> dict[str, Any]:
    """Turn the texts of a query into the constructor's keyword arguments.

    Args:
        constructor: whose keyword-only arguments are the options.
        texts: option -> text, such as {"charge": "1"}.
        where: the address, for messages.

    Raises:
        AddressError: an unknown option, or a text that does not fit its type or bounds.
    """
    parameters = inspect.signature(constructor).parameters.values()
    known = [entry.name for entry in parameters if entry.kind is entry.KEYWORD_ONLY]
    types = get_type_hints(constructor, include_extras=True)
    values = {}
    for name, text in texts.items():
        if name not in known:
            raise AddressError(f"{where}: unknown option {name!r}{hint(name, known)}")
        values[name] = _read(text.strip(), types[name], f"{where}: option {name}")
    return values


def hint(name: str, known: Iterable[str]) -> str:
    """The tail of a message: the nearest known name, or all of them."""
    names = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"; did you mean {names[near[0]]}?" if near else f"; known: {', '.join(names.values())}"


def choice(name: str, known: Iterable[str], what: str) -> str:
    """The known name that differs from the given one at most in upper and lower case.

    Raises:
        AddressError: there is none.
    """
    names = {entry.lower(): entry for entry in known}
    if not isinstance(name, str) or name.lower() not in names:
        raise AddressError(f"{what} {name!r} is unknown{hint(str(name), names.values())}")
    return names[name.lower()]


def _read(text: str, kind: Any, where: str) -> Any:
    if NoneType in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    bounds: tuple[Any, ...] = ()
    if get_origin(kind) is Annotated:
        kind, *rest = get_args(kind)
        bounds = tuple(rest)
    if get_origin(kind) is Literal:
        return choice(text, get_args(kind), where)
    if kind is bool:
        if text.lower() not in SWITCH:
            raise AddressError(f"{where}: expected yes or no, found {text!r}")
        return SWITCH[text.lower()]
    try:
        value = kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise AddressError(f"{where}: expected {noun}, found {text!r}") from None
    if kind is float and not math.isfinite(value):
        raise AddressError(f"{where}: expected a finite number, found {text!r}")
    for bound in bounds:
        _check_bound(value, bound, where)
    return value


def _check_bound(value: float, bound: Any, where: str) -> None:
    rules: dict[type, tuple[str, str]] = {
        Ge: ("ge", "at least"),
        Gt: ("gt", "above"),
        Le: ("le", "at most"),
    }
    name, words = rules[type(bound)]
    limit = getattr(bound, name)
    good = {"ge": value >= limit, "gt": value > limit, "le": value <= limit}[name]
    if not good:
        raise AddressError(f"{where}: expected {words} {limit}, found {value}")
