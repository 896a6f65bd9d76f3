"""TOML and flags to a config dataclass, with messages that name file, key and expectation."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from flexcalc.config.options import Option, options
from flexcalc.errors import ConfigError
from flexcalc.fields import Address
from flexcalc.registry import is_reference


def load(
    config: type,
    run_file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """A config from a TOML file, with overrides on top.

    Args:
        config: its dataclass.
        run_file: TOML file; paths in it count from its own folder.
        overrides: dotted key -> value, from the command line; `SECTION.*` forms are resolved
            by the section's kind.

    Raises:
        ConfigError: names the file, the key, what was expected and what was found.
    """
    table: dict[str, Any] = {}
    where = "command line"
    if run_file is not None:
        where = str(run_file)
        table = _parsed(run_file)
        _check_known(config, table, where)
        _rebase(config, table, run_file.parent)
    for key, value in (overrides or {}).items():
        _put(config, table, key, value, where)
    return _build(config, table, where, "")


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        text = str(error).splitlines()[0]
        raise ConfigError(f"{path}: not valid TOML: {text}") from None


def _section(option: Option, table: Any, where: str, key: str) -> tuple[type, dict[str, Any]]:
    """The dataclass a section's table is for, and the table without its kind."""
    if isinstance(table, str):
        table = {"kind": table}
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: {key}: expected a table, got {table!r}")
    table = dict(table)
    kind = table.pop("kind", _default_kind(option))
    if not isinstance(kind, str) or kind not in option.choices:
        hint = _hint(str(kind), option.choices)
        raise ConfigError(f"{where}: {key}.kind: unknown {kind!r}{hint}")
    return option.choices[kind], table


def _default_kind(option: Option) -> str:
    return _kind_of(option.default[0] if option.many else option.default)


def _tables(option: Option, value: Any) -> list[Any]:
    """The sections of a field as a list of tables, however they were written."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _check_known(config: type, table: Mapping, where: str, prefix: str = "") -> None:
    known = {option.name: option for option in options(config)}
    for key, value in table.items():
        if key not in known:
            raise ConfigError(f"{where}: {prefix}{key}: unknown key{_hint(key, known)}")
        option = known[key]
        if option.choices:
            for entry in _tables(option, value) if option.many else [value]:
                section, rest = _section(option, entry, where, prefix + key)
                _check_known(section, rest, where, f"{prefix}{key}.")


def _rebase(config: type, table: dict[str, Any], folder: Path) -> None:
    """Let relative paths and model addresses of a TOML file count from its folder."""

    def moved(text: Any) -> Any:
        if not isinstance(text, str) or is_reference(text) or text.startswith("smiles:"):
            return text
        return str(folder / text)

    for option in options(config):
        value = table.get(option.name)
        if value is None or option.choices or not _is_place(option):
            continue
        table[option.name] = [moved(v) for v in value] if isinstance(value, list) else moved(value)


def _is_place(option: Option) -> bool:
    """Whether a field holds files or addresses."""
    return option.name in PLACES


PLACES = frozenset(
    {"dataset", "start", "starts", "end", "model", "models", "relabel", "sampler", "reference"}
    | {"input"}
)
"""Fields that hold files or addresses."""


def _put(config: type, table: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set a dotted key; a key of a section goes to each of its tables that has such a field.

    Raises:
        ConfigError: none of them has it.
    """
    name, _, rest = key.partition(".")
    if not rest:
        table[name] = value
        return
    option = next(option for option in options(config) if option.name == name)
    entries = [
        dict(entry) if isinstance(entry, Mapping) else {"kind": _kind_of(entry)}
        for entry in _tables(option, table.get(name, option.default))
    ]
    if rest == "kind":
        kinds = _tables(option, value)
        old = {entry.get("kind"): entry for entry in entries}
        entries = [old.get(kind, {"kind": kind}) for kind in kinds]
    else:
        takers = [entry for entry in entries if _has(_section(option, entry, where, name)[0], rest)]
        if not takers:
            there = ", ".join(str(entry.get("kind")) for entry in entries)
            flag = rest.rpartition(".")[2].replace("_", "-")
            raise ConfigError(f"--{flag}: not an option of {name} {there}")
        for entry in takers:
            _put(_section(option, entry, where, name)[0], entry, rest, value, where)
    table[name] = entries if option.many else entries[0]


def _has(config: type, key: str) -> bool:
    return key.partition(".")[0] in {option.name for option in options(config)}


def _kind_of(section: Any) -> str:
    return section if isinstance(section, str) else section.kind


def _build(config: type, table: Mapping[str, Any], where: str, prefix: str) -> Any:
    values = {}
    for option in options(config):
        key = prefix + option.name
        if option.name not in table:
            if option.default is MISSING:
                raise ConfigError(f"{where}: {key}: missing; {option.help.rstrip('.')}")
            if option.choices and option.many:
                values[option.name] = tuple(
                    _build(option.choices[entry], {}, where, f"{key}.")
                    if isinstance(entry, str)
                    else entry
                    for entry in option.default
                )
            continue
        value = table[option.name]
        if not option.choices:
            values[option.name] = _leaf(option, value, where, key)
        elif option.many:
            sections = (_section(option, e, where, key) for e in _tables(option, value))
            values[option.name] = tuple(_build(s, t, where, f"{key}.") for s, t in sections)
        else:
            section, inner = _section(option, value, where, key)
            values[option.name] = _build(section, inner, where, f"{key}.")
    return config(**values)


def _leaf(option: Option, value: Any, where: str, key: str) -> Any:
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    numeric = isinstance(value, bool) and option.annotation is not bool
    if not numeric:
        try:
            settings = ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True)
            return TypeAdapter(option.annotation, config=settings).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
    else:
        message = "Input should not be true or false"
    found = repr(value) if len(repr(value)) < 60 else repr(value)[:57] + "..."
    expected = message.replace("Input should be", "expected").replace("Input should", "should")
    raise ConfigError(f"{where}: {key}: {expected}, got {found}")


def _hint(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def positional_values(config: Any, words: Sequence[str]) -> dict[str, Any]:
    """Overrides from positional words, by the config's `positional` pattern.

    Raises:
        ConfigError: too many or too few words.
    """
    pattern: tuple[str, ...] = config.positional
    star = next((i for i, name in enumerate(pattern) if name.startswith("*")), None)
    after = 0 if star is None else len(pattern) - star - 1
    values: dict[str, Any] = {}
    rest = list(words)
    head = pattern if star is None else pattern[:star]
    if len(rest) > len(head) and star is None:
        shape = " ".join(name.upper() for name in pattern) or "no arguments"
        raise ConfigError(f"expected {shape}, got one more: {rest[len(head)]!r}")
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


__all__ = ["Address", "load", "positional_values"]
