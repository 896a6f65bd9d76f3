"""Worker processes that evaluate parts of a batch, which threads cannot speed up for small arrays.

A kernel's evaluation of some geometries is hundreds of NumPy calls of some ten microseconds. With
threads each of them waits for Python's global lock, so that two threads are slower than one.
Here a batch is cut into pieces, which are distributed over this process and its workers. The
result depends on how the batch is cut, but not on which process evaluates a piece. Potentials that
cut by the number of cores, as sGDML does, differ in the last bits between machines.

The workers start when distributable work has taken `PATIENCE` seconds. Until they are ready, this
process does all the work. They end with this process, even if it is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flexcalc.potential import Evaluation, concatenate
from flexcalc.threads import THREAD_VARIABLES, cores, one_blas_thread

PATIENCE = 1.0
"""Seconds of distributable work before the worker processes start."""
BUSY_WAIT_S = 2e-3
"""Seconds to busy-wait before blocking, because waking up costs a tenth of most pieces."""
GONE = (OSError, EOFError)
"""Exceptions of a pipe whose other end is closed."""


class Sharable(Protocol):
    """A potential whose batches can be cut; it is sent to the workers by pickle."""

    def alone(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of checked positions (batch, atoms, 3), on one thread."""


def evaluate_in_pieces(potential: Sharable, positions: np.ndarray, rows: int) -> Evaluation:
    """Energies and forces of a batch, cut into pieces for the worker processes.

    Args:
        potential: to evaluate.
        positions: (batch, atoms, 3) in angstrom, checked.
        rows: maximum number of geometries per piece.
    """
    if not len(positions):
        return Evaluation(np.zeros(0), np.zeros(positions.shape))
    with one_blas_thread():
        if len(positions) <= rows:
            return potential.alone(positions)
        pieces = [slice(start, start + rows) for start in range(0, len(positions), rows)]
        return _batch_pool(os.getpid()).evaluate(potential, positions, pieces)


class _BatchPool:
    """The worker processes that evaluate batches for this process."""

    def __init__(self) -> None:
        self._workers: list[_BatchWorker] | None = None
        self._spent = 0.0
        # If another thread uses the workers, this one evaluates all pieces itself.
        self._taken = threading.Lock()
        atexit.register(self.end)

    def evaluate(
        self, potential: Sharable, positions: np.ndarray, pieces: list[slice]
    ) -> Evaluation:
        """Evaluate the pieces of a batch here and in all workers that are ready."""
        batches = [positions[piece] for piece in pieces]
        taken = self._taken
        if not taken.acquire(blocking=False):
            return concatenate([potential.alone(batch) for batch in batches])
        begun, away = time.monotonic(), dict[_BatchWorker, slice]()
        try:
            workers = self._there()[: len(pieces) - 1]
            for place, worker in enumerate(workers, start=1):
                away[worker] = slice(place, None, len(workers) + 1)
                if not worker.give(potential, batches[away[worker]]):
                    del away[worker]
            numbers = range(len(batches))
            theirs = {number for dealt in away.values() for number in numbers[dealt]}
            parts = [None if n in theirs else potential.alone(batches[n]) for n in numbers]
            for worker, dealt in away.items():
                parts[dealt] = worker.take() or [potential.alone(one) for one in batches[dealt]]
        except BaseException:
            # Their late results would be mistaken for those of the next batch.
            for worker in away:
                worker.end()
            raise
        finally:
            self._grow(time.monotonic() - begun)
            taken.release()
        return concatenate([part for part in parts if part is not None])

    def end(self) -> None:
        """End all workers; they start again after `PATIENCE` seconds of work."""
        for worker in self._workers or ():
            worker.end()
        self._workers, self._spent = None, 0.0
        # An interrupt between taking the workers and the work with them leaves the lock locked.
        self._taken = threading.Lock()

    def _there(self) -> list[_BatchWorker]:
        return [worker for worker in self._workers or () if worker.ready()]

    def _grow(self, seconds: float) -> None:
        """Remove workers that have ended; start workers after `PATIENCE` seconds of work."""
        if self._workers is not None:
            self._workers = [worker for worker in self._workers if not worker.gone]
            return
        self._spent += seconds
        if self._spent > PATIENCE:
            self._workers = []
            with contextlib.suppress(OSError):  # no more processes available
                for _ in range(cores() - 1):
                    self._workers.append(_BatchWorker())


@cache
def _batch_pool(process: int) -> _BatchPool:
    """The pool of this process; a forked process has its own."""
    return _BatchPool()


@contextmanager
def ended_by_interrupts() -> Iterator[None]:
    """End the worker processes if Ctrl-C or a notebook interrupts the work."""
    try:
        yield
    except KeyboardInterrupt:
        _batch_pool(os.getpid()).end()
        raise


class _BatchWorker:
    """One worker process: its pipe, and the potentials that were sent to it."""

    def __init__(self) -> None:
        self.gone = self._there = False
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._given = 0
        self.pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flexcalc.parallel.batches", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env=_environment(),
            )

    def ready(self) -> bool:
        """Whether it has started."""
        if not self._there and not self.gone:
            try:
                self._there = self.pipe.poll() and self.pipe.recv() is None
            except GONE:
                self.end()
        return self._there and not self.gone

    def give(self, potential: Sharable, batches: list[np.ndarray]) -> bool:
        """Send it pieces; False if it has ended."""
        try:
            model = None
            if potential not in self._known:
                model = potential
                self._given += 1
                self._known[potential] = self._given
            key = self._known[potential]
            self.pipe.send((key, model, tuple(self._known.values()), batches))
        except GONE:
            self.end()
            return False
        return True

    def take(self) -> list[Evaluation] | None:
        """The results of its pieces; None if it failed and they must be evaluated here."""
        try:
            return _received(self.pipe)
        except GONE:
            self.end()
            return None

    def end(self) -> None:
        """Close the pipe, which ends the process; kill it after a second."""
        if self.gone:
            return
        self.gone = True
        self.pipe.close()
        try:
            self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _received(pipe: Connection) -> Any:
    """The next message; busy-waits before it blocks."""
    deadline = time.monotonic() + BUSY_WAIT_S
    while not pipe.poll() and time.monotonic() < deadline:
        pass
    return pipe.recv()


def _environment() -> dict[str, str]:
    """Environment of a process with one thread that imports this installation of flexcalc."""
    here = str(Path(__file__).parents[2])
    places = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    one = dict.fromkeys(THREAD_VARIABLES, "1")
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(places)}


def _serve(pipe: Connection) -> None:
    """Evaluate pieces until the pipe is closed."""
    models: dict[int, Sharable] = {}
    pipe.send(None)
    while True:
        key, model, alive, batches = _received(pipe)
        if model is not None:
            models = {one: models[one] for one in alive if one in models}
            models[key] = model
        try:
            found = [models[key].alone(batch) for batch in batches]
        except Exception:
            found = None  # the parent repeats it and raises the error
        pipe.send(found)


if __name__ == "__main__":
    with contextlib.suppress(*GONE):
        _serve(Connection(int(sys.argv[1])))
