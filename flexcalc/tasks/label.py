"""Sample geometries and label them with a reference; nothing is lost or repeated by a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import parse_qsl

import numpy as np

from flexcalc.config.label import Label
from flexcalc.dataset import Dataset
from flexcalc.errors import LabelError
from flexcalc.fields import PotentialLike
from flexcalc.labelling import (
    LABELS,
    QUARANTINE,
    Pool,
    Workers,
    has_labels,
    label_with,
    open_pool,
    read_labels,
    try_reference,
)
from flexcalc.labelling.pool import sendable
from flexcalc.labelling.worker import OpenReference
from flexcalc.memory import geometry_bytes, require_memory
from flexcalc.methods.sampling import (
    AsIs,
    Displaced,
    Place,
    as_they_are,
    concatenate_unlabelled,
    displace,
    sample_dynamics,
)
from flexcalc.models.bonding import check_order
from flexcalc.models.family import model_sha256
from flexcalc.potential import Potential
from flexcalc.registry import electron_options, name_of, open_potential, with_options
from flexcalc.results.labels import Labels
from flexcalc.store import Store
from flexcalc.tasks.molecule import common_masses, following
from flexcalc.tasks.starts import Start, frames_of, read_starts, start_geometries

GEOMETRIES = "geometries.xyz"
FRAME_ARRAYS = 10
"""Arrays (frames, atoms, 3) that sampling and labelling hold at least, text included."""


def label(options: Label, store: Store) -> Labels:
    """Sample geometries and label them; a second call resumes it.

    A start is labelled before anything is sampled, or first of all by a job queue. Keeps that
    label in trial.xyz, and starts.xyz, geometries.xyz, labels.xyz and quarantine.xyz.

    Raises:
        InputError: a start, the reference, the sampler or the scheduler cannot be used; nothing
            is written.
        LabelError: the reference's program is missing, it labels no start or no geometry, or
            nobody labels any more.
    """
    work = _prepared(options)
    options = work.options
    again = options.retry_quarantined and store.get(QUARANTINE) is not None
    # what is asked for once does not belong to what the run is
    found = store.begin(replace(options, retry_quarantined=False), again=again)
    if found is not None:
        return Labels.from_dict(found, store)
    _say_electrons(options, store)
    level = name_of(options.reference)
    with open_pool(work.opener, work.reference.numbers, _workers(options), store.say) as pool:
        geometries = _sampled(work, store, pool)
        with store.bar("label") as progress:
            count = label_with(
                pool,
                geometries,
                store,
                level=level,
                retry_quarantined=options.retry_quarantined,
                progress=progress,
            )
    if not count.labelled:
        reason = store.get(QUARANTINE).tags["reason"][0]
        raise LabelError(
            f"{level} labelled no frame; the first: {reason}; after fixing this, the same "
            "command with --retry-quarantined tries them again"
        )
    # In the order of the geometries, so that the same seed trains the same model.
    store.put(LABELS, _made_by(work.reference, read_labels(store)))
    return Labels(
        store=store,
        reference=level,
        sampler=work.sampler_name,
        frames=count.labelled,
        quarantined=count.quarantined,
        workers=options.workers,
        labelling_seconds=round(count.seconds, 2),
    )


def _made_by(reference: Potential, labels: Dataset) -> Dataset:
    """Labels that say which model made them, where the reference is one."""
    by = replace(labels.provenance, model_sha256=model_sha256(reference))
    return replace(labels, provenance=by)


@dataclass(frozen=True, eq=False)
class _Work:
    """The labelling to be done, with all input read and checked.

    Args:
        options: with charge and multiplicity that the starts state.
        starts: geometries to start from.
        reference: labels the conformers of a SMILES.
        opener: makes the reference in a worker process.
        sampler: drives the sampling.
        sampler_name: its address, or the class of one that was given as an object.
    """

    options: Label
    starts: Sequence[Start]
    reference: Potential
    opener: OpenReference
    sampler: Potential
    sampler_name: str


def _prepared(options: Label) -> _Work:
    """Read the starts, open the potentials, and check everything.

    Raises:
        InputError: something cannot be used.
    """
    starts = read_starts(options.starts)
    common_masses(*frames_of(starts))
    for start in starts:
        options = following(options, start.electrons)
    numbers = starts[0].numbers.tolist()
    given = options.reference
    sent = given if isinstance(given, str) else sendable(given)
    opener = partial(open_potential, sent, numbers=numbers, trust=options.trust)
    reference = open_potential(given, numbers, trust=options.trust)
    chosen = options.sampler or default_sampler(given, options.workers)
    sampler = open_potential(chosen, numbers, trust=options.trust)
    for start in starts:
        if start.frames is not None:
            check_order(sampler, start.frames.positions, start.source)
            check_order(reference, start.frames.positions, start.source)
    options.worker_options.check()
    frames = sum(getattr(how, "frames", 0) for how in options.samples)
    require_memory(
        geometry_bytes(frames, len(numbers), FRAME_ARRAYS),
        f"{frames} frames of {len(numbers)} atoms",
        "ask for fewer frames",
    )
    return _Work(options, starts, reference, opener, sampler, name_of(chosen))


def _workers(options: Label) -> Workers:
    return Workers(
        workers=options.workers,
        scheduler=options.scheduler,
        timeout_s=options.timeout_s,
        worker_wait_s=options.worker_wait_s,
        allow_remote=options.allow_remote,
    )


def cheap_surface(reference: PotentialLike) -> str | None:
    """GFN2-xTB with the charge and multiplicity of a dft: address; None for other potentials."""
    if not isinstance(reference, str) or not reference.startswith("dft:"):
        return None
    known = {k: v for k, v in electron_options(reference).items() if v is not None}
    return with_options("xtb:GFN2-xTB", known)


def default_sampler(reference: PotentialLike, workers: int) -> PotentialLike:
    """The reference itself; for DFT, too slow to sample with, GFN2-xTB."""
    if not isinstance(reference, str):
        return reference
    reference = cheap_surface(reference) or reference
    options = parse_qsl(reference.partition("?")[2])
    if reference.startswith("xtb:") and {name for name, _ in options} <= {"charge", "multiplicity"}:
        # The workers' cores are free while the sampling goes on, and which geometries come out
        # matters less than that they come fast.
        return with_options(reference, {"accuracy": 1, "threads": workers})
    return reference


def _say_electrons(options: Label, store: Store) -> None:
    """Report charge and multiplicity of the labels, unless they are the defaults."""
    if not isinstance(options.reference, str):
        return
    known = {k: v for k, v in electron_options(options.reference).items() if v is not None}
    if known:
        electrons = ", ".join(f"{name} {value}" for name, value in known.items())
        store.say(f"labels by {options.reference}: {electrons}")


def _sampled(work: _Work, store: Store, pool: Pool) -> Dataset:
    """The geometries to label, once the pool has been tried on a start."""
    starts = start_geometries(work.options, store, work.starts, work.reference)
    queued = isinstance(work.options.scheduler, dict)  # whose jobs would idle while we sample
    if not queued:
        _try(work.options, store, pool, starts)
    geometries = _geometries(work, store, starts)
    if queued:
        _try(work.options, store, pool, starts)
    return geometries


def _try(options: Label, store: Store, pool: Pool, starts: Dataset) -> None:
    """Label a start first, unless there are labels or nothing is sampled that would be in vain."""
    if all(isinstance(how, AsIs) for how in options.samples) or has_labels(store):
        return
    try_reference(pool, starts, store, name_of(options.reference))


def _geometries(work: _Work, store: Store, starts: Dataset) -> Dataset:
    """The geometries to label, sampled unless they are there, and kept in geometries.xyz."""
    known = store.get(GEOMETRIES)
    if known is not None:
        return known
    options, parts = work.options, []
    for index, how in enumerate(options.samples):
        rng = np.random.default_rng([options.seed, index])
        if isinstance(how, Displaced):
            parts.append(displace(how, starts, rng))
            continue
        if isinstance(how, AsIs):
            parts.append(as_they_are(how, starts))
            continue
        with store.bar(f"sample {index + 1}/{len(options.samples)}") as progress:
            place = Place(store, f"sampling-{index}", progress)
            parts.append(sample_dynamics(how, work.sampler, starts, rng, place))
    geometries = concatenate_unlabelled(parts)
    store.put(GEOMETRIES, geometries)
    if not all(isinstance(how, AsIs) for how in options.samples):
        store.say(f"sampled {len(geometries)} geometries; start geometries: {len(starts)}")
    return geometries
