"""sGDML here against the sgdml package, side by side on the same data; run by hand.

    python benchmarks/gdml.py compare DATA.npz --points 200 --sigma 20
    python benchmarks/gdml.py agree DATA.npz TEST.npz --points 200 --sigma 20
    python benchmarks/gdml.py scaling
    python benchmarks/gdml.py iterative DATA.npz TEST.npz --points 1000 --sigma 20
    python benchmarks/gdml.py gpu DATA.npz --points 1000 --sigma 20

DATA is an rMD17-style npz in kcal/mol. `compare` prints ratios (theirs over ours, larger is
better) of training time and peak memory, each in a process of its own, of a single ASE call and of
a batch, and the batch's share of the rate that the four matrix products alone would allow, measured
in the same run. `agree` prints how far the predictions of the two are apart, and the errors of
either. `scaling` prints the cost of a prediction against points, atoms and permutations.
`iterative` trains without the matrix; `gpu` does the exact training and a batch on a GPU.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import ase
import numpy as np

from flexcalc import files
from flexcalc.adapters.ase import Calculator
from flexcalc.models.gdml import SGDML, GDMLPotential
from flexcalc.models.gdml.potential import Expansion
from flexcalc.models.gdml.solver import Setting
from flexcalc.units import KCAL_MOL

BATCH, REPEATS = 256, 9
PUBLISHED = {"descriptor": "distances", "kernel": "molecule", "energies": "training"}
"""What the sgdml package trains."""


def median_time(work, repeats=REPEATS):
    """Median wall time of a call in seconds, after one call that does not count."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def read(path):
    return files.read(path, energy_unit="kcal/mol")


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def theirs(frames, sigma, permutations=None):
    """The package's model of these frames, and the seconds its training takes.

    With the permutations given, or those it finds.
    """
    from sgdml.train import GDMLTrain

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
    trainer = GDMLTrain()
    task = trainer.create_task(
        dataset, len(frames), dataset, 0, sigma, lam=1e-10, perms=permutations
    )
    begun = time.perf_counter()
    model = trainer.train(task)
    return model, time.perf_counter() - begun


def ours(frames, sigma, **options):
    begun = time.perf_counter()
    model = SGDML(sigma=sigma, **{**PUBLISHED, **options}).fit(
        frames, None, np.random.default_rng(0)
    )
    return model, time.perf_counter() - begun


def trained(who, options):
    """Train in this process, and print seconds and bytes beyond those before."""
    frames = read(options.data)[np.arange(options.points)]
    few = frames[np.arange(10)]
    (theirs if who == "theirs" else ours)(few, options.sigma)  # imports, and the first calls
    before = peak_bytes()
    seconds = (theirs if who == "theirs" else ours)(frames, options.sigma)[1]
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes() - before}))


def in_process(who, options):
    words = [sys.executable, __file__, who, options.data]
    words += ["--points", str(options.points), "--sigma", str(options.sigma)]
    run = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def product_seconds(points, group, size):
    """Seconds of the four products of a batch, as one matrix each, and nothing else."""
    images = np.random.default_rng(0).normal(size=(points * group, size))
    x = np.random.default_rng(1).normal(size=(BATCH, size))
    weights = np.random.default_rng(2).normal(size=(BATCH, len(images)))

    def work():
        for _ in range(2):
            x @ images.T
            weights @ images

    return median_time(work)


