"""Label geometries with a reference so that killing it at any moment loses and repeats nothing.

A label counts when it is on disk in labels.xyz; a geometry without one stands in quarantine.xyz
with the reason. Both are append-only, and starting again skips what stands in either.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError, LabelError
from flexcalc.files import FrameLog, frame_bytes, read_frames
from flexcalc.labelling.pool import LabelPool
from flexcalc.labelling.worker import OpenReference, Outcome
from flexcalc.parallel.job_queue import Log, check_scheduler
from flexcalc.parallel.process_pool import TICK_S
from flexcalc.parallel.processes import check_importable
from flexcalc.parallel.workers import WorkerOptions
from flexcalc.potential import check_molecule
from flexcalc.progress import Progress, silent
from flexcalc.storage import AppendLog, atomic_write

LABELS, QUARANTINE = "labels.xyz", "quarantine.xyz"
OWN_TAGS = ("index", "reason", "level")

TRIALS = 3
"""Start geometries that may fail before it is the reference's fault."""

Pool = LabelPool


def unsaid(line: str) -> None:
    """The log of a caller who does not want to read any."""


@dataclass(frozen=True)
class LabelCount:
    """What a folder holds after labelling.

    Args:
        labelled: frames in labels.xyz.
        quarantined: frames in quarantine.xyz.
        seconds: time this call took.
    """

    labelled: int
    quarantined: int
    seconds: float


def label(
    open_reference: OpenReference,
    geometries: Dataset,
    folder: Path | str,
    *,
    workers: int = 1,
    scheduler: str | Mapping[str, Any] | None = None,
    level: str = "",
    timeout_s: float = 3600.0,
    retry_quarantined: bool = False,
    worker_wait_s: float = 86400.0,
    allow_remote: bool = False,
    progress: Progress = silent,
    log: Log = unsaid,
) -> LabelCount:
    """Compute energy and forces of every geometry; start again to go on where it stopped.

    Args:
        open_reference: makes the reference. It is called once in every worker process, so it
            must be importable there: a function of a module, or a functools.partial of one.
        geometries: labels they have are not looked at.
        folder: gets labels.xyz, in the order of completion, with the tags of the geometries and
            their `index`, and quarantine.xyz with the same and the `reason`.
        workers: processes on this machine; they share its cores.
        scheduler: address of a Dask scheduler, or the table of a dask-jobqueue cluster, such
            as {"cluster": "SLURM", "jobs": 4, "cores": 8, "memory": "16GB"}; `workers` is then
            not used.
        level: level of theory, written with every label.
        timeout_s: longest time one geometry may take.
        retry_quarantined: try the geometries again that stand in quarantine.xyz.
        worker_wait_s: longest time without any Dask worker.
        allow_remote: let other machines take part over the network; whoever reaches the Dask
            scheduler can run code in all that are connected to it.
        progress: gets (done, total, note) for what is on disk.
        log: gets a line at a time, of what is waited for.

    Raises:
        AddressError, MissingExtraError, MoleculeError: the reference cannot be opened, is not
            set up, or is for another molecule; nothing is written.
        MissingProgramError: its program cannot be started; what is on disk is whole.
        ConfigError: see `check_scheduler`; nothing is written.
        InputError: the folder holds labels of other geometries or of another level.
        BusyError: another process is labelling into the folder.
        LabelError: worker processes die before they have opened the reference, the Dask
            scheduler does not answer, its workers do not come, or the disk is full; what is on
            disk is whole.
    """
    team = open_pool(
        open_reference, geometries.numbers, workers=workers, scheduler=scheduler,
        timeout_s=timeout_s, worker_wait_s=worker_wait_s, allow_remote=allow_remote, log=log,
    )  # fmt: skip
    with team as pool:
        return label_with(
            pool, geometries, folder, level=level, retry_quarantined=retry_quarantined,
            progress=progress,
        )  # fmt: skip


