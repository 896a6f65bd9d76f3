"""Choosing hyperparameters on validation frames."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.models.family import TrainedPotential, TrainingWarning
from flexcalc.models.gdml import SGDML
from flexcalc.potential import Evaluation
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.tuning import Search, Trial, fit_best
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

    def content(self):
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
    choice = fit_best(Scripted(script=script), DATA, DATA, np.random.default_rng(0))
    potential = choice.potential
    errors = potential.force / KCAL_MOL, potential.energy / KCAL_MOL
    assert errors == pytest.approx(script[choice.index])
    assert choice.family.width == choice.index
    return choice.index, choice.table


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
    choice = fit_best(SGDML(sigma=10.0), water, None, rng)
    assert choice.potential.sigma == 10.0
    assert [row["sigma"] for row in choice.table] == [10.0]


def test_the_grid_of_sgdml_is_searched(ethanol, rng):
    """The best of the grid, found by sharing the preparation, is the one fitted alone."""
    family = SGDML(sigmas=(40.0, 1.0, 80.0, 10.0))
    train, validation = ethanol[:40], ethanol[40:]
    notes = []
    choice = fit_best(
        family, train, validation, rng, lambda done, total, note: notes.append((done, total, note))
    )
    potential, table = choice.potential, choice.table
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


# ---------------------------------------------------------------- beyond the edge


@dataclass(frozen=True, kw_only=True)
class Slope(Scripted):
    """A grid over a line on which errors fall towards `valley`, and which goes on both ways."""

    script: tuple[tuple[float, float], ...] = ()
    grid: tuple[int, ...] = (0, 1, 2, 3)
    valley: int = 0
    ends_at: int = 100

    def candidates(self):
        return [replace(self, width=width) for width in self.grid]

    def extend_grid(self, best):
        outwards = {self.grid[0]: -1, self.grid[-1]: 1}
        if self.grid[0] < best.width < self.grid[-1] or abs(best.width) >= self.ends_at:
            return None
        step = outwards.get(best.width, -1 if best.width < self.grid[0] else 1)
        return replace(best, width=best.width + step)

    def fit(self, train, validation, rng, progress=None):
        return Constant(1.0 + abs(self.width - self.valley), 1.0)

    @classmethod
    def load(cls, folder):
        raise NotImplementedError


def tried(family):
    choice = fit_best(family, DATA, DATA, np.random.default_rng(0))
    return choice.family.width, [row["width"] for row in choice.table]


@pytest.mark.filterwarnings("error::flexcalc.models.family.TrainingWarning")
def test_a_grid_that_can_grow_goes_on_until_the_best_lies_inside():
    """One candidate beyond the best shows that it is the best; no warning is left to give."""
    assert tried(Slope(valley=5)) == (5, [0, 1, 2, 3, 4, 5, 6])
    assert tried(Slope(valley=-2)) == (-2, [0, 1, 2, -1, -2, -3])
    assert tried(Slope(valley=2)) == (2, [0, 1, 2, 3])


def test_a_grid_that_would_grow_for_ever_is_left_with_a_warning():
    with pytest.warns(TrainingWarning, match=r"best of 8 candidates, width = 7, is at the edge"):
        assert tried(Slope(valley=50)) == (7, [0, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.filterwarnings("error::flexcalc.models.family.TrainingWarning")
def test_the_outermost_candidate_is_no_edge_once_the_one_beyond_is_worse():
    assert tried(Slope(valley=3)) == (3, [0, 1, 2, 3, 4])


def test_sgdml_goes_on_in_the_proportions_of_its_grid():
    family = SGDML()
    first, *_, last = family.candidates()
    lower, upper = [], []
    for candidate, found in ((first, lower), (last, upper)):
        for _ in range(2):
            candidate = family.extend_grid(candidate)
            found.append(candidate.sigma)
    assert lower == [2.5, 1.25]
    assert upper == [150.0, 225.0]
    assert family.extend_grid(family.candidates()[3]) is None


@pytest.mark.parametrize("family", [SGDML(sigma=5.0), SGDML(sigmas=(5.0, 10.0))])
def test_length_scales_that_were_asked_for_are_not_left(family):
    assert family.extend_grid(family.candidates()[0]) is None


# ---------------------------------------------------------------- ask and tell


def test_a_search_asks_for_candidates_and_is_told_their_errors():
    """Nothing is trained: errors that fall to the edge make it go on beyond it."""
    family = Slope(valley=3)
    search = Search(family)
    asked = []
    while (candidate := search.ask()) is not None:
        assert search.ask() == candidate  # asking changes nothing
        asked.append(candidate.width)
        row = {"force_rmse_kcal_mol_A": 1.0 + abs(candidate.width - family.valley)}
        search.tell(Trial(candidate, search.hyperparameters(candidate), row, Constant(1.0, 1.0)))
    assert asked == [0, 1, 2, 3, 4]
    assert search.trials[search.best].family.width == 3
    assert not search.is_at_edge(search.trials[search.best].family)


# ---------------------------------------------------------------- two dimensions


@dataclass(frozen=True, kw_only=True)
class Table(Scripted):
    """Errors by row and column; the columns are swept within a row."""

    script: tuple[tuple[float, ...], ...] = ()
    height: int = 0

    def candidates(self):
        return [
            replace(self, height=height, width=width)
            for height, row in enumerate(self.script)
            for width in range(len(row))
        ]

    def fit(self, train, validation, rng, progress=None):
        return Constant(self.script[self.height][self.width], 1.0)


def test_the_early_stop_holds_within_a_row_of_the_table():
    """A first column that is worse than the row before ends nothing, nor does a row cut short."""
    script = ((1.0, 2.0, 3.0, 0.1), (4.0, 2.0, 0.5, 3.0), (5.0, 6.0, 7.0, 0.1))
    choice = fit_best(Table(script=script), DATA, DATA, np.random.default_rng(0))
    places = [(row["height"], row["width"]) for row in choice.table]
    assert places == [
        *((0, n) for n in range(3)),
        *((1, n) for n in range(4)),
        *((2, n) for n in range(3)),
    ]
    assert (choice.family.height, choice.family.width) == (1, 2)


def test_rows_whose_best_keep_getting_worse_end_the_search():
    """By the rule that holds within a row, and a shallow rise ends nothing here either."""
    steep = ((2.0, 3.0), (1.0, 0.9), (1.4, 8.0), (7.0, 1.5), (0.1, 0.1))
    shallow = ((2.0, 3.0), (1.0, 0.9), (0.94, 8.0), (7.0, 0.98), (0.1, 0.1))
    for script, rows, best in ((steep, 4, (1, 1)), (shallow, 5, (4, 0))):
        choice = fit_best(Table(script=script), DATA, DATA, np.random.default_rng(0))
        assert [row["height"] for row in choice.table] == [n for n in range(rows) for _ in "ab"]
        assert (choice.family.height, choice.family.width) == best


@pytest.mark.parametrize("column", [0, 2])
def test_the_edge_is_that_of_a_row(column):
    script = ((3.0, 3.0, 3.0), tuple(1.0 + abs(column - n) for n in range(3)), (3.0, 3.0, 3.0))
    with pytest.warns(TrainingWarning, match=f"width = {column}, height = 1, is at the edge"):
        fit_best(Table(script=script), DATA, DATA, np.random.default_rng(0))


def test_sgdml_offers_each_regularization_with_each_length_scale(ethanol, rng):
    family = SGDML(sigmas=(20.0, 10.0), regularizations=(1e-3, 1e-12))
    choice = fit_best(family, ethanol[:30], ethanol[30:], rng)
    offered = [(row["sigma"], row["regularization"]) for row in choice.table]
    assert offered == [(10.0, 1e-12), (10.0, 1e-3), (20.0, 1e-12), (20.0, 1e-3)]
    assert "regularizations" not in choice.potential.facts["hyperparameters"]
    alone = choice.family.fit(ethanol[:30], ethanol[30:], rng)
    frames = ethanol[30:].positions
    assert np.array_equal(alone(frames).forces, choice.potential(frames).forces)


@pytest.mark.parametrize("family", [SGDML(), SGDML(regularizations=(1e-9, 1e-3), sigma=2.0)])
def test_a_candidate_is_the_one_candidate_of_its_own(family):
    for candidate in family.candidates():
        assert list(candidate.candidates()) == [candidate]


# ---------------------------------------------------------------- memory


class Counting(SGDML):
    """sGDML that counts its trainings; models for the diagnosis of labels are none."""

    trainings: ClassVar[list] = []

    def _finished(self, *arguments):
        self.trainings.append((self.sigma, self.regularization))
        return super()._finished(*arguments)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.data
@pytest.mark.parametrize("finished", [0, 1, 3, 4])
@pytest.mark.parametrize(
    "grid",
    [
        {"sigmas": (5.0, 10.0, 20.0, 30.0)},
        # The second is solved with the factor of the first, the third needs one of its own.
        {"sigma": 20.0, "regularizations": (1e-7, 1e-12, 1e-9, 1.1e-12)},
    ],
)
@pytest.mark.filterwarnings("ignore::flexcalc.models.family.TrainingWarning")
def test_a_search_that_was_killed_goes_on_after_the_candidates_it_has(
    grid, finished, ethanol, tmp_path, monkeypatch
):
    """The same table and the same model to the byte, with no candidate trained twice."""
    family = Counting(**grid)
    train, validation = ethanol[:30], ethanol[30:60]
    whole = fit_best(family, train, validation, np.random.default_rng(3))

    def search():
        kept, rng = Checkpoints(tmp_path / "n"), np.random.default_rng(3)
        return fit_best(family, train, validation, rng, checkpoints=kept)

    def killed(self, step, content, potential=None):
        if len(list(self.folder.glob("*.json"))) == finished:
            raise Killed
        remember(self, step, content, potential)

    remember = Checkpoints.save
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", killed)
        with pytest.raises(Killed) if finished < 4 else nullcontext():
            fit_best(
                family,
                train,
                validation,
                np.random.default_rng(3),
                checkpoints=Checkpoints(tmp_path / "n"),
            )
    Counting.trainings.clear()
    resumed = search()
    offered = [(one.sigma, one.regularization) for one in family.candidates()]
    assert Counting.trainings == offered[finished:]
    assert resumed.table == whole.table
    for name, choice in (("whole", whole), ("resumed", resumed)):
        choice.potential.save(tmp_path / f"{name}.flex")
    for name in ("model.json", "weights.safetensors"):
        one, other = (
            (tmp_path / f"{which}.flex" / name).read_bytes() for which in ("whole", "resumed")
        )
        assert one == other
