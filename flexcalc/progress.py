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
    """Progress that shows nothing."""


def part(index: int, parts: int, progress: Progress) -> Progress:
    """Progress of one of several equal parts, reported as progress of all of them."""

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
        title: of the bar, two or three words.
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
def bar(
    title: str, say: Callable[[str], None] | None = None, *, shown: bool = True
) -> Iterator[Progress]:
    """A progress bar with the time left: on a terminal or in a notebook, else a line a minute.

    Args:
        title: of the bar, two or three words.
        say: takes those lines; None for none.
        shown: False for no bar, whatever standard error is.
    """
    if shown and in_notebook():
        with notebook_bar(title) as update:
            yield update
        return
    if not (shown and sys.stderr.isatty()):
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


def in_notebook() -> bool:
    """Whether this is the kernel of a Jupyter notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def notebook_bar(title: str, every_s: float = 0.25) -> Iterator[Progress]:
    """A progress bar as one output of a notebook's cell, which is replaced as the work goes on.

    Args:
        title: of the bar, two or three words.
        every_s: least time between two updates, in seconds.
    """
    from html import escape

    from IPython.display import HTML, display

    begun = shown = time.monotonic()
    latest: tuple[int, int, str] | None = None

    def page() -> HTML:
        done, total, note = latest or (0, 1, "")
        spent = time.monotonic() - begun
        left = ""
        if 0 < done < total:
            left = f", about {_duration(spent * (total - done) / done)} left"
        text = f"{done}/{total}, {_duration(spent)}{left}{f'; {note}' if note else ''}"
        return HTML(
            f"<div><b>{escape(title)}</b> <progress value='{done}' max='{total}'></progress> "
            f"{escape(printable(text))}</div>"
        )

    handle = display(page(), display_id=True)

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal latest, shown
        latest = (done, total, note)
        if time.monotonic() - shown >= every_s:
            shown = time.monotonic()
            handle.update(page())

    try:
        yield update
    finally:
        handle.update(page())
