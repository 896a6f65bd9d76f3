"""Learning by itself: rounds of exploration and labels, a budget, and exact resumption."""

import json
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

import flexcalc as fx
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.geometry.torsions import torsions
from flexcalc.potential import CheckedPotential
from flexcalc.results.learning import Learning, LearnRound, verdict_of
from flexcalc.store import Store
from flexcalc.tasks.learn import bands
from flexcalc.tasks.learn.bands import distinct_minima, explore_bands
from flexcalc.tasks.learn.exploration import DEVIATION
from flexcalc.tasks.learn.job import PURPOSE, RANDOM
from flexcalc.units import KCAL_MOL
from tests.systems import GEOMETRY, WATER

SHORT = {
    "reference": "ase:ase.calculators.emt:EMT",
    "budget": 32,
    "first": 14,
    "batch": 8,
    "checks": 2,
    "replicas": 4,
    "committee": 2,
    "time_ps": 0.02,
    "sigma": 10.0,
    "temperatures_K": (300.0, 600.0),
    "energy_target_kcal_mol": 1e-9,
    "workers": 1,
    "progress": False,
}


def water():
    return Atoms(WATER, GEOMETRY)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A learning in a folder, from start to end."""
    folder = tmp_path_factory.mktemp("learn") / "whole"
    return folder, fx.learn(water(), **SHORT, output=folder)


def test_the_budget_is_spent_and_kept_to(whole):
    folder, found = whole
    assert (found.labels, found.round_count, found.targets_reached) == (30, 2, False)
    assert len(found.dataset) == 30
    assert [row.labels for row in found.rounds] == [22, 30]
    assert sorted(set(found.dataset.tags["round"].tolist())) == [0, 1, 2]
    assert 1 <= found.points.checks <= 2
    assert "the budget is spent" in found.summary()
    results = json.loads((folder / "results.json").read_text())
    assert Learning.from_dict(results, found.store).summary() == found.summary()
    assert "Learning" in (folder / "report.html").read_text()


def test_the_model_is_a_potential_of_the_molecule_and_knows_its_doubt(whole):
    _, found = whole
    reference = fx.load(SHORT["reference"], WATER)
    positions = found.dataset.positions
    ours, theirs = found(positions), reference(positions)
    assert np.sqrt(np.mean((ours.forces - theirs.forces) ** 2)) < 0.05
    assert ours.deviation.shape == (30, 3)


def test_errors_of_a_round_are_those_on_labels_that_its_model_had_not_seen(whole):
    folder, found = whole
    model = fx.load(folder / "round-2/model.flex")
    data = found.dataset
    rows = (data.tags["round"] == 2) & (data.tags[PURPOSE] == RANDOM)
    fresh = data[np.flatnonzero(rows)]
    off = model(fresh.positions).forces - fresh.forces

    rmse = np.sqrt(np.mean(off**2)) / KCAL_MOL
    assert found.rounds[1].force_rmse_kcal_mol_A == pytest.approx(rmse)
    assert found.rounds[1].training_points + found.rounds[1].validation_points == 22


def test_targets_that_are_reached_end_it(tmp_path):
    easy = SHORT | {"energy_target_kcal_mol": 1e3, "budget": 60}
    found = fx.learn(water(), **easy)
    assert (found.targets_reached, found.round_count, found.labels) == (True, 2, 30)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"first": 40}, "first: expected at most budget - checks = 32 - 2 = 30"),
        ({"temperatures_K": ()}, "temperatures_K: expected at least one"),
        ({"committee": 1}, "committee: expected at least 2"),
        ({"committee": 8}, "first: expected at least 16"),
        ({"reference": "xtc:GFN2-xTB"}, "did you mean xtb"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_written(change, match, tmp_path):
    with pytest.raises(InputError, match=match):
        fx.learn(water(), **SHORT | change, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_calculator_object_labels_and_is_not_changed():
    found = fx.learn(water(), **SHORT | {"reference": EMT(), "budget": 14, "checks": 0})
    assert (found.labels, found.round_count) == (14, 0)
    assert found.reference == "python:EMT"
    assert (found.points, found.minima) == (None, ())


@pytest.mark.data
@pytest.mark.parametrize(
    ("where", "calls"),
    [
        ("loop.first_geometries", 1),
        ("job.label", 1),
        ("loop.fit_model", 1),
        ("loop.explore", 1),
        ("job.label", 2),
        ("loop.fit_model", 2),
        ("job.label", 3),
        ("loop.fit_model", 3),
        ("stationary.relax_rows", 1),
        ("job.label", 4),
        ("checks.points_checked", 1),
    ],
)
def test_a_learning_that_was_interrupted_ends_as_the_undisturbed_one(
    where, calls, whole, tmp_path, monkeypatch
):
    """Stopped after the so many-th call of a part, whose result is on disk or lost with it."""
    place = f"flexcalc.tasks.learn.{where}"
    module, name = place.rsplit(".", 1)
    original = getattr(import_module(module), name)
    counted = []

    def interrupted(*given, **options):
        found = original(*given, **options)
        counted.append(name)
        if len(counted) == calls:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fx.learn(water(), **SHORT, output=tmp_path / "run")
    found = fx.learn(water(), **SHORT, output=tmp_path / "run")
    folder, undisturbed = whole
    for one in ("labels.xyz", "rounds.json", "stationary.xyz", "minima.json", "barriers.json"):
        assert (tmp_path / "run" / one).read_bytes() == (folder / one).read_bytes()
    assert found.model.sha256() == undisturbed.model.sha256()


def test_the_minimum_of_the_model_is_one_of_the_reference_and_was_not_trained_on(whole):
    folder, found = whole
    [minimum, *_] = found.minima
    [place, *_] = found.store.get("stationary.xyz").positions
    reference = fx.load(SHORT["reference"], WATER)
    force = np.linalg.norm(reference(place[None]).forces[0], axis=1).max() / KCAL_MOL
    assert minimum.reference_force_kcal_mol_A == pytest.approx(force)
    assert np.linalg.norm(found(place[None]).forces[0], axis=1).max() < 0.01
    assert np.abs(found.dataset.positions - place).max(axis=(1, 2)).min() > 1e-6
    assert found.points.verdict() in found.verdict
    assert "Minima and barriers" in (folder / "report.html").read_text()
    assert (folder / "tables/minima.csv").exists()


def judged(complete, replicas=(8, 8, 8)):
    """A round with so many complete replicas at 300, 500 and 800 K."""
    return LearnRound(
        round=3,
        training_points=80,
        validation_points=20,
        labels=120,
        force_rmse_kcal_mol_A=0.8,
        energy_rmse_kcal_mol=0.2,
        unsure_force_rmse_kcal_mol_A=None,
        error_over_deviation=1.2,
        rank_correlation=None,
        complete_replicas=sum(complete),
        unsure_replicas=sum(replicas) - sum(complete),
        failed_replicas=0,
        temperatures_K=(300.0, 500.0, 800.0),
        replicas_by_temperature=replicas,
        complete_by_temperature=complete,
    )


@pytest.mark.parametrize(
    ("complete", "reached", "verdict", "kelvin"),
    [
        ((8, 8, 8), True, "trust it for dynamics of some 2 ps up to 800 K", 800),
        (
            (8, 8, 5),
            True,
            "trust it for dynamics of some 2 ps up to 500 K, not beyond (of its replicas 3 of 8 at "
            "800 K ended early)",
            500,
        ),
        ((7, 8, 8), True, "DO NOT TRUST IT in dynamics: of its replicas 1 of 8 at 300 K", None),
        ((8, 8, 8), False, "DO NOT TRUST IT YET: its errors on new geometries are above", 800),
    ],
)
def test_the_verdict_says_what_the_last_round_shows(complete, reached, verdict, kelvin):
    last = judged(complete)
    assert verdict_of(last, 2.0, reached=reached).startswith(verdict)
    assert last.holds_up_to_K == kelvin


def test_without_a_round_nothing_is_judged():
    assert verdict_of(None, 2.0, reached=False).startswith("NOT JUDGED")


def test_the_verdict_stands_in_the_results_and_the_report(whole):
    folder, found = whole
    assert found.verdict.startswith("DO NOT TRUST IT YET")
    assert found.verdict in found.summary()
    assert "DO NOT TRUST IT YET" in (folder / "report.html").read_text()
    assert sum(found.rounds[0].replicas_by_temperature) == SHORT["replicas"]
    assert sum(found.rounds[0].complete_by_temperature) == found.rounds[0].complete_replicas


class Doubtful(CheckedPotential):
    """GFN2-xTB with a deviation, as a committee has one."""

    def __init__(self, numbers):
        self.numbers = np.array(numbers)
        self.surface = fx.load("xtb:GFN2-xTB", self.numbers)

    def evaluate(self, positions):
        return replace(self.surface(positions), deviation=np.ones(positions.shape[:2]))


@pytest.fixture(scope="module")
def ethanol():
    """Ethanol, whose hydroxyl group has three minima: anti, and two gauche that are mirrored."""
    atoms = molecule("CH3CH2OH")
    [bond] = torsions(atoms.numbers, atoms.positions)
    turned = [bond.turned(atoms.positions, np.radians(angle)) for angle in (0, 120, -120, 10)]
    return Dataset(atoms.numbers, np.stack(turned))


def test_minima_are_found_once_each_and_bands_lead_over_the_tops_between_them(ethanol):
    model, numbers = Doubtful(ethanol.numbers), ethanol.numbers
    minima = distinct_minima(numbers, model, ethanol.positions)
    assert len(minima) == 3
    store, job = Store(), SimpleNamespace(numbers=numbers)
    images = explore_bands(job, model, ethanol, store, np.random.default_rng(0))
    assert len(images) == 3 * (bands.IMAGES - 2)
    assert (images.tags[DEVIATION] == 1).all()
    lowest = model(minima).energies.min()
    heights = model(images.positions).energies.reshape(3, -1) - lowest
    assert (heights.max(axis=1) > 0.03).all()  # eV; 1 kcal/mol is 0.043
    assert heights.max() < 0.2
    again = explore_bands(job, None, ethanol, store, np.random.default_rng(1))
    np.testing.assert_array_equal(again.positions, images.positions)


def test_one_minimum_has_no_bands(ethanol):
    one = ethanol[np.array([0, 3])]
    job = SimpleNamespace(numbers=ethanol.numbers)
    model = Doubtful(ethanol.numbers)
    found = explore_bands(job, model, one, Store(), np.random.default_rng(0))
    assert (len(found), found.tags[DEVIATION].shape) == (0, (0,))


def test_the_learned_model_knows_its_frames_its_domain_and_can_be_saved(whole, tmp_path):
    _, found = whole
    judged = fx.evaluate(found, found.dataset, progress=False)
    assert judged.trained_on == len(found.dataset)
    assert found.domain is not None
    assert found.distance(found.dataset.positions[:2]) is not None
    found.save(tmp_path / "m.flex")
    found.save(tmp_path / "m.flex", overwrite=True)
    assert fx.load(tmp_path / "m.flex").sha256() == found.sha256()
