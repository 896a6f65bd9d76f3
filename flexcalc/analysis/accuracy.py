"""Errors of a potential against labels: how large, how sure, and where.

Force errors are per Cartesian component: the mean runs over all 3N components of all frames.
The other convention in use, the mean length of an atom's error vector, gives about twice that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flexcalc.analysis import slips
from flexcalc.analysis.accuracy_record import (
    Accuracy,
    Axis,
    Errors,
    Interval,
    Part,
    Region,
    Regions,
    badness,
)
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, ShapeError
from flexcalc.geometry import Coordinate
from flexcalc.potential import Evaluation

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Tag:
    """A tag of the frames that defines regions.

    Args:
        label: its name.
    """

    label: str


MOST_VALUES = 50
"""Maximum number of values of a tag that are regions each; of more numbers there are bins."""


@dataclass(frozen=True)
class Binning:
    """Regions to give errors by.

    Args:
        coordinates: errors are given by bins of each of these, or by the values of a tag.
        bins: number of equal bins, over the whole circle for a dihedral and over the range of
            the data otherwise.
    """

    coordinates: Sequence[Coordinate | Tag] = ()
    bins: int = 18


def accuracy(
    dataset: Dataset,
    evaluation: Evaluation,
    *,
    rng: np.random.Generator,
    by: Binning = Binning(),
    resamples: int = 200,
    worst: int = 10,
) -> Accuracy:
    """Compare predictions with labels.

    Args:
        dataset: reference labels; energies or forces alone will do.
        evaluation: predictions for the dataset's positions.
        rng: source of the bootstrap's resampling.
        by: regions to give errors by too.
        resamples: bootstrap samples of frames.
        worst: number of worst frames to list.

    Raises:
        FileFormatError: the dataset has no frames or no labels at all.
        ShapeError: the predictions do not fit the dataset.
    """
    _check(dataset, evaluation)
    frames, atoms = dataset.positions.shape[:2]
    draws = rng.integers(frames, size=(resamples, frames))
    energy_error = None if dataset.energies is None else evaluation.energies - dataset.energies
    force_error = None if dataset.forces is None else evaluation.forces - dataset.forces
    net_force, net_torque = _net(dataset.positions, evaluation.forces)
    energy_line = _line(dataset.energies, evaluation.energies)
    force_line = _line(dataset.forces, evaluation.forces)
    offset = None if energy_error is None else float(energy_error.mean())
    offset_free = None if energy_error is None else _offset_free(energy_error, draws)
    energy_zero = _zero_energy(dataset.energies)
    return Accuracy(
        frames=frames,
        atoms=atoms,
        energy=None if energy_error is None else _errors(energy_error, draws),
        energy_offset_free=offset_free,
        energy_offset=offset,
        energy_zero=energy_zero,
        force=None if force_error is None else _errors(force_error, draws),
        force_zero=None if dataset.forces is None else _errors(dataset.forces),
        elements=_by_element(dataset.numbers, force_error),
        each_atom=_by_atom(dataset.numbers, force_error),
        regions=tuple(
            _by_tag(one, dataset, by.bins, (energy_error, force_error))
            if isinstance(one, Tag)
            else Regions(
                Axis(one.label, one.unit, one.periodic),
                _bins(one, dataset.positions, by.bins, (energy_error, force_error)),
            )
            for one in by.coordinates
        ),
        net_force=net_force,
        net_torque=net_torque,
        energy_line=energy_line,
        force_line=force_line,
        worst=_worst(energy_error, force_error, worst),
        warnings=(
            *_line_warnings(energy_line, force_line),
            *_offset_warnings(offset, offset_free, energy_zero),
        ),
    )


def _check(dataset: Dataset, evaluation: Evaluation) -> None:
    shapes = np.shape(evaluation.energies), np.shape(evaluation.forces)
    expected = (len(dataset),), dataset.positions.shape
    if shapes != expected:
        raise ShapeError(
            f"the predictions do not fit the dataset: expected energies {expected[0]} and "
            f"forces {expected[1]}, got {shapes[0]} and {shapes[1]}"
        )
    if len(dataset) == 0 or (dataset.energies is None and dataset.forces is None):
        lack = "frames" if len(dataset) == 0 else "energies and no forces"
        raise FileFormatError(
            f"{dataset.provenance.source}: the dataset has no {lack} to compare with; "
            "label geometries with `flexcalc label`"
        )


def _errors(error: np.ndarray, draws: np.ndarray | None = None) -> Errors:
    """Errors of an array (frames, ...); each row of draws is one bootstrap sample of frames."""
    absolute = np.abs(error).reshape(len(error), -1)
    by_frame, squares = absolute.mean(axis=1), (absolute**2).mean(axis=1)
    intervals: tuple[Interval | None, Interval | None] = (None, None)
    if draws is not None:
        intervals = (
            _interval([by_frame[draw].mean() for draw in draws]),
            _interval([np.sqrt(squares[draw].mean()) for draw in draws]),
        )
    rmse = float(np.sqrt(squares.mean()))
    return Errors(float(by_frame.mean()), rmse, float(absolute.max()), *intervals)


def _offset_free(error: np.ndarray, draws: np.ndarray) -> Errors:
    """Errors of energies about their mean, which every bootstrap sample has its own of."""
    plain = _errors(error - error.mean())
    samples = [error[draw] - error[draw].mean() for draw in draws]
    return Errors(
        plain.mae,
        plain.rmse,
        plain.maximum,
        _interval([np.abs(sample).mean() for sample in samples]),
        _interval([sample.std() for sample in samples]),
    )


def _interval(samples: Sequence[float]) -> Interval | None:
    """The central 95 % of bootstrap samples (the percentile method).

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if not len(samples):
        return None
    low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _zero_energy(energies: np.ndarray | None) -> Errors | None:
    """Errors of the mean energy as a prediction."""
    return None if energies is None else _errors(energies - energies.mean())


