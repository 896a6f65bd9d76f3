"""Paths compared with ase.mep.NEB, and azobenzene's mechanisms; run by hand.

    python benchmarks/paths.py glycine
    python benchmarks/paths.py azobenzene --output FOLDER
    python benchmarks/paths.py speed rmd17_azobenzene_train_01.npz

`glycine`: band and string on GFN2-xTB from Ip to IIIp and ase.mep.NEB on the same surface and
first path: barrier, steps, geometries evaluated. `azobenzene`: the inputs' four mechanisms, a page
that compares them, and a JSON of their heights next to those of Vassilev-Galindo et al. (2021).
`speed`: seconds a step of a band of 11 images, ase.mep over ours (larger is better), in turns in
one run, on sGDML models of 200 points and on SchNets of the default size; both with FIRE, both with
L-BFGS, and with L-BFGS against ASE's BFGS. A step is all that `run` does in one. ASE has our
calculator, and then that of the package that the kind of model comes from.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import ase
import numpy as np
from ase.io import read
from ase.mep import NEB as ASENEB
from ase.optimize import BFGS, FIRE, LBFGS
from families import own_calculator

import flexcalc
from flexcalc import files, registry
from flexcalc.adapters.ase import Calculator
from flexcalc.commands.face import run_command
from flexcalc.config import load
from flexcalc.config.paths import PathSearch
from flexcalc.methods import optimisers
from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import NEB, String, interpolate, match_endpoints
from flexcalc.reports import write_report
from flexcalc.units import KCAL_MOL

INPUTS = Path(__file__).parents[1] / "inputs"
PAPER = {"rotation": 30.2, "inversion": 27.4, "assisted": 27.5, "optimised": 26.1}
"""Heights in kcal/mol by PBE+TS, J. Chem. Phys. 154, 094119 (2021)."""


class Counted:
    """A potential that counts its calls and the geometries in them."""

    def __init__(self, potential):
        self.potential, self.numbers = potential, potential.numbers
        self.calls = self.geometries = 0

    def __call__(self, positions):
        self.calls += 1
        self.geometries += len(positions)
        return self.potential(positions)


def band_of_ase(calculator, path, numbers):
    images = [ase.Atoms(numbers, image) for image in path]
    for image in images:
        image.calc = calculator()
    return ASENEB(images, climb=True, method="improvedtangent", k=2.0)


def glycine(arguments):
    """Barriers, steps and geometries evaluated, to a force of 0.005 eV/A an atom.

    ASE's own criterion counts the springs' force too, so that it stops no sooner than ours.
    """
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    potential = Counted(registry.load("xtb:GFN2-xTB", start))
    last, _ = match_endpoints(start.numbers, start.positions, end.positions)
    path, rows = interpolate(start.positions, last, 11), []

    def row(name, steps, done, barrier):
        rows.append({"method": name, "steps": int(steps), "converged": bool(done)})
        rows[-1] |= {"barrier_kcal_mol": barrier / KCAL_MOL, "calls": potential.calls}
        rows[-1] |= {"geometries": potential.geometries}
        print(json.dumps(rows[-1]), flush=True)
        potential.calls = potential.geometries = 0

    rng = np.random.default_rng(0)
    for method in (NEB(force_tolerance_eV_A=0.005), String(force_tolerance_eV_A=0.005)):
        state = iterate(method, potential, method.init(potential, path, rng), steps=500, rng=rng)
        row(f"flexcalc {method.kind}", state.step, method.converged(state), state.barrier())
    for optimiser in (BFGS, FIRE):
        band = band_of_ase(partial(Calculator, potential), path, start.numbers)
        run = optimiser(band, logfile=None)
        done = run.run(fmax=0.005, steps=500)
        energies = [image.get_potential_energy() for image in band.images]
        row(f"ase.mep {optimiser.__name__}", run.nsteps, done, max(energies) - energies[0])
    return rows


def azobenzene(arguments):
    """Heights of the four mechanisms on GFN2-xTB next to the paper's, in kcal/mol."""
    rows = []
    for name, published in PAPER.items():
        config = load(PathSearch, INPUTS / f"path-azobenzene-{name}.toml")
        found = run_command(flexcalc.path, config, arguments.output / name, print)
        height = found.barrier_kcal_mol
        rows.append({"mechanism": name, "gfn2_xtb_kcal_mol": height, "pbe_ts_kcal_mol": published})
        print(json.dumps(rows[-1]), flush=True)
    print(write_report(arguments.output))
    return rows


