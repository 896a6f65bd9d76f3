"""Guards: stop a run before it reaches geometries where the potential is unreliable.

A guard is called with every new state before anything is recorded, and raises a GuardError.
`iterate.run` then keeps the last good state, and saves the bad geometries. Energies, forces and
positions that are not finite need no guard here: `potential.check` and the integrator raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np

from flexcalc.domain import domain_of
from flexcalc.errors import GuardError, InputError
from flexcalc.fields import NonNegative, Positive
from flexcalc.geometry import Coordinate
from flexcalc.geometry.graph import bonds, covalent_lengths
from flexcalc.methods.dynamics import masses, temperature
from flexcalc.methods.iterate import STOPPED_FILE
from flexcalc.potential import Evaluation, Potential

BROKEN, FORMED = 1.6, 1.15
"""A bond counts as broken above, and as formed below, these multiples of the sum of the covalent
radii. Thermal motion stretches bonds to about 1.3; strong hydrogen bonds stay above 1.25."""

MIN_BEND_DEGREES = 1.0
"""Minimum bend of the two angles within a dihedral that a bias acts on."""


class Evaluated(Protocol):
    """A state with its positions (batch, atoms, 3) and the evaluation there."""

    @property
    def step(self) -> int: ...

    @property
    def positions(self) -> np.ndarray: ...

    @property
    def evaluation(self) -> Evaluation: ...


class HasMomenta(Evaluated, Protocol):
    """A state that also has momenta (batch, atoms, 3)."""

    @property
    def momenta(self) -> np.ndarray: ...


Guard = Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class Guards:
    """Guards, which stop dynamics; options of md, metad and umbrella.

    The last good state is kept, so that a run resumes from it after a limit has been changed.
    """

    panel: ClassVar[str] = "Guards"
    changeable_guards: ClassVar[tuple[str, ...]] = (
        *("min_contact", "keep_bonds", "max_temperature_K", "max_training_distance"),
        *("max_deviation_eV_A", "max_rms_deviation_eV_A"),
    )

    min_contact: NonNegative = 0.6
    """Stop if two atoms come closer than this multiple of the sum of their covalent radii."""
    keep_bonds: bool = True
    """Stop if a bond of the start breaks or a new one forms: beyond 1.6 and below 1.15 times
    the sum of the covalent radii."""
    max_temperature_K: Positive | None = None
    """Stop if the kinetic temperature of a replica exceeds this, in kelvin; the temperature of a
    small molecule fluctuates strongly."""
    max_training_distance: Positive | None = None
    """Stop if a geometry is farther from all training points than this multiple of the largest
    nearest-neighbour distance within the training set. `flexcalc info MODEL` shows the limit of a
    model's domain; models of other packages, and networks and GAP of earlier versions, know no
    distance."""
    max_deviation_eV_A: Positive | None = None
    """Stop if the forces of a committee deviate by more than this on any atom, in eV/angstrom."""
    max_rms_deviation_eV_A: Positive | None = None
    """Stop if the root-mean-square deviation over the atoms of a replica exceeds this, in
    eV/angstrom; it separates good from bad geometries better than the worst atom does."""

    def guards(
        self,
        potential: Potential,
        positions: np.ndarray,
        fixed: int,
        address: str,
        own: Sequence[float] = (),
    ) -> list[Guard]:
        """The requested guards, cheapest first.

        Args:
            potential: of the dynamics.
            positions: (batch, atoms, 3) in angstrom, the starting geometries of the replicas.
            fixed: number of frozen degrees of freedom.
            address: of the potential, for messages.
            own: masses (atoms,) in amu; empty for standard ones.

        Raises:
            InputError: the potential does not provide what a guard needs.
        """
        numbers = potential.numbers
        found: list[Guard] = []
        if self.min_contact > 0 or self.keep_bonds:
            found.append(
                DistanceGuard.around(numbers, positions, self.min_contact, self.keep_bonds)
            )
        if self.max_temperature_K is not None:
            found.append(TemperatureGuard(numbers, fixed, self.max_temperature_K, tuple(own)))
        bounds = {
            option: getattr(self, option)
            for option in ("max_deviation_eV_A", "max_rms_deviation_eV_A")
            if getattr(self, option) is not None
        }
        if bounds:
            check_deviation_known(potential, positions, address, next(iter(bounds)))
            found.append(DeviationGuard(numbers=numbers, **bounds))
        if self.max_training_distance is not None:
            check_distance_known(potential, positions, address)
            found.append(TrainingGuard(potential, self.max_training_distance))
        return found


def named(numbers: np.ndarray, *atoms: int) -> str:
    """Atoms for a message: `atoms 0 (C) and 3 (H)`."""
    from ase.data import chemical_symbols

    words = [f"{atom} ({chemical_symbols[numbers[atom]]})" for atom in atoms]
    return f"atom{'s' if len(words) > 1 else ''} {' and '.join(words)}"


def stop(state: Evaluated, reason: str, bad: np.ndarray, row: int, what: str) -> GuardError:
    """The error for a bad state.

    Args:
        state: the state.
        reason: two or three words.
        bad: (batch,) of bool, the replicas whose geometries are saved.
        row: the replica that `what` describes.
        what: the atoms, the value found, and the option that sets the bound.
    """
    rows = np.flatnonzero(bad)
    more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
    return GuardError(
        f"step {state.step}: replica {row}{more}, {what}; the state before is kept, and the "
        f"geometry is in {STOPPED_FILE}",
        reason,
        rows,
        state.positions[rows],
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class DistanceGuard:
    """Stops if atoms come too close, a bond breaks, or a new one forms.

    Args:
        numbers: (atoms,) atomic numbers.
        contact: (atoms, atoms) minimum distance in angstrom of any two atoms.
        shortest: (batch, atoms, atoms) distance in angstrom below which a new bond is formed.
        longest: (batch, atoms, atoms) distance in angstrom beyond which a bond is broken.
    """

    numbers: np.ndarray
    contact: np.ndarray
    shortest: np.ndarray
    longest: np.ndarray

    @classmethod
    def around(
        cls, numbers: np.ndarray, positions: np.ndarray, min_contact: float, keep_bonds: bool
    ) -> DistanceGuard:
        """The guard for replicas that start at positions (batch, atoms, 3) in angstrom."""
        lengths = covalent_lengths(numbers)
        contact = min_contact * lengths
        np.fill_diagonal(contact, -1.0)
        shortest = np.repeat(contact[None], len(positions), axis=0)
        longest = np.full(shortest.shape, np.inf)
        if keep_bonds:
            bonded = np.zeros(shortest.shape, dtype=bool)
            for row, frame in enumerate(positions):
                i, j = bonds(numbers, frame).T
                bonded[row, i, j] = bonded[row, j, i] = True
            longest = np.where(bonded, BROKEN * lengths, np.inf)
            others = ~bonded & ~np.eye(len(numbers), dtype=bool)
            shortest = np.where(others, np.maximum(FORMED * lengths, contact), shortest)
        return cls(numbers=numbers, contact=contact, shortest=shortest, longest=longest)

    @cached_property
    def squared_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The squares of `shortest` and `longest`; the diagonal stays below all squares."""
        return np.copysign(self.shortest**2, self.shortest), self.longest**2

    def of(self, rows: np.ndarray) -> DistanceGuard:
        """The guard of some of the replicas, by index (rows,)."""
        return replace(self, shortest=self.shortest[rows], longest=self.longest[rows])

    def outside(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of atoms outside their bounds, and the squares of all distances.

        Args:
            positions: (batch, atoms, 3) in angstrom.

        Returns:
            Masks, and squares in angstrom^2, both (batch, atoms, atoms).
        """
        # Relative to the first atom, so that the difference of squares keeps its digits.
        arms = positions - positions[:, :1]
        products = arms @ arms.swapaxes(1, 2)
        norms = np.einsum("bii->bi", products)
        squares = norms[:, :, None] + norms[:, None, :] - 2.0 * products
        least, most = self.squared_bounds
        # The negation also catches distances that overflowed.
        return np.logical_not((squares >= least) & (squares <= most)), squares

    def __call__(self, state: Evaluated) -> None:
        """Check a state, and stop the run if it is bad.

        Raises:
            GuardError: names the replica and the two atoms.
        """
        bad, squares = self.outside(state.positions)
        if bad.any():
            row, i, j = np.argwhere(bad)[0]
            reason, what = self._describe(row, i, j, float(np.sqrt(max(squares[row, i, j], 0.0))))
            raise stop(
                state,
                reason,
                np.asarray(bad.any(axis=(1, 2))),
                row,
                f"{named(self.numbers, i, j)}: {what}",
            )

    def _describe(self, row: int, i: int, j: int, distance: float) -> tuple[str, str]:
        """The reason, and a description with distance and bound."""
        off = "A (set keep_bonds = false for reactions that the model knows)"
        longest, shortest = self.longest[row, i, j], self.shortest[row, i, j]
        if distance < self.contact[i, j]:
            return "close contact", (
                f"they are {distance:.3g} A apart, less than {self.contact[i, j]:.3g} A by "
                "min_contact"
            )
        if distance > longest:
            return (
                "broken bond",
                f"their bond broke at {distance:.3g} A, beyond {longest:.3g} {off}",
            )
        return "formed bond", f"a bond formed at {distance:.3g} A, below {shortest:.3g} {off}"


@dataclass(frozen=True, eq=False)
class TemperatureGuard:
    """Stops if a replica becomes too hot.

    Args:
        numbers: (atoms,) atomic numbers.
        fixed: number of frozen degrees of freedom.
        max_temperature_K: maximum kinetic temperature of a replica.
        own: masses (atoms,) in amu; empty for standard ones.
    """

    numbers: np.ndarray
    fixed: int
    max_temperature_K: float
    own: tuple[float, ...] = ()

    def __call__(self, state: HasMomenta) -> None:
        """Check a state, and stop the run if it is bad.

        Raises:
            GuardError: names the hottest replica and its fastest atom.
        """
        kelvin = temperature(state.momenta, self.numbers, self.fixed, self.own)
        bad = kelvin > self.max_temperature_K
        if bad.any():
            row = int(kelvin.argmax())
            share = (state.momenta[row] ** 2 / masses(self.numbers, self.own)).sum(axis=1)
            atom = int(share.argmax())
            what = (
                f"{named(self.numbers, atom)}: {kelvin[row]:.4g} K, {share[atom] / share.sum():.0%}"
                f" of it on this atom, is more than max_temperature_K = {self.max_temperature_K:g}"
            )
            raise stop(state, "temperature spike", bad, row, what)


def rms_deviation(deviation: np.ndarray) -> np.ndarray:
    """Root mean square (batch,) over the atoms of a committee's deviations (batch, atoms)."""
    return np.sqrt((deviation**2).mean(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviationGuard:
    """Stops if the members of a committee disagree about the forces.

    Args:
        numbers: (atoms,) atomic numbers, for the message.
        max_deviation_eV_A: maximum deviation of the force on any atom of any replica.
        max_rms_deviation_eV_A: maximum root mean square over the atoms of a replica.
    """

    numbers: np.ndarray
    max_deviation_eV_A: float = np.inf
    max_rms_deviation_eV_A: float = np.inf

    def __call__(self, state: Evaluated) -> None:
        """Check a state, and stop the run if it is bad.

        Raises:
            GuardError: names the replica and atom with the largest deviation.
        """
        deviation = state.evaluation.deviation
        if deviation is None:
            return
        largest, rms = deviation.max(axis=1), rms_deviation(deviation)
        for values, bound, option in (
            (largest, self.max_deviation_eV_A, "max_deviation_eV_A"),
            (rms, self.max_rms_deviation_eV_A, "max_rms_deviation_eV_A"),
        ):
            bad = values > bound
            if bad.any():
                row = int(values.argmax())
                atom = int(deviation[row].argmax())
                over = "" if values is largest else " in the root mean square over all atoms"
                what = (
                    f"{named(self.numbers, atom)}: the committee's forces deviate by "
                    f"{values[row]:.3g} eV/A{over}, more than {option} = {bound:g}; train on "
                    "geometries like it"
                )
                raise stop(state, "committee deviation", bad, row, what)


@dataclass(frozen=True, eq=False)
class TrainingGuard:
    """Stops if a geometry is far from all training points of the model.

    Args:
        potential: has `distance` (see `CheckedPotential.distance`).
        max_training_distance: maximum distance, in multiples of the largest nearest-neighbour
            distance within the training set.
    """

    potential: Any
    max_training_distance: float

    def __call__(self, state: Evaluated) -> None:
        """Check a state, and stop the run if it is bad.

        Raises:
            GuardError: names the replica.
        """
        distance = self.potential.distance(state.positions)
        bad = ~(distance <= self.max_training_distance)
        if bad.any():
            row = int(distance.argmax())
            domain = domain_of(self.potential)
            limit = "" if domain is None else f" (the model's domain ends at {domain.limit:.3g})"
            what = (
                f"all atoms: {distance[row]:.3g} times as far from every training point as those "
                f"are from each other, more than max_training_distance = "
                f"{self.max_training_distance:g}{limit}; train on geometries like it"
            )
            raise stop(state, "far from training", bad, row, what)


@dataclass(frozen=True, eq=False)
class BendGuard:
    """Stops a run in which an angle of a biased dihedral has become linear.

    The dihedral is undefined there, and its gradient, longer than 57 over the length of the bond,
    reverses from one step to the next.

    Args:
        coordinates: the biased coordinates.
    """

    coordinates: tuple[Coordinate, ...]

    def __call__(self, state: Evaluated) -> None:
        """Check a state, and stop the run if it is bad.

        Raises:
            GuardError: names the replica, the dihedral and the angle.
        """
        for coordinate in self.coordinates:
            if coordinate.kind != "dihedral":
                continue
            bad = coordinate.bend(state.positions) < MIN_BEND_DEGREES
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                what = coordinate.undefined(state.positions[row])
                raise stop(state, "linear angle", bad, row, what)


def check_deviation_known(
    potential: Potential, positions: np.ndarray, address: str, option: str = "max_deviation_eV_A"
) -> None:
    """Refuse a bound on the deviation for a potential that knows none.

    Args:
        potential: called with one geometry.
        positions: (batch, atoms, 3) in angstrom.
        address: of the potential, for the message.
        option: that sets the bound.

    Raises:
        InputError: it knows no deviation.
    """
    if potential(positions[:1]).deviation is None:
        raise InputError(
            f"{option}: {address} knows no deviation of its forces; use a committee "
            "(flexcalc train --committee 4, or committee:A.flex,B.flex)"
        )


def check_distance_known(potential: Potential, positions: np.ndarray, address: str) -> None:
    """Refuse a bound on the distance to the training set for a potential that knows none.

    Args:
        potential: asked for one geometry.
        positions: (batch, atoms, 3) in angstrom.
        address: of the potential, for the message.

    Raises:
        InputError: it knows no distance.
    """
    ask = getattr(potential, "distance", None)
    if ask is None or ask(positions[:1]) is None:
        raise InputError(
            f"max_training_distance: {address} does not know how far a geometry is from its "
            "training set; use a model trained by this version of flexcalc, or a committee and "
            "max_rms_deviation_eV_A"
        )
