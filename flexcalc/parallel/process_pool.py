"""Tasks in worker processes of this machine.

Processes, not threads: a task may crash, hang or leak without taking the run with it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from flexcalc.errors import WorkerError
from flexcalc.parallel import processes
from flexcalc.parallel.failures import Failure, Lost
from flexcalc.threads import cores

TICK_S = 0.25
"""Maximum time between two yields of a pool."""

OPENING_S = 600.0
"""Timeout for a worker to prepare for its tasks, imports included."""

IDLE_S = 300.0
"""A worker that has had no task for this time ends, and frees its memory."""

Task = tuple[int, Any]
"""Number of a task, and its argument."""

Result = tuple[int, Any]
"""Number of a task, and its result; `Lost` if its worker died or it timed out."""

Work = Callable[[Any], Any]
"""Does one task; returns a `Failure` if all other tasks would fail too."""


@dataclass(frozen=True)
class Job:
    """How tasks are done. It is sent to the workers, so it must be importable there.

    Args:
        prepare: called once in every worker; returns the function that does the tasks, or a
            `Failure`.
        what: name of what is prepared, for messages.
        timeout_s: timeout for one task, in seconds.
        attempts: number of workers that may die of a task before it is given up.
        fresh: whether every task gets a process of its own.
    """

    prepare: Callable[[], Work | Failure]
    what: str
    timeout_s: float = float("inf")
    attempts: int = 1
    fresh: bool = False


def _serve(pipe: Connection, job: Job) -> None:
    """Main function of a worker: receives tasks and sends their results."""
    try:
        work = job.prepare()
        if isinstance(work, Failure):
            pipe.send(work)
            return
        pipe.send(None)
        while pipe.poll(IDLE_S):
            pipe.send(work(pipe.recv()))
            if job.fresh:
                return
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # no more work


@dataclass
class Worker:
    """A worker process as the parent sees it.

    Args:
        process: the process.
        pipe: to it.
        deadline: `time.monotonic` after which it counts as hanging; infinite when it is idle.
        task: its current task, None while it prepares or is idle.
        ready: whether it has prepared.
    """

    process: SpawnProcess
    pipe: Connection
    deadline: float
    task: Task | None = None
    ready: bool = False

    def give(self, task: Task, timeout_s: float) -> None:
        """Send one task; if the worker has just died, that is noticed on reading from it."""
        self.task, self.deadline = task, time.monotonic() + timeout_s
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task[1])

    def end(self, grace_s: float) -> str:
        """See `processes.end`."""
        self.pipe.close()
        return processes.end(self.process, grace_s)


class ProcessPool:
    """Worker processes; they end with the context.

    Args:
        job: how tasks are done.
        workers: number of processes; they share the cores of this process evenly.
    """

    def __init__(self, job: Job, workers: int):
        self.job, self.workers = job, workers
        self._workers: list[Worker] = []
        self._queue: deque[Task] = deque()
        self._deaths: dict[int, int] = {}

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, *_: object) -> None:
        workers = [worker for worker in self._workers if not worker.pipe.closed]
        for worker in workers:
            worker.pipe.close()
        for worker in workers:
            worker.end(grace_s=5.0 if worker.ready and worker.task is None else 0.0)
        self._workers = []
        self._queue.clear()

    def results(self, tasks: Iterable[Task]) -> Iterator[list[Result]]:
        """Do tasks in order; yields the finished results every tick.

        Raises:
            FlexcalcError: a worker cannot prepare, or a task failed for good.
        """
        self._queue.extend(tasks)
        self._distribute()
        while self._queue or any(worker.task is not None for worker in self._workers):
            ready = wait([worker.pipe for worker in self._workers], timeout=TICK_S)
            found = [self._read(worker) for worker in self._workers if worker.pipe in ready]
            found += [self._late(worker) for worker in self._workers]
            self._distribute()
            yield [result for result in found if result is not None]

    def _distribute(self) -> None:
        """Give tasks to idle workers, and replace workers that have ended while needed."""
        self._workers = [worker for worker in self._workers if not worker.pipe.closed]
        for worker in self._workers:
            if worker.ready and worker.task is None and self._queue:
                worker.give(self._queue.popleft(), self.job.timeout_s)
        idle_or_opening = sum(worker.task is None for worker in self._workers)
        wanted = min(self.workers - len(self._workers), len(self._queue) - idle_or_opening)
        for _ in range(wanted):
            self._start()

    def _start(self) -> None:
        threads = max(1, cores() // self.workers)
        process, pipe = processes.start(_serve, self.job, name="flexcalc-worker", threads=threads)
        self._workers.append(Worker(process, pipe, time.monotonic() + OPENING_S))

    def _read(self, worker: Worker) -> Result | None:
        """Receive the message of a worker."""
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            return self._dead(worker)
        if isinstance(message, Failure):
            raise message.error()
        task = worker.task
        worker.ready, worker.task, worker.deadline = True, None, float("inf")
        if task is None:
            return None
        if self.job.fresh:
            worker.end(grace_s=5.0)
        return task[0], message

    def _dead(self, worker: Worker) -> Result | None:
        """Give the task of a dead worker to another one, up to `attempts` times."""
        how = worker.end(grace_s=1.0)
        if not worker.ready:
            hint = f"; {processes.GUARD}" if processes.needs_main(self.job) else ""
            raise WorkerError(
                f"a worker process died while it opened {self.job.what} ({how}){hint}"
            )
        if worker.task is None:
            return None
        number, _ = worker.task
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] >= self.job.attempts:
            return number, Lost(f"worker died ({how})")
        self._queue.appendleft(worker.task)
        return None

    def _late(self, worker: Worker) -> Result | None:
        """End a worker that has exceeded its timeout."""
        if worker.pipe.closed or time.monotonic() < worker.deadline or worker.pipe.poll():
            return None
        worker.end(grace_s=0.0)
        if worker.task is None:
            raise WorkerError(f"{self.job.what} did not open within {OPENING_S:g} s")
        return worker.task[0], Lost(f"timed out after {self.job.timeout_s:g} s")
