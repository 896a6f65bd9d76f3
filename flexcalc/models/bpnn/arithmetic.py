"""Symmetry functions, networks of the atoms and their gradient, compiled.

See `functions` for the formulas; here only triplets count whose three sides are within the cutoff.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from flexcalc.models.networks.compiled import Perceptrons, compiled, decay, read_out


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


class Inputs(NamedTuple):
    """What the networks of the elements see.

    Args:
        order: (atoms,) atoms by element.
        starts: (elements + 1,) where the elements begin in `order`.
        mean, scale: (elements, functions).
    """

    order: np.ndarray
    starts: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


class Scratch(NamedTuple):
    """Arrays of one thread.

    Args:
        neighbours: (atoms, atoms) those of each atom within the cutoff, ascending.
        counts: (atoms,) their number.
        unit: (pairs, 3) from the first atom to the second.
        distance: (pairs,) in angstrom.
        tension: (pairs,) the derivative of the energy by the distances.
        sides, falls: (pairs, etas) of G4, and their slopes.
        slopes: (pairs, functions) of the terms of G2.
        triplets: (triplets, 5) whose sides are within the cutoff: the atom in the middle, the pairs
            of its sides and the opposite one, and where its functions begin.
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
    triplets: np.ndarray
    lower: np.ndarray
    values: np.ndarray
    pulls: np.ndarray
    weight: np.ndarray
    by_weight: np.ndarray

    @classmethod
    def of(cls, functions: Functions, inputs: Inputs) -> Scratch:
        """Arrays of the right shapes."""
        atoms, dtype = len(functions.kind), functions.radial.dtype
        pairs, etas = atoms * (atoms - 1) // 2, len(functions.widths)
        triplets, size = pairs * max(atoms - 2, 0), inputs.mean.shape[1]
        shapes = {
            "unit": (pairs, 3),
            "distance": (pairs,),
            "tension": (pairs,),
            "sides": (pairs, etas),
            "falls": (pairs, etas),
            "slopes": (pairs, len(functions.radial)),
            "lower": (triplets, 2 * len(functions.zetas)),
            "values": (atoms, size),
            "pulls": (atoms, size),
            "weight": (etas,),
            "by_weight": (etas,),
        }
        return cls(
            neighbours=np.empty((atoms, atoms), int),
            counts=np.empty(atoms, int),
            triplets=np.empty((triplets, 5), int),
            **{name: np.empty(shape, dtype) for name, shape in shapes.items()},
        )


