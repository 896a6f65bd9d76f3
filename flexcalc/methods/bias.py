"""Bias potentials on a few coordinates: a grid of Gaussians, and walls.

The grid stores, at its nodes, the sum of all hills and its derivatives, including mixed ones.
Between nodes it is interpolated by cubic Hermite polynomials, so that the force of the bias is the
exact gradient of its energy. With the default spacing of a fifth of sigma the energy differs from
the sum of Gaussians by less than 2e-5 of the height of a hill.

Hills are complete Gaussians, summed over their periodic images. PLUMED truncates each where it has
fallen to exp(-6.25) = 0.2 % of its height (or shifts and stretches it to zero there), where the
force is not smooth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.errors import GuardError, InputError
from flexcalc.geometry import Coordinate
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.units import KCAL_MOL

LETTERS = "abc", "pqr"
"""Einsum indices of the derivative and the node of each axis."""

MAX_NODES = 4_000_000
"""Maximum number of nodes of a grid, which fits in memory with all derivatives."""


@dataclass(frozen=True)
class Axis:
    """The nodes of a grid along one coordinate, in the coordinate's unit.

    Args:
        low: first node.
        high: last node; for a periodic axis, the periodic image of the first.
        nodes: number of nodes.
        periodic: whether `high` is the image of `low`.
    """

    low: float
    high: float
    nodes: int
    periodic: bool = False

    @property
    def spacing(self) -> float:
        """Distance between neighbouring nodes."""
        return (self.high - self.low) / (self.nodes if self.periodic else self.nodes - 1)

    @property
    def points(self) -> np.ndarray:
        """The nodes (nodes,)."""
        return self.low + self.spacing * np.arange(self.nodes)

    @property
    def widths(self) -> np.ndarray:
        """Integration weights (nodes,) of the nodes: the spacing, or half of it at an end."""
        widths = np.full(self.nodes, self.spacing)
        if not self.periodic:
            widths[[0, -1]] /= 2
        return widths

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Whether values (batch,) lie on the axis."""
        return self.periodic | ((values >= self.low) & (values <= self.high))

    def gaussians(self, centres: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
        """Values, and derivatives times the spacing, of unit Gaussians: (hills, 2, nodes).

        Args:
            centres, sigmas: (hills,).
        """
        apart = (self.points - centres[:, None]) / sigmas[:, None]
        period = (self.high - self.low) / sigmas[:, None]
        images = [apart + turn * period for turn in (-1, 0, 1)] if self.periodic else [apart]
        heights = [np.exp(-0.5 * image**2) for image in images]
        slopes = [-image * height for image, height in zip(images, heights, strict=True)]
        slope = np.sum(slopes, axis=0) * (self.spacing / sigmas[:, None])
        return np.stack([np.sum(heights, axis=0), slope], axis=1)

    def cell(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Interpolation weights of the nodes on both sides of values.

        Args:
            values: (batch,), all on the axis.

        Returns:
            Indices of the two nodes (batch, 2), weights (batch, node, derivative) of their
            values and derivatives, and the derivatives of the weights by the coordinate.
        """
        place = (values - self.low) / self.spacing
        if self.periodic:
            place = place % self.nodes
            # Rounding may map a value just below the first node to the end of the axis.
            place = np.where(place >= self.nodes, 0.0, place)
            left = place.astype(int)
        else:
            left = np.minimum(place.astype(int), self.nodes - 2)
        u = place - left
        weights = np.stack(
            [(1 + 2 * u) * (1 - u) ** 2, u * (1 - u) ** 2, u**2 * (3 - 2 * u), u**2 * (u - 1)]
        )
        slopes = np.stack(
            [6 * u * (u - 1), (1 - u) * (1 - 3 * u), 6 * u * (1 - u), u * (3 * u - 2)]
        )
        shape = (2, 2, len(values))
        return (
            np.stack([left, (left + 1) % self.nodes], axis=1),
            weights.reshape(shape).transpose(2, 0, 1),
            slopes.reshape(shape).transpose(2, 0, 1) / self.spacing,
        )


def empty_grid(axes: Sequence[Axis]) -> np.ndarray:
    """A grid without hills, of shape (2,) * d (derivatives) + numbers of nodes of the d axes."""
    return np.zeros((2,) * len(axes) + tuple(axis.nodes for axis in axes))


def with_hills(
    grid: np.ndarray,
    axes: Sequence[Axis],
    centres: np.ndarray,
    sigmas: np.ndarray,
    heights: np.ndarray,
) -> np.ndarray:
    """A new grid with hills added.

    Args:
        grid: as of `empty_grid`, in eV.
        centres, sigmas: (hills, d) in the coordinates' units.
        heights: (hills,) in eV.
    """
    parts = [axis.gaussians(centres[:, n], sigmas[:, n]) for n, axis in enumerate(axes)]
    derivatives, nodes = (names[: len(axes)] for names in LETTERS)
    each = ",".join(f"h{one}{other}" for one, other in zip(derivatives, nodes, strict=True))
    first = heights[:, None, None] * parts[0]
    return grid + np.einsum(f"{each}->{derivatives}{nodes}", first, *parts[1:], optimize=True)


def on_grid(
    grid: np.ndarray, axes: Sequence[Axis], values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated bias and its slopes at points on the grid.

    Args:
        grid: as of `empty_grid`, in eV.
        values: (batch, d).

    Returns:
        Energies (batch,) in eV and slopes (batch, d) in eV per unit of each coordinate.
    """
    d = len(axes)
    cells = [axis.cell(values[:, n]) for n, axis in enumerate(axes)]
    corners = tuple(
        index.reshape(-1, *(2 if m == n else 1 for m in range(d)))
        for n, (index, _, _) in enumerate(cells)
    )
    held = grid[(slice(None),) * d + corners]
    derivatives, nodes = (names[:d] for names in LETTERS)
    each = ",".join(f"z{one}{other}" for one, other in zip(nodes, derivatives, strict=True))
    summed = f"{derivatives}z{nodes},{each}->z"

    def total(sloping: int | None) -> np.ndarray:
        weights = [slope if n == sloping else weight for n, (_, weight, slope) in enumerate(cells)]
        return np.einsum(summed, held, *weights)

    return total(None), np.stack([total(n) for n in range(d)], axis=1)


class Bias(CheckedPotential):
    """The bias on a grid as a potential. It is immutable: a new hill makes a new object.

    Args:
        numbers: (atoms,) atomic numbers.
        coordinates: the d coordinates.
        axes: of the grid, one per coordinate.
        grid: as of `empty_grid`, in eV.
    """

    def __init__(
        self,
        numbers: np.ndarray,
        coordinates: Sequence[Coordinate],
        axes: Sequence[Axis],
        grid: np.ndarray,
    ):
        self.numbers = numbers
        self.coordinates, self.axes, self.grid = tuple(coordinates), tuple(axes), grid

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of the bias.

        Raises:
            GuardError: a coordinate is off the grid.
        """
        measured = [coordinate.measure(positions) for coordinate in self.coordinates]
        values = np.stack([value for value, _ in measured], axis=1)
        self.check(values)
        energies, slopes = on_grid(self.grid, self.axes, values)
        forces = np.zeros(positions.shape)
        for n, (_, gradients) in enumerate(measured):
            forces -= slopes[:, n, None, None] * gradients
        return Evaluation(energies, forces)

    def values(self, positions: np.ndarray) -> np.ndarray:
        """The coordinates (batch, d) of positions (batch, atoms, 3)."""
        return np.stack([one.values(positions) for one in self.coordinates], axis=1)

    def check(self, values: np.ndarray) -> None:
        """Refuse values (batch, d) off the grid.

        Raises:
            GuardError: names the walker and the coordinate.
        """
        for n, (coordinate, axis) in enumerate(zip(self.coordinates, self.axes, strict=True)):
            off = ~axis.holds(values[:, n])
            if off.any():
                walker = int(np.flatnonzero(off)[0])
                raise GuardError(
                    f"walker {walker}: {coordinate.label} is {values[walker, n]:.4g} "
                    f"{coordinate.unit}, off the grid from {axis.low:g} to {axis.high:g}; give a "
                    "wider grid_min and grid_max, or a wall"
                )


@dataclass(frozen=True)
class Wall:
    """A harmonic wall, kappa (s - at)^2 on its far side, as PLUMED's UPPER_WALLS and LOWER_WALLS.

    Args:
        coordinate: s.
        at: position of the wall, in the coordinate's unit.
        kappa_kcal_mol: force constant in kcal/mol per that unit squared.
        upper: whether it keeps the coordinate below `at`.
    """

    coordinate: Coordinate
    at: float
    kappa_kcal_mol: float
    upper: bool

    @classmethod
    def parse(cls, text: str, *, upper: bool, trust: bool = False) -> Wall:
        """Read "distance 0 1 at 3.5 kappa 50".

        Raises:
            InputError: the text is not a wall.
        """
        number = r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))"
        found = re.fullmatch(rf"(.+?)\s+at\s+{number}\s+kappa\s+{number}\s*", text)
        if found is None or float(found[3]) <= 0:
            raise InputError(
                f"cannot read the wall {text!r}; expected a coordinate, where the wall begins, and "
                "its strength above 0 in kcal/mol per unit squared: 'distance 0 1 at 3.5 kappa 50'"
            )
        coordinate = Coordinate.parse(found[1], trust=trust)
        if coordinate.periodic:
            raise InputError(f"wall {text!r}: a wall on a dihedral has no far side")
        return cls(coordinate, float(found[2]), float(found[3]), upper)


class Walls(CheckedPotential):
    """Harmonic walls as a potential.

    Args:
        numbers: (atoms,) atomic numbers.
        walls: any number of them.
    """

    def __init__(self, numbers: np.ndarray, walls: Sequence[Wall]):
        self.numbers, self.walls = numbers, tuple(walls)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of all walls."""
        energies, forces = np.zeros(len(positions)), np.zeros(positions.shape)
        for wall in self.walls:
            values, gradients = wall.coordinate.measure(positions)
            beyond = values - wall.at
            beyond = np.maximum(beyond, 0) if wall.upper else np.minimum(beyond, 0)
            kappa = wall.kappa_kcal_mol * KCAL_MOL
            energies += kappa * beyond**2
            forces -= (2 * kappa * beyond)[:, None, None] * gradients
        return Evaluation(energies, forces)
