"""Safe files: atomic writes, append-only logs, checkpoints, hashes, and the lock of a run folder.

They survive a killed process, a full disk and a second process.

Files that a user or another file names are opened by `open_regular`: a link to /dev/zero has no
end, and a pipe may never send anything.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.errors import BusyError, FileFormatError, InputError

type JSON = bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None
"""A value that a JSON file can hold."""

PARTIAL = ".partial"
"""Suffix of a file or model folder while it is being written."""

LARGEST = 4 << 30
"""Maximum size of a file that is read, in bytes."""
LARGEST_JSON = 64 << 20
"""Maximum size of a JSON file that is read, in bytes."""
MAX_DEPTH_JSON = 100
"""Maximum nesting depth of a JSON file."""


@contextmanager
def naming(place: Path | str) -> Iterator[None]:
    """Add the name of the written file to an OSError that the block raises.

    The error of a failed write to an open file (ENOSPC, EDQUOT, EFBIG, EIO) has no name.
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
        OSError: with the name of the file.
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


NOT_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path | str, most: int | None = LARGEST) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Pipes are refused, including a shell's `<(command)` and /dev/stdin: files are read more than
    once, as results record their hash.

    Args:
        path: the file.
        most: maximum size in bytes; None if it is not read completely.

    Raises:
        FileFormatError: a folder, a device, a pipe or a socket, or more than `most` bytes.
        OSError: it is missing or not readable.
    """
    check_regular(path, most)
    # O_NONBLOCK: if a pipe has replaced the file meanwhile, open would wait for its writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_kind(path, os.fstat(handle), most)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def check_regular(path: Path | str, most: int | None = LARGEST) -> None:
    """The checks of `open_regular`, for files that another package opens by name."""
    _check_kind(path, os.stat(path), most)


def _check_kind(path: Path | str, found: os.stat_result, most: int | None) -> None:
    for is_kind, name in NOT_FILES:
        if is_kind(found.st_mode):
            more = "; save what it sends to a file first" if name == "a pipe" else ""
            raise FileFormatError(f"{path}: expected a file, found {name}{more}")
    if most is not None and found.st_size > most:
        raise FileFormatError(
            f"{path}: larger than the {most} bytes that are read ({found.st_size} bytes)"
        )


def read_file(path: Path | str, most: int = LARGEST) -> bytes:
    """The content of a file; see `open_regular` for what it raises."""
    with open_regular(path, most) as stream:
        # Only the actual size: reading `most` would allocate that much memory.
        content = stream.read(os.fstat(stream.fileno()).st_size + 1)
        while len(content) <= most and (more := stream.read(1 << 20)):
            content += more
    if len(content) > most:  # it grows, or is in /proc, where sizes are zero
        raise FileFormatError(f"{path}: larger than the {most} bytes that are read")
    return content


def read_text(path: Path | str, most: int = LARGEST, errors: str = "strict") -> str:
    """The content of a UTF-8 text file, with line ends converted to newlines.

    Raises:
        FileFormatError: not UTF-8 (unless `errors` handles it), or see `open_regular`.
        OSError: it is missing or not readable.
    """
    try:
        text = read_file(path, most).decode(errors=errors)
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path}: byte {error.start} is not UTF-8 text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(
    path: Path | str,
    most: int = LARGEST_JSON,
    constant: Callable[[str], float] | None = None,
) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        most: maximum size in bytes.
        constant: converts NaN and Infinity, which are not JSON; by default they are kept.

    Raises:
        FileFormatError: not JSON, too deeply nested, or see `open_regular`.
        OSError: it is missing or not readable.
    """
    content = read_file(path, most)
    try:
        found = json.loads(content.decode(), parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path}: not whole JSON: {error}") from None
    level = [found] if isinstance(found, dict | list) else []
    for _ in range(MAX_DEPTH_JSON):
        level = [inside for one in level for inside in _inside(one)]
    if level:
        raise FileFormatError(f"{path}: lists or tables in each other, over {MAX_DEPTH_JSON} deep")
    return found


def _inside(value: Any) -> list[Any]:
    """The lists and tables in a list or table."""
    values = value.values() if isinstance(value, dict) else value
    return [one for one in values if isinstance(one, dict | list)] if values else []


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file, as hex; see `open_regular` for what it raises."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fresh_folder(path: Path, kind: str = "new") -> Path:
    """Make an empty folder next to a path, under a name that marks it as unfinished.

    Its permissions follow the user's umask.

    Args:
        path: the folder that it will replace.
        kind: part of its name.
    """
    path = Path(path)
    while True:
        found = path.with_name(f".{path.name}.{kind}.{secrets.token_hex(4)}{PARTIAL}")
        with suppress(FileExistsError):
            found.mkdir()
            return found


