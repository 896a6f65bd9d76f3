"""Trainings of a benchmark side by side: local processes and Dask workers that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faulty
import pytest

from flexcalc.benchmarking.job import Fit
from flexcalc.benchmarking.trainings import run_pieces
from flexcalc.errors import ConfigError, MissingExtraError, WorkerError
from flexcalc.parallel.workers import WorkerOptions
from flexcalc.progress import silent
from flexcalc.store import FolderStore


@contextmanager
def two_workers() -> Iterator[Any]:
    """A Dask cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with two_workers() as cluster:
        yield cluster


def trained(folder: Path, pieces: dict[str, Any], **options: Any) -> dict[str, dict]:
    """What came of pieces of work by their names, in a run folder."""
    folder.mkdir(exist_ok=True)
    (folder / "minima.xyz").write_text("of this run\n")
    job: Any = SimpleNamespace(
        worker_options=WorkerOptions(**options), folder=folder, store=FolderStore(folder)
    )
    found = {}

    def taken(fit: Fit, result: dict) -> None:
        found[fit.label] = result

    run_pieces(job, {Fit("turn", name, 1): piece for name, piece in pieces.items()}, taken, silent)
    return found


def steps_of(folder: Path) -> list[tuple[int, int]]:
    """Steps that are done in a training's folder, each with the process that did it."""
    path = folder / "steps"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(step), int(process)) for step, process in map(str.split, lines)]


def wait_for(what: Callable[[], Any], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.data
def test_a_training_whose_dask_worker_is_killed_goes_on_with_another_one(tmp_path):
    names = ("a", "b", "c")
    pieces = {name: partial(faulty.train_slowly, tmp_path / name, 10, 0.1) for name in names}
    for name in names:
        (tmp_path / name).mkdir()

    def kill() -> None:
        wait_for(lambda: len(steps_of(tmp_path / "a")) >= 3)
        os.kill(parent_of(steps_of(tmp_path / "a")[0][1]), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with two_workers() as cluster:
        killer.start()
        found = trained(tmp_path / "run", pieces, scheduler=cluster.scheduler_address)
        killer.join()
    assert found == {name: {"steps": 10} for name in names}
    for name in names:
        assert [step for step, _ in steps_of(tmp_path / name)] == list(range(10))
    assert len({process for _, process in steps_of(tmp_path / "a")}) == 2


@pytest.mark.data
def test_trainings_on_dask_end_when_nobody_waits_for_them(tmp_path, cluster):
    """The first failure stops the others, whose folders are then free for the next attempt."""
    (tmp_path / "long").mkdir()
    pieces = {
        "long": partial(faulty.train_slowly, tmp_path / "long", 1000, 0.05),
        "bad": partial(faulty.train_slowly, tmp_path / "bad", 1000, 0.05, die_at=40),
    }
    (tmp_path / "bad").mkdir()
    with pytest.raises(WorkerError, match=r"turn, bad, 1 points: worker died \(signal 9\)"):
        trained(tmp_path / "run", pieces, scheduler=cluster.scheduler_address)
    _, process = steps_of(tmp_path / "long")[-1]
    wait_for(lambda: not Path(f"/proc/{process}").exists())
    again = {"long": partial(faulty.train_slowly, tmp_path / "long", 1, 0.0)}
    assert trained(tmp_path / "run", again) == {"long": {"steps": 1}}


@pytest.mark.parametrize("dask", [False, True])
def test_an_error_of_a_training_is_the_callers(tmp_path, request, dask):
    options: dict[str, Any] = {"workers": 2}
    if dask:
        options = {"scheduler": request.getfixturevalue("cluster").scheduler_address}
    pieces = {"one": partial(faulty.refuse_to_train), "two": partial(faulty.refuse_to_train)}
    with pytest.raises(ConfigError, match="points: too many"):
        trained(tmp_path / "run", pieces, **options)


def test_a_training_that_is_killed_here_is_named(tmp_path):
    pieces = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pieces[name] = partial(faulty.train_slowly, tmp_path / name, 2, 0.0, die_at=1)
    with pytest.raises(WorkerError, match=r"points: worker died \(signal 9\).*goes on from here"):
        trained(tmp_path / "run", pieces, workers=2)


def test_dask_workers_have_to_see_the_run_folder(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("flexcalc.parallel.dask.sha256_file", lambda path: "of another file")
    pieces = {"one": partial(faulty.refuse_to_train)}
    with pytest.raises(WorkerError, match=r"does not see .*/run/minima.xyz as this machine does"):
        trained(tmp_path / "run", pieces, scheduler=cluster.scheduler_address)


def test_trainings_are_jobs_of_a_queue_where_a_table_asks_for_them(tmp_path, slurm):
    pytest.importorskip("dask_jobqueue")
    table = {"cluster": "SLURM", "cores": 1, "memory": "1GB", "host": "127.0.0.1", "tls": True}
    (tmp_path / "a").mkdir()
    pieces = {"a": partial(faulty.train_slowly, tmp_path / "a", 2, 0.0)}
    assert trained(tmp_path / "run", pieces, scheduler=table) == {"a": {"steps": 2}}
    assert slurm.jobs == 1
    assert slurm.read("cancelled") == ["1"]


@pytest.mark.inputs
def test_missing_dask_names_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'flexcalc\[dask\]'"):
        WorkerOptions(scheduler="tcp://127.0.0.1:1").check()


@pytest.mark.data
def test_local_trainings_end_with_the_process_that_started_them(tmp_path):
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from functools import partial; from pathlib import Path\n"
        "import faulty, test_trainings\n"
        "if __name__ == '__main__':\n"
        "    place = Path(sys.argv[1])\n"
        "    work = {n: partial(faulty.train_slowly, place / n, 10**4, 0.05) for n in 'ab'}\n"
        "    test_trainings.trained(place / 'run', work, workers=2)\n"
    )
    for name in "ab":
        (tmp_path / name).mkdir()
    (tmp_path / "run.py").write_text(code)
    words = [sys.executable, str(tmp_path / "run.py"), str(tmp_path), *sys.path]
    with subprocess.Popen(words) as process:
        wait_for(lambda: steps_of(tmp_path / "a") and steps_of(tmp_path / "b"))
        process.kill()
    ended = [Path(f"/proc/{steps_of(tmp_path / name)[0][1]}") for name in "ab"]
    wait_for(lambda: not any(path.exists() for path in ended))
