"""Learning from labels that one has already: they start it, and are not bought again."""

from dataclasses import replace

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import FlexcalcError, InputError
from flexcalc.results.calibration import PURPOSE, RANDOM
from flexcalc.store import FlexcalcWarning
from tests.tasks.test_learn import SHORT, water

FEW = SHORT | {"checks": 0, "crash_test_ns": 0.0}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A learning of 14 labels, in a folder."""
    folder = tmp_path_factory.mktemp("learn") / "before"
    return folder, fx.learn(water(), **FEW | {"budget": 14}, output=folder)


def geometries(data):
    return [frame.tobytes() for frame in data.positions]


def test_a_finished_learning_is_taken_further_by_its_own_labels(before, tmp_path):
    folder, earlier = before
    found = fx.learn(
        water(), **FEW | {"budget": 8}, dataset=folder / "labels.xyz", output=tmp_path / "run"
    )
    assert (found.labels, found.known_labels, found.quarantined) == (22, 14, 0)
    assert [row.labels for row in found.rounds] == [8]
    assert geometries(found.dataset)[:14] == geometries(earlier.dataset)
    assert len(set(geometries(found.dataset))) == 22
    # What was drawn at random stays validation.
    random = (earlier.dataset.tags[PURPOSE] == RANDOM).sum()
    assert found.rounds[0].validation_points == random
    assert found.rounds[0].training_points == 14 - random
    assert "22 labels (14 known before)" in found.summary()
    assert not (tmp_path / "run/round-0/label").exists()
    assert len(fx.read(tmp_path / "run/labels.xyz")) == 22


def test_labels_before_the_first_model_are_bought_as_far_as_they_are_missing(before):
    _, earlier = before
    some = replace(earlier.dataset[:6], tags={})
    found = fx.learn(water(), **FEW | {"budget": 8}, dataset=some)
    assert (found.labels, found.round_count) == (14, 0)
    # A quarter of labels without purpose is drawn for validation.
    drawn = found.dataset.tags[PURPOSE][:6]
    assert sorted(drawn) == ["known"] * 4 + [RANDOM] * 2
    assert len(set(geometries(found.dataset))) == 14


def test_a_learning_from_labels_that_was_interrupted_ends_as_the_undisturbed_one(
    before, tmp_path, monkeypatch
):
    folder, _ = before
    options = FEW | {"budget": 8, "dataset": folder / "labels.xyz"}
    fx.learn(water(), **options, output=tmp_path / "whole")
    place = "flexcalc.tasks.learn.loop.explore"

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fx.learn(water(), **options, output=tmp_path / "run")
    fx.learn(water(), **options, output=tmp_path / "run")
    for name in ("labels.xyz", "rounds.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def of_level(data, level):
    return replace(data, provenance=Provenance(level=level))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda data: of_level(data, "xtb:GFN2-xTB"), "labelled by xtb:GFN2-xTB, not by reference"),
        (lambda data: replace(data, forces=None), "no forces"),
        (lambda data: replace(data, numbers=np.array([8, 1, 6])), "expected"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_anything_is_written(
    change, match, before, tmp_path
):
    _, earlier = before
    with pytest.raises(FlexcalcError, match=match):
        fx.learn(water(), **FEW, dataset=change(earlier.dataset), output=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_labels_of_an_unknown_level_are_taken_as_the_references_with_a_warning(before):
    _, earlier = before
    unknown = of_level(earlier.dataset, "unknown")
    with pytest.warns(FlexcalcWarning, match="does not say what its labels were made by"):
        found = fx.learn(water(), **FEW | {"budget": 1}, dataset=unknown)
    assert found.labels == 15
    assert found.dataset.provenance.level == SHORT["reference"]


def test_the_budget_must_do_for_the_labels_that_are_missing_alone(before):
    _, earlier = before
    few = Dataset(*(getattr(earlier.dataset[:2], name) for name in
                    ("numbers", "positions", "energies", "forces")))  # fmt: skip
    with pytest.raises(InputError, match="first: expected at most budget - checks = 4 - 0 = 4"):
        fx.learn(water(), **FEW | {"budget": 4}, dataset=few)
