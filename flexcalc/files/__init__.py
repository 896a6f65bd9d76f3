"""Datasets in and out of files: extxyz and npz; the only place where file units are converted.

`naming` takes names such as `path.xyz@-1` apart. `extxyz` reads the text format, with `comment` and
`columns` for the two halves of its grammar, and `frames` writes it; `npz` does both for the binary
ones over the distrustful `archive`; `keys` knows the names of labels, `units` the spellings, `text`
what stands before a text. `xml` parses what others wrote in XML.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError
from flexcalc.files import extxyz, frames, npz
from flexcalc.files.extxyz import read_first, read_frames, read_last
from flexcalc.files.frames import FrameLog, frame_bytes, whole_frames
from flexcalc.files.keys import Wanted
from flexcalc.files.label_check import suspicions
from flexcalc.files.naming import SMILES, frame_indices, hint_of, split_frames
from flexcalc.files.units import energy_unit, force_unit, length_unit
from flexcalc.storage import LARGEST, atomic_write, check_regular

__all__ = [
    "FileWarning",
    "FrameLog",
    "SMILES",
    "energy_unit",
    "force_unit",
    "frame_bytes",
    "hint_of",
    "length_unit",
    "read",
    "read_first",
    "read_frames",
    "read_last",
    "suspicions",
    "split_frames",
    "whole_frames",
    "write",
]

SUFFIXES = (".xyz", ".extxyz", ".npz")


@runtime_checkable
class HasFrames(Protocol):
    """A result that can be used as a dataset."""

    def to_dataset(self) -> Dataset: ...


class FileWarning(UserWarning):
    """Notice about a file that was read."""


def read(
    path: Path | str | Dataset | HasFrames,
    *,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    force_unit: str | None = None,
    labels: str = "new",
    energy_key: str | None = None,
    forces_key: str | None = None,
) -> Dataset:
    """Read geometries, and their labels where the file has them, into eV and angstrom.

    Args:
        path: `.xyz` or `.extxyz` (eV and angstrom unless said otherwise, by the call or by the
            file: `energy_unit=kcal/mol`, or i-PI's `positions{atomic_unit}`), or `.npz`: an sGDML
            dataset (z, R, E, F) or one in the style of rMD17 (nuclear_charges, coords,
            energies, forces). `FILE@INDEX` reads some frames, in ASE's syntax: `path.xyz@-1` the
            last, `path.xyz@::10` every tenth. A Dataset is returned as it is, and of a result its
            frames.
        energy_unit: unit of the energies, such as "kcal/mol"; needed for an npz that does not
            say itself.
        length_unit: unit of the positions; angstrom unless said.
        force_unit: unit of the forces; energy unit per length unit unless said.
        labels: "new", or "old" for the `old_energies` and `old_forces` of an rMD17 file.
        energy_key: key of the energies, if it is not a common one, or if there are several.
        forces_key: the same of the forces; in extxyz the name of a column.

    Warns:
        FileWarning: once a file, of labels under another key than the plain one, and of what is
            not used; and of units, signs and orders of atoms that are unlike those of molecules.

    Raises:
        FileFormatError: missing, damaged, cut or not of these formats, or labels under several
            keys that differ; names the frame.
        UnitError: a unit is unknown, missing, or contradicts the file.
        MoleculeError: the frames are periodic or not all of one molecule.
    """
    if isinstance(path, Dataset):
        return path
    if isinstance(path, HasFrames):
        return path.to_dataset()
    named = path
    path, index = split_frames(named)
    binary = _is_binary(path)
    _check_file(path)
    if labels not in ("new", "old"):
        raise InputError(f'labels: expected "new" or "old", got {labels!r}')
    if labels == "old" and (energy_key or forces_key):
        raise InputError('labels="old" names the keys itself; leave energy_key and forces_key out')
    if labels == "old" and not binary:
        raise InputError(f'{path}: labels="old" is for npz files in the style of rMD17')
    said = (energy_unit, length_unit, force_unit)
    wanted = Wanted(energy_key, forces_key)
    if binary:
        data = npz.read(path, *said, labels=labels, wanted=wanted)
    else:
        data = extxyz.read(path, *said, wanted)
    if data.provenance.notes:
        notice = f"{path}: {'; '.join(data.provenance.notes)}"
        warnings.warn(notice, FileWarning, stacklevel=2)
    for line in suspicions(data):
        warnings.warn(f"{path}: {line}", FileWarning, stacklevel=2)
    if index is None:
        return data
    chosen = data[frame_indices(index, len(data), path)]
    return replace(chosen, provenance=replace(data.provenance, source=Path(named).name))


def write(path: Path | str, dataset: Dataset | HasFrames) -> None:
    """Write a dataset atomically; a failure leaves the old file.

    Args:
        path: `.xyz` or `.extxyz` (eV, angstrom, every digit kept) or `.npz` (sGDML dataset
            format with its units named).
        dataset: frames with or without labels, or a result that has them.

    Raises:
        FileFormatError: another suffix.
        InputError: the folder is missing, not writable or full.
    """
    path = Path(path)
    dataset = dataset.to_dataset() if isinstance(dataset, HasFrames) else dataset
    content = npz.to_bytes(dataset, path.stem) if _is_binary(path) else frames.to_bytes(dataset)
    try:
        atomic_write(path, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _is_binary(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        hint = "; a model comes before the frames" if suffix == ".flex" else hint_of(path)
        raise FileFormatError(
            f"{path}: expected a file named {', '.join(SUFFIXES)}, got suffix {suffix!r}{hint}"
        )
    return suffix == ".npz"


def _check_file(path: Path) -> None:
    try:
        check_regular(path, LARGEST)
        size = path.stat().st_size
    except FileNotFoundError:
        raise FileFormatError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise FileFormatError(f"{str(path)!r}: cannot be read: {error}") from None
    if size == 0:
        raise FileFormatError(f"{path}: the file is empty")
