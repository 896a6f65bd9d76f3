"""Dataset: one molecule, whole arrays, and where they come from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.dataset import Dataset, Provenance, concatenate
from flexcalc.errors import FileFormatError, MoleculeError, ShapeError
from tests.systems import WATER


def water(frames: int = 6, level: str = "test", seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(
        WATER,
        rng.standard_normal((frames, 3, 3)),
        rng.standard_normal(frames),
        rng.standard_normal((frames, 3, 3)),
        tags={"step": np.arange(frames)},
        provenance=Provenance(level, f"{seed}.xyz"),
    )


def test_a_dataset_keeps_its_own_copy_and_nobody_can_change_it():
    positions = np.zeros((2, 3, 3))
    step = np.arange(2)
    data = Dataset(WATER, positions, tags={"step": step})
    positions[:] = 1
    step[:] = 7
    assert not data.positions.any()
    assert data.tags["step"].tolist() == [0, 1]
    for array in (data.numbers, data.positions, data.tags["step"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    "index", [[4, 1], np.array([4, 1]), np.array([-2, 1]), [False, True, False, False, True, False]]
)
def test_indexing_takes_whole_frames(index):
    data = water()
    part = data[index]
    chosen = np.asarray(index)
    np.testing.assert_array_equal(part.positions, data.positions[chosen])
    np.testing.assert_array_equal(part.energies, data.energies[chosen])
    np.testing.assert_array_equal(part.forces, data.forces[chosen])
    np.testing.assert_array_equal(part.tags["step"], data.tags["step"][chosen])
    assert part.provenance == data.provenance


def test_one_frame_is_a_dataset_and_no_frame_too():
    data = water()
    assert data[3].positions.shape == (1, 3, 3)
    assert data[2:5].tags["step"].tolist() == [2, 3, 4]
    assert len(data[[]]) == 0
    assert data[[]].forces.shape == (0, 3, 3)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": np.zeros((2, 4, 3))}, r"positions: expected shape \(2, 3, 3\)"),
        ({"energies": np.zeros(3)}, r"energies: expected shape \(2,\), got \(3,\)"),
        ({"energies": np.zeros((2, 1))}, "energies: expected shape"),
        ({"forces": np.zeros((2, 3))}, "forces: expected shape"),
        ({"forces": np.full((2, 3, 3), np.nan)}, "forces: frame 0 is not finite"),
        ({"energies": [0.0, np.inf]}, "energies: frame 1 is not finite"),
        ({"positions": [[["a"] * 3] * 3] * 2}, "not an array of numbers"),
        ({"numbers": [8, 1, 0]}, "atomic numbers from 1 to 118, got 0"),
        ({"numbers": [8, 1, -1]}, "atomic numbers"),
        ({"numbers": [8, 1, 1.5]}, "whole numbers"),
        ({"tags": {"step": np.arange(3)}}, "tag step: expected shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, message):
    parts = {"numbers": WATER, "positions": np.zeros((2, 3, 3))} | changes
    with pytest.raises(ShapeError, match=message):
        Dataset(**parts)


def test_asking_for_labels_that_are_not_there_says_how_to_get_them():
    with pytest.raises(FileFormatError, match=r"no energies.*flexcalc label"):
        Dataset(WATER, np.zeros((1, 3, 3))).labels()
    with pytest.raises(FileFormatError, match="no forces"):
        Dataset(WATER, np.zeros((1, 3, 3)), np.zeros(1)).labels()


def test_the_hash_is_of_the_content_alone():
    data = water()
    again = Dataset(data.numbers, data.positions, data.energies, data.forces)
    assert again.sha256() == data.sha256()
    for changes in (
        (data.positions + 1e-15, data.energies, data.forces),
        (data.positions, data.energies, -data.forces),
        (data.positions, None, data.forces),
    ):
        assert Dataset(WATER, *changes).sha256() != data.sha256()
    assert data[::-1].sha256() != data.sha256()


def test_joining_keeps_frames_in_order_and_shared_tags():
    first, second = water(2, seed=1), water(3, seed=2)
    joined = concatenate(first, second)
    np.testing.assert_array_equal(joined.forces[:2], first.forces)
    np.testing.assert_array_equal(joined.forces[2:], second.forces)
    assert joined.tags["step"].tolist() == [0, 1, 0, 1, 2]
    assert joined.provenance == Provenance("test", "1.xyz + 2.xyz")
    unlabelled = concatenate(first, Dataset(WATER, second.positions, provenance=first.provenance))
    assert unlabelled.energies is None
    assert not unlabelled.tags


def test_what_does_not_belong_together_is_not_joined():
    with pytest.raises(FileFormatError, match="zeros of energy"):
        concatenate(water(), water(level="other"))
    with pytest.raises(MoleculeError):
        concatenate(water(), Dataset(np.array([1, 1, 8]), np.zeros((1, 3, 3))))
    with pytest.raises(ShapeError, match="at least one"):
        concatenate()


def test_weights_go_with_their_frames_and_belong_to_what_is_trained_on():
    plain = water()
    data = replace(plain, weights=np.arange(1.0, 7.0))
    assert data[[4, 1]].weights.tolist() == [5.0, 2.0]
    assert concatenate(data[:2], plain[:1]).weights.tolist() == [1.0, 2.0, 1.0]
    assert concatenate(plain, plain).weights is None
    assert data.sha256() != plain.sha256()
    for bad in ([0.0] * 6, [np.nan] * 6, [1.0] * 5):
        with pytest.raises(ShapeError, match="weights"):
            replace(plain, weights=np.array(bad))
