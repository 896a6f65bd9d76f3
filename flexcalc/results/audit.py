"""The result of an audit of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from flexcalc.results.base import Result, figure


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Audit(Result):
    """Agreement of labels with their reference, for a sample that was computed again."""

    command: ClassVar[str] = "info"

    reference: str = figure("reference")
    """Address of the reference that computed the sample, or the class of an object."""
    frames: int = figure("frames computed again")
    """Number of frames that were computed again."""
    findings: tuple[str, ...] = figure("findings")
    """One line for each fault, such as another unit, sign, zero of energy or order of atoms."""

    @property
    def passed(self) -> bool:
        """Whether the labels agree with the reference."""
        return not self.findings

    def summary(self) -> str:
        """The findings in one line."""
        found = "; ".join(self.findings) or "no difference"
        return f"{self.frames} frames computed again with {self.reference}: {found}"
