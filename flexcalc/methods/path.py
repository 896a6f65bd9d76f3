"""Minimum-energy paths: interpolation and the nudged elastic band, one batched call a step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from flexcalc.errors import ShapeError
from flexcalc.fields import Images, Positive
from flexcalc.geometry import align, match_atoms
from flexcalc.methods.optimisers import FIRE, Memory, Optimiser
from flexcalc.methods.relax import relax
from flexcalc.potential import CheckedPotential, Evaluation, Potential

Interpolation = Literal["idpp", "linear"]


def path_length(images: np.ndarray) -> np.ndarray:
    """Length along a path to each image (images,), in angstrom of the 3N-dimensional space."""
    return np.concatenate([[0.0], np.cumsum(_lengths(images[1:] - align(images[:-1], images[1:])))])


def chained(images: np.ndarray) -> np.ndarray:
    """The images (images, atoms, 3), each laid on the one before; the first stays."""
    laid = [images[0]]
    for image in images[1:]:
        laid.append(align(image[None], laid[-1])[0])
    return np.stack(laid)


def respaced(images: np.ndarray) -> np.ndarray:
    """Images (images, atoms, 3) at equal distances along the polygon through the given ones."""
    images = chained(images)
    along = path_length(images)
    places = np.linspace(0.0, along[-1], len(images))
    left = np.clip(np.searchsorted(along, places, side="right") - 1, 0, len(images) - 2)
    share = (places - along[left]) / np.maximum(along[left + 1] - along[left], 1e-300)
    share = share[:, None, None]
    return (1 - share) * images[left] + share * images[left + 1]


def joined_ends(
    numbers: np.ndarray, start: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The end geometry (atoms, 3) laid on the start, and the relabelling (atoms,) of like atoms.

    Independently made ends label equivalent hydrogens at will; a path between them would have
    to swap atoms. See Vassilev-Galindo et al., J. Chem. Phys. 154, 094119 (2021), section II.
    """
    order = match_atoms(numbers, end, start)
    return align(end[order][None], start)[0], order


def interpolate(
    start: np.ndarray, end: np.ndarray, images: int, kind: Interpolation = "idpp"
) -> np.ndarray:
    """A first path (images, atoms, 3) in angstrom between two geometries (atoms, 3).

    Args:
        start: first image.
        end: last image, aligned with the first.
        images: number of images with both ends.
        kind: `linear` in Cartesian coordinates, or `idpp`, the image-dependent pair potential
            of Smidstrup et al., J. Chem. Phys. 140, 214106 (2014), doi:10.1063/1.4878664,
            which keeps atoms from running through each other.

    Raises:
        ShapeError: fewer than three images, or ends of different shapes.
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
    return respaced(np.concatenate([path[:1], inner, path[-1:]]))


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
        forces = np.zeros_like(positions)
        for pair in range(len(i)):
            forces[:, i[pair]] -= pull[:, pair]
            forces[:, j[pair]] += pull[:, pair]
        return Evaluation((gap**2 / d**4).sum(axis=1), forces)


@dataclass(frozen=True, eq=False)
class PathState:
    """A path on its way to the minimum-energy path.

    Args:
        step: steps taken.
        images: (images, atoms, 3) in angstrom, both ends included.
        evaluation: energies and forces of all images.
        band: (images - 2, atoms, 3) forces that move the inner images, in eV/angstrom.
        residual: largest length of an atom's force across the path (at the climbing image:
            of its whole force), in eV/angstrom; zero on the minimum-energy path.
        climbing: whether the highest image climbs.
        memory: of the optimiser.
    """

    step: int
    images: np.ndarray
    evaluation: Evaluation
    band: np.ndarray
    residual: float
    climbing: bool
    memory: Memory

    def barrier(self) -> float:
        """Energy of the highest image above the first, in eV."""
        return float(self.evaluation.energies.max() - self.evaluation.energies[0])


@dataclass(frozen=True, kw_only=True)
class NEB:
    """Nudged elastic band with improved tangent and climbing image.

    Sources: Henkelman and Jonsson, J. Chem. Phys. 113, 9978 (2000), doi:10.1063/1.1323224;
    Henkelman, Uberuaga and Jonsson, J. Chem. Phys. 113, 9901 (2000), doi:10.1063/1.1329672.
    """

    kind: ClassVar[str] = "neb"

    images: Images = 11
    """Images with both ends."""
    interpolation: Interpolation = "idpp"
    """How the first path is made, unless a whole path is given."""
    spring_eV_A2: Positive = 2.0
    """Stiffness of the springs between images, in eV/angstrom^2."""
    climb: bool = True
    """Let the highest image climb to the saddle."""
    climb_below_eV_A: Positive = 0.3
    """Start to climb when the force across the path is below this, in eV/angstrom."""
    force_tolerance_eV_A: Positive = 0.01
    """Converged when no atom's force across the path is longer, in eV/angstrom."""
    optimiser: Optimiser = field(default_factory=FIRE)
    """How steps are chosen; lbfgs takes half the steps where it works, but the forces on a band
    are no gradient, and with few images it can be thrown off."""

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> PathState:
        """Start from a path (images, atoms, 3) in angstrom whose ends stay fixed."""
        state = PathState(
            step=0,
            images=positions,
            evaluation=potential(positions),
            band=np.empty(0),
            residual=np.inf,
            climbing=False,
            memory=self.optimiser.start(_one_row(positions[1:-1])),
        )
        return self._with_band(state)

    def step(self, potential: Potential, state: PathState, rng: Generator) -> PathState:
        """Move all inner images once; one potential call for them all."""
        inner = state.images[1:-1]
        moved, memory = self.optimiser.move(_one_row(inner), _one_row(state.band), state.memory)
        images = np.concatenate([state.images[:1], moved.reshape(inner.shape), state.images[-1:]])
        found, ends = potential(images[1:-1]), state.evaluation
        evaluation = Evaluation(
            np.concatenate([ends.energies[:1], found.energies, ends.energies[-1:]]),
            np.concatenate([ends.forces[:1], found.forces, ends.forces[-1:]]),
        )
        state = replace(
            state, step=state.step + 1, images=images, evaluation=evaluation, memory=memory
        )
        return self._with_band(state)

    def converged(self, state: PathState) -> bool:
        """Whether the path has settled, with the climb done if there is one."""
        top = int(np.argmax(state.evaluation.energies))
        must_climb = self.climb and 0 < top < len(state.images) - 1
        done = state.residual < self.force_tolerance_eV_A
        return done and (state.climbing or not must_climb)

    def _with_band(self, state: PathState) -> PathState:
        """The state with its band forces; switches the climb on when the path is near."""
        band, residual = self.band_forces(state.images, state.evaluation, state.climbing)
        if self.climb and not state.climbing and residual < self.climb_below_eV_A:
            band, residual = self.band_forces(state.images, state.evaluation, True)
            fresh = self.optimiser.start(_one_row(state.images[1:-1]))
            state = replace(state, climbing=True, memory=fresh)
        return replace(state, band=band, residual=residual)

    def band_forces(
        self, images: np.ndarray, evaluation: Evaluation, climbing: bool
    ) -> tuple[np.ndarray, float]:
        """Forces (images - 2, atoms, 3) on the inner images, and the residual, in eV/angstrom."""
        ahead, behind = neighbour_steps(images)
        tangent = improved_tangents(ahead, behind, evaluation.energies)
        forces = evaluation.forces[1:-1]
        along = (forces * tangent).sum(axis=(1, 2), keepdims=True)
        across = forces - along * tangent
        pull = self.spring_eV_A2 * (_lengths(ahead) - _lengths(behind))
        band = across + pull[:, None, None] * tangent
        measured = across
        top = int(np.argmax(evaluation.energies)) - 1
        if climbing and 0 <= top < len(band):
            band[top] = forces[top] - 2 * along[top] * tangent[top]
            measured = across.copy()
            measured[top] = forces[top]
        return band, float(np.sqrt((measured**2).sum(axis=2)).max())


