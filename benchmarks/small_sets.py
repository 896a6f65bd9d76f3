"""What benchmarks of few labels share: frames, errors, and baselines that are evaluated once."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np

import flexcalc
from flexcalc.models.delta import DeltaModel
from flexcalc.potential import CheckedPotential, Evaluation, Sum, WeightedSum, in_batches
from flexcalc.progress import silent
from flexcalc.registry import open_potential

GLYCINE = "glycine_pbe-d3bj_def2-svp.xyz"

CHUNK = 128
"""Geometries that are evaluated before the file is written again."""


class Remembered(CheckedPotential):
    """Evaluates each geometry once.

    Args:
        address: of the potential, which is opened when a geometry is new.
        numbers: (atoms,) atomic numbers.
        folder: for the file, which is named after the address and the molecule.
        molecule: its name.
    """

    def __init__(self, address: str, numbers: np.ndarray, folder: Path, molecule: str):
        self.address, self.numbers = address, np.asarray(numbers)
        self.file = folder / f"{molecule}-{re.sub(r'[^A-Za-z0-9]+', '-', address).strip('-')}.npz"
        self.known: dict[bytes, tuple[float, np.ndarray]] = {}
        if self.file.exists():
            with np.load(self.file) as kept:
                rows = zip(kept["positions"], kept["energies"], kept["forces"], strict=True)
                self.known = {where.tobytes(): (energy, force) for where, energy, force in rows}

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """What is known, and what it takes to know the rest."""
        missing = [row for row in positions if row.tobytes() not in self.known]
        if missing:
            potential = open_potential(self.address, self.numbers)
            for begin in range(0, len(missing), CHUNK):
                some = np.array(missing[begin : begin + CHUNK])
                found = potential(some)
                for where, energy, forces in zip(some, found.energies, found.forces, strict=True):
                    self.known[where.tobytes()] = (float(energy), forces)
                self._keep()
        rows = [self.known[row.tobytes()] for row in positions]
        return Evaluation(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))

    def _keep(self) -> None:
        shape = (len(self.known), len(self.numbers), 3)
        where = np.frombuffer(b"".join(self.known), dtype=float).reshape(shape)
        energies, forces = zip(*self.known.values(), strict=True)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new.npz")
        np.savez(new, positions=where, energies=energies, forces=np.array(forces))
        new.replace(self.file)


def frames_of(folder: Path, molecule: str, points: int, split: int = 1):
    """Training points and test frames.

    Args:
        folder: with rmd17/ and the set of glycine.
        molecule: of rMD17, whose test frames are those of the split; or "glycine", of whose frames
            points are drawn by the seed `split`, and the others are test frames.
        points: number of training points.
        split: number of the split, from 1.
    """
    if molecule == "glycine":
        data = flexcalc.read(folder / GLYCINE)
        drawn = np.sort(np.random.default_rng(split - 1).permutation(len(data))[:points])
        return data[drawn], data[np.setdiff1d(np.arange(len(data)), drawn)]
    train, test = (
        flexcalc.read(
            folder / "rmd17" / f"rmd17_{molecule}_{part}_{split:02d}.npz", energy_unit="kcal/mol"
        )
        for part in ("train", "test")
    )
    return train[:points], test


def errors(model, test, batch: int = 64) -> dict[str, float]:
    """Mean absolute and root-mean-square errors, and milliseconds for a geometry of a batch."""
    begun = time.perf_counter()
    found = in_batches(model, test.positions, silent, batch)
    taken = time.perf_counter() - begun
    energies, forces = test.labels()
    off = 1e3 * (found.energies - energies), 1e3 * (found.forces - forces)
    return {
        "energy_mae_meV": float(np.abs(off[0]).mean()),
        "force_mae_meV_A": float(np.abs(off[1]).mean()),
        "energy_rmse_meV": float(np.sqrt((off[0] ** 2).mean())),
        "force_rmse_meV_A": float(np.sqrt((off[1] ** 2).mean())),
        "batch_ms": 1e3 * taken / len(test),
    }


def remembering(model, folder: Path, molecule: str):
    """A trained model whose baselines are `Remembered`; one without any as it is."""
    if not isinstance(model, DeltaModel):
        return model
    rows = model.facts.get("baselines") or [{"address": model.facts["baseline"], "weight": 1.0}]
    terms = [Remembered(row["address"], model.numbers, folder, molecule) for row in rows]
    return Sum(WeightedSum(terms, [row["weight"] for row in rows]), model.model)
