"""DFT by PySCF: its derivatives, its convergence, its addresses."""

import copy
import pickle
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.io import read

from flexcalc.errors import AddressError, InputError, LabelError, MissingExtraError
from flexcalc.references import dft, scf
from flexcalc.references.dft import DFT, DFTOptions, split
from tests.systems import WATER

pyscf = pytest.importorskip("pyscf")


def quick(numbers=WATER, dispersion=None, grid=1, **options):
    """A functional that takes no time."""
    return DFT(numbers, "PBE", "STO-3G", dispersion, DFTOptions(grid=grid, **options))


def water(seed: int = 0) -> np.ndarray:
    """(3, 3), shaken, so that no force vanishes by symmetry."""
    positions = molecule("H2O").positions
    return positions + np.random.default_rng(seed).normal(0, 0.08, positions.shape)


def hydrogen(distance: float) -> np.ndarray:
    return np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, distance]]])


def force_error(potential: DFT, positions: np.ndarray, directions: int) -> float:
    """Largest deviation of a directional force from 5-point differences, in eV/A."""
    rng, step = np.random.default_rng(1), 0.005
    forces, worst = potential(positions[None]).forces[0], 0.0
    for _ in range(directions):
        move = rng.normal(size=positions.shape)
        move *= step / np.linalg.norm(move)
        frames = np.array([positions + scale * move for scale in (-2, -1, 1, 2)])
        energy = potential(frames).energies
        slope = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
        worst = max(worst, abs(slope + np.sum(forces * move) / step))
    return worst


@pytest.mark.physics
@pytest.mark.parametrize(
    ("address", "grid"),
    [
        ("PBE-D4/def2-SVP", "3"),
        ("PBE-D3(BJ)/STO-3G", "1"),
        ("B3LYP/STO-3G", "1"),
        ("TPSS/STO-3G", "1"),
        ("HF-D3/STO-3G", "1"),
    ],
)
def test_forces_of_a_label_are_minus_the_gradient_of_its_energy(address, grid):
    """The issue's bound; with grid response it holds on coarse grids too, which are quick."""
    potential = DFT.from_address(address, WATER, {"grid": grid})
    assert force_error(potential, water(), directions=1) < 1e-4


@pytest.mark.physics
@pytest.mark.parametrize(
    "options",
    [
        {"charge": "1", "multiplicity": "2"},
        {"charge": "1", "multiplicity": "2", "spin": "unrestricted"},
        {"density_fit": "no"},
    ],
)
def test_forces_are_minus_the_gradient_whatever_the_option(options):
    potential = DFT.from_address("PBE/STO-3G", WATER, {"grid": "1", **options})
    assert force_error(potential, water(), directions=1) < 1e-4


@pytest.mark.physics
def test_a_nonlocal_functional_has_its_own_dispersion_and_right_forces():
    """wB97X-V; hydrogen keeps its expensive grid small."""
    potential = DFT.from_address("wB97X-V/STO-3G", [1, 1], {"grid": "1"})
    assert force_error(potential, hydrogen(0.9)[0], directions=1) < 1e-4


@pytest.mark.physics
def test_forces_of_tkatchenko_scheffler_deviate_by_the_volumes_alone():
    """The volumes are held fixed in the gradient; for water that costs under 1e-4 eV/A."""
    assert force_error(DFT.from_address("PBE-TS/def2-SVP", WATER, {}), water(), directions=1) < 1e-4


@pytest.mark.long
@pytest.mark.physics
@pytest.mark.parametrize(
    ("address", "bound"), [("PBE-D4/def2-SVP", 1e-4), ("PBE-TS/def2-SVP", 5e-3)]
)
def test_forces_on_glycine_are_minus_the_gradient(address, bound):
    """Neutral glycine, shaken; TS within what is stated at `DFT`."""
    atoms = read(Path(__file__).parents[2] / "inputs" / "glycine-Ip.xyz")
    positions = atoms.positions + np.random.default_rng(0).normal(0, 0.05, (len(atoms), 3))
    assert (
        force_error(DFT.from_address(address, atoms.numbers, {}), positions, directions=4) < bound
    )


def test_grid_response_lets_the_forces_sum_to_zero():
    positions = water()[None]
    with_response = DFT(WATER, basis="STO-3G")(positions).forces[0]
    without = DFT(WATER, options=DFTOptions(grid_response=False), basis="STO-3G")(positions).forces[
        0
    ]
    assert np.abs(with_response.sum(axis=0)).max() < 1e-9
    assert np.abs(without.sum(axis=0)).max() > 1e-5
    np.testing.assert_allclose(with_response, without, atol=5e-3)


