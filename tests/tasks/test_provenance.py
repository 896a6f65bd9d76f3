"""Where labels come from and what frames were to a model: found, said, and never passed over."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.emt import EMT

import flexcalc
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.frames import FACT
from flexcalc.store import FlexcalcWarning
from tests.geometry.test_fingerprint import proper_rotation
from tests.systems import GEOMETRY, WATER, Springs, springs

TRAIN = {"points": 20, "validation_points": 15, "sigma": 5.0, "symmetry": False}


@pytest.fixture(scope="module")
def fit():
    return flexcalc.train(springs(60), **TRAIN)


def turned(data, rng):
    """The frames in another order, each of them turned and moved."""
    data = data[rng.permutation(len(data))]
    rotation = proper_rotation(rng)
    return replace(data, positions=data.positions @ rotation.T + 2, forces=data.forces @ rotation.T)


def silent(function, *arguments, **options):
    """The result of a call that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return function(*arguments, **options)


# Frames of the training


@pytest.mark.data
def test_frames_of_the_training_are_found_and_their_errors_given_apart(fit, rng):
    data = springs(60)
    used = np.concatenate([fit.split.train, fit.split.validation])
    with pytest.warns(FlexcalcWarning, match="20 were training frames and 15 were validation"):
        errors = flexcalc.evaluate(fit, turned(data, rng))
    assert (errors.trained_on, errors.validated_on) == (20, 15)
    unseen = silent(flexcalc.evaluate, fit, data[np.setdiff1d(np.arange(60), used)])
    assert (unseen.trained_on, unseen.validated_on, unseen.by_use) == (0, 0, {})
    seen = {use: one.frames for use, one in errors.by_use.items()}
    assert seen == {"training": 20, "validation": 15, "unseen": 25}
    assert errors.by_use["unseen"].force.rmse == pytest.approx(unseen.forces.rmse, rel=1e-6)
    assert errors.by_use["unseen"].force.rmse > errors.by_use["training"].force.rmse
    assert "on the 25 frames not used in its training: force RMSE" in errors.summary()
    assert "not used in its training" not in unseen.summary()


@pytest.mark.data
def test_a_run_folder_and_its_report_tell_seen_frames_from_unseen_ones(here, fit):
    fit.save("known.flex")
    flexcalc.write("all.xyz", springs(60))
    with pytest.warns(FlexcalcWarning, match="training frames"):
        first = flexcalc.evaluate("known.flex", "all.xyz", output="all")
    again = flexcalc.evaluate("known.flex", "all.xyz", output="all")  # from the folder
    rmse = {use: one.force.rmse for use, one in first.by_use.items()}
    assert {use: one.force.rmse for use, one in again.by_use.items()} == pytest.approx(rmse)
    assert again.trained_on == 20
    found = json.loads(Path("all/results.json").read_text())
    assert found["by_use"]["unseen"]["frames"] == 25
    assert found["trained_on"] == 20
    assert found["validated_on"] == 15
    text = Path("all/report.html").read_text()
    assert "some of which were used to train the model" in text
    assert "were not used to train" not in text
    assert "was not trained on" not in text
    assert "chose hyperparameters" in text


def test_the_report_says_that_frames_are_unseen_only_where_it_is_known(here, fit):
    fit.save("known.flex")
    flexcalc.write("new.xyz", springs(20, seed=1))
    silent(flexcalc.evaluate, "known.flex", "new.xyz", output="new")
    assert "were not used to train the model" in Path("new/report.html").read_text()
    facts = {key: value for key, value in fit.facts.items() if key != FACT}
    old = fit.model.finished(fit.model.constant, facts)  # as of an earlier version
    old.save("old.flex")
    errors = silent(flexcalc.evaluate, "old.flex", springs(60), output="unknown")
    assert errors.trained_on is None
    assert errors.by_use == {}
    text = Path("unknown/report.html").read_text()
    assert "Predictions on labelled frames. Force" in text
    assert "used to train" not in text


@pytest.mark.parametrize(
    "options",
    [{"committee": 2}, {"baseline": "dispersion:D4/PBE"}, {"folds": 2}, {"refine_rounds": 1}],
)
def test_every_kind_of_training_keeps_its_frames(options):
    given = TRAIN | options
    if "folds" in options:
        del given["validation_points"]
    fit = flexcalc.train(springs(60), **given)
    with pytest.warns(FlexcalcWarning, match="training frames"):
        errors = flexcalc.evaluate(fit.model, springs(60))
    assert errors.trained_on == fit.training_points
    assert errors.validated_on == fit.validation_points
    rest = silent(flexcalc.evaluate, fit.model, fit.held_out)
    assert (rest.trained_on, rest.validated_on) == (0, 0)


def test_a_committee_by_address_knows_the_frames_of_its_members(here):
    for seed in (0, 1):
        flexcalc.train(springs(60, seed), **TRAIN, output=f"{seed}.flex")
    with pytest.warns(FlexcalcWarning, match="20 were training frames"):
        errors = flexcalc.evaluate("committee:0.flex,1.flex", springs(60, seed=1))
    assert errors.trained_on == 20


def test_a_damaged_list_of_frames_is_refused(fit):
    for kept in ("text", {}, {"training": "AAAA", "validation": ""}, {"training": 1}):
        broken = fit.model.finished(fit.model.constant, dict(fit.facts) | {FACT: kept})
        with pytest.raises(FileFormatError, match="expected fingerprints of its training frames"):
            flexcalc.evaluate(broken, springs(5))


