"""Trainings side by side, on this machine or on Dask.

A process that is killed loses only what its own run folder does not remember.
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

Piece = partial[dict[str, Any]]
"""A call that another process can be handed, and that returns what JSON can hold."""

BUSY_S = 120.0
"""Longest time that a training waits for the run folder to be let go by a Dask worker that is
lost: the file server of a machine that is gone keeps its locks for a while."""


def run_pieces(
    job: BenchmarkJob,
    pieces: Mapping[Fit, Piece],
    taken: Callable[[Fit, dict[str, Any]], None],
    progress: Progress,
) -> None:
    """Do pieces of work, as many at a time as there are workers, in the order in which they stand.

    With one local process, or for a single piece there, the work is done in this process.

    Args:
        job: says where.
        pieces: calls by what they train.
        taken: told each result as it comes in.
        progress: told how many are done.

    Raises:
        FlexcalcError: the first that a piece of work ended with; the others are stopped.
        WorkerError: a process died, or Dask's workers cannot do the work.
    """
    fits = list(pieces)
    options = job.worker_options
    if options.scheduler is None and (options.workers == 1 or len(fits) == 1):
        for done, fit in enumerate(fits):
            progress(done, len(fits), fit.text)
            taken(fit, pieces[fit]())
        return
    elsewhere = None if options.scheduler is None else os.getcwd()
    tasks = [(number, _Training(pieces[fit], elsewhere)) for number, fit in enumerate(fits)]
    needs = Needs((__name__,), "install flexcalc where it runs", job.folder / "minima.xyz")
    waiting = dict(enumerate(fits))
    with options.pool(Job(_prepare, "a training", fresh=True), needs, job.store.say) as pool:
        progress(0, len(fits), fits[0].text)
        for results in pool.results(tasks):
            for number, value in results:
                taken(waiting[number], _checked(waiting[number], value))
                del waiting[number]
            if results and waiting:
                progress(len(fits) - len(waiting), len(fits), next(iter(waiting.values())).text)


@dataclass(frozen=True)
class _Training:
    """A piece of work as a worker gets it.

    Args:
        piece: the work.
        folder: of the command on another machine, from which its paths count; None on this one.
    """

    piece: Piece
    folder: str | None


def _prepare() -> Work:
    return _train


def _train(training: _Training) -> dict[str, Any] | Failure:
    """One piece of work in a process of its own, silently; its own run folder has the log."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            if training.folder is None:
                return training.piece()
            os.chdir(training.folder)
            return _patiently(training.piece)
        except Exception as error:  # it would only be seen on this process's standard error
            return Failure.of(error)


def _patiently(piece: Piece) -> dict[str, Any]:
    """A piece of work whose run folder may still be held by a worker that is lost."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            return piece()
        except BusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(1.0)


def _checked(fit: Fit, value: Any) -> dict[str, Any]:
    """What a piece of work came to.

    Raises:
        WorkerError: it came to nothing.
    """
    if isinstance(value, Lost):
        raise WorkerError(
            f"{fit.text}: {value.reason}; if memory ran out, try fewer workers. The same command "
            "goes on from here"
        )
    return value
