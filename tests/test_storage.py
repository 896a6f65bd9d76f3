"""Bytes on disk: whole or untouched, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from flexcalc import storage
from flexcalc.errors import BusyError, FileFormatError, FlexcalcError, InputError

ARRAYS = {"positions": np.linspace(0, 1, 12).reshape(2, 2, 3), "step": np.array([3])}
FACTS = {"step": 7, "rng": {"state": 2**127, "kind": "PCG64"}}


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk on which no file grows beyond `size`, as a full one would not let it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def failing(monkeypatch: pytest.MonkeyPatch, name: str, after: int = 0) -> None:
    """Let the `after`-th call of os.NAME and all later ones fail as on a full disk."""
    real, calls = getattr(os, name), []

    def call(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(os, name, call)


@pytest.mark.data
def test_an_error_of_a_full_disk_names_the_file_wherever_it_is_written(tmp_path):
    path, tree, copy = tmp_path / "file", tmp_path / "tree", tmp_path / "copy"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "large").write_bytes(bytes(1000))
    with storage.AppendLog(tmp_path / "log", storage.whole_lines) as log, largest_file(100):
        writers = {
            path: lambda: storage.atomic_write(path, bytes(1000)),
            tmp_path / "state": lambda: storage.save_checkpoint(tmp_path / "state", ARRAYS, FACTS),
            tmp_path / "log": lambda: log.append(bytes(1000)),
            tmp_path / "plain": lambda: storage.write_bytes(tmp_path / "plain", bytes(1000)),
            copy / "inner" / "large": lambda: storage.copy_tree(tree, copy),
        }
        for place, write in writers.items():
            with pytest.raises(OSError, match="File too large") as told:
                write()
            assert told.value.filename == str(place)


@pytest.mark.data
@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_every_step_of_a_write_that_fails_names_the_file(tmp_path, monkeypatch, call):
    failing(monkeypatch, call)
    with pytest.raises(OSError, match="No space left") as told:
        storage.atomic_write(tmp_path / "results.json", b"{}")
    monkeypatch.undo()
    assert told.value.filename == str(tmp_path / "results.json")


def test_a_copied_folder_has_the_same_files_and_replaces_the_target(tmp_path):
    (tmp_path / "one" / "deep").mkdir(parents=True)
    (tmp_path / "one" / "deep" / "a").write_text("a")
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "old").write_text("old")
    storage.copy_tree(tmp_path / "one", tmp_path / "two")
    assert [
        str(e.relative_to(tmp_path / "two")) for e in sorted((tmp_path / "two").rglob("*"))
    ] == [
        "deep",
        "deep/a",
    ]
    assert (tmp_path / "two" / "deep" / "a").read_text() == "a"


# Atomic writes


def test_an_atomic_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / "results.json"
    storage.write_json(path, {"command": "train", "sigma": 20})
    storage.write_json(path, {"command": "md"})
    assert json.loads(path.read_text()) == {"command": "md"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.data
@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open"])
def test_when_any_step_of_a_write_fails_the_old_file_is_byte_identical(tmp_path, monkeypatch, call):
    path = tmp_path / "file"
    storage.atomic_write(path, b"old")
    failing(monkeypatch, call)
    with pytest.raises(OSError, match="No space left"):
        storage.atomic_write(path, b"new and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.data
def test_a_full_disk_leaves_file_checkpoint_and_log_byte_identical(tmp_path):
    path, state, log_path = tmp_path / "file", tmp_path / "state", tmp_path / "log"
    storage.atomic_write(path, b"old")
    storage.save_checkpoint(state, ARRAYS, FACTS)
    saved = state.read_bytes()
    with storage.AppendLog(log_path, storage.whole_lines) as log:
        log.append(b"first\n")
        with largest_file(1000):
            for write in (
                lambda: storage.atomic_write(path, bytes(10_000)),
                lambda: storage.save_checkpoint(state, {"a": np.zeros(10_000)}, {}),
                lambda: log.append(b"x" * 10_000 + b"\n"),
            ):
                with pytest.raises(OSError, match="File too large"):
                    write()
        assert log_path.read_bytes() == b"first\n"
        log.append(b"second\n")
    assert path.read_bytes() == b"old"
    assert state.read_bytes() == saved
    assert log_path.read_bytes() == b"first\nsecond\n"


# Logs


@pytest.mark.data
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failed_append_takes_back_what_it_wrote(tmp_path, monkeypatch, call):
    path = tmp_path / "log"
    with storage.AppendLog(path, storage.whole_lines) as log:
        log.append(b"one\n")
        failing(monkeypatch, call)
        with pytest.raises(OSError, match="No space left"):
            log.append(b"two\n")
        monkeypatch.undo()
        assert path.read_bytes() == b"one\n"
        log.append(b"three\n")
        assert log.size == len(log) == 10
    assert path.read_bytes() == b"one\nthree\n"


@pytest.mark.data
def test_a_log_cut_at_every_byte_opens_with_its_whole_records(tmp_path):
    content = b"alpha\nbe\n\ngamma\n"
    path = tmp_path / "log"
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        with storage.AppendLog(path, storage.whole_lines) as log:
            log.append(b"next\n")
        kept = content[: content[:cut].rfind(b"\n") + 1]
        assert path.read_bytes() == kept + b"next\n"


@pytest.mark.data
def test_an_append_that_fails_after_a_cut_does_not_leave_a_hole(tmp_path, monkeypatch):
    path = tmp_path / "log"
    path.write_bytes(b"one\ncut off here")
    with storage.AppendLog(path, storage.whole_lines) as log:
        failing(monkeypatch, "fsync")
        with pytest.raises(OSError, match="No space left"):
            log.append(b"two\n")
    assert path.read_bytes() == b"one\n"


@pytest.mark.data
def test_a_log_has_one_writer(tmp_path):
    path = tmp_path / "log"
    with storage.AppendLog(path, storage.whole_lines) as log:
        log.append(b"one\ntwo")
        with pytest.raises(BusyError, match="another process is writing this file"):
            storage.AppendLog(path, storage.whole_lines)
        assert path.read_bytes() == b"one\ntwo"  # the second has not cleaned up under the first
    with storage.AppendLog(path, storage.whole_lines):
        assert path.read_bytes() == b"one\n"


def test_a_log_is_cut_back_to_a_checkpoint_but_never_stretched(tmp_path):
    with storage.AppendLog(tmp_path / "log", storage.whole_lines) as log:
        assert log  # also when empty
        log.append(b"one\ntwo\n")
        log.truncate(4)
        log.append(b"TWO\n")
        with pytest.raises(FileFormatError, match="changed since its checkpoint"):
            log.truncate(9)
    assert (tmp_path / "log").read_bytes() == b"one\nTWO\n"


# Run folders


HOLDER = """
import sys
from pathlib import Path
from flexcalc.storage import run_folder

