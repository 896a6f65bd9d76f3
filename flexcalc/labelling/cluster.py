"""Labelling on Dask, when one machine is too small.

The same calculation as on one machine; what a Dask worker sends back is written here, by the
one process that writes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from flexcalc.errors import ConfigError, LabelError, MissingExtraError
from flexcalc.labelling.worker import (
    OpeningFailure,
    OpenReference,
    Outcome,
    evaluate,
    one_line,
    open_checked,
)

if TYPE_CHECKING:
    from distributed import Client, Future

CLUSTERS = ("HTCondor", "LSF", "Moab", "OAR", "PBS", "SGE", "SLURM")
TICK_S = 0.25
CONNECT_S = 30.0

_opened = threading.local()


def _calculate(
    run: str, open_reference: OpenReference, numbers: np.ndarray, index: int, positions: np.ndarray
) -> Outcome | OpeningFailure:
    """One geometry on a Dask worker; the reference stays open for the next of the same run."""
    if getattr(_opened, "run", None) != run:
        _opened.run, _opened.potential = run, open_checked(open_reference, numbers)
    if isinstance(_opened.potential, OpeningFailure):
        return _opened.potential
    return evaluate(_opened.potential, index, positions)


def batches(
    open_reference: OpenReference,
    numbers: np.ndarray,
    positions: np.ndarray,
    tasks: Sequence[int],
    scheduler: str | Mapping[str, Any],
    timeout_s: float,
) -> Generator[list[Outcome]]:
    """Label the geometries of these indices; what has come in, every tick.

    As many are with Dask as it has threads, so that a geometry's time is its own.

    Args:
        open_reference: makes the reference, once in every thread of every Dask worker.
        numbers: (atoms,) of the molecule.
        positions: (frames, atoms, 3) in angstrom, of all geometries.
        tasks: indices.
        scheduler: address, or section of a dask-jobqueue cluster.
        timeout_s: longest time one geometry may take.

    Raises:
        LabelError: no scheduler answers, or it goes away.
        FlexcalcError: the reference cannot be opened.
    """
    run = uuid.uuid4().hex
    queue = deque(tasks)
    running: dict[str, tuple[int, Future]] = {}
    started: dict[str, float] = {}
    with _connected(scheduler) as client:
        while queue or running:
            free = sum(client.nthreads().values()) - len(running)
            for index in [queue.popleft() for _ in range(min(free, len(queue)))]:
                arguments = (run, open_reference, numbers, index, positions[index])
                key = f"label-{run}-{index}"
                running[key] = (index, client.submit(_calculate, *arguments, key=key))
            _wait(running)
            outcomes = [
                _outcome(*running.pop(key)) for key in list(running) if running[key][1].done()
            ]
            outcomes += _stop_late(client, running, started, timeout_s)
            if client.status != "running":
                raise LabelError("the Dask scheduler went away; start again to go on")
            yield outcomes


def _wait(running: Mapping[str, tuple[int, Future]]) -> None:
    from distributed import TimeoutError, wait

    futures = [future for _, future in running.values()]
    if not futures:
        time.sleep(TICK_S)  # no worker yet
        return
    try:
        wait(futures, timeout=TICK_S, return_when="FIRST_COMPLETED")
    except TimeoutError:
        return


def _outcome(index: int, future: Future) -> Outcome:
    """What a finished future brought.

    Raises:
        FlexcalcError: the reference cannot be opened over there.
    """
    if future.status != "finished":
        error = None if future.cancelled() else future.exception()
        kind = type(error).__name__ if error is not None else future.status
        died = "worker died" if kind == "KilledWorker" else "no result"
        return Outcome(index, reason=one_line(f"{died} ({kind}: {error})"))
    result = future.result()
    if isinstance(result, OpeningFailure):
        raise result.error()
    return result


def _stop_late(
    client: Client,
    running: dict[str, tuple[int, Future]],
    started: dict[str, float],
    timeout_s: float,
) -> list[Outcome]:
    """Give up what has run too long, and restart the workers that hang in it."""
    where = {str(key): address for address, keys in client.processing().items() for key in keys}
    now = time.monotonic()
    for key in list(started):
        if key not in running:
            del started[key]
    for key in running:
        if key in where:
            started.setdefault(key, now)
    late = [key for key, since in started.items() if now - since > timeout_s]
    if not late:
        return []
    stopped = [running.pop(key) for key in late]
    client.cancel([future for _, future in stopped], force=True)
    with suppress(ValueError, OSError):  # without a nanny its thread stays lost, no more
        client.restart_workers(sorted({where[key] for key in late if key in where}), timeout=60)
    return [Outcome(index, reason=f"timed out after {timeout_s:g} s") for index, _ in stopped]


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
