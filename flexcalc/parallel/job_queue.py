"""Job queues: the check of their table, access to the scheduler, and the state of the jobs.

dask-jobqueue submits the jobs, and each becomes a Dask worker that calls the scheduler here. Dask's
peers exchange pickles, so whoever reaches the scheduler can run code on both sides.
"""

from __future__ import annotations

import difflib
import inspect
import ipaddress
import re
import shlex
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flexcalc.errors import ConfigError, MissingExtraError
from flexcalc.parallel.failures import one_line

CLUSTERS = ("HTCondor", "LSF", "Moab", "OAR", "PBS", "SGE", "SLURM")

OWN = ("cluster", "jobs", "host", "tls")
"""Keys of the table that dask-jobqueue does not have."""

NOT_OFFERED = frozenset(
    {"self", "job_cls", "job_kwargs", "base_class_kwargs", "loop", "security", "asynchronous"}
    | {"n_workers", "scheduler_cls", "dashboard_address", "scheduler", "name", "kwargs"}
)
"""Parameters of dask-jobqueue's classes that flexcalc sets, or that no table can hold."""

TLS = ("ca_file", "cert", "key")

ENDED = frozenset(
    {"BOOT_FAIL", "CANCELLED", "COMPLETED", "COMPLETING", "DEADLINE", "FAILED", "NODE_FAIL"}
    | {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
)
"""Slurm's states of jobs that have ended; a requeued job has another state in the next query."""

ASK_TIMEOUT_S = 30.0

Log = Callable[[str], None]


@dataclass(frozen=True)
class Standing:
    """The state of workers that have not connected yet.

    Args:
        text: one line.
        over: whether none of them can connect any more.
    """

    text: str
    over: bool = False


# Before anything starts


def check_scheduler(scheduler: str | Mapping[str, Any] | None, allow_remote: bool) -> None:
    """Refuse invalid tables, and schedulers that others could reach, before anything starts.

    Raises:
        ConfigError: a key of the table is unknown, missing or out of range; there is no command
            to submit with; other machines take part and `allow_remote` does not allow it.
        MissingExtraError: Dask is not installed.
    """
    if scheduler is None:
        return
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise MissingExtraError("distributed", "dask") from None
    if isinstance(scheduler, str):
        host = re.fullmatch(r"(?:\w+://)?([^\s/:]+):\d{1,5}", scheduler)
        if host and not allow_remote and not _is_loopback(host[1]):
            raise ConfigError(
                f"scheduler: {host[1]} is another machine; Dask's peers exchange pickles, so it "
                "can run code here: say --allow-remote, and tls:// unless the network is private"
            )
        return
    _check_table(scheduler, allow_remote)


def _check_table(table: Mapping[str, Any], allow_remote: bool) -> None:
    kind = cluster_class(table)
    for key in ("jobs", "cores"):
        value = table.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"scheduler.{key}: expected a whole number from 1, got {value!r}")
    known = _known_keys(kind)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            raise _refused(table, f"unknown key {key!r}{hint}")
    _check_job(kind, table)
    security(table)
    _check_reach(table, allow_remote)
    command = shlex.split(kind.job_cls.submit_command)[0]
    if shutil.which(command) is None:
        raise ConfigError(
            f"scheduler.cluster: {table['cluster']} needs {command}, which is not on the PATH; run "
            "flexcalc on a machine where jobs are submitted"
        )


def cluster_class(table: Mapping[str, Any]) -> Any:
    """The class of dask-jobqueue for the table's `cluster`.

    Raises:
        ConfigError: no such queue.
        MissingExtraError: dask-jobqueue is not installed.
    """
    name = table.get("cluster")
    if name not in CLUSTERS:
        raise ConfigError(f"scheduler.cluster: expected one of {', '.join(CLUSTERS)}, got {name!r}")
    try:
        with _own_interrupts():
            import dask_jobqueue
    except ImportError:
        raise MissingExtraError("dask-jobqueue", "dask") from None
    return getattr(dask_jobqueue, f"{name}Cluster")


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Restore the handler of Ctrl-C: importing dask_jobqueue replaces it by exit code 0."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(signal.SIGINT, handler)


def _known_keys(kind: Any) -> set[str]:
    """All keys a table may have: those of the cluster, of its job and of the classes below."""
    classes = (*kind.__mro__, *kind.job_cls.__mro__)
    known = {key for one in classes for key in inspect.signature(one.__init__).parameters}
    return (known - NOT_OFFERED - {"args"}) | set(OWN)


