"""`flexcalc label`: sample geometries, label them with a reference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from flexcalc import files
from flexcalc.config import Label
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, LabelError
from flexcalc.labelling import Pool, label_with, open_pool, read_labels, try_reference
from flexcalc.labelling.worker import OpenReference
from flexcalc.memory import geometry_bytes, require_memory
from flexcalc.methods.sampling import (
    AsIs,
    Displaced,
    as_they_are,
    displace,
    joined,
    sample_dynamics,
)
from flexcalc.models.bonding import check_order
from flexcalc.parallel.job_queue import check_scheduler
from flexcalc.potential import check_molecule
from flexcalc.registry import electron_options, open_potential, with_options
from flexcalc.tasks.molecule import Electrons, common_masses, electrons_of, following
from flexcalc.workflows.runs import Run, open_run

SMILES = "smiles:"
TRIAL = "trial.xyz"
FRAME_ARRAYS = 10
"""Arrays (frames, atoms, 3) that sampling and labelling hold at least, text included."""


def run_label(config: Label, output: Path) -> dict[str, Any]:
    """Sample geometries and label them; a second call goes on where the first stopped.

    A start is labelled before anything is sampled, or first of all by a job queue. Writes
    trial.xyz with that label, geometries.xyz, labels.xyz and quarantine.xyz into the run folder.

    Raises:
        InputError: a start, the reference, the sampler or the scheduler cannot be used; nothing
            is written.
        LabelError: the reference's program is missing, it labels no start or no geometry, or
            nobody labels any more.
    """
    read = {text: files.read(text) for text in _files(config.starts)}
    written = [_bare_start(text, read[text]) for text in _files(config.starts)]
    numbers = _one_molecule(config.starts, written)
    common_masses(*written)
    for electrons in _electrons(config.starts, read):
        config = following(config, electrons)
    opened = partial(open_potential, numbers=numbers.tolist(), trust=config.trust)
    reference = opened(config.reference)
    sampler_address = config.sampler or _default_sampler(config.reference, config.workers)
    sampler = opened(sampler_address)
    for text, start in zip(_files(config.starts), written, strict=True):
        check_order(sampler, start.positions, text)
        check_order(reference, start.positions, text)
    _check_scheduler(config)
    frames = sum(getattr(how, "frames", 0) for how in config.samples)
    require_memory(
        geometry_bytes(frames, len(reference.numbers), FRAME_ARRAYS),
        f"{frames} frames of {len(reference.numbers)} atoms",
        "ask for fewer frames",
    )
    again = config.retry_quarantined and (Path(output) / "quarantine.xyz").exists()
    # what is asked for once does not belong to what the run is
    with open_run("label", replace(config, retry_quarantined=False), output, again=again) as run:
        if run.finished is not None:
            return run.finished
        _say_address(run, config)
        with _pool(config, run, numbers, partial(opened, config.reference)) as pool:
            starts = _starts(config, run, written, reference)
            queued = isinstance(config.scheduler, dict)  # whose jobs would idle while we sample
            if not queued:
                _try(config, run, pool, starts)
            geometries = _geometries(config, run, starts, sampler)
            if queued:
                _try(config, run, pool, starts)
            with run.bar("label") as progress:
                count = label_with(
                    pool,
                    geometries,
                    run.folder,
                    level=config.reference,
                    retry_quarantined=config.retry_quarantined,
                    known=_tried(run.folder),
                    progress=progress,
                )
        quarantine = ""
        if count.quarantined:
            quarantine = f", {count.quarantined} in quarantine ({_reason(run.folder)})"
        run.say(f"labelled {count.labelled} frames with {config.reference}{quarantine}")
        if not count.labelled:
            raise LabelError(
                f"{config.reference} labelled no frame; {_reason(run.folder)}; mend that, and the "
                "same command with --retry-quarantined tries them again"
            )
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


def _check_scheduler(config: Label) -> None:
    """Refuse before the sampling what Dask would refuse after it.

    Raises:
        ConfigError: neither an address nor a table for dask-jobqueue; see `check_scheduler`.
    """
    text = config.scheduler
    if isinstance(text, str) and not re.fullmatch(r"(\w+://)?[^\s/:]+:\d{1,5}", text):
        raise ConfigError(f"scheduler: expected HOST:PORT or tcp://HOST:PORT, got {text!r}")
    check_scheduler(text, config.allow_remote)


def _pool(config: Label, run: Run, numbers: np.ndarray, opener: OpenReference) -> Pool:
    return open_pool(
        opener,
        numbers,
        workers=config.workers,
        scheduler=config.scheduler,
        timeout_s=config.timeout_s,
        worker_wait_s=config.worker_wait_s,
        allow_remote=config.allow_remote,
        log=run.say,
    )


def _try(config: Label, run: Run, pool: Pool, starts: Dataset) -> None:
    """Label a start first, unless there are labels or nothing is sampled that would be in vain."""
    labels = run.folder / "labels.xyz"
    labelled = labels.exists() and labels.stat().st_size > 0
    if not labelled and not all(isinstance(how, AsIs) for how in config.samples):
        try_reference(pool, starts, run.folder / TRIAL, config.reference)


def _tried(folder: Path) -> Dataset | None:
    """The label of the start that was tried, if there is one."""
    path = folder / TRIAL
    return files.read(path) if path.exists() else None


def _reason(folder: Path) -> str:
    """The first reason in quarantine.xyz."""
    return f"the first: {files.read_frames(folder / 'quarantine.xyz').tags['reason'][0]}"


def _default_sampler(reference: str, workers: int) -> str:
    """The reference itself; for DFT, too slow to sample with, GFN2-xTB."""
    if reference.startswith("dft:"):
        known = {k: v for k, v in electron_options(reference).items() if v is not None}
        reference = with_options("xtb:GFN2-xTB", known)
    options = parse_qsl(reference.partition("?")[2])
    if reference.startswith("xtb:") and {name for name, _ in options} <= {"charge", "multiplicity"}:
        # The workers' cores are free while the sampling goes on, and which geometries come out
        # matters less than that they come fast.
        return with_options(reference, {"accuracy": 1, "threads": workers})
    return reference


def _electrons(starts: Sequence[str], read: Mapping[str, Dataset]) -> list[Electrons]:
    """What every start says of its electrons: a SMILES always its charge."""
    from flexcalc.methods.conformers import charge_and_unpaired

    found = []
    for text in starts:
        if text.startswith(SMILES):
            charge, unpaired = charge_and_unpaired(text.removeprefix(SMILES))
            multiplicity = unpaired + 1 if unpaired else None
            found.append(Electrons(text, charge, multiplicity, proposed=True))
        else:
            found.append(electrons_of(read[text]))
    return found


def _say_address(run: Run, config: Label) -> None:
    """Say charge and multiplicity of the labels, where they are not the usual ones."""
    known = {k: v for k, v in electron_options(config.reference).items() if v is not None}
    if known:
        told = ", ".join(f"{name} {value}" for name, value in known.items())
        run.say(f"labels by {config.reference}: {told}")


def _files(starts: Sequence[str]) -> list[str]:
    """The starts that are files."""
    return [text for text in starts if not text.startswith(SMILES)]


def _bare_start(text: str, start: Dataset) -> Dataset:
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


def _geometries(config: Label, run: Run, starts: Dataset, sampler: Any) -> Dataset:
    """The geometries to label: read from the folder, or sampled and written there."""
    path = run.folder / "geometries.xyz"
    if path.exists():
        return files.read(path)
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
            with run.store as store:
                parts.append(sample_dynamics(how, sampler, starts, rng, store, name, progress))
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
