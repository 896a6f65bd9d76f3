"""Umbrella sampling: one restrained replica per window, all windows in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np
from numpy.random import Generator

from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry import Coordinate
from flexcalc.methods.biased import BiasedState, LastEvaluation, Thermostatted, update_bias
from flexcalc.potential import CheckedPotential, Evaluation, Potential, Sum
from flexcalc.units import KB, KCAL_MOL

SPACINGS = {"dihedral": 15.0, "angle": 5.0, "distance": 0.1, "difference": 0.1, "coordination": 0.1}
"""Default spacings of windows, in the coordinates' units."""

SIGMAS_APART = 2.0
"""Spacing of windows in thermal widths of a window on a flat surface: neighbours then overlap by
erfc(1/sqrt(2)), a third, and by more in a valley."""

MAX_WINDOWS = 10_000

TURN = 360.0


@dataclass(frozen=True, eq=False)
class Line:
    """The windows along one coordinate.

    Args:
        coordinate: the restrained coordinate.
        centres: (windows,) in its unit, evenly spaced.
        kappa: force constant of the restraint kappa/2 (s - centre)^2, in eV per that unit squared.
        ring: whether the last window is a neighbour of the first.
    """

    coordinate: Coordinate
    centres: np.ndarray
    kappa: float
    ring: bool

    @property
    def spacing(self) -> float:
        """Distance between neighbouring centres."""
        return float(self.centres[1] - self.centres[0])

    def gaps(self, values: np.ndarray, centres: np.ndarray) -> np.ndarray:
        """Differences of values and centres; the minimum image for a periodic coordinate."""
        gaps = values - centres
        return gaps - TURN * np.round(gaps / TURN) if self.coordinate.periodic else gaps


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Options of windows, one value per coordinate, or none for defaults.

    Args:
        low, high: first and last centres; by default the full circle of a dihedral.
        windows: number of windows.
        kappa_kcal_mol: force constants of restraints kappa/2 (s - centre)^2; by default their
            thermal width on a flat surface is half the window spacing.
    """

    low: Sequence[float] = ()
    high: Sequence[float] = ()
    windows: Sequence[int] = ()
    kappa_kcal_mol: Sequence[float] = ()


@dataclass(frozen=True, eq=False)
class UmbrellaState(BiasedState):
    """The replicas of all windows.

    Args:
        begun: (windows, d) coordinates at the start of each window.
    """

    begun: np.ndarray


class Springs(CheckedPotential):
    """A harmonic restraint for each row of a batch, kappa/2 (s - centre)^2 as PLUMED's RESTRAINT.

    Args:
        numbers: (atoms,) atomic numbers.
        lines: of the d coordinates.
        centres: (batch, d) of the restraints; not-a-number where a row has none.
    """

    def __init__(self, numbers: np.ndarray, lines: Sequence[Line], centres: np.ndarray):
        self.numbers, self.lines, self.centres = numbers, tuple(lines), centres

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of the restraints.

        Raises:
            ShapeError: the number of rows is not that of the restraints.
        """
        if len(positions) != len(self.centres):
            raise ShapeError(f"expected {len(self.centres)} rows, found {len(positions)}")
        energies, forces = np.zeros(len(positions)), np.zeros(positions.shape)
        for n, line in enumerate(self.lines):
            values, gradients = line.coordinate.measure(positions)
            gaps = np.nan_to_num(line.gaps(values, self.centres[:, n]))
            energies += line.kappa / 2 * gaps**2
            forces -= (line.kappa * gaps)[:, None, None] * gradients
        return Evaluation(energies, forces)


