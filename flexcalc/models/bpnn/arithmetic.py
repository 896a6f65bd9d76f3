"""Symmetry functions, networks of the atoms and their gradient, compiled.

See `functions` for the formulas; here only triplets count whose three sides are within the cutoff.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from flexcalc.models.networks.compiled import compiled, silu, softplus, tanh

ACTIVATIONS = ("silu", "tanh", "softplus")
"""Their numbers in `Layers`."""


class Functions(NamedTuple):
    """The symmetry functions of a molecule.

    Args:
        kind: (atoms,) which of the elements an atom is.
        pair: (atoms, atoms) the pair of two atoms.
        block: (elements, elements) the angular functions of two neighbours.
        radial: (functions, 2), eta and shift of G2.
        widths: (etas,) of G4.
        zetas: powers of G4.
        cutoff: in angstrom.
    """

    kind: np.ndarray
    pair: np.ndarray
    block: np.ndarray
    radial: np.ndarray
    widths: np.ndarray
    zetas: np.ndarray
    cutoff: float


class Layers(NamedTuple):
    """The networks of the elements.

    Args:
        order: (atoms,) atoms by element.
        starts: (elements + 1,) where the elements begin in `order`.
        mean, scale: (elements, functions).
        weights: (elements, out, in) of each layer.
        weights_t: their transposes.
        biases: (elements, out) of each layer.
        activation: its place in `ACTIVATIONS`.
    """

    order: np.ndarray
    starts: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weights: tuple[np.ndarray, ...]
    weights_t: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    activation: int


class Scratch(NamedTuple):
    """Arrays of one thread.

    Args:
        neighbours: (atoms, atoms) those of each atom within the cutoff, ascending.
        counts: (atoms,) how many they are.
        unit: (pairs, 3) from the first atom to the second.
        distance: (pairs,) in angstrom.
        tension: (pairs,) the derivative of the energy by the distances.
        sides, falls: (pairs, etas) of G4, and their slopes.
        slopes: (pairs, functions) of the terms of G2.
        lower: (triplets, lobes) of each lobe the power that is one less.
        values, pulls: (atoms, functions) symmetry functions, and the derivative by them.
        weight, by_weight: (etas,) of a triplet.
    """

    neighbours: np.ndarray
    counts: np.ndarray
    unit: np.ndarray
    distance: np.ndarray
    tension: np.ndarray
    sides: np.ndarray
    falls: np.ndarray
    slopes: np.ndarray
    lower: np.ndarray
    values: np.ndarray
    pulls: np.ndarray
    weight: np.ndarray
    by_weight: np.ndarray

    @classmethod
    def of(cls, functions: Functions, layers: Layers) -> Scratch:
        """Arrays of the right shapes."""
        atoms, dtype = len(functions.kind), functions.radial.dtype
        pairs, etas = atoms * (atoms - 1) // 2, len(functions.widths)
        size = layers.mean.shape[1]
        shapes = {
            "unit": (pairs, 3),
            "distance": (pairs,),
            "tension": (pairs,),
            "sides": (pairs, etas),
            "falls": (pairs, etas),
            "slopes": (pairs, len(functions.radial)),
            "lower": (pairs * max(atoms - 2, 0), 2 * len(functions.zetas)),
            "values": (atoms, size),
            "pulls": (atoms, size),
            "weight": (etas,),
            "by_weight": (etas,),
        }
        return cls(
            neighbours=np.empty((atoms, atoms), int),
            counts=np.empty(atoms, int),
            **{name: np.empty(shape, dtype) for name, shape in shapes.items()},
        )


@compiled
def evaluate(
    positions: np.ndarray,
    functions: Functions,
    layers: Layers,
    scratch: Scratch,
    energies: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Energies (batch,) of positions (batch, atoms, 3), and their gradient.

    Args:
        positions: in double precision.
        functions, layers: of the network, in its own.
        scratch: of this thread.
        energies, gradient: what is found, in double precision.
    """
    for row in range(len(positions)):
        scratch.values[:] = 0
        _sides(positions[row], functions, scratch)
        _lobes(functions, scratch)
        energies[row] = _networks(layers, scratch)
        _radial_back(functions, scratch)
        _angular_back(functions, scratch)
        gradient[row] = 0
        for i in range(len(functions.kind)):
            for place in range(scratch.counts[i]):
                j = scratch.neighbours[i, place]
                pair = functions.pair[i, j]
                for axis in range(3 if i < j else 0):
                    push = scratch.tension[pair] * scratch.unit[pair, axis]
                    gradient[row, j, axis] += push
                    gradient[row, i, axis] -= push


