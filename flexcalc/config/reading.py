"""TOML and flags to a config dataclass, with messages that name file, key and expectation."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flexcalc.config.options import (
    Option,
    flags,
    holds_text,
    is_numeric,
    is_tuple,
    kind_of,
    located,
    options,
    usual_kind,
)
from flexcalc.errors import ConfigError, FileFormatError
from flexcalc.fields import GEOMETRIES, POTENTIAL
from flexcalc.files.text import decoded
from flexcalc.storage import read_file

LARGEST_FILE = 1 << 20
"""Bytes that a run file may have."""

type Table = dict[str, Any]
"""A table of TOML, or the arguments of a call: free until its config is made."""

Keys = tuple[str, ...]
"""Dotted keys that one flag sets."""

Place = Callable[[str], str]
"""Where a dotted key was given, for messages: `run.toml: method.kind` or `--steps`."""


class _NoSuchOptionError(ConfigError):
    """None of the chosen kinds of a section has the option."""


def from_values(config: Any, values: Mapping[str, Any]) -> Any:
    """A config from values of Python.

    Args:
        config: its dataclass.
        values: option -> value; sections are objects such as `NEB(images=9)`, names of kinds or
            tables. An option of a section may also stand for itself, as a flag does on the
            command line: `images=9`.

    Raises:
        ConfigError: names the option, what was expected and what was found.
    """
    known = {option.name: option for option in options(config)}
    short = _short_names(config, values)
    table: Table = {}
    for name, value in values.items():
        if name in known:
            many = known[name].many or is_tuple(known[name].annotation)
            table[name] = _several(value) if many else value
    _check_known(config, table, _last)
    others = [name for name in values if name not in known]
    unknown = next((name for name in others if name not in short), None)
    if unknown is not None:
        owners = [kind for one in known.values() for kind in _owners(one, unknown)]
        hint = _belongs(owners) if owners else _hint(unknown, [*known, *short])
        raise ConfigError(f"{unknown}: no such option{hint}")
    # Sections before their options.
    for name in sorted(others, key=lambda name: short[name][0][0].count(".")):
        (places, many), value = short[name], values[name]
        entries = _several(value) if many else value
        _put_anywhere(config, table, places, entries, partial(_as_given, name))
    return _build(config, table, _last, "", {})


def _last(key: str) -> str:
    """The last word of a dotted key, as Python's names of options are."""
    return key.rpartition(".")[2]


def _short_names(config: Any, values: Mapping[str, Any]) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Options of sections that may stand for themselves: their places, and whether they hold many.

    Of model families they are those of all that are given.
    """
    kinds: dict[str, list[str]] = {}
    inner: list[tuple[str, Option]] = []
    for option in options(config):
        given = values.get(option.name)
        if not (option.choices and given):
            continue
        for entry in _tables(option, given):
            kind = str(entry.get("kind")) if isinstance(entry, Mapping) else _kind_named(entry)
            if isinstance(entry, str) or kind in option.choices:
                kinds.setdefault(option.name, []).append(kind)
            for one in options(option.choices[kind]) if kind in option.choices else ():
                inner.append((f"{option.name}.{one.name}", one))
    found = {
        flag.name.replace("-", "_"): (
            tuple(place.removesuffix(".kind") for place in flag.places),
            flag.many,
        )
        for flag in flags(config, kinds)
    }
    for place, option in inner:  # the command line leaves some of them to files
        found.setdefault(option.name, ((place,), is_tuple(option.annotation)))
    return found


def load(
    config: Any,
    run_file: Path | None = None,
    overrides: Mapping[Any, Any] | None = None,
) -> Any:
    """A config from a TOML file, with overrides on top.

    Args:
        config: its dataclass.
        run_file: TOML file; paths in it count from its own folder.
        overrides: dotted key, or `Keys` -> value, from the command line; a key of a section goes
            to all of its tables that have such a field, and one value to all keys that are there.
            Numbers may be texts here.

    Raises:
        ConfigError: names the file, the key, what was expected and what was found.
    """
    given: dict[Keys, Any] = {
        (keys,) if isinstance(keys, str) else keys: value
        for keys, value in (overrides or {}).items()
    }
    typed = {key: value for keys, value in given.items() for key in keys}

    def place(key: str) -> str:
        if key in typed or run_file is None:
            return _as_typed(config, key)
        return f"{run_file}: {key}"

    table: Table = {}
    if run_file is not None:
        table = _parsed(run_file)
        _check_known(config, table, place)
        for option in options(config):
            if option.name in table:
                table[option.name] = located(option, table[option.name], run_file.parent)
    for keys in sorted(given, key=_sections_first):
        _put_anywhere(config, table, keys, given[keys], place)
    return _build(config, table, place, "", typed)


def _sections_first(keys: Keys) -> tuple[int, bool]:
    """Sorts flags such that the kind of a section comes before its options."""
    return keys[0].count("."), not keys[0].endswith(".kind")


def _put_anywhere(config: type, table: Table, keys: Keys, value: Any, place: Place) -> None:
    """Set all those of several dotted keys that are there; see `_put`.

    Raises:
        ConfigError: none of them is.
    """
    refused = []
    for key in keys:
        try:
            _put(config, table, key, value, place)
        except _NoSuchOptionError as error:
            refused.append(error)
    if len(refused) == len(keys):
        raise refused[0]


def _as_typed(config: Any, key: str) -> str:
    """How a key is given on the command line."""
    if key in {name.lstrip("*") for name in config.positional}:
        return key.upper()
    return f"--{key.removesuffix('.kind').rpartition('.')[2].replace('_', '-')}"


def _parsed(path: Path) -> Table:
    try:
        return tomllib.loads(decoded(read_file(path, LARGEST_FILE)))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except FileFormatError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except (ValueError, RecursionError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"{path}: not valid TOML: {text}") from None


def _section(option: Option, table: Any, place: Place, key: str) -> tuple[type, Table]:
    """The dataclass a section's table is for, and the table without its kind."""
    if isinstance(table, str):
        table = {"kind": table}
    if not isinstance(table, Mapping):
        raise ConfigError(f"{place(key)}: expected a table, got {_shown(table)}")
    table = dict(table)
    kind = table.pop("kind", usual_kind(option))
    if kind is None:
        raise ConfigError(
            f"{place(f'{key}.kind')}: missing; expected one of {', '.join(option.choices)}"
        )
    if not isinstance(kind, str) or kind not in option.choices:
        hint = _hint(str(kind), option.choices)
        raise ConfigError(f"{place(f'{key}.kind')}: unknown {_shown(kind)}{hint}")
    return option.choices[kind], table


