"""Orders of the permutation groups recovered from datasets, with times; run by hand.

    python benchmarks/symmetry.py ethanol.xyz azobenzene.npz --orders 6 8

For each dataset and training-set size: how often random subsets give the expected order, for the
group of flexcalc and for the plain matching by eigenvectors without a review by bonds, with the
median time of each. Several files joined by a plus are one set (cis.npz+trans.npz).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from functools import partial

import numpy as np

from flexcalc import files
from flexcalc.errors import FileFormatError
from flexcalc.geometry import bonds, distances
from flexcalc.models.gdml import symmetry
from flexcalc.models.gdml.groups import close

LARGEST = 1000
"""Groups beyond this are printed as such."""


def molecule(path, unit):
    """Numbers and positions of a set; its files must agree in their bonds, atom by atom."""
    parts = []
    for name in path.split("+"):
        try:
            data = files.read(name, energy_unit=unit if name.endswith(".npz") else None)
            parts.append((np.asarray(data.numbers), np.asarray(data.positions)))
        except FileFormatError:
            # Geometries without energies, as recovered from published models.
            with np.load(name, allow_pickle=False) as archive:
                parts.append((archive["z"], archive["R"]))
    numbers, first = parts[0]
    for other, positions in parts[1:]:
        same = np.array_equal(other, numbers)
        if not same or not np.array_equal(bonds(numbers, first[0]), bonds(other, positions[0])):
            raise SystemExit(f"{path}: the files differ in the order of their atoms")
    return numbers, np.concatenate([positions for _, positions in parts])


def plain(numbers, positions, rng):
    """The order of the group of the published algorithm: any matching is trusted."""
    matching = symmetry._by_modes(numbers, distances(positions), lambda rows: rows[:, 0] >= 0)
    found = symmetry._on_spanning_tree(matching)
    group = close([tuple(range(len(numbers))), *found], LARGEST)
    return len(group) if group else LARGEST + 1


def reviewed(numbers, positions, rng):
    """The order of flexcalc's group."""
    return len(symmetry.recover(numbers, positions, rng, LARGEST).permutations)


def trials(method, numbers, positions, size, repeats):
    """Orders found in random subsets, and the median time in seconds."""
    orders, times = [], []
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        subset = positions[rng.choice(len(positions), size, replace=False)]
        begun = time.perf_counter()
        orders.append(method(numbers, subset, rng))
        times.append(time.perf_counter() - begun)
    return orders, statistics.median(times)


def cell(orders, seconds, expected):
    """How often the expected order was found, what else was, and the time."""
    others = {k: n for k, n in sorted(Counter(orders).items()) if k != expected}
    extra = " ".join(f"{n}x{k if k <= LARGEST else f'>{LARGEST}'}" for k, n in others.items())
    return f"{orders.count(expected)}/{len(orders)} {f'({extra})' if extra else ''} {seconds:.3f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("datasets", nargs="+")
    parser.add_argument("--orders", nargs="+", type=int, required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[50, 100, 200, 500, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--energy-unit", default="kcal/mol")
    parser.add_argument("--no-plain", action="store_true")
    words = parser.parse_args()
    methods = {"flexcalc": reviewed} | ({} if words.no_plain else {"plain": plain})
    # The first call imports SciPy; it does not count.
    water = np.array([8, 1, 1]), np.random.default_rng(0).normal(size=(3, 3, 3))
    for method in methods.values():
        method(*water, np.random.default_rng(0))
    print(f"| dataset | frames | expected | {' | '.join(methods)} |")
    print(f"|---|---|---|{'---|' * len(methods)}")
    for path, expected in zip(words.datasets, words.orders, strict=True):
        numbers, positions = molecule(path, words.energy_unit)
        for size in sorted({min(size, len(positions)) for size in words.sizes}):
            run = partial(trials, numbers=numbers, positions=positions, size=size)
            found = [run(method, repeats=words.repeats) for method in methods.values()]
            cells = " | ".join(cell(*entry, expected) for entry in found)
            print(f"| {path} | {size} | {expected} | {cells} |", flush=True)
        note = symmetry.recover(numbers, positions, np.random.default_rng(0), LARGEST)
        print(f"<!-- {', '.join(note.generators())}: {'; '.join(note.notes)} -->", flush=True)


if __name__ == "__main__":
    main()
