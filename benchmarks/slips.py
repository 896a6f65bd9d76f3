"""Plant wrong units, signs and orders on datasets, and see which are found when they are read.

    python benchmarks/slips.py water.xyz rmd17_ethanol_train_01.npz=kcal/mol

A file that does not say its units has that of its energies after an equals sign. Each fault is
written to an extxyz file, which is read as anyone's file is. `clean` is right where nothing is
said; the other columns where something is, and for units, where reading the file again as the
warning advises gives back the labels.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.geometry import consensus_bonds
from flexcalc.units import BOHR, HARTREE, KCAL_MOL, KJ_MOL, MEV

FRAMES = 100
Fault = Callable[[Dataset], Dataset | None]


def scaled(energy: float, force: float, length: float = 1.0) -> Fault:
    """Labels in units of these sizes in eV, eV/angstrom and angstrom."""
    return lambda data: replace(
        data,
        positions=data.positions / length,
        energies=data.energies / energy,
        forces=data.forces / force,
    )


def forces_in_another_order(data: Dataset) -> Dataset:
    """Forces of every frame under the next atoms."""
    return replace(data, forces=np.roll(data.forces, 1, axis=1))


def half_of_the_forces_in_another_order(data: Dataset) -> Dataset:
    forces = np.array(data.forces)
    forces[1::2] = forces[1::2, ::-1]
    return replace(data, forces=forces)


def atoms_in_another_order(data: Dataset) -> Dataset | None:
    """Every third frame with two identical atoms exchanged that have unlike neighbours."""
    pair = _exchangeable(data)
    if pair is None:
        return None
    order = np.arange(len(data.numbers))
    order[pair] = pair[::-1]
    positions, forces = np.array(data.positions), np.array(data.forces)
    positions[1::3], forces[1::3] = positions[1::3, order], forces[1::3, order]
    return replace(data, positions=positions, forces=forces)


def _exchangeable(data: Dataset) -> np.ndarray | None:
    bonds = consensus_bonds(data.numbers, data.positions).tolist()
    around = [
        {a + b - atom for a, b in bonds if atom in (a, b)} for atom in range(len(data.numbers))
    ]
    for one in range(len(around)):
        for other in range(one):
            alike = data.numbers[one] == data.numbers[other]
            if (
                alike
                and len(around[one] - {other})
                and around[one] - {other} != around[other] - {one}
            ):
                return np.array([other, one])
    return None


def energies_of_other_frames(data: Dataset) -> Dataset:
    return replace(data, energies=np.random.default_rng(0).permutation(data.energies))


def forces_turned(data: Dataset) -> Dataset:
    """Forces of an orientation of the program's own."""
    return replace(data, forces=data.forces[..., [1, 2, 0]])


UNITS: dict[str, Fault] = {
    "clean": lambda data: data,
    "kcal": scaled(KCAL_MOL, KCAL_MOL),
    "kJ": scaled(KJ_MOL, KJ_MOL),
    "meV": scaled(MEV, MEV),
    "Ha": scaled(HARTREE, HARTREE),
    "Ha,Ha/bohr": scaled(HARTREE, HARTREE / BOHR),
    "F Ha/bohr": scaled(1, HARTREE / BOHR),
    "F kcal": scaled(1, KCAL_MOL),
    "F eV/bohr": scaled(1, 1 / BOHR),
    "E kcal": scaled(KCAL_MOL, 1),
    "E Ha": scaled(HARTREE, 1),
    "R bohr": scaled(1, 1, BOHR),
    "all au": scaled(HARTREE, HARTREE / BOHR, BOHR),
}
OTHERS: dict[str, Fault] = {
    "gradients": lambda data: replace(data, forces=-data.forces),
    "-E": lambda data: replace(data, energies=-data.energies),
    "F order": forces_in_another_order,
    "half F order": half_of_the_forces_in_another_order,
    "atom order": atoms_in_another_order,
    "E of others": energies_of_other_frames,
    "F turned": forces_turned,
}


def said(path: Path, **units: str) -> tuple[Dataset, list[str]]:
    """A file, and the warnings about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = files.read(path, **units)
    return data, [str(one.message) for one in caught]


def advised(lines: list[str]) -> dict[str, str]:
    """The options that warnings say to give."""
    found = re.findall(r"--(\w+)-unit (\S+)", " ".join(lines))
    return {f"{kind}_unit": unit for kind, unit in found}


def verdict(name: str, fault: Fault, data: Dataset, path: Path, *, shown: bool) -> str:
    """`ok`, `WRONG`, or `-` where the fault cannot be planted."""
    planted = fault(data)
    if planted is None:
        return "-"
    files.write(path, planted)
    _, lines = said(path)
    if shown and lines:
        print(f"    {name}: {' | '.join(lines)}")
    if name == "clean":
        return "ok" if not lines else "ALARM"
    if not lines:
        return "MISSED"
    if name in OTHERS:
        return "ok"
    back, again = said(path, **advised(lines))
    alike = [
        np.allclose(getattr(back, label), getattr(data, label), rtol=1e-6)
        for label in ("positions", "energies", "forces")
    ]
    return "ok" if all(alike) and not again else "found"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", help="FILE or FILE=ENERGY_UNIT")
    parser.add_argument("--show", action="store_true", help="print the warnings")
    options = parser.parse_args()
    faults = UNITS | OTHERS
    print(" | ".join(["data", *faults]))
    with tempfile.TemporaryDirectory() as folder:
        for word in options.data:
            name, _, unit = word.partition("=")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                data = files.read(name, energy_unit=unit or None)
            data = data[np.unique(np.linspace(0, len(data) - 1, FRAMES).astype(int))]
            path = Path(folder) / "planted.xyz"
            found = [
                verdict(fault, plant, data, path, shown=options.show)
                for fault, plant in faults.items()
            ]
            print(" | ".join([Path(name).stem, *found]), flush=True)


if __name__ == "__main__":
    main()
