"""Paths and saddles on an expensive reference, with a model that is trained on the way."""

from __future__ import annotations

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms

import flexcalc as fx
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, InputError
from flexcalc.files import read
from flexcalc.models.family import TrainingWarning
from flexcalc.potential import CheckedPotential
from flexcalc.registry import load
from flexcalc.tasks.path import assisted as assisted_module
from tests.tasks.test_path_and_saddle import ADDRESS, DOWN, NUMBERS, REFERENCE, UP

ASKED = {"images": 5, "saddle": True, "saddle_force_eV_A": 0.002, "progress": False}


class Expensive(CheckedPotential):
    """The stiffer springs, which count their calls and can be interrupted at one of them."""

    def __init__(self, interrupted_at=None):
        self.numbers, self.inner = NUMBERS, load(REFERENCE, Atoms(NUMBERS))
        self.asked, self.interrupted_at = [], interrupted_at

    def evaluate(self, positions):
        self.asked += list(positions)
        if self.interrupted_at is not None and len(self.asked) >= self.interrupted_at:
            raise KeyboardInterrupt
        return self.inner(positions)


@pytest.fixture(scope="module")
def alone():
    """The search on the reference alone."""
    return fx.path(Expensive(), UP, DOWN, **ASKED)


@pytest.fixture(scope="module")
def assisted():
    """The same search with the help of the softer springs, and the reference with its calls."""
    reference = Expensive()
    return fx.path(reference, UP, DOWN, assist=ADDRESS, **ASKED), reference


def test_the_saddle_is_that_of_the_reference(alone, assisted):
    found, reference = assisted
    assert found.saddle.first_order
    assert found.saddle.barrier_reference_kcal_mol == pytest.approx(
        alone.saddle.barrier_kcal_mol, abs=0.01
    )
    forces = reference.inner(found.saddle.to_dataset().positions).forces
    assert np.sqrt((forces**2).sum(axis=2)).max() < ASKED["saddle_force_eV_A"]
    assert found.saddle.reference_force_eV_A < ASKED["saddle_force_eV_A"]
    assert (found.saddle.irc_start_is, found.saddle.irc_end_is) == ("start", "end")


def test_it_calls_the_reference_less_often_and_counts_both_apart(alone, assisted):
    found, reference = assisted
    direct = alone.all_evaluations.total
    assert found.evaluations.reference == len(reference.asked) < direct / 3
    assert found.all_evaluations.total > len(reference.asked)
    labels = found.store.get("labels.xyz")
    assert np.array_equal(labels.positions, np.array(reference.asked))
    assert np.array_equal(labels.energies, reference.inner(labels.positions).energies)


def test_users_are_not_told_that_a_model_of_three_labels_is_one(monkeypatch, recwarn):
    """The reference judges what it finds."""
    inner, loud = assisted_module.CORRECTION, SimpleNamespace(seen=0)

    def fit(*args):
        loud.seen += 1
        warnings.warn("too few points", TrainingWarning, stacklevel=1)
        return inner.fit(*args)

    monkeypatch.setattr(assisted_module, "CORRECTION", SimpleNamespace(fit=fit))
    fx.path(Expensive(), UP, DOWN, assist=ADDRESS, **ASKED)
    assert loud.seen > 1
    assert not [one for one in recwarn if issubclass(one.category, TrainingWarning)]


def test_an_interrupted_search_calculates_no_label_twice(tmp_path, assisted):
    found, undisturbed = assisted
    for name, atoms in (("up", UP), ("down", DOWN)):
        fx.write(f"{tmp_path}/{name}.xyz", Dataset.from_atoms([atoms]))
    ends = tmp_path / "up.xyz", tmp_path / "down.xyz"
    options = {**ASKED, "assist": ADDRESS, "output": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        fx.path(Expensive(interrupted_at=4), *ends, **options)
    kept = read(tmp_path / "out/labels.xyz")
    assert len(kept) == 3
    rest = Expensive()
    again = fx.path(rest, *ends, **options)
    assert again.saddle.first_order
    assert again.evaluations.reference == 3 + len(rest.asked)
    asked = np.array([*kept.positions, *rest.asked])
    assert asked == pytest.approx(np.array(undisturbed.asked), abs=1e-4)
    assert again.saddle.barrier_reference_kcal_mol == pytest.approx(
        found.saddle.barrier_reference_kcal_mol, abs=1e-6
    )


def test_a_search_that_runs_out_of_rounds_claims_no_saddle():
    found = fx.path(Expensive(), UP, DOWN, assist=ADDRESS, assist_rounds=1, **ASKED)
    assert not found.saddle.first_order
    assert not found.saddle.converged
    assert found.saddle.first_rates is None


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"saddle": False}, "expected saddle = true"),
        ({"relabel": REFERENCE}, "relabel: expected none with assist"),
        ({"refine": 2}, "refine: expected none with assist"),
    ],
)
def test_options_that_do_not_go_with_it_are_refused(options, message, tmp_path):
    with pytest.raises((ConfigError, InputError), match=message):
        fx.path(
            REFERENCE, UP, DOWN, assist=ADDRESS, output=tmp_path / "out", **{**ASKED, **options}
        )
    assert not os.path.exists(tmp_path / "out")


def test_the_command_line_has_it(tmp_path, run, assisted):
    for name, atoms in (("up", UP), ("down", DOWN)):
        fx.write(f"{tmp_path}/{name}.xyz", Dataset.from_atoms([atoms]))
    words = ["--saddle", "--images", "5", "--saddle-force-eV-A", "0.002", "--assist", ADDRESS]
    ends = [str(tmp_path / "up.xyz"), str(tmp_path / "down.xyz")]
    assert run("path", REFERENCE, *ends, *words, "-o", str(tmp_path / "out")) == 0
    assert len(read(tmp_path / "out/labels.xyz")) == assisted[0].evaluations.reference
