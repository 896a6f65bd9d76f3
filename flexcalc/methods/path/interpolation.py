"""Interpolation of initial paths between two geometries, and length and spacing of paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry import align, align_consecutive, is_degenerate, largest_move, match_atoms
from flexcalc.geometry.matching import EQUAL_A
from flexcalc.methods.optimisers import LBFGS
from flexcalc.methods.path.geodesic import geodesic_paths, incidence
from flexcalc.methods.relax import relax_each
from flexcalc.potential import CheckedPotential, Evaluation

Interpolation = Literal["idpp", "linear", "geodesic"]


@dataclass(frozen=True, eq=False)
class Ends:
    """The ends of a path.

    Args:
        numbers: (atoms,) atomic numbers.
        start: (atoms, 3) in angstrom.
        end: (atoms, 3) in angstrom.
    """

    numbers: np.ndarray
    start: np.ndarray
    end: np.ndarray


def lengths(steps: np.ndarray) -> np.ndarray:
    """Lengths (...,) of steps (..., atoms, 3) in the 3N-dimensional space."""
    return np.sqrt(np.einsum("...ax,...ax->...", steps, steps))


def path_length(images: np.ndarray, aligned: bool = True) -> np.ndarray:
    """Length along a path to each image (images,), in angstrom of the 3N-dimensional space.

    Args:
        images: (images, atoms, 3) in angstrom.
        aligned: align each image with the next before taking their distance.
    """
    before = align(images[:-1], images[1:]) if aligned else images[:-1]
    return np.concatenate([[0.0], np.cumsum(lengths(images[1:] - before))])


def respace(images: np.ndarray, aligned: bool = True, count: int | None = None) -> np.ndarray:
    """Move images (images, atoms, 3) to equal distances along the curve through them.

    The curve is a cubic spline, so that evenly spaced images stay in place, and others move along
    the path and not across it. Distances between neighbours are equal to 1 part in 1e6.

    Args:
        images: (images, atoms, 3) in angstrom.
        aligned: align each image with the previous one first.
        count: number of images afterwards; by default as many as before.
    """
    from scipy.interpolate import CubicSpline

    images = align_consecutive(images) if aligned else images
    knots = path_length(images, aligned=False)
    if not (np.diff(knots) > 0).all():
        return images
    curve = CubicSpline(knots, images)
    places = knots if count is None else np.linspace(0.0, knots[-1], count)
    for _ in range(20):
        found = np.concatenate([images[:1], curve(places[1:-1]), images[-1:]])
        along = path_length(found, aligned=False)
        even = np.linspace(0.0, along[-1], len(places))
        if np.abs(along - even).max() < 1e-6 * along[-1] / len(places):
            break
        places = np.interp(even, along, places)
    return found


def match_endpoints(
    numbers: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Align the end geometry (atoms, 3) with the start, and permute identical atoms to match it.

    Equivalent hydrogens of independently made endpoints are labelled arbitrarily, and a path would
    have to swap them. See Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.
    Endpoints that differ by a permutation alone are not permuted, because the rearrangement is
    degenerate.

    Returns:
        The aligned end, and the permutation (atoms,).

    Raises:
        InputError: the endpoints are the same geometry.
    """
    check_different(start, end)
    order = match_atoms(numbers, end, start)
    if is_degenerate(numbers, start, end):
        order = np.arange(len(numbers))
    return align(end[order][None], start)[0], order


def check_different(start: np.ndarray, end: np.ndarray) -> None:
    """Refuse endpoints (atoms, 3) of a path that are the same geometry.

    Raises:
        InputError: they are.
    """
    apart = largest_move(end, start)
    if apart < EQUAL_A:
        raise InputError(
            f"end: is the geometry of the start, no atom is farther than {apart:.3f} A from its "
            "place there; name two different minima (where relaxing made them one, "
            "relax_ends = false keeps them as they are)"
        )


