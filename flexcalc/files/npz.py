"""NumPy archives of labelled geometries: sGDML datasets and files in the style of rMD17.

Formats: http://docs.sgdml.org/custom.html (sGDML), doi:10.24435/materialscloud:wy-kn (rMD17).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FileFormatError, InputError, MoleculeError, UnitError
from flexcalc.files import keys, units
from flexcalc.files.archive import Archive
from flexcalc.files.keys import USUAL, Wanted
from flexcalc.storage import sha256_file


class Names(NamedTuple):
    """What one convention calls the arrays."""

    numbers: str
    positions: str
    energies: str
    forces: str


SGDML = Names("z", "R", "E", "F")
RMD17 = Names("nuclear_charges", "coords", "energies", "forces")
RMD17_OLD = Names("nuclear_charges", "coords", "old_energies", "old_forces")


MASSES, MODEL = "masses", "model_sha256"


class Factors(NamedTuple):
    """Sizes of the file's units in eV, angstrom and eV/angstrom, and their names."""

    energy: float
    length: float
    force: float
    named: str


def read(
    path: Path,
    energy: str | None = None,
    length: str | None = None,
    force: str | None = None,
    *,
    labels: str = "new",
    wanted: Wanted = USUAL,
) -> Dataset:
    """Read a dataset; see `flexcalc.files.read` for conversions and errors."""
    with Archive(path) as archive:
        names, notes = _labels_of(path, archive, _convention(path, archive, labels), wanted)
        stated = _stated(path, archive)
        level = archive.text("theory") or "unknown"
        model = archive.text(MODEL) or ""
        numbers = archive.array(names.numbers, "iu").ravel()
        positions = archive.array(names.positions, "fiu")
        energies = archive.array(names.energies, "fiu") if names.energies in archive else None
        forces = archive.array(names.forces, "fiu") if names.forces in archive else None
        masses = _masses(path, archive, positions)
        tags = _tags(archive, len(positions) if positions.ndim else 0)
    if energies is not None and energies.shape == (len(positions), 1):
        energies = energies[:, 0]
    _check_shapes(path, names, numbers, positions, energies, forces)
    factors = _factors(path, stated, (energy, length, force), energies is not None)
    if "length" not in stated and length is None and len(positions):
        try:
            units.check_angstrom(numbers, positions[0])
        except UnitError as error:
            raise UnitError(f"{path}: {error}") from None
    provenance = Provenance(
        f"{level} (old labels)" if labels == "old" else level,
        path.name,
        factors.named,
        sha256_file(path),
        notes,
        model,
    )
    try:
        return Dataset(
            numbers=numbers,
            positions=positions.astype(float) * factors.length,
            energies=None if energies is None else energies.astype(float) * factors.energy,
            forces=None if forces is None else forces.astype(float) * factors.force,
            tags=tags,
            provenance=provenance,
            masses=masses,
        )
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from None


def _convention(path: Path, archive: Archive, labels: str) -> Names:
    if archive.text("type") in ("m", "t") or "R_desc" in archive or "Rt_desc" in archive:
        raise FileFormatError(f"{path}: this is an sGDML model or task, not a dataset")
    if "lattice" in archive:
        raise MoleculeError(
            f"{path}: periodic (has a lattice); flexcalc is for molecules in vacuum"
        )
    names = RMD17 if "nuclear_charges" in archive else SGDML
    if labels == "old":
        names = RMD17_OLD
    needed = [names.numbers, names.positions]
    if labels == "old":
        needed += [names.energies, names.forces]
    for key in needed:
        if key not in archive:
            found = ", ".join(sorted(archive.members)[:8]) or "nothing"
            raise FileFormatError(
                f"{path}: expected the arrays {', '.join(names)}, found {found[:120]}"
            )
    return names


def _labels_of(
    path: Path, archive: Archive, names: Names, wanted: Wanted
) -> tuple[Names, tuple[str, ...]]:
    """The names of arrays, including those of energies and forces, and notices about them.

    Raises:
        FileFormatError: one that was asked for is not there, or several have energies or forces.
    """
    try:
        energy, energy_notes = _label_of(archive, names.energies, wanted.energy, "energy")
        forces, forces_notes = _label_of(archive, names.forces, wanted.forces, "forces")
    except FileFormatError as error:
        raise FileFormatError(f"{path}: {error}") from None
    notes = (*energy_notes, *forces_notes)
    return names._replace(energies=energy, forces=forces), notes


def _label_of(archive: Archive, usual: str, wanted: str | None, what: str) -> tuple[str, list[str]]:
    """The key of the energies or forces, and a notice about it."""
    if wanted is not None:
        keys.check_there(wanted, archive.members, what)
        return wanted, []
    if usual in archive:
        return usual, []
    found = (keys.energy_keys if what == "energy" else keys.forces_keys)(archive.members)
    if len(found) > 1:
        raise FileFormatError(
            f"{' and '.join(found)} may both be meant; say which, as in --{what}-key {found[0]}"
        )
    taken = found[0] if found else None
    return taken or usual, keys.note(what, taken, (usual,), archive.members)


