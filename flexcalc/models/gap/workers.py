"""Processes that evaluate the rows of a batch with QUIP, which knows no threads.

They are started as programs of their own, not by `multiprocessing`, which would run the user's
script once more in each of them. A worker reads a line of JSON (what to open), then batches, from
standard input and ends when that closes, however its parent died.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from flexcalc.models.gap.quip import Quip, Results

GRACE_S = 2.0
"""Time for a worker to end by itself."""


def command() -> dict[str, Any]:
    """What starts a worker, for `subprocess`."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        "args": [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
        "env": {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        "start_new_session": True,  # Ctrl-C is for the parent, which ends its workers itself
    }


def job(path: Path, numbers: np.ndarray, init_args: str) -> bytes:
    """The first line that a worker reads."""
    told = {"path": str(path), "numbers": numbers.tolist(), "init_args": init_args}
    return json.dumps(told).encode() + b"\n"


def question(positions: np.ndarray) -> bytes:
    """A batch (batch, atoms, 3), as a worker reads it."""
    return np.int64(len(positions)).tobytes() + positions.tobytes()


class Worker:
    """One process.

    Args:
        path: the main file of a model.
        numbers: (atoms,) atomic numbers.
        init_args: as in `quip.Quip`.
    """

    def __init__(self, path: Path, numbers: np.ndarray, init_args: str):
        self._process = subprocess.Popen(
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **command(),
        )
        self._shape = (len(numbers), 3)
        self.close = weakref.finalize(self, _end, self._process)
        self._write(job(path, numbers, init_args))

    def ask(self, positions: np.ndarray) -> None:
        """Send positions (batch, atoms, 3).

        Raises:
            OSError: the worker is gone.
        """
        self._write(question(positions))

    def answer(self, count: int) -> Results:
        """Energies (count,) and forces (count, atoms, 3) of the last question.

        Raises:
            OSError: the worker is gone.
        """
        pipe = cast(IO[bytes], self._process.stdout)
        energies = _read(pipe, (count,))
        return energies, _read(pipe, (count, *self._shape))

    def _write(self, content: bytes) -> None:
        pipe = cast(IO[bytes], self._process.stdin)
        pipe.write(content)
        pipe.flush()


class Pool:
    """Workers that share batches with the process they belong to.

    Args:
        count: of workers.
        start: makes one.
    """

    def __init__(self, count: int, start: Callable[[], Worker]):
        self._start, self._workers = start, [start() for _ in range(count)]

    def __call__(
        self,
        positions: np.ndarray,
        here: Callable[[np.ndarray], Results],
    ) -> Results:
        """Evaluate a batch, the last share of it in this process.

        What a worker that died leaves undone is done here, and another takes its place.
        """
        *shares, own = np.array_split(positions, len(self._workers) + 1)
        done = False
        try:
            asked = [self._ask(index, share) for index, share in enumerate(shares)]
            last = here(own)
            parts = []
            for index, share in enumerate(shares):
                found = self._answer(index, share) if asked[index] else None
                parts.append(here(share) if found is None else found)
            done = True
        finally:
            if not done:
                self.close()  # an answer nobody took must not be taken for the next one
        energies, forces = zip(*parts, last, strict=True)
        return np.concatenate(energies), np.concatenate(forces)

    def close(self) -> None:
        """End the workers; a later batch finds none."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def _ask(self, index: int, share: np.ndarray) -> bool:
        try:
            self._workers[index].ask(share)
        except OSError:
            return self._replace(index)
        return True

    def _answer(self, index: int, share: np.ndarray) -> Results | None:
        try:
            return self._workers[index].answer(len(share))
        except OSError:
            self._replace(index)
            return None

    def _replace(self, index: int) -> bool:
        self._workers[index].close()
        self._workers[index] = self._start()
        return False


def main() -> None:
    """A worker: batches from standard input, answers to standard output."""
    # QUIP prints to standard output, which carries the answers: it gets another.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer the batches of `source` until it ends; see `main`."""
    told = json.loads(source.readline())
    numbers = np.array(told["numbers"])
    quip = Quip(Path(told["path"]), numbers, told["init_args"])
    while True:
        try:
            count = int(_read(source, (1,), np.int64)[0])
            positions = _read(source, (count, len(numbers), 3))
        except OSError:
            return  # the parent is gone, or needs no more
        energies, forces = quip(positions)
        sink.write(energies.tobytes() + forces.tobytes())
        sink.flush()


def _read(pipe: IO[bytes], shape: Sequence[int], kind: type = float) -> np.ndarray:
    size = int(np.prod(shape)) * 8
    content = pipe.read(size)
    if len(content) < size:
        raise BrokenPipeError("the other side is gone")
    return np.frombuffer(content, kind).reshape(shape)


def _end(process: subprocess.Popen) -> None:
    """Close a worker's input, and kill it where it does not end by itself."""
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            pass  # it died with something still to be written
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
