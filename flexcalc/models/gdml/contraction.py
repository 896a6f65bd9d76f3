"""The kernel model as matrix products: energies and slopes of a batch of features.

With features x and training features X, both times sqrt(5)/sigma, d = x - P_g X, n = |d|, the
contracted coefficients a = P_g J alpha and the energy coefficients e of each training point, the
model reads

    E    = sum (d.a) (1 + n) exp(-n) + e (1 + n + n^2/3) exp(-n)
    -E'  = sum exp(-n) [(d.a) + e (1 + n)/3] d - (1 + n) exp(-n) a,

summed over training points and permutations. The coefficients of a well-fitted model are many
orders of magnitude larger than what their sum leaves, and n is small. So the part of (1 + n)
exp(-n) that is one, x . A - B + C with the sums A of a, B of X.a and C of e, is taken out of the
sum: what is left is smaller by n^2 and so is its rounding, which would make the energy rough.

Expanding squares and products turns the sums into products of X and a with x, taken in the
harmonics of the group (see `harmonics`), and two more that collect the slope, with elementwise
steps between them on blocks that stay in cache. Geometries are the columns of all of these
arrays: so neither product runs along both of its factors, which takes twice the time.

Source: Chmiela et al., Nat. Commun. 9, 3887 (2018), eqs. 3 to 5, with the Matern kernel of
n = 2; arXiv:1912.06401.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.models.gdml.engine import PROCESSOR, Array, Engine
from flexcalc.models.gdml.harmonics import Harmonics, harmonics

IMAGES = 2048
"""Training images (points times permutations) of a block on the processor."""
PAIRS = 1 << 15
"""Pairs of a geometry and an image of a block: temporaries of some 256 kilobytes each."""
FEWEST = 32
"""Training points of a block, where there are many permutations."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Some training points: coordinates of X and of a, a pair of arrays for each row slice."""

    points: slice
    rows: dict[int, tuple[Array, Array]]
    squares: Array
    offsets: Array
    energies: Array | None


