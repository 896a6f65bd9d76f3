"""Stage: the other paths that are the same one with identical atoms permuted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.geometry import equivalents, labellings
from flexcalc.masses import of_frames
from flexcalc.results.path import EQUIVALENTS, Path
from flexcalc.tasks.path.job import FoundPath, PathJob


def write_equivalents(job: PathJob, found: FoundPath, result: Path) -> Path:
    """Keep equivalents.xyz: every different path, image by image, with the model's labels.

    The permutations are those that the model was trained to be symmetric under, or, where it
    has none of its own, all that the bonds of the first image allow.
    """
    if not job.options.equivalents:
        return result
    store = result.store
    numbers, first = job.potential.numbers, found.images[0]
    group = getattr(job.potential, "permutations", None)
    if group is None:
        group = labellings(numbers, first, first)
    if group is None:
        store.say("equivalents: the bonds allow too many permutations; none are written")
        return replace(result, equivalent_paths=1)
    paths, orders = equivalents(found.images, group)
    count, images = paths.shape[:2]
    # Evaluated again: a model that is not symmetric gives each path energies of its own.
    labels = job.counting("labels")(paths.reshape(-1, *first.shape))
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
        job.provenance,
        of_frames(job.options.descent.masses, len(paths) * images),
    )
    store.put(EQUIVALENTS, data)
    store.say(f"{count} equivalent paths, this one among them: {EQUIVALENTS}")
    return replace(result, equivalent_paths=count)
