"""The pool of processes, or of Dask workers, that labels geometries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np

from flexcalc.errors import LabelError, WorkerError
from flexcalc.labelling.worker import OpenReference, Outcome, prepare
from flexcalc.parallel.dask import Needs
from flexcalc.parallel.failures import Lost
from flexcalc.parallel.job_queue import Log
from flexcalc.parallel.process_pool import Job
from flexcalc.parallel.workers import WorkerOptions

Geometry = tuple[int, np.ndarray]
"""Index of a geometry, and its positions (atoms, 3) in angstrom."""


class LabelPool:
    """Workers with the reference open; they end with the context.

    Args:
        open_reference: makes the reference; sent to the workers, so it must be importable there.
        numbers: (atoms,) of the molecule.
        workers: where geometries are labelled.
        timeout_s: longest time one geometry may take.
        log: takes one line at a time.
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
        """Label geometries; what has come in, every tick.

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
