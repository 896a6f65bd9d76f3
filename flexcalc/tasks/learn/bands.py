"""Geometries on the way between the minima that a model has, and along coordinates that the user
names: images of bands and of scans after a few steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError, LabelError, NonFiniteError
from flexcalc.geometry.matching import (
    SAME_MINIMUM_A,
    is_isomorphic,
    largest_move,
    match_atoms,
)
from flexcalc.methods.exploration import deviation_of
from flexcalc.methods.guard import DistanceGuard
from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import NEB, PathState, Scan
from flexcalc.methods.relax import relax
from flexcalc.potential import Potential
from flexcalc.results.calibration import SCAN
from flexcalc.store import Store
from flexcalc.tasks.learn.exploration import DEVIATION, MIN_CONTACT, named_lines
from flexcalc.tasks.learn.job import LearnJob

BANDS = "bands.xyz"
TOP = "top"
"""Tag of the images: whether one is the highest of its band, the ends included. `SCAN` tells those
of scans."""
CANDIDATES = 16
"""Labelled geometries that are relaxed on the model to find its minima."""
PAIRS = 6
"""Bands of a round at most."""
IMAGES, STEPS = 9, 60
"""Images of a band, and steps of its search, which need not converge."""
SCAN_IMAGES = 13
"""Images of a scan; there are two along each coordinate, rigid and relaxed."""
TURNS = (150.0, 180.0)
"""Degrees by which a scan turns a dihedral: a draw, so that images differ from round to round."""
TOGETHER, FURTHER = 100, 400
"""Steps of a relaxation of all geometries of a batch, and of those that are not converged then."""
SAME_ENERGY_EV = 0.02
"""Two relaxed geometries that differ more in energy are not compared: they are two minima."""
FAILURES = (InputError, LabelError, NonFiniteError)
"""How a search on a model fails far from its training set, or where its baseline does."""


def explore_bands(
    job: LearnJob, model: Potential, known: Dataset, store: Store, rng: Generator
) -> Dataset:
    """Images of bands between minima of a model, and of scans of its minima, with the tags
    deviation_rms_eV_A, `top` and `scan`.

    Minima are relaxed from labelled frames; bands join some pairs of them, drawn at random, and
    have their inner images here. Scans drive the coordinates that the user names: bands go over the
    lowest barriers alone. Images in which atoms meet, or that are too high, are left out.

    Args:
        job: of the learning.
        model: a committee.
        known: labelled frames.
        store: keeps the images, which a second call reads.
        rng: draws the frames that are relaxed.
    """
    found = store.get(BANDS)
    if found is not None:
        return found
    low = job.low(known)
    frames = rng.choice(low, min(CANDIDATES, len(low)), replace=False)
    method = NEB(images=IMAGES)
    with store.bar("bands") as progress:
        minima = distinct_minima(job.numbers, model, known.positions[frames])
        pairs = _pairs(len(minima), rng)
        images, tops = [np.zeros((0, *known.positions.shape[1:]))], [np.zeros(0, bool)]
        for done, (one, other) in enumerate(pairs):
            progress(done, len(pairs), f"{len(minima)} minima")
            state = search_band(method, model, minima[one], minima[other], STEPS)
            if state is not None:
                images.append(state.images[1:-1])
                energies = state.evaluation.energies
                tops.append(np.arange(1, len(energies) - 1) == energies.argmax())
        of_bands = sum(map(len, images))
        images += _scans(job, model, known, minima, rng)
    positions = np.concatenate(images)
    scan = np.arange(len(positions)) >= of_bands
    top = np.zeros(len(positions), dtype=bool)
    top[:of_bands] = np.concatenate(tops)
    kept = np.flatnonzero(whole(job.numbers, positions))
    deviation = np.zeros(0)
    if len(kept):
        found = model(positions[kept])
        low = found.energies <= known.labels()[0].min() + job.ceiling_eV(0.0)
        kept, deviation = kept[low], deviation_of(found)[low]
    tags = {DEVIATION: deviation, TOP: top[kept], SCAN: scan[kept]}
    data = Dataset(job.numbers, positions[kept], tags=tags)
    if len(data):
        store.put(BANDS, data)
    return data


def _scans(
    job: LearnJob, model: Potential, known: Dataset, minima: np.ndarray, rng: Generator
) -> list[np.ndarray]:
    """Images (images, atoms, 3) of scans along the user's coordinates and the bends within them.

    Each begins in a minimum, drawn at random, or in a labelled frame where the model has none. A
    dihedral is turned either way; another coordinate is driven to an end of its range.
    """
    found = []
    places = minima if len(minima) else known.positions
    for line in named_lines(job, known.positions):
        for relaxed in ((), ("all",)):
            start = places[rng.integers(len(places))]
            if line.ring:
                turn = rng.choice([-1.0, 1.0]) * rng.uniform(*TURNS)
                end = float(line.coordinate.values(start[None])[0]) + turn
            else:
                end = float(rng.choice(line.centres))
            drive = f"{line.coordinate.label} to {end:.6f}"
            method = Scan(images=SCAN_IMAGES, drive=(drive,), relax=relaxed)
            state = _search(method, model, start, None, STEPS)
            if state is not None:
                found.append(state.images[1:])
    return found


def distinct_minima(numbers: np.ndarray, model: Potential, positions: np.ndarray) -> np.ndarray:
    """The minima (minima, atoms, 3) that geometries (frames, atoms, 3) relax to, lowest first.

    Those in which atoms meet, and repeated ones, also with identical atoms permuted, are left out,
    and so are geometries on whose way the model fails. Mirror images are different minima.
    """
    found = surviving(partial(relax_rows, model), positions)
    places, energies = found or (positions[:0], np.zeros(0))
    return places[distinct(numbers, places, energies)]


def distinct(
    numbers: np.ndarray, positions: np.ndarray, energies: np.ndarray, *, mirror: bool = False
) -> list[int]:
    """Rows of different geometries (frames, atoms, 3) in which no atoms meet, lowest first.

    Args:
        numbers: (atoms,) atomic numbers; identical atoms may be permuted.
        positions: in angstrom.
        energies: (frames,) in eV.
        mirror: whether mirror images are the same.
    """
    usable = whole(numbers, positions)
    kept: list[int] = []
    for row in np.argsort(energies, kind="stable"):
        near = [old for old in kept if energies[row] - energies[old] < SAME_ENERGY_EV]
        if usable[row] and not any(
            is_same(numbers, positions[row], positions[old], mirror=mirror) for old in near
        ):
            kept.append(int(row))
    return kept


def is_same(
    numbers: np.ndarray, place: np.ndarray, other: np.ndarray, *, mirror: bool = False
) -> bool:
    """Whether two geometries (atoms, 3) are one minimum; with `mirror`, or its mirror image."""
    signs = (1.0, -1.0) if mirror else (1.0,)
    return any(separation(numbers, sign * place, other) < SAME_MINIMUM_A for sign in signs)


def separation(numbers: np.ndarray, place: np.ndarray, other: np.ndarray) -> float:
    """Largest move of an atom, in angstrom, between geometries (atoms, 3) that are matched."""
    return largest_move(place[match_atoms(numbers, place, other)], other)


def have_bonds_of(numbers: np.ndarray, positions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Whether geometries (frames, atoms, 3) have the bonds of one of the starts
    (starts, atoms, 3); (frames,)."""
    intact = [any(is_isomorphic(numbers, place, start) for start in starts) for place in positions]
    return np.array(intact, dtype=bool)


