"""Symmetry functions against DScribe's, and what a Behler-Parrinello network promises besides."""

import itertools

import ase
import numpy as np
import pytest
from ase.build import molecule

torch = pytest.importorskip("torch")

from flexcalc.dataset import Dataset  # noqa: E402
from flexcalc.errors import InputError  # noqa: E402
from flexcalc.models.bpnn import BPNN, parameters  # noqa: E402
from flexcalc.models.bpnn.functions import SymmetryFunctions, powers  # noqa: E402
from flexcalc.models.networks.potential import NetworkPotential, built  # noqa: E402

ZETAS = (1, 2, 5, 16)


def azobenzene():
    """Two rings of six carbons with their hydrogens, held by N=N; planar, with linear angles."""
    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    left = np.concatenate([1.39 * ring, 2.48 * ring[1:]])
    nitrogen = [[2.81, 0.1, 0.0], [3.5, 1.13, 0.0]]
    right = [6.31, 1.23, 0.0] + left * [-1, 1, 1]
    return ase.Atoms("C6H5N2C6H5", np.concatenate([left, nitrogen, right]))


def glycine():
    return molecule("CH3CONH2")


MOLECULES = {
    "ethanol": lambda: molecule("CH3CH2OH"),
    "glycine-like": glycine,
    "azobenzene": azobenzene,
}


def rattled(atoms, count, scale=0.05, seed=0):
    """Frames (count, atoms, 3) around a geometry."""
    rng = np.random.default_rng(seed)
    return atoms.positions + rng.normal(scale=scale, size=(count, len(atoms), 3))


def functions(atoms, cutoff):
    return SymmetryFunctions(
        atoms.numbers,
        parameters.radial(7, cutoff),
        parameters.angular(3, cutoff),
        ZETAS,
        cutoff,
    )


