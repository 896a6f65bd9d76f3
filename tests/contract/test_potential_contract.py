"""What every potential promises, asked of each that can be opened by a name.

A new family is picked up from the registry; it is trained here on a toy surface.
"""

from __future__ import annotations

import copy
import pickle

import ase
import numpy as np
import pytest

import flexcalc
from flexcalc import registry
from flexcalc.adapters.ipi.surface import Surface
from flexcalc.dataset import Dataset
from flexcalc.errors import MoleculeError, ShapeError
from flexcalc.potential import CheckedPotential, Evaluation, Potential, Sum
from flexcalc.units import BOHR, HARTREE

NUMBERS = np.array([6, 8, 1, 1, 1, 1])
METHANOL = np.array(
    [
        [-0.047, 0.663, 0.0],
        [-0.047, -0.758, 0.0],
        [-1.092, 0.969, 0.0],
        [0.437, 1.076, 0.890],
        [0.437, 1.076, -0.890],
        [0.871, -1.063, 0.0],
    ]
)


class Springs(CheckedPotential):
    """E = sum_{i<j} k (r_ij - r0_ij)^2 / 2 with r0 from methanol, k = 5 eV/angstrom^2."""

    def __init__(self, numbers=NUMBERS):
        self.numbers = np.asarray(numbers)
        self._pairs = np.triu_indices(len(METHANOL), 1)
        i, j = self._pairs
        self._rest = np.linalg.norm(METHANOL[i] - METHANOL[j], axis=-1)

    def evaluate(self, positions):
        i, j = self._pairs
        apart = positions[:, i] - positions[:, j]
        distance = np.linalg.norm(apart, axis=-1)
        stretch = distance - self._rest
        pull = (-5.0 * stretch / distance)[..., None] * apart
        forces = np.zeros_like(positions)
        for pair in range(len(i)):
            forces[:, i[pair]] += pull[:, pair]
            forces[:, j[pair]] -= pull[:, pair]
        return Evaluation(2.5 * (stretch**2).sum(axis=1), forces)


def rattled(count, seed, scale=0.05):
    """Methanol with every coordinate displaced by `scale` angstrom."""
    noise = np.random.default_rng(seed).normal(scale=scale, size=(count, *METHANOL.shape))
    return METHANOL + noise


QUICK = {
    "gap": {"n_max": 4, "l_max": 3, "n_sparse": 20},
    "gap-study": {"n_max": 4, "l_max": 3, "n_sparse": 20},
    "schnet": {"epochs": 3, "features": 8, "interactions": 1, "compiled": "no"},
    "painn": {"epochs": 3, "features": 8, "interactions": 1, "compiled": "no"},
    "so3net": {"epochs": 3, "features": 8, "interactions": 1, "compiled": "no"},
    "mace": {"epochs": 3, "channels": 4, "max_ell": 2, "correlation": 2, "compiled": "no"},
    "mixture": {"regions": 2, "least_points": 10, "shared": 0.9},
    "bpnn": {"epochs": 10, "radial_functions": 4, "angular_widths": 2, "hidden": (8,)},
}
"""Hyperparameters of families whose training would take long."""


def trained(name, **hyperparameters):
    """A family, trained on springs."""
    hyperparameters = QUICK.get(name, {}) | hyperparameters
    positions = rattled(60, seed=1)
    labels = Springs()(positions)
    data = Dataset(NUMBERS, positions, labels.energies, labels.forces)
    options = {"points": 30, "validation_points": 30, "seed": 0, **hyperparameters}
    return flexcalc.train(data, name, **options).model


def toy():
    """The family of toy_family.py, fitted to springs."""
    from tests.contract.toy_family import Toy

    positions = rattled(60, seed=1)
    labels = Springs()(positions)
    data = Dataset(NUMBERS, positions, labels.energies, labels.forces)
    return Toy().fit(data, None, np.random.default_rng(0))


