"""Saddles of azobenzene on GFN2-xTB: steps, potential calls, the minima joined, the half-life.

    python benchmarks/saddles.py [FOLDER]

Both classic mechanisms are started from constructed guesses: the inversion of one nitrogen (the
shipped guess) and the rotation about N=N (trans turned to 90 degrees). Run folders with reports
are left in FOLDER. Next to the half-life stands the measured one, as commonly given: about two
days near room temperature, which is a barrier of 24 to 26 kcal/mol.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from flexcalc.report import write_report
from scipy.spatial.transform import Rotation

import flexcalc
from flexcalc import files
from flexcalc.config import load
from flexcalc.config.paths import SaddleSearch
from flexcalc.geometry import dihedral
from flexcalc.results.rates import format_duration
from flexcalc.runs import RunFolder
from flexcalc.tasks.saddle import Guess, SaddleJob, find_saddle

INPUTS = Path(__file__).parents[1] / "inputs"
BRIDGE = (5, 6, 7, 8)
"""C, N, N and C of the shipped geometries."""
FIRST_RING = [0, 1, 2, 3, 4, 5, 6, 14, 15, 16, 17, 18]
"""Atoms that a turn about N=N takes along."""


class Counted:
    """A potential that counts its calls and the geometries in them."""

    def __init__(self, potential):
        self.potential, self.numbers = potential, potential.numbers
        self.calls = self.geometries = 0

    def __call__(self, positions):
        self.calls, self.geometries = self.calls + 1, self.geometries + len(positions)
        return self.potential(positions)


def rotated(trans):
    """Trans (24, 3) turned about N=N to a dihedral of 90 degrees."""
    turned, axis = trans.copy(), trans[7] - trans[6]
    now = np.degrees(dihedral(trans[None], *BRIDGE)[0][0])
    for sign in (1, -1):
        turn = Rotation.from_rotvec(np.radians(sign * (now - 90)) * axis / np.linalg.norm(axis))
        turned[FIRST_RING] = turn.apply(trans[FIRST_RING] - trans[6]) + trans[6]
        if abs(np.degrees(dihedral(turned[None], *BRIDGE)[0][0]) - 90) < 1:
            return turned
    raise RuntimeError("the dihedral did not become 90 degrees")


def main(folder: Path) -> None:
    """Refine both guesses, and print what came of them."""
    config = load(SaddleSearch, INPUTS / "saddle.toml")
    cis, trans, inversion = (
        files.read(INPUTS / f"azobenzene-{name}.xyz").positions[0]
        for name in ("cis", "trans", "inversion")
    )
    numbers = files.read(INPUTS / "azobenzene-cis.xyz").numbers
    for name, guess in (("inversion", inversion), ("rotation", rotated(trans))):
        surface = Counted(flexcalc.load(config.model, numbers))
        begin = Guess(guess, None, {"start": cis, "end": trans})
        with RunFolder("saddle", folder / name, echo=print) as here:
            here.begin(config)
            found = find_saddle(SaddleJob(config, surface, None, begin), here)
            here.finish(found.to_dict())
        write_report(folder / name)
        geometry = files.read(folder / name / "saddle.xyz").positions
        angle = np.degrees(dihedral(geometry, *BRIDGE)[0][0])
        print(
            f"== {name}: {found.steps} steps; in all {surface.calls} calls, "
            f"{surface.geometries} geometries; CNNC {angle:.1f} degrees; imaginary modes "
            f"{found.imaginary_modes}, {found.imaginary_frequency_cm:.1f} cm^-1"
        )
        if found.first_rates is not None:
            print(
                f"== {name}: barrier {found.barrier_kcal_mol:.2f}, Gibbs energy "
                f"{found.first_rates.gibbs_activation_kcal_mol:.2f} kcal/mol; half-life at 298 K "
                f"{format_duration(found.first_rates.half_life_s)}; measured: about 2 days, "
                "24 to 26 kcal/mol"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
