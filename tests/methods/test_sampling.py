"""Sampling: temperatures, independence, resumption, conformers."""

from __future__ import annotations

import numpy as np
import pytest

from flexcalc import registry
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.methods.conformers import conformers, molecule
from flexcalc.methods.sampling import (
    Displaced,
    Place,
    Thermal,
    autocorrelation_time,
    concatenate_unlabelled,
    displace,
    sample_dynamics,
)
from flexcalc.store import FolderStore


@pytest.fixture
def starts(wells):
    return Dataset(
        wells.numbers, np.stack([wells.reference] * 2), tags={"start": np.array(["one", "two"])}
    )


def test_dynamics_samples_the_temperature(wells, starts, tmp_path):
    how = Thermal(frames=600, temperature_K=500.0, replicas=10, spacing_fs=30.0)
    rng = np.random.default_rng(0)
    found = sample_dynamics(how, wells, starts, rng, Place(FolderStore(tmp_path), "run"))
    assert len(found) == 600
    stretch = found.positions - wells.reference
    expected = 8.617333e-5 * 500.0 / wells.stiffness
    # Frames are an autocorrelation time apart, so each counts for a third at least.
    error = expected * np.sqrt(2 * 3 / stretch.size)
    assert abs(np.mean(stretch**2) - expected) < 4 * error
    assert set(found.tags["start"]) == {"one", "two"}
    assert (found.tags["temperature_K"] == 500.0).all()


@pytest.mark.data
def test_an_interrupted_sampling_gives_the_same_frames(wells, starts, tmp_path):
    how = Thermal(frames=40, spacing_fs=10.0)
    whole = sample_dynamics(
        how, wells, starts, np.random.default_rng(1), Place(FolderStore(tmp_path / "whole"), "a")
    )

    class StopError(Exception):
        pass

    def stop(done, total, note):
        if done == 300:
            raise StopError

    with pytest.raises(StopError):
        sample_dynamics(
            how,
            wells,
            starts,
            np.random.default_rng(1),
            Place(FolderStore(tmp_path / "halves"), "a", stop),
        )
    again = sample_dynamics(
        how, wells, starts, np.random.default_rng(1), Place(FolderStore(tmp_path / "halves"), "a")
    )
    assert np.array_equal(whole.positions, again.positions)


def test_the_autocorrelation_time_is_that_of_a_known_series(rng):
    """x' = a x + noise has C(t) = a^t, so tau = a / (1 - a)."""
    a, series = 0.8, np.zeros((20000, 4))
    for row in range(1, len(series)):
        series[row] = a * series[row - 1] + rng.normal(size=4)
    assert autocorrelation_time(series) == pytest.approx(4.0, rel=0.15)
    assert autocorrelation_time(rng.normal(size=(5000, 4))) < 0.2


def test_displacements_have_the_size_asked_for(starts, rng):
    found = displace(Displaced(frames=500, amplitude_A=0.03), starts, rng)
    noise = found.positions - starts.positions[np.arange(500) % 2]
    assert noise.std() == pytest.approx(0.03, rel=0.05)
    assert len(concatenate_unlabelled([found, found])) == 1000


def test_smiles_become_relaxed_conformers():
    pytest.importorskip("rdkit")
    numbers = molecule("CCO")
    assert sorted(numbers) == [1] * 6 + [6, 6, 8]
    potential = registry.load("xtb:GFN2-xTB", numbers)
    found = conformers("CCO", potential, 4, seed=0)
    energies = potential(found.positions).energies
    # Ethanol has anti and two mirror-image gauche conformers, all within 0.5 kcal/mol or so.
    assert len(found) == 3
    assert (np.diff(energies) > -1e-6).all()
    assert np.abs(potential(found.positions).forces).max() < 0.02


def test_a_bad_smiles_is_refused():
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match=r"smiles:C\(C: not a valid SMILES"):
        molecule("C(C")
