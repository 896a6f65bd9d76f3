"""The electron count of a reference, and the error of a calculation that failed."""

from __future__ import annotations

import numpy as np

from flexcalc.errors import AddressError, LabelError
from flexcalc.potential import formula


def check_electrons(numbers: np.ndarray, charge: int, multiplicity: int) -> int:
    """The number of unpaired electrons, if charge and multiplicity fit the molecule.

    Raises:
        AddressError: the number of electrons is not positive, or has the other parity.
    """
    electrons = int(np.sum(numbers)) - charge
    unpaired = multiplicity - 1
    if electrons < 1:
        raise AddressError(f"charge={charge} leaves {formula(numbers)} without electrons")
    if unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        raise AddressError(
            f"multiplicity={multiplicity} does not fit the {electrons} electrons of "
            f"{formula(numbers)} with charge={charge}; use an "
            f"{'odd' if electrons % 2 == 0 else 'even'} multiplicity"
        )
    return unpaired


def failed(row: int, what: str, error: BaseException) -> LabelError:
    """The error of one geometry for which a foreign code gave no label."""
    reason = " ".join(str(error).split()) or "no message"
    return LabelError(f"batch row {row}: {what} failed: {type(error).__name__}: {reason}")
