"""The one idea: a Potential maps a batch of positions to energies and forces.

Everything that yields energies and forces in flexcalc (a trained model, GFN2-xTB, DFT, a
bias, a sum) is bound to the atomic numbers of one molecule and is called with a whole batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.domain import Domain, domain_of
from flexcalc.errors import MoleculeError, NonFiniteError, ShapeError
from flexcalc.progress import Progress


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Energies and forces of a batch.

    Args:
        energies: (batch,) in eV.
        forces: (batch, atoms, 3) in eV/angstrom.
        deviation: (batch, atoms), a committee's spread of the force in eV/angstrom, or None
            where the potential does not know it.
    """

    energies: np.ndarray
    forces: np.ndarray
    deviation: np.ndarray | None = None


def concatenate(parts: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of those of the pieces of a batch; deviations where all parts have them."""
    deviations = [part.deviation for part in parts if part.deviation is not None]
    return Evaluation(
        np.concatenate([part.energies for part in parts]),
        np.concatenate([part.forces for part in parts]),
        np.concatenate(deviations) if len(deviations) == len(parts) else None,
    )


def in_batches(
    potential: Callable[[Any], Evaluation], positions: Any, progress: Progress, size: int = 64
) -> Evaluation:
    """Evaluate many geometries (frames, atoms, 3) in batches of `size`, with progress."""
    parts = []
    for begin in range(0, len(positions), size):
        parts.append(potential(positions[begin : begin + size]))
        progress(min(begin + size, len(positions)), len(positions), "frames")
    return concatenate(parts)


def distances_of(
    potential: Any, positions: np.ndarray, energies_eV: np.ndarray | None = None, size: int = 256
) -> np.ndarray | None:
    """Distances (frames,) of many geometries from the training set of a potential.

    Args:
        potential: any; None is returned for one that does not know distances.
        positions: (frames, atoms, 3) in angstrom, asked for in batches of `size`.
        energies_eV: (frames,) of the potential there; with them, geometries whose energy is above
            those of the domain are outside (`Domain.with_energies`).
    """
    ask = getattr(potential, "distance", None)
    parts = (
        [ask(positions[start : start + size]) for start in range(0, len(positions), size)]
        if ask
        else []
    )
    known = [part for part in parts if part is not None]
    if not known:
        return None
    distances, domain = np.concatenate(known), domain_of(potential)
    if domain is None or energies_eV is None:
        return distances
    return domain.with_energies(distances, energies_eV)


@runtime_checkable
class Potential(Protocol):
    """Maps positions (batch, atoms, 3) in angstrom to an Evaluation, in float64."""

    numbers: np.ndarray

    def __call__(self, positions: ArrayLike) -> Evaluation: ...


class CheckedPotential(ABC):
    """A potential whose input and output are checked on every call.

    A subclass sets `numbers` (atoms,) and implements `evaluate`; it may then assume a
    contiguous float64 batch of the right shape and need not look for NaN itself.
    """

    numbers: np.ndarray
    expensive: bool = False
    """Whether a resumed run must not evaluate a geometry again, see `tasks/remembered.py`."""
    single_core: bool = False
    """Whether batches are evaluated by NumPy alone, a part on each core, so that several processes
    with batches of their own are as fast; it can be sent to them by pickle."""

    def __call__(self, positions: ArrayLike) -> Evaluation:
        """Evaluate a batch.

        Args:
            positions: (batch, atoms, 3) in angstrom; never changed.

        Raises:
            ShapeError: the positions do not fit the molecule or are not finite.
            NonFiniteError: an energy or a force came out NaN or infinite.
        """
        positions = check_positions(positions, self.numbers)
        return check(self.evaluate(positions), positions)

    @abstractmethod
    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Evaluate positions (batch, atoms, 3) that have already been checked."""

    @property
    def domain(self) -> Domain | None:
        """Where the errors are known; None for a potential that was not trained."""
        return None

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """How far geometries are from the training set, where the potential knows.

        Args:
            positions: (batch, atoms, 3) in angstrom.

        Returns:
            (batch,) the distance to the nearest training point, in multiples of the largest
            distance that a training point has to its own nearest one; or None.
        """
        return None


def check_positions(positions: ArrayLike, numbers: np.ndarray) -> np.ndarray:
    """Return positions as a contiguous float64 array (batch, atoms, 3).

    Raises:
        ShapeError: another shape, not numbers, or not finite.
    """
    try:
        array = np.ascontiguousarray(positions, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"positions are not an array of numbers: {error}") from None
    atoms = len(numbers)
    if array.ndim != 3 or array.shape[1:] != (atoms, 3):
        hint = "; add a batch axis: positions[None]" if array.shape == (atoms, 3) else ""
        raise ShapeError(
            f"expected positions of shape (batch, {atoms}, 3), got {array.shape}{hint}"
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))[0])
        raise ShapeError(f"positions of batch row {row} are not finite")
    return array


