"""The kernel matrix of forces, and of energies if they are fitted too, block by block.

The matrix has one block for every two training points i and j. With d = x_i - P_g x_j,
n = sqrt(5)|d|/s and k(n) = (1 + n + n^2/3) exp(-n), summed over the group, its parts are

    <F_i F_j> = sum J_i^T 5/(3 s^2) exp(-n) [(1 + n) 1 - 5/s^2 d d^T] P_g J_j,
    <F_i E_j> = sum 5/(3 s^2) (1 + n) exp(-n) J_i^T d,      <E_i F_j> likewise, negative,
    <E_i E_j> = sum k(n).

The Jacobians J do not see rigid motions, so the blocks are made in coordinates that leave these
out: the same model, for that part of the dual coefficients alpha drops out of J alpha, from
fewer unknowns (half the operations for glycine). A fitted energy is one more unknown of its point.

Source: Chmiela et al., Nat. Commun. 9, 3887 (2018), eq. 5; arXiv:1912.06401.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.models.gdml.descriptor import Descriptor
from flexcalc.models.gdml.engine import PROCESSOR, Array, Engine

BLOCK = 1 << 16
"""Numbers in the Jacobians that are combined at a time: half a megabyte, near the cache's size."""
ALL = slice(None)
LINEAR = 1e-3
"""Ratio of moments of rotation below which a geometry counts as linear."""


