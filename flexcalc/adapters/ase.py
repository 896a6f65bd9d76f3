"""Any potential as an ASE calculator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes

from flexcalc.adapters.watch import DomainWarning, DomainWatch
from flexcalc.dataset import Provenance
from flexcalc.errors import MoleculeError
from flexcalc.fields import Address
from flexcalc.models.bonding import judged, mismatch
from flexcalc.models.family import model_sha256
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import name_of, needs_molecule, open_potential


class OrderWarning(UserWarning):
    """Identical atoms are in another order than those of the model."""


def warn_of_order(potential: Potential, positions: np.ndarray) -> None:
    """Warn if positions (atoms, 3) match the model's bonds only with identical atoms reordered."""
    found = judged(potential, positions[None])
    if found.order is not None:
        warnings.warn(
            f"{mismatch(found.order)}: energies and forces are wrong for the order that they are "
            f"in; use atoms[{found.order.tolist()}]",
            OrderWarning,
            stacklevel=2,
        )


DISTANCE = "distance"
"""Property: distance to the training data."""

MEASURED_EVERY = 10
"""Calls between two measurements of the distance, which cost about 2.5 % of the time."""


class Calculator(ASECalculator):
    """A drop-in ASE calculator for any potential.

    Gives `energy` (a float, eV), `free_energy` (the same) and `forces` (atoms, 3) in
    eV/angstrom, and `deviation` (atoms,) in eV/angstrom if the potential has it. It can
    be copied, pickled to another process and shared by several Atoms in turn. The first
    atoms it meets are compared with the model's training frames: where the bonds fit only with like
    atoms in another order, there is an `OrderWarning` with that order.

    A model that knows its training data also gives `distance`, the distance of the geometry to
    them in multiples of the largest nearest-neighbour distance among them. It is computed where it
    is asked for, and otherwise at every tenth call and after large moves; at the first geometry
    outside the model's domain there is a `DomainWarning`.

    Args:
        potential: a Potential, or the address of one. A reference such as `xtb:GFN2-xTB`, or
            a foreign model for many molecules, takes its molecule from the first atoms it meets.
        trust: open files that can only be read by running code they contain.

    Raises:
        AddressError: nothing can be opened by that address.
    """

    implemented_properties = ["energy", "free_energy", "forces", "deviation", DISTANCE]  # noqa: RUF012 - as in ASE

    def __init__(
        self, potential: Potential | Address | Path, *, trust: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self._reference: Address | None = None
        self._trust = trust
        self._compared = False
        self._watch: DomainWatch | None = None
        self._warned = False
        self.potential: Potential | None = None
        self._hashed: tuple[Potential | None, str] = None, ""
        if isinstance(potential, Path):
            potential = str(potential)
        self._level = name_of(potential)
        if not isinstance(potential, str):
            self.potential = open_potential(potential)
        elif needs_molecule(potential):
            self._reference = potential
        else:
            self.potential = open_potential(potential, trust=trust)

    @property
    def provenance(self) -> Provenance:
        """Of the labels that it gives."""
        if self.potential is not self._hashed[0]:
            self._hashed = self.potential, model_sha256(self.potential) if self.potential else ""
        return Provenance(level=self._level, model_sha256=self._hashed[1])

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """Changes since the last calculation in the quantities that a potential depends on.

        ASE's own comparison takes longer than a small model; this one is exact.
        """
        if self.atoms is None or len(self.atoms) != len(atoms):
            return list(all_changes)
        old, new = self.atoms.arrays, atoms.arrays
        changed = [name for name in ("positions", "numbers") if (old[name] != new[name]).any()]
        return changed + ["pbc"] * bool((self.atoms.pbc != atoms.pbc).any())

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the atoms; called by ASE.

        Raises:
            MoleculeError: periodic atoms, or another molecule than the potential's.
            NonFiniteError: the energy or a force came out NaN or infinite.
        """
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise MoleculeError("there are no atoms to calculate; hand the calculator some")
        if atoms.pbc.any():
            raise MoleculeError(
                "flexcalc is for molecules in vacuum, got periodic atoms; "
                "set atoms.pbc = False if the cell is only a box around the molecule"
            )
        potential = self._bound_to(atoms.numbers)
        if not system_changes and list(properties) == [DISTANCE] and "energy" in self.results:
            self._measure(potential, atoms.positions, asked=True)
            return
        if not self._compared:
            self._compared = True
            warn_of_order(potential, atoms.positions)
        evaluation = potential(atoms.positions[None])
        energy = float(evaluation.energies[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": evaluation.forces[0].copy(),
        }
        if evaluation.deviation is not None:
            self.results["deviation"] = evaluation.deviation[0].copy()
        self._measure(potential, atoms.positions, asked=DISTANCE in properties)

    def _measure(self, potential: Potential, positions: np.ndarray, *, asked: bool) -> None:
        """Put the distance to the training data into the results, if it is due or asked for."""
        if self._watch is None or self._watch.potential is not potential:
            self._watch = DomainWatch(potential, MEASURED_EVERY, jumps=True)
        watch, batch = self._watch, positions[None]
        energies = np.array([self.results["energy"]])
        found = watch.measure(batch, energies) if asked else watch(batch, energies)
        if found is None or watch.domain is None:
            return
        self.results[DISTANCE] = float(found[0])
        if watch.outside and not self._warned:
            self._warned = True
            warnings.warn(
                f"the geometry is outside the training data of the model: its distance is "
                f"{found[0]:.2f}, the limit {watch.domain.limit:.2f}; energies and forces are "
                'not supported there (results["distance"]; later geometries are not warned of)',
                DomainWarning,
                stacklevel=3,
            )

    def _bound_to(self, numbers: np.ndarray) -> Potential:
        """The potential for a molecule; a reference method is opened again for a new molecule."""
        bound = self.potential
        fits = bound is not None and np.array_equal(bound.numbers, numbers)
        if self._reference is not None and not fits:
            bound = self.potential = open_potential(self._reference, numbers, trust=self._trust)
        if bound is None:
            raise MoleculeError("this calculator has no potential")
        check_molecule(bound.numbers, numbers)
        return bound