MAKERS = {
    **{name: lambda name=name: trained(name) for name in registry.FAMILIES},
    "sgdml-learned": lambda: trained(
        "sgdml", metric="learned", descriptor="distances", energies="labelled"
    ),
    "sgdml-plain": lambda: trained("sgdml", descriptor="distances", energies="labelled"),
    "sgdml-extended": lambda: trained("sgdml", descriptor="extended", energies="labelled"),
    "sgdml-fitted": lambda: trained("sgdml", descriptor="distances", energies="fitted"),
    "sgdml-iterative": lambda: trained("sgdml", solver="iterative", sigma=5.0),
    "mixture-local": lambda: trained("mixture", background=False),
    "committee": lambda: trained("sgdml", committee=3),
    "delta": lambda: trained("sgdml", committee=2, baseline="dispersion:D4/PBE"),
    "dispersion": lambda: flexcalc.load("dispersion:D4/PBE", NUMBERS),
    "dispersion-d3": lambda: flexcalc.load("dispersion:D3(BJ)/PBE", NUMBERS),
    "dispersion-ts": lambda: flexcalc.load(
        "dispersion:TS/PBE?volumes=0.85,0.9,0.62,0.62,0.62,0.58", NUMBERS
    ),
    "xtb": lambda: flexcalc.load("xtb:GFN2-xTB", NUMBERS),
    "dft": lambda: flexcalc.load("dft:LDA/STO-3G?density_fit=no", NUMBERS),
    "ase": lambda: flexcalc.load(
        "ase:ase.calculators.lj:LennardJones?sigma=0.9&epsilon=0.05&rc=40", NUMBERS
    ),
    "toy": lambda: toy(),
    "sum": lambda: Sum(Springs(), trained("sgdml")),
}
SAVED = tuple({**registry.FAMILIES, **registry.COMPOSITES})
"""Makers whose potentials are kept in model folders."""
SLOW = {"dft": 1}
"""Geometries for the derivative test of what takes long."""
ROUNDING = {
    **dict.fromkeys(("sgdml", "sgdml-fitted", "sgdml-iterative"), 5e-9),
    **dict.fromkeys(("committee", "delta", "mixture", "mixture-local", "sum"), 5e-9),
    "sgdml-extended": 1e-11,
    "gap": 1e-9,
}
"""eV; what rounding leaves of kernel sums of methanol, whose terms are 1e8 (of fitted energies)
or 1e5 (of forces) times as large, once their constant and linear parts are taken out. GAP is within
1e-12 on some processors and within 1e-10 on others."""
SCF = 1e-4
"""eV/angstrom; forces of an SCF whose energy is converged to 1e-9 hartree may differ by the
square root of that times the stiffness, depending on where it starts."""


@pytest.fixture(scope="module", params=MAKERS)
def subject(request):
    """A potential for methanol, with its name."""
    potential = MAKERS[request.param]()
    potential.label = request.param
    return potential


def test_it_is_a_potential(subject):
    assert isinstance(subject, Potential)
    assert np.array_equal(subject.numbers, NUMBERS)


def test_a_batch_equals_its_rows(subject):
    positions = rattled(3, seed=2)
    whole = subject(positions)
    rows = [subject(row[None]) for row in positions]
    energies = np.concatenate([row.energies for row in rows])
    forces = np.concatenate([row.forces for row in rows])
    if whole.deviation is not None:
        deviation = np.concatenate([row.deviation for row in rows])
        assert np.abs(whole.deviation - deviation).max() < 1e-8
    dft = subject.label == "dft"
    tolerance = ROUNDING.get(subject.label, 1e-12)
    assert whole.energies == pytest.approx(energies, abs=1e-6 if dft else tolerance)
    assert np.abs(whole.forces - forces).max() < (SCF if dft else tolerance)


@pytest.mark.physics
def test_forces_are_minus_the_gradient(subject):
    """Five-point differences: error h^4 E^(5) / 30 and the noise of the energy over h."""
    geometries = rattled(SLOW.get(subject.label, 10), seed=3)
    rng = np.random.default_rng(4)
    h = 4e-3
    for geometry in geometries:
        direction = rng.normal(size=geometry.shape)
        direction /= np.linalg.norm(direction)
        shifts = np.array([-2, -1, 1, 2]) * h
        energies = subject(geometry + shifts[:, None, None] * direction).energies
        slope = np.array([1, -8, 8, -1]) @ energies / (12 * h)
        force = (subject(geometry[None]).forces[0] * direction).sum()
        bound = SCF if subject.label == "dft" else 1e-6 * max(1.0, abs(force))
        assert abs(force + slope) < bound


@pytest.mark.physics
def test_moving_and_turning_the_molecule_changes_nothing(subject):
    from scipy.spatial.transform import Rotation

    turn = Rotation.random(rng=5).as_matrix()
    positions = rattled(1, seed=6)
    before = subject(positions)
    after = subject(positions @ turn.T + np.array([3.0, -2.0, 1.0]))
    # DFT integrates on a grid that does not turn with the molecule.
    tolerance = 5e-3 if subject.label == "dft" else 1e-8
    assert after.energies == pytest.approx(before.energies, abs=tolerance * len(NUMBERS))
    assert np.abs(after.forces - before.forces @ turn.T).max() < 10 * tolerance
    if subject.label != "dft":
        assert np.abs(before.forces.sum(axis=1)).max() < 1e-7


def test_positions_are_never_changed(subject):
    positions = rattled(2, seed=7)
    positions.flags.writeable = False
    before = positions.copy()
    subject(positions)
    assert np.array_equal(positions, before)


