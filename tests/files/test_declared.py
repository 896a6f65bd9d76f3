"""What files declare beside their numbers (units, keys of labels, columns, charge, marks) is used,
said or refused, and never read over."""

from __future__ import annotations

import subprocess
import sys
import warnings

import ase.io
import numpy as np
import pytest
from ase import Atoms, units

from flexcalc import files
from flexcalc.cli import main
from flexcalc.config import load
from flexcalc.config.dynamics import Md
from flexcalc.dataset import Dataset
from flexcalc.errors import AddressError, ConfigError, FileFormatError, InputError, UnitError
from flexcalc.files import FileWarning
from flexcalc.tasks.label import default_sampler
from flexcalc.tasks.molecule import Electrons, electrons_of, following, stated
from tests.systems import WATER

REST = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])
FORCES = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3], [0.0, 0.0, 0.0]])
CELL = "# CELL(abcABC): 60.0 60.0 60.0 90.0 90.0 90.0 Step: 0 Bead: 0 "


def rows(*columns, symbols=("O", "H", "H")) -> str:
    """The lines of water's atoms, with columns (atoms, n) of numbers."""
    table = np.hstack([np.reshape(column, (3, -1)) for column in columns])
    lines = [
        " ".join([name, *map(repr, row)]) for name, row in zip(symbols, table.tolist(), strict=True)
    ]
    return "\n".join(lines) + "\n"


def frame(comment: str, *columns, symbols=("O", "H", "H")) -> str:
    return f"3\n{comment}\n{rows(*columns, symbols=symbols)}"


def labelled(pairs: str = "energy=-10.0", columns: str = "forces:R:3", more=()) -> str:
    comment = f'Properties=species:S:1:pos:R:3:{columns} {pairs} pbc="F F F"'
    return frame(comment, REST, FORCES, *more)


def silent(path, **options) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FileWarning)
        return files.read(path, **options)


@pytest.fixture
def place(tmp_path):
    def written(content: str | bytes, name: str = "data.xyz"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


# Units


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("atomic_unit", units.Bohr),
        ("bohr", units.Bohr),
        ("angstrom", 1.0),
        ("ase", 1.0),
        ("nanometer", 10.0),
        ("", units.Bohr),
    ],
)
def test_the_unit_that_i_pi_declares_is_that_of_the_positions(place, unit, size):
    comment = f"{CELL}positions{{{unit}}}  cell{{atomic_unit}}"
    back = silent(place(frame(comment, REST / size)))
    np.testing.assert_allclose(back.positions[0], REST, rtol=0, atol=1e-12)


def test_a_centroid_of_i_pi_is_read_and_what_is_no_position_is_refused(place):
    centroid = frame(f"{CELL}x_centroid{{atomic_unit}} cell{{atomic_unit}}", REST / units.Bohr)
    np.testing.assert_allclose(files.read(place(centroid)).positions[0], REST, atol=1e-12)
    for name in ("velocities", "forces", "momenta"):
        with pytest.raises(FileFormatError, match=f"frame 0 .*'{name}' of i-PI"):
            files.read(place(frame(f"{CELL}{name}{{atomic_unit}} cell{{angstrom}}", REST)))


def test_an_i_pi_file_without_a_unit_is_angstrom_only_where_its_bonds_are(place):
    np.testing.assert_allclose(files.read(place(frame(CELL, REST))).positions[0], REST)
    with pytest.raises(UnitError, match="length-unit bohr"):
        files.read(place(frame(CELL, REST / units.Bohr)))
    said = files.read(place(frame(CELL, REST / units.Bohr)), length_unit="bohr")
    np.testing.assert_allclose(said.positions[0], REST, atol=1e-12)


