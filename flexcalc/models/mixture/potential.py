"""The potential of a mixture, and how its members are brought together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from flexcalc.potential import Evaluation, Potential, check_molecule, largest_distance

BACKGROUND = "background.flex"
"""Name of the background's folder inside."""


class MixturePotential(TrainedPotential):
    """Local models of one molecule, each with the say in its own region.

    The energy is E = sum_k w_k S_k with the weights of the gate, where the surface of region k

        S_k = (1 - g_k) E_k + g_k E_0 + c_k

    is its member's, or that of its member and of a background, a model of all regions, together.
    Forces are minus the gradient of E. A member is only evaluated where its weight is not zero:
    without a background, a geometry far from all borders costs what one member costs.

    Args:
        members: one potential for each region.
        gate: the weights.
        constants: (members,) c_k in eV.
        background: a model of all regions, or None.
        shares: (members,) g_k, from 0 to 1, the background's part in the say; 0 without one.
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
        background: Potential | None = None,
        shares: np.ndarray | None = None,
        facts: Mapping[str, Any] | None = None,
    ):
        if not len(members) == gate.regions == len(constants):
            raise InputError(
                f"a mixture needs a member and a constant for each of its {gate.regions} regions, "
                f"got {len(members)} members and {len(constants)} constants"
            )
        self.members, self.gate, self.background = tuple(members), gate, background
        self.constants = np.array(constants, dtype=float)
        self.shares = np.zeros(gate.regions) if shares is None else np.array(shares, dtype=float)
        self.numbers = self.members[0].numbers
        for number, member in enumerate(self.members):
            check_molecule(self.numbers, member.numbers, f"member {number} of a mixture")
        if background is not None:
            check_molecule(self.numbers, background.numbers, "background of a mixture")
        self.facts = {"hyperparameters": {"regions": gate.regions}, **(facts or {})}

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3).

        Without a background the deviation is the weighted mean of the members', where all of
        them know it.
        """
        weighing = self.gate(positions)
        weights = weighing.weights
        each, forces = np.zeros_like(weights), np.zeros_like(positions)
        known = self.background is None
        deviation = np.zeros(positions.shape[:2])
        for number, rows, found in self.surfaces(positions, weights):
            each[rows, number] = found.energies
            share = weights[rows, number, None]
            forces[rows] += share[..., None] * found.forces
            known = known and found.deviation is not None
            if found.deviation is not None:
                deviation[rows] += share * found.deviation
        forces += weighing.force(each)
        return Evaluation((weights * each).sum(axis=1), forces, deviation if known else None)

    def surfaces(
        self, positions: np.ndarray, weights: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray, Evaluation]]:
        """The surface S_k of each region, where it has weight.

        Args:
            positions: (batch, atoms, 3) in angstrom.
            weights: (batch, regions) at them.

        Yields:
            The number of a region, the rows (some,) of the batch where it has weight, and the
            evaluation of its surface there.
        """
        below = np.flatnonzero(weights @ self.shares)
        energies, forces = np.zeros(len(positions)), np.zeros_like(positions)
        if self.background is not None and len(below):
            found = self.background(positions[below])
            energies[below], forces[below] = found.energies, found.forces
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(weights[:, number])
            if not len(rows):
                continue
            share = self.shares[number]
            own = member(positions[rows])
            if self.background is None:
                shifted = own.energies + self.constants[number]
                yield number, rows, Evaluation(shifted, own.forces, own.deviation)
                continue
            mean = (1 - share) * own.energies + share * energies[rows] + self.constants[number]
            yield number, rows, Evaluation(mean, (1 - share) * own.forces + share * forces[rows])

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """The background's distances (batch,), or the mean of the members' by their weights."""
        if self.background is not None:
            return largest_distance([self.background], positions)
        weights = self.gate(positions).weights
        total = np.zeros(len(positions))
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(weights[:, number])
            found = largest_distance([member], positions[rows]) if len(rows) else None
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
        parts = {f"region-{number}.flex": member for number, member in enumerate(self.members)}
        if self.background is not None:
            parts[BACKGROUND] = self.background
        saves = {}
        for name, potential in parts.items():
            if not isinstance(potential, TrainedPotential):
                what = name.removesuffix(".flex").replace("region-", "member ")
                raise InputError(
                    f"the {what} of the mixture, a {type(potential).__name__}, is no trained "
                    "model and cannot be saved"
                )
            saves[name] = potential.save
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
                "shares": self.shares,
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
        paths = read_members(folder, facts)
        below = paths.pop(BACKGROUND, None)
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
            "shares": ("f", (count,)),
        }
        check_arrays(folder, arrays, expected)
        gate = Gate(terms, arrays["slopes"], arrays["offsets"])
        return cls(
            [opened(str(path)) for path in paths.values()],
            gate,
            arrays["constants"],
            None if below is None else opened(str(below)),
            arrays["shares"],
            facts,
        )


def aligned(mixture: MixturePotential, data: Dataset) -> np.ndarray:
    """Constants (members,) in eV that bring the energies of a mixture's regions together.

    By least squares over the frames, where weights w_k are not zero: of each surface with the
    labels, weighted by w_k, so that energies are right; and of each two surfaces k and l with
    each other, by w_k w_l, so that crossing a border brings no force of its own.

    Args:
        mixture: with any constants.
        data: frames with energies, in the regions and on the borders between them.

    Raises:
        FileFormatError: the frames have no labels.
    """
    labels = data.labels()[0]
    weights = mixture.gate(data.positions).weights
    off = np.zeros_like(weights)
    for number, rows, found in mixture.surfaces(data.positions, weights):
        off[rows, number] = labels[rows] - found.energies
    # Of the normal equations: own labels on the diagonal, and the Laplacian of the overlaps.
    overlaps = weights.T @ weights
    np.fill_diagonal(overlaps, 0.0)
    square = np.diag(weights.sum(axis=0) + overlaps.sum(axis=1)) - overlaps
    apart = np.einsum("bk,bl->kl", weights * off, weights)
    apart -= np.einsum("bk,bl->kl", weights, weights * off)
    right = (weights * off).sum(axis=0) + apart.sum(axis=1)
    return mixture.constants + np.linalg.lstsq(square, right, rcond=None)[0]


def background_shares(mixture: MixturePotential, data: Dataset) -> np.ndarray:
    """The background's part (members,) in each region with which forces are best.

    By least squares over frames that no model was trained on, weighted by w_k, and kept between
    0 and 1; where a region has no such frames, one half.

    Args:
        mixture: whose background's shares do not count.
        data: labelled frames.

    Raises:
        FileFormatError: the frames have no labels.
    """
    background = mixture.background
    shares = np.full(mixture.gate.regions, 0.5)
    if background is None or not len(data):
        return shares if background is not None else np.zeros(mixture.gate.regions)
    labels, weights = data.labels()[1], mixture.gate(data.positions).weights
    common = background(data.positions).forces
    for number, member in enumerate(mixture.members):
        rows = np.flatnonzero(weights[:, number])
        if not len(rows):
            continue
        weight = weights[rows, number, None, None]
        forces = member(data.positions[rows]).forces
        apart = forces - common[rows]
        square = (weight * apart**2).sum()
        if square > 0:
            best = (weight * apart * (forces - labels[rows])).sum() / square
            shares[number] = np.clip(best, 0.0, 1.0)
    return shares
