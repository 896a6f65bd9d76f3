"""Replica exchange between temperatures (parallel tempering), all replicas in one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from flexcalc.errors import ConfigError
from flexcalc.methods.dynamics import noise
from flexcalc.methods.dynamics.bath import Bath
from flexcalc.methods.dynamics.integrator import Integrator
from flexcalc.methods.dynamics.state import AroundDynamics, DynamicsState
from flexcalc.potential import Evaluation, Potential
from flexcalc.units import KB


@dataclass(frozen=True, eq=False)
class ExchangeState(AroundDynamics):
    """Replicas that exchange their geometries; each keeps its temperature.

    Args:
        walkers: (batch,) number of the walker, counted at the start, whose geometry each has.
    """

    walkers: np.ndarray

    @property
    def evaluation(self) -> Evaluation:
        """Energies and forces at the positions."""
        return self.dynamics.evaluation


@dataclass(frozen=True)
class Ladders:
    """The temperatures of a batch: one ladder after the other, all with the same temperatures.

    Args:
        temperatures_K: of the replicas of a ladder, in any order.
        batch: number of replicas.
    """

    temperatures_K: tuple[float, ...]
    batch: int

    def pairs(self, attempt: int) -> np.ndarray:
        """The rows (pairs, 2) that may exchange in an attempt, the colder one first.

        They are neighbours in temperature, every other pair of them in turn, which moves walkers
        faster than pairs at random.

        Source: Lingenheil, Denschlag, Mathias, Tavan, Chem. Phys. Lett. 478, 80 (2009),
        doi:10.1016/j.cplett.2009.07.039.
        """
        order = np.argsort(self.temperatures_K, kind="stable")
        found = []
        for first in range(0, self.batch, len(order)):
            rows = first + order
            rows = rows[rows < self.batch][attempt % 2 :]
            found += list(zip(rows[:-1:2], rows[1::2], strict=True))
        return np.array(found, dtype=int).reshape(-1, 2)


@dataclass(frozen=True, kw_only=True)
class ReplicaExchange:
    """Dynamics in which replicas of neighbouring temperatures exchange their geometries.

    After every so many steps pairs of replicas attempt to exchange. With their temperatures T and
    potential energies U, an exchange is accepted with the probability

        min(1, exp[(1/kT_1 - 1/kT_2) (U_1 - U_2)]),

    which keeps the canonical distribution at each temperature. Momenta are scaled by the square
    root of the ratio of the temperatures. The change of a replica's energy counts as heat, so that
    its conserved energy stays conserved.

    Source: Sugita and Okamoto, Chem. Phys. Lett. 314, 141 (1999),
    doi:10.1016/S0009-2614(99)01123-9.

    Args:
        dynamics: with a thermostat that has a temperature for each replica.
        every: steps between attempts.

    Raises:
        ConfigError: there are not at least two temperatures.
    """

    dynamics: Integrator
    every: int

    def __post_init__(self) -> None:
        if len(set(self.temperatures_K)) < 2:
            raise ConfigError(
                "exchange_every: expected at least two temperatures to exchange between; set "
                "replica_temperatures_K of the method"
            )

    @property
    def temperatures_K(self) -> tuple[float, ...]:
        """Temperatures of a ladder."""
        return self.dynamics.replica_temperatures_K if isinstance(self.dynamics, Bath) else ()

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> ExchangeState:
        """Start replicas at positions (batch, atoms, 3) in angstrom; see `Integrator.init`."""
        started = self.dynamics.init(potential, positions, rng)
        return ExchangeState(started, np.arange(len(positions)))

    def step(self, potential: Potential, state: ExchangeState, rng: Generator) -> ExchangeState:
        """Advance every replica by one timestep, one potential call for the batch, and exchange
        if it is time; see `Integrator.step`."""
        moved = self.dynamics.step(potential, state.dynamics, rng)
        if moved.step % self.every:
            return replace(state, dynamics=moved)
        order = self._order(moved)
        return ExchangeState(self._exchanged(moved, order, potential.numbers), state.walkers[order])

    def _order(self, state: DynamicsState) -> np.ndarray:
        """The row (batch,) whose geometry each replica gets."""
        batch = len(state.positions)
        cold, hot = Ladders(self.temperatures_K, batch).pairs(state.step // self.every).T
        beta = 1 / (KB * self.dynamics.target_K(state.step, batch))
        energies = state.evaluation.energies
        exponent = (beta[cold] - beta[hot]) * (energies[cold] - energies[hot])
        drawn = noise.uniform(state.keys, state.step)[cold]
        accepted = drawn < np.exp(np.minimum(exponent, 0.0))
        order = np.arange(batch)
        order[cold[accepted]], order[hot[accepted]] = hot[accepted], cold[accepted]
        return order

    def _exchanged(
        self, state: DynamicsState, order: np.ndarray, numbers: np.ndarray
    ) -> DynamicsState:
        kelvin = self.dynamics.target_K(state.step, len(order))
        found = state.evaluation
        deviation = None if found.deviation is None else found.deviation[order]
        after = replace(
            state,
            positions=state.positions[order],
            momenta=np.sqrt(kelvin / kelvin[order])[:, None, None] * state.momenta[order],
            evaluation=Evaluation(found.energies[order], found.forces[order], deviation),
        )
        conserved = (self.dynamics.conserved_energy(one, numbers) for one in (after, state))
        return replace(after, heat=state.heat + np.subtract(*conserved))