def test_hydrogen_has_the_textbook_energy():
    """Szabo and Ostlund, Modern Quantum Chemistry, section 3.5.2: -1.1167 at 1.4 bohr."""
    potential = DFT([1, 1], "HF", "STO-3G", options=DFTOptions(density_fit=False))
    energy = potential(hydrogen(1.4 * units.Bohr)).energies[0]
    assert energy / units.Hartree == pytest.approx(-1.1167, abs=5e-5)


@pytest.mark.parametrize(("dispersion", "module"), [("D3(BJ)", "dftd3"), ("D4", "dftd4")])
def test_dispersion_is_what_pyscf_dispersion_gives(dispersion, module):
    """A label with dispersion less one without is the correction of the package itself."""
    from importlib import import_module

    from pyscf import gto

    positions = water()
    package = import_module(f"pyscf.dispersion.{module}")
    mol = gto.M(
        atom=list(zip(WATER.tolist(), (positions / units.Bohr).tolist(), strict=True)), unit="Bohr"
    )
    kind = package.DFTD3Dispersion if module == "dftd3" else package.DFTD4Dispersion
    expected = kind(mol, xc="pbe").get_dispersion(grad=True)
    bare = quick()(positions[None])
    found = quick(dispersion=dispersion)(positions[None])
    difference = found.energies[0] - bare.energies[0]
    assert difference == pytest.approx(expected["energy"] * units.Hartree, abs=1e-8)
    push = -expected["gradient"] * units.Hartree / units.Bohr
    np.testing.assert_allclose(found.forces[0] - bare.forces[0], push, atol=1e-8)


def test_a_label_does_not_depend_on_the_geometry_before():
    """Warm start from a neighbour against a cold one: converged to 1e-10 hartree."""
    potential = quick()
    potential(water(1)[None])
    warm = potential(water(0)[None])
    cold = quick(warm_start=False)(water(0)[None])
    assert abs(warm.energies[0] - cold.energies[0]) < 1e-6
    np.testing.assert_allclose(warm.forces, cold.forces, atol=1e-4)


def test_a_far_geometry_starts_afresh():
    potential = quick()
    potential(water()[None])
    assert potential._guess(water() + 0.1) is not None
    assert potential._guess(water()[[0, 2, 1]]) is None


def test_orbitals_are_carried_with_the_right_number_of_electrons():
    """tr(D S) = 10 in the new geometry's overlap, and D S D = 2 D, as for a determinant."""
    from pyscf import gto

    potential = DFT(WATER, "HF", "STO-3G")
    potential(water(1)[None])
    mol = gto.M(
        atom=list(zip(WATER.tolist(), water(0).tolist(), strict=True)), basis="STO-3G", verbose=0
    )
    overlap = mol.intor("int1e_ovlp")
    density = potential._memory.density(overlap)
    assert np.trace(density @ overlap) == pytest.approx(10, abs=1e-10)
    np.testing.assert_allclose(density @ overlap @ density, 2 * density, atol=1e-10)


def test_an_unconverged_scf_gives_no_label():
    for tries, words in ((1, "in 1 cycles; raise"), (2, "level shift"), (3, "second-order")):
        potential = quick(max_cycle=1, tries=tries)
        with pytest.raises(LabelError, match=f"batch row 0: PBE/STO-3G: .*{words}") as error:
            potential(water()[None])
        assert "\n" not in str(error.value)


def test_second_order_scf_converges_where_the_first_tries_do_not():
    """Three cycles are too few for DIIS on water and enough for Newton steps."""
    expected = quick(grid=0)(water()[None])
    with pytest.raises(LabelError):
        quick(grid=0, max_cycle=3, tries=2)(water()[None])
    found = quick(grid=0, max_cycle=3)(water()[None])
    assert found.energies[0] == pytest.approx(expected.energies[0], abs=1e-6)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-4)


class Field:
    """A mean field that converges when it is told to."""

    def __init__(self, log: list, good: bool):
        self.log, self.converged, self.level_shift = log, good, 0.0
        self.mo_coeff, self.mo_occ = np.eye(2), np.array([2.0, 0.0])
        self.mo_energy = np.array([-0.5, 0.5])

    def kernel(self, *_, **__) -> None:
        self.log.append("shifted" if self.level_shift else "plain")

    def newton(self) -> "Field":
        self.log.append("newton")
        return self


