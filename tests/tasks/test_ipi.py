"""Results of i-PI's dynamics: temperatures by ensemble, and quantum nuclei."""

from dataclasses import replace

import numpy as np
import pytest

from flexcalc.results.ipi import IpiRun
from flexcalc.store import Store
from flexcalc.tasks.ipi import _standard_error, _with_temperatures
from flexcalc.units import KB

BARE = IpiRun(store=Store(), input="i.xml", model="m.flex", clients=2, clients_lost=0, steps=99)


def records(count, rng, **columns):
    kelvin = 300 + 30 * rng.normal(size=count)
    return {"step": np.arange(count), "temperature_K": kelvin} | columns


def test_classical_dynamics_has_one_mean_temperature(rng):
    columns = records(100, rng)
    found = _with_temperatures(BARE, columns, 10, 1)
    assert found.temperature_mean_K == columns["temperature_K"].mean()
    assert (found.nuclei, found.ensembles_K) == (None, None)
    assert found.summary() == f"i-PI: 99 steps, mean temperature {found.temperature_mean_K:.1f} K"


def test_replicas_that_exchange_have_a_mean_temperature_by_ensemble_and_none_of_all(rng):
    """Three replicas that go from one of the three ensembles to the next at each record."""
    targets = np.array([300.0, 400.0, 500.0])
    ensemble = targets[(np.arange(90)[:, None] + np.arange(3)) % 3].ravel()
    kelvin = ensemble + rng.normal(size=270)
    columns = {
        "temperature_K": kelvin,
        "ensemble_K": ensemble,
        "replica": np.tile([0.0, 1.0, 2.0], 90),
    }
    found = _with_temperatures(BARE, columns, 10, 1)
    assert found.temperature_mean_K is None
    assert "temperature_mean_K" not in found.to_dict()
    assert found.ensembles_K == (300, 400, 500)
    assert np.abs(np.array(found.ensembles_mean_K) - targets).max() < 5 / np.sqrt(90)
    assert np.array(found.ensembles_error_K) == pytest.approx([1 / np.sqrt(90)] * 3, rel=0.5)
    assert found.exchanges_seen == 89
    cold, warm, hot = found.ensembles_mean_K
    assert found.summary() == (
        f"i-PI: 99 steps, mean temperatures by ensemble: {cold:.1f} K in that of 300 K; "
        f"{warm:.1f} K in that of 400 K; {hot:.1f} K in that of 500 K"
    )
    many = replace(found, ensembles_K=(300.0,) * 8, ensembles_mean_K=(301.0,) * 7 + (200.0,))
    assert many.summary().endswith("the farthest of 8 is 200.0 K in that of 300 K")


def test_quantum_nuclei_are_told_apart_from_the_temperature_of_their_ring_polymers(rng):
    """The first half, in which ring polymers still unfold, does not count."""
    kinetic = np.where(np.arange(100) < 50, 0.4, 1.1) + 0.01 * rng.normal(size=100)
    columns = records(
        100,
        rng,
        quantum_kinetic_eV=kinetic,
        gyration_A=np.full(100, 0.2),
        ensemble_K=np.full(100, 300.0),
    )
    found = _with_temperatures(BARE, columns, 10, 16)
    nuclei = found.nuclei
    assert nuclei is not None
    assert nuclei.beads == 16
    assert nuclei.quantum_kinetic_mean_eV == kinetic[50:].mean()
    assert 0.0005 < nuclei.quantum_kinetic_error_eV < 0.005
    assert nuclei.classical_kinetic_eV == pytest.approx(1.5 * 10 * KB * 300)
    assert nuclei.gyration_mean_A == pytest.approx(0.2)
    labels = {one.key: one.label for one in found.figures()}
    assert labels["temperature_mean_K"] == "mean temperature of the ring polymers"
    assert labels["quantum_kinetic_mean_eV"] == "quantum kinetic energy"
    assert found.summary() == (
        f"i-PI: 99 steps, 16 beads, quantum kinetic energy {kinetic[50:].mean():.3f} ± "
        f"{nuclei.quantum_kinetic_error_eV:.3f} eV (classical nuclei 0.388 eV), mean temperature "
        f"of the ring polymers {found.temperature_mean_K:.1f} K"
    )
    again = IpiRun.from_dict(found.to_dict(), Store())
    assert again.to_dict() == found.to_dict()


def test_the_standard_error_knows_that_records_are_correlated(rng):
    """Of an autoregressive series it is sqrt((1 + a) / (1 - a)) times that of white noise."""
    noise, series = rng.normal(size=20000), np.zeros(20000)
    for step in range(1, 20000):
        series[step] = 0.8 * series[step - 1] + noise[step]
    assert _standard_error(series) == pytest.approx(series.std() / np.sqrt(20000) * 3, rel=0.25)


def test_clients_that_failed_are_in_the_closing_line():
    found = replace(BARE, clients_lost=1, temperature_mean_K=300.0)
    assert found.summary().endswith("mean temperature 300.0 K, 1 of 2 clients failed")
