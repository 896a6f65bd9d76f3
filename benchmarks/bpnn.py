"""Behler-Parrinello networks: errors after a training of some minutes, and speed; run by hand.

    python benchmarks/bpnn.py accuracy DATA TEST --points 950 --validation 50
    python benchmarks/bpnn.py accuracy glycine.xyz --points 400 --set hidden=50,50
    python benchmarks/bpnn.py speed DATA

`accuracy` trains on points of DATA drawn at random, and tests on TEST or else on points of DATA
that were neither trained nor validated on. `speed` prints the cost of a geometry against the size
of a batch, and that of the symmetry functions alone, for a network that is not trained. An npz is
read with the labels of the original MD17 in kcal/mol, as rMD17 files have them.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from functools import partial

import numpy as np
import torch

from flexcalc import files
from flexcalc.models.bpnn import BPNN
from flexcalc.units import KCAL_MOL

REPEATS = 15


def read(path):
    if path.endswith(".npz"):
        return files.read(path, labels="old", energy_unit="kcal/mol")
    return files.read(path)


def value(text):
    """A hyperparameter from the command line: numbers, or tuples of them by commas."""
    if "," in text:
        return tuple(value(part) for part in text.split(",") if part)
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def errors(found, frames):
    """MAE and RMSE of energies, in kcal/mol, and of force components, in kcal/mol/angstrom."""
    told = []
    for name, off in (
        ("E", (found.energies - frames.energies) / KCAL_MOL),
        ("F", (found.forces - frames.forces) / KCAL_MOL),
    ):
        told.append(f"{name} MAE {np.abs(off).mean():.3f} RMSE {np.sqrt(np.mean(off**2)):.3f}")
    return ", ".join(told)


def accuracy(options):
    data = read(options.data)
    order = np.random.default_rng(options.seed).permutation(len(data))
    stop = options.points + options.validation
    train, validation = data[order[: options.points]], data[order[options.points : stop]]
    test = read(options.test) if options.test else data[order[stop : stop + options.tested]]
    choices = {"time_limit_min": options.minutes}
    choices |= {key: value(text) for key, text in (one.split("=", 1) for one in options.set)}
    shown = time.monotonic()

    def progress(done, total, note):
        nonlocal shown
        if time.monotonic() - shown > options.every:
            shown = time.monotonic()
            print(f"  {done}/{total}  {note}", flush=True)

    family = BPNN(**choices)
    model = family.fit(train, validation, np.random.default_rng(options.seed), progress)
    facts = model.facts
    print(
        f"{choices}\n{options.points} points: {facts['epochs_done']} epochs in "
        f"{facts['training_minutes']:.1f} min ({facts['ended']}), {facts['parameters']} parameters"
    )
    print(f"on {len(test)} frames:  {errors(model(test.positions), test)}", flush=True)
    if options.output:
        model.save(options.output, overwrite=True)


def median_ms(work):
    """Median wall time of a call in milliseconds, after two calls that do not count."""
    times = []
    for _ in range(REPEATS + 2):
        begun = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[2:])


def speed(options):
    from flexcalc.models.networks.potential import NetworkPotential

    data = read(options.data)
    for precision in ("float64", "float32"):
        family = BPNN(precision=precision, device=options.device)
        network = family.build(data.numbers, data.positions[:100])
        potential = NetworkPotential(family, data.numbers, network, 0.0, 1.0, {})
        print(f"{precision}: {len(data.numbers)} atoms, {network.functions.size} functions an atom")
        for count in (1, 8, 32, 256):
            batch = np.resize(data.positions, (count, *data.positions.shape[1:]))
            whole = median_ms(partial(potential, batch)) / count
            print(f"  batch of {count:3d}: {whole:7.3f} ms a geometry")
        few = torch.tensor(data.positions[:8], dtype=potential.dtype, device=potential.device)
        part = median_ms(partial(network.functions, few)) / len(few)
        print(f"  the functions without their derivative, batch of 8: {part:.3f} ms a geometry")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("accuracy", "speed"))
    parser.add_argument("data")
    parser.add_argument("test", nargs="?")
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--validation", type=int, default=50)
    parser.add_argument("--tested", type=int, default=150)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--every", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    {"accuracy": accuracy, "speed": speed}[options.what](options)


if __name__ == "__main__":
    main()
