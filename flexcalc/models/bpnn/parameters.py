"""Which symmetry functions a network sees.

Source: Imbalzano, Anelli, Giofré, Klees, Behler, Ceriotti, J. Chem. Phys. 148, 241730 (2018),
doi:10.1063/1.5024611, section II B: grids that are even on a logarithmic scale, so that they are
densest where bonds are.
"""

from __future__ import annotations

import numpy as np


def radial(count: int, cutoff: float) -> np.ndarray:
    """Widths and shifts of radial functions on shells.

    The shells lie at R_m = cutoff / n^(m/n), and each is as wide as the distance to the next one
    inwards: eta_m = 1 / (R_m - R_(m+1))^2.

    Args:
        count: n, the number of shells.
        cutoff: in angstrom.

    Returns:
        (count, 2), eta in 1/angstrom^2 and the shift in angstrom, outwards.
    """
    shells = cutoff / _grid(count, count + 1)
    return np.stack([1 / np.diff(shells) ** 2, shells[:-1]], axis=1)[::-1].copy()


def angular(count: int, cutoff: float) -> np.ndarray:
    """Widths of angular functions, centred on the atom: eta_m = (n^(m/n) / cutoff)^2.

    Args:
        count: n, the number of widths.
        cutoff: in angstrom.

    Returns:
        (count,), in 1/angstrom^2, ascending.
    """
    return (_grid(count, count) / cutoff) ** 2


def _grid(count: int, points: int) -> np.ndarray:
    """n^(m/n) for m = 0, 1, ...; for a single function as if there were two."""
    base = max(count, 2)
    return base ** (np.arange(points) / base)
