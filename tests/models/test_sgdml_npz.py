"""Model files of the sgdml package: every generation read without unpickling, and written."""

import io
import zipfile

import numpy as np
import pytest

from flexcalc.errors import FileFormatError, FlexcalcError, MoleculeError, UnitError
from flexcalc.models.gdml import SGDML
from flexcalc.models.gdml.exchange import is_model, open_npz, write_npz
from flexcalc.units import BOHR, KCAL_MOL


@pytest.fixture
def potential(water, rng):
    family = SGDML(sigma=10.0, descriptor="distances", energies="training")
    return family.fit(water[:12], water[12:], rng)


@pytest.fixture
def frames(toy, rng):
    return toy.water_frames(7, rng)[1]


def old_keys(potential):
    """The arrays of the first published models: kcal/mol, atoms counted from one, no std."""
    return {
        "z": potential.numbers.astype(np.uint8),
        "Rt_desc": potential.features.T,
        "Rt_d_desc_alpha": potential.coefficients[..., None] * potential.scale / KCAL_MOL,
        "perms": (potential.permutations + 1).astype(np.uint8),
        "sig": np.array(10),
        "c": np.array(potential.constant / KCAL_MOL),
        "dataset": np.array("water"),
        "tril_perms_lin": np.arange(6),
    }


def new_keys(potential):
    """The arrays of sgdml 1.0, with its dictionaries, which are pickled objects."""
    return {
        "type": np.array("m"),
        "code_version": np.array("1.0.3"),
        "z": potential.numbers.astype(np.uint8),
        "R_desc": potential.features.T,
        "R_d_desc_alpha": potential.coefficients,
        "perms": potential.permutations,
        "sig": np.array(10),
        "c": np.array(potential.constant / KCAL_MOL),
        "std": np.array(potential.scale / KCAL_MOL),
        "f_err": np.array({"mae": np.nan, "rmse": np.nan}, dtype=object),
        "md5_test": np.array(None, dtype=object),
    }


def refusal(path):
    """The line with which a file is refused, or None; any other error is a failure."""
    try:
        open_npz(path)
    except FlexcalcError as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


def check_same(found, potential, frames):
    """Energies and forces agree up to the rounding of the change of units."""
    expected, got = potential(frames), found(frames)
    assert np.abs(got.energies - expected.energies).max() < 1e-9
    assert np.abs(got.forces - expected.forces).max() < 1e-9


def test_an_old_model_file_opens(potential, frames, tmp_path):
    np.savez_compressed(tmp_path / "old.npz", **old_keys(potential))
    found = open_npz(tmp_path / "old.npz")
    check_same(found, potential, frames)
    assert found.facts["source_units"] == "kcal/mol, angstrom"
    assert found.facts["training_points"] == 12


def test_a_new_model_file_opens_and_its_objects_stay_pickled(potential, frames, tmp_path):
    np.savez_compressed(tmp_path / "new.npz", **new_keys(potential))
    check_same(open_npz(tmp_path / "new.npz"), potential, frames)


def test_a_model_file_in_ev_opens(potential, frames, tmp_path):
    keys = new_keys(potential) | {"e_unit": "eV", "r_unit": "Ang"}
    keys |= {"c": potential.constant, "std": potential.scale}
    np.savez(tmp_path / "eV.npz", **keys)
    found = open_npz(tmp_path / "eV.npz")
    check_same(found, potential, frames)
    assert found.facts["source_units"] == "eV, angstrom"


def test_a_model_file_in_bohr_opens(potential, frames, tmp_path):
    """Inverse lengths in 1/bohr: features, coefficients and sigma are all smaller by bohr/A."""
    keys = new_keys(potential) | {"r_unit": "bohr", "sig": 10 * BOHR}
    keys |= {name: keys[name] * BOHR for name in ("R_desc", "R_d_desc_alpha")}
    np.savez(tmp_path / "bohr.npz", **keys)
    check_same(open_npz(tmp_path / "bohr.npz"), potential, frames)


def test_a_written_file_opens_with_the_same_predictions(potential, frames, tmp_path):
    write_npz(potential, tmp_path / "out.npz")
    found = open_npz(tmp_path / "out.npz")
    expected, got = potential(frames), found(frames)
    assert np.array_equal(got.forces, expected.forces)
    assert np.array_equal(got.energies, expected.energies)


