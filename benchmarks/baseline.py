"""What a baseline is worth: sGDML on labels, and on labels less a baseline, on the same points.

    python benchmarks/baseline.py DATA [TEST] [--points 50 100 200] [--baselines ...]

Training points are drawn by energy from DATA, 100 more frames choose sigma, and errors are taken
on --test frames of TEST, or of those left of DATA. The errors of the sum of baseline and model on
the labels are those of the model on the differences. The points and frames are the same for all
baselines. "alone" are the errors of the baseline itself, its mean offset in energy removed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

import flexcalc
from flexcalc import files
from flexcalc.models.gdml import SGDML
from flexcalc.training.selection import choose
from flexcalc.training.tuning import fit_best
from flexcalc.units import KCAL_MOL


def less(data, baseline):
    """The dataset with a baseline taken off, and milliseconds a frame."""
    if baseline is None:
        return data, 0.0
    begun = time.perf_counter()
    found = baseline(data.positions)
    taken = time.perf_counter() - begun
    energies, forces = data.labels()
    return (
        replace(data, energies=energies - found.energies, forces=forces - found.forces),
        taken / len(data) * 1e3,
    )


def figures(energies, forces):
    """Force and energy RMSE and MAE in kcal/mol(/angstrom) of differences."""
    return [
        number / KCAL_MOL
        for off in (forces, energies)
        for number in (np.sqrt(np.mean(off**2)), np.mean(abs(off)))
    ]


def line(name, points, numbers, note=""):
    """Print one row."""
    shown = " ".join(f"{number:9.3f}" for number in numbers)
    print(f"{name:20s} {points:>6} {shown}  {note}", flush=True)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--points", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument(
        "--baselines", nargs="+", default=["none", "dispersion:D4/PBE", "xtb:GFN2-xTB"]
    )
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--descriptor", default="extended")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    unit = "kcal/mol" if options.data.suffix == ".npz" else None
    data = files.read(options.data, energy_unit=unit)
    rng = np.random.default_rng(options.seed)
    sets = {points: choose("stratified", data, points, rng) for points in options.points}
    used = np.unique(np.concatenate(list(sets.values())))
    left = rng.permutation(np.setdiff1d(np.arange(len(data)), used))
    judged, left = data[left[:100]], data[left[100 : 100 + options.test]]
    if options.other is not None:
        left = files.read(options.other, energy_unit=unit)
        left = left[rng.permutation(len(left))[: options.test]]
    print(f"{options.data.name}: {len(left)} test frames, {options.descriptor} descriptor")
    print(f"{'baseline':20s} points   F RMSE     F MAE    E RMSE     E MAE  (kcal/mol/A, kcal/mol)")
    for name in options.baselines:
        baseline = None if name == "none" else flexcalc.load(name, data.numbers)
        test, cost = less(left, baseline)
        energies, forces = test.labels()
        if baseline is not None:
            alone = figures(energies - energies.mean(), forces)
            line(name, "alone", alone, f"{cost:.1f} ms a frame")
        validation = less(judged, baseline)[0]
        for points, chosen in sets.items():
            train = less(data[chosen], baseline)[0]
            begun = time.perf_counter()
            family = SGDML(descriptor=options.descriptor)
            model = fit_best(family, train, validation, np.random.default_rng(0)).potential
            found = model(test.positions)
            line(
                name,
                points,
                figures(found.energies - energies, found.forces - forces),
                f"sigma {model.sigma:g}, {time.perf_counter() - begun:.0f} s",
            )


if __name__ == "__main__":
    main()