def dscribe(atoms, mine, cutoff, frames):
    """The same functions by DScribe, in our order: it puts a G1 before the G2 of an element."""
    descriptors = pytest.importorskip("dscribe.descriptors")
    radial = parameters.radial(7, cutoff)
    angular = [
        (eta, zeta, sign)
        for eta, sign, zeta in itertools.product(parameters.angular(3, cutoff), (1, -1), ZETAS)
    ]
    theirs = descriptors.ACSF(cutoff, g2_params=radial, g4_params=angular, species=mine.elements)
    found = theirs.create([ase.Atoms(atoms.numbers, frame) for frame in frames])
    kinds = len(mine.elements)
    columns = [
        kind * (len(radial) + 1) + 1 + k for kind in range(kinds) for k in range(len(radial))
    ]
    for one, two in mine.pairs:
        low, high = mine.elements.index(one), mine.elements.index(two)
        block = kinds * (len(radial) + 1) + (high * (high + 1) // 2 + low) * len(angular)
        columns += range(block, block + len(angular))
    assert not np.delete(found, columns, axis=-1)[..., kinds:].any()
    return found[..., columns]


@pytest.mark.parametrize("name", MOLECULES)
@pytest.mark.parametrize("cutoff", [3.0, 6.0])
def test_symmetry_functions_are_those_of_dscribe(name, cutoff):
    """Sums of some hundred terms below 2, so rounding is below 1e-13."""
    atoms = MOLECULES[name]()
    frames = rattled(atoms, 3)
    mine = functions(atoms, cutoff)
    found = mine(torch.tensor(frames)).numpy()
    assert found.shape == (3, len(atoms), mine.size)
    assert np.abs(found - dscribe(atoms, mine, cutoff, frames)).max() < 1e-12


def test_angles_of_180_degrees_and_right_angles_have_two_derivatives():
    """(1 + lambda cos)^zeta is a polynomial in the cosine: nothing is singular where it is 0."""
    atoms = ase.Atoms("OCOH", [[-1.16, 0, 0], [0, 0, 0], [1.16, 0, 0], [0, 1.1, 0]])
    positions = torch.tensor(atoms.positions[None], requires_grad=True)
    total = functions(atoms, 4.0)(positions).pow(2).sum()
    (slope,) = torch.autograd.grad(total, positions, create_graph=True)
    (second,) = torch.autograd.grad(slope.pow(2).sum(), positions)
    assert torch.isfinite(slope).all()
    assert torch.isfinite(second).all()
    assert torch.autograd.gradgradcheck(functions(atoms, 4.0), positions)


def test_atoms_beyond_the_cutoff_contribute_nothing():
    near = ase.Atoms("COH", [[0, 0, 0], [1.2, 0, 0], [-0.5, 0.9, 0]])
    far = near + ase.Atoms("H2", [[40.0, 0, 0], [50.0, 0, 0]])
    alone, both = functions(near, 4.0), functions(far, 4.0)
    found = both(torch.tensor(far.positions[None]))[0]
    expected = alone(torch.tensor(near.positions[None]))[0]
    assert not found[3:].any()
    assert found.shape[1] == both.size
    shared = [both.pairs.index(pair) for pair in alone.pairs]
    columns = list(range(both.radials))
    for block in shared:
        start = both.radials + block * both.angular
        columns += range(start, start + both.angular)
    assert torch.equal(found[:3, columns], expected)


@pytest.mark.physics
def test_an_atom_crosses_the_cutoff_without_a_jump():
    """At d inside the cutoff R, f_c < (pi d / 2 R)^2 = 3e-13; scales and weights make < 1e3 of it.

    Its slope is pi^2 d / 2 R^2 = 6e-7, so the forces jump by no more than 1e3 of that.
    """
    atoms = ase.Atoms("COHH", [[0, 0, 0], [1.2, 0, 0], [0.5, 0.9, 0], [-3.0, 0, 0]])
    step = 1e-6
    torch.manual_seed(0)
    network = BPNN(cutoff=3.0).build(atoms.numbers, rattled(atoms, 20)).double()
    where = np.repeat(atoms.positions[None], 3, axis=0)
    where[0, 3, 0] += step
    where[2, 3, 0] -= step
    there = torch.tensor(where, requires_grad=True)
    energies = network(there)
    (gradient,) = torch.autograd.grad(energies.sum(), there)
    assert np.ptp(energies.detach().numpy()) < 1e-9
    assert (gradient[1] - gradient[0]).abs().max() < 6e-4
    assert torch.allclose(gradient[2], gradient[1], rtol=0, atol=1e-14)
    assert not gradient[1:, 3].any()


@pytest.mark.parametrize("exponents", [(1,), (1, 2, 4, 16), (3, 7, 64)])
def test_powers_are_powers(exponents):
    base = torch.linspace(0, 1, 11, dtype=torch.float64)
    for exponent, found in zip(exponents, powers(base, exponents), strict=True):
        assert torch.allclose(found, base**exponent, rtol=1e-14, atol=0)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_shells_reach_from_the_bonds_to_the_cutoff(count):
    radial = parameters.radial(count, 6.0)
    assert radial.shape == (count, 2)
    assert (np.diff(radial[:, 1]) > 0).all()
    assert radial[-1, 1] == pytest.approx(6.0)
    assert np.isfinite(radial).all()
    assert len(parameters.angular(count, 6.0)) == count


def test_functions_that_never_vary_have_no_say():
    """The H of CO + H sees no other H; with C and O at rest they see a constant of each other."""
    atoms = ase.Atoms("COH", [[0, 0, 0], [1.2, 0, 0], [-0.5, 0.9, 0]])
    frames = np.repeat(atoms.positions[None], 30, axis=0)
    frames[:, 2] += np.random.default_rng(0).normal(scale=0.1, size=(30, 3))
    network = BPNN().build(atoms.numbers, frames)
    shells = BPNN().radial_functions
    hydrogen, carbon = (network.functions.elements.index(z) for z in (1, 6))
    own = slice(hydrogen * shells, (hydrogen + 1) * shells)
    oxygen = network.functions.elements.index(8)
    assert not network.scale[hydrogen, own].any()
    assert network.scale[hydrogen, :].any()
    assert not network.scale[carbon, oxygen * shells : (oxygen + 1) * shells].any()


def network(family, atoms, frames):
    """A potential with random weights, and what torch makes of it."""
    made = NetworkPotential(family, atoms.numbers, built(family, atoms.numbers, frames), 0, 1, {})
    inside = torch.tensor(frames, dtype=made.dtype)
    return made, [part.double().numpy() for part in made.gradient(inside)]


COMPILED = [
    BPNN(),
    BPNN(precision="float32"),
    BPNN(cutoff=3.0, zetas=(3, 1), hidden=(10,), activation="tanh"),
    BPNN(cutoff=1.2, angular_widths=1, hidden=(), activation="softplus"),
    BPNN(zetas=(64,), hidden=(5, 4, 3), activation="softplus"),
]


@pytest.mark.physics
@pytest.mark.parametrize("family", COMPILED, ids=range(len(COMPILED)))
@pytest.mark.parametrize("name", MOLECULES)
def test_a_compiled_network_gives_what_the_differentiated_one_does(family, name):
    """The same sums in another order: rounding."""
    atoms = MOLECULES[name]()
    frames = rattled(atoms, 5)
    potential, (energies, gradient) = network(family, atoms, frames)
    found = potential(frames)
    bound = 1e-12 if family.precision == "float64" else 1e-5
    assert np.abs(gradient).max() > 1e-3
    assert np.abs(found.energies - energies).max() < bound * max(1.0, np.abs(energies).max())
    assert np.abs(found.forces + gradient).max() < bound * max(1.0, np.abs(gradient).max())


def test_what_is_compiled_is_kept_by_its_sources_and_numbas_setting_left_alone():
    from numba import config

    from flexcalc.models.bpnn.arithmetic import evaluate
    from flexcalc.models.networks import compiled

    assert not config.CACHE_DIR
    assert str(compiled._folder()) in evaluate.stats.cache_path


def test_a_molecule_of_two_atoms_has_no_triplets():
    atoms = molecule("HCl")
    frames = rattled(atoms, 3)
    potential, (energies, gradient) = network(BPNN(hidden=(4,)), atoms, frames)
    found = potential(frames)
    assert found.energies == pytest.approx(energies, abs=1e-13)
    assert found.forces == pytest.approx(-gradient, abs=1e-13)


def test_a_molecule_with_one_atom_of_each_kind_can_be_trained():
    """No element has a neighbour of its own kind, and none has a pair of them."""
    atoms = ase.Atoms("CN", [[0, 0, 0], [1.15, 0, 0]])
    frames = rattled(atoms, 20)
    apart = frames[:, 1] - frames[:, 0]
    length = np.linalg.norm(apart, axis=1, keepdims=True)
    pull = 30 * (length - 1.15) * apart / length
    data = Dataset(
        atoms.numbers, frames, 15 * (length[:, 0] - 1.15) ** 2, np.stack([pull, -pull], axis=1)
    )
    model = BPNN(epochs=3, hidden=(4,)).fit(data, None, np.random.default_rng(0))
    assert np.isfinite(model(frames).forces).all()


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("family", "numbers", "message"),
    [(BPNN(zetas=()), [6, 8], "one power at least"), (BPNN(), [6], "two atoms at least")],
)
def test_what_has_no_symmetry_functions_is_refused(family, numbers, message):
    with pytest.raises(InputError, match=message):
        family.check(np.array(numbers))
