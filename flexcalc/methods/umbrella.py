"""Umbrella sampling: every replica held near a place of its own, all windows in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np
from numpy.random import Generator

from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry import Coordinate
from flexcalc.methods.biased import BiasedState, Kept, Thermostatted, rebiased
from flexcalc.potential import CheckedPotential, Evaluation, Potential, Sum
from flexcalc.units import KB, KCAL_MOL

SPACINGS = {"dihedral": 15.0, "angle": 5.0, "distance": 0.1, "difference": 0.1, "coordination": 0.1}
"""Distances of windows where no number of them is given, in the coordinates' units."""

SIGMAS_APART = 2.0
"""Distance of two windows in widths of what each samples on a flat surface: they then share
erfc(1/sqrt(2)), a third, of their samples, and more in a valley."""

MOST_WINDOWS = 10_000

TURN = 360.0


@dataclass(frozen=True, eq=False)
class Line:
    """The windows along one coordinate.

    Args:
        coordinate: what is held.
        centres: (windows,) in its unit, evenly spaced.
        kappa: of the spring kappa/2 (s - centre)^2, in eV per that unit squared.
        ring: whether the last window is the first one's neighbour.
    """

    coordinate: Coordinate
    centres: np.ndarray
    kappa: float
    ring: bool

    @property
    def spacing(self) -> float:
        """Distance of two neighbours."""
        return float(self.centres[1] - self.centres[0])

    def gaps(self, values: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """How far values are from centres, the shortest way round for a periodic coordinate."""
        gaps = values - centres
        return gaps - TURN * np.round(gaps / TURN) if self.coordinate.periodic else gaps


@dataclass(frozen=True, eq=False)
class UmbrellaState(BiasedState):
    """Windows in motion.

    Args:
        begun: (windows, d) values of the coordinates where the windows started.
    """

    begun: np.ndarray


class Springs(CheckedPotential):
    """A spring for each row of a batch, kappa/2 (s - centre)^2 as PLUMED's RESTRAINT.

    Args:
        numbers: (atoms,) atomic numbers.
        lines: of the d coordinates.
        centres: (batch, d) where each row is held.
    """

    def __init__(self, numbers: np.ndarray, lines: Sequence[Line], centres: np.ndarray):
        self.numbers, self.lines, self.centres = numbers, tuple(lines), centres

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of the springs.

        Raises:
            ShapeError: another number of rows than there are springs.
        """
        if len(positions) != len(self.centres):
            raise ShapeError(f"expected {len(self.centres)} rows, found {len(positions)}")
        energies, forces = np.zeros(len(positions)), np.zeros(positions.shape)
        for n, line in enumerate(self.lines):
            values, gradients = line.coordinate.measure(positions)
            gaps = line.gaps(values, self.centres[:, n])
            energies += line.kappa / 2 * gaps**2
            forces -= (line.kappa * gaps)[:, None, None] * gradients
        return Evaluation(energies, forces)


@dataclass(frozen=True, eq=False, kw_only=True)
class Umbrella:
    """Dynamics whose replicas are held in windows along one or two coordinates.

    In the first half of the equilibration each spring moves from where its replica starts to
    the window's centre, so that no replica is torn; what comes after the equilibration counts.

    Args:
        dynamics: what moves the replicas.
        lines: of one or two coordinates; the windows are all their combinations.
        equilibration: timesteps.

    Source: Torrie and Valleau, J. Comput. Phys. 23, 187 (1977),
    doi:10.1016/0021-9991(77)90121-8.
    """

    dynamics: Thermostatted
    lines: tuple[Line, ...]
    equilibration: int

    @classmethod
    def on(
        cls,
        coordinates: Sequence[Coordinate],
        dynamics: Thermostatted,
        *,
        low: Sequence[float] = (),
        high: Sequence[float] = (),
        windows: Sequence[int] = (),
        kappa_kcal_mol: Sequence[float] = (),
        equilibration: int = 1,
    ) -> Umbrella:
        """Windows as the numbers say, one of each a coordinate, or as suits the coordinates.

        Args:
            low, high: first and last centres; dihedrals go all the way round without.
            windows: how many.
            kappa_kcal_mol: of springs kappa/2 (s - centre)^2; by default their thermal width on
                a flat surface is half the distance of two windows.

        Raises:
            InputError: none or more than two coordinates, or numbers that do not fit them.
        """
        count = len(coordinates)
        if not 1 <= count <= 2:
            raise InputError(f"coordinate: expected one or two, found {count}")
        for name, values in (
            *(("low", low), ("high", high), ("windows", windows)),
            ("kappa_kcal_mol", kappa_kcal_mol),
        ):
            if values and len(values) != count:
                raise InputError(
                    f"{name}: expected one for each of the {count} coordinates, found {len(values)}"
                )
        lines = tuple(
            _line(
                coordinate,
                (low[n] if low else None, high[n] if high else None),
                windows[n] if windows else None,
                kappa_kcal_mol[n] if kappa_kcal_mol else None,
                dynamics.temperature_K,
            )
            for n, coordinate in enumerate(coordinates)
        )
        whole = prod(len(line.centres) for line in lines)
        if whole > MOST_WINDOWS:
            raise InputError(f"windows: expected at most {MOST_WINDOWS} in all, found {whole}")
        return cls(dynamics=dynamics, lines=lines, equilibration=equilibration)

    @property
    def shape(self) -> tuple[int, ...]:
        """Windows along each coordinate."""
        return tuple(len(line.centres) for line in self.lines)

    @property
    def centres(self) -> np.ndarray:
        """Centres (windows, d), the last coordinate's running fastest."""
        return grid_of([line.centres for line in self.lines])

    def values(self, positions: np.ndarray) -> np.ndarray:
        """The coordinates (batch, d) of positions (batch, atoms, 3)."""
        return np.stack([line.coordinate.values(positions) for line in self.lines], axis=1)

    def starts(self, frames: np.ndarray) -> np.ndarray:
        """For each window the frame (windows, atoms, 3) that its spring pulls least.

        Args:
            frames: (frames, atoms, 3) in angstrom, such as one geometry or a path.
        """
        values, centres = self.values(frames), self.centres
        pull = np.zeros((len(centres), len(frames)))
        for n, line in enumerate(self.lines):
            pull += line.kappa * line.gaps(values[None, :, n], centres[:, n, None]) ** 2
        return frames[pull.argmin(axis=1)]

    def held_at(self, begun: np.ndarray, step: int) -> np.ndarray:
        """Where the springs hold (windows, d) at a step, from values (windows, d) at the start."""
        left = max(0.0, 1 - step / max(1, self.equilibration // 2))
        centres = self.centres
        away = [line.gaps(begun[:, n], centres[:, n]) for n, line in enumerate(self.lines)]
        return centres + left * np.stack(away, axis=1)

    def springs(self, numbers: np.ndarray, begun: np.ndarray, step: int) -> Springs:
        """The springs at a step."""
        return Springs(numbers, self.lines, self.held_at(begun, step))

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> UmbrellaState:
        """Start every window from its row of positions (windows, atoms, 3) in angstrom."""
        begun = self.values(positions)
        model, springs = Kept(potential), Kept(self.springs(potential.numbers, begun, 0))
        dynamics = self.dynamics.init(Sum(model, springs), positions, rng)
        return UmbrellaState(dynamics, model.last, springs.last.energies, begun)

    def step(self, potential: Potential, state: UmbrellaState, rng: Generator) -> UmbrellaState:
        """Advance every window by one timestep; one potential call for the batch.

        Args:
            potential: surface of the molecule, in eV and angstrom; the springs are added here.
            state: the windows.
            rng: source of the thermal noise.

        Raises:
            ShapeError: the positions do not fit the molecule.
        """
        dynamics, numbers = state.dynamics, potential.numbers
        before, now = (
            self.springs(numbers, state.begun, step) for step in (state.step, state.step + 1)
        )
        if (before.centres != now.centres).any():
            places = state.positions
            dynamics = rebiased(dynamics, before(places), now(places))
        model, springs = Kept(potential), Kept(now)
        moved = self.dynamics.step(Sum(model, springs), dynamics, rng)
        return replace(state, dynamics=moved, evaluation=model.last, bias=springs.last.energies)


def grid_of(lines: Sequence[np.ndarray]) -> np.ndarray:
    """All combinations (points, d) of values along d axes, the last one's running fastest."""
    return np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, len(lines))


def _line(
    coordinate: Coordinate,
    ends: tuple[float | None, float | None],
    count: int | None,
    kappa_kcal_mol: float | None,
    temperature_K: float,
) -> Line:
    """The windows along one coordinate.

    Raises:
        InputError: an end is missing or does not fit, or there is but one window.
    """
    low, high = ends
    if coordinate.periodic and low is None and high is None:
        low, high = -TURN / 2, TURN / 2
    most = TURN if coordinate.periodic else np.inf
    if low is None or high is None or not 0 < high - low <= most:
        raise InputError(
            f"low, high: expected both ends of {coordinate.label}, the lower first"
            f"{', at most 360 degrees apart' if coordinate.periodic else ''}, "
            f"found {low} and {high}"
        )
    ring = coordinate.periodic and high - low == TURN
    if count is None:
        if coordinate.kind not in SPACINGS:
            raise InputError(f"windows: missing; {coordinate.label} has no spacing of its own")
        count = ceil((high - low) / SPACINGS[coordinate.kind] * (1 - 1e-9)) + (not ring)
    least = 3 if ring else 2
    if count < least:
        raise InputError(
            f"windows: expected at least {least} for {coordinate.label}, found {count}"
        )
    centres = np.linspace(low, high, count, endpoint=not ring)
    if not ring and high - low + (centres[1] - centres[0]) > most:
        raise InputError(
            f"low, high: {low:g} and {high:g} leave no gap between the last window of "
            f"{coordinate.label} and the first; leave them out to go all the way round"
        )
    width = float(centres[1] - centres[0]) / SIGMAS_APART
    kappa = KB * temperature_K / width**2
    if kappa_kcal_mol is not None:
        kappa = kappa_kcal_mol * KCAL_MOL
    return Line(coordinate, centres, kappa, ring)
