"""GFN2-xTB and GFN1-xTB against tblite's own ASE calculator and against their derivatives."""

import copy
import multiprocessing
import pickle
import sys
import types
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from flexcalc.errors import AddressError, InputError, LabelError, MissingExtraError
from flexcalc.references import xtb
from flexcalc.references.xtb import XTB, XTBOptions

pytest.importorskip("tblite")
METHODS = ("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")


@pytest.fixture
def ethanol() -> Atoms:
    return molecule("CH3CH2OH")


def shaken(atoms: Atoms, batch: int, seed: int = 0, by: float = 0.08) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return atoms.positions + rng.normal(0, by, (batch, len(atoms), 3))


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_those_of_tblites_own_ase_calculator(method, ethanol):
    """Another path through the package: its ASE calculator, restarted from row to row.

    Both converge the energy to 1e-10 hartree (accuracy 1e-4 of 1e-6), forces to the square
    root of what is left in the density.
    """
    from tblite.ase import TBLite

    positions = shaken(ethanol, 3)
    found = XTB(ethanol.numbers, method)(positions)
    other = TBLite(method=method, accuracy=1e-4, verbosity=0)
    for row, geometry in enumerate(positions):
        atoms = Atoms(ethanol.numbers, geometry, calculator=other)
        assert found.energies[row] == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(found.forces[row], atoms.get_forces(), atol=1e-6)


def test_gfn2_gives_the_published_water_energy():
    """The energy in the documentation of tblite's ASE calculator, which prints 1e-8 eV.

    Its accuracy of 1 leaves 1e-6 hartree.
    """
    water = molecule("H2O")
    energy = XTB(water.numbers, "GFN2-xTB")(water.positions[None]).energies[0]
    assert energy == pytest.approx(-137.96777625229421, abs=1e-6 * units.Hartree)


@pytest.mark.physics
@pytest.mark.parametrize("method", METHODS)
def test_forces_of_xtb_are_minus_the_gradient(method, ethanol):
    """5-point differences, every component; the step's own error is about 1e-9 eV/A."""
    gradient_holds(method, ethanol, geometries=2)


@pytest.mark.physics
@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_forces_of_xtb_are_minus_the_gradient_on_many_geometries(method, ethanol):
    gradient_holds(method, ethanol, geometries=200)


def gradient_holds(method: str, atoms: Atoms, geometries: int) -> None:
    potential, step = XTB(atoms.numbers, method), 0.002
    moves = step * np.eye(3 * len(atoms)).reshape(-1, len(atoms), 3)
    for geometry in shaken(atoms, geometries, seed=1):
        forces = potential(geometry[None]).forces[0]
        energy = [potential(geometry + scale * moves).energies for scale in (-2, -1, 1, 2)]
        slope = (energy[0] - 8 * energy[1] + 8 * energy[2] - energy[3]) / (12 * step)
        assert np.abs(forces + slope.reshape(forces.shape)).max() < 1e-6


def test_labels_do_not_depend_on_what_was_computed_before(ethanol):
    positions = shaken(ethanol, 4, by=0.15)
    potential = XTB(ethanol.numbers)
    forward, backward = potential(positions), potential(positions[::-1])
    np.testing.assert_array_equal(forward.energies, backward.energies[::-1])
    np.testing.assert_array_equal(forward.forces, backward.forces[::-1])


def test_threads_give_the_bytes_of_one_thread(ethanol):
    positions = shaken(ethanol, 24, by=0.15)
    alone = XTB(ethanol.numbers, options=XTBOptions(threads=1))(positions)
    for threads in (4, None):
        together = XTB(ethanol.numbers, options=XTBOptions(threads=threads))(positions)
        np.testing.assert_array_equal(alone.energies, together.energies)
        np.testing.assert_array_equal(alone.forces, together.forces)


def test_a_batch_takes_all_cores_and_a_single_geometry_one(ethanol, monkeypatch):
    seen = []
    monkeypatch.setattr(xtb, "cores", lambda: 3)
    monkeypatch.setattr(xtb, "each", lambda work, rows: seen.append([list(one) for one in rows]))
    XTB(ethanol.numbers).evaluate(shaken(ethanol, 7))
    assert seen == [[[0, 3, 6], [1, 4], [2, 5]]]
    XTB(ethanol.numbers)(shaken(ethanol, 1))
    XTB(ethanol.numbers, options=XTBOptions(threads=1))(shaken(ethanol, 2))
    assert len(seen) == 1


def test_a_copy_in_a_spawned_process_gives_the_same_label(ethanol):
    positions = shaken(ethanol, 2)
    potential = copy.deepcopy(pickle.loads(pickle.dumps(XTB(ethanol.numbers, "GFN1-xTB"))))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        far = pool.submit(potential, positions).result(timeout=600)
    np.testing.assert_allclose(far.energies, potential(positions).energies, rtol=0, atol=1e-10)


def test_charge_and_spin_reach_the_method():
    """The water cation is less stable than water by its ionisation energy, 12.6 eV in nature."""
    water = molecule("H2O")
    neutral = XTB(water.numbers)(water.positions[None]).energies[0]
    cation = XTB(water.numbers, options=XTBOptions(charge=1, multiplicity=2))(
        water.positions[None]
    ).energies[0]
    assert 8 < cation - neutral < 22


