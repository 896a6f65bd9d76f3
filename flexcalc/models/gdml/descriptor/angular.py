"""Bonded angles and dihedrals as features, smooth through linear angles.

The features are those of Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021):

    D_theta = (1 - exp(-theta))^2 - 1,    D_phi = 1 + cos(phi).

At a linear angle, as in the inversion of azobenzene, the first has a kink and the second is
undefined, so that forces do not exist. Both are smoothed within `WINDOW` = w of a linear angle. The
bend b, the difference to the nearest linear angle (pi - theta near pi, theta near 0), is replaced
by a smooth absolute value,

    b~ = w (5 + 15 s - 5 s^2 + s^3)/16,    s = (b/w)^2    for b < w,    b~ = b otherwise,

which joins |b| with three continuous derivatives; theta~ = pi - b~ or b~ is an analytic
function of cos(theta) wherever b < w. The dihedral is damped by the same token,

    D_phi = 1 + cos(phi) sin(theta1) sin(theta2) / (sin(theta1~) sin(theta2~)),
    cos(phi) sin(theta1) sin(theta2) = f.h - (f.e)(e.h),

with the unit vectors f from j to i, e from j to k and h from k to l. The numerator is smooth
and no denominator falls below sin(5 w/16). Outside the window both features are the paper's.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import ClassVar

import numpy as np

from flexcalc.models.gdml.descriptor.interface import Linearised
from flexcalc.models.gdml.descriptor.internal import InternalCoordinates

WINDOW = float(np.radians(15.0))
"""Distance from a straight line, in radians, within which angles are smoothed: few molecules
have bond angles of more than 165 degrees, and a narrower window would bend the features more."""


class _Bonded(InternalCoordinates):
    """Features of the directions of a few bonds, the arms, such as j to i and j to k."""

    arms: ClassVar[tuple[tuple[int, int], ...]]
    """Which member each arm leads to, and from which."""

    @abstractmethod
    def _measure(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features (batch, size) of unit vectors along the arms, (3, batch, arms, size).

        Components come first, so that arithmetic runs along the features and not along x, y, z.

        Returns:
            The features and their derivatives with respect to the unit vectors.
        """

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The atoms that each arm leads to and from, (arms, size) each."""
        to, start = np.array(self.arms).T
        return np.ascontiguousarray(self.members.T[to]), np.ascontiguousarray(self.members.T[start])

    @cached_property
    def _incidence(self) -> np.ndarray:
        """1 where an arm leads to an atom and -1 where from, (arms size, atoms)."""
        to, start = (ends.ravel() for ends in self._ends)
        incidence = np.zeros((len(to), self.atoms))
        incidence[range(len(to)), to] = 1.0
        incidence[range(len(to)), start] = -1.0
        return incidence

    def _slopes(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features and their derivatives with respect to the arms, (3, batch, arms, size)."""
        units = self._apart(positions)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            inverse = 1.0 / np.sqrt(_dot(units, units))
            units *= inverse
            features, slopes = self._measure(units)
            # A unit vector can only turn.
            slopes -= _dot(slopes, units) * units
            slopes *= inverse
        return features, slopes

    def linearise(self, positions: np.ndarray) -> Linearised:
        """Features, without unit, and the maps w -> J^T w and v -> J v.

        Two bonded atoms in one place make features and forces NaN, which `potential.check`
        refuses.

        Args:
            positions: (batch, atoms, 3) in angstrom.
        """
        features, slopes = self._slopes(positions)

        def pull(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                along = (slopes * weights[:, None, :]).reshape(3, len(weights), -1)
                # Row by row: in one product a row's rounding would depend on the others.
                return (along.transpose(1, 0, 2) @ self._incidence).transpose(0, 2, 1)

        def push(motions: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", over="ignore"):
                return _dot(self._apart(motions), slopes).sum(axis=1)

        return Linearised(features, pull, push)

    def jacobian(self, positions: np.ndarray) -> np.ndarray:
        """Derivatives of the features, (batch, size, 3 atoms)."""
        _, slopes = self._slopes(positions)
        dense = np.zeros((len(positions), self.size, self.atoms, 3))
        feature = np.arange(self.size)
        for arm, (to, start) in enumerate(zip(*self._ends, strict=True)):
            along = slopes[:, :, arm].transpose(1, 2, 0)
            dense[:, feature, to] += along
            dense[:, feature, start] -= along
        return dense.reshape(len(positions), self.size, 3 * self.atoms)


class Angles(_Bonded):
    """D_theta = (1 - exp(-theta))^2 - 1 of angles i-j-k, smooth where they are straight.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021); for the smoothing see
    the module.

    Args:
        atoms: number of atoms.
        angles: (size, 3), the atoms i, j, k, in either direction.

    Raises:
        InputError: an angle twice, none, or atoms that are not different atoms of the molecule.
    """

    kind, key, width = "angle", "angles", 3
    arms = ((0, 1), (2, 1))

    def __init__(self, atoms: int, angles: np.ndarray):
        super().__init__(atoms, angles)

    def _measure(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta, turn = smoothed_angle(units[:, :, 0], units[:, :, 1])
        decay = np.exp(-theta)
        features = decay * (decay - 2.0)
        slope = 2.0 * decay * (1.0 - decay) * turn
        return features, slope[:, None] * units[:, :, ::-1]


class Dihedrals(_Bonded):
    """D_phi = 1 + cos(phi) of dihedrals i-j-k-l, damped where i-j-k or j-k-l is straight.

    Source: Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021); for the damping see the
    module.

    Args:
        atoms: number of atoms.
        dihedrals: (size, 4), the atoms i, j, k, l, in either direction.

    Raises:
        InputError: a dihedral twice, none, or atoms that are not different atoms of the
            molecule.
    """

    kind, key, width = "dihedral", "dihedrals", 4
    arms = ((0, 1), (2, 1), (3, 2))

    def __init__(self, atoms: int, dihedrals: np.ndarray):
        super().__init__(atoms, dihedrals)

    def _measure(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        f, e, h = units[:, :, 0], units[:, :, 1], units[:, :, 2]
        # Of i-j-k, between f and e, and the supplement of j-k-l, between e and h.
        theta, turn = smoothed_angle(units[:, :, :2], units[:, :, 1:])
        sine, steepness = np.sin(theta), turn / np.tan(theta)
        cosine1, cosine2 = _dot(f, e), -_dot(e, h)
        damping = 1.0 / (sine[:, 0] * sine[:, 1])
        torsion = (_dot(f, h) + cosine1 * cosine2) * damping
        # Derivatives with respect to the two cosines; f.h is the third variable.
        slope1 = damping * cosine2 - torsion * steepness[:, 0]
        slope2 = damping * cosine1 + torsion * steepness[:, 1]
        slopes = np.empty_like(units)
        slopes[:, :, 0] = damping * h + slope1 * e
        slopes[:, :, 1] = slope1 * f - slope2 * h
        slopes[:, :, 2] = damping * f - slope2 * e
        return 1.0 + torsion, slopes


def smoothed_angle(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The angle theta~ between unit vectors and d theta~/d cos(theta).

    Args:
        first, second: (3, ...).

    Returns:
        theta~ (...,) in radians, in [5 w/16, pi - 5 w/16], and its derivative (...,), both
        finite and accurate for all directions.
    """
    difference, total = first - second, first + second
    apart, together = _dot(difference, difference), _dot(total, total)
    # By the half angle, as arc cosines lose half of the digits close to a straight line.
    bend = 2.0 * np.arctan(np.sqrt(np.minimum(apart, together) / np.maximum(apart, together)))
    sine = 0.5 * np.sqrt(apart * together)
    outside = bend >= WINDOW
    if outside.all():
        return np.where(apart > together, np.pi - bend, bend), -1.0 / sine
    s = np.minimum(bend / WINDOW, 1.0) ** 2
    smooth = np.where(outside, bend, (WINDOW / 16.0) * (5.0 + s * (15.0 - s * (5.0 - s))))
    # d smooth/d bend = bend rise, and d bend/d cos(theta) = -1/sin on one side, 1/sin on the other.
    rise = (15.0 - s * (10.0 - 3.0 * s)) / (8.0 * WINDOW)
    ratio = np.divide(bend, sine, out=np.ones_like(bend), where=sine > 0.0)
    turn = -np.where(outside, 1.0 / np.where(outside, sine, 1.0), rise * ratio)
    return np.where(apart > together, np.pi - smooth, smooth), turn


def _dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Products (...,) of vectors (3, ...)."""
    return (first * second).sum(axis=0)
