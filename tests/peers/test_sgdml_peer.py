"""The same task in flexcalc and in the sgdml package, which runs in a process of its own.

It must: it replaces the logger class, ends the process on errors, and may train only once.
"""

import importlib.util
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from flexcalc.dataset import Dataset
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.exchange import open_npz, write_npz
from flexcalc.units import KCAL_MOL

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sgdml") is None, reason="the sgdml package is not installed"
)

PEER = """
import sys
from dataclasses import replace
import numpy as np
from sgdml.predict import GDMLPredict
from sgdml.train import GDMLTrain

given = dict(np.load("given.npz"))
dataset = {"type": "d", "name": np.array("toy"), "theory": np.array("Morse"), "z": given["z"],
           "R": given["R"], "E": given["E"], "F": given["F"]}
geometries = given["test"].reshape(len(given["test"]), -1)
trainer = GDMLTrain(max_processes=1)
found = {}
for name in ("symmetric", "plain"):
    # Stratified sampling is beside the point: draw one point less, then put all in.
    task = trainer.create_task(dataset, len(given["R"]) - 1, dataset, 1, given["sigma"].item(),
                               lam=1e-10, perms=given[name], use_sym=True)
    task |= {"R_train": given["R"], "E_train": given["E"], "F_train": given["F"]}
    model = trainer.train(task)
    np.savez_compressed(name + "-sgdml.npz", **model)
    energies, forces = GDMLPredict(model, max_processes=1).predict(geometries)
    found |= {name + "_E": energies, name + "_F": forces}
    model = dict(np.load(name + "-flexcalc.npz"))
    energies, forces = GDMLPredict(model, max_processes=1).predict(geometries)
    found |= {name + "_export_E": energies, name + "_export_F": forces}
np.savez("found.npz", **found)
"""


def labelled(rng, count):
    """Rattled methanol on Morse springs between all pairs."""
    atoms = molecule("CH3OH")
    positions = atoms.positions + rng.normal(scale=0.07, size=(count, len(atoms), 3))
    i, j = np.triu_indices(len(atoms), 1)
    apart = positions[:, i] - positions[:, j]
    distance = np.linalg.norm(apart, axis=2)
    decay = np.exp(-0.6 * (distance - 2.0 - 0.05 * (atoms.numbers[i] + atoms.numbers[j])))
    pull = (-1.2 * (1 - decay) * decay / distance)[..., None] * apart
    forces = np.zeros_like(positions)
    np.add.at(forces, (slice(None), i), pull)
    np.add.at(forces, (slice(None), j), -pull)
    return Dataset(atoms.numbers, positions, ((1 - decay) ** 2).sum(axis=1), forces)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    """Both codes' models and predictions, with the recovered symmetries and without."""
    folder = tmp_path_factory.mktemp("peer")
    rng = np.random.default_rng(3)
    train, test = labelled(rng, 30), labelled(rng, 20).positions
    published = SGDML(sigma=10, descriptor="distances", energies="training")
    potentials = {
        name: replace(published, symmetry=name == "symmetric").fit(train, None, rng)
        for name in ("symmetric", "plain")
    }
    groups = {name: potential.permutations for name, potential in potentials.items()}
    arrays = {"z": train.numbers, "R": train.positions, "E": train.energies, "F": train.forces}
    np.savez(folder / "given.npz", sigma=10, test=test, **arrays, **groups)
    for name, potential in potentials.items():
        write_npz(potential, folder / f"{name}-flexcalc.npz")
    run = subprocess.run(
        [sys.executable, "-c", PEER], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return folder, potentials, test, dict(np.load(folder / "found.npz"))


def check_agreement(energies, forces, evaluation, tolerance):
    """Relative to the largest force, and to the range of the energies."""
    forces = forces.reshape(evaluation.forces.shape)
    assert np.abs(evaluation.forces - forces).max() < tolerance * np.abs(forces).max()
    assert np.abs(evaluation.energies - energies).max() < tolerance * np.ptp(energies)


def test_the_group_has_the_methyl_rotations_and_the_mirror(comparison):
    """So that the comparison is not one of trivial groups."""
    _, potentials, _, _ = comparison
    assert len(potentials["symmetric"].permutations) >= 2
    assert len(potentials["plain"].permutations) == 1


@pytest.mark.parametrize("name", ["symmetric", "plain"])
def test_the_same_task_gives_the_same_model(comparison, name):
    """Two solvers of one system whose condition number is about 1e10: 1e-8 is what is left."""
    _, potentials, test, found = comparison
    check_agreement(found[f"{name}_E"], found[f"{name}_F"], potentials[name](test), 1e-8)


@pytest.mark.parametrize("name", ["symmetric", "plain"])
def test_an_exported_model_predicts_the_same_in_sgdml(comparison, name):
    _, potentials, test, found = comparison
    exported = found[f"{name}_export_E"], found[f"{name}_export_F"]
    check_agreement(*exported, potentials[name](test), 1e-9)


@pytest.mark.parametrize("name", ["symmetric", "plain"])
def test_a_model_that_sgdml_saved_predicts_the_same_here(comparison, name):
    """It names no unit, so energies come in kcal/mol: its eV are taken for kcal/mol here."""
    folder, _, test, found = comparison
    potential = open_npz(folder / f"{name}-sgdml.npz")
    assert potential.facts["source_units"] == "kcal/mol, angstrom"
    factor = KCAL_MOL
    saved = factor * found[f"{name}_E"], factor * found[f"{name}_F"]
    check_agreement(*saved, potential(test), 1e-9)
