"""SO3LR: the numbers of its package, batches, and the reading of its file."""

import numpy as np
import pytest

import flexcalc
from flexcalc.errors import AddressError, FileFormatError
from flexcalc.models import so3lr

pytest.importorskip("so3krates_torch")

PRECISE = "so3lr:"


@pytest.fixture
def default_dtype():
    """The package's calculator changes torch's default."""
    import torch

    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("default_dtype")
def test_numbers_are_those_of_the_package(ethanol):
    from ase import Atoms
    from so3krates_torch.calculator.so3 import SO3LRCalculator

    found = flexcalc.load(PRECISE, ethanol.numbers)(ethanol.positions[:3])
    for row in range(3):
        atoms = Atoms(ethanol.numbers, ethanol.positions[row])
        atoms.calc = SO3LRCalculator(default_dtype="float64")
        # Both in double precision; a batch sums in another order.
        assert found.energies[row] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert np.abs(found.forces[row] - atoms.get_forces()).max() < 1e-8


@pytest.mark.physics
def test_forces_are_minus_the_gradient(ethanol):
    potential, step = flexcalc.load(PRECISE, ethanol.numbers), 1e-4
    here = ethanol.positions[0]
    moved = np.stack([here, here])
    moved[:, 2, 1] += [step, -step]
    high, low = potential(moved).energies
    assert potential(here[None]).forces[0, 2, 1] == pytest.approx(
        (low - high) / (2 * step), abs=1e-6
    )


def test_batches_do_not_matter(ethanol, monkeypatch):
    potential = flexcalc.load(PRECISE, ethanol.numbers)
    together = potential(ethanol.positions[:7])
    monkeypatch.setattr(so3lr, "EDGES", 150)
    alone = potential(ethanol.positions[:7])
    assert np.abs(together.forces - alone.forces).max() < 1e-9
    assert np.abs(together.energies - alone.energies).max() < 1e-8


def test_single_precision_is_nearly_the_same(ethanol):
    double, single = (
        flexcalc.load(address, ethanol.numbers)(ethanol.positions[:5])
        for address in (PRECISE, "so3lr:?precision=float32")
    )
    assert np.abs(double.forces - single.forces).max() < 1e-3


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("address", "numbers", "message"),
    [
        ("so3lr:?precision=half", [1, 1], "precision"),
        ("so3lr:large", [1, 1], "without a name"),
        ("so3lr:", [1, 14], "found 14"),
        ("so3lr:?colour=red", [1, 1], "colour"),
    ],
)
def test_bad_addresses_are_refused(address, numbers, message):
    with pytest.raises(AddressError, match=message):
        flexcalc.load(address, numbers)


@pytest.mark.security
def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    """The file is read without unpickling what it may not name."""
    import so3krates_torch
    import torch

    place = tmp_path / "pretrained" / "so3lr"
    place.mkdir(parents=True)
    torch.save({"run": print}, place / "so3lr.model")
    monkeypatch.setattr(so3krates_torch, "__path__", [str(tmp_path)])
    so3lr._model.cache_clear()
    with pytest.raises(FileFormatError, match="not the SO3LR"):
        flexcalc.load(PRECISE, [1, 1])
    so3lr._model.cache_clear()


def test_a_model_on_it_is_saved_and_loaded_without_trust(ethanol, tmp_path):
    fit = flexcalc.train(ethanol[:20], sigma=20.0, baseline="so3lr:")
    fit.save(tmp_path / "on.flex")
    again = flexcalc.load(tmp_path / "on.flex")
    assert np.array_equal(again(ethanol.positions[:2]).forces, fit(ethanol.positions[:2]).forces)
