"""Compare a run folder with the options of a run that is to be started or resumed in it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from flexcalc import files
from flexcalc.config.options import PLACES, options, placed
from flexcalc.config.reading import LARGEST_FILE, Table
from flexcalc.errors import FileFormatError, InputError
from flexcalc.registry import content_sha256
from flexcalc.storage import read_json, read_text

RESULTS, INPUTS = "results.json", "inputs.json"
FORMER = {"interpolation": "idpp", "kernel": "molecule", "adaptive": False}
"""Defaults of earlier versions, of options that have others now."""


def with_former_defaults(folder: Path, config: Any) -> Any:
    """Options for a folder: those that have their default have a former one where its run has it.

    So the same command goes on with a run of an earlier version, as it began.
    """
    try:
        return _formerly(tomllib.loads(read_text(folder / "run.toml", LARGEST_FILE)), config)
    except (OSError, ValueError, RecursionError, FileFormatError):
        return config  # there is none, or `check_same` refuses it


def _formerly(before: Table, config: Any) -> Any:
    changes: dict[str, Any] = {}
    for item in fields(config):
        value, known = getattr(config, item.name), before.get(item.name)
        if is_dataclass(value) and isinstance(known, dict):
            changes[item.name] = _formerly(known, value)
        elif isinstance(value, tuple) and isinstance(known, list) and all(map(is_dataclass, value)):
            if len(value) == len(known) and all(isinstance(one, dict) for one in known):
                pairs = zip(known, value, strict=True)
                changes[item.name] = tuple(_formerly(one, other) for one, other in pairs)
        elif item.name in FORMER and value == item.default and known in (None, FORMER[item.name]):
            changes[item.name] = FORMER[item.name]
    return replace(config, **changes)


def finished_results(folder: Path, text: str, config: Any) -> Table | None:
    """The results of a complete run with the same options, or None."""
    try:
        before = tomllib.loads(read_text(folder / "run.toml", LARGEST_FILE))
        now = tomllib.loads(text)
        if _completed(before, now, config) != now:
            return None
        return read_json(folder / RESULTS)
    except (OSError, ValueError, RecursionError, FileFormatError):
        return None


def _completed(before: Table, now: Table, config: Any) -> Table:
    """A run.toml of an earlier version, with the defaults of options added since."""
    complete = dict(before)
    for item in fields(config):
        value = getattr(config, item.name)
        known, current = before.get(item.name), now.get(item.name)
        if is_dataclass(value) and isinstance(known, dict):
            complete[item.name] = _completed(known, now[item.name], value)
        elif isinstance(value, tuple) and isinstance(known, list) and isinstance(current, list):
            complete[item.name] = _all_completed(known, current, value)
        elif isinstance(value, tuple) and [known] == current:
            complete[item.name] = current  # an option that took one value, and now takes several
        elif item.name in now and item.name not in before and value == _first_default(item):
            complete[item.name] = now[item.name]
    return complete


def _first_default(item: Field[Any]) -> Any:
    return FORMER.get(item.name, item.default)


def _all_completed(before: list[Any], now: list[Any], configs: Sequence[Any]) -> list[Any]:
    """The same for several sections, where they are as many; other lists as they are."""
    if not (len(before) == len(now) == len(configs) and all(map(is_dataclass, configs))):
        return before
    return [
        _completed(one, other, config) if isinstance(one, dict) and isinstance(other, dict) else one
        for one, other, config in zip(before, now, configs, strict=True)
    ]


def check_same(path: Path, text: str, config: Any) -> None:
    """Refuse a folder whose run.toml differs, except in options that may change."""
    try:
        known = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{str(path.parent)!r}: cannot be used as --output: {error}") from None
    if not known:
        if path.parent.is_dir() and any(path.parent.iterdir()):
            names = sorted(entry.name for entry in path.parent.iterdir())
            if names != [".lock"]:
                raise InputError(
                    f"{path.parent}: expected a new or empty folder or an earlier run, "
                    f"found {names[0]}; choose another --output"
                )
        return
    try:
        old = read_text(path, LARGEST_FILE)
        before, now = tomllib.loads(old), tomllib.loads(text)
    except (OSError, ValueError, RecursionError, FileFormatError) as error:
        raise InputError(f"{path}: cannot be read: {error}; choose another --output") from None
    if old.splitlines()[0] != text.splitlines()[0]:
        raise InputError(
            f"{path.parent}: holds a run of `{old.splitlines()[0].lstrip('# ')}`; "
            "choose another --output"
        )
    before = _completed(before, now, config)
    for key in getattr(config, "changeable", ()):
        before.pop(key, None)
        now.pop(key, None)
    if before != now:
        key, one, other = _difference(before, now)
        raise InputError(
            f"{path.parent}: holds a run with {key.lstrip('.')} = {one!r}, not {other!r}; choose "
            "another --output"
        )


def input_hashes(config: Any) -> dict[str, str]:
    """SHA-256 of the files and model folders that options name, by their place in run.toml.

    References and objects have none; PLUMED's input is compared by the run itself.
    """
    found = {}
    for option in options(config.__class__):
        value = getattr(config, option.name)
        if option.name not in PLACES - {"plumed"} or option.choices:
            continue
        for one in value if isinstance(value, list | tuple) else (value,):
            if not isinstance(one, str | Path):
                continue
            place = str(files.split_frames(one)[0])
            digest = content_sha256(place)
            if digest is not None:
                found[placed(place, Path.cwd())] = digest
    return found


def check_inputs(folder: Path, now: Mapping[str, str]) -> list[str]:
    """Refuse a folder whose run had other contents in its input files.

    Runs of earlier versions did not note them. The script of an ASE calculator may be mended while
    its run waits.

    Args:
        folder: of the run.
        now: see `input_hashes`.

    Returns:
        What to warn of.
    """
    try:
        before = read_json(folder / INPUTS)
    except FileNotFoundError:
        return []
    except (OSError, FileFormatError) as error:
        raise InputError(f"{error}; choose another --output") from None
    warnings = []
    for place, digest in now.items():
        if not isinstance(before, dict) or before.get(place, digest) == digest:
            continue
        if place.startswith("ase:"):
            warnings.append(
                f"{folder}: {place} has been changed since the run began; what was computed before "
                "is kept (choose another --output to compute it again)"
            )
        else:
            raise InputError(
                f"{folder}: holds a run with an earlier content of {place}, which has been "
                "replaced since; choose another --output, or put the earlier one back"
            )
    return warnings


def _difference(before: Any, now: Any, place: str = "") -> tuple[str, Any, Any]:
    """The key of the first difference between two tables, and both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted(before.keys() | now.keys())
        inside = [(f"{place}.{key}", before.get(key), now.get(key)) for key in keys]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        inside = [(f"{place}[{index}]", one, other) for index, (one, other) in pairs]
    else:
        return place, before, now
    where, one, other = next(entry for entry in inside if entry[1] != entry[2])
    return _difference(one, other, where)
