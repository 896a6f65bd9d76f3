"""The potential of a mixture, and the fit of its constants and background weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.optimize import nnls

from flexcalc.dataset import Dataset
from flexcalc.domain import Domain, domain_of
from flexcalc.errors import FileFormatError, InputError
from flexcalc.geometry import Coordinate
from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import TrainedPotential, domain_with_parts, model_sha256, saves_of
from flexcalc.models.folder import (
    ModelContent,
    check_arrays,
    joint_sha256,
    read_members,
    read_model,
)
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.mixture.features import CoordinateFeatures, Terms
from flexcalc.models.mixture.gate import Gate
from flexcalc.models.training_set import read_training_set, training_set_arrays
from flexcalc.potential import (
    Evaluation,
    Potential,
    check_molecule,
    first_domain,
    largest_distance,
)

MEMBER, BACKGROUND = "region", "background"
"""How the names of the folders inside begin."""

ROUNDING = 1e-12
"""Weight of a member below which it is zero within rounding."""


class MixturePotential(TrainedPotential):
    """Local models of one molecule, each weighted in its own region.

    The energy is E = sum_k w_k S_k with the weights of the gate, where the surface of region k

        S_k = (1 - sum_j g_kj) E_k + sum_j g_kj B_j + c_k

    blends its member with the backgrounds, models of all regions. Forces are minus the gradient of
    E. A member is only evaluated where its weight is not zero. Without backgrounds, a geometry far
    from all borders costs as much as one member.

    Args:
        members: one potential for each region.
        gate: the weights.
        constants: (members,) c_k in eV.
        backgrounds: models of all regions; none by default.
        shares: (members, backgrounds) weights g_kj of the backgrounds, from 0 to 1, with a sum of
            at most 1 per member; by default member and backgrounds have equal weights.
        facts: see `TrainedPotential`.

    Raises:
        InputError: the numbers of members, constants or shares do not match.
        MoleculeError: the members are for different molecules.
    """

    name: ClassVar[str] = "mixture"

    def __init__(
        self,
        members: Sequence[Potential],
        gate: Gate,
        constants: np.ndarray,
        backgrounds: Sequence[Potential] = (),
        shares: np.ndarray | None = None,
        facts: ModelFacts | None = None,
    ):
        if not len(members) == gate.regions == len(constants):
            raise InputError(
                f"a mixture needs a member and a constant for each of its {gate.regions} regions, "
                f"got {len(members)} members and {len(constants)} constants"
            )
        self.members, self.backgrounds, self.gate = tuple(members), tuple(backgrounds), gate
        self.constants = np.array(constants, dtype=float)
        count = len(self.backgrounds)
        alike = np.full((len(members), count), 1 / (1 + count))
        self.shares = alike if shares is None else np.array(shares, dtype=float)
        if self.shares.shape != alike.shape:
            raise InputError(f"expected shares {alike.shape}, got {self.shares.shape}")
        self.numbers = self.members[0].numbers
        for what, models in (("member", self.members), ("background", self.backgrounds)):
            for number, model in enumerate(models):
                check_molecule(self.numbers, model.numbers, f"{what} {number} of a mixture")
        self.facts = {"hyperparameters": {"regions": gate.regions}, **(facts or {})}

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3).

        Without backgrounds the deviation is the weighted mean of the members', if all have one.
        """
        weighing = self.gate(positions)
        weights = weighing.weights
        each, forces = np.zeros_like(weights), np.zeros_like(positions)
        known = not self.backgrounds
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
        """The surface S_k of each region, at geometries where it has weight.

        Args:
            positions: (batch, atoms, 3) in angstrom.
            weights: (batch, regions) at them.

        Yields:
            The index of a region, the rows (some,) of the batch where it has weight, and the
            evaluation of its surface there.
        """
        below = []
        for background, shares in zip(self.backgrounds, self.shares.T, strict=True):
            energies, forces = np.zeros(len(positions)), np.zeros_like(positions)
            rows = np.flatnonzero(weights @ shares)
            if len(rows):
                found = background(positions[rows])
                energies[rows], forces[rows] = found.energies, found.forces
            below.append(Evaluation(energies, forces))
        for number, member in enumerate(self.members):
            rows = np.flatnonzero(weights[:, number])
            if not len(rows):
                continue
            energies, deviation = np.full(len(rows), self.constants[number]), None
            forces = np.zeros_like(positions[rows])
            own = 1 - self.shares[number].sum()
            if own > ROUNDING:
                found = member(positions[rows])
                energies, forces = energies + own * found.energies, own * found.forces
                deviation = found.deviation
            for share, common in zip(self.shares[number], below, strict=True):
                energies += share * common.energies[rows]
                forces += share * common.forces[rows]
            yield number, rows, Evaluation(energies, forces, deviation)

    def distance(self, positions: np.ndarray) -> np.ndarray | None:
        """Distances (batch,) from the training set.

        Its own, the largest that a background knows, or the weighted mean of the members'.
        """
        found = super().distance(positions)
        if found is None:
            found = largest_distance(self.backgrounds, positions)
        if found is not None:
            return found
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

    @property
    def domain(self) -> Domain | None:
        """See `domain_with_parts`; None where a geometry may have no distance."""
        backgrounds = first_domain(self.backgrounds) is not None
        members = all(domain_of(member) is not None for member in self.members)
        if self.training_set is None and not backgrounds and not members:
            return None
        return domain_with_parts(self, (*self.backgrounds, *self.members))

    def content(self) -> ModelContent:
        """See `TrainedPotential.content`.

        Raises:
            InputError: a member is not a trained model.
        """
        parts = {f"{MEMBER}-{number}.flex": one for number, one in enumerate(self.members)}
        for number, one in enumerate(self.backgrounds):
            parts[f"{BACKGROUND}-{number}.flex"] = one
        terms = self.gate.terms
        named = terms.coordinates if isinstance(terms, CoordinateFeatures) else ()
        return ModelContent(
            family=self.name,
            numbers=self.numbers,
            hyperparameters=self.facts["hyperparameters"],
            arrays={
                "slopes": self.gate.slopes,
                "offsets": self.gate.offsets,
                "constants": self.constants,
                "shares": self.shares,
                **training_set_arrays(self),
            },
            facts=self.facts | {"gate": [one.label for one in named]},
            members=saves_of(parts, self.name),
        )

    def sha256(self) -> str:
        """See `TrainedPotential.sha256`."""
        parts = map(model_sha256, (*self.members, *self.backgrounds))
        return joint_sha256(self.content().sha256(), *parts)

    @classmethod
    def load(cls, folder: Path, loader: Callable[[Path], Potential]) -> MixturePotential:
        """Read a model folder.

        Args:
            folder: of a mixture.
            loader: opens a member by the path of its folder.

        Raises:
            FileFormatError: the folder is damaged, or a member is missing or for another molecule.
        """
        facts, arrays = read_model(folder, cls.name)
        paths = read_members(folder, facts)
        members, backgrounds = (
            [path for name, path in paths.items() if name.startswith(kind)]
            for kind in (MEMBER, BACKGROUND)
        )
        names = facts.pop("gate", None)
        if not members or type(names) is not list or not all(type(name) is str for name in names):
            raise FileFormatError(f"{folder}: expected the folders of members and a gate")
        terms: Terms = InverseDistances(len(facts["numbers"]))
        size = len(facts["numbers"]) * (len(facts["numbers"]) - 1) // 2
        if names:
            terms = CoordinateFeatures(tuple(Coordinate.parse(name) for name in names))
            size = 2 * len(names)
        count = len(members)
        expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
            "slopes": ("f", (size, count)),
            "offsets": ("f", (count,)),
            "constants": ("f", (count,)),
            "shares": ("f", (count, len(backgrounds))),
        }
        check_arrays(folder, arrays, expected)
        gate = Gate(terms, arrays["slopes"], arrays["offsets"])
        mixture = cls(
            [loader(path) for path in members],
            gate,
            arrays["constants"],
            [loader(path) for path in backgrounds],
            arrays["shares"],
            facts,
        )
        mixture.training_set = read_training_set(folder, mixture.numbers, arrays)
        return mixture


