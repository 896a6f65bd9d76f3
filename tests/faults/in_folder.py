"""Label into a folder, as `flexcalc label` does without its sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from flexcalc import labelling
from flexcalc.dataset import Dataset
from flexcalc.labelling import LabelCount, Workers, label_with, open_pool
from flexcalc.labelling.worker import OpenReference
from flexcalc.progress import silent
from flexcalc.store import FolderStore

QUEUE: Mapping[str, Any] = {"level": "", "retry_quarantined": False, "progress": silent}


def label(
    opener: OpenReference,
    geometries: Dataset,
    folder: Path,
    *,
    log: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> LabelCount:
    """Label geometries into a folder; one that was made here goes again if it stays empty."""
    queue = {name: options.pop(name) for name in QUEUE if name in options}
    existed = folder.exists()
    try:
        with (
            open_pool(opener, geometries.numbers, Workers(**options), log) as pool,
            FolderStore(folder) as store,
        ):
            return label_with(pool, geometries, store, **queue)
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()


def read_labels(folder: Path) -> Dataset:
    return labelling.read_labels(FolderStore(folder))
