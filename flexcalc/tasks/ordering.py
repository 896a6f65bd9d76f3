"""Geometries whose identical atoms are in another order than the model's: refused, or mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.bonding import judged, mismatch
from flexcalc.potential import Potential
from flexcalc.store import Store


@dataclass(frozen=True, eq=False)
class Ordered:
    """Geometries in the order of a model's atoms.

    Args:
        data: the frames.
        order: (atoms,) in which their atoms were put, None where they stayed as they were.
        notes: what is to be said of them.
        warnings: what the user should know of them.
    """

    data: Dataset
    order: np.ndarray | None
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()

    def like(self, other: Dataset) -> Dataset:
        """Another geometry of the same molecule, put into the order that this one was."""
        return other if self.order is None else reordered(other, self.order)

    def said(self, store: Store) -> tuple[int, ...] | None:
        """The order for the results, once what there is to say of it has been said."""
        for note in self.notes:
            store.say(note)
        for warning in self.warnings:
            store.warn(warning)
        return None if self.order is None else tuple(self.order.tolist())


def reordered(data: Dataset, order: np.ndarray) -> Dataset:
    """The same frames, identical atoms in another order (atoms,); their masses go with them."""
    forces = None if data.forces is None else data.forces[:, order]
    masses = None if data.masses is None else data.masses[:, order]
    return replace(data, positions=data.positions[:, order], forces=forces, masses=masses)


def ordered(
    potential: Potential,
    data: Dataset,
    where: str,
    map_atoms: bool | None,
    *,
    most: bool = False,
) -> Ordered:
    """Compare the bonds of geometries with those of a model's training frames.

    Args:
        potential: any; of references and foreign models nothing is known.
        data: geometries.
        where: the file, for messages.
        map_atoms: whether they may be put into another order.
        most: take only what most frames show, as of a dataset in which bonds come and go.

    Raises:
        InputError: their identical atoms are in another order, and may not be put into the model's.
    """
    found = judged(potential, data.positions)
    few = most and 2 * found.relabelled <= found.frames
    if found.order is not None and not few:
        if not map_atoms:
            raise InputError(
                f"{where}: {mismatch(found.order)}; say so with --map-atoms (map_atoms = true), "
                "or write the file in that order"
            )
        mapped = ordered(potential, reordered(data, found.order), where, False, most=most)
        note = f"{where}: atoms put into the model's order, {' '.join(map(str, found.order))}"
        return Ordered(mapped.data, found.order, [note, *mapped.notes], mapped.warnings)
    warnings = []
    if found.order is not None:
        warnings.append(f"{where}: in {found.relabelled} frames {mismatch(found.order)}")
    if found.unknown > (found.frames / 2 if most else 0):
        warnings.append(
            f"{where}: {found.unknown} of {found.frames} geometries have bonds that no "
            "training frame of the model has, in any order of identical atoms: another isomer?"
        )
    return Ordered(data, None, warnings=warnings)
