"""SchNet, PaiNN and SO3net: the dense form is SchNetPack's, the tabulated one is the dense one."""

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
schnetpack = pytest.importorskip("schnetpack")

from flexcalc.models.networks.potential import (  # noqa: E402
    LARGEST_BATCH,
    NetworkPotential,
    differentiated,
)
from flexcalc.models.schnetpack import PaiNN, SchNet, SO3Net  # noqa: E402

NUMBERS = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])
ETHANOL = np.array(
    [
        [1.17, -0.35, 0.0], [0.0, 0.6, 0.0], [-1.19, -0.19, 0.0], [2.1, 0.2, 0.0],
        [1.15, -0.99, 0.88], [1.15, -0.99, -0.88], [0.03, 1.24, 0.89], [0.03, 1.24, -0.89],
        [-1.94, 0.4, 0.0],
    ]
)  # fmt: skip
SMALL = {"features": 16, "interactions": 2, "radial_functions": 12}
FAMILIES = [
    SchNet(**SMALL),
    SchNet(**SMALL, filters=8),
    PaiNN(**SMALL),
    PaiNN(**SMALL, radial_basis="bessel"),
    SO3Net(**SMALL),
    SO3Net(**SMALL, angular_momentum=1),
    SO3Net(**SMALL, angular_momentum=3, radial_basis="bessel"),
    SO3Net(**SMALL, cutoff=2.0),
]


def geometries(count, seed, scale=0.1):
    noise = np.random.default_rng(seed).normal(scale=scale, size=(count, 9, 3))
    return ETHANOL + noise


def built(family, dtype=torch.float64):
    """A network with weights far from the ones it starts with."""
    torch.manual_seed(3)
    network = family.build(NUMBERS, ETHANOL[None]).to(dtype)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.1 * torch.randn_like(value)
    return network


def theirs(network, positions):
    """The energies of SchNetPack's own model with the same modules."""
    import schnetpack.properties as keys
    from schnetpack.atomistic import Atomwise

    batch, atoms = positions.shape[:2]
    i, j = map(torch.from_numpy, np.nonzero(~np.eye(atoms, dtype=bool)))
    shift = (torch.arange(batch) * atoms)[:, None]
    inputs = {
        keys.Z: network.numbers.repeat(batch),
        keys.Rij: (positions[:, j] - positions[:, i]).reshape(-1, 3),
        keys.idx_i: (i + shift).reshape(-1),
        keys.idx_j: (j + shift).reshape(-1),
        keys.idx_m: torch.arange(batch).repeat_interleave(atoms),
        keys.n_atoms: torch.full((batch,), atoms),
    }
    output = Atomwise(n_in=SMALL["features"], output_key="energy").to(positions.dtype)
    output.outnet = network.output
    return output(network.representation(inputs))["energy"]


@pytest.mark.parametrize("family", FAMILIES, ids=repr)
def test_all_pairs_give_what_schnetpack_gives(family):
    """The same sums in another order, in float64; SO3net's constants are rounded to float32."""
    network, positions = built(family), torch.tensor(geometries(4, seed=1))
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        expected = theirs(network, positions)
    finally:
        torch.set_default_dtype(previous)
    tolerance = 1e-6 if isinstance(family, SO3Net) else 1e-12
    assert torch.allclose(network(positions), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.physics
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_single_precision_so3net_gives_schnetpacks_energies_and_forces(degree):
    """Both round in float32: 1e-5 of the largest force."""
    network = built(SO3Net(**SMALL, angular_momentum=degree), torch.float32)
    positions = torch.tensor(geometries(3, seed=8), dtype=torch.float32)
    found, expected = (
        differentiated(energy, positions)
        for energy in (network, lambda moved: theirs(network, moved))
    )
    for ours, peer in zip(found, expected, strict=True):
        assert float((ours - peer).abs().max()) < 1e-5 * max(1.0, float(peer.abs().max()))


def test_constants_of_so3net_survive_single_precision():
    network, positions = built(SO3Net(**SMALL), torch.float32), torch.tensor(geometries(2, seed=10))
    other = SO3Net(**SMALL).build(NUMBERS, ETHANOL[None]).double()
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.double()(positions), other(positions))


def test_so3net_is_evaluated_in_parts_whose_size_does_not_grow_with_the_batch():
    """A pair has nine filters of each feature, so a part has a ninth of the geometries."""
    family = SO3Net(**SMALL)
    potential = NetworkPotential(family, NUMBERS, built(family), 0.0, 1.0, {})
    assert family.size(9) == potential.network.size == 9**3
    rows, evaluate = [], potential._evaluate

    def counted(positions):
        rows.append(len(positions))
        return evaluate(positions)

    potential._evaluate = counted
    positions = geometries(40, seed=9)
    together = potential(positions)
    assert sum(rows) == 40
    assert max(rows) <= LARGEST_BATCH // 9**3
    alone = [potential(row[None]) for row in positions]
    assert np.abs(together.forces - np.concatenate([row.forces for row in alone])).max() < 1e-12


