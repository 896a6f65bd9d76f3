"""Whether a committee of sGDML models knows where it has left its training region.

    python tests/benchmarks/committee.py TRAIN.npz TEST.npz [--points 200] [--members 4]

Trains a committee on part of the first file. Its deviation is taken on frames of the second file,
which it has not seen: its 99th percentile there is the bound. Then 100 of those frames are
stretched out of the training region: in frame n, one of the bonds between atoms other than
hydrogen or one bond to hydrogen, drawn at random, is lengthened by 0.3 to 0.5 angstrom, the
smaller part of the molecule moving as a whole; or, with --lengths, by what is given. The lengths
that come out are compared with the longest of that bond in training. The figure is the number of
them whose deviation exceeds the bound, the deviation of a geometry being the largest of its atoms
(the guard's measure) and, for comparison, their root mean square.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols, covalent_radii

import flexcalc
from flexcalc import files

MEASURES = {
    "largest of the atoms": lambda deviation: deviation.max(axis=1),
    "rms of the atoms": lambda deviation: np.sqrt((deviation**2).mean(axis=1)),
}


def bonds(numbers, positions):
    """Pairs within 1.25 times their covalent radii in one geometry (atoms, 3)."""
    first, second = np.triu_indices(len(numbers), 1)
    reach = covalent_radii[numbers[first]] + covalent_radii[numbers[second]]
    near = np.linalg.norm(positions[first] - positions[second], axis=1) < 1.25 * reach
    return list(zip(first[near].tolist(), second[near].tolist(), strict=True))


def side(pairs, atom, other):
    """The atoms on atom's side of its bond with other; None where the bond is in a ring."""
    found, waiting = {atom}, [atom]
    while waiting:
        here = waiting.pop()
        for pair in pairs:
            if here in pair and set(pair) != {atom, other}:
                there = pair[1] if pair[0] == here else pair[0]
                if there == other:
                    return None
                if there not in found:
                    found.add(there)
                    waiting.append(there)
    return sorted(found)


def stretched(numbers, positions, pairs, rng, least, most):
    """A geometry with one bond longer by least to most angstrom, and the bond."""
    while True:
        atom, other = pairs[rng.integers(len(pairs))]
        parts = [side(pairs, atom, other), side(pairs, other, atom)]
        if None not in parts:
            break
    moved = min(parts, key=len)
    end = atom if atom in moved else other
    start = other if end == atom else atom
    along = positions[end] - positions[start]
    geometry = positions.copy()
    geometry[moved] += along / np.linalg.norm(along) * rng.uniform(least, most)
    return geometry, (atom, other)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--lengths", type=float, nargs=2, default=(0.3, 0.5))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train = files.read(options.train, energy_unit="kcal/mol")
    test = files.read(options.test, energy_unit="kcal/mol")
    begun = time.perf_counter()
    committee = flexcalc.train(
        train, "sgdml", points=options.points, committee=options.members, seed=options.seed
    )
    facts = committee.facts
    print(
        f"{options.members} members of {committee.members[0].facts['training_points']} of "
        f"{options.points} points, sigma {facts['hyperparameters']['sigma']:g}: "
        f"{time.perf_counter() - begun:.0f} s; validation force RMSE "
        f"{facts['errors']['validation']['force_rmse_kcal_mol_A']:.3f} kcal/mol/A; force error "
        f"over deviation {facts['force_error_over_deviation']:.2f}"
    )
    rng = np.random.default_rng(options.seed)
    inside = committee(test.positions).deviation
    chosen = rng.choice(len(test), 100, replace=False)
    pairs = bonds(train.numbers, train.positions[0])
    moved = [
        stretched(train.numbers, test.positions[n], pairs, rng, *options.lengths) for n in chosen
    ]
    tell_lengths(train, moved)
    outside = committee(np.array([geometry for geometry, _ in moved])).deviation
    for name, measure in MEASURES.items():
        bound = np.percentile(measure(inside), 99)
        beyond = int((measure(outside) > bound).sum())
        print(
            f"{name}: {beyond} of {len(outside)} stretched geometries exceed {bound:.3f} eV/A, the "
            f"99th percentile of {len(inside)} frames; median inside "
            f"{np.median(measure(inside)):.3f}, outside {np.median(measure(outside)):.3f}, least "
            f"outside {measure(outside).min():.3f}"
        )


def tell_lengths(train, moved):
    """Print the bonds that were stretched, and by how much they leave the training region."""
    seen, gaps = {}, []
    for geometry, (atom, other) in moved:
        longest = np.linalg.norm(train.positions[:, atom] - train.positions[:, other], axis=1).max()
        gaps.append(np.linalg.norm(geometry[atom] - geometry[other]) - longest)
        name = "-".join(sorted(chemical_symbols[train.numbers[end]] for end in (atom, other)))
        seen[name] = seen.get(name, 0) + 1
    print(
        f"stretched: {', '.join(f'{count} {name}' for name, count in seen.items())}; beyond the "
        f"longest of that bond in the training file by {min(gaps):+.2f} to {max(gaps):+.2f} A"
    )


if __name__ == "__main__":
    main()
