"""The kernel that is a sum over bonds, against the literal sum over bonds and permutations."""

import json

import numpy as np
import pytest

import flexcalc
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError
from flexcalc.models.gdml import SGDML, family
from flexcalc.models.gdml.bonds import BondContraction, are_closed, bond_centres, terms_of
from flexcalc.models.gdml.descriptor import extended
from flexcalc.models.gdml.engine import engine
from flexcalc.models.gdml.exact import full_matrix
from flexcalc.models.gdml.exchange import write_npz
from flexcalc.models.gdml.groups import close, parsed
from flexcalc.models.gdml.iterative import Operator, matrix_columns
from flexcalc.models.gdml.kernel import Kernel, prepare
from flexcalc.models.gdml.reduction import importance
from flexcalc.registry import open_potential
from tests.systems import ethanol_frames, labelled, water_frames

SIGMA = 2.0
METHYL = np.array(close([parsed(text, np.ones(9, dtype=int)) for text in ("(3 4 5)", "(3 4)")], 10))
"""The permutations of the first three hydrogens."""


def literal(points, order, terms, slopes, energies, x):
    """E and -dE/dx of one geometry, and the size of the terms; see `contraction` for a term."""
    stretch = np.sqrt(5) / SIGMA
    value, slope, size = 0.0, np.zeros_like(x), 0.0
    for point, a, e in zip(points, slopes, energies, strict=True):
        for permuted in order:
            for term in terms:
                d, here = stretch * (x - point[permuted])[term], a[permuted][term]
                n, along = np.linalg.norm(d), d @ here
                decay = np.exp(-n)
                value += along * (1 + n) * decay + e * (1 + n + n**2 / 3) * decay
                slope[term] += stretch * decay * ((along + e * (1 + n) / 3) * d - (1 + n) * here)
                size += abs(along) + abs(e) + np.linalg.norm(here)
    return value, slope, size


@pytest.fixture
def frames(rng):
    """Ethanol: numbers, and seven geometries that differ."""
    return ethanol_frames(7, rng)


@pytest.fixture
def case(frames):
    """A descriptor and the terms of its kernel."""
    numbers, positions = frames
    descriptor = extended(numbers, positions, permutations=METHYL)
    return descriptor, terms_of(descriptor, bond_centres(numbers, positions, METHYL))


def trained(frames, **options):
    data = labelled(*frames)
    return SGDML(sigma=5.0, kernel="bonds", **options).fit(data, None, np.random.default_rng(0))


@pytest.mark.parametrize("fitted", [False, True], ids=["forces", "energies too"])
@pytest.mark.parametrize("blocks", ["one block", "several blocks"])
@pytest.mark.parametrize("kind", ["cpu", "torch"])
def test_it_is_the_literal_sum(kind, blocks, fitted, case, frames, rng, monkeypatch):
    """To 1e-12 of the sum of the terms' sizes, for batches of 1, 2 and 9 geometries."""
    if kind == "torch":
        pytest.importorskip("torch")
    if blocks == "several blocks":
        monkeypatch.setattr("flexcalc.models.gdml.bonds.PAIRS", 40)
    descriptor, terms = case
    points = descriptor.linearise(frames[1]).features
    slopes, energies = rng.normal(size=points.shape), rng.normal(size=len(points))
    order = descriptor.relabelled(METHYL)
    found = BondContraction(points, order, SIGMA, terms, engine(kind))
    found.set_coefficients(slopes, energies if fitted else None)
    x = descriptor.linearise(ethanol_frames(9, rng, rattle=0.2)[1]).features
    x[0] = points[0]
    expected = [literal(points, order, terms, slopes, energies * fitted, one) for one in x]
    for batch in (1, 2, 9):
        values, gradients = found(x[:batch])
        for (value, slope, size), got, way in zip(expected, values, gradients, strict=False):
            assert abs(got - value) < 1e-12 * size
            assert np.abs(way - slope).max() < 1e-12 * size


@pytest.mark.parametrize("energies", [False, True], ids=["forces", "energies too"])
def test_its_matrix_is_that_of_the_predictions(energies, case, frames, rng):
    """The blocks, some columns of them, and the product that never makes them."""
    descriptor, terms = case
    points = prepare(descriptor, frames[1], METHYL, energies, None, terms)
    kernel = Kernel(points, SIGMA)
    matrix, vector = full_matrix(kernel), rng.normal(size=points.rows)
    size = np.abs(matrix).max()
    assert np.abs(matrix - matrix.T).max() < 1e-12 * size
    assert np.abs(matrix @ vector - Operator(kernel)(vector)).max() < 1e-11 * size * len(vector)
    chosen = np.array([0, 5, 30, 70])
    assert np.abs(matrix_columns(kernel, chosen) - matrix[chosen]).max() < 1e-12 * size
    assert np.linalg.eigvalsh(matrix).min() > -1e-10 * size * len(matrix)


@pytest.mark.physics
def test_forces_are_minus_the_gradient(frames, rng):
    """Five-point differences along a random direction, whose own error is of order h^4."""
    model, step = trained(frames), 1e-3
    where, way = frames[1][0] + 0.02, rng.normal(size=(9, 3))
    shifts = np.array([-2, -1, 1, 2])
    energies = model(where + step * shifts[:, None, None] * way).energies
    slope = np.array([1, -8, 8, -1]) @ energies / (12 * step)
    forces = model(where[None]).forces[0]
    assert abs((forces * way).sum() + slope) < 1e-6 * np.abs(forces).max()