def _check_job(kind: Any, table: Mapping[str, Any]) -> None:
    """Build one job without submitting it, because only its class can check the values."""
    from dask_jobqueue import JobQueueCluster

    of_cluster = set(inspect.signature(JobQueueCluster.__init__).parameters) | set(OWN)
    of_job = {
        key: value
        for key, value in table.items()
        if key not in of_cluster - {"interface", "config_name"} and key != "log_directory"
    }
    try:
        kind.job_cls("tcp://127.0.0.1:1", name="none", **of_job).job_script()
    except Exception as error:  # of any kind, for values that dask-jobqueue does not check
        reason = one_line(f"{type(error).__name__}: {error}")
        if "how much cores and memory" in reason:
            reason = 'cores and memory are required, as in cores = 8, memory = "16GB"'
        raise _refused(table, reason) from None
    if not isinstance(table.get("scheduler_options", {}), Mapping):
        raise ConfigError(
            f"scheduler.scheduler_options: expected a table, got {table['scheduler_options']!r}"
        )


def _refused(table: Mapping[str, Any], reason: str) -> ConfigError:
    return ConfigError(f"scheduler: the {table['cluster']} cluster cannot be created: {reason}")


# Who may reach the scheduler


def _check_reach(table: Mapping[str, Any], allow_remote: bool) -> None:
    """Refuse a scheduler that other machines could reach, or that cannot listen at its address."""
    host, interface = _listens_at(table)
    if interface is not None:
        from distributed.utils import get_ip_interface

        try:
            host = host or get_ip_interface(interface)
        except (ValueError, KeyError, OSError) as error:
            raise ConfigError(f"scheduler.interface: {one_line(str(error))}") from None
    if host is not None:
        try:
            with socket.socket() as trial:
                trial.bind((str(host), 0))
        except (OSError, UnicodeError) as error:
            raise ConfigError(
                f"scheduler.host: this machine has no address {host!r}: {error}"
            ) from None
    if not allow_remote and (host is None or not _is_loopback(host)):
        raise ConfigError(
            "scheduler: jobs on other machines have to reach the Dask scheduler on this one, and "
            "whoever reaches it can run code here: say --allow-remote, with tls in the table "
            'unless the network is private, or host = "127.0.0.1" where all jobs run on this '
            "machine"
        )


