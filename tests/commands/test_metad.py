"""`flexcalc metad` from the command line: its files, restart, labels and complaints."""

import json
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.files import plumed
from flexcalc.geometry import Coordinate
from flexcalc.methods.iterate import Checkpoint

OWN = """
import numpy as np


def first_bond(positions):
    apart = positions[:, 0] - positions[:, 1]
    length = np.linalg.norm(apart, axis=1)
    gradients = np.zeros_like(positions)
    gradients[:, 0], gradients[:, 1] = apart / length[:, None], -apart / length[:, None]
    return length, gradients


def wrong(positions):
    return positions[:, 0], positions
"""
METAD = ["metad", "water.flex", "start.xyz", "--walkers", "3", "--pace", "4", "--seed", "3"]
FROM_0_TO_1 = ["--sigma", "1", "--grid-min", "0", "--grid-max", "1"]
ANGLE = ["--coordinate", "angle 1 0 2"]
FILES = ("HILLS", "COLVAR", "trajectory.xyz")


@pytest.fixture
def here(here):
    """With a coordinate of one's own too."""
    (here / "own.py").write_text(OWN)
    return here


@pytest.mark.data
def test_a_run_in_two_pieces_leaves_the_same_bytes(here, run):
    """The second piece begins between two hills and two frames."""
    assert run(*METAD, *ANGLE, "--steps", "30", "--frame-every", "7", "-o", "pieces") == 0
    assert run(*METAD, *ANGLE, "--steps", "60", "--frame-every", "7", "-o", "pieces") == 0
    assert run(*METAD, *ANGLE, "--steps", "60", "--frame-every", "7", "-o", "whole") == 0
    for name in FILES:
        assert Path("pieces", name).read_bytes() == Path("whole", name).read_bytes()
    one, other = (np.load(Path(place, "surface.npz")) for place in ("pieces", "whole"))
    assert np.array_equal(one["surface"], other["surface"])


@pytest.mark.data
def test_a_run_cut_off_after_its_checkpoint_loses_and_doubles_no_hill(here, run, monkeypatch):
    """Killed by an error while records beyond the last checkpoint are on disk already."""
    assert run(*METAD, *ANGLE, "--steps", "40", "-o", "whole") == 0
    saved = Checkpoint.save

    def save_once(self, state, generator=None):
        saved(self, state, generator)
        if state.step == 22:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "__call__", lambda self, s: s.step == 22 and self.save(s))
        patch.setattr(Checkpoint, "save", save_once)
        assert run(*METAD, *ANGLE, "--steps", "40", "-o", "cut") == 130
    with open("cut/HILLS", "a") as hills:
        hills.write(Path("whole/HILLS").read_text().splitlines()[-1] + "\n0.5 1.")
    assert run(*METAD, *ANGLE, "--steps", "40", "-o", "cut") == 0
    for name in FILES:
        assert Path("cut", name).read_bytes() == Path("whole", name).read_bytes()


def test_frames_have_the_labels_of_the_model_without_the_bias(here, run):
    assert run(*METAD, *ANGLE, "--steps", "40", "--height-kcal-mol", "3", "-o", "m") == 0
    frames = flexcalc.read("m/trajectory.xyz")
    found = flexcalc.load("water.flex")(frames.positions)
    assert np.abs(found.forces - frames.forces).max() < 1e-8
    assert np.abs(found.energies - frames.energies).max() < 1e-8
    coordinates = [Coordinate.parse("angle 1 0 2")]
    colvar = plumed.read_colvar("m/COLVAR", coordinates)
    assert colvar.bias.max() > 0.1
    assert np.allclose(colvar.values[:, 0], coordinates[0].values(frames.positions))
    assert np.allclose(colvar.energies, frames.energies, atol=1e-9)
    results = json.loads(Path("m/results.json").read_text())
    assert results["hills"] == 3 * 10
    assert results["verdict_line"].startswith(results["verdict"])


def test_an_own_coordinate_is_as_good_as_the_built_in_one(here, run):
    """The bond by a Python function and by name give the same walkers, bytes of COLVAR aside."""
    limits = ["--sigma", "0.05", "--grid-min", "0.5", "--grid-max", "2", "--steps", "12"]
    own = ["--coordinate", "python:own.py:first_bond", "--trust"]
    assert run(*METAD, *own, *limits, "-o", "own") == 0
    assert run(*METAD, "--coordinate", "distance 0 1", *limits, "-o", "named") == 0
    one, other = (flexcalc.read(f"{place}/trajectory.xyz") for place in ("own", "named"))
    assert np.abs(one.positions - other.positions).max() < 1e-10