@pytest.mark.physics
def test_identical_atoms_may_change_places(frames):
    model = trained(frames, generators=("(3 4 5)", "(3 4)"))
    assert len(model.permutations) == 6
    here = model(frames[1])
    there = model(frames[1][:, METHYL[3]])
    assert np.abs(here.energies - there.energies).max() < 1e-8
    assert np.abs(here.forces[:, METHYL[3]] - there.forces).max() < 1e-8


def test_training_points_are_met_by_either_solver(frames):
    """The exact solver to rounding, the iterative one to its tolerance."""
    data = labelled(*frames)
    scale = np.abs(data.forces).max()
    exact = trained(frames)(data.positions).forces
    assert np.abs(exact - data.forces).max() < 1e-4 * scale
    iterated = trained(frames, solver="iterative", tolerance=1e-6)(data.positions).forces
    assert np.abs(iterated - data.forces).max() < 1e-3 * scale


def test_a_model_is_read_back_as_it_was(frames, tmp_path):
    model = trained(frames)
    model.save(tmp_path / "a.flex")
    again = open_potential(str(tmp_path / "a.flex"), frames[0])
    assert np.array_equal(again.centres, model.centres)
    assert np.array_equal(again(frames[1]).forces, model(frames[1]).forces)
    assert np.allclose(again.distance(frames[1]), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    "wrong", [[[0, 9]], [[-1, 0]], [[0, 3]], np.empty((0, 2), dtype=int)], ids=str
)
def test_centres_that_cannot_be_are_refused(wrong, frames, tmp_path):
    """Atoms that are not there, a bond whose images are missing, and none."""
    model = trained(frames, generators=("(3 4 5)",))
    model.centres = np.array(wrong)
    model.save(tmp_path / "a.flex")
    with pytest.raises(FileFormatError, match="centres"):
        open_potential(str(tmp_path / "a.flex"), frames[0])


def test_atoms_without_bonds_are_terms_of_their_own():
    numbers = np.array([1, 1, 18])
    positions = np.array([[[0, 0, 0], [0, 0, 0.74], [0, 3.0, 0]]])
    centres = bond_centres(numbers, positions, np.array([[0, 1, 2], [1, 0, 2]]))
    assert centres.tolist() == [[0, 1], [2, 2]]
    assert are_closed(centres, np.array([[1, 0, 2]]))
    assert not are_closed(centres, np.array([[2, 1, 0]]))


def test_bonds_of_the_same_features_are_one_term(rng):
    """Of water, either bond has all features: then the kernel is that of the molecule."""
    frames = water_frames(6, rng)
    numbers, positions = frames
    descriptor = extended(numbers, positions)
    centres = bond_centres(numbers, positions, np.array([[0, 1, 2]]))
    assert len(centres) == 2
    assert len(terms_of(descriptor, centres)) == 1
    data = labelled(*frames)
    one, other = (
        SGDML(sigma=5.0, kernel=kind).fit(data, None, np.random.default_rng(0))(positions)
        for kind in ("bonds", "molecule")
    )
    assert np.abs(one.forces - other.forces).max() < 1e-8


def kernel_of(options, data):
    model = SGDML(sigma=5.0, **options).fit(data, None, np.random.default_rng(0))
    return "molecule" if model.centres is None else "bonds"


def test_few_points_have_a_kernel_by_bonds_where_that_is_left_open(frames, monkeypatch):
    """Unless it has to be that of the molecule."""
    data: Dataset = labelled(*frames)
    assert kernel_of({}, data) == "bonds"
    assert kernel_of({"descriptor": "distances"}, data) == "molecule"
    assert kernel_of({"kernel": "bonds", "descriptor": "distances"}, data) == "bonds"
    assert kernel_of({"features": "reduced"}, data) == "molecule"
    assert kernel_of({"kept": (0, 1, 2), "symmetry": False}, data) == "molecule"
    monkeypatch.setattr(family, "FEW_POINTS", len(data) - 1)
    assert kernel_of({}, data) == "molecule"
    assert kernel_of({"kernel": "bonds", "symmetry": False}, data) == "bonds"


def test_models_of_parts_of_the_points_have_the_kernel_of_all(frames, monkeypatch):
    """Members of a committee, folds, regions, and sizes of a learning curve."""
    data: Dataset = labelled(*frames)
    monkeypatch.setattr(family, "FEW_POINTS", len(data) - 1)
    options = {"points": len(data) - 4, "validation_points": 4, "sigma": 10.0, "progress": False}
    few = flexcalc.train(data, **options)
    assert few.hyperparameters["kernel"] == "bonds"
    monkeypatch.setattr(family, "FEW_POINTS", len(data) - 5)
    found = flexcalc.train(data, committee=2, **options)
    assert [one.centres for one in found.model.members] == [None, None]
    assert found.hyperparameters["kernel"] == "molecule"


@pytest.mark.parametrize(
    "other",
    [{"features": "reduced"}, {"kept": (0, 1)}, {"descriptor": "distances", "metric": "learned"}],
    ids=json.dumps,
)
def test_bonds_need_all_features_as_they_are(other, frames):
    with pytest.raises(ConfigError, match="bonds"):
        SGDML(kernel="bonds", **other).check(frames[0])


def test_importances_are_of_a_kernel_of_the_molecule(frames):
    model = trained(frames)
    with pytest.raises(InputError, match="bonds"):
        importance(model, frames[1])


@pytest.mark.inputs
def test_the_sgdml_package_has_no_such_kernel(frames, tmp_path):
    """Its file would open as a model of one kernel, with other forces."""
    model = trained(frames, descriptor="distances")
    with pytest.raises(InputError, match='kernel = "molecule"'):
        write_npz(model, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()
