"""The commands that the stages of a benchmark call, each in a run folder of its own.

All calls of other commands are here and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from flexcalc.commands.face import run_command
from flexcalc.commands.label import label as _label
from flexcalc.commands.path import path as _path
from flexcalc.config import Label, PathSearch, Train
from flexcalc.dataset import Dataset
from flexcalc.results.path import Path as FoundPath

Echo = Callable[[str], None] | None
"""Takes the lines that a command says; None for nobody."""


def label(options: Label, folder: Path, echo: Echo = None) -> Dataset:
    """Label geometries.

    Args:
        options: of the command.
        folder: its run folder, made or resumed.
        echo: takes what it says.

    Returns:
        The labelled frames. Those that the reference could not label are left out.
    """
    found: Any = run_command(_label, options, folder, echo)
    return found.dataset


def train(options: Train, folder: Path, echo: Echo = None) -> Mapping[str, Any]:
    """Train a model; its figures as results.json has them. See `label`."""
    from flexcalc.workflows.fitting import run_train

    with _heard(echo):
        return run_train(options, folder)


def path(options: PathSearch, folder: Path, echo: Echo = None) -> FoundPath:
    """Search a path. See `label`."""
    found: Any = run_command(_path, options, folder, echo)
    return found


@contextmanager
def _heard(echo: Echo) -> Iterator[None]:
    """Let a command print only where somebody listens."""
    if echo is not None:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
