"""Geometries on the way between the minima that a model has, from short searches of bands."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError, NonFiniteError
from flexcalc.geometry.matching import SAME_MINIMUM_A, largest_move, match_atoms
from flexcalc.methods.exploration import deviation_of
from flexcalc.methods.guard import DistanceGuard
from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import NEB
from flexcalc.methods.relax import relax
from flexcalc.potential import Potential
from flexcalc.store import Store
from flexcalc.tasks.learn.exploration import DEVIATION, MIN_CONTACT
from flexcalc.tasks.learn.job import LearnJob

BANDS = "bands.xyz"
CANDIDATES = 16
"""Labelled geometries that are relaxed on the model to find its minima."""
PAIRS = 6
"""Bands of a round at most."""
IMAGES, STEPS = 9, 60
"""Images of a band, and steps of its search, which need not converge."""


def explore_bands(
    job: LearnJob, model: Potential, known: Dataset, store: Store, rng: Generator
) -> Dataset:
    """Inner images of bands between minima of a model, with the tag deviation_rms_eV_A.

    Minima are relaxed from labelled frames; bands join those that are closest in energy order, each
    with the next ones. Images in which atoms meet, or that are too high, are left out.

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
    with store.bar("bands") as progress:
        minima = distinct_minima(job.numbers, model, known.positions[frames])
        pairs = _pairs(len(minima), rng)
        images = [np.zeros((0, *known.positions.shape[1:]))]
        for done, (one, other) in enumerate(pairs):
            progress(done, len(pairs), f"{len(minima)} minima")
            images.append(_band(job.numbers, model, minima[one], minima[other], rng))
    positions = np.concatenate(images)
    kept = positions[_whole(job.numbers, positions)]
    deviation = np.zeros(0)
    if len(kept):
        found = model(kept)
        low = found.energies <= known.labels()[0].min() + job.ceiling_eV(0.0)
        kept, deviation = kept[low], deviation_of(found)[low]
    data = Dataset(job.numbers, kept, tags={DEVIATION: deviation})
    if len(data):
        store.put(BANDS, data)
    return data


def distinct_minima(numbers: np.ndarray, model: Potential, positions: np.ndarray) -> np.ndarray:
    """The minima (minima, atoms, 3) that geometries (frames, atoms, 3) relax to, lowest first.

    Those in which atoms meet, and repeated ones, also with identical atoms permuted, are left out.
    """
    try:
        relaxed = relax(model, positions)
    except NonFiniteError:
        return positions[:0]
    places, energies = relaxed.positions, relaxed.evaluation.energies
    whole = _whole(numbers, places)
    found: list[np.ndarray] = []
    for row in np.argsort(energies, kind="stable"):
        place = places[row]
        if whole[row] and not any(_is_same(numbers, place, other) for other in found):
            found.append(place)
    return np.array(found).reshape(-1, *positions.shape[1:])


def _is_same(numbers: np.ndarray, place: np.ndarray, other: np.ndarray) -> bool:
    return largest_move(place[match_atoms(numbers, place, other)], other) < SAME_MINIMUM_A


def _pairs(count: int, rng: Generator) -> list[tuple[int, int]]:
    """Some pairs of minima; all where they are few."""
    every = [(i, j) for i in range(count) for j in range(i + 1, count)]
    chosen = rng.permutation(len(every))[:PAIRS]
    return [every[index] for index in sorted(chosen.tolist())]


def _band(
    numbers: np.ndarray, model: Potential, start: np.ndarray, end: np.ndarray, rng: Generator
) -> np.ndarray:
    """Inner images (images, atoms, 3) of a short search; none where it fails."""
    method = NEB(images=IMAGES)
    try:
        first = method.first(numbers, start[None], end)
        state = iterate(method, model, method.init(model, first, rng), steps=STEPS, rng=rng)
    except (InputError, NonFiniteError):  # one minimum after all, or a path of no molecule
        return np.zeros((0, *start.shape))
    return state.images[1:-1]


def _whole(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Whether no atoms meet in geometries (frames, atoms, 3), and none is lost; (frames,)."""
    if not len(positions):
        return np.zeros(0, dtype=bool)
    guard = DistanceGuard.around(numbers, positions[:1], MIN_CONTACT, keep_bonds=False)
    return np.logical_not(guard.outside(positions)[0].any(axis=(1, 2)))
