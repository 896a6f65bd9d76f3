"""Processes that share the work of a batch: what Python's threads cannot do for small arrays.

A kernel's evaluation of some geometries is hundreds of NumPy calls of some ten microseconds. In
threads each of them ends in a wait for Python's lock, so that two threads are slower than one.
Here a batch is cut into pieces, and processes of their own take some. Who takes which is left to
chance; how a batch is cut is not, so that the result is the same to the byte, whether or not the
others are there. Who cuts by the number of cores, as sGDML does, has other last bits on others.

The processes start when work that could be shared has taken `PATIENCE` seconds, and nobody waits
for them: until they are there, this process does all of it. They end with it, however it ends.
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
"""Seconds of work that could be shared, before processes start."""
AWAKE = 2e-3
"""Seconds that what comes next is waited for awake: to fall asleep and be woken costs a tenth of
what most pieces take."""
GONE = (OSError, EOFError)
"""What a pipe raises whose other end has gone."""


class Sharable(Protocol):
    """A potential whose batches can be cut; the other processes get it through a pipe."""

    def alone(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of checked positions (batch, atoms, 3), on one thread."""


def shared(potential: Sharable, positions: np.ndarray, rows: int) -> Evaluation:
    """Energies and forces of positions (batch, atoms, 3), cut into pieces of so many rows."""
    if not len(positions):
        return Evaluation(np.zeros(0), np.zeros(positions.shape))
    with one_blas_thread():
        if len(positions) <= rows:
            return potential.alone(positions)
        pieces = [slice(start, start + rows) for start in range(0, len(positions), rows)]
        return _crew(os.getpid()).evaluate(potential, positions, pieces)


class _Crew:
    """The other processes that this one has."""

    def __init__(self) -> None:
        self._mates: list[_Mate] | None = None
        self._spent = 0.0
        # Another thread that has the crew keeps it; this one then does its pieces itself.
        self._taken = threading.Lock()
        atexit.register(self.end)

    def evaluate(
        self, potential: Sharable, positions: np.ndarray, pieces: list[slice]
    ) -> Evaluation:
        """The pieces of a batch, dealt out to all who are there."""
        batches = [positions[piece] for piece in pieces]
        if not self._taken.acquire(blocking=False):
            return concatenate([potential.alone(batch) for batch in batches])
        begun, away = time.monotonic(), dict[_Mate, slice]()
        try:
            mates = self._there()[: len(pieces) - 1]
            for place, mate in enumerate(mates, start=1):
                away[mate] = slice(place, None, len(mates) + 1)
                if not mate.give(potential, batches[away[mate]]):
                    del away[mate]
            numbers = range(len(batches))
            theirs = {number for dealt in away.values() for number in numbers[dealt]}
            parts = [None if n in theirs else potential.alone(batches[n]) for n in numbers]
            for mate, dealt in away.items():
                parts[dealt] = mate.take() or [potential.alone(one) for one in batches[dealt]]
        except BaseException:
            # What they are at would be taken for the next batch's.
            for mate in away:
                mate.end()
            raise
        finally:
            self._grow(time.monotonic() - begun)
            self._taken.release()
        return concatenate([part for part in parts if part is not None])

    def end(self) -> None:
        """Let all of them go; they start again once that is worth it."""
        for mate in self._mates or ():
            mate.end()
        self._mates, self._spent = None, 0.0

    def _there(self) -> list[_Mate]:
        return [mate for mate in self._mates or () if mate.ready()]

    def _grow(self, seconds: float) -> None:
        """Forget who has gone; start the crew when it has become worth it."""
        if self._mates is not None:
            self._mates = [mate for mate in self._mates if not mate.gone]
            return
        self._spent += seconds
        if self._spent > PATIENCE:
            self._mates = []
            with contextlib.suppress(OSError):  # no more processes to be had: do without
                for _ in range(cores() - 1):
                    self._mates.append(_Mate())


@cache
def _crew(process: int) -> _Crew:
    """Of this process: a forked one has not its parent's."""
    return _Crew()


@contextmanager
def ended_by_interrupts() -> Iterator[None]:
    """End the processes that share batches where Ctrl-C or a notebook interrupts the work."""
    try:
        yield
    except KeyboardInterrupt:
        _crew(os.getpid()).end()
        raise


class _Mate:
    """One other process: its pipe, and the potentials that it has been given."""

    def __init__(self) -> None:
        self.gone = self._there = False
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._given = 0
        self.pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "flexcalc.crew", str(theirs.fileno())],
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
        """Hand it pieces; False if it has gone."""
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
        """What came of the pieces; None if nothing did, so that they have to be done here."""
        try:
            return _received(self.pipe)
        except GONE:
            self.end()
            return None

    def end(self) -> None:
        """Let it go: it ends when its pipe does."""
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
    """What comes next, waited for awake at first."""
    deadline = time.monotonic() + AWAKE
    while not pipe.poll() and time.monotonic() < deadline:
        pass
    return pipe.recv()


def _environment() -> dict[str, str]:
    """For a process of one thread that finds this very package."""
    here = str(Path(__file__).parents[1])
    places = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    one = dict.fromkeys(THREAD_VARIABLES, "1")
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(places)}


def _serve(pipe: Connection) -> None:
    """Do pieces as they come, until the other end has gone."""
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
            found = None  # the other end does it again, and finds the error itself
        pipe.send(found)


if __name__ == "__main__":
    with contextlib.suppress(*GONE):
        _serve(Connection(int(sys.argv[1])))
