"""Label geometries with a reference; if it is killed at any moment, no label is lost or repeated.

A label counts when it is kept in labels.xyz; a geometry without one stands in quarantine.xyz with
the reason. Both are append-only, and a restart skips the geometries in either.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FileFormatError, InputError, LabelError
from flexcalc.labelling.pool import LabelPool
from flexcalc.labelling.worker import OpenReference, Outcome
from flexcalc.parallel.job_queue import Log, check_scheduler
from flexcalc.parallel.process_pool import TICK_S
from flexcalc.parallel.processes import check_importable
from flexcalc.parallel.workers import WorkerOptions
from flexcalc.potential import check_molecule
from flexcalc.progress import Progress, silent
from flexcalc.store import Log as StoreLog
from flexcalc.store import Store

LABELS, QUARANTINE, TRIAL = "labels.xyz", "quarantine.xyz", "trial.xyz"
OWN_TAGS = ("index", "reason", "level")

TRIALS = 3
"""Start geometries that may fail before the reference is considered broken."""

Pool = LabelPool


@dataclass(frozen=True)
class LabelCount:
    """What a store holds after labelling.

    Args:
        labelled: frames in labels.xyz.
        quarantined: frames in quarantine.xyz.
        seconds: time this call took.
    """

    labelled: int
    quarantined: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Workers(WorkerOptions):
    """The processes that label; see `WorkerOptions`.

    Args:
        timeout_s: timeout for one geometry, in seconds.

    Raises:
        InputError: a number is not positive.
    """

    timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        if self.workers < 1 or not self.timeout_s > 0 or not self.worker_wait_s > 0:
            raise InputError(
                "workers, timeout_s and worker_wait_s must be positive, got "
                f"{self.workers}, {self.timeout_s:g}, {self.worker_wait_s:g}"
            )


def open_pool(
    open_reference: OpenReference, numbers: np.ndarray, workers: Workers, log: Log
) -> Pool:
    """Open the pool that labels geometries, here or on Dask. Processes start at the first task.

    Args:
        open_reference: makes the reference. It is called once in every worker process, so it
            must be importable there: a function of a module, or a functools.partial of one.
        numbers: (atoms,) of the molecule.
        workers: the processes that label.
        log: receives messages, one line each.

    Raises:
        InputError: the reference cannot be sent.
        ConfigError, MissingExtraError: see `check_scheduler`.
    """
    check_importable("open_reference", open_reference)
    check_scheduler(workers.scheduler, workers.allow_remote)
    return LabelPool(open_reference, numbers, workers, workers.timeout_s, log)


def label_with(
    pool: Pool,
    geometries: Dataset,
    store: Store,
    *,
    level: str = "",
    retry_quarantined: bool = False,
    progress: Progress = silent,
) -> LabelCount:
    """Compute energy and forces of every geometry; a restart computes only missing ones.

    Args:
        pool: computes them.
        geometries: labels that they have are ignored.
        store: gets labels.xyz, in the order of completion, with the tags of the geometries and
            their `index`, and quarantine.xyz with the same and the `reason`. A geometry whose
            label stands in trial.xyz is not computed.
        level: level of theory, written with every label.
        retry_quarantined: try the geometries again that stand in quarantine.xyz.
        progress: gets (done, total, note) for what is kept.

    Raises:
        AddressError, MissingExtraError, MoleculeError: the reference cannot be opened, is not
            set up, or is for another molecule; nothing is written.
        MissingProgramError: its program cannot be started; labels so far are kept.
        InputError: the store holds labels of other geometries or of another level.
        BusyError: another process is labelling into the folder.
        LabelError: worker processes die before they have opened the reference, the Dask
            scheduler does not answer, its workers do not come, or the disk is full; labels so far
            are kept.
    """
    start = time.monotonic()
    with _Record(store, geometries, level) as record:
        if retry_quarantined:
            record.forget_quarantine()
        record.take_known(store.get(TRIAL))
        missing = record.missing()
        progress(record.done, len(geometries), record.note)
        tasks = [(index, geometries.positions[index]) for index in missing]
        for outcomes in pool.batches(tasks) if tasks else ():
            if record.take(outcomes):
                progress(record.done, len(geometries), record.note)
        if record.write():
            progress(record.done, len(geometries), record.note)
    return LabelCount(record.labelled, record.quarantined, time.monotonic() - start)


def read_labels(store: Store) -> Dataset:
    """The labels of a store, complete or not yet, in the order of the geometries.

    Raises:
        FileFormatError: no labels there, or damaged.
    """
    where = store.where(LABELS)
    dataset = store.get(LABELS)
    if dataset is None:
        raise FileFormatError(f"{where}: no labels yet")
    return dataset[np.argsort(_indices(where, dataset), kind="stable")]


def has_labels(store: Store) -> bool:
    """Whether a store holds a label."""
    found = store.frames(LABELS).size > 0
    if not found:
        store.remove(LABELS)
    return found


def try_reference(pool: Pool, starts: Dataset, store: Store, level: str) -> None:
    """Label a start geometry first, to stop early if the reference does not work.

    Args:
        pool: the same that labels all geometries.
        starts: tried in order until one has a label.
        store: gets the label as trial.xyz; if it has one already, nothing is computed.
        level: level of theory, written with the label.

    Raises:
        LabelError: none of the first few has a label.
        AddressError, MissingExtraError, MissingProgramError, MoleculeError: see `label_with`.
    """
    if store.get(TRIAL) is not None:
        return
    outcome = Outcome(-1, reason="no start geometry")
    for index, positions in enumerate(starts.positions[:TRIALS]):
        (outcome,) = [one for batch in pool.batches([(-1 - index, positions)]) for one in batch]
        if not outcome.reason:
            store.put(TRIAL, _labelled(Dataset(starts.numbers, positions[None]), [outcome], level))
            return
    raise LabelError(
        f"{level} gives no label of the start geometries, so nothing was put into quarantine: "
        f"{outcome.reason}; after fixing this, the same command resumes"
    )


def _labelled(geometries: Dataset, outcomes: Sequence[Outcome], level: str) -> Dataset:
    """Geometries with their labels, of a level of theory."""
    return replace(
        geometries,
        energies=np.array([outcome.energy for outcome in outcomes]),
        forces=np.array([outcome.forces for outcome in outcomes]),
        provenance=Provenance(level or "unknown"),
    )


class _Record:
    """The labels and the quarantine of a store: two logs, and the indices of their geometries.

    Args:
        store: of the logs.
        geometries: all that are to be labelled.
        level: level of theory of the labels.
    """

    def __init__(self, store: Store, geometries: Dataset, level: str):
        self.store, self.geometries, self.level = store, geometries, level
        self._waiting: list[Outcome] = []
        self._written = time.monotonic()
        self._logs: dict[str, StoreLog] = {}
        with ExitStack() as stack:
            stack.callback(self._remove_empty_logs)
            for name in (LABELS, QUARANTINE):
                self._logs[name] = store.frames(name)
            self._finished = {name: self._check(name) for name in self._logs}
            self._open = stack.pop_all()

    def __enter__(self) -> _Record:
        return self

    def __exit__(self, *_: object) -> None:
        """Write all labels that have arrived, however the run ended."""
        with self._open:
            self.write()

    @property
    def labelled(self) -> int:
        return len(self._finished[LABELS])

    @property
    def quarantined(self) -> int:
        return len(self._finished[QUARANTINE])

    @property
    def done(self) -> int:
        return self.labelled + self.quarantined

    @property
    def note(self) -> str:
        return f"{self.quarantined} in quarantine" if self.quarantined else ""

    def forget_quarantine(self) -> None:
        """Empty the quarantine, so that its geometries are computed again."""
        self._logs[QUARANTINE].truncate(0)
        self._finished[QUARANTINE].clear()

    def take_known(self, known: Dataset | None) -> None:
        """Take labels of missing geometries from a dataset."""
        if known is None:
            return
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
        """Indices of the geometries that are in neither log, ascending."""
        finished = self._finished[LABELS] | self._finished[QUARANTINE]
        return [index for index in range(len(self.geometries)) if index not in finished]

    def take(self, outcomes: Sequence[Outcome]) -> bool:
        """Take outcomes, and write all waiting ones at most once per tick.

        A cheap reference sends hundreds a second, and the disk wants milliseconds for each
        fsync: grouping them costs a kill some labels that were not yet acknowledged.
        """
        self._waiting.extend(outcomes)
        if time.monotonic() - self._written < TICK_S:
            return False
        return self.write()

    def write(self) -> bool:
        """Write the waiting outcomes; returns whether there were any.

        Raises:
            LabelError: the disk is full or failed; the logs are as they were.
        """
        # Taken out first: what an interrupt leaves in doubt is computed again, never written twice.
        waiting, self._waiting = self._waiting, []
        for name, good in ((LABELS, True), (QUARANTINE, False)):
            chosen = [outcome for outcome in waiting if (outcome.reason == "") == good]
            if not chosen:
                continue
            try:
                self._logs[name].extend([self._frames(chosen, good)])
            except OSError as error:
                raise LabelError(
                    f"{self.store.where(name)}: cannot be written: {error.strerror}; its "
                    "labels so far are complete, and a restart continues"
                ) from None
            self._finished[name].update(outcome.index for outcome in chosen)
        self._written = time.monotonic()
        return bool(waiting)

    def _frames(self, outcomes: Sequence[Outcome], good: bool) -> Dataset:
        """The frames of outcomes, with labels or with the reasons why they have none."""
        index = np.array([outcome.index for outcome in outcomes])
        chosen = self.geometries[index]
        tags = {name: column for name, column in chosen.tags.items() if name not in OWN_TAGS}
        tags["index"] = index
        if not good:
            tags["reason"] = np.array([outcome.reason for outcome in outcomes])
        chosen = replace(chosen, energies=None, forces=None, tags=tags, provenance=Provenance())
        return _labelled(chosen, outcomes, self.level) if good else chosen

    def _check(self, name: str) -> set[int]:
        """Indices in a log, which must be of these geometries and this level.

        Raises:
            InputError: it belongs to other geometries or another level.
        """
        if not self._logs[name].size:
            return set()
        found, where = self.store.get(name), self.store.where(name)
        check_molecule(self.geometries.numbers, found.numbers, where)
        index = _indices(where, found)
        same = index < len(self.geometries)
        same[same] = (self.geometries.positions[index[same]] == found.positions[same]).all((1, 2))
        if not same.all():
            raise InputError(
                f"{where}: holds other geometries than the ones to be labelled (geometry "
                f"{index[~same][0]} differs); choose another --output"
            )
        level = found.provenance.level
        if found.energies is not None and level != (self.level or "unknown"):
            raise InputError(
                f"{where}: holds labels of {level}, not of {self.level or 'unknown'}; "
                "choose another --output"
            )
        return set(index.tolist())

    def _remove_empty_logs(self) -> None:
        for name, log in self._logs.items():
            if not log.size:
                self.store.remove(name)


def _indices(where: str, dataset: Dataset) -> np.ndarray:
    index = dataset.tags.get("index")
    if index is None or index.dtype.kind != "i" or index.min() < 0:
        raise FileFormatError(f"{where}: a frame lacks the index of its geometry")
    if len(np.unique(index)) != len(index):
        raise FileFormatError(f"{where}: a geometry stands in it twice")
    return index