@pytest.mark.parametrize(
    ("norms", "cycles"),
    [
        ([0.8 * 0.5**n for n in range(40)], 40),  # converges
        ([0.8 * 0.85**n for n in range(90)], 90),  # slowly
        ([0.5, 0.1, *[0.3, 0.15] * 40], 20),  # jumps between two densities
        ([0.5, 0.1, *[2e-4] * 60], 62),  # near the solution, second-order steps would not help
    ],
)
def test_a_plain_scf_is_given_up_where_its_gradient_does_not_fall(norms, cycles):
    gives_up, done = scf._GivesUp(), 0
    with suppress(scf._StalledError):
        for norm in norms:
            done += 1
            gives_up({"norm_gorb": norm})
    assert done == cycles


@pytest.mark.parametrize("functional", ["PBE", "B3LYP", "wB97X-V", "TPSS"])
def test_two_grids_give_the_label_of_one(functional, monkeypatch):
    """To the tolerance of the SCF, with its orbital energies and for a few fine evaluations."""
    from pyscf.dft.rks import RKS

    levels, plain = [], RKS.get_veff

    def counted(mf, *args, **options):
        levels.append(mf.grids.level)
        return plain(mf, *args, **options)

    monkeypatch.setattr(RKS, "get_veff", counted)
    potential = DFT([8, 1, 1], functional, "STO-3G")
    found = potential(water()[None])
    assert levels.count(3) <= 5 < levels.count(0)
    orbitals = potential._converged(water()).mo_energy
    levels.clear()
    monkeypatch.setattr(scf, "_has_coarse_grid", lambda mf: False)
    other = DFT([8, 1, 1], functional, "STO-3G")
    expected = other(water()[None])
    assert set(levels) == {3}
    assert found.energies[0] == pytest.approx(expected.energies[0], abs=1e-8)
    np.testing.assert_allclose(found.forces, expected.forces, atol=5e-5)
    np.testing.assert_allclose(orbitals, other._converged(water()).mo_energy, atol=1e-5)


@pytest.mark.parametrize(
    ("spin", "functional"),
    [("unrestricted", "B3LYP"), ("unrestricted", "wB97X-V"), ("broken-symmetry", "PBE")],
)
def test_two_grids_give_the_label_of_one_for_orbitals_of_two_spins(spin, functional, monkeypatch):
    """Of the cation of water, and of twisted HNNH."""
    if spin == "unrestricted":
        numbers, positions, charged = [8, 1, 1], water()[None], {"charge": 1, "multiplicity": 2}
    else:
        numbers, positions, charged = DIAZENE, diazene(np.radians(80))[None], {}
    options = DFTOptions(spin=spin, **charged)
    found = DFT(numbers, functional, "STO-3G", options=options)(positions)
    monkeypatch.setattr(scf, "_has_coarse_grid", lambda mf: False)
    expected = DFT(numbers, functional, "STO-3G", options=options)(positions)
    assert found.energies[0] == pytest.approx(expected.energies[0], abs=1e-8)
    np.testing.assert_allclose(found.forces, expected.forces, atol=5e-5)


def test_where_the_coarse_grid_fails_the_fine_one_is_used_alone(monkeypatch):
    expected, asked = quick()(water()[None]), []

    def fails(*given):
        asked.append(given)
        raise LabelError("no orbitals")

    monkeypatch.setattr(scf, "two_grids", fails)
    found = quick()(water()[None])
    assert len(asked) == 1
    assert found.energies[0] == pytest.approx(expected.energies[0], abs=1e-8)


def test_the_second_try_starts_from_fermi_occupations():
    """Of twisted ethylene, whose frontier orbitals cross at 90 degrees."""
    turn, half = np.radians(86.0), 0.67
    across = [(0, 0.92, 0), (0, -0.92, 0)]
    other = [(0, 0.92 * np.cos(turn) * s, 0.92 * np.sin(turn) * s) for s in (1, -1)]
    positions = np.array(
        [(-half, 0, 0), (half, 0, 0)]
        + [(-half - 0.56, y, z) for _, y, z in across]
        + [(half + 0.56, y, z) for _, y, z in other]
    )
    potential = DFT(np.array([6, 6, 1, 1, 1, 1]), "PBE", "STO-3G")
    density = scf._smeared(lambda: potential._mean_field(positions, unrestricted=False))
    mf = potential._mean_field(positions, unrestricted=False)
    overlap = mf.get_ovlp()
    assert np.einsum("ij,ji", density, overlap) == pytest.approx(16.0, abs=1e-6)
    occupations = np.linalg.eigvalsh(
        np.linalg.cholesky(overlap).T @ density @ np.linalg.cholesky(overlap)
    )
    assert 0.05 < np.sort(occupations)[-8] < 1.95
    assert np.isfinite(potential(positions[None]).energies).all()


