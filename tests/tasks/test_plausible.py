"""Implausible runs warn, keep the warning in results.json, and end as always; sound ones do not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones

import flexcalc as fx
from flexcalc.errors import FileFormatError, GuardError
from flexcalc.models.bonding import with_bonding
from flexcalc.models.energies import training_energies
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.store import PlausibilityWarning

BENT = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
LOOSE = fx.NEB(images=5, align=True)


class Water(CheckedPotential):
    """Three springs between the atoms of water, and forces that turn it around, from nothing.

    Args:
        bond: rest length of O-H in angstrom.
        swirl: turning force in eV/angstrom^2.
    """

    def __init__(self, bond=0.96, swirl=0.0):
        self.numbers, self.swirl = np.array([8, 1, 1]), swirl
        self.springs = ((0, 1, bond, 20.0), (0, 2, bond, 20.0), (1, 2, 1.58 * bond, 8.0))

    def evaluate(self, positions):
        energies, forces = np.zeros(len(positions)), np.zeros(positions.shape)
        for i, j, rest, stiffness in self.springs:
            apart = positions[:, i] - positions[:, j]
            length = np.linalg.norm(apart, axis=1)
            energies += 0.5 * stiffness * (length - rest) ** 2
            pull = (-stiffness * (length - rest) / length)[:, None] * apart
            forces[:, i] += pull
            forces[:, j] -= pull
        arms = positions - positions.mean(axis=1, keepdims=True)
        return Evaluation(energies, forces + self.swirl * np.cross([0.0, 0, 1], arms))


def water(positions=BENT):
    return Atoms("OH2", positions)


# ---------------------------------------------------------------- dynamics


def test_sound_dynamics_raise_no_warning(recwarn):
    for method in (fx.Langevin(friction_per_ps=20.0), fx.Rescaling(), fx.NVE()):
        run = fx.md(Water(), water(), method=method, steps=400, replicas=4, progress=False)
        assert run.warnings == ()
    assert not [one for one in recwarn if issubclass(one.category, PlausibilityWarning)]


def test_dynamics_that_miss_the_bath_warn_and_results_keep_it(tmp_path):
    with pytest.warns(PlausibilityWarning, match="misses that of the bath, 300 K"):
        run = fx.md(
            Water(swirl=0.1), water(), method=fx.Langevin(friction_per_ps=20.0), steps=600,
            frame_every=5, replicas=8, keep_bonds=False, min_contact=0.0,
            output=tmp_path / "hot", progress=False,
        )  # fmt: skip
    found = json.loads((tmp_path / "hot/results.json").read_text())
    assert found["warnings"] == list(run.warnings)
    assert run.stopped is None
    assert run.warnings[0] in (tmp_path / "hot/report.html").read_text().replace("&#x27;", "'")


# ---------------------------------------------------------------- paths


def test_an_end_that_is_relaxed_to_another_bonding_is_warned_of():
    method = fx.Scan(drive=("angle 1 0 2 to 120",), images=5)
    with pytest.warns(PlausibilityWarning, match="the start was relaxed to another molecule"):
        run = fx.path(Water(bond=1.9), water(), method=method, steps=2, progress=False)
    assert any("O0-H1 broken" in one for one in run.warnings)


def test_ends_in_one_minimum_are_warned_of():
    stretched = BENT + np.array([[0, 0, 0], [0.1, 0, 0], [0, 0, 0]])
    with pytest.warns(PlausibilityWarning, match="both ends are the same minimum"):
        run = fx.path(
            Water(), water(), water(stretched), method=LOOSE, relax_ends=False, steps=3,
            progress=False,
        )  # fmt: skip
    assert len(run.warnings) == 1


class Slide(CheckedPotential):
    """A surface of r01 and r02 that falls without an end beside the line r02 = 3."""

    numbers = np.array([6, 7, 8])

    def evaluate(self, positions):
        energies, forces = np.zeros(len(positions)), np.zeros(positions.shape)
        for atom, slope in ((1, lambda x: 0.0 * x), (2, lambda x: -100.0 * x - 1.0)):
            apart = positions[:, atom] - positions[:, 0]
            length = np.linalg.norm(apart, axis=1)
            pull = (-slope(length - 3.0) / length)[:, None] * apart
            forces[:, atom] += pull
            forces[:, 0] -= pull
        off = np.linalg.norm(positions[:, 2] - positions[:, 0], axis=1) - 3.0
        return Evaluation(energies - 50.0 * off**2 - off, forces)


def corner(x):
    return Atoms("CNO", [[0.0, 0, 0], [3 + x, 0, 0], [0, 3, 0]])


def test_a_search_that_diverges_stops_and_its_best_path_is_kept():
    with pytest.warns(PlausibilityWarning, match="the search of the path has diverged"):
        run = fx.path(
            Slide(), corner(-1.0), corner(1.0), method=fx.NEB(images=5, interpolation="linear"),
            relax_ends=False, steps=200, progress=False,
        )  # fmt: skip
    assert not run.converged
    assert run.steps < 100
    assert abs(run.barrier_kcal_mol) < 50


def test_a_path_through_a_collision_is_no_result():
    places = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.4
    ends = (Atoms("Ar4", places), Atoms("Ar4", places[[1, 0, 2, 3]]))
    calculator = LennardJones(sigma=1.0, epsilon=1.0, rc=20.0)
    method = fx.NEB(images=7, interpolation="linear")
    with pytest.raises(GuardError, match="step 0: the search of the path has diverged, image 3"):
        fx.path(calculator, *ends, method=method, progress=False)


# ---------------------------------------------------------------- training energies


class Model:
    def __init__(self, **facts):
        self.numbers, self.facts, self.members = np.array([8, 1, 1]), facts, ()


def test_a_model_knows_its_training_energies_and_a_committee_those_of_all():
    frames = BENT + np.zeros((3, 1, 1))
    data = fx.Dataset(np.array([8, 1, 1]), frames, np.array([-1.0, -3.0, -2.0]))
    one, other = with_bonding(Model(), data), Model()
    assert training_energies(one)["lowest"] == -3.0
    assert training_energies(one)["highest"] == -1.0
    assert training_energies(other) is None
    assert training_energies(Water()) is None
    both = Model()
    both.members = (one, with_bonding(Model(), data[:1]))
    assert training_energies(both)["mean"] == pytest.approx(-1.5)
    both.members = (one, other)
    assert training_energies(both) is None
    with pytest.raises(FileFormatError, match="expected lowest, highest, mean and spread"):
        training_energies(Model(training_energies_eV={"lowest": "deep"}))
