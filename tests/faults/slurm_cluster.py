"""A Slurm cluster of one node on this machine, for the tests that want the real thing.

    python slurm_cluster.py start FOLDER
    export SLURM_CONF=FOLDER/slurm.conf
    python slurm_cluster.py stop FOLDER

It wants root and Debian's packages slurm-wlm and munge. All it writes is in FOLDER, its daemons
listen on the loopback interface alone, and a Slurm of the machine's own is left as it is. Starting
what runs already changes nothing.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
START_S = 60.0

CONF = """\
ClusterName=flexcalc
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,batch_sched_delay=0
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4096
PartitionName=short Nodes={host} Default=YES MaxTime=60 State=UP
PartitionName=closed Nodes={host} MaxTime=60 State=DOWN
"""


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons want root"
    lacking = [name for name in (*DAEMONS, "sbatch") if _program(name) is None]
    return f"{', '.join(lacking)} not installed (slurm-wlm and munge)" if lacking else ""


@contextmanager
def cluster(folder: Path) -> Iterator[Path]:
    """A running cluster; gives the path of its slurm.conf, which goes into SLURM_CONF."""
    try:
        yield start(folder)
    finally:
        stop(folder)


def start(folder: Path) -> Path:
    """Start what does not run yet; the path of slurm.conf."""
    folder = folder.resolve()
    for place in (folder, folder / "state", folder / "spool"):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, conf = folder / "munge.key", folder / "slurm.conf"
    if not key.exists():
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
    if not conf.exists():
        host = socket.gethostname().partition(".")[0]
        conf.write_text(CONF.format(folder=folder, host=host, ports=_free_ports(2)))
    places: dict[str, Path | str] = {
        "key-file": key,
        "socket": "munge.socket",
        "seed-file": "munge.seed",
    }
    places |= {"pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{name}={folder / place}" for name, place in places.items()]
    _start(folder, "munged", "--force", *options)
    _start(folder, "slurmctld", "-f", str(conf))
    _start(folder, "slurmd", "-f", str(conf))
    _wait_until_idle(conf)
    return conf


def stop(folder: Path) -> None:
    """End the jobs and the daemons, last started first; what is not there is no matter."""
    folder = folder.resolve()
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    if _pid(folder, "slurmctld") and shutil.which("scancel"):
        subprocess.run(
            ["scancel", "--user=root", "--full"], env=environment, check=False, timeout=START_S
        )
    for name in reversed(DAEMONS):
        pid = _pid(folder, name)
        if pid is None:
            continue
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 10
        while _pid(folder, name) and time.monotonic() < deadline:
            time.sleep(0.1)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _start(folder: Path, name: str, *arguments: str) -> None:
    if _pid(folder, name) is None:
        subprocess.run([str(_program(name)), *arguments], check=True, timeout=START_S)


def _wait_until_idle(conf: Path) -> None:
    environment = {**os.environ, "SLURM_CONF": str(conf)}
    deadline = time.monotonic() + START_S
    while True:
        found = subprocess.run(
            ["sinfo", "--noheader", "--partition=short", "--format=%t"],
            env=environment, capture_output=True, text=True, check=False, timeout=START_S,
        )  # fmt: skip
        state = found.stdout.strip() or found.stderr.strip()
        if state in ("idle", "mix", "alloc"):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"the node is {state}; see the logs in {conf.parent}")
        time.sleep(0.2)


def _pid(folder: Path, name: str) -> int | None:
    """The daemon's process, if it is alive and is that daemon."""
    try:
        pid = int((folder / f"{name}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return pid if Path(words[0].decode()).name == name else None
    except (OSError, ValueError):
        return None


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    words = sys.argv[1:]
    if len(words) != 2 or words[0] not in ("start", "stop"):
        sys.exit("usage: slurm_cluster.py start|stop FOLDER")
    if missing():
        sys.exit(missing())
    if words[0] == "start":
        print(f"export SLURM_CONF={start(Path(words[1]))}")
    else:
        stop(Path(words[1]))
