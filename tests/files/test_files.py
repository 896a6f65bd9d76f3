"""Datasets in and out of files: exactly, with their units, and never by trust."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from flexcalc import files
from flexcalc.dataset import Dataset, Provenance
from flexcalc.errors import (
    FileFormatError,
    FlexcalcError,
    InputError,
    MoleculeError,
    UnitError,
)
from tests.systems import WATER

REST = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.48], [0.0, -0.76, -0.48]])


def labelled(frames: int = 5, level: str = "xtb:GFN2-xTB") -> Dataset:
    """Water with awkward numbers: many digits, tiny, huge and negative zero."""
    rng = np.random.default_rng(7)
    forces = rng.standard_normal((frames, 3, 3)) * 10.0 ** rng.integers(-12, 3, (frames, 3, 3))
    forces[0, 0, 0] = -0.0
    return Dataset(
        WATER,
        REST + 0.05 * rng.standard_normal((frames, 3, 3)),
        -2081.123456789012345 + rng.standard_normal(frames) / 3,
        forces,
        tags={
            "start": np.array(["Ip", 'a "quoted" \\ one', "12", "T", ""] * frames)[:frames],
            "time_fs": 0.1 * np.arange(frames),
            "index": np.arange(frames),
            "crossed": np.arange(frames) % 2 == 0,
        },
        provenance=Provenance(level),
    )


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def frame_text(**changes: str) -> str:
    """A good frame of water, with parts exchanged."""
    parts = {
        "count": "3",
        "properties": "Properties=species:S:1:pos:R:3:forces:R:3",
        "energy": "energy=-10.5",
        "pbc": 'pbc="F F F"',
        "oxygen": "O 0.0 0.0 0.12 0.1 0.2 0.3",
        "hydrogen": "H 0.0 0.76 -0.48 -0.1 -0.2 -0.3",
        "last": "H 0.0 -0.76 -0.48 0.0 0.0 0.0",
        "end": "\n",
    } | changes
    comment = " ".join(parts[key] for key in ("properties", "energy", "pbc") if parts[key])
    rows = [parts["count"], comment, parts["oxygen"], parts["hydrogen"], parts["last"]]
    return "\n".join(rows) + parts["end"]


# Round trips


@pytest.mark.parametrize("name", ["data.xyz", "data.extxyz", "data.npz", "DATA.XYZ"])
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path, name):
    data = labelled()
    files.write(tmp_path / name, data)
    back = files.read(tmp_path / name)
    assert back.sha256() == data.sha256()
    assert back.provenance.level == "xtb:GFN2-xTB"
    assert back.provenance.source == name
    assert len(back.provenance.sha256) == 64
    assert set(back.tags) == set(data.tags)
    for key, column in data.tags.items():
        assert back.tags[key].dtype.kind == column.dtype.kind
        np.testing.assert_array_equal(back.tags[key], column)


@pytest.mark.parametrize("suffix", ["xyz", "npz"])
def test_geometries_without_labels_stay_without(tmp_path, suffix):
    data = Dataset(WATER, REST[None])
    files.write(tmp_path / f"start.{suffix}", data)
    back = files.read(tmp_path / f"start.{suffix}")
    assert back.energies is None
    assert back.forces is None
    np.testing.assert_array_equal(back.positions, data.positions)


def test_ase_reads_what_is_written_here(tmp_path):
    data = labelled()
    files.write(tmp_path / "data.xyz", data)
    frames = ase.io.read(tmp_path / "data.xyz", ":")
    assert len(frames) == len(data)
    for index, atoms in enumerate(frames):
        np.testing.assert_array_equal(atoms.numbers, WATER)
        np.testing.assert_array_equal(atoms.positions, data.positions[index])
        np.testing.assert_array_equal(atoms.get_forces(), data.forces[index])
        assert atoms.get_potential_energy() == data.energies[index]
        assert atoms.info["index"] == index
        assert atoms.info["level"] == "xtb:GFN2-xTB"
        assert not atoms.pbc.any()
    assert frames[1].info["start"] == 'a "quoted" \\ one'


def test_what_ase_writes_is_read_here(tmp_path):
    data = labelled()
    frames = []
    for index in range(len(data)):
        atoms = Atoms(WATER, data.positions[index])
        atoms.info = {
            "step": index,
            "name": 'a "b" c',
            "flag": True,
            "stretch": 0.5,
            "list": [1, 2],
        }
        atoms.set_initial_charges([0.1, -0.2, 0.1])
        atoms.calc = SinglePointCalculator(
            atoms, energy=data.energies[index], forces=data.forces[index], dipole=[1.0, 2.0, 3.0]
        )
        frames.append(atoms)
    ase.io.write(tmp_path / "ase.xyz", frames)
    back = files.read(tmp_path / "ase.xyz")
    # ASE prints coordinates and forces with 8 decimals, energies with all digits
    np.testing.assert_allclose(back.positions, data.positions, rtol=0, atol=0.51e-8)
    np.testing.assert_allclose(back.forces, data.forces, rtol=0, atol=0.51e-8)
    np.testing.assert_array_equal(back.energies, data.energies)
    np.testing.assert_array_equal(back.tags["step"], np.arange(len(data)))
    assert back.tags["name"][0] == 'a "b" c'
    assert back.tags["flag"].dtype == bool


def test_plain_xyz_is_read_as_geometries(tmp_path):
    atoms = Atoms(WATER, REST)
    ase.io.write(tmp_path / "plain.xyz", atoms, format="xyz", comment="E = -76.4 Ha, converged")
    back = files.read(tmp_path / "plain.xyz")
    assert back.energies is None
    np.testing.assert_allclose(back.positions[0], REST, atol=1e-12)


def test_tags_that_only_some_frames_have_are_left_out(tmp_path):
    first, second = frame_text(pbc="step=1 common=2"), frame_text(pbc="common=3.5")
    back = files.read(text(tmp_path / "data.xyz", first + second))
    assert list(back.tags) == ["common"]
    np.testing.assert_array_equal(back.tags["common"], [2.0, 3.5])


# Units


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def sgdml(path: Path, **changes: object) -> Path:
    """A dataset as the sGDML package writes it."""
    data = labelled()
    arrays = {
        "type": "d",
        "name": b"water",
        "theory": np.bytes_(b"PBE+TS"),
        "z": WATER.astype(np.uint8),
        "R": data.positions,
        "E": data.energies,
        "F": data.forces,
        "r_unit": "Ang",
        "e_unit": "eV",
    } | changes
    return npz(path, **{key: value for key, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("spelling", "size"),
    [
        ("eV", 1.0),
        ("ev", 1.0),
        ("meV", 1e-3),
        ("kcal/mol", units.kcal / units.mol),
        ("Kcal/Mol", units.kcal / units.mol),
        ("kJ/mol", units.kJ / units.mol),
        ("hartree", units.Hartree),
        ("Ha", units.Hartree),
        ("Eh", units.Hartree),
        ("Ry", units.Rydberg),
    ],
)
def test_energies_are_converted_from_every_common_spelling(tmp_path, spelling, size):
    data = labelled()
    back = files.read(sgdml(tmp_path / "data.npz", e_unit=spelling))
    np.testing.assert_allclose(back.energies, data.energies * size, rtol=1e-15)
    np.testing.assert_allclose(back.forces, data.forces * size, rtol=1e-15)
    said = files.read(sgdml(tmp_path / "bare.npz", e_unit=None), energy_unit=spelling)
    assert said.sha256() == back.sha256()


@pytest.mark.parametrize(
    ("spelling", "size"),
    [("Ang", 1.0), ("A", 1.0), ("Å", 1.0), ("bohr", units.Bohr), ("a0", units.Bohr), ("nm", 10.0)],
)
def test_lengths_are_converted_and_forces_with_them(tmp_path, spelling, size):
    data = labelled()
    back = files.read(sgdml(tmp_path / "data.npz", r_unit=spelling))
    np.testing.assert_allclose(back.positions, data.positions * size, rtol=1e-15)
    np.testing.assert_allclose(back.forces, data.forces / size, rtol=1e-15)


def test_a_force_unit_of_its_own_is_taken(tmp_path):
    data = labelled()
    back = files.read(sgdml(tmp_path / "data.npz"), force_unit="hartree/bohr")
    np.testing.assert_allclose(back.forces, data.forces * units.Hartree / units.Bohr, rtol=1e-15)
    np.testing.assert_array_equal(back.energies, data.energies)
    named = files.read(sgdml(tmp_path / "named.npz", f_unit="Ha/Bohr"))
    assert named.sha256() == back.sha256()


def test_a_file_with_forces_alone_needs_only_their_unit(tmp_path):
    data = labelled()
    path = sgdml(tmp_path / "data.npz", E=None, e_unit=None, f_unit="kcal/mol/Ang")
    back = files.read(path)
    assert back.energies is None
    np.testing.assert_allclose(back.forces, data.forces * units.kcal / units.mol, rtol=1e-15)


def test_extxyz_in_other_units_is_converted_when_told(tmp_path):
    data = labelled()
    files.write(tmp_path / "data.xyz", data)
    back = files.read(tmp_path / "data.xyz", energy_unit="kcal/mol", length_unit="bohr")
    factor = units.kcal / units.mol
    np.testing.assert_allclose(back.energies, data.energies * factor, rtol=1e-15)
    np.testing.assert_allclose(back.forces, data.forces * factor / units.Bohr, rtol=1e-15)
    assert back.provenance.units == "kcal/mol, bohr"


def test_a_missing_unit_names_the_flag(tmp_path):
    with pytest.raises(UnitError, match="--energy-unit"):
        files.read(sgdml(tmp_path / "data.npz", e_unit=None))


def test_bohr_that_nobody_declared_is_not_taken_for_angstrom(tmp_path):
    path = sgdml(tmp_path / "data.npz", r_unit=None, R=labelled().positions / units.Bohr)
    with pytest.raises(UnitError, match="--length-unit"):
        files.read(path)
    np.testing.assert_allclose(
        files.read(path, length_unit="bohr").positions, labelled().positions, rtol=1e-14
    )


def test_an_unknown_unit_is_refused_with_a_guess(tmp_path):
    with pytest.raises(UnitError, match="did you mean kcal/mol"):
        files.read(sgdml(tmp_path / "data.npz", e_unit="kcal/mo"))
    with pytest.raises(UnitError, match="ENERGY/LENGTH"):
        files.read(sgdml(tmp_path / "data.npz"), force_unit="newton")


def test_a_unit_that_contradicts_the_file_is_refused(tmp_path):
    with pytest.raises(UnitError, match="the file says energy unit eV, the call says kcal/mol"):
        files.read(sgdml(tmp_path / "data.npz"), energy_unit="kcal/mol")


# Conventions of npz


@pytest.mark.parametrize(
    "changes",
    [
        {"E": labelled().energies[:, None]},
        {"name": "water", "theory": "PBE+TS", "type": "d"},
        {"name": np.bytes_(b"water"), "type": np.bytes_(b"d")},
        {"z": WATER[:, None].astype(np.int64)},
        {"R": np.asfortranarray(labelled().positions), "F": labelled().forces.astype(">f8")},
        {"name": None, "type": None, "md5": "0" * 32, "E_max": 3.0},
    ],
)
def test_every_generation_of_sgdml_dataset_gives_the_same(tmp_path, changes):
    back = files.read(sgdml(tmp_path / "data.npz", **changes))
    assert back.sha256() == labelled().sha256()
    assert back.provenance.level == "PBE+TS"


def test_rmd17_has_new_and_old_labels(tmp_path):
    data = labelled()
    path = npz(
        tmp_path / "rmd17_water.npz",
        nuclear_charges=WATER.astype(np.uint8),
        coords=data.positions,
        energies=data.energies,
        forces=data.forces,
        old_indices=np.arange(len(data)) + 17,
        old_energies=data.energies + 1,
        old_forces=2 * data.forces,
    )
    new = files.read(path, energy_unit="eV")
    old = files.read(path, energy_unit="eV", labels="old")
    assert new.sha256() == data.sha256()
    np.testing.assert_array_equal(old.energies, data.energies + 1)
    np.testing.assert_array_equal(old.forces, 2 * data.forces)
    np.testing.assert_array_equal(new.tags["old_indices"], np.arange(len(data)) + 17)
    assert old.provenance.level != new.provenance.level


def test_the_sgdml_package_accepts_what_is_written_here(tmp_path):
    io_ = pytest.importorskip("sgdml.utils.io")
    files.write(tmp_path / "data.npz", labelled())
    with np.load(tmp_path / "data.npz", allow_pickle=False) as dataset:
        assert io_.dataset_md5(dataset).decode() == str(dataset["md5"])
        assert str(dataset["type"]) == "d"
        assert str(dataset["e_unit"]) == "eV"


# Refusals


BAD_FRAMES = {
    "nan": (frame_text(last="H 0 0 nan 0 0 0"), "frame 1 .*positions of atom 2.*'nan'"),
    "infinite": (frame_text(oxygen="O 0 0 0 inf 0 0"), "forces of atom 0.*'inf'"),
    "huge": (frame_text(oxygen="O 0 0 0 1e999 0 0"), "finite number"),
    "underscore": (frame_text(oxygen="O 0 0 1_0 0 0 0"), "'1_0'"),
    "word": (frame_text(oxygen="O 0 0 abc 0 0 0"), "'abc'"),
    "columns": (frame_text(oxygen="O 0 0 0 0 0"), "atom 0: expected 7 columns, found 6"),
    "count": (frame_text(count="4"), "expected 4 atoms"),
    "few": (frame_text(count="2"), "expected the number of atoms"),
    "negative": (frame_text(count="-3"), "expected the number of atoms, found '-3'"),
    "astronomic": (frame_text(count="9" * 30), "expected the number of atoms"),
    "element": (frame_text(last="Xx 0 0 0 0 0 0"), "chemical element, found 'Xx'"),
    "dummy": (frame_text(last="X 0 0 0 0 0 0"), "chemical element"),
    "column": (frame_text(properties="Properties=species:S:1:pos:R:3:REF_forces:R:3"), "rename"),
    "width": (frame_text(properties="Properties=species:S:1:pos:R:2:forces:R:4"), "wrong width"),
    "no pos": (frame_text(properties="Properties=species:S:1:forces:R:3:momenta:R:3"), "lacks pos"),
    "triples": (frame_text(properties="Properties=species:S:1:pos:R"), "name:type:count"),
    "no forces": (
        frame_text(
            properties="Properties=species:S:1:pos:R:3",
            oxygen="O 0 0 0",
            hydrogen="H 0 0 1",
            last="H 0 1 0",
        ),
        "frame 1: .*forces",
    ),
    "no energy": (frame_text(energy=""), "only frame 0 has energy"),
    "energy text": (frame_text(energy="energy=low"), "energy: expected a finite number"),
    "energy nan": (frame_text(energy="energy=nan"), "energy: expected a finite number"),
    "energy twice": (frame_text(energy="energy=1 energy=2"), "twice"),
    "quote": (frame_text(energy='energy=-1 name="open'), "not closed"),
    "no newline": (frame_text(end=""), "newline"),
    "cut": (frame_text()[:-12] + "\n", "columns"),
}


@pytest.mark.inputs
@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_bad_frame_is_refused_by_its_number(tmp_path, kind):
    content, message = BAD_FRAMES[kind]
    path = text(tmp_path / "bad.xyz", frame_text() + content)
    with pytest.raises(FileFormatError, match=message) as caught:
        files.read(path)
    assert "bad.xyz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (frame_text(pbc='pbc="T T F"'), "periodic"),
        (frame_text(pbc='Lattice="9 0 0 0 9 0 0 0 9"'), "periodic"),
        (frame_text(oxygen="H 0 0 0 0 0 0", last="O 0 0 0 0 0 0"), "another order"),
        (frame_text(oxygen="S 0 0 0 0 0 0"), "expected the molecule H2O of frame 0, found H2S"),
    ],
)
def test_other_molecules_and_crystals_are_refused(tmp_path, content, message):
    path = text(tmp_path / "bad.xyz", frame_text() + content)
    with pytest.raises(MoleculeError, match=message):
        files.read(path)


@pytest.mark.inputs
def test_labels_of_two_levels_are_not_mixed(tmp_path):
    mixed = frame_text(pbc='level="xtb:GFN2-xTB"') + frame_text(pbc='level="dft:PBE"')
    with pytest.raises(FileFormatError, match="zeros of energy"):
        files.read(text(tmp_path / "mixed.xyz", mixed))


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"R": labelled().positions[:, :2]}, "expected shape"),
        ({"R": labelled().positions[0]}, "expected shape"),
        ({"E": labelled().energies[:-1]}, "E: expected shape"),
        ({"F": labelled().forces[:, :, :2]}, "F: expected shape"),
        ({"R": None}, "expected the arrays z, R, E, F"),
        ({"z": None}, "expected the arrays"),
        ({"type": "m"}, "model"),
        ({"z": np.array([8.0, 1.0, 1.0])}, "unexpected type"),
        ({"E": np.array(["a"] * 5)}, "unexpected type"),
        ({"F": labelled().forces * np.nan}, "forces.*not finite"),
        ({"R": labelled().positions.astype(complex)}, "plain array"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        files.read(sgdml(tmp_path / "bad.npz", **changes))


@pytest.mark.inputs
def test_things_that_are_no_datasets_are_refused(tmp_path):
    (tmp_path / "folder.xyz").mkdir()
    for path in (
        tmp_path / "missing.xyz",
        tmp_path / "folder.xyz",
        text(tmp_path / "empty.xyz", ""),
        text(tmp_path / "blank.xyz", "\n\n"),
        text(tmp_path / "text.npz", "not a zip"),
        text(tmp_path / "data.csv", frame_text()),
        text(tmp_path / "no_suffix", frame_text()),
        Path("/dev/zero"),
        Path("nul\0.xyz"),
    ):
        with pytest.raises(FileFormatError):
            files.read(path)


# Hostile files


class Bomb:
    """Writes a canary when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.security
