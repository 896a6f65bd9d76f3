"""What earlier versions left on disk still opens, means the same, and goes on; see make.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from tests.compatibility.make import HERE, springs

pytestmark = pytest.mark.data

FOLDERS = sorted(path for path in Path(__file__).parent.iterdir() if path.name.isdecimal())
EXPECTED = {folder: json.loads((folder / "expected.json").read_text()) for folder in FOLDERS}
COMMANDS = {folder: json.loads((folder / "commands.json").read_text()) for folder in FOLDERS}
MODELS = [(folder, name) for folder in FOLDERS for name in EXPECTED[folder]]
RUNS = [(folder, name) for folder in FOLDERS for name in COMMANDS[folder]]
CUT = [(folder, name) for folder, name in RUNS if (folder / "interrupted" / name).exists()]
TOLERANCE = 1e-6
"""eV and eV/angstrom; a network runs on another machine's arithmetic."""
VOLATILE = {
    *("seconds", "steps_per_second", "ns_per_day", "labelling_seconds"),
    *("training_seconds", "call_ms"),
    "verdict_line",  # a sentence, whose figures are compared by themselves
}


def named(case):
    return case.name if isinstance(case, Path) else case


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A copy of a folder to work in."""

    def copied(folder):
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        for path in tmp_path.glob("*ed/*/**/*"):
            if path.suffix in (".toml", ".json", ".txt", ".xyz"):
                path.write_text(path.read_text().replace(HERE, str(tmp_path)))
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return copied


@pytest.mark.parametrize(("folder", "name"), MODELS, ids=named)
def test_a_model_of_an_earlier_version_gives_what_it_gave(folder, name, run):
    model = flexcalc.load(folder / "models" / f"{name}.flex")
    found = model(springs(3, seed=1).positions)
    assert np.abs(found.energies - EXPECTED[folder][name]["energies"]).max() < TOLERANCE
    assert np.abs(found.forces - EXPECTED[folder][name]["forces"]).max() < TOLERANCE
    assert run("info", folder / "models" / f"{name}.flex") == 0


def results(folder):
    """What a run found, without what a clock measured."""
    found = json.loads((folder / "results.json").read_text())
    return {key: value for key, value in found.items() if key not in VOLATILE}


@pytest.mark.parametrize(("folder", "name"), RUNS, ids=named)
def test_a_finished_run_of_an_earlier_version_is_known_as_finished(folder, name, run, shelf):
    here = shelf(folder)
    before = (here / "finished" / name / "results.json").read_bytes()
    assert run(*COMMANDS[folder][name], "--output", f"finished/{name}") == 0
    assert (here / "finished" / name / "results.json").read_bytes() == before
    assert run("info", f"finished/{name}") == 0
    assert run("report", f"finished/{name}") == 0


def alike(found, expected):
    """Whether two results agree; GFN2-xTB starts an SCF from the last, which a restart lacks."""
    if isinstance(expected, dict):
        return set(expected) <= set(found) and all(
            alike(found[key], value) for key, value in expected.items() if key not in VOLATILE
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    if isinstance(expected, float):
        return found == pytest.approx(expected, rel=2e-3, abs=1e-4)
    return found == expected


@pytest.mark.parametrize(("folder", "name"), CUT, ids=named)
def test_an_interrupted_run_of_an_earlier_version_goes_on_to_the_same_end(folder, name, run, shelf):
    here = shelf(folder)
    assert run(*COMMANDS[folder][name], "--output", f"interrupted/{name}") == 0
    found, expected = (results(here / kind / name) for kind in ("interrupted", "finished"))
    wrong = {
        key: (found.get(key), value)
        for key, value in expected.items()
        if not alike(found.get(key), value)
    }
    assert not wrong
