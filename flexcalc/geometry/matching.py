"""Alignment of geometries (superposition), and matching of identical atoms between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice, permutations, product
from math import factorial, prod

import numpy as np

from flexcalc.errors import ShapeError
from flexcalc.geometry.coordinates import distances
from flexcalc.geometry.graph import bonds, neighbours

MAX_PERMUTATIONS = 5000
"""Maximum number of permutations that `match_atoms` tries exhaustively."""

SAME_MINIMUM_A = 0.2
"""Maximum displacement of an atom between two relaxed geometries of the same minimum, with
identical atoms permuted: the residual force displaces soft modes by that much."""

EQUAL_A = 0.05
"""The same for two geometries without permutation."""


def align(
    positions: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Align each geometry with the target by a translation and a proper rotation.

    Args:
        positions: (batch, atoms, 3) in angstrom.
        target: (atoms, 3), or one target per row (batch, atoms, 3), in angstrom.
        weights: (atoms,) weight of each atom in the least squares, such as its mass; equal
            weights by default.

    Returns:
        The aligned positions (batch, atoms, 3). Mirror images are not reflected.

    Raises:
        ShapeError: the target has a different number of atoms.

    Source: Kabsch, Acta Cryst. A 34, 827 (1978).
    """
    if positions.ndim != 3 or target.shape not in (positions.shape[1:], positions.shape):
        raise ShapeError(
            f"expected positions (batch, atoms, 3) and targets (atoms, 3) or of their shape, "
            f"got {positions.shape} and {target.shape}"
        )
    share = np.full(target.shape[-2], 1.0) if weights is None else np.asarray(weights, dtype=float)
    share = share / share.sum()
    centre = (share @ target)[..., None, :]
    moved = positions - (share @ positions)[:, None]
    aim = np.broadcast_to(target - centre, moved.shape)
    return moved @ _rotations(share[:, None] * moved, aim) + centre


def align_consecutive(images: np.ndarray) -> np.ndarray:
    """Align each of the images (images, atoms, 3) with the previous one."""
    chain = [images[0]]
    for image in images[1:]:
        chain.append(align(image[None], chain[-1])[0])
    return np.stack(chain)


