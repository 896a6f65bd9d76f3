"""Stage: the reference is computed along the path, for the error of profile and barrier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flexcalc.analysis.plausibility import no_barrier
from flexcalc.potential import in_batches
from flexcalc.registry import name_of
from flexcalc.results.path import RELABELLED, Path
from flexcalc.tasks.coverage import judged_by_reference
from flexcalc.tasks.path.job import FoundPath, PathJob
from flexcalc.tasks.plausible import warned
from flexcalc.tasks.provenance import labels_by
from flexcalc.tasks.tally import REFERENCE
from flexcalc.units import KCAL_MOL


def relabel(job: PathJob, found: FoundPath, result: Path) -> Path:
    """Keep relabelled.xyz, and return the path with the errors of the model's profile."""
    if job.reference is None:
        return result
    store = result.store
    level = name_of(job.options.relabel)
    with store.bar("relabel") as progress:
        labels = in_batches(job.tally.of(REFERENCE, job.reference), found.images, progress, size=1)
    provenance = labels_by(job.options.relabel, job.reference)
    store.put(RELABELLED, job.labelled(provenance, found.images, labels))
    ours = (found.labels.energies - found.labels.energies[0]) / KCAL_MOL
    theirs = (labels.energies - labels.energies[0]) / KCAL_MOL
    barrier, error = float(theirs.max()), float(ours.max() - theirs.max())
    worst, deviation = int(abs(ours - theirs).argmax()), found.labels.deviation
    store.say(f"barrier by {level} {barrier:.3f} kcal/mol, error {error:+.3f}")
    return replace(
        result,
        barrier_reference_kcal_mol=barrier,
        barrier_error_kcal_mol=error,
        reaction_energy_reference_kcal_mol=float(theirs[-1]),
        warnings=result.warnings + warned(store, no_barrier(labels.energies, f"by {level}")),
        coverage=judged_by_reference(result.coverage, error, float(ours[-1] - theirs[-1])),
        profile_rmse_kcal_mol=float(np.sqrt(np.mean((ours - theirs) ** 2))),
        profile_max_error_kcal_mol=float(abs(ours - theirs).max()),
        worst_image=worst,
        worst_image_deviation_eV_A=None if deviation is None else float(deviation[worst].max()),
    )
