"""The report of a training on a small dataset: baselines with weights, and folds."""

import pytest

import flexcalc
from flexcalc.reports import write_report
from tests.systems import springs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train") / "run"
    flexcalc.train(
        springs(40),
        sigmas=(5.0, 10.0),
        symmetry=False,
        baseline=("xtb:GFN2-xTB", "xtb:GFN1-xTB"),
        output=folder,
    )
    return folder


def test_the_weights_of_several_baselines_stand_in_the_report(folder):
    page = write_report(folder).read_text()
    assert "Weights of the baselines" in page
    assert (
        (folder / "tables/baselines.csv").read_text().splitlines()[0].startswith("baseline,weight")
    )
    assert "in the folds of the training points" in page
    assert "on the validation points" not in page


def test_a_training_that_left_no_frames_out_shows_one_of_the_model(folder):
    assert not (folder / "heldout.xyz").exists()
    assert '<div class="molecule">' in write_report(folder).read_text()
    model = folder / "sgdml.flex/model.json"
    model.write_text(model.read_text().replace('"bonding"', '"other"'))
    assert '<div class="molecule">' not in write_report(folder).read_text()