def open_pool(
    open_reference: OpenReference,
    numbers: np.ndarray,
    *,
    workers: int,
    scheduler: str | Mapping[str, Any] | None,
    timeout_s: float,
    worker_wait_s: float,
    allow_remote: bool,
    log: Log,
) -> Pool:
    """What labels geometries, here or on Dask; see `label`. Nothing is started before it is used.

    Raises:
        InputError: an argument is out of range, or the reference cannot be sent.
        ConfigError, MissingExtraError: see `check_scheduler`.
    """
    if workers < 1 or not timeout_s > 0 or not worker_wait_s > 0:
        raise InputError(
            "workers, timeout_s and worker_wait_s must be positive, got "
            f"{workers}, {timeout_s:g}, {worker_wait_s:g}"
        )
    check_importable("open_reference", open_reference)
    check_scheduler(scheduler, allow_remote)
    options = WorkerOptions(
        workers=workers,
        scheduler=scheduler,
        worker_wait_s=worker_wait_s,
        allow_remote=allow_remote,
    )
    return LabelPool(open_reference, numbers, options, timeout_s, log)


def label_with(
    pool: Pool,
    geometries: Dataset,
    folder: Path | str,
    *,
    level: str,
    retry_quarantined: bool = False,
    known: Dataset | None = None,
    progress: Progress = silent,
) -> LabelCount:
    """Label geometries with an open pool; see `label`.

    Args:
        known: labels of the same level that are there already; a geometry among them is not
            computed.
    """
    start = time.monotonic()
    with _Record(Path(folder), geometries, level) as record:
        if retry_quarantined:
            record.forget_quarantine()
        if known is not None:
            record.take_known(known)
        missing = record.missing()
        progress(record.done, len(geometries), record.note)
        tasks = [(index, geometries.positions[index]) for index in missing]
        for outcomes in pool.batches(tasks) if tasks else ():
            if record.take(outcomes):
                progress(record.done, len(geometries), record.note)
        if record.write():
            progress(record.done, len(geometries), record.note)
    return LabelCount(record.labelled, record.quarantined, time.monotonic() - start)


def read_labels(folder: Path | str) -> Dataset:
    """The labels of a folder, whole or not yet, in the order of the geometries.

    Raises:
        FileFormatError: no labels there, or damaged.
    """
    path = Path(folder) / LABELS
    dataset = read_frames(path)
    index = _indices(path, dataset)
    return dataset[np.argsort(index, kind="stable")]


def try_reference(pool: Pool, starts: Dataset, path: Path, level: str) -> None:
    """Label a start, before anything is built on a reference that labels nothing.

    Args:
        pool: labels it where all labels are made.
        starts: tried in order, the next one only if there is no label of those before.
        path: gets the label; where it exists, nothing is tried.
        level: level of theory, written with the label.

    Raises:
        LabelError: none of the first few has a label.
        AddressError, MissingExtraError, MissingProgramError, MoleculeError: see `label`.
    """
    if path.exists():
        return
    outcome = Outcome(-1, reason="no start geometry")
    for index, positions in enumerate(starts.positions[:TRIALS]):
        (outcome,) = [one for batch in pool.batches([(-1 - index, positions)]) for one in batch]
        if not outcome.reason:
            tags = {"level": level} if level else {}
            frame = frame_bytes(starts.numbers, positions, outcome.energy, outcome.forces, **tags)
            atomic_write(path, frame)
            return
    raise LabelError(
        f"{level} gives no label of the start geometries, so nothing was put into quarantine: "
        f"{outcome.reason}; mend that, and the same command goes on"
    )


