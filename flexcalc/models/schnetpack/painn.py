"""PaiNN's message passing, compiled by numba; see `networks.compiled`.

A filter of PaiNN is linear in the radial functions times the cutoff function, and in the cutoff
function. These few functions of the distance are tabulated (`shells`), and matrix products give the
filters. Scalar, radial and carried parts (or other three parts) are stored side by side in rows of
3 features. Vectors are three rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from flexcalc.models.networks.compiled import Perceptrons, compiled, read_out, silu
from flexcalc.models.schnetpack.pairs import Near, Pairs, find, slope_at, value_at


class Blocks(NamedTuple):
    """The weights of the interaction and mixing blocks; `_t` is a transpose.

    Args:
        start: (atoms, features) embedding of the atoms, before the first block.
        table: (intervals, 6, shells) coefficients of the polynomials.
        filters: (blocks, 3 features, shells).
        context: (blocks, features, features), first layer of the message network.
        context_bias: (blocks, features).
        message: (blocks, 3 features, features), its second layer.
        message_bias: (blocks, 3 features).
        mix: (blocks, 2 features, features), of vectors.
        inner: (blocks, features, 2 features), first layer of the update network.
        inner_bias: (blocks, features).
        update: (blocks, 3 features, features), its second layer.
        update_bias: (blocks, 3 features).
        epsilon: added to squared lengths.
    """

    start: np.ndarray
    table: np.ndarray
    filters: np.ndarray
    filters_t: np.ndarray
    context: np.ndarray
    context_t: np.ndarray
    context_bias: np.ndarray
    message: np.ndarray
    message_t: np.ndarray
    message_bias: np.ndarray
    mix: np.ndarray
    mix_t: np.ndarray
    inner: np.ndarray
    inner_t: np.ndarray
    inner_bias: np.ndarray
    update: np.ndarray
    update_t: np.ndarray
    update_bias: np.ndarray
    epsilon: np.floating


class Scratch(NamedTuple):
    """Work arrays of one thread.

    Args:
        near: the pairs within the cutoff.
        shells, slopes: (pairs, shells) functions of the distance, and their slopes.
        filters: (blocks, pairs, 3 features).
        messages: (blocks, atoms, 3 features) from each atom to its neighbours.
        context_slope, inner_slope: (blocks, atoms, features) slopes of the activation.
        carried: (blocks, 3 atoms, features) vectors before a block.
        mixed: (blocks, 3 atoms, 2 features).
        length, product: (blocks, atoms, features) of the two halves of `mixed`.
        update: (blocks, atoms, 3 features).
        push: (pairs, 3) derivative of the energy by the unit vectors.
        pull: (pairs, 3 features) derivative by the filters.
        by_shell: (pairs, shells) derivative by the functions of the distance.
        by_messages, by_mixed: like `messages` and `mixed`.
        vector, more: (3 atoms, features).
        joint: (atoms, 2 features).
        hidden, extra: (atoms, features).
    """

    near: Near
    shells: np.ndarray
    slopes: np.ndarray
    filters: np.ndarray
    messages: np.ndarray
    context_slope: np.ndarray
    inner_slope: np.ndarray
    carried: np.ndarray
    mixed: np.ndarray
    length: np.ndarray
    product: np.ndarray
    update: np.ndarray
    push: np.ndarray
    pull: np.ndarray
    by_shell: np.ndarray
    by_messages: np.ndarray
    by_mixed: np.ndarray
    vector: np.ndarray
    more: np.ndarray
    joint: np.ndarray
    hidden: np.ndarray
    extra: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs, blocks: Blocks) -> Scratch:
        """Arrays of the right shapes."""
        count, dtype, layers = len(pairs.first), blocks.start.dtype, len(blocks.mix)
        atoms, features = blocks.start.shape
        shells = blocks.table.shape[2]
        shapes = {
            "shells": (count, shells),
            "slopes": (count, shells),
            "filters": (layers, count, 3 * features),
            "messages": (layers, atoms, 3 * features),
            "context_slope": (layers, atoms, features),
            "inner_slope": (layers, atoms, features),
            "carried": (layers, 3 * atoms, features),
            "mixed": (layers, 3 * atoms, 2 * features),
            "length": (layers, atoms, features),
            "product": (layers, atoms, features),
            "update": (layers, atoms, 3 * features),
            "push": (count, 3),
            "pull": (count, 3 * features),
            "by_shell": (count, shells),
            "by_messages": (atoms, 3 * features),
            "by_mixed": (3 * atoms, 2 * features),
            "vector": (3 * atoms, features),
            "more": (3 * atoms, features),
            "joint": (atoms, 2 * features),
            "hidden": (atoms, features),
            "extra": (atoms, features),
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
    layers = len(blocks.mix)
    vector = scratch.vector
    for row in range(len(positions)):
        count = find(positions[row], pairs, scratch.near)
        _look_up(count, scratch, blocks.table)
        scalar = blocks.start.copy()
        vector[:] = 0
        for block in range(layers):
            _compute_messages(count, scratch, blocks, block, scalar)
            scratch.carried[block] = vector
            _aggregate_messages(count, scratch, block, scalar)
            _mix(scratch, blocks, block, scalar)
        energies[row], scalar = read_out(scalar, output, 0)
        # From here on these are derivatives of the energy.
        vector[:] = 0
        scratch.by_shell[:count] = 0
        scratch.push[:count] = 0
        for step in range(layers):
            block = layers - 1 - step
            _mix_back(scratch, blocks, block, scalar)
            _aggregate_back(count, scratch, block, scalar)
            _messages_back(count, scratch, blocks, block, scalar)
        _gather(count, scratch, pairs, gradient[row])


@compiled
def _look_up(count: int, scratch: Scratch, table: np.ndarray) -> None:
    """The functions of the distance and their slopes."""
    near = scratch.near
    for pair in range(count):
        c, t = table[near.left[pair]], near.place[pair]
        for k in range(table.shape[2]):
            scratch.shells[pair, k] = value_at(c, t, k)
            scratch.slopes[pair, k] = slope_at(c, t, k)


@compiled
def _compute_messages(
    count: int, scratch: Scratch, blocks: Blocks, block: int, scalar: np.ndarray
) -> None:
    """The filters of a block, and the messages of each atom to its neighbours."""
    np.dot(scratch.shells[:count], blocks.filters_t[block], scratch.filters[block, :count])
    hidden, messages = scratch.hidden, scratch.messages[block]
    np.dot(scalar, blocks.context_t[block], hidden)
    silu(hidden, blocks.context_bias[block], scratch.context_slope[block])
    np.dot(hidden, blocks.message_t[block], messages)
    messages += blocks.message_bias[block]


@compiled
def _aggregate_messages(count: int, scratch: Scratch, block: int, scalar: np.ndarray) -> None:
    """Aggregate the messages at each atom: add them to its scalars and vectors."""
    near, features = scratch.near, scalar.shape[1]
    vector, carried = scratch.vector, scratch.carried[block]
    for pair in range(count):
        a, b = near.ends[pair, 0], near.ends[pair, 1]
        ab, ba = scratch.messages[block, b], scratch.messages[block, a]
        filters = scratch.filters[block, pair]
        for f in range(features):
            scalar[a, f] += filters[f] * ab[f]
            scalar[b, f] += filters[f] * ba[f]
        radial, carry = filters[features:], filters[2 * features :]
        for axis in range(3):
            unit = near.unit[pair, axis]
            to_a, to_b = vector[3 * a + axis], vector[3 * b + axis]
            for f in range(features):
                to_a[f] += unit * radial[f] * ab[features + f]
                to_b[f] -= unit * radial[f] * ba[features + f]
            if block:  # before the first block there is nothing to carry
                from_a, from_b = carried[3 * a + axis], carried[3 * b + axis]
                for f in range(features):
                    to_a[f] += carry[f] * ab[2 * features + f] * from_b[f]
                    to_b[f] += carry[f] * ba[2 * features + f] * from_a[f]


@compiled
def _mix(scratch: Scratch, blocks: Blocks, block: int, scalar: np.ndarray) -> None:
    """Update the scalars and vectors of each atom from its own features."""
    atoms, features = scalar.shape
    vector, mixed, joint = scratch.vector, scratch.mixed[block], scratch.joint
    length, product = scratch.length[block], scratch.product[block]
    update, hidden = scratch.update[block], scratch.hidden
    np.dot(vector, blocks.mix_t[block], mixed)
    for atom in range(atoms):
        x, y, z = mixed[3 * atom], mixed[3 * atom + 1], mixed[3 * atom + 2]
        for f in range(features):
            square = x[f] * x[f] + y[f] * y[f] + z[f] * z[f]
            length[atom, f] = math.sqrt(square + blocks.epsilon)
            product[atom, f] = (
                x[f] * x[features + f] + y[f] * y[features + f] + z[f] * z[features + f]
            )
            joint[atom, f] = scalar[atom, f]
            joint[atom, features + f] = length[atom, f]
    np.dot(joint, blocks.inner_t[block], hidden)
    silu(hidden, blocks.inner_bias[block], scratch.inner_slope[block])
    np.dot(hidden, blocks.update_t[block], update)
    update += blocks.update_bias[block]
    for atom in range(atoms):
        own = update[atom]
        for f in range(features):
            scalar[atom, f] += own[f] + own[2 * features + f] * product[atom, f]
        for axis in range(3):
            row = 3 * atom + axis
            for f in range(features):
                vector[row, f] += own[features + f] * mixed[row, features + f]


@compiled
def _mix_back(scratch: Scratch, blocks: Blocks, block: int, scalar: np.ndarray) -> None:
    """Derivatives by what was there before `_mix`, in place of those by what came after."""
    atoms, features = scalar.shape
    vector, mixed, by_mixed = scratch.vector, scratch.mixed[block], scratch.by_mixed
    length, product = scratch.length[block], scratch.product[block]
    update, hidden, joint = scratch.update[block], scratch.hidden, scratch.joint
    by_update = scratch.by_messages
    for atom in range(atoms):
        x, y, z = mixed[3 * atom], mixed[3 * atom + 1], mixed[3 * atom + 2]
        by_x, by_y, by_z = vector[3 * atom], vector[3 * atom + 1], vector[3 * atom + 2]
        for f in range(features):
            by_update[atom, f] = scalar[atom, f]
            by_update[atom, features + f] = (
                by_x[f] * x[features + f] + by_y[f] * y[features + f] + by_z[f] * z[features + f]
            )
            by_update[atom, 2 * features + f] = scalar[atom, f] * product[atom, f]
    np.dot(by_update, blocks.update[block], hidden)
    hidden *= scratch.inner_slope[block]
    np.dot(hidden, blocks.inner[block], joint)
    for atom in range(atoms):
        own = update[atom]
        for axis in range(3):
            row = 3 * atom + axis
            for f in range(features):
                by_product = scalar[atom, f] * own[2 * features + f]
                by_length = joint[atom, features + f] / length[atom, f]
                by_mixed[row, f] = by_product * mixed[row, features + f] + by_length * mixed[row, f]
                by_mixed[row, features + f] = (
                    by_product * mixed[row, f] + vector[row, f] * own[features + f]
                )
        for f in range(features):
            scalar[atom, f] += joint[atom, f]
    np.dot(by_mixed, blocks.mix[block], scratch.more)
    vector += scratch.more


@compiled
def _aggregate_back(count: int, scratch: Scratch, block: int, scalar: np.ndarray) -> None:
    """Derivatives by filters, unit vectors, messages, and the vectors before
    `_aggregate_messages`."""
    near, features = scratch.near, scalar.shape[1]
    vector, carried = scratch.vector, scratch.carried[block]
    by_messages, before = scratch.by_messages, scratch.more
    by_messages[:] = 0
    before[:] = vector
    for pair in range(count):
        a, b = near.ends[pair, 0], near.ends[pair, 1]
        ab, ba = scratch.messages[block, b], scratch.messages[block, a]
        by_ab, by_ba = by_messages[b], by_messages[a]
        filters, pull = scratch.filters[block, pair], scratch.pull[pair]
        for f in range(features):
            pull[f] = scalar[a, f] * ab[f] + scalar[b, f] * ba[f]
            by_ab[f] += scalar[a, f] * filters[f]
            by_ba[f] += scalar[b, f] * filters[f]
            pull[features + f] = 0
            pull[2 * features + f] = 0
        radial, carry = filters[features:], filters[2 * features :]
        for axis in range(3):
            unit = near.unit[pair, axis]
            to_a, to_b = vector[3 * a + axis], vector[3 * b + axis]
            total = scratch.push[pair, axis]
            for f in range(features):
                along = to_a[f] * ab[features + f] - to_b[f] * ba[features + f]
                total += along * radial[f]
                pull[features + f] += along * unit
                by_ab[features + f] += unit * radial[f] * to_a[f]
                by_ba[features + f] -= unit * radial[f] * to_b[f]
            scratch.push[pair, axis] = total
            if block:
                from_a, from_b = carried[3 * a + axis], carried[3 * b + axis]
                before_a, before_b = before[3 * a + axis], before[3 * b + axis]
                for f in range(features):
                    pull[2 * features + f] += (
                        to_a[f] * from_b[f] * ab[2 * features + f]
                        + to_b[f] * from_a[f] * ba[2 * features + f]
                    )
                    by_ab[2 * features + f] += carry[f] * to_a[f] * from_b[f]
                    by_ba[2 * features + f] += carry[f] * to_b[f] * from_a[f]
                    before_b[f] += carry[f] * ab[2 * features + f] * to_a[f]
                    before_a[f] += carry[f] * ba[2 * features + f] * to_b[f]
    vector[:] = before


@compiled
def _messages_back(
    count: int, scratch: Scratch, blocks: Blocks, block: int, scalar: np.ndarray
) -> None:
    """Derivatives by the functions of the distance, and by the scalars before a block."""
    extra = np.dot(scratch.pull[:count], blocks.filters[block])
    scratch.by_shell[:count] += extra
    if block:  # the scalars before the first block are constant
        np.dot(scratch.by_messages, blocks.message[block], scratch.hidden)
        hidden = scratch.hidden
        hidden *= scratch.context_slope[block]
        np.dot(hidden, blocks.context[block], scratch.extra)
        scalar += scratch.extra


@compiled
def _gather(count: int, scratch: Scratch, pairs: Pairs, gradient: np.ndarray) -> None:
    """The gradient (atoms, 3) from the derivatives by distances and unit vectors."""
    near, scale = scratch.near, pairs.intervals / pairs.cutoff
    gradient[:] = 0
    for pair in range(count):
        a, b = near.ends[pair, 0], near.ends[pair, 1]
        tension = 0.0
        for k in range(scratch.slopes.shape[1]):
            tension += scratch.by_shell[pair, k] * scratch.slopes[pair, k]
        unit, push = near.unit[pair], scratch.push[pair]
        along = unit[0] * push[0] + unit[1] * push[1] + unit[2] * push[2]
        for axis in range(3):
            turn = (push[axis] - along * unit[axis]) / near.distance[pair]
            force = scale * tension * unit[axis] + turn
            gradient[b, axis] += force
            gradient[a, axis] -= force
