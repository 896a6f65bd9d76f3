"""The geodesic between two geometries in a metric of scaled distances.

Source: Zhu, Thompson and Martinez, J. Chem. Phys. 150, 164103 (2019), doi:10.1063/1.5090303.
"""

from __future__ import annotations

import numpy as np

from flexcalc.geometry.graph import covalent_lengths
from flexcalc.geometry.matching import align_consecutive
from flexcalc.methods.optimisers import LBFGS
from flexcalc.methods.relax import relax_each

STEEPNESS, LONG_RANGE = 1.7, 0.01
"""alpha and beta of the scaling function, as published."""

MAX_ITERATIONS = 300
"""Maximum number of iterations; a molecule of 24 atoms takes about a hundred."""

TOLERANCE = 1e-3
"""Gradient on an atom at which a path has converged, times the number of its segments, per
angstrom: the gradient on an image falls with their length."""

STIFFNESS = 10.0
"""Initial guess of the curvature, per square angstrom."""


def scaled(
    positions: np.ndarray, rest: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coordinates of the metric, q = exp(-alpha (r - r_e) / r_e) + beta r_e / r.

    Args:
        positions: (..., atoms, 3) in angstrom.
        rest: (pairs,) r_e, the sums of covalent radii in angstrom.
        pairs: indices of both atoms of each pair.

    Returns:
        q and dq/dr (..., pairs), and the unit vectors (..., pairs, 3) from the second
        atom to the first. Equation 4 of the paper.
    """
    vectors = positions[..., pairs[0], :] - positions[..., pairs[1], :]
    r = np.maximum(np.sqrt(np.einsum("...px,...px->...p", vectors, vectors)), 1e-3)
    bonded = np.exp(-STEEPNESS * (r - rest) / rest)
    slope = -STEEPNESS / rest * bonded - LONG_RANGE * rest / r**2
    return bonded + LONG_RANGE * rest / r, slope, vectors / r[..., None]


def geodesic_paths(numbers: np.ndarray, paths: np.ndarray) -> np.ndarray:
    """The geodesics nearest to paths, with images equally spaced in the metric.

    Each minimises the energy of the discrete path, sum_k |q(x_k) - q(m_k)|^2 + |q(m_k) -
    q(x_{k-1})|^2 over all inner images, where m_k is the midpoint of neighbours; the minimum is the
    shortest path at constant speed. As in the paper, the midpoints keep straight segments from
    cutting through unphysical geometries.

    Args:
        numbers: (atoms,) atomic numbers.
        paths: (paths, images, atoms, 3) in angstrom, such as IDPP paths.

    Returns:
        (paths, images, atoms, 3) in angstrom; the endpoints are unchanged.
    """
    paths = np.stack([align_consecutive(path) for path in paths])
    pairs = np.tril_indices(len(numbers), -1)
    rest = covalent_lengths(numbers)[pairs]

    def forces_of(which: np.ndarray, inner: np.ndarray) -> np.ndarray:
        ends = paths[which]
        images = np.concatenate([ends[:, :1], inner, ends[:, -1:]], axis=1)
        return -path_energy(images, rest, pairs)[1][:, 1:-1]

    paths[:, 1:-1] = relax_each(
        forces_of,
        paths[:, 1:-1],
        rows=1,
        optimiser=LBFGS(history=20, stiffness_eV_A2=STIFFNESS),
        force_tolerance_eV_A=TOLERANCE / (paths.shape[1] - 1),
        steps=MAX_ITERATIONS,
    )
    return np.stack([align_consecutive(path) for path in paths])


def path_energy(
    images: np.ndarray, rest: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The energies (...) of discrete paths (..., images, atoms, 3) in the metric, and their
    gradient."""
    count, atoms = images.shape[-3:-1]
    points = np.empty((*images.shape[:-3], 2 * count - 1, atoms, 3))
    points[..., ::2, :, :] = images
    points[..., 1::2, :, :] = (images[..., 1:, :, :] + images[..., :-1, :, :]) / 2
    q, slope, units = scaled(points, rest, pairs)
    steps = np.diff(q, axis=-2)
    pull = np.zeros_like(q)
    pull[..., 1:, :] += 2 * steps
    pull[..., :-1, :] -= 2 * steps
    along = (pull * slope)[..., None] * units
    on_points = incidence(atoms, pairs) @ along
    gradient = on_points[..., ::2, :, :].copy()
    gradient[..., 1:, :, :] += on_points[..., 1::2, :, :] / 2
    gradient[..., :-1, :, :] += on_points[..., 1::2, :, :] / 2
    return (steps**2).sum(axis=(-2, -1)), gradient


def incidence(atoms: int, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(atoms, pairs): 1 at the first atom of a pair, -1 at its second."""
    found = np.zeros((atoms, len(pairs[0])))
    found[pairs[0], np.arange(len(pairs[0]))] = 1.0
    found[pairs[1], np.arange(len(pairs[1]))] = -1.0
    return found
