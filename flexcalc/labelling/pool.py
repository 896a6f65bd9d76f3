"""The pool of processes, or of Dask workers, that labels geometries."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import partial
from multiprocessing import current_process
from typing import Any

import numpy as np

from flexcalc.errors import InputError, LabelError, WorkerError
from flexcalc.labelling.worker import OpenReference, Outcome, prepare
from flexcalc.parallel.dask import Needs
from flexcalc.parallel.failures import Lost, one_line
from flexcalc.parallel.job_queue import Log
from flexcalc.parallel.process_pool import Job
from flexcalc.parallel.processes import GUARD, MAIN, pickled
from flexcalc.parallel.workers import WorkerOptions

Geometry = tuple[int, np.ndarray]
"""Index of a geometry, and its positions (atoms, 3) in angstrom."""


class LabelPool:
    """Workers with the reference open; they end with the context.

    Args:
        open_reference: makes the reference; sent to the workers, so it must be importable there.
        numbers: (atoms,) of the molecule.
        workers: where geometries are labelled.
        timeout_s: timeout for one geometry, in seconds.
        log: receives messages, one line each.
    """

    def __init__(
        self,
        open_reference: OpenReference,
        numbers: np.ndarray,
        workers: WorkerOptions,
        timeout_s: float,
        log: Log,
    ):
        job = Job(partial(prepare, open_reference, numbers), "the reference", timeout_s, attempts=2)
        needs = Needs(
            (__name__, _module_of(open_reference)),
            "install flexcalc and the reference where it runs",
        )
        self._pool = workers.pool(job, needs, log)

    def __enter__(self) -> LabelPool:
        self._pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.__exit__()

    def batches(self, geometries: Iterable[Geometry]) -> Iterator[list[Outcome]]:
        """Label geometries; yields the finished labels every tick.

        Raises:
            LabelError: workers die before the reference is open, or do not come.
            FlexcalcError: the reference cannot be opened.
        """
        tasks = [(geometry[0], geometry) for geometry in geometries]
        try:
            for results in self._pool.results(tasks):
                yield [
                    Outcome(index, reason=value.reason) if isinstance(value, Lost) else value
                    for index, value in results
                ]
        except WorkerError as error:
            raise LabelError(str(error)) from None


def _module_of(function: OpenReference) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__module__", None) or __name__


def sendable(reference: Any) -> Any:
    """A copy of a potential or of an ASE calculator, to be sent to worker processes.

    What the original computes later, such as the sampling, does not change the copy.

    Raises:
        InputError: it cannot be copied or sent to worker processes.
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