def check(evaluation: Evaluation, positions: np.ndarray) -> Evaluation:
    """Return the evaluation if it is whole and finite.

    Raises:
        ShapeError: energies, forces or deviations do not fit the positions.
        NonFiniteError: names the first batch row whose energy or force is not finite.
    """
    batch = len(positions)
    energies = np.asarray(evaluation.energies, dtype=np.float64)
    forces = np.asarray(evaluation.forces, dtype=np.float64)
    if energies.shape != (batch,) or forces.shape != positions.shape:
        raise ShapeError(
            f"a potential returned energies {energies.shape} and forces {forces.shape} "
            f"for positions {positions.shape}"
        )
    if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
        good = np.all(np.isfinite(forces), axis=2)
        rows = np.flatnonzero(~(np.isfinite(energies) & good.all(axis=1)))
        atoms = ", ".join(map(str, np.flatnonzero(~good[rows[0]])))
        where = f" (forces on atoms {atoms})" if atoms else " (the energy)"
        raise NonFiniteError(
            f"energy or forces of batch row {rows[0]} are not finite{where}",
            "not finite",
            rows,
            positions[rows],
        )
    deviation = evaluation.deviation
    if deviation is not None:
        deviation = np.asarray(deviation, dtype=np.float64)
        if deviation.shape != positions.shape[:2]:
            raise ShapeError(
                f"a potential returned deviations {deviation.shape} for positions {positions.shape}"
            )
    return Evaluation(energies, forces, deviation)


def check_molecule(expected: np.ndarray, found: ArrayLike, what: str = "atoms") -> None:
    """Refuse atoms that are not the molecule, in its order.

    Raises:
        MoleculeError: names both formulas, or the first atom that differs.
    """
    found = np.asarray(found)
    if np.array_equal(expected, found):
        return
    want, got = formula(expected), formula(found)
    if want != got:
        raise MoleculeError(f"{what}: expected the molecule {want}, got {got}")
    atom = int(np.flatnonzero(expected != found)[0])
    from ase.data import chemical_symbols

    raise MoleculeError(
        f"{what}: the atoms of {want} are in another order: expected "
        f"{chemical_symbols[expected[atom]]} at index {atom}, "
        f"got {chemical_symbols[found[atom]]}; reorder the atoms"
    )


def formula(numbers: ArrayLike) -> str:
    """Chemical formula in Hill order of atomic numbers (atoms,)."""
    from ase.formula import Formula
    from ase.symbols import Symbols

    return str(Formula(str(Symbols(np.asarray(numbers, dtype=int)))).format("hill"))


class Counted:
    """A potential whose evaluations are counted.

    Args:
        potential: that is called.
        geometries: number of geometries that it has evaluated before.
    """

    def __init__(self, potential: Potential, geometries: int = 0):
        self.inner, self.numbers = potential, potential.numbers
        self.geometries = geometries

    def __call__(self, positions: ArrayLike) -> Evaluation:
        """Evaluate positions (batch, atoms, 3) in angstrom, and count them."""
        found = self.inner(positions)
        self.geometries += len(found.energies)
        return found


class Sum(CheckedPotential):
    """The sum of potentials of one molecule, such as a baseline and a model of the rest.

    Args:
        terms: potentials bound to the same numbers.

    Raises:
        MoleculeError: the terms are not all for one molecule.
    """

    def __init__(self, *terms: Potential):
        if not terms:
            raise ShapeError("a Sum needs at least one potential")
        self.terms = terms
        self.numbers = terms[0].numbers
        for term in terms[1:]:
            check_molecule(self.numbers, term.numbers, "terms of a Sum")

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Add energies and forces; deviations of the terms add as independent errors."""
        parts = [term(positions) for term in self.terms]
        spreads = [part.deviation**2 for part in parts if part.deviation is not None]
        return Evaluation(
            energies=np.sum([part.energies for part in parts], axis=0),
            forces=np.sum([part.forces for part in parts], axis=0),
            deviation=np.sqrt(np.sum(spreads, axis=0)) if spreads else None,
        )

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """See `largest_distance`."""
        return largest_distance(self.terms, positions)

    @property
    def domain(self) -> Domain | None:
        """That of the first term that has one, without its energies: the sum has others."""
        found = first_domain(self.terms)
        return None if found is None else replace(found, energies_eV=None)


class WeightedSum(Sum):
    """A sum of potentials of one molecule, each multiplied with a number.

    Args:
        terms: potentials bound to the same numbers.
        weights: one for each of them.

    Raises:
        MoleculeError: the terms are not all for one molecule.
        ShapeError: there is not one weight for each.
    """

    def __init__(self, terms: Sequence[Potential], weights: Sequence[float]):
        super().__init__(*terms)
        if len(terms) != len(weights):
            raise ShapeError(f"expected {len(terms)} weights, got {len(weights)}")
        self.weights = tuple(float(weight) for weight in weights)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Add energies and forces times the weights; deviations add as independent errors."""
        parts = [
            (weight, term(positions)) for weight, term in zip(self.weights, self.terms, strict=True)
        ]
        spreads = [
            (weight * part.deviation) ** 2 for weight, part in parts if part.deviation is not None
        ]
        return Evaluation(
            energies=np.sum([weight * part.energies for weight, part in parts], axis=0),
            forces=np.sum([weight * part.forces for weight, part in parts], axis=0),
            deviation=np.sqrt(np.sum(spreads, axis=0)) if spreads else None,
        )


def largest_distance(parts: Iterable[Potential], positions: np.ndarray) -> np.ndarray | None:
    """The largest distance (batch,) from their training sets that potentials know, or None.

    It belongs to `first_domain`: where limits differ, distances are scaled so that a geometry is in
    that domain if it is in those of all parts.
    """
    parts = list(parts)
    first = first_domain(parts)
    known = []
    for part in parts:
        ask = getattr(part, "distance", None)
        found = None if ask is None else ask(positions)
        if found is not None:
            own = domain_of(part)
            known.append(
                found if first is None or own is None else found * (first.limit / own.limit)
            )
    return np.max(known, axis=0) if known else None


def first_domain(parts: Iterable[Potential]) -> Domain | None:
    """The domain of the first potential that has one, or None."""
    return next((found for found in map(domain_of, parts) if found is not None), None)
