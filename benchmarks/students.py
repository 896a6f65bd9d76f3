"""Students beside their teachers: errors, times of a call and of a batch, drift and crash test.

    python benchmarks/students.py DATA [--molecules ethanol azobenzene glycine] [--points 50 200]
        [--labels N] [--kernel auto] [--output students]

DATA has rmd17/ and the glycine set (see its README). A teacher is sGDML on the weighted sum of
baselines that folds of the training points choose; the student has the defaults of `train
--teacher`, except for --labels and --kernel. Errors are on all test frames: rMD17's of the first
split, or the frames of glycine that were not drawn. They are mean absolute errors in meV and
meV/angstrom; times are in milliseconds for one geometry, through the ASE calculator and in a batch
of 256 (teacher: of 32). The drift is that of NVE dynamics at 500 K in meV per atom and picosecond,
from 8 test frames, 1 ps at 0.5 fs. The crash test is Langevin dynamics of 30 replicas at 300, 500
and 750 K, for --time-ps at 0.5 fs.

What is done is kept in the output, so that the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from ase import Atoms
from small_sets import errors, frames_of

import flexcalc
from flexcalc.methods.crash import Crash, CrashTest
from flexcalc.methods.dynamics import NVE, Langevin
from flexcalc.methods.iterate import iterate
from flexcalc.models.gdml.family import SGDML

BASELINES = ("xtb:GFN2-xTB", "so3lr:")
BATCHES = {"teacher": 32, "student": 256}


def call_ms(model, test):
    """Median time of an ASE call."""
    atoms = Atoms(test.numbers, test.positions[0], calculator=flexcalc.Calculator(model))
    taken = []
    for positions in test.positions[1:12]:
        atoms.positions = positions
        begun = time.perf_counter()
        atoms.get_forces()
        taken.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(taken))


def drift(model, test):
    """Energy drift of NVE dynamics, in meV per atom and picosecond; the mean over replicas."""
    rng, steps = np.random.default_rng(0), 2000
    warm = Langevin(timestep_fs=0.5, temperature_K=500.0)
    state = iterate(warm, model, warm.init(model, test.positions[:8], rng), steps=200, rng=rng)
    free = NVE(timestep_fs=0.5)
    masses = Atoms(test.numbers).get_masses()[None, :, None]
    found = []

    def watch(state):
        kinetic = (state.momenta**2 / (2 * masses)).sum(axis=(1, 2))
        found.append(state.evaluation.energies + kinetic)

    iterate(free, model, state, steps=200 + steps, rng=rng, observers=[watch])
    total, times_ps = np.array(found), 0.5e-3 * np.arange(len(found))
    slopes = np.polyfit(times_ps, total, 1)[0]
    return 1e3 * float(np.abs(slopes).mean()) / len(test.numbers)


def survivors(model, train, time_ps):
    """Intact replicas of a crash test from training frames, of 30."""
    test = CrashTest(time_ps=time_ps, nve_ps=0.0)
    replicas = test.replicas(train.positions[:10])
    method, rng = Crash(test, train.numbers, replicas), np.random.default_rng(0)
    state = method.init(model, replicas.positions, rng)
    state = iterate(method, model, state, steps=method.steps, rng=rng)
    return f"{len(state.alive)} of {len(replicas.positions)}"


def measure(options, molecule, points):
    """A row for the teacher, and one for the student."""
    train, test = frames_of(options.data, molecule, points)
    place = options.output / f"{molecule}-{points}"
    sizes = {"points": points, "validation_points": 0}
    begun = time.perf_counter()
    teacher = flexcalc.train(train, baseline=BASELINES, output=place / "teacher.flex", **sizes)
    between = time.perf_counter()
    student = flexcalc.train(
        train,
        teacher=str(place / "teacher.flex"),
        teacher_points=options.labels,
        family=SGDML(kernel=options.kernel),
        output=place / "student.flex",
        **sizes,
    )
    taken = {"teacher": between - begun, "student": time.perf_counter() - between}
    rows = []
    for name, fit in (("teacher", teacher), ("student", student)):
        row = {"molecule": molecule, "points": points, "model": name}
        row |= errors(fit.model, test, BATCHES[name])
        row |= {"call_ms": call_ms(fit.model, test), "training_s": round(taken[name])}
        rows.append(row)
    rows[0]["baseline"] = teacher.baseline
    rows[1] |= {
        "labels": student.teacher_labels,
        "sigma": student.hyperparameters["sigma"],
        "nve_drift_meV_atom_ps": drift(student.model, test),
        "survivors": survivors(student.model, train, options.time_ps),
    }
    return rows


def table(rows):
    """Print teachers and students one below the other."""
    print(
        "molecule    points model    labels  E meV F meV/A ratio    call ms  batch ms faster  "
        "drift  intact    train s"
    )
    for teacher, student in zip(rows[::2], rows[1::2], strict=True):
        for row in (teacher, student):
            ratio = row["force_mae_meV_A"] / teacher["force_mae_meV_A"]
            faster = teacher["batch_ms"] / row["batch_ms"]
            print(
                f"{row['molecule']:11s} {row['points']:6d} {row['model']:8s} "
                f"{row.get('labels', ''):>6} {row['energy_mae_meV']:6.2f} "
                f"{row['force_mae_meV_A']:7.2f} {ratio:5.2f} {row['call_ms']:10.3f} "
                f"{row['batch_ms']:9.3f} {faster:6.0f} "
                f"{row.get('nve_drift_meV_atom_ps', np.nan):7.4f}  {row.get('survivors', ''):8s} "
                f"{row['training_s']:6d}"
            )


def main():
    """Measure what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--molecules", nargs="+", default=["ethanol", "azobenzene", "glycine"])
    parser.add_argument("--points", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--labels", type=int)
    parser.add_argument("--kernel", choices=["auto", "bonds", "molecule"], default="auto")
    parser.add_argument("--time-ps", type=float, default=10.0)
    parser.add_argument("--output", type=Path, default=Path("students"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = options.output / "students.json"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    done = {(row["molecule"], row["points"]) for row in rows}
    for points in options.points:
        for molecule in options.molecules:
            if (molecule, points) not in done:
                rows += measure(options, molecule, points)
                kept.write_text(json.dumps(rows, indent=1))
                table(rows[-2:])
    table(rows)


if __name__ == "__main__":
    main()