@compiled
def _sides(positions: np.ndarray, functions: Functions, scratch: Scratch) -> None:
    """The pairs within the cutoff, what of G4 depends on one of them, and all of G2."""
    kind = scratch.distance.dtype.type
    half, two, wave = kind(0.5), kind(2), kind(math.pi / functions.cutoff)
    radials, values = len(functions.radial), scratch.values
    scratch.counts[:] = 0
    for i in range(len(positions)):
        for j in range(i + 1, len(positions)):
            x = positions[j, 0] - positions[i, 0]
            y = positions[j, 1] - positions[i, 1]
            z = positions[j, 2] - positions[i, 2]
            exact = math.sqrt(x * x + y * y + z * z)
            pair, r = functions.pair[i, j], kind(exact)
            scratch.distance[pair], scratch.tension[pair] = r, 0
            if exact >= functions.cutoff:
                continue
            for one, other in ((i, j), (j, i)):
                scratch.neighbours[one, scratch.counts[one]] = other
                scratch.counts[one] += 1
            unit = scratch.unit[pair]
            unit[0], unit[1], unit[2] = x / exact, y / exact, z / exact
            fading = half + half * math.cos(wave * r)
            fall = -half * wave * math.sin(wave * r)
            for e in range(len(functions.widths)):
                width = functions.widths[e]
                bell = math.exp(-width * r * r)
                scratch.sides[pair, e] = bell * fading
                scratch.falls[pair, e] = bell * (fall - two * width * r * fading)
            at_i = functions.kind[j] * radials
            at_j = functions.kind[i] * radials
            for f in range(radials):
                eta, away = functions.radial[f, 0], r - functions.radial[f, 1]
                bell = math.exp(-eta * away * away)
                values[i, at_i + f] += bell * fading
                values[j, at_j + f] += bell * fading
                scratch.slopes[pair, f] = bell * (fall - two * eta * away * fading)


@compiled
def _power(one: np.floating, base: np.floating, exponent: int) -> np.floating:
    """A whole power by repeated squaring, from a one of the same type."""
    found = one
    while exponent > 0:
        if exponent & 1:
            found *= base
        base *= base
        exponent >>= 1
    return found


@compiled
def _cosine(functions: Functions, scratch: Scratch, i: int, j: int, k: int) -> np.floating:
    """Half of the cosine of the angle at i."""
    a, b = scratch.distance[functions.pair[i, j]], scratch.distance[functions.pair[i, k]]
    c = scratch.distance[functions.pair[j, k]]
    return scratch.distance.dtype.type(0.25) * (a * a + b * b - c * c) / (a * b)


@compiled
def _lobes(functions: Functions, scratch: Scratch) -> None:
    """Add the angular functions; all triplets are gone through in the order of `_angular_back`."""
    kind = scratch.distance.dtype.type
    half, one, two = kind(0.5), kind(1), kind(2)
    zetas, etas, elements = len(functions.zetas), len(functions.widths), len(functions.block)
    lobes, triplet = 2 * zetas, 0
    offset = elements * len(functions.radial)
    weight = scratch.weight
    for i in range(len(functions.kind)):
        for first in range(scratch.counts[i]):
            j = scratch.neighbours[i, first]
            for second in range(first + 1, scratch.counts[i]):
                k = scratch.neighbours[i, second]
                jk = functions.pair[j, k]
                if scratch.distance[jk] >= functions.cutoff:
                    continue
                ij, ik = functions.pair[i, j], functions.pair[i, k]
                for e in range(etas):
                    weight[e] = two * scratch.sides[ij, e] * scratch.sides[ik, e]
                    weight[e] *= scratch.sides[jk, e]
                half_cosine = _cosine(functions, scratch, i, j, k)
                block = functions.block[functions.kind[j], functions.kind[k]]
                values = scratch.values[i, offset + block * etas * lobes :]
                lower = scratch.lower[triplet]
                for sign in range(2):
                    base = half - half_cosine if sign else half + half_cosine
                    for z in range(zetas):
                        lower[sign * zetas + z] = _power(one, base, functions.zetas[z] - 1)
                        lobe = lower[sign * zetas + z] * base
                        for e in range(etas):
                            values[e * lobes + sign * zetas + z] += weight[e] * lobe
                triplet += 1


