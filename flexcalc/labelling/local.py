"""Labelling in worker processes of this machine.

Processes, not threads: a reference may crash, hang or leak without taking the run with it.
A worker leads a process group, so that programs it has started end with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any

import numpy as np

from flexcalc.errors import InputError, LabelError
from flexcalc.labelling.worker import (
    Failure,
    OpenReference,
    Outcome,
    evaluate,
    one_line,
    open_checked,
)
from flexcalc.threads import THREAD_VARIABLES, cores

TICK_S = 0.25
"""Longest silence of the queue; what has arrived by then is written."""

OPENING_S = 600.0
"""Timeout for opening a reference, including imports."""

IDLE_S = 300.0
"""A worker without work for so long ends, and frees its memory."""

MAIN = b"__main__"
"""In the pickle of what is defined in the script that the user runs."""

GUARD = 'a script that defines its calculator must have `if __name__ == "__main__":` above the rest'


# In the worker


def _serve(open_reference: OpenReference, numbers: np.ndarray, pipe: Connection) -> None:
    """Main of a worker: (index, positions) in, Outcome out, until there is no more work."""
    os.setpgid(0, 0)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        potential = open_checked(open_reference, numbers)
        if isinstance(potential, Failure):
            pipe.send(potential)
            return
        pipe.send(None)
        while pipe.poll(IDLE_S):
            index, positions = pipe.recv()
            pipe.send(evaluate(potential, index, positions))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # no more work


def end_with_parent() -> None:
    """Kill this process group when the parent dies, even in the middle of a calculation."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)


# In the parent

Task = tuple[int, np.ndarray]
"""Index of a geometry, and its positions (atoms, 3) in angstrom."""

_starting = threading.Lock()


