"""Find labels with wrong units, signs, zeros or order of atoms."""

from __future__ import annotations

import numpy as np

from flexcalc import files, labelling
from flexcalc.errors import InputError
from flexcalc.fields import GeometryLike, PotentialLike
from flexcalc.registry import name_of, open_potential
from flexcalc.results.audit import Audit
from flexcalc.store import Store
from flexcalc.tasks.molecule import electrons_of, stated

FRAMES = 10
"""Frames that are computed again unless said otherwise; one is enough to find a wrong unit."""


def audit(
    data: GeometryLike,
    reference: PotentialLike,
    *,
    frames: int = FRAMES,
    seed: int = 0,
    trust: bool = False,
) -> Audit:
    """Compute a sample of labelled frames again, and compare.

    Args:
        data: labelled frames: a Dataset, a file, or a result that has them.
        reference: potential that the labels are said to come from. Where it is an address, it
            gets the charge and multiplicity that the frames state.
        frames: number of frames to compute again, drawn at random.
        seed: of the draw.
        trust: open files that can only be read by running code they contain.

    Raises:
        InputError: the data have no energies or forces, the reference cannot be opened, or
            `frames` is not positive.
    """
    if frames < 1:
        raise InputError(f"audit: expected at least 1 frame, got {frames}")
    labelled = files.read(data)
    if isinstance(reference, str):
        reference = stated(reference, electrons_of(labelled))
    labelled.labels()  # refused before the reference is opened
    potential = open_potential(reference, labelled.numbers, trust=trust)
    findings = labelling.audit(labelled, potential, frames, np.random.default_rng(seed))
    return Audit(
        store=Store(),
        reference=name_of(reference),
        frames=min(frames, len(labelled)),
        findings=tuple(findings),
    )
