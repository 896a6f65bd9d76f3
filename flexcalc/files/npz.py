"""NumPy archives of labelled geometries: sGDML datasets and files in the style of rMD17.

Formats: http://docs.sgdml.org/custom.html (sGDML), doi:10.24435/materialscloud:wy-kn (rMD17).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FileFormatError, InputError, MoleculeError, UnitError
from flexcalc.files import units
from flexcalc.files.archive import Archive
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
) -> Dataset:
    """Read a dataset; `flexcalc.files.read` says how and what it raises."""
    with Archive(path) as archive:
        names = _convention(path, archive, labels)
        texts = {key: archive.text(key) for key in ("e_unit", "r_unit", "f_unit", "theory")}
        numbers = archive.array(names.numbers, "iu").ravel()
        positions = archive.array(names.positions, "fiu")
        energies = archive.array(names.energies, "fiu") if names.energies in archive else None
        forces = archive.array(names.forces, "fiu") if names.forces in archive else None
        tags = _tags(archive, len(positions) if positions.ndim else 0)
    if energies is not None and energies.shape == (len(positions), 1):
        energies = energies[:, 0]
    _check_shapes(path, names, numbers, positions, energies, forces)
    factors = _factors(path, texts, (energy, length, force), energies is not None)
    if texts["r_unit"] is None and length is None:
        _check_angstrom(path, numbers, positions)
    level = texts["theory"] or "unknown"
    provenance = Provenance(
        f"{level} (old labels)" if labels == "old" else level,
        path.name,
        factors.named,
        sha256_file(path),
    )
    try:
        return Dataset(
            numbers=numbers,
            positions=positions.astype(float) * factors.length,
            energies=None if energies is None else energies.astype(float) * factors.energy,
            forces=None if forces is None else forces.astype(float) * factors.force,
            tags=tags,
            provenance=provenance,
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
    used = {*SGDML, *RMD17, *RMD17_OLD, "lattice"}
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
    found: Mapping[str, str | None],
    said: tuple[str | None, str | None, str | None],
    has_energies: bool,
) -> Factors:
    """The units from the file and the call, which must not contradict each other."""
    try:
        force = _agreed("force", units.force_unit, found["f_unit"], said[2])
        length = _agreed("length", units.length_unit, found["r_unit"], said[1])
        energy = _agreed("energy", units.energy_unit, found["e_unit"], said[0])
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


def _agreed(
    kind: str,
    look_up: Callable[[str], tuple[str, float]],
    found: str | None,
    said: str | None,
) -> tuple[str, float] | None:
    stands = look_up(found) if found else None
    given = look_up(said) if said else None
    if stands and given and stands != given:
        raise UnitError(f"the file says {kind} unit {stands[0]}, the call says {given[0]}")
    return given or stands


def _check_angstrom(path: Path, numbers: np.ndarray, positions: np.ndarray) -> None:
    """Refuse bond lengths that cannot be in the angstrom that an unnamed unit is taken for.

    The distance of an atom to its nearest neighbour is near the sum of covalent radii; in bohr
    it looks 1.9 times as long, in nm ten times as short.
    """
    if len(numbers) < 2 or not len(positions) or not 1 <= numbers.min() <= numbers.max() <= 118:
        return
    from ase.data import covalent_radii

    apart = np.linalg.norm(positions[0][:, None] - positions[0][None], axis=-1)
    ratio = apart / (covalent_radii[numbers][:, None] + covalent_radii[numbers][None])
    np.fill_diagonal(ratio, np.inf)
    typical = float(np.median(ratio.min(axis=1)))
    if not 0.6 < typical < 1.5:
        raise UnitError(
            f"{path}: bonds are {typical:.2f} times as long as they should be in angstrom; "
            "say the unit of the positions, as in --length-unit bohr"
        )


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
    arrays["md5"] = np.array(digest.hexdigest())
    for key, column in dataset.tags.items():
        if key in arrays or column.dtype.kind not in "biufU":
            raise InputError(f"tag {key}: cannot be stored in an npz")
        arrays[key] = column
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
