"""Training on labels without energies."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import flexcalc
from flexcalc.errors import FileFormatError
from flexcalc.models.family import ALONE, ForcesFamily, TrainingWarning, check_labels
from flexcalc.models.mixture import MixturePotential, align_energies
from flexcalc.registry import make_family
from flexcalc.training.mixture import APART
from tests.models.test_mixture import Springs, frames, two_wells
from tests.systems import WATER, springs

LABELLED = springs(60)
ALL = replace(LABELLED, energies=None)
UNSEEN = springs(40, seed=5)
SMALL = {"epochs": 150, "batch_size": 10, "learning_rate": 3e-3, "early_stopping": 1000}
FAMILIES = {
    "sgdml": {"sigma": 5.0},
    "mixture": {"of": ({"kind": "sgdml", "sigma": 5.0},), "regions": 1},
    "schnet": {"features": 16, "interactions": 2, **SMALL},
    "painn": {"features": 16, "interactions": 2, **SMALL},
    "bpnn": {"hidden": (16, 16), **SMALL},
}
EXACT = {"sgdml", "mixture"}


@pytest.mark.parametrize("name", FAMILIES)
def test_energies_come_out_right_but_for_a_constant(name, tmp_path):
    with pytest.warns(TrainingWarning, match="trained on forces alone"):
        model = flexcalc.train(ALL, name, points=30, validation_points=20, **FAMILIES[name])
    found, bound = model(UNSEEN.positions), 0.05 if name in EXACT else 0.5
    off = found.energies - UNSEEN.energies
    spread = np.std(UNSEEN.energies)
    assert np.std(off) < bound * spread
    assert np.sqrt(np.mean((found.forces - UNSEEN.forces) ** 2)) < bound * np.std(UNSEEN.forces)
    assert set(model.facts["errors"]["validation"]) == {"force_rmse_kcal_mol_A"}
    model.save(tmp_path / "model.flex")
    again = flexcalc.load(tmp_path / "model.flex")
    np.testing.assert_array_equal(again(UNSEEN.positions).energies, found.energies)


@pytest.mark.parametrize("name", ["sgdml", "bpnn"])
def test_the_zero_of_energy_is_the_mean_over_the_training_points(name):
    hyperparameters = {**FAMILIES[name], **({"epochs": 3} if name == "bpnn" else {})}
    with pytest.warns(TrainingWarning, match="right except for a constant"):
        model = flexcalc.train(ALL[:30], name, points=30, validation_points=0, **hyperparameters)
    assert abs(model(ALL.positions[:30]).energies.mean()) < 1e-6


def test_the_forces_are_those_of_energies_that_only_set_the_constant():
    rng = np.random.default_rng
    with pytest.warns(TrainingWarning):
        alone = make_family("sgdml", {"sigma": 5.0}).fit(ALL[:30], None, rng(0))
    known = make_family("sgdml", {"sigma": 5.0, "energies": "training"}).fit(
        LABELLED[:30], None, rng(0)
    )
    one, other = alone(UNSEEN.positions), known(UNSEEN.positions)
    np.testing.assert_allclose(one.forces, other.forces, atol=1e-12)
    assert np.ptp(one.energies - other.energies) < 1e-12


def test_a_family_that_needs_energies_says_so():
    assert not isinstance(make_family("gap", {}), ForcesFamily)
    with pytest.raises(FileFormatError, match=r"no energies, and gap needs them; .* such as sgdml"):
        flexcalc.train(ALL, "gap", points=20)
    of = ({"kind": "sgdml"}, {"kind": "gap"})
    with pytest.raises(FileFormatError, match="no energies, and mixture needs them"):
        flexcalc.train(ALL, "mixture", points=20, of=of)
    with pytest.raises(FileFormatError, match="no energies, and schnet needs them"):
        check_labels(make_family("schnet", {"force_weight": 0.0}), ALL)


def test_without_forces_nothing_is_trained():
    with pytest.raises(FileFormatError, match="has no forces; label its geometries"):
        flexcalc.train(replace(LABELLED, forces=None), points=20)


def test_the_surfaces_of_a_mixture_meet_and_have_no_mean():
    data = replace(two_wells(frames(60, seed=3, between=True)), energies=None)
    of = ({"kind": "sgdml", "sigma": 5.0},)
    with pytest.warns(TrainingWarning) as caught:
        model = flexcalc.train(
            data, "mixture", points=60, validation_points=0, of=of, regions=2, least_points=10
        )
    assert [str(one.message) for one in caught] == [APART]
    assert abs(model(data.positions).energies.mean()) < 1e-9
    parts = [Springs(constant=-7.0), Springs(constant=4.0)]
    apart = MixturePotential(parts, model.model.gate, np.array([1.0, 2.0]))
    constants = align_energies(apart, data)
    assert constants[0] - 7.0 == pytest.approx(constants[1] + 4.0, abs=1e-9)
    level = MixturePotential(parts, model.model.gate, constants)
    assert abs(level(data.positions).energies.mean()) < 1e-9


@pytest.mark.parametrize(
    "options",
    [
        {"folds": 3},
        {"refine_rounds": 2},
        {"refine_rounds": 1, "refine_by": "error"},
        {"committee": 3},
        {"selection": "clusters"},
        {"baseline": "soft"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_way_of_training_does_without_energies(options):
    if "baseline" in options:
        options = {"baseline": Springs(0.9 * Springs().shape, numbers=WATER)}
    with pytest.warns(TrainingWarning, match="forces alone"):
        model = flexcalc.train(ALL, points=24, validation_points=12, sigma=5.0, **options)
    off = model(UNSEEN.positions).forces - UNSEEN.forces
    assert np.sqrt(np.mean(off**2)) < 0.1 * np.std(UNSEEN.forces)


@pytest.mark.inputs
def test_from_the_command_line_with_a_report_and_an_evaluation(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flexcalc.write("forces.xyz", ALL)
    (tmp_path / "train.toml").write_text(
        'dataset = "forces.xyz"\npoints = 20\nvalidation_points = 10\nlearning_curve = [10]\n'
        '[[family]]\nkind = "sgdml"\nsigmas = [4.0, 5.0]\n'
        '[[family]]\nkind = "bpnn"\nhidden = [8]\nepochs = 3\n'
    )
    assert run("train", "train.toml", "--output", "both") == 0
    told = capsys.readouterr().out
    assert ALONE in told
    assert "energy RMSE" not in told
    results = json.loads((tmp_path / "both/results.json").read_text())
    assert not [key for row in results["models"] for key in row if key.startswith("energy_")]
    page = (tmp_path / "both/report.html").read_text()
    assert "force RMSE" in page
    assert not re.search(r"\b(nan|None)\b", re.sub(r"<script.*?</script>", "", page, flags=re.S))
    assert run("evaluate", "both/sgdml.flex", "forces.xyz", "--output", "judged") == 0
    assert run("train", "forces.xyz", "--family", "gap", "--points", 20, "--output", "gap") == 2
    assert not (tmp_path / "gap").exists()