def surviving(
    work: Callable[..., tuple[np.ndarray, ...]], *rows: np.ndarray
) -> tuple[np.ndarray, ...] | None:
    """Do the work on a batch; where it fails, on its halves, so that few rows are left out.

    Args:
        work: takes arrays with a row per geometry, and returns such arrays.
        rows: the arrays.

    Returns:
        The arrays of the rows that did not fail; None where all did, or where there were none.
    """
    count = len(rows[0])
    if not count:
        return None
    try:
        return work(*rows)
    except FAILURES:
        if count == 1:
            return None
    parts = [surviving(work, *(one[part] for one in rows)) for part in _halves(count)]
    found = [part for part in parts if part is not None]
    return tuple(np.concatenate(one) for one in zip(*found, strict=True)) if found else None


def _halves(count: int) -> tuple[slice, slice]:
    return slice(count // 2), slice(count // 2, count)


def relax_rows(
    model: Potential, positions: np.ndarray, force_tolerance_eV_A: float = 0.01
) -> tuple[np.ndarray, np.ndarray]:
    """Relaxed positions (batch, atoms, 3) in angstrom, and their energies (batch,) in eV.

    Geometries that converge early do not wait for the slowest one.
    """
    state = relax(model, positions, force_tolerance_eV_A=force_tolerance_eV_A, steps=TOGETHER)
    places, energies = state.positions.copy(), state.evaluation.energies.copy()
    norms = np.sqrt((state.evaluation.forces**2).sum(axis=2)).max(axis=1)
    slow = norms >= force_tolerance_eV_A
    if slow.any():
        rest = relax(model, places[slow], force_tolerance_eV_A=force_tolerance_eV_A, steps=FURTHER)
        places[slow], energies[slow] = rest.positions, rest.evaluation.energies
    return places, energies


def _pairs(count: int, rng: Generator) -> list[tuple[int, int]]:
    """Some pairs of minima; all where they are few."""
    every = [(i, j) for i in range(count) for j in range(i + 1, count)]
    chosen = rng.permutation(len(every))[:PAIRS]
    return [every[index] for index in sorted(chosen.tolist())]


def search_band(
    method: NEB, model: Potential, start: np.ndarray, end: np.ndarray, steps: int
) -> PathState | None:
    """A band between two minima (atoms, 3) after at most so many steps; None where it fails."""
    return _search(method, model, start, end, steps)


def _search(
    method: Any, model: Potential, start: np.ndarray, end: np.ndarray | None, steps: int
) -> Any:
    rng = np.random.default_rng(0)  # which a path does not use
    try:
        first = method.first(model.numbers, start[None], end)
        return iterate(method, model, method.init(model, first, rng), steps=steps, rng=rng)
    except FAILURES:  # one minimum after all, or a path of no molecule
        return None


def whole(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Whether no atoms meet in geometries (frames, atoms, 3), and none is lost; (frames,)."""
    if not len(positions):
        return np.zeros(0, dtype=bool)
    guard = DistanceGuard.around(numbers, positions[:1], MIN_CONTACT, keep_bonds=False)
    return np.logical_not(guard.outside(positions)[0].any(axis=(1, 2)))
