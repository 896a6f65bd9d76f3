"""Which atom is which: the bonds that a model was trained on, and whether a start has them.

A model of one molecule takes the first carbon for the one that was first in its training frames.
Where another file has the like atoms in another order, its forces are wrong without a sign. So a
model keeps a geometry of every way in which its training frames were bonded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError
from flexcalc.geometry import is_isomorphic, match_atoms
from flexcalc.geometry.graph import bonded_pairs
from flexcalc.models.family import TrainedPotential
from flexcalc.potential import Potential

FACT = "bonding"
"""Key of `model.json`: geometries (kinds, atoms, 3) in angstrom, the most frequent kind first."""

MOST_KINDS = 16
"""Ways of being bonded that a model keeps: those of most training frames."""

SAME_ENERGY_EV = 1e-3
"""Energies of two orders of the atoms that differ by less: the model knows no order of like atoms.
The rounding of single precision is less, and wrong orders differ by electronvolts."""

Kinds = list[tuple[np.ndarray, np.ndarray]]


def with_bonding(potential: TrainedPotential, train: Dataset) -> TrainedPotential:
    """A model that keeps how its training frames are bonded, in its facts."""
    found = []
    for _, frames in _kinds(train.numbers, train.positions)[:MOST_KINDS]:
        own = train.energies
        best = frames[0] if own is None else frames[np.argmin(own[frames])]
        found.append(train.positions[best].tolist())
    potential.facts[FACT] = found
    return potential


def _kinds(numbers: np.ndarray, positions: np.ndarray) -> Kinds:
    """The different bonds (pairs,) of bool of frames, and the frames that have them, ascending.

    The bonds that most frames have come first.
    """
    if not len(positions):
        return []
    patterns, which = np.unique(bonded_pairs(numbers, positions), axis=0, return_inverse=True)
    rows = [np.flatnonzero(which.ravel() == kind) for kind in range(len(patterns))]
    order = sorted(range(len(rows)), key=lambda kind: (-len(rows[kind]), rows[kind][0]))
    return [(patterns[kind], rows[kind]) for kind in order]


def known_geometries(potential: Potential) -> Iterator[np.ndarray]:
    """Geometries (kinds, atoms, 3) of a model's training frames; of each member of a committee.

    Nothing for references, for models that other packages or earlier versions made.

    Raises:
        FileFormatError: a model folder has something else there.
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
    yield found[:MOST_KINDS]


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether frames are bonded as a model knows it.

    Args:
        order: (atoms,) such that positions[:, order] are, where only the order of like atoms is
            another and the model's energies depend on it; else None.
        relabelled: frames that this is so for.
        unknown: frames whose bonds no training frame has in any order.
        frames: all frames.
    """

    order: np.ndarray | None
    relabelled: int
    unknown: int
    frames: int


def judged(potential: Potential, positions: np.ndarray) -> Verdict:
    """Compare the bonds of frames (frames, atoms, 3) in angstrom with those that a model knows."""
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
            found = None if rank >= MOST_KINDS else _order_to(numbers, known, place)
            if found is None:
                strange += len(frames)
            elif _matters(potential, place, found):
                order = found if order is None else order
                moved += len(frames)
        unknown, relabelled = max(unknown, strange), max(relabelled, moved)
    return Verdict(order, relabelled, unknown, len(positions))


def _order_to(numbers: np.ndarray, known: np.ndarray, place: np.ndarray) -> np.ndarray | None:
    """The order (atoms,) in which a geometry (atoms, 3) is bonded as a known one; or None."""
    for target in known:
        if is_isomorphic(numbers, place, target):
            return match_atoms(numbers, place, target)
    return None


def _matters(potential: Potential, place: np.ndarray, order: np.ndarray) -> bool:
    """Whether a model's energy depends on the order of like atoms; a network's does not."""
    energies = potential(np.stack([place, place[order]])).energies
    return bool(abs(energies[0] - energies[1]) > SAME_ENERGY_EV)


def mismatch(order: np.ndarray) -> str:
    """What to say of atoms in another order, in words."""
    return (
        "the bonds fit those of the model's training frames only with the atoms in the order "
        f"{' '.join(map(str, order))}"
    )


def check_order(potential: Potential, positions: np.ndarray, where: str) -> None:
    """Refuse a start whose like atoms are in another order than the model's.

    Args:
        potential: any; nothing is known of references and foreign models.
        positions: (frames, atoms, 3) in angstrom.
        where: what they are, for the message.

    Raises:
        InputError: names the order that would fit.
    """
    found = judged(potential, positions)
    if found.order is not None:
        raise InputError(f"{where}: {mismatch(found.order)}; write the file in that order")
