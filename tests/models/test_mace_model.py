"""Model files of mace-torch: the same numbers as its calculator, and what is refused."""

from __future__ import annotations

import copy
import pickle

import ase
import numpy as np
import pytest

import flexcalc
from flexcalc.errors import AddressError, FileFormatError, MoleculeError

torch = pytest.importorskip("torch")
pytest.importorskip("mace")

ETHANOL = ase.Atoms(
    [6, 6, 8, 1, 1, 1, 1, 1, 1],
    [
        [1.17, -0.38, 0.0],
        [0.0, 0.56, 0.0],
        [-1.20, -0.21, 0.0],
        [2.10, 0.20, 0.0],
        [1.13, -1.01, 0.89],
        [1.13, -1.01, -0.89],
        [0.04, 1.20, 0.89],
        [0.04, 1.20, -0.89],
        [-1.94, 0.39, 0.0],
    ],
)
CUTOFF = 3.5
"""angstrom; less than the molecule is long, so that some pairs are beyond it."""


def model(heads=("Default",), **changes):
    """A small MACE with random weights, references of the elements and a repulsion."""
    from flexcalc.models.mace.network import modules, o3, quietly

    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticDensityResidualInteractionBlock"]
    options = {
        "r_max": CUTOFF,
        "num_bessel": 6,
        "num_polynomial_cutoff": 5,
        "max_ell": 2,
        "interaction_cls": block,
        "interaction_cls_first": block,
        "num_interactions": 2,
        "num_elements": 3,
        "hidden_irreps": o3.Irreps("8x0e+8x1o"),
        "MLP_irreps": o3.Irreps("8x0e"),
        "atomic_energies": np.array([[-13.6, -1029.0, -2041.0]] * len(heads)),
        "avg_num_neighbors": 5.0,
        "atomic_numbers": [1, 6, 8],
        "correlation": 2,
        "gate": torch.nn.functional.silu,
        "pair_repulsion": True,
        "distance_transform": "Agnesi",
        "heads": list(heads),
        "atomic_inter_scale": [1.7] * len(heads),
        "atomic_inter_shift": [0.3 + place for place in range(len(heads))],
    }
    with quietly():
        return modules.ScaleShiftMACE(**(options | changes)).double()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A model file as mace_run_train leaves it."""
    place = tmp_path_factory.mktemp("mace") / "ethanol.model"
    torch.save(model(), place)
    return place


def rattled(count, seed):
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(count, len(ETHANOL), 3))
    return ETHANOL.positions + noise


def peer(path, positions, **options):
    """Energies and forces of mace-torch's own calculator."""
    from flexcalc.models.mace.network import quietly

    with quietly():
        from mace.calculators import MACECalculator

        calculator = MACECalculator(
            models=torch.load(path, weights_only=False), default_dtype="float64", **options
        )
        energies, forces = [], []
        for geometry in positions:
            atoms = ase.Atoms(ETHANOL.numbers, geometry, calculator=calculator)
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
    return np.array(energies), np.array(forces)


def test_it_gives_the_numbers_of_the_mace_calculator(path):
    """Rounding of sums of 1e4 eV in float64 is 1e-11; the task allows 1e-6."""
    positions = rattled(4, seed=1)
    found = flexcalc.load(str(path), ETHANOL, trust=True)(positions)
    energies, forces = peer(path, positions)
    assert np.abs(forces).max() > 0.1
    assert np.abs(found.energies - energies).max() < 1e-9
    assert np.abs(found.forces - forces).max() < 1e-9


def test_forces_are_minus_the_gradient_and_rows_are_independent(path):
    """Central differences of fourth order: h^4 E^(5) / 30 is below 1e-8 here."""
    potential = flexcalc.load(str(path), ETHANOL, trust=True)
    geometry, h = rattled(1, seed=2)[0], 1e-3
    direction = np.random.default_rng(3).normal(size=geometry.shape)
    direction /= np.linalg.norm(direction)
    shifts = np.array([-2, -1, 1, 2]) * h
    batch = potential(geometry + shifts[:, None, None] * direction)
    slope = np.array([1, -8, 8, -1]) @ batch.energies / (12 * h)
    alone = potential(geometry[None])
    assert abs((alone.forces[0] * direction).sum() + slope) < 1e-6
    third = potential((geometry + shifts[2] * direction)[None])
    assert np.abs(third.forces[0] - batch.forces[2]).max() < 1e-9


def test_the_head_that_is_asked_for_is_evaluated(tmp_path):
    place = tmp_path / "heads.model"
    torch.save(model(heads=("omat", "spice")), place)
    positions = rattled(2, seed=4)
    for head in ("omat", "spice"):
        found = flexcalc.load(f"{place}?head={head}", ETHANOL, trust=True)(positions)
        energies, forces = peer(place, positions, head=head)
        assert np.abs(found.energies - energies).max() < 1e-9
        assert np.abs(found.forces - forces).max() < 1e-9
    with pytest.raises(AddressError, match="which head"):
        flexcalc.load(str(place), ETHANOL, trust=True)
    with pytest.raises(AddressError, match="did you mean spice"):
        flexcalc.load(f"{place}?head=spices", ETHANOL, trust=True)


def test_single_precision_is_near_double(path):
    """Energies of 1e4 eV round to 1e-3 in float32."""
    positions = rattled(2, seed=5)
    double = flexcalc.load(str(path), ETHANOL, trust=True)(positions)
    single = flexcalc.load(f"{path}?precision=float32", ETHANOL, trust=True)(positions)
    assert 0 < np.abs(single.forces - double.forces).max() < 1e-3
    assert np.abs(single.energies - double.energies).max() < 1e-2


def test_copies_pickles_and_the_ase_calculator_agree(path):
    potential = flexcalc.load(str(path), ETHANOL, trust=True)
    positions = rattled(1, seed=6)
    expected = potential(positions)
    for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert np.abs(other(positions).forces - expected.forces).max() < 1e-12
    atoms = ase.Atoms(ETHANOL.numbers, positions[0])
    atoms.calc = flexcalc.Calculator(str(path), trust=True)
    assert np.abs(atoms.get_forces() - expected.forces[0]).max() < 1e-12


def test_an_element_it_does_not_know_is_named(path):
    with pytest.raises(MoleculeError, match="does not know S; it knows H, C, O"):
        flexcalc.load(str(path), ase.Atoms("SH2"), trust=True)


@pytest.mark.security
def test_without_trust_nothing_is_unpickled(tmp_path):
    place, canary = tmp_path / "bomb.model", tmp_path / "canary"
    place.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(AddressError, match="trust") as caught:
        flexcalc.load(str(place), ETHANOL)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


@pytest.mark.inputs
def test_what_is_no_model_of_mace_is_refused(tmp_path, path):
    place = tmp_path / "other.model"
    place.write_bytes(b"no pickle at all")
    with pytest.raises(FileFormatError, match="not a model of mace-torch"):
        flexcalc.load(str(place), ETHANOL, trust=True)
    torch.save({"state": 1}, place)
    with pytest.raises(FileFormatError, match="expected a MACE or ScaleShiftMACE"):
        flexcalc.load(str(place), ETHANOL, trust=True)
    with pytest.raises(AddressError, match="does not depend on the charge"):
        flexcalc.load(f"{path}?charge=1", ETHANOL, trust=True)
    with pytest.raises(AddressError, match="say which one, as in"):
        flexcalc.load(str(path), trust=True)
