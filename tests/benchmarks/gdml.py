"""sGDML here against the sgdml package, side by side on the same data; run by hand.

    python tests/benchmarks/gdml.py DATA.npz --points 100 --sigma 20

DATA is an rMD17-style npz in kcal/mol. Prints ratios (theirs over ours, larger is better) of the
training time, of a single ASE call and of a batch, and the batch's share of the rate that the
four matrix products alone would allow, measured in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings

import ase
import numpy as np

from flexcalc import files
from flexcalc.adapters.ase import Calculator
from flexcalc.models.gdml import SGDML

BATCH, REPEATS = 256, 7


def median_time(work, repeats=REPEATS):
    """Median wall time of a call in seconds, after one call that does not count."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def theirs(data, points, sigma):
    """The package's model of the same points, and the seconds its training takes."""
    from sgdml.train import GDMLTrain

    frames = data[points]
    dataset = {
        "type": np.array("d"),
        "name": np.array("benchmark"),
        "theory": np.array("unknown"),
        "z": frames.numbers.astype(np.uint8),
        "R": np.array(frames.positions),
        "E": np.array(frames.energies),
        "F": np.array(frames.forces),
        "md5": np.array("none"),
        "e_unit": np.array("eV"),
        "r_unit": np.array("Ang"),
    }
    trainer = GDMLTrain(max_processes=1)
    task = trainer.create_task(dataset, len(frames), dataset, 0, sigma, lam=1e-10)
    begun = time.perf_counter()
    model = trainer.train(task)
    return model, time.perf_counter() - begun


def product_seconds(potential):
    """Seconds of the four products of a batch, as one matrix each, and nothing else."""
    images = np.concatenate([block.features for block in potential._blocks])
    x = np.random.default_rng(0).normal(size=(BATCH, images.shape[1]))
    weights = np.random.default_rng(1).normal(size=(BATCH, len(images)))

    def work():
        for _ in range(2):
            x @ images.T
            weights @ images

    return median_time(work)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--sigma", type=int, default=20)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    data = files.read(options.data, energy_unit="kcal/mol")
    points = np.arange(options.points)

    begun = time.perf_counter()
    family = SGDML(sigma=options.sigma)
    ours = family.fit(data[points], None, np.random.default_rng(0))
    training = time.perf_counter() - begun
    model, their_training = theirs(data, points, options.sigma)
    print(f"permutations: ours {len(ours.permutations)}, theirs {len(model['perms'])}")
    print(f"training: ours {training:.2f} s, ratio {their_training / training:.2f}")

    from sgdml.intf.ase_calc import SGDMLCalculator
    from sgdml.predict import GDMLPredict

    predictor = GDMLPredict(model)
    frames = np.array(data.positions[-BATCH:])
    flat = frames.reshape(BATCH, -1)
    found = ours(frames)
    forces = predictor.predict(flat)[1].reshape(frames.shape)
    apart = np.abs(found.forces - forces).max() / np.abs(forces).max()
    print(f"forces differ by {apart:.1e} of the largest")
    batch = median_time(lambda: ours(frames))
    ratio = median_time(lambda: predictor.predict(flat)) / batch
    print(f"batch of {BATCH}: ours {batch / BATCH * 1e3:.3f} ms a geometry, ratio {ratio:.2f}")
    print(f"share of the product rate: {product_seconds(ours) / batch:.0%}")

    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/model.npz", **model)
        package = SGDMLCalculator(f"{folder}/model.npz", E_to_eV=1.0, F_to_eV_Ang=1.0)
    single = {}
    for name, calculator in (("ours", Calculator(ours)), ("theirs", package)):
        atoms = ase.Atoms(data.numbers, frames[0], calculator=calculator)

        def call(atoms=atoms):
            atoms.positions[0, 0] += 1e-6
            atoms.get_forces()

        single[name] = median_time(call, 30)
    print(
        f"ASE call: ours {single['ours'] * 1e3:.3f} ms, "
        f"ratio {single['theirs'] / single['ours']:.2f}"
    )


if __name__ == "__main__":
    main()
