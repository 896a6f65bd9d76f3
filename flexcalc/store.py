"""Stores for the files of a run: in memory, or in a folder from which it can be resumed.

A task is handed a `Store` and asks it for all that it keeps, so that it needs to know nothing about
files: a plain Store keeps everything in memory, a `FolderStore` on disk. What lies under a name
depends on its suffix: `.xyz` a Dataset, `.json` what JSON can hold, `.csv` a table of numbers,
`.npz` arrays, `.flex` a model, and `.checkpoint` or `.hessian` arrays with facts.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np

from flexcalc import files
from flexcalc.dataset import Dataset, concatenate
from flexcalc.files.archive import Archive
from flexcalc.files.frames import FrameLog
from flexcalc.files.tables import csv_bytes
from flexcalc.progress import Progress, bar
from flexcalc.storage import (
    JSON,
    AppendLog,
    atomic_write,
    copy_file,
    load_checkpoint,
    open_regular,
    read_file,
    read_json,
    remove_checkpoint,
    save_checkpoint,
    whole_lines,
    write_json,
)

UNFINISHED = "unfinished"
"""Folder in a run folder for what an interrupted run resumes from."""

Arrays = Mapping[str, np.ndarray]
Facts = Mapping[str, JSON]


class FlexcalcWarning(UserWarning):
    """A warning about a result."""


class PlausibilityWarning(FlexcalcWarning):
    """A warning that a result cannot be right, or not be what was asked for."""


class Log(Protocol):
    """Records that are only ever appended."""

    @property
    def size(self) -> int: ...

    def extend(self, records: Sequence[Any]) -> None: ...

    def truncate(self, size: int) -> None: ...


class MemoryLog:
    """A log in memory; its size counts the records."""

    def __init__(self) -> None:
        self.records: list[Any] = []

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.records)

    def extend(self, records: Sequence[Any]) -> None:
        """Add records at the end."""
        self.records += records

    def truncate(self, size: int) -> None:
        """Drop the records from number `size` on."""
        del self.records[size:]


class Store:
    """Results of work by name, kept in memory; also the interface of stores on disk.

    Args:
        progress: whether long work shows a progress bar.
    """

    target: Path | None = None
    """Where a model is wanted besides, see `deliver`."""
    echo: Callable[[str], None] | None = None
    """Takes every line that is said, for the reader; None for nobody."""

    def __init__(self, *, progress: bool = False):
        self.progress = progress
        self.kept: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that are open."""

    def begin(
        self, options: Any, *, again: bool = False, overwrite: bool = False
    ) -> Mapping[str, Any] | None:
        """Begin the work that options ask for, once they have been checked.

        Args:
            options: of the command.
            again: also repeat work that is complete.
            overwrite: replace another model where one is to be delivered.

        Returns:
            What results.json holds where this very work is already complete, else None.
        """
        return None

    @property
    def finished(self) -> bool:
        """Whether the work was complete before it began."""
        return False

    # Telling

    def say(self, line: str) -> None:
        """Print and log one line."""

    def warn(self, text: str, category: type[Warning] = FlexcalcWarning) -> None:
        """One line that the user should know of; the category is that of Python's warning."""
        warnings.warn(text, category, stacklevel=3)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the first column to the left, the others to the right."""
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for cells in (head, *rows):
            rest = zip(cells[1:], widths[1:], strict=True)
            words = [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in rest)]
            self.say("  ".join(words).rstrip())

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """A progress bar; see `flexcalc.progress.bar`."""
        return bar(title, None, shown=self.progress)

    def announce(self, sizes: Mapping[str, int], advice: str) -> None:
        """Say how large files will become, where that is much.

        Args:
            sizes: name -> bytes at the end.
            advice: how to have less.
        """

    # Keeping

    def within(self, part: str) -> Store:
        """The store of a part of the work."""
        inner = self.kept.get(part)
        if not isinstance(inner, Store):
            inner = self.kept[part] = Store(progress=self.progress)
        return inner

    def get(self, name: str) -> Any:
        """The content stored under a name, or None."""
        found = self.kept.get(name)
        if not isinstance(found, MemoryLog):
            return found
        if name.endswith(".xyz"):
            return concatenate(*found.records) if found.records else None
        return b"".join(found.records)

    def first(self, name: str) -> Dataset | None:
        """The first frame stored under a name, or None."""
        frames = self.get(name)
        return None if frames is None else frames[:1]

    def put(self, name: str, value: Any) -> None:
        """Store something under a name, replacing earlier content."""
        self.kept[name] = value

    def place(self, name: str) -> Path:
        """A folder for a program that writes its own files; in memory a temporary one."""
        if "place" not in self.kept:
            self.kept["place"] = tempfile.TemporaryDirectory(prefix="flexcalc-")
        return Path(self.kept["place"].name) / name

    def unfinished(self, part: str) -> Path | None:
        """A folder for what an interrupted run resumes from; it goes when the run is complete.

        None in memory, where nothing is resumed.
        """
        return None

    def deliver(self, name: str) -> None:
        """Copy a stored model to the output that the user named."""

    def where(self, name: str) -> str:
        """The place of a name, for messages."""
        return name

    def remove(self, name: str) -> None:
        """Remove the content of a name, if there is any."""
        self.kept.pop(name, None)

    def copy_from(self, other: Store, name: str) -> None:
        """Copy the content of a name from another store; remove it if the other has none."""
        self.remove(name)
        if name in other.kept:
            self.kept[name] = other.kept[name]

    def arrays(self, name: str) -> tuple[Arrays, Mapping[str, Any]] | None:
        """Arrays and facts stored under a name, or None."""
        return self.kept.get(name)

    def put_arrays(self, name: str, arrays: Arrays, facts: Facts) -> None:
        """Store arrays and facts under a name."""
        self.kept[name] = (dict(arrays), dict(facts))

    def lines(self, name: str) -> Log:
        """A log of lines of text, as bytes."""
        return self.kept.setdefault(name, MemoryLog())

    def frames(self, name: str) -> Log:
        """A log of frames, as Datasets."""
        return self.kept.setdefault(name, MemoryLog())

    def stream(self, name: str) -> BinaryIO:
        """The lines of a log or a table, to be read as a file.

        Raises:
            FileNotFoundError: there is nothing under that name.
        """
        found = self.get(name)
        if found is None:
            raise FileNotFoundError(name)
        return io.BytesIO(csv_bytes(found) if isinstance(found, Mapping) else found)


class FolderStore(Store):
    """Results of work in a folder.

    Args:
        folder: created when there is something to keep.
        progress: see `Store`.
    """

    def __init__(self, folder: Path | str, *, progress: bool = False):
        super().__init__(progress=progress)
        self.folder = Path(folder)
        self._open = ExitStack()
        self._logs: dict[str, AppendLog] = {}
        self._parts: dict[str, FolderStore] = {}

    def close(self) -> None:
        """Close the logs."""
        self._logs.clear()
        self._open.close()
        for part in self._parts.values():
            part.close()

    def within(self, part: str) -> FolderStore:
        """The store of a part of the work, in a folder of its own."""
        if part not in self._parts:
            self._parts[part] = self._inner(part)
        return self._parts[part]

    def _inner(self, part: str) -> FolderStore:
        return FolderStore(self.folder / part, progress=self.progress)

    def get(self, name: str) -> Any:
        """The content of the file of that name, or None where there is none.

        Raises:
            FileFormatError: it is damaged.
        """
        path = self.folder / name
        if not path.exists():
            return None
        if path.suffix == ".xyz":
            return files.read_frames(path) if path.stat().st_size else None
        if path.suffix == ".json":
            return read_json(path)
        if path.suffix == ".npz":
            with Archive(path) as content:
                return {key: content.array(key, "biufSU") for key in content.members}
        return read_file(path)

    def first(self, name: str) -> Dataset | None:
        """The first frame of a file; no more of it is read.

        Raises:
            FileFormatError: it is damaged.
        """
        path = self.folder / name
        return files.read_first(path) if path.exists() and path.stat().st_size else None

    def put(self, name: str, value: Any) -> None:
        """Write a file atomically: on failure, the old one is unchanged."""
        path = self.folder / name
        self._close_log(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".flex":
            value.save(path, overwrite=True)
        elif isinstance(value, Dataset):
            files.write(path, value)
        elif path.suffix == ".json":
            write_json(path, value)
        elif path.suffix == ".npz":
            stream = io.BytesIO()
            np.savez(stream, **value)  # numbers of all digits hardly compress
            atomic_write(path, stream.getvalue())
        else:
            atomic_write(path, csv_bytes(value) if isinstance(value, Mapping) else value)

    def place(self, name: str) -> Path:
        """A folder for a program that writes its own files."""
        return self.folder / name

    def unfinished(self, part: str) -> Path:
        """See `Store.unfinished`."""
        return self.folder / UNFINISHED / part

    def where(self, name: str) -> str:
        """The file of a name."""
        return str(self.folder / name)

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it exists; of a checkpoint the previous one too."""
        self._close_log(name)
        path = self.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            remove_checkpoint(path)

    def copy_from(self, other: Store, name: str) -> None:
        """Copy a file of another folder byte by byte; remove it where it is not there."""
        self.remove(name)
        source = Path(other.where(name))
        if source.exists():
            copy_file(source, self.folder / name)

    def arrays(self, name: str) -> tuple[Arrays, Mapping[str, Any]] | None:
        """See `storage.load_checkpoint`."""
        return load_checkpoint(self.folder / name)

    def put_arrays(self, name: str, arrays: Arrays, facts: Facts) -> None:
        """See `storage.save_checkpoint`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.folder / name, dict(arrays), facts)

    def lines(self, name: str) -> AppendLog:
        """See `storage.AppendLog`."""
        return self._log(name, lambda path: AppendLog(path, whole_lines))

    def frames(self, name: str) -> AppendLog:
        """See `files.frames.FrameLog`."""
        return self._log(name, FrameLog)

    def _log(self, name: str, opener: Any) -> AppendLog:
        if name not in self._logs:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._logs[name] = self._open.enter_context(opener(self.folder / name))
        return self._logs[name]

    def _close_log(self, name: str) -> None:
        """Close a log whose file is about to be another one."""
        log = self._logs.pop(name, None)
        if log is not None:
            log.close()

    def stream(self, name: str) -> BinaryIO:
        """A file, opened for reading; see `storage.open_regular`."""
        return open_regular(self.folder / name, None)
