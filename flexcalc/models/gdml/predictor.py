"""The trained sGDML potential: a batch is a handful of matrix products.

With features x and training features X, both times sqrt(5)/sigma, with d = x - X, n = |d| and
the contracted coefficients a (one row of X and a for every training point under every
permutation), the kernel model reads

    E   = sum (d.a) (1 + n) exp(-n) + c
    F_x = sum exp(-n) [(d.a) d - (1 + n) a],    forces = J^T F_x sqrt(5)/sigma = -dE/dr.

Expanding the squares and products turns the sums into four matrix products, x X^T, x a^T and
two that collect the result, with elementwise steps between them on blocks that stay in cache.

Source: Chmiela et al., Nat. Commun. 9, 3887 (2018), eqs. 3 to 5, with the Matern kernel of
n = 2; arXiv:1912.06401.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import write_model
from flexcalc.models.gdml.descriptor import Descriptor, InverseDistances, RootDistances
from flexcalc.potential import Evaluation
from flexcalc.threads import cores, one_blas_thread

GEOMETRIES = 64
"""Geometries of a block; an even number."""

IMAGES = 1024
"""Training images of a block: with GEOMETRIES, temporaries of half a megabyte."""


class GDMLPotential(TrainedPotential):
    """An sGDML force field.

    Args:
        numbers: (atoms,) atomic numbers.
        permutations: (group, atoms) relabellings under which the model is symmetric, the
            identity included.
        features: (points, size) descriptors of the training points in 1/angstrom.
        coefficients: (points, size) the dual coefficients contracted with the descriptor's
            Jacobian, J alpha, in units of `scale`.
        sigma: length scale in the unit of the features.
        scale: standard deviation of the training forces, in eV/angstrom.
        constant: constant of integration, in eV.
        transform: (size, size), the learned metric of `RootDistances`; None for plain inverse
            distances.
        facts: what is known of the training.

    A row of a batch gets the same bits whatever stands in the other rows.
    """

    def __init__(
        self,
        *,
        numbers: np.ndarray,
        permutations: np.ndarray,
        features: np.ndarray,
        coefficients: np.ndarray,
        sigma: float,
        scale: float = 1.0,
        constant: float = 0.0,
        transform: np.ndarray | None = None,
        facts: Mapping[str, Any] | None = None,
    ):
        self.numbers = np.array(numbers, dtype=int)
        self.permutations = np.array(permutations, dtype=int)
        self.features = np.array(features, dtype=float, order="C")
        self.coefficients = np.array(coefficients, dtype=float, order="C")
        self.sigma = float(sigma)
        self.scale = float(scale)
        self.constant = float(constant)
        self.facts = dict(facts or {})
        self.transform = transform
        base = InverseDistances(len(self.numbers))
        self.descriptor: Descriptor = base
        if transform is not None:
            self.descriptor = RootDistances(base, np.array(transform, dtype=float))
        self._unroll()

    def _unroll(self) -> None:
        """Lay out the training points under every permutation, scaled as the products need."""
        order = self.descriptor.relabelled(self.permutations)
        self._stretch = np.sqrt(5.0) / self.sigma
        # Distances do not change when all features shift; near zero they keep their digits.
        self._origin = self.features.mean(axis=0)
        size = self.descriptor.size
        images = (self.features[:, order].reshape(-1, size) - self._origin) * self._stretch
        slopes = self.coefficients[:, order].reshape(-1, size)
        slopes = slopes * (self.scale * np.sqrt(5.0) / (3.0 * self.sigma))
        self._blocks = [
            _Images(images[start : start + IMAGES], slopes[start : start + IMAGES])
            for start in range(0, len(images), IMAGES)
        ]

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3)."""
        rows = len(positions)
        if rows % 2:
            # The last of an odd number of rows takes another road through BLAS, and a single
            # one does too, with other rounding.
            positions = np.concatenate([positions, positions[-1:]])
        energies = np.empty(len(positions))
        forces = np.empty_like(positions)

        def work(block: slice) -> None:
            local = self.descriptor.linearise(positions[block])
            energies[block], slope = self.contract(local.features)
            forces[block] = local.pull(slope)

        starts = range(0, len(positions), GEOMETRIES)
        blocks = [slice(start, start + GEOMETRIES) for start in starts]
        with one_blas_thread():
            if len(blocks) <= 1:
                for block in blocks:
                    work(block)
            else:
                with ThreadPoolExecutor(min(cores(), len(blocks))) as pool:
                    list(pool.map(work, blocks))
        return Evaluation(energies[:rows], forces[:rows])

    def contract(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (batch,) in eV and -dE/dx (batch, size) of features (batch, size)."""
        features = (features - self._origin) * self._stretch
        energies = np.full(len(features), self.constant)
        slope = np.zeros_like(features)
        with np.errstate(invalid="ignore", over="ignore"):
            for images in self._blocks:
                images.add(features, energies, slope)
        slope *= self._stretch
        return energies, slope

    def finished(self, constant: float, facts: Mapping[str, Any]) -> GDMLPotential:
        """The same model with another constant of integration, in eV, and other facts."""
        twin = copy(self)
        twin.constant, twin.facts = float(constant), dict(facts)
        return twin

    def save(self, folder: Path) -> None:
        """Write the model as a folder.

        Raises:
            InputError: the destination exists and is no model folder.
        """
        write_model(
            folder,
            family="sgdml",
            numbers=self.numbers,
            hyperparameters=dict(self.facts.get("hyperparameters", {})) | {"sigma": self.sigma},
            arrays={
                "permutations": self.permutations,
                "features": self.features,
                "coefficients": self.coefficients,
                "scale": np.array(self.scale),
                "constant": np.array(self.constant),
                **({} if self.transform is None else {"transform": self.transform}),
            },
            facts=self.facts,
        )


class _Images:
    """A block of training images, (images, size): features and slopes."""

    def __init__(self, features: np.ndarray, slopes: np.ndarray):
        self.features, self.slopes = features, slopes
        self.squares = np.einsum("md,md->m", features, features)
        self.offsets = np.einsum("md,md->m", features, slopes)

    def add(self, x: np.ndarray, energies: np.ndarray, slope: np.ndarray) -> None:
        """Add this block's part to energies (batch,) and to the slope (batch, size)."""
        distance = x @ self.features.T
        distance *= -2.0
        distance += self.squares
        distance += np.einsum("bd,bd->b", x, x)[:, None]
        # Rounding can take a distance of zero just below it.
        np.maximum(distance, 0.0, out=distance)
        np.sqrt(distance, out=distance)
        projection = x @ self.slopes.T
        projection -= self.offsets
        decay = np.exp(-distance)
        distance += 1.0
        distance *= decay
        energies += np.einsum("bm,bm->b", projection, distance)
        projection *= decay
        slope += projection.sum(axis=1)[:, None] * x
        slope -= projection @ self.features
        slope -= distance @ self.slopes


def check_model(
    where: object, numbers: np.ndarray, arrays: Mapping[str, np.ndarray], sigma: Any
) -> None:
    """Refuse what has the right shapes and still is no sGDML model.

    Args:
        where: the file or folder, for the message.
        numbers: (atoms,) atomic numbers.
        arrays: `permutations` (group, atoms) and `features` (points, size).
        sigma: anything at all.

    Raises:
        FileFormatError: says which of them cannot be used.
    """
    permutations = arrays["permutations"]
    if len(numbers) < 2 or not len(arrays["features"]):
        raise FileFormatError(f"{where}: expected at least two atoms and one training point")
    if type(sigma) not in (int, float) or not 0 < sigma < np.inf:
        raise FileFormatError(f"{where}: sigma: expected a positive number, found {sigma!r}")
    if not len(permutations) or (np.sort(permutations) != np.arange(len(numbers))).any():
        raise FileFormatError(f"{where}: permutations: expected each atom once in every row")
    if (numbers[permutations] != numbers).any():
        raise FileFormatError(f"{where}: permutations exchange unlike atoms: another molecule's?")
