"""Extreme values of every numeric field of every command: it runs, or says why in one line."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

import flexcalc
from flexcalc.config import COMMANDS, load
from flexcalc.config.writing import _literal
from flexcalc.dataset import Dataset
from tests import extremes
from tests.systems import GEOMETRY, WATER

pytestmark = pytest.mark.inputs

SAMPLE = 60
LEAST = 2000


@pytest.fixture(scope="module")
def shelf(water_shelf, tmp_path_factory):
    """The things of the cases: those of the water shelf, and another geometry."""
    folder = tmp_path_factory.mktemp("extremes")
    for entry in water_shelf.iterdir():
        (folder / entry.name).symlink_to(entry)
    flexcalc.write(folder / "end.xyz", Dataset(WATER, 1.2 * GEOMETRY[None]))
    return folder


def outcomes(chosen, shelf):
    """Of each case what came of it, in order."""
    words = [sys.executable, extremes.__file__, str(shelf)]
    given = "".join(json.dumps(case) + "\n" for case in chosen)
    done = subprocess.run(words, input=given, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(found):
    """The cases that went wrong, for whoever has to mend them."""
    return [
        f"{one['command']} {[step[1] for step in one['path']]} {one['name']} = {one['value']!r}: "
        f"{', '.join(one['faults'])}: {one['said'][-300:]}"
        for one in found
        if one["faults"]
    ]


def test_a_sample_of_extreme_values_gives_runs_or_single_lines(shelf):
    chosen = random.Random(7).sample(extremes.cases(), SAMPLE)
    found = outcomes(chosen, shelf)
    assert len(found) == SAMPLE
    assert told(found) == []


@pytest.mark.long
def test_all_extreme_values_give_runs_or_single_lines(shelf):
    chosen = extremes.cases()
    assert len(chosen) >= LEAST
    found = outcomes(chosen, shelf)
    assert len(found) == len(chosen)
    assert told(found) == []


def test_the_small_runs_that_are_given_extremes_run_as_they_are(shelf):
    kinds = [(("method", "langevin", False),), (("hills", "plain", False),)]
    chosen = [
        {"command": "md", "path": kinds[0], "name": "temperature_K", "value": 300.0},
        {"command": "metad", "path": kinds[1], "name": "height_kcal_mol", "value": 0.1},
        {"command": "umbrella", "path": [], "name": "steps", "value": 6},
        {"command": "label", "path": [], "name": "workers", "value": 1},
        {"command": "evaluate", "path": [], "name": "bins", "value": 3},
        {"command": "train", "path": [], "name": "points", "value": 8},
        {"command": "path", "path": [], "name": "steps", "value": 2},
        {"command": "benchmark", "path": [], "name": "bins", "value": 3},
    ]
    found = outcomes(chosen, shelf)
    assert [one["code"] for one in found] == [0] * len(chosen), told(found)


def test_every_command_but_those_that_run_others_is_tried():
    assert set(COMMANDS) - set(extremes.BASES) == {"demo", "ipi"}


def test_what_counts_as_a_fault_is_found():
    """The judge of the outcomes, judged: each kind of fault alone."""
    good = {
        "code": 2,
        "said": "flexcalc: x\n",
        "seconds": 1.0,
        "hung": False,
        "bytes": 0,
        "left": [],
    }
    assert extremes.faults({"path": []}, good) == []
    for change in (
        {"code": extremes.CRASHED},
        {"code": -11},
        {"said": "Traceback (most recent call last):\nflexcalc: x\n"},
        {"said": ""},
        {"said": "flexcalc: x\nflexcalc: y\n"},
        {"hung": True},
        {"seconds": extremes.SECONDS + 1},
        {"bytes": 501 << 20},
        {"left": ["out"]},
    ):
        assert len(extremes.faults({"path": []}, good | change)) >= 1, change


@pytest.mark.parametrize(
    ("command", "text", "value"),
    [
        ("benchmark", 'stages = ["minima", "joint"]', ("minima", "joint")),
        ("train", 'family = {kind = "bpnn", precision = "float32"}', "float32"),
    ],
)
def test_words_with_the_name_of_a_number_type_in_them_are_words(tmp_path, command, text, value):
    base = {**extremes.BASES[command]}
    base.pop("stages", None)
    lines = [f"{key} = {_literal(entry)}" for key, entry in base.items()]
    (tmp_path / "run.toml").write_text("\n".join([*lines, text]))
    config = load(COMMANDS[command], tmp_path / "run.toml")
    found = config.stages if command == "benchmark" else config.family[0].precision
    assert found == value
