"""Errors of models of few labels: sGDML on the sum of baselines that folds choose.

    python benchmarks/fewest.py DATA [--molecules ethanol ...] [--splits 1 2 3 4 5] [--points 50]
        [--baselines none xtb:GFN2-xTB xtb:GFN2-xTB,xtb:GFN1-xTB,so3lr:] [--output fewest.json]
        [--kernel molecule]

DATA has rmd17/ and the set of glycine (see its README). Training points are the first of a split's
training frames, or drawn from those of glycine; no other label is used, and everything else is
left to the defaults. Errors are on all test frames of the split. The baselines of test frames are
kept in the folder --cache, and what is done in the output, so that the same command goes on; it
prints means and standard deviations over the splits, next to MACE's errors (arXiv:2206.07697).
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np
from small_sets import errors, frames_of, remembering

import flexcalc
from flexcalc.models.gdml.family import SGDML

MACE = {
    "azobenzene": (5.4, 17.7),
    "ethanol": (6.7, 32.6),
    "malonaldehyde": (10.0, 43.3),
    "uracil": (4.4, 25.9),
}
"""Mean absolute errors with 50 points, in meV and meV/angstrom."""
ALL = "xtb:GFN2-xTB,xtb:GFN1-xTB,xtb:IPEA1-xTB,so3lr:"


def measure(options, molecule, split, points, baselines):
    """A row of the table: one training, and its errors on the test frames."""
    train, test = frames_of(options.data, molecule, points, split)
    begun, busy = time.perf_counter(), time.process_time()
    fit = flexcalc.train(
        train,
        baseline=() if baselines == "none" else baselines.split(","),
        family=SGDML(kernel=options.kernel),
        points=points,
        validation_points=0,
    )
    taken, busy = time.perf_counter() - begun, time.process_time() - busy
    return {
        "molecule": molecule,
        "split": split,
        "points": points,
        "baselines": baselines,
        "kernel": options.kernel,
        "chosen": fit.baseline,
        "sigma": fit.hyperparameters["sigma"],
        **errors(remembering(fit.model, options.cache, molecule), test),
        "training_s": round(taken, 1),
        "training_cpu_s": round(busy, 1),
        "call_ms": fit.call_ms,
    }


def key_of(row):
    """What the rows of all splits have in common."""
    return row["molecule"], row["points"], row["baselines"], row["kernel"]


def table(rows):
    """Print means and standard deviations over the splits."""
    print(
        "molecule       points splits  E meV        F meV/A      of MACE's F  train s  call ms  "
        "kernel    baselines"
    )
    for key in sorted({key_of(row) for row in rows}):
        some = [row for row in rows if key_of(row) == key]
        errors = np.array([[row["energy_mae_meV"], row["force_mae_meV_A"]] for row in some])
        (energy, force), spread = errors.mean(axis=0), errors.std(axis=0)
        ratio = f"{force / MACE[key[0]][1]:.2f}" if key[0] in MACE and key[1] == 50 else ""
        print(
            f"{key[0]:14s} {key[1]:6d} {len(some):6d}  {energy:5.1f} ± {spread[0]:4.1f} "
            f"{force:6.1f} ± {spread[1]:4.1f}  {ratio:>11s}  "
            f"{np.mean([row['training_s'] for row in some]):7.0f}  "
            f"{np.mean([row['call_ms'] for row in some]):7.2f}  {key[3]:8s}  {key[2]}"
        )


def main():
    """Measure what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--molecules", nargs="+", default=list(MACE))
    parser.add_argument("--splits", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--points", type=int, nargs="+", default=[50])
    parser.add_argument("--baselines", nargs="+", default=["none", "xtb:GFN2-xTB", ALL])
    parser.add_argument("--kernel", choices=["auto", "bonds", "molecule"], default="auto")
    parser.add_argument("--output", type=Path, default=Path("fewest.json"))
    parser.add_argument("--cache", type=Path, default=Path("fewest"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = json.loads(options.output.read_text()) if options.output.exists() else []
    done = {(row["split"], *key_of(row)) for row in rows}
    asked = options.splits, options.points, options.molecules, options.baselines
    for split, points, molecule, baselines in product(*asked):
        if (split, molecule, points, baselines, options.kernel) not in done:
            rows.append(measure(options, molecule, split, points, baselines))
            options.output.write_text(json.dumps(rows, indent=1))
            print(rows[-1], flush=True)
    table(rows)


if __name__ == "__main__":
    main()
