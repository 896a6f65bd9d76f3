"""`md` with replica exchange: files, figures, report, restarts, and what is refused."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

import flexcalc as fx
from flexcalc.errors import ConfigError, InputError
from flexcalc.results.exchange import ExchangedPair
from tests.systems import Springs

KELVIN = (300.0, 400.0, 550.0)


def run(output=None, steps=200, kelvin=KELVIN, **options):
    method = fx.Langevin(replica_temperatures_K=kelvin, friction_per_ps=50.0)
    options = {"replicas": 6, "exchange_every": 10, "keep_bonds": False} | options
    water = molecule("H2O")
    return fx.md(Springs(), water, method=method, steps=steps, output=output, **options)


def test_geometries_pass_between_temperatures_and_the_result_says_how_often(tmp_path):
    found = run(tmp_path / "run", frame_every=10)
    assert found.walkers.shape == (21, 6)
    assert np.array_equal(np.sort(found.walkers, axis=1), np.tile(np.arange(6), (21, 1)))
    assert set(found.walkers[:, :3].ravel()) == {0, 1, 2}
    exchanges = found.exchanges
    assert exchanges.temperatures_K == KELVIN * 2
    assert exchanges.attempts == 2 * 20
    changed = (found.walkers[1:] != found.walkers[:-1]).sum() / 2
    assert exchanges.acceptance == pytest.approx(changed / 40)
    assert 0 < exchanges.lowest_acceptance <= exchanges.acceptance < 1
    assert "of exchanges accepted" in found.summary()
    assert found.temperature_mean_K is None
    tags = found.frames.tags
    assert np.array_equal(tags["walker"].reshape(-1, 6), found.walkers)
    change = np.ptp(found.scalars["conserved_eV"], axis=0)
    assert change.max() < 0.02
    again = run(tmp_path / "run", frame_every=10)
    assert again.exchanges.to_dict() == exchanges.to_dict()
    page = fx.report(tmp_path / "run").read_text()
    assert "Replica exchange" in page
    assert "300 and 400" in page
    assert "Temperature of each walker" in page
    plt.close(found.plot(quantity="walkers").figure)


def test_a_run_that_is_taken_further_is_the_one_in_one_go(tmp_path):
    run(tmp_path / "halves", steps=100)
    run(tmp_path / "halves", steps=200)
    run(tmp_path / "whole", steps=200)
    for name in ("exchanges.csv", "exchanges.json", "scalars.csv", "trajectory.xyz"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_walkers_that_do_not_pass_are_warned_of():
    row = ExchangedPair(cold_K=300.0, hot_K=900.0, attempts=100, accepted=2)
    assert "only 2 of 100 exchanges between 300 and 900 K" in row.warning()
    assert ExchangedPair(cold_K=300.0, hot_K=900.0, attempts=100, accepted=5).warning() is None
    assert ExchangedPair(cold_K=300.0, hot_K=900.0, attempts=39, accepted=0).warning() is None
    with pytest.warns(match="put a temperature between them"):
        run(steps=1000, kelvin=(20.0, 3000.0), replicas=2)


def test_replicas_are_independent_unless_asked():
    assert run(exchange_every=None).exchanges is None
    with pytest.raises(InputError, match="do not exchange"):
        run(exchange_every=None).plot(quantity="walkers")


def test_what_cannot_be_exchanged_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="at least two temperatures"):
        run(kelvin=())
    with pytest.raises(ConfigError, match="at least two temperatures"):
        fx.md(Springs(), molecule("H2O"), method=fx.NVE(), exchange_every=5)
    open_chain = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [3.0, 0, 0]])
    method = fx.Langevin(replica_temperatures_K=(300.0, 400.0))
    with pytest.raises(InputError, match="starts with the same bonds"):
        fx.md(
            Springs(), [molecule("H2O"), open_chain], method=method, replicas=2, exchange_every=5,
            steps=5, output=tmp_path / "none",
        )  # fmt: skip
    assert not (tmp_path / "none").exists()
