"""The potential of a mixture, and how the energies of its members are brought together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError
from flexcalc.fields import Address
from flexcalc.geometry import Coordinate
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import check_arrays, read_members, read_model, write_model
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.mixture.features import CoordinateFeatures, Terms
from flexcalc.models.mixture.gate import Gate
from flexcalc.potential import Evaluation, Potential, check_molecule


class MixturePotential(TrainedPotential):
    """Local models of one molecule, each with the say in its own region.

    The energy is sum_k w_k (E_k + c_k) with the weights of the gate, and the forces are minus
    its gradient. A member is only evaluated where its weight is not zero: far from all borders
    a geometry costs what one member costs.

    Args:
        members: one potential for each region.
        gate: the weights.
        constants: (members,) added to the members' energies, in eV.
        facts: see `TrainedPotential`.

    Raises:
        InputError: not as many members as regions.
        MoleculeError: the members are not all for one molecule.
    """

    name: ClassVar[str] = "mixture"

    def __init__(
        self,
        members: Sequence[Potential],
        gate: Gate,
        constants: np.ndarray,
        facts: Mapping[str, Any] | None = None,
    ):
        if not len(members) == gate.regions == len(constants):
            raise InputError(
                f"a mixture needs a member and a constant for each of its {gate.regions} regions, "
                f"got {len(members)} members and {len(constants)} constants"
            )
        self.members, self.gate = tuple(members), gate
        self.constants = np.array(constants, dtype=float)
        self.numbers = self.members[0].numbers
        for number, member in enumerate(self.members):
            check_molecule(self.numbers, member.numbers, f"member {number} of a mixture")
        self.facts = {"hyperparameters": {"regions": gate.regions}, **(facts or {})}

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3).

        The deviation is the weighted mean of the members', where all of them know it.
        """
        weighing = self.gate(positions)
        weights = weighing.weights
        each = np.zeros_like(weights)
        forces = np.zeros_like(positions)
        deviation: np.ndarray | None = np.zeros(positions.shape[:2])
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(weights[:, number])
            if not len(rows):
                continue
            found = member(positions[rows])
            each[rows, number] = found.energies + self.constants[number]
            share = weights[rows, number, None]
            forces[rows] += share[..., None] * found.forces
            if deviation is None or found.deviation is None:
                deviation = None
            else:
                deviation[rows] += share * found.deviation
        forces += weighing.force(each)
        return Evaluation((weights * each).sum(axis=1), forces, deviation)

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """The mean (batch,) of what the members say, by their weights; see `CheckedPotential`."""
        weights = self.gate(positions).weights
        total = np.zeros(len(positions))
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(weights[:, number])
            ask = getattr(member, "distance", None)
            found = ask(positions[rows]) if ask is not None and len(rows) else None
            if found is None and len(rows):
                return None
            if found is not None:
                total[rows] += weights[rows, number] * found
        return total

    def save(self, folder: Path) -> None:
        """Write one model folder that holds the members' folders.

        Raises:
            InputError: a member is no trained model; or the destination is no model folder.
        """
        saves = {}
        for number, member in enumerate(self.members):
            if not isinstance(member, TrainedPotential):
                raise InputError(
                    f"member {number} of the mixture, a {type(member).__name__}, is no trained "
                    "model and cannot be saved"
                )
            saves[f"region-{number}.flex"] = member.save
        terms = self.gate.terms
        named = terms.coordinates if isinstance(terms, CoordinateFeatures) else ()
        write_model(
            folder,
            family=self.name,
            numbers=self.numbers,
            hyperparameters=self.facts["hyperparameters"],
            arrays={
                "slopes": self.gate.slopes,
                "offsets": self.gate.offsets,
                "constants": self.constants,
            },
            facts=self.facts | {"gate": [one.label for one in named]},
            members=saves,
        )

    @classmethod
    def load(cls, folder: Path, opened: Callable[[Address], Potential]) -> MixturePotential:
        """Read a model folder.

        Args:
            folder: of a mixture.
            opened: opens a member by its address, the path of its folder.

        Raises:
            FileFormatError: damaged, or a member is missing or another one.
        """
        facts, arrays = read_model(folder, cls.name)
        paths = list(read_members(folder, facts).values())
        names = facts.pop("gate", None)
        if not paths or type(names) is not list or not all(type(name) is str for name in names):
            raise FileFormatError(f"{folder}: expected the folders of members and a gate")
        terms: Terms = InverseDistances(len(facts["numbers"]))
        size = len(facts["numbers"]) * (len(facts["numbers"]) - 1) // 2
        if names:
            terms = CoordinateFeatures(tuple(Coordinate.parse(name) for name in names))
            size = 2 * len(names)
        count = len(paths)
        expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "slopes": ("f", (size, count)),
            "offsets": ("f", (count,)),
            "constants": ("f", (count,)),
        }
        check_arrays(folder, arrays, expected)
        gate = Gate(terms, arrays["slopes"], arrays["offsets"])
        return cls([opened(str(path)) for path in paths], gate, arrays["constants"], facts)


def aligned(members: Sequence[Potential], gate: Gate, data: Dataset) -> np.ndarray:
    """Constants (members,) in eV that bring the members' energies together.

    By least squares over the frames, where weights w_k are not zero: of each member with the
    labels, weighted by w_k, so that energies are right; and of each two members k and l with
    each other, by w_k w_l, so that crossing a border brings no force of its own.

    Args:
        members: one for each region.
        gate: their weights.
        data: frames with energies, in the regions and on the borders between them.

    Raises:
        FileFormatError: the frames have no labels.
    """
    labels = data.labels()[0]
    weights = gate(data.positions).weights
    count = gate.regions
    each = np.zeros_like(weights)
    for number, member in enumerate(members):
        rows = np.flatnonzero(weights[:, number])
        if len(rows):
            each[rows, number] = labels[rows] - member(data.positions[rows]).energies
    # Of the normal equations: own labels on the diagonal, and the Laplacian of the overlaps.
    overlaps = weights.T @ weights
    np.fill_diagonal(overlaps, 0.0)
    square = np.diag(weights.sum(axis=0) + overlaps.sum(axis=1)) - overlaps
    both = np.einsum("bk,bl->kl", weights * each, weights) - np.einsum(
        "bk,bl->kl", weights, weights * each
    )
    np.fill_diagonal(both, 0.0)
    right = (weights * each).sum(axis=0) + both.sum(axis=1)
    return np.linalg.lstsq(square, right, rcond=None)[0] if count > 1 else right / square[0, 0]
