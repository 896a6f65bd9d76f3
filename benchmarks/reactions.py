"""Saddles of small reactions on GFN2-xTB: evaluations, convergence, and the right saddle by IRC.

    python benchmarks/reactions.py --json reactions.json
    python benchmarks/reactions.py "HCN to HNC" --methods flexcalc sella

Isomerisations and conformational changes of small molecules in the manner of Baker and Chan,
J. Comput. Chem. 17, 888 (1996); their ends are built by RDKit from SMILES with numbered atoms, or
from one SMILES with a dihedral turned, and relaxed on GFN2-xTB. All methods start from the same
initial path of 9 images (IDPP) to 0.005 eV/A: `flexcalc path --saddle`; the same with
`--no-follow`; ase.mep's climbing band (improved tangent, k = 2 eV/A^2) with BFGS; Sella, if it is
installed, from the highest image. Evaluations are those up to the saddle, without those that only
judge it: it is right where it has one imaginary frequency and the descent from it, by flexcalc,
leads to both ends.
"""

from __future__ import annotations

import argparse
import json
import warnings
from functools import partial
from pathlib import Path

import ase
import numpy as np
from ase.mep import NEB as ASENEB
from ase.optimize import BFGS

import flexcalc
from flexcalc import registry
from flexcalc.adapters.ase import Calculator
from flexcalc.errors import FlexcalcError
from flexcalc.methods.path import NEB
from flexcalc.methods.relax import relax
from flexcalc.potential import Counted

IMAGES, FORCE_EV_A, STEPS = 9, 0.005, 300
MODEL = "xtb:GFN2-xTB"

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


def ends_of(name):
    """Both ends of a reaction, relaxed on the surface."""
    if name in REACTIONS:
        ends = [numbered(smiles) for smiles in REACTIONS[name]]
    else:
        smiles, pattern, degrees = TURNS[name]
        ends = [turned(smiles, pattern, one) for one in degrees]
    surface = registry.load(MODEL, ends[0])
    places = np.stack([one.positions for one in ends])
    found = relax(surface, places, force_tolerance_eV_A=0.002, steps=2000).positions
    return surface, [ase.Atoms(ends[0].numbers, place) for place in found]


def judged(surface, guess, ends):
    """Whether a geometry is the saddle of both ends, and its barrier in kcal/mol."""
    found = flexcalc.saddle(
        surface, guess, *ends, saddle_force_eV_A=FORCE_EV_A, hessian_every=0, steps=3,
        progress=False,
    )  # fmt: skip
    right = found.first_order and {found.irc_start_is, found.irc_end_is} == {"start", "end"}
    return bool(right), found.barrier_kcal_mol


def by_flexcalc(surface, ends, path, follow=True):
    """`flexcalc path --saddle`: evaluations to the saddle, convergence, right, barrier."""
    found = flexcalc.path(
        surface, flexcalc.Dataset(ends[0].numbers, path), relax_ends=False, saddle=True,
        follow=follow, saddle_force_eV_A=FORCE_EV_A, steps=STEPS, progress=False,
        method=NEB(images=IMAGES, force_tolerance_eV_A=FORCE_EV_A),
    )  # fmt: skip
    saddle = found.saddle
    spent = (found.evaluations.band or 0) + (saddle.evaluations.search or 0)
    spent += 6 * len(ends[0])
    right = saddle.first_order and (saddle.irc_start_is, saddle.irc_end_is) == ("start", "end")
    return spent, bool(saddle.converged), bool(right), saddle.barrier_kcal_mol


def by_ase(surface, ends, path):
    """ase.mep's climbing band."""
    counted = Counted(surface)
    images = [ase.Atoms(ends[0].numbers, image) for image in path]
    for image in images:
        image.calc = Calculator(counted)
    band = ASENEB(images, climb=True, method="improvedtangent", k=2.0)
    done = BFGS(band, logfile=None).run(fmax=FORCE_EV_A, steps=STEPS)
    top = int(np.argmax([image.get_potential_energy() for image in images[1:-1]])) + 1
    guess = ase.Atoms(ends[0].numbers, images[top].positions)
    return counted.geometries, bool(done), *judged(surface, guess, ends)


def by_sella(surface, ends, path):
    """Sella from the highest image."""
    from sella import Sella

    counted = Counted(surface)
    top = int(np.argmax(surface(path).energies[1:-1])) + 1
    atoms = ase.Atoms(ends[0].numbers, path[top])
    atoms.calc = Calculator(counted)
    done = Sella(atoms, order=1, internal=True, logfile=None).run(fmax=FORCE_EV_A, steps=STEPS)
    guess = ase.Atoms(ends[0].numbers, atoms.positions)
    return len(path) + counted.geometries, bool(done), *judged(surface, guess, ends)


METHODS = {
    "flexcalc": by_flexcalc,
    "flexcalc --no-follow": partial(by_flexcalc, follow=False),
    "ase.mep": by_ase,
    "sella": by_sella,
}


def row_of(name, methods, interpolation="idpp"):
    """What the methods make of a reaction, from an initial path."""
    surface, ends = ends_of(name)
    method = NEB(images=IMAGES, interpolation=interpolation)
    first = method.first(ends[0].numbers, ends[0].positions[None], ends[1].positions)
    ends[1].positions = first[-1]
    row = {"reaction": name, "atoms": len(ends[0])}
    for method in methods:
        try:
            spent, done, right, barrier = METHODS[method](surface, ends, first)
        except (FlexcalcError, RuntimeError, ValueError, AssertionError) as error:
            row[method] = {"error": f"{type(error).__name__}: {error}"[:200]}
            continue
        row[method] = {"evaluations": spent, "converged": done, "right": right, "barrier": barrier}
    return row


def main():
    """Print a row for each reaction, and shares and medians of each method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--interpolation", choices=("idpp", "geodesic"), default="idpp")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in arguments.names or (*REACTIONS, *TURNS):
        try:
            rows.append(row_of(name, arguments.methods, arguments.interpolation))
        except (FlexcalcError, RuntimeError) as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        print(json.dumps(rows[-1]), flush=True)
    for method in arguments.methods:
        known = [row[method] for row in rows]
        right = [one for one in known if one.get("right")]
        median = np.median([one["evaluations"] for one in right]) if right else np.nan
        converged = sum(one.get("converged", False) for one in known)
        print(
            f"{method}: converged {converged} of {len(rows)}, right saddle {len(right)}, median "
            f"evaluations where right {median:.0f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
