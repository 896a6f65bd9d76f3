"""Which features a trained model can do without.

A feature is masked by setting it, and its coefficients, to zero on both sides of the kernel. How
far the forces move then, without any retraining, is its importance. With d = x - P_g X and
n = |d| in the scaled features of `contraction`, masking feature f only takes d_f^2 from n^2 and
d_f a_f from d.a, so that the sum over training images need not be computed again for each feature:

    F_f - F = sum (w_f - w) J^T d - (v_f - v) J^T a - J_f^T s_f,    s_f = sum w_f d_f - v_f a_f,
    v = (1 + n) exp(-n),    w = exp(-n) [(d.a) + e (1 + n)/3],

with w_f and v_f at the masked n and d.a.

Source: Kabylda, Vassilev-Galindo, Chmiela, Poltavsky, Tkatchenko, Nat. Commun. 14, 3562 (2023),
arXiv:2209.03985.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from flexcalc.errors import InputError
from flexcalc.models.facts import FeatureRow
from flexcalc.models.gdml.descriptor import Descriptor
from flexcalc.models.gdml.engine import PROCESSOR
from flexcalc.models.gdml.potential import GDMLPotential
from flexcalc.progress import Progress, silent
from flexcalc.units import KCAL_MOL

BLOCK = 1 << 18
"""Numbers (geometries times images times features) that are made at a time, two megabytes."""


def importance(
    potential: GDMLPotential, positions: np.ndarray, progress: Progress = silent
) -> np.ndarray:
    """How far each feature, when masked, moves the model's forces: root mean square, eV/angstrom.

    Args:
        potential: a trained model; the forces compared with are its own.
        positions: (frames, atoms, 3) in angstrom, over which is averaged; no labels are needed.
        progress: told the frames done.

    Returns:
        (size,), of each feature by itself; see `over_orbits` for models with symmetries.

    Raises:
        InputError: there are no positions, or the kernel of the model is a sum over bonds.
    """
    if potential.centres is not None:
        raise InputError(
            "importance of features: expected a kernel of the molecule, found one by "
            'bonds; train with kernel = "molecule"'
        )
    if not len(positions):
        raise InputError("importance of features: expected at least one geometry, got none")
    images = _Images(potential)
    batch = max(1, BLOCK // (min(images.count, images.step) * potential.descriptor.size))
    squares = np.zeros((len(positions), potential.descriptor.size))
    done: list[int] = []

    def work(start: int) -> None:
        part = slice(start, start + batch)
        squares[part] = images.squares(positions[part])
        done.append(len(squares[part]))
        progress(sum(done), len(positions), "importance of features")

    PROCESSOR.each(work, range(0, len(positions), batch))
    return np.sqrt(squares.mean(axis=0))


class _Images:
    """The training images of a model: points times permutations, plain features.

    They are made in blocks of whole points, so that a large group does not fill the memory.
    """

    def __init__(self, potential: GDMLPotential):
        self.descriptor: Descriptor = potential.descriptor
        self.stretch = float(np.sqrt(5.0) / potential.sigma)
        self.order = self.descriptor.relabelled(potential.permutations)
        self.features = potential.features * self.stretch
        # As in `Contraction`: a becomes the slope in scaled features, whose J is J * stretch.
        self.slopes = potential.coefficients * (potential.scale * self.stretch / 3.0)
        self.energies = None if potential.energies is None else potential.energies * potential.scale
        points = max(1, BLOCK // (len(self.order) * self.descriptor.size))
        self.blocks = [
            slice(start, start + points) for start in range(0, len(self.features), points)
        ]
        self.step = points * len(self.order)
        self.count = len(self.features) * len(self.order)

    def squares(self, positions: np.ndarray) -> np.ndarray:
        """Mean squares (batch, size) of how the forces change, at positions (batch, atoms, 3)."""
        x = self.descriptor.linearise(positions).features * self.stretch
        jacobian = self.descriptor.jacobian(positions) * self.stretch
        change = np.zeros_like(jacobian)
        own = np.zeros_like(x)
        for block in self.blocks:
            self._add(block, x, jacobian, change, own)
        change -= own[:, :, None] * jacobian
        return np.mean(change**2, axis=2)

    def _add(
        self,
        block: slice,
        x: np.ndarray,
        jacobian: np.ndarray,
        change: np.ndarray,
        own: np.ndarray,
    ) -> None:
        """Add the part of some training points.

        Args:
            block: the points.
            x: (batch, size), scaled features.
            jacobian: (batch, size, 3 atoms), of x.
            change: (batch, size, 3 atoms), F_f - F except for the slope of f itself; added to.
            own: (batch, size), the slope s_f; added to.
        """
        size = x.shape[1]
        a = self.slopes[block][:, self.order].reshape(-1, size)
        d = x[:, None] - self.features[block][:, self.order].reshape(-1, size)
        share: np.ndarray | float = 0.0
        if self.energies is not None:
            share = np.repeat(self.energies[block] / 3.0, len(self.order))[:, None]
        pulled = d @ jacobian, a @ jacobian
        # In two steps, so that the numbers in the making stay few.
        projected = d * a
        total = projected.sum(axis=2, keepdims=True)
        squared = d * d
        distance = squared.sum(axis=2, keepdims=True)
        weight, bend = _weights(distance, total, share)
        np.subtract(distance, squared, out=squared)
        np.subtract(total, projected, out=projected)
        masked, masked_bend = _weights(squared.clip(0.0, out=squared), projected, share)
        own += np.einsum("bmf,bmf->bf", masked, d) - np.einsum("bmf,mf->bf", masked_bend, a)
        masked -= weight
        masked_bend -= bend
        change += masked.swapaxes(1, 2) @ pulled[0] - masked_bend.swapaxes(1, 2) @ pulled[1]


def _weights(
    square: np.ndarray, projection: np.ndarray, share: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """The weights w of d and v of a, from n^2, d.a and a third of the energies' coefficients."""
    distance = np.sqrt(square)
    decay = np.exp(-distance)
    distance += 1.0
    distance *= decay
    weight = decay * projection
    weight += share * distance
    return weight, distance