def neighbour_steps(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Steps (images - 2, atoms, 3) from each inner image to the next and from the one before.

    Both neighbours are laid on the image first: otherwise springs turn images as a whole, and
    path length is lost to rotations.
    """
    inner = images[1:-1]
    return align(images[2:], inner) - inner, inner - align(images[:-2], inner)


def improved_tangents(ahead: np.ndarray, behind: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Unit tangents of Henkelman and Jonsson (2000), equations 8 to 11.

    Args:
        ahead, behind: (images - 2, atoms, 3) of `neighbour_steps`.
        energies: (images,) in eV.

    Returns:
        (images - 2, atoms, 3), one for each inner image.
    """
    rise, fall = np.diff(energies)[1:], -np.diff(energies)[:-1]
    larger = np.maximum(abs(rise), abs(fall))
    smaller = np.minimum(abs(rise), abs(fall))
    uphill = energies[2:] > energies[:-2]
    monotonic_up = (rise > 0) & (fall < 0)
    monotonic_down = (rise < 0) & (fall > 0)
    weight_ahead = np.where(uphill, larger, smaller)
    weight_behind = np.where(uphill, smaller, larger)
    weight_ahead = np.where(monotonic_up, 1.0, np.where(monotonic_down, 0.0, weight_ahead))
    weight_behind = np.where(monotonic_up, 0.0, np.where(monotonic_down, 1.0, weight_behind))
    flat = weight_ahead + weight_behind == 0
    weight_ahead, weight_behind = weight_ahead + flat, weight_behind + flat
    tangent = weight_ahead[:, None, None] * ahead + weight_behind[:, None, None] * behind
    length = np.sqrt((tangent**2).sum(axis=(1, 2), keepdims=True))
    return tangent / np.maximum(length, 1e-300)


def _lengths(steps: np.ndarray) -> np.ndarray:
    return np.sqrt((steps**2).sum(axis=(1, 2)))


def _one_row(images: np.ndarray) -> np.ndarray:
    """Images (images, atoms, 3) as one problem (1, images * atoms, 3) of the optimiser."""
    return images.reshape(1, -1, 3)