with run_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.data
def test_a_second_run_in_a_folder_is_refused_until_the_first_is_dead(tmp_path):
    folder = tmp_path / "deep" / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match="another flexcalc process"), storage.run_folder(folder):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with storage.run_folder(folder) as held:
        assert held == folder


@pytest.mark.data
def test_taking_up_a_run_folder_removes_what_a_killed_write_left(tmp_path):
    (tmp_path / ".state.x7f.partial").write_bytes(b"half")
    (tmp_path / "partial").write_bytes(b"mine")
    (tmp_path / ".hidden").write_bytes(b"mine")
    with storage.run_folder(tmp_path):
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [".hidden", ".lock", "partial"]


@pytest.mark.inputs
def test_a_run_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(InputError, match="cannot be used as a run folder"),
        storage.run_folder(tmp_path / "file" / "run"),
    ):
        pass


# Checkpoints


def check_is(loaded: tuple[dict, dict] | None, arrays: dict, facts: dict) -> None:
    assert loaded is not None
    assert loaded[1] == facts
    assert loaded[0].keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[0][name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[0][name], array)


def test_a_checkpoint_comes_back_to_the_byte(tmp_path):
    assert storage.load_checkpoint(tmp_path / "state") is None
    arrays = ARRAYS | {"empty": np.zeros((0, 3)), "turned": np.arange(6.0).reshape(2, 3).T}
    storage.save_checkpoint(tmp_path / "state", arrays, FACTS)
    check_is(storage.load_checkpoint(tmp_path / "state"), arrays, FACTS)


@pytest.mark.data
def test_a_checkpoint_cut_at_every_byte_falls_back_to_the_one_before(tmp_path):
    path = tmp_path / "state"
    storage.save_checkpoint(path, ARRAYS, {"step": 1})
    storage.save_checkpoint(path, ARRAYS, {"step": 2})
    content = path.read_bytes()
    for cut in range(len(content)):
        path.write_bytes(content[:cut])
        check_is(storage.load_checkpoint(path), ARRAYS, {"step": 1})
    path.write_bytes(content)
    check_is(storage.load_checkpoint(path), ARRAYS, {"step": 2})


@pytest.mark.data
def test_a_checkpoint_with_any_bit_flipped_is_not_believed(tmp_path):
    path = tmp_path / "state"
    storage.save_checkpoint(path, ARRAYS, FACTS)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in range(len(content)):
        bit = 1 << int(rng.integers(8))
        content[at] ^= bit
        path.write_bytes(content)
        with pytest.raises(FlexcalcError) as caught:
            storage.load_checkpoint(path)
        assert "\n" not in str(caught.value)
        content[at] ^= bit


@pytest.mark.data
@pytest.mark.parametrize("after", [0, 1])
def test_a_checkpoint_that_cannot_be_put_in_place_loses_nothing(tmp_path, monkeypatch, after):
    """Neither when the old one cannot be moved aside, nor when the new one cannot follow."""
    path = tmp_path / "state"
    storage.save_checkpoint(path, ARRAYS, {"step": 1})
    failing(monkeypatch, "replace", after)
    with pytest.raises(OSError, match="No space left"):
        storage.save_checkpoint(path, ARRAYS, {"step": 2})
    monkeypatch.undo()
    check_is(storage.load_checkpoint(path), ARRAYS, {"step": 1})


SAVER = """
import sys
from pathlib import Path
import numpy as np
from flexcalc.storage import save_checkpoint

for step in range(10**9):
    save_checkpoint(Path(sys.argv[1]), {"step": np.full(2000, step)}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.data
@pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.long)])
def test_a_checkpoint_survives_kills_at_random_moments(tmp_path, kills):
    path = tmp_path / "state"
    rng = np.random.default_rng(kills)
    for _ in range(kills):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, path], stdout=subprocess.PIPE, text=True
        )
        acknowledged = [int(saver.stdout.readline()) for _ in range(rng.integers(1, 30))][-1]
        saver.kill()
        saver.communicate()
        arrays, facts = storage.load_checkpoint(path)
        assert facts["step"] >= acknowledged
        assert (arrays["step"] == facts["step"]).all()


def test_a_file_hash_is_that_of_its_content(tmp_path):
    Path(tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert storage.sha256_file(tmp_path / "file") == expected


@pytest.mark.data
def test_a_checkpoint_that_is_removed_leaves_no_previous_one(tmp_path):
    from flexcalc.store import FolderStore

    store = FolderStore(tmp_path)
    for value in (1.0, 2.0):
        store.put_arrays("one.checkpoint", {"x": np.array([value])}, {})
    store.remove("one.checkpoint")
    assert store.arrays("one.checkpoint") is None
    assert list(tmp_path.iterdir()) == []
