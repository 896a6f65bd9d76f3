"""Starting and ending processes: their threads, interrupts and process groups.

A process of ours leads a process group, so that the programs it has started end with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any, Protocol

from flexcalc.errors import InputError
from flexcalc.parallel.failures import one_line
from flexcalc.threads import THREAD_VARIABLES

MAIN = b"__main__"
"""Stands in the pickle of an object that is defined in the script that the user runs."""

GUARD = 'a script that defines its calculator must have `if __name__ == "__main__":` above the rest'

_starting = threading.Lock()


class Main(Protocol):
    """The main function of a process."""

    def __call__(self, pipe: Connection, /, *arguments: Any) -> None: ...


def start(main: Main, *arguments: Any, name: str, threads: int) -> tuple[SpawnProcess, Connection]:
    """Start a process with a pipe to it.

    It imports the script that the user runs only where an argument is defined there.

    Args:
        main: called with its end of the pipe, then the arguments.
        arguments: sent to it, so they must be importable there.
        name: of the process.
        threads: maximum number of threads of its libraries.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_begin, args=(main, theirs, *arguments), name=name)
    script = nullcontext() if needs_main(arguments) else without_main_module()
    with _starting, limited_threads(threads), interrupts_blocked(), script:
        process.start()
    theirs.close()
    return process, ours


def _begin(main: Main, pipe: Connection, *arguments: Any) -> None:
    os.setpgid(0, 0)
    threading.Thread(target=end_with_parent, daemon=True).start()
    main(pipe, *arguments)


def end(process: SpawnProcess, grace_s: float) -> str:
    """End a process and all processes it has started; returns its exit code or signal as text.

    Args:
        process: one of `start`, whose pipe is closed.
        grace_s: time to wait for it to end by itself, in seconds.
    """
    process.join(grace_s)
    if process.pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # had it not made its group yet
    process.join()
    code = process.exitcode or 0
    process.close()
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def end_with_parent() -> None:
    """Kill this process group when the parent dies, even in the middle of a calculation."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


def check_importable(what: str, value: Any) -> None:
    """Refuse an object that cannot be sent to another process.

    Args:
        what: its name, for the message.
        value: a callable.

    Raises:
        InputError: it cannot be pickled; the message says what can.
    """
    try:
        pickled(value)
    except Exception as error:  # pickling raises whatever it likes
        raise InputError(
            f"{what} must be importable by a worker process, such as a function of a "
            f"module or a functools.partial of one: {one_line(str(error))}"
        ) from None


def pickled(given: Any) -> bytes:
    """The pickle of an object for another process."""
    return bytes(ForkingPickler.dumps(given))


def needs_main(given: Any) -> bool:
    """Whether an object is defined in the script that the user runs."""
    return MAIN in pickled(given)


@contextmanager
def without_main_module() -> Iterator[None]:
    """Start processes that do not import the script that the user runs, and so run it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which the parent handles."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def limited_threads(most: int) -> Iterator[None]:
    """Limit the threads of processes started inside, whose libraries read this when loaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    for name, value in before.items():
        given = int(value) if value is not None and value.isdecimal() else most
        os.environ[name] = str(min(most, given or most))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
