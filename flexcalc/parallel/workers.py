"""The options that choose where the tasks of a command are done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flexcalc.errors import ConfigError
from flexcalc.parallel.dask import DaskPool, Needs
from flexcalc.parallel.job_queue import Log, check_scheduler
from flexcalc.parallel.process_pool import Job, ProcessPool

Pool = ProcessPool | DaskPool


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Processes of this machine, or Dask workers.

    Args:
        workers: processes on this machine, which share its cores.
        scheduler: address of a Dask scheduler, or the table of a dask-jobqueue cluster, such as
            {"cluster": "SLURM", "jobs": 4, "cores": 8, "memory": "16GB"}; `workers` is then not
            used. None for this machine.
        worker_wait_s: maximum time without any Dask worker, in seconds.
        allow_remote: let other machines take part over the network; whoever reaches the Dask
            scheduler can run code in all that are connected to it.
    """

    workers: int = 1
    scheduler: str | Mapping[str, Any] | None = None
    worker_wait_s: float = 86400.0
    allow_remote: bool = False

    def check(self) -> None:
        """Refuse invalid options before anything starts.

        Raises:
            ConfigError: neither an address nor a table for dask-jobqueue; see `check_scheduler`.
            MissingExtraError: Dask is not installed.
        """
        text = self.scheduler
        if isinstance(text, str) and not re.fullmatch(r"(\w+://)?[^\s/:]+:\d{1,5}", text):
            raise ConfigError(f"scheduler: expected HOST:PORT or tcp://HOST:PORT, got {text!r}")
        check_scheduler(text, self.allow_remote)

    def pool(self, job: Job, needs: Needs, log: Log) -> Pool:
        """The pool that does the tasks of a job; it starts processes at the first task.

        Args:
            job: how tasks are done.
            needs: requirements of every Dask worker.
            log: receives messages, one line each.
        """
        if self.scheduler is None:
            return ProcessPool(job, self.workers)
        return DaskPool(job, self.scheduler, self.worker_wait_s, needs, log)
