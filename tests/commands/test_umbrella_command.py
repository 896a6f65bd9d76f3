"""`flexcalc umbrella` from the command line: its files, restart, labels and complaints."""

import json
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.analysis import umbrella
from flexcalc.files import plumed
from flexcalc.geometry import Coordinate
from flexcalc.methods.iterate import Checkpoint

pytest.importorskip("pymbar")

ANGLE = Coordinate.parse("angle 1 0 2")
UMBRELLA = [
    *["umbrella", "water.flex", "start.xyz", "--coordinate", "angle 1 0 2", "--low", "94"],
    *["--high", "114", "--windows", "5", "--equilibration", "20", "--colvar-every", "5"],
    *["--frame-every", "7", "--seed", "3"],
]
FILES = ("COLVAR", "trajectory.xyz", "umbrella.npz")


@pytest.mark.data
def test_a_run_in_two_pieces_leaves_the_same_bytes(here, run):
    """The second piece begins while the windows are still being pulled, between two frames."""
    assert run(*UMBRELLA, "--equilibration", "60", "--steps", "65", "-o", "pieces") == 0
    assert run(*UMBRELLA, "--equilibration", "60", "--steps", "130", "-o", "pieces") == 0
    assert run(*UMBRELLA, "--equilibration", "60", "--steps", "130", "-o", "whole") == 0
    for name in FILES:
        assert Path("pieces", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.data
def test_a_run_cut_off_while_windows_are_pulled_goes_on_as_if_it_was_not(here, run, monkeypatch):
    assert run(*UMBRELLA, "--steps", "40", "-o", "whole") == 0
    saved = Checkpoint.save

    def save_once(self, state, generator=None):
        saved(self, state, generator)
        if state.step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "__call__", lambda self, s: s.step == 6 and self.save(s))
        patch.setattr(Checkpoint, "save", save_once)
        assert run(*UMBRELLA, "--steps", "40", "-o", "cut") == 130
    assert run(*UMBRELLA, "--steps", "40", "-o", "cut") == 0
    for name in FILES:
        assert Path("cut", name).read_bytes() == Path("whole", name).read_bytes()


def test_files_have_the_model_without_the_springs_and_the_springs_beside_it(here, run):
    assert run(*UMBRELLA, "--steps", "50", "--frame-every", "5", "-o", "u") == 0
    frames = flexcalc.read("u/trajectory.xyz")
    found = flexcalc.load("water.flex")(frames.positions)
    assert np.abs(found.forces - frames.forces).max() < 1e-8
    assert list(frames.tags["window"][:6]) == [0, 1, 2, 3, 4, 0]
    table = plumed.read_table("u/COLVAR")
    values = np.degrees(table["angle_1_0_2"])
    assert np.allclose(values, ANGLE.values(frames.positions))
    settled = table["time"] > 20 * 0.5e-3
    centres = np.array([94, 99, 104, 109, 114])[table["window"].astype(int)]
    kT = 8.314462618e-3 * 300
    bias = kT / 2 * ((values - centres) / 2.5) ** 2
    assert np.allclose(table["restraint.bias"][settled], bias[settled], rtol=1e-6)
    assert np.allclose(table["restraint.bias"][:5], 0)
    results = json.loads(Path("u/results.json").read_text())
    assert results["samples"] == 5 * 6
    assert results["windows"] == 5
    page = Path("u/report.html").read_text()
    assert "umbrella-profile" in page
    assert "umbrella-histograms" in page
    assert "By window" in page


def test_windows_without_overlap_are_told_in_the_run_and_on_the_page(here, run, capsys):
    words = ["--kappa-kcal-mol", "0.6", "--steps", "1000", "--equilibration", "800"]
    assert run(*UMBRELLA, *words, "-o", "u") == 0
    results = json.loads(Path("u/results.json").read_text())
    assert results["pieces"] == 5
    assert results["warning"].startswith("too little overlap of windows 0 and 1 (94 and 99), 1 and")
    assert f"warning: {results['warning']}" in capsys.readouterr().out
    assert "Too little overlap of windows 0 and 1" in Path("u/report.html").read_text()


def test_two_coordinates_make_a_surface(here, run):
    words = ["--coordinate", "distance 0 1", "--steps", "40"]
    grid = ["--low", "94,0.9", "--high", "114,1.0", "--windows", "3,2"]
    base = [one for one in UMBRELLA if one not in ("--low", "94", "--high", "114", "--windows")]
    base.remove("5")
    assert run(*base, *words, *grid, "-o", "u") == 0
    found = np.load("u/umbrella.npz")
    assert found["profile"].shape == (9, 6)
    assert found["centres"].tolist()[:2] == [[94, 0.9], [94, 1.0]]
    assert "Free-energy surface" in Path("u/report.html").read_text()


def test_a_guard_stops_the_run_and_keeps_what_was(here, run, capsys):
    assert run(*UMBRELLA, "--steps", "50", "--max-temperature-K", "1", "-o", "u") == 3
    assert "temperature" in capsys.readouterr().err
    assert "stopped:" in Path("u/log.txt").read_text()


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "20"], "steps: expected at least 25, for a sample after the equilibration"),
        (["--method", "nve"], "method: expected a thermostat, found nve"),
        (["--schedule", "1 ps 500 K"], "method: expected one temperature, found schedule"),
        (["--coordinate", "angle 1 0 2"], "coordinate: expected different ones"),
        (["--coordinate", "angle 1 0 3"], "low: expected one for each of the 2 coordinates"),
        (["--windows", "0"], "--windows: expected at least 1"),
        (["--kappa-kcal-mol", "0"], "--kappa-kcal-mol: expected more than 0"),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_and_leaves_nothing(words, said, here, run, capsys):
    assert run(*UMBRELLA, *words, "-o", "u") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not Path("u").exists()


def test_a_missing_pymbar_is_named_before_anything_runs(here, run, capsys, monkeypatch):
    monkeypatch.setattr(umbrella, "find_spec", lambda name: None)
    assert run(*UMBRELLA, "--steps", "50", "-o", "u") == 2
    assert "pip install 'flexcalc[umbrella]'" in capsys.readouterr().err
    assert not Path("u").exists()
