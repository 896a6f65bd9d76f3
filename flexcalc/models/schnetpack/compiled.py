"""SchNet with tabulated filters, compiled: one geometry after another, all of it in the cache.

Constants take the type of the arrays that they meet: a literal would make single precision double.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit


class Pairs(NamedTuple):
    """The pairs of atoms.

    Args:
        first, second: (pairs,) their atoms.
        cutoff: in angstrom.
        intervals: of the table between zero and the cutoff.
    """

    first: np.ndarray
    second: np.ndarray
    cutoff: float
    intervals: int


class Blocks(NamedTuple):
    """The weights of the interaction blocks; `_t` is a transpose.

    Args:
        start: (atoms, features) of the atoms before the first block.
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


class Output(NamedTuple):
    """The layers of the output network, SiLU between them.

    Args:
        weights: (out, in) of each layer.
        weights_t: their transposes.
        biases: (out,) of each layer.
    """

    weights: tuple[np.ndarray, ...]
    weights_t: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]


class Scratch(NamedTuple):
    """Arrays of one thread, kept from call to call: new memory costs as much as what it is for.

    Args:
        ends: (pairs, 2) the atoms of the pairs within the cutoff.
        left: (pairs,) the interval of the table that the distance is in.
        place: (pairs,) the place in it, from 0 to 1.
        unit: (pairs, 3) the derivative of `place` by the position of the second atom.
        tension: (pairs,) the derivative of the energy by `place`.
        values: (blocks, pairs, filters) filters.
        inward: (blocks, atoms, filters) features as the filters meet them.
        sigmoid: (blocks, atoms, features) slopes of the activation.
        total, message: (atoms, filters).
        before, after: (atoms, features).
    """

    ends: np.ndarray
    left: np.ndarray
    place: np.ndarray
    unit: np.ndarray
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
            "place": (count,),
            "unit": (count, 3),
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
            ends=np.empty((count, 2), int),
            left=np.empty(count, int),
            **{name: np.empty(shape, dtype) for name, shape in shapes.items()},
        )


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call, for good where there is a place to keep it."""
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        # Sums may be taken in any order; numbers that are none stay none.
        "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    }
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that can be written to
        return njit(**options)(function)


@_compiled
def evaluate(
    positions: np.ndarray,
    pairs: Pairs,
    blocks: Blocks,
    output: Output,
    scratch: Scratch,
    energies: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Energies (batch,) of positions (batch, atoms, 3), and their gradient.

    Args:
        positions: of the type of the weights.
        pairs, blocks, output: of the network.
        scratch: of this thread.
        energies, gradient: what is found; gradient of the type of the weights.
    """
    layers = len(blocks.inward)
    before, after, total = scratch.before, scratch.after, scratch.total
    for row in range(len(positions)):
        near = _near(positions[row], pairs, scratch)
        x = blocks.start.copy()
        for block in range(layers):
            np.dot(x, blocks.inward_t[block], scratch.inward[block])
            _spread(near, scratch, blocks.table, block)
            np.dot(total, blocks.first_t[block], before)
            _activate(before, blocks.first_bias[block], scratch.sigmoid[block])
            np.dot(before, blocks.second_t[block], after)
            x += after
            x += blocks.second_bias[block]
        energies[row], pull = _read_out(x, output)
        scratch.tension[:near] = 0
        for step in range(layers):
            block = layers - 1 - step
            np.dot(pull, blocks.second[block], after)
            after *= scratch.sigmoid[block]
            np.dot(after, blocks.first[block], scratch.message)
            _strain(near, scratch, blocks.table, block)
            if block > 0:  # the features before the first block are constant
                _collect(near, scratch, block)
                np.dot(total, blocks.inward[block], after)
                pull += after
        _push(near, scratch, gradient[row])


@_compiled
def _near(positions: np.ndarray, pairs: Pairs, scratch: Scratch) -> int:
    """Describe the pairs within the cutoff in the scratch, and return how many there are.

    Args:
        positions: (atoms, 3).
        pairs: all of them.
        scratch: its ends, unit, left and place are set.
    """
    scale = positions.dtype.type(pairs.intervals / pairs.cutoff)
    near = 0
    for pair in range(len(pairs.first)):
        first, second = pairs.first[pair], pairs.second[pair]
        x = positions[second, 0] - positions[first, 0]
        y = positions[second, 1] - positions[first, 1]
        z = positions[second, 2] - positions[first, 2]
        distance = math.sqrt(x * x + y * y + z * z)
        if distance >= pairs.cutoff:
            continue
        along, place = scale / distance, scale * distance
        left = min(int(place), pairs.intervals - 1)
        scratch.ends[near, 0], scratch.ends[near, 1] = first, second
        scratch.unit[near, 0], scratch.unit[near, 1] = along * x, along * y
        scratch.unit[near, 2] = along * z
        scratch.left[near], scratch.place[near] = left, place - positions.dtype.type(left)
        near += 1
    return near


