"""A run folder while a command works in it: its TOML, log and results."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from flexcalc.config import to_toml
from flexcalc.errors import InputError
from flexcalc.models.folder import is_same_model
from flexcalc.printing import printable
from flexcalc.progress import Progress, bar
from flexcalc.runs.resuming import (
    INPUTS,
    RESULTS,
    check_inputs,
    check_same,
    finished_results,
    input_hashes,
    with_former_defaults,
)
from flexcalc.storage import atomic_write, copy_tree, naming, run_folder, write_json
from flexcalc.store import UNFINISHED, FlexcalcWarning, FolderStore

LARGE_BYTES = 10**9
"""Size of the output above which a run announces it beforehand."""

OWN_FILES = frozenset(
    {".lock", "run.toml", INPUTS, "log.txt", "split.json", "plumed.dat", "start.xyz"}
)
"""Files of a run folder that exist before any work is done."""


class RunFolder(FolderStore):
    """The store of a run; an unfinished run of the same options is resumed.

    A new folder is removed if the input turns out invalid before any work is done.

    Args:
        command: name of the command.
        folder: path of the run folder.
        echo: receives every logged line; None for none.
        progress: whether long work shows a progress bar.
        target: a model folder, NAME.flex, to be written next to the run folder.
    """

    def __init__(
        self,
        command: str,
        folder: Path | str,
        *,
        echo: Callable[[str], None] | None = None,
        progress: bool = False,
        target: Path | None = None,
    ):
        super().__init__(folder, progress=progress)
        self.command, self.echo, self.target = command, echo, target
        self._start = time.monotonic()
        self._held = ExitStack()
        self._new: list[Path] = []
        self._finished = False
        self._replaces = False

    @property
    def finished(self) -> bool:
        """Whether the run was complete before it began."""
        return self._finished

    def with_former_defaults(self, options: Any) -> Any:
        """The options of a command in this folder; see `resuming.with_former_defaults`."""
        return with_former_defaults(self.folder, options)

    def begin(
        self, options: Any, *, again: bool = False, overwrite: bool = False
    ) -> Mapping[str, Any] | None:
        """Lock the folder, write the options to run.toml, and the hashes of inputs next to it.

        Raises:
            InputError: the folder holds a run with other options or other contents of its inputs,
                or the target is not a model, or is another one.
            BusyError: another process is using it.
        """
        text = f"# flexcalc {self.command}\n{to_toml(options)}"
        check_same(self.folder / "run.toml", text, options)
        inputs = input_hashes(options)
        changed = check_inputs(self.folder, inputs)
        self._check_target(overwrite)
        places = (self.folder, *self.folder.parents)
        self._new = [place for place in places if not os.path.lexists(place)]
        self._held.enter_context(run_folder(self.folder))
        for warning in changed:
            self.warn(warning)
        finished = None if again else finished_results(self.folder, text, options)
        if finished is None:
            (self.folder / RESULTS).unlink(missing_ok=True)
            atomic_write(self.folder / "run.toml", text)
            write_json(self.folder / INPUTS, inputs)
        else:
            self._finished = True
            self.remove(UNFINISHED)
            self.say(f"{self.folder}: this run is already complete; its results are reused")
        return finished

    def _check_target(self, overwrite: bool) -> None:
        """Refuse a target that is not a model, or that another run has written."""
        target = self.target
        if target is None or not os.path.lexists(target):
            return
        if not (target / "model.json").exists():
            raise InputError(
                f"{target}: exists and is not a flexcalc model; choose another --output"
            )
        own = self.folder.glob("*.flex")
        self._replaces = not any(is_same_model(one, target) for one in own)
        if self._replaces and not overwrite:
            raise InputError(
                f"{target}: holds another model, which this run did not write; choose another "
                "--output, remove it, or replace it by --overwrite (overwrite=True)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
        if isinstance(error[1], InputError):
            self._remove_if_empty()

    def close(self) -> None:
        """Close the logs, and unlock the folder."""
        super().close()
        self._held.close()

    def _inner(self, part: str) -> FolderStore:
        return _Part(self, self.folder / part)

    def say(self, line: str) -> None:
        """Print one line, and log it."""
        if self.echo is not None:
            with naming("standard output"):
                self.echo(line)
        self.log(line)

    def warn(self, text: str, category: type[Warning] = FlexcalcWarning) -> None:
        """Print and log a warning; without `echo`, issue a Python warning."""
        if self.echo is None:
            super().warn(text, category)
            self.log(f"warning: {text}")
        else:
            self.say(f"warning: {text}")

    def log(self, text: str) -> None:
        """Log one line, without printing it."""
        path = self.folder / "log.txt"
        with naming(path), open(path, "a", encoding="utf-8") as log:
            log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {printable(text)}\n")

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """A progress bar, or without a terminal a line per minute; see `flexcalc.progress.bar`."""
        return bar(title, self.say, shown=self.progress)

    def announce(self, sizes: Mapping[str, int], advice: str) -> None:
        """Announce large output files; warn if the disk is too small for them."""
        total = sum(sizes.values())
        there = sum(path.stat().st_size for name in sizes if (path := self.folder / name).exists())
        free = shutil.disk_usage(self.folder).free
        short = total - there > free
        if total < LARGE_BYTES and not short:
            return
        names = ", ".join(f"{name} {size / 1e9:.3g} GB" for name, size in sizes.items())
        line = (
            f"this run will write about {total / 1e9:.3g} GB ({names}); {free / 1e9:.3g} GB are "
            f"free; {advice}"
        )
        if short:
            self.warn(line)
        else:
            self.say(line)

    def deliver(self, name: str) -> None:
        """Copy a model to the target; for a run already complete, only if it is not there."""
        if self.target is None or (self.finished and self.target.exists() and not self._replaces):
            return
        copy_tree(self.folder / name, self.target)

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write results.json, and remove the checkpoints."""
        seconds = round(time.monotonic() - self._start, 2)
        self.put(RESULTS, {"command": self.command, **results, "seconds": seconds})
        self.remove(UNFINISHED)

    def _remove_if_empty(self) -> None:
        """Remove new folders that contain no work."""
        entries = list(self.folder.glob("*")) if self.folder in self._new else []
        if all(_is_no_work(entry) for entry in entries):
            for entry in entries:
                self.remove(entry.name)
            for place in self._new:
                if place.is_dir():
                    place.rmdir()


class _Part(FolderStore):
    """A folder within a run folder, or within a part; its messages go to the log of the run."""

    def __init__(self, outer: RunFolder | _Part, folder: Path):
        super().__init__(folder, progress=outer.progress)
        self._outer = outer
        self.say, self.warn = outer.say, outer.warn  # type: ignore[method-assign]

    def _inner(self, part: str) -> FolderStore:
        return _Part(self, self.folder / part)

    def bar(self, title: str) -> AbstractContextManager[Progress]:
        """The progress bar of the run, unless this part shows none."""
        return self._outer.bar(title) if self.progress else super().bar(title)


def _is_no_work(entry: Path) -> bool:
    """Whether a file of a run folder exists before any work is done.

    Evaluations are kept for a run that goes on, which one with bad input does not.
    """
    if entry.name == UNFINISHED:
        return all(one.suffix == ".log" for one in entry.iterdir())
    return entry.is_file() and (entry.name in OWN_FILES or entry.stat().st_size == 0)
