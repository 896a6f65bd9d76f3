"""The crash test of a learned model: what is run, what is reported, and exact resumption."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import chi2

import flexcalc as fx
from flexcalc.config.learn import Learn
from flexcalc.dataset import Dataset
from flexcalc.errors import NonFiniteError
from flexcalc.methods import crash as dynamics
from flexcalc.methods.iterate import Checkpoint
from flexcalc.reports import write_report
from flexcalc.results.crash import CrashedAt, CrashTested, crash_verdict
from flexcalc.results.learning import Learning, verdict_of
from flexcalc.store import FolderStore, Store
from flexcalc.tasks.learn import crash
from flexcalc.tasks.learn.baselines import Baselines
from flexcalc.tasks.learn.job import LearnJob
from tests.systems import GEOMETRY, WATER
from tests.tasks.test_learn import SHORT, judged, water

OPTIONS = Learn(
    reference="",
    starts=("",),
    replicas=8,
    temperatures_K=(300.0, 2e4),
    crash_test_ns=8e-5,
)


def job_of(options=OPTIONS):
    start = SimpleNamespace(numbers=np.array(WATER))
    return LearnJob(options, "", [start], None, "", Baselines([]), [], [])


@pytest.fixture(scope="module")
def surface():
    return fx.load(SHORT["reference"], WATER)


@pytest.fixture(scope="module")
def known(surface):
    """The geometry of water and a stretched one."""
    positions = np.stack([GEOMETRY, 1.05 * np.asarray(GEOMETRY)])
    found = surface(positions)
    return Dataset(np.array(WATER), positions, found.energies, found.forces)


def crashed(surface, known, store, options=OPTIONS):
    return crash.crash_test(job_of(options), surface, known[:1], known, store)


def test_replicas_start_in_the_minimum_and_fail_where_it_is_too_hot(surface, known, tmp_path):
    store = FolderStore(tmp_path)
    cold, hot = crashed(surface, known, store)
    assert (cold.temperature_K, cold.replicas, cold.intact_replicas) == (300.0, 4, 4)
    assert (hot.temperature_K, hot.replicas, cold.failures) == (2e4, 4, ())
    assert cold.time_ns == pytest.approx(4e-5)
    assert hot.intact_replicas == 4 - len(hot.failures) < 4
    assert hot.time_ns < cold.time_ns
    minima = fx.read(tmp_path / "crash/minima.xyz")
    assert len(minima) == 1
    assert np.linalg.norm(surface(minima.positions).forces[0], axis=1).max() < 0.01
    failed = fx.read(tmp_path / "crash/failed.xyz")
    assert failed.tags["reason"].tolist() == list(hot.failures)
    assert (failed.tags["temperature_K"] == 2e4).all()
    lost = 1e-3 * failed.tags["time_ps"].sum() + (4 - len(failed)) * 1e-5
    assert hot.time_ns == pytest.approx(lost)
    # Of the step before, in which it was intact.
    stretches = np.linalg.norm(failed.positions[:, 1:] - failed.positions[:, :1], axis=2)
    assert (stretches < 1.6 * 0.97).all()
    assert crashed(None, known, store) == [cold, hot]


@pytest.mark.data
@pytest.mark.parametrize("steps", [1, 7, 15])
def test_a_crash_test_that_was_interrupted_ends_as_the_undisturbed_one(
    steps, surface, known, tmp_path, monkeypatch
):
    undisturbed = crashed(surface, known, FolderStore(tmp_path / "whole"))
    monkeypatch.setattr(crash, "Checkpoint", partial(Checkpoint, seconds=0.0))
    original, counted = dynamics.Crash.step, []

    def interrupted(*given):
        counted.append(1)
        if len(counted) == steps:
            raise KeyboardInterrupt
        return original(*given)

    with monkeypatch.context() as patched:
        patched.setattr(dynamics.Crash, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            crashed(surface, known, FolderStore(tmp_path / "run"))
    assert crashed(surface, known, FolderStore(tmp_path / "run")) == undisturbed
    for name in ("crash.json", "crash/failed.xyz"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_model_without_a_minimum_is_not_crash_tested(surface, known, monkeypatch):
    def broken(*_):
        raise NonFiniteError("an energy is not finite", "not finite", None, None)

    monkeypatch.setattr(crash, "relax_rows", broken)
    store = Store()
    assert crashed(surface, known, store) == []
    assert crash_verdict([]).startswith("NOT CRASH-TESTED")
    said = verdict_of(judged((8, 8, 8)), 2.0, reached=True, crash=[])
    assert said.startswith("DO NOT TRUST IT in dynamics: it has no minimum")


def test_a_minimum_with_other_bonds_than_the_starts_is_no_start(surface, known, monkeypatch):
    far = np.array(GEOMETRY) * 3
    monkeypatch.setattr(
        crash,
        "relax_rows",
        lambda model, given: (np.repeat(far[None], len(given), 0), given[:, 0, 0]),
    )
    assert crashed(surface, known, Store()) == []


@pytest.mark.parametrize(("failed", "expected"), [(0, -np.log(0.05)), (2, chi2.ppf(0.95, 6) / 2)])
def test_the_largest_rate_of_failures_is_that_of_a_poisson_process(failed, expected):
    row = CrashedAt(temperature_K=300.0, replicas=8, intact_replicas=8 - failed, time_ns=0.5)
    assert row.most_failures_per_ns == pytest.approx(expected / 0.5)


def at(intact):
    """Rows with so many intact replicas of eight at 300, 500 and 800 K, 0.08 ns each."""
    return [
        CrashedAt(
            temperature_K=kelvin,
            replicas=8,
            intact_replicas=count,
            time_ns=0.08,
            failures=("bond broken",) * (8 - count),
        )
        for kelvin, count in zip((300.0, 500.0, 800.0), intact, strict=True)
    ]


@pytest.mark.parametrize(
    ("complete", "intact", "verdict"),
    [
        (
            (8, 8, 8),
            (8, 8, 8),
            "trust it for dynamics of some 2 ps up to 800 K; in the crash test of the final model "
            "all 24 replicas stayed intact (0.24 ns in all up to 800 K)",
        ),
        (
            (8, 8, 8),
            (8, 8, 6),
            "trust it for dynamics of some 2 ps up to 500 K, not beyond (replicas of the crash "
            "test failed); in the crash test of the final model 2 of 8 at 800 K (2 bond broken) "
            "FAILED (0.24 ns in all up to 800 K)",
        ),
        (
            (8, 7, 8),
            (8, 8, 8),
            "trust it for dynamics of some 2 ps up to 300 K, not beyond (of its replicas 1 of 8 at "
            "500 K ended early); in the crash test",
        ),
        (
            (8, 8, 8),
            (7, 8, 8),
            "DO NOT TRUST IT in dynamics: replicas of the crash test failed; in the crash test of "
            "the final model 1 of 8 at 300 K (bond broken) FAILED",
        ),
    ],
)
def test_the_verdict_never_claims_more_than_the_crash_test_carries(complete, intact, verdict):
    said = verdict_of(judged(complete), 2.0, reached=True, crash=at(intact))
    assert said.startswith(verdict)
    missed = verdict_of(judged(complete), 2.0, reached=False, crash=at(intact))
    assert missed.startswith("DO NOT TRUST IT YET")
    assert missed.endswith(crash_verdict(at(intact)))
    unknown = verdict_of(None, 2.0, reached=False, crash=at(intact))
    assert unknown.endswith(crash_verdict(at(intact)))


@pytest.mark.parametrize(
    ("intact", "kelvin"), [((8, 8, 8), 800.0), ((8, 7, 8), 300.0), ((7, 8, 8), None)]
)
def test_figures_of_the_crash_test_are_those_of_its_rows(intact, kelvin):
    found = CrashTested.of(at(intact))
    assert found.crash_up_to_K == kelvin
    assert (found.crash_replicas, found.crash_intact_replicas) == (24, sum(intact))
    assert found.crash_ns == pytest.approx(0.24)


def test_a_learning_ends_with_a_crash_test_in_results_and_report(tmp_path):
    small = SHORT | {"budget": 14, "checks": 0}
    found = fx.learn(water(), **small, output=tmp_path / "run")
    # By default two rounds of four replicas, 0.02 ps each.
    assert found.crash.crash_ns == pytest.approx(2 * 4 * 0.02e-3)
    assert [row.temperature_K for row in found.crash_rows] == [300.0, 600.0]
    assert [row.replicas for row in found.crash_rows] == [2, 2]
    assert crash_verdict(found.crash_rows) in found.verdict
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["crash_replicas"] == 4
    assert Learning.from_dict(results, found.store).crash.crash_ns == found.crash.crash_ns
    page = (tmp_path / "run/report.html").read_text()
    assert "Crash test" in page
    assert "failures per ns at most" in page
    assert (tmp_path / "run/tables/crash.csv").exists()
    rows = [row.to_dict() for row in at((8, 7, 5))]
    (tmp_path / "run/crash.json").write_text(json.dumps(rows))
    write_report(tmp_path / "run")
    assert "3 bond broken" in (tmp_path / "run/report.html").read_text()
    table = (tmp_path / "run/tables/crash.csv").read_text().splitlines()
    assert table[0] == "temperature_K,replicas,intact_replicas,time_ns,failures"
    assert table[3] == "800.0,8,5,0.08,3 bond broken"
    (tmp_path / "run/crash.json").write_text('[{"temperature_K": "hot"}]')
    write_report(tmp_path / "run")
    assert "crash.json: 1 of 1 rows lack" in (tmp_path / "run/report.html").read_text()


def test_no_crash_test_is_made_where_none_is_wanted():
    small = SHORT | {"budget": 14, "checks": 0, "crash_test_ns": 0.0}
    found = fx.learn(water(), **small)
    assert (found.crash, found.crash_rows) == (None, ())
    assert "crash" not in found.verdict


def test_each_temperature_has_a_replica_at_least(surface, known):
    few = replace(OPTIONS, replicas=1, temperatures_K=(300.0, 310.0, 320.0))
    rows = crashed(surface, known, Store(), few)
    assert [row.replicas for row in rows] == [1, 1, 1]
    assert sum(row.time_ns for row in rows) == pytest.approx(8e-5, rel=0.02)
