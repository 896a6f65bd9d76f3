"""Label geometries with a reference so that killing it at any moment loses and repeats nothing.

A label counts when it is on disk in labels.xyz; a geometry without one stands in quarantine.xyz
with the reason. Both are append-only, and starting again skips what stands in either.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError, LabelError
from flexcalc.files import frame_bytes, open_frame_log, read_frames
from flexcalc.labelling import cluster, local
from flexcalc.labelling.worker import OpenReference, Outcome
from flexcalc.potential import check_molecule
from flexcalc.progress import Progress, silent
from flexcalc.storage import AppendLog

LABELS, QUARANTINE = "labels.xyz", "quarantine.xyz"
OWN_TAGS = ("index", "reason", "level")


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
    progress: Progress = silent,
) -> LabelCount:
    """Compute energy and forces of every geometry; start again to go on where it stopped.

    Args:
        open_reference: makes the reference. It is called once in every worker process, so it
            must be importable there: a function of a module, or a functools.partial of one.
        geometries: labels they have are not looked at.
        folder: gets labels.xyz, in the order of completion, with the tags of the geometries and
            their `index`, and quarantine.xyz with the same and the `reason`. To try those
            again, remove quarantine.xyz.
        workers: processes on this machine; they share its cores.
        scheduler: address of a Dask scheduler, or the section of a dask-jobqueue cluster, such
            as {"cluster": "SLURM", "jobs": 4, "cores": 8, "memory": "16GB"}; `workers` is then
            not used.
        level: level of theory, written with every label.
        timeout_s: longest time one geometry may take.
        progress: gets (done, total, note) for what is on disk.

    Raises:
        AddressError, MissingExtraError, MoleculeError: the reference cannot be opened, or is
            for another molecule; nothing is written.
        InputError: the folder holds labels of other geometries or of another level.
        BusyError: another process is labelling into the folder.
        LabelError: worker processes die before they have opened the reference, the Dask
            scheduler does not answer, or the disk is full; what is on disk is whole.
    """
    start = time.monotonic()
    if workers < 1 or not timeout_s > 0:
        raise InputError(f"workers and timeout_s must be positive, got {workers}, {timeout_s:g}")
    with _Record(Path(folder), geometries, level) as record:
        tasks = record.missing()
        progress(record.done, len(geometries), record.note)
        batches = _batches(open_reference, geometries, tasks, workers, scheduler, timeout_s)
        with closing(batches):
            for outcomes in batches:
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


def _batches(
    open_reference: OpenReference,
    geometries: Dataset,
    indices: Sequence[int],
    workers: int,
    scheduler: str | Mapping[str, Any] | None,
    timeout_s: float,
) -> Generator[list[Outcome]]:
    if not indices:
        return
    local.check_importable(open_reference)
    numbers = geometries.numbers
    tasks = [(index, geometries.positions[index]) for index in indices]
    if scheduler is None:
        with local.Pool(open_reference, numbers, workers, timeout_s) as pool:
            yield from pool.batches(tasks)
    else:
        yield from cluster.batches(open_reference, numbers, tasks, scheduler, timeout_s)


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
                stack.enter_context(open_frame_log(folder / name)) for name in (LABELS, QUARANTINE)
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
        if time.monotonic() - self._written < local.TICK_S:
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
