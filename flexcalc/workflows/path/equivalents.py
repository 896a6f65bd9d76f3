"""Stage: the other paths that are the same one with like atoms relabelled."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.dataset import Dataset, Provenance
from flexcalc.geometry import equivalents, labellings
from flexcalc.masses import of_frames
from flexcalc.workflows.path.job import FoundPath, PathJob
from flexcalc.workflows.runs import Run


def written_equivalents(job: PathJob, here: Run, found: FoundPath) -> dict[str, Any]:
    """Write equivalents.xyz: every different path, image by image, with the model's labels.

    The permutations are those that the model was trained to be symmetric under, or, where it
    has none of its own, all that the bonds of the first image allow.
    """
    if not job.config.equivalents:
        return {}
    numbers, first = job.potential.numbers, found.images[0]
    group = getattr(job.potential, "permutations", None)
    if group is None:
        group = labellings(numbers, first, first)
    if group is None:
        here.say("equivalents: the bonds allow too many permutations; none are written")
        return {"equivalent_paths": 1}
    paths, orders = equivalents(found.images, group)
    count, images = paths.shape[:2]
    # Evaluated anew: a model that is not symmetric gives each path energies of its own.
    labels = job.potential(paths.reshape(-1, *first.shape))
    tags = {
        "path": np.repeat(np.arange(count), images),
        "image": np.tile(np.arange(images), count),
        "order": np.repeat([",".join(map(str, order)) for order in orders], images),
    }
    data = Dataset(
        numbers,
        paths.reshape(-1, *first.shape),
        labels.energies,
        labels.forces,
        tags,
        Provenance(level=job.config.model),
        of_frames(job.config.descent.masses, len(paths) * images),
    )
    files.write(here.folder / "equivalents.xyz", data)
    here.say(f"{count} equivalent paths, this one among them: equivalents.xyz")
    return {"equivalent_paths": count}