@pytest.mark.parametrize("key", ["z", "R", "E", "type", "theory", "extra"])
def test_a_pickle_in_an_npz_never_runs(tmp_path, key):
    canary = tmp_path / "canary"
    arrays = np.empty(1, dtype=object)
    arrays[0] = Bomb(canary)
    path = sgdml(tmp_path / "evil.npz", **{key: arrays})
    if key in ("z", "R", "E"):
        with pytest.raises(FileFormatError, match="Python objects"):
            files.read(path)
    else:
        assert len(files.read(path)) == 5
    assert not canary.exists()


def bomb(path: Path, unpacked: int) -> Path:
    """A npz of zeros that packs a thousandfold."""
    frames = unpacked // 72
    header = io.BytesIO()
    shape = {"descr": "<f8", "fortran_order": False, "shape": (frames, 3, 3)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("R.npy", "w", force_zip64=True) as stream:
            stream.write(header.getvalue())
            left = frames * 72
            while left:
                left -= stream.write(bytes(min(left, 1 << 20)))
        archive.writestr("z.npy", saved(WATER))
    return path


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def check_bomb_is_defused(path: Path, most: int) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="bomb"):
            files.read(path, energy_unit="eV")
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.security
def test_an_npz_bomb_is_refused_before_it_unpacks(tmp_path):
    path = bomb(tmp_path / "bomb.npz", 100_000_000)
    assert path.stat().st_size < 200_000
    check_bomb_is_defused(path, 2_000_000)


