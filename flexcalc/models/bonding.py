"""Order of atoms: the bonds of a model's training frames, and their comparison with a start.

A model of one molecule relies on the order of atoms in its training frames. For a file with
identical atoms in another order its forces would be silently wrong. So a model stores one geometry
for every bond graph among its training frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError
from flexcalc.geometry import is_isomorphic, match_atoms
from flexcalc.geometry.graph import bond_graphs, bonded_pairs
from flexcalc.models.energies import energies_of
from flexcalc.models.family import TrainedPotential
from flexcalc.potential import Potential

FACT = "bonding"
"""Key of `model.json`: geometries (kinds, atoms, 3) in angstrom, the most frequent kind first."""

MAX_KINDS = 16
"""Maximum number of bond graphs that a model stores, the most frequent ones."""

SAME_ENERGY_EV = 1e-3
"""Difference of the energies of two orders of atoms below which a model counts as invariant.
Rounding in single precision is smaller, and the energies of wrong orders differ by
electronvolts."""

Kinds = list[tuple[np.ndarray, np.ndarray]]


def with_bonding(potential: TrainedPotential, train: Dataset) -> TrainedPotential:
    """Store the bond graphs of the training frames, and the range of their energies, in the facts
    of a model."""
    found = []
    for _, frames in _kinds(train.numbers, train.positions)[:MAX_KINDS]:
        own = train.energies
        best = frames[0] if own is None else frames[np.argmin(own[frames])]
        found.append(train.positions[best].tolist())
    potential.facts["bonding"] = found
    if train.energies is not None and len(train):
        potential.facts["training_energies_eV"] = energies_of(train.energies)
    return potential


def _kinds(numbers: np.ndarray, positions: np.ndarray) -> Kinds:
    """The distinct bond graphs (pairs,) of bool of frames, each with its frames, ascending.

    The most frequent graph comes first.
    """
    if not len(positions):
        return []
    patterns, which = bond_graphs(numbers, positions)
    rows = [np.flatnonzero(which == kind) for kind in range(len(patterns))]
    order = sorted(range(len(rows)), key=lambda kind: (-len(rows[kind]), rows[kind][0]))
    return [(patterns[kind], rows[kind]) for kind in order]


def known_geometries(potential: Potential) -> Iterator[np.ndarray]:
    """Geometries (kinds, atoms, 3) of the training frames of a model, or of each member of a
    committee.

    Empty for references, and for models of other packages or earlier versions.

    Raises:
        FileFormatError: the entry of the model folder is invalid.
    """
    facts = getattr(potential, "facts", None)
    kept = facts.get(FACT) if isinstance(facts, dict) else None
    if kept is None:
        for member in getattr(potential, "members", ()):
            yield from known_geometries(member)
        return
    try:
        found = np.array(kept, dtype=float)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape[1:] != (len(potential.numbers), 3) or not np.isfinite(found).all():
        raise FileFormatError(f"{FACT} of the model: expected geometries of its atoms in angstrom")
    yield found[:MAX_KINDS]


@dataclass(frozen=True, eq=False)
class Verdict:
    """Comparison of the bonds of frames with those of a model's training frames.

    Args:
        order: (atoms,) such that positions[:, order] has the bonds of training frames, if only the
            order of identical atoms differs and the model's energies depend on it; else None.
        relabelled: number of frames for which this is the case.
        unknown: number of frames whose bonds match no training frame in any order.
        frames: total number of frames.
    """

    order: np.ndarray | None
    relabelled: int
    unknown: int
    frames: int


def judged(potential: Potential, positions: np.ndarray) -> Verdict:
    """Compare the bonds of frames (frames, atoms, 3) in angstrom with a model's training frames."""
    numbers, order, relabelled, unknown = np.asarray(potential.numbers), None, 0, 0
    for known in known_geometries(potential):
        patterns = bonded_pairs(numbers, known)
        others = [
            (frames, positions[frames[0]])
            for pattern, frames in _kinds(numbers, positions)
            if not (patterns == pattern).all(axis=1).any()
        ]
        strange = moved = 0
        for rank, (frames, place) in enumerate(others):
            found = None if rank >= MAX_KINDS else _order_to(numbers, known, place)
            if found is None:
                strange += len(frames)
            elif _matters(potential, place, found):
                order = found if order is None else order
                moved += len(frames)
        unknown, relabelled = max(unknown, strange), max(relabelled, moved)
    return Verdict(order, relabelled, unknown, len(positions))


def _order_to(numbers: np.ndarray, known: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """The order (atoms,) in which a geometry (atoms, 3) has the bonds of a known one; or None."""
    for target in known:
        if is_isomorphic(numbers, place, target):
            return match_atoms(numbers, place, target)
    return None


def _matters(potential: Potential, place: np.ndarray, order: np.ndarray) -> bool:
    """Whether a model's energy depends on the order of identical atoms; that of networks does
    not."""
    energies = potential(np.stack([place, place[order]])).energies
    return bool(abs(energies[0] - energies[1]) > SAME_ENERGY_EV)


def mismatch(order: np.ndarray) -> str:
    """Message for atoms in another order."""
    return (
        "the bonds fit those of the model's training frames only with the atoms in the order "
        f"{' '.join(map(str, order))}"
    )


def check_order(potential: Potential, positions: np.ndarray, where: str) -> None:
    """Refuse a start whose identical atoms are in another order than the model's.

    Args:
        potential: any potential; references and foreign models are not checked.
        positions: (frames, atoms, 3) in angstrom.
        where: description of the frames, for the message.

    Raises:
        InputError: names the order that matches.
    """
    found = judged(potential, positions)
    if found.order is not None:
        raise InputError(f"{where}: {mismatch(found.order)}; write the file in that order")