def test_an_unconverged_row_is_named_and_gives_no_label(ethanol, capfd):
    potential = XTB(ethanol.numbers, options=XTBOptions(max_iterations=2))
    with pytest.raises(LabelError, match=r"batch row 0: GFN2-xTB failed: .*not converged") as error:
        potential(shaken(ethanol, 2))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_the_failing_row_is_named_among_good_ones(ethanol):
    positions = shaken(ethanol, 3)
    positions[2, 1] = positions[2, 0]
    for threads in (1, 2):
        with pytest.raises(LabelError, match="batch row 2"):
            XTB(ethanol.numbers, options=XTBOptions(threads=threads))(positions)


def test_nothing_is_printed(ethanol, capfd):
    XTB(ethanol.numbers)(ethanol.positions[None])
    assert capfd.readouterr() == ("", "")


def test_an_address_says_method_and_options():
    potential = XTB.from_address(
        "gfn1", np.array([8, 1, 1]), {"charge": "1", "multiplicity": "2", "accuracy": "0.1"}
    )
    assert (potential.method, potential.options.charge, potential.unpaired) == ("GFN1-xTB", 1, 1)
    assert potential.options.accuracy == 0.1


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("GFN3-xTB", {}, "did you mean GFN"),
        ("GFN2-xTB", {"chrage": "1"}, "did you mean charge"),
        ("GFN2-xTB", {"charge": "1"}, "use an even multiplicity"),
        ("GFN2-xTB", {"charge": "11"}, "without electrons"),
        ("GFN2-xTB", {"backend": "xtb"}, "known: tblite, xtb-python"),
    ],
)
def test_a_wrong_address_is_refused_in_one_line(text, options, message):
    with pytest.raises(AddressError, match=message) as error:
        XTB.from_address(text, np.array([8, 1, 1]), options)
    assert "\n" not in str(error.value)


def test_an_element_beyond_radon_is_refused():
    with pytest.raises(AddressError, match="up to Z = 86, found 92"):
        XTB([92, 9, 9, 9, 9, 9, 9])


def test_a_missing_package_names_its_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.interface", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'flexcalc\[xtb\]'"):
        XTB([1, 1])


def test_xtb_python_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "xtb.interface", None)
    with pytest.raises(InputError, match="leave out backend=xtb-python"):
        XTB([1, 1], options=XTBOptions(backend="xtb-python"))


@pytest.fixture
def xtb_python(monkeypatch) -> list:
    """A stand-in with xtb-python's interface, whose surface is a spring in atomic units."""
    calls: list = []

    class XTBException(Exception):  # noqa: N818 - the package's own name
        pass

    class Calculator:
        def __init__(self, param, numbers, positions, charge, uhf):
            calls.append((param, charge, uhf))
            self.positions = positions

        def __getattr__(self, name):
            return lambda value: calls.append((name, value))

        def singlepoint(self):
            if self.positions[0, 0] > 1:
                raise XTBException("no convergence")
            return types.SimpleNamespace(
                get_energy=lambda: 0.5 * np.sum(self.positions**2),
                get_gradient=lambda: self.positions,
            )

    param = types.SimpleNamespace(GFN2xTB="gfn2", GFN1xTB="gfn1")
    interface = types.SimpleNamespace(Calculator=Calculator, Param=param, XTBException=XTBException)
    monkeypatch.setitem(sys.modules, "xtb", types.ModuleType("xtb"))
    monkeypatch.setitem(sys.modules, "xtb.interface", interface)
    library = types.SimpleNamespace(VERBOSITY_MUTED=0)
    monkeypatch.setitem(sys.modules, "xtb.libxtb", library)
    return calls


def test_xtb_python_gets_its_units_and_settings(xtb_python):
    potential = XTB(
        [1, 1], "GFN1-xTB", options=XTBOptions(charge=-1, multiplicity=2, backend="xtb-python")
    )
    positions = np.array([[[0.1, 0.2, 0.3], [0.0, 0.0, 1.0]]])
    found = potential(positions)
    inside = positions / units.Bohr
    assert found.energies[0] == pytest.approx(0.5 * np.sum(inside**2) * units.Hartree)
    np.testing.assert_allclose(found.forces, -inside * units.Hartree / units.Bohr)
    assert xtb_python[0] == ("gfn1", -1, 1)
    assert ("set_verbosity", 0) in xtb_python
    assert ("set_electronic_temperature", 300.0) in xtb_python


def test_xtb_python_has_no_ipea1(xtb_python):
    with pytest.raises(AddressError, match="needs backend=tblite"):
        XTB([1, 1], "IPEA1-xTB", options=XTBOptions(backend="xtb-python"))


def test_xtb_pythons_own_error_is_a_failed_label(xtb_python):
    potential = XTB([1, 1], options=XTBOptions(backend="xtb-python"))
    with pytest.raises(LabelError, match=r"row 0: .* no convergence"):
        potential(np.full((1, 2, 3), 2.0))