def compiled(potential, positions):
    """Energies and gradient (as tensors) of the network that needs no torch."""
    return map(torch.from_numpy, potential._compiled(positions.double().numpy()))


COMPILED = [
    *(kind(**SMALL, precision=name) for kind in (SchNet, PaiNN) for name in ("float64", "float32")),
    *(kind(**SMALL, radial_basis="bessel") for kind in (SchNet, PaiNN)),
    *(kind(features=8, interactions=1, output_layers=1) for kind in (SchNet, PaiNN)),
    SchNet(**SMALL, filters=8),
]


@pytest.mark.physics
@pytest.mark.parametrize("family", COMPILED, ids=repr)
def test_a_compiled_network_gives_the_forces_of_the_differentiated_one(family):
    """300 points over 5 angstrom; in float32 rounding is larger than the table's error."""
    network = built(family, getattr(torch, family.precision))
    potential = NetworkPotential(family, NUMBERS, network, 0.0, 1.0, {})
    positions = torch.tensor(geometries(50, seed=2, scale=0.2), dtype=potential.dtype)
    energies, gradient = compiled(potential, positions)
    expected = potential.gradient(positions)
    largest = float(expected[1].abs().max())
    assert largest > 0.1
    bound = 1e-7 if family.precision == "float64" else 1e-5
    assert float((gradient - expected[1]).abs().max()) < bound * max(1.0, largest)
    assert float((energies - expected[0]).abs().max()) < bound * float(expected[0].abs().max())


@pytest.mark.physics
@pytest.mark.parametrize("kind", [SchNet, PaiNN])
def test_the_error_of_a_table_falls_as_it_should(kind):
    """Energies with the sixth and forces with the fifth power of the spacing."""
    errors = []
    for table in (40, 80, 160):
        family = kind(**SMALL, table=table)
        potential = NetworkPotential(family, NUMBERS, built(family), 0.0, 1.0, {})
        positions = torch.tensor(geometries(40, seed=4, scale=0.2))
        found, exact = compiled(potential, positions), potential.gradient(positions)
        errors.append([float((a - b).abs().max()) for a, b in zip(found, exact, strict=True)])
    ratio = np.array(errors[:-1]) / np.array(errors[1:])
    assert np.all(ratio[:, 0] > 2**5)
    assert np.all(ratio[:, 1] > 2**4)


@pytest.mark.physics
@pytest.mark.parametrize("family", [SchNet(**SMALL), PaiNN(**SMALL)], ids=repr)
def test_an_atom_that_crosses_the_cutoff_is_not_felt(family):
    """The cosine cutoff ends with a slope of zero: the energy changes with the square."""
    potential = NetworkPotential(family, NUMBERS, built(family), 0.0, 1.0, {})
    apart = ETHANOL.copy()
    apart[8] = [0.0, 0.0, 0.0]
    away = np.array([1.0, 0.0, 0.0])
    furthest = max(ETHANOL[:8] @ away)
    rows = np.stack([apart.copy() for _ in range(2)])
    for row, shift in zip(rows, (-1e-6, 1e-6), strict=True):
        row[8] = [furthest + 5.0 + shift, *ETHANOL[np.argmax(ETHANOL[:8] @ away)][1:]]
    found = potential(rows)
    assert abs(np.diff(found.energies)[0]) < 1e-8
    assert np.abs(np.diff(found.forces, axis=0)).max() < 2e-6


def test_a_row_does_not_depend_on_its_batch_nor_on_far_pairs():
    family = SchNet(**SMALL, cutoff=2.5)
    potential = NetworkPotential(family, NUMBERS, built(family), 0.0, 1.0, {})
    positions = geometries(6, seed=5)
    together = potential(positions)
    alone = [potential(row[None]) for row in positions]
    assert np.abs(together.energies - [row.energies[0] for row in alone]).max() < 1e-12
    assert np.abs(together.forces - np.concatenate([row.forces for row in alone])).max() < 1e-12


def test_a_copy_of_a_potential_shares_nothing():
    family = SchNet(**SMALL)
    potential = NetworkPotential(family, NUMBERS, built(family, torch.float32), 0.5, 2.0, {})
    positions = geometries(2, seed=6)
    expected = potential(positions)
    other = copy.deepcopy(potential)
    with torch.no_grad():
        for value in potential.network.parameters():
            value.zero_()
    assert np.array_equal(other(positions).forces, expected.forces)
