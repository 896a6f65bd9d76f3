"""Common base of the nudged elastic band and the string method: a chain of relaxing images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.random import Generator as Random

from flexcalc.errors import InputError, LabelError
from flexcalc.fields import Images, Positive
from flexcalc.geometry import align, align_consecutive, align_neighbours
from flexcalc.methods.optimisers import LBFGS, Memory, Optimiser, move_together
from flexcalc.methods.path.interpolation import (
    Ends,
    Interpolation,
    interpolate,
    interpolate_all,
    lengths,
    match_endpoints,
    path_length,
)
from flexcalc.parallel.turns import do
from flexcalc.potential import Evaluation, Potential

SHORTER, SHORTENINGS = 0.25, 3
"""Factor by which a step is shortened where the potential fails at an image, and how often."""


@dataclass(frozen=True, eq=False)
class PathState:
    """A path during the search for the minimum-energy path.

    Args:
        step: steps taken.
        images: (images, atoms, 3) in angstrom, including both endpoints.
        evaluation: energies and forces of all images.
        band: (images - 2, atoms, 3) forces that move the inner images, in eV/angstrom.
        residuals: (images,) maximum norm of the force on an atom perpendicular to the path, or of
            the full force at the climbing image, in eV/angstrom; zero at the endpoints.
        climbing: whether the highest image climbs.
        memory: of the optimiser.
    """

    step: int
    images: np.ndarray
    evaluation: Evaluation
    band: np.ndarray
    residuals: np.ndarray
    climbing: bool
    memory: Memory

    @property
    def residual(self) -> float:
        """The largest of the residuals, in eV/angstrom."""
        return float(self.residuals.max())

    def barrier(self) -> float:
        """Energy of the highest image above the first, in eV."""
        return float(self.evaluation.energies.max() - self.evaluation.energies[0])


@dataclass(frozen=True, kw_only=True)
class Chain(ABC):
    """A chain of images between fixed endpoints; subclasses define how images are spaced."""

    kind: ClassVar[str]
    state: ClassVar[type] = PathState
    takes_path: ClassVar[bool] = True
    """Whether a complete path may be given as the start."""

    images: Images = 11
    """Number of images, including both endpoints."""
    interpolation: Interpolation = "geodesic"
    """Interpolation of the initial path, unless a path is given: `linear`; `idpp`, which keeps
    atoms apart; or `geodesic`, which also keeps bonds."""
    climb: bool = True
    """Climbing image: let the highest image climb to the saddle."""
    climb_below_eV_A: Positive = 0.3
    """Force perpendicular to the path below which climbing starts, in eV/angstrom."""
    force_tolerance_eV_A: Positive = 0.01
    """Converged when the force perpendicular to the path is below this on every atom, in
    eV/angstrom."""
    align: bool = True
    """Align neighbouring images at every step, to remove rotations; not for model surfaces of a
    single point."""
    rows: Literal["path", "image"] = "path"
    """Optimise the whole `path` as one problem, which is more robust, or each `image` on its own,
    which takes fewer steps with few images and more with many."""
    optimiser: Optimiser = field(default_factory=LBFGS)
    """Optimiser."""

    def check(self, where: str, numbers: np.ndarray, frames: np.ndarray, end: bool) -> None:
        """Refuse starts without an end that are not a path.

        Args:
            where: file of the start, for the message.
            numbers: (atoms,) atomic numbers.
            frames: (frames, atoms, 3) of the start's file.
            end: whether there is an end geometry too.

        Raises:
            InputError: there is no end, and the start is not a path.
        """
        if not end and len(frames) < 3:
            raise InputError(f"{where}: {len(frames)} frames are no path; name an end geometry too")

    def first(self, numbers: np.ndarray, start: np.ndarray, end: np.ndarray | None) -> np.ndarray:
        """The initial path (images, atoms, 3), as `init` takes it.

        Args:
            numbers: (atoms,) atomic numbers.
            start: (frames, atoms, 3) in angstrom: the path if there is no end, else its last frame
                is the start of the path.
            end: (atoms, 3) in angstrom; identical atoms are permuted to match the start, unless
                the endpoints differ by such a permutation alone.

        Raises:
            InputError: the endpoints are the same geometry.
        """
        if end is None:
            return np.array(start)
        last, _ = match_endpoints(numbers, start[-1], end)
        return interpolate(start[-1], last, self.images, self.interpolation, numbers)

    def first_paths(self, ends: Sequence[Ends]) -> Generator[np.ndarray, Evaluation, list[Any]]:
        """The task (`parallel.turns`) of initial paths between pairs of ends; see `first`."""
        yield from ()
        numbers = ends[0].numbers
        pairs = [(pair.start, match_endpoints(numbers, pair.start, pair.end)[0]) for pair in ends]
        starts, lasts = (np.stack(one) for one in zip(*pairs, strict=True))
        return list(interpolate_all(starts, lasts, self.images, self.interpolation, numbers))

    def init(self, potential: Potential, positions: np.ndarray, rng: Random) -> PathState:
        """Start from a path (images, atoms, 3) in angstrom; its endpoints stay fixed."""
        state = PathState(
            step=0,
            images=positions,
            evaluation=potential(positions),
            band=np.empty(0),
            residuals=np.full(len(positions), np.inf),
            climbing=False,
            memory=self.optimiser.start(self._rows(positions[1:-1])),
        )
        return self._with_bands([state])[0]

    def step(self, potential: Potential, state: PathState, rng: Random) -> PathState:
        """Move all inner images once, with one potential call.

        Where the potential cannot be evaluated at an image, such as one where atoms meet, the step
        is tried again from the same images with shorter moves.
        """
        task = StepsOf(self, len(state.images))
        for _ in range(SHORTENINGS):
            try:
                return cast(PathState, do(potential, task, state))
            except LabelError:
                memory = state.memory
                state = replace(state, memory=replace(memory, timestep=SHORTER * memory.timestep))
        return cast(PathState, do(potential, task, state))

    def steps_of_paths(
        self, states: Sequence[PathState]
    ) -> Generator[np.ndarray, Evaluation, list[PathState]]:
        """The task (`parallel.turns`) of a step of paths with one number of images."""
        inner = [state.images[1:-1] for state in states]
        moved = move_together(
            self.optimiser,
            [self._rows(images) for images in inner],
            [self._rows(state.band) for state in states],
            [state.memory for state in states],
        )
        paths = []
        for state, images, (places, _) in zip(states, inner, moved, strict=True):
            path = np.concatenate(
                [state.images[:1], places.reshape(images.shape), state.images[-1:]]
            )
            paths.append(self.respace(path, self.climber(state)))
        found = yield np.concatenate([path[1:-1] for path in paths])
        new, count = [], len(inner[0])
        for row, (state, path, (_, memory)) in enumerate(zip(states, paths, moved, strict=True)):
            part, ends = slice(row * count, (row + 1) * count), state.evaluation
            evaluation = Evaluation(
                np.concatenate([ends.energies[:1], found.energies[part], ends.energies[-1:]]),
                np.concatenate([ends.forces[:1], found.forces[part], ends.forces[-1:]]),
            )
            new.append(
                replace(
                    state, step=state.step + 1, images=path, evaluation=evaluation, memory=memory
                )
            )
        return self._with_bands(new)

    def with_more(self, potential: Potential, state: PathState, count: int) -> PathState:
        """A path with up to `count` images: some of its segments have a new one in their middle.

        First the two segments next to the highest image, then the longest ones. New images are on
        the cubic spline through the others; the step counts as one.
        """
        from scipy.interpolate import CubicSpline

        aligned = align_consecutive(state.images) if self.align else state.images
        knots = path_length(aligned, aligned=False)
        steps = np.diff(knots)
        top = int(np.argmax(state.evaluation.energies))
        near = np.isin(np.arange(len(steps)), (top - 1, top))
        order = np.lexsort((-steps, ~near))
        chosen = np.sort(order[: max(count - len(knots), 0)])
        middles = CubicSpline(knots, aligned)((knots[chosen] + knots[chosen + 1]) / 2)
        if self.align:
            middles = np.stack(
                [
                    align(middle[None], state.images[k])[0]
                    for k, middle in zip(chosen, middles, strict=True)
                ]
            )
        found, old = potential(middles), state.evaluation
        images = np.insert(state.images, chosen + 1, middles, axis=0)
        grown = replace(
            state,
            step=state.step + 1,
            images=images,
            evaluation=Evaluation(
                np.insert(old.energies, chosen + 1, found.energies),
                np.insert(old.forces, chosen + 1, found.forces, axis=0),
            ),
            memory=self.optimiser.start(self._rows(images[1:-1])),
        )
        return self._with_bands([grown])[0]

    def converged(self, state: PathState) -> bool:
        """Whether the path has converged, including the climbing image if there is one."""
        top = int(np.argmax(state.evaluation.energies))
        must_climb = self.climb and 0 < top < len(state.images) - 1
        done = state.residual < self.force_tolerance_eV_A
        return done and (state.climbing or not must_climb)

    def advice(self) -> str:
        """Suggestions for a path that does not converge."""
        other = "fire" if self.optimiser.kind == "lbfgs" else "lbfgs"
        path = "idpp" if self.interpolation == "geodesic" else "geodesic"
        return (
            f"more --steps, --optimiser {other}, more --images, "
            f"or a better initial path (--interpolation {path}, or a scan)"
        )

    def climber(self, state: PathState) -> int | None:
        """Index of the image that climbs, or None."""
        top = int(np.argmax(state.evaluation.energies))
        return top if state.climbing and 0 < top < len(state.images) - 1 else None

    @abstractmethod
    def respace(self, images: np.ndarray, climber: int | None) -> np.ndarray:
        """Positions (images, atoms, 3) of images after a move, spaced along the path."""

    @abstractmethod
    def spring(
        self, ahead: np.ndarray, behind: np.ndarray, energies: np.ndarray
    ) -> np.ndarray | float:
        """Force (..., images - 2) along the path that spaces the inner images, in eV/angstrom.

        Args:
            ahead, behind: (..., images - 2) lengths of the steps to the neighbours, in angstrom.
            energies: (..., images) in eV.
        """

    def _with_bands(self, states: list[PathState]) -> list[PathState]:
        """States with their band forces; climbing starts when a path is nearly converged."""
        states = self._with_forces(states)
        begin = [
            row
            for row, state in enumerate(states)
            if self.climb and not state.climbing and state.residual < self.climb_below_eV_A
        ]
        if begin:
            climbing = [
                replace(
                    states[row],
                    climbing=True,
                    memory=self.optimiser.start(self._rows(states[row].images[1:-1])),
                )
                for row in begin
            ]
            for row, state in zip(begin, self._with_forces(climbing), strict=True):
                states[row] = state
        return states

    def _with_forces(self, states: Sequence[PathState]) -> list[PathState]:
        """States with the forces on their inner images, and their residuals.

        Of a path that diverges they overflow, which the guard of the search says.
        """
        images = np.stack([state.images for state in states])
        energies = np.stack([state.evaluation.energies for state in states])
        forces = np.stack([state.evaluation.forces for state in states])[:, 1:-1]
        tops = [(row, top) for row, state in enumerate(states)
                if (top := self.climber(state)) is not None]  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            ahead, behind = neighbour_steps(images, self.align)
            tangent = improved_tangents(ahead, behind, energies)
            along = np.einsum("...iax,...iax->...i", forces, tangent)[..., None, None]
            across = forces - along * tangent
            pull = self.spring(lengths(ahead), lengths(behind), energies)
            band = across + np.asarray(pull)[..., None, None] * tangent
            for row, top in tops:
                one = row, top - 1
                band[one] = forces[one] - 2 * along[one] * tangent[one]
                across[one] = forces[one]
            residuals = np.zeros(energies.shape)
            residuals[:, 1:-1] = np.sqrt((across**2).sum(axis=-1)).max(axis=-1)
        return [
            replace(state, band=band[row], residuals=residuals[row])
            for row, state in enumerate(states)
        ]

    def _rows(self, images: np.ndarray) -> np.ndarray:
        """Inner images (images, atoms, 3) as the optimiser's problems."""
        return images.reshape(1, -1, 3) if self.rows == "path" else images


