"""Features are dropped by how much they matter, whole orbits at a time, as errors allow."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from flexcalc.commands.face import run_command
from flexcalc.commands.train import train
from flexcalc.config.train import Train
from flexcalc.errors import ConfigError, InputError
from flexcalc.models.family import ReducingFamily, errors
from flexcalc.models.gdml import SGDML, GDMLPotential
from flexcalc.models.gdml.potential import Expansion
from flexcalc.models.gdml.reduction import importance, kept, lengths, over_orbits, table
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.reduction import reduce
from flexcalc.training.tuning import FORCE, Trial

TOLERANCE = 0.5
"""Of a surface on which every pair of atoms matters: enough that some can go."""


def masked(model, feature):
    """The model without a feature and its coefficients, its symmetric images written out."""
    order = model.descriptor.relabelled(model.permutations)
    others = np.delete(np.arange(model.descriptor.size), feature)
    return GDMLPotential(
        model.numbers,
        Expansion(
            permutations=np.arange(len(model.numbers))[None],
            features=model.features[:, order].reshape(-1, model.descriptor.size)[:, others],
            coefficients=model.coefficients[:, order].reshape(-1, model.descriptor.size)[:, others],
            energies=None if model.energies is None else np.repeat(model.energies, len(order)),
            sigma=model.sigma,
            scale=model.scale,
        ),
        descriptor=model.descriptor.subset(others),
    )


@pytest.mark.parametrize("descriptor", ["distances", "extended"])
@pytest.mark.parametrize("energies", ["labelled", "fitted"])
def test_importance_is_what_literal_masking_gives(descriptor, energies, ethanol, rng):
    """Ethanol with its six permutations, every feature; both ways round to about 1e-12."""
    family = SGDML(sigma=10.0, kernel="molecule", descriptor=descriptor, energies=energies)
    model = family.fit(ethanol[:25], None, rng)
    positions = ethanol.positions[40:47]
    forces = model(positions).forces
    expected = [
        np.sqrt(np.mean((masked(model, feature)(positions).forces - forces) ** 2))
        for feature in range(model.descriptor.size)
    ]
    assert len(model.permutations) == 6
    np.testing.assert_allclose(importance(model, positions), expected, rtol=1e-10)


def test_blocks_of_training_images_add_up(model, ethanol, monkeypatch):
    """One point and one geometry at a time give what all give at once."""
    positions = ethanol.positions[50:60]
    whole = importance(model, positions)
    monkeypatch.setattr("flexcalc.models.gdml.reduction.BLOCK", 1)
    np.testing.assert_allclose(importance(model, positions), whole, rtol=1e-10)


def test_orbits_are_kept_or_dropped_whole(model, rng):
    """At every percentile the kept set is closed under the group, and smaller than before."""
    order = model.descriptor.relabelled(model.permutations)
    found = rng.random(model.descriptor.size)
    sizes = []
    for percentile in (0.0, 20.0, 50.0, 80.0, 100.0):
        left = kept(found, order, percentile)
        assert np.array_equal(np.unique(order[:, left]), left)
        assert model.descriptor.subset(left).closed_under(model.permutations).all()
        sizes.append(len(left))
    assert sizes[0] == model.descriptor.size
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < sizes[1]


def test_sixty_percent_dropped_leaves_forty():
    """Without symmetry the numbers are those of the percentile, rounded down."""
    found, alone = np.random.default_rng(0).permutation(861), np.arange(861)[None]
    assert [len(kept(found, alone, q)) for q in (0, 60, 70, 100)] == [861, 344, 258, 1]
    assert found[kept(found, alone, 60)].min() == 517


def test_importances_are_averaged_over_orbits():
    """Features 0 and 2 change places; each of the others stays."""
    order = np.array([[0, 1, 2, 3], [2, 1, 0, 3]])
    assert over_orbits(np.array([1.0, 5.0, 3.0, 7.0]), order).tolist() == [2.0, 5.0, 2.0, 7.0]


def test_a_row_tells_feature_atoms_distance_and_importance(model, ethanol):
    rows = table(model, ethanol.positions[50:60])
    assert [row["feature"] for row in rows] == list(model.descriptor.names)
    first = rows[0]
    apart = (
        ethanol.positions[50:60, first["atoms"][0]] - ethanol.positions[50:60, first["atoms"][1]]
    )
    assert first["distance_A"] == pytest.approx(np.linalg.norm(apart, axis=1).mean())
    assert all(row["importance_kcal_mol_A"] > 0 for row in rows)


def test_features_can_be_ranked_by_distance_as_well(model, ethanol):
    """No dropped orbit's mean distance is below that of a kept one."""
    rows = table(model, ethanol.positions[50:60])
    family = SGDML(sigma=10.0, features="reduced", ranking="distance")
    inside = list(family.reduced(model, rows, 60.0).kept)
    order = model.descriptor.relabelled(model.permutations)
    distance = over_orbits(np.array([row["distance_A"] for row in rows]), order)
    outside = np.setdiff1d(np.arange(len(rows)), inside)
    assert distance[inside].max() < distance[outside].min()


@pytest.fixture(scope="module")
def family():
    return SGDML(
        sigma=10.0,
        descriptor="distances",
        energies="labelled",
        features="reduced",
        percentiles=(5.0, 10.0, 50.0),
        reduction_tolerance=TOLERANCE,
    )


@pytest.fixture(scope="module")
def full(family, ethanol):
    return family.fit(ethanol[:50], ethanol[50:], np.random.default_rng(0))


