"""The MACE family: far pairs, what a loaded network gets back, and a quiet import."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from flexcalc.dataset import Dataset
from flexcalc.models.mace import MACE

torch = pytest.importorskip("torch")
pytest.importorskip("mace")

NUMBERS = np.array([8, 6, 1, 1, 6])
SMALL = {"channels": 4, "max_ell": 2, "correlation": 2, "cutoff": 3.0, "device": "cpu"}


def chain(frames, seed=0):
    """Atoms at about 1.3 angstrom along a line, so that the ends are 5 angstrom apart."""
    straight = np.outer(np.arange(5), [1.3, 0.1, 0.0])
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(frames, 5, 3))
    return straight + noise


@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
def test_pairs_beyond_the_cutoff_change_nothing(basis):
    torch.manual_seed(0)
    network = MACE(**SMALL, radial_basis=basis).build(NUMBERS, chain(3)).double()
    positions = torch.tensor(chain(3, seed=1))
    whole, near = network(positions), network.near(positions)
    assert whole.detach().numpy() == pytest.approx(near.detach().numpy(), abs=1e-13)
    away = np.array([100.0, 0.0, 0.0])
    far = torch.tensor(np.concatenate([chain(1), chain(1) + away], axis=1))
    both = MACE(**SMALL, radial_basis=basis).build(np.tile(NUMBERS, 2), far.numpy()).double()
    both.load_state_dict(network.state_dict())
    alone = network(torch.tensor(chain(1))).item()
    assert both(far).item() == pytest.approx(2 * alone, abs=1e-12)


def test_the_mean_number_of_neighbours_is_that_of_the_training_points():
    """Along the line at 1.3 angstrom, 3 angstrom reach two atoms on: 2, 3, 4, 3, 2 neighbours."""
    straight = np.outer(np.arange(5), [1.3, 0.0, 0.0])[None]
    network = MACE(**SMALL).build(NUMBERS, straight)
    assert network.model.interactions[0].avg_num_neighbors.item() == pytest.approx(14 / 5)


def test_a_loaded_network_gets_back_what_depended_on_the_training_points(tmp_path):
    positions = chain(8)
    rng = np.random.default_rng(2)
    data = Dataset(NUMBERS, positions, rng.normal(size=8), rng.normal(size=positions.shape))
    family = MACE(**SMALL, epochs=1, compiled="no")
    with pytest.warns(UserWarning, match="still getting better"):
        trained = family.fit(data, None, np.random.default_rng(0))
    trained.save(tmp_path / "model.flex")
    loaded = MACE.load(tmp_path / "model.flex")
    found, expected = loaded.network.state_dict(), trained.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert np.array_equal(loaded(positions).forces, trained(positions).forces)


def test_importing_mace_is_quiet_and_leaves_torch_load_as_safe_as_it_was():
    code = (
        "import os, warnings\n"
        "from flexcalc.models.mace import MACE\n"
        "from flexcalc.models.mace.network import module\n"
        "module(MACE(channels=2, max_ell=1, correlation=1), [1, 8], 2.0)\n"
        "print([name for name in os.environ if 'WEIGHTS_ONLY' in name])\n"
    )
    clean = {name: value for name, value in os.environ.items() if "WEIGHTS_ONLY" not in name}
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=clean,
    )
    assert found.stdout == "[]\n"
    assert found.stderr == ""


@pytest.mark.long
def test_a_compiled_step_is_the_plain_one():
    """Single precision leaves 1e-6 of the largest component; sums are in another order."""
    from flexcalc.models.networks.step import Flat, compiled_step, plain_step

    torch.manual_seed(0)
    network = MACE(**SMALL, interactions=1).build(NUMBERS, chain(4))
    flat = Flat(network)
    step = plain_step(flat, 0.01, 0.99)
    positions = torch.tensor(chain(4), dtype=torch.float32)
    batch = flat.vector(), positions, torch.zeros(4), torch.zeros_like(positions), torch.ones(4)
    loss, gradient = step(*batch)
    again, other = compiled_step(step, batch)(*batch)
    assert again.item() == pytest.approx(loss.item(), rel=1e-5)
    assert (gradient - other).abs().max() < 1e-5 * gradient.abs().max()
