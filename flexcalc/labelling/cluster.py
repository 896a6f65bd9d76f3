"""Labelling on Dask, when one machine is too small.

A Dask worker runs each calculation as one machine would, in a process of its own that may crash
or hang; what it sends back is written here, by the one process that writes.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from multiprocessing import current_process
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcalc.errors import FlexcalcError, LabelError
from flexcalc.labelling.jobqueue import JobQueue, Log, Standing, warn_of_reach
from flexcalc.labelling.local import TICK_S, Pool, Task
from flexcalc.labelling.worker import Failure, OpenReference, Outcome, one_line

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 30.0

ASK_S = 10.0
"""Between two questions to the queue while there are no workers."""

MOST_SILENT_S = 1800.0
"""Time between progress lines while there are no workers."""

GO_ON = "what is labelled is kept; mend that, and the same command goes on"
DIED = "the Dask worker died"
GONE = "the Dask scheduler has dropped the work; start again to go on"

_mine = threading.local()


def _calculate(
    run: str, open_reference: OpenReference, numbers: np.ndarray, timeout_s: float, task: Task
) -> Outcome | Failure:
    """One geometry on a Dask worker, in a process of its own as on one machine.

    The process stays, with the reference open, for the next geometry of the same run.
    """
    if getattr(_mine, "run", None) != run:
        if hasattr(_mine, "pool"):
            _mine.pool.__exit__()
        # Dask's workers are daemons, which may not have children that could outlive them;
        # ours end with their parent
        current_process()._config["daemon"] = False  # type: ignore[attr-defined]
        _mine.run, _mine.pool = run, Pool(open_reference, numbers, 1, timeout_s)
    try:
        outcomes = [outcome for batch in _mine.pool.batches([task]) for outcome in batch]
    except FlexcalcError as error:
        del _mine.run
        return Failure(type(error), str(error))
    return outcomes[0]


class DaskPool:
    """Dask workers, each with the reference open; what was started for them ends with the context.

    It connects, and submits jobs to a queue, when there is the first geometry to label.

    Args:
        open_reference: makes the reference, once for every thread of every Dask worker.
        numbers: (atoms,) of the molecule.
        scheduler: address, or table of a job queue that `check_scheduler` has passed.
        timeout_s: timeout for one geometry, in seconds.
        worker_wait_s: timeout for a worker to connect, in seconds.
        log: takes one line at a time.
    """

    def __init__(
        self,
        open_reference: OpenReference,
        numbers: np.ndarray,
        scheduler: str | Mapping[str, Any],
        timeout_s: float,
        worker_wait_s: float,
        log: Log,
    ):
        self.open_reference, self.numbers, self.scheduler = open_reference, numbers, scheduler
        self.timeout_s, self.worker_wait_s, self.log = timeout_s, worker_wait_s, log
        self._run = uuid.uuid4().hex
        self._fit: set[str] = set()
        self._died_once: set[int] = set()
        self._open = ExitStack()
        self._client: Client | None = None
        self._wait = Wait(worker_wait_s, log, lambda: Standing("not connected"))

    def __enter__(self) -> DaskPool:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def batches(self, tasks: Iterable[Task]) -> Iterator[list[Outcome]]:
        """Label geometries; what has come in, every tick.

        Raises:
            LabelError: no scheduler answers, it goes away, its workers do not come or cannot run
                flexcalc.
            FlexcalcError: the reference cannot be opened.
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
                arguments = (self._run, self.open_reference, self.numbers, self.timeout_s, task)
                future = client.submit(_calculate, *arguments, pure=False)
                future.add_done_callback(lambda _: arrived.set())
                running[future] = task
            arrived.wait(TICK_S)
            arrived.clear()
            outcomes = []
            for future in [future for future in running if future.done()]:
                task = running.pop(future)
                outcome = _outcome(future, task[0])
                if outcome.reason.startswith(DIED) and task[0] not in self._died_once:
                    self._died_once.add(task[0])
                    queue.appendleft(task)
                else:
                    outcomes.append(outcome)
            yield outcomes
            if not threads:
                self._wait.step()

    def _threads(self, client: Client) -> int:
        """How many geometries the workers can label at a time; new workers are asked first.

        Raises:
            LabelError: the scheduler is gone, or a worker lacks what it needs.
        """
        try:
            self._fit |= _fit(client, self._fit, self.open_reference)
            threads = sum(client.nthreads().values())
        except OSError as error:
            raise LabelError(f"{GONE}: {one_line(str(error))}") from None
        if threads:
            self._wait.over()
        return threads

    def _connected(self) -> Client:
        """The client, made at the first call.

        Raises:
            LabelError: no scheduler answers.
            ConfigError: the jobs' scheduler cannot be started here.
        """
        if self._client is not None:
            return self._client
        from distributed import Client
        from distributed.utils import silence_logging_cmgr

        for name in ("distributed", "distributed.client"):  # a lost scheduler is told in one line
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
                raise LabelError(
                    f"no Dask scheduler answers at {address}: {one_line(str(error))}"
                ) from None
            warn_of_reach(self.scheduler, address, self.log)

            def standing() -> Standing:
                return Standing("start some with: dask worker ADDRESS")

        self._wait = Wait(self.worker_wait_s, self.log, standing, f"the scheduler at {address}")
        self._client = self._open.enter_context(client)
        return client