def over_orbits(importances: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Importances (size,) averaged over the features that a group moves into each other.

    Args:
        importances: (size,).
        order: (group, size) feature indices of a closed group, see `Descriptor.relabelled`.
    """
    orbit = order.min(axis=0)
    summed = np.bincount(orbit, importances, minlength=len(orbit))
    return (summed / np.maximum(np.bincount(orbit, minlength=len(orbit)), 1))[orbit]


def kept(importances: np.ndarray, order: np.ndarray, percentile: float) -> np.ndarray:
    """Indices of the features from a percentile of importance on, ascending, whole orbits only.

    Args:
        importances: (size,), or anything else to rank by.
        order: (group, size) feature indices of a closed group.
        percentile: so many percent of the features are dropped, but none of an orbit that is
            partly above; 0 keeps all, 100 the most important orbit.
    """
    means = over_orbits(importances, order)
    first = min(int(np.ceil(percentile * len(means) / 100.0)), len(means) - 1)
    return np.flatnonzero(means >= np.sort(means)[first])


def table(
    potential: GDMLPotential, positions: np.ndarray, progress: Progress = silent
) -> list[FeatureRow]:
    """A row for each feature: its coordinate, its atoms, their distance and its importance.

    The distance is that of the outermost atoms, on average over the positions. Importances are
    averages over the features that the model's group exchanges, in kcal/mol/angstrom.

    Args:
        potential: a trained model.
        positions: (frames, atoms, 3) in angstrom; see `importance`.
        progress: told the frames done.
    """
    descriptor = potential.descriptor
    found = over_orbits(
        importance(potential, positions, progress), descriptor.relabelled(potential.permutations)
    )
    columns = zip(
        descriptor.names, descriptor.atoms_of, lengths(descriptor, positions), found, strict=True
    )
    return [
        {
            "feature": name,
            "atoms": list(atoms),
            "distance_A": float(length),
            "importance_kcal_mol_A": float(size) / KCAL_MOL,
        }
        for name, atoms, length, size in columns
    ]


def ranks(rows: Sequence[FeatureRow], ranking: Literal["importance", "distance"]) -> np.ndarray:
    """What the features of `table`, (size,), are to be kept by, the larger the sooner."""
    if ranking == "distance":
        return np.array([-row["distance_A"] for row in rows])
    return np.array([row["importance_kcal_mol_A"] for row in rows])


def lengths(descriptor: Descriptor, positions: np.ndarray) -> np.ndarray:
    """Mean distance (size,) of the outermost atoms of each feature, in angstrom.

    Args:
        descriptor: of the features.
        positions: (frames, atoms, 3) in angstrom.
    """
    first, last = np.array([(atoms[0], atoms[-1]) for atoms in descriptor.atoms_of]).T
    apart = positions[:, first] - positions[:, last]
    return np.linalg.norm(apart, axis=2).mean(axis=0)


def longest(descriptor: Descriptor, positions: np.ndarray) -> float:
    """The longest mean distance of the features of a descriptor, in angstrom."""
    return float(lengths(descriptor, positions).max())
