"""Options of commands that compute on several workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from flexcalc.fields import Seconds, Workers
from flexcalc.parallel.workers import WorkerOptions

WORKER_OPTIONS = ("workers", "scheduler", "worker_wait_s", "allow_remote")
"""The options of `RunsOnWorkers`; they do not belong to what a run is, so they may change."""


@dataclass(frozen=True, kw_only=True)
class RunsOnWorkers:
    """Workers of a command: processes on this machine, or Dask workers."""

    panel: ClassVar[str] = "Workers"

    workers: Workers = 1
    """Number of worker processes that label or train in parallel on this machine, with one thread
    each."""
    scheduler: str | dict[str, Any] | None = None
    """Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as {cluster = "SLURM",
    jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime = "04:00:00"}. Required are
    cluster, cores and memory; any other keyword of dask-jobqueue's class is accepted. The jobs
    connect to this machine: set host = "127.0.0.1" if they all run on it; otherwise set
    allow_remote, and tls = true or {ca_file = "", cert = "", key = ""} to authenticate them."""
    worker_wait_s: Seconds = 86400.0
    """Timeout for a worker of `scheduler` to connect, in seconds; the same command resumes."""
    allow_remote: bool = False
    """Let other machines connect to the Dask scheduler; without TLS, any can run code here."""

    @property
    def worker_options(self) -> WorkerOptions:
        """The same for `flexcalc.parallel`."""
        return WorkerOptions(**{name: getattr(self, name) for name in WORKER_OPTIONS})