@dataclass
class Worker:
    """A worker process as the parent sees it.

    Args:
        process: the process.
        pipe: to it.
        deadline: `time.monotonic` at which it is taken for hanging; infinite when it is idle.
        task: the geometry it has, None while it opens the reference or is idle.
        ready: whether the reference is open.
    """

    process: SpawnProcess
    pipe: Connection
    deadline: float
    task: Task | None = None
    ready: bool = False

    def give(self, task: Task, timeout_s: float) -> None:
        """Hand over one geometry; a worker that has just died is noticed when it is read."""
        self.task, self.deadline = task, time.monotonic() + timeout_s
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def end(self, grace_s: float) -> str:
        """End the process and all it has started; how it ended, in words.

        Args:
            grace_s: time it is given to end by itself, now that its pipe is closed.
        """
        self.pipe.close()
        self.process.join(grace_s)
        if self.process.pid:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # had it not made its group yet
        self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class Pool:
    """Worker processes, each with its own copy of the reference; they end with the context.

    Args:
        open_reference: makes the reference; sent to the workers, so it must be importable there.
        numbers: (atoms,) of the molecule.
        workers: how many; they share the cores of this process evenly.
        timeout_s: timeout for one geometry, in seconds.
    """

    def __init__(
        self, open_reference: OpenReference, numbers: np.ndarray, workers: int, timeout_s: float
    ):
        self.open_reference, self.numbers = open_reference, numbers
        self.workers, self.timeout_s = workers, timeout_s
        self._team: list[Worker] = []
        self._queue: deque[Task] = deque()
        self._died_once: set[int] = set()
        self._needs_main = MAIN in pickled(open_reference)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        team = [worker for worker in self._team if not worker.pipe.closed]
        for worker in team:
            worker.pipe.close()
        for worker in team:
            worker.end(grace_s=5.0 if worker.ready and worker.task is None else 0.0)
        self._team = []

    def batches(self, tasks: Iterable[Task]) -> Iterator[list[Outcome]]:
        """Label geometries, in order; what has come in, every tick.

        Raises:
            FlexcalcError: the reference cannot be opened.
        """
        self._queue.extend(tasks)
        self._distribute()
        while self._queue or any(worker.task is not None for worker in self._team):
            ready = wait([worker.pipe for worker in self._team], timeout=TICK_S)
            outcomes = [self._read(worker) for worker in self._team if worker.pipe in ready]
            outcomes += [self._late(worker) for worker in self._team]
            self._distribute()
            yield [outcome for outcome in outcomes if outcome is not None]

    def _distribute(self) -> None:
        """Give geometries to idle workers, and replace the dead ones that are still needed."""
        self._team = [worker for worker in self._team if not worker.pipe.closed]
        for worker in self._team:
            if worker.ready and worker.task is None and self._queue:
                worker.give(self._queue.popleft(), self.timeout_s)
        idle_or_opening = sum(worker.task is None for worker in self._team)
        wanted = min(self.workers - len(self._team), len(self._queue) - idle_or_opening)
        for _ in range(wanted):
            self._hire()

    def _hire(self) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (self.open_reference, self.numbers, theirs)
        process = context.Process(target=_serve, args=arguments, name="flexcalc-label")
        threads = max(1, cores() // self.workers)
        main = nullcontext() if self._needs_main else without_main_module()
        with _starting, limited_threads(threads), interrupts_blocked(), main:
            process.start()
        theirs.close()
        self._team.append(Worker(process, ours, time.monotonic() + OPENING_S))

    def _read(self, worker: Worker) -> Outcome | None:
        """Take what a worker has sent."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._dead(worker)
        if isinstance(message, Failure):
            raise message.error()
        worker.ready, worker.task, worker.deadline = True, None, float("inf")
        return message

    def _dead(self, worker: Worker) -> Outcome | None:
        """Try the geometry of a dead worker once more, then give it up."""
        how = worker.end(grace_s=1.0)
        if not worker.ready:
            hint = f"; {GUARD}" if self._needs_main else ""
            raise LabelError(f"a worker process died while it opened the reference ({how}){hint}")
        task = worker.task
        if task is None:
            return None
        if task[0] in self._died_once:
            return Outcome(task[0], reason=f"worker died ({how})")
        self._died_once.add(task[0])
        self._queue.appendleft(task)
        return None

    def _late(self, worker: Worker) -> Outcome | None:
        """End a worker that has taken too long."""
        if worker.pipe.closed or time.monotonic() < worker.deadline or worker.pipe.poll():
            return None
        worker.end(grace_s=0.0)
        if worker.task is None:
            raise LabelError(f"the reference did not open within {OPENING_S:g} s")
        return Outcome(worker.task[0], reason=f"timed out after {self.timeout_s:g} s")


def check_importable(open_reference: OpenReference) -> None:
    """Refuse what cannot be sent to another process.

    Raises:
        InputError: says what can.
    """
    try:
        pickled(open_reference)
    except Exception as error:  # pickling raises whatever it likes
        raise InputError(
            "open_reference must be importable by a worker process, such as a function of a "
            f"module or a functools.partial of one: {one_line(str(error))}"
        ) from None


def sendable(reference: Any) -> Any:
    """A copy of a potential or of an ASE calculator, to be sent to worker processes.

    What the original computes later, such as the sampling, does not change the copy.

    Raises:
        InputError: worker processes cannot be given it.
    """
    kind = type(reference)
    name, known = kind.__name__, hasattr(reference, "get_potential_energy")
    try:
        copied = deepcopy(reference)
        content = pickled(copied)
    except Exception as error:  # copying and pickling raise whatever they like
        raise InputError(
            f"reference: {name} cannot be sent to worker processes "
            f"({one_line(str(error))}); give a new one that has not computed anything, or its "
            f"address{f', such as ase:{kind.__module__}:{name}' * known}"
        ) from None
    script = getattr(sys.modules["__main__"], "__file__", None)
    if MAIN in content and not (script and os.path.isfile(script)):
        raise InputError(
            f"reference: {name} is defined in a notebook or an interactive session, from which "
            "worker processes cannot import it; put it into a module and import it from there"
        )
    if getattr(current_process(), "_inheriting", False):  # a worker imports the user's script
        raise InputError(f"reference: {name}: {GUARD}")
    return copied


def pickled(given: Any) -> bytes:
    """What is sent of an object to a worker process."""
    return bytes(ForkingPickler.dumps(given))


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
    """Start processes that do not feel Ctrl-C, which is the parent's to handle."""
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