def _is_section(option: Option, entry: Any) -> bool:
    """Whether an object is a section of the kind that it says it is of."""
    kind = _kind_named(entry)
    return kind in option.choices and type(entry) is option.choices[kind]


def _kind_named(entry: Any) -> str:
    """The kind of a section: its name, or what an object says of itself."""
    if isinstance(entry, str):
        return entry
    return str(getattr(entry, "kind", None) or getattr(entry, "name", None))


def _tables(option: Option, value: Any) -> list[Any]:
    """The sections of a field as a list of tables, however they were written."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_known(config: type, table: Mapping, place: Place, prefix: str = "") -> None:
    known = {option.name: option for option in options(config)}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{place(prefix + key)}: unknown key{_hint(key, known)}")
        option = known[key]
        if option.choices:
            for entry in _tables(option, value) if option.many else [value]:
                if isinstance(entry, str | Mapping):
                    section, rest = _section(option, entry, place, prefix + key)
                    _check_known(section, rest, place, f"{prefix}{key}.")


def _put(config: type, table: Table, key: str, value: Any, place: Place) -> None:
    """Set a dotted key; a key of a section goes to each of its tables that has such a field.

    Raises:
        ConfigError: none of them has it.
    """
    name, _, rest = key.partition(".")
    if not rest:
        table[name] = value
        return
    option = next(option for option in options(config) if option.name == name)
    if name in table:
        entries = [_as_table(entry) for entry in _tables(option, table[name])]
    else:
        entries = [{"kind": kind_of(entry)} for entry in _tables(option, option.default)]
    if rest == "kind":
        kinds = _tables(option, value)
        old = {entry.get("kind"): entry for entry in entries}
        entries = [old.get(kind, {"kind": kind}) for kind in kinds]
    else:
        takers = [entry for entry in entries if _has(_section(option, entry, place, name)[0], rest)]
        if not takers:
            there = ", ".join(str(entry.get("kind")) for entry in entries)
            raise _NoSuchOptionError(
                f"{place(key)}: not an option of {name} {there}{_belongs(_owners(option, rest))}"
            )
        for entry in takers:
            _put(_section(option, entry, place, name)[0], entry, rest, value, place)
    table[name] = entries if option.many else entries[0]


def _has(config: type, key: str) -> bool:
    return key.partition(".")[0] in {option.name for option in options(config)}


def _owners(option: Option, key: str) -> list[str]:
    """Kinds of a section that have an option."""
    return [kind for kind in option.choices if _has(option.choices[kind], key)]


def _belongs(kinds: Sequence[str]) -> str:
    return f"; it belongs to {', '.join(kinds)}" if kinds else ""


def _build(
    config: type, table: Mapping[str, Any], place: Place, prefix: str, typed: Mapping[str, Any]
) -> Any:
    """The dataclass of a table; `typed` holds the keys whose values are texts as typed."""
    values = {}
    for option in options(config):
        key = prefix + option.name
        value = table.get(option.name, MISSING)
        if value is MISSING or (option.required and value in ("", [])):
            if option.required:
                raise ConfigError(f"{place(key)}: missing ({option.help.rstrip('.')})")
            if not (option.choices and option.many):
                continue
            value = option.default
        if not option.choices:
            values[option.name] = _leaf(option, value, place(key), key in typed)
            continue
        sections = []
        for entry in _tables(option, value) if option.many else [value]:
            if is_dataclass(entry) and _is_section(option, entry):
                entry = _as_table(entry)
            if isinstance(entry, str | Mapping) or value is not option.default:
                section, inner = _section(option, entry, place, key)
                entry = _build(section, inner, place, f"{key}.", typed)
            sections.append(entry)
        if not sections and option.default != ():
            raise ConfigError(f"{place(key)}: expected at least one of {', '.join(option.choices)}")
        values[option.name] = tuple(sections) if option.many else sections[0]
    return config(**values)


def _as_table(entry: Any) -> Table:
    """A section as a table: of an object its own values, of a name its kind alone."""
    if isinstance(entry, Mapping):
        return dict(entry)
    own = _own_fields(entry) if is_dataclass(entry) and not isinstance(entry, type) else {}
    return {"kind": kind_of(entry), **own}


def _several(value: Any) -> Any:
    """Values of an option that takes several, where one may be given alone."""
    return value if isinstance(value, list | tuple) else [value]


def _as_given(name: str, key: str) -> str:
    """The place of an option that stands for a section's."""
    return name


