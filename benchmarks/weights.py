"""Weights of baselines and errors in folds, for each length scale of sGDML.

    python benchmarks/weights.py DATA [--molecules ethanol azobenzene] [--points 50] [--split 1]
        [--baselines xtb:GFN2-xTB xtb:GFN1-xTB] [--kernels molecule bonds] [--cache fewest]

DATA has rmd17/ (see its README). Training points are the first of a split's training frames; the
folds are those of `flexcalc train`. Errors are force RMSE in kcal/mol/angstrom on frames left out:
with the weights of the line, without a baseline, and with the weights that the search takes, those
of the best of every second length scale.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from small_sets import Remembered, frames_of

from flexcalc.models.gdml.family import SGDML
from flexcalc.tasks.baseline import WEIGHTS_SEED
from flexcalc.training.weights import choose_weights


def measure(options, molecule, kernel):
    """Print a line for each length scale."""
    train, _ = frames_of(options.data, molecule, options.points, options.split)
    known = [
        Remembered(address, train.numbers, options.cache, molecule)(train.positions)
        for address in options.baselines
    ]

    def chosen(family):
        return choose_weights(family, train, known, np.random.default_rng(WEIGHTS_SEED))

    family = SGDML(kernel=kernel)
    found = chosen(family)
    print(f"{molecule}, kernel {kernel}: {found.values} chosen, {found.error:.3f}", flush=True)
    for sigma in family.sigmas:
        one = chosen(replace(family, sigma=sigma))
        alone = "  ".join(f"{error:.3f}" for error in one.alone)
        print(
            f"  sigma {sigma:5g}  weights {one.values}  error {one.error:.3f}  "
            f"without {one.without:.3f}  alone {alone}",
            flush=True,
        )


def main():
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--molecules", nargs="+", default=["ethanol", "azobenzene"])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--split", type=int, default=1)
    parser.add_argument("--baselines", nargs="+", default=["xtb:GFN2-xTB", "xtb:GFN1-xTB"])
    parser.add_argument("--kernels", nargs="+", default=["molecule", "bonds"])
    parser.add_argument("--cache", type=Path, default=Path("fewest"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for molecule in options.molecules:
        for kernel in options.kernels:
            measure(options, molecule, kernel)


if __name__ == "__main__":
    main()
