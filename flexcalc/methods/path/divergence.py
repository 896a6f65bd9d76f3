"""A guard that stops the search of a path whose energies diverge."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.errors import GuardError
from flexcalc.units import KCAL_MOL

DIVERGED = "diverged"
"""Reason of the error."""

SANE_EV, SANE_EV_ATOM = 25.0, 5.0
"""Energy by which an image may differ from the lower end of a path, and what is added for each
atom: some eV an atom hold a molecule together, so that no barrier is higher."""


class DivergenceGuard:
    """Stops a search whose forces overflow, or whose path rises or falls beyond any barrier.

    Args:
        atoms: number of atoms.
    """

    def __init__(self, atoms: int):
        self.sane_eV = SANE_EV + SANE_EV_ATOM * atoms
        self._least = np.inf

    def __call__(self, state: Any) -> None:
        """Check the state of a path method, and stop the search if it diverges.

        Raises:
            GuardError: its reason is DIVERGED.
        """
        _, off = farthest(state)
        self._least = min(self._least, abs(off))
        if not np.isfinite(state.residual) or abs(off) > self._least + self.sane_eV:
            raise self._error(state)

    def check_last(self, state: Any) -> None:
        """Refuse the last path of a search that is still too high, as where atoms collide.

        Raises:
            GuardError: its reason is DIVERGED.
        """
        if not abs(farthest(state)[1]) < self.sane_eV:
            raise self._error(state)

    def _error(self, state: Any) -> GuardError:
        image, off = farthest(state)
        return GuardError(
            f"step {state.step}: the search of the path has diverged, image {image} is "
            f"{abs(off) / KCAL_MOL:.3g} kcal/mol {'above' if off > 0 else 'below'} the lower end; "
            "start from another path (--interpolation idpp or geodesic, or a scan)",
            DIVERGED,
        )


def farthest(state: Any) -> tuple[int, float]:
    """The image whose energy differs most from that of the lower end, and its energy above that
    in eV."""
    energies = state.evaluation.energies
    off = energies - min(energies[0], energies[-1])
    image = int(np.argmax(np.abs(off)))
    return image, float(off[image])
