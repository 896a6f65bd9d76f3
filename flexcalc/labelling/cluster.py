"""Labelling on Dask, when one machine is too small.

A Dask worker runs each calculation as one machine would, in a process of its own that may crash
or hang; what it sends back is written here, by the one process that writes.
"""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from multiprocessing import current_process
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcalc.errors import ConfigError, FlexcalcError, LabelError, MissingExtraError
from flexcalc.labelling.local import TICK_S, Pool, Task
from flexcalc.labelling.worker import Failure, OpenReference, Outcome, one_line

if TYPE_CHECKING:
    from distributed import Client, Future

CLUSTERS = ("HTCondor", "LSF", "Moab", "OAR", "PBS", "SGE", "SLURM")
CONNECT_S = 30.0
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


def batches(
    open_reference: OpenReference,
    numbers: np.ndarray,
    tasks: Iterable[Task],
    scheduler: str | Mapping[str, Any],
    timeout_s: float,
) -> Iterator[list[Outcome]]:
    """Label geometries; what has come in, every tick.

    Args:
        open_reference: makes the reference, once for every thread of every Dask worker.
        numbers: (atoms,) of the molecule.
        tasks: index and positions of each.
        scheduler: address, or section of a dask-jobqueue cluster.
        timeout_s: longest time one geometry may take.

    Raises:
        LabelError: no scheduler answers, it goes away, or its workers cannot run flexcalc.
        FlexcalcError: the reference cannot be opened.
    """
    run = uuid.uuid4().hex
    queue = deque(tasks)
    running: dict[Future, Task] = {}
    died_once: set[int] = set()
    fit: set[str] = set()
    arrived = threading.Event()
    with _connected(scheduler) as client:
        while queue or running:
            try:
                fit |= _fit(client, fit, open_reference)
                threads = sum(client.nthreads().values())
            except OSError as error:
                raise LabelError(f"{GONE}: {one_line(str(error))}") from None
            # one waits behind each that runs, so that no thread is ever idle
            for _ in range(min(2 * threads - len(running), len(queue))):
                task = queue.popleft()
                arguments = (run, open_reference, numbers, timeout_s, task)
                future = client.submit(_calculate, *arguments, pure=False)
                future.add_done_callback(lambda _: arrived.set())
                running[future] = task
            arrived.wait(TICK_S)
            arrived.clear()
            outcomes = []
            for future in [future for future in running if future.done()]:
                task = running.pop(future)
                outcome = _outcome(future, task[0])
                if outcome.reason.startswith(DIED) and task[0] not in died_once:
                    died_once.add(task[0])
                    queue.appendleft(task)
                else:
                    outcomes.append(outcome)
            yield outcomes


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


@contextmanager
def _connected(scheduler: str | Mapping[str, Any]) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError("distributed", "dask") from None
    if not isinstance(scheduler, str):
        with (
            _job_cluster(dict(scheduler)) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # TimeoutError is an OSError
        raise LabelError(
            f"no Dask scheduler answers at {scheduler}: {one_line(str(error))}"
        ) from None
    with client:
        yield client


def _job_cluster(section: dict[str, Any]) -> Any:
    """A cluster of dask-jobqueue, from the keys of its class, `cluster` and `jobs`.

    Raises:
        ConfigError: unknown queue system or key.
    """
    try:
        import dask_jobqueue
    except ImportError:
        raise MissingExtraError("dask-jobqueue", "dask") from None
    name, jobs = section.pop("cluster", None), section.pop("jobs", 1)
    if name not in CLUSTERS:
        raise ConfigError(f"cluster: expected one of {', '.join(CLUSTERS)}, got {name!r}")
    try:
        cluster = getattr(dask_jobqueue, f"{name}Cluster")(**section)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the {name} cluster cannot be made: {one_line(str(error))}") from None
    cluster.scale(jobs=jobs)
    return cluster
