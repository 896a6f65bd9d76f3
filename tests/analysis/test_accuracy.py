"""Errors against numbers worked out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from flexcalc.analysis import slips
from flexcalc.analysis.accuracy import Binning, Tag, accuracy
from flexcalc.analysis.accuracy_record import Accuracy
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, ShapeError
from flexcalc.geometry import Coordinate
from flexcalc.potential import Evaluation

KCAL_MOL = 23.060548


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def water(frames, rng, energies=True, forces=True):
    start = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    return Dataset(
        numbers=[8, 1, 1],
        positions=start + rng.normal(scale=0.05, size=(frames, 3, 3)),
        energies=rng.normal(size=frames) if energies else None,
        forces=rng.normal(size=(frames, 3, 3)) if forces else None,
    )


def shifted(data, energy=0.0, force=0.0):
    """Predictions that are wrong by known amounts."""
    energies = np.zeros(len(data)) if data.energies is None else data.energies
    forces = np.zeros(data.positions.shape) if data.forces is None else data.forces
    return Evaluation(energies + energy, forces + force)


def test_errors_of_two_frames_are_those_of_pencil_and_paper(rng):
    """Energy errors 3 and -1, force errors 2 on one component of one of two frames."""
    data = water(2, rng)
    wrong = np.zeros((2, 3, 3))
    wrong[1, 2, 0] = -2.0
    found = accuracy(data, shifted(data, np.array([3.0, -1.0]), wrong), rng=rng)
    energy, force = found.energy, found.force
    assert np.allclose([energy.mae, energy.rmse, energy.maximum], [2, np.sqrt(5), 3])
    assert np.isclose(found.energy_offset, 1.0)
    free = found.energy_offset_free
    assert np.allclose([free.mae, free.rmse, free.maximum], [2, 2, 2])
    assert np.allclose([force.mae, force.rmse, force.maximum], [2 / 18, 2 / np.sqrt(18), 2])
    assert found.worst[0] == 1
    half = abs(np.diff(data.energies)[0]) / 2
    zero = found.energy_zero
    assert np.allclose([zero.mae, zero.rmse, zero.maximum], half)
    assert np.isclose(found.force_zero.rmse, np.sqrt((data.forces**2).mean()))


def test_the_dictionary_has_both_units_and_is_json(rng):
    data = water(5, rng)
    found = accuracy(data, shifted(data, 0.1, 0.2), rng=rng).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert np.isclose(found["force_rmse_kcal_mol_A"], 0.2 * KCAL_MOL)
    assert np.isclose(found["force_rmse_meV_A"], 200)
    assert np.isclose(found["energy_mae_kcal_mol"], 0.1 * KCAL_MOL)
    assert np.isclose(found["energy_offset_meV"], 100)
    assert np.isclose(found["energy_offset_free_rmse_meV"], 0, atol=1e-9)
    # A constant error has no spread, so its interval is a point.
    assert np.allclose(found["force_rmse_interval_meV_A"], [200, 200])


def test_errors_by_element_and_atom_are_those_of_their_rows(rng):
    data = water(4, rng)
    wrong = np.zeros((4, 3, 3))
    wrong[:, 0], wrong[:, 1], wrong[:, 2] = 0.1, 0.2, 0.4
    found = accuracy(data, shifted(data, 0, wrong), rng=rng)
    hydrogen, oxygen = found.elements
    assert (hydrogen.symbol, hydrogen.atoms) == ("H", (1, 2))
    assert np.isclose(hydrogen.force.mae, 0.3)
    assert np.isclose(hydrogen.force.rmse, np.sqrt((0.2**2 + 0.4**2) / 2))
    assert np.isclose(oxygen.force.rmse, 0.1)
    assert np.allclose([part.force.rmse for part in found.each_atom], [0.1, 0.2, 0.4])
    assert found.to_dict()["each_atom"][2]["name"] == "H2"


def test_bins_of_a_dihedral_cover_the_circle_worst_first(rng):
    """A dihedral set by hand on both sides of the cut at 180 degrees."""
    wanted = np.radians([-179.0, 179.0, 5.0, 5.0])
    positions = np.zeros((4, 4, 3))
    positions[:, 0] = [1, 0, 0]
    positions[:, 2] = [0, 0, 1]
    positions[:, 3] = np.stack([np.cos(wanted), np.sin(wanted), np.ones(4)], axis=1)
    data = Dataset([6, 6, 6, 6], positions, np.zeros(4), np.zeros((4, 4, 3)))
    wrong = np.array([1.0, 3.0, 2.0, 2.0])[:, None, None]
    found = accuracy(
        data,
        shifted(data, wrong[:, 0, 0], wrong),
        by=Binning(coordinates=[Coordinate.parse("dihedral 0 1 2 3")]),
        rng=rng,
    )
    (regions,) = found.regions
    assert len(regions.bins) == 18
    assert sum(one.population for one in regions.bins) == 4
    first, second, third, fourth = regions.bins[:4]
    assert {abs(first.low), abs(first.high)} == {160, 180}
    assert np.allclose([first.force.rmse, second.force.rmse, third.force.rmse], [3, 2, 1])
    assert second.population == 2
    assert np.isclose(second.energy.mae, 2)
    assert fourth.population == 0
    assert fourth.force is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_values_of_a_tag_are_regions_and_many_numbers_are_binned(rng):
    data = water(60, rng)
    kinds = np.array(["far", "near", "far"])[np.arange(60) % 3]
    data = replace(data, tags={"config_type": kinds, "time_fs": np.arange(60.0), "set": kinds})
    wrong = np.where(kinds == "near", 3.0, 1.0)[:, None, None] * np.ones((60, 3, 3))
    by = Binning(coordinates=[Tag("config_type"), Tag("time_fs")], bins=4)
    found = accuracy(data, shifted(data, 0, wrong), by=by, rng=rng)
    named, binned = found.regions
    assert [(one.name, one.population) for one in named.bins] == [("near", 20), ("far", 40)]
    assert np.allclose([one.force.rmse for one in named.bins], [3, 1])
    assert named.bins[0].extent(named.coordinate) == "near"
    assert [one.name for one in binned.bins] == [""] * 4
    assert sorted(one.population for one in binned.bins) == [15, 15, 15, 15]
    rows = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for read in (Accuracy.from_dict(rows), Accuracy.from_damaged(rows)):
        assert [one.name for one in read.regions[0].bins] == ["near", "far"]
    texts = replace(data, tags={"note": np.array([f"frame {n}" for n in range(60)])})
    with pytest.raises(ShapeError, match="tag note: expected numbers or at most 50 values"):
        accuracy(texts, shifted(texts, 0, wrong), by=Binning([Tag("note")]), rng=rng)


def test_bins_of_a_distance_span_the_data_and_hold_every_frame(rng):
    data = water(50, rng)
    coordinate = Coordinate.parse("distance 0 1")
    values = coordinate.values(data.positions)
    found = accuracy(
        data,
        shifted(data, 0, rng.normal(size=(50, 3, 3))),
        by=Binning(coordinates=[coordinate], bins=5),
        rng=rng,
    )
    bins = sorted(found.regions[0].bins, key=lambda one: one.low)
    assert np.isclose(bins[0].low, values.min())
    assert np.isclose(bins[-1].high, values.max())
    counts, _ = np.histogram(values, bins=5)
    assert [one.population for one in bins] == counts.tolist()
    # The regions' squares add up to the whole's.
    total = sum(one.population * one.force.rmse**2 for one in bins if one.force) / 50
    assert np.isclose(total, found.force.rmse**2)


def test_the_bootstrap_interval_has_the_width_of_the_normal_theory(rng):
    """RMSE of n normal errors: standard error s / sqrt(2n); 95 % is 2 x 1.96 of them."""
    frames = 4000
    data = water(frames, rng, forces=False)
    found = accuracy(
        data, shifted(data, rng.normal(scale=0.1, size=frames)), rng=rng, resamples=1000
    )
    low, high = found.energy.rmse_interval
    expected = 2 * 1.96 * 0.1 / np.sqrt(2 * frames)
    # 1000 samples know the two quantiles to about 5 % of their distance; four times that.
    assert abs(high - low - expected) < 0.2 * expected
    assert low < found.energy.rmse < high
    low, high = found.energy_offset_free.rmse_interval
    assert abs(high - low - expected) < 0.2 * expected


def test_the_bootstrap_is_repeated_by_the_same_seed(rng):
    data = water(20, rng)
    predictions = shifted(data, rng.normal(size=20), rng.normal(size=(20, 3, 3)))
    one, two = (
        accuracy(data, predictions, rng=np.random.default_rng(5)).to_dict() for _ in range(2)
    )
    assert one == two


def test_net_force_and_torque_are_those_of_pencil_and_paper(rng):
    """Force 1 along z on an atom at distance 2 along x from the centroid of three."""
    positions = np.array([[[2.0, 0, 0], [-1, 1, 0], [-1, -1, 0]]])
    data = Dataset([8, 1, 1], positions, [0.0], np.zeros((1, 3, 3)))
    forces = np.zeros((1, 3, 3))
    forces[0, 0, 2] = 1.0
    found = accuracy(data, Evaluation(np.zeros(1), forces), rng=rng)
    assert np.isclose(found.net_force, 1)
    assert np.isclose(found.net_torque, 2)


def test_forces_alone_are_enough(rng):
    data = water(6, rng, energies=False)
    found = accuracy(data, shifted(data, 0, 0.1), rng=rng)
    assert found.energy is None
    assert np.isclose(found.force.mae, 0.1)
    keys = found.to_dict()
    assert "force_mae_meV_A" in keys
    assert not any(key.startswith("energy") for key in keys)


def test_energies_alone_are_enough_and_order_the_worst_frames(rng):
    data = water(6, rng, forces=False)
    wrong = np.array([0.0, 0.1, -0.5, 0.2, 0.0, 0.3])
    found = accuracy(data, shifted(data, wrong), rng=rng, worst=2)
    assert found.force is None
    assert found.worst == (2, 5)


def test_a_single_frame_has_errors(rng):
    data = water(1, rng)
    keys = accuracy(data, shifted(data, 0.1, 0.1), rng=rng).to_dict()
    json.dumps(keys, allow_nan=False)
    assert np.isclose(keys["energy_mae_meV"], 100)


def test_a_good_model_gets_no_warning(rng):
    data = water(100, rng)
    noise = rng.normal(scale=0.05, size=(100, 3, 3))
    found = accuracy(data, shifted(data, rng.normal(scale=0.05, size=100), noise), rng=rng)
    assert found.warnings == ()
    # Noise of relative size 0.05 on m values: standard error of the slope 0.05 / sqrt(m).
    assert abs(found.force_line.slope - 1) < 4 * 0.05 / 30


@pytest.mark.data
@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.04336, "kcal/mol taken for eV in the reference"),
        (23.06, "kcal/mol taken for eV in the training"),
        (27.211, "hartree taken for eV in the reference"),
        (0.03675, "hartree taken for eV in the training"),
        (0.52918, "forces per bohr taken for forces per angstrom in the training"),
        (1.8897, "forces per bohr taken for forces per angstrom in the reference"),
        (51.422, "hartree/bohr taken for eV/angstrom in the reference"),
        (0.239, "kJ/mol taken for kcal/mol in the reference"),
        (-1.0, "gradients taken for forces"),
        (-23.06, "gradients taken for forces, and this smells of a unit slip: kcal/mol"),
        (3.3, "another scale"),
    ],
)
def test_a_planted_slip_is_named(factor, words, rng):
    data = water(50, rng, energies=False)
    forces = factor * (data.forces + rng.normal(scale=0.1, size=data.forces.shape))
    found = accuracy(data, Evaluation(np.zeros(50), forces), rng=rng)
    assert len(found.warnings) == 1
    assert words in found.warnings[0]
    assert "\n" not in found.warnings[0]


@pytest.mark.data
def test_energies_in_another_unit_and_from_another_zero_are_named(rng):
    data = water(50, rng)
    found = accuracy(data, Evaluation(23.06 * data.energies, data.forces), rng=rng)
    assert "kcal/mol taken for eV" in found.warnings[0]
    found = accuracy(data, shifted(data, energy=500.0), rng=rng)
    assert "zeros of energy differ" in found.warnings[0]


@pytest.mark.data
def test_energies_that_do_not_belong_to_the_forces_are_named(rng):
    data = water(50, rng)
    found = accuracy(data, Evaluation(rng.permutation(data.energies), data.forces), rng=rng)
    assert any("do not belong together" in text for text in found.warnings)


def test_a_model_that_is_poor_elsewhere_is_not_called_a_slip(rng):
    """Far from the training set forces are often too small; no unit is so near."""
    data = water(50, rng, energies=False)
    found = accuracy(data, Evaluation(np.zeros(50), 0.75 * data.forces), rng=rng)
    assert found.warnings == ()


def test_a_poor_model_without_scale_error_is_not_called_a_slip(rng):
    """Half the variance is noise: the slope stays 1, the correlation falls to 0.7."""
    data = water(200, rng, energies=False)
    found = accuracy(data, shifted(data, 0, rng.normal(size=data.forces.shape)), rng=rng)
    assert found.warnings == ()
    assert np.isclose(found.force_line.correlation, np.sqrt(0.5), atol=0.05)


def test_regression_agrees_with_polyfit(rng):
    x = rng.normal(size=30)
    y = 2 * x + rng.normal(size=30)
    line = slips.regression(x, y)
    assert np.isclose(line.slope, np.polyfit(x, y, 1)[0])
    assert np.isclose(line.correlation, np.corrcoef(x, y)[0, 1])


@pytest.mark.inputs
def test_predictions_of_another_shape_are_refused(rng):
    data = water(3, rng)
    with pytest.raises(ShapeError, match="do not fit the dataset"):
        accuracy(data, Evaluation(np.zeros(2), np.zeros((2, 3, 3))), rng=rng)


@pytest.mark.inputs
def test_a_dataset_without_labels_is_refused(rng):
    data = water(3, rng, energies=False, forces=False)
    with pytest.raises(FileFormatError, match="flexcalc label"):
        accuracy(data, shifted(data), rng=rng)
