"""The verdict on a metadynamics run, from made-up walks whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.analysis.freeenergy import offsets, surface
from flexcalc.analysis.study import study
from flexcalc.analysis.transitions import basins, judge, largest_difference
from flexcalc.files.plumed import Colvar, HillList
from flexcalc.methods.bias import Axis
from flexcalc.units import KB, KCAL_MOL

KT = KB * 300.0
AXES = (Axis(-2.0, 2.0, 81),)
DEPTHS = 6.0, 5.0


def walk(route, rng, lag=0.0, stay=400, pass_by=40):
    """A walker that stays about the places of a route in turn.

    On its way between places its energy depends, by half of `lag` in kcal/mol up or down, on
    where it comes from.
    """
    values, energies = [], []
    for n, place in enumerate(route):
        values.append(place + 0.05 * rng.standard_normal(stay))
        energies.append(rng.standard_normal(stay))
        if n + 1 < len(route):
            values.append(np.linspace(place, route[n + 1], pass_by))
            energies.append(rng.standard_normal(pass_by) - np.sign(place) * lag / 2)
    return np.concatenate(values), np.concatenate(energies) * KCAL_MOL


def run_of(routes, rng, lag=0.0, settled=True):
    """Samples of walkers on routes, and hills that make two wells of 6 and 5 kcal/mol."""
    walks = [walk(route, rng, lag) for route in routes]
    length = min(len(values) for values, _ in walks)
    walks = [(values[:length], energies[:length]) for values, energies in walks]
    nothing = np.zeros(length * len(walks))
    colvar = Colvar(
        np.tile(10.0 * np.arange(length), len(walks)),
        np.concatenate([values for values, _ in walks])[:, None],
        nothing,
        nothing,
        np.concatenate([energies for _, energies in walks]),
        nothing + 300.0,
        np.repeat(np.arange(len(walks)), length),
    )
    last = 10.0 * (length - 1)
    when = np.array([1.0, 1.0, last]) if settled else np.array([1.0, last, last])
    heights = np.array([*DEPTHS, 0.0]) * KCAL_MOL
    hills = HillList(
        when, np.array([[-1.0], [1.0], [0.0]]), np.full((3, 1), 0.3), heights, np.zeros(3), None
    )
    return colvar, hills


def verdict_on(*args, **options):
    return judge(*run_of(*args, **options), AXES, 300.0)[0]


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_walkers_that_go_back_and_forth_are_driven(rng):
    verdict = verdict_on([[-1, 1, -1, 1, -1], [1, -1, 1, -1, 1]], rng)
    assert verdict.word == "driven"
    assert verdict.basins == 2
    assert verdict.transitions == (4, 4)
    assert verdict.round_trips == (2, 2)
    assert verdict.longest_stay < 0.3
    assert verdict.drift_kcal_mol < 0.01


def test_walkers_that_never_leave_made_no_transition(rng):
    verdict = verdict_on([[-1, -1], [-1, -1]], rng)
    assert (verdict.word, verdict.transitions, verdict.longest_stay) == ("no transition", (0, 0), 1)


def test_walkers_that_never_come_back_went_one_way(rng):
    verdict = verdict_on([[-1, 1], [-1, 1]], rng)
    assert (verdict.word, verdict.round_trips) == ("one-way", (0, 0))
    assert "no walker came back" in verdict.line


def test_a_few_round_trips_are_too_few(rng):
    assert "fewer than 4 round trips" in verdict_on([[-1, 1, -1]], rng).line


def test_an_energy_that_remembers_where_a_walker_came_from_is_hysteresis(rng):
    verdict = verdict_on([[-1, 1] * 10, [1, -1] * 10], rng, lag=4.0)
    assert verdict.word == "not converged"
    # Basin 1 is the deeper one, at -1; passers-by from there have their energies raised by 2.
    assert abs(verdict.hysteresis_kcal_mol) == pytest.approx(
        4.0, abs=4 * verdict.hysteresis_error_kcal_mol
    )
    assert "hysteresis" in verdict.line


def test_the_error_of_the_hysteresis_knows_that_a_passage_is_one_sample(rng):
    """A chance that all of a passage share: the spread over made-up runs is the error told."""

    def run_with_chances():
        colvar, hills = run_of([[-1, 1] * 10, [1, -1] * 10], rng)
        chances = np.repeat(rng.standard_normal(len(colvar.energies) // 440 + 1), 440)
        energies = colvar.energies + chances[: len(colvar.energies)] * KCAL_MOL
        return judge(replace(colvar, energies=energies), hills, AXES, 300.0)[0]

    runs = [run_with_chances() for _ in range(60)]
    spread = np.std([run.hysteresis_kcal_mol for run in runs])
    told = np.median([run.hysteresis_error_kcal_mol for run in runs])
    assert 0.6 < told / spread < 1.6


def test_a_surface_that_still_grows_is_not_converged(rng):
    verdict = verdict_on([[-1, 1, -1, 1, -1], [1, -1, 1, -1, 1]], rng, settled=False)
    assert verdict.word == "not converged"
    assert verdict.drift_kcal_mol == pytest.approx(DEPTHS[1] / 2, rel=0.01)


def test_basins_are_the_wells_that_are_deep_enough(rng):
    _, hills = run_of([[-1, 1]], rng)
    free = surface(hills, AXES)
    found = basins(free, AXES, 300.0)
    assert [AXES[0].points[one] for one in found.minima] == pytest.approx([-1, 1], abs=0.05)
    depth = found.energies(free, 300.0)
    # Two parabolas of like width: their populations differ by nearly their depths alone.
    assert (depth[1] - depth[0]) / KCAL_MOL == pytest.approx(1.0, abs=0.15)
    assert len(basins(free * 0.05, AXES, 300.0)) == 0


def test_a_run_with_hardly_a_bias_is_studied_all_the_same(rng):
    """One low hill digs no basin; there is a surface and a verdict, and no figure of basins."""
    colvar, hills = run_of([[-1, -1]], rng)
    low = replace(hills, heights=hills.heights * 0.01)
    found = study(colvar, low, AXES, 300.0)
    assert len(found.basins) == 0
    assert found.verdict.word == "no transition"
    assert found.basin_differences() == (None, None, None)


def test_the_offset_of_a_filled_box_is_its_mean_height():
    """One even bias V all over: c(t) = V whatever the tempering, eq. 12 of the paper."""
    axis = (Axis(-180.0, 180.0, 72, True),)
    centres = np.linspace(-180, 175, 72)[:, None]
    hills = HillList(
        np.ones(72), centres, np.full((72, 1), 20.0), np.full(72, 0.01), np.zeros(72), 5.0
    )
    _, c = offsets(hills, axis, 300.0)
    height = 0.01 * np.sqrt(2 * np.pi) * 20.0 / 5.0
    assert c == pytest.approx([0.0, height], rel=1e-6)


def test_a_constant_between_surfaces_does_not_count(rng):
    one = rng.random(50)
    assert largest_difference(one + 3.0, one) == pytest.approx(0.0, abs=1e-9)
