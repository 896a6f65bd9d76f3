"""Checkpoints of a long training: its finished steps, from which an interrupted one resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flexcalc.models.family import Family, TrainedPotential
from flexcalc.storage import read_json, write_json


class Checkpoints:
    """The finished steps of a training, in a folder.

    A step has a name within its part of the work. It is saved as STEP.json, written last,
    and STEP.flex where it gave a potential.

    Args:
        folder: created at the first save; None to save nothing. A step may keep
            its half-done work here too.
    """

    def __init__(self, folder: Path | None):
        self.folder = None if folder is None else Path(folder)

    def within(self, part: str) -> Checkpoints:
        """The checkpoints of a part of the work, such as a fold; its steps may be named alike."""
        return Checkpoints(None if self.folder is None else self.folder / part)

    def load(self, step: str) -> Any | None:
        """The saved results of a finished step, or None."""
        if self.folder is None:
            return None
        try:
            return read_json(self.folder / f"{step}.json")
        except FileNotFoundError:
            return None

    def load_potential(self, step: str, family: Family) -> TrainedPotential:
        """The potential of a finished step.

        Raises:
            FileFormatError: it is damaged.
        """
        if self.folder is None:
            raise LookupError(step)
        return family.load(self.folder / f"{step}.flex")

    def save(self, step: str, content: Any, potential: TrainedPotential | None = None) -> None:
        """Save a finished step.

        Args:
            step: its name.
            content: what JSON can hold.
            potential: that it gave, if any.

        Raises:
            OSError: the disk is full or not writable; the step counts as not done.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if potential is not None:
            potential.save(self.folder / f"{step}.flex", overwrite=True)
        write_json(self.folder / f"{step}.json", content)


NO_CHECKPOINTS = Checkpoints(None)
"""For a training that is not kept."""
