"""What a path search works on, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config.paths import PathSearch
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import InputError
from flexcalc.masses import of_frames
from flexcalc.methods.path import path_length
from flexcalc.potential import Counted, Evaluation, Potential, check_molecule
from flexcalc.registry import open_potential
from flexcalc.store import Store
from flexcalc.tasks.molecule import electrons_of, following, source_of, with_masses
from flexcalc.tasks.ordering import Ordered, ordered
from flexcalc.tasks.provenance import labels_by
from flexcalc.tasks.remembered import RELABELLED_LOG, remembered
from flexcalc.tasks.tally import Tally

NO_TAGS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class PathJob:
    """A path search with all its files read and its potentials open.

    Args:
        options: what was asked for.
        potential: to search on.
        reference: to check with, if one is named.
        start: first geometry, its last frame; or a complete path.
        end: last geometry, its last frame.
        fitting: how the atoms were put into the model's order.
        tally: counts what is evaluated for the path.
        shared: the potential in a batch with other searches; None for one on its own.
        first: path (images, atoms, 3) in angstrom that was found before, to begin with; None for
            an interpolation.
    """

    options: PathSearch
    potential: Potential
    reference: Potential | None
    start: Dataset
    end: Dataset | None
    fitting: Ordered
    tally: Tally = field(default_factory=Tally)
    shared: Potential | None = None
    first: np.ndarray | None = None

    def counting(self, phase: str) -> Counted:
        """The potential with its evaluations counted in a phase."""
        return self.tally.of(phase, self.shared or self.potential)

    def on(self, opened: Opened) -> PathJob:
        """The search on other potentials."""
        return replace(self, potential=opened.potential, reference=opened.reference)

    @property
    def provenance(self) -> Provenance:
        """Of the labels of the potential."""
        return labels_by(self.options.model, self.potential)

    def labelled(
        self,
        provenance: Provenance,
        images: np.ndarray,
        labels: Evaluation,
        more: Mapping[str, Any] = NO_TAGS,
    ) -> Dataset:
        """Images (images, atoms, 3) of a path with their labels.

        Args:
            provenance: of the labels.
            images: in angstrom.
            labels: energies and forces.
            more: further tags (images,).
        """
        tags = {"image": np.arange(len(images)), "coordinate": path_length(images), **more}
        return Dataset(
            self.potential.numbers,
            images,
            labels.energies,
            labels.forces,
            tags,
            provenance,
            of_frames(self.options.descent.masses, len(images)),
        )


@dataclass(frozen=True, eq=False)
class FoundPath:
    """A path as it is kept.

    Args:
        images: (images, atoms, 3) in angstrom, each laid on the one before.
        labels: the potential's energies and forces there.
    """

    images: np.ndarray
    labels: Evaluation


@dataclass(frozen=True, eq=False)
class Opened:
    """The potentials of a search.

    Args:
        potential: to search on.
        reference: to check with, if one is named.
    """

    potential: Potential
    reference: Potential | None

    def remembered(self, store: Store) -> Opened:
        """The same with their evaluations kept until the run is complete."""
        return Opened(
            remembered(self.potential, store), remembered(self.reference, store, RELABELLED_LOG)
        )


def open_potentials(options: PathSearch, numbers: np.ndarray) -> Opened:
    """Open the potentials of a search for a molecule of the numbers (atoms,).

    Raises:
        InputError: one of them cannot be used.
    """
    open_one = partial(open_potential, numbers=numbers, trust=options.trust)
    potential = open_one(options.model)
    return Opened(potential, None if options.relabel is None else open_one(options.relabel))


def open_job(options: PathSearch, opened: Opened | None = None) -> PathJob:
    """Read the ends and open the potentials.

    Args:
        options: with one pair of ends.
        opened: the potentials, if they are open.

    Raises:
        InputError: one of them cannot be used.
    """
    if options.start is None:
        raise InputError(
            "start: missing; expected the first geometry, or those of several paths as starts"
        )
    start = files.read(options.start)
    end = None if options.end is None else files.read(options.end)
    where = source_of(options.start)
    options.method.check(where, start.numbers, start.positions, end is not None)
    options = following(options, electrons_of(start))
    opened = opened or open_potentials(options, start.numbers)
    potential = opened.potential
    if end is not None:
        check_molecule(start.numbers, end.numbers, source_of(options.end))
    fitting = ordered(potential, start, where, options.map_atoms)
    start = fitting.data
    end = None if end is None else fitting.like(end)
    options = with_masses(options, start, *([] if end is None else [end]))
    return PathJob(options, potential, opened.reference, start, end, fitting)
