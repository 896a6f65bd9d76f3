"""Several searches on one potential, in turns, whose evaluations are one batch.

Each search is a function of a potential and runs in a thread of its own, but only one of them
moves at a time: when all have asked for an evaluation, their geometries are evaluated in one call.
A search that has ended leaves the batch. So searches need not know of each other, and their order,
and with it every batch, is the same in every run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import FlexcalcError
from flexcalc.potential import Evaluation, Potential, check_positions, in_batches
from flexcalc.progress import Progress, silent

MAX_ROWS = 600
"""Maximum number of geometries in one call of the potential, which bounds the memory."""


class _AbandonedError(BaseException):
    """Ends a search, because another one has failed or was interrupted."""


class Seat:
    """One search: its potential, which waits for the batch, and what it returns.

    Args:
        work: the search, a function of a potential.
        numbers: (atoms,) atomic numbers.
    """

    def __init__(self, work: Callable[[Potential], Any], numbers: np.ndarray):
        self.numbers = numbers
        self.positions: np.ndarray = np.zeros((0, len(numbers), 3))
        """Geometries that it asks for."""
        self.answer: Evaluation | BaseException | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def __call__(self, positions: ArrayLike) -> Evaluation:
        """Evaluate positions (batch, atoms, 3) in angstrom with those of the other searches."""
        self.positions = check_positions(positions, self.numbers)
        self._stopped.release()
        self._go.acquire()
        answer = self.answer
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            raise RuntimeError("a search went on without its evaluation")
        return answer

    def resume(self, answer: Evaluation | BaseException | None = None) -> None:
        """Let the search go on with the answer until it asks again or ends."""
        self.answer = answer
        self._go.release()
        self._stopped.acquire()

    def _run(self, work: Callable[[Potential], Any]) -> None:
        self._go.acquire()
        try:
            if not isinstance(self.answer, _AbandonedError):
                self.result = work(self)
        except _AbandonedError:
            pass
        except BaseException as error:  # raised again, or returned, by `in_one_batch`
            self.error = error
        self.finished = True
        self._stopped.release()


def in_one_batch[T](
    potential: Potential,
    works: Sequence[Callable[[Potential], T]],
    progress: Progress = silent,
) -> list[T | FlexcalcError]:
    """Do several searches; every evaluation of the potential is one batch of all that go on.

    Args:
        potential: surface, in eV and angstrom.
        works: the searches, functions of the potential that they are handed.
        progress: called with the number of searches that have ended.

    Returns:
        What each search returns, or the error of flexcalc's that ended it.

    Raises:
        Exception: any other error of a search; the others are ended too.
    """
    seats = [Seat(work, potential.numbers) for work in works]
    answers: list[Evaluation | BaseException | None] = [None] * len(seats)
    going = list(seats)
    try:
        while going:
            for seat, answer in zip(going, answers, strict=True):
                seat.resume(answer)
                if seat.error is not None and not isinstance(seat.error, FlexcalcError):
                    raise seat.error
            going = [seat for seat in going if not seat.finished]
            progress(len(seats) - len(going), len(seats), f"{len(going)} searches go on")
            answers = list(_answers(potential, going))
    finally:
        for seat in going:
            if not seat.finished:
                seat.resume(_AbandonedError())
    return [seat.error if isinstance(seat.error, FlexcalcError) else seat.result for seat in seats]


def _answers(potential: Potential, seats: Sequence[Seat]) -> Sequence[Evaluation | FlexcalcError]:
    """The evaluations that searches wait for, in one batch; errors by the search they belong to."""
    if not seats:
        return []
    try:
        batch = np.concatenate([seat.positions for seat in seats])
        found = in_batches(potential, batch, silent, size=MAX_ROWS)
    except FlexcalcError as error:
        if len(seats) == 1:
            return [error]
        return [answer for seat in seats for answer in _answers(potential, [seat])]
    ends = np.cumsum([len(seat.positions) for seat in seats])
    parts = [slice(end - len(seat.positions), end) for seat, end in zip(seats, ends, strict=True)]
    deviation = found.deviation
    return [
        Evaluation(
            found.energies[part],
            found.forces[part],
            None if deviation is None else deviation[part],
        )
        for part in parts
    ]
