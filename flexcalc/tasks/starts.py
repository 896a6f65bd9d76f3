"""Geometries to start the sampling from: files, objects and conformers of a SMILES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config.label import Label
from flexcalc.dataset import Dataset, concatenate
from flexcalc.files import SMILES
from flexcalc.methods.sampling import concatenate_unlabelled
from flexcalc.potential import Potential, check_molecule
from flexcalc.registry import name_of
from flexcalc.results.labels import CONFORMERS
from flexcalc.store import Store
from flexcalc.tasks.molecule import Electrons, electrons_of
from flexcalc.units import KCAL_MOL

STARTS = "starts.xyz"


@dataclass(frozen=True, eq=False)
class Start:
    """One of the starts that were given.

    Args:
        source: the file, the SMILES or what else it is, for messages.
        frames: geometries with the tag `start` and without labels; None for a SMILES.
        electrons: what the start says of its electrons.
        numbers: (atoms,) atomic numbers.
    """

    source: str
    frames: Dataset | None
    electrons: Electrons
    numbers: np.ndarray


def read_starts(given: Sequence[Any]) -> list[Start]:
    """Read the starts of one molecule.

    Args:
        given: files, Datasets, or smiles:TEXT.

    Raises:
        InputError: a file cannot be read, a SMILES has no such molecule, or they are not all
            the same molecule, atom by atom.
    """
    found: list[Start] = []
    for entry in given:
        if isinstance(entry, str) and entry.startswith(SMILES):
            found.append(_of_smiles(entry))
        else:
            unnamed = sum(len(start.frames or ()) for start in found)
            found.append(_of_frames(entry, unnamed))
    for start in found:
        check_molecule(found[0].numbers, start.numbers, start.source)
    return found


def _of_smiles(text: str) -> Start:
    from flexcalc.methods.conformers import charge_and_unpaired, molecule

    smiles = text.removeprefix(SMILES)
    numbers = molecule(smiles)
    charge, unpaired = charge_and_unpaired(smiles)
    multiplicity = unpaired + 1 if unpaired else None
    return Start(text, None, Electrons(text, charge, multiplicity, proposed=True), numbers)


def _of_frames(given: Path | str | Dataset, first: int) -> Start:
    """Frames of a file or an object, the first of which is number `first` of all starts."""
    data = files.read(given)
    source = data.provenance.source if isinstance(given, Dataset) else str(given)
    tags = {"start": _names(data, first)}
    frames = replace(data, energies=None, forces=None, tags=tags)
    return Start(source, frames, electrons_of(data), data.numbers)


def _names(data: Dataset, first: int) -> np.ndarray:
    """Names (frames,) of starts: of their file, or as their tags have it, or numbers."""
    if data.provenance.sha256:
        return np.full(len(data), Path(data.provenance.source).stem)
    numbered = [f"start-{first + frame}" for frame in range(len(data))]
    return data.tags.get("start", np.array(numbered)).astype(str)


def frames_of(starts: Sequence[Start]) -> list[Dataset]:
    """The geometries that are known before there are conformers."""
    return [start.frames for start in starts if start.frames is not None]


def start_geometries(
    options: Label, store: Store, starts: Sequence[Start], reference: Potential
) -> Dataset:
    """All start geometries, conformers of a SMILES last, which are kept in starts.xyz.

    The conformers are kept with their energies by the reference in conformers.xyz.
    """
    known = store.get(STARTS)
    if known is not None:
        return known
    parts, level = frames_of(starts), name_of(options.reference)
    enumerated: list[Dataset] = []
    for start in starts:
        if start.frames is None:
            from flexcalc.methods.conformers import conformers

            smiles = start.source.removeprefix(SMILES)
            with store.bar("conformers") as progress:
                found = conformers(smiles, reference, options.conformers, options.seed, progress)
            above = np.ptp(np.asarray(found.energies)) / KCAL_MOL
            store.say(
                f"{start.source}: {len(found)} conformers, the highest {above:.2f} kcal/mol above "
                "the lowest"
            )
            provenance = replace(found.provenance, level=level)
            enumerated.append(replace(found, provenance=provenance))
            parts.append(found)
    if enumerated:
        store.put(CONFORMERS, concatenate(*enumerated))
    together = concatenate_unlabelled(parts)
    store.put(STARTS, together)
    return together