@dataclass(frozen=True, eq=False)
class TrainingPoints:
    """What the kernel matrix is made of, whatever sigma.

    Args:
        features: (points, size), descriptors.
        jacobians: (points, size, motions), their derivatives along the internal motions.
        motions: (points, 3 atoms, motions), orthonormal motions that change the shape.
        order: (group, size), how the features move under each permutation of the group.
        energies: whether energies are fitted as well as forces.
        weights: (points,) how much the labels of each count; None where all count the same.
        terms: indices of the features of each term of a sum of kernels, closed under the group
            (see `bonds`); none for one kernel of all features.
    """

    features: np.ndarray
    jacobians: np.ndarray
    motions: np.ndarray
    order: np.ndarray
    energies: bool = False
    weights: np.ndarray | None = None
    terms: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.features)

    @property
    def unknowns(self) -> int:
        """Unknowns of each point: its internal motions, and its energy if that is fitted."""
        return self.jacobians.shape[2] + self.energies

    @property
    def rows(self) -> int:
        """Rows of the kernel matrix."""
        return len(self) * self.unknowns

    def noise(self, regularization: float) -> np.ndarray:
        """What is added to the diagonal (points, unknowns): the regularization over the weights.

        So the model minimises the squared residuals, each times the weight of its point, plus the
        regularization times the squared norm of the model. It is the posterior mean of a Gaussian
        process whose labels have these variances.

        Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eq. 2.25,
        with a variance for each point.
        """
        weights = np.ones(len(self)) if self.weights is None else self.weights
        return np.repeat(regularization / weights[:, None], self.unknowns, axis=1)

    def labels(self, energies: np.ndarray, forces: np.ndarray) -> np.ndarray:
        """Labels (points, unknowns) of energies (points,) and forces (points, atoms, 3)."""
        inner = (forces.reshape(len(self), 1, -1) @ self.motions)[:, 0]
        return np.column_stack([inner, energies]) if self.energies else inner

    def contracted(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """J beta (points, size) and the energies' beta (points,) of a solution (rows,)."""
        beta = beta.reshape(len(self), -1)
        motions = self.jacobians.shape[2]
        slopes = (self.jacobians @ beta[:, :motions, None])[..., 0]
        return slopes, beta[:, motions] if self.energies else None


def prepare(
    descriptor: Descriptor,
    positions: np.ndarray,
    permutations: np.ndarray,
    energies: bool = False,
    weights: np.ndarray | None = None,
    terms: Sequence[np.ndarray] = (),
) -> TrainingPoints:
    """Compute what does not depend on sigma.

    Args:
        descriptor: of the molecule.
        positions: (points, atoms, 3) in angstrom.
        permutations: (group, atoms), a closed group.
        energies: whether energies will be fitted too.
        weights: (points,) how much the labels of each count, or None.
        terms: features of each term of a sum of kernels; see `TrainingPoints`.
    """
    motions = internal_motions(positions)
    return TrainingPoints(
        features=descriptor.linearise(positions).features,
        jacobians=np.concatenate(
            [
                descriptor.jacobian(positions[chunk]) @ motions[chunk]
                for chunk in _chunks(len(positions))
            ]
        ),
        motions=motions,
        order=descriptor.relabelled(permutations),
        energies=energies,
        weights=weights,
        terms=tuple(terms),
    )


def _chunks(count: int, size: int = 64) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def internal_motions(positions: np.ndarray) -> np.ndarray:
    """Orthonormal motions (points, 3 atoms, motions) without translations and rotations.

    Where a geometry is linear, and rotation about its axis no motion, the rotations stay in.
    """
    points, atoms, _ = positions.shape
    vectors = np.zeros((points, atoms, 3, 6))
    vectors[..., :3] = np.eye(3)
    centred = positions - positions.mean(axis=1, keepdims=True)
    # Column k of the rotations is the motion of every atom about axis k.
    vectors[..., 3:] = np.cross(np.eye(3), centred[:, :, None]).swapaxes(2, 3)
    rigid = vectors.reshape(points, 3 * atoms, 6)
    moments = np.linalg.svd(rigid[..., 3:], compute_uv=False)
    if (moments[:, -1] < LINEAR * moments[:, 0]).any():
        rigid = rigid[..., :3]
    basis = np.linalg.qr(rigid, mode="complete")[0]
    return np.ascontiguousarray(basis[..., rigid.shape[2] :])


class Kernel:
    """Blocks of the kernel matrix for one sigma.

    Args:
        points: from `prepare`.
        sigma: length scale in the unit of the features.
        engine: where the blocks are made.
    """

    def __init__(self, points: TrainingPoints, sigma: float, engine: Engine = PROCESSOR):
        self.points, self.sigma, self.engine = points, sigma, engine
        self._features = engine.array(points.features)
        self._jacobians = engine.array(points.jacobians)
        self._order = engine.indices(points.order)
        self._terms: Sequence[Array | slice] = [engine.indices(one) for one in points.terms] or [
            ALL
        ]
        widest = max(map(len, points.terms), default=points.features.shape[1])
        numbers = widest * points.jacobians.shape[2]
        self.width = max(8, BLOCK * engine.enlarged // numbers)
        """How many points are combined with one at a time."""

    @property
    def slope_factor(self) -> float:
        """What J alpha is to be multiplied with for `Contraction.set_coefficients`."""
        return 5.0**0.5 / (3.0 * self.sigma)

    def blocks(self, row: int, columns: slice, chosen: np.ndarray | slice = ALL) -> Array:
        """The blocks of point `row` with the points `columns`, (columns, chosen, unknowns).

        As the group has with every P its inverse, P may act on point `row`, where it is done
        once for all columns.

        Args:
            row: index of a point.
            columns: points.
            chosen: motions of point `row` whose rows of the blocks are wanted, all by default;
                its energy is the last row where energies are fitted.
        """
        blocks = self._term_blocks(row, columns, chosen, self._terms[0])
        for term in self._terms[1:]:
            blocks += self._term_blocks(row, columns, chosen, term)
        return blocks

    def _term_blocks(
        self, row: int, columns: slice, chosen: np.ndarray | slice, term: Array | slice
    ) -> Array:
        """The blocks of the kernel of some features; see `blocks`."""
        xp, s = self.engine.xp, self.sigma
        here = self._features[row][self._order[:, term]]
        slopes = self._jacobians[row][self._order[:, term]][:, :, chosen]
        there = self._jacobians[columns][:, term]
        group, size, motions = slopes.shape
        apart = here - self._features[columns][:, None, term]
        distance = xp.sqrt(xp.einsum("jgd,jgd->jg", apart, apart)) * (5.0**0.5 / s)
        decay = xp.exp(-distance) * (5.0 / (3.0 * s**2))
        linear = decay * (1.0 + distance)
        mixed = linear @ slopes.reshape(group, size * motions)
        mixed = mixed.reshape(len(there), size, motions)
        along_there = apart @ there
        along_here = (apart.swapaxes(0, 1) @ slopes).swapaxes(0, 1)
        weighted = along_here * (decay * (5.0 / s**2))[:, :, None]
        forces = mixed.swapaxes(1, 2) @ there
        forces -= weighted.swapaxes(1, 2) @ along_there
        if not self.points.energies:
            return forces
        blocks = self.engine.empty(len(forces), motions + 1, there.shape[2] + 1)
        blocks[:, :-1, :-1] = forces
        blocks[:, :-1, -1] = xp.einsum("jg,jgu->ju", linear, along_here)
        blocks[:, -1, :-1] = -xp.einsum("jg,jgu->ju", linear, along_there)
        curved = linear + decay * distance**2 / 3.0
        blocks[:, -1, -1] = curved.sum(1) * (3.0 * s**2 / 5.0)
        return blocks
