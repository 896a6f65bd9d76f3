"""Names of geometries: frames of a file, and what a wrong name may have meant."""

import re
from pathlib import Path

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.errors import FileFormatError, InputError
from flexcalc.files import read, split_frames, write
from tests.systems import springs


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("path.xyz"), springs(5))
    return Path("path.xyz")


@pytest.mark.parametrize(
    ("index", "frames"),
    [
        ("0", [0]),
        ("3", [3]),
        ("-1", [4]),
        (":", [0, 1, 2, 3, 4]),
        ("1:3", [1, 2]),
        ("-2:", [3, 4]),
        ("::2", [0, 2, 4]),
        ("::-1", [4, 3, 2, 1, 0]),
    ],
)
@pytest.mark.parametrize("suffix", [".xyz", ".npz"])
def test_frames_of_a_file_are_named_as_in_ase(path, index, frames, suffix):
    name = f"path{suffix}"
    write(Path(name), springs(5))
    found = read(f"{name}@{index}")
    assert np.array_equal(found.positions, read(name).positions[frames])
    assert np.array_equal(found.energies, read(name).energies[frames])
    assert found.provenance.source == f"{name}@{index}"


@pytest.mark.parametrize("index", ["5", "-6", "7:9", "::0"])
def test_a_frame_that_is_not_there_is_refused_in_one_line(path, index):
    with pytest.raises(FileFormatError, match=r"^path\.xyz: no such frame; the file has 5, @0"):
        read(f"path.xyz@{index}")


def test_a_file_with_such_a_name_is_meant_itself(path):
    write(Path("path.xyz@1.xyz"), springs(2))
    assert len(read("path.xyz@1.xyz")) == 2
    Path("odd@3").write_text("")
    assert split_frames("odd@3") == (Path("odd@3"), None)


def test_every_command_takes_a_frame_of_a_file(path):
    potential = fx.load("ase:ase.calculators.emt:EMT", [8, 1, 1])
    run = fx.md(potential, "path.xyz@3", steps=1, frame_every=1, keep_bonds=False, progress=False)
    assert np.array_equal(run.positions[0, 0], springs(5).positions[3])
    assert fx.evaluate(potential, "path.xyz@1:3", progress=False).frames == 2
    assert fx.info("path.xyz@-2:").facts["frames"] == 2


def test_a_run_file_names_frames_from_its_own_folder(path, monkeypatch):
    from flexcalc.config import load
    from flexcalc.config.dynamics import Md

    Path("runs").mkdir()
    Path("runs/md.toml").write_text('model = "xtb:GFN2-xTB"\nstart = "../path.xyz@1:3"\n')
    assert len(read(load(Md, Path("runs/md.toml")).start)) == 2


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OCC=O", "a SMILES is written smiles:OCC=O"),
        ("C[C@H](N)C(=O)O", "a SMILES is written smiles:C[C@H](N)C(=O)O"),
        ("smiles:OCC=O", "only label and info take a SMILES"),
        ("label", "did you mean label/labels.xyz?"),
    ],
)
def test_what_was_meant_is_said(path, name, said):
    Path("label").mkdir()
    write(Path("label/labels.xyz"), springs(2))
    with pytest.raises(InputError, match=re.escape(said)):
        read(name)


@pytest.mark.parametrize("name", ["water", "start.pdb", "no/such"])
def test_other_names_get_no_wrong_hint(path, name):
    with pytest.raises(InputError) as caught:
        read(name)
    assert "SMILES" not in str(caught.value)