@dataclass(frozen=True)
class StepsOf:
    """The task (`parallel.turns`) of a step of paths with one number of images.

    Args:
        method: of all.
        images: of each.
    """

    method: Chain
    images: int

    def __call__(
        self, states: Sequence[PathState]
    ) -> Generator[np.ndarray, Evaluation, list[PathState]]:
        """See `Chain.steps_of_paths`."""
        return self.method.steps_of_paths(states)


def neighbour_steps(images: np.ndarray, aligned: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Steps (..., images - 2, atoms, 3) from each inner image to the next and from the one before.

    Both neighbours are aligned with the image first. Otherwise springs would rotate images, and the
    path length would include rotations.

    Args:
        images: (..., images, atoms, 3) of one path or of several.
        aligned: align them.
    """
    inner = images[..., 1:-1, :, :]
    if not aligned:
        return images[..., 2:, :, :] - inner, inner - images[..., :-2, :, :]
    next_on_one, one_on_next = align_neighbours(images)
    return next_on_one[..., 1:, :, :] - inner, inner - one_on_next[..., :-1, :, :]


def improved_tangents(ahead: np.ndarray, behind: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Unit tangents of Henkelman and Jonsson (2000), equations 8 to 11.

    Args:
        ahead, behind: (..., images - 2, atoms, 3) of `neighbour_steps`.
        energies: (..., images) in eV.

    Returns:
        (..., images - 2, atoms, 3), one for each inner image.
    """
    steps = np.diff(energies)
    after, before = steps[..., 1:], steps[..., :-1]
    # The tangent points to the higher neighbour; at an extremum both neighbours contribute.
    extremum = after * before <= 0
    smaller = np.where(extremum, np.minimum(abs(after), abs(before)), 0.0)
    larger = np.where(extremum, np.maximum(abs(after), abs(before)), 1.0)
    flat = smaller + larger == 0
    smaller, larger = smaller + flat, larger + flat
    uphill = energies[..., 2:] > energies[..., :-2]
    weight_ahead = np.where(uphill, larger, smaller)[..., None, None]
    weight_behind = np.where(uphill, smaller, larger)[..., None, None]
    tangent = weight_ahead * ahead + weight_behind * behind
    length = np.sqrt((tangent**2).sum(axis=(-2, -1), keepdims=True))
    return tangent / np.maximum(length, 1e-300)
