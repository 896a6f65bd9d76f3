"""Failures of tasks in other processes, as they are sent back."""

from __future__ import annotations

from dataclasses import dataclass

from flexcalc.errors import FlexcalcError


@dataclass(frozen=True)
class Failure:
    """Why work in another process failed; an exception that travels between processes.

    Args:
        kind: class of the error.
        message: its one line.
    """

    kind: type[FlexcalcError]
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure of an error; one that is not flexcalc's is named by its class."""
        if isinstance(error, FlexcalcError):
            return cls(type(error), one_line(str(error)))
        return cls(FlexcalcError, one_line(f"{type(error).__name__}: {error}"))

    def error(self) -> FlexcalcError:
        """The error, to be raised."""
        error = self.kind.__new__(self.kind)  # not every class is made from its message
        error.args = (self.message,)
        return error


@dataclass(frozen=True)
class Lost:
    """A task without a result: its worker died, or it took too long.

    Args:
        reason: one line.
    """

    reason: str


def one_line(text: str) -> str:
    """Text that fits on a comment line."""
    words = "".join(char if char.isprintable() else " " for char in text).split()
    line = " ".join(words)
    return line if len(line) <= 300 else line[:297] + "..."
