"""What a path search works on, and what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from flexcalc import files
from flexcalc.config import PathSearch
from flexcalc.dataset import Dataset, Provenance
from flexcalc.masses import of_frames
from flexcalc.methods.path import path_length
from flexcalc.potential import Evaluation, Potential, check_molecule
from flexcalc.registry import open_potential
from flexcalc.tasks.molecule import electrons_of, following, with_masses
from flexcalc.tasks.ordering import Ordered, ordered


@dataclass(frozen=True, eq=False)
class PathJob:
    """A path search with all its files read and its potentials open.

    Args:
        config: what was asked for.
        potential: to search on.
        reference: to check with, if one is named.
        start: first geometry, its last frame; or a whole path.
        end: last geometry, its last frame.
        fitting: how the atoms were put into the model's order.
    """

    config: PathSearch
    potential: Potential
    reference: Potential | None
    start: Dataset
    end: Dataset | None
    fitting: Ordered


@dataclass(frozen=True, eq=False)
class FoundPath:
    """A path as it is written.

    Args:
        images: (images, atoms, 3) in angstrom, each laid on the one before.
        labels: the potential's energies and forces there.
    """

    images: np.ndarray
    labels: Evaluation


def opened(config: PathSearch) -> PathJob:
    """Read the ends and open the potentials.

    Raises:
        InputError: one of them cannot be used.
    """
    start = files.read(config.start)
    end = None if config.end is None else files.read(config.end)
    config.method.check(str(config.start), start.numbers, start.positions, end is not None)
    config = following(config, electrons_of(start))
    open_one = partial(open_potential, numbers=start.numbers, trust=config.trust)
    potential = open_one(config.model)
    if end is not None:
        check_molecule(start.numbers, end.numbers, str(config.end))
    fitting = ordered(potential, start, str(config.start), config.map_atoms)
    start = fitting.data
    end = None if end is None else fitting.like(end)
    config = with_masses(config, start, *([] if end is None else [end]))
    reference = None if config.relabel is None else open_one(config.relabel)
    return PathJob(config, potential, reference, start, end, fitting)


def write_images(
    path: Path,
    level: str,
    numbers: np.ndarray,
    images: np.ndarray,
    found: Evaluation,
    masses: Sequence[float],
) -> None:
    """Write images (images, atoms, 3) of a path with their labels by a level of theory."""
    tags = {"image": np.arange(len(images)), "coordinate": path_length(images)}
    own, provenance = of_frames(masses, len(images)), Provenance(level=level)
    data = Dataset(numbers, images, found.energies, found.forces, tags, provenance, own)
    files.write(path, data)
