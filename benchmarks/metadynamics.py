"""Free energy of alanine dipeptide over phi and psi, and how two runs of it differ.

    python benchmarks/metadynamics.py run ADDRESS FOLDER [--steps N] [--seed N] [--step-fs 1]
    python benchmarks/metadynamics.py compare FOLDER OTHER [--below 6]
    python benchmarks/metadynamics.py direct MODEL FOLDER [--below 6] [--after-ps 20]

`run` is the same protocol on any potential: four walkers at 300 K, a hill of 0.3 kcal/mol and 20
degrees of each every 40 fs, bias factor 10. Steps of 2 fs are too long: a bond N-H of the reference
broke after 87 ps. The trajectory has the labels of the potential itself, so that frames of a run on
GFN2-xTB are a training set. A folder that is there is gone on with. `compare` sums the hills of two
folders, finished or not, on one grid, and prints the largest and the mean difference of their free
energies where the second is lower than --below kcal/mol, the constant between them taken out,
compared with what the second half of each run still changed: the noise of the comparison itself.
Asked for are 1 kcal/mol. `direct` needs no second run: it reweights the frames of a run to a model,
-kT ln <exp(-dE/kT)> in each cell of 20 degrees, so that the noise of where the walkers went
cancels; frames before --after-ps, which the model may have been trained on, are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import flexcalc
from flexcalc import files
from flexcalc.analysis.freeenergy import surface
from flexcalc.analysis.transitions import judge, largest_difference
from flexcalc.commands.face import run_command
from flexcalc.config import load
from flexcalc.config.dynamics import Metad
from flexcalc.files import plumed
from flexcalc.methods.dynamics import Langevin
from flexcalc.methods.metadynamics import WellTempered
from flexcalc.registry import open_potential
from flexcalc.tasks.metad import method_of
from flexcalc.units import KB, KCAL_MOL

START = Path(__file__).parents[1] / "inputs" / "alanine-dipeptide.xyz"
PHI_PSI = ("dihedral 1 3 4 6", "dihedral 3 4 6 8")
"""C-N-CA-C and N-CA-C-N."""
BOUND_KCAL_MOL = 1.0
CELL_DEGREES, FEWEST = 20.0, 20
"""Side of a cell, and the frames that it needs to count."""


def protocol(address: str, steps: int, seed: int, step_fs: float) -> Metad:
    """The run that is compared."""
    return Metad(
        model=address,
        start=START,
        coordinate=PHI_PSI,
        method=Langevin(timestep_fs=step_fs, temperature_K=300.0, friction_per_ps=5.0),
        hills=WellTempered(
            height_kcal_mol=0.3, pace=round(40 / step_fs), sigma=(20.0, 20.0), bias_factor=10.0
        ),
        steps=steps,
        walkers=4,
        seed=seed,
    )


def read(folder: Path):
    """Method, hills and verdict of a run folder."""
    config = load(Metad, folder / "run.toml")
    method = method_of(config)
    hills = plumed.read_hills(folder / "HILLS", method.coordinates)
    colvar = plumed.read_colvar(folder / "COLVAR", method.coordinates)
    verdict, _ = judge(colvar, hills, method.axes, config.method.temperature_K)
    return method, hills, verdict


def averaged(hills, axes):
    """The mean of the surfaces at ten times of the second half, each about its own mean.

    A well-tempered surface goes on to jitter by the last hills; their mean does not.
    """
    last = hills.time_fs[-1]
    parts = [surface(hills, axes, time) for time in np.linspace(last / 2, last, 10)]
    return np.mean([part - part[parts[-1] < 6 * KCAL_MOL].mean() for part in parts], axis=0)


def compare(one: Path, other: Path, below: float) -> None:
    """Print how two runs differ."""
    method, hills, verdict = read(one)
    _, other_hills, other_verdict = read(other)
    for name, found, lines in ((one, hills, verdict), (other, other_hills, other_verdict)):
        print(f"{name}: {len(found)} hills, {found.time_fs[-1] / 1000:g} ps; {lines.line}")
        print(f"  moved by its second half: {lines.drift_kcal_mol:.2f} kcal/mol at most")
    for what, take in (("last surfaces", surface), ("means of the second halves", averaged)):
        ours, theirs = take(hills, method.axes), take(other_hills, method.axes)
        largest = largest_difference(ours, theirs, below)
        low = theirs - theirs.min() < below * KCAL_MOL
        spread = (ours - theirs)[low].std() / KCAL_MOL
        met = "met" if largest < BOUND_KCAL_MOL else "not met"
        print(
            f"{what}: below {below:g} kcal/mol they differ by {largest:.2f} at most and "
            f"{spread:.2f} in the root mean square; {BOUND_KCAL_MOL:g} asked for: {met}"
        )


def direct(address: str, folder: Path, below: float, after_ps: float) -> None:
    """Print how the surface of a model differs from that of a run, by the run's own frames.

    Source: Zwanzig, J. Chem. Phys. 22, 1420 (1954), doi:10.1063/1.1740409, cell by cell.
    """
    method, hills, _ = read(folder)
    data = files.read(folder / "trajectory.xyz")
    data = data[data.tags["time_fs"] > after_ps * 1000]
    model = open_potential(address, data.numbers)
    pieces = np.array_split(np.arange(len(data)), max(1, len(data) // 256))
    found = np.concatenate([model(data.positions[piece]).energies for piece in pieces])
    kT = KB * method.dynamics.temperature_K
    apart = (found - data.energies) / kT
    apart -= apart.mean()
    phi, psi = (coordinate.values(data.positions) for coordinate in method.coordinates)
    free = surface(hills, method.axes)
    places = [
        np.round((values - axis.low) / axis.spacing).astype(int) % axis.nodes
        for values, axis in zip((phi, psi), method.axes, strict=True)
    ]
    low = (free - free.min())[tuple(places)] < below * KCAL_MOL
    cells = (phi // CELL_DEGREES * 1000 + psi // CELL_DEGREES)[low]
    apart = apart[low]
    shifts = {
        cell: -np.log(np.mean(np.exp(-apart[cells == cell]))) * kT / KCAL_MOL
        for cell, count in zip(*np.unique(cells, return_counts=True), strict=True)
        if count >= FEWEST
    }
    values = np.array(list(shifts.values()))
    largest = (values.max() - values.min()) / 2
    met = "met" if largest < BOUND_KCAL_MOL else "not met"
    print(
        f"{len(values)} cells below {below:g} kcal/mol, {low.sum()} frames: the surfaces differ by "
        f"{largest:.2f} at most and {values.std():.2f} in the root mean square; "
        f"{BOUND_KCAL_MOL:g} asked for: {met}"
    )


def main() -> None:
    """Run or compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("address")
    run.add_argument("folder", type=Path)
    run.add_argument("--steps", type=int, default=150000)
    run.add_argument("--seed", type=int, default=1)
    run.add_argument("--step-fs", type=float, default=1.0)
    both = commands.add_parser("compare")
    both.add_argument("folder", type=Path)
    both.add_argument("other", type=Path)
    both.add_argument("--below", type=float, default=6.0)
    one = commands.add_parser("direct")
    one.add_argument("address")
    one.add_argument("folder", type=Path)
    one.add_argument("--below", type=float, default=6.0)
    one.add_argument("--after-ps", type=float, default=20.0)
    options = parser.parse_args()
    if options.command == "run":
        settings = protocol(options.address, options.steps, options.seed, options.step_fs)
        run_command(flexcalc.metad, settings, options.folder, print)
    elif options.command == "direct":
        direct(options.address, options.folder, options.below, options.after_ps)
    else:
        compare(options.folder, options.other, options.below)


if __name__ == "__main__":
    main()