def _own_fields(section: Any) -> Table:
    """The options of a section that was given as an object."""
    kind: Any = type(section)
    return {option.name: getattr(section, option.name) for option in options(kind)}


def _leaf(option: Option, value: Any, place: str, typed: bool) -> Any:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if option.takes is not None:
        _check_given(option, value, place)
    if option.takes == POTENTIAL:
        value = _addresses(_several(value) if is_tuple(option.annotation) else value)
    numeric = is_numeric(option.annotation) and not holds_text(option.annotation)
    for entry in value if isinstance(value, list) else [value]:
        loose = isinstance(entry, bool) or (isinstance(entry, str) and not typed)
        if loose and numeric:
            raise ConfigError(f"{place}: expected a number, got {_shown(entry)}")
    if option.annotation in (bool, bool | None) and not isinstance(value, bool):
        raise ConfigError(f"{place}: expected true or false, got {_shown(value)}")
    try:
        settings = ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
        value = TypeAdapter(option.annotation, config=settings).validate_python(value)
        return Path(value) if option.takes == GEOMETRIES and isinstance(value, str) else value
    except ValidationError as error:
        message, found = error.errors()[0]["msg"], error.errors()[0]["input"]
    for theirs, ours in WORDS:
        message = message.replace(theirs, ours)
    raise ConfigError(f"{place}: {_plainly(message, found)}, got {_shown(found)}")


def _addresses(value: Any) -> Any:
    """Addresses for the paths of models, of which there may be several."""
    if isinstance(value, list | tuple):
        return [_addresses(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _check_given(option: Option, value: Any, place: str) -> None:
    """Refuse what is neither a text nor a path nor an object that could be meant."""
    several = is_tuple(option.annotation) and isinstance(value, list | tuple)
    for entry in value if several else [value]:
        if entry is None or isinstance(entry, bool | int | float | list | tuple | Mapping):
            what = "a potential" if option.takes == POTENTIAL else "geometries"
            raise ConfigError(f"{place}: expected {what}, got {_shown(entry)}")


def _plainly(message: str, found: Any) -> str:
    """A smallest value that only keeps rounding away is not worth a word where 0 was given."""
    try:
        wrong_side = float(found) <= 0
    except (TypeError, ValueError, OverflowError):
        return message
    least = r"more than (\S+e-\d+|0\.0{9,}1)"
    return re.sub(least, "more than 0", message) if wrong_side else message


WORDS = (
    ("Input should be", "expected"),
    ("Input should", "should"),
    (", unable to parse string as a number", ""),
    (", unable to parse string as an integer", ""),
    ("a valid integer", "a whole number"),
    ("a valid tuple", "a list"),
    ("a valid string", "text"),
    ("a valid", "a"),
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
    ("greater than", "more than"),
)
"""Pydantic's words, and ours."""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _hint(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def positional_values(config: Any, words: Sequence[str]) -> Table:
    """Overrides from positional words, by the config's `positional` pattern.

    Raises:
        ConfigError: too many words.
    """
    pattern: tuple[str, ...] = config.positional
    star = next((i for i, name in enumerate(pattern) if name.startswith("*")), None)
    after = 0 if star is None else len(pattern) - star - 1
    values: Table = {}
    rest = list(words)
    head = pattern if star is None else pattern[:star]
    if len(rest) > len(head) and star is None:
        shape = " ".join(name.upper() for name in pattern) or "no more words"
        raise ConfigError(f"{rest[len(head)]!r} is one word too many; expected {shape}")
    for name in head:
        if rest:
            values[name] = rest.pop(0)
    if star is not None and rest:
        tail = rest[len(rest) - after :] if after and len(rest) >= after else []
        middle = rest[: len(rest) - len(tail)]
        values.update(zip(pattern[star + 1 :], tail, strict=False))
        if middle:
            values[pattern[star][1:]] = middle
    return values