def _listens_at(table: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Host and interface of the scheduler, as far as the table has them."""
    options = table.get("scheduler_options", {})
    host = table.get("host", options.get("host"))
    return host, options.get("interface", table.get("interface"))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(str(host))).is_loopback
    except (OSError, UnicodeError):
        raise ConfigError(f"scheduler: host {str(host)[:80]!r} cannot be found") from None


def warn_of_reach(scheduler: str | Mapping[str, Any], address: str, log: Log) -> None:
    """Warn that other machines can connect without authentication."""
    host = address.rpartition(":")[0].rpartition("/")[2]
    if not address.startswith("tls://") and not _is_loopback(host):
        advice = "" if isinstance(scheduler, str) else "; tls = true in the table would"
        log(
            f"warning: the Dask scheduler at {address} neither encrypts nor authenticates; "
            f"whoever reaches it can run code here{advice}"
        )


def security(table: Mapping[str, Any]) -> Any:
    """Dask's certificates by the table's `tls`: None, temporary ones, or the named files.

    Raises:
        ConfigError: neither true nor a table of three files, or the files cannot be used.
        MissingExtraError: certificates cannot be made without the package cryptography.
    """
    tls = table.get("tls", False)
    if tls is False:
        return None
    from distributed.security import Security

    if tls is True:
        try:
            return Security.temporary()
        except ImportError:
            raise MissingExtraError("cryptography", "dask") from None
    if not isinstance(tls, Mapping) or set(tls) != set(TLS):
        raise ConfigError(
            "scheduler.tls: expected true, or a table of the files ca_file, cert and key, "
            f"got {tls!r}"
        )
    files = {name: str(Path(str(tls[name])).absolute()) for name in TLS}
    ours = {
        f"tls_{role}_{name}": files[name]
        for role in ("client", "scheduler", "worker")
        for name in ("cert", "key")
    }
    found = Security(require_encryption=True, tls_ca_file=files["ca_file"], **ours)
    try:
        found.get_connection_args("client")
        found.get_listen_args("scheduler")
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"scheduler.tls: {', '.join(files.values())} cannot be used: {one_line(str(error))}"
        ) from None
    return found


# The jobs


@dataclass
class JobQueue:
    """Jobs of a queue that become Dask workers; they are cancelled with the context.

    Args:
        table: see `check_scheduler`, which it has passed.
        log: receives messages, one line each.
    """

    table: Mapping[str, Any]
    log: Log
    ids: list[str] = field(default_factory=list)
    """Ids of accepted jobs; Dask forgets those whose worker is lost."""
    refusals: list[str] = field(default_factory=list)
    """Messages of the queue for jobs that it rejected."""
    cluster: Any = None

    def __enter__(self) -> JobQueue:
        """Submit the jobs.

        Raises:
            ConfigError: the scheduler cannot be started.
        """
        keys = {key: value for key, value in self.table.items() if key not in OWN}
        options = {"dashboard_address": "127.0.0.1:0", **keys.pop("scheduler_options", {})}
        if "host" in self.table:
            options["host"] = self.table["host"]
        kind = cluster_class(self.table)
        if self.table.get("tls") is True:
            keys.setdefault("shared_temp_directory", str(Path.cwd()))
        keys["worker_extra_args"] = [*self._worker_arguments(), *keys.get("worker_extra_args", ())]
        try:
            self.cluster = kind(
                **keys,
                job_cls=_recording(kind.job_cls, self.ids, self.refusals),
                scheduler_options=options,
                security=security(self.table),
            )
        except (TypeError, ValueError, RuntimeError, OSError) as error:
            raise _refused(self.table, one_line(str(error))) from None
        self.cluster.scale(jobs=self.table.get("jobs", 1))
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.close()

    def _worker_arguments(self) -> list[str]:
        """Options of a worker: its dashboard and, if possible, its port on this machine only."""
        host, _ = _listens_at(self.table)
        words = ["--dashboard-address", "127.0.0.1:0"]
        return [*words, "--host", host] if host is not None and _is_loopback(host) else words

    def standing(self) -> Standing:
        """The state of the jobs, as reported by the queue where it can be queried."""
        ids = list(self.ids)
        refused = f"{self._submit} says: {self.refusals[-1]}" if self.refusals else ""
        if not ids:
            return Standing(refused or f"{self._submit} has not answered yet", bool(refused))
        if self.table["cluster"] == "SLURM":
            found = _ask_slurm(ids)
        else:
            found = Standing(f"{len(ids)} jobs are in the queue or were ({', '.join(ids[:3])})")
        written = [str(path) for one in ids for path in self._outputs(one)]
        lines = [found.text, refused, f"see {written[0]}" if found.over and written else ""]
        return Standing("; ".join(filter(None, lines)), found.over)

    @property
    def _submit(self) -> str:
        return str(self.cluster.job_cls.submit_command)

    def _outputs(self, job_id: str) -> list[Path]:
        """Output files of a job, as far as this machine can see them."""
        folder = Path(self.table.get("log_directory", "."))
        return [path for path in sorted(folder.glob(f"*-{job_id}.*")) if path.stat().st_size]


def _recording(job_class: Any, ids: list[str], refusals: list[str]) -> Any:
    """A job class that records its id or its rejection, where Dask would print tracebacks."""
    from distributed.core import Status

    class Job(job_class):
        async def start(self) -> None:
            try:
                await super().start()
                ids.append(str(self.job_id))
            except (OSError, RuntimeError, ValueError) as error:
                said = str(error).rpartition("stderr:")[2]
                refusals.append(one_line(re.sub(r"(?m)^\w+: (error: )?", "", said)))
                self.status = Status.running

        async def close(self) -> None:
            with suppress(OSError):  # the command that cancels is not there
                await super().close()
            self.status = Status.closed

    return Job


def _ask_slurm(ids: list[str]) -> Standing:
    """The states and reasons of jobs by squeue, which lists ended jobs for some minutes."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i|%T|%r", "--jobs"]
    try:
        found = subprocess.run(
            [*command, ",".join(ids)],
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Standing(f"squeue cannot be asked: {one_line(str(error))}")
    if found.returncode and "Invalid job id" not in found.stderr:
        return Standing(f"squeue says: {one_line(found.stderr)}")
    rows = [line.strip().split("|") for line in found.stdout.splitlines() if line.count("|") == 2]
    states = Counter(
        state + (f" ({reason})" if reason not in ("", "None") else "") for _, state, reason in rows
    )
    gone = len(ids) - len(rows)
    if gone:
        states["no longer in the queue"] = gone
    over = all(state in ENDED for _, state, _ in rows)
    names = ", ".join(ids[:3]) + (", ..." if len(ids) > 3 else "")
    words = ", ".join(
        text if len(ids) == 1 else f"{count} {text}" for text, count in states.items()
    )
    return Standing(f"job{'s' if len(ids) > 1 else ''} {names}: {words}", over)