def compare(options):
    data = read(options.data)
    frames = data[np.arange(options.points)]
    runs = {who: in_process(who, options) for who in ("ours", "theirs")}
    matrix = 8 * (3 * len(frames.numbers) * len(frames)) ** 2
    for who, run in runs.items():
        print(
            f"training, {who}: {run['seconds']:.1f} s, peak memory {run['bytes'] / 2**30:.2f} GiB, "
            f"{run['bytes'] / matrix:.2f} of the kernel matrix of the package"
        )
    print(f"training: ratio {runs['theirs']['seconds'] / runs['ours']['seconds']:.2f}")

    mine, _ = ours(frames, options.sigma)
    model, _ = theirs(frames, options.sigma)
    print(f"permutations: ours {len(mine.permutations)}, theirs {len(model['perms'])}")
    from sgdml.intf.ase_calc import SGDMLCalculator
    from sgdml.predict import GDMLPredict

    predictor = GDMLPredict(model)
    batch = np.array(data.positions[-BATCH:])
    flat = batch.reshape(BATCH, -1)
    limit = product_seconds(len(frames), len(mine.permutations), mine.descriptor.size)
    seconds = median_time(lambda: mine(batch))
    shipped = median_time(lambda: predictor.predict(flat))
    print(f"batch of {BATCH}: ours {seconds / BATCH * 1e3:.3f} ms a geometry")
    print(f"batch of {BATCH}: ratio {shipped / seconds:.1f}, as shipped")
    tuned = min(
        median_time(lambda: predictor.predict(flat), 3)
        for chunk in (10, 50, len(frames))
        if predictor._set_chunk_size(chunk) is None
    )
    print(f"batch of {BATCH}: ratio {tuned / seconds:.1f}, with its best chunk size")
    print(f"share of the product rate: {limit / seconds:.0%}")

    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/model.npz", **model)
        package = SGDMLCalculator(f"{folder}/model.npz", E_to_eV=1.0, F_to_eV_Ang=1.0)
    calls = {"ours": ase_call(Calculator(mine), data), "as shipped": ase_call(package, data)}
    for chunk in (5, 10, 20, 50, 100, len(frames)):
        package.gdml_predict._set_chunk_size(chunk)
        calls[f"chunks of {chunk}"] = ase_call(package, data)
    for name, call in calls.items():
        print(f"ASE call: {name} {call * 1e3:.3f} ms, ratio {call / calls['ours']:.1f}")


def ase_call(calculator, data):
    atoms = ase.Atoms(data.numbers, data.positions[-1], calculator=calculator)

    def call():
        atoms.positions[0, 0] += 1e-6
        atoms.get_forces()

    return median_time(call, 60)


def errors(energies, forces, test):
    """Mean absolute errors and the RMSE of the forces, in kcal/mol(/A)."""
    energy, force = (energies - test.energies) / KCAL_MOL, (forces - test.forces) / KCAL_MOL
    return (
        f"energy MAE {np.abs(energy).mean():.3f}, force MAE {np.abs(force).mean():.3f}, "
        f"force RMSE {np.sqrt(np.mean(force**2)):.3f}"
    )


def agree(options):
    from sgdml.predict import GDMLPredict

    frames, test = read(options.data)[np.arange(options.points)], read(options.test)
    mine, _ = ours(frames, options.sigma, symmetry=options.symmetry)
    model, _ = theirs(frames, options.sigma, mine.permutations)
    energies, forces = GDMLPredict(model).predict(test.positions.reshape(len(test), -1))
    forces = forces.reshape(test.forces.shape)
    found = mine(test.positions)
    for what, apart, size in (
        ("energies", found.energies - energies, energies - energies.mean()),
        ("forces", found.forces - forces, forces),
    ):
        print(
            f"{what} differ by {np.abs(apart).max() / np.abs(size).max():.1e} at most, "
            f"{np.sqrt(np.mean(apart**2) / np.mean(size**2)):.1e} RMS, relative"
        )
    print("sgdml:            ", errors(energies, forces, test))
    print("the same here:    ", errors(found.energies, found.forces, test))
    for name, choice in (
        ("energies fitted:  ", {"energies": "fitted"}),
        ("extended, fitted: ", {"energies": "fitted", "descriptor": "extended"}),
    ):
        found = ours(frames, options.sigma, symmetry=options.symmetry, **choice)[0](test.positions)
        print(name, errors(found.energies, found.forces, test))