# Labels of models


@pytest.mark.data
def test_labels_of_the_model_itself_are_no_test_of_it(here, fit):
    fit.save("m.flex")
    flexcalc.md("m.flex", "start.xyz", steps=60, output="md")
    for model in ("m.flex", fit, fit.model):
        for labels in ("md/trajectory.xyz", flexcalc.read("md/trajectory.xyz").to_atoms()):
            with pytest.raises(InputError, match=r"were made by .* itself, so its errors"):
                flexcalc.evaluate(model, labels)
    run = flexcalc.md(fit.model, "start.xyz", steps=60)
    with pytest.raises(InputError, match=r"were made by m\.flex itself"):
        flexcalc.evaluate("m.flex", run.frames)
    atoms = run.atoms()[0]
    atoms.calc = flexcalc.Calculator("m.flex")
    atoms.get_forces()
    with pytest.raises(InputError, match=r"were made by m\.flex itself"):
        flexcalc.evaluate("m.flex", atoms)


@pytest.mark.data
def test_labels_of_another_model_are_said_to_be_such(here, fit):
    other = flexcalc.train(springs(60), **TRAIN | {"sigma": 3.0})
    run = flexcalc.md(other.model, "start.xyz", steps=200, frame_every=5)
    with pytest.warns(FlexcalcWarning, match="made by a model, .*differences between models"):
        errors = flexcalc.evaluate(fit, run.frames)
    assert errors.level == "python:GDMLPotential"
    with pytest.warns(FlexcalcWarning, match="made by a model, .*learns its errors"):
        flexcalc.train(run.frames, points=10, validation_points=5, sigma=5.0)
    older = replace(springs(40), provenance=Provenance("path/m.flex"))  # without the hash
    with pytest.warns(FlexcalcWarning, match=r"made by a model, path/m\.flex"):
        flexcalc.train(older, points=10, validation_points=5, sigma=5.0)


@pytest.mark.parametrize("level", ["unknown", "xtb:GFN2-xTB", "python:EMT", "dft:PBE-D4/def2-SVP"])
def test_labels_of_references_are_nothing_to_warn_of(level, fit):
    data = replace(springs(40, seed=2), provenance=Provenance(level))
    silent(flexcalc.train, data, points=10, validation_points=5, sigma=5.0)
    assert silent(flexcalc.evaluate, fit, data).level == (None if level == "unknown" else level)


def test_labels_and_paths_say_which_model_made_them(fit, tmp_path):
    start = Dataset(WATER, GEOMETRY[None])
    found = flexcalc.label(fit.model, start, frames=3, samples="displacement")
    assert found.dataset.provenance.model_sha256 == fit.sha256()
    moved = Dataset(WATER, GEOMETRY[None] + [[[0, 0, 0], [0.2, 0, 0], [0, 0, 0]]])
    path = flexcalc.path(fit.model, start, moved, relax_ends=False, steps=2, relabel=Springs())
    assert path.to_dataset().provenance.model_sha256 == fit.sha256()
    assert path.relabelled.provenance.model_sha256 == ""
    for name in ("path.xyz", "path.npz"):
        flexcalc.write(tmp_path / name, path.to_dataset())
        assert flexcalc.read(tmp_path / name).provenance.model_sha256 == fit.sha256()


def test_labels_of_two_models_are_not_joined(fit):
    from flexcalc.dataset import concatenate

    one, other = (
        replace(springs(3), provenance=Provenance("m.flex", model_sha256=sha)) for sha in "ab"
    )
    with pytest.raises(FileFormatError, match="two models that are both called"):
        concatenate(one, other)
    with pytest.raises(FileFormatError, match="labels of different levels of theory, a and b"):
        Dataset.from_atoms(one.to_atoms() + other.to_atoms())
    assert concatenate(one, one).provenance.model_sha256 == "a"


# Repeated frames


@pytest.mark.data
def test_repeated_frames_are_counted_by_info_and_evaluate(fit, rng):
    data = springs(10, seed=3)
    twice = Dataset.from_atoms(data.to_atoms() + turned(data, rng)[:4].to_atoms())
    assert flexcalc.info(twice).facts["repeated frames"] == 4
    assert flexcalc.info(data).facts["repeated frames"] == 0
    with pytest.warns(FlexcalcWarning, match="4 of 14 frames repeat the geometry of another one"):
        assert flexcalc.evaluate(fit, twice).repeated_frames == 4


@pytest.mark.data
def test_validation_frames_do_not_repeat_training_points_where_others_are_left(rng):
    data = springs(40)
    both = Dataset.from_atoms(data.to_atoms() + turned(data, rng).to_atoms())
    with pytest.warns(FlexcalcWarning, match="40 of 80 frames repeat"):
        fit = flexcalc.train(both, points=20, validation_points=20, sigma=5.0)
    assert fit.validation_frames_trained_on == 0


def test_the_level_of_emt_is_no_model():
    atoms = [flexcalc.Dataset(WATER, GEOMETRY[None]).to_atoms()[0] for _ in range(2)]
    for one in atoms:
        one.rattle(0.05)
        one.calc = EMT()
        one.get_forces()
    assert Dataset.from_atoms(atoms).provenance.columns() == {}
