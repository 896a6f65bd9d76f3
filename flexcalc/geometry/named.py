"""Coordinates that a user names, such as "dihedral 4 6 7 12"; `Coordinate.parse` reads them all."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from flexcalc.callables import load_callable
from flexcalc.errors import InputError, ShapeError
from flexcalc.geometry.coordinates import angle, coordination, difference, dihedral, distance

Measure = Callable[..., tuple[np.ndarray, np.ndarray]]

_MEASURES: dict[str, tuple[int, Measure]] = {
    "distance": (2, distance),
    "angle": (3, angle),
    "dihedral": (4, dihedral),
    "difference": (4, difference),
}
_UNITS = {"distance": "A", "difference": "A", "angle": "degrees", "dihedral": "degrees"}
_KINDS = "distance, angle, dihedral, difference, coordination or python:module:function"
LINEAR_DEGREES = 5.0
"""Smallest deviation from linear, in degrees, of a dihedral's two angles when a run starts. Over a
linear angle a dihedral is undefined, and its gradient grows as one over the sine."""
_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"


@dataclass(frozen=True)
class Coordinate:
    """A distance, angle, dihedral or difference of two distances.

    Args:
        kind: which of the four.
        atoms: two, three or four indices, counting from 0 as ASE does.

    Raises:
        InputError: another number of atoms than the kind has, or one twice.
    """

    kind: str
    atoms: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.kind not in _MEASURES:
            raise InputError(f"unknown coordinate {self.kind!r}; expected {_KINDS}")
        count, _ = _MEASURES[self.kind]
        shared = self.kind == "difference"  # the two distances may have an atom in common
        groups = (self.atoms[:2], self.atoms[2:]) if shared else (self.atoms,)
        repeated = any(len(set(group)) != len(group) for group in groups)
        if len(self.atoms) != count or repeated or min(self.atoms) < 0:
            example = " ".join([self.kind, *map(str, range(count))])
            raise InputError(
                f"coordinate {self.label!r}: expected {count} {'' if shared else 'different '}atom "
                f"indices that count from 0, such as {example!r}"
            )

    @classmethod
    def parse(cls, text: str, *, trust: bool = False) -> Coordinate:
        """Read a coordinate; commas pass for blanks.

        Args:
            text: "distance 0 1", "angle 0 1 2", "dihedral 0 1 2 3", "difference 0 1 2 3" (the
                distance 0-1 less the distance 2-3), "coordination 0 1 : 5 6 r0=1.5" (n=6 may
                follow) or "python:module:function".
            trust: run the code of a python: coordinate.

        Raises:
            InputError: the text is none of these, or needs trust.
        """
        if text.strip().startswith("python:"):
            return OwnCoordinate.load(text.strip(), trust)
        kind, *atoms = re.split(r"[\s,]+", text.strip()) if text.strip() else [""]
        if kind.lower() == "coordination":
            return Coordination.read(text)
        if kind.lower() not in _MEASURES or not all(re.fullmatch(r"[0-9]{1,9}", a) for a in atoms):
            raise InputError(
                f"cannot read the coordinate {text!r}; expected one such as "
                "'distance 0 1', 'angle 0 1 2', 'dihedral 4 6 7 12', 'difference 0 1 2 3', "
                "'coordination 0 1 : 5 6 r0=1.5' or 'python:module:function'"
            )
        return Coordinate(kind.lower(), tuple(int(atom) for atom in atoms))

    def measure(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and gradients in the unit of the coordinate.

        Args:
            positions: (batch, atoms, 3) in angstrom.

        Returns:
            Values (batch,) and gradients (batch, atoms, 3), that unit per angstrom.

        Raises:
            ShapeError: the molecule has fewer atoms than the coordinate names.
        """
        values, gradients = self.measured(positions)
        if self.unit == "degrees":
            return np.degrees(values), np.degrees(gradients)
        return values, gradients

    def measured(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `measure`, but angles in radians.

        Raises:
            ShapeError: the molecule has fewer atoms than the coordinate names.
        """
        self.check(positions.shape[1])
        return self._measure(positions)

    def check(self, count: int) -> None:
        """Refuse a molecule of `count` atoms without those named.

        Raises:
            ShapeError: it has fewer atoms than the coordinate names.
        """
        last = max(self.involved, default=-1)
        if last >= count:
            raise ShapeError(
                f"coordinate {self.label!r} names atom {last}, but the molecule "
                f"has {count} atoms, 0 to {count - 1}"
            )

    def _measure(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _MEASURES[self.kind][1](positions, *self.atoms)

    @property
    def involved(self) -> tuple[int, ...]:
        """All atoms that it depends on; empty if unknown."""
        return self.atoms

    def values(self, positions: np.ndarray) -> np.ndarray:
        """Values (batch,) in angstrom or degrees (dihedrals in (-180, 180]); see `measure`."""
        return self.measure(positions)[0]

    def bend(self, positions: np.ndarray) -> np.ndarray:
        """Bend (batch,) of the two angles within a dihedral, in degrees.

        At 0, where three atoms that follow each other are in a line, the dihedral has no value.
        Other coordinates always have one: infinity.

        Args:
            positions: (batch, atoms, 3) in angstrom.
        """
        if self.kind != "dihedral":
            return np.full(len(positions), np.inf)
        steps = np.diff(positions[:, list(self.atoms)], axis=1)
        sines = np.linalg.norm(np.cross(steps[:, :-1], steps[:, 1:]), axis=2)
        cosines = np.abs(np.einsum("bsx,bsx->bs", steps[:, :-1], steps[:, 1:]))
        return np.degrees(np.arctan2(sines, cosines).min(axis=1))

    def check_defined(self, positions: np.ndarray, where: str) -> None:
        """Refuse geometries at which it is undefined, or nearly so: see LINEAR_DEGREES.

        Args:
            positions: (batch, atoms, 3) in angstrom.
            where: description of the geometries, for the message.

        Raises:
            InputError: names the angle that is linear.
            ShapeError: the molecule has fewer atoms than the coordinate names.
        """
        self.check(positions.shape[1])
        straight = np.flatnonzero(self.bend(positions) < LINEAR_DEGREES)
        if len(straight):
            raise InputError(f"{where}: {self.undefined(positions[straight[0]])}")

    def undefined(self, positions: np.ndarray) -> str:
        """Message about an undefined dihedral in a geometry (atoms, 3), with advice."""
        chains = [self.atoms[:3], self.atoms[1:]]
        found = [float(np.degrees(angle(positions[None], *chain)[0][0])) for chain in chains]
        worst = int(np.argmin([min(value, 180 - value) for value in found]))
        return (
            f"{self.label!r} has no value where the angle {' '.join(map(str, chains[worst]))} is "
            f"{found[worst]:.1f} degrees; choose a coordinate without a linear angle"
        )

    @property
    def label(self) -> str:
        """The text that `parse` reads."""
        return " ".join([self.kind, *map(str, self.atoms)])

    @property
    def name(self) -> str:
        """The label as one word, for columns of files."""
        return re.sub(r"[^A-Za-z0-9]+", "_", self.label).strip("_")

    @property
    def unit(self) -> str:
        """The unit of `values`: "A", "degrees", or "" for a number."""
        return _UNITS.get(self.kind, "")

    @property
    def periodic(self) -> bool:
        """Whether 180 and -180 are the same value."""
        return self.kind == "dihedral"


@dataclass(frozen=True)
class Coordination(Coordinate):
    """Coordination number: number of neighbours between two groups; see `coordinates.coordination`.

    Args:
        kind: "coordination".
        atoms: of the first group.
        others: atoms of the second group.
        r0_A: distance that counts one half, in angstrom.
        power: of the switching function.
    """

    others: tuple[int, ...] = ()
    r0_A: float = 1.0
    power: int = 6

    PATTERN: ClassVar[re.Pattern] = re.compile(
        r"coordination\s+([0-9 ,]+?)\s*:\s*([0-9 ,]+?)\s+r0\s*=\s*(" + _NUMBER + r")"
        r"(?:\s+n\s*=\s*([0-9]{1,2}))?\s*",
        re.IGNORECASE,
    )

    def __post_init__(self) -> None:
        if not self.pairs:
            raise InputError(f"coordinate {self.label!r}: expected a pair of different atoms")
        if self.r0_A <= 0 or self.power < 2:
            raise InputError(f"coordinate {self.label!r}: expected r0 > 0 and n of at least 2")

    @classmethod
    def read(cls, text: str) -> Coordination:
        """Read "coordination 0 1 : 5 6 r0=1.5 n=6".

        Raises:
            InputError: the text is no such thing.
        """
        found = cls.PATTERN.fullmatch(text.strip())
        if found is None:
            raise InputError(
                f"cannot read the coordinate {text!r}; expected two groups of atoms and the "
                "distance in angstrom that counts one half: 'coordination 0 1 : 5 6 r0=1.5'"
            )
        groups = [tuple(int(a) for a in re.findall(r"[0-9]+", found[part])) for part in (1, 2)]
        power = 6 if found[4] is None else int(found[4])
        return cls("coordination", groups[0], groups[1], float(found[3]), power)

    @property
    def pairs(self) -> int:
        """Number of pairs of different atoms, the maximum value."""
        return sum(a != b for a in self.atoms for b in self.others)

    @property
    def involved(self) -> tuple[int, ...]:
        """See `Coordinate.involved`."""
        return (*self.atoms, *self.others)

    def _measure(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return coordination(positions, self.atoms, self.others, self.r0_A, self.power)

    @property
    def label(self) -> str:
        """The text that `parse` reads."""
        first, second = (" ".join(map(str, group)) for group in (self.atoms, self.others))
        return f"coordination {first} : {second} r0={self.r0_A:g} n={self.power}"


@dataclass(frozen=True)
class OwnCoordinate(Coordinate):
    """A user-defined coordinate, a Python function.

    Args:
        kind: "python".
        atoms: ().
        target: "module:function", where the module is a dotted name or a path ending in .py.
        function: positions (batch, atoms, 3) in angstrom -> values (batch,) and gradients
            (batch, atoms, 3).
    """

    target: str = ""
    function: Measure | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Nothing to check: the function is called first with the start."""

    @classmethod
    def load(cls, text: str, trust: bool) -> OwnCoordinate:
        """Import the function of "python:module:function".

        Raises:
            InputError: there is no trust, or no such function.
        """
        target = text.removeprefix("python:")
        if not trust:
            raise InputError(
                f"coordinate {text!r} runs Python code, which may do anything; if you trust it, "
                "say so: trust = true in the run file, or --trust"
            )
        return cls("python", (), target, load_callable(target, "python"))

    def _measure(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.function is None:
            raise InputError(f"coordinate {self.label!r}: has no function; read it with parse")
        try:
            found = self.function(positions.copy())
            values, gradients = (np.asarray(part, dtype=float) for part in found)
        except Exception as error:  # a user's function may raise anything
            reason = " ".join(str(error).split())
            raise InputError(
                f"coordinate {self.label!r}: expected values and gradients, "
                f"found {type(error).__name__}: {reason}"
            ) from error
        if values.shape != positions.shape[:1] or gradients.shape != positions.shape:
            raise ShapeError(
                f"coordinate {self.label!r}: expected values {positions.shape[:1]} and gradients "
                f"{positions.shape}, found {values.shape} and {gradients.shape}"
            )
        return values, gradients

    @property
    def label(self) -> str:
        """The text that `parse` reads."""
        return f"python:{self.target}"
