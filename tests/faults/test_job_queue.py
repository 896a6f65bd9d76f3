"""Job queues that refuse, keep waiting and kill, and who may reach the scheduler."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import faulty
import pytest
import slurm_cluster
from in_folder import label, read_labels

from flexcalc.errors import ConfigError, LabelError, MissingExtraError
from flexcalc.parallel import dask
from flexcalc.parallel.job_queue import check_scheduler

pytest.importorskip("distributed")
pytest.importorskip("dask_jobqueue")

TABLE = {"cluster": "SLURM", "cores": 1, "memory": "1GB", "host": "127.0.0.1"}

START = Path(__file__).parents[2] / "inputs" / "glycine-Ip.xyz"


def labelled(folder: Path, lines: list[str] | None = None, **options: Any) -> Any:
    said = [] if lines is None else lines
    opener = options.pop("opener", faulty.open_faulty)
    options = {"scheduler": TABLE, "log": said.append} | options
    return label(opener, faulty.geometries(30), folder, **options)


def run_file(folder: Path, scheduler: str) -> Path:
    """A run of `flexcalc label` that samples next to nothing."""
    path = folder / "label.toml"
    path.write_text(
        f'reference = "xtb:GFN2-xTB"\nstarts = ["{START}"]\nscheduler = {scheduler}\n'
        '[[samples]]\nkind = "displacement"\nframes = 6\n'
    )
    return path


# Bad tables are refused before anything starts


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobs": "two"}, r"scheduler\.jobs: expected a whole number from 1, got 'two'"),
        ({"jobs": 0}, r"scheduler\.jobs: .* got 0"),
        ({"jobs": True}, r"scheduler\.jobs: .* got True"),
        ({"jobs": 1.5}, r"scheduler\.jobs: .* got 1\.5"),
        ({"cores": -1}, r"scheduler\.cores: .* got -1"),
        ({"memory": "lots"}, "lots"),
        ({"memory": None}, "cores and memory are required"),
        ({"processes": 0}, "ZeroDivisionError"),
        ({"corse": 2}, "unknown key 'corse'; did you mean cores"),
        ({"security": "none"}, "unknown key 'security'"),
        ({"asynchronous": True}, "unknown key 'asynchronous'"),
        ({"scheduler_options": 3}, "expected a table, got 3"),
        ({"host": "no such host"}, "no address"),
        ({"interface": "wire9", "host": None}, "wire9"),
        ({"tls": "yes"}, "expected true, or a table"),
        ({"tls": {"ca_file": "a"}}, "ca_file, cert and key"),
        ({"tls": {"ca_file": "a", "cert": "b", "key": "c"}}, "cannot be used"),
    ],
)
def test_a_bad_table_is_refused_before_anything_starts(tmp_path, slurm, changes, message):
    table = {key: value for key, value in (TABLE | changes).items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        labelled(tmp_path / "run", scheduler=table, allow_remote=True)
    assert slurm.jobs == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.inputs
def test_a_queue_without_its_command_is_refused_with_where_to_go(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="SLURM needs sbatch, which is not on the PATH"):
        labelled(tmp_path / "run")


@pytest.mark.inputs
@pytest.mark.usefixtures("slurm")
def test_the_command_refuses_a_bad_table_before_it_samples(tmp_path):
    done = flexcalc("label", run_file(tmp_path, '{cluster = "SLURM", jobs = "two"}'), "-o", "run")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "flexcalc: scheduler.jobs: expected a whole number from 1, got 'two'"
    ]
    assert not (tmp_path / "run").exists()


# Workers that do not come or are gone


@pytest.fixture
def hasty(monkeypatch) -> None:
    """Ask the queue often."""
    monkeypatch.setattr(dask, "ASK_S", 0.2)


@pytest.mark.usefixtures("hasty")
def test_jobs_that_the_queue_refuses_end_the_run_in_its_words(tmp_path, slurm):
    slurm.refuse("sbatch: error: invalid partition specified: nowhere\n")
    with pytest.raises(LabelError, match=r"sbatch says: invalid partition .*same command resumes"):
        labelled(tmp_path / "run")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


@pytest.mark.usefixtures("hasty")
def test_jobs_that_never_start_are_told_of_and_end_the_run_in_time(tmp_path, slurm):
    slurm.keep_pending()
    slurm.say("1|PENDING|PartitionDown", "2|PENDING|Priority")
    said: list[str] = []
    with pytest.raises(LabelError, match=r"1 PENDING \(PartitionDown\).*--worker-wait-s"):
        labelled(tmp_path / "run", said, scheduler=TABLE | {"jobs": 2}, worker_wait_s=1.5)
    assert any("has had no worker for" in line and "PartitionDown" in line for line in said)
    assert sorted(slurm.read("cancelled")) == ["1", "2"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["1|CANCELLED|None"], "job 1: CANCELLED"),
        (["1|TIMEOUT|TimeLimit"], r"job 1: TIMEOUT \(TimeLimit\)"),
        (["1|OUT_OF_MEMORY|OutOfMemory"], "OUT_OF_MEMORY"),
        ([], "no longer in the queue"),
    ],
)
@pytest.mark.usefixtures("hasty")
def test_jobs_that_the_queue_has_ended_end_the_run_at_once(tmp_path, slurm, rows, words):
    slurm.keep_pending()
    slurm.say(*rows)
    with pytest.raises(LabelError, match=f"no Dask worker is left: .*{words}"):
        labelled(tmp_path / "run", worker_wait_s=600)


@pytest.mark.usefixtures("hasty")
def test_a_job_that_is_requeued_is_waited_for(tmp_path, slurm, monkeypatch):
    answers = [["1|PREEMPTED|None"], ["1|PENDING|None"]] * 20

    class Alternating(dask.JobQueue):
        def standing(self):
            slurm.say(*answers.pop())
            return super().standing()

    slurm.keep_pending()
    monkeypatch.setattr(dask, "JobQueue", Alternating)
    with pytest.raises(LabelError, match="for 1 s"):
        labelled(tmp_path / "run", worker_wait_s=1)
    assert len(answers) < 38


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(tmp_path):
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=None) as empty,
        pytest.raises(LabelError, match=r"no worker for 0\.5 s: start some with: dask worker"),
    ):
        labelled(tmp_path / "run", scheduler=empty.scheduler_address, worker_wait_s=0.5)


@pytest.mark.data
@pytest.mark.usefixtures("hasty")
def test_a_cancelled_job_costs_no_label(tmp_path, slurm):
    calls = tmp_path / "calls"
    slow = partial(faulty.open_faulty, calls=str(calls), seconds=0.2)

    def cancel_later() -> None:
        wait_for(lambda: calls.exists() and calls.read_text().count("\n") >= 6)
        slurm.say("1|CANCELLED|None")
        subprocess.run(["scancel", "1"], check=True)

    canceller = threading.Thread(target=cancel_later)
    canceller.start()
    with pytest.raises(LabelError, match="no Dask worker is left: job 1: CANCELLED"):
        labelled(tmp_path / "run", opener=slow)
    canceller.join()
    first = read_labels(tmp_path / "run")
    assert 0 < len(first) < 30
    assert label(faulty.open_faulty, faulty.geometries(30), tmp_path / "run").labelled == 30
    assert set(first.energies) <= set(read_labels(tmp_path / "run").energies)


def test_ctrl_c_while_jobs_wait_says_so_and_cancels_them(tmp_path, slurm):
    slurm.keep_pending()
    slurm.say("1|PENDING|Resources")
    file = run_file(tmp_path, '{cluster = "SLURM", cores = 1, memory = "1GB", host = "127.0.0.1"}')
    words = [sys.executable, "-m", "flexcalc.cli", "label", str(file), "-o", "run"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: slurm.jobs == 1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=600)
    assert process.returncode == 130
    assert error == "flexcalc: interrupted; the same command resumes from here\n"
    assert slurm.read("cancelled") == ["1"]


# Who may reach the scheduler


@pytest.mark.security
@pytest.mark.parametrize(
    "reach", [{}, {"host": "0.0.0.0"}, {"scheduler_options": {"host": "0.0.0.0"}}]
)
def test_a_scheduler_that_others_reach_has_to_be_allowed(tmp_path, slurm, reach):
    table = {key: value for key, value in TABLE.items() if key != "host"} | reach
    with pytest.raises(ConfigError, match=r"run code here: say --allow-remote, with tls"):
        labelled(tmp_path / "run", scheduler=table)
    check_scheduler(table, allow_remote=True)
    assert slurm.jobs == 0


@pytest.mark.security
def test_a_scheduler_on_another_machine_has_to_be_allowed(tmp_path):
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 is another machine.*--allow-remote"):
        labelled(tmp_path / "run", scheduler="tcp://192.0.2.1:8786")
    check_scheduler("tcp://192.0.2.1:8786", allow_remote=True)
    check_scheduler("tcp://localhost:8786", allow_remote=False)


@pytest.mark.security
@pytest.mark.usefixtures("hasty")
def test_a_scheduler_that_others_reach_is_warned_of(tmp_path, slurm):
    slurm.refuse("no")
    said: list[str] = []
    with pytest.raises(LabelError):
        labelled(tmp_path / "run", said, scheduler=TABLE | {"host": "0.0.0.0"}, allow_remote=True)
    assert said[0].startswith("warning: the Dask scheduler at tcp://")


@pytest.mark.security
def test_nothing_of_a_loopback_cluster_listens_to_other_machines(tmp_path, slurm):
    found = []
    slow = partial(faulty.open_faulty, seconds=0.2)

    def look() -> None:
        wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob("run/labels.xyz")))
        group = int(slurm.read("job-1/pid")[0])
        found.extend(listening(group))

    looker = threading.Thread(target=look)
    looker.start()
    before = listening()
    assert labelled(tmp_path / "run", opener=slow).labelled == 30
    looker.join()
    assert found  # the worker's, its nanny's
    assert {host for host, _ in found} == {"127.0.0.1"}
    assert listening() == before


@pytest.mark.security
@pytest.mark.usefixtures("slurm")
def test_a_cluster_by_tls_lets_in_those_with_the_key_alone(tmp_path, monkeypatch):
    from distributed import Client

    files = {name: str(tmp_path / f"{name}.pem") for name in ("ca_file", "cert", "key")}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=flexcalc",
         "-keyout", files["key"], "-out", files["cert"]],
        check=True, capture_output=True,
    )  # fmt: skip
    files["ca_file"] = files["cert"]
    addresses = []

    class Watched(dask.JobQueue):
        def __enter__(self):
            jobs = super().__enter__()
            addresses.append(jobs.cluster.scheduler_address)
            with pytest.raises((OSError, TypeError)):
                Client(addresses[0], timeout=2)
            return jobs

    said: list[str] = []
    monkeypatch.setattr(dask, "JobQueue", Watched)
    count = labelled(tmp_path / "run", said, scheduler=TABLE | {"tls": files})
    assert count.labelled == 30
    assert addresses[0].startswith("tls://127.0.0.1")
    assert not any("warning" in line for line in said)


@pytest.mark.security
@pytest.mark.usefixtures("slurm")
def test_certificates_that_cannot_be_made_name_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(MissingExtraError, match="cryptography is not installed"):
        labelled(tmp_path / "run", scheduler=TABLE | {"tls": True})


# Slurm itself


@pytest.fixture(scope="module")
def real_slurm(tmp_path_factory) -> Any:
    """A real cluster of one node."""
    reason = slurm_cluster.missing()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_cluster.cluster(folder) as conf, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        patch.chdir(folder)
        yield folder


@pytest.mark.long
@pytest.mark.data
@pytest.mark.usefixtures("real_slurm")
def test_real_slurm_gives_the_labels_of_this_machine(tmp_path):
    data = faulty.ethanol(12)
    from flexcalc.registry import open_potential

    opener = partial(open_potential, "xtb:GFN2-xTB", data.numbers.tolist())
    table = TABLE | {"jobs": 2, "queue": "short", "walltime": "00:10:00"}
    count = label(opener, data, tmp_path / "slurm", scheduler=table, timeout_s=60)
    assert (count.labelled, count.quarantined) == (12, 0)
    label(opener, data, tmp_path / "here")
    there, here = read_labels(tmp_path / "slurm"), read_labels(tmp_path / "here")
    assert abs(there.energies - here.energies).max() < 1e-9
    assert abs(there.forces - here.forces).max() < 1e-9
    print(f"{count.labelled} labels in {count.seconds:.0f} s")


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"queue": "closed"}, r"PENDING \(PartitionDown\)"),
        ({"cores": 64}, r"PENDING \(PartitionConfig\)"),
        ({"queue": "nowhere"}, "sbatch says: invalid partition specified: nowhere"),
    ],
)
@pytest.mark.usefixtures("real_slurm")
def test_real_slurm_says_why_a_job_does_not_start(tmp_path, changes, words):
    with pytest.raises(LabelError, match=words):
        labelled(tmp_path / "run", scheduler=TABLE | changes, worker_wait_s=15)
    assert subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout == b""


@pytest.mark.long
@pytest.mark.data
@pytest.mark.usefixtures("real_slurm")
def test_a_job_cancelled_in_real_slurm_costs_no_label(tmp_path, monkeypatch):
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}:{here.parents[1]}")
    calls = tmp_path / "calls"
    slow = partial(faulty.open_faulty, calls=str(calls), seconds=0.5)

    def cancel_later() -> None:
        wait_for(lambda: calls.exists() and calls.read_text().count("\n") >= 6)
        subprocess.run(["scancel", "--user=root"], check=True)

    canceller = threading.Thread(target=cancel_later)
    canceller.start()
    with pytest.raises(LabelError, match=r"no Dask worker is left: job \d+: CANCELLED.*see slurm-"):
        labelled(tmp_path / "run", opener=slow)
    canceller.join()
    assert 0 < len(read_labels(tmp_path / "run")) < 30
    assert labelled(tmp_path / "run", scheduler=None).labelled == 30


def flexcalc(*words: Any) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "flexcalc.cli", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def wait_for(ready: Callable[[], bool], limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def listening(group: int | None = None) -> set[tuple[str, int]]:
    """Address and port of the TCP sockets that this process, or a process group, listens at."""
    import psutil

    pids = [os.getpid()]
    if group is not None:
        pids = [pid for pid in psutil.pids() if group in (_group(pid), pid)]
    found = set()
    for pid in pids:
        for one in psutil.Process(pid).net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN:
                found.add((one.laddr.ip, one.laddr.port))
    return found


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
