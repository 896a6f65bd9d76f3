"""Parallel trainings, on this machine or on Dask.

A process that is killed loses only what its own run folder does not hold.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any

from flexcalc.benchmarking.job import BenchmarkJob, Fit
from flexcalc.errors import BusyError, WorkerError
from flexcalc.parallel.dask import Needs
from flexcalc.parallel.failures import Failure, Lost
from flexcalc.parallel.process_pool import Job, Work
from flexcalc.progress import Progress

BUSY_S = 120.0
"""Timeout in which a training waits for the run folder that a lost Dask worker still holds: the
file server keeps the locks of a lost machine for a while."""


def run_pieces[R](
    job: BenchmarkJob,
    pieces: Mapping[Fit, partial[R]],
    keep: Callable[[Fit, R], None],
    progress: Progress,
) -> None:
    """Do pieces of work in their order, as many at a time as there are workers.

    With one local worker or a single piece the work is done in this process.

    Args:
        job: with the options of the workers.
        pieces: calls by the training; another process must be able to unpickle them.
        keep: called with each result as it comes in.
        progress: called with the number of those done.

    Raises:
        FlexcalcError: the first error of a piece of work; the others are stopped.
        WorkerError: a process died, or Dask's workers cannot do the work.
    """
    fits = list(pieces)
    options = job.worker_options
    if options.scheduler is None and (options.workers == 1 or len(fits) == 1):
        for done, fit in enumerate(fits):
            progress(done, len(fits), fit.text)
            keep(fit, pieces[fit]())
        return
    elsewhere = None if options.scheduler is None else os.getcwd()
    tasks = [(number, _Training(pieces[fit], elsewhere)) for number, fit in enumerate(fits)]
    needs = Needs((__name__,), "install flexcalc where it runs", job.folder / "minima.xyz")
    waiting = dict(enumerate(fits))
    with options.pool(Job(_prepare, "a training", fresh=True), needs, job.store.say) as pool:
        progress(0, len(fits), fits[0].text)
        for results in pool.results(tasks):
            for number, value in results:
                keep(waiting[number], _checked(waiting[number], value))
                del waiting[number]
            if results and waiting:
                progress(len(fits) - len(waiting), len(fits), next(iter(waiting.values())).text)


@dataclass(frozen=True)
class _Training:
    """A piece of work as a worker gets it.

    Args:
        piece: the work.
        folder: working directory of the command, for another machine; None on this one.
    """

    piece: partial[Any]
    folder: str | None


def _prepare() -> Work:
    return _train


def _train(training: _Training) -> Any:
    """One piece of work in a process of its own, silently; its run folder has the log."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            if training.folder is None:
                return training.piece()
            os.chdir(training.folder)
            return _when_free(training.piece)
        except Exception as error:  # it would only be seen on this process's standard error
            return Failure.of(error)


def _when_free(piece: partial[Any]) -> Any:
    """A piece of work whose run folder may still be held by a lost worker."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            return piece()
        except BusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def _checked(fit: Fit, value: Any) -> Any:
    """The result of a piece of work.

    Raises:
        WorkerError: its worker was lost.
    """
    if isinstance(value, Lost):
        raise WorkerError(
            f"{fit.text}: {value.reason}; if memory ran out, try fewer workers. The same command "
            "goes on from here"
        )
    return value
