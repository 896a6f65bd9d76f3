"""Z-matrix without singularities: bond lengths, angles and dihedrals along a tree of atoms, and
back.

Each atom is placed from frames that are propagated along the tree as rotations, not measured from
the previous atoms. So an angle may go through 180 degrees and beyond, where the dihedrals of a
usual Z-matrix are undefined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flexcalc.geometry.coordinates import angle, dihedral, distance, distances
from flexcalc.geometry.graph import bonds, covalent_lengths, neighbours
from flexcalc.geometry.named import Coordinate

LENGTH, ANGLE, DIHEDRAL = 0, 1, 2


@dataclass(frozen=True, eq=False)
class ZMatrix:
    """A tree over the atoms of a molecule.

    Args:
        references: (atoms, 4), rows in order of placement: an atom, and the reference atoms of its
            length, angle and dihedral; -1 for none.
        leads: (atoms,), for each atom the lead atom of its dihedral: the first around the same
            bond. Dihedrals of the others are relative to that of the lead.
        corner: (4, 3), position of the first atom in angstrom, and the frame (3, 3), rows, of the
            first bond, which fix position and orientation in space.
    """

    references: np.ndarray
    leads: np.ndarray
    corner: np.ndarray

    def values(self, positions: np.ndarray) -> np.ndarray:
        """Lengths in angstrom, angles and dihedrals in radians (batch, atoms, 3) of positions.

        Dihedrals of atoms that are not leads are relative to that of their lead. Undefined values
        (of the first atoms) are 0, as are dihedrals next to an angle of exactly 180 degrees.
        """
        found = np.zeros_like(positions)
        for atom, p, g, q in self.references:
            if p >= 0:
                found[:, atom, LENGTH] = distance(positions, atom, p)[0]
            if g >= 0:
                found[:, atom, ANGLE] = angle(positions, atom, p, g)[0]
            if q >= 0:
                found[:, atom, DIHEDRAL] = dihedral(positions, q, g, p, atom)[0]
        others = self.leads != np.arange(len(self.leads))
        found[:, others, DIHEDRAL] -= found[:, self.leads[others], DIHEDRAL]
        return found

    def positions(self, values: np.ndarray) -> np.ndarray:
        """Positions (batch, atoms, 3) in angstrom of values (batch, atoms, 3)."""
        return self.placed(values)[0]

    def placed(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions (batch, atoms, 3), and the frame (batch, atoms, 3, 3) that each was put in.

        The rows of a frame: along the bond that the dihedral turns about; towards the cis side;
        and normal to both.
        """
        turned = values[..., DIHEDRAL].copy()
        others = self.leads != np.arange(len(self.leads))
        turned[:, others] += turned[:, self.leads[others]]
        positions, used = np.zeros_like(values), np.zeros((*values.shape, 3))
        own: dict[int, np.ndarray] = {}
        root, first = self.references[0, 0], self.references[1, 0]
        positions[:, root] = self.corner[0]
        frame = np.broadcast_to(self.corner[1:], (len(values), 3, 3))
        # Seen from the first bond's other end, what hangs on the root is placed the same way.
        own[root], own[first] = frame * np.array([-1.0, 1.0, -1.0])[:, None], frame
        used[:, first] = frame
        positions[:, first] = positions[:, root] + values[:, first, :1] * frame[:, 0]
        for atom, p, *_ in self.references[2:]:
            axis, side, normal = np.moveaxis(own[p], 1, 0)
            cosine, sine = np.cos(values[:, atom, ANGLE]), np.sin(values[:, atom, ANGLE])
            around = turned[:, atom, None]
            across = np.cos(around) * side + np.sin(around) * normal
            along = sine[:, None] * across - cosine[:, None] * axis
            back = -sine[:, None] * axis - cosine[:, None] * across
            used[:, atom] = own[p]
            positions[:, atom] = positions[:, p] + values[:, atom, :1] * along
            own[atom] = np.stack([along, back, np.cross(along, back)], axis=1)
        return positions, used

    def locate(self, coordinate: Coordinate) -> tuple[int, int] | None:
        """The atom and the column of `values` that are a named coordinate; None if none is."""
        if coordinate.kind not in ("distance", "angle", "dihedral"):
            return None
        for way in (coordinate.atoms, coordinate.atoms[::-1]):
            count = len(way)
            for row in self.references:
                # A length is (p, atom), an angle (g, p, atom), a dihedral (q, g, p, atom).
                if tuple(row[:count][::-1]) == way:
                    atom = int(row[0])
                    turns_all = count < 4 or self.leads[atom] == atom
                    return (atom, count - 2) if turns_all else None
        return None

    def moved_by(self, atom: int, column: int) -> np.ndarray:
        """Mask (atoms,) of the atoms that a value of an atom moves."""
        moved = np.arange(len(self.leads)) == atom
        if column == DIHEDRAL:
            moved |= self.leads == atom
        for child, parent, *_ in self.references[1:]:
            moved[child] |= moved[parent]
        return moved

    def flipped(self, values: np.ndarray, atom: int) -> np.ndarray:
        """The same geometries (batch, atoms, 3), with the angle a of an atom expressed as 360
        degrees - a.

        Where an angle has gone through 180 degrees this is the description that is near to the
        one before. The atom's own side, and that of all that hangs on it, turn by 180 degrees.
        """
        values = values.copy()
        values[:, atom, ANGLE] = 2 * np.pi - values[:, atom, ANGLE]
        root, _, third = self.references[:3, 0]
        turned = {int(child) for child, p, *_ in self.references if p == atom}
        if atom == third:
            # The first angle defines the zero of dihedrals about the first bond.
            turned |= {int(child) for child, p, g, _ in self.references if p == root and g >= 0}
            turned |= {int(child) for child in np.flatnonzero(self.leads == third)} - {int(third)}
            kept = {child for child in turned if self.leads[child] not in (child, third)}
        else:
            kept = {child for child in turned if self.leads[child] != child}
            turned.add(atom)
            if self.leads[atom] == atom:
                turned |= {int(other) for other in np.flatnonzero(self.leads == atom)}
        values[:, sorted(turned - kept), DIHEDRAL] += np.pi
        return values

    def gradients(self, values: np.ndarray, free: Sequence[tuple[int, int]]) -> np.ndarray:
        """Derivatives of positions by chosen values: (batch, len(free), atoms, 3).

        Changing one value moves part of the molecule as a rigid body: along a bond, or about
        the normal of an angle or the axis of a dihedral.
        """
        positions, frames = self.placed(values)
        parent = {int(row[0]): int(row[1]) for row in self.references}
        found = np.zeros((len(values), len(free), *positions.shape[1:]))
        for index, (atom, column) in enumerate(free):
            hinge = positions[:, parent[atom]]
            moved = self.moved_by(atom, column)
            arms = positions[:, moved] - hinge[:, None]
            bond = positions[:, atom] - hinge
            bond /= np.linalg.norm(bond, axis=-1, keepdims=True)
            if column == LENGTH:
                found[:, index, moved] = bond[:, None]
                continue
            axis = frames[:, atom, 0]
            if column == ANGLE:
                axis = self._hinge(values, atom, frames[:, atom])
            found[:, index, moved] = np.cross(axis[:, None], arms)
        return found

    def _hinge(self, values: np.ndarray, atom: int, frame: np.ndarray) -> np.ndarray:
        """Rotation axis (batch, 3) of the angle of an atom; continuous through 180 degrees."""
        lead = self.leads[atom]
        around = values[:, atom, DIHEDRAL] + (values[:, lead, DIHEDRAL] if lead != atom else 0.0)
        _, side, normal = np.moveaxis(frame, 1, 0)
        return np.sin(around)[:, None] * side - np.cos(around)[:, None] * normal


