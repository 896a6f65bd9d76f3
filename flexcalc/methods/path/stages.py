"""Stages of a search that begins with few images, and gets more where these do not do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from flexcalc.geometry import align
from flexcalc.methods.path.chain import Chain, PathState
from flexcalc.methods.path.interpolation import respace
from flexcalc.potential import Potential

FEWEST_IMAGES = 5
"""Number of images with which a search begins at least."""

MORE_IMAGES = 2
"""Number of images that a stage adds, one on each side of the highest."""

BEND_A = 0.2
"""Largest distance of an atom of an image from the spline through fewer images of a path."""

DENSE = 10
"""Points on that spline for each image."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A chain that first gets as many images as the stage has.

    Args:
        method: the chain.
        images: of the stage, both ends included.
        below_eV_A: force perpendicular to the path below which it is left for its saddle, in
            eV/angstrom; None to converge it.
    """

    method: Chain
    images: int
    below_eV_A: float | None = None

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> PathState:
        """See `Chain.init`."""
        return self.method.init(potential, positions, rng)

    def step(self, potential: Potential, state: PathState, rng: Generator) -> PathState:
        """Add images where they are missing, or see `Chain.step`."""
        if len(state.images) < self.images:
            return self.method.with_more(potential, state, self.images)
        return self.method.step(potential, state, rng)

    def converged(self, state: PathState) -> bool:
        """Whether it has its images and has converged, or can be left: its highest image is no
        end, and its force is small."""
        if len(state.images) < self.images:
            return False
        top = int(np.argmax(state.evaluation.energies))
        inside = 0 < top < len(state.images) - 1
        left = self.below_eV_A is not None and inside and state.residual < self.below_eV_A
        return left or self.method.converged(state)


def with_few_images(images: np.ndarray, aligned: bool = True) -> np.ndarray:
    """A path of as few images as its bends allow: `FEWEST_IMAGES`, two more and so on.

    Args:
        images: (images, atoms, 3) in angstrom of the path.
        aligned: align images.

    Returns:
        (fewer, atoms, 3), evenly spaced; all images of the path are near the cubic spline through
        these. The path as it is where it needs all of its images.
    """
    for count in range(FEWEST_IMAGES, len(images) - 1, MORE_IMAGES):
        few = respace(images, aligned, count)
        curve = respace(few, aligned, DENSE * len(images))
        if len(few) == count and all(_distance(curve, one, aligned) < BEND_A for one in images):
            few[[0, -1]] = images[[0, -1]]
            return few
    return images


def _distance(curve: np.ndarray, image: np.ndarray, aligned: bool) -> float:
    """Largest distance of an atom of an image (atoms, 3) from its place at the nearest point of a
    curve (points, atoms, 3)."""
    off = (align(curve, image) if aligned else curve) - image
    return float(np.sqrt((off**2).sum(axis=2)).max(axis=1).min())