@_compiled
def _spread(near: int, scratch: Scratch, table: np.ndarray, block: int) -> None:
    """Read off the filters of a block, and sum the messages that each atom gets."""
    inward, total = scratch.inward[block], scratch.total
    total[:] = 0
    for pair in range(near):
        first, second, t = scratch.ends[pair, 0], scratch.ends[pair, 1], scratch.place[pair]
        c, values = table[scratch.left[pair], block], scratch.values[block, pair]
        for f in range(len(values)):
            value = c[3, f] + t * (c[4, f] + t * c[5, f])
            value = c[0, f] + t * (c[1, f] + t * (c[2, f] + t * value))
            values[f] = value
            total[first, f] += value * inward[second, f]
            total[second, f] += value * inward[first, f]


@_compiled
def _collect(near: int, scratch: Scratch, block: int) -> None:
    """Sum what the messages of a block, on the way back, give to each atom."""
    message, total = scratch.message, scratch.total
    total[:] = 0
    for pair in range(near):
        first, second = scratch.ends[pair, 0], scratch.ends[pair, 1]
        values = scratch.values[block, pair]
        for f in range(len(values)):
            total[first, f] += values[f] * message[second, f]
            total[second, f] += values[f] * message[first, f]


@_compiled
def _strain(near: int, scratch: Scratch, table: np.ndarray, block: int) -> None:
    """Add to the tension what it has from the filters of a block."""
    inward, message = scratch.inward[block], scratch.message
    kind = inward.dtype.type
    two, three, four, five = kind(2), kind(3), kind(4), kind(5)
    for pair in range(near):
        first, second, t = scratch.ends[pair, 0], scratch.ends[pair, 1], scratch.place[pair]
        c, total = table[scratch.left[pair], block], scratch.tension[pair]
        for f in range(inward.shape[1]):
            slope = three * c[3, f] + t * (four * c[4, f] + t * (five * c[5, f]))
            slope = c[1, f] + t * (two * c[2, f] + t * slope)
            total += slope * (
                message[first, f] * inward[second, f] + message[second, f] * inward[first, f]
            )
        scratch.tension[pair] = total


@_compiled
def _push(near: int, scratch: Scratch, gradient: np.ndarray) -> None:
    """The gradient (atoms, 3) that the tension of the pairs gives."""
    gradient[:] = 0
    for pair in range(near):
        first, second = scratch.ends[pair, 0], scratch.ends[pair, 1]
        for axis in range(3):
            push = scratch.tension[pair] * scratch.unit[pair, axis]
            gradient[second, axis] += push
            gradient[first, axis] -= push


@_compiled
def _activate(x: np.ndarray, bias: np.ndarray, sigmoid: np.ndarray) -> None:
    """Shifted softplus of x + bias in place of x, and its slope into `sigmoid`."""
    one, zero = x.dtype.type(1), x.dtype.type(0)
    shift = x.dtype.type(math.log(2.0))
    for atom in range(x.shape[0]):
        for f in range(x.shape[1]):
            value = x[atom, f] + bias[f]
            small = math.exp(-abs(value))
            x[atom, f] = max(value, zero) + math.log(one + small) - shift
            sigmoid[atom, f] = (one if value >= zero else small) / (one + small)


@_compiled
def _read_out(x: np.ndarray, output: Output) -> tuple[float, np.ndarray]:
    """The energy of features (atoms, features), and its gradient by them."""
    one, layers = x.dtype.type(1), len(output.weights)
    slopes = [x]
    for layer in range(layers - 1):
        x = np.dot(x, output.weights_t[layer])
        slope = np.empty_like(x)
        for atom in range(x.shape[0]):
            for f in range(x.shape[1]):
                value = x[atom, f] + output.biases[layer][f]
                sigmoid = one / (one + math.exp(-value))
                x[atom, f] = value * sigmoid
                slope[atom, f] = sigmoid * (one + value * (one - sigmoid))
        slopes.append(slope)
    last = output.weights[layers - 1][0]
    energy = 0.0
    for atom in range(x.shape[0]):
        energy += output.biases[layers - 1][0]
        for f in range(x.shape[1]):
            energy += x[atom, f] * last[f]
    pull = np.empty_like(x)
    pull[:] = last
    for step in range(layers - 1):
        layer = layers - 2 - step
        pull = np.dot(pull * slopes[layer + 1], output.weights[layer])
    return energy, pull
