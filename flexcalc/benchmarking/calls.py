"""The commands that the stages of a benchmark call, each in a run folder of its own.

All calls of other commands are here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flexcalc.commands.face import run_command
from flexcalc.commands.label import label as _label
from flexcalc.commands.path import path as _path
from flexcalc.commands.train import train as _train
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
    found: Any = run_command(_train, options, folder, echo)
    return found.to_dict()


def path(options: PathSearch, folder: Path, echo: Echo = None) -> FoundPath:
    """Search a path. See `label`."""
    found: Any = run_command(_path, options, folder, echo)
    return found
