"""How many threads the linear algebra takes."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

SCIPY_BLAS = "scipy.linalg._flapack"
"""The module that loads SciPy's own BLAS."""

_lock = threading.Lock()
_inside = 0
_before: list[tuple[Any, int]] = []

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""By which a user, a queue or a parent says how many processors a process may take."""


def cores() -> int:
    """Processors this process may run on; fewer where OMP_NUM_THREADS says so."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(here, requested_threads() or here)


def requested_threads() -> int | None:
    """The number in OMP_NUM_THREADS; None where it holds none.

    OpenMP takes a list too, a number for each level of nested parallel regions: the first counts
    here. What OpenMP does not allow (0, -1, words) it ignores with a warning, and so does this.
    """
    levels = [part.strip() for part in os.environ.get(THREAD_VARIABLES[0], "").split(",")]
    # No machine has so many threads that nine digits would not do.
    counts = [int(part) for part in levels if re.fullmatch("[0-9]{1,9}", part)]
    return counts[0] if len(counts) == len(levels) and min(counts) > 0 else None


def settle_numexpr() -> None:
    """Keep numexpr, which pandas imports for MACE, from reading OMP_NUM_THREADS by itself.

    It takes one positive number there, and raises an error for a list or words.
    """
    if os.environ.get(THREAD_VARIABLES[0]) and not os.environ.get("NUMEXPR_NUM_THREADS"):
        os.environ["NUMEXPR_NUM_THREADS"] = str(min(requested_threads() or 1, MOST_OF_NUMEXPR))


MOST_OF_NUMEXPR = 64
"""Threads beyond which numexpr complains."""


def pool() -> ThreadPoolExecutor:
    """Threads of this process, one for each core, for work that itself asks for no threads.

    They are kept: to start them takes as long as a small batch.
    """
    return _pool(os.getpid())


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """A forked process has none of its parent's threads."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(cores(), thread_name_prefix="flexcalc")


def each(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    """Do independent pieces of work on all cores at once, each on one thread."""
    items = list(items)
    with one_blas_thread():
        if cores() == 1:
            for item in items:
                work(item)
            return
        # To hand a piece over takes as long as a small one: one is done here.
        others = [pool().submit(work, item) for item in items[1:]]
        for item in items[:1]:
            work(item)
        for other in others:
            other.result()  # raises what a piece of work has raised


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let each BLAS call run on the thread that makes it; may be entered by many threads at once.

    Products of small matrices are slower on several threads, and how these share the work
    changes the order of sums: with one thread a row of a product does not depend on the others.
    """
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = [(library, library.get_num_threads()) for library in _libraries()]
            for library, _ in _before:
                library.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                for library, count in _before:
                    library.set_num_threads(count)


def _libraries() -> list[Any]:
    """The BLAS libraries that this process has loaded: SciPy has one of its own."""
    return _loaded(SCIPY_BLAS in sys.modules)


@cache
def _loaded(with_scipy: bool) -> list[Any]:
    """The same; asked directly, as a small batch is soon done, and found once for each."""
    import numpy  # noqa: F401 - a library must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers
