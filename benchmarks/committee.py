"""Whether a committee of sGDML models knows where it has left its training region.

    python benchmarks/committee.py TRAIN.npz TEST.npz [--points 200] [--members 4]

Trains a committee on part of the first file. Its deviation is taken on the frames of the second
file, which it has not seen: its 99th percentile there is the bound. Then 100 of those frames are
stretched out of the training region: in each, one bond, drawn at random from all of them, is made
0.3 to 0.5 angstrom longer than it is in any frame of the first file, the smaller part of the
molecule moving as a whole. The figure is how many of the 100 deviate by more than the bound. The
deviation of a geometry is the root mean square over its atoms; the largest of its atoms, which a
guard looks at, is told as well. So is what comes of bonds made 0.3 to 0.5 angstrom longer than
they are in the frame itself, many of which the training has nearly seen.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols, covalent_radii

import flexcalc
from flexcalc import files

MEASURES = {
    "rms of the atoms": lambda deviation: np.sqrt((deviation**2).mean(axis=1)),
    "largest of the atoms": lambda deviation: deviation.max(axis=1),
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


def stretched(numbers, positions, pairs, rng, beyond, longest):
    """A geometry with one bond lengthened, and the bond.

    Args:
        positions: (atoms, 3) in angstrom.
        pairs: all bonds.
        rng: draws the bond and the length.
        beyond: least and most angstrom that the bond becomes longer than its reference.
        longest: bond -> its reference in angstrom; where it is None, its length here.
    """
    while True:
        atom, other = pairs[rng.integers(len(pairs))]
        parts = [side(pairs, atom, other), side(pairs, other, atom)]
        if None not in parts:
            break
    moved = min(parts, key=len)
    end, start = (atom, other) if atom in moved else (other, atom)
    along = positions[end] - positions[start]
    length = np.linalg.norm(along)
    reference = length if longest is None else longest[atom, other]
    geometry = positions.copy()
    geometry[moved] += along * ((reference + rng.uniform(*beyond)) / length - 1)
    return geometry, (atom, other)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--beyond", type=float, nargs=2, default=(0.3, 0.5))
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
    longest = {
        pair: np.linalg.norm(
            train.positions[:, pair[0]] - train.positions[:, pair[1]], axis=1
        ).max()
        for pair in pairs
    }
    for what, reference in (("than in any training frame", longest), ("than in the frame", None)):
        moved = [
            stretched(train.numbers, test.positions[n], pairs, rng, options.beyond, reference)
            for n in chosen
        ]
        least, most = options.beyond
        print(f"one bond {least:g} to {most:g} A longer {what} ({kinds(train.numbers, moved)}):")
        outside = committee(np.array([geometry for geometry, _ in moved])).deviation
        for name, measure in MEASURES.items():
            tell(name, measure(inside), measure(outside))


def tell(name, inside, outside):
    """Print how many of the stretched geometries exceed what is usual inside."""
    bound = np.percentile(inside, 99)
    print(
        f"  {name}: {int((outside > bound).sum())} of {len(outside)} exceed {bound:.3f} eV/A, the "
        f"99th percentile of {len(inside)} frames; median inside {np.median(inside):.3f}, outside "
        f"{np.median(outside):.3f}, least outside {outside.min():.3f}"
    )


def kinds(numbers, moved):
    """How many bonds of which elements were stretched."""
    names = ["-".join(sorted(chemical_symbols[numbers[end]] for end in bond)) for _, bond in moved]
    return ", ".join(f"{count} {name}" for name, count in Counter(names).items())


if __name__ == "__main__":
    main()
