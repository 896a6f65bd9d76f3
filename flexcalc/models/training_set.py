"""The training points of a model, to tell how far other geometries are from them.

Kernel models compare geometries with their training points anyway. Other models keep their training
points here, in one descriptor for all families: inverse distances, bonded angles and dihedrals, as
in sGDML. Permutations of identical atoms count if the model's energy does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.random import Generator

from flexcalc.errors import FileFormatError
from flexcalc.models.bonding import SAME_ENERGY_EV
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import check_arrays
from flexcalc.models.gdml.descriptor import Descriptor, extended, from_arrays
from flexcalc.models.gdml.groups import is_group
from flexcalc.models.gdml.potential import check_model
from flexcalc.models.gdml.symmetry import recover
from flexcalc.potential import Potential

WEIGHTS = (1.0, 0.3, 0.3)
"""Weights of inverse distances, angles and dihedrals. Larger ones of dihedrals than those of sGDML
follow the errors more closely: for azobenzene the rank correlation is 0.59 instead of 0.48."""
MAX_POINTS = 1000
"""Maximum number of training points that are kept, those that are farthest from each other."""
MAX_PERMUTATIONS = 100
"""Maximum size of the group of permutations."""
MATCHED = 60
"""Maximum number of geometries that the symmetry is recovered from."""
PREFIX = "training_set."
"""What the names of the arrays in a model folder begin with."""
PART = 256
"""Geometries that are compared at a time."""


class TrainingSet:
    """Training points and the distance to the nearest of them.

    Args:
        descriptor: of geometries.
        features: (points, size) descriptors of the training points.
        permutations: (group, atoms) that leave the model's energy as it is, and the identity.
        unit: the largest nearest-neighbour distance within the training set; found by default.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        features: np.ndarray,
        permutations: np.ndarray,
        unit: float | None = None,
    ):
        self.descriptor, self.permutations = descriptor, permutations
        self.features = np.asarray(features, dtype=np.float32)
        self._order = descriptor.relabelled(permutations)
        # Near zero, squares keep their digits.
        self._origin = self.features.mean(axis=0, dtype=float)[self._order].mean(axis=0)
        self._points = self.features - self._origin
        self._squares = np.einsum("md,md->m", self._points, self._points)
        self.unit = self._largest() if unit is None else unit

    @classmethod
    def of(cls, potential: Potential, positions: np.ndarray, rng: Generator) -> TrainingSet:
        """That of a trained potential.

        Args:
            potential: trained on the positions.
            positions: (points, atoms, 3) in angstrom.
            rng: draws the geometries that the symmetry is recovered from.
        """
        numbers = np.asarray(potential.numbers)
        some = rng.permutation(len(positions))[:MATCHED]
        group = recover(numbers, positions[some], rng, MAX_PERMUTATIONS).permutations
        energies = potential(positions[0][group]).energies
        kept = group[np.abs(energies - energies[0]) < SAME_ENERGY_EV]
        group = kept if is_group(kept) else group[:1]
        descriptor = extended(numbers, positions, WEIGHTS, group)
        features = descriptor.linearise(positions).features
        return cls(descriptor, features[farthest(features, MAX_POINTS)], group)

    def distances(self, positions: np.ndarray) -> np.ndarray | None:
        """Distances (batch,) of positions (batch, atoms, 3) to the nearest training point.

        They are in multiples of the largest nearest-neighbour distance within the training set;
        None if all training points are the same.
        """
        if self.unit == 0:
            return None
        features = self.descriptor.linearise(positions).features
        parts = range(0, len(features), PART)
        nearest = [self._nearest(features[start : start + PART]) for start in parts]
        return np.concatenate([np.empty(0), *nearest]) / self.unit

    def _largest(self) -> float:
        """The largest nearest-neighbour distance within the training set."""
        points = np.arange(len(self.features))
        parts = np.array_split(points, -(-len(points) // PART))
        nearest = [self._nearest(self.features[part], part) for part in parts]
        largest = float(np.concatenate(nearest).max())
        return largest if np.isfinite(largest) else 0.0

    def _nearest(self, features: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """Distances (batch,) of features (batch, size) to the nearest point.

        Args:
            features: of some geometries.
            own: (batch,) the points that they are, which do not count.
        """
        centred = features - self._origin
        norms = np.einsum("bd,bd->b", centred, centred)
        least = np.full(len(features), np.inf)
        for order in self._order:
            squares = self._squares - 2.0 * (centred[:, order] @ self._points.T)
            if own is not None:
                squares[np.arange(len(own)), own] = np.inf
            np.minimum(least, squares.min(axis=1), out=least)
        return np.sqrt(np.maximum(least + norms, 0.0))

    def arrays(self) -> dict[str, np.ndarray]:
        """What a model folder holds of it."""
        found = {
            "features": self.features,
            "permutations": self.permutations,
            "unit": np.array(self.unit),
            **self.descriptor.arrays(),
        }
        return {PREFIX + key: array for key, array in found.items()}


def farthest(features: np.ndarray, most: int) -> np.ndarray:
    """Indices of points (points, size) that are far from each other, ascending; all of a few.

    Each is the farthest from those before it.

    Source: Gonzalez, Theor. Comput. Sci. 38, 293 (1985), doi:10.1016/0304-3975(85)90224-5.
    """
    if len(features) <= most:
        return np.arange(len(features))
    chosen = [0]
    apart = np.full(len(features), np.inf)
    while len(chosen) < most:
        np.minimum(apart, ((features - features[chosen[-1]]) ** 2).sum(axis=1), out=apart)
        chosen.append(int(apart.argmax()))
    return np.sort(chosen)


def training_set_arrays(potential: TrainedPotential) -> dict[str, np.ndarray]:
    """The arrays of a model's training points, for its folder; none where it keeps none."""
    return {} if potential.training_set is None else potential.training_set.arrays()


def read_training_set(
    folder: Path, numbers: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> TrainingSet | None:
    """The training points that a model folder holds; None without any.

    Args:
        folder: named in messages.
        numbers: (atoms,) atomic numbers.
        arrays: from `read_model`.

    Raises:
        FileFormatError: they do not fit the molecule.
    """
    found = {
        key.removeprefix(PREFIX): array for key, array in arrays.items() if key.startswith(PREFIX)
    }
    if not found:
        return None
    descriptor = from_arrays(len(numbers), found, folder)
    shapes: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "features": ("f", (None, descriptor.size)),
        "permutations": ("i", (None, len(numbers))),
        "unit": ("f", ()),
    }
    check_arrays(folder, found, shapes)
    check_model(folder, numbers, found, 1.0, descriptor)
    unit = float(found["unit"])
    if unit <= 0:
        raise FileFormatError(f"{folder}: {PREFIX}unit: expected a positive number, found {unit}")
    return TrainingSet(descriptor, found["features"], found["permutations"], unit)