def interpolate(
    start: np.ndarray,
    end: np.ndarray,
    images: int,
    kind: Interpolation = "idpp",
    numbers: np.ndarray | None = None,
) -> np.ndarray:
    """An initial path (images, atoms, 3) in angstrom between two geometries (atoms, 3).

    Args:
        start: first image.
        end: last image, aligned with the first.
        images: number of images, including both endpoints.
        kind: `linear` in Cartesian coordinates; `idpp`, the image-dependent pair potential of
            Smidstrup et al., J. Chem. Phys. 140, 214106 (2014), doi:10.1063/1.4878664, which
            keeps atoms from colliding; or `geodesic`, the shortest path in scaled distances
            (`methods/path/geodesic.py`), for large changes.
        numbers: (atoms,) atomic numbers, needed for `geodesic` only.

    Raises:
        ShapeError: fewer than three images, endpoints of different shapes, or no numbers where
            they are needed.
    """
    if images < 3 or start.shape != end.shape:
        raise ShapeError(
            f"a path needs at least 3 images and ends of one shape, "
            f"got {images} images, {start.shape} and {end.shape}"
        )
    return interpolate_all(start[None], end[None], images, kind, numbers)[0]


def interpolate_all(
    starts: np.ndarray,
    ends: np.ndarray,
    images: int,
    kind: Interpolation,
    numbers: np.ndarray | None = None,
) -> np.ndarray:
    """Initial paths (paths, images, atoms, 3) between pairs of geometries (paths, atoms, 3).

    Each is what `interpolate` gives for its pair.
    """
    share = np.linspace(0, 1, images)[:, None, None]
    paths = (1 - share) * starts[:, None] + share * ends[:, None]
    if kind == "linear":
        return paths
    targets = PairTargets(paths)
    paths[:, 1:-1] = relax_each(
        targets.forces_of,
        paths[:, 1:-1],
        rows=images - 2,
        optimiser=LBFGS(),
        force_tolerance_eV_A=1e-3,
        steps=500,
    )
    paths = np.stack([respace(path) for path in paths])
    if kind == "idpp":
        return paths
    if numbers is None:
        raise ShapeError("a geodesic path needs the atomic numbers, got none")
    return geodesic_paths(np.asarray(numbers), paths)


class PairTargets(CheckedPotential):
    """The IDPP objective: each inner image pulled to its own interpolated pair distances.

    S_k = sum_{i<j} (d_ij - d_ij^k)^2 / d_ij^4, Smidstrup et al. (2014), equation 7; the batch
    must be the inner images in order.

    Args:
        paths: (..., images, atoms, 3) in angstrom, one or several; their ends define the distances.
    """

    def __init__(self, paths: np.ndarray):
        images, atoms = paths.shape[-3:-1]
        self.numbers = np.zeros(atoms, dtype=int)
        self._pairs = np.tril_indices(atoms, -1)
        self._incidence = incidence(atoms, self._pairs)
        i, j = self._pairs
        ends = paths[..., [0, -1], :, :]
        apart = np.linalg.norm(ends[..., i, :] - ends[..., j, :], axis=-1)
        share = np.linspace(0, 1, images)[1:-1, None]
        targets = (1 - share) * apart[..., :1, :] + share * apart[..., 1:, :]
        self._targets = targets.reshape(-1, *targets.shape[-2:])

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """The objective as an energy, its negative gradient as forces."""
        return self._evaluated(positions, self._targets.reshape(len(positions), -1))

    def forces_of(self, which: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Forces (some, images - 2, atoms, 3) on the inner images of some of the paths."""
        flat = positions.reshape(-1, *positions.shape[2:])
        targets = self._targets[which].reshape(len(flat), -1)
        return self._evaluated(flat, targets).forces.reshape(positions.shape)

    def _evaluated(self, positions: np.ndarray, targets: np.ndarray) -> Evaluation:
        i, j = self._pairs
        vectors = positions[:, i] - positions[:, j]
        d = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-3)
        gap = d - targets
        slope = 2 * gap / d**4 - 4 * gap**2 / d**5
        pull = (slope / d)[:, :, None] * vectors
        return Evaluation((gap**2 / d**4).sum(axis=1), -self._incidence @ pull)