def align_energies(mixture: MixturePotential, data: Dataset) -> np.ndarray:
    """Constants (members,) in eV that align the energies of the regions of a mixture.

    Least squares over the frames with non-zero weights w_k: between each surface and the labels,
    weighted by w_k, so that energies are correct; and between surfaces k and l, weighted by w_k
    w_l, so that borders do not cause forces.

    Args:
        mixture: with any constants.
        data: frames in the regions and on their borders. Without energies the surfaces are only
            aligned with each other, and the mean over all frames is set to zero.
    """
    labels = np.zeros(len(data)) if data.energies is None else data.energies
    weights = mixture.gate(data.positions).weights
    off = np.zeros_like(weights)
    for number, rows, found in mixture.surfaces(data.positions, weights):
        off[rows, number] = labels[rows] - found.energies
    # Normal equations: labels on the diagonal, and the Laplacian of the overlaps.
    overlaps = weights.T @ weights
    np.fill_diagonal(overlaps, 0.0)
    square = np.diag(overlaps.sum(axis=1)) - overlaps
    apart = np.einsum("bk,bl->kl", weights * off, weights)
    apart -= np.einsum("bk,bl->kl", weights, weights * off)
    right = apart.sum(axis=1)
    if data.energies is not None:
        square += np.diag(weights.sum(axis=0))
        right += (weights * off).sum(axis=0)
    shift = np.linalg.lstsq(square, right, rcond=None)[0]
    if data.energies is None:
        shift -= (weights * (shift - off)).sum() / len(data)
    return mixture.constants + shift


def background_shares(mixture: MixturePotential, data: Dataset) -> np.ndarray:
    """Weights (members, backgrounds) of the backgrounds in each region that minimise force errors.

    The mean of models with weights c, which are non-negative with sum 1, has the squared error
    c' G c, where G are the products of the models' errors. Up to normalisation the minimum is that
    of c' G c + (sum c - 1)^2 without the constraint on the sum: non-negative least squares.

    Args:
        mixture: its current shares are ignored.
        data: labelled frames that no model was trained on, weighted by w_k; a region without
            frames gets equal weights.

    Raises:
        FileFormatError: the frames have no forces.
    """
    parts = 1 + len(mixture.backgrounds)
    shares = np.full((len(mixture.members), parts - 1), 1 / parts)
    if parts == 1 or not len(data):
        return shares
    labels, weights = data.force_labels(), mixture.gate(data.positions).weights
    common = [background(data.positions).forces for background in mixture.backgrounds]
    for number, member in enumerate(mixture.members):
        rows = np.flatnonzero(weights[:, number])
        if not len(rows):
            continue
        forces = [member(data.positions[rows]).forces, *(pull[rows] for pull in common)]
        root = np.sqrt(weights[rows, number, None, None])
        errors = np.stack([(root * (one - labels[rows])).ravel() for one in forces], axis=1)
        size = np.sqrt((errors**2).sum())
        if size > 0:
            matrix = np.vstack([errors / size, np.ones(parts)])
            found = nnls(matrix, np.append(np.zeros(len(errors)), 1.0))[0]
            shares[number] = found[1:] / found.sum()
    return shares
