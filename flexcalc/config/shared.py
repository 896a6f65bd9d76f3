"""What several configs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.fields import Seconds, Workers
from flexcalc.parallel.workers import WorkerOptions


@dataclass(frozen=True, kw_only=True)
class OpensPotentials:
    """What a command is allowed in opening potentials."""

    trust: bool = False
    """Open model files that can only be read by running code they contain."""


WORKER_OPTIONS = ("workers", "scheduler", "worker_wait_s", "allow_remote")
"""The options of `RunsOnWorkers`; they do not belong to what a run is, so they may change."""


@dataclass(frozen=True, kw_only=True)
class RunsOnWorkers:
    """Where a command has its calculations done: by processes here, or by Dask workers."""

    workers: Workers = 1
    """Processes that label or train at the same time on this machine, one thread each."""
    scheduler: str | dict[str, Any] | None = None
    """Dask scheduler (tcp://HOST:PORT), or a table for a job queue, such as {cluster = "SLURM",
    jobs = 2, cores = 8, memory = "16GB", queue = "short", walltime = "04:00:00"}. Required are
    cluster, cores and memory of a job; any key of dask-jobqueue's class may follow. The jobs call
    this machine: host = "127.0.0.1" where they all run on it, else allow_remote, with tls = true,
    or {ca_file = "", cert = "", key = ""}, so that nobody else is let in."""
    worker_wait_s: Seconds = 86400.0
    """Longest time without any worker of `scheduler`, in seconds; the same command goes on."""
    allow_remote: bool = False
    """Let other machines reach the Dask scheduler; without TLS, whoever does can run code here."""

    @property
    def worker_options(self) -> WorkerOptions:
        """The same for `flexcalc.parallel`."""
        return WorkerOptions(**{name: getattr(self, name) for name in WORKER_OPTIONS})


@dataclass(frozen=True, kw_only=True)
class MapsAtoms:
    """What is done with a geometry whose like atoms are in another order than the model's."""

    map_atoms: bool | None = None
    """Put the atoms of a geometry into the order of the model's training frames where only then
    its bonds fit; by default such a geometry is refused. Coordinates then count atoms in the
    model's order."""


@dataclass(frozen=True, kw_only=True)
class LabelledFrames:
    """How the labels of a dataset file are to be read."""

    energy_unit: str | None = None
    """Unit of the dataset's energies, where an npz does not say."""
    force_unit: str | None = None
    """Unit of the dataset's forces; by default the energy unit per angstrom."""
    length_unit: str | None = None
    """Unit of the dataset's positions, where the file does not say; angstrom by default."""
    energy_key: str | None = None
    """Key of the dataset's energies, such as `REF_energy`; by default any of the usual ones."""
    forces_key: str | None = None
    """Key or column of the dataset's forces, such as `dft_forces`."""
    labels: Literal["new", "old"] = "new"
    """Which labels of an rMD17 file: `old` takes old_energies and old_forces."""

    def read(self, path: Path) -> Dataset:
        """Read a dataset so.

        Raises:
            InputError: see `flexcalc.files.read`.
        """
        return files.read(
            path,
            energy_unit=self.energy_unit,
            length_unit=self.length_unit,
            force_unit=self.force_unit,
            labels=self.labels,
            energy_key=self.energy_key,
            forces_key=self.forces_key,
        )
