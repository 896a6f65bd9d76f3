"""Several searches on one potential, in turns, whose evaluations are one batch.

Each search is a function of a potential and runs in a thread of its own, but only one of them
moves at a time: when all have asked for an evaluation, their geometries are evaluated in one call.
A search that has ended leaves the batch. So searches need not know of each other, and their order,
and with it every batch, is the same in every run.

A search may also hand over a task (`do`), such as a step of its band: tasks of one kind are then
done as arrays over all searches that have handed one over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.errors import FlexcalcError
from flexcalc.potential import Counted, Evaluation, Potential, check_positions, in_batches
from flexcalc.progress import Progress, silent

MAX_ROWS = 600
"""Maximum number of geometries in one call of the potential, which bounds the memory."""


Task = Callable[[Sequence[Any]], Generator[np.ndarray, Evaluation, Sequence[Any]]]
"""What is done for several searches at once: takes what each of them hands over, yields geometries
(rows, atoms, 3), an equal number for each search, takes their evaluation, as often as it needs one,
and returns the result of each."""


def do(potential: Potential, task: Task, given: Any) -> Any:
    """Do a task for one search, together with those of others where the potential is shared."""
    seat = potential.inner if isinstance(potential, Counted) else potential
    if not isinstance(seat, Seat):
        return _alone(potential, task, given)
    found, geometries = seat.do(task, given)
    if isinstance(potential, Counted):
        potential.geometries += geometries
    return found


def _alone(potential: Potential, task: Task, given: Any) -> Any:
    steps = task([given])
    try:
        asked = next(steps)
        while True:
            asked = steps.send(potential(asked))
    except StopIteration as done:
        return done.value[0]


def _evaluate(
    given: Sequence[np.ndarray],
) -> Generator[np.ndarray, Evaluation, list[Evaluation]]:
    """The task of an evaluation, whose searches may ask for different numbers of geometries."""
    found = yield np.concatenate(given)
    parts, begin = [], 0
    for positions in given:
        parts.append(_rows(found, slice(begin, begin + len(positions))))
        begin += len(positions)
    return parts


def _rows(found: Evaluation, part: slice) -> Evaluation:
    deviation = found.deviation
    return Evaluation(
        found.energies[part],
        found.forces[part],
        None if deviation is None else deviation[part],
    )


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
        self.task: Task = _evaluate
        """What it wants to have done,"""
        self.given: Any = None
        """and with what."""
        self.answer: Any = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.finished = False
        # Locks that one side waits for and the other releases: cheaper than semaphores.
        self._go, self._stopped = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._stopped.acquire()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def __call__(self, positions: ArrayLike) -> Evaluation:
        """Evaluate positions (batch, atoms, 3) in angstrom with those of the other searches."""
        found: Evaluation = self.do(_evaluate, check_positions(positions, self.numbers))[0]
        return found

    def do(self, task: Task, given: Any) -> tuple[Any, int]:
        """The result of a task that is done with those of the other searches, and the number of
        geometries that were evaluated for it."""
        self.task, self.given = task, given
        self._stopped.release()
        self._go.acquire()
        answer = self.answer
        if isinstance(answer, BaseException):
            raise answer
        if answer is None:
            raise RuntimeError("a search went on without its answer")
        found: tuple[Any, int] = answer
        return found

    def resume(self, answer: Any = None) -> None:
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
    answers: list[Any] = [None] * len(seats)
    going = list(seats)
    try:
        while going:
            for seat, answer in zip(going, answers, strict=True):
                seat.resume(answer)
                if seat.error is not None and not isinstance(seat.error, FlexcalcError):
                    raise seat.error
            going = [seat for seat in going if not seat.finished]
            progress(len(seats) - len(going), len(seats), f"{len(going)} searches go on")
            answers = _answers(potential, going)
    finally:
        for seat in going:
            if not seat.finished:
                seat.resume(_AbandonedError())
    return [seat.error if isinstance(seat.error, FlexcalcError) else seat.result for seat in seats]


def _answers(potential: Potential, seats: Sequence[Seat]) -> list[Any]:
    """What searches wait for, in one batch; errors by the search they belong to."""
    if not seats:
        return []
    try:
        return _done(potential, seats)
    except FlexcalcError as error:
        if len(seats) == 1:
            return [error]
        return [answer for seat in seats for answer in _answers(potential, [seat])]


def _done(potential: Potential, seats: Sequence[Seat]) -> list[Any]:
    """The results of the tasks of searches, and how many geometries each has asked for."""
    groups: dict[Hashable, list[int]] = {}
    for index, seat in enumerate(seats):
        groups.setdefault(seat.task, []).append(index)
    going = {
        task: seats[rows[0]].task([seats[row].given for row in rows])
        for task, rows in groups.items()
    }
    asked: dict[Hashable, Any] = dict.fromkeys(groups)
    geometries = dict.fromkeys(groups, 0)
    answers: list[Any] = [None] * len(seats)
    while going:
        wanted: dict[Hashable, np.ndarray] = {}
        for task in list(going):
            try:
                wanted[task] = going[task].send(asked[task])
            except StopIteration as done:
                del going[task]
                for row, found in zip(groups[task], done.value, strict=True):
                    answers[row] = (found, geometries[task] // len(groups[task]))
        if wanted:
            batch = np.concatenate(list(wanted.values()))
            evaluation, begin = in_batches(potential, batch, silent, size=MAX_ROWS), 0
            for task, positions in wanted.items():
                asked[task] = _rows(evaluation, slice(begin, begin + len(positions)))
                geometries[task] += len(positions)
                begin += len(positions)
    return answers