class _Record:
    """What is on disk in a folder: the two logs, and which geometries stand in them.

    Args:
        folder: of the logs.
        geometries: all that are to be labelled.
        level: level of theory of the labels.
    """

    def __init__(self, folder: Path, geometries: Dataset, level: str):
        self.geometries, self.level = geometries, level
        self._waiting: list[Outcome] = []
        self._written = time.monotonic()
        with ExitStack() as stack:
            if not folder.exists():
                folder.mkdir(parents=True)
                stack.callback(_remove_folder_if_empty, folder)
            self._logs = [
                stack.enter_context(FrameLog(folder / name)) for name in (LABELS, QUARANTINE)
            ]
            stack.callback(self._remove_empty_logs)
            self._finished = [self._check(log) for log in self._logs]
            self._open = stack.pop_all()

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what has arrived, whatever ended the run, and close."""
        with self._open:
            self.write()

    @property
    def labelled(self) -> int:
        return len(self._finished[0])

    @property
    def quarantined(self) -> int:
        return len(self._finished[1])

    @property
    def done(self) -> int:
        return self.labelled + self.quarantined

    @property
    def note(self) -> str:
        return f"{self.quarantined} in quarantine" if self.quarantined else ""

    def forget_quarantine(self) -> None:
        """Let the geometries in quarantine be missing again."""
        self._logs[1].truncate(0)
        self._finished[1].clear()

    def take_known(self, known: Dataset) -> None:
        """Take the labels of geometries that are missing and stand in a dataset."""
        energies, forces = known.labels()
        place = {frame.tobytes(): row for row, frame in enumerate(known.positions)}
        found = [
            (index, place[key])
            for index in self.missing()
            if (key := self.geometries.positions[index].tobytes()) in place
        ]
        self.take([Outcome(index, float(energies[row]), forces[row]) for index, row in found])
        self.write()

    def missing(self) -> list[int]:
        """Indices of the geometries that stand in neither log, in order."""
        finished = self._finished[0] | self._finished[1]
        return [index for index in range(len(self.geometries)) if index not in finished]

    def take(self, outcomes: Sequence[Outcome]) -> bool:
        """Take outcomes, and write all that wait if the last writing was a tick ago.

        A cheap reference sends hundreds a second, and the disk wants milliseconds for each
        fsync: grouping them costs a kill some labels that were not yet acknowledged.
        """
        self._waiting.extend(outcomes)
        if time.monotonic() - self._written < TICK_S:
            return False
        return self.write()

    def write(self) -> bool:
        """Write what waits; whether there was anything.

        Raises:
            LabelError: the disk is full or failed; the logs are as they were.
        """
        # Taken out first: what an interrupt leaves in doubt is computed again, never written twice.
        waiting, self._waiting = self._waiting, []
        for log, finished, good in zip(self._logs, self._finished, (True, False), strict=True):
            chosen = [outcome for outcome in waiting if (outcome.reason == "") == good]
            if not chosen:
                continue
            try:
                log.append(b"".join(self._frame(outcome) for outcome in chosen))
            except OSError as error:
                raise LabelError(
                    f"{log.path}: cannot be written: {error.strerror}; what stands in it is whole, "
                    "start again to go on"
                ) from None
            finished.update(outcome.index for outcome in chosen)
        self._written = time.monotonic()
        return bool(waiting)

    def _frame(self, outcome: Outcome) -> bytes:
        index = outcome.index
        own: dict[str, Any] = {"index": index}
        if outcome.reason:
            own["reason"] = outcome.reason
        elif self.level:
            own["level"] = self.level
        return frame_bytes(
            self.geometries.numbers,
            self.geometries.positions[index],
            None if outcome.reason else outcome.energy,
            None if outcome.reason else outcome.forces,
            masses=None if self.geometries.masses is None else self.geometries.masses[index],
            **{name: column[index] for name, column in self.geometries.tags.items()
               if name not in OWN_TAGS},
            **own,
        )  # fmt: skip

    def _check(self, log: AppendLog) -> set[int]:
        """Indices in a log, which must be of these geometries and this level.

        Raises:
            InputError: it is of others.
        """
        if not log.size:
            return set()
        found = read_frames(log.path)
        check_molecule(self.geometries.numbers, found.numbers, str(log.path))
        index = _indices(log.path, found)
        same = index < len(self.geometries)
        same[same] = (self.geometries.positions[index[same]] == found.positions[same]).all((1, 2))
        if not same.all():
            raise InputError(
                f"{log.path}: holds other geometries than the ones to be labelled (geometry "
                f"{index[~same][0]} differs); choose another --output"
            )
        level = found.provenance.level
        if found.energies is not None and level != (self.level or "unknown"):
            raise InputError(
                f"{log.path}: holds labels of {level}, not of {self.level or 'unknown'}; "
                "choose another --output"
            )
        return set(index.tolist())

    def _remove_empty_logs(self) -> None:
        for log in self._logs:
            if not log.size:
                log.path.unlink(missing_ok=True)


def _remove_folder_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _indices(path: Path, dataset: Dataset) -> np.ndarray:
    index = dataset.tags.get("index")
    if index is None or index.dtype.kind != "i" or index.min() < 0:
        raise FileFormatError(f"{path}: a frame lacks the index of its geometry")
    if len(np.unique(index)) != len(index):
        raise FileFormatError(f"{path}: a geometry stands in it twice")
    return index
