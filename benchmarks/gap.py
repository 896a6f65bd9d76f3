"""GAP: errors on rMD17, and speed against quippy's own calculator; run by hand.

    python benchmarks/gap.py accuracy TRAIN.npz TEST.npz --points 500 force_sigma=0.02
    python benchmarks/gap.py speed DATA.npz

The files are in the style of rMD17, in kcal/mol. `accuracy` trains on the first points of TRAIN
with the hyperparameters given, defaults otherwise, and prints the errors on the first 1000 frames
of TEST, or on all where there are fewer. `speed` prints ratios (quippy's time over ours, larger is
better), measured in turns in one run: of a batch of 32 against a Python loop over
`quippy.potential.Potential`, and of ASE calls.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import tempfile
import time
from pathlib import Path

import ase
import numpy as np

from flexcalc import files
from flexcalc.adapters.ase import Calculator
from flexcalc.models.gap import GAP
from flexcalc.units import KCAL_MOL

BATCH, REPEATS, TESTED = 32, 7, 1000
CUTOFF = 5.0


def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def in_turns(*works):
    """Median seconds of each, called in turns so that a busy machine is so for all of them."""
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(REPEATS)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def read(path):
    return files.read(path, energy_unit="kcal/mol")


def accuracy(options):
    data, test = read(options.data), read(options.test)
    test = test[np.arange(min(TESTED, len(test)))]
    choices = dict(pair.split("=", 1) for pair in options.choices)
    choices = {key: _literal(text) for key, text in choices.items()}
    family = GAP(**{"cutoff": CUTOFF, **choices})
    begun = time.perf_counter()
    model = family.fit(data[np.arange(options.points)], None, np.random.default_rng(0))
    print(f"{family}")
    print(f"training {time.perf_counter() - begun:.0f} s, {model.facts['sparse_points']}")
    begun = time.perf_counter()
    found = model(test.positions)
    taken = (time.perf_counter() - begun) / len(test)
    energy = (found.energies - test.energies) / KCAL_MOL
    force = (found.forces - test.forces) / KCAL_MOL
    print(
        f"energy MAE {np.abs(energy).mean():.3f} kcal/mol, force MAE {np.abs(force).mean():.3f}, "
        f"RMSE {np.sqrt(np.mean(force**2)):.3f} kcal/mol/A; {taken * 1e3:.1f} ms a geometry",
        flush=True,
    )


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def speed(options):
    from quippy.potential import Potential

    data = read(options.data)
    family = GAP(cutoff=CUTOFF, n_max=options.n_max, l_max=options.l_max, n_sparse=300)
    model = family.fit(data[np.arange(30)], None, np.random.default_rng(0))
    batch = np.array(data.positions[-BATCH:])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in model.files.items():
            (Path(folder) / name).write_bytes(content)
        quippy = Potential(param_filename=f"{folder}/GAP.xml")
    atoms = ase.Atoms(data.numbers, calculator=quippy)

    def loop():
        energies, forces = [], []
        for geometry in batch:
            atoms.positions = geometry
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        return np.array(energies), np.array(forces)

    energies, forces = loop()
    found = model(batch)
    apart = np.abs(found.energies - energies).max(), np.abs(found.forces - forces).max()
    print(f"energies and forces differ by {apart[0]:.1e} eV and {apart[1]:.1e} eV/A at most")
    theirs, ours = in_turns(loop, lambda: model(batch))
    print(f"batch of {BATCH}: ours {ours / BATCH * 1e3:.2f} ms a geometry, quippy ", end="")
    print(f"{theirs / BATCH * 1e3:.2f}, ratio {theirs / ours:.2f}")
    calls = [_call(data, calculator) for calculator in (quippy, Calculator(model))]
    theirs, ours = in_turns(*calls)
    print(f"ASE call: ours {ours * 1e3:.2f} ms, quippy {theirs * 1e3:.2f}: {theirs / ours:.2f}")


def _call(data, calculator):
    atoms = ase.Atoms(data.numbers, data.positions[-1], calculator=calculator)

    def call():
        atoms.positions[0, 0] += 1e-6
        atoms.get_forces()

    return call


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("accuracy")
    one.add_argument("data")
    one.add_argument("test")
    one.add_argument("choices", nargs="*", help="hyperparameters, NAME=VALUE")
    one.add_argument("--points", type=int, default=500)
    one.set_defaults(work=accuracy)
    two = commands.add_parser("speed")
    two.add_argument("data")
    two.add_argument("--n-max", type=int, default=8)
    two.add_argument("--l-max", type=int, default=4)
    two.set_defaults(work=speed)
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
