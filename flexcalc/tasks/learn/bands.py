"""Geometries on the way between the minima that a model has, and along coordinates that the user
names: images of bands and of scans after a few steps."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator

from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate
from flexcalc.methods.exploration import deviation_of
from flexcalc.methods.path import NEB, PathState, Scan
from flexcalc.methods.path.scan import ScanState
from flexcalc.potential import Potential
from flexcalc.results.calibration import SCAN
from flexcalc.store import Store
from flexcalc.tasks.learn.exploration import DEVIATION, named_lines
from flexcalc.tasks.learn.job import LearnJob
from flexcalc.tasks.stationary.minima import distinct_minima, in_turns, search_path, whole

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
"""Images of a scan; from a minimum there are two along each coordinate, rigid and relaxed."""
ACROSS = 90.0
"""Degrees of a dihedral by which two minima are on different sides of it."""
TURNS = (150.0, 180.0)
"""Degrees by which a scan turns a dihedral: a draw, so that images differ from round to round."""


def explore_bands(
    job: LearnJob, model: Potential, known: Dataset, store: Store, rng: Generator
) -> Dataset:
    """Images of bands between minima of a model, and of scans of its minima, with the tags
    deviation_rms_eV_A, `top` and `scan`.

    Minima are relaxed from labelled frames; bands join some pairs of them, drawn at random, and
    have their inner images here. Scans drive the coordinates that the user names, from a minimum
    and from one minimum to another: bands go over the lowest barriers alone. Images in which atoms
    meet, or that are too high, are left out.

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
    band = NEB(images=IMAGES, interpolation="geodesic")
    with store.bar("bands") as progress:
        minima = distinct_minima(job.numbers, model, known.positions[frames])
        pairs = _pairs(len(minima), rng)
        works = [partial(_searched, band, minima[one], minima[other]) for one, other in pairs]
        works += [partial(_searched, *scan, None) for scan in _scans(job, known, minima, rng)]
        works += [partial(_searched, *scan) for scan in _crossings(job, minima, rng)]
        states = in_turns(model, works, progress)
    images, tops = [np.zeros((0, *known.positions.shape[1:]))], [np.zeros(0, bool)]
    for state in states[: len(pairs)]:
        if isinstance(state, PathState):
            energies = state.evaluation.energies
            images.append(state.images[1:-1])
            tops.append(np.arange(1, len(energies) - 1) == energies.argmax())
    of_bands = sum(map(len, images))
    highest = known.labels()[0].min() + job.ceiling_eV(0.0)
    images += [_upper(state, highest) for state in states if isinstance(state, ScanState)]
    positions = np.concatenate(images)
    scan = np.arange(len(positions)) >= of_bands
    top = np.zeros(len(positions), dtype=bool)
    top[:of_bands] = np.concatenate(tops)
    kept = np.flatnonzero(whole(job.numbers, positions))
    deviation = np.zeros(0)
    if len(kept):
        found = model(positions[kept])
        low = found.energies <= highest
        kept, deviation = kept[low], deviation_of(found)[low]
    tags = {DEVIATION: deviation, TOP: top[kept], SCAN: scan[kept]}
    data = Dataset(job.numbers, positions[kept], tags=tags)
    if len(data):
        store.put(BANDS, data)
    return data


def _upper(scan: ScanState, highest_eV: float) -> np.ndarray:
    """The upper half of a scan, up to an energy: what is near its ends is known."""
    energies = scan.evaluation.energies
    top = min(float(energies.max()), highest_eV)
    return scan.images[energies >= (energies.min() + top) / 2]


def _searched(method: Any, start: np.ndarray, end: np.ndarray | None, model: Potential) -> Any:
    return search_path(method, model, start, end, STEPS)


def _scans(
    job: LearnJob, known: Dataset, minima: np.ndarray, rng: Generator
) -> Iterator[tuple[Scan, np.ndarray]]:
    """Scans along the user's coordinates and the bends within them, and their starts (atoms, 3).

    Each begins in a minimum, drawn at random, or in a labelled frame where the model has none. A
    dihedral is turned either way; another coordinate is driven to an end of its range.
    """
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
            yield Scan(images=SCAN_IMAGES, drive=(drive,), relax=relaxed), start


def _crossings(
    job: LearnJob, minima: np.ndarray, rng: Generator
) -> Iterator[tuple[Scan, np.ndarray, np.ndarray]]:
    """Scans from a minimum to one on the other side of a dihedral that the user names, drawn at
    random, with both (atoms, 3): by rotation, by inversion at an atom, and by both at once.

    An inversion takes a bend within the dihedral through 180 degrees. The other coordinates go
    from the one minimum's values to the other's; rotations are relaxed as well, once within the
    dihedral and once everywhere.
    """
    for dihedral in job.coordinates:
        if dihedral.kind != "dihedral":
            continue
        values = dihedral.values(minima)
        apart = np.abs((values[:, None] - values + 180.0) % 360.0 - 180.0)
        pairs = np.argwhere(np.triu(apart) > ACROSS)
        if not len(pairs):
            continue
        start, end = minima[rng.permutation(pairs[rng.integers(len(pairs))])]
        turned = dihedral.label
        scans: list[tuple[tuple[str, ...], tuple[str, ...]]]
        scans = [((turned,), relax) for relax in ((), _within(dihedral), ("all",))]
        for bend in job.bends:
            if set(bend.atoms) <= set(dihedral.atoms):
                scans += [((f"{bend.label} through 180",), ())]
                scans += [((turned, f"{bend.label} via 180"), ())]
        for drive, relax in scans:
            yield Scan(images=SCAN_IMAGES, drive=drive, relax=relax), start, end


def _within(dihedral: Coordinate) -> tuple[str, ...]:
    """The bonds and the bends of a dihedral."""
    atoms = dihedral.atoms
    bonds = tuple(Coordinate("distance", pair) for pair in pairwise(atoms))
    bends = (Coordinate("angle", atoms[:3]), Coordinate("angle", atoms[1:]))
    return tuple(one.label for one in (*bonds, *bends))


def _pairs(count: int, rng: Generator) -> list[tuple[int, int]]:
    """Some pairs of minima; all where they are few."""
    every = [(i, j) for i in range(count) for j in range(i + 1, count)]
    chosen = rng.permutation(len(every))[:PAIRS]
    return [every[index] for index in sorted(chosen.tolist())]
