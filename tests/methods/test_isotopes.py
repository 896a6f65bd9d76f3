"""Masses that a file states: read, kept in all that is written, and used by whatever moves."""

from __future__ import annotations

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.data import atomic_masses as standard

from flexcalc import files
from flexcalc.cli import main
from flexcalc.dataset import Dataset, concatenate
from flexcalc.errors import FileFormatError, MoleculeError
from flexcalc.masses import ISOTOPES, isotopes
from flexcalc.methods.dynamics import NVE, Langevin, NoseHoover, Rescaling
from flexcalc.methods.hessian import hessian, vibrations
from flexcalc.methods.irc import IRC
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.tasks.molecule import common_masses

D = ISOTOPES["D"]
AMMONIA = "N 0 0 0\nX 0 1 0\nX 0.8660254037844386 -0.5 0\nX -0.8660254037844386 -0.5 0\n"
"""Flat, near the saddle of its inversion."""


def ammonia(symbols: str) -> str:
    text = AMMONIA
    for symbol in symbols:
        text = text.replace("X", symbol, 1)
    return f"4\nammonia\n{text}"


class Spring(CheckedPotential):
    """Two atoms on a spring of 30 eV/A^2 and 1.3 A."""

    numbers = np.array([17, 1])

    def evaluate(self, positions):
        arm = positions[:, 1] - positions[:, 0]
        length = np.linalg.norm(arm, axis=1)
        pull = 30.0 * (length - 1.3)
        force = -(pull / length)[:, None] * arm
        return Evaluation(15.0 * (length - 1.3) ** 2, np.stack([-force, force], axis=1))


PAIR = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.3]])


# Reading and writing


def test_d_and_t_are_hydrogen_with_their_masses(tmp_path):
    (tmp_path / "a.xyz").write_text(ammonia("DTH"))
    data = files.read(tmp_path / "a.xyz")
    assert data.numbers.tolist() == [7, 1, 1, 1]
    np.testing.assert_array_equal(
        data.own_masses(), [standard[7], 2.014101778, 3.016049281, standard[1]]
    )
    assert isotopes(data.numbers, data.own_masses()) == "H 1: 2.014 amu; H 2: 3.016 amu"


@pytest.mark.parametrize("name", ["back.xyz", "back.npz"])
def test_masses_are_written_and_read_back_and_ase_has_them(tmp_path, name):
    (tmp_path / "a.xyz").write_text(ammonia("DTH"))
    data = files.read(tmp_path / "a.xyz")
    files.write(tmp_path / name, data)
    np.testing.assert_array_equal(files.read(tmp_path / name).masses, data.masses)
    if name.endswith("xyz"):
        atoms = ase.io.read(tmp_path / name)
        assert atoms.get_chemical_symbols() == ["N", "H", "H", "H"]
        np.testing.assert_array_equal(atoms.get_masses(), data.own_masses())


def test_masses_that_ase_writes_are_read_here(tmp_path):
    atoms = Atoms("NH3", np.reshape(np.arange(12.0), (4, 3)))
    atoms.set_masses([15.0, 2.014, 1.008, 3.016])
    ase.io.write(tmp_path / "ase.xyz", atoms)
    np.testing.assert_array_equal(files.read(tmp_path / "ase.xyz").own_masses(), atoms.get_masses())


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("H 0 0 1 0", "atom 1: expected a positive mass, found 0"),
        ("H 0 0 1 -2", "atom 1: expected a positive mass"),
        ("H 0 0 1 nan", "masses of atom 1: expected a finite number"),
        ("D 0 0 1 1.008", "atom 1 is D, but its mass is 1.008"),
    ],
)
def test_masses_that_cannot_be_are_refused(tmp_path, line, message):
    head = "2\nProperties=species:S:1:pos:R:3:masses:R:1\nF 0 0 0 18.998\n"
    (tmp_path / "a.xyz").write_text(f"{head}{line}\n")
    with pytest.raises(FileFormatError, match=message):
        files.read(tmp_path / "a.xyz")


