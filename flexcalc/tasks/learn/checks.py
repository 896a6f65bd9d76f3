"""Minima and barriers of a model, compared with the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import LabelError
from flexcalc.labelling import QUARANTINE
from flexcalc.masses import atomic_masses
from flexcalc.potential import Potential
from flexcalc.results.stationary import (
    ARTEFACT_KCAL_MOL_A,
    STATIONARY,
    LearnedBarrier,
    LearnedMinimum,
    PointsChecked,
    points_checked,
)
from flexcalc.store import Store
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.molecule import common_masses
from flexcalc.tasks.starts import frames_of
from flexcalc.tasks.stationary.compared import compare, minimum_name, saddle_name
from flexcalc.tasks.stationary.search import Points, PointSearch

CHECKS = "stationary"
"""The part of the store with the model that is checked, the search and the labelling."""


def check_points(
    job: LearnJob, model: Potential, starts: Dataset, known: Dataset, store: Store
) -> PointsChecked:
    """Find minima and barriers of a model, and label them.

    Keeps minima.json and barriers.json, and what is labelled in stationary.xyz.

    Args:
        job: of the learning.
        model: that was trained on none of them.
        starts: start geometries, whose bonds the minima have.
        known: labelled frames.
        store: of the learning.

    Raises:
        WorkerError, LabelError: nobody labels any more. That the reference fails for all points
            is no error.
    """
    part = store.within(CHECKS)
    masses = atomic_masses(job.numbers, common_masses(*frames_of(job.starts)))
    rng = np.random.default_rng([job.options.seed, 0, 6])
    ceiling_eV = float(job.ceiling_eV(0.0))
    points = PointSearch(model, starts.positions, masses, ceiling_eV, part).run(known, rng)
    minima, saddles = affordable(points, job.options.check_count)
    labels = _labels(job, _chosen(job.numbers, points, minima, saddles), part)
    if labels is not None:
        store.put(STATIONARY, labels)
    low, high = compare(points, labels)
    store.put(f"{LearnedMinimum.stage}.json", [row.to_dict() for row in low])
    store.put(f"{LearnedBarrier.stage}.json", [row.to_dict() for row in high])
    checked = replace(
        points_checked(low, high),
        checks=len(minima) + len(saddles),
        relaxations=int(points.relaxations[0]),
        broken_relaxations=int(points.relaxations[1]),
        points_note=_note(points, labels, low),
    )
    store.say(f"{len(low)} minima, {len(high)} barriers: {checked.verdict()}")
    return checked


def affordable(points: Points, checks: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the minima and saddles that are labelled: the lowest minima and barriers.

    Minima have half of the checks at least, and what is left by the barriers that start from them.
    """
    count = min(len(points.minima), max(-(-checks // 2), checks - len(points.saddles)))
    order = np.argsort(points.barriers_eV, kind="stable")
    saddles = order[points.lower[order] < count][: checks - count]
    count = min(len(points.minima), checks - len(saddles))
    return np.arange(count), saddles


def _chosen(
    numbers: np.ndarray, points: Points, minima: np.ndarray, saddles: np.ndarray
) -> Dataset:
    """The geometries to label, with the tags `kind` and `name`."""
    kinds = np.repeat(["minimum", "saddle"], [len(minima), len(saddles)])
    names = [*map(minimum_name, minima), *map(saddle_name, saddles)]
    positions = np.concatenate([points.minima[minima], points.saddles[saddles]])
    return Dataset(numbers, positions, tags={"kind": kinds, "name": np.array(names, dtype=str)})


def _labels(job: LearnJob, chosen: Dataset, part: Store) -> Dataset | None:
    """The labelled geometries; None where the reference gives none of them a label."""
    if not len(chosen):
        return None
    inner = part.within("label")
    try:
        data = job.labels(chosen, inner)
    except LabelError:
        failed = inner.get(QUARANTINE)
        if failed is None or len(failed) < len(chosen):
            raise
        return None
    return replace(data, tags={name: data.tags[name] for name in ("kind", "name")})


def _note(points: Points, labels: Dataset | None, minima: list[LearnedMinimum]) -> str | None:
    """Why there are no minima or barriers, or none that were compared."""
    if not len(points.minima):
        return "minima and barriers were NOT CHECKED: no relaxation on the model led to a minimum"
    if labels is None:
        return "minima and barriers were NOT CHECKED: the reference gave no label for any of them"
    forces = [row.reference_force_kcal_mol_A for row in minima]
    known = [force for force in forces if force is not None]
    if min(known, default=0.0) >= ARTEFACT_KCAL_MOL_A:
        return "DO NOT TRUST ITS MINIMA: at all of them the reference has large forces"
    if not len(points.saddles):
        count = len(points.minima)
        one = "its one minimum has no other to lead a barrier to"
        why = one if count == 1 else f"no saddle was found between its {count} minima"
        return f"no barrier to check: {why}"
    return None
