"""Guards: what ends a run before it goes where the potential is no good.

A guard is called with every new state before anything is recorded of it, and raises a GuardError.
`iterate.run` then keeps the state before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flexcalc.errors import GuardError, InputError
from flexcalc.potential import Evaluation, Potential


class Evaluated(Protocol):
    """A state with the evaluation at its positions."""

    @property
    def step(self) -> int: ...

    @property
    def evaluation(self) -> Evaluation: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviationGuard:
    """Stops where a committee's members disagree about a force.

    Args:
        numbers: (atoms,) atomic numbers, for the message.
        max_deviation_eV_A: largest deviation of the force on any atom of any replica.
    """

    numbers: np.ndarray
    max_deviation_eV_A: float

    def __call__(self, state: Evaluated) -> None:
        """Let a state pass, or stop the run.

        Raises:
            GuardError: names the replica and atom with the largest deviation.
        """
        deviation = state.evaluation.deviation
        if deviation is None or deviation.max() <= self.max_deviation_eV_A:
            return
        from ase.data import chemical_symbols

        replica, atom = np.unravel_index(deviation.argmax(), deviation.shape)
        raise GuardError(
            f"step {state.step}: replica {replica}, atom {atom} "
            f"({chemical_symbols[self.numbers[atom]]}): the committee's forces deviate by "
            f"{deviation[replica, atom]:.3g} eV/A, more than max_deviation_eV_A = "
            f"{self.max_deviation_eV_A:g}; the state before is kept: train on geometries like it"
        )


def check_deviation_known(potential: Potential, positions: np.ndarray, address: str) -> None:
    """Refuse a bound on the deviation for a potential that knows none.

    Args:
        potential: called with one geometry.
        positions: (batch, atoms, 3) in angstrom.
        address: of the potential, for the message.

    Raises:
        InputError: it knows no deviation.
    """
    if potential(positions[:1]).deviation is None:
        raise InputError(
            f"max_deviation_eV_A: {address} knows no deviation of its forces; use a committee "
            "(flexcalc train --committee 4, or committee:A.flex,B.flex)"
        )