def test_frames_of_different_isotopes_train_but_do_not_move(tmp_path):
    (tmp_path / "a.xyz").write_text(ammonia("HHH") + ammonia("DHH"))
    data = files.read(tmp_path / "a.xyz")
    assert data.masses[:, 1].tolist() == [standard[1], D]
    with pytest.raises(MoleculeError, match="frame 1 has other masses than frame 0"):
        data.own_masses()
    np.testing.assert_array_equal(concatenate(data[:1], data[1:]).masses, data.masses)
    bare = Dataset(data.numbers, data.positions[:1])
    np.testing.assert_array_equal(concatenate(bare, data[1:]).masses, data.masses)
    assert common_masses(bare, bare) is None
    with pytest.raises(MoleculeError, match="atom 1 has another mass"):
        common_masses(bare, data[1:])


# Vibrations


@pytest.mark.physics
def test_frequencies_of_isotopes_go_with_the_root_of_the_reduced_mass():
    curved = hessian(Spring(), PAIR[None])[0]
    found = {}
    for mass in (standard[1], D):
        masses = np.array([standard[17], mass])
        reduced = masses.prod() / masses.sum()
        found[mass] = vibrations(PAIR, curved, masses).frequencies_cm[0]
        exact = units._hbar * np.sqrt(30.0 / reduced) * units.s * units.J / units.invcm
        assert found[mass] == pytest.approx(exact, rel=1e-4)
    ratio = np.sqrt((standard[17] + standard[1]) / standard[1] * D / (standard[17] + D))
    assert found[standard[1]] / found[D] == pytest.approx(ratio, rel=1e-9)


def bigeleisen(light: dict, heavy: dict, kelvin: float) -> float:
    """Rate of the light over that of the heavy isotopologue, from frequencies alone.

    By the product rule of Teller and Redlich, translation and rotation have dropped out; with
    Wigner's factor of tunnelling.

    Source: Bigeleisen and Wolfsberg, Adv. Chem. Phys. 1, 15 (1958), doi:10.1002/9780470143476.ch2.
    """

    def reduced(which, modes):
        return np.array(which[modes]) * units.invcm / (units.kB * kelvin)

    def partition(which, modes, real):
        u = reduced(which, modes)[real:]
        return np.prod(u / (2 * np.sinh(u / 2)))

    crossed = [abs(reduced(which, "saddle")[0]) for which in (light, heavy)]
    at_start = partition(heavy, "start", 0) / partition(light, "start", 0)
    at_saddle = partition(heavy, "saddle", 1) / partition(light, "saddle", 1)
    tunnelling = (1 + crossed[0] ** 2 / 24) / (1 + crossed[1] ** 2 / 24)
    return crossed[0] / crossed[1] * at_start / at_saddle * tunnelling


@pytest.mark.physics
def test_the_kinetic_isotope_effect_is_that_worked_out_from_the_frequencies(tmp_path):
    pytest.importorskip("tblite")
    results, modes = {}, {}
    for name in ("HHH", "DDD"):
        (tmp_path / f"{name}.xyz").write_text(ammonia(name))
        folder = tmp_path / f"run-{name}"
        words = ["saddle", "xtb:GFN2-xTB", str(tmp_path / f"{name}.xyz")]
        main([*words, "--temperatures-K", "298.15", "--output", str(folder)])
        results[name] = json.loads((folder / "results.json").read_text())
        modes[name] = json.loads((folder / "vibrations.json").read_text())
    assert "isotopes" not in results["HHH"]
    assert results["DDD"]["isotopes"] == "H 1, 2, 3: 2.014 amu"
    # The umbrella mode of a flat molecule has the mass of N against three H: 1 / mu by hand.
    inverse = [1 / standard[7] + 1 / (3 * mass) for mass in (standard[1], D)]
    frequencies = [results[name]["imaginary_frequency_cm"] for name in ("HHH", "DDD")]
    assert frequencies[0] / frequencies[1] == pytest.approx(np.sqrt(inverse[0] / inverse[1]), 1e-3)
    effect = results["HHH"]["rate_per_s"] / results["DDD"]["rate_per_s"]
    assert effect == pytest.approx(bigeleisen(modes["HHH"], modes["DDD"], 298.15), rel=5e-3)
    assert effect > 1.5
    for name in ("saddle", "irc", "minima", "mode"):
        written = files.read(tmp_path / "run-DDD" / f"{name}.xyz")
        assert (written.masses[:, 1:] == D).all()


