"""Interpolation of initial paths between two geometries, and length and spacing of paths."""

from __future__ import annotations

from typing import Literal

import numpy as np

from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry import align, align_consecutive, is_degenerate, largest_move, match_atoms
from flexcalc.geometry.matching import EQUAL_A
from flexcalc.methods.path.geodesic import geodesic_path, incidence
from flexcalc.methods.relax import relax
from flexcalc.potential import CheckedPotential, Evaluation

Interpolation = Literal["idpp", "linear", "geodesic"]


def lengths(steps: np.ndarray) -> np.ndarray:
    """Lengths (images,) of steps (images, atoms, 3) in the 3N-dimensional space."""
    return np.sqrt(np.einsum("iax,iax->i", steps, steps))


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
    share = np.linspace(0, 1, images)[:, None, None]
    path = (1 - share) * start + share * end
    if kind == "linear":
        return path
    inner = relax(PairTargets(path), path[1:-1], force_tolerance_eV_A=1e-3, steps=500).positions
    path = respace(np.concatenate([path[:1], inner, path[-1:]]))
    if kind == "idpp":
        return path
    if numbers is None:
        raise ShapeError("a geodesic path needs the atomic numbers, got none")
    return geodesic_path(np.asarray(numbers), path)


class PairTargets(CheckedPotential):
    """The IDPP objective: each inner image pulled to its own interpolated pair distances.

    S_k = sum_{i<j} (d_ij - d_ij^k)^2 / d_ij^4, Smidstrup et al. (2014), equation 7; the batch
    must be the inner images in order.

    Args:
        path: (images, atoms, 3) in angstrom; its ends define the distances.
    """

    def __init__(self, path: np.ndarray):
        self.numbers = np.zeros(path.shape[1], dtype=int)
        self._pairs = np.tril_indices(path.shape[1], -1)
        self._incidence = incidence(path.shape[1], self._pairs)
        ends = np.stack([self._distances(path[0]), self._distances(path[-1])])
        share = np.linspace(0, 1, len(path))[1:-1, None]
        self._targets = (1 - share) * ends[0] + share * ends[1]

    def _distances(self, geometry: np.ndarray) -> np.ndarray:
        i, j = self._pairs
        return np.linalg.norm(geometry[i] - geometry[j], axis=-1)

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """The objective as an energy, its negative gradient as forces."""
        i, j = self._pairs
        vectors = positions[:, i] - positions[:, j]
        d = np.maximum(np.linalg.norm(vectors, axis=-1), 1e-3)
        gap = d - self._targets
        slope = 2 * gap / d**4 - 4 * gap**2 / d**5
        pull = (slope / d)[:, :, None] * vectors
        return Evaluation((gap**2 / d**4).sum(axis=1), -self._incidence @ pull)
