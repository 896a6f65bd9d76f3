"""What runs on the other side of the queue: open the reference once, label one geometry a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flexcalc.errors import AddressError, FlexcalcError, MissingExtraError, MissingProgramError
from flexcalc.potential import Potential, check, check_molecule

OpenReference = Callable[[], Potential]


@dataclass(frozen=True, eq=False)
class Outcome:
    """A label, or the reason why there is none.

    Args:
        index: of the geometry.
        energy: in eV.
        forces: (atoms, 3) in eV/angstrom.
        reason: one line; empty for a label.
    """

    index: int
    energy: float = 0.0
    forces: np.ndarray | None = None
    reason: str = ""


@dataclass(frozen=True)
class Failure:
    """Why work in another process failed; an exception that travels between processes.

    Args:
        kind: class of the error.
        message: its one line.
    """

    kind: type[FlexcalcError]
    message: str

    def error(self) -> FlexcalcError:
        """The error, to be raised."""
        error = self.kind.__new__(self.kind)  # not every class is made from its message
        error.args = (self.message,)
        return error


def open_checked(open_reference: OpenReference, numbers: np.ndarray) -> Potential | Failure:
    """The reference, bound to the molecule of the geometries."""
    try:
        potential = open_reference()
        check_molecule(np.asarray(potential.numbers), numbers, "geometries")
    except FlexcalcError as error:
        return Failure(type(error), one_line(str(error)))
    except Exception as error:  # whatever a foreign calculator raises; the parent reports it
        text = one_line(f"{type(error).__name__}: {error}")
        return Failure(AddressError, f"the reference cannot be opened: {text}")
    return potential


def evaluate(potential: Potential, index: int, positions: np.ndarray) -> Outcome | Failure:
    """Label one geometry; a failure is the reference's, which is not set up for any geometry.

    Args:
        potential: the reference.
        index: of the geometry.
        positions: (atoms, 3) in angstrom.
    """
    batch = positions[None]
    try:
        result = check(potential(batch), batch)
    except (AddressError, MissingExtraError, MissingProgramError) as error:
        return Failure(type(error), one_line(str(error)))
    except FlexcalcError as error:
        return Outcome(index, reason=one_line(str(error)) or type(error).__name__)
    except Exception as error:  # whatever a foreign calculator raises; it goes to quarantine
        return Outcome(index, reason=one_line(f"{type(error).__name__}: {error}"))
    return Outcome(index, float(result.energies[0]), result.forces[0])


def one_line(text: str) -> str:
    """Text that fits on a comment line."""
    words = "".join(char if char.isprintable() else " " for char in text).split()
    line = " ".join(words)
    return line if len(line) <= 300 else line[:297] + "..."
