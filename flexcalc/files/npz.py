"""NumPy archives of labelled geometries: sGDML datasets and files in the style of rMD17.

Nothing is unpickled, no header is evaluated, and every size is checked in the zip directory
and in the header of the array before the array is read.

Formats: http://docs.sgdml.org/custom.html (sGDML), doi:10.24435/materialscloud:wy-kn (rMD17),
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (the arrays).
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FileFormatError, InputError, MoleculeError, UnitError
from flexcalc.files import units
from flexcalc.storage import sha256_file

LARGEST = 4 << 30
"""Bytes the arrays of one file may unpack to."""

HARMLESS = 64 << 20
MOST_PACKED = 40
"""A file that unpacks to more than HARMLESS bytes may not do so by more than this factor:
coordinates and forces are nearly random numbers and pack by two or three at most."""

MOST_HEADER = 4096
HEADER = re.compile(
    rb"\s*\{\s*'descr':\s*'(?P<dtype>[<>|=]?[biufSU]\d{1,5})',\s*'fortran_order':\s*"
    rb"(?P<fortran>True|False),\s*'shape':\s*\((?P<shape>[\dL,\s]{0,80})\)\s*,?\s*\}\s*"
)


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
    _check_shapes(path, names, (numbers, positions, energies, forces))
    factors = _factors(path, texts, (energy, length, force), energies is not None)
    if texts["r_unit"] is None and length is None:
        _check_angstrom(path, numbers, positions)
    level = texts["theory"] or "unknown"
    return Dataset(
        numbers=numbers,
        positions=positions.astype(float) * factors.length,
        energies=None if energies is None else energies.astype(float) * factors.energy,
        forces=None if forces is None else forces.astype(float) * factors.force,
        tags=tags,
        provenance=Provenance(
            f"{level} (old labels)" if labels == "old" else level,
            path.name,
            factors.named,
            sha256_file(path),
        ),
    )


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


def _check_shapes(path: Path, names: Names, arrays: tuple[np.ndarray | None, ...]) -> None:
    numbers, positions, energies, forces = arrays
    assert numbers is not None
    atoms = len(numbers)
    if positions is None or positions.ndim != 3 or positions.shape[1:] != (atoms, 3):
        shape = None if positions is None else positions.shape
        raise FileFormatError(
            f"{path}: {names.positions}: expected shape (frames, {atoms}, 3) for the {atoms} "
            f"atoms of {names.numbers}, found {shape}"
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


# The archive


class Member(NamedTuple):
    """An array in the archive, known by its header only."""

    info: zipfile.ZipInfo
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    start: int


DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    OverflowError,
    NotImplementedError,  # a zip feature from the future
    RuntimeError,  # encrypted
    struct.error,
    ValueError,
    KeyError,
)
"""What zipfile raises on damaged archives."""


class Archive:
    """A zip of arrays in NumPy's format, opened without trust.

    Args:
        path: the file.

    Raises:
        FileFormatError: damaged, holding Python objects, or unpacking to more than it may.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGE as error:
            raise FileFormatError(f"{path}: not a whole npz archive: {_one_line(error)}") from None
        try:
            self._check_sizes()
            self.members: dict[str, Member] = {}
            self._problems: dict[str, FileFormatError] = {}
            self._read_headers()
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def __contains__(self, key: str) -> bool:
        return key in self.members or key in self._problems

    def _check_sizes(self) -> None:
        unpacked = sum(info.file_size for info in self._zip.infolist())
        packed = self.path.stat().st_size
        if unpacked > LARGEST or (unpacked > HARMLESS and unpacked > MOST_PACKED * packed):
            raise FileFormatError(
                f"{self.path}: {packed} bytes would unpack to {unpacked}; "
                "refused as a decompression bomb"
            )

    def _read_headers(self) -> None:
        """Sort the arrays into good ones and ones that only matter if they are needed."""
        for info in self._zip.infolist():
            key = info.filename.removesuffix(".npy")
            try:
                self.members[key] = self._header(info)
            except FileFormatError as error:
                self._problems[key] = error

    def _header(self, info: zipfile.ZipInfo) -> Member:
        where = f"{self.path}: {info.filename[:40]!r}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileFormatError(f"{where}: unknown compression {info.compress_type}")
        start = self._bytes(info, MOST_HEADER)
        version = start[6:7]
        if start[:6] != b"\x93NUMPY" or version not in (b"\x01", b"\x02", b"\x03"):
            raise FileFormatError(f"{where}: not an array in NumPy's format")
        prefix = 10 if version == b"\x01" else 12
        length = prefix + int.from_bytes(start[8:prefix], "little")
        header = HEADER.fullmatch(start[prefix:length])
        if length > MOST_HEADER or header is None:
            raise FileFormatError(
                f"{where}: not a plain array of numbers or text (Python objects are refused)"
            )
        shape = tuple(
            int(word.strip(b" L")) for word in header["shape"].split(b",") if word.strip()
        )
        dtype = np.dtype(header["dtype"].decode())
        if math.prod(shape) * dtype.itemsize != info.file_size - length:
            raise FileFormatError(f"{where}: shape {shape} does not fit its {info.file_size} bytes")
        return Member(info, dtype, shape, header["fortran"] == b"True", length)

    def _bytes(self, info: zipfile.ZipInfo, size: int) -> bytes:
        try:
            with self._zip.open(info) as stream:
                return stream.read(size)
        except DAMAGE as error:
            raise FileFormatError(
                f"{self.path}: {info.filename[:40]!r} is damaged: {_one_line(error)}"
            ) from None

    def array(self, key: str, kinds: str) -> np.ndarray:
        """Read one array whose type is of these kinds (numpy's letters).

        Raises:
            FileFormatError: of another kind, or damaged.
        """
        if key in self._problems:
            raise self._problems[key]
        member = self.members[key]
        if member.dtype.kind not in kinds:
            raise FileFormatError(f"{self.path}: {key}: unexpected type {member.dtype}")
        content = self._bytes(member.info, member.info.file_size + 1)
        if len(content) != member.info.file_size:
            raise FileFormatError(f"{self.path}: {key}: expected {member.info.file_size} bytes")
        flat = np.frombuffer(content, member.dtype, offset=member.start)
        return flat.reshape(member.shape, order="F" if member.fortran else "C")

    def text(self, key: str) -> str | None:
        """A word or line stored as an array of one string, bytes or not; None if missing."""
        if key not in self.members:
            return None
        member = self.members[key]
        if member.dtype.kind not in "SU" or math.prod(member.shape) != 1:
            return None
        value = self.array(key, "SU").ravel()[0]
        text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
        return "".join(c if c.isprintable() else " " for c in text).strip()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


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