@compiled
def _networks(layers: Layers, scratch: Scratch) -> float:
    """The energy, and its derivative by the symmetry functions."""
    energy, count = 0.0, len(layers.weights)
    for element in range(len(layers.starts) - 1):
        members = layers.order[layers.starts[element] : layers.starts[element + 1]]
        mean, scale = layers.mean[element], layers.scale[element]
        x = np.empty((len(members), len(mean)), scratch.values.dtype)
        for row in range(len(members)):
            for f in range(len(mean)):
                x[row, f] = (scratch.values[members[row], f] - mean[f]) * scale[f]
        slopes = [x]
        for layer in range(count - 1):
            x = np.dot(x, layers.weights_t[layer][element])
            slope = np.empty_like(x)
            bias = layers.biases[layer][element]
            if layers.activation == 0:
                silu(x, bias, slope)
            elif layers.activation == 1:
                tanh(x, bias, slope)
            else:
                softplus(x, bias, slope, 0.0)
            slopes.append(slope)
        last = layers.weights[count - 1][element, 0]
        for row in range(len(members)):
            energy += layers.biases[count - 1][element, 0]
            for f in range(len(last)):
                energy += x[row, f] * last[f]
        pull = np.empty_like(x)
        pull[:] = last
        for step in range(count - 1):
            layer = count - 2 - step
            pull = np.dot(pull * slopes[layer + 1], layers.weights[layer][element])
        for row in range(len(members)):
            for f in range(len(mean)):
                scratch.pulls[members[row], f] = pull[row, f] * scale[f]
    return energy


@compiled
def _radial_back(functions: Functions, scratch: Scratch) -> None:
    """The tension of the pairs that G2 makes."""
    radials, pulls = len(functions.radial), scratch.pulls
    for i in range(len(functions.kind)):
        for place in range(scratch.counts[i]):
            j = scratch.neighbours[i, place]
            pair, at = functions.pair[i, j], functions.kind[j] * radials
            total = scratch.tension[pair]
            for f in range(radials):
                total += pulls[i, at + f] * scratch.slopes[pair, f]
            scratch.tension[pair] = total


@compiled
def _angular_back(functions: Functions, scratch: Scratch) -> None:
    """The tension of the pairs that G4 makes."""
    kind = scratch.distance.dtype.type
    half, two, zero, one = kind(0.5), kind(2), kind(0), kind(1)
    zetas, etas, elements = len(functions.zetas), len(functions.widths), len(functions.block)
    lobes, triplet = 2 * zetas, 0
    offset = elements * len(functions.radial)
    weight, by_weight, tension = scratch.weight, scratch.by_weight, scratch.tension
    sides, falls = scratch.sides, scratch.falls
    for i in range(len(functions.kind)):
        for first in range(scratch.counts[i]):
            j = scratch.neighbours[i, first]
            for second in range(first + 1, scratch.counts[i]):
                k = scratch.neighbours[i, second]
                jk = functions.pair[j, k]
                if scratch.distance[jk] >= functions.cutoff:
                    continue
                ij, ik = functions.pair[i, j], functions.pair[i, k]
                for e in range(etas):
                    weight[e] = two * sides[ij, e] * sides[ik, e] * sides[jk, e]
                    by_weight[e] = zero
                half_cosine = _cosine(functions, scratch, i, j, k)
                block = functions.block[functions.kind[j], functions.kind[k]]
                pulls = scratch.pulls[i, offset + block * etas * lobes :]
                lower, by_cosine = scratch.lower[triplet], zero
                for sign in range(2):
                    base = half - half_cosine if sign else half + half_cosine
                    way = -half if sign else half
                    for z in range(zetas):
                        below, by_lobe = lower[sign * zetas + z], zero
                        lobe = below * base
                        for e in range(etas):
                            pull = pulls[e * lobes + sign * zetas + z]
                            by_weight[e] += pull * lobe
                            by_lobe += pull * weight[e]
                        by_cosine += by_lobe * way * kind(functions.zetas[z]) * below
                for e in range(etas):
                    pull = two * by_weight[e]
                    tension[ij] += pull * falls[ij, e] * sides[ik, e] * sides[jk, e]
                    tension[ik] += pull * sides[ij, e] * falls[ik, e] * sides[jk, e]
                    tension[jk] += pull * sides[ij, e] * sides[ik, e] * falls[jk, e]
                a, b, c = scratch.distance[ij], scratch.distance[ik], scratch.distance[jk]
                cosine = two * half_cosine
                tension[ij] += by_cosine * (one / b - cosine / a)
                tension[ik] += by_cosine * (one / a - cosine / b)
                tension[jk] -= by_cosine * c / (a * b)
                triplet += 1
