"""Targets of a learning for whole runs and barriers: what is measured, and what is said of it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.config.learn import Learn
from flexcalc.dataset import Dataset
from flexcalc.potential import Evaluation
from flexcalc.results.calibration import BAND, PURPOSE, SCAN
from flexcalc.results.learning import verdict_of
from flexcalc.results.targets import Targets
from flexcalc.store import Store
from flexcalc.tasks.learn import loop
from flexcalc.tasks.learn.bands import TOP
from flexcalc.tasks.learn.exploration import DEVIATION, Explored
from flexcalc.tasks.learn.judgement import barrier_error, by_temperature
from flexcalc.units import KCAL_MOL
from tests.systems import GEOMETRY, WATER
from tests.tasks.test_learn import SHORT, judged, water

ERRORS = {"force_kcal_mol_A": 1.0, "energy_kcal_mol": 0.5}
"""Which the round of `judged` holds."""


@pytest.mark.parametrize(
    ("targets", "found", "held"),
    [
        ({}, {}, True),
        ({"force_kcal_mol_A": 0.7}, {}, False),
        ({"energy_kcal_mol": 0.1}, {}, False),
        ({"stops_per_ns": 10.0}, {"stops_per_ns": 10.0}, True),
        ({"stops_per_ns": 10.0}, {"stops_per_ns": 10.1}, False),
        ({"stops_per_ns": 10.0}, {}, False),
        ({"barrier_kcal_mol": 0.3}, {"barrier_error_kcal_mol": 0.3}, True),
        ({"barrier_kcal_mol": 0.3}, {"barrier_error_kcal_mol": 0.31}, False),
        ({"barrier_kcal_mol": 0.3}, {}, False),
    ],
)
def test_a_round_holds_what_is_asked_for_and_is_known(targets, found, held):
    row = replace(judged((8, 8, 8)), **found)
    assert Targets(**ERRORS | targets).held(row) == held


def test_the_verdict_names_targets_for_runs_and_barriers_as_held_or_not():
    row = replace(judged((8, 8, 7)), stops_per_ns=31.2, barrier_error_kcal_mol=0.12)
    targets = Targets(**ERRORS, stops_per_ns=20.0, barrier_kcal_mol=0.3)
    said = verdict_of(row, 2.0, reached=False, targets=targets)
    assert said == (
        "DO NOT TRUST IT YET: its rounds have not held all targets for long enough; of its "
        "replicas 1 of 8 at 800 K ended early; in its last round replicas ended early: 31 per ns "
        "(NOT below the target, 20) and error of barriers: 0.12 kcal/mol (target 0.3)"
    )
    unknown = replace(row, barrier_error_kcal_mol=None)
    assert "error of barriers: NOT KNOWN (target 0.3 kcal/mol)" in targets.verdict(unknown)
    assert Targets(**ERRORS).verdict(row) == ""


def test_replicas_that_end_early_are_counted_per_time_of_those_that_are_not_driven():
    frames = Dataset(np.array(WATER), GEOMETRY[None])
    explored = Explored(
        frames,
        ends=("", "unsure", "contact", "unsure"),
        temperatures_K=np.array([300.0, 300.0, 500.0, 500.0]),
        driven=np.array([False, False, False, True]),
        times_ps=np.array([2.0, 0.5, 1.5, 0.25]),
    )
    found = by_temperature(explored)
    assert found["explored_ns"] == pytest.approx(4e-3)
    assert found["stops_per_ns"] == pytest.approx(2 / 4e-3)
    assert found["complete_by_temperature"] == (1, 0)
    assert by_temperature(replace(explored, driven=np.ones(4, bool)))["stops_per_ns"] is None


def frames_at(energies, **tags):
    """Frames with energies in eV, and positions that tell them apart."""
    count = len(energies)
    positions = np.asarray(GEOMETRY)[None] + 0.01 * np.arange(count)[:, None, None]
    forces = np.zeros((count, 3, 3))
    return Dataset(np.array(WATER), positions, np.array(energies, float), forces, tags)


def test_the_error_of_barriers_is_that_of_tops_above_the_lowest_labelled_geometry():
    known = frames_at([0.5, 0.0, 0.7])
    data = frames_at([0.4, 0.6, 0.9], top=np.array([True, True, False]))
    # 0.1 eV too high everywhere, apart from the tops.
    found = Evaluation(np.array([0.53, 0.65, 9.0]), data.forces)

    def model(positions):
        np.testing.assert_array_equal(positions, known.positions[[1]])
        return Evaluation(np.array([0.1]), np.zeros((1, 3, 3)))

    assert barrier_error(model, found, data, known) == pytest.approx(0.05 / KCAL_MOL)
    none = replace(data, tags={TOP: np.zeros(3, bool)})
    assert barrier_error(None, found, none, known) is None
    assert barrier_error(None, found, replace(data, tags={}), known) is None


@pytest.mark.parametrize(("target", "tops"), [(0.3, 2), (None, 0)])
def test_tops_of_bands_are_labelled_first_where_their_error_is_a_target(target, tops):
    """Two of ten are of bands; others are more uncertain than the tops."""
    options = Learn(
        reference="", starts=("",), batch=10, budget=200, barrier_target_kcal_mol=target
    )
    job = SimpleNamespace(options=options, along=[])
    going = loop._Loop(job, Store())
    rng = np.random.default_rng(0)

    def geometries(count):
        return GEOMETRY[None] * rng.uniform(0.8, 1.2, (count, 1, 1))

    doubts = np.r_[np.full(4, 1e-3), np.full(8, 1.0)]
    tags = {DEVIATION: doubts, TOP: np.arange(12) < 4, SCAN: np.zeros(12, bool)}
    bands = Dataset(np.array(WATER), geometries(12), tags=tags)
    frames = Dataset(np.array(WATER), geometries(40), tags={DEVIATION: np.ones(40)})
    explored = SimpleNamespace(frames=frames)
    known = SimpleNamespace(data=frames_at([0.0]), spent=0)
    found = going._chosen(1, explored, bands, known)
    assert len(found) == 10
    assert (found.tags[PURPOSE] == BAND).sum() == 2
    assert found.tags[TOP].sum() == tops


LARGE = {"energy_target_kcal_mol": 1e3, "force_target_kcal_mol_A": 1e3}


def test_a_learning_stops_where_all_targets_are_held():
    options = SHORT | LARGE | {"budget": 40, "random_share": 0.75, "crash_test_ns": 0.0}
    runs = fx.learn(water(), **options, stops_per_ns_target=0.0)
    assert (runs.targets_reached, runs.round_count) == (True, 2)
    assert runs.stops_per_ns == 0
    assert "replicas ended early: 0 per ns (target 0)" in runs.verdict
    barriers = fx.learn(water(), **options, barrier_target_kcal_mol=1e-9)
    assert not barriers.targets_reached
    assert "error of barriers: " in barriers.verdict
    assert barriers.verdict.startswith("DO NOT TRUST IT YET: its rounds have not held all targets")
