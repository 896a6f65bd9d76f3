"""A learning that explores while labels are calculated: the same choices, whatever the timing."""

import threading
import time

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.tasks.learn import loop
from flexcalc.tasks.learn.exploration import DEVIATION
from flexcalc.tasks.learn.job import LearnJob
from tests.tasks.test_learn import SHORT, water

AHEAD = SHORT | {"checks": 0, "crash_test_ns": 0.0, "overlap": True}
FILES = ("labels.xyz", "rounds.json", "calibration.json")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn") / "whole"
    return folder, fx.learn(water(), **AHEAD, output=folder)


def same(folder, other):
    return all((folder / one).read_bytes() == (other / one).read_bytes() for one in FILES)


def test_a_round_explores_on_the_model_of_the_round_before(whole):
    folder, found = whole
    assert [row.labels for row in found.rounds] == [22, 30, 32]
    assert found.labels == 32
    for number, model in ((1, 1), (2, 1), (3, 2)):
        explored = fx.read(folder / f"round-{number}/explored.xyz")
        committee = fx.load(folder / f"round-{model}/model.flex")
        rms = np.sqrt((committee(explored.positions).deviation ** 2).mean(axis=1))
        np.testing.assert_allclose(explored.tags[DEVIATION], rms, rtol=1e-6)
    assert not (folder / "round-4").exists()  # the budget is spent before


def test_it_explores_while_labels_are_calculated_and_chooses_the_same_whoever_is_faster(
    whole, tmp_path, monkeypatch
):
    exploring = threading.Event()
    labels, explore = LearnJob.labels, loop.explore

    def slow_labels(self, geometries, store):
        if (tmp_path / "run/round-1/chosen.xyz").exists():  # not the first ones
            assert exploring.wait(60)
            time.sleep(0.5)
        return labels(self, geometries, store)

    def noted(*given):
        exploring.set()
        return explore(*given)

    with monkeypatch.context() as patched:
        patched.setattr(LearnJob, "labels", slow_labels)
        patched.setattr(loop, "explore", noted)
        fx.learn(water(), **AHEAD, output=tmp_path / "run")

    def slow_explore(*given):
        time.sleep(1)
        return explore(*given)

    monkeypatch.setattr(loop, "explore", slow_explore)
    fx.learn(water(), **AHEAD, output=tmp_path / "other")
    folder, _ = whole
    assert same(folder, tmp_path / "run")
    assert same(folder, tmp_path / "other")


@pytest.mark.data
@pytest.mark.parametrize("calls", [2, 3])
@pytest.mark.parametrize("where", ["labels", "explore"])
def test_one_that_was_interrupted_while_it_did_both_ends_as_the_undisturbed_one(
    where, calls, whole, tmp_path, monkeypatch
):
    """The second labels are those of the first round, while the second one is explored."""
    owner = LearnJob if where == "labels" else loop
    original, counted = getattr(owner, where), []

    def interrupted(*given):
        counted.append(1)
        if len(counted) == calls:
            raise KeyboardInterrupt
        return original(*given)

    with monkeypatch.context() as patched:
        patched.setattr(owner, where, interrupted)
        with pytest.raises(KeyboardInterrupt):
            fx.learn(water(), **AHEAD, output=tmp_path / "run")
    fx.learn(water(), **AHEAD, output=tmp_path / "run")
    assert same(whole[0], tmp_path / "run")
