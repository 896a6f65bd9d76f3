"""Bytes on disk that survive a kill, a full disk and a second process.

Nothing here knows about molecules: atomic writes, an append-only log, checkpoints, hashes and
the lock of a run folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from flexcalc.errors import BusyError, FileFormatError, InputError

PARTIAL = ".partial"
"""Ends the name of a file or of a model folder that is being written."""


@contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """Put the name of what is written into the errors of the system that the block raises.

    A write to an open file that fails (ENOSPC, EDQUOT, EFBIG, EIO) does not know its name.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename, error.filename2 = str(place), None
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file that need not survive a crash, such as a temporary one.

    Raises:
        OSError: with the name of the file, whatever failed.
    """
    with naming(path):
        Path(path).write_bytes(content)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder, replacing the target.

    Raises:
        OSError: with the name of the file that could not be written.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for entry in sorted(source.rglob("*")):
        copy = target / entry.relative_to(source)
        if entry.is_dir():
            copy.mkdir()
        else:
            copy_file(entry, copy)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file with its times.

    Raises:
        OSError: with the name of the copy.
    """
    with naming(target):
        shutil.copy2(source, target)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def atomic_write(path: Path, content: str | bytes, *, keep: Path | None = None) -> None:
    """Replace a file whole: temporary file, fsync, rename. A failure leaves the old file.

    Args:
        path: the file.
        content: all of it.
        keep: where the old file is kept, if it is to be kept.

    Raises:
        OSError: the disk is full or the folder is not writable; the old file is untouched.
    """
    path = Path(path)
    with naming(path):
        _replace(path, content.encode() if isinstance(content, str) else content, keep)


def _replace(path: Path, data: bytes, keep: Path | None) -> None:
    handle, name = tempfile.mkstemp(PARTIAL, f".{path.name}.", path.parent)
    try:
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.chmod(name, 0o644)
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def sync_folder(folder: Path) -> None:
    """Make a rename or a new name in the folder durable."""
    with naming(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, content: Mapping | Sequence) -> None:
    """Write JSON atomically, indented, with its keys in the order given."""
    atomic_write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


class AppendLog:
    """An append-only file of records; a record counts once it is on disk.

    Args:
        path: the file; made if missing.
        whole: maps the bytes of the file, which it may search and slice but not hold on to, to
            the length of its whole records. What lies beyond was cut by a kill and is removed on
            opening.

    Raises:
        BusyError: another process, or another log of this one, is appending to the file.
    """

    def __init__(self, path: Path, whole: Callable[[bytes], int]):
        self.path = Path(path)
        existed = self.path.exists()
        # Without a buffer: what a failed write has left in one would be written later.
        self._stream = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        try:
            _lock(self._stream.fileno(), f"{self.path}: another process is writing this file")
            length = os.fstat(self._stream.fileno()).st_size
            self.size = _whole_part(self.path, length, whole)  # bytes on disk
            if self.size != length:
                self._stream.truncate(self.size)
                os.fsync(self._stream.fileno())
            if not existed:
                sync_folder(self.path.parent)
        except BaseException:
            self._stream.close()
            raise

    def append(self, record: bytes) -> None:
        """Write one or more whole records and return when they are on disk.

        Raises:
            OSError: the disk is full; what was written of the record is taken back.
        """
        with naming(self.path):
            try:
                _write_all(self._stream.fileno(), record)
                os.fsync(self._stream.fileno())
            except BaseException:
                os.ftruncate(self._stream.fileno(), self.size)
                raise
        self.size += len(record)

    def truncate(self, size: int) -> None:
        """Cut the file back to an earlier `size`, as a restart from a checkpoint needs.

        Raises:
            FileFormatError: the file is already shorter, so records were lost.
        """
        if size > self.size:
            raise FileFormatError(
                f"{self.path}: expected at least {size} bytes, found {self.size}; "
                "the file was changed since its checkpoint, so start in another folder"
            )
        if size < self.size:
            with naming(self.path):
                os.ftruncate(self._stream.fileno(), size)
                os.fsync(self._stream.fileno())
            self.size = size

    def __len__(self) -> int:
        """Bytes on disk."""
        return self.size

    def __bool__(self) -> bool:
        """A log is a log even when it is empty."""
        return True

    def close(self) -> None:
        """Close the file; further appends fail."""
        self._stream.close()

    def __enter__(self) -> AppendLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_part(path: Path, length: int, whole: Callable[[bytes], int]) -> int:
    """What `whole` says of a file, which is mapped: a trajectory may be larger than memory."""
    if not length:
        return 0
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return whole(text)  # type: ignore[arg-type]


def _lock(handle: int, busy: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(f"{busy}; wait for it or choose another --output") from None


def whole_lines(content: bytes) -> int:
    """Length of the whole lines of a text; the `whole` of a log of lines."""
    return content.rfind(b"\n") + 1


@contextmanager
def run_folder(path: Path) -> Iterator[Path]:
    """Make a run folder, or take up an old one, and hold it against other processes.

    Raises:
        BusyError: another process holds it.
        InputError: it cannot be made.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InputError(f"{path}: cannot be used as a run folder: {error.strerror}") from None
    try:
        _lock(handle, f"{path}: another flexcalc process is using this run folder")
        for leftover in path.glob(f".*{PARTIAL}"):  # of a write that was killed
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        yield path
    finally:
        os.close(handle)


def save_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping) -> None:
    """Write arrays and JSON facts as one checkpoint, keeping the one before as `NAME.previous`.

    Args:
        path: the file, in safetensors format with the facts and a hash in its header.
        arrays: name -> array, restored to the byte.
        facts: anything JSON can hold, such as a step number or a generator's state.
    """
    from safetensors.numpy import save

    path = Path(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {"facts": json.dumps(facts), "sha256": _digest(arrays, json.dumps(facts))}
    atomic_write(path, save(arrays, metadata=header), keep=_previous(path))


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """The newest whole checkpoint as (arrays, facts), or None where there never was one.

    Raises:
        FileFormatError: checkpoints exist and every one is damaged.
    """
    found = [candidate for candidate in (Path(path), _previous(path)) if candidate.exists()]
    for candidate in found:
        try:
            return _read_checkpoint(candidate)
        except FileFormatError as error:
            problem = error
    if found:
        raise problem
    return None


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and the one before it; neither needs to be there."""
    for candidate in (Path(path), _previous(path)):
        candidate.unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return Path(path).with_name(Path(path).name + ".previous")


def _digest(arrays: Mapping[str, np.ndarray], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].dtype}{arrays[name].shape}".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _read_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            header = stream.metadata() or {}
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if header["sha256"] != _digest(arrays, header["facts"]):
            raise FileFormatError(f"{path}: the checkpoint's hash does not fit its content")
        return arrays, json.loads(header["facts"])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise FileFormatError(f"{path}: not a whole checkpoint: {error}") from None