def test_the_way_down_weighs_atoms_with_their_own_masses():
    class Flat(CheckedPotential):
        """A barrier along x for one atom, which the other pushes away from."""

        numbers = np.array([17, 1])

        def evaluate(self, positions):
            x = positions[:, 1, 0] - positions[:, 0, 0] - 2.0
            forces = np.zeros(positions.shape)
            forces[:, 1, 0], forces[:, 0, 0] = 2 * x, -2 * x
            return Evaluation(-(x**2), forces)

    saddle = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    for masses in ((), (standard[17], D), (2.0, 2.0)):
        used = np.array(masses or (standard[17], standard[1]))
        state = IRC(masses=masses).init(Flat(), saddle[None], np.random.default_rng(0))
        moved = state.positions[0] - saddle
        assert moved[0, 0] * used[0] == pytest.approx(-moved[1, 0] * used[1])
        assert (used * (moved**2).sum(axis=1)).sum() == pytest.approx(0.1**2)


# Dynamics


@pytest.mark.parametrize("kind", [NVE, Langevin, Rescaling, NoseHoover])
def test_momenta_go_with_the_root_of_the_mass_at_one_temperature(kind):
    start = np.repeat(PAIR[None], 500, axis=0)
    momenta, kelvin = [], []
    for masses in ((), (standard[17], D)):
        free = {"rigid_motion": "free"} if kind in (NVE, Langevin) else {}
        method = kind(masses=masses, **free)
        state = method.init(Spring(), start, np.random.default_rng(3))
        momenta.append(state.momenta)
        kelvin.append(method.temperature(state.momenta, Spring.numbers).mean())
    if kind in (NVE, Langevin):
        np.testing.assert_allclose(momenta[1][:, 1], momenta[0][:, 1] * np.sqrt(D / standard[1]))
        np.testing.assert_allclose(momenta[1][:, 0], momenta[0][:, 0])
        np.testing.assert_allclose(kelvin[1], kelvin[0])
    assert kelvin[1] == pytest.approx(300.0, rel=0.15)


@pytest.mark.physics
def test_an_isotope_swings_with_its_own_period():
    masses = (standard[17], D)
    method = NVE(timestep_fs=0.05, temperature_K=0.0, masses=masses)
    stretched = np.array([[0, 0, 0], [0, 0, 1.31]])
    state = method.init(Spring(), stretched[None], np.random.default_rng(0))
    first = method.conserved_energy(state, Spring.numbers)[0]
    reduced = masses[0] * masses[1] / sum(masses)
    period_fs = 2 * np.pi * np.sqrt(reduced / 30.0) / units.fs
    for _ in range(round(period_fs / 2 / 0.05)):
        state = method.step(Spring(), state, np.random.default_rng(0))
    length = np.linalg.norm(state.positions[0, 1] - state.positions[0, 0])
    assert length == pytest.approx(1.29, abs=2e-5)  # half a period later: as short as it was long
    assert method.conserved_energy(state, Spring.numbers)[0] == pytest.approx(first, rel=1e-3)


@pytest.mark.data
@pytest.mark.parametrize("command", ["md", "metad", "umbrella"])
def test_trajectories_keep_the_masses_so_that_a_frame_goes_on_with_them(tmp_path, command):
    pytest.importorskip("tblite")
    (tmp_path / "d2o.xyz").write_text("3\nheavy\nO 0 0 0.12\nD 0 0.76 -0.48\nD 0 -0.76 -0.48\n")
    more = {
        "md": "--frame-every 2",
        "metad": "--frame-every 2 --coordinate angle_1_0_2",
        "umbrella": "--frame-every 2 --coordinate distance_0_1 --low 0.9 --high 1.0 --windows 2 "
        "--equilibration 2 --colvar-every 1",
    }[command]
    words = [command, "xtb:GFN2-xTB", str(tmp_path / "d2o.xyz"), "--steps", "6"]
    words += [word.replace("_", " ") for word in more.split()]
    main([*words, "--output", str(tmp_path / "run")])
    written = files.read(tmp_path / "run" / "trajectory.xyz")
    assert (written.masses[:, 1:] == D).all()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["isotopes"] == "H 1, 2: 2.014 amu"
    assert "isotopes: H 1, 2: 2.014 amu" in (tmp_path / "run" / "log.txt").read_text()
    assert "masses" not in (tmp_path / "run" / "run.toml").read_text()


