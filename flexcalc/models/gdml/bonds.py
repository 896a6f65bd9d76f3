"""A kernel that is a sum over bonds, each comparing the features of its two atoms.

A kernel of all features at once finds two geometries alike only if all of the molecule is; most of
a large molecule has nothing to do with the force on an atom. The sum

    k(x, x') = sum_b k(x_b, x'_b),

with x_b the features that one of the atoms of bond b takes part in, is the prior of an energy that
is a sum of functions of x_b, and needs fewer labels for the same errors. An atom without bonds is a
term of its own. The terms are closed under the symmetry group, so the energy stays invariant:

    E(x) = sum_b sum_g k(x_b, (g X)_b) = sum_o sum_h sum_g k((h x)_o, (g X)_o)

with o one bond of each orbit and h a permutation for each other bond of it. So the training images
are those of one bond per orbit, and the geometry is compared with them once for each of its bonds.

Sources: Duvenaud, Nickisch, Rasmussen, NIPS 2011, arXiv:1112.4394 (sums of kernels of some of the
features); Bartok, Payne, Kondor, Csanyi, Phys. Rev. Lett. 104, 136403 (2010) (of atoms, whose
environments are compared with those of others too). Bonds were chosen here over atoms, angles and
spheres of one to three bonds, by errors on ethanol, malonaldehyde, uracil, azobenzene and glycine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from flexcalc.geometry.graph import consensus_bonds
from flexcalc.models.gdml.contraction import Contraction
from flexcalc.models.gdml.descriptor import Descriptor
from flexcalc.models.gdml.engine import PROCESSOR, Array, Engine

PAIRS = 1 << 15
"""Pairs of a geometry and an image of a block: temporaries of some 256 kilobytes each."""


def bond_centres(
    numbers: np.ndarray, positions: np.ndarray, permutations: np.ndarray
) -> np.ndarray:
    """The atoms (terms, 2) of the terms: bonds, and twice the same atom where it has none.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (frames, atoms, 3) in angstrom; bonded is what is in more than half of them.
        permutations: (group, atoms); images of a bond are bonds.
    """
    bonds = consensus_bonds(numbers, positions).reshape(-1, 2)
    alone = np.setdiff1d(np.arange(len(numbers)), bonds)
    centres = np.concatenate([bonds, np.column_stack([alone, alone])])
    return np.unique(np.sort(permutations[:, centres].reshape(-1, 2), axis=1), axis=0)


def are_closed(centres: np.ndarray, permutations: np.ndarray) -> bool:
    """Whether permutations (group, atoms) map each of the centres (terms, 2) to one of them."""
    known = {frozenset(pair) for pair in centres.tolist()}
    return all(
        frozenset(pair) in known for pair in permutations[:, centres].reshape(-1, 2).tolist()
    )


def terms_of(descriptor: Descriptor, centres: np.ndarray) -> list[np.ndarray]:
    """Ascending indices of the features of each term: those that one of its atoms is part of.

    In molecules of three atoms, bonds that have the same features are one term.
    """
    atoms = [frozenset(some) for some in descriptor.atoms_of]
    found = (
        tuple(index for index, some in enumerate(atoms) if some & set(pair))
        for pair in centres.tolist()
    )
    return [np.array(term) for term in dict.fromkeys(found)]


class _Stack:
    """Orbits with the same number of bonds, whose features are filled up to the same number.

    Args:
        queries: (orbits, bonds, width) features of the geometry for each bond; `size` fills up.
        images: (orbits, group, width) features of a training point for each of its images.
        size: number of features.
    """

    def __init__(self, queries: np.ndarray, images: np.ndarray, size: int):
        self.queries, self.images = queries, images
        self.bonds = queries.shape[1]
        # From (orbits, width, bonds) to features.
        rows = queries.swapaxes(1, 2).ravel()
        whole = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), (size + 1, len(rows)))
        self.scatter = whole[:size]


class BondContraction:
    """The sum over training points, permutations and bonds, as `contraction.Contraction`.

    Args:
        features: (points, size), unscaled.
        order: (group, size), how features move under each permutation, a closed group.
        sigma: length scale in the unit of the features.
        terms: features of each term, closed under the group, see `terms_of`.
        engine: where to compute.
    """

    def __init__(
        self,
        features: np.ndarray,
        order: np.ndarray,
        sigma: float,
        terms: Sequence[np.ndarray],
        engine: Engine = PROCESSOR,
    ):
        self.engine, self.group = engine, len(order)
        self.stretch = float(np.sqrt(5.0) / sigma)
        # Near zero distances keep their digits.
        self.origin = features.mean(axis=0)[order].mean(axis=0)
        self._stacks = _stacks(order, terms)
        self._points = _filled((features - self.origin) * self.stretch)
        self._features = [self._images(stack, self._points) for stack in self._stacks]
        self._squares = [(one * one).sum(2)[:, :, None] for one in self._features]

    def _images(self, stack: _Stack, values: np.ndarray) -> Array:
        """Values (points, size + 1) of the images, (orbits, points group, width)."""
        orbits, _, width = stack.images.shape
        found = values[:, stack.images].swapaxes(0, 1)
        return self.engine.array(found.reshape(orbits, -1, width))

    def set_coefficients(self, slopes: np.ndarray, energies: np.ndarray | None) -> None:
        """Set a = J alpha times sqrt(5)/(3 sigma) (points, size), and e (points,) or None."""
        filled = _filled(slopes)
        self._slopes = [self._images(stack, filled) for stack in self._stacks]
        pairs = zip(self._features, self._slopes, strict=True)
        self._offsets = [(x * a).sum(2)[:, :, None] for x, a in pairs]
        # What is the same for all images, see `contraction`.
        self._totals = [one.sum(1)[:, :, None] for one in self._slopes]
        self._energies = None
        self._constant = 0.0
        if energies is not None:
            self._energies = self.engine.array(np.repeat(energies, self.group))
            self._constant = float(self._energies.sum())

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (batch,) and -dE/dx (batch, size) of features (batch, size).

        It runs on the thread that calls it.
        """
        energies = np.zeros(len(features))
        slopes = np.zeros((self._points.shape[1] - 1, len(features)))
        with np.errstate(invalid="ignore", over="ignore"):
            x = _filled((features - self.origin) * self.stretch)
            for index, stack in enumerate(self._stacks):
                own, slope = self._of_stack(index, self._queries(stack, x))
                energies += self.engine.numpy(own).reshape(stack.bonds, -1).sum(axis=0)
                flat = self.engine.numpy(slope).reshape(-1, len(features))
                slopes += stack.scatter @ flat
        return energies, slopes.T * self.stretch

    def _queries(self, stack: _Stack, x: np.ndarray) -> Array:
        """What is compared with the images: (orbits, width, bonds batch)."""
        orbits, bonds, width = stack.queries.shape
        found = x[:, stack.queries].transpose(1, 3, 2, 0)
        return self.engine.array(found.reshape(orbits, width, bonds * len(x)))

    def _of_stack(self, index: int, queries: Array) -> tuple[Array, Array]:
        """Energies (bonds batch,) and slopes (orbits, width, bonds batch) of some orbits."""
        images = self._features[index].shape[1]
        energies = (self._totals[index] * queries).sum(0).sum(0)
        energies += len(queries) * self._constant - float(self._offsets[index].sum())
        slope = self.engine.zeros(*queries.shape) - self._totals[index]
        norms = (queries * queries).sum(1)[:, None]
        columns = min(queries.shape[2], max(1, PAIRS // (len(queries) * min(images, 512))))
        step = max(1, PAIRS * self.engine.enlarged // (len(queries) * columns))
        for begin in range(0, queries.shape[2], columns):
            some = slice(begin, begin + columns)
            for start in range(0, images, step):
                part = slice(start, start + step)
                own = queries[:, :, some], norms[:, :, some]
                energies[some] += self._add(index, part, own, slope[:, :, some])
        return energies, slope

    def _add(self, index: int, part: slice, queries: tuple[Array, Array], slope: Array) -> Array:
        """Add the part of some images to a slope, and return that of the energies.

        See `contraction` for the formulas, and for what is taken out of the sum.
        """
        xp, (x, norms) = self.engine.xp, queries
        features, slopes = self._features[index][:, part], self._slopes[index][:, part]
        distance = xp.matmul(features, -2.0 * x)
        distance += self._squares[index][:, part] + norms
        projection = xp.matmul(slopes, x)
        projection -= self._offsets[index][:, part]
        # Rounding can take a distance of zero just below it.
        xp.clip(distance, 0.0, None, out=distance)
        xp.sqrt(distance, out=distance)
        fall = xp.expm1(-distance)
        decay = fall + 1.0
        # (1 + n) exp(-n) - 1
        linear = distance * decay
        linear += fall
        found = (projection * linear).sum(0).sum(0)
        projection *= decay
        if self._energies is not None:
            own = self._energies[part][None, :, None]
            distance *= distance
            distance *= decay
            distance /= 3.0
            distance += linear
            found += (own * distance).sum(0).sum(0)
            projection += own / 3.0 * (linear + 1.0)
        slope += projection.sum(1)[:, None] * x
        slope -= xp.matmul(features.swapaxes(1, 2), projection)
        slope -= xp.matmul(slopes.swapaxes(1, 2), linear)
        return found


def _filled(values: np.ndarray) -> np.ndarray:
    """Values (points, size) with a further feature that is zero."""
    return np.concatenate([values, np.zeros((len(values), 1))], axis=1)


def _stacks(order: np.ndarray, terms: Sequence[np.ndarray]) -> list[_Stack]:
    """The orbits of the terms under the group, those of the same number of bonds together."""
    size, left = order.shape[1], {frozenset(term.tolist()) for term in terms}
    orbits: dict[int, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
    for term in terms:
        if frozenset(term.tolist()) not in left:
            continue
        images = order[:, term]
        queries = []
        for image in images:
            if frozenset(image.tolist()) in left:
                left.remove(frozenset(image.tolist()))
                queries.append(image)
        orbits[len(queries)].append((np.array(queries), images))
    found = []
    for same in orbits.values():
        width = max(images.shape[1] for _, images in same)
        both = [np.stack([_wide(pair[side], width, size) for pair in same]) for side in (0, 1)]
        found.append(_Stack(both[0], both[1], size))
    return found


def _wide(indices: np.ndarray, width: int, fill: int) -> np.ndarray:
    return np.pad(indices, [(0, 0), (0, width - indices.shape[1])], constant_values=fill)


def contraction_of(
    features: np.ndarray,
    order: np.ndarray,
    sigma: float,
    terms: Sequence[np.ndarray],
    engine: Engine = PROCESSOR,
) -> Contraction | BondContraction:
    """The sum of a kernel of these terms, or of one of all features where there are none."""
    if len(terms):
        return BondContraction(features, order, sigma, terms, engine)
    return Contraction(features, order, sigma, engine)