@pytest.mark.long
@pytest.mark.security
def test_two_megabytes_that_unpack_to_two_gigabytes_are_refused(tmp_path):
    path = bomb(tmp_path / "bomb.npz", 2_000_000_000)
    assert path.stat().st_size < 2_100_000
    check_bomb_is_defused(path, 2_000_000)


@pytest.mark.security
def test_a_lie_about_sizes_is_noticed(tmp_path):
    """The zip directory says little, the header of the array says much, and the reverse."""
    for shape in ((10**6, 3, 3), (1, 3, 3), (0, 3, 3), (2**62, 3, 3)):
        header = io.BytesIO()
        facts = {"descr": "<f8", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, facts)
        with zipfile.ZipFile(tmp_path / "lie.npz", "w") as archive:
            archive.writestr("R.npy", header.getvalue() + bytes(5 * 72))
            archive.writestr("z.npy", saved(WATER))
        with pytest.raises(FileFormatError, match="does not fit"):
            files.read(tmp_path / "lie.npz", energy_unit="eV")


# Mutations


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with a few bytes changed, removed, doubled, moved or exchanged for nasty ones."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(data) + 1))
        length = int(rng.integers(1, 40))
        piece = data[start : start + length]
        match rng.integers(7):
            case 0:
                data[start : start + 1] = bytes([rng.integers(256)])
            case 1:
                del data[start : start + length]
            case 2:
                data[start:start] = piece
            case 3:
                del data[start:]
            case 4:
                where = int(rng.integers(len(data) + 1))
                data[where:where] = piece
            case 5:
                nasty = [
                    b"nan",
                    b"-1",
                    b"1e400",
                    b"\n",
                    b"=",
                    b'"',
                    b"\0",
                    b"\xff",
                    b"9" * 40,
                    b":",
                ]
                data[start : start + 1] = nasty[rng.integers(len(nasty))]
            case 6:
                for at in range(start, min(start + 4, len(data))):
                    data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def check_mutations(folder: Path, suffix: str, count: int) -> None:
    """Nothing but errors of the tree, each on one line, and every accepted dataset is sound."""
    data = labelled(3)
    sources = []
    for packed in (True, False):
        path = folder / f"good{packed}.{suffix}"
        files.write(path, data)
        if suffix == "npz" and not packed:
            with np.load(path) as arrays:
                np.savez(path, **arrays)  # stored, so that mutations reach the arrays
        sources.append(path.read_bytes())
    rng = np.random.default_rng(11)
    messages = []
    for number in range(count):
        path = folder / f"bad.{suffix}"
        path.write_bytes(mutated(sources[number % 2], rng))
        try:
            back = files.read(path)
        except FlexcalcError as error:
            messages.append(str(error))
        else:
            assert np.isfinite(back.positions).all()
            files.write(folder / "again.xyz", back[:1])
    assert not [message for message in messages if "\n" in message]
    assert len(messages) > count // 3


