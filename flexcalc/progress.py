"""Progress of long work: a plain callback in the library, a bar on a terminal.

A long function takes `progress: Progress = silent` and calls `progress(done, total, note)`,
the note being the quantity that matters (an error, a temperature, a barrier).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from flexcalc.printing import complain, printable

Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, note: str = "") -> None:
    """The progress of a caller who does not want to see any."""


def part(index: int, parts: int, progress: Progress) -> Progress:
    """Progress of one of several equal parts, told as progress of all of them."""

    def told(done: int, total: int, note: str = "") -> None:
        progress(index * total + done, parts * total, note)

    return told


@contextmanager
def waiting(what: str, patience_s: float = 2.0) -> Iterator[None]:
    """Say on standard error what takes longer than expected; nothing when that is no terminal.

    Args:
        what: is going on, and how long it may take.
        patience_s: seconds before it is said.
    """
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(patience_s, lambda: complain(what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def bar(title: str) -> Iterator[Progress]:
    """A bar on standard error with the time left; nothing when that is no terminal.

    Args:
        title: what is being done, two or three words.
    """
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("[bold]{task.description:<18}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(escape(printable(title)), total=None, note="")

        def update(done: int, total: int, note: str = "") -> None:
            display.update(task, completed=done, total=total, note=escape(printable(note)))

        yield update
