"""Model folders: exact, whole, and refused when they are not what they say."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save

import flexcalc
from flexcalc.errors import FileFormatError, FlexcalcError, InputError
from flexcalc.models import folder as model_folder
from flexcalc.models.committee import Committee
from flexcalc.models.delta import DeltaModel
from flexcalc.models.family import model_sha256
from flexcalc.models.folder import FACTS, WEIGHTS, ModelContent, read_facts, read_model, write_model
from flexcalc.models.gdml import SGDML
from flexcalc.storage import sha256_file
from tests.systems import Springs


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "ethanol.flex"
    model.save(path)
    return path


@pytest.fixture
def bare(published, tmp_path):
    """A folder without arrays of a descriptor, which would not fit either."""
    path = tmp_path / "published.flex"
    published.save(path)
    return path


@pytest.fixture
def small(water, rng, tmp_path):
    """A model folder of a few kilobytes."""
    path = tmp_path / "water.flex"
    SGDML(sigma=10.0).fit(water[:5], None, rng).save(path)
    return path


def rewrite(path, **changes):
    """Change model.json and make its hash right again, as someone hostile would."""
    facts = json.loads((path / FACTS).read_text())
    del facts["sha256"]
    facts |= changes
    facts["sha256"] = model_folder._digest(facts)
    (path / FACTS).write_text(json.dumps(facts))


def rewrite_weights(path, content):
    (path / WEIGHTS).write_bytes(content)
    rewrite(path, files={WEIGHTS: sha256_file(path / WEIGHTS)})


def refusal(path):
    """The line with which a folder is refused, or None; any other error is a failure."""
    try:
        SGDML.load(path)
    except FlexcalcError as error:
        message = str(error)
    else:
        return None
    assert "\n" not in message
    return message


def test_a_loaded_model_predicts_to_the_byte_what_was_saved(model, ethanol, saved):
    loaded = SGDML.load(saved)
    expected, found = model(ethanol.positions), loaded(ethanol.positions)
    assert expected.energies.tobytes() == found.energies.tobytes()
    assert expected.forces.tobytes() == found.forces.tobytes()


def test_a_model_saved_again_is_the_same(model, saved, tmp_path):
    SGDML.load(saved).save(tmp_path / "again.flex")
    assert (saved / FACTS).read_bytes() == (tmp_path / "again.flex" / FACTS).read_bytes()
    assert (saved / WEIGHTS).read_bytes() == (tmp_path / "again.flex" / WEIGHTS).read_bytes()


def test_the_facts_tell_what_the_model_is(model, saved):
    facts = read_facts(saved)
    assert facts["family"] == "sgdml"
    assert facts["numbers"] == model.numbers.tolist()
    assert facts["units"] == {"energy": "eV", "length": "angstrom"}
    assert facts["hyperparameters"]["sigma"] == 10.0
    assert facts["training_points"] == 50
    assert facts["files"] == {WEIGHTS: sha256_file(saved / WEIGHTS)}
    assert set(facts["versions"]) == {"flexcalc", "numpy", "python"}
    assert SGDML(**facts["hyperparameters"]).sigma == 10.0


def test_a_model_replaces_a_model(model, saved, water, rng):
    SGDML(sigma=5.0).fit(water, None, rng).save(saved, overwrite=True)
    assert read_facts(saved)["numbers"] == [8, 1, 1]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.data
def test_another_model_is_not_overwritten_unless_asked(model, saved, water, rng):
    other = SGDML(sigma=5.0).fit(water, None, rng)
    before = (saved / FACTS).read_bytes()
    with pytest.raises(InputError, match="holds another model; choose another name"):
        other.save(saved)
    assert (saved / FACTS).read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    model.save(saved)  # the same model again
    other.save(saved, overwrite=True)
    assert SGDML.load(saved).sha256() == other.sha256()


def test_the_hash_of_a_model_is_the_same_in_memory_and_on_disk(water, rng, tmp_path):
    one, other = (SGDML(sigma=sigma).fit(water[:5], None, rng) for sigma in (5.0, 6.0))
    both = Committee([one, other])
    above = DeltaModel(one, other)
    models = {"one": one, "other": other, "both": both, "above": above}
    hashes = {name: model.sha256() for name, model in models.items()}
    assert len(set(hashes.values())) == len(models)
    for name, model in models.items():
        model.save(tmp_path / f"{name}.flex")
        assert flexcalc.load(tmp_path / f"{name}.flex").sha256() == hashes[name]
    address = f"committee:{tmp_path}/one.flex,{tmp_path}/other.flex"
    assert flexcalc.load(address).sha256() == hashes["both"]
    assert model_sha256(Springs()) == ""


def test_missing_parents_are_made(model, tmp_path):
    model.save(tmp_path / "a" / "b.flex")
    assert read_facts(tmp_path / "a" / "b.flex")["family"] == "sgdml"


@pytest.mark.data
def test_anything_but_a_model_folder_is_left_alone(model, tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.json").write_text('{"format": "something else"}')
    for name in ("file", "folder"):
        with pytest.raises(InputError, match="not a model folder"):
            model.save(tmp_path / name)
    assert (tmp_path / "file").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.data
@pytest.mark.parametrize("step", ["atomic_write", "write_json", "_replace"])
def test_a_failed_write_leaves_the_old_model(model, saved, monkeypatch, step):
    """A full disk at any step: the old bytes stay, nothing else is left behind."""
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder, step, full)
    with pytest.raises(OSError, match="No space"):
        model.save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.data
def test_a_failed_rename_brings_the_old_model_back(model, saved, monkeypatch):
    before = (saved / FACTS).read_bytes()
    replace = os.replace

    def fail_once(source, target):
        if target == saved and ".old." not in str(source):
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(model_folder.os, "replace", fail_once)
    with pytest.raises(OSError, match="Input/output"):
        model.save(saved)
    assert (saved / FACTS).read_bytes() == before


@pytest.mark.security
def test_every_flipped_bit_is_noticed(small):
    """One bit in each byte, header, numbers and JSON alike: refused, or the same model."""
    original = SGDML.load(small)
    for name in (WEIGHTS, FACTS):
        whole = (small / name).read_bytes()
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << (position % 8)
            (small / name).write_bytes(bytes(damaged))
            problem = refusal(small)
            if problem is None:
                assert name == FACTS
                assert SGDML.load(small).facts == original.facts
        (small / name).write_bytes(whole)


@pytest.mark.data
def test_a_cut_file_is_refused(small):
    for name in (WEIGHTS, FACTS):
        whole = (small / name).read_bytes()
        for length in range(0, len(whole) - 1, 7):
            (small / name).write_bytes(whole[:length])
            with pytest.raises(FileFormatError):
                SGDML.load(small)
        (small / name).write_bytes(whole)


@pytest.mark.security
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(saved, value):
    _, arrays = read_model(saved)
    arrays["coefficients"][3, 4] = value
    rewrite_weights(saved, save(arrays))
    with pytest.raises(FileFormatError, match="coefficients: has numbers that are not finite"):
        SGDML.load(saved)


@pytest.mark.security
@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([6, 6, 8], "permutations"),
        ([6, 6, 8, 1, 1, 1, 1, 1, 0], "from 1 to 118"),
        ([6, 6, 8, 1, 1, 1, 1, 1, 1.0], "from 1 to 118"),
        ([], "from 1 to 118"),
        ("CCO", "from 1 to 118"),
        ([7, 6, 8, 8, 1, 1, 1, 1, 1], "exchange unlike atoms"),
    ],
)
def test_wrong_species_are_refused(bare, numbers, message):
    rewrite(bare, numbers=numbers)
    with pytest.raises(FileFormatError, match=message):
        SGDML.load(bare)


@pytest.mark.security
def test_facts_edited_by_hand_are_refused(saved):
    """An element nobody else notices: the hydroxyl hydrogen is its own orbit."""
    text = (saved / FACTS).read_text()
    numbers = json.loads(text)["numbers"]
    (saved / FACTS).write_text(text.replace(str(numbers[-1]) + "\n ],", "9\n ],", 1))
    assert json.loads((saved / FACTS).read_text())["numbers"] == [*numbers[:-1], 9]
    with pytest.raises(FileFormatError, match="changed since it was written"):
        SGDML.load(saved)


@pytest.mark.security
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a model of flexcalc"),
        ({"version": 99}, "another flexcalc"),
        ({"family": "gap"}, "family sgdml"),
        ({"family": None}, "family"),
        ({"units": {"energy": "kcal/mol", "length": "angstrom"}}, "eV and angstrom"),
        ({"hyperparameters": {"sigma": -1.0}}, "positive number"),
        ({"hyperparameters": {"sigma": "10"}}, "positive number"),
        ({"hyperparameters": {}}, "positive number"),
        ({"files": {}}, "SHA-256"),
        ({"files": {WEIGHTS: "0" * 64}}, "hash"),
        ({"files": {"../../etc/passwd": "x", WEIGHTS: "x"}}, "inside the folder"),
        ({"files": {"other.bin": "x", WEIGHTS: "x"}}, "other.bin: missing from the model folder"),
    ],
)
def test_facts_that_lie_are_refused(saved, change, message):
    rewrite(saved, **change)
    with pytest.raises(FileFormatError, match=message):
        SGDML.load(saved)


@pytest.mark.security
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.ones((50, 35))}, "features"),
        ({"features": np.ones((49, 36))}, "coefficients"),
        ({"features": np.ones((0, 36)), "coefficients": np.ones((0, 36))}, "one training point"),
        ({"features": np.ones((50, 36), dtype=np.float16)}, "float16"),
        ({"permutations": np.zeros((6, 9), dtype=int)}, "each atom once"),
        ({"permutations": np.ones((6, 9))}, "permutations"),
        ({"scale": np.ones(3)}, "scale"),
        ({"constant": None}, "constant"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(bare, change, message):
    _, arrays = read_model(bare)
    arrays = {key: value for key, value in (arrays | change).items() if value is not None}
    rewrite_weights(bare, save(arrays))
    with pytest.raises(FileFormatError, match=message):
        SGDML.load(bare)


@pytest.mark.security
def test_weights_that_say_more_than_the_file_holds_are_refused(saved):
    """A header that promises 8 TB: the sizes are checked before anything is allocated."""
    header = {"features": {"dtype": "F64", "shape": [1 << 40], "data_offsets": [0, 8 << 40]}}
    text = json.dumps(header).encode()
    rewrite_weights(saved, len(text).to_bytes(8, "little") + text + bytes(64))
    with pytest.raises(FileFormatError, match="not whole safetensors"):
        SGDML.load(saved)
    rewrite_weights(saved, (1 << 62).to_bytes(8, "little") + text)
    with pytest.raises(FileFormatError, match="not whole safetensors"):
        SGDML.load(saved)


@pytest.mark.security
def test_an_oversized_model_json_is_refused_unread(saved):
    with open(saved / FACTS, "ab") as stream:
        stream.truncate(1 << 40)  # a sparse file
    with pytest.raises(FileFormatError, match="larger than"):
        SGDML.load(saved)


@pytest.mark.inputs
@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", "[" * 100_000, '{"format": NaN}', "\x00\xff", '{"a": 1e999}']
)
def test_a_model_json_that_is_none_is_refused(saved, text):
    (saved / FACTS).write_text(text)
    with pytest.raises(FileFormatError):
        SGDML.load(saved)


@pytest.mark.inputs
def test_a_folder_that_is_none_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileFormatError, match="not a model folder"):
            SGDML.load(path)


@pytest.mark.inputs
def test_hostile_changes_end_in_the_error_tree(small, rng):
    """Random bytes in both files, with hashes made right again where that is possible."""
    whole, refused = (small / WEIGHTS).read_bytes(), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(len(damaged) if rng.random() < 0.3 else 400)] = rng.integers(256)
        rewrite_weights(small, bytes(damaged))
        refused += refusal(small) is not None
    assert refused > 100


def test_integers_and_floats_come_back_as_they_were(tmp_path, rng):
    arrays = {"a": rng.normal(size=(3, 2)).T, "b": np.arange(4), "c": np.array(2.5)}
    write_model(
        tmp_path / "x.flex",
        ModelContent(
            family="test",
            numbers=np.array([1, 1]),
            hyperparameters={"width": 3},
            arrays=arrays,
            facts={"training_points": 7, "family": "a lie"},
        ),
    )
    facts, found = read_model(tmp_path / "x.flex")
    assert facts["family"] == "test"
    assert facts["training_points"] == 7
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype
