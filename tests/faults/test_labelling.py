"""The queue of reference calculations: nothing lost, nothing twice, nothing bad let through."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path

import faulty
import numpy as np
import pytest
from in_folder import label, read_labels

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.errors import (
    AddressError,
    BusyError,
    FileFormatError,
    InputError,
    LabelError,
    MissingExtraError,
    MoleculeError,
)
from flexcalc.storage import run_folder

HERE = Path(__file__).parent


def check_labels(folder: Path, frames: int, lacking: set[int] | None = None) -> None:
    """Every geometry but the lacking ones stands there once, with exactly its own label."""
    data = faulty.geometries(frames)
    found = read_labels(folder)
    expected = np.setdiff1d(np.arange(frames), sorted(lacking or ()))
    np.testing.assert_array_equal(found.tags["index"], expected)
    np.testing.assert_array_equal(found.positions, data.positions[expected])
    reference = faulty.Springs()(data.positions[expected])
    np.testing.assert_array_equal(found.energies, reference.energies)
    np.testing.assert_array_equal(found.forces, reference.forces)


def computed(calls: Path) -> list[float]:
    """First coordinates of the geometries that were computed, in order."""
    return [float(line.split()[1]) for line in calls.read_text().splitlines()]


def reasons(folder: Path) -> dict[int, str]:
    quarantine = files.read_frames(folder / "quarantine.xyz")
    assert quarantine.energies is None
    indices = quarantine.tags["index"].tolist()
    assert len(set(indices)) == len(indices)
    return dict(zip(indices, quarantine.tags["reason"].tolist(), strict=True))


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# Good labels


@pytest.mark.parametrize("workers", [1, 2])
def test_labels_are_those_of_the_direct_call(tmp_path, workers):
    data = faulty.geometries(20)
    count = label(faulty.open_faulty, data, tmp_path, workers=workers, level="ase:faulty:Faulty")
    assert (count.labelled, count.quarantined) == (20, 0)
    check_labels(tmp_path, 20)
    found = read_labels(tmp_path)
    assert found.provenance.level == "ase:faulty:Faulty"
    assert found.tags["start"].tolist() == data.tags["start"].tolist()
    np.testing.assert_array_equal(found.tags["time_fs"], data.tags["time_fs"])
    assert not (tmp_path / "quarantine.xyz").exists()


@pytest.mark.data
@pytest.mark.parametrize(
    ("workers", "frames"),
    [pytest.param(4, 400), pytest.param(16, 10_000, marks=pytest.mark.long)],
)
def test_many_workers_append_every_frame_once(tmp_path, workers, frames):
    label(faulty.open_faulty, faulty.geometries(frames), tmp_path, workers=workers)
    check_labels(tmp_path, frames)


def test_progress_tells_what_is_on_disk(tmp_path):
    seen = []

    def progress(done: int, total: int, note: str) -> None:
        on_disk = (tmp_path / "labels.xyz").read_bytes().count(b"Properties")
        seen.append((done, total, on_disk))

    opener = partial(faulty.open_faulty, seconds=0.02)
    label(opener, faulty.geometries(50), tmp_path, progress=progress)
    assert [total for _, total, _ in seen] == [50] * len(seen)
    assert [done for done, _, _ in seen] == [on_disk for _, _, on_disk in seen]
    assert seen[0][0] == 0
    assert seen[-1][0] == 50
    assert len(seen) > 3


def test_workers_share_the_cores(tmp_path, monkeypatch):
    notes = tmp_path / "threads"
    notes.mkdir()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    opener = partial(faulty.open_threads, str(notes))
    label(opener, faulty.geometries(300), tmp_path / "run", workers=cores)
    assert {note.read_text() for note in notes.iterdir()} == {"1"}
    assert "OMP_NUM_THREADS" not in os.environ


# Bad labels


WHY = {
    "nan": "not finite",
    "infinite": "not finite",
    "misshapen": r"energies \(1, 1\)",
    "atom count": r"forces \(1, 3, 3\)",
    "unconverged": "the SCF did not converge after 50 cycles",
    "raises": 'ZeroDivisionError: a bug in "foreign" code',
    "ragged": "ValueError",
    "none": "AttributeError",
    "segfault": r"worker died \(signal 11\)",
    "kill": r"worker died \(signal 9\)",
    "exit": r"worker died \(exit code 3\)",
    "hangs": "timed out after 0.5 s",
    "program hangs": "timed out after 0.5 s",
}


def check_bad_labels(folder: Path, bad: int, costly: int, **options: object) -> None:
    """As many bad geometries among as many good ones: all in quarantine, each with its reason.

    Some are of the costly kinds, after which a new worker has to start.
    """
    rng = np.random.default_rng(bad)
    frames = 2 * bad
    chosen = rng.choice(frames, size=bad, replace=False).tolist()
    kinds = dict(zip(chosen[:costly], cycle(faulty.DEADLY + faulty.HANGING), strict=False))
    kinds |= dict(zip(chosen[costly:], cycle(faulty.KINDS), strict=False))
    data = faulty.geometries(frames)
    calls = folder / "calls"
    opener = partial(faulty.open_faulty, faulty.planted(data, kinds), calls=str(calls))
    count = label(opener, data, folder / "run", timeout_s=0.5, **options)
    assert (count.labelled, count.quarantined) == (bad, bad)
    check_labels(folder / "run", frames, set(kinds))
    found = reasons(folder / "run")
    assert found.keys() == kinds.keys()
    for index, kind in kinds.items():
        assert re.search(WHY[kind], found[index]), (kind, found[index])


@pytest.mark.data
@pytest.mark.parametrize(
    ("bad", "costly"), [(60, 5), pytest.param(300, 150, marks=pytest.mark.long)]
)
def test_every_bad_label_goes_to_quarantine_with_its_reason(tmp_path, bad, costly):
    check_bad_labels(tmp_path, bad, costly, workers=2)
    for pid in (tmp_path / "calls.programs").read_text().split():
        assert eventually(lambda pid=pid: not alive(int(pid)))


@pytest.mark.data
def test_a_worker_that_somebody_kills_is_replaced_and_its_geometry_labelled(tmp_path):
    calls = tmp_path / "calls"
    opener = partial(faulty.open_faulty, calls=str(calls), seconds=0.02)
    victims = []

    def kill_once(done: int, total: int, note: str) -> None:
        if done and not victims:
            victims.append(int(calls.read_text().splitlines()[-1].split()[0]))
            os.kill(victims[0], signal.SIGKILL)

    count = label(opener, faulty.geometries(60), tmp_path / "run", progress=kill_once)
    assert (count.labelled, count.quarantined) == (60, 0)
    assert len(victims) == 1
    check_labels(tmp_path / "run", 60)


@pytest.mark.parametrize(
    ("opener", "error", "message"),
    [
        (faulty.open_missing, MissingExtraError, r"pip install 'flexcalc\[xtb\]'"),
        (faulty.open_nowhere, AddressError, "GFN7"),
        (faulty.open_buggy, AddressError, "cannot be opened: KeyError: 'basis'"),
        (faulty.open_dying, LabelError, r"died while it opened the reference \(signal 9\)"),
        (faulty.open_other_molecule, MoleculeError, "another order"),
        (lambda: None, InputError, "must be importable"),
    ],
)
def test_a_reference_that_cannot_be_opened_is_the_callers_error_and_nothing_is_written(
    tmp_path, opener, error, message
):
    with pytest.raises(error, match=message):
        label(opener, faulty.geometries(3), tmp_path / "run", workers=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.inputs
@pytest.mark.parametrize("options", [{"workers": 0}, {"timeout_s": 0.0}, {"timeout_s": np.nan}])
def test_numbers_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(InputError, match="must be positive"):
        label(faulty.open_faulty, faulty.geometries(3), tmp_path / "run", **options)


# Starting again


@pytest.mark.data
def test_starting_again_computes_only_what_is_missing(tmp_path):
    data, calls = faulty.geometries(30), tmp_path / "calls"
    faults = faulty.planted(data, {4: "nan", 17: "unconverged"})
    opener = partial(faulty.open_faulty, faults, calls=str(calls))
    first = label(opener, data, tmp_path / "run")
    before = (tmp_path / "run" / "labels.xyz").read_bytes()
    again = label(opener, data, tmp_path / "run")
    assert (again.labelled, again.quarantined) == (first.labelled, first.quarantined) == (28, 2)
    assert (tmp_path / "run" / "labels.xyz").read_bytes() == before
    assert sorted(computed(calls)) == sorted(data.positions[:, 0, 0].tolist())

    (tmp_path / "run" / "quarantine.xyz").unlink()
    healed = label(partial(faulty.open_faulty, calls=str(calls)), data, tmp_path / "run")
    assert (healed.labelled, healed.quarantined) == (30, 0)
    check_labels(tmp_path / "run", 30)
    assert len(computed(calls)) == 32


@pytest.mark.data
def test_more_geometries_may_follow_the_ones_already_labelled(tmp_path):
    data = faulty.geometries(30)
    label(faulty.open_faulty, data[:10], tmp_path)
    assert label(faulty.open_faulty, data, tmp_path).labelled == 30
    check_labels(tmp_path, 30)


@pytest.mark.data
def test_labels_cut_by_a_kill_are_computed_again(tmp_path):
    data = faulty.geometries(6)
    label(faulty.open_faulty, data, tmp_path)
    content = (tmp_path / "labels.xyz").read_bytes()
    (tmp_path / "labels.xyz").write_bytes(content[:-7])
    assert len(read_labels(tmp_path)) == 5
    label(faulty.open_faulty, data, tmp_path)
    check_labels(tmp_path, 6)
    assert (tmp_path / "labels.xyz").read_bytes() == content


@pytest.mark.data
def test_labels_of_something_else_are_not_continued(tmp_path):
    data = faulty.geometries(8)
    label(faulty.open_faulty, data, tmp_path, level="springs")
    before = (tmp_path / "labels.xyz").read_bytes()
    for other, level, message in (
        (faulty.geometries(8, seed=1), "springs", "holds other geometries"),
        (data[::-1], "springs", "geometry 0 differs"),
        (data[:4], "springs", "geometry 4 differs"),
        (data, "ropes", "holds labels of springs, not of ropes"),
    ):
        with pytest.raises(InputError, match=message):
            label(faulty.open_faulty, other, tmp_path, level=level)
    assert (tmp_path / "labels.xyz").read_bytes() == before


@pytest.mark.data
def test_a_frame_that_stands_twice_in_a_log_is_noticed(tmp_path):
    data = faulty.geometries(3)
    label(faulty.open_faulty, data, tmp_path)
    path = tmp_path / "labels.xyz"
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(FileFormatError, match="twice"):
        label(faulty.open_faulty, data, tmp_path)
    with pytest.raises(FileFormatError, match="twice"):
        read_labels(tmp_path)


# Kills


def start_run(folder: Path, frames: int, workers: int, *how: object) -> subprocess.Popen:
    """A labelling run in a process of its own, which tells what it has acknowledged."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "label_run.py"), *map(str, (folder, frames, workers, *how))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_springs(
    folder: Path, frames: int, workers: int, seconds: float, hangs_at: int = -1
) -> subprocess.Popen:
    return start_run(folder, frames, workers, seconds, folder.with_suffix(".calls"), hangs_at)


def check_kills(
    start: Callable[[Path], subprocess.Popen],
    check: Callable[[Dataset], None],
    folder: Path,
    kills: int,
    frames: int,
) -> None:
    """Kill runs at random moments until enough have been killed, and look after each.

    Args:
        start: starts a run in a folder.
        check: compares labels with those of the direct call.
        folder: gets a run folder for every run that finishes.
        kills: how many.
        frames: of a run.
    """
    rng = np.random.default_rng(kills)
    done = rounds = 0
    while done < kills:
        run = folder / f"run-{rounds}"
        process = start(run)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.1, 2.0))
        process.kill()
        told, problems = process.communicate()
        if process.returncode != -signal.SIGKILL:  # a worker killed at birth may complain
            assert not problems
        acknowledged = [int(line) for line in told.split() if line.isdecimal()]
        if acknowledged and acknowledged[-1]:
            assert len(read_labels(run)) >= acknowledged[-1]
        done += process.returncode == -signal.SIGKILL
        if "finished" in told:
            assert len(read_labels(run)) == frames
            check(read_labels(run))
            rounds += 1
    process = start(folder / f"run-{rounds}")
    assert process.communicate()[0].endswith("finished\n")
    assert len(read_labels(folder / f"run-{rounds}")) == frames
    check(read_labels(folder / f"run-{rounds}"))


def check_springs(found: Dataset) -> None:
    reference = faulty.Springs()(found.positions)
    np.testing.assert_array_equal(found.energies, reference.energies)
    np.testing.assert_array_equal(found.forces, reference.forces)


@pytest.mark.data
@pytest.mark.parametrize(
    "kills",
    [
        5,
        pytest.param(50, marks=pytest.mark.long),
        pytest.param(500, marks=pytest.mark.long),
    ],
)
def test_kills_at_random_moments_lose_nothing_and_repeat_nothing(tmp_path, kills):
    frames = 300 if kills < 10 else 1500

    def start(folder: Path) -> subprocess.Popen:
        return start_springs(folder, frames, 2, 0.004)

    check_kills(start, check_springs, tmp_path, kills, frames)


@pytest.mark.data
@pytest.mark.parametrize("kills", [0, pytest.param(50, marks=pytest.mark.long)])
def test_kills_in_a_gfn2_run_lose_nothing_and_repeat_nothing(tmp_path, kills):
    pytest.importorskip("tblite")
    frames = 1000 if kills else 20

    def start(folder: Path) -> subprocess.Popen:
        return start_run(folder, frames, 2, "xtb:GFN2-xTB")

    def check(found: Dataset) -> None:
        np.testing.assert_array_equal(found.positions, faulty.ethanol(frames).positions)
        # In a process of its own: other tests may have imported quippy into this one, whose BLAS
        # tblite then takes, and which rounds otherwise.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as clean:
            direct = clean.submit(faulty.gfn2, found.positions).result()
        np.testing.assert_array_equal(found.energies, direct.energies)
        np.testing.assert_array_equal(found.forces, direct.forces)

    check_kills(start, check, tmp_path, kills, frames)


