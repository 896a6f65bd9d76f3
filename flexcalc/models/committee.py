"""Several models of one molecule that answer together, and how far they are apart.

A committee is not a `Family`: it has no hyperparameters to search, and any family can be in it.
It is what `flexcalc train --committee 4` makes of the family it trains (`training.committee`),
and what the address `committee:a.flex,b.flex` makes of models that are there, of one family or of
several. This file knows no family: members are handed in, and `registry` opens those of a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import TrainedPotential, domain_with_parts, model_sha256, saves_of
from flexcalc.models.folder import ModelContent, joint_sha256, read_members, read_model
from flexcalc.models.training_set import read_training_set, training_set_arrays
from flexcalc.potential import Evaluation, Potential, check_molecule, largest_distance


class Committee(TrainedPotential):
    """The mean of several potentials, with their spread.

    Energies and forces are the members' means, so the forces are minus the gradient of the
    energy. `deviation` (batch, atoms) is, for atom a with force F_k of member k of K and mean F,

        sqrt( sum_k |F_k - F|^2 / (K - 1) )    in eV/angstrom,

    the sample standard deviation of the force vector. It says how much the members disagree, not
    how wrong they are: what all of them get wrong alike it does not see, and its scale depends on
    how different their training was (`facts["force_error_over_deviation"]` after a training).

    Source: Schran, Brezina, Marsalek, J. Chem. Phys. 153, 104105 (2020), doi:10.1063/5.0016004.

    Args:
        members: at least two potentials of one molecule, evaluated one after the other, each on
            the whole batch.
        facts: see `TrainedPotential`.

    Raises:
        InputError: fewer than two members.
        MoleculeError: the members are not all for one molecule.
    """

    name: ClassVar[str] = "committee"

    def __init__(self, members: Sequence[Potential], facts: ModelFacts | None = None):
        if len(members) < 2:
            raise InputError(f"a committee needs at least two members, got {len(members)}")
        self.members = tuple(members)
        self.numbers = self.members[0].numbers
        for number, member in enumerate(self.members):
            check_molecule(self.numbers, member.numbers, f"member {number} of a committee")
        self.facts = {"hyperparameters": {"members": len(self.members)}, **(facts or {})}

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Mean energies and forces of positions (batch, atoms, 3), and the deviation."""
        parts = [member(positions) for member in self.members]
        forces = np.stack([part.forces for part in parts])
        mean = forces.mean(axis=0)
        squares = ((forces - mean) ** 2).sum(axis=(0, 3))
        return Evaluation(
            energies=np.mean([part.energies for part in parts], axis=0),
            forces=mean,
            deviation=np.sqrt(squares / (len(parts) - 1)),
        )

    @property
    def single_core(self) -> bool:  # type: ignore[override]
        """See `CheckedPotential`."""
        return all(getattr(member, "single_core", False) for member in self.members)

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """Its own (batch,), or the largest distance that a member knows."""
        own = super().distance(positions)
        return largest_distance(self.members, positions) if own is None else own

    @property
    def domain(self) -> Domain | None:
        """See `domain_with_parts`."""
        return domain_with_parts(self, self.members)

    def content(self) -> ModelContent:
        """See `TrainedPotential.content`.

        Raises:
            InputError: a member is no trained model.
        """
        parts = {f"member-{number}.flex": member for number, member in enumerate(self.members)}
        return ModelContent(
            family=self.name,
            numbers=self.numbers,
            hyperparameters=self.facts["hyperparameters"],
            arrays=training_set_arrays(self),
            facts=self.facts,
            members=saves_of(parts, self.name),
        )

    def sha256(self) -> str:
        """See `TrainedPotential.sha256`; empty for a committee of references."""
        parts = list(map(model_sha256, self.members))
        return joint_sha256(self.name, *parts) if any(parts) else ""

    @classmethod
    def load(cls, folder: Path, loader: Callable[[Path], Potential]) -> Committee:
        """Read a model folder.

        Args:
            folder: of a committee.
            loader: opens a member by the path of its folder.

        Raises:
            FileFormatError: the folder is damaged, or a member is missing or for another molecule.
        """
        facts, arrays = read_model(folder)
        paths = read_members(folder, facts)
        if len(paths) < 2:
            raise FileFormatError(f"{folder}: expected the folders of at least two members")
        committee = cls([loader(path) for path in paths.values()], facts)
        committee.training_set = read_training_set(folder, committee.numbers, arrays)
        return committee