@pytest.mark.parametrize(
    "declared",
    [
        "energy_unit=kcal/mol length_unit=bohr",
        "e_unit=kcal/mol r_unit=Bohr",
        'units="kcal/mol, bohr"',
        "energy_unit=kcal/mol positions_unit=bohr forces_unit=kcal/mol/bohr",
    ],
)
def test_units_of_the_comment_are_used_once(place, tmp_path, declared):
    back = silent(place(labelled(f"energy=-10.0 {declared}")))
    kcal = units.kcal / units.mol
    np.testing.assert_allclose(back.energies, [-10.0 * kcal], rtol=1e-14)
    np.testing.assert_allclose(back.positions[0], REST * units.Bohr, rtol=1e-14)
    np.testing.assert_allclose(back.forces[0], FORCES * kcal / units.Bohr, rtol=1e-14)
    files.write(tmp_path / "again.xyz", back)  # in eV and angstrom, and no longer says otherwise
    assert silent(tmp_path / "again.xyz").sha256() == back.sha256()


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("pairs", "said", "message"),
    [
        ("energy_unit=kcal/mol", {"energy_unit": "eV"}, "the file says energy unit kcal/mol"),
        ("length_unit=furlong", {}, "unknown length unit"),
        ("units=metal", {}, "units='metal' is not understood"),
        ("units=eV e_unit=hartree", {}, "declared as 'eV' and 'hartree'"),
    ],
)
def test_units_that_cannot_be_used_are_refused(place, pairs, said, message):
    with pytest.raises(UnitError, match=message):
        files.read(place(labelled(f"energy=-1.0 {pairs}")), **said)


def test_plain_xyz_may_declare_its_unit_too(place):
    back = silent(place(frame("units=bohr", REST / units.Bohr)))
    np.testing.assert_allclose(back.positions[0], REST, atol=1e-12)


def archive(tmp_path, **arrays):
    usual = {"z": WATER, "R": REST[None], "E": np.array([-10.0]), "F": FORCES[None]}
    np.savez(tmp_path / "data.npz", **{k: v for k, v in (usual | arrays).items() if v is not None})
    return tmp_path / "data.npz"


@pytest.mark.parametrize("key", ["e_unit", "energy_unit", "E_unit", "units"])
def test_an_npz_says_its_units_under_any_usual_key_as_text_or_bytes(tmp_path, key):
    for value in ("kcal/mol", b"kcal/mol"):
        back = silent(archive(tmp_path, **{key: value, "coords_unit": "bohr"}))
        np.testing.assert_allclose(back.energies, [-10.0 * units.kcal / units.mol], rtol=1e-14)
        np.testing.assert_allclose(back.positions[0], REST * units.Bohr, rtol=1e-14)


@pytest.mark.inputs
@pytest.mark.parametrize("value", [np.array(None, dtype=object), np.array(3), ["Ang", "Ang"]])
def test_a_unit_of_an_npz_that_is_no_word_is_refused(tmp_path, value):
    with pytest.raises(InputError, match="r_unit"):
        files.read(archive(tmp_path, e_unit="eV", r_unit=value))


# Keys


@pytest.mark.parametrize(
    "key", ["REF_energy", "dft_energy", "free_energy", "total_energy", "Energy"]
)
def test_energies_are_found_under_the_usual_keys_with_a_word(place, key):
    with pytest.warns(FileWarning, match=f"energies are taken from {key}$"):
        back = files.read(place(labelled(f"{key}=-10.0")))
    assert back.energies.tolist() == [-10.0]
    assert key not in back.tags


@pytest.mark.parametrize("column", ["REF_forces", "dft_force", "Forces", "dft_forces"])
def test_forces_are_found_under_the_usual_columns_with_a_word(place, column):
    with pytest.warns(FileWarning, match=f"forces are taken from {column}$"):
        back = files.read(place(labelled(columns=f"{column}:R:3")))
    np.testing.assert_array_equal(back.forces[0], FORCES)


def test_the_plain_keys_need_no_word_and_free_energy_does_not_dispute_them(place):
    assert silent(place(labelled("energy=-10.0 free_energy=-10.3"))).energies.tolist() == [-10.0]
    silent(place(labelled(columns="force:R:3")))


