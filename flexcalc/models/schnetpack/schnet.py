"""SchNet's message passing, compiled by numba; see `networks.compiled`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flexcalc.models.networks.compiled import LOG2, Perceptrons, compiled, read_out, softplus
from flexcalc.models.schnetpack.pairs import Near, Pairs, find, slope_at, value_at


class Blocks(NamedTuple):
    """The weights of the interaction blocks; `_t` is a transpose.

    Args:
        start: (atoms, features) embedding of the atoms, before the first block.
        table: (intervals, blocks, 6, filters) coefficients of the polynomials.
        inward: (blocks, filters, features).
        first: (blocks, features, filters).
        first_bias: (blocks, features).
        second: (blocks, features, features).
        second_bias: (blocks, features).
    """

    start: np.ndarray
    table: np.ndarray
    inward: np.ndarray
    inward_t: np.ndarray
    first: np.ndarray
    first_t: np.ndarray
    first_bias: np.ndarray
    second: np.ndarray
    second_t: np.ndarray
    second_bias: np.ndarray


class Scratch(NamedTuple):
    """Work arrays of one thread.

    Args:
        near: the pairs within the cutoff.
        tension: (pairs,) derivative of the energy by the position in the table.
        values: (blocks, pairs, filters) filters.
        inward: (blocks, atoms, filters) features that the filters multiply.
        sigmoid: (blocks, atoms, features) slopes of the activation.
        total, message: (atoms, filters).
        before, after: (atoms, features).
    """

    near: Near
    tension: np.ndarray
    values: np.ndarray
    inward: np.ndarray
    sigmoid: np.ndarray
    total: np.ndarray
    message: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs, blocks: Blocks) -> Scratch:
        """Arrays of the right shapes."""
        count, dtype = len(pairs.first), blocks.start.dtype
        atoms, features = blocks.start.shape
        _, layers, _, filters = blocks.table.shape
        shapes = {
            "tension": (count,),
            "values": (layers, count, filters),
            "inward": (layers, atoms, filters),
            "sigmoid": (layers, atoms, features),
            "total": (atoms, filters),
            "message": (atoms, filters),
            "before": (atoms, features),
            "after": (atoms, features),
        }
        return cls(
            near=Near.of(count, dtype),
            **{name: np.empty(shape, dtype) for name, shape in shapes.items()},
        )


@compiled
def evaluate(
    positions: np.ndarray,
    pairs: Pairs,
    blocks: Blocks,
    output: Perceptrons,
    scratch: Scratch,
    energies: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Energies (batch,) of positions (batch, atoms, 3), and their gradient.

    Args:
        positions: in double precision.
        pairs, blocks, output: of the network, in its precision.
        scratch: of this thread.
        energies, gradient: the results, in double precision.
    """
    layers = len(blocks.inward)
    before, after, total = scratch.before, scratch.after, scratch.total
    for row in range(len(positions)):
        count = find(positions[row], pairs, scratch.near)
        x = blocks.start.copy()
        for block in range(layers):
            np.dot(x, blocks.inward_t[block], scratch.inward[block])
            _aggregate_messages(count, scratch, blocks.table, block)
            np.dot(total, blocks.first_t[block], before)
            softplus(before, blocks.first_bias[block], scratch.sigmoid[block], LOG2)
            np.dot(before, blocks.second_t[block], after)
            x += after
            x += blocks.second_bias[block]
        energies[row], pull = read_out(x, output, 0)
        scratch.tension[:count] = 0
        for step in range(layers):
            block = layers - 1 - step
            np.dot(pull, blocks.second[block], after)
            after *= scratch.sigmoid[block]
            np.dot(after, blocks.first[block], scratch.message)
            _add_tension(count, scratch, blocks.table, block)
            if block > 0:  # the features before the first block are constant
                _aggregate_back(count, scratch, block)
                np.dot(total, blocks.inward[block], after)
                pull += after
        _gather(count, scratch, pairs, gradient[row])


@compiled
def _aggregate_messages(count: int, scratch: Scratch, table: np.ndarray, block: int) -> None:
    """Interpolate the filters of a block, and aggregate the messages at each atom."""
    inward, total, near = scratch.inward[block], scratch.total, scratch.near
    total[:] = 0
    for pair in range(count):
        first, second, t = near.ends[pair, 0], near.ends[pair, 1], near.place[pair]
        c, values = table[near.left[pair], block], scratch.values[block, pair]
        for f in range(len(values)):
            value = value_at(c, t, f)
            values[f] = value
            total[first, f] += value * inward[second, f]
            total[second, f] += value * inward[first, f]


@compiled
def _aggregate_back(count: int, scratch: Scratch, block: int) -> None:
    """Backpropagate the messages of a block to the features of each atom."""
    message, total, near = scratch.message, scratch.total, scratch.near
    total[:] = 0
    for pair in range(count):
        first, second = near.ends[pair, 0], near.ends[pair, 1]
        values = scratch.values[block, pair]
        for f in range(len(values)):
            total[first, f] += values[f] * message[second, f]
            total[second, f] += values[f] * message[first, f]


@compiled
def _add_tension(count: int, scratch: Scratch, table: np.ndarray, block: int) -> None:
    """Add the contribution of the filters of a block to the tension."""
    inward, message, near = scratch.inward[block], scratch.message, scratch.near
    for pair in range(count):
        first, second, t = near.ends[pair, 0], near.ends[pair, 1], near.place[pair]
        c, total = table[near.left[pair], block], scratch.tension[pair]
        for f in range(inward.shape[1]):
            total += slope_at(c, t, f) * (
                message[first, f] * inward[second, f] + message[second, f] * inward[first, f]
            )
        scratch.tension[pair] = total


@compiled
def _gather(count: int, scratch: Scratch, pairs: Pairs, gradient: np.ndarray) -> None:
    """The gradient (atoms, 3) from the tension of the pairs."""
    near, scale = scratch.near, pairs.intervals / pairs.cutoff
    gradient[:] = 0
    for pair in range(count):
        first, second = near.ends[pair, 0], near.ends[pair, 1]
        for axis in range(3):
            push = scale * scratch.tension[pair] * near.unit[pair, axis]
            gradient[second, axis] += push
            gradient[first, axis] -= push
