"""Stage: the reference is computed along the path, for the error of profile and barrier."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.potential import in_batches
from flexcalc.units import KCAL_MOL
from flexcalc.workflows.path.job import FoundPath, PathJob, write_images
from flexcalc.workflows.runs import Run


def relabelled(job: PathJob, here: Run, found: FoundPath) -> dict[str, Any]:
    """Write relabelled.xyz, and return the errors of the model's profile."""
    level = job.config.relabel
    if job.reference is None or level is None:
        return {}
    with here.bar("relabel") as progress:
        labels = in_batches(job.reference, found.images, progress, size=1)
    write_images(
        here.folder / "relabelled.xyz",
        level,
        job.start.numbers,
        found.images,
        labels,
        job.config.descent.masses,
    )
    results = compared(found.labels.energies, labels.energies)
    if found.labels.deviation is not None:
        worst = found.labels.deviation[results["worst_image"]].max()
        results["worst_image_deviation_eV_A"] = float(worst)
    here.say(
        f"barrier by {level} {results['barrier_reference_kcal_mol']:.3f} "
        f"kcal/mol, error {results['barrier_error_kcal_mol']:+.3f}"
    )
    return results


def compared(model: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
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