def changes(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Differences from values (..., atoms, 3) to others; dihedrals along the shorter arc."""
    change = end - start
    turn = change[..., DIHEDRAL]
    change[..., DIHEDRAL] = turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    return change


def zmatrix(
    numbers: np.ndarray, positions: np.ndarray, wanted: Sequence[Coordinate] = ()
) -> ZMatrix:
    """A tree along the bonds that has as many of the wanted coordinates as possible.

    Args:
        numbers: (atoms,) atomic numbers.
        positions: (atoms, 3) in angstrom; parts that no bond joins are joined where they are
            nearest.
        wanted: coordinates that `ZMatrix.locate` should find.
    """
    graph = _joined(numbers, positions)
    named = list(dict.fromkeys(atom for coordinate in wanted for atom in coordinate.atoms))
    rest = [atom for atom in range(len(numbers)) if atom not in named]
    ranks = list(np.argsort([*named, *rest]))
    best: ZMatrix | None = None
    most = -1
    for trunk in _trunks(graph, ranks):
        tree = _grown(graph, ranks, trunk, positions)
        found = sum(tree.locate(coordinate) is not None for coordinate in wanted)
        if found > most:
            best, most = tree, found
        if most == len(wanted):
            break
    if best is None:
        return _grown(graph, ranks, tuple(range(len(numbers)))[:2], positions)
    return best


def _joined(numbers: np.ndarray, positions: np.ndarray) -> list[set[int]]:
    """The bond graph, with its components connected by their shortest distances."""
    graph = neighbours(len(numbers), bonds(numbers, positions))
    stretch = distances(positions[None])[0] / covalent_lengths(numbers)
    part = _component(graph)
    while len(part) < len(numbers):
        rest = [atom for atom in range(len(numbers)) if atom not in part]
        inside = sorted(part)
        i, j = np.unravel_index(np.argmin(stretch[np.ix_(inside, rest)]), (len(inside), len(rest)))
        graph[inside[i]].add(rest[j])
        graph[rest[j]].add(inside[i])
        part = _component(graph)
    return graph


def _component(graph: list[set[int]]) -> set[int]:
    """The connected component of the first atom."""
    seen, queue = {0}, [0]
    while queue:
        for other in graph[queue.pop()] - seen:
            seen.add(other)
            queue.append(other)
    return seen


def _trunks(graph: list[set[int]], ranks: list[int]) -> list[tuple[int, int, int]]:
    """Chains of three bonded atoms to start from, named atoms first."""
    found = [(a, b, c) for a in range(len(graph)) for b in graph[a] for c in graph[b] if c != a]
    return sorted(found, key=lambda chain: [ranks[atom] for atom in chain])


def _grown(
    graph: list[set[int]], ranks: list[int], trunk: tuple[int, ...], positions: np.ndarray
) -> ZMatrix:
    """The tree grown breadth-first from a trunk, named atoms first."""
    root, first, *third = trunk
    rows, parent = [(root, -1, -1, -1), (first, root, -1, -1)], {root: first, first: root}
    queue, seen = [first, root], {root, first, *third}
    if third:
        rows.append((third[0], first, root, -1))
        parent[third[0]] = first
        queue.insert(1, third[0])
    while queue:
        p = queue.pop(0)
        for atom in sorted(graph[p] - seen, key=lambda other: ranks[other]):
            seen.add(atom)
            queue.append(atom)
            g = parent[p]
            q = third[0] if {p, g} == {root, first} else parent[g]
            rows.append((atom, p, g, q))
            parent[atom] = p
    leads = np.arange(len(graph))
    around: dict[int, int] = {}
    for atom, p, g, _ in rows[2:]:
        leads[atom] = around.setdefault(p, atom) if g >= 0 else atom
    return ZMatrix(np.array(rows), leads, _corner(positions, trunk))


def _corner(positions: np.ndarray, trunk: tuple[int, ...]) -> np.ndarray:
    root, first, *third = trunk
    along = positions[first] - positions[root]
    along = along / np.linalg.norm(along)
    side = positions[third[0]] - positions[first] if third else np.eye(3)[np.argmin(abs(along))]
    side = side - (side @ along) * along
    if np.linalg.norm(side) < 1e-9:
        side = np.cross(along, np.eye(3)[np.argmin(abs(along))])
    side = side / np.linalg.norm(side)
    return np.stack([positions[root], along, side, np.cross(along, side)])
