"""Model files of SchNetPack: the same numbers as its calculator, and what is refused."""

from __future__ import annotations

import copy
import pickle

import ase
import numpy as np
import pytest

import flexcalc
from flexcalc.errors import AddressError, FileFormatError, MoleculeError, UnitError
from flexcalc.units import HARTREE, KCAL_MOL

torch = pytest.importorskip("torch")
pytest.importorskip("schnetpack")

METHANOL = ase.Atoms(
    [6, 8, 1, 1, 1, 1],
    [
        [-0.047, 0.663, 0.0],
        [-0.047, -0.758, 0.0],
        [-1.092, 0.969, 0.0],
        [0.437, 1.076, 0.890],
        [0.437, 1.076, -0.890],
        [0.871, -1.063, 0.0],
    ],
)
CUTOFF = 2.5
"""angstrom; less than the molecule is long, so that some pairs are beyond it."""
KINDS = ("SchNet", "PaiNN", "SO3net")


def model(kind="PaiNN", postprocessors=None, forces=True, **changes):
    """A small model with random weights, as spktrain would make it."""
    import schnetpack as spk

    torch.manual_seed(0)
    options = {
        "n_atom_basis": 16,
        "n_interactions": 2,
        "radial_basis": spk.nn.GaussianRBF(8, CUTOFF),
        "cutoff_fn": spk.nn.CosineCutoff(CUTOFF),
    }
    if kind == "SO3net":
        options["lmax"] = 2
    outputs = [spk.atomistic.Atomwise(n_in=16, output_key="energy", **changes)]
    if forces:
        outputs.append(spk.atomistic.Forces(energy_key="energy", force_key="forces"))
    if postprocessors is None:
        references = torch.zeros(100)
        references[[1, 6, 8]] = torch.tensor([-313.2, -23850.1, -47100.9])
        postprocessors = [
            spk.transform.CastTo64(),
            spk.transform.AddOffsets(
                "energy",
                add_mean=True,
                add_atomrefs=True,
                atomrefs=references,
                property_mean=torch.tensor([-12.5]),
            ),
        ]
    return spk.model.NeuralNetworkPotential(
        representation=getattr(spk.representation, kind)(**options),
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=outputs,
        postprocessors=postprocessors,
    )


def written(folder, made, name="best_model"):
    """A model file as ModelCheckpoint writes it: AtomisticTask.save_model is torch.save."""
    folder.mkdir(exist_ok=True)
    torch.save(made, folder / name)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("schnetpack")


def rattled(count, seed):
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(count, len(METHANOL), 3))
    return METHANOL.positions + noise


def peer(path, positions, dtype=torch.float64, unit="kcal/mol"):
    """Energies and forces of SchNetPack's own calculator."""
    from schnetpack.interfaces import SpkCalculator
    from schnetpack.transform import ASENeighborList

    calculator = SpkCalculator(
        str(path), ASENeighborList(cutoff=CUTOFF), energy_unit=unit, dtype=dtype
    )
    energies, forces = [], []
    for geometry in positions:
        atoms = ase.Atoms(METHANOL.numbers, geometry, calculator=calculator)
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
    return np.array(energies), np.array(forces)


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_the_numbers_of_the_schnetpack_calculator(folder, kind):
    """Rounding of sums of 1e5 kcal/mol in float64 is 1e-10; the task allows 1e-5."""
    path = written(folder / kind, model(kind))
    positions = rattled(4, seed=1)
    found = flexcalc.load(f"{path}?energy_unit=kcal/mol", METHANOL, trust=True)(positions)
    energies, forces = peer(path, positions)
    assert np.abs(forces).max() > 1e-3
    assert np.abs(found.energies - energies).max() < 1e-9
    assert np.abs(found.forces - forces).max() < 1e-9


def test_single_precision_is_as_near_as_its_rounding(folder):
    """The network's energy of 1 kcal/mol rounds to 1e-7; the offset is added in float64."""
    path = written(folder / "single", model(postprocessors=[]))
    positions = rattled(2, seed=2)
    address = f"{path}?energy_unit=kcal/mol&precision=float32"
    found = flexcalc.load(address, METHANOL, trust=True)(positions)
    energies, forces = peer(path, positions, torch.float32)
    assert np.abs(found.energies - energies).max() < 1e-5
    assert np.abs(found.forces - forces).max() < 1e-5


@pytest.mark.parametrize(
    "changes", [{"aggregation_mode": "avg"}, {"per_atom_output_key": "energies"}]
)
def test_other_output_modules_go_through_schnetpacks_own_pass(folder, changes):
    path = written(folder / "other", model("SchNet", **changes))
    positions = rattled(3, seed=3)
    potential = flexcalc.load(f"{path}?energy_unit=eV", METHANOL, trust=True)
    assert potential.evaluator.dense is None
    energies, forces = peer(path, positions, unit="eV")
    found = potential(positions)
    assert np.abs(found.energies - energies).max() < 1e-8
    assert np.abs(found.forces - forces).max() < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_without_forces_the_energy_is_differentiated(folder, kind):
    plain = written(folder / "energy", model(kind, forces=False), f"{kind}.pt")
    whole = written(folder / "forces", model(kind), f"{kind}.pt")
    positions = rattled(2, seed=4)
    found, expected = (
        flexcalc.load(f"{path}?energy_unit=eV", METHANOL, trust=True)(positions)
        for path in (plain, whole)
    )
    assert np.abs(found.energies - expected.energies).max() < 1e-9
    assert np.abs(found.forces - expected.forces).max() < 1e-12


