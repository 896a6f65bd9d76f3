"""`flexcalc label`: sample geometries, label them with a reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import Label
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, LabelError
from flexcalc.labelling import label, read_labels
from flexcalc.labelling.cluster import CLUSTERS
from flexcalc.memory import geometry_bytes, require_memory
from flexcalc.methods.sampling import (
    AsIs,
    Displaced,
    as_they_are,
    displace,
    joined,
    sample_dynamics,
)
from flexcalc.potential import check_molecule
from flexcalc.registry import open_potential
from flexcalc.workflows.runs import Run, open_run

SMILES = "smiles:"
FRAME_ARRAYS = 10
"""Arrays (frames, atoms, 3) that sampling and labelling hold at least, text included."""


def run_label(config: Label, output: Path) -> dict[str, Any]:
    """Sample geometries and label them; a second call goes on where the first stopped.

    Writes geometries.xyz, labels.xyz and quarantine.xyz into the run folder.

    Raises:
        InputError: a start, the reference or the sampler cannot be used; nothing is written.
    """
    written = [_read_start(text) for text in config.starts if not text.startswith(SMILES)]
    numbers = _one_molecule(config.starts, written)
    opened = partial(open_potential, numbers=numbers.tolist(), trust=config.trust)
    reference = opened(config.reference)
    sampler_address = config.sampler or _default_sampler(config.reference, config.workers)
    sampler = opened(sampler_address)
    _check_scheduler(config.scheduler)
    frames = sum(getattr(how, "frames", 0) for how in config.samples)
    require_memory(
        geometry_bytes(frames, len(reference.numbers), FRAME_ARRAYS),
        f"{frames} frames of {len(reference.numbers)} atoms",
        "ask for fewer frames",
    )
    with open_run("label", config, output) as run:
        if run.finished is not None:
            return run.finished
        geometries = _geometries(config, run, written, reference, sampler)
        with run.bar("label") as progress:
            count = label(
                partial(opened, config.reference),
                geometries,
                run.folder,
                workers=config.workers,
                scheduler=config.scheduler,
                level=config.reference,
                timeout_s=config.timeout_s,
                progress=progress,
            )
        quarantine = ""
        if count.quarantined:
            quarantine = f", {count.quarantined} in quarantine ({_reason(run.folder)})"
        run.say(f"labelled {count.labelled} frames with {config.reference}{quarantine}")
        if not count.labelled:
            raise LabelError(f"{config.reference} labelled no frame; {_reason(run.folder)}")
        # In the order of the geometries, so that the same seed trains the same model.
        files.write(run.folder / "labels.xyz", read_labels(run.folder))
        return run.finish(
            {
                "reference": config.reference,
                "sampler": sampler_address,
                "frames": count.labelled,
                "quarantined": count.quarantined,
                "workers": config.workers,
                "labelling_seconds": round(count.seconds, 2),
            }
        )


def _check_scheduler(scheduler: str | dict[str, Any] | None) -> None:
    """Refuse before the sampling what Dask would refuse after it.

    Raises:
        ConfigError: neither an address nor a table for dask-jobqueue.
    """
    if isinstance(scheduler, str) and not re.fullmatch(r"(\w+://)?[^\s/:]+:\d{1,5}", scheduler):
        raise ConfigError(f"scheduler: expected HOST:PORT or tcp://HOST:PORT, got {scheduler!r}")
    if isinstance(scheduler, dict) and scheduler.get("cluster") not in CLUSTERS:
        raise ConfigError(
            f"scheduler.cluster: expected one of {', '.join(CLUSTERS)}, "
            f"got {scheduler.get('cluster')!r}"
        )


def _reason(folder: Path) -> str:
    """The first reason in quarantine.xyz."""
    return f"the first: {files.read_frames(folder / 'quarantine.xyz').tags['reason'][0]}"


def _default_sampler(reference: str, workers: int) -> str:
    """The reference itself; for DFT, too slow to sample with, GFN2-xTB."""
    if reference.startswith("dft:"):
        reference = "xtb:GFN2-xTB"
    if reference.startswith("xtb:") and "?" not in reference:
        # The workers' cores are free while the sampling goes on, and which geometries come out
        # matters less than that they come fast.
        return f"{reference}?accuracy=1&threads={workers}"
    return reference


def _read_start(text: str) -> Dataset:
    start = files.read(text)
    return replace(
        start, energies=None, forces=None, tags={"start": np.full(len(start), Path(text).stem)}
    )


def _one_molecule(starts: Sequence[str], written: Sequence[Dataset]) -> np.ndarray:
    """The atomic numbers (atoms,) that all starts share.

    Raises:
        MoleculeError: they are not all the same molecule, atom by atom.
    """
    files_of = iter(written)
    found = [
        _smiles_numbers(text) if text.startswith(SMILES) else next(files_of).numbers
        for text in starts
    ]
    for text, numbers in zip(starts, found, strict=True):
        check_molecule(found[0], numbers, text)
    return found[0]


def _smiles_numbers(text: str) -> np.ndarray:
    from flexcalc.methods.conformers import molecule

    return molecule(text.removeprefix(SMILES))


def _geometries(
    config: Label, run: Run, written: list[Dataset], reference: Any, sampler: Any
) -> Dataset:
    """The geometries to label: read from the folder, or sampled and written there."""
    path = run.folder / "geometries.xyz"
    if path.exists():
        return files.read(path)
    starts = _starts(config, run, written, reference)
    parts = []
    for index, how in enumerate(config.samples):
        rng = np.random.default_rng([config.seed, index])
        if isinstance(how, Displaced):
            parts.append(displace(how, starts, rng))
            continue
        if isinstance(how, AsIs):
            parts.append(as_they_are(how, starts))
            continue
        with run.bar(f"sample {index + 1}/{len(config.samples)}") as progress:
            name = f"sampling-{index}"
            parts.append(sample_dynamics(how, sampler, starts, rng, run.folder, name, progress))
    geometries = joined(parts)
    files.write(path, geometries)
    run.say(f"sampled {len(geometries)} geometries; start geometries: {len(starts)}")
    return geometries


def _starts(config: Label, run: Run, written: list[Dataset], reference: Any) -> Dataset:
    """All start geometries, conformers of a SMILES among them, kept in starts.xyz."""
    path = run.folder / "starts.xyz"
    if path.exists():
        return files.read(path)
    parts = list(written)
    for text in config.starts:
        if text.startswith(SMILES):
            from flexcalc.methods.conformers import conformers

            with run.bar("conformers") as progress:
                found = conformers(
                    text.removeprefix(SMILES), reference, config.conformers, config.seed, progress
                )
            run.say(f"{text}: {len(found)} conformers")
            parts.append(found)
    starts = joined(parts)
    files.write(path, starts)
    return starts