@dataclass(frozen=True, eq=False, kw_only=True)
class Umbrella:
    """Dynamics whose replicas are restrained to windows along one or two coordinates.

    In the first half of the equilibration each restraint moves from the start of its replica to the
    centre of the window, so that no large forces arise. The equilibration is discarded.

    Args:
        dynamics: integrator and thermostat of the replicas.
        lines: windows along one or two coordinates; all combinations are used.
        equilibration: number of timesteps.

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
        windows: Windows = Windows(),
        *,
        equilibration: int = 1,
    ) -> Umbrella:
        """Windows along coordinates.

        Args:
            coordinates: one or two.
            dynamics: integrator and thermostat of the replicas.
            windows: options of the windows.
            equilibration: number of timesteps.

        Raises:
            InputError: none or more than two coordinates, or options whose number does not match
                theirs.
        """
        count = len(coordinates)
        if not 1 <= count <= 2:
            raise InputError(f"coordinate: expected one or two, found {count}")
        for name, values in vars(windows).items():
            if values and len(values) != count:
                raise InputError(
                    f"{name}: expected one for each of the {count} coordinates, found {len(values)}"
                )
        lines = tuple(
            _line(
                coordinate,
                (
                    windows.low[n] if windows.low else None,
                    windows.high[n] if windows.high else None,
                ),
                windows.windows[n] if windows.windows else None,
                windows.kappa_kcal_mol[n] if windows.kappa_kcal_mol else None,
                dynamics.temperature_K,
            )
            for n, coordinate in enumerate(coordinates)
        )
        whole = prod(len(line.centres) for line in lines)
        if whole > MAX_WINDOWS:
            raise InputError(f"windows: expected at most {MAX_WINDOWS} in all, found {whole}")
        return cls(dynamics=dynamics, lines=lines, equilibration=equilibration)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of windows along each coordinate."""
        return tuple(len(line.centres) for line in self.lines)

    @property
    def centres(self) -> np.ndarray:
        """Centres (windows, d); the last coordinate varies fastest."""
        return grid_of([line.centres for line in self.lines])

    def values(self, positions: np.ndarray) -> np.ndarray:
        """The coordinates (batch, d) of positions (batch, atoms, 3)."""
        return np.stack([line.coordinate.values(positions) for line in self.lines], axis=1)

    def starts(self, frames: np.ndarray) -> np.ndarray:
        """For each window the frame (windows, atoms, 3) with the lowest restraint energy.

        Args:
            frames: (frames, atoms, 3) in angstrom, such as one geometry or a path.
        """
        values, centres = self.values(frames), self.centres
        pull = np.zeros((len(centres), len(frames)))
        for n, line in enumerate(self.lines):
            pull += line.kappa * line.gaps(values[None, :, n], centres[:, n, None]) ** 2
        return frames[pull.argmin(axis=1)]

    def restraint_centres(self, begun: np.ndarray, step: int) -> np.ndarray:
        """Centres (windows, d) of the restraints at a step, from the start values (windows, d)."""
        left = max(0.0, 1 - step / max(1, self.equilibration // 2))
        centres = self.centres
        away = [line.gaps(begun[:, n], centres[:, n]) for n, line in enumerate(self.lines)]
        return centres + left * np.stack(away, axis=1)

    def springs(self, numbers: np.ndarray, begun: np.ndarray, step: int) -> Springs:
        """The restraints at a step."""
        return Springs(numbers, self.lines, self.restraint_centres(begun, step))

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> UmbrellaState:
        """Start every window from its row of positions (windows, atoms, 3) in angstrom."""
        begun = self.values(positions)
        model, springs = (
            LastEvaluation(potential),
            LastEvaluation(self.springs(potential.numbers, begun, 0)),
        )
        dynamics = self.dynamics.init(Sum(model, springs), positions, rng)
        return UmbrellaState(dynamics, model.last, springs.last.energies, begun)

    def step(self, potential: Potential, state: UmbrellaState, rng: Generator) -> UmbrellaState:
        """Advance every window by one timestep; one potential call for the batch.

        Args:
            potential: surface of the molecule, in eV and angstrom; the restraints are added here.
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
            dynamics = update_bias(dynamics, before(places), now(places))
        model, springs = LastEvaluation(potential), LastEvaluation(now)
        moved = self.dynamics.step(Sum(model, springs), dynamics, rng)
        return replace(state, dynamics=moved, evaluation=model.last, bias=springs.last.energies)


def grid_of(lines: Sequence[np.ndarray]) -> np.ndarray:
    """All combinations (points, d) of values along d axes; the last axis varies fastest."""
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
        InputError: a bound is missing or invalid, or there is only one window.
    """
    low, high = ends
    if coordinate.periodic and low is None and high is None:
        low, high = -TURN / 2, TURN / 2
    most = TURN if coordinate.periodic else np.inf
    if low is None or high is None or not 0 < high - low <= most:
        raise InputError(
            f"low, high: expected both bounds of {coordinate.label}, the lower first"
            f"{', at most 360 degrees apart' if coordinate.periodic else ''}, "
            f"found {low} and {high}"
        )
    ring = coordinate.periodic and high - low == TURN
    if count is None:
        if coordinate.kind not in SPACINGS:
            raise InputError(f"windows: missing; {coordinate.label} has no default spacing")
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
