"""A cheap reference with planted faults, importable by worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.dataset import Dataset
from flexcalc.errors import AddressError, ConfigError, LabelError, MissingExtraError
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.storage import run_folder

NUMBERS = np.array([8, 1, 1, 6])
REST = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0], [0.1, 0.2, 1.4]])
STIFFNESS = np.array([1.0, 2.0, 3.0, 4.0])[:, None]

KINDS = ("nan", "infinite", "misshapen", "atom count", "unconverged", "raises", "ragged", "none")
DEADLY = ("segfault", "kill", "exit")
HANGING = ("hangs", "program hangs")


class Springs(CheckedPotential):
    """Every atom on a spring of its own: E = sum k (x - rest)^2 / 2, F = -k (x - rest)."""

    def __init__(self, numbers: np.ndarray = NUMBERS):
        self.numbers = numbers

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        stretch = positions - REST
        energies = 0.5 * np.sum(STIFFNESS * stretch**2, axis=(1, 2))
        return Evaluation(energies - 1000.0, -STIFFNESS * stretch)


class Faulty:
    """Springs that fail on some geometries, told apart by their first coordinate."""

    def __init__(self, faults: Mapping[float, str], calls: str | None, seconds: float):
        self.numbers, self.faults, self.calls, self.seconds = NUMBERS, faults, calls, seconds

    def __call__(self, positions: np.ndarray) -> Evaluation:
        if self.seconds:
            time.sleep(self.seconds)
        if self.calls:
            with open(self.calls, "a") as stream:
                stream.write(f"{os.getpid()} {float(positions[0, 0, 0])!r}\n")
        good = Springs()(positions)
        if self.faults.get(float(positions[0, 0, 0])) == "program hangs":
            program = subprocess.Popen(["sleep", "1000"])
            with open(f"{self.calls}.programs", "a") as stream:
                stream.write(f"{program.pid}\n")
            program.wait()
        return _spoilt(self.faults.get(float(positions[0, 0, 0]), ""), good)


def _spoilt(kind: str, good: Evaluation) -> Evaluation:
    energies, forces = good.energies.copy(), good.forces.copy()
    if kind == "nan":
        forces[0, -1, 2] = np.nan
    elif kind == "infinite":
        energies[0] = np.inf
    elif kind == "misshapen":
        energies = energies[:, None]
    elif kind == "atom count":
        forces = forces[:, :-1]
    elif kind == "ragged":
        return Evaluation(energies, [[0.0], [0.0, 1.0]])  # type: ignore[arg-type]
    elif kind == "none":
        return None  # type: ignore[return-value]
    elif kind == "unconverged":
        raise LabelError("the SCF did not converge\nafter 50 cycles")
    elif kind == "raises":
        raise ZeroDivisionError('a bug in "foreign" code')
    elif kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "exit":
        sys.exit(3)
    elif kind == "hangs":
        time.sleep(1e6)
    return Evaluation(energies, forces)


def open_faulty(
    faults: Mapping[float, str] | None = None, calls: str | None = None, seconds: float = 0.0
) -> Faulty:
    return Faulty(faults or {}, calls, seconds)


def open_missing() -> Faulty:
    raise MissingExtraError("tblite", "xtb")


def open_nowhere() -> Faulty:
    raise AddressError("xtb:GFN7: expected GFN1-xTB or GFN2-xTB")


def open_buggy() -> Faulty:
    raise KeyError("basis")


def open_dying() -> Faulty:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def open_other_molecule() -> Springs:
    return Springs(np.array([8, 1, 6, 1]))


def open_threads(folder: str) -> Faulty:
    """Write down how many threads this worker's libraries may use."""
    Path(folder, str(os.getpid())).write_text(os.environ["OMP_NUM_THREADS"])
    return Faulty({}, None, 0.0)


def geometries(frames: int, seed: int = 0) -> Dataset:
    """Distinct distorted geometries with a tag of each type."""
    rng = np.random.default_rng(seed)
    positions = REST + 0.1 * rng.standard_normal((frames, 4, 3))
    start = np.array(["Ip", 'the "other" one'])[np.arange(frames) % 2]
    return Dataset(NUMBERS, positions, tags={"start": start, "time_fs": 0.5 * np.arange(frames)})


def ethanol(frames: int) -> Dataset:
    """Distorted ethanol, for a real reference."""
    from ase.build import molecule

    atoms = molecule("CH3CH2OH")
    rng = np.random.default_rng(frames)
    positions = atoms.positions + 0.05 * rng.standard_normal((frames, 9, 3))
    return Dataset(atoms.numbers, positions)


def gfn2(positions: np.ndarray) -> Evaluation:
    """The real reference for ethanol (frames, 9, 3), to be called in a process of its own."""
    from flexcalc.registry import open_potential

    return open_potential("xtb:GFN2-xTB", ethanol(1).numbers)(positions)


def planted(dataset: Dataset, kinds: Mapping[int, str]) -> dict[float, str]:
    """Index -> kind of fault, as `open_faulty` wants it."""
    return {float(dataset.positions[index, 0, 0]): kind for index, kind in kinds.items()}


def train_slowly(folder: Path, steps: int, seconds: float, die_at: int = -1) -> dict[str, int]:
    """A training that notes in its run folder every step it has done, and goes on from there."""
    with run_folder(folder):
        done = folder / "steps"
        for step in range(done.read_text().count("\n") if done.exists() else 0, steps):
            time.sleep(seconds)
            if step == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            with open(done, "a") as stream:
                stream.write(f"{step} {os.getpid()}\n")
    return {"steps": steps}


def refuse_to_train() -> dict[str, int]:
    raise ConfigError("points: too many")