def test_a_wall_holds_back(here, run):
    wall = ["--upper-wall", "angle 1 0 2 at 95 kappa 0.5", "--steps", "40"]
    assert run(*METAD, *ANGLE, *wall, "-o", "m") == 0
    colvar = plumed.read_colvar("m/COLVAR", [Coordinate.parse("angle 1 0 2")])
    assert colvar.walls[0] > 0
    beyond = np.maximum(colvar.values[:, 0] - 95, 0)
    assert np.allclose(colvar.walls, 0.5 * 0.0433641 * beyond**2, rtol=1e-5)


def test_a_walker_off_the_grid_stops_the_run_and_keeps_what_was(here, run, capsys):
    limits = ["--sigma", "0.02", "--grid-min", "0.955", "--grid-max", "0.965"]
    assert run(*METAD, "--coordinate", "distance 0 1", *limits, "-o", "m") == 3
    assert "off the grid from 0.955 to 0.965" in capsys.readouterr().err
    assert Path("m/metad.checkpoint").exists()
    assert len(flexcalc.read("m/trajectory.xyz")) == 3


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--coordinate: missing"),
        (["--coordinate", "torsion 0 1"], "cannot read the coordinate 'torsion 0 1'"),
        (["--coordinate", "angle 1 0 3"], "names atom 3, but the molecule has 3 atoms"),
        ([*ANGLE, *ANGLE], "coordinate: expected different ones"),
        (["--coordinate", "distance 0 1"], "grid_min, grid_max: expected both bounds"),
        ([*ANGLE, "--sigma", "1,2"], "sigma: expected one for each of the 1 coordinates, found 2"),
        ([*ANGLE, "--sigma", "0"], "--sigma: expected more than 0"),
        ([*ANGLE, "--bias-factor", "1"], "--bias-factor: expected more than 1"),
        ([*ANGLE, "--hills", "plain", "--bias-factor", "4"], "not an option of hills plain"),
        ([*ANGLE, "--method", "nve"], "method: expected a thermostat, found nve"),
        ([*ANGLE, "--schedule", "1 ps 500 K"], "method: expected one temperature, found schedule"),
        ([*ANGLE, "--upper-wall", "angle 1 0 2"], "cannot read the wall 'angle 1 0 2'"),
        ([*ANGLE, "--upper-wall", "angle 1 0 7 at 9 kappa 1"], "names atom 7"),
        (["--coordinate", "python:own.py:first_bond"], "trust = true in the run file, or --trust"),
        (["--coordinate", "python:own.py:nothing", "--trust"], "own.py has no function 'nothing'"),
        (
            ["--coordinate", "python:own.py:wrong", "--trust", *FROM_0_TO_1],
            "expected values (3,) and gradients (3, 3, 3), found (3, 3)",
        ),
        (
            ["--coordinate", "distance 0 1", "--grid-min", "2", "--grid-max", "3"],
            "start: walker 0: distance 0 1 is 0.96 A, off the grid from 2 to 3",
        ),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(words, said, here, run, capsys):
    assert run(*METAD, *words, "-o", "m") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not Path("m").exists()


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected a first line"),
        ("1 2 3\n", "line 1: expected 0 finite numbers"),
        ("#! FIELDS time height\n1 2\n", "expected a column angle_1_0_2"),
        ("#! FIELDS time height\n1 nan\n", "line 2: expected 2 finite numbers"),
        ("#! FIELDS time height\n1\n", "line 2: expected 2 finite numbers"),
        ("#! FIELDS time height\n#! FIELDS time\n", "line 2: other fields than before"),
    ],
)
def test_a_damaged_hills_file_is_refused_in_one_line(content, said, tmp_path):
    from flexcalc.errors import FileFormatError

    (tmp_path / "HILLS").write_text(content)
    with pytest.raises(FileFormatError) as caught:
        plumed.read_hills(tmp_path / "HILLS", [Coordinate.parse("angle 1 0 2")])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
