"""Metadynamics of walkers that share one bias, in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Gt
from numpy.random import Generator

from flexcalc.errors import InputError
from flexcalc.fields import Count, Positive
from flexcalc.geometry import Coordinate
from flexcalc.geometry.named import Coordination
from flexcalc.methods.bias import MAX_NODES, Axis, Bias, Wall, Walls, empty_grid, with_hills
from flexcalc.methods.biased import BiasedState, LastEvaluation, Thermostatted, update_bias
from flexcalc.potential import Evaluation, Potential, Sum
from flexcalc.units import KB, KCAL_MOL

SIGMAS = {"dihedral": 20.0, "angle": 5.0, "distance": 0.1, "difference": 0.1, "coordination": 0.1}
"""Default widths of hills, in the coordinates' units."""

NODES_PER_SIGMA = 5


@dataclass(frozen=True, kw_only=True)
class PlainHills:
    """Hills of constant height: the bias keeps growing after the wells are filled.

    Source: Laio and Parrinello, PNAS 99, 12562 (2002), doi:10.1073/pnas.202427399.
    """

    kind: ClassVar[str] = "plain"

    height_kcal_mol: Positive = 0.3
    """Height of a hill, in kcal/mol."""
    pace: Count = 500
    """Timesteps between hills of a walker."""
    sigma: tuple[Positive, ...] = ()
    """Widths of a hill, one per coordinate, in degrees or angstrom; by default 20 degrees for a
    dihedral, 5 for an angle, 0.1 otherwise."""
    grid_min: tuple[float, ...] = ()
    """Lower bounds of the grid, one per coordinate; not needed for angles and dihedrals."""
    grid_max: tuple[float, ...] = ()
    """Upper bounds of the grid, one per coordinate."""
    grid_spacing: tuple[Positive, ...] = ()
    """Spacings of the grid, one per coordinate; by default a fifth of sigma."""

    def scale(self, energies: np.ndarray, temperature_K: float) -> np.ndarray:
        """Factors (walkers,) on the height of hills, for bias energies (walkers,) in eV."""
        return np.ones_like(energies)

    @property
    def tempering(self) -> float:
        """Factor that converts minus the bias to the free energy."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class WellTempered(PlainHills):
    """Hills whose height decreases exponentially with the bias already deposited.

    Source: Barducci, Bussi and Parrinello, Phys. Rev. Lett. 100, 020603 (2008),
    doi:10.1103/PhysRevLett.100.020603, eq. 2.
    """

    kind: ClassVar[str] = "well-tempered"

    bias_factor: Annotated[float, Gt(1)] = 10.0
    """Bias factor gamma, the effective temperature of the coordinates over that of the molecule: as
    a rule of thumb, half the highest barrier in units of kT."""

    def scale(self, energies: np.ndarray, temperature_K: float) -> np.ndarray:
        """Factors (walkers,) on the height of hills, for bias energies (walkers,) in eV."""
        return np.exp(-energies / ((self.bias_factor - 1) * KB * temperature_K))

    @property
    def tempering(self) -> float:
        """Factor that converts minus the bias to the free energy."""
        return self.bias_factor / (self.bias_factor - 1)


Hills = WellTempered | PlainHills


@dataclass(frozen=True, eq=False)
class MetadynamicsState(BiasedState):
    """Walkers and the bias they have deposited; `bias` does not include the hills of this step.

    Args:
        walls: (walkers,) energies of the walls, in eV.
        grid: the bias on its grid in eV, as of `bias.empty_grid`.
        heights: (walkers,) heights of the hills of this step, in eV; zero for none.
    """

    walls: np.ndarray
    grid: np.ndarray
    heights: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Metadynamics:
    """Dynamics whose walkers deposit hills on one common grid.

    The bias is constant during a step and grows after it, so that a step may evaluate forces any
    number of times. The heights of all hills of a step follow from the bias before that step.

    Args:
        dynamics: integrator and thermostat of the walkers.
        coordinates: one to three.
        axes: of the grid, one per coordinate.
        sigmas: widths of the hills, one per coordinate.
        hills: height and pace of the hills.
        walls: upper and lower walls.
    """

    dynamics: Thermostatted
    coordinates: tuple[Coordinate, ...]
    axes: tuple[Axis, ...]
    sigmas: tuple[float, ...]
    hills: Hills
    walls: tuple[Wall, ...] = ()

    @classmethod
    def on(
        cls,
        coordinates: Sequence[Coordinate],
        dynamics: Thermostatted,
        hills: Hills,
        walls: Sequence[Wall] = (),
    ) -> Metadynamics:
        """Metadynamics with widths and grid from `hills`, or defaults for the coordinates.

        Raises:
            InputError: none or more than three coordinates, or options whose number does not match
                theirs.
        """
        if not 1 <= len(coordinates) <= 3:
            raise InputError(f"coordinate: expected one to three, found {len(coordinates)}")
        sigmas = _sigmas(coordinates, hills)
        axes = _axes(coordinates, hills, sigmas)
        return cls(
            dynamics=dynamics,
            coordinates=tuple(coordinates),
            axes=axes,
            sigmas=sigmas,
            hills=hills,
            walls=tuple(walls),
        )

    def bias(self, numbers: np.ndarray, grid: np.ndarray) -> Bias:
        """The bias of a grid as a potential."""
        return Bias(numbers, self.coordinates, self.axes, grid)

    def init(
        self, potential: Potential, positions: np.ndarray, rng: Generator
    ) -> MetadynamicsState:
        """Start walkers from positions (walkers, atoms, 3) in angstrom, without any hill."""
        grid = empty_grid(self.axes)
        model, bias, walls = self._terms(potential, grid)
        dynamics = self.dynamics.init(Sum(model, bias, walls), positions, rng)
        nothing = np.zeros(len(positions))
        return MetadynamicsState(
            dynamics, model.last, bias.last.energies, walls.last.energies, grid, nothing
        )

    def step(
        self, potential: Potential, state: MetadynamicsState, rng: Generator
    ) -> MetadynamicsState:
        """Advance every walker by one timestep, and deposit hills every `pace` steps.

        Args:
            potential: surface of the molecule, in eV and angstrom; the bias is added here.
            state: walkers and bias.
            rng: source of the thermal noise.

        Raises:
            ShapeError: the positions do not fit the molecule.
            GuardError: a coordinate left the grid.
        """
        model, bias, walls = self._terms(potential, state.grid)
        moved = self.dynamics.step(Sum(model, bias, walls), state.dynamics, rng)
        state = replace(
            state,
            dynamics=moved,
            evaluation=model.last,
            bias=bias.last.energies,
            walls=walls.last.energies,
            heights=np.zeros(len(moved.positions)),
        )
        if moved.step % self.hills.pace:
            return state
        return self._with_hills(state, potential.numbers, bias.last)

    def _terms(
        self, potential: Potential, grid: np.ndarray
    ) -> tuple[LastEvaluation, LastEvaluation, LastEvaluation]:
        numbers = potential.numbers
        bias, walls = self.bias(numbers, grid), Walls(numbers, self.walls)
        return LastEvaluation(potential), LastEvaluation(bias), LastEvaluation(walls)

    def _with_hills(
        self, state: MetadynamicsState, numbers: np.ndarray, before: Evaluation
    ) -> MetadynamicsState:
        """The state after every walker has deposited a hill."""
        positions = state.positions
        temperature = self.dynamics.temperature_K
        height = self.hills.height_kcal_mol * KCAL_MOL
        heights = height * self.hills.scale(before.energies, temperature)
        centres = self.bias(numbers, state.grid).values(positions)
        sigmas = np.broadcast_to(self.sigmas, centres.shape)
        grid = with_hills(state.grid, self.axes, centres, sigmas, heights)
        after = self.bias(numbers, grid)(positions)
        dynamics = update_bias(state.dynamics, before, after)
        return replace(state, dynamics=dynamics, grid=grid, heights=heights)


def _sigmas(coordinates: Sequence[Coordinate], hills: Hills) -> tuple[float, ...]:
    if hills.sigma:
        return _fitting("sigma", hills.sigma, coordinates)
    unknown = [one.label for one in coordinates if one.kind not in SIGMAS]
    if unknown:
        raise InputError(f"sigma: missing; {unknown[0]} has no default width")
    return tuple(SIGMAS[one.kind] for one in coordinates)


def _fitting(
    name: str, values: tuple[float, ...], coordinates: Sequence[Coordinate]
) -> tuple[float, ...]:
    if len(values) != len(coordinates):
        raise InputError(
            f"{name}: expected one for each of the {len(coordinates)} coordinates, "
            f"found {len(values)}"
        )
    return values


def _axes(
    coordinates: Sequence[Coordinate], hills: Hills, sigmas: tuple[float, ...]
) -> tuple[Axis, ...]:
    """The axes of the grid.

    Raises:
        InputError: a bound is missing or invalid, or there would be too many nodes.
    """
    lows = _fitting("grid_min", hills.grid_min, coordinates) if hills.grid_min else None
    highs = _fitting("grid_max", hills.grid_max, coordinates) if hills.grid_max else None
    spacings = tuple(sigma / NODES_PER_SIGMA for sigma in sigmas)
    if hills.grid_spacing:
        spacings = _fitting("grid_spacing", hills.grid_spacing, coordinates)
    axes = []
    for n, coordinate in enumerate(coordinates):
        low, high = _natural_bounds(coordinate)
        if not coordinate.periodic:
            low = low if lows is None else lows[n]
            high = high if highs is None else highs[n]
        if low is None or high is None or not low < high:
            raise InputError(
                f"grid_min, grid_max: expected both bounds of {coordinate.label}, the lower first, "
                f"found {low} and {high}"
            )
        if coordinate.periodic and sigmas[n] > (high - low) / 6:
            raise InputError(
                f"sigma: expected at most {(high - low) / 6:g} for {coordinate.label}, "
                f"found {sigmas[n]:g}: a hill would overlap with itself"
            )
        cells = max(2, ceil((high - low) / spacings[n] * (1 - 1e-9)))
        nodes = cells if coordinate.periodic else cells + 1
        axes.append(Axis(float(low), float(high), nodes, coordinate.periodic))
    if prod(axis.nodes for axis in axes) > MAX_NODES:
        shape = " x ".join(str(axis.nodes) for axis in axes)
        raise InputError(
            f"grid_spacing: expected at most {MAX_NODES} nodes, found {shape}; widen it"
        )
    return tuple(axes)


def _natural_bounds(coordinate: Coordinate) -> tuple[float | None, float | None]:
    """Natural bounds of a coordinate of this kind, if it has any."""
    if coordinate.kind == "dihedral":
        return -180.0, 180.0
    if isinstance(coordinate, Coordination):
        return 0.0, float(coordinate.pairs)
    return (0.0, 180.0) if coordinate.kind == "angle" else (None, None)
