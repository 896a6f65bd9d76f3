"""A closed-form potential for the protocol tests: glycine with a spring between all atoms."""

import time
from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from flexcalc import read
from flexcalc.potential import CheckedPotential, Evaluation

GLYCINE = Path(__file__).parents[2] / "inputs" / "glycine-Ip.xyz"
OFFSET_EV = -7000.0
STIFFNESS = 3.0


class Springs(CheckedPotential):
    """E = offset + k/2 sum_{i<j} (d_ij - d_ij of glycine)^2, in eV.

    Args:
        fail_at: the call, counted from 1, whose result is spoiled.
        how: "nan", "infinite" or "misshapen" result.
        delay_s: length of every call.
        deviation: give a committee deviation too.
    """

    def __init__(self, fail_at=0, how="nan", delay_s=0.0, deviation=False):
        start = read(GLYCINE)
        self.numbers, self.rest = start.numbers, start.positions[0]
        self.fail_at, self.how = fail_at, how
        self.delay_s, self.deviation = delay_s, deviation
        self.calls, self.batches = 0, []

    def evaluate(self, positions):
        self.calls += 1
        self.batches.append(len(positions))
        time.sleep(self.delay_s)
        energies, forces = springs(self.rest, positions)
        if self.calls == self.fail_at:
            return spoiled(energies, forces, self.how)
        spread = np.abs(forces).mean(axis=2) if self.deviation else None
        return Evaluation(energies, forces, spread)


def springs(rest, positions):
    """Energies (batch,) in eV and forces (batch, atoms, 3) in eV/angstrom."""
    along = positions[:, :, None] - positions[:, None]
    distances = np.linalg.norm(along, axis=-1)
    stretch = distances - np.linalg.norm(rest[:, None] - rest[None], axis=-1)
    pull = STIFFNESS * stretch / (distances + np.eye(len(rest)))
    energies = OFFSET_EV + 0.25 * STIFFNESS * (stretch**2).sum(axis=(1, 2))
    return energies, -(pull[..., None] * along).sum(axis=2)


def spoiled(energies, forces, how):
    if how == "misshapen":
        return Evaluation(energies, np.concatenate([forces, forces[:, :1]], axis=1))
    value = np.nan if how == "nan" else np.inf
    forces = forces.copy()
    forces[-1, 0, 0] = value
    return Evaluation(energies, forces)


class SpringCalculator(Calculator):
    """The same springs as an ASE calculator, for the address ase:ipi_springs:SpringCalculator."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, fail_at=0, **kwargs):
        super().__init__(**kwargs)
        self.rest, self.calls, self.fail_at = read(GLYCINE).positions[0], 0, int(fail_at)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.calls += 1
        energies, forces = springs(self.rest, atoms.positions[None])
        if self.calls == self.fail_at:
            forces = forces * np.nan
        self.results = {"energy": float(energies[0]), "forces": forces[0]}