@pytest.mark.inputs
@pytest.mark.parametrize("suffix", ["xyz", "npz"])
def test_300_mutations_give_errors_of_the_tree_only(tmp_path, suffix):
    check_mutations(tmp_path, suffix, 300)


@pytest.mark.long
@pytest.mark.inputs
@pytest.mark.parametrize("suffix", ["xyz", "npz"])
def test_4000_mutations_give_errors_of_the_tree_only(tmp_path, suffix):
    check_mutations(tmp_path, suffix, 4000)


# Writing


@pytest.mark.data
def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "data.xyz"
    files.write(path, labelled(2))
    before = path.read_bytes()
    bad = Dataset(WATER, REST[None], tags={"note": np.array(["two\nlines"])})
    with pytest.raises(InputError, match="note"):
        files.write(path, bad)
    with pytest.raises(InputError, match="cannot be written"):
        files.write(tmp_path / "missing" / "data.xyz", labelled(2))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["data.xyz"]


@pytest.mark.parametrize("name", ["pbc", "Properties", "Lattice", "two words", "a=b", ""])
def test_a_tag_that_would_break_the_comment_line_is_refused(name):
    with pytest.raises(InputError, match="not a name"):
        files.frame_bytes(WATER, REST, **{name: 1})


# Logs


@pytest.mark.data
def test_a_log_cut_at_every_byte_gives_every_whole_frame_and_no_other(tmp_path):
    data = labelled(3)
    frames = [
        files.frame_bytes(WATER, data.positions[i], data.energies[i], data.forces[i], index=i)
        for i in range(3)
    ]
    ends = np.cumsum([len(frame) for frame in frames])
    content = b"".join(frames)
    for cut in range(len(content) + 1):
        whole = int(np.sum(ends <= cut))
        expected = int(ends[whole - 1]) if whole else 0
        assert files.whole_frames(content[:cut]) == expected
        path = tmp_path / "log.xyz"
        path.write_bytes(content[:cut])
        if whole:
            back = files.read_frames(path)
            assert back.tags["index"].tolist() == list(range(whole))
            np.testing.assert_array_equal(back.forces, data.forces[:whole])
        else:
            with pytest.raises(FileFormatError, match="no frame"):
                files.read_frames(path)
        if cut % 10 and cut - expected > 2:
            continue  # a disk takes milliseconds for each append
        with files.FrameLog(path) as log:
            log.append(frames[0])
        assert path.read_bytes() == content[:expected] + frames[0]


