"""All paths between the conformers of a molecule: in one batch, and one after the other.

    python benchmarks/many_paths.py MODEL MINIMA.xyz
    python benchmarks/many_paths.py glycine.flex minima.xyz --rounds 3 --json many.json

The minima are relaxed on the model first, and those that are the same, mirror images among them,
left out. Then every round searches all pairs of them by `path` with `starts`, and one after the
other by `path` with `start` and `end`, and prints seconds on the clock and of the processor, in
this process alone and with its workers. The barriers of both must agree. `calls` are seconds of
one call of the model for the images of one path and of all paths.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import combinations
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

import flexcalc
from flexcalc.tasks.stationary.minima import distinct, relax_rows

IMAGES = 11


def minima_of(model, frames):
    """The different minima of the model among frames, lowest first."""
    numbers = frames[0].numbers
    places, energies = relax_rows(model, np.array([one.positions for one in frames]), 0.005)
    return [Atoms(numbers, places[k]) for k in distinct(numbers, places, energies, mirror=True)]


def timed(work):
    """What a work returns, and its seconds on the clock and of the processor."""
    clock, before = time.perf_counter(), os.times()
    found = work()
    after = os.times()
    used = sum(after[:4]) - sum(before[:4])
    return found, {"seconds": time.perf_counter() - clock, "processor_s": used}


def calls(model, minima, count):
    """Seconds of the processor of one call for the images of one path, and of all paths."""
    one = np.repeat(minima[0].positions[None], IMAGES - 2, axis=0)
    row = {}
    for name, batch in (("path", one), ("paths", np.tile(one, (count, 1, 1)))):
        model(batch)
        begun, repeats = time.process_time(), 20
        for _ in range(repeats):
            model(batch)
        row[f"call_{name}_s"] = (time.process_time() - begun) / repeats
    return row


def row_of(model, minima, options):
    """One round: all pairs in one batch, then one after the other."""
    many, batch = timed(lambda: flexcalc.path(model, starts=minima, **options))

    def one_by_one():
        return [flexcalc.path(model, *pair, **options) for pair in combinations(minima, 2)]

    single, turns = timed(one_by_one)
    together = many.paths
    off = [
        abs(a.barrier_kcal_mol - b.barrier_kcal_mol) for a, b in zip(together, single, strict=True)
    ]
    return {
        "minima": len(minima),
        "paths": len(single),
        "converged": sum(one.converged for one in single),
        "evaluations": sum(one.all_evaluations.total for one in single),
        "steps": [one.steps for one in single],
        "together": batch,
        "in_turn": turns,
        "ratio": turns["seconds"] / batch["seconds"],
        "ratio_processor": turns["processor_s"] / batch["processor_s"],
        "largest_difference_kcal_mol": max(off),
    }


def main():
    """Print a row per round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("minima")
    parser.add_argument("--most", type=int, default=7, help="minima, the lowest ones")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--saddle", action="store_true")
    parser.add_argument("--interpolation", choices=("idpp", "geodesic"), default="geodesic")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    frames = read(arguments.minima, ":")
    model = flexcalc.load(arguments.model, frames[0])
    minima = minima_of(model, frames)[: arguments.most]
    options = {
        "method": flexcalc.NEB(images=IMAGES, interpolation=arguments.interpolation),
        "steps": arguments.steps,
        "saddle": arguments.saddle,
        "progress": False,
    }
    count = len(minima) * (len(minima) - 1) // 2
    rows = [calls(model, minima, count)]
    print(json.dumps(rows[0]), flush=True)
    for _ in range(arguments.rounds):
        rows.append(row_of(model, minima, options))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
