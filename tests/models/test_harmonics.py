"""Harmonics of permutation groups against products taken one permutation at a time."""

import numpy as np
import pytest
from ase.io import read

from flexcalc.geometry.graph import bonded_share
from flexcalc.models.gdml.automorphisms import automorphisms
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.groups import close, parsed
from flexcalc.models.gdml.harmonics import harmonics
from tests.systems import INPUTS

GROUPS = {
    "trivial": (4, [], 1, 1),
    "C2": (3, ["(1 2)"], 2, 2),
    "methyl, S3": (5, ["(2 3 4)", "(2 3)"], 6, 1 + 1 + 4),
    "C3, complex": (5, ["(0 1 2)"], 3, 1 + 4),
    "C4, complex": (6, ["(0 1 2 3)"], 4, 1 + 1 + 4),
    "quaternions": (8, ["(0 1 2 3)(4 5 6 7)", "(0 4 2 6)(1 7 3 5)"], 8, 4 * 1 + 16),
    "benzene, D6": (12, ["(0 1 2 3 4 5)(6 7 8 9 10 11)", "(1 5)(2 4)(7 11)(8 10)"], 12, 4 + 2 * 4),
    "two methyls, S3 x S3": (8, ["(2 3 4)", "(2 3)", "(5 6 7)", "(5 6)"], 36, 36),
    "five like atoms, S5": (6, ["(0 1)", "(0 1 2 3 4)"], 120, 1 + 16 + 25),
}
"""Atoms, generators, members, and the sum of d^2 over the kinds of irreducible representation
over the real numbers (a complex or quaternionic one counts with its real dimension) that occur in
pairs of the atoms. For S5 these are the partitions (5), (4 1) and (3 2) only."""


def member_permutations(name):
    """A group as (group, atoms), its order and the most terms it may take."""
    if name == "azobenzene":
        atoms = read(INPUTS / "azobenzene-trans.xyz")
        bonded = bonded_share(atoms.numbers, atoms.positions[None])
        # Flips of the two rings, and their exchange: the group of a square.
        return np.array(automorphisms(atoms.numbers, bonded, 100)), 8, 4 * 1 + 4
    atoms, generators, members, terms = GROUPS[name]
    alike = np.ones(atoms, dtype=int)
    rows = [parsed(text, alike) for text in generators] or [tuple(range(atoms))]
    return np.array(close(rows, 1000)), members, terms


@pytest.fixture(scope="module", params=[*GROUPS, "azobenzene"])
def group(request):
    """(group, size) order of the inverse distances, and the most terms."""
    permutations, members, terms = member_permutations(request.param)
    assert len(permutations) == members
    return InverseDistances(permutations.shape[1]).relabelled(permutations), terms


def test_the_basis_is_orthogonal(group):
    basis = harmonics(group[0]).basis.toarray()
    assert np.abs(basis.T @ basis - np.eye(len(basis))).max() < 1e-13


def test_going_back_undoes_going_forward(group, rng):
    order, _ = group
    found = harmonics(order)
    features = rng.normal(size=(4, order.shape[1]))
    assert np.abs(found.backward(found.forward(features)) - features).max() < 1e-13


def test_the_rows_of_the_blocks_are_all_coordinates_once(group):
    order, _ = group
    rows = [slot for block in harmonics(order).rows for slot in block]
    places = [place for slot in rows for place in range(slot.start, slot.stop)]
    assert places == list(range(order.shape[1]))


def test_products_with_every_permutation_are_the_direct_ones(group, rng):
    """Both sum `size` products, so 1e-12 of the lengths is far above the rounding."""
    order, _ = group
    found = harmonics(order)
    x, y = rng.normal(size=(2, order.shape[1]))
    u, v = found.forward(x), found.forward(y)
    terms = np.array([u[here] @ v[there] for here, there in found.terms])
    literal = np.array([x @ y[permuted] for permuted in order])
    bound = 1e-12 * np.linalg.norm(x) * np.linalg.norm(y)
    assert np.abs(terms @ found.table - literal).max() < bound


def test_the_blocks_are_a_representation_of_the_group(group):
    """rho(g) is orthogonal, and the rows of the table that belong to a block multiply."""
    order, _ = group
    found = harmonics(order)
    members = {tuple(row): index for index, row in enumerate(order.tolist())}
    begin = 0
    for block in found.rows:
        size = len(block)
        rho = found.table[begin : begin + size**2].T.reshape(-1, size, size)
        begin += size**2
        for g, h in ((0, 0), (len(rho) - 1, 0), (len(rho) - 1, len(rho) // 2), (1 % len(rho), -1)):
            # (P_g P_h x)[k] = (P_h x)[order[g, k]] = x[order[h, order[g, k]]].
            product = members[tuple(order[h][order[g]].tolist())]
            assert np.abs(rho[g] @ rho[h] - rho[product]).max() < 1e-12
    assert begin == len(found.table)


def test_there_are_no_more_terms_than_theory_says(group):
    order, most = group
    found = harmonics(order)
    assert len(found.terms) == len(found.table) <= most