def atomic_write(path: Path, content: str | bytes, *, keep: Path | None = None) -> None:
    """Replace a file atomically: temporary file, fsync, rename. A failure leaves the old file.

    Args:
        path: the file.
        content: complete new content.
        keep: path to which the old file is moved, if any.

    Raises:
        OSError: the disk is full or the folder is not writable; the old file is untouched.
    """
    path = Path(path)
    with naming(path):
        _replace(path, content.encode() if isinstance(content, str) else content, keep)


def _replace(path: Path, data: bytes, keep: Path | None) -> None:
    name = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(name, path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable (fsync)."""
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
    """An append-only file of records; `append` returns when a record is on disk.

    Args:
        path: the file; created if missing.
        whole: returns the length of the complete records, from the bytes of the file, to which it
            must not keep a reference. A record after that, cut off by a killed process, is removed
            on opening.

    Raises:
        BusyError: another process, or another log of this process, appends to the file.
    """

    def __init__(self, path: Path, whole: Callable[[bytes], int]):
        self.path = Path(path)
        existed = self.path.exists()
        if existed:  # writing into a pipe would wait for its reader
            check_regular(self.path, None)
        # Unbuffered: the remainder of a failed write must not be written later.
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
        """Write one or more complete records, and return when they are on disk.

        Raises:
            OSError: the disk is full; a partly written record is removed.
        """
        with naming(self.path):
            try:
                _write_all(self._stream.fileno(), record)
                os.fsync(self._stream.fileno())
            except BaseException:
                os.ftruncate(self._stream.fileno(), self.size)
                raise
        self.size += len(record)

    def extend(self, records: Sequence[Any]) -> None:
        """Append several records."""
        self.append(b"".join(records))

    def truncate(self, size: int) -> None:
        """Truncate the file to an earlier `size`, for a restart from a checkpoint.

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
        """True, even if the log is empty."""
        return True

    def close(self) -> None:
        """Close the file; further appends fail."""
        self._stream.close()

    def __enter__(self) -> AppendLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole_part(path: Path, length: int, whole: Callable[[bytes], int]) -> int:
    """The length from `whole`, of a memory-mapped file: a trajectory may be larger than memory."""
    if not length:
        return 0
    with (
        open_regular(path, None) as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        return whole(text)  # type: ignore[arg-type]


def _lock(handle: int, busy: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BusyError(f"{busy}; wait for it or choose another --output") from None


def whole_lines(content: bytes) -> int:
    """Length of the complete lines of a text; the `whole` of a log of lines."""
    return content.rfind(b"\n") + 1


@contextmanager
def run_folder(path: Path) -> Iterator[Path]:
    """Create a run folder, or reopen one to resume its run, and lock it.

    Raises:
        BusyError: another process has locked it.
        InputError: it cannot be created; or it contains links to the outside, or pipes.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _check_inside(path)
        handle = os.open(path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{path}: cannot be used as a run folder: {error.strerror}") from None
    try:
        _lock(handle, f"{path}: another flexcalc process is using this run folder")
        for leftover in path.glob(f".*{PARTIAL}"):  # of a killed write
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        yield path
    finally:
        os.close(handle)


def _check_inside(folder: Path) -> None:
    """Refuse a folder with links to the outside, through which a run would write elsewhere.

    The author of a run folder must not be able to change other files of its user.

    Raises:
        InputError: it has a link to the outside, or an entry that is neither file nor folder.
    """
    home = folder.resolve()
    for root, folders, files in os.walk(folder):
        for entry in (Path(root, name) for name in (*folders, *files)):
            if entry.is_symlink():
                if not entry.resolve().is_relative_to(home):
                    raise InputError(
                        f"{entry}: a link that leads out of the run folder, in which all is "
                        "written; put a copy there, or choose another --output"
                    )
            elif not (entry.is_file() or entry.is_dir()):
                raise InputError(f"{entry}: expected a file or a folder; choose another --output")


def save_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping) -> None:
    """Write arrays and JSON facts as a checkpoint, and keep the previous one as `NAME.previous`.

    Args:
        path: the file, in safetensors format with the facts and a hash in its header.
        arrays: name -> array, restored to the byte.
        facts: JSON data, such as a step number or the state of a random generator.
    """
    from safetensors.numpy import save

    path = Path(path)
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {"facts": json.dumps(facts), "sha256": _digest(arrays, json.dumps(facts))}
    atomic_write(path, save(arrays, metadata=header), keep=_previous(path))


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], dict] | None:
    """The newest valid checkpoint as (arrays, facts), or None if there is none.

    Raises:
        FileFormatError: all checkpoints are damaged.
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
    """Remove a checkpoint and the previous one, if they exist."""
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
        check_regular(path)
        with safe_open(path, framework="numpy") as stream:
            header = stream.metadata() or {}
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if header["sha256"] != _digest(arrays, header["facts"]):
            raise FileFormatError(f"{path}: the checkpoint's hash does not fit its content")
        return arrays, json.loads(header["facts"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise FileFormatError(f"{path}: not a whole checkpoint: {error}") from None
