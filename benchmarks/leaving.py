"""What runs say that leave the training data of their model, and runs that stay; run by hand.

    python benchmarks/leaving.py DATA [--cases azobenzene glycine alanine] [--quiet 20]

DATA is the folder of public data. Three models know one region each: sGDML of 200 trans frames of
azobenzene (rMD17), of 150 glycine frames around Ip, and of 200 frames of alanine dipeptide from
GFN2 dynamics at 300 K in one basin. Paths, dynamics and metadynamics lead out of it; what each run
says is printed. Then dynamics at 500 and 300 K on models of 200 frames of the four rMD17 molecules,
which are of 500 K, from a frame and with a seed of its own each, should say nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from domain import in_order

import flexcalc as fx
from flexcalc.dataset import Dataset
from flexcalc.geometry import Coordinate

TURN = "dihedral 3 4 6 7"
"""Psi of alanine dipeptide."""


def said(what: str, run: Callable[[], Any]) -> bool:
    """Run, print the last line and the warnings; whether there were any."""
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            text = run().summary()
        except fx.FlexcalcError as error:
            text = f"{type(error).__name__}: {error}"
    print(f"{what} ({time.perf_counter() - begun:.0f} s): {text}", flush=True)
    for one in caught:
        print(f"    {one.category.__name__}: {one.message}", flush=True)
    return bool(caught)


def azobenzene(folder: Path) -> None:
    name = folder / "rmd17/rmd17_azobenzene_train_01.npz"
    trans = fx.read(name, energy_unit="kcal/mol")
    frames = fx.read(folder / "azobenzene/azo_cis_750K_849.npz", energy_unit="kcal/mol")
    cis = in_order(frames[701:702], trans)
    model = fx.train(trans, points=200, validation_points=200, sigma=20, progress=False).model
    start = trans[:1]
    turn = "dihedral " + " ".join(map(str, _azo(trans)))
    said("azobenzene path trans to cis", lambda: fx.path(model, start, cis, progress=False))
    said("azobenzene md from cis", lambda: fx.md(model, cis, steps=4000, progress=False))
    said(
        "azobenzene metad",
        lambda: fx.metad(
            model, start, coordinate=[turn], steps=20000, height_kcal_mol=5.0, pace=100,
            bias_factor=40, progress=False,
        ),
    )  # fmt: skip


def _azo(data: Dataset) -> list[int]:
    """C-N=N-C of azobenzene."""
    place, numbers = data.positions[0], data.numbers
    first, second = np.flatnonzero(numbers == 7).tolist()
    carbon = np.flatnonzero(numbers == 6)
    near = [
        int(carbon[np.linalg.norm(place[carbon] - place[n], axis=1).argmin()])
        for n in (first, second)
    ]
    return [near[0], first, second, near[1]]


def glycine(folder: Path) -> None:
    data = fx.read(folder / "glycine_pbe-d3bj_def2-svp.xyz")
    turned = np.abs(Coordinate.parse("dihedral 0 1 2 3").values(data.positions))
    near = data[turned < 60]
    model = fx.train(near, points=150, validation_points=100, sigma=10, progress=False).model
    inputs = Path(__file__).parents[1] / "inputs"
    ends = [fx.read(inputs / f"glycine-{name}.xyz") for name in ("Ip", "IIIp")]
    said("glycine path Ip to IIIp", lambda: fx.path(model, *ends, progress=False))
    said("glycine md from IIIp", lambda: fx.md(model, ends[1], steps=4000, progress=False))


def alanine(_: Path) -> None:
    start = fx.read(Path(__file__).parents[1] / "inputs/alanine-dipeptide.xyz")
    run = fx.md(
        "xtb:GFN2-xTB", start, steps=1500, replicas=4, friction_per_ps=10.0, frame_every=15,
        seed=3, progress=False,
    )  # fmt: skip
    later, shape = slice(20, None), (-1, *start.positions.shape[1:])
    data = Dataset(
        start.numbers,
        run.positions[later].reshape(shape),
        run.energies[later].ravel(),
        run.forces[later].reshape(shape),
    )
    turned = Coordinate.parse(TURN).values(data.positions)
    print(f"alanine dipeptide: {len(data)} frames, {TURN} {turned.min():.0f} to {turned.max():.0f}")
    model = fx.train(data, points=200, validation_points=100, sigma=10, progress=False).model
    said(
        "alanine metad",
        lambda: fx.metad(
            model, start, coordinate=[TURN, "dihedral 1 3 4 6"], steps=20000,
            height_kcal_mol=1.0, progress=False,
        ),
    )  # fmt: skip
    said(
        "alanine md at 900 K",
        lambda: fx.md(model, start, steps=4000, temperature_K=900, progress=False),
    )


CASES = {"azobenzene": azobenzene, "glycine": glycine, "alanine": alanine}
MOLECULES = {"azobenzene": 20.0, "ethanol": 10.0, "malonaldehyde": 10.0, "uracil": 20.0}
"""Of rMD17, and sigma."""


def quiet(folder: Path, count: int) -> int:
    """How many of so many runs that stay in the data say that they do not."""
    known, loud = [], 0
    for name, sigma in MOLECULES.items():
        data = fx.read(folder / f"rmd17/rmd17_{name}_train_01.npz", energy_unit="kcal/mol")
        found = fx.train(data, points=200, validation_points=200, sigma=sigma, progress=False)
        known.append((name, data, found.model))
    for number in range(count):
        name, data, model = known[number % len(known)]
        frame = (37 * number) % len(data)
        kelvin = (500.0, 300.0)[number // len(known) % 2]

        run = partial(
            fx.md, model, data[frame : frame + 1], steps=10000, temperature_K=kelvin,
            friction_per_ps=10.0, seed=number, progress=False,
        )  # fmt: skip
        loud += said(f"quiet {number}: {name} at {kelvin:g} K from frame {frame}", run)
    return loud


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--quiet", type=int, default=20, help="runs that stay in the data")
    options = parser.parse_args()
    for name in options.cases:
        CASES[name](options.data)
    loud = quiet(options.data, options.quiet)
    print(f"{loud} of {options.quiet} runs that stay in the data say that they do not")


if __name__ == "__main__":
    main()
