"""Reduced descriptors against the full one and against other ways to choose features; by hand.

    python benchmarks/reduction.py LABELS.xyz --points 150 --sigma 20 --max-permutations 1

Prints for each model the features, the errors on frames that no training saw, the time of a
prediction (one thread) as a ratio full/reduced measured side by side, and the longest feature.
Besides the percentiles of importance: importances measured again on the reduced model, and as
many features chosen as the shortest or at random, which shows what the importances are worth.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols

from flexcalc import files
from flexcalc.models.family import errors
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.reduction import lengths, table

BATCH, TIMED = 256, 15


def seconds(potentials, positions):
    """Shortest time of each potential's call, taken in turns."""
    best = [np.inf] * len(potentials)
    for _ in range(TIMED):
        for index, potential in enumerate(potentials):
            begun = time.perf_counter()
            potential(positions)
            best[index] = min(best[index], time.perf_counter() - begun)
    return best


def tell(name, model, full, train, test, began):
    """Print a row about a model."""
    found = errors(model(test.positions), test)
    batch = seconds([full, model], test.positions[:BATCH])
    single = seconds([full, model] * 3, test.positions[:1])[:2]
    longest = lengths(model.descriptor, train.positions).max()
    print(
        f"{name:22s} {model.descriptor.size:4d} features  "
        f"F {found['force_rmse_kcal_mol_A']:6.3f}  E {found['energy_rmse_kcal_mol']:6.3f}  "
        f"batch {batch[1] / BATCH * 1e6:6.1f} us x{batch[0] / batch[1]:.2f}  "
        f"single {single[1] * 1e6:5.0f} us x{single[0] / single[1]:.2f}  "
        f"longest {longest:.2f} A  training {time.perf_counter() - began:.0f} s",
        flush=True,
    )


def survivors(rows, kept):
    """Share of the pairs of each kind, by elements, that is kept."""
    return "  ".join(
        f"{kind} {count}/{rows[kind]}" for kind, count in sorted(kept.items(), key=lambda x: -x[1])
    )


def kinds(descriptor, numbers, features):
    """Counts of features by the elements of their atoms."""
    named = [sorted(chemical_symbols[numbers[a]] for a in atoms) for atoms in descriptor.atoms_of]
    return Counter("-".join(named[feature]) for feature in features)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--points", type=int, default=150)
    parser.add_argument("--sigma", type=float, default=20.0)
    parser.add_argument("--max-permutations", type=int, default=1, help="1: no symmetry")
    parser.add_argument("--descriptor", default="distances")
    parser.add_argument("--percentiles", type=float, nargs="+", default=[60, 70, 80])
    parser.add_argument("--again", action="store_true", help="measure importances again as well")
    parser.add_argument("--compare", action="store_true", help="the shortest and random ones too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = files.read(options.data)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data))
    train, test = data[np.sort(order[: options.points])], data[np.sort(order[-300:])]
    # To set the constant, and for the importances:
    others = data[np.sort(order[options.points : -300][:300])]

    def fit(family):
        return family.fit(train, others, np.random.default_rng(0))

    largest = options.max_permutations
    family = SGDML(
        sigma=options.sigma,
        symmetry=largest > 1,
        max_permutations=largest,
        descriptor=options.descriptor,
    )
    begun = time.perf_counter()
    full = fit(family)
    print(
        f"{options.points} points, sigma {options.sigma:g}, {len(full.permutations)} permutations"
    )
    tell("all", full, full, train, test, begun)
    begun = time.perf_counter()
    rows = table(full, others.positions)
    few = table(full, others.positions[:50])
    ranks = [
        np.argsort(np.argsort([r["importance_kcal_mol_A"] for r in part])) for part in (rows, few)
    ]
    print(
        f"importances in {time.perf_counter() - begun:.1f} s; ranks of 50 frames against "
        f"{len(others)} correlate by {np.corrcoef(*ranks)[0, 1]:.4f}"
    )
    everywhere = kinds(full.descriptor, data.numbers, range(full.descriptor.size))
    for percentile in options.percentiles:
        reduced = family.reduced(full, rows, percentile)
        begun = time.perf_counter()
        model = fit(reduced)
        tell(f"percentile {percentile:g}", model, full, train, test, begun)
        print("   ", survivors(everywhere, kinds(full.descriptor, data.numbers, reduced.kept)))
    if options.again:
        begun = time.perf_counter()
        again = np.argsort([row["importance_kcal_mol_A"] for row in table(model, others.positions)])
        chosen = np.array(reduced.kept)[again[len(again) // 3 :]]
        family_again = replace(reduced, kept=closed(chosen, full))
        tell("a third less, remeasured", fit(family_again), full, train, test, begun)
    if options.compare:
        begun = time.perf_counter()
        shortest = replace(family, ranking="distance").reduced(full, rows, percentile)
        tell("the shortest", fit(shortest), full, train, test, begun)
        begun = time.perf_counter()
        chosen = rng.permutation(full.descriptor.size)[: len(reduced.kept)]
        model = fit(replace(reduced, kept=closed(chosen, full)))
        tell("at random", model, full, train, test, begun)


def closed(chosen, potential):
    """Features with all those that the group takes them to, ascending, as plain integers."""
    order = potential.descriptor.relabelled(potential.permutations)
    return tuple(np.unique(order[:, chosen]).tolist())


if __name__ == "__main__":
    main()