class Wait:
    """Patience while there is no worker: ask, say, and stop in the end.

    Args:
        limit_s: longest wait.
        log: takes one line at a time.
        standing: what has become of the workers.
        where: they are to connect.
    """

    def __init__(self, limit_s: float, log: Log, standing: Callable[[], Standing], where: str = ""):
        self.limit_s, self.log, self.standing, self.where = limit_s, log, standing, where
        self.over()

    def over(self) -> None:
        """There are workers, or the wait begins."""
        self._began = self._asked = time.monotonic()
        self._said, self._next_s, self._ended = "", ASK_S, False

    def step(self) -> None:
        """Another moment without workers.

        Raises:
            LabelError: none can come any more, or it has lasted too long.
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
            raise LabelError(f"no Dask worker is left: {found.text}; {GO_ON}")
        self._ended = found.over
        if waited >= self.limit_s:
            raise LabelError(
                f"{self.where} has had no worker for {self.limit_s:g} s: {found.text}; {GO_ON}, "
                "with a larger --worker-wait-s if they only need more time"
            )
        if waited >= ASK_S and (found.text != self._said or waited >= self._next_s):
            self.log(f"{self.where} has had no worker for {waited:.0f} s: {found.text}")
            self._said, self._next_s = found.text, min(2 * waited, waited + MOST_SILENT_S)


def _fit(client: Client, known: set[str], open_reference: OpenReference) -> set[str]:
    """Addresses of new Dask workers, which can import what they will need.

    One that cannot would end on the first geometry it is sent, without a word to us. So it is
    asked first, by a function of Python's own that it has for certain.

    Raises:
        LabelError: one cannot.
    """
    new = sorted(set(client.nthreads()) - known)
    while isinstance(open_reference, partial):
        open_reference = open_reference.func
    modules = (__name__, getattr(open_reference, "__module__", None) or __name__)
    for module in modules if new else ():
        answers = client.run(resolve_name, f"{module}:__name__", workers=new, on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, ImportError | AttributeError):
                raise LabelError(
                    f"the Dask worker {address} cannot import {module}: {one_line(str(answer))}; "
                    "install flexcalc and the reference where it runs"
                )
    return set(new)


def _outcome(future: Future, index: int) -> Outcome:
    """What a finished future brought.

    Raises:
        LabelError: nothing, for a reason that is not the geometry's.
        FlexcalcError: the reference cannot be opened over there.
    """
    from distributed import KilledWorker

    if future.status == "finished":
        result = future.result()
        if isinstance(result, Failure):
            raise result.error()
        return result
    if future.status != "error":
        raise LabelError(GONE)
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Outcome(index, reason=f"{DIED} several times")
    raise LabelError(
        "the Dask workers cannot run the calculation: "
        + one_line(f"{type(error).__name__}: {error}")
    )
