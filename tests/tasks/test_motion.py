"""Dynamics in Python whose guards stop it, or whose folder is left."""

import pytest
from ase.build import molecule
from ase.calculators.emt import EMT

import flexcalc as fx
from flexcalc import cli

BIASED = {"coordinate": "distance 0 1", "keep_bonds": False}
COMMANDS = {
    "md": {"keep_bonds": False},
    "metad": {**BIASED, "grid_min": 0.5, "grid_max": 3.0},
    "umbrella": {**BIASED, "low": 0.9, "high": 1.1, "windows": 3, "equilibration": 20},
}


@pytest.mark.guard
@pytest.mark.parametrize("name", COMMANDS)
def test_a_guard_that_refuses_the_start_is_told_by_the_result(name):
    found = getattr(fx, name)(
        EMT(), molecule("H2O"), steps=60, min_contact=1.5, progress=False, **COMMANDS[name]
    )
    assert found.stopped.reason == "close contact"
    assert found.steps == 0
    assert found.to_dict()["steps"] == 0


@pytest.mark.guard
def test_the_command_line_ends_with_3_where_the_start_is_refused(here, capsys):
    words = ["metad", "water.flex", "start.xyz", "--coordinate", "distance 0 1", "--steps", "4"]
    with pytest.raises(SystemExit) as end:
        cli.main([*words, "--grid-min", "0.5", "--grid-max", "3", "--min-contact", "1.5"])
    assert end.value.code == 3
    assert "min_contact" in capsys.readouterr().err


@pytest.mark.guard
def test_a_resumed_run_that_is_stopped_again_has_the_steps_that_it_made(tmp_path):
    options = {"steps": 400, "max_temperature_K": 600.0, "keep_bonds": False, "progress": False}
    cold = fx.Langevin(temperature_K=20)
    again = {**options, "steps": 800}
    first = fx.md(EMT(), molecule("H2O"), method=cold, output=tmp_path / "md", **options)
    second = fx.md(EMT(), molecule("H2O"), method=cold, output=tmp_path / "md", **again)
    assert first.stopped is not None
    assert second.stopped is not None
    assert second.steps == first.steps > 0


def test_arrays_of_a_kept_run_are_read_from_another_folder_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = fx.md(EMT(), molecule("H2O"), steps=20, keep_bonds=False, output="md", progress=False)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert found.positions.shape == (2, 1, 3, 3)
