"""Every named coordinate in every command that takes one: it works, or is refused at the start."""

import json
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.analysis.populations import Conformers, map_edges, visit_counts
from flexcalc.benchmarking.withheld import inside
from flexcalc.config.benchmark_tests import Withheld
from flexcalc.dataset import Dataset
from flexcalc.files import plumed
from flexcalc.geometry import Coordinate
from tests.test_benchmark import NUMBERS, furnish, peroxide

OWN = """
import numpy as np


def bond(positions):
    apart = positions[:, 0] - positions[:, 1]
    length = np.linalg.norm(apart, axis=1)
    gradients = np.zeros_like(positions)
    gradients[:, 0], gradients[:, 1] = apart / length[:, None], -apart / length[:, None]
    return length, gradients
"""

KINDS = {
    "distance": "distance 1 2",
    "angle": "angle 0 1 2",
    "dihedral": "dihedral 0 1 2 3",
    "difference": "difference 0 1 1 2",
    "coordination": "coordination 1 : 2 3 r0=1.6",
    "python": "python:own.py:bond",
}
"""One of each kind, of H-O-O-H."""
FAR = {
    "distance": "distance 0 4",
    "angle": "angle 0 1 4",
    "dihedral": "dihedral 0 1 2 4",
    "difference": "difference 0 1 1 4",
    "coordination": "coordination 0 1 : 2 4 r0=1.6",
}
"""The same with an atom that H-O-O-H has not."""
MODEL = "ase:wells.py:Wells"
LIMITS = {
    "distance": (1.3, 1.6),
    "angle": (90, 115),
    "dihedral": (40, 80),
    "difference": (-0.7, -0.3),
    "coordination": (0.5, 0.9),
    "python": (0.8, 1.2),
}
"""Ends of windows and grids."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with H-O-O-H on springs, starts of it, and 20 labelled frames."""
    furnish(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    straight = peroxide(60.0)
    straight[0] = [-0.97, 0.0, 0.0]
    flexcalc.write(tmp_path / "start.xyz", Dataset(NUMBERS, peroxide(60.0)[None]))
    flexcalc.write(tmp_path / "straight.xyz", Dataset(NUMBERS, straight[None]))
    frames = np.stack([peroxide(turn) for turn in np.linspace(10, 170, 20)])
    monkeypatch.chdir(tmp_path)
    found = flexcalc.load(MODEL, NUMBERS)(frames)
    flexcalc.write("frames.xyz", Dataset(NUMBERS, frames, found.energies, found.forces))
    return tmp_path


def command(name, coordinate, start="start.xyz"):
    """A short run of a command that takes a coordinate."""
    if name == "evaluate":
        return ["evaluate", MODEL, "frames.xyz", "--by", coordinate, "--trust", "-o", "out"]
    if name == "scan":
        drive = ["--method", "scan", "--drive", coordinate, "--images", "5", "--no-relax-ends"]
        return ["path", MODEL, start, *drive, "--trust", "-o", "out"]
    if name == "wall":
        wall = ["--upper-wall", f"{coordinate} at 0.5 kappa 0.001", "--coordinate", "angle 1 2 3"]
        return ["metad", MODEL, start, *wall, "--steps", "6", "--trust", "-o", "out"]
    kind = coordinate.partition(" ")[0].partition(":")[0]
    low, high = LIMITS[kind]
    words = [name, MODEL, start, "--coordinate", coordinate, "--trust", "-o", "out"]
    if name == "umbrella":
        ends = ["--low", low, "--high", high, "--windows", "3", "--equilibration", "4"]
        return [*words, *ends, "--steps", "40", "--colvar-every", "2"]
    ends = [] if kind == "dihedral" else ["--grid-min", low - 5, "--grid-max", high + 5]
    return [*words, *ends, "--sigma", "0.5", "--steps", "6"]


COMMANDS = ("metad", "umbrella", "wall", "scan", "evaluate")
REFUSED = {
    ("wall", "dihedral"): "a wall on a dihedral has no far side",
    ("scan", "python"): "not user-defined functions",
}
"""What a command does not take of the kinds, and what it says."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_a_coordinate_or_refuses_it_at_the_start(name, kind, here, run, capsys):
    text = KINDS[kind]
    end = {"distance": 1.6, "angle": 110, "dihedral": 90, "difference": -0.6, "coordination": 0.9}
    drive = f"{text} to {end.get(kind, 1)}" if name == "scan" else text
    words = command(name, drive)
    code = run(*words)
    said = capsys.readouterr().err
    if (name, kind) in REFUSED:
        assert code == 2
        assert REFUSED[name, kind] in said
        assert said.count("\n") == 1
        assert not Path("out").exists()
        return
    assert code == 0, said
    coordinate = Coordinate.parse(text, trust=True)
    if name in ("metad", "umbrella"):
        first = flexcalc.read("out/trajectory.xyz").positions[0]
        column = plumed.read_table("out/COLVAR")[coordinate.name]
        factor = plumed.UNITS[coordinate.unit]
        assert column[0] / factor == pytest.approx(coordinate.values(first[None])[0], abs=1e-6)
    if name == "scan":
        # Every image has the value that it should, evenly from the start's to the last.
        found = coordinate.values(flexcalc.read("out/path.xyz").positions)
        first = coordinate.values(peroxide(60.0)[None])[0]
        assert found == pytest.approx(np.linspace(first, end[kind], 5), abs=1e-6)
    if name == "evaluate":
        regions = json.loads(Path("out/errors.json").read_text())[0]["regions"][0]
        assert regions["coordinate"] == coordinate.label
        assert sum(row["population"] for row in regions["bins"]) == 20


@pytest.mark.inputs
@pytest.mark.parametrize("kind", FAR)
@pytest.mark.parametrize("name", COMMANDS)
def test_an_atom_that_is_not_there_is_refused_in_every_command(name, kind, here, run, capsys):
    text = f"{FAR[kind]} to 1" if name == "scan" else FAR[kind]
    assert run(*command(name, text)) == 2
    said = capsys.readouterr().err
    if (name, kind) not in REFUSED:
        assert "names atom 4, but the molecule has 4 atoms, 0 to 3" in said
    assert said.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.inputs
@pytest.mark.parametrize("name", ["metad", "umbrella", "scan"])
def test_a_dihedral_over_a_linear_angle_is_refused_at_the_start(name, here, run, capsys):
    text = "dihedral 0 1 2 3"
    words = command(name, f"{text} to 90" if name == "scan" else text, "straight.xyz")
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "'dihedral 0 1 2 3' has no value where the angle 0 1 2 is 180.0 degrees" in said
    assert said.count("\n") == 1
    assert not Path("out").exists()


def test_frames_without_a_dihedral_are_counted_by_evaluate(here, run, capsys):
    straight = flexcalc.read("straight.xyz").positions
    frames = flexcalc.read("frames.xyz").positions
    both = np.concatenate([frames[:3], straight])
    found = flexcalc.load(MODEL, NUMBERS)(both)
    flexcalc.write("frames.xyz", Dataset(NUMBERS, both, found.energies, found.forces))
    assert run(*command("evaluate", "dihedral 0 1 2 3")) == 0
    assert "that is so in 1 of 4 frames" in capsys.readouterr().out


def test_a_linear_angle_is_warned_of_where_a_bias_begins(here, run, capsys):
    words = ["metad", MODEL, "straight.xyz", "--coordinate", "angle 0 1 2", "--steps", "2"]
    assert run(*words, "--trust", "-o", "again") == 0
    assert "warning: 'angle 0 1 2' is 180.0 degrees at the start" in capsys.readouterr().out


def test_windows_that_no_sample_reaches_are_told_of_in_one_line(here, run, capsys):
    """The springs are far too weak to stretch a bond by an angstrom in a few steps."""
    words = ["umbrella", MODEL, "start.xyz", "--coordinate", "distance 1 2", "--windows", "2"]
    words += ["--low", "2.6", "--high", "2.9", "--kappa-kcal-mol", "0.001", "--steps", "40"]
    words += ["--equilibration", "4", "--colvar-every", "2", "-o", "out"]
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "no sample is where the windows are" in said
    assert said.count("\n") == 1
    assert Path("out/COLVAR").stat().st_size > 0


@pytest.mark.parametrize("kind", KINDS)
def test_regions_and_conformers_of_a_benchmark_are_told_by_any_coordinate(kind, here):
    """The minima are the nearest to themselves; a region holds what lies between its ends."""
    coordinate = Coordinate.parse(KINDS[kind], trust=True)
    wide = peroxide(175.0)
    wide[0] *= 1.1
    wide[2:] += [0.1, 0.0, 0.0]
    wide[0, 1] -= 0.1
    minima = {"cis": peroxide(5.0), "trans": wide}
    both = np.stack(list(minima.values()))
    conformers = Conformers.of(NUMBERS, minima, [coordinate])
    assert conformers.nearest(both).tolist() == [0, 1]
    low, high = np.sort(np.abs(coordinate.values(both)))
    if kind == "difference":
        low, high = -high, -low
    part = Withheld(name="part", coordinate=KINDS[kind], low=low - 1e-6, high=(low + high) / 2)
    found = inside(NUMBERS, part, minima, (coordinate,), both, trust=True)
    assert found.sum() == 1
    edges = [map_edges(one, 4, both) for one in (coordinate, Coordinate.parse("distance 0 1"))]
    pair = (coordinate, Coordinate.parse("distance 0 1"))
    assert visit_counts(pair, edges, both).sum() == 2


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"cis.xyz"', '"straight.xyz"', "minimum cis: 'dihedral 0 1 2 3' has no value"),
        ('"dihedral 0 1 2 3"]\nbins', '"coordination 0 : 9 r0=1"]\nbins', "names atom 9"),
        ('end = "trans"\nmethod = {kind = "scan", images = 5, drive = ["dihedral 0 1 2 3"]}',
         'end = "cis"', "found 'cis' twice"),
    ],
)  # fmt: skip
def test_a_benchmark_refuses_a_coordinate_or_a_path_at_its_start(
    old, new, message, here, run, capsys
):
    text = Path("run.toml").read_text()
    assert old in text
    Path("run.toml").write_text(text.replace(old, new))
    assert run("benchmark", "run.toml", "-o", "out") == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("out").exists()