TURN = 20
"""Steps that one takes before it is the other's turn."""


def seconds_a_step(potential, calculator, path, steps, pair):
    """Seconds (steps,) of each step of ours and of ASE's, which take turns.

    A step of ASE's is one of `Optimizer.irun`, which asks the band for its forces three times
    (the calculators keep theirs); ours is one of `iterate`, with the look at convergence.
    """
    rng, (mine, other) = np.random.default_rng(0), pair
    method = NEB(force_tolerance_eV_A=1e-12, optimiser=mine)
    state = method.init(potential, path, rng)
    optimiser = other(band_of_ase(calculator, path, potential.numbers), logfile=None)
    run = optimiser.irun(fmax=1e-12, steps=steps)
    next(run)

    def our_step():
        nonlocal state
        state = method.step(potential, state, rng)
        return method.converged(state)

    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(steps // TURN):
        for step, kept in zip((our_step, lambda: next(run)), seconds, strict=True):
            for _ in range(TURN):
                begun = time.perf_counter()
                step()
                kept.append(time.perf_counter() - begun)
    return seconds


OPTIMISERS = {
    "fire": (optimisers.FIRE(), FIRE),
    "lbfgs": (optimisers.LBFGS(), LBFGS),
    "lbfgs, bfgs": (optimisers.LBFGS(), BFGS),
}
"""Ours and ASE's."""


WARM_S = 4.0
"""Seconds of work before anything is timed."""


def speed(arguments):
    """Our band against ASE's with the same model, 11 images between two frames."""
    data = files.read(arguments.dataset, energy_unit="kcal/mol")
    models = {
        "sgdml": flexcalc.train(data, "sgdml", points=200, sigma=20, seed=0, kernel="molecule"),
        "sgdml distances": flexcalc.train(
            data, "sgdml", points=200, sigma=20, seed=0, descriptor="distances"
        ),
        "schnet": flexcalc.train(data, "schnet", points=200, epochs=1, seed=0),
        "schnet float32": flexcalc.train(
            data, "schnet", points=200, epochs=1, seed=0, precision="float32"
        ),
    }
    last, _ = match_endpoints(data.numbers, data.positions[0], data.positions[1])
    path, rows = interpolate(data.positions[0], last, 11), []
    for name, model in models.items():
        # A kernel's worker processes start after a second of work (`flexcalc.parallel.batches`).
        begun = time.monotonic()
        while time.monotonic() - begun < WARM_S:
            model(path[1:-1])
        cases = [("flexcalc", kind, partial(Calculator, model)) for kind in OPTIMISERS]
        own = partial(own_calculator, model, Path(tempfile.mkdtemp()))
        if own() is not None:
            cases.append(("its package", "fire", own))
        for of, kind, calculator in cases:
            ours, theirs = seconds_a_step(
                model, calculator, path, arguments.steps, OPTIMISERS[kind]
            )
            row: dict = {"model": name, "calculator": of, "optimiser": kind}
            # On a machine with other work the shortest times tell more than the medians.
            for which, pick in (("median", statistics.median), ("shortest", min)):
                row |= {f"flexcalc_{which}_ms": 1e3 * pick(ours)}
                row |= {f"ase_{which}_ms": 1e3 * pick(theirs)}
                row |= {f"ratio_{which}": pick(theirs) / pick(ours)}
            rows.append(row)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("glycine", "azobenzene", "speed"))
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--output", type=Path, default=Path("azobenzene"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = {"glycine": glycine, "azobenzene": azobenzene, "speed": speed}[arguments.what](arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