def align_neighbours(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Align the images of paths with their neighbours, with one rotation per pair of images.

    Args:
        images: (..., images, atoms, 3) in angstrom, of one path or of several.

    Returns:
        (..., images - 1, atoms, 3) each, in angstrom: every image except the first aligned with the
        previous one, and every image except the last aligned with the next one.

    Source: see `align`.
    """
    centres = images.mean(axis=-2, keepdims=True)
    centred = images - centres
    first, second = centred[..., :-1, :, :], centred[..., 1:, :, :]
    turn = _rotations(second, first)
    back = first @ turn.swapaxes(-1, -2)
    return second @ turn + centres[..., :-1, :, :], back + centres[..., 1:, :, :]


def _rotations(moved: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3), from centred positions (..., atoms, 3), on their right, to the
    aim."""
    left, _, right = np.linalg.svd(moved.swapaxes(-1, -2) @ aim)
    # The third axis is inverted where the optimal orthogonal map is a reflection.
    turn = np.ones((*moved.shape[:-2], 1, 3))
    turn[..., 0, 2] = np.sign(np.linalg.det(left @ right))
    return (left * turn) @ right


def match_atoms(numbers: np.ndarray, positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Permute identical atoms to minimise the distance of a geometry to the target.

    Only permutations that map the bonds of one geometry onto those of the other are considered, so
    that hydrogens stay on their heavy atom. Atoms with a single bond (hydrogens) are permuted on
    their neighbour: exhaustively for at most `MAX_PERMUTATIONS`, else one neighbour after the
        other.
    If the bonds differ (a reaction), the minimum number of bonds changes; for more than
    `MAX_PERMUTATIONS` permutations, atoms are assigned by distance and alignment in turn.

    Args:
        numbers: (atoms,) atomic numbers, the same for both.
        positions: (atoms, 3) in angstrom.
        target: (atoms, 3) in angstrom.

    Returns:
        A permutation (atoms,) such that positions[permutation] matches the target.
    """
    numbers = np.asarray(numbers, dtype=int)
    candidates = labellings(numbers, positions, target)
    if candidates is not None:
        return candidates[np.argmin(_misfit(positions[candidates], target))]
    skeletons, groups = _skeletons(numbers, positions, target)
    if not len(skeletons):
        return _assign(numbers, positions, target)
    return _refined(skeletons, groups, positions, target)


def largest_move(positions: np.ndarray, target: np.ndarray) -> float:
    """Maximum displacement of an atom (atoms, 3) from the target after alignment, in angstrom."""
    moved = align(positions[None], target)[0] - target
    return float(np.sqrt((moved**2).sum(axis=1)).max())


def is_degenerate(numbers: np.ndarray, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether two geometries differ only by a permutation of identical atoms.

    The reaction from one to the other is a degenerate rearrangement: an inversion, a proton
        transfer,
    the rotation of a methyl group by 120 degrees.

    Args:
        numbers: (atoms,) atomic numbers, the same for both.
        start, end: (atoms, 3) in angstrom.
    """
    near = largest_move(end[match_atoms(numbers, end, start)], start)
    return near < SAME_MINIMUM_A and largest_move(end, start) > max(EQUAL_A, 3 * near)


def is_isomorphic(numbers: np.ndarray, positions: np.ndarray, target: np.ndarray) -> bool:
    """Whether some permutation of identical atoms maps the bonds of a geometry onto the target's.

    Args:
        numbers: (atoms,) atomic numbers, the same for both.
        positions, target: (atoms, 3) in angstrom.
    """
    graphs = (neighbours(len(numbers), bonds(numbers, one)) for one in (positions, target))
    return next(_isomorphisms(np.asarray(numbers), *graphs), None) is not None


def labellings(numbers: np.ndarray, positions: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """All permutations of identical atoms that map the bonds of a geometry onto the target's.

    If the bonds differ (a reaction), those that change the fewest bonds.

    Args:
        numbers: (atoms,) atomic numbers, the same for both.
        positions: (atoms, 3) in angstrom.
        target: (atoms, 3) in angstrom.

    Returns:
        Permutations (orders, atoms), or None if there are more than `MAX_PERMUTATIONS`.
    """
    numbers = np.asarray(numbers, dtype=int)
    skeletons, groups = _skeletons(numbers, positions, target)
    if not len(skeletons):
        orders = _all_orders(numbers)
        if orders is None:
            return None
        changed = _changed_bonds(orders, bonds(numbers, positions), bonds(numbers, target))
        return orders[changed == changed.min()]
    if len(skeletons) * prod(factorial(len(group)) for group in groups) > MAX_PERMUTATIONS:
        return None
    return np.concatenate([_permuted(skeletons, way) for way in _ways(groups)])


def equivalents(
    images: np.ndarray, permutations: np.ndarray, tolerance_A: float = 1e-3
) -> tuple[np.ndarray, np.ndarray]:
    """The symmetry-equivalent paths of a path, by permutations of identical atoms.

    Args:
        images: (images, atoms, 3) in angstrom.
        permutations: (group, atoms), such as the symmetry group of a model.
        tolerance_A: root-mean-square distance of atoms below which two paths are the same, with
            each image aligned with its counterpart.

    Returns:
        Paths (paths, images, atoms, 3), the given one first, and the permutations
        (paths, atoms) that generate them.
    """
    found, kept = [images], [np.arange(images.shape[1])]
    for permutation in permutations:
        path = images[:, permutation]
        away = [np.sqrt(_misfits(path, other).max() / images.shape[1]) for other in found]
        if min(away) > tolerance_A:
            found.append(path)
            kept.append(np.asarray(permutation))
    return np.stack(found), np.stack(kept)


def _misfits(positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Residual sums of squares (batch,) after alignment with own targets, in angstrom^2."""
    return ((align(positions, targets) - targets) ** 2).sum(axis=(1, 2))


def _skeletons(
    numbers: np.ndarray, positions: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, list[list[int]]]:
    """Permutations that map all bonds, up to those of identical terminal atoms; and these atoms."""
    source_graph = neighbours(len(numbers), bonds(numbers, positions))
    target_graph = neighbours(len(numbers), bonds(numbers, target))
    found = list(islice(_isomorphisms(numbers, source_graph, target_graph), MAX_PERMUTATIONS))
    groups = [group for group in _leaf_groups(numbers, target_graph) if len(group) > 1]
    return np.array(found, dtype=int), groups


def _ways(groups: Sequence[Sequence[int]]) -> Iterator[dict[int, int]]:
    """All permutations within each group, as {slot: source slot}."""
    for choice in product(*(permutations(group) for group in groups)):
        yield {
            slot: taken
            for group, order in zip(groups, choice, strict=True)
            for slot, taken in zip(group, order, strict=True)
        }


def _permuted(labellings: np.ndarray, way: dict[int, int]) -> np.ndarray:
    changed = labellings.copy()
    changed[:, list(way)] = labellings[:, list(way.values())]
    return changed


def _refined(
    skeletons: np.ndarray, groups: list[list[int]], positions: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Improve permutations by swaps and cycles of identical terminal atoms until none helps."""
    swaps = [{a: b, b: a} for g in groups for n, a in enumerate(g) for b in g[:n]]
    # A methyl group rotates by a cycle of three; a single swap would mirror it.
    cycles = [{a: b, b: c, c: a} for g in groups for a, b, c in permutations(g, 3)]
    promising = np.argsort(_misfit(positions[skeletons], target))[:100]
    best = skeletons[promising]
    misfit = _misfit(positions[best], target)
    while True:
        before = misfit.sum()
        for way in swaps + cycles:
            trial = _permuted(best, way)
            trial_misfit = _misfit(positions[trial], target)
            better = trial_misfit < misfit - 1e-12
            best = np.where(better[:, None], trial, best)
            misfit = np.where(better, trial_misfit, misfit)
        if misfit.sum() == before:
            return best[np.argmin(misfit)]


def _misfit(positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Residual sums of squares (batch,) after the optimal proper rotation, in angstrom^2."""
    moved = positions - positions.mean(axis=1, keepdims=True)
    fixed = target - target.mean(axis=0)
    covariance = np.swapaxes(moved, 1, 2) @ fixed
    stretch = np.linalg.svd(covariance, compute_uv=False)
    stretch[:, 2] *= np.sign(np.linalg.det(covariance))
    return (moved**2).sum(axis=(1, 2)) + (fixed**2).sum() - 2 * stretch.sum(axis=1)


def _all_orders(numbers: np.ndarray) -> np.ndarray | None:
    """All permutations (orders, atoms) of identical atoms, or None if there are too many."""
    alike = [np.flatnonzero(numbers == number).tolist() for number in np.unique(numbers)]
    if prod(factorial(len(group)) for group in alike) > MAX_PERMUTATIONS:
        return None
    start = np.arange(len(numbers))[None]
    return np.concatenate([_permuted(start, way) for way in _ways(alike)])


def _changed_bonds(orders: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Number of bonds (orders,) that form or break between the geometries."""
    atoms = orders.shape[1]
    bonded = np.zeros((2, atoms, atoms), dtype=bool)
    for own, pairs in zip(bonded, (source, target), strict=True):
        own[pairs[:, 0], pairs[:, 1]] = own[pairs[:, 1], pairs[:, 0]] = True
    relabelled = bonded[0][orders[:, :, None], orders[:, None, :]]
    return (relabelled != bonded[1]).sum(axis=(1, 2)) // 2


def _assign(numbers: np.ndarray, positions: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Assign identical atoms by distance, starting from the given order and from environments."""
    from scipy.optimize import linear_sum_assignment

    unlike = np.where(numbers[:, None] == numbers, 0.0, 1e6)
    # The sorted distances of an atom to all others are invariant.
    near = np.sort(distances(np.stack([target, positions])), axis=-1)
    surroundings = ((near[0][:, None] - near[1][None]) ** 2).sum(axis=-1)
    starts = [np.arange(len(numbers)), linear_sum_assignment(surroundings + unlike)[1]]
    ends = np.array([_settled(start, unlike, positions, target) for start in starts])
    return ends[np.argmin(_misfit(positions[ends], target))]


def _settled(
    labelling: np.ndarray, unlike: np.ndarray, positions: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """Alternate alignment and assignment until the assignment is stable."""
    from scipy.optimize import linear_sum_assignment

    for _ in range(50):
        aligned = np.empty_like(positions)
        aligned[labelling] = align(positions[labelling][None], target)[0]
        squares = ((target[:, None] - aligned[None]) ** 2).sum(axis=-1)
        renewed = linear_sum_assignment(squares + unlike)[1]
        if np.array_equal(renewed, labelling):
            break
        labelling = renewed
    return labelling


def _isomorphisms(
    numbers: np.ndarray, source: list[set[int]], target: list[set[int]]
) -> Iterator[np.ndarray]:
    """Graph isomorphisms from target to source, up to permutations of identical terminal atoms."""
    source_colours, target_colours = _colours(numbers, source, target)
    if sorted(source_colours) != sorted(target_colours):
        return
    order = _walk(target)
    leaves = {leaf for group in _leaf_groups(numbers, target) for leaf in group}
    labelling = np.full(len(numbers), -1)
    taken: set[int] = set()

    def fits(slot: int, atom: int) -> bool:
        if atom in taken or source_colours[atom] != target_colours[slot]:
            return False
        placed = {int(labelling[other]) for other in target[slot] if labelling[other] >= 0}
        return placed == source[atom] & taken

    def place(depth: int) -> Iterator[np.ndarray]:
        if depth == len(order):
            yield labelling.copy()
            return
        slot = order[depth]
        placed = [int(labelling[other]) for other in target[slot] if labelling[other] >= 0]
        for atom in sorted(source[placed[0]]) if placed else range(len(numbers)):
            if not fits(slot, atom):
                continue
            labelling[slot] = atom
            taken.add(atom)
            yield from place(depth + 1)
            taken.discard(atom)
            labelling[slot] = -1
            if slot in leaves:
                break

    yield from place(0)


def _leaf_groups(numbers: np.ndarray, graph: list[set[int]]) -> list[list[int]]:
    """Atoms with a single bond, grouped by their neighbour and element."""
    groups: dict[tuple[int, int], list[int]] = {}
    for atom, others in enumerate(graph):
        if len(others) == 1:
            (anchor,) = others
            if len(graph[anchor]) > 1:
                groups.setdefault((anchor, int(numbers[atom])), []).append(atom)
    return list(groups.values())


def _colours(numbers: np.ndarray, *graphs: list[set[int]]) -> list[list[int]]:
    """Colour atoms by element and, round by round, by their neighbours' colours.

    Two atoms that an isomorphism can map on each other have one colour.

    Source: Weisfeiler and Leman (1968).
    """
    colours = [[int(number) for number in numbers] for _ in graphs]
    for _ in range(len(numbers)):
        seen: dict[tuple, int] = {}
        renewed = []
        for graph, old in zip(graphs, colours, strict=True):
            keys = [(old[a], tuple(sorted(old[b] for b in graph[a]))) for a in range(len(old))]
            renewed.append([seen.setdefault(key, len(seen)) for key in keys])
        settled = len(seen) == len(set().union(*map(set, colours)))
        colours = renewed
        if settled:
            break
    return colours


def _walk(graph: list[set[int]]) -> list[int]:
    """Atoms in an order in which each, as far as it can, follows one of its neighbours."""
    order: list[int] = []
    seen: set[int] = set()
    # Well-connected atoms first, so that dead ends show early.
    for start in sorted(range(len(graph)), key=lambda atom: -len(graph[atom])):
        queue = [] if start in seen else [start]
        seen.update(queue)
        while queue:
            atom = queue.pop(0)
            order.append(atom)
            fresh = sorted(graph[atom] - seen, key=lambda other: -len(graph[other]))
            seen.update(fresh)
            queue.extend(fresh)
    return order