def _by_atom(numbers: np.ndarray, error: np.ndarray | None) -> tuple[Part, ...]:
    if error is None:
        return ()
    return tuple(_part((atom,), numbers, error) for atom in range(len(numbers)))


def _by_element(numbers: np.ndarray, error: np.ndarray | None) -> tuple[Part, ...]:
    if error is None:
        return ()
    groups = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    return tuple(_part(tuple(group.tolist()), numbers, error) for group in groups)


def _part(atoms: tuple[int, ...], numbers: np.ndarray, error: np.ndarray) -> Part:
    from ase.data import chemical_symbols

    return Part(chemical_symbols[numbers[atoms[0]]], atoms, _errors(error[:, list(atoms)]))


Differences = tuple[np.ndarray | None, np.ndarray | None]
"""Predicted less reference energies (frames,) and forces (frames, atoms, 3), where known."""


def _bins(
    coordinate: Coordinate, positions: np.ndarray, count: int, differences: Differences
) -> tuple[Region, ...]:
    """Errors by equal bins of the coordinate, worst first, empty bins last."""
    values = coordinate.values(positions)
    first, last = (-180.0, 180.0) if coordinate.periodic else (values.min(), values.max())
    return _in_bins(coordinate.label, values, np.linspace(first, last, count + 1), differences)


def _by_tag(tag: Tag, dataset: Dataset, count: int, differences: Differences) -> Regions:
    """Errors by the values of a tag, or by equal bins of numbers that have many values.

    Raises:
        ShapeError: too many values that are no numbers.
    """
    column = dataset.tags[tag.label]
    names, which = np.unique(column.astype(str), return_inverse=True)
    if len(names) <= MOST_VALUES:
        edges = np.arange(len(names) + 1.0)
        found = _in_bins(tag.label, which + 0.5, edges, differences)
        bins = tuple(replace(one, name=str(names[int(one.low)])) for one in found)
    elif column.dtype.kind in "iuf" and np.isfinite(column).all():
        values = column.astype(float)
        edges = np.linspace(values.min(), values.max(), count + 1)
        bins = _in_bins(tag.label, values, edges, differences)
    else:
        raise ShapeError(
            f"tag {tag.label}: expected numbers or at most {MOST_VALUES} values as regions, "
            f"found {len(names)}"
        )
    return Regions(Axis(tag.label, "", False), bins)


def _in_bins(
    label: str, values: np.ndarray, edges: np.ndarray, differences: Differences
) -> tuple[Region, ...]:
    """Errors by bins of values (frames,) between edges (bins + 1,); see `_bins`."""
    # The last bin takes its upper edge in, so that the largest value falls into a bin.
    count = len(edges) - 1
    which = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, count - 1)
    regions = []
    for number in range(count):
        inside = which == number
        energy, force = (
            None if one is None or not inside.any() else _errors(one[inside]) for one in differences
        )
        low, high = float(edges[number]), float(edges[number + 1])
        regions.append(Region(label, low, high, int(inside.sum()), energy, force))
    return tuple(sorted(regions, key=badness, reverse=True))


def _net(positions: np.ndarray, forces: np.ndarray) -> tuple[float, float]:
    """Largest net force (eV/angstrom) and net torque about the centroid (eV) of any frame."""
    arms = positions - positions.mean(axis=1, keepdims=True)
    torques = np.cross(arms, forces).sum(axis=1)
    net_forces = forces.sum(axis=1)
    return (
        float(np.linalg.norm(net_forces, axis=1).max()),
        float(np.linalg.norm(torques, axis=1).max()),
    )


def _line(reference: np.ndarray | None, predicted: np.ndarray) -> slips.Regression | None:
    return None if reference is None else slips.regression(reference, predicted)


def _worst(
    energy_error: np.ndarray | None, force_error: np.ndarray | None, count: int
) -> tuple[int, ...]:
    if force_error is not None:
        size = (force_error**2).mean(axis=(1, 2))
    elif energy_error is not None:
        size = np.abs(energy_error - energy_error.mean())
    return tuple(np.argsort(-size, kind="stable")[:count].tolist())


def _line_warnings(
    energy_line: slips.Regression | None, force_line: slips.Regression | None
) -> tuple[str, ...]:
    found = [slips.warning(energy_line, "energy"), slips.warning(force_line, "force")]
    if energy_line is not None and abs(energy_line.correlation) < 0.95:
        found.append(
            f"predicted and reference energies correlate only by {energy_line.correlation:.2f}: "
            "the model is poor here, or energies and forces do not belong together"
        )
    return tuple(text for text in found if text is not None)


def _offset_warnings(
    offset: float | None, offset_free: Errors | None, zero: Errors | None
) -> tuple[str, ...]:
    """One of zeros of energy that differ."""
    if offset is None or offset_free is None or zero is None:
        return ()
    if abs(offset) <= max(zero.rmse, offset_free.rmse):
        return ()
    return (
        f"the mean energy error is {offset:.4g} eV, more than the energies vary: the zeros "
        "of energy differ; read the offset-free errors",
    )
