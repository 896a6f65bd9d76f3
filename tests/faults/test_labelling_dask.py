"""The same queue on Dask: the same labels, the same quarantine."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faulty
import numpy as np
import pytest
from in_folder import label, read_labels

from flexcalc import files
from flexcalc.errors import AddressError, ConfigError, InputError, LabelError, MissingExtraError

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.mark.data
def test_labels_from_dask_are_those_of_local_workers(tmp_path, cluster):
    data = faulty.geometries(30)
    label(faulty.open_faulty, data, tmp_path / "local", level="springs")
    count = label(
        faulty.open_faulty,
        data,
        tmp_path / "dask",
        level="springs",
        scheduler=cluster.scheduler_address,
    )
    assert (count.labelled, count.quarantined) == (30, 0)
    local, dask = read_labels(tmp_path / "local"), read_labels(tmp_path / "dask")
    assert dask.sha256() == local.sha256()
    assert dask.provenance.level == "springs"


@pytest.mark.data
def test_bad_labels_on_dask_go_to_quarantine_with_the_same_reasons(tmp_path, cluster):
    data = faulty.geometries(12)
    kinds = dict(enumerate(("nan", "unconverged", "kill", "hangs"), start=3))
    opener = partial(faulty.open_faulty, faulty.planted(data, kinds))
    found = []
    for name, options in {"here": {}, "dask": {"scheduler": cluster.scheduler_address}}.items():
        count = label(opener, data, tmp_path / name, timeout_s=0.5, **options)
        assert (count.labelled, count.quarantined) == (8, 4)
        quarantine = files.read_frames(tmp_path / name / "quarantine.xyz")
        found.append(dict(zip(quarantine.tags["index"], quarantine.tags["reason"], strict=True)))
    assert found[0] == found[1]
    assert found[1].keys() == kinds.keys()
    assert read_labels(tmp_path / "here").sha256() == read_labels(tmp_path / "dask").sha256()


@pytest.mark.long
@pytest.mark.data
def test_a_killed_dask_worker_costs_no_label(tmp_path, cluster):
    data, calls = faulty.geometries(60), tmp_path / "calls"
    with distributed.Client(cluster, set_as_default=False) as client:
        victim = next(iter(client.run(os.getpid).values()))

    def kill_later() -> None:
        while not calls.exists() or calls.read_text().count("\n") < 10:
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill_later)
    killer.start()
    opener = partial(faulty.open_faulty, calls=str(calls), seconds=0.05)
    count = label(opener, data, tmp_path / "run", scheduler=cluster.scheduler_address)
    killer.join()
    assert (count.labelled, count.quarantined) == (60, 0)
    np.testing.assert_array_equal(
        read_labels(tmp_path / "run").forces, faulty.Springs()(data.positions).forces
    )


@pytest.mark.parametrize(
    ("opener", "error", "message"),
    [
        (faulty.open_missing, MissingExtraError, r"pip install 'flexcalc\[xtb\]'"),
        (faulty.open_buggy, AddressError, "KeyError: 'basis'"),
        (faulty.open_dying, LabelError, "died while it opened"),
        (lambda: None, InputError, "must be importable"),
    ],
)
def test_a_reference_that_dask_cannot_open_is_the_callers_error(
    tmp_path, cluster, opener, error, message
):
    with pytest.raises(error, match=message):
        label(
            opener,
            faulty.geometries(3),
            tmp_path / "run",
            scheduler=cluster.scheduler_address,
        )
    assert not (tmp_path / "run").exists()


def test_dask_workers_that_lack_the_code_are_not_taken_for_bad_geometries(tmp_path, cluster):
    (tmp_path / "only_here.py").write_text(
        "import faulty\n\ndef opener():\n    return faulty.open_faulty()\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import only_here

        with pytest.raises(LabelError, match=r"cannot import only_here: .*install flexcalc"):
            label(
                only_here.opener,
                faulty.geometries(3),
                tmp_path / "run",
                scheduler=cluster.scheduler_address,
            )
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("only_here", None)
    assert not (tmp_path / "run").exists()


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("flexcalc.parallel.dask.CONNECT_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(LabelError, match=f"no Dask scheduler answers at {address}"):
            label(faulty.open_faulty, faulty.geometries(3), tmp_path / "run", scheduler=address)
    assert not (tmp_path / "run").exists()


# dask-jobqueue


SECTION = {"cluster": "SLURM", "jobs": 1, "cores": 1, "memory": "1GB", "host": "127.0.0.1"}


def test_a_section_for_a_batch_system_starts_its_jobs(tmp_path, slurm):
    section = dict(SECTION)
    count = label(faulty.open_faulty, faulty.geometries(12), tmp_path / "run", scheduler=section)
    assert count.labelled == 12
    assert slurm.jobs == 1
    assert slurm.read("cancelled") == ["1"]
    assert section == SECTION  # left as it was


@pytest.mark.inputs
@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster": "SLRUM"}, "expected one of .*SLURM.*, got 'SLRUM'"),
        ({"cluster": "os"}, "expected one of"),
        ({"corse": 2}, "the SLURM cluster cannot be created.*corse"),
    ],
)
def test_a_wrong_section_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        label(
            faulty.open_faulty,
            faulty.geometries(3),
            tmp_path / "run",
            scheduler=SECTION | changes,
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("package", "scheduler"),
    [("distributed", "tcp://127.0.0.1:1"), ("dask_jobqueue", SECTION)],
)
def test_missing_dask_names_its_install_line(tmp_path: Path, monkeypatch, package, scheduler):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'flexcalc\[dask\]'"):
        label(faulty.open_faulty, faulty.geometries(3), tmp_path / "run", scheduler=scheduler)


@pytest.mark.long
@pytest.mark.data
def test_a_scheduler_that_goes_away_ends_the_run_with_what_is_on_disk(tmp_path):
    data, calls = faulty.geometries(200), tmp_path / "calls"
    opener = partial(faulty.open_faulty, calls=str(calls), seconds=0.05)
    cluster = distributed.LocalCluster(n_workers=1, processes=True, dashboard_address=None)

    def close_later() -> None:
        while not calls.exists() or calls.read_text().count("\n") < 20:
            time.sleep(0.02)
        cluster.close()

    closer = threading.Thread(target=close_later)
    closer.start()
    with pytest.raises(LabelError, match="scheduler"):
        label(opener, data, tmp_path / "run", scheduler=cluster.scheduler_address)
    closer.join()
    done = len(read_labels(tmp_path / "run"))
    assert 0 < done < 200
    assert label(faulty.open_faulty, data, tmp_path / "run").labelled == 200
