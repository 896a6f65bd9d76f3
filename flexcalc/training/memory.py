"""What a long training remembers of its finished steps, so that a killed one can go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flexcalc.models.family import Family, TrainedPotential
from flexcalc.storage import read_json, write_json


class Memory:
    """Remembers nothing; also the face of memories that do.

    A step has a name within its part of the work. What is remembered of it is something JSON
    can hold and, where it gave one, a potential.
    """

    @property
    def scratch(self) -> Path | None:
        """A folder in which a step may keep its half-done work, or None."""
        return None

    def within(self, part: str) -> Memory:
        """The memory of a part of the work, such as a fold; its steps may be named alike."""
        return self

    def recall(self, step: str) -> Any | None:
        """What was remembered of a finished step, or None."""
        return None

    def potential(self, step: str, family: Family) -> TrainedPotential:
        """The potential of a finished step."""
        raise LookupError(step)

    def remember(self, step: str, content: Any, potential: TrainedPotential | None = None) -> None:
        """Note that a step is finished, and what came of it."""


NOTHING = Memory()


class Notebook(Memory):
    """Remembers in a folder: STEP.json, written last and whole, and STEP.flex.

    Args:
        folder: made when there is something to remember.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    @property
    def scratch(self) -> Path:
        """The notebook's own folder."""
        return self.folder

    def within(self, part: str) -> Notebook:
        """The notebook of a part, in a folder of its own."""
        return Notebook(self.folder / part)

    def recall(self, step: str) -> Any | None:
        """What was remembered, or None."""
        try:
            return read_json(self.folder / f"{step}.json")
        except FileNotFoundError:
            return None

    def potential(self, step: str, family: Family) -> TrainedPotential:
        """Load the potential of a step.

        Raises:
            FileFormatError: it is damaged.
        """
        return family.load(self.folder / f"{step}.flex")

    def remember(self, step: str, content: Any, potential: TrainedPotential | None = None) -> None:
        """Write a step down.

        Raises:
            OSError: the disk is full or not writable; the step counts as not done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if potential is not None:
            potential.save(self.folder / f"{step}.flex")
        write_json(self.folder / f"{step}.json", content)
