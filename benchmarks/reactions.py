"""Saddles of small reactions on GFN2-xTB: evaluations, convergence, and the right saddle by IRC.

    python benchmarks/reactions.py --json reactions.json
    python benchmarks/reactions.py "HCN to HNC" --methods flexcalc sella
    python benchmarks/reactions.py --published baker_ts --json published.json

Without `--published`: isomerisations and conformational changes of small molecules in the manner of
Baker and Chan; their ends are built by RDKit from SMILES with numbered atoms, or from one SMILES
with a dihedral turned, and relaxed on GFN2-xTB.

With it: the guesses of Baker and Chan, J. Comput. Chem. 17, 888 (1996), read from the xyz files in
a folder, such as pysisyphus/geom_library/baker_ts of github.com/eljost/pysisyphus, of which
*_downhill.xyz are not read. Each guess is refined to a saddle of GFN2-xTB with a Hessian at every
step, and the minima of its descent, whose atoms keep their order, are the ends.

All methods start from the same initial path of 9 images to 0.005 eV/A: `flexcalc path --saddle`;
the same with `--no-adaptive`, and with `--no-follow`; ase.mep's climbing band (improved tangent,
k = 2 eV/A^2) with BFGS, FIRE and NEBOptimizer (ODE12r); Sella, if it is installed, from the highest
image. Evaluations are
those up to the saddle, without those that only judge it: it is right where it has one imaginary
frequency and the descent from it, by flexcalc, leads to both ends. It is the published one where
its geometry is (RMSD below 0.1 A). With --json, what is finished is read from there and not done
again.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import ase
import ase.io
import numpy as np
from ase.mep import NEB as ASENEB
from ase.mep.neb import NEBOptimizer
from ase.optimize import BFGS, FIRE

import flexcalc
from flexcalc import registry
from flexcalc.adapters.ase import Calculator
from flexcalc.errors import FlexcalcError
from flexcalc.geometry import align, is_degenerate
from flexcalc.methods.path import NEB, interpolate
from flexcalc.methods.relax import relax
from flexcalc.methods.saddle import RFO
from flexcalc.potential import Counted, Potential
from flexcalc.results.saddle import Saddle
from flexcalc.tasks.saddle.endpoints import misfit

IMAGES, FORCE_EV_A, STEPS = 9, 0.005, 300
MODEL = "xtb:GFN2-xTB"

SAME_A = 0.1
"""RMSD below which a saddle is the published one."""

STATES = {"04": (0, 2), "05": (0, 2), "08": (0, 2), "16": (-1, 1), "20": (1, 1)}
"""Charge and multiplicity of the published guesses that are no neutral singlets, by number."""

CAREFUL = RFO(hessian_every=1, trust_A=0.05, longest_trust_A=0.05)
"""Refinement of the published guesses."""

REACTIONS = {
    "HCN to HNC": ("[H:1][C:2]#[N:3]", "[H:1][N+:3]#[C-:2]"),
    "formaldehyde to hydroxycarbene": ("[O:1]=[C:2]([H:3])[H:4]", "[H:4][O:1][C:2][H:3]"),
    "vinyl alcohol to acetaldehyde": (
        "[C:1]([H:2])([H:3])=[C:4]([H:5])[O:6][H:7]",
        "[C:1]([H:2])([H:3])([H:7])[C:4]([H:5])=[O:6]",
    ),
    "formamide to formimidic acid": (
        "[O:1]=[C:2]([H:3])[N:4]([H:5])[H:6]",
        "[H:5][O:1][C:2]([H:3])=[N:4][H:6]",
    ),
    "methyl isocyanide to acetonitrile": (
        "[C:1]([H:2])([H:3])([H:4])[N+:5]#[C-:6]",
        "[C:1]([H:2])([H:3])([H:4])[C:6]#[N:5]",
    ),
    "cyclobutene to butadiene": (
        "[C:1]1([H:5])=[C:2]([H:6])[C:3]([H:7])([H:8])[C:4]1([H:9])[H:10]",
        "[C:4]([H:9])([H:10])=[C:1]([H:5])[C:2]([H:6])=[C:3]([H:7])[H:8]",
    ),
    "malonaldehyde, transfer of hydrogen": (
        "[O:1]=[C:2]([H:6])[C:3]([H:7])=[C:4]([H:8])[O:5][H:9]",
        "[H:9][O:1][C:2]([H:6])=[C:3]([H:7])[C:4]([H:8])=[O:5]",
    ),
    "acetone enol to acetone": (
        "[C:1]([H:5])([H:6])=[C:2]([O:3][H:7])[C:4]([H:8])([H:9])[H:10]",
        "[C:1]([H:5])([H:6])([H:7])[C:2](=[O:3])[C:4]([H:8])([H:9])[H:10]",
    ),
    "hydroxyacetone to lactaldehyde": (
        "[C:1]([H:4])([H:5])([H:6])[C:2](=[O:7])[C:3]([H:8])([H:9])[O:10][H:11]",
        "[C:1]([H:4])([H:5])([H:6])[C:2]([H:8])([O:7][H:11])[C:3]([H:9])=[O:10]",
    ),
    "diazene, trans to cis": ("[H:1]/[N:2]=[N:3]/[H:4]", "[H:1]/[N:2]=[N:3]\\[H:4]"),
}
"""Ends as SMILES whose atoms are numbered alike."""

TURNS = {
    "formic acid": ("OC=O", "[H]OC=O", (0.0, 180.0)),
    "nitrous acid": ("ON=O", "[H]ON=O", (0.0, 180.0)),
    "methyl nitrite": ("CON=O", "CON=O", (0.0, 180.0)),
    "ethanol": ("CCO", "CCO[H]", (180.0, 60.0)),
    "butane": ("CCCC", "CCCC", (180.0, 65.0)),
    "acrolein": ("C=CC=O", "C=CC=O", (180.0, 0.0)),
    "glyoxal": ("O=CC=O", "O=CC=O", (180.0, 0.0)),
    "acetic acid": ("CC(=O)O", "[H]OC=O", (0.0, 180.0)),
    "dichloroethane": ("ClCCCl", "ClCCCl", (180.0, 70.0)),
    "propanal": ("CCC=O", "CCC=O", (0.0, 125.0)),
    "ethylamine": ("CCN", "CCN[H]", (60.0, 180.0)),
}
"""SMILES, pattern of four atoms, and their dihedral in degrees at both ends."""


def numbered(smiles, seed=1):
    """A molecule of numbered atoms, in the order of their numbers."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    molecule = Chem.MolFromSmiles(smiles, parameters)
    order = np.argsort([atom.GetAtomMapNum() for atom in molecule.GetAtoms()])
    for atom in molecule.GetAtoms():
        atom.SetNoImplicit(True)
    if AllChem.EmbedMolecule(molecule, randomSeed=seed, useRandomCoords=True):
        raise RuntimeError(f"RDKit embeds no {smiles}")
    places = molecule.GetConformer().GetPositions()[order]
    return ase.Atoms([molecule.GetAtomWithIdx(int(k)).GetAtomicNum() for k in order], places)


