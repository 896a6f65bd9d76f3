"""Progress of long work: a plain callback in the library, a bar on a terminal.

A long function takes `progress: Progress = silent` and calls `progress(done, total, note)`,
the note being the quantity that matters (an error, a temperature, a barrier).
"""

from __future__ import annotations

import sys
import threading
import time
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


def now_and_then(
    title: str,
    say: Callable[[str], None],
    every_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Progress as lines of text, at most one per minute, with an estimate of the time left.

    The estimate counts the work done since the first call, because a resumed run has done some of
    it before.

    Args:
        title: what is being done, two or three words.
        say: takes a line.
        every_s: seconds between two lines; work that is shorter gets none.
        clock: seconds.
    """
    last = clock()
    since, before, latest = last, -1, -1

    def told(done: int, total: int, note: str = "") -> None:
        nonlocal last, since, before, latest
        now = clock()
        if before < 0 or done < latest:  # the first call, or a count that starts again
            since, before = now, done
        latest = done
        if now - last < every_s:
            return
        last = now
        left = ""
        if done > before:
            left = f", about {_duration((now - since) * (total - done) / (done - before))} left"
        say(f"{title}: {done} of {total}{left}{f'; {note}' if note else ''}")

    return told


def _duration(seconds: float) -> str:
    """A time in two figures: 40 s, 13 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"


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
def bar(title: str, say: Callable[[str], None] | None = None) -> Iterator[Progress]:
    """A bar on standard error with the time left; where that is no terminal, a line a minute.

    Args:
        title: what is being done, two or three words.
        say: takes those lines; None for none.
    """
    if not sys.stderr.isatty():
        yield silent if say is None else now_and_then(title, say)
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