def test_two_energies_that_differ_are_refused_until_one_is_named(place, tmp_path):
    path = place(labelled("energy=-10.0 REF_energy=-11.0"))
    with pytest.raises(FileFormatError, match=r"energy and REF_energy differ; .*--energy-key"):
        files.read(path)
    back = files.read(path, energy_key="REF_energy")
    assert back.energies.tolist() == [-11.0]
    files.write(tmp_path / "again.xyz", back)
    assert files.read(tmp_path / "again.xyz").energies.tolist() == [-11.0]
    assert files.read(place(labelled("energy=-10.0 REF_energy=-10.0"))).energies.tolist() == [-10.0]
    with pytest.raises(FileFormatError, match=r"--energy-key: no 'E0' there; found .*energy"):
        files.read(path, energy_key="E0")


def test_two_forces_that_differ_are_refused_until_one_is_named(place):
    both = "forces:R:3:dft_forces:R:3"
    with pytest.warns(FileWarning, match="column dft_forces not used"):
        files.read(place(labelled(columns=both, more=[FORCES])))
    path = place(labelled(columns=both, more=[2 * FORCES]))
    with pytest.raises(FileFormatError, match=r"forces and dft_forces differ; .*--forces-key"):
        files.read(path)
    with pytest.warns(FileWarning, match="column forces not used"):
        back = files.read(path, forces_key="dft_forces")
    np.testing.assert_array_equal(back.forces[0], 2 * FORCES)


def test_an_energy_under_a_name_of_its_own_is_pointed_at(place):
    path = place(labelled("xtb_energy=-10.0"))
    with pytest.warns(FileWarning, match=r"no energies are taken .*--energy-key xtb_energy"):
        assert files.read(path).energies is None
    assert files.read(path, energy_key="xtb_energy").energies.tolist() == [-10.0]


def test_frames_that_take_energies_from_different_keys_are_refused(place):
    with pytest.raises(FileFormatError, match="frame 1: energy is under REF_energy"):
        files.read(place(labelled() + labelled("REF_energy=-10.0")))


def test_an_npz_has_its_labels_under_other_keys_too(tmp_path):
    path = archive(tmp_path, E=None, REF_energy=np.array([-9.0]), e_unit="eV", r_unit="Ang")
    with pytest.warns(FileWarning, match="energies are taken from REF_energy"):
        assert files.read(path).energies.tolist() == [-9.0]
    both = {"energy": np.array([-9.0]), "dft_energy": np.array([-8.0]), "e_unit": "eV"}
    with pytest.raises(FileFormatError, match="may both be meant"):
        files.read(archive(tmp_path, E=None, **both))
    back = files.read(archive(tmp_path, E=None, **both), energy_key="dft_energy")
    assert back.energies.tolist() == [-8.0]