def diazene(turn: float) -> np.ndarray:
    """(4, 3) of HNNH, twisted; near a right angle its frontier orbitals cross."""
    first, second = (-0.4, 0.95, 0.0), (1.65, 0.95 * np.cos(turn), 0.95 * np.sin(turn))
    return np.array([first, (0.0, 0.0, 0.0), (1.25, 0.0, 0.0), second])


DIAZENE = [1, 7, 7, 1]


@pytest.mark.parametrize("degrees", [75, 90, 100])
def test_where_orbitals_cross_only_broken_symmetry_has_a_label(degrees, monkeypatch):
    """There are two closed shells, and in either an empty orbital is below a filled one."""
    positions = diazene(np.radians(degrees))[None]
    with pytest.raises(LabelError, match=r"empty that is .* eV below .*; spin=broken-symmetry"):
        quick(DIAZENE)(positions)
    broken = quick(DIAZENE, spin="broken-symmetry")(positions).energies[0]
    monkeypatch.setattr(scf, "check_filling", lambda mf: None)
    assert broken < quick(DIAZENE)(positions).energies[0] - 0.1


@pytest.mark.parametrize("degrees", [70, 75, 80, 90])
def test_of_two_closed_shells_the_lower_one_is_found(degrees, monkeypatch):
    monkeypatch.setattr(scf, "check_filling", lambda mf: None)
    potential = quick(DIAZENE)
    mf = potential._converged(diazene(np.radians(degrees)))
    swapped = mf.mo_coeff.copy()
    swapped[:, [7, 8]] = mf.mo_coeff[:, [8, 7]]
    other = potential._mean_field(diazene(np.radians(degrees)), unrestricted=False).newton()
    other.kernel(swapped, mf.mo_occ)
    assert other.converged
    assert mf.e_tot < other.e_tot + 1e-6


@pytest.mark.parametrize(
    ("good", "expected"),
    [
        ([True], ["plain"]),
        ([False, True], ["plain", "shifted"]),
        ([False, False, True], ["plain", "shifted", "newton", "plain"]),
    ],
)
def test_tries_stop_at_the_first_that_converges(good, expected):
    log: list = []
    answers = iter(good)
    field = scf.converge(lambda: Field(log, next(answers)), scf.Plan(3, 50), None)
    assert field.converged
    assert log == expected


def test_overlapping_nuclei_are_a_failed_label():
    positions = np.array([water(), water()])
    positions[1, 1] = positions[1, 0]
    with pytest.raises(LabelError, match="batch row 1: PBE/STO-3G failed: "):
        quick()(positions)


def test_stretched_hydrogen_breaks_into_two_atoms_only_with_broken_symmetry():
    """UHF separates H2 rightly; at 3 A it is within 0.01 eV of two hydrogen atoms."""
    atom = DFT([1], "HF", "STO-3G", options=DFTOptions(multiplicity=2))(
        np.zeros((1, 1, 3))
    ).energies[0]
    restricted = DFT([1, 1], "HF", "STO-3G")(hydrogen(3.0)).energies[0]
    plain = DFT([1, 1], "HF", "STO-3G", options=DFTOptions(spin="unrestricted"))(
        hydrogen(3.0)
    ).energies[0]
    broken = DFT([1, 1], "HF", "STO-3G", options=DFTOptions(spin="broken-symmetry"))(
        hydrogen(3.0)
    ).energies[0]
    assert restricted - broken > 5
    assert plain == pytest.approx(restricted, abs=1e-6)
    assert broken == pytest.approx(2 * atom, abs=0.01)


def test_a_bonded_molecule_has_no_broken_symmetry_to_find():
    restricted = DFT([1, 1], "HF", "STO-3G")(hydrogen(0.74))
    broken = DFT([1, 1], "HF", "STO-3G", options=DFTOptions(spin="broken-symmetry"))(hydrogen(0.74))
    assert broken.energies[0] == pytest.approx(restricted.energies[0], abs=1e-6)


