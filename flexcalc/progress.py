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


class Pace:
    """How far work has come, and how fast it goes.

    The speed counts what was done since the first call, because a resumed run has done some of it
    before.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.begun = clock, clock()
        self.done, self.total, self.note = 0, 0, ""
        self.latest = self.begun
        self._since, self._before = self.begun, -1

    def update(self, done: int, total: int, note: str = "") -> None:
        """Take note of a call; see `Progress`."""
        now = self.clock()
        if self._before < 0 or done < self.done:  # the first call, or a count that starts again
            self._since, self._before = now, done
        if done != self.done or self.total == 0:
            self.latest = now
        self.done, self.total, self.note = done, total, note

    @property
    def each_s(self) -> float | None:
        """Seconds that one of the things to do takes; None while it is not known."""
        done = self.done - self._before
        return (self.latest - self._since) / done if self._before >= 0 and done > 0 else None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.begun

    def count(self) -> str:
        """What is done, of how much; nothing before the first call."""
        return f"{self.done}/{self.total}" if self.total else ""

    def speed(self) -> str:
        """What is done in a second, or how long one takes; nothing while it is not known."""
        if not self.each_s:
            return ""
        return (
            f"{_three(1 / self.each_s)}/s" if self.each_s < 1 else f"{_duration(self.each_s)} each"
        )

    def left(self) -> str:
        """The time left; nothing while it is not known, nor at the end."""
        if self.each_s is None or self.done >= self.total:
            return ""
        return f"{_duration(self.each_s * (self.total - self.done))} left"


class MinuteLog:
    """Progress as lines of text, at most one per minute, with an estimate of the time left.

    Args:
        title: of the bar, two or three words.
        say: takes a line.
        every_s: seconds between two lines; work that is shorter gets none.
        clock: seconds.
    """

    def __init__(
        self,
        title: str,
        say: Callable[[str], None],
        every_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.title, self.say, self.every_s = title, say, every_s
        self.pace, self.last = Pace(clock), clock()
        self._lock = threading.Lock()
        self._failure: Exception | None = None

    def __call__(self, done: int, total: int, note: str = "") -> None:
        """See `Progress`."""
        with self._lock:
            self.pace.update(done, total, note)
            self._tell()
        self._fail()

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Say a line every minute also while nobody calls, as one step may take an hour."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(self.every_s / TICKS) and self._failure is None:
                try:
                    with self._lock:
                        self._tell()
                except Exception as error:  # raised where the work is, which it has to end
                    self._failure = error

        thread = threading.Thread(target=tick, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        self._fail()

    def _tell(self) -> None:
        now = self.pace.clock()
        if now - self.last >= self.every_s:
            self.last = now
            self.say(self._line(now))

    def _line(self, now: float) -> str:
        pace = self.pace
        if not pace.total:
            return f"{self.title}: {_duration(pace.elapsed_s)} so far"
        parts = [f"{pace.done} of {pace.total}", pace.speed()]
        parts += [f"about {pace.left()}"] if pace.left() else []
        line = f"{self.title}: {', '.join(part for part in parts if part)}"
        if now - pace.latest >= self.every_s:
            line += f", the last {_duration(now - pace.latest)} ago"
        return f"{line}; {pace.note}" if pace.note else line

    def _fail(self) -> None:
        """Raise what a line met that was said meanwhile, such as a disk that is full."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


TICKS = 10
"""How often in a minute a quiet bar looks whether a line is due."""


def _duration(seconds: float) -> str:
    """A time in two figures: 40 s, 13 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"


def _three(value: float) -> str:
    """A number in three figures, without a power of ten: 1230, 12.3, 1.23."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


GAP = "  "
LONGEST_TITLE = 18
"""Letters of a title that a line of `TIGHT` columns shows."""
TIGHT = 100
SHORTEST_BAR, LONGEST_BAR = 8, 24

Piece = tuple[str, str]
"""A text, and how rich draws it."""


def terminal_line(title: str, pace: Pace, width: int, mark: str = "━") -> list[Piece]:
    """Progress in one line of a terminal.

    Title, count, speed and time left are always there. The note gets what they leave, then the
    time so far, then the bar.

    Args:
        title: of the bar.
        pace: of the work.
        width: columns of the terminal.
        mark: letter of the bar.
    """
    title = title if width >= TIGHT else _cut(title, LONGEST_TITLE)
    head, known = (title, "bold"), ((pace.count(), "green"), (pace.speed(), "red"))
    tail = [(text, style) for text, style in (*known, (pace.left(), "cyan")) if text]
    room = width - len(title) - sum(len(GAP) + len(text) for text, _ in tail)
    note = _fitting(pace.note, room - len(GAP))
    room -= len(note) + len(GAP) if note else 0
    elapsed = f"{_duration(pace.elapsed_s)} so far"
    if room >= len(GAP) + len(elapsed):
        tail.append((elapsed, "yellow"))
        room -= len(GAP) + len(elapsed)
    tail += [(note, "")] if note else []
    size = min(LONGEST_BAR, room - len(GAP))
    pieces = [head]
    if size >= SHORTEST_BAR and pace.total:
        full = min(size, size * pace.done // pace.total)
        pieces += [(GAP, ""), (mark * full, "green"), (mark * (size - full), "bright_black")]
    for piece in tail:
        pieces += [(GAP, ""), piece]
    return pieces


def _fitting(note: str, room: int) -> str:
    """As many of the first parts of a note as there is room for, at least some of the first."""
    parts = note.split(", ")
    while len(parts) > 1 and len(", ".join(parts)) > room:
        parts.pop()
    return _cut(", ".join(parts), room)


def _cut(text: str, room: int) -> str:
    """A text, or its beginning."""
    if len(text) <= room:
        return text
    return f"{text[: room - 1].rstrip()}…" if room > 1 else ""


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
    if shown and sys.stderr.isatty():
        with terminal_bar(title) as update:
            yield update
        return
    if say is None:
        yield silent
        return
    lines = MinuteLog(title, say)
    with lines.ticking():
        yield lines


@contextmanager
def terminal_bar(title: str) -> Iterator[Progress]:
    """A progress bar as a line of a terminal; see `terminal_line`.

    Args:
        title: of the bar, two or three words.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console, pace = Console(stderr=True), Pace()
    mark = "-" if console.options.ascii_only else "━"

    def line() -> Text:
        pieces = terminal_line(printable(title), pace, console.width, mark)
        return Text.assemble(*pieces, no_wrap=True, overflow="crop")

    def update(done: int, total: int, note: str = "") -> None:
        pace.update(done, total, printable(note))

    with Live(console=console, get_renderable=line, refresh_per_second=10) as display:
        try:
            yield update
        finally:
            display.transient = not pace.total  # nothing was counted, and nothing stays


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

    pace, shown = Pace(), time.monotonic()

    def page() -> HTML:
        known = (pace.count(), f"{_duration(pace.elapsed_s)} so far", pace.speed(), pace.left())
        text = ", ".join(part for part in known if part)
        text += f"; {pace.note}" if pace.note else ""
        return HTML(
            f"<div><b>{escape(title)}</b> <progress value='{pace.done}' "
            f"max='{pace.total or 1}'></progress> {escape(printable(text))}</div>"
        )

    handle = display(page(), display_id=True)

    def update(done: int, total: int, note: str = "") -> None:
        nonlocal shown
        pace.update(done, total, note)
        if time.monotonic() - shown >= every_s:
            shown = time.monotonic()
            handle.update(page())

    try:
        yield update
    finally:
        handle.update(page())