@compiled
def evaluate(
    positions: np.ndarray,
    functions: Functions,
    inputs: Inputs,
    networks: Perceptrons,
    scratch: Scratch,
    energies: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Energies (batch,) of positions (batch, atoms, 3), and their gradient.

    Args:
        positions: in double precision.
        functions, inputs, networks: in the type of the weights.
        scratch: of this thread.
        energies, gradient: the results, in double precision.
    """
    for row in range(len(positions)):
        scratch.values[:] = 0
        _sides(positions[row], functions, scratch)
        count = _triplets(functions, scratch)
        _lobes(count, functions, scratch)
        energies[row] = _energy(inputs, networks, scratch)
        _radial_back(functions, scratch)
        _angular_back(count, functions, scratch)
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
    """The neighbour list: pairs within the cutoff, with their factors of G4, and all of G2."""
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
                bell = kind(decay(-width * r * r))
                scratch.sides[pair, e] = bell * fading
                scratch.falls[pair, e] = bell * (fall - two * width * r * fading)
            at_i = functions.kind[j] * radials
            at_j = functions.kind[i] * radials
            for f in range(radials):
                eta, away = functions.radial[f, 0], r - functions.radial[f, 1]
                bell = kind(decay(-eta * away * away))
                values[i, at_i + f] += bell * fading
                values[j, at_j + f] += bell * fading
                scratch.slopes[pair, f] = bell * (fall - two * eta * away * fading)


@compiled
def _power(one: np.floating, base: np.floating, exponent: int) -> np.floating:
    """An integer power by repeated squaring, from a one of the same type."""
    found = one
    while exponent > 0:
        if exponent & 1:
            found *= base
        base *= base
        exponent >>= 1
    return found


@compiled
def _triplets(functions: Functions, scratch: Scratch) -> int:
    """Find the triplets, and return their number."""
    offset, count = len(functions.block) * len(functions.radial), 0
    each = 2 * len(functions.widths) * len(functions.zetas)
    for i in range(len(functions.kind)):
        for first in range(scratch.counts[i]):
            j = scratch.neighbours[i, first]
            for second in range(first + 1, scratch.counts[i]):
                k = scratch.neighbours[i, second]
                if scratch.distance[functions.pair[j, k]] < functions.cutoff:
                    found = scratch.triplets[count]
                    found[0], found[1] = i, functions.pair[i, j]
                    found[2], found[3] = functions.pair[i, k], functions.pair[j, k]
                    block = functions.block[functions.kind[j], functions.kind[k]]
                    found[4] = offset + each * block
                    count += 1
    return count


@compiled
def _half_cosine(distance: np.ndarray, ij: int, ik: int, jk: int) -> np.floating:
    """Half of the cosine of the angle between the first two sides."""
    a, b, c = distance[ij], distance[ik], distance[jk]
    return distance.dtype.type(0.25) * (a * a + b * b - c * c) / (a * b)


@compiled
def _lobes(count: int, functions: Functions, scratch: Scratch) -> None:
    """Add the angular functions of the triplets."""
    kind = scratch.distance.dtype.type
    half, one, two = kind(0.5), kind(1), kind(2)
    zetas, weight, sides = len(functions.zetas), scratch.weight, scratch.sides
    for triplet in range(count):
        i, ij, ik, jk, start = scratch.triplets[triplet]
        for e in range(len(weight)):
            weight[e] = two * sides[ij, e] * sides[ik, e] * sides[jk, e]
        half_cosine = _half_cosine(scratch.distance, ij, ik, jk)
        values, lower = scratch.values[i, start:], scratch.lower[triplet]
        for sign in range(2):
            base = half - half_cosine if sign else half + half_cosine
            for z in range(zetas):
                place = sign * zetas + z
                lower[place] = _power(one, base, functions.zetas[z] - 1)
                for e in range(len(weight)):
                    values[2 * zetas * e + place] += weight[e] * lower[place] * base


@compiled
def _energy(inputs: Inputs, networks: Perceptrons, scratch: Scratch) -> float:
    """The energy, and its derivative by the symmetry functions."""
    energy = 0.0
    for element in range(len(inputs.mean)):
        members = inputs.order[inputs.starts[element] : inputs.starts[element + 1]]
        mean, scale = inputs.mean[element], inputs.scale[element]
        x = np.empty((len(members), len(mean)), scratch.values.dtype)
        for row in range(len(members)):
            for f in range(len(mean)):
                x[row, f] = (scratch.values[members[row], f] - mean[f]) * scale[f]
        part, pull = read_out(x, networks, element)
        energy += part
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
def _angular_back(count: int, functions: Functions, scratch: Scratch) -> None:
    """The tension of the pairs that G4 makes."""
    kind = scratch.distance.dtype.type
    half, two, zero, one = kind(0.5), kind(2), kind(0), kind(1)
    zetas, sides, falls = len(functions.zetas), scratch.sides, scratch.falls
    weight, by_weight, tension = scratch.weight, scratch.by_weight, scratch.tension
    for triplet in range(count):
        i, ij, ik, jk, start = scratch.triplets[triplet]
        for e in range(len(weight)):
            weight[e] = two * sides[ij, e] * sides[ik, e] * sides[jk, e]
            by_weight[e] = zero
        half_cosine = _half_cosine(scratch.distance, ij, ik, jk)
        pulls, lower, by_cosine = scratch.pulls[i, start:], scratch.lower[triplet], zero
        for sign in range(2):
            base = half - half_cosine if sign else half + half_cosine
            way = -half if sign else half
            for z in range(zetas):
                place = sign * zetas + z
                by_lobe = zero
                for e in range(len(weight)):
                    pull = pulls[2 * zetas * e + place]
                    by_weight[e] += pull * lower[place] * base
                    by_lobe += pull * weight[e]
                by_cosine += by_lobe * way * kind(functions.zetas[z]) * lower[place]
        for e in range(len(weight)):
            pull = two * by_weight[e]
            tension[ij] += pull * falls[ij, e] * sides[ik, e] * sides[jk, e]
            tension[ik] += pull * sides[ij, e] * falls[ik, e] * sides[jk, e]
            tension[jk] += pull * sides[ij, e] * sides[ik, e] * falls[jk, e]
        a, b, c = scratch.distance[ij], scratch.distance[ik], scratch.distance[jk]
        cosine = two * half_cosine
        tension[ij] += by_cosine * (one / b - cosine / a)
        tension[ik] += by_cosine * (one / a - cosine / b)
        tension[jk] -= by_cosine * c / (a * b)
