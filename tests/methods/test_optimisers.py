"""The optimisers' own arithmetic; what they find is asked where they are used."""

from dataclasses import replace

import numpy as np

from flexcalc.methods.optimisers import LBFGS


def two_loops(force, moves, changes, stiffness):
    """Nocedal's recursion for one row, word by word; pairs that curve the wrong way left out."""
    pairs = [(s, y) for s, y in zip(moves, changes, strict=True) if s @ y > 1e-10 * (y @ y)]
    direction, shares = force.copy(), []
    for s, y in reversed(pairs):
        shares.append(s @ direction / (s @ y))
        direction -= shares[-1] * y
    direction *= (
        pairs[-1][0] @ pairs[-1][1] / (pairs[-1][1] @ pairs[-1][1]) if pairs else (1 / stiffness)
    )
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        direction += (share - y @ direction / (s @ y)) * s
    return direction


def test_lbfgs_goes_where_the_two_loops_go(rng):
    """Of three rows the first curves rightly, the second by turns, the third never."""
    history, rows, atoms = 7, 3, 4
    matrix = rng.normal(size=(12, 12))
    hessian = matrix @ matrix.T + np.eye(12)
    moves = rng.normal(size=(history, rows, 12)) * 0.05
    changes = moves @ hessian
    changes[::2, 1] *= -1
    changes[:, 2] *= -1
    forces = rng.normal(size=(rows, 12))
    optimiser = LBFGS(history=history + 1, step_A=1e6)
    memory = replace(
        optimiser.start(np.zeros((rows, atoms, 3))),
        moves=moves.reshape(history, rows, atoms, 3),
        changes=changes.reshape(history, rows, atoms, 3),
    )
    moved, _ = optimiser.move(np.zeros((rows, atoms, 3)), forces.reshape(rows, atoms, 3), memory)
    for row in range(rows):
        expected = two_loops(forces[row], moves[:, row], changes[:, row], optimiser.stiffness_eV_A2)
        assert np.allclose(moved[row].ravel(), expected, rtol=1e-9, atol=1e-12)