@pytest.mark.parametrize("functional", ["HF", "PBE", "B3LYP"])
@pytest.mark.parametrize("degrees", [0, 45, 60])
def test_symmetry_breaks_where_the_hessian_of_pyscf_has_a_negative_eigenvalue(functional, degrees):
    from pyscf.scf.stability import rhf_external

    potential = DFT(DIAZENE, functional, "STO-3G")
    mf = potential._converged(diazene(np.radians(degrees)))
    assert scf.keeps_symmetry(mf) == rhf_external(mf, with_symmetry=False, return_status=True)[1]


@pytest.mark.parametrize(("degrees", "kept"), [(0, True), (60, False)])
def test_a_closed_shell_that_keeps_its_symmetry_is_the_label(degrees, kept, monkeypatch):
    """Without another SCF."""
    asked, plain = [], scf._mixed
    monkeypatch.setattr(scf, "_mixed", lambda *given: asked.append(given) or plain(*given))
    quick(DIAZENE, spin="broken-symmetry")(diazene(np.radians(degrees))[None])
    assert bool(asked) != kept


@pytest.mark.parametrize(("degrees", "kind"), [(0, "RKS"), (60, "UKS"), (90, "UKS")])
def test_of_a_geometry_one_scf_is_on_the_fine_grid(degrees, kind, monkeypatch):
    """That of the label: closed shells whose symmetry breaks are on the coarse grid alone."""
    kinds, plain = [], scf.converge

    def noted(make, *given):
        kinds.append(type(make()).__name__)
        return plain(make, *given)

    monkeypatch.setattr(scf, "converge", noted)
    quick(DIAZENE, spin="broken-symmetry")(diazene(np.radians(degrees))[None])
    assert [one[-3:] for one in kinds] == [kind]


def test_broken_symmetry_does_not_depend_on_where_the_bond_was_before():
    """From a bonded neighbour, whose orbitals are not broken, and from none."""
    warm = DFT([1, 1], "PBE", "STO-3G", options=DFTOptions(spin="broken-symmetry", grid=1))
    energies = warm(np.concatenate([hydrogen(r) for r in (0.9, 1.3, 1.7, 2.1)])).energies
    cold = DFT([1, 1], "PBE", "STO-3G", options=DFTOptions(spin="broken-symmetry", grid=1))(
        hydrogen(2.1)
    ).energies[0]
    assert energies[-1] == pytest.approx(cold, abs=1e-6)


@pytest.mark.physics
def test_forces_of_a_broken_symmetry_label_are_minus_the_gradient():
    potential = DFT([1, 1], "PBE", "STO-3G", options=DFTOptions(spin="broken-symmetry", grid=1))
    assert force_error(potential, hydrogen(2.0)[0], directions=1) < 1e-4


@pytest.mark.long
@pytest.mark.physics
def test_twisted_ethylene_is_lower_with_broken_symmetry():
    """Twisted by 90 degrees the double bond is a diradical: restricted is above by over 0.3 eV."""
    atoms = molecule("C2H4")
    ends = [i for i in range(6) if np.linalg.norm(atoms.positions[i] - atoms.positions[0]) < 1.2]
    axis = atoms.positions[1] - atoms.positions[0]
    part = atoms[ends]
    part.rotate(90, axis, center=atoms.positions[0])
    positions = atoms.positions.copy()
    positions[ends] = part.positions
    restricted = quick(atoms.numbers)(positions[None]).energies[0]
    broken = quick(atoms.numbers, spin="broken-symmetry")(positions[None])
    assert restricted - broken.energies[0] > 0.3


def test_an_unrestricted_doublet_is_not_above_the_restricted_one():
    kept = {"charge": 1, "multiplicity": 2}
    restricted = quick(**kept)(water()[None]).energies[0]
    unrestricted = quick(spin="unrestricted", **kept)(water()[None]).energies[0]
    assert restricted - 1 < unrestricted < restricted + 1e-6


def test_a_heavy_element_gets_its_effective_core():
    """HI: iodine's 28 core electrons are in the potential, so -297 hartree and not -6900."""
    potential = DFT([1, 53], "HF", "def2-SVP")
    energy = potential(hydrogen(1.61)).energies[0] / units.Hartree
    assert energy == pytest.approx(-297.2, abs=1.0)


