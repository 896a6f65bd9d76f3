"""Tasks on a Dask cluster.

A Dask worker does each task in a process of its own, which may crash or hang, as on one machine. It
sends the result back to this process, which alone writes files.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import current_process
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from flexcalc.errors import FlexcalcError, WorkerError
from flexcalc.parallel.failures import Failure, Lost, one_line
from flexcalc.parallel.job_queue import JobQueue, Log, Standing, warn_of_reach
from flexcalc.parallel.process_pool import TICK_S, Job, ProcessPool, Result, Task
from flexcalc.storage import sha256_file

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 30.0

FETCH_S = 5.0
"""Timeout for fetching a result."""

ASK_S = 10.0
"""Time between two queries of the queue while there are no workers."""

MOST_SILENT_S = 1800.0
"""Maximum time between two messages while there are no workers."""

GO_ON = "finished work is kept; after fixing this, the same command resumes"
DIED = "the Dask worker died"
GONE = "the Dask scheduler has dropped the work; the same command resumes"

_mine = threading.local()


# On a Dask worker


def _do(run: str, key: str, job: Job, task: Task) -> Any:
    """One task on a Dask worker, in a process of its own as on one machine.

    The process stays, with what it has prepared, for the next task of the same run, unless the job
    needs a fresh one. It is ended if the task was cancelled.
    """
    if getattr(_mine, "run", None) != run:
        _forget()
        # Dask's workers are daemons, which may not have children that could outlive them;
        # ours end with their parent
        current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        _mine.run, _mine.pool = run, ProcessPool(job, 1)
    try:
        for results in _mine.pool.results([task]):
            for _, value in results:
                return value
            if not _is_wanted(key):
                break
    except FlexcalcError as error:
        _forget()
        return Failure.of(error)
    _forget()
    return Lost("cancelled")


def _forget() -> None:
    """End the process of an earlier run."""
    if hasattr(_mine, "pool"):
        _mine.pool.__exit__()
        del _mine.run, _mine.pool


def _is_wanted(key: str) -> bool:
    """Whether the scheduler still waits for a task that runs on this Dask worker."""
    from distributed import get_worker
    from distributed.core import Status

    worker = get_worker()
    state = worker.state.tasks.get(key)
    awake = worker.status in (Status.running, Status.paused)
    return awake and state is not None and state.state != "cancelled"


def _digest(path: str) -> str | None:
    """Digest of a file, None if it does not exist."""
    try:
        return sha256_file(path)
    except (OSError, FlexcalcError):
        return None


# Here


@dataclass(frozen=True)
class Needs:
    """Requirements of every Dask worker, checked before it gets tasks.

    Args:
        modules: that it must be able to import.
        advice: what to do if it cannot.
        file: that it must see with the same content, where the file system has to be shared.
    """

    modules: tuple[str, ...]
    advice: str
    file: Path | None = None


class DaskPool:
    """Dask workers; jobs started for them end with the context.

    It connects, and submits jobs to a queue, at the first task.

    Args:
        job: how tasks are done; every thread of every Dask worker prepares for itself.
        scheduler: address, or table of a job queue that `check_scheduler` has passed.
        worker_wait_s: timeout for a worker to connect, in seconds.
        needs: requirements of every worker.
        log: receives messages, one line each.
    """

    def __init__(
        self,
        job: Job,
        scheduler: str | Mapping[str, Any],
        worker_wait_s: float,
        needs: Needs,
        log: Log,
    ):
        self.job, self.scheduler, self.needs = job, scheduler, needs
        self.worker_wait_s, self.log = worker_wait_s, log
        self._run = uuid.uuid4().hex
        self._submitted = 0
        self._checked: set[str] = set()
        self._died_once: set[int] = set()
        self._open = ExitStack()
        self._client: Client | None = None
        self._wait = Wait(worker_wait_s, log, lambda: Standing("not connected"))

    def __enter__(self) -> DaskPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def results(self, tasks: Iterable[Task]) -> Iterator[list[Result]]:
        """Do tasks; yields the finished results every tick.

        A task whose Dask worker dies is given to another one.

        Raises:
            WorkerError: no scheduler answers, it goes away, its workers do not come or cannot run
                flexcalc.
            FlexcalcError: a worker cannot prepare, or a task failed for good.
        """
        queue = deque(tasks)
        running: dict[Future, Task] = {}
        arrived = threading.Event()
        client = self._connected()
        self._wait.over()
        while queue or running:
            threads = self._threads(client)
            # one waits behind each that runs, so that no thread is ever idle
            for _ in range(min(2 * threads - len(running), len(queue))):
                task = queue.popleft()
                future = self._submit(client, task)
                future.add_done_callback(lambda _: arrived.set())
                running[future] = task
            arrived.wait(TICK_S)
            arrived.clear()
            results = []
            for future in [future for future in running if future.done()]:
                try:
                    value = _value(future)
                except TimeoutError:
                    continue
                task = running.pop(future)
                number = task[0]
                dead = isinstance(value, Lost) and value.reason.startswith(DIED)
                if dead and number not in self._died_once:
                    self._died_once.add(number)
                    queue.appendleft(task)
                else:
                    results.append((number, value))
            yield results
            if not threads:
                self._wait.step()

    def _submit(self, client: Client, task: Task) -> Future:
        self._submitted += 1
        key = f"flexcalc-{self._run}-{self._submitted}"
        return client.submit(_do, self._run, key, self.job, task, key=key, pure=False)

    def _threads(self, client: Client) -> int:
        """Number of tasks that the workers can do at a time; new workers are checked first.

        Raises:
            WorkerError: the scheduler is gone, or a worker lacks what it needs.
        """
        try:
            self._checked |= _check_new(client, self._checked, self.needs)
            threads = sum(client.nthreads().values())
        except OSError as error:
            raise WorkerError(f"{GONE}: {one_line(str(error))}") from None
        if threads:
            self._wait.over()
        return threads

    def _connected(self) -> Client:
        """The client, made at the first call.

        Raises:
            WorkerError: no scheduler answers.
            ConfigError: the jobs' scheduler cannot be started here.
        """
        if self._client is not None:
            return self._client
        from distributed import Client
        from distributed.utils import silence_logging_cmgr

        for name in ("distributed", "distributed.client"):  # a lost scheduler is one line
            self._open.enter_context(silence_logging_cmgr(logging.CRITICAL, root=name))
        address = self.scheduler
        if not isinstance(address, str):
            jobs = self._open.enter_context(JobQueue(address, self.log))
            address = jobs.cluster.scheduler_address
            warn_of_reach(self.scheduler, address, self.log)
            client = Client(jobs.cluster, set_as_default=False)
            standing = jobs.standing
        else:
            try:
                client = Client(address, timeout=CONNECT_S, set_as_default=False)
            except (OSError, ValueError) as error:  # TimeoutError is an OSError
                raise WorkerError(
                    f"no Dask scheduler answers at {address}: {one_line(str(error))}"
                ) from None
            warn_of_reach(self.scheduler, address, self.log)

            def standing() -> Standing:
                return Standing("start some with: dask worker ADDRESS")

        self._wait = Wait(self.worker_wait_s, self.log, standing, f"the scheduler at {address}")
        self._client = self._open.enter_context(client)
        return client


class Wait:
    """Wait for workers: query the queue, report it, and raise after the limit.

    Args:
        limit_s: maximum wait, in seconds.
        log: receives messages, one line each.
        standing: returns the state of the workers.
        where: the scheduler that they connect to.
    """

    def __init__(self, limit_s: float, log: Log, standing: Callable[[], Standing], where: str = ""):
        self.limit_s, self.log, self.standing, self.where = limit_s, log, standing, where
        self.over()

    def over(self) -> None:
        """Reset, because there are workers or the wait begins."""
        self._began = self._asked = time.monotonic()
        self._said, self._next_s, self._ended = "", ASK_S, False

    def step(self) -> None:
        """Called while there are no workers.

        Raises:
            WorkerError: none can connect any more, or the limit is exceeded.
        """
        now = time.monotonic()
        waited = now - self._began
        # at once where the queue refuses, and rarely where it takes its time
        if waited < self.limit_s and now - self._asked < min(ASK_S, 1 + waited / 2):
            return
        self._asked = now
        found = self.standing()
        # asked twice: a job that is requeued has ended for a moment
        if found.over and self._ended:
            raise WorkerError(f"no Dask worker is left: {found.text}; {GO_ON}")
        self._ended = found.over
        if waited >= self.limit_s:
            raise WorkerError(
                f"{self.where} has had no worker for {self.limit_s:g} s: {found.text}; {GO_ON}, "
                "with a larger --worker-wait-s if they only need more time"
            )
        if waited >= ASK_S and (found.text != self._said or waited >= self._next_s):
            self.log(f"{self.where} has had no worker for {waited:.0f} s: {found.text}")
            self._said, self._next_s = found.text, min(2 * waited, waited + MOST_SILENT_S)


def _check_new(client: Client, known: set[str], needs: Needs) -> set[str]:
    """Addresses of new Dask workers, after a check of their requirements.

    One that cannot import a module would end at its first task without a message. So it is tested
    by a function of the standard library, which it has in any case.

    Raises:
        WorkerError: one does not meet them.
    """
    new = sorted(set(client.nthreads()) - known)
    for module in (__name__, *needs.modules) if new else ():
        answers = client.run(resolve_name, f"{module}:__name__", workers=new, on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, ImportError | AttributeError):
                raise WorkerError(
                    f"the Dask worker {address} cannot import {module}: {one_line(str(answer))}; "
                    f"{needs.advice}"
                )
    if new and needs.file is not None:
        path = str(needs.file.resolve())
        ours = _digest(path)
        for address, theirs in client.run(_digest, path, workers=new, on_error="return").items():
            if isinstance(theirs, str | None) and (theirs is None or theirs != ours):
                raise WorkerError(
                    f"the Dask worker {address} does not see {path} as this machine does; put "
                    "--output on a file system that all machines share"
                )
    return set(new)


def _value(future: Future) -> Any:
    """The result of a finished future.

    Raises:
        TimeoutError: it was lost with its worker before it was fetched, and is computed again.
        WorkerError: there is none, for a reason other than the task.
        FlexcalcError: the task failed for good.
    """
    from distributed import KilledWorker

    if future.status == "finished":
        value = future.result(timeout=FETCH_S)
        if isinstance(value, Failure):
            raise value.error()
        return value
    if future.status != "error":
        raise WorkerError(GONE)
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Lost(f"{DIED} several times")
    raise WorkerError(
        f"the Dask workers cannot do the work: {one_line(f'{type(error).__name__}: {error}')}"
    )
