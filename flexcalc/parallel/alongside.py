"""Work in a thread next to that of the main thread, which waits for both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from flexcalc.progress import Progress


class _StopError(Exception):
    """Ends the work in the thread, because that of the main thread has failed."""


def alongside[S, T](main: Callable[[], S], other: Callable[[Progress], T]) -> tuple[S, T]:
    """Do both at once: `main` here, where Ctrl-C arrives, and `other` in a thread.

    Args:
        main: work that mostly waits, such as for labels.
        other: work that tells its progress often, and ends there if `main` has failed.

    Returns:
        What both return.

    Raises:
        Exception: what one of them raises; that of `main` if both do.
    """
    stop = threading.Event()

    def heed(done: int, total: int, note: str = "") -> None:
        if stop.is_set():
            raise _StopError

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(other, heed)
        try:
            return main(), future.result()
        except BaseException:
            stop.set()
            raise