@pytest.fixture(scope="module")
def found(family, full, ethanol):
    return reduce(
        trial(family, full, ethanol), ethanol[:50], ethanol[50:], np.random.default_rng(1)
    )


def trial(family, full, ethanol):
    """The model on all features, as a search hands it on."""
    return Trial(family, {}, errors(full(ethanol[50:].positions), ethanol[50:]), full)


def test_the_family_says_that_it_reduces(family):
    assert isinstance(family, ReducingFamily)
    assert family.reductions() == sorted(family.percentiles)
    assert not replace(family, features="all").reductions()
    assert not replace(family, kept=(0, 1)).reductions()


def test_the_percentile_obeys_the_tolerance(found, full, ethanol):
    """The highest tried whose error is within the tolerance of the lowest."""
    lowest = min(row[FORCE] for row in found.table)
    good = [row for row in found.table if row[FORCE] <= (1 + TOLERANCE) * lowest]
    (chosen,) = [row for row in found.table if row["percentile"] == found.percentile]
    assert chosen == max(good, key=lambda row: row["percentile"])
    validation = ethanol[50:]
    judged = errors(found.potential(validation.positions), validation)
    assert judged[FORCE] == pytest.approx(chosen[FORCE])
    assert chosen["features"] == found.potential.descriptor.size
    assert chosen["features"] == sum(row["kept"] for row in found.features)
    assert found.table[0]["features"] == len(found.features) == full.descriptor.size


def test_a_reduced_model_has_the_symmetry_of_the_full_one(found, full):
    assert found.percentile > 0
    assert len(found.potential.permutations) == len(full.permutations) == 6


@pytest.mark.physics
def test_the_forces_of_a_reduced_model_are_minus_the_gradient(found, ethanol, rng):
    """Five-point differences; see `check_gradient` in test_gdml_potential.py for the error."""
    positions, step = ethanol.positions[:5], 1e-3
    way = rng.normal(size=positions.shape)
    way /= np.linalg.norm(way, axis=(1, 2), keepdims=True)
    energy = [found.potential(positions + k * step * way).energies for k in (-2, -1, 1, 2)]
    slope = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
    along = np.einsum("bax,bax->b", found.potential(positions).forces, way)
    assert np.abs(along + slope).max() < 1e-6


def test_a_reduced_model_is_saved_with_its_features(found, full, ethanol, tmp_path):
    found.potential.save(tmp_path / "reduced.flex")
    again = SGDML.load(tmp_path / "reduced.flex")
    before, after = found.potential(ethanol.positions), again(ethanol.positions)
    assert np.array_equal(before.forces, after.forces)
    assert np.array_equal(before.energies, after.energies)
    told = again.facts["reduction"]
    assert told["features"] == again.descriptor.size < told["of"] == full.descriptor.size
    assert told["percentile"] == found.percentile
    longest = lengths(again.descriptor, ethanol.positions[:50]).max()
    assert again.facts["longest_feature_A"] == pytest.approx(longest)


def test_a_reduction_goes_on_where_it_was_interrupted(family, full, found, ethanol, tmp_path):
    """The second time nothing is measured or trained again, and the model is the same."""

    class Tired(SGDML):
        def importances(self, *arguments):
            pytest.fail("measured again")

        def session(self, *arguments):
            pytest.fail("trained again")

    def again(family):
        kept = Checkpoints(tmp_path)
        rng = np.random.default_rng(1)
        first = trial(family, full, ethanol)
        return reduce(first, ethanol[:50], ethanol[50:], rng, checkpoints=kept)

    first = again(family)
    tired = Tired(**{item.name: getattr(family, item.name) for item in fields(family)})
    second = again(tired)
    assert second.percentile == first.percentile == found.percentile
    assert np.array_equal(second.potential.coefficients, found.potential.coefficients)
    assert second.features == first.features


def test_training_writes_what_was_reduced(family, ethanol, tmp_path):
    from flexcalc import files

    files.write(tmp_path / "ethanol.xyz", ethanol)
    config = Train(
        dataset=tmp_path / "ethanol.xyz", points=40, validation_points=20, family=(family,)
    )
    results = run_command(train, config, tmp_path / "run", None).to_dict()
    record = json.loads((tmp_path / "run" / "reduction.json").read_text())
    assert len(record["features"]) == results["all_features"] == 36
    assert sum(row["kept"] for row in record["features"]) == results["kept_features"]
    model = SGDML.load(tmp_path / "run" / "sgdml.flex")
    assert model.descriptor.size == results["kept_features"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{results['kept_features']} of 36 features are kept" in page


@pytest.mark.inputs
@pytest.mark.parametrize("field", [{"features": "reduced"}, {"kept": (0, 1)}])
def test_a_learned_metric_cannot_be_reduced(field, ethanol, rng):
    with pytest.raises(ConfigError, match="none can be left out"):
        SGDML(sigma=10.0, descriptor="distances", metric="learned", **field).fit(
            ethanol[:20], None, rng
        )


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("indices", "message"),
    [((3, 36), "below 36, got 36"), ((3, 1), "ascending"), ((3,), "takes its place")],
)
def test_features_that_cannot_be_kept_are_refused(indices, message, ethanol, rng):
    """Not there, out of order, or not closed under the recovered symmetry."""
    with pytest.raises(InputError, match=message):
        SGDML(sigma=10.0, descriptor="distances", kept=indices).fit(ethanol[:20], None, rng)
