"""The commands that the stages of a benchmark call, each in a run folder of its own.

All calls of other commands are here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

from flexcalc.commands.face import run_command
from flexcalc.commands.label import label as _label
from flexcalc.commands.path import path as _path
from flexcalc.commands.train import train as _train
from flexcalc.config.label import Label
from flexcalc.config.paths import PathSearch
from flexcalc.config.train import Train
from flexcalc.dataset import Dataset
from flexcalc.results.labels import Labels
from flexcalc.results.path import Path as FoundPath
from flexcalc.results.training import Training

Echo = Callable[[str], None] | None
"""Takes the lines of a command; None to drop them."""


def label(options: Label, folder: Path, echo: Echo = None) -> Dataset:
    """Label geometries.

    Args:
        options: of the command.
        folder: its run folder; an unfinished run in it is resumed.
        echo: takes its lines.

    Returns:
        The labelled frames. Those that the reference could not label are left out.
    """
    return cast(Labels, run_command(_label, options, folder, echo)).dataset


def train(options: Train, folder: Path, echo: Echo = None) -> Training:
    """Train a model. See `label`."""
    return cast(Training, run_command(_train, options, folder, echo))


def path(options: PathSearch, folder: Path, echo: Echo = None) -> FoundPath:
    """Search a path. See `label`."""
    return cast(FoundPath, run_command(_path, options, folder, echo))
