"""What `flexcalc learn` finds, beside as many labels of plain dynamics; run by hand.

    python benchmarks/learning.py glycine --output learned [--budget 200] [--seed 0]

Learns the molecule on GFN2-xTB, and trains the same family on as many labels of dynamics at 500 K
from the lowest conformers. Both models are then tried on

- independent dynamics of the reference at 500 K from all its minima: force RMSE of all
  frames, and in the worst region of the two dihedrals (60-degree squares with at least 10 frames);
- the barriers between neighbouring minima, each found on the model and on the reference by itself;
- dynamics at 500 K, 1 ns in all: how many replicas stop, and why;
- whether the minima of the reference within 6 kcal/mol are minima of the model.

Every part is kept in the folder, so that the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from itertools import product
from pathlib import Path

import numpy as np

import flexcalc as fx
from flexcalc.benchmarking.endurance import Subject, run_test
from flexcalc.benchmarking.survival import measure_survival
from flexcalc.dataset import Dataset
from flexcalc.errors import FlexcalcError
from flexcalc.geometry import Coordinate, is_isomorphic, largest_move, match_atoms
from flexcalc.geometry.torsions import torsions
from flexcalc.masses import atomic_masses
from flexcalc.methods.conformers import conformers, molecule
from flexcalc.methods.crash import CrashTest
from flexcalc.methods.hessian import hessian, vibrations
from flexcalc.methods.relax import relax
from flexcalc.registry import open_potential
from flexcalc.units import KCAL_MOL

REFERENCE = "xtb:GFN2-xTB"
SMILES = {"glycine": "NCC(=O)O", "alanine": "CC(=O)N[C@@H](C)C(=O)NC"}
DIHEDRALS = {
    "glycine": ("dihedral 0 1 2 3", "dihedral 9 4 2 3"),
    "alanine": ("dihedral 1 3 4 6", "dihedral 3 4 6 8"),
}
"""N-C-C=O and H-O-C=O; phi and psi."""
WINDOW_KCAL_MOL, SAME_A, TURN = 6.0, 0.3, 60.0
"""Of minima; a larger move of an atom makes another one; degrees by which bonds are turned."""
REGION, FEWEST = 60.0, 10
"""Width of a region in degrees, and frames that it must have."""


def rmse(off: np.ndarray) -> float:
    return float(np.sqrt((off**2).mean())) / KCAL_MOL


def same(numbers, one, other) -> float:
    """Largest move of an atom between two geometries or their mirror images, in angstrom."""
    mirrored = other * np.array([1, 1, -1])
    return min(largest_move(one[match_atoms(numbers, one, to)], to) for to in (other, mirrored))


def curved(potential, place: np.ndarray):
    """Vibrations of a geometry (atoms, 3)."""
    matrix = hessian(potential, place[None])[0]
    return vibrations(place, matrix, atomic_masses(potential.numbers))


def minima_of(reference, smiles: str, path: Path) -> Dataset:
    """Conformers and what they relax to with all bonds turned, within the window.

    Mirror images count once. RDKit alone keeps to Z acids.
    """
    if path.exists():
        return fx.read(path)
    found = conformers(smiles, reference, 40, 0)
    numbers, places = found.numbers, list(found.positions)
    bonds = torsions(numbers, places[0])
    for angles in product(np.radians(np.arange(0, 360, TURN)), repeat=len(bonds)):
        place = places[0]
        for bond, angle in zip(bonds, angles, strict=True):
            place = bond.turned(place, angle)
        state = relax(reference, place[None], force_tolerance_eV_A=0.005, steps=500)
        places.append(state.positions[0])
    places = np.stack(places)
    energies = reference(places).energies
    kept: list[int] = []
    for row in np.argsort(energies):
        if energies[row] - energies.min() > WINDOW_KCAL_MOL * KCAL_MOL:
            break
        # Geometries that keep a plane when they are relaxed may be saddles.
        if (
            is_isomorphic(numbers, places[row], places[0])
            and all(same(numbers, places[row], places[old]) > SAME_A for old in kept)
            and not curved(reference, places[row]).imaginary()
        ):
            kept.append(int(row))
    minima = Dataset(numbers, places[kept], energies[kept])
    fx.write(path, minima)
    return minima


def by_region(texts: tuple[str, str], data: Dataset, squares: dict[str, np.ndarray]) -> list[dict]:
    """RMSE by region of two dihedrals, first where plain dynamics does worst."""
    values = np.stack([Coordinate.parse(one).values(data.positions) for one in texts], axis=1)
    cells = np.floor((values + 180) / REGION).astype(int)
    kinds, which = np.unique(cells, axis=0, return_inverse=True)
    rows = []
    for kind in range(len(kinds)):
        here = which.ravel() == kind
        if here.sum() >= FEWEST:
            rows.append(
                {
                    "from": (kinds[kind] * REGION - 180).tolist(),
                    "frames": int(here.sum()),
                    **{k: float(np.sqrt(v[here].mean())) / KCAL_MOL for k, v in squares.items()},
                }
            )
    return sorted(rows, key=lambda row: -row["plain"])


def barrier(potential, start, end, numbers) -> tuple[float, bool] | None:
    """Barrier of a band in kcal/mol, and whether it converged; None where the search failed."""
    geometries = [Dataset(numbers, one[None]) for one in (start, end)]
    try:
        found = fx.path(potential, *geometries, steps=400, relax_ends=True, progress=False)
    except FlexcalcError:
        return None
    return found.barrier_kcal_mol, found.converged


def neighbours(numbers, minima: Dataset) -> list[tuple[int, int]]:
    """Each minimum with the two that are nearest."""
    count = len(minima)
    apart = np.full((count, count), np.inf)
    for i in range(count):
        for j in range(i):
            apart[i, j] = apart[j, i] = same(numbers, minima.positions[i], minima.positions[j])
    pairs = {tuple(sorted((i, int(j)))) for i in range(count) for j in np.argsort(apart[i])[:2]}
    return sorted(pair for pair in pairs if pair[0] != pair[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("molecule", choices=list(SMILES))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=1600, help="of the independent dynamics")
    parser.add_argument("--ns", type=float, default=1.0)
    parser.add_argument("--option", action="append", default=[], help="NAME=VALUE for learn")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    folder, smiles = options.output, SMILES[options.molecule]
    folder.mkdir(parents=True, exist_ok=True)
    shared = folder.parent / f"{options.molecule}-reference"
    shared.mkdir(exist_ok=True)
    numbers = molecule(smiles)
    reference = open_potential(REFERENCE, numbers)
    found: dict = {"molecule": options.molecule, "budget": options.budget, "seed": options.seed}

    extra = {k: json.loads(v) for k, v in (one.split("=", 1) for one in options.option)}
    begun = time.perf_counter()
    learned = fx.learn(
        f"smiles:{smiles}", reference=REFERENCE, budget=options.budget, seed=options.seed,
        output=folder / "learn", **extra,
    )  # fmt: skip
    found |= {"seconds": time.perf_counter() - begun, "labels": learned.labels}
    found |= {"rounds": learned.round_count, "verdict": learned.verdict}

    minima = minima_of(reference, smiles, shared / "minima.xyz")
    plain_set = fx.label(
        REFERENCE, f"smiles:{smiles}", seed=options.seed + 100,
        samples=[fx.Thermal(frames=learned.labels, temperature_K=500.0)],
        output=folder / f"plain-{learned.labels}",
    ).dataset  # fmt: skip
    plain = fx.train(
        plain_set, points=round(0.8 * len(plain_set)),
        validation_points=len(plain_set) - round(0.8 * len(plain_set)), seed=options.seed,
        output=folder / f"train-{learned.labels}",
    ).model  # fmt: skip
    models = {"learned": learned.model, "plain": plain}

    tests = fx.label(
        REFERENCE, minima, seed=12345,
        samples=[fx.Thermal(frames=options.frames, temperature_K=500.0, replicas=2)],
        output=shared / f"test-{options.frames}",
    ).dataset  # fmt: skip
    energies, forces = tests.labels()
    squares = {}
    for name, model in models.items():
        ours = model(tests.positions)
        squares[name] = ((ours.forces - forces) ** 2).mean(axis=(1, 2))
        off = ours.energies - energies
        found[name] = {
            "force_rmse": rmse(ours.forces - forces),
            "energy_rmse": rmse(off - off.mean()),
        }
    found["regions"] = by_region(DIHEDRALS[options.molecule], tests, squares)

    found["minima"] = len(minima)
    for name, model in models.items():
        own = relax(model, minima.positions).positions
        moved = [
            same(numbers, one, other) for one, other in zip(own, minima.positions, strict=True)
        ]
        found[name]["minima_kept"] = int(np.sum(np.array(moved) < SAME_A))

    rows = []
    bands = shared / "barriers.json"
    known = json.loads(bands.read_text()) if bands.exists() else {}
    for i, j in neighbours(numbers, minima):
        ends = minima.positions[i], minima.positions[j]
        key = f"{i}-{j}"
        if key not in known:
            true = barrier(REFERENCE, *ends, numbers)
            known[key] = None if true is None else list(true)
            bands.write_text(json.dumps(known))
        if known[key] is None or not known[key][1]:
            continue
        row = {"pair": key, "reference": known[key][0]}
        for name, model in models.items():
            one = barrier(model, *ends, numbers)
            row[name] = None if one is None else one[0]
            row[f"{name}_converged"] = None if one is None else one[1]
        rows.append(row)
    found["barriers"] = rows

    replicas = 20
    for name in models:
        address = str(folder / "learn/model.flex") if name == "learned" else None
        if address is None:
            place = folder / "plain.flex"
            if not place.exists():
                plain.save(place)
            address = str(place)
        subject = Subject(
            test=CrashTest(
                temperatures_K=(500.0,), seeds=replicas, time_ps=1000 * options.ns / replicas,
                nve_ps=0.0, relabelled_frames=60,
            ),
            address=address, starts=str(shared / "minima.xyz"),
            coordinates=DIHEDRALS[options.molecule],
            folder=folder / f"crash-{name}", seed=1,
        )  # fmt: skip
        run_test(subject)
        row = measure_survival(subject, REFERENCE).rows[0]
        found[name]["crash"] = {
            "survived": row.survived, "of": replicas,
            "force_rmse": row.force_rmse_visited_kcal_mol_A,
            "failures": [str(one) for one in row.failures][:5],
        }  # fmt: skip
    (folder / "found.json").write_text(json.dumps(found, indent=1, default=str))
    print(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main()