@pytest.mark.parametrize("shape", [(6, 3), (1, 5, 3), (1, 6, 2)])
def test_positions_of_another_shape_are_refused(subject, shape):
    with pytest.raises(ShapeError, match="expected positions of shape"):
        subject(np.zeros(shape))


def test_positions_that_are_no_numbers_are_refused(subject):
    positions = rattled(2, seed=8)
    positions[1, 0, 0] = np.nan
    with pytest.raises(ShapeError, match="row 1"):
        subject(positions)


def test_it_survives_copying_and_pickling(subject):
    positions = rattled(1, seed=9)
    expected = subject(positions)
    for other in (copy.deepcopy(subject), pickle.loads(pickle.dumps(subject))):
        found = other(positions)
        assert found.energies == pytest.approx(expected.energies, abs=1e-6)
        assert np.abs(found.forces - expected.forces).max() < SCF
    assert subject(positions).energies == pytest.approx(expected.energies, abs=1e-6)


def test_ase_gives_the_numbers_of_the_direct_call(subject):
    positions = rattled(1, seed=10)
    expected = subject(positions)
    atoms = ase.Atoms(NUMBERS, positions[0], calculator=flexcalc.Calculator(subject))
    dft = subject.label == "dft"
    energy = atoms.get_potential_energy()
    assert isinstance(energy, float)
    assert energy == pytest.approx(expected.energies[0], abs=1e-6 if dft else 1e-12)
    assert np.abs(atoms.get_forces() - expected.forces[0]).max() <= (SCF if dft else 1e-12)
    assert ("deviation" in atoms.calc.results) == (expected.deviation is not None)
    if expected.deviation is not None:
        found = atoms.calc.get_property("deviation", atoms)
        assert np.abs(found - expected.deviation[0]).max() <= 1e-12


def test_ipi_gives_the_numbers_of_the_direct_call(subject):
    positions = rattled(1, seed=11)
    expected = subject(positions)
    dft = subject.label == "dft"
    answer = Surface(subject, METHANOL)(100 * np.eye(3)[None], positions / BOHR)
    scale = max(1.0, abs(expected.energies[0]))
    assert answer.energies * HARTREE == pytest.approx(
        expected.energies, abs=1e-6 if dft else 1e-11 * scale
    )
    forces = answer.forces * HARTREE / BOHR
    assert np.abs(forces - expected.forces).max() <= (SCF if dft else 1e-11 * scale)


@pytest.mark.parametrize("name", SAVED)
def test_a_model_folder_gives_the_same_bytes_back(name, tmp_path):
    potential = MAKERS[name]()
    positions = rattled(3, seed=12)
    potential.save(tmp_path / "model.flex")
    loaded = flexcalc.load(tmp_path.joinpath("model.flex").as_posix())
    before, after = potential(positions), loaded(positions)
    assert np.array_equal(before.energies, after.energies)
    assert np.array_equal(before.forces, after.forces)
    assert np.array_equal(before.deviation, after.deviation)
    with pytest.raises(MoleculeError, match="expected the molecule CH4O"):
        flexcalc.load(str(tmp_path / "model.flex"), ase.Atoms("CO"))


@pytest.mark.parametrize("name", SAVED)
def test_training_is_repeatable(name):
    positions = rattled(2, seed=13)
    first, second = MAKERS[name]()(positions), MAKERS[name]()(positions)
    assert np.array_equal(first.forces, second.forces)


class Silly(Springs):
    """Gives one bad number."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def evaluate(self, positions):
        good = super().evaluate(positions)
        energies, forces = good.energies.copy(), good.forces.copy()
        if self.what == "energy":
            energies[-1] = np.inf
        elif self.what == "force":
            forces[-1, 0, 0] = np.nan
        else:
            forces = forces[:, :-1]
        return Evaluation(energies, forces)


@pytest.mark.guard
@pytest.mark.parametrize("what", ["energy", "force"])
def test_a_number_that_is_not_finite_never_leaves(what):
    with pytest.raises(flexcalc.FlexcalcError, match="row 1") as caught:
        Silly(what)(rattled(2, seed=14))
    assert caught.value.exit_code == 3


def test_a_misshapen_result_never_leaves():
    with pytest.raises(ShapeError, match=r"forces \(2, 5, 3\)"):
        Silly("shape")(rattled(2, seed=15))


def test_a_sum_adds_and_refuses_other_molecules():
    positions = rattled(2, seed=16)
    one = Springs()(positions)
    both = Sum(Springs(), Springs())(positions)
    assert np.array_equal(both.energies, 2 * one.energies)
    assert np.array_equal(both.forces, 2 * one.forces)
    with pytest.raises(MoleculeError, match="another order"):
        Sum(Springs(), Springs(NUMBERS[::-1]))