def turned(smiles, pattern, degrees):
    """A molecule with a dihedral set to some degrees."""
    from rdkit import Chem
    from rdkit.Chem import AllChem, rdMolTransforms

    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(molecule)
    parameters = Chem.SmilesParserParams()
    parameters.removeHs = False
    query = Chem.MolFromSmarts(pattern.replace("[H]", "[#1]").replace("O[#1]", "[OX2][#1]"))
    four = molecule.GetSubstructMatches(query)[0][:4]
    rdMolTransforms.SetDihedralDeg(molecule.GetConformer(), *four, degrees)
    numbers = [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
    return ase.Atoms(numbers, molecule.GetConformer().GetPositions())


@dataclass(frozen=True, eq=False)
class Reaction:
    """A reaction on the surface: both ends, and its saddle if it is known from a guess."""

    name: str
    surface: Potential
    ends: list[ase.Atoms]
    first: np.ndarray
    saddle: np.ndarray | None = None


def built(interpolation: str, known: dict, name: str) -> Reaction:
    """A reaction whose ends are built from SMILES and relaxed on the surface."""
    if name in REACTIONS:
        ends = [numbered(smiles) for smiles in REACTIONS[name]]
    else:
        smiles, pattern, degrees = TURNS[name]
        ends = [turned(smiles, pattern, one) for one in degrees]
    surface = registry.load(MODEL, ends[0])
    places = np.stack([one.positions for one in ends])
    found = relax(surface, places, force_tolerance_eV_A=0.002, steps=2000).positions
    method = NEB(images=IMAGES, interpolation=interpolation)
    first = method.first(ends[0].numbers, found[:1], found[1])
    return Reaction(name, surface, [ase.Atoms(ends[0].numbers, first[k]) for k in (0, -1)], first)


def published(interpolation: str, known: dict, file: Path) -> Reaction:
    """A reaction of which a guess of the saddle is published; keeps what it finds in `known`."""
    guess = ase.io.read(file)
    charge, multiplicity = STATES.get(file.stem[:2], (0, 1))
    surface = registry.load(f"{MODEL}?charge={charge}&multiplicity={multiplicity}", guess)
    if "saddle" not in known:
        found = flexcalc.saddle(surface, guess, refinement=CAREFUL, steps=60, progress=False)
        if not found.first_order:
            raise RuntimeError("the guess leads to no saddle")
        known["saddle"] = found.to_dataset().positions[0].tolist()
        known["minima"] = [one.positions.tolist() for one in found.minima]
        known["imaginary_cm"] = found.imaginary_frequency_cm
        known["barriers"] = [found.barrier_kcal_mol, found.barrier_back_kcal_mol]
        known["off_guess_A"] = fit(guess.numbers, np.array(known["saddle"]), guess.positions)
    start, end = (np.array(one) for one in known["minima"])
    if is_degenerate(guess.numbers, start, end) or is_degenerate(guess.numbers, start, -end):
        raise RuntimeError("its saddle joins a minimum with itself or its mirror image")
    end = align(end[None], start)[0]
    first = interpolate(start, end, IMAGES, interpolation, guess.numbers)
    ends = [ase.Atoms(guess.numbers, one) for one in (start, end)]
    return Reaction(file.stem, surface, ends, first, np.array(known["saddle"]))


def fit(numbers: np.ndarray, place: np.ndarray, target: np.ndarray) -> float:
    """RMSD in angstrom of a geometry or its mirror image from a target."""
    return min(misfit(numbers, sign * place, target) for sign in (1, -1))


@dataclass(frozen=True, eq=False)
class Found:
    """What a method has found."""

    evaluations: int
    converged: bool
    right: bool
    barrier: float | None
    saddle: np.ndarray


def judged(reaction: Reaction, evaluations: int, done: bool, guess: np.ndarray) -> Found:
    """Whether a geometry is the saddle of both ends, and its barrier in kcal/mol."""
    ends = reaction.ends
    found = flexcalc.saddle(
        reaction.surface, ase.Atoms(ends[0].numbers, guess), *ends, hessian_every=0, steps=3,
        saddle_force_eV_A=FORCE_EV_A, progress=False,
    )  # fmt: skip
    place = found.to_dataset().positions[0]
    return Found(evaluations, done, _joins(found), found.barrier_kcal_mol, place)


def _joins(saddle: Saddle) -> bool:
    """Whether it is of first order and the descent leads to both ends, either way."""
    both = {saddle.irc_start_is, saddle.irc_end_is} == {"start", "end"}
    return bool(saddle.first_order) and both


def by_flexcalc(reaction: Reaction, follow: bool = True, adaptive: bool = True) -> Found:
    """`flexcalc path --saddle`."""
    numbers = reaction.ends[0].numbers
    found = flexcalc.path(
        reaction.surface, flexcalc.Dataset(numbers, reaction.first), relax_ends=False, saddle=True,
        follow=follow, adaptive=adaptive, saddle_force_eV_A=FORCE_EV_A, steps=STEPS, progress=False,
        method=NEB(images=IMAGES, force_tolerance_eV_A=FORCE_EV_A),
    )  # fmt: skip
    saddle = found.saddle
    # The first has what saddles have cost, with descents, that turned out not to join the ends.
    spent = found.evaluations.total + (saddle.evaluations.search or 0) + 6 * len(numbers)
    place = saddle.to_dataset().positions[0]
    return Found(spent, bool(saddle.converged), _joins(saddle), saddle.barrier_kcal_mol, place)


def by_ase(reaction: Reaction, optimiser: type) -> Found:
    """ase.mep's climbing band."""
    counted, numbers = Counted(reaction.surface), reaction.ends[0].numbers
    images = [ase.Atoms(numbers, image) for image in reaction.first]
    for image in images:
        image.calc = Calculator(counted)
    band = ASENEB(images, climb=True, method="improvedtangent", k=2.0)
    done = optimiser(band, logfile=None).run(fmax=FORCE_EV_A, steps=STEPS)
    spent = counted.geometries
    top = int(np.argmax([image.get_potential_energy() for image in images[1:-1]])) + 1
    return judged(reaction, spent, bool(done), images[top].positions)


def by_sella(reaction: Reaction) -> Found:
    """Sella from the highest image."""
    from sella import Sella

    counted, first = Counted(reaction.surface), reaction.first
    top = int(np.argmax(reaction.surface(first).energies[1:-1])) + 1
    atoms = ase.Atoms(reaction.ends[0].numbers, first[top])
    atoms.calc = Calculator(counted)
    done = Sella(atoms, order=1, internal=True, logfile=None).run(fmax=FORCE_EV_A, steps=STEPS)
    return judged(reaction, len(first) + counted.geometries, bool(done), atoms.positions)


METHODS = {
    "flexcalc": by_flexcalc,
    "flexcalc --no-adaptive": partial(by_flexcalc, adaptive=False),
    "flexcalc --no-follow": partial(by_flexcalc, follow=False),
    "ase.mep BFGS": partial(by_ase, optimiser=BFGS),
    "ase.mep FIRE": partial(by_ase, optimiser=FIRE),
    "ase.mep ODE12r": partial(by_ase, optimiser=NEBOptimizer),
    "sella": by_sella,
}


def found_by(method: str, reaction: Reaction) -> dict:
    """What a method makes of a reaction."""
    try:
        found = METHODS[method](reaction)
    except (FlexcalcError, RuntimeError, ValueError, AssertionError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    row = {
        "evaluations": found.evaluations,
        "converged": found.converged,
        "right": found.right,
        "barrier": found.barrier,
    }
    if reaction.saddle is not None:
        numbers = reaction.ends[0].numbers
        row["off_published_A"] = fit(numbers, found.saddle, reaction.saddle)
    return row


def filled(cases: dict, rows: dict, methods: list[str]) -> Iterator[str]:
    """Fill in rows by name of reaction; yields the name after every new entry."""
    for name, prepared in cases.items():
        row = rows.setdefault(name, {})
        if "left_out" in row or all(method in row for method in methods):
            continue
        try:
            reaction = prepared(row.setdefault("known", {}))
        except (FlexcalcError, RuntimeError) as error:
            row["left_out"] = str(error)
            yield name
            continue
        row["atoms"] = len(reaction.ends[0])
        for method in methods:
            if method not in row:
                row[method] = found_by(method, reaction)
                yield name


def summarised(rows: dict, method: str) -> str:
    """Shares and medians of a method."""
    known = [row[method] for row in rows.values() if method in row]
    right = [one for one in known if one.get("right")]
    median = np.median([one["evaluations"] for one in right]) if right else np.nan
    converged = sum(one.get("converged", False) for one in known)
    near = [one for one in known if one.get("off_published_A", np.inf) < SAME_A]
    return (
        f"{method}: of {len(known)} converged {converged}, right saddle {len(right)}, published "
        f"one {len(near)}; median evaluations where right {median:.0f}"
    )


def main():
    """Print a line for each entry, and shares and medians of each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--published", type=Path, help="folder of guesses, as xyz files")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument(
        "--interpolation", choices=("idpp", "geodesic"), default=NEB().interpolation
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    how = arguments.interpolation
    if arguments.published is None:
        cases = {name: partial(built, how, name=name) for name in (*REACTIONS, *TURNS)}
    else:
        guesses = sorted(arguments.published.glob("*.xyz"))
        guesses = [file for file in guesses if not file.stem.endswith("_downhill")]
        cases = {file.stem: partial(published, how, file=file) for file in guesses}
    cases = {name: cases[name] for name in arguments.names or cases}
    rows, file = {}, arguments.json
    if file is not None and file.exists():
        rows = json.loads(file.read_text())
    for name in filled(cases, rows, arguments.methods):
        shown = {key: value for key, value in rows[name].items() if key != "known"}
        print(name, json.dumps(shown), flush=True)
        if file is not None:
            file.write_text(json.dumps(rows, indent=1) + "\n")
    chosen = {name: rows[name] for name in cases}
    for method in arguments.methods:
        print(summarised(chosen, method))


if __name__ == "__main__":
    main()