def test_units_come_from_the_address_or_from_spktrains_config(folder):
    path = written(folder / "units", model())
    positions = rattled(1, seed=5)
    with pytest.raises(UnitError, match=r"does not say its unit.*\?energy_unit=kcal/mol"):
        flexcalc.load(str(path), METHANOL, trust=True)
    with pytest.raises(UnitError, match="did you mean kcal/mol"):
        flexcalc.load(f"{path}?energy_unit=kcal/mo", METHANOL, trust=True)
    told = flexcalc.load(f"{path}?energy_unit=hartree", METHANOL, trust=True)(positions)
    (path.parent / "config.yaml").write_text(
        "data:\n  distance_unit: Ang\n  property_units:\n    energy: kcal/mol\n"
    )
    known = flexcalc.load(str(path), METHANOL, trust=True)
    assert known.facts["source_units"] == "kcal/mol, angstrom"
    assert known(positions).energies == pytest.approx(told.energies * KCAL_MOL / HARTREE, rel=1e-14)


def test_lengths_may_be_in_bohr(folder):
    from flexcalc.units import BOHR

    path = written(folder / "bohr", model())
    positions = rattled(1, seed=6)
    bohr, angstrom = (
        flexcalc.load(f"{path}?energy_unit=eV&length_unit={unit}", METHANOL, trust=True)
        for unit in ("bohr", "angstrom")
    )
    here, there = bohr(positions * BOHR), angstrom(positions)
    assert here.energies == pytest.approx(there.energies, abs=1e-9)
    assert np.abs(here.forces * BOHR - there.forces).max() < 1e-12


def test_copies_pickles_and_the_ase_calculator_agree(folder):
    address = f"{written(folder / 'copies', model())}?energy_unit=kcal/mol"
    potential = flexcalc.load(address, METHANOL, trust=True)
    positions = rattled(1, seed=7)
    expected = potential(positions)
    for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert np.abs(other(positions).forces - expected.forces).max() < 1e-12
    atoms = ase.Atoms(METHANOL.numbers, positions[0])
    atoms.calc = flexcalc.Calculator(address, trust=True)
    assert np.abs(atoms.get_forces() - expected.forces[0]).max() < 1e-12


def test_an_element_it_does_not_know_is_named(folder):
    address = f"{written(folder / 'elements', model())}?energy_unit=eV"
    with pytest.raises(MoleculeError, match="does not know S"):
        flexcalc.load(address, ase.Atoms("SH2"), trust=True)
    bare = written(folder / "bare", model(postprocessors=[]))
    with pytest.raises(MoleculeError, match="does not know Fm"):
        flexcalc.load(f"{bare}?energy_unit=eV", ase.Atoms("FmH2"), trust=True)


@pytest.mark.inputs
def test_options_that_do_not_fit_are_refused(folder):
    path = written(folder / "options", model())
    for query, message in {
        "energy_key=enregy": "did you mean energy",
        "forces_key=force": "did you mean forces",
        "charge=1": "does not depend on the charge",
        "unit=eV": "unknown option",
    }.items():
        with pytest.raises(AddressError, match=message):
            flexcalc.load(f"{path}?energy_unit=eV&{query}", METHANOL, trust=True)
    with pytest.raises(AddressError, match="say which one, as in"):
        flexcalc.load(f"{path}?energy_unit=eV", trust=True)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


@pytest.mark.security
@pytest.mark.parametrize("name", ["best_model", "other.pt"])
def test_without_trust_nothing_is_unpickled(tmp_path, name):
    place, canary = tmp_path / name, tmp_path / "canary"
    place.write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(AddressError, match="trust") as caught:
        flexcalc.load(f"{place}?energy_unit=eV", METHANOL)
    assert "\n" not in str(caught.value)
    assert not canary.exists()


@pytest.mark.inputs
def test_what_is_no_model_of_schnetpack_is_refused(tmp_path):
    place = tmp_path / "best_model"
    place.write_bytes(b"no pickle at all")
    with pytest.raises(FileFormatError, match="not a model of SchNetPack"):
        flexcalc.load(f"{place}?energy_unit=eV", METHANOL, trust=True)
    torch.save({"state": 1}, place)
    with pytest.raises(FileFormatError, match=r"not a model|expected a NeuralNetworkPotential"):
        flexcalc.load(f"{place}?energy_unit=eV", METHANOL, trust=True)
