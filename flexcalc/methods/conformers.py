"""Conformers of a molecule given as SMILES: enumerated by RDKit, relaxed on a potential."""

from __future__ import annotations

from typing import Any

import numpy as np

from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import InputError, MissingExtraError
from flexcalc.geometry import align, match_atoms
from flexcalc.masses import of_frames, standard_masses
from flexcalc.methods.relax import relax
from flexcalc.potential import Potential
from flexcalc.progress import Progress, silent
from flexcalc.units import KCAL_MOL

EMBEDDINGS = 5
"""Embedded geometries per conformer that may be kept."""
SAME_ENERGY = 0.05 * KCAL_MOL
"""Conformers closer in energy than this, in eV, may be the same one."""
SAME_SHAPE = 0.1
"""Conformers are the same if also their RMSD is below this, in angstrom."""


def molecule(smiles: str) -> np.ndarray:
    """Atomic numbers (atoms,) of a SMILES, hydrogens added at the end.

    Raises:
        InputError: not a SMILES.
        MissingExtraError: RDKit is not installed.
    """
    return np.array([atom.GetAtomicNum() for atom in _parsed(smiles).GetAtoms()])


def charge_and_unpaired(smiles: str) -> tuple[int, int]:
    """Total charge of a SMILES, and its number of unpaired electrons.

    Raises:
        InputError: not a SMILES.
        MissingExtraError: RDKit is not installed.
    """
    atoms = list(_parsed(smiles).GetAtoms())
    charge = sum(atom.GetFormalCharge() for atom in atoms)
    return charge, sum(atom.GetNumRadicalElectrons() for atom in atoms)


def embedded(smiles: str) -> Dataset:
    """One geometry of a SMILES as RDKit embeds it (ETKDG version 3), without labels.

    Raises:
        InputError: not a SMILES, or no geometry could be generated from it.
        MissingExtraError: RDKit is not installed.
    """
    parsed = _parsed(smiles)
    found = _embed(parsed, smiles, 1, seed=0)
    return Dataset(
        np.array([atom.GetAtomicNum() for atom in parsed.GetAtoms()]),
        parsed.GetConformer(found[0]).GetPositions()[None],
        provenance=Provenance(source=f"smiles:{smiles}"),
        masses=of_frames(_isotopes(parsed), 1),
    )


def _embed(parsed: Any, smiles: str, count: int, seed: int) -> list[int]:
    """Numbers of the conformers that RDKit embeds."""
    from rdkit.Chem import rdDistGeom

    settings: Any = rdDistGeom.ETKDGv3()
    settings.randomSeed = seed + 1
    # RDKit's own pruning looks at heavy atoms alone and would drop the rotors of hydroxyls.
    found = list(rdDistGeom.EmbedMultipleConfs(parsed, count, settings))
    if not found:
        raise InputError(f"smiles:{smiles}: no geometry could be generated from it")
    return found


def conformers(
    smiles: str, potential: Potential, most: int, seed: int, progress: Progress = silent
) -> Dataset:
    """Distinct minima of a molecule, lowest energy first.

    Args:
        smiles: the molecule.
        potential: surface to relax on; bound to `molecule(smiles)`.
        most: maximum number of conformers.
        seed: of the enumeration (ETKDG version 3).

    Returns:
        Relaxed geometries with their energies, tagged `start` = conformer-0, conformer-1, ...

    Raises:
        InputError: not a SMILES, or no geometry could be generated from it.
        MissingExtraError: RDKit is not installed.
    """
    parsed = _parsed(smiles)
    found = _embed(parsed, smiles, EMBEDDINGS * most, seed)
    relaxed, energies = [], []
    for index in found:
        raw = parsed.GetConformer(index).GetPositions()
        state = relax(potential, raw[None], force_tolerance_eV_A=0.005, steps=500)
        relaxed.append(state.positions[0])
        energies.append(float(state.evaluation.energies[0]))
        progress(len(relaxed), len(found), f"lowest {min(energies):.3f} eV")
    kept = _distinct(potential.numbers, np.stack(relaxed), np.array(energies))[:most]
    return Dataset(
        potential.numbers,
        np.stack([relaxed[index] for index in kept]),
        np.array([energies[index] for index in kept]),
        tags={"start": np.array([f"conformer-{rank}" for rank in range(len(kept))])},
        provenance=Provenance(source=f"smiles:{smiles}"),
        masses=of_frames(_isotopes(parsed), len(kept)),
    )


def _isotopes(parsed: Any) -> np.ndarray | None:
    """Masses (atoms,) in amu of a molecule of RDKit that names isotopes, such as [2H]; or None."""
    isotopes = [atom.GetIsotope() for atom in parsed.GetAtoms()]
    if not any(isotopes):
        return None
    masses = standard_masses([atom.GetAtomicNum() for atom in parsed.GetAtoms()])
    named = [float(atom.GetMass()) for atom in parsed.GetAtoms()]
    return np.where(isotopes, named, masses)


def _distinct(numbers: np.ndarray, positions: np.ndarray, energies: np.ndarray) -> list[int]:
    """Indices of different conformers, by increasing energy; mirror images count as different."""
    kept: list[int] = []
    for index in np.argsort(energies):
        near = [old for old in kept if abs(energies[old] - energies[index]) < SAME_ENERGY]
        if not any(_misfit(numbers, positions[index], positions[old]) < SAME_SHAPE for old in near):
            kept.append(int(index))
    return kept


def _misfit(numbers: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    order = match_atoms(numbers, one, other)
    aligned = align(one[order][None], other)[0]
    return float(np.sqrt(((aligned - other) ** 2).sum(axis=1).mean()))


def _parsed(smiles: str) -> Any:
    try:
        from rdkit import Chem, rdBase
    except ImportError:
        raise MissingExtraError("rdkit", "smiles") from None
    with rdBase.BlockLogs():  # silences its own messages
        parsed = Chem.MolFromSmiles(smiles)
    if parsed is None or parsed.GetNumAtoms() == 0:
        raise InputError(f"smiles:{smiles}: not a valid SMILES")
    return Chem.AddHs(parsed)
