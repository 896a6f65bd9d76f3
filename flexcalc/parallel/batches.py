"""Worker processes for parts of a batch, or of a work, which threads cannot speed up.

A kernel's evaluation of some geometries is hundreds of NumPy calls of some ten microseconds. With
threads each of them waits for Python's global lock, so that two threads are slower than one.
Here a batch is cut into pieces, which are distributed over this process and its workers. The
result depends on how the batch is cut, but not on which process evaluates a piece. Potentials that
cut by the number of cores, as sGDML does, differ in the last bits between machines.

The workers start when distributable work has taken `PATIENCE` seconds. Until they are ready, this
process does all the work. They end with this process, even if it is killed.

A work of many small steps, such as a search of paths, is cut as a whole: each of its shares is one
process's from start to end (`do_shares`), which then evaluates all its batches itself.
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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from flexcalc.potential import Evaluation, concatenate
from flexcalc.threads import THREAD_VARIABLES, cores, one_blas_thread

PATIENCE = 1.0
"""Seconds of distributable work before the worker processes start."""
BUSY_WAIT_S = 2e-3
"""Seconds to busy-wait before blocking, because waking up costs a tenth of most pieces."""
LONGEST_WAIT_S = 1.0
"""Seconds to wait for the workers at once."""
SHARE, TOLD, DONE, LOST = "share", "told", "done", "lost"
"""Kinds of messages about a share: here it is, it tells, it returns, it has failed."""
GONE = (OSError, EOFError)
"""Exceptions of a pipe whose other end is closed."""


Tell = Callable[[Any], None]
"""Takes what a share of a work tells."""


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


def do_shares[T](shares: Sequence[Callable[[Tell], T]], told: Tell) -> list[T]:
    """Do the shares of a work, each in one process: this one, or a worker that is ready.

    What a share returns must not depend on the process that does it. A share is done again from its
    beginning, here, if its worker ends or its error cannot be sent.

    Args:
        shares: called with `tell`, by which they tell this process what `told` takes; often, since
            this process looks for its workers then. They are sent by pickle; where that fails, all
            are done here.
        told: called with what the shares tell, in the order of its coming.
    """
    return _batch_pool(os.getpid()).do_shares(shares, told)


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

    def do_shares[T](self, shares: Sequence[Callable[[Tell], T]], told: Tell) -> list[T]:
        """See the function `do_shares`."""
        sendable = _pickled(shares) if len(shares) > 1 and cores() > 1 else None
        if sendable is None or not self._taken.acquire(blocking=False):
            return [share(told) for share in shares]
        taken, found = self._taken, dict[int, T]()
        left, lost = deque(range(len(shares))), deque[int]()
        away: dict[_BatchWorker, int] = {}

        def look(wait_s: float = 0.0) -> None:
            """Give shares to the workers that are ready, and take what those at work have sent."""
            for worker in self._there():
                if left and worker not in away and worker.give_share(sendable[left[-1]]):
                    away[worker] = left.pop()
            while away and (ready := wait([worker.pipe for worker in away], wait_s)):
                wait_s = 0.0
                for worker in [one for one in away if one.pipe in ready]:
                    kind, content = worker.take_message()
                    if kind == TOLD:
                        told(content)
                        continue
                    number = away.pop(worker)
                    if kind == DONE:
                        found[number] = content
                    else:
                        lost.append(number)

        def tell(message: Any) -> None:
            told(message)
            look()

        try:
            self._start()
            look()
            while left or lost or away:
                if left or lost:
                    number = (left or lost).popleft()
                    found[number] = shares[number](tell)
                else:
                    look(LONGEST_WAIT_S)
        finally:
            # Those that are still at work have been left by an error or an interrupt.
            for worker in away:
                worker.end()
            taken.release()
        return [found[number] for number in range(len(shares))]

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
            self._start()

    def _start(self) -> None:
        """Start the workers that there are not."""
        self._workers = [worker for worker in self._workers or () if not worker.gone]
        with contextlib.suppress(OSError):  # no more processes available
            while len(self._workers) < cores() - 1:
                self._workers.append(_BatchWorker())


def _pickled(shares: Sequence[Any]) -> list[bytes] | None:
    """The pickles of shares; None if there is one that cannot be sent."""
    try:
        return [bytes(ForkingPickler.dumps(share)) for share in shares]
    except Exception:  # pickling raises whatever it likes
        return None


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

    def give_share(self, pickled: bytes) -> bool:
        """Send it a share of a work; False if it has ended."""
        try:
            self.pipe.send((SHARE, cores()))
            self.pipe.send_bytes(pickled)
        except GONE:
            self.end()
            return False
        return True

    def take_message(self) -> tuple[str, Any]:
        """What its share tells or returns; `LOST` if it has ended or failed."""
        try:
            kind, content = self.pipe.recv()
        except GONE:
            self.end()
            return LOST, None
        return kind, content

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
        message = _received(pipe)
        if message[0] == SHARE:
            _serve_share(pipe, message[1])
            continue
        key, model, alive, batches = message
        if model is not None:
            models = {one: models[one] for one in alive if one in models}
            models[key] = model
        try:
            found = [models[key].alone(batch) for batch in batches]
        except Exception:
            found = None  # the parent repeats it and raises the error
        pipe.send(found)


def _serve_share(pipe: Connection, count: int) -> None:
    """Do a share; batches are cut as in the parent, which has so many cores."""
    os.environ[THREAD_VARIABLES[0]] = str(count)
    with _batch_pool(os.getpid())._taken:  # it evaluates all itself
        try:
            found = pipe.recv()(lambda message: pipe.send((TOLD, message)))
            answer = ForkingPickler.dumps((DONE, found))
        except GONE:
            raise
        except Exception:
            answer = ForkingPickler.dumps((LOST, None))  # the parent does it again
    pipe.send_bytes(answer)


if __name__ == "__main__":
    # That of the module which potentials import, which has the lock that they look at.
    from flexcalc.parallel.batches import _serve as serve

    with contextlib.suppress(*GONE):
        serve(Connection(int(sys.argv[1])))
