"""Reading a run folder for its report: what is there, however little, and what is not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.display.rows import finite
from flexcalc.errors import FileFormatError, FlexcalcError, InputError
from flexcalc.files import read_first, read_frames, read_last
from flexcalc.files.archive import Archive
from flexcalc.files.tables import csv_blocks
from flexcalc.reports.exports import Columns
from flexcalc.storage import read_text

COMMANDS = (
    *("label", "train", "evaluate", "path", "saddle", "md", "metad", "umbrella", "ipi"),
    *("network", "learn", "benchmark"),
)

LARGEST = 64 << 20
"""Bytes of frames or tables that a report reads; a longer trajectory is left out of it."""


LARGEST_TAIL = 2 << 20
"""Bytes at the end of a trajectory that are read for its last frames."""


class RunFolder:
    """A run folder that may still be growing.

    Args:
        path: the folder.

    Attributes:
        problems: a line for each file that is there and cannot be read; it grows with reading.
        tables: what the sections export as tables/NAME.csv, by name: columns by their heads.
        results: what results.json holds; empty while there is none.
        command: the command that made the folder.

    Raises:
        InputError: no command of flexcalc has run here.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{path}: expected a run folder, found no such folder")
        self.problems: list[str] = []
        self.tables: dict[str, Columns] = {}
        found = self.json("results.json")
        self.results: dict[str, Any] = found if isinstance(found, dict) else {}
        self.command = self._command()

    def _command(self) -> str:
        """From the results, or of a run that has none yet from the first line of run.toml."""
        begun = re.match(r"# flexcalc (\w+)", self.text("run.toml") or "")
        for named in (self.results.get("command"), begun[1] if begun else None):
            if named in (*COMMANDS, "demo"):
                return str(named)
        raise InputError(
            f"{self.path}: not a run folder: expected a results.json or run.toml of flexcalc "
            f"{', '.join(COMMANDS)} or demo; give the --output folder of a run"
        )

    def part(self, command: str) -> RunFolder | None:
        """The folder of one step of a demo; None where it has not begun."""
        inner = self.path / command
        try:
            return RunFolder(inner)
        except InputError:
            return None

    def json(self, name: str) -> Any:
        """The content of a JSON file; None where it is missing or damaged."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            self.problems.append(f"{name} is not JSON")
            return None

    def text(self, name: str) -> str | None:
        """The content of a text file; None where it is missing."""
        path = self.path / name
        if not self._usable(path):
            return None
        try:
            return read_text(path, LARGEST, errors="replace")
        except (OSError, FileFormatError) as error:
            self.problems.append(f"{name} cannot be read: {error}")
            return None

    def table(self, name: str, *columns: str) -> dict[str, np.ndarray] | None:
        """Columns (rows,) of a CSV file with a header; a last row that is cut is left out.

        None where the file is missing, has no whole row or lacks one of the columns.
        """
        text = self.text(name)
        if text is None:
            return None
        head, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
        names = [part.strip() for part in head.split(",")]
        try:
            rows = [[float(cell or "nan") for cell in line.split(",")] for line in lines if line]
            values = np.array(rows).reshape(len(rows), len(names))
            if np.isinf(values).any():
                raise ValueError("an infinite number")
        except ValueError:
            self.problems.append(f"{name} has a row that is not {len(names)} numbers")
            return None
        lacking = [column for column in columns if column not in names]
        if lacking:
            self.problems.append(f"{name} lacks the column {lacking[0]}")
        if lacking or not rows:
            return None
        return dict(zip(names, values.T, strict=True))

    def blocks(self, name: str, *columns: str) -> Iterator[dict[str, np.ndarray]]:
        """Columns (rows,) of a CSV file of any length, some thousand rows at a time.

        None at all where the file is missing or lacks one of the columns; a file that is damaged
        ends where the damage is.
        """
        path = self.path / name
        if not path.is_file():
            return
        try:
            for block in csv_blocks(path):
                lacking = [column for column in columns if column not in block]
                if lacking:
                    self.problems.append(f"{name} lacks the column {lacking[0]}")
                    return
                yield block
        except FlexcalcError as error:
            self.problems.append(f"{name} {str(error).removeprefix(f'{path}: ')}")

    def last_frames(self, name: str) -> Dataset | None:
        """The frames at the end of an extxyz file of any length; None where none is whole."""
        path = self.path / name
        try:
            return read_last(path, LARGEST_TAIL)
        except FlexcalcError as error:
            if path.is_file() and path.stat().st_size:
                self.problems.append(str(error))
            return None

    def frames(self, name: str) -> Dataset | None:
        """The whole frames of an extxyz file; None where there are none."""
        path = self.path / name
        if not self._usable(path):
            return None
        try:
            return read_frames(path)
        except FlexcalcError as error:
            if path.stat().st_size:
                self.problems.append(str(error))
            return None

    def first_frame(self, name: str) -> Dataset | None:
        """The first frame of an extxyz file of any length; None where there is no whole one."""
        try:
            return read_first(self.path / name)
        except FlexcalcError:
            return None

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an npz file; None where it is missing or damaged."""
        path = self.path / name
        if not self._usable(path):
            return None
        try:
            with Archive(path) as content:
                return {key: content.array(key, "biufSU") for key in content.members}
        except (OSError, FileFormatError) as error:
            self.problems.append(f"{name} cannot be read: {error}")
            return None

    def value(self, key: str) -> float | None:
        """A finite number of the results."""
        found = finite(self.results, key)
        return found if math.isfinite(found) else None

    def _usable(self, path: Path) -> bool:
        try:
            if not path.is_file():
                return False
        except OSError:  # no file can have such a name
            return False
        if not path.resolve().is_relative_to(self.path.resolve()):
            # The page may be handed on, and another file of its reader with it.
            self.problems.append(f"{path.name} is a link that leads out of the folder")
            return False
        if path.stat().st_size > LARGEST:
            self.problems.append(f"{path.name} is too large for a page and left out")
            return False
        return True
