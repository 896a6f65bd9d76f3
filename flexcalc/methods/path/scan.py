"""Scans: paths that drive named internal coordinates."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator as Random

from flexcalc.errors import FlexcalcError, InputError
from flexcalc.fields import Images, Positive
from flexcalc.geometry import (
    Coordinate,
    ZMatrix,
    is_degenerate,
    labellings,
    match_atoms,
    zmatrix,
)
from flexcalc.geometry.constraints import free_part, held
from flexcalc.geometry.named import Coordination
from flexcalc.geometry.zmatrix import changes
from flexcalc.methods.optimisers import LBFGS, Memory, Optimiser
from flexcalc.methods.path.interpolation import Ends, check_different
from flexcalc.potential import Evaluation, Potential

ALL = "all"


@dataclass(frozen=True)
class Drive:
    """One driven coordinate and its values along the path, in angstrom or degrees.

    Args:
        coordinate: the driven coordinate.
        start: first value; by default that of the start geometry.
        middle: value at the midpoint; by default values are linear from start to end.
        end: last value; by default that of the end geometry, dihedrals along the shorter arc.
        through: whether an angle goes through 180 degrees to the other side.
    """

    coordinate: Coordinate
    start: float | None = None
    middle: float | None = None
    end: float | None = None
    through: bool = False

    @classmethod
    def parse(cls, text: str) -> Drive:
        """Read "dihedral 4 6 7 12", "angle 4 6 7 through 180", "distance 0 1 from 1 to 2", ...

        Raises:
            InputError: the text is none of these.
        """
        head, *rest = re.split(r"\s+(from|via|to|through)\s+", text.strip())
        words = dict(zip(rest[::2], rest[1::2], strict=False))
        try:
            coordinate = _driveable(head)
            values = {word: float(number) for word, number in words.items()}
            if len(words) != len(rest) / 2 or not np.isfinite(list(values.values())).all():
                raise ValueError
            through = values.pop("through", None)
            if through is not None and (through != 180 or coordinate.kind != "angle" or values):
                raise ValueError
        except (ValueError, FlexcalcError) as error:
            detail = f" ({error})" if isinstance(error, FlexcalcError) else ""
            raise InputError(
                f"cannot read {text!r}{detail}; expected a coordinate such as 'dihedral 4 6 7 12', "
                "and after it 'from VALUE', 'via VALUE' half way, 'to VALUE', "
                "or for an angle 'through 180'"
            ) from None
        ends = (values.get("from"), values.get("via"), values.get("to"))
        return cls(coordinate, *ends, through is not None)

    def check(self, count: int) -> None:
        """Refuse a molecule of `count` atoms without those named, and impossible values.

        Raises:
            ShapeError: it has fewer atoms than the coordinate names.
            InputError: a number of neighbours below 0, or above the pairs that there are.
        """
        self.coordinate.check(count)
        if isinstance(self.coordinate, Coordination):
            most = self.coordinate.pairs
            for value in (self.start, self.middle, self.end):
                if value is not None and not 0 < value < most:
                    raise InputError(
                        f"drive: {self.coordinate.label!r} lies between 0 and {most}, "
                        f"found {value:g}"
                    )

    def values(self, here: float, there: float | None, share: np.ndarray) -> np.ndarray:
        """Values (images,) in angstrom or radians at fractions 0 to 1 of the path.

        Args:
            here, there: of the start and the end geometry, in angstrom or radians.
            share: (images,).
        """
        first = here if self.start is None else self._inner(self.start)
        last = first if there is None else there
        if self.end is not None:
            last = self._inner(self.end)
        elif self.through:
            last = 2 * np.pi - last
        elif self.coordinate.periodic:
            last = first + (last - first + np.pi) % (2 * np.pi) - np.pi
        if self.middle is None:
            return first + share * (last - first)
        return np.interp(share, [0.0, 0.5, 1.0], [first, self._inner(self.middle), last])

    def _inner(self, value: float) -> float:
        return float(np.radians(value)) if self.coordinate.unit == "degrees" else value


def _driveable(text: str) -> Coordinate:
    """A coordinate that a scan can drive.

    Raises:
        InputError: the text is not a coordinate, or it is a user-defined function.
    """
    if text.strip().startswith("python:"):
        raise InputError(
            f"{text.strip()!r}: a scan drives distances, angles, dihedrals, differences and "
            "coordination numbers, not user-defined functions"
        )
    return Coordinate.parse(text)


@dataclass(frozen=True, eq=False)
class ScanState:
    """A driven path, and the forces on its relaxed coordinates.

    Args:
        step: steps taken.
        images: (images, atoms, 3) in angstrom.
        evaluation: energies and forces of all images.
        band: forces on the relaxed coordinates: (images, atoms, 3) in eV/angstrom, or of chosen
            coordinates (images, chosen, 1) in eV/angstrom and eV/radian.
        residuals: (images,) the largest of them on each image.
        memory: of the optimiser.
        tree: coordinates of the molecule.
        values: (images, atoms, 3) of the tree.
        targets: (images, driven) in angstrom and radians.
    """

    step: int
    images: np.ndarray
    evaluation: Evaluation
    band: np.ndarray
    residuals: np.ndarray
    memory: Memory
    tree: ZMatrix
    values: np.ndarray
    targets: np.ndarray

    @property
    def residual(self) -> float:
        """The largest of the residuals."""
        return float(self.residuals.max())

    def barrier(self) -> float:
        """Energy of the highest image above the first, in eV."""
        return float(self.evaluation.energies.max() - self.evaluation.energies[0])


@dataclass(frozen=True, kw_only=True)
class Scan:
    """Drive internal coordinates from start to end; the others are interpolated or relaxed.

    Identical atoms of the end are permuted to minimise the change of coordinates that are not
    driven, unless the endpoints differ by such a permutation alone. The highest image is an upper
    bound of the barrier, and an initial path for NEB or String.

    Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    section II, for paths with matched endpoints and constructed mechanisms.
    """

    kind: ClassVar[str] = "scan"
    state: ClassVar[type] = ScanState
    takes_path: ClassVar[bool] = False

    images: Images = 17
    """Number of images, including both endpoints."""
    drive: tuple[str, ...] = ()
    """Coordinates to drive, such as "dihedral 4 6 7 12", linearly from the value of the start to
    that of the end. Optional after it: `from VALUE`, `to VALUE`, `via VALUE` (at the midpoint), and
    for an angle `through 180`, to the other side of linear."""
    relax: tuple[str, ...] = ()
    """Coordinates that are relaxed at each image while the driven ones are constrained: none, some
    such as "angle 4 6 7", or "all"."""
    force_tolerance_eV_A: Positive = 0.01
    """Converged when all forces on relaxed coordinates are below this, in eV/angstrom (or
    eV/radian)."""
    optimiser: Optimiser = field(default_factory=LBFGS)
    """Optimiser."""

    def check(self, where: str, numbers: np.ndarray, frames: np.ndarray, end: bool) -> None:
        """Refuse coordinates that the molecule does not have, or whose end value is unknown.

        Raises:
            InputError: names the coordinate.
        """
        if not self.drive:
            raise InputError("drive: expected at least one coordinate, such as 'dihedral 0 1 2 3'")
        for drive in self._drives():
            drive.check(len(numbers))
            drive.coordinate.check_defined(frames[-1:], where)
            if not end and drive.end is None:
                raise InputError(
                    f"drive: {drive.coordinate.label!r} has no end; name an end geometry, or "
                    f"its value: '{drive.coordinate.label} to VALUE'"
                )
        for coordinate in self._chosen():
            coordinate.check_defined(frames[-1:], where)
        self._columns(self._tree(numbers, frames[-1]))

    def first_paths(self, ends: Sequence[Ends]) -> Generator[np.ndarray, Evaluation, list[Any]]:
        """The task (`parallel.turns`) of what `first` gives for pairs of ends."""
        yield from ()
        return [self.first(pair.numbers, pair.start[None], pair.end) for pair in ends]

    def first(self, numbers: np.ndarray, start: np.ndarray, end: np.ndarray | None) -> np.ndarray:
        """The start (1, atoms, 3), or start and end (2, atoms, 3), as `init` takes them.

        Args:
            numbers: (atoms,) atomic numbers.
            start: (frames, atoms, 3) in angstrom; the last is used.
            end: (atoms, 3) in angstrom.

        Raises:
            InputError: a driven dihedral is undefined in one of them, or both are the same geometry
                and no drive has an end value.
        """
        self._check_ends(start[-1:], end)
        if end is None:
            return np.array(start[-1:])
        if all(drive.end is None and not drive.through for drive in self._drives()):
            check_different(start[-1], end)
        if is_degenerate(numbers, start[-1], end):
            return np.stack([start[-1], end])
        tree = self._tree(numbers, start[-1])
        orders = labellings(numbers, end, start[-1])
        if orders is None:
            orders = match_atoms(numbers, end, start[-1])[None]
        goals = tree.values(end[orders])
        for atom in self._turned(tree):
            goals = tree.flipped(goals, atom)
        change = changes(tree.values(start[-1:]), goals)
        for place in self._located(tree):
            if place is not None:
                change[:, place[0], place[1]] = 0.0
        misfit = (change**2).sum(axis=(1, 2))
        # Of equivalent permutations, as of a symmetric molecule, the one that permutes least.
        good = orders[misfit <= 1.05 * misfit.min() + 1e-6]
        relabelled = (good != np.arange(len(numbers))).sum(axis=1)
        return np.stack([start[-1], end[good[np.argmin(relabelled)]]])

    def _check_ends(self, start: np.ndarray, end: np.ndarray | None) -> None:
        """Refuse relaxed endpoints, start (1, atoms, 3), in which a driven dihedral is
        undefined."""
        for drive in self._drives():
            drive.coordinate.check_defined(start, "start")
            if end is not None and drive.end is None:
                drive.coordinate.check_defined(end[None], "end")

    def init(self, potential: Potential, positions: np.ndarray, rng: Random) -> ScanState:
        """Construct the path between the endpoints (1 or 2, atoms, 3) in angstrom from `first`."""
        tree = self._tree(potential.numbers, positions[0])
        values, targets = self._driven(tree, positions)
        images = tree.positions(values)
        if None in self._located(tree):
            images = held(images, self._coordinates(), targets)
        columns = self._columns(tree)
        rows = np.zeros((len(images), len(columns), 1)) if columns else images
        state = ScanState(
            step=0,
            images=images,
            evaluation=potential(images),
            band=np.empty(0),
            residuals=np.zeros(len(images)),
            memory=self.optimiser.start(rows),
            tree=tree,
            values=values,
            targets=targets,
        )
        return self._with_forces(state)

    def step(self, potential: Potential, state: ScanState, rng: Random) -> ScanState:
        """Move the relaxed coordinates of all images once, with one potential call."""
        columns = self._columns(state.tree)
        values, images = state.values, state.images
        if columns:
            atoms, kinds = np.array(columns).T
            chosen = values[:, atoms, kinds][..., None]
            chosen, memory = self.optimiser.move(chosen, state.band, state.memory)
            values = values.copy()
            values[:, atoms, kinds] = chosen[..., 0]
            images = state.tree.positions(values)
        else:
            images, memory = self.optimiser.move(images, state.band, state.memory)
            images = held(images, self._coordinates(), state.targets)
        state = replace(
            state,
            step=state.step + 1,
            images=images,
            evaluation=potential(images),
            memory=memory,
            values=values,
        )
        return self._with_forces(state)

    def converged(self, state: ScanState) -> bool:
        """Whether all relaxed coordinates have converged."""
        return state.residual < self.force_tolerance_eV_A

    def advice(self) -> str:
        """Suggestions for a relaxation that does not converge."""
        return "more --steps, --optimiser fire, or relax fewer coordinates"

    def _with_forces(self, state: ScanState) -> ScanState:
        """The state with the forces on the relaxed coordinates."""
        columns, forces = self._columns(state.tree), state.evaluation.forces
        if columns:
            slopes = state.tree.gradients(state.values, columns)
            band = np.einsum("bmax,bax->bm", slopes, forces)[..., None]
        elif self.relax:
            band = free_part(forces, state.images, self._coordinates(), state.targets)
        else:
            band = np.zeros_like(forces)
        return replace(state, band=band, residuals=np.sqrt((band**2).sum(axis=2)).max(axis=1))

    def _driven(self, tree: ZMatrix, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values (images, atoms, 3) of the tree and targets (images, driven) along the path."""
        share, drives = np.linspace(0.0, 1.0, self.images), self._drives()
        ends = tree.values(positions)
        goal = ends[-1:]
        if len(positions) > 1:
            for atom in self._turned(tree):
                goal = tree.flipped(goal, atom)
        values = ends[:1] + share[:, None, None] * changes(ends[:1], goal)
        targets = np.empty((self.images, len(drives)))
        for index, (drive, place) in enumerate(zip(drives, self._located(tree), strict=True)):
            measured, _ = drive.coordinate.measured(positions)
            there = float(measured[-1]) if len(positions) > 1 else None
            targets[:, index] = drive.values(float(measured[0]), there, share)
            if place is not None:
                values[:, place[0], place[1]] = targets[:, index]
        return values, targets

    def _drives(self) -> list[Drive]:
        return [Drive.parse(text) for text in self.drive]

    def _coordinates(self) -> list[Coordinate]:
        return [drive.coordinate for drive in self._drives()]

    def _chosen(self) -> list[Coordinate]:
        return [] if ALL in self.relax else [_driveable(text) for text in self.relax]

    def _tree(self, numbers: np.ndarray, start: np.ndarray) -> ZMatrix:
        return zmatrix(numbers, start, [*self._coordinates(), *self._chosen()])

    def _located(self, tree: ZMatrix) -> list[tuple[int, int] | None]:
        return [tree.locate(coordinate) for coordinate in self._coordinates()]

    def _turned(self, tree: ZMatrix) -> list[int]:
        """The atoms whose angle goes through 180 degrees."""
        places = zip(self._drives(), self._located(tree), strict=True)
        return [place[0] for drive, place in places if drive.through and place is not None]

    def _columns(self, tree: ZMatrix) -> list[tuple[int, int]]:
        """Indices of the relaxed coordinates in the values of the tree.

        Raises:
            InputError: one of them is driven too, or is not a coordinate of the tree.
        """
        chosen = self._chosen()
        names = [*self._coordinates(), *chosen] if chosen else []
        found = []
        for coordinate in names:
            place = tree.locate(coordinate)
            if place is None:
                raise InputError(
                    f"relax: {coordinate.label!r} cannot be distinguished from the others along "
                    'the bonds; name others, or relax = ["all"]'
                )
            if place in found:
                raise InputError(f"relax: {coordinate.label!r} is there twice, or driven too")
            found.append(place)
        return found[len(names) - len(chosen) :]


__all__ = ["Drive", "Scan", "ScanState"]