def test_sampling_for_labels_keeps_the_masses(tmp_path):
    pytest.importorskip("tblite")
    (tmp_path / "d2o.xyz").write_text("3\nheavy\nO 0 0 0.12\nD 0 0.76 -0.48\nD 0 -0.76 -0.48\n")
    for samples in ("md", "displacement", "frames"):
        words = ["label", "xtb:GFN2-xTB", str(tmp_path / "d2o.xyz"), "--samples", samples]
        words += [] if samples == "frames" else ["--frames", "2"]
        main([*words, "--output", str(tmp_path / samples)])
        assert (files.read(tmp_path / samples / "labels.xyz").masses[:, 1:] == D).all()


def test_i_pi_is_given_what_was_read(tmp_path):
    from flexcalc.tasks.ipi import _plain_start

    (tmp_path / "plain.xyz").write_text(ammonia("HHH"))
    plain = files.read(tmp_path / "plain.xyz")
    assert _plain_start(tmp_path / "plain.xyz", plain, tmp_path) == tmp_path / "plain.xyz"
    comment = "# CELL(abcABC): 60 60 60 90 90 90 positions{bohr} cell{bohr}"
    (tmp_path / "bohr.xyz").write_text(ammonia("DHH").replace("ammonia", comment))
    atoms = files.read(tmp_path / "bohr.xyz")
    given = ase.io.read(_plain_start(tmp_path / "bohr.xyz", atoms, tmp_path))
    np.testing.assert_allclose(given.positions, plain.positions[0] * units.Bohr, atol=1e-12)
    np.testing.assert_array_equal(given.get_masses(), atoms.own_masses())


def test_i_pi_is_given_all_images_of_a_path(tmp_path):
    """In i-PI's own units it reads the file itself; in others all frames are converted."""
    from flexcalc.tasks.ipi import _plain_start

    images = {"own": "# positions{bohr} cell{bohr}", "key": "length_unit=bohr"}
    for name, comment in images.items():
        path = tmp_path / f"{name}.xyz"
        path.write_text(3 * ammonia("HHH").replace("ammonia", comment))
        given = _plain_start(path, files.read(path), tmp_path)
        assert given == (path if name == "own" else tmp_path / "start.xyz")
        assert len(files.read(given)) == 3
        np.testing.assert_allclose(files.read(given).positions, files.read(path).positions)


def test_isotopes_of_a_smiles_have_their_masses():
    pytest.importorskip("rdkit")
    from flexcalc.methods.conformers import _isotopes, _parsed

    masses = _isotopes(_parsed("[2H]C([2H])([2H])O"))
    assert _isotopes(_parsed("CO")) is None
    assert np.sort(masses)[:4].tolist() == pytest.approx([standard[1], D, D, D], abs=1e-3)


def test_a_path_keeps_the_masses_and_both_ends_must_have_the_same(tmp_path, capsys):
    pytest.importorskip("tblite")
    lines = "3\nwater\nO 0 0 {z}\nD 0 0.76 -0.48\nH 0 -0.76 -0.48\n"
    for name, z in (("start", "0.12"), ("end", "0.2")):
        (tmp_path / f"{name}.xyz").write_text(lines.format(z=z))
    (tmp_path / "light.xyz").write_text(lines.format(z="0.2").replace("D", "H"))
    words = ["path", "xtb:GFN2-xTB", str(tmp_path / "start.xyz")]
    more = ["--steps", "1", "--images", "3", "--no-relax-ends"]
    main([*words, str(tmp_path / "end.xyz"), *more, "--output", str(tmp_path / "run")])
    assert files.read(tmp_path / "run" / "path.xyz").masses[:, 1].tolist() == [D] * 3
    assert "whatever the masses" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main([*words, str(tmp_path / "light.xyz"), *more, "--output", str(tmp_path / "no")])
    assert stopped.value.code == 2
    assert "write the same isotopes into both" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
