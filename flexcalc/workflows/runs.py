"""A run folder while a command works in it: its TOML, log, results and report."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flexcalc.config import to_toml
from flexcalc.config.reading import LARGEST_FILE
from flexcalc.errors import FileFormatError, GuardError, InputError
from flexcalc.printing import printable, say
from flexcalc.progress import bar
from flexcalc.storage import atomic_write, naming, read_json, read_text, run_folder, write_json
from flexcalc.store import FolderStore


@dataclass(frozen=True)
class Run:
    """An open run folder.

    Args:
        folder: where everything of the run is kept.
        command: name of the command.
        start: `time.monotonic()` at its beginning.
        finished: the results, where the very same run is already done.
    """

    folder: Path
    command: str
    start: float
    finished: dict[str, Any] | None = None

    @property
    def store(self) -> FolderStore:
        """The folder as a store."""
        return FolderStore(self.folder)

    def warn(self, text: str) -> None:
        """One line that the user should know of."""
        self.say(f"warning: {text}")

    def say(self, text: str) -> None:
        """One line for the reader and for the log."""
        with naming("standard output"):
            say(text)
        self._log(text)

    def _log(self, text: str) -> None:
        path = self.folder / "log.txt"
        with naming(path), open(path, "a", encoding="utf-8") as log:
            log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {printable(text)}\n")

    def stopped(self, error: GuardError) -> None:
        """Log why a guard stopped the run, and report what there is so far."""
        from flexcalc.reports import write_report

        self._log(f"stopped: {error}")
        write_report(self.folder)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for the reader and for the log; the first column to the left, others right."""
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for cells in (head, *rows):
            rest = zip(cells[1:], widths[1:], strict=True)
            words = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in rest)]
            self.say("  ".join(words).rstrip())

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Write results.json and report.html, and return the results."""
        from flexcalc.reports import write_report

        whole = {"command": self.command, **results, "seconds": round(self.seconds(), 2)}
        write_json(self.folder / "results.json", whole)
        page = write_report(self.folder)
        self.say(f"report: {page}")
        return whole

    def seconds(self) -> float:
        """Wall time so far."""
        return time.monotonic() - self.start

    def bar(self, title: str) -> Any:
        """A progress bar, or without a terminal a line a minute; see `flexcalc.progress.bar`."""
        return bar(title, self.say)


@contextmanager
def open_run(command: str, config: Any, folder: Path, *, again: bool = False) -> Iterator[Run]:
    """Hold a run folder for a command; an unfinished run of the same config is taken up.

    A folder made here goes again if the input turns out bad before anything came of it.

    Args:
        command: name of the command.
        config: of the run.
        folder: to hold.
        again: take up a finished run as well.

    Raises:
        InputError: the folder holds a run with another config.
        BusyError: another process is using it.
    """
    folder = Path(folder)
    text = f"# flexcalc {command}\n{to_toml(config)}"
    _check_same(folder / "run.toml", text, config)
    with _unmade_if_bad(folder), run_folder(folder):
        finished = None if again else _finished(folder, text, config)
        if finished is None:
            (folder / "results.json").unlink(missing_ok=True)
            atomic_write(folder / "run.toml", text)
        run = Run(folder, command, time.monotonic(), finished)
        if finished is not None:
            run.say(f"{folder}: this run is already done; its results stand")
        yield run


OWN_FILES = frozenset({".lock", "run.toml", "log.txt", "split.json", "plumed.dat", "start.xyz"})
"""What a run folder has before any work is done."""


@contextmanager
def _unmade_if_bad(folder: Path) -> Iterator[None]:
    """Remove the folders that the block makes, if it ends in an InputError and left no work."""
    made = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    try:
        yield
    except InputError:
        entries = list(folder.glob("*")) if folder in made else []
        if all(_is_no_work(entry) for entry in entries):
            for entry in entries:
                entry.unlink()
            for place in made:
                if place.is_dir():
                    place.rmdir()
        raise


def _is_no_work(entry: Path) -> bool:
    """Whether a file of a run folder is there before any work is done."""
    return entry.is_file() and (entry.name in OWN_FILES or entry.stat().st_size == 0)


def _finished(folder: Path, text: str, config: Any) -> dict[str, Any] | None:
    """The results of a run with this very config, or None."""
    try:
        before = tomllib.loads(read_text(folder / "run.toml", LARGEST_FILE))
        now = tomllib.loads(text)
        if _completed(before, now, config) != now:
            return None
        return read_json(folder / "results.json")
    except (OSError, ValueError, RecursionError, FileFormatError):
        return None


def _completed(before: dict[str, Any], now: dict[str, Any], config: Any) -> dict[str, Any]:
    """A run.toml with the options that its version of flexcalc did not have, at their defaults."""
    whole = dict(before)
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value) and isinstance(before.get(item.name), dict):
            whole[item.name] = _completed(before[item.name], now[item.name], value)
        elif item.name in now and item.name not in before and value == item.default:
            whole[item.name] = now[item.name]
    return whole


def _check_same(path: Path, text: str, config: Any) -> None:
    """Refuse a folder whose run.toml says something else, save for what may change."""
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


def _difference(before: Any, now: Any, place: str = "") -> tuple[str, Any, Any]:
    """The place of the first difference between two values, and what is there."""
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