def test_a_copy_leaves_the_orbitals_behind_and_gives_the_same_label():
    potential = quick()
    expected = potential(water()[None]).energies[0]
    for again in (pickle.loads(pickle.dumps(potential)), copy.deepcopy(potential)):
        assert again._memory is None
        assert again(water()[None]).energies[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("PBE/def2-SVP", ("PBE", None, "def2-SVP")),
        ("PBE-D4/def2-SVP", ("PBE", "D4", "def2-SVP")),
        ("PBE-D3(BJ)/def2-SVP", ("PBE", "D3(BJ)", "def2-SVP")),
        ("pbe-d3bj/sto-3g", ("pbe", "D3BJ", "sto-3g")),
        ("PBE0-D3(0)/def2-SVP", ("PBE0", "D3(0)", "def2-SVP")),
        ("PBE-TS/def2-TZVP", ("PBE", "TS", "def2-TZVP")),
        ("B3LYP/6-31G*", ("B3LYP", None, "6-31G*")),
        ("wB97X-V/6-311++G(d,p)", ("wB97X-V", None, "6-311++G(d,p)")),
        ("CAM-B3LYP-D4/def2-SVP", ("CAM-B3LYP", "D4", "def2-SVP")),
        ("M06-2X/def2-SVP", ("M06-2X", None, "def2-SVP")),
        ("HF/STO-3G", ("HF", None, "STO-3G")),
    ],
)
def test_an_address_is_split_at_known_dispersions_only(text, parts):
    assert split(text) == parts


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("PBE", {}, "expected FUNCTIONAL/BASIS"),
        ("/STO-3G", {}, "expected FUNCTIONAL/BASIS"),
        ("PBEE/STO-3G", {}, "no functional 'PBEE'; did you mean PBE"),
        ("B2PLYP/STO-3G", {}, "no functional 'B2PLYP'"),
        ("PBE-D5/STO-3G", {}, r"no functional 'PBE-D5'.*-D4"),
        ("PBE/STO-4H", {}, "no basis 'STO-4H'"),
        ("LDA-D4/STO-3G", {}, "no parameters of d4"),
        ("TPSS-TS/STO-3G", {}, "known: PBE, PBE0"),
        ("HF-TS/STO-3G", {}, "known: PBE, PBE0"),
        ("wB97X-D/STO-3G", {}, "lacks the dispersion"),
        ("wB97X-D3/STO-3G", {}, "lacks the dispersion"),
        ("B97-D/STO-3G", {}, "lacks the dispersion"),
        ("wB97X-V-D4/STO-3G", {}, "leave out -D4"),
        ("PBE/STO-3G", {"spin": "broken"}, "known: restricted"),
        ("PBE/STO-3G", {"multiplicity": "3", "spin": "broken-symmetry"}, "is for singlets"),
        ("PBE/STO-3G", {"multiplicity": "2"}, "use an odd multiplicity"),
        ("PBE/STO-3G", {"conv_tol": "1e-9"}, "did you mean conv_tol_Ha"),
        ("PBE/STO-3G", {"grid": "10"}, "expected 0 to 9"),
        ("PBE/STO-3G", {"density_fit": "perhaps"}, "expected yes or no"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line(text, options, message):
    with pytest.raises(AddressError, match=message) as error:
        DFT.from_address(text, WATER, options)
    assert "\n" not in str(error.value)


def test_wb97x_d4_means_what_its_authors_recommend():
    """PySCF changes the meaning of this name in 2.16; ours is the later one in both."""
    potential = DFT.from_address("wB97X-D4/STO-3G", WATER, {})
    assert (potential._xc, potential._nlc, potential._disp) == ("wb97x_v", False, "d4:wb97x")


def test_a_missing_package_names_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyscf", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'flexcalc\[dft\]'"):
        DFT(WATER)


def test_a_gpu_that_is_not_there_is_refused_and_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpu4pyscf", None)
    with pytest.raises(InputError, match="device=gpu needs CUDA"):
        DFT(WATER, options=DFTOptions(device="gpu"))
    assert not DFT(WATER)._on_gpu


def test_integrals_that_are_kept_change_no_label(monkeypatch):
    kept = quick()(water()[None])
    assert quick()._mean_field(water(), unrestricted=False).with_df._cderi is not None
    monkeypatch.setattr(dft, "_keep_integrals", lambda mf: None)
    again = quick()(water()[None])
    assert abs(kept.energies - again.energies).max() < 1e-8
    assert abs(kept.forces - again.forces).max() < 1e-6
