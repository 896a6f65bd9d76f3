"""A guard that stops the search of a path whose energies diverge."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.errors import GuardError
from flexcalc.units import KCAL_MOL

DIVERGED = "diverged"
"""Reason of the error."""

SANE_EV, SANE_EV_ATOM = 25.0, 5.0
"""Height of a path, and what is added for each atom: the energy that holds the molecule together is
some eV an atom, so that no barrier is higher."""


class DivergenceGuard:
    """Stops a search whose forces overflow, or whose path rises by more than any barrier has.

    Args:
        atoms: number of atoms.
    """

    def __init__(self, atoms: int):
        self.sane_eV = SANE_EV + SANE_EV_ATOM * atoms
        """Height in eV beyond which a path has no barrier that means anything."""
        self._lowest = np.inf

    def __call__(self, state: Any) -> None:
        """Check the state of a path method, and stop the search if it diverges.

        Raises:
            GuardError: its reason is DIVERGED.
        """
        height = height_of(state)
        self._lowest = min(self._lowest, height)
        if not np.isfinite(state.residual) or height > self._lowest + self.sane_eV:
            raise self._error(state)

    def check_height(self, state: Any) -> None:
        """Refuse a path that the search leaves too high, as from a start where atoms collide.

        Raises:
            GuardError: its reason is DIVERGED.
        """
        if not height_of(state) < self.sane_eV:
            raise self._error(state)

    def _error(self, state: Any) -> GuardError:
        top = int(np.argmax(state.evaluation.energies))
        return GuardError(
            f"step {state.step}: the search of the path has diverged, image {top} is "
            f"{height_of(state) / KCAL_MOL:.3g} kcal/mol above the lower end; start "
            "from another path (--interpolation idpp or geodesic, or a scan)",
            DIVERGED,
        )


def height_of(state: Any) -> float:
    """Energy in eV of the highest image of a path above its lower end."""
    energies = state.evaluation.energies
    return float(energies.max() - min(energies[0], energies[-1]))