def _stated(path: Path, archive: Archive) -> dict[str, str]:
    """The units that the file declares, by quantity.

    Raises:
        UnitError: one is no text, is unknown, or is declared twice and not alike.
    """
    found = {}
    usual = [key for names in units.NAMES.values() for key in names]
    for key in dict.fromkeys((*archive.members, *usual)):
        if key in archive and units.kind_of_key(key) is not None:
            text = archive.text(key)
            if text is None:
                raise UnitError(f"{path}: {key}: expected the name of a unit, found no text")
            found[key] = text
    try:
        return units.declared(found)
    except UnitError as error:
        raise UnitError(f"{path}: {error}") from None


def _masses(path: Path, archive: Archive, positions: np.ndarray) -> np.ndarray | None:
    """Masses (frames, atoms) in amu, where the file has them for the atoms or frame by frame.

    Raises:
        FileFormatError: of another shape, or not positive.
    """
    if MASSES not in archive:
        return None
    masses = archive.array(MASSES, "fiu").astype(float)
    if masses.shape == positions.shape[1:2]:
        masses = np.tile(masses, (len(positions), 1))
    if masses.shape != positions.shape[:2] or not (masses > 0).all():
        raise FileFormatError(
            f"{path}: {MASSES}: expected a positive mass for each atom, in amu, found "
            f"{masses.shape}"
        )
    return masses


def _check_shapes(
    path: Path,
    names: Names,
    numbers: np.ndarray,
    positions: np.ndarray,
    energies: np.ndarray | None,
    forces: np.ndarray | None,
) -> None:
    atoms = len(numbers)
    if positions.ndim != 3 or positions.shape[1:] != (atoms, 3):
        raise FileFormatError(
            f"{path}: {names.positions}: expected shape (frames, {atoms}, 3) for the {atoms} "
            f"atoms of {names.numbers}, found {positions.shape}"
        )
    if energies is not None and energies.shape != positions.shape[:1]:
        raise FileFormatError(
            f"{path}: {names.energies}: expected shape ({len(positions)},), found {energies.shape}"
        )
    if forces is not None and forces.shape != positions.shape:
        raise FileFormatError(
            f"{path}: {names.forces}: expected shape {positions.shape}, found {forces.shape}"
        )


def _tags(archive: Archive, frames: int) -> dict[str, np.ndarray]:
    """Whatever else the file has one number or word of per frame."""
    used = {*SGDML, *RMD17, *RMD17_OLD, "lattice", MASSES}
    return {
        key: archive.array(key, "biufU")
        for key, member in archive.members.items()
        if key.isidentifier()
        and key not in used
        and member.shape == (frames,)
        and member.dtype.kind in "biufU"
    }


def _factors(
    path: Path,
    stated: Mapping[str, str],
    said: tuple[str | None, str | None, str | None],
    has_energies: bool,
) -> Factors:
    """The units from the file and the call, which must not contradict each other."""
    try:
        energy, length, force = (
            units.agreed(kind, stated.get(kind), given)
            for kind, given in zip(("energy", "length", "force"), said, strict=True)
        )
    except UnitError as error:
        raise UnitError(f"{path}: {error}") from None
    length = length or ("angstrom", 1.0)
    if energy is None and (has_energies or force is None):
        raise UnitError(
            f"{path}: the file does not say the unit of its energies; "
            "give it, as in --energy-unit kcal/mol"
        )
    if energy is None:
        energy = ("none", 1.0)
    named = f"{energy[0]}, {length[0]}"
    if force is not None:
        named += f", {force[0]}"
    return Factors(energy[1], length[1], force[1] if force else energy[1] / length[1], named)


# Writing


def to_bytes(dataset: Dataset, name: str = "") -> bytes:
    """The dataset in sGDML's format, in eV and angstrom, its hash as sGDML makes it.

    Args:
        dataset: frames; labels and tags are kept.
        name: what sGDML shall call it.
    """
    arrays: dict[str, np.ndarray] = {
        "type": np.array("d"),
        "code_version": np.array("flexcalc"),
        "name": np.array(name),
        "theory": np.array(dataset.provenance.level),
        "z": dataset.numbers.astype(np.uint8),
        "R": dataset.positions,
        "r_unit": np.array("Ang"),
        "e_unit": np.array("eV"),
    }
    if dataset.provenance.model_sha256:
        arrays[MODEL] = np.array(dataset.provenance.model_sha256)
    for key, values in (("E", dataset.energies), ("F", dataset.forces)):
        if values is not None and len(values):
            arrays[key] = values
            arrays |= {
                f"{key}_min": np.min(values),
                f"{key}_max": np.max(values),
                f"{key}_mean": np.mean(values),
                f"{key}_var": np.var(values),
            }
    # Source of the hash: sgdml 1.0.3, utils/io.py, dataset_md5
    digest = hashlib.md5(usedforsecurity=False)
    for key in ("z", "R", "E", "F"):
        if key in arrays:
            digest.update(hashlib.md5(arrays[key].ravel(), usedforsecurity=False).digest())
    if dataset.masses is not None:
        arrays[MASSES] = dataset.masses
    arrays["md5"] = np.array(digest.hexdigest())
    for key, column in dataset.tags.items():
        if key in arrays or column.dtype.kind not in "biufU":
            raise InputError(f"tag {key}: cannot be stored in an npz")
        arrays[key] = column
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
