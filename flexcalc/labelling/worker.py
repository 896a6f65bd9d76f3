"""Runs in worker processes: open the reference once, then label one geometry at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from flexcalc.errors import AddressError, FlexcalcError, MissingExtraError, MissingProgramError
from flexcalc.parallel.failures import Failure, one_line
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


Label = Callable[[tuple[int, np.ndarray]], Outcome | Failure]
"""Labels one geometry, an index and its positions (atoms, 3) in angstrom."""


def prepare(open_reference: OpenReference, numbers: np.ndarray) -> Label | Failure:
    """A function that labels geometries with the reference."""
    potential = open_checked(open_reference, numbers)
    return potential if isinstance(potential, Failure) else partial(_label, potential)


def _label(potential: Potential, geometry: tuple[int, np.ndarray]) -> Outcome | Failure:
    return evaluate(potential, *geometry)


def open_checked(open_reference: OpenReference, numbers: np.ndarray) -> Potential | Failure:
    """The reference, bound to the molecule of the geometries."""
    try:
        potential = open_reference()
        check_molecule(np.asarray(potential.numbers), numbers, "geometries")
    except FlexcalcError as error:
        return Failure.of(error)
    except Exception as error:  # whatever a foreign calculator raises; the parent reports it
        text = one_line(f"{type(error).__name__}: {error}")
        return Failure(AddressError, f"the reference cannot be opened: {text}")
    return potential


def evaluate(potential: Potential, index: int, positions: np.ndarray) -> Outcome | Failure:
    """Label one geometry; a `Failure` means that the reference works for no geometry.

    Args:
        potential: the reference.
        index: of the geometry.
        positions: (atoms, 3) in angstrom.
    """
    batch = positions[None]
    try:
        result = check(potential(batch), batch)
    except (AddressError, MissingExtraError, MissingProgramError) as error:
        return Failure.of(error)
    except FlexcalcError as error:
        return Outcome(index, reason=one_line(str(error)) or type(error).__name__)
    except Exception as error:  # whatever a foreign calculator raises; it goes to quarantine
        return Outcome(index, reason=one_line(f"{type(error).__name__}: {error}"))
    return Outcome(index, float(result.energies[0]), result.forces[0])
