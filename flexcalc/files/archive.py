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

MOST_HEADER = 4096
HEADER = re.compile(
    rb"\s*\{\s*'descr':\s*'(?P<dtype>[<>|=]?[biufSU]\d{1,5})',\s*'fortran_order':\s*"
    rb"(?P<fortran>True|False),\s*'shape':\s*\((?P<shape>[\dL,\s]{0,80})\)\s*,?\s*\}\s*"
)


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
            raise FileFormatError(f"{path}: not a whole npz archive: {_one_line(error)}") from None
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