def scaling(options):
    """Microseconds a geometry of models with random coefficients."""
    rng = np.random.default_rng(0)

    def cost(points, atoms, swaps):
        # `swaps` exchanges of two atoms each, which commute: a group of 2^swaps.
        group = np.array([np.arange(atoms)])
        for k in range(swaps):
            other = group.copy()
            other[:, [2 * k, 2 * k + 1]] = group[:, [2 * k + 1, 2 * k]]
            group = np.concatenate([group, other])
        size = atoms * (atoms - 1) // 2
        model = GDMLPotential(
            np.ones(atoms),
            Expansion(
                permutations=group,
                features=rng.uniform(0.1, 1.0, (points, size)),
                coefficients=rng.normal(size=(points, size)),
                sigma=10.0,
            ),
        )
        positions = rng.normal(scale=4.0, size=(BATCH, atoms, 3))
        batch = median_time(lambda: model(positions), 5) / BATCH
        single = median_time(lambda: model(positions[:1]), 30)
        limit = product_seconds(points, len(group), size) / BATCH
        print(
            f"{points:5d} points {atoms:3d} atoms {len(group):3d} permutations: "
            f"batch {batch * 1e6:7.1f} us, single {single * 1e6:7.1f} us, "
            f"{limit / batch:4.0%} of the product rate"
        )

    for points in (50, 100, 200, 500, 1000):
        cost(points, 24, 3)
    for atoms in (9, 24, 42, 60):
        cost(200, atoms, 0)
    for swaps in range(7):
        cost(200, 24, swaps)


def iterative(options):
    frames, test = read(options.data)[np.arange(options.points)], read(options.test)
    before = peak_bytes()
    model, seconds = ours(frames, options.sigma, solver="iterative", columns=options.columns)
    found = model(test.positions)
    print(f"{options.points} points: {seconds:.0f} s, {model.facts['solution']}")
    print(f"peak memory {(peak_bytes() - before) / 2**30:.2f} GiB beyond what was there")
    print(errors(found.energies, found.forces, test))
    if options.exact:
        model, seconds = ours(frames, options.sigma, solver="exact")
        found = model(test.positions)
        print(f"exact: {seconds:.0f} s, peak memory {(peak_bytes() - before) / 2**30:.2f} GiB")
        print(errors(found.energies, found.forces, test))


def gpu(options):
    from flexcalc.models.gdml.engine import engine

    frames = read(options.data)[np.arange(options.points)]
    there = engine("cuda")
    print(there.xp.cuda.get_device_name(), Setting(engine=there))
    model, seconds = ours(frames, options.sigma, device="cuda", solver="exact")
    rows = len(frames) * (3 * len(frames.numbers) - 6)
    print(
        f"exact training: {seconds:.1f} s, {rows**3 / 3 / seconds / 1e12:.1f} Tflop/s of Cholesky"
    )
    square = there.xp.randn(8192, 8192, dtype=there.xp.float64, device="cuda")
    there.xp.cuda.synchronize()

    def product():
        square @ square
        there.xp.cuda.synchronize()

    rate = 2 * 8192**3 / median_time(product)
    print(f"product rate {rate / 1e12:.1f} Tflop/s")
    moved = model.on("cuda")
    for count in (1, 32, 256, 2048, 16384):
        positions = np.resize(frames.positions, (count, *frames.positions.shape[1:]))
        seconds = median_time(lambda batch=positions: moved(batch), 5)
        print(f"batch of {count}: {seconds / count * 1e6:.2f} us a geometry")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what")
    parser.add_argument("data", nargs="?")
    parser.add_argument("test", nargs="?")
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--sigma", type=int, default=20)
    parser.add_argument("--columns", type=int, default=None)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--no-symmetry", dest="symmetry", action="store_false")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.what in ("ours", "theirs"):
        trained(options.what, options)
        return
    works = {work.__name__: work for work in (compare, agree, scaling, iterative, gpu)}
    works[options.what](options)


if __name__ == "__main__":
    main()
