"""A zip of NumPy arrays, opened without trust.

Nothing is unpickled, no header is evaluated, and every size is checked in the zip directory
and in the header of the array before the array is read.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.storage import open_regular

LARGEST = 4 << 30
"""Bytes the arrays of one file may unpack to."""

HARMLESS = 64 << 20
MOST_PACKED = 40
"""A file that unpacks to more than HARMLESS bytes may not do so by more than this factor:
coordinates and forces are nearly random numbers and pack by two or three at most."""

MOST_MEMBERS = 10_000
MOST_HEADER = 4096
MOST_DIMENSIONS = 32
"""What every version of NumPy can hold."""

DICTIONARY = re.compile(rb"\s*\{(?P<entries>.*)\}\s*", re.DOTALL)
ENTRY = re.compile(
    rb"""\s*(?P<quote>['"])(?P<key>descr|fortran_order|shape)(?P=quote)\s*:\s*
    (?P<value>'[^']*'|"[^"]*"|True|False|\([\dL,\s]*\))\s*(?:,|$)\s*""",
    re.VERBOSE,
)
"""A key of a header and its value; they may come in any order."""
DTYPE = re.compile(r"[<>|=]?[biufSU]\d{1,5}")
LENGTH = re.compile(rb"\s*(\d{1,19})L?\s*")
SURROGATES, LAST_CODE = (0xD800, 0xDFFF), 0x10FFFF
"""Code points that no text has, and the last that one can have."""


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
        self._stream = open_regular(path)
        try:
            self._zip = zipfile.ZipFile(self._stream)
        except DAMAGE as error:
            self._stream.close()
            raise FileFormatError(
                f"{path}: an incomplete npz archive: {_one_line(error)}"
            ) from None
        try:
            self._check_sizes()
            self.members: dict[str, Member] = {}
            self._problems: dict[str, FileFormatError] = {}
            self._read_headers()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no array can be read any more."""
        self._zip.close()
        self._stream.close()

    def __contains__(self, key: str) -> bool:
        return key in self.members or key in self._problems

    def _check_sizes(self) -> None:
        if len(self._zip.infolist()) > MOST_MEMBERS:
            raise FileFormatError(f"{self.path}: more than the {MOST_MEMBERS} arrays that are read")
        unpacked = sum(info.file_size for info in self._zip.infolist())
        packed = os.fstat(self._stream.fileno()).st_size
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
        found = None if length > MOST_HEADER else _parsed(start[prefix:length])
        if found is None:
            raise FileFormatError(
                f"{where}: not a plain array of numbers or text (Python objects are refused)"
            )
        dtype, shape, fortran = found
        # NumPy multiplies the lengths that are not zero, also of an array without elements.
        stretched = math.prod(size or 1 for size in shape) * max(dtype.itemsize, 1)
        fits = math.prod(shape) * dtype.itemsize == info.file_size - length
        if not fits or len(shape) > MOST_DIMENSIONS or stretched > LARGEST:
            raise FileFormatError(f"{where}: its shape does not fit its {info.file_size} bytes")
        return Member(info, dtype, shape, fortran, length)

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
        if not member.dtype.itemsize or not math.prod(member.shape):
            return np.zeros(member.shape, member.dtype)
        flat = np.frombuffer(content, member.dtype, offset=member.start)
        native = self._native(key, flat)
        return native.reshape(member.shape, order="F" if member.fortran else "C")

    def _native(self, key: str, flat: np.ndarray) -> np.ndarray:
        """The same numbers or texts as this machine has them."""
        kind, size = flat.dtype.kind, flat.dtype.itemsize
        if kind == "b":
            return flat.view(np.uint8) != 0
        if kind == "U":
            codes = flat.view(np.dtype(np.uint32).newbyteorder(flat.dtype.byteorder))
            low, high = SURROGATES
            if ((codes > LAST_CODE) | ((codes >= low) & (codes <= high))).any():
                raise FileFormatError(f"{self.path}: {key}: holds text that is not Unicode")
        if kind == "f" and np.isnan(flat).any():  # some kinds of which signal when they are used
            flat = np.where(np.isnan(flat), flat.dtype.type(np.nan), flat)
        with np.errstate(all="ignore"):  # what is too large becomes infinite, and is refused later
            wanted = np.dtype(float) if kind == "f" and size > 8 else flat.dtype.newbyteorder("=")
            return flat.astype(wanted, copy=False)

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


def _parsed(header: bytes) -> tuple[np.dtype, tuple[int, ...], bool] | None:
    """Type, shape and whether the first index runs fastest; None if it is no plain array."""
    whole = DICTIONARY.fullmatch(header)
    entries: dict[bytes, bytes] = {}
    rest = whole["entries"] if whole else b""
    while rest:
        entry = ENTRY.match(rest)
        if entry is None or entry["key"] in entries:
            return None
        entries[entry["key"]], rest = entry["value"], rest[entry.end() :]
    if len(entries) != 3 or entries[b"fortran_order"] not in (b"True", b"False"):
        return None
    named, listed = entries[b"descr"], entries[b"shape"]
    if named[:1] not in (b"'", b'"') or listed[:1] != b"(":
        return None
    text = named[1:-1].decode("latin-1")
    words = listed[1:-1].split(b",")
    words = words[:-1] if not words[-1].strip() else words  # a comma at the end
    lengths = [LENGTH.fullmatch(word) for word in words]
    try:
        dtype = np.dtype(text if DTYPE.fullmatch(text) else "O")
    except (TypeError, ValueError):
        return None  # such as f3
    if dtype.hasobject or not all(lengths):
        return None
    shape = tuple(int(length[1]) for length in lengths if length)
    return dtype, shape, entries[b"fortran_order"] == b"True"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