class Contraction:
    """The sum over training points and permutations.

    Args:
        features: (points, size), unscaled.
        order: (group, size), how features move under each permutation, a closed group.
        sigma: length scale in the unit of the features.
        engine: where to compute.
    """

    def __init__(
        self, features: np.ndarray, order: np.ndarray, sigma: float, engine: Engine = PROCESSOR
    ):
        self.engine = engine
        self.stretch = float(np.sqrt(5.0) / sigma)
        self.group = len(order)
        # Distances do not change when all features shift; near zero they keep their digits.
        # The permutations leave this origin alone.
        self.origin = features.mean(axis=0)[order].mean(axis=0)
        self.harmonics: Harmonics = harmonics(order)
        self._order = order
        self._features = self._coordinates(features)
        self._table = engine.array(self.harmonics.table)
        # Of the term that is the same in all images.
        self._even = int(np.argmin(np.ptp(self.harmonics.table, axis=1)))
        self._table_back = engine.array(self.harmonics.table.T)
        self._blocks: list[_Block] = []

    def _coordinates(self, features: np.ndarray) -> np.ndarray:
        return self.harmonics.forward((features - self.origin) * self.stretch)

    def set_coefficients(self, slopes: np.ndarray, energies: np.ndarray | None = None) -> None:
        """Set a = J alpha times sqrt(5)/(3 sigma) (points, size), and e (points,) or None."""
        coordinates = self.harmonics.forward(slopes)
        step = max(FEWEST, IMAGES * self.engine.enlarged // self.group)
        self._blocks = [
            self._block(slice(start, min(start + step, len(slopes))), coordinates, energies)
            for start in range(0, len(slopes), step)
        ]
        # Sums over the group as well; the mean over it takes everything else out of A.
        total = self.group * slopes.sum(axis=0)[self._order].mean(axis=0)
        self._slope = self.engine.array(self.harmonics.forward(total))
        self._offset = -self.group * float(np.einsum("md,md->", self._features, coordinates))
        if energies is not None:
            self._offset += self.group * float(energies.sum())
        widest = self._blocks[0].points
        images = self.group * (widest.stop - widest.start)
        self._most = max(1, PAIRS * self.engine.enlarged // images)
        self._ones = self.engine.zeros(images) + 1.0

    def _block(self, points: slice, slopes: np.ndarray, energies: np.ndarray | None) -> _Block:
        x, a = self._features[points], slopes[points]
        array = self.engine.array
        slices = [rows for block in self.harmonics.rows for rows in block]
        return _Block(
            points,
            {rows.start: (array(x[:, rows]), array(a[:, rows])) for rows in slices},
            array(np.einsum("md,md->m", x, x)),
            array(np.einsum("md,md->m", x, a)),
            None if energies is None else array(energies[points]),
        )

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Energies (batch,) and -dE/dx (batch, size) of features (batch, size).

        It runs on the thread that calls it; see `Engine.each` for several.
        """
        engine, count = self.engine, len(features)
        if count == 1 < self._most:
            # Products with a single column are summed in another order: with two, a geometry
            # alone has the digits that it has in a batch.
            features = np.repeat(features, 2, axis=0)
        with np.errstate(invalid="ignore", over="ignore"):
            x, norms = self._columns(self._coordinates(features))
            energies = self._slope @ x + self._offset
            slope = engine.zeros(*x.shape) - self._slope[:, None]
            for batch in self._batches(len(features)):
                for block in self._blocks:
                    self._add(block, x[:, batch], norms[batch], energies[batch], slope[:, batch])
        slopes = self.harmonics.backward(engine.numpy(slope).T) * self.stretch
        return engine.numpy(energies)[:count], slopes[:count]

    def nearest(self, features: np.ndarray | None = None) -> np.ndarray:
        """Distances of features (batch, size) to the nearest training image, in their unit.

        Args:
            features: by default those of the training points, each measured to the other points.
        """
        engine = self.engine
        xp = engine.xp
        coordinates = self._features if features is None else self._coordinates(features)
        found = np.empty(len(coordinates))
        for batch in self._batches(len(coordinates)):
            x, norms = self._columns(coordinates[batch])
            least = []
            for block in self._blocks:
                squares = self._squares(block, x, norms)
                if features is None:
                    own = np.arange(batch.start, batch.stop)
                    here = (own >= block.points.start) & (own < block.points.stop)
                    squares[:, own[here] - block.points.start, here] = np.inf
                least.append(xp.amin(xp.amin(squares, 1), 0))
            found[batch] = np.min([engine.numpy(one) for one in least], axis=0)
        return np.sqrt(np.maximum(found, 0.0)) / self.stretch

    def _batches(self, count: int) -> list[slice]:
        """Equal parts of so many geometries, none too large for the cache."""
        parts = max(1, -(-count // self._most))
        borders = [count * part // parts for part in range(parts + 1)]
        return list(map(slice, borders[:-1], borders[1:]))

    def _columns(self, coordinates: np.ndarray) -> tuple[Array, Array]:
        """Coordinates (batch, size) as columns (size, batch), and their squares (batch,).

        These are summed along a row, so that they do not depend on the others of the batch.
        """
        norms = np.einsum("bd,bd->b", coordinates, coordinates)
        return self.engine.array(coordinates.T), self.engine.array(norms)

    def _squares(self, block: _Block, x: Array, norms: Array) -> Array:
        """Squared distances (group, points, batch) of coordinates (size, batch) to a block."""
        terms, points = self.harmonics.terms, block.points.stop - block.points.start
        products, twice = self.engine.empty(len(terms), points, x.shape[1]), -2.0 * x
        for product, (here, there) in zip(products, terms, strict=True):
            self.engine.xp.matmul(block.rows[there.start][0], twice[here], out=product)
        products[self._even] += block.squares[:, None] + norms
        return self._images(products)

    def _images(self, products: Array) -> Array:
        """What the products (..., terms, points, batch) are in each image (..., group, ...)."""
        if self.group == 1:
            return products
        *several, terms, points, batch = products.shape
        flat = products.reshape(*several, terms, points * batch)
        return (self._table_back @ flat).reshape(*several, self.group, points, batch)

    def _add(self, block: _Block, x: Array, norms: Array, energies: Array, slope: Array) -> None:
        """Add a block's part to the energies (batch,) and to the slope (size, batch)."""
        xp, terms = self.engine.xp, self.harmonics.terms
        points, batch = block.points.stop - block.points.start, x.shape[1]
        # Of X and of a apart, so that each is one run of memory to the elementwise steps.
        products, twice = self.engine.empty(2, len(terms), points, batch), -2.0 * x
        for number, (here, there) in enumerate(terms):
            features, slopes = block.rows[there.start]
            xp.matmul(features, twice[here], out=products[0, number])
            xp.matmul(slopes, x[here], out=products[1, number])
        products[0, self._even] += block.squares[:, None] + norms
        products[1, self._even] -= block.offsets[:, None]
        images = self._images(products)
        distance, projection = images
        slope += self._weigh(block, distance, projection, energies) * x
        if self.group > 1:
            flat = products.reshape(2, len(terms), points * batch)
            xp.matmul(self._table, images.reshape(2, self.group, points * batch), out=flat)
        of_a, of_x = products
        for number, (here, there) in enumerate(terms):
            features, slopes = block.rows[there.start]
            slope[here] -= features.T @ of_x[number]
            slope[here] -= slopes.T @ of_a[number]

    def _weigh(self, block: _Block, distance: Array, projection: Array, energies: Array) -> Array:
        """Turn |d|^2 and d.a (group, points, batch) in place into the weights of a and of X.

        Args:
            block: the training points.
            distance: |d|^2; becomes the weight of a.
            projection: d.a; becomes the weight of X, which is that of d.
            energies: (batch,), added to.

        Returns:
            The sum (batch,) of the weights of d, which is the weight of x.
        """
        xp = self.engine.xp
        # Rounding can take a distance of zero just below it.
        xp.clip(distance, 0.0, None, out=distance)
        xp.sqrt(distance, out=distance)
        fall = xp.expm1(-distance)
        decay = fall + 1.0
        if block.energies is not None:
            curved = distance * distance
            curved *= decay
            energies += (block.energies / 3.0 @ curved).sum(0)
        # From here on (1 + n) exp(-n) - 1.
        distance *= decay
        distance += fall
        energies += self._total(projection * distance)
        projection *= decay
        if block.energies is not None:
            energies += (block.energies @ distance).sum(0)
            whole = xp.add(distance, 1.0, out=fall)
            whole *= block.energies[:, None] / 3.0
            projection += whole
        return self._total(projection)

    def _total(self, values: Array) -> Array:
        """The sums (batch,) of values (group, points, batch)."""
        images = values.shape[0] * values.shape[1]
        return self._ones[:images] @ values.reshape(images, values.shape[2])