def worker_pids(folder: Path) -> set[int]:
    calls = folder.with_suffix(".calls")
    if not calls.exists():
        return set()
    return {int(line.split()[0]) for line in calls.read_text().splitlines() if " " in line}


@pytest.mark.data
def test_no_worker_outlives_a_killed_run_even_one_that_hangs(tmp_path):
    process = start_springs(tmp_path / "run", 400, 2, 0.01, hangs_at=5)
    assert eventually(lambda: len(worker_pids(tmp_path / "run")) == 2, 30)
    process.kill()
    process.communicate()
    for pid in worker_pids(tmp_path / "run"):
        assert eventually(lambda pid=pid: not alive(pid)), "a worker was left behind"


@pytest.mark.data
def test_an_interrupt_keeps_what_is_acknowledged_and_leaves_no_worker(tmp_path):
    process = start_springs(tmp_path / "run", 2000, 2, 0.01)
    told = [process.stdout.readline() for _ in range(4)]
    process.send_signal(signal.SIGINT)
    rest, problems = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert problems.count("KeyboardInterrupt") == 1  # that of the run; its workers are silent
    acknowledged = [int(line) for line in (*told, *rest.split()) if line.strip().isdecimal()]
    found = read_labels(tmp_path / "run")
    assert 0 < acknowledged[-1] <= len(found) < 2000
    for pid in worker_pids(tmp_path / "run"):
        assert not alive(pid)


@pytest.mark.data
def test_two_runs_in_one_folder_are_not_allowed(tmp_path):
    process = start_springs(tmp_path / "run", 400, 1, 0.01)
    try:
        assert process.stdout.readline() == "0\n"
        with pytest.raises(BusyError), run_folder(tmp_path / "run"):
            pass
        with pytest.raises(BusyError):  # nor without the lock of the folder
            label(faulty.open_faulty, faulty.geometries(400), tmp_path / "run")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.data
def test_a_full_disk_ends_the_run_with_whole_logs_and_room_lets_it_go_on(tmp_path):
    data = faulty.geometries(40)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(LabelError, match=r"labels\.xyz: cannot be written"):
            label(partial(faulty.open_faulty, seconds=0.05), data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    content = (tmp_path / "labels.xyz").read_bytes()
    assert 0 < files.whole_frames(content) == len(content) <= 6000
    label(faulty.open_faulty, data, tmp_path)
    check_labels(tmp_path, 40)
    assert (tmp_path / "labels.xyz").read_bytes().startswith(content)


def test_reading_labels_that_are_not_there_is_an_error_of_the_tree(tmp_path):
    with pytest.raises(FileFormatError, match=r"labels\.xyz"):
        read_labels(tmp_path)
    (tmp_path / "labels.xyz").write_bytes(files.frame_bytes(faulty.NUMBERS, faulty.REST))
    with pytest.raises(FileFormatError, match="lacks the index"):
        read_labels(tmp_path)
