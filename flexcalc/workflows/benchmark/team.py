"""Trainings side by side: each in a process of its own, which ends with this one.

A process that is killed loses only what its own run folder does not remember.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from flexcalc.errors import FlexcalcError
from flexcalc.labelling.local import end_with_parent, interrupts_blocked, limited_threads
from flexcalc.labelling.worker import Failure, one_line
from flexcalc.progress import Progress
from flexcalc.threads import cores
from flexcalc.workflows.benchmark.job import Fit

Piece = partial[dict[str, Any]]
"""A call that another process can be handed, and that returns what JSON can hold."""


@dataclass(frozen=True, eq=False)
class _Working:
    """A process and what it trains."""

    fit: Fit
    process: SpawnProcess
    pipe: Connection


def done_by(
    workers: int,
    pieces: Mapping[Fit, Piece],
    taken: Callable[[Fit, dict[str, Any]], None],
    progress: Progress,
) -> None:
    """Do pieces of work, so many at a time, in the order in which they stand.

    Args:
        workers: processes; with one, or for a single piece, the work is done in this one.
        pieces: calls by what they train.
        taken: told each result as it comes in.
        progress: told how many are done.

    Raises:
        FlexcalcError: the first that a piece of work ended with; the others are stopped.
    """
    waiting = list(pieces.items())
    if workers == 1 or len(pieces) == 1:
        for done, (fit, piece) in enumerate(waiting):
            progress(done, len(pieces), fit.text)
            taken(fit, piece())
        return
    team: list[_Working] = []
    try:
        while waiting or team:
            while waiting and len(team) < workers:
                team.append(_begun(*waiting.pop(0), threads=max(1, cores() // workers)))
            progress(len(pieces) - len(waiting) - len(team), len(pieces), team[0].fit.text)
            ready = wait([one.pipe for one in team])
            for one in [one for one in team if one.pipe in ready]:
                team.remove(one)
                taken(one.fit, _result(one))
    finally:
        for one in team:
            _stop(one)


def _begun(fit: Fit, piece: Piece, threads: int) -> _Working:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(piece, theirs), name="flexcalc-train")
    with limited_threads(threads), interrupts_blocked():
        process.start()
    theirs.close()
    return _Working(fit, process, ours)


def _work(piece: Piece, pipe: Connection) -> None:
    """Main of a process: one piece of work, silently; its own run folder has the log."""
    os.setpgid(0, 0)
    threading.Thread(target=end_with_parent, daemon=True).start()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            outcome: dict[str, Any] | Failure = piece()
        except FlexcalcError as error:
            outcome = Failure(type(error), one_line(str(error)))
        except Exception as error:  # it would only be seen on this process's standard error
            outcome = Failure(FlexcalcError, one_line(f"{type(error).__name__}: {error}"))
    pipe.send(outcome)


def _result(one: _Working) -> dict[str, Any]:
    """What a process sent before it ended."""
    try:
        outcome = one.pipe.recv()
    except EOFError:
        one.process.join()
        code = one.process.exitcode
        raise FlexcalcError(
            f"{one.fit.text}: the process ended with code {code}; if memory ran out, "
            "try fewer workers. The same command goes on from here"
        ) from None
    one.process.join()
    if isinstance(outcome, Failure):
        raise outcome.error()
    return outcome


def _stop(one: _Working) -> None:
    """Kill a process and what it has started."""
    if one.process.pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(one.process.pid, signal.SIGKILL)
    one.process.kill()  # had it not made its group yet
    one.process.join()