def test_the_options_reach_the_commands_and_the_warning_is_one_line(place, tmp_path, capsys):
    path = place(labelled("energy=-10.0 REF_energy=-11.0"))
    with pytest.raises(SystemExit) as stopped:
        main(["info", str(path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    main(["info", str(path), "--energy-key", "REF_energy", "--forces-key", "forces"])
    said = capsys.readouterr()
    assert "energies: yes" in said.out
    assert said.err == ""
    words = ["evaluate", "xtb:GFN2-xTB", str(path), "--energy-key", "REF_energy"]
    main([*words, "--output", str(tmp_path / "check")])
    assert 'energy_key = "REF_energy"' in (tmp_path / "check" / "run.toml").read_text()


# Columns


def test_columns_that_are_not_used_are_read_over_with_one_word(place):
    columns = "forces:R:3:id:I:1:charges:R:1:note:S:2:held:L:3:soap:R:120"
    lines = labelled(columns=columns).splitlines()
    more = " 7 0.5 a b T F T" + " 0.25" * 120
    content = "\n".join(line + more * (number > 1) for number, line in enumerate(lines)) + "\n"
    with pytest.warns(FileWarning, match="columns id, charges, note, held, soap not used") as said:
        back = files.read(place(content * 3))
    assert len(said) == 1
    assert len(back) == 3
    np.testing.assert_array_equal(back.forces[2], FORCES)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("forces:R:3:id:Q:1", "column 'id': bad type"),
        ("forces:R:3:id:I:0", "column 'id': bad type or count"),
        ("forces:R:3:id:I:1:id:I:1", "column 'id': given twice"),
        ("forces:R:3:id:I:1", "expected 8 columns, found 7"),
    ],
)
def test_columns_that_do_not_stand_as_they_are_declared_are_refused(place, columns, message):
    with pytest.raises(FileFormatError, match=message):
        files.read(place(labelled(columns=columns)))


def test_keys_and_columns_that_mean_something_elsewhere_are_named(place):
    content = labelled('energy=-1 spin=1 stress="0 0 0 0 0 0"', "forces:R:3:momenta:R:3", [FORCES])
    with pytest.warns(FileWarning, match="column momenta not used; spin, stress not used"):
        files.read(place(content))


# Marks


@pytest.mark.parametrize("content", [labelled(), frame("plain", REST)])
def test_a_byte_order_mark_changes_nothing(place, content):
    plain = files.read(place(content))
    assert (
        files.read(place(b"\xef\xbb\xbf" + content.encode(), "mark.xyz")).sha256() == plain.sha256()
    )
    assert files.read_frames(place(b"\xef\xbb\xbf" + content.encode())).sha256() == plain.sha256()
    assert files.read_first(place(b"\xef\xbb\xbf" + content.encode())).sha256() == plain.sha256()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_gets_a_line_that_says_so(place, encoding):
    mark = {"utf-16-be": b"\xfe\xff", "utf-16-le": b"\xff\xfe"}.get(encoding, b"")
    for content in (labelled(), labelled().rstrip()):
        with pytest.raises(FileFormatError, match="UTF-16 text; save it as UTF-8"):
            files.read(place(mark + content.encode(encoding)))
    run = place(mark + 'model = "m"\n'.encode(encoding), "run.toml")
    with pytest.raises(ConfigError, match=r"run.toml: not valid TOML: it is UTF-16"):
        load(Md, run)


def test_a_run_file_may_begin_with_a_byte_order_mark(place):
    config = load(Md, place(b'\xef\xbb\xbfmodel = "m"\nstart = "s.xyz"\nsteps = 2\n', "run.toml"))
    assert config.steps == 2


# Charges


def test_a_reference_states_the_charge_of_a_smiles():
    oxalate = Electrons("smiles:[O-]C(=O)C(=O)[O-]", -2)
    assert stated("xtb:GFN2-xTB", oxalate) == "xtb:GFN2-xTB?charge=-2"
    assert stated("xtb:GFN2-xTB?charge=-2", oxalate) == "xtb:GFN2-xTB?charge=-2"
    assert stated("dft:PBE/def2-SVP?grid=4", oxalate) == "dft:PBE/def2-SVP?grid=4&charge=-2"
    assert stated("dispersion:D4/PBE", Electrons("x", 1, 2)) == "dispersion:D4/PBE?charge=1"
    both = "committee:xtb:GFN2-xTB,xtb:GFN1-xTB"
    assert stated(both, oxalate).count("charge=-2") == 2
    assert stated("glycine.flex", oxalate) == "glycine.flex"
    assert stated("xtb:GFN2-xTB", Electrons("smiles:C", 0)) == "xtb:GFN2-xTB"
    with pytest.raises(AddressError, match=r"charge=1 differs from charge -2 of smiles:\[O-\]"):
        stated("xtb:GFN2-xTB?charge=1", oxalate)
    with pytest.raises(AddressError, match="charge=1 differs from charge 0"):
        stated("xtb:GFN2-xTB?charge=1", Electrons("smiles:C", 0))


def test_a_file_states_charge_and_multiplicity_for_its_commands(place):
    start = files.read(place(labelled("charge=1 multiplicity=2")))
    config = following(Md(model="xtb:GFN2-xTB", start="data.xyz"), electrons_of(start))
    assert config.model == "xtb:GFN2-xTB?charge=1&multiplicity=2"
    with pytest.raises(AddressError, match="multiplicity=4 differs from multiplicity 2"):
        following(Md(model="xtb:GFN2-xTB?multiplicity=4", start="data.xyz"), electrons_of(start))
    for pairs in ("charge=half", "charge=0.5"):
        bad = files.read(place(labelled(pairs)))
        with pytest.raises(FileFormatError, match="charge: expected one whole number"):
            following(Md(model="xtb:GFN2-xTB", start="data.xyz"), electrons_of(bad))


def test_the_default_sampler_has_the_charge_of_the_reference():
    sampler = default_sampler("dft:PBE/def2-SVP?charge=-2&grid=4", 3)
    assert sampler == "xtb:GFN2-xTB?charge=-2&accuracy=1&threads=3"
    assert default_sampler("xtb:GFN2-xTB", 2) == "xtb:GFN2-xTB?accuracy=1&threads=2"
    assert default_sampler("xtb:GFN2-xTB?accuracy=1e-3", 2) == "xtb:GFN2-xTB?accuracy=1e-3"


@pytest.mark.parametrize(
    ("smiles", "charge", "unpaired"),
    [("[O-]C(=O)C(=O)[O-]", -2, 0), ("[NH4+]", 1, 0), ("[CH3]", 0, 1), ("[NH3+]CC(=O)[O-]", 0, 0)],
)
def test_charge_and_unpaired_electrons_are_those_of_the_smiles(smiles, charge, unpaired):
    pytest.importorskip("rdkit")
    from flexcalc.methods.conformers import charge_and_unpaired

    assert charge_and_unpaired(smiles) == (charge, unpaired)


def test_labels_of_a_charged_smiles_are_those_of_the_ion(tmp_path, capsys):
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    words = ["label", "xtb:GFN2-xTB", "smiles:[NH4+]", "--samples", "displacement", "--frames", "2"]
    main([*words, "--output", str(tmp_path / "ion")])
    data = files.read(tmp_path / "ion" / "labels.xyz")
    assert data.provenance.level == "xtb:GFN2-xTB?charge=1"
    assert "charge 1" in capsys.readouterr().out
    direct = files.read(tmp_path / "ion" / "labels.xyz").positions
    from flexcalc import load as opened

    expected = opened("xtb:GFN2-xTB?charge=1", data.numbers)(direct).energies
    np.testing.assert_allclose(data.energies, expected, atol=1e-8)
    with pytest.raises(SystemExit) as stopped:
        main([*words[:1], "xtb:GFN2-xTB?charge=-1", *words[2:], "--output", str(tmp_path / "no")])
    assert stopped.value.code == 2
    assert "differs from charge 1 of smiles:[NH4+]" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_ase_tells_the_units_and_keys_it_writes_to_be_the_plain_ones(tmp_path):
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(WATER, REST)
    atoms.calc = SinglePointCalculator(atoms, energy=-10.0, free_energy=-10.2, forces=FORCES)
    ase.io.write(tmp_path / "ase.xyz", atoms)
    assert silent(tmp_path / "ase.xyz").energies.tolist() == [-10.0]


def test_a_warning_of_a_file_is_one_line_of_the_command(place):
    path = place(labelled("REF_energy=-10.0"))
    words = [sys.executable, "-m", "flexcalc.cli", "info", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == f"flexcalc: warning: {path}: energies are taken from REF_energy\n"
