"""The geodesic between two geometries in a metric of scaled distances.

Source: Zhu, Thompson and Martinez, J. Chem. Phys. 150, 164103 (2019), doi:10.1063/1.5090303.
"""

from __future__ import annotations

import numpy as np

from flexcalc.geometry.graph import covalent_lengths
from flexcalc.geometry.matching import align_consecutive

STEEPNESS, LONG_RANGE = 1.7, 0.01
"""alpha and beta of the scaling function, as published."""

MAX_ITERATIONS = 300
"""Maximum number of iterations; a molecule of 24 atoms takes about a hundred."""


def scaled(
    positions: np.ndarray, rest: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coordinates of the metric, q = exp(-alpha (r - r_e) / r_e) + beta r_e / r.

    Args:
        positions: (batch, atoms, 3) in angstrom.
        rest: (pairs,) r_e, the sums of covalent radii in angstrom.
        pairs: indices of both atoms of each pair.

    Returns:
        q and dq/dr (batch, pairs), and the unit vectors (batch, pairs, 3) from the second
        atom to the first. Equation 4 of the paper.
    """
    vectors = positions[:, pairs[0]] - positions[:, pairs[1]]
    r = np.maximum(np.sqrt(np.einsum("bpx,bpx->bp", vectors, vectors)), 1e-3)
    bonded = np.exp(-STEEPNESS * (r - rest) / rest)
    slope = -STEEPNESS / rest * bonded - LONG_RANGE * rest / r**2
    return bonded + LONG_RANGE * rest / r, slope, vectors / r[..., None]


def geodesic_path(numbers: np.ndarray, path: np.ndarray) -> np.ndarray:
    """The geodesic nearest to a path, with images equally spaced in the metric.

    It minimises the energy of the discrete path, sum_k |q(x_k) - q(m_k)|^2 + |q(m_k) -
    q(x_{k-1})|^2 over all inner images, where m_k is the midpoint of neighbours; the minimum is the
    shortest path at constant speed. As in the paper, the midpoints keep straight segments from
    cutting through unphysical geometries.

    Args:
        numbers: (atoms,) atomic numbers.
        path: (images, atoms, 3) in angstrom, such as an IDPP path.

    Returns:
        (images, atoms, 3) in angstrom; the endpoints are unchanged.
    """
    from scipy.optimize import minimize

    path = align_consecutive(path)
    pairs = np.tril_indices(len(numbers), -1)
    rest = covalent_lengths(numbers)[pairs]
    shape = path[1:-1].shape

    def energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
        images = np.concatenate([path[:1], flat.reshape(shape), path[-1:]])
        found, gradient = path_energy(images, rest, pairs)
        return found, gradient[1:-1].ravel()

    done = minimize(
        energy, path[1:-1].ravel(), jac=True, method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "maxcor": 20, "ftol": 1e-10, "gtol": 1e-6},
    )  # fmt: skip
    return align_consecutive(np.concatenate([path[:1], done.x.reshape(shape), path[-1:]]))


def path_energy(
    images: np.ndarray, rest: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> tuple[float, np.ndarray]:
    """The energy of a discrete path in the metric, and its gradient (images, atoms, 3)."""
    points = np.empty((2 * len(images) - 1, *images.shape[1:]))
    points[::2], points[1::2] = images, (images[1:] + images[:-1]) / 2
    q, slope, units = scaled(points, rest, pairs)
    steps = np.diff(q, axis=0)
    pull = np.zeros_like(q)
    pull[1:] += 2 * steps
    pull[:-1] -= 2 * steps
    along = (pull * slope)[..., None] * units
    on_points = incidence(points.shape[1], pairs) @ along
    gradient = on_points[::2].copy()
    gradient[1:] += on_points[1::2] / 2
    gradient[:-1] += on_points[1::2] / 2
    return float((steps**2).sum()), gradient


def incidence(atoms: int, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(atoms, pairs): 1 at the first atom of a pair, -1 at its second."""
    found = np.zeros((atoms, len(pairs[0])))
    found[pairs[0], np.arange(len(pairs[0]))] = 1.0
    found[pairs[1], np.arange(len(pairs[1]))] = -1.0
    return found