@pytest.mark.data
def test_zeros_that_a_power_cut_leaves_are_removed(tmp_path):
    frame = files.frame_bytes(WATER, REST, index=0)
    for rest in (bytes(4096), frame[:20] + bytes(100)):
        path = tmp_path / "log.xyz"
        path.write_bytes(frame + rest)
        with files.FrameLog(path):
            assert path.read_bytes() == frame


@pytest.mark.data
def test_damage_before_the_end_of_a_log_deletes_nothing(tmp_path):
    frame = files.frame_bytes(WATER, REST, index=0)
    content = frame + b"garbage\n" + frame
    path = tmp_path / "log.xyz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"log\.xyz: byte"):
        files.FrameLog(path)
    assert path.read_bytes() == content


def test_the_first_frame_of_a_log_is_read_alone(tmp_path):
    path, data = tmp_path / "log.xyz", labelled()
    files.write(path, data[:1])
    one = path.read_bytes()
    path.write_bytes(one + b"what is no frame")
    found = files.read_first(path)
    assert len(found) == 1
    np.testing.assert_array_equal(found.positions, data.positions[:1])
    for cut in (b"", one[:-9], b"x\n", b"5\n", b"\xff\xfe\n"):
        path.write_bytes(cut)
        with pytest.raises(FileFormatError):
            files.read_first(path)
