"""Choosing hyperparameters on validation frames."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import TrainedPotential, TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.potential import Evaluation
from flexcalc.training.tuning import fit_best
from flexcalc.units import KCAL_MOL

DATA = Dataset(np.array([1, 1]), np.zeros((4, 2, 3)), np.zeros(4), np.zeros((4, 2, 3)))


class Constant(TrainedPotential):
    """Everywhere the same force and energy: errors as ordered, in kcal/mol(/A)."""

    def __init__(self, force, energy):
        self.numbers, self.facts = DATA.numbers, {}
        self.force, self.energy = force * KCAL_MOL, energy * KCAL_MOL

    def evaluate(self, positions):
        return Evaluation(
            np.full(len(positions), self.energy), np.full(positions.shape, self.force)
        )

    def save(self, folder):
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Scripted:
    """A family whose candidates have the errors of a script."""

    name: ClassVar[str] = "scripted"
    script: tuple[tuple[float, float], ...]
    width: int = -1

    def candidates(self):
        return [replace(self, width=width) for width in range(len(self.script))]

    def fit(self, train, validation, rng, progress=None):
        return Constant(*self.script[self.width])


def choose(*script):
    potential, table = fit_best(Scripted(script=script), DATA, DATA, np.random.default_rng(0))
    return script.index((potential.force / KCAL_MOL, potential.energy / KCAL_MOL)), table


def test_the_lowest_force_error_wins():
    best, table = choose((3.0, 1.0), (1.0, 2.0), (2.0, 0.5))
    assert best == 1
    assert [row["width"] for row in table] == [0, 1, 2]
    assert [row["force_rmse_kcal_mol_A"] for row in table] == pytest.approx([3, 1, 2])
    assert [row["energy_rmse_kcal_mol"] for row in table] == pytest.approx([1, 2, 0.5])


def test_among_equally_good_forces_the_lowest_energy_error_wins():
    """Within 0.1 kcal/mol/A of the best, and not beyond."""
    assert choose((3.0, 9.0), (1.0, 2.0), (1.05, 1.0), (1.11, 0.5), (3.0, 0.0))[0] == 2


def test_the_rest_is_not_tried_once_errors_keep_rising():
    best, table = choose((2.0, 1.0), (1.0, 1.0), (1.5, 1.0), (2.0, 1.0), (0.5, 1.0))
    assert best == 1
    assert len(table) == 4


def test_a_shallow_rise_does_not_end_the_search():
    best, table = choose((2.0, 1.0), (1.0, 1.0), (1.04, 1.0), (1.08, 1.0), (0.5, 1.0), (1.0, 1.0))
    assert best == 4
    assert len(table) == 6


@pytest.mark.parametrize("script", [((1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (4.0, 1.0))])
def test_a_best_candidate_at_the_edge_earns_a_warning(script):
    for errors in (script, script[::-1]):
        with pytest.warns(TrainingWarning, match="at the edge"):
            choose(*errors)


def test_choosing_needs_validation_frames():
    for nothing in (None, DATA[:0]):
        with pytest.raises(InputError, match="no validation frames"):
            fit_best(Scripted(script=((1.0, 1.0),) * 2), DATA, nothing, np.random.default_rng(0))


def test_a_family_with_everything_set_needs_none(water, rng):
    potential, table = fit_best(SGDML(sigma=10.0), water, None, rng)
    assert potential.sigma == 10.0
    assert [row["sigma"] for row in table] == [10.0]


def test_the_grid_of_sgdml_is_searched(ethanol, rng):
    """The best of the grid, found by sharing the preparation, is the one fitted alone."""
    family = SGDML(sigmas=(40.0, 1.0, 80.0, 10.0))
    train, validation = ethanol[:40], ethanol[40:]
    notes = []
    potential, table = fit_best(
        family, train, validation, rng, lambda done, total, note: notes.append((done, total, note))
    )
    sigmas = [row["sigma"] for row in table]
    assert sigmas == [1.0, 10.0, 40.0, 80.0][: len(sigmas)]
    assert all(set(row) == {"sigma", *row} and len(row) == 3 for row in table)
    alone = replace(family, sigma=potential.sigma).fit(train, validation, rng)
    frames = validation.positions
    assert np.array_equal(alone(frames).forces, potential(frames).forces)
    best = min(row["force_rmse_kcal_mol_A"] for row in table)
    mine = table[sigmas.index(potential.sigma)]
    assert mine["force_rmse_kcal_mol_A"] <= best + 0.1
    assert notes[-1][:2] == (40 * len(table), 160)
    assert "force RMSE" in notes[-1][2]