def test_an_opened_file_becomes_a_model_folder(potential, frames, tmp_path):
    np.savez(tmp_path / "old.npz", **old_keys(potential))
    found = open_npz(tmp_path / "old.npz")
    found.save(tmp_path / "copy.flex")
    copied = SGDML.load(tmp_path / "copy.flex")
    assert np.array_equal(copied(frames).forces, found(frames).forces)
    assert copied.facts["source"] == "old.npz"


def test_models_are_told_from_datasets(potential, water, tmp_path):
    """A dataset may have `perms` as well."""
    np.savez(tmp_path / "old.npz", **old_keys(potential))
    np.savez(tmp_path / "new.npz", **new_keys(potential))
    np.savez(tmp_path / "data.npz", z=water.numbers, R=water.positions, perms=[[0, 1, 2]])
    assert [is_model(tmp_path / f"{name}.npz") for name in ("old", "new", "data")] == [1, 1, 0]


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"z": None}, FileFormatError, "another kind"),
        ({"perms": None}, FileFormatError, "another kind"),
        ({"sig": None}, FileFormatError, "sig is missing"),
        ({"c": None}, FileFormatError, "c is missing"),
        ({"R_desc": None}, FileFormatError, "R_desc is missing"),
        ({"R_d_desc_alpha": None}, FileFormatError, "R_d_desc_alpha is missing"),
        ({"type": np.array("t")}, FileFormatError, "another kind"),
        ({"lattice": np.eye(3)}, MoleculeError, "periodic"),
        ({"alphas_E": np.ones(11)}, FileFormatError, "alphas_E: expected 12 numbers"),
        ({"alphas_E": np.full(12, np.nan)}, FileFormatError, "not finite"),
        ({"sig": np.array(-1.0)}, FileFormatError, "positive"),
        ({"sig": np.array(np.nan)}, FileFormatError, "finite"),
        ({"c": np.ones(2)}, FileFormatError, "one finite number"),
        ({"z": np.array([8, 1])}, FileFormatError, "perms"),
        ({"z": np.array([1, 8, 1])}, FileFormatError, "unlike atoms"),
        ({"perms": np.array([[0, 1, 1]])}, FileFormatError, "each atom once"),
        ({"R_desc": np.ones((4, 12))}, FileFormatError, "R_desc: expected shape"),
        ({"R_d_desc_alpha": np.ones((11, 3))}, FileFormatError, "R_desc: expected shape"),
        ({"R_desc": np.full((3, 12), np.inf)}, FileFormatError, "not finite"),
        ({"R_desc": np.array([{}] * 3, dtype=object)}, FileFormatError, "objects"),
        ({"e_unit": np.array("furlong")}, UnitError, "unknown energy unit"),
    ],
)
def test_files_that_are_no_whole_model_are_refused(potential, tmp_path, change, error, message):
    keys = new_keys(potential) | change
    path = tmp_path / "bad.npz"
    np.savez(path, **{key: value for key, value in keys.items() if value is not None})
    with pytest.raises(error, match=message) as caught:
        open_npz(path)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.security
def test_a_bomb_is_refused_unread(potential, tmp_path):
    """Zeros that unpack to 200 MB from 200 kB."""
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in new_keys(potential).items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(f"{name}.npy", stream.getvalue())
        with archive.open("R_bomb.npy", "w", force_zip64=True) as stream:
            for _ in range(200):
                stream.write(bytes(1 << 20))
    with pytest.raises(FileFormatError, match="bomb"):
        open_npz(tmp_path / "bomb.npz")


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.security
@pytest.mark.parametrize("key", ["f_err", "R_desc", "z", "type", "extra"])
def test_nothing_is_unpickled(potential, tmp_path, key):
    keys = new_keys(potential) | {key: np.array([Canary(tmp_path / "fired")], dtype=object)}
    np.savez(tmp_path / "canary.npz", **keys)
    problem = refusal(tmp_path / "canary.npz")
    assert (problem is not None) == (key in ("R_desc", "z"))
    assert not (tmp_path / "fired").exists()


@pytest.mark.inputs
def test_damaged_files_end_in_the_error_tree(potential, tmp_path, rng):
    np.savez_compressed(tmp_path / "whole.npz", **old_keys(potential))
    whole = (tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "damaged.npz"
    refused = 0
    for trial in range(300):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            damaged = damaged[: rng.integers(len(whole))]
        for _ in range(rng.integers(1, 6)):
            if damaged:
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(bytes(damaged))
        refused += refusal(path) is not None
    assert refused > 100
