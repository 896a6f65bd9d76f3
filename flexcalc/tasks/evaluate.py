"""Errors of potentials on labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flexcalc.analysis.accuracy import Binning, Tag, accuracy
from flexcalc.config.evaluate import Evaluate
from flexcalc.dataset import Dataset
from flexcalc.domain import Domain, domain_of
from flexcalc.errors import FileFormatError, InputError
from flexcalc.files.frames import is_tag
from flexcalc.geometry import Coordinate
from flexcalc.geometry.fingerprint import fingerprints, first_alike, repeats, tolerance
from flexcalc.geometry.named import LINEAR_DEGREES
from flexcalc.models.frames import Use, use_of
from flexcalc.potential import Evaluation, Potential, distances_of, in_batches
from flexcalc.registry import name_of, open_potential
from flexcalc.results.domain_errors import DomainErrors
from flexcalc.results.errors import (
    ERRORS,
    PARITY,
    TRAINING,
    UNITS,
    UNSEEN,
    VALIDATION,
    WORST,
    Errors,
    UsedErrors,
    joined,
    repeated_text,
)
from flexcalc.store import Store
from flexcalc.tasks.molecule import electrons_of, following, source_of
from flexcalc.tasks.ordering import Ordered, ordered
from flexcalc.tasks.provenance import check_not_its_own, warn_of_model_labels
from flexcalc.units import KCAL_MOL


@dataclass(frozen=True, eq=False)
class EvaluateJob:
    """An evaluation with everything opened and checked.

    Args:
        options: as given, with the electrons of the dataset.
        data: frames to compare with.
        source: where they come from.
        regions: what errors are given by.
        potentials: one for each model.
        fittings: the frames in the order of atoms of each potential.
        uses: what the frames were in the training of each potential; None where that is unknown.
        notes: warnings about coordinates that have no value in some frames.
        repeated: number of frames that are there before.
    """

    options: Evaluate
    data: Dataset
    source: str
    regions: Sequence[Coordinate | Tag]
    potentials: Sequence[Potential]
    fittings: Sequence[Ordered]
    uses: Sequence[Use | None]
    notes: Sequence[str]
    repeated: int


def evaluate(options: Evaluate, store: Store) -> Errors:
    """Compare potentials with the labels of frames, overall and by region.

    Keeps errors.json, a parity-N.npz for each potential, and worst.xyz (reference labels of the
    first potential's worst frames).

    Raises:
        InputError: a potential, the dataset or a coordinate cannot be used; nothing is written.
    """
    job = prepared(options)
    found = store.begin(job.options)
    if found is not None:
        return Errors.from_dict(found, store)
    maps = [fitting.said(store) for fitting in job.fittings]
    for note in job.notes:
        store.warn(note)
    warn_of_model_labels(job.data, store, "errors are differences between models")
    if job.repeated:
        store.warn(repeated_text(job.repeated, len(job.data)))
    models: list[Errors] = []
    for index, atom_map in enumerate(maps):
        models.append(replace(_measured(job, index, store), atom_map=atom_map))
        _tell(store, models[-1], alone=len(maps) == 1)
    if len(models) > 1:
        store.table(*_compared(models))
    store.put(ERRORS, [one.table() for one in models])
    return joined(models)


def prepared(options: Evaluate) -> EvaluateJob:
    """Read the frames, open the potentials, and check everything.

    Raises:
        InputError: something cannot be used.
    """
    data, source = options.read(options.dataset), source_of(options.dataset)
    options = following(options, electrons_of(data))
    if data.energies is None and data.forces is None:
        raise FileFormatError(f"{source}: the dataset has no labels to compare with")
    data = _drawn(data, options)
    regions = [_regions_by(text, data, options.trust) for text in options.by]
    coordinates = [one for one in regions if isinstance(one, Coordinate)]
    for coordinate in coordinates:
        coordinate.values(data.positions[:1])
    notes = _undefined(coordinates, data.positions)
    potentials = [
        open_potential(model, data.numbers, trust=options.trust) for model in options.models
    ]
    fittings = [
        ordered(potential, data, source, options.map_atoms, most=True) for potential in potentials
    ]
    check_not_its_own(data, source, options.models, potentials)
    prints = fingerprints(data.numbers, data.positions)
    return EvaluateJob(
        options=options,
        data=data,
        source=source,
        regions=regions,
        potentials=potentials,
        fittings=fittings,
        uses=[use_of(potential, prints) for potential in potentials],
        notes=notes,
        repeated=repeats(first_alike(prints, tolerance(data.numbers))),
    )


def _measured(job: EvaluateJob, index: int, store: Store) -> Errors:
    """Errors of one of the potentials, whose predictions are kept."""
    options, potential, use = job.options, job.potentials[index], job.uses[index]
    # Coordinates count atoms as the model does; so do the labels that it is judged by.
    own = job.fittings[index].data
    with store.bar(f"evaluate {index + 1}/{len(job.potentials)}") as progress:
        evaluation = in_batches(potential, own.positions, progress)
    measured = accuracy(
        own,
        evaluation,
        rng=np.random.default_rng(options.seed),
        by=Binning(job.regions, options.bins),
        worst=options.worst,
    )
    distances = distances_of(potential, own.positions, evaluation.energies)
    store.put(PARITY.format(index), _parity(own, evaluation, distances))
    if index == 0:
        store.put(WORST, own[np.array(measured.worst)])
    level = job.data.provenance.level
    return Errors(
        store=store,
        dataset=job.source,
        model=name_of(options.models[index]),
        accuracy=measured,
        index=index,
        level=None if level == "unknown" else level,
        repeated_frames=job.repeated,
        trained_on=None if use is None else int(use.training.sum()),
        validated_on=None if use is None else int(use.validation.sum()),
        by_use={} if use is None else _by_use(own, evaluation, use, options.seed),
        domain=_by_domain(domain_of(potential), own, evaluation, distances),
    )


def _by_use(data: Dataset, evaluation: Evaluation, use: Use, seed: int) -> dict[str, UsedErrors]:
    """Errors on training frames, validation frames and unseen ones apart.

    Empty where all frames are unseen, whose errors are then the errors of all.
    """
    unseen = ~(use.training | use.validation)
    parts = {TRAINING: use.training, VALIDATION: use.validation, UNSEEN: unseen}
    if unseen.all():
        return {}
    found = {}
    for name, mask in parts.items():
        if mask.any():
            part = Evaluation(evaluation.energies[mask], evaluation.forces[mask])
            one = accuracy(data[mask], part, rng=np.random.default_rng(seed))
            found[name] = UsedErrors(one.frames, one.force, one.energy)
    return found


def _drawn(data: Dataset, options: Evaluate) -> Dataset:
    """A random sample of the frames, in their order."""
    if options.frames is None or options.frames >= len(data):
        return data
    rng = np.random.default_rng(options.seed)
    return data[np.sort(rng.choice(len(data), options.frames, replace=False))]


def _regions_by(text: str, data: Dataset, trust: bool) -> Coordinate | Tag:
    """What defines regions: a tag of the frames, or a coordinate.

    Raises:
        InputError: neither is of that name.
    """
    if text.strip() in data.tags:
        return Tag(text.strip())
    try:
        return Coordinate.parse(text, trust=trust)
    except InputError as error:
        tags = ", ".join(data.tags)
        if not tags or not is_tag(text.strip()):
            raise
        raise InputError(f"{error}; or a tag of the frames: {tags}") from None


def _undefined(coordinates: Sequence[Coordinate], positions: np.ndarray) -> list[str]:
    """A warning about dihedrals that have no value in some frames (frames, atoms, 3)."""
    notes = []
    for one in coordinates:
        straight = np.flatnonzero(one.bend(positions) < LINEAR_DEGREES)
        if len(straight):
            notes.append(
                f"{one.undefined(positions[straight[0]])}; that is so in {len(straight)} of "
                f"{len(positions)} frames, whose region is left to chance"
            )
    return notes


def _by_domain(
    domain: Domain | None, data: Dataset, evaluation: Evaluation, distances: np.ndarray | None
) -> DomainErrors | None:
    """Errors inside and outside the domain of a model, if it has one."""
    if domain is None or distances is None:
        return None
    off = None if data.forces is None else evaluation.forces - data.forces
    errors = None if off is None else np.sqrt(np.mean(off**2, axis=(1, 2)))
    return DomainErrors.of(domain, distances, errors)


def _parity(
    data: Dataset, evaluation: Evaluation, distances: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Predictions, the reference labels that there are, and distances to the training set."""
    arrays = {
        "energies_predicted": evaluation.energies,
        "forces_predicted": evaluation.forces,
        "energies_reference": data.energies,
        "forces_reference": data.forces,
        "distances": distances,
    }
    return {name: array for name, array in arrays.items() if array is not None}


def _compared(models: Sequence[Errors]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the errors of several models."""
    known = [name for name in UNITS if getattr(models[0].accuracy, name) is not None]
    columns = [(name, word) for name in known for word in ("mae", "rmse")]
    head = [
        f"model ({' and '.join(UNITS[name] for name in known)})",
        *(f"{name} {word.upper()}" for name, word in columns),
    ]
    rows = []
    for one in models:
        values = [getattr(getattr(one.accuracy, name), word) for name, word in columns]
        rows.append([one.model, *(f"{value / KCAL_MOL:.3f}" for value in values)])
    return head, rows


def _tell(store: Store, errors: Errors, *, alone: bool) -> None:
    """Print the main figures, one per line."""
    if not alone:
        store.say(errors.line())
    for regions in errors.regions:
        worst, axis = regions.bins[0], regions.coordinate
        store.say(f"worst region of {axis.label}: {worst.extent(axis)}, {worst.population} frames")
    for note in errors.warnings:
        store.warn(note)
