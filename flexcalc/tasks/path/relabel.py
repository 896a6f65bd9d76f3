"""Stage: the reference is computed along the path, for the error of profile and barrier."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.potential import in_batches
from flexcalc.registry import name_of
from flexcalc.results.path import RELABELLED
from flexcalc.store import Store
from flexcalc.tasks.path.job import FoundPath, PathJob
from flexcalc.units import KCAL_MOL


def relabel(job: PathJob, store: Store, found: FoundPath) -> dict[str, Any]:
    """Keep relabelled.xyz, and return the errors of the model's profile."""
    if job.reference is None:
        return {}
    level = name_of(job.options.relabel)
    with store.bar("relabel") as progress:
        labels = in_batches(job.reference, found.images, progress, size=1)
    store.put(RELABELLED, job.labelled(level, found.images, labels))
    errors = compare(found.labels.energies, labels.energies)
    if found.labels.deviation is not None:
        worst = found.labels.deviation[errors["worst_image"]].max()
        errors["worst_image_deviation_eV_A"] = float(worst)
    store.say(
        f"barrier by {level} {errors['barrier_reference_kcal_mol']:.3f} "
        f"kcal/mol, error {errors['barrier_error_kcal_mol']:+.3f}"
    )
    return errors


def compare(model: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Errors of a profile (images,) in eV against a reference's, each from its first image."""
    ours = (model - model[0]) / KCAL_MOL
    theirs = (reference - reference[0]) / KCAL_MOL
    return {
        "barrier_reference_kcal_mol": float(theirs.max()),
        "barrier_error_kcal_mol": float(ours.max() - theirs.max()),
        "reaction_energy_reference_kcal_mol": float(theirs[-1]),
        "profile_rmse_kcal_mol": float(np.sqrt(np.mean((ours - theirs) ** 2))),
        "profile_max_error_kcal_mol": float(abs(ours - theirs).max()),
        "worst_image": int(abs(ours - theirs).argmax()),
    }
