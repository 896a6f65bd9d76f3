"""What needs more memory than there is is refused before any is taken."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from flexcalc import memory
from flexcalc.errors import InputError
from flexcalc.memory import without_collector


@pytest.mark.guard
def test_a_refusal_says_what_is_needed_and_what_is_there(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 << 30)
    memory.require_memory(3 << 30, "few frames", "ask for fewer")
    said = "^many frames need about 5 GiB of memory, and 3 GiB are free; ask for fewer$"
    with pytest.raises(InputError, match=said):
        memory.require_memory(5 << 30, "many frames", "ask for fewer")


@pytest.mark.guard
def test_where_nothing_is_known_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    memory.require_memory(10**30, "anything", "nothing")


@pytest.mark.guard
def test_a_limit_of_the_process_counts():
    code = (
        "import resource; from flexcalc.memory import available_bytes; before = available_bytes();"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30));"
        "print(before > available_bytes() < 1 << 30)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("label", "water.flex", "start.xyz", "--samples", "displacement"),
            "1000000000 frames of 3 atoms need about 671 GiB of memory, and",
        ),
        (("md", "water.flex", "start.xyz", "--replicas", "100000"), "100000 replicas of 3 atoms"),
    ],
)
def test_a_command_that_needs_too_much_leaves_nothing(here, run, monkeypatch, capsys, words, said):
    monkeypatch.setattr(memory, "available_bytes", lambda: 64 << 20)
    more = ("--frames", "1000000000") if words[0] == "label" else ()
    assert run(*words, *more, "--output", "out") == 2
    assert capsys.readouterr().err.startswith(f"flexcalc: {said}")
    assert not Path("out").exists()


@pytest.mark.inputs
def test_a_family_with_nothing_to_try_is_refused(here, run, capsys):
    Path("run.toml").write_text(
        'dataset = "water.xyz"\npoints = 10\nvalidation_points = 5\n'
        'family = {kind = "sgdml", sigmas = []}\n'
    )
    assert run("train", "run.toml", "--output", "out") == 2
    assert "sgdml: a list of values to try is empty" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.inputs
def test_a_mixture_without_a_number_of_regions_is_refused(here, run, capsys):
    Path("run.toml").write_text(
        'dataset = "water.xyz"\npoints = 10\nvalidation_points = 5\n'
        'family = {kind = "mixture", region_numbers = []}\n'
    )
    assert run("train", "run.toml", "--output", "out") == 2
    assert "region_numbers: expected at least one number" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_pause_of_the_collector_leaves_it_as_it_was():
    try:
        for enabled in (True, False):
            (gc.enable if enabled else gc.disable)()
            with without_collector():
                assert not gc.isenabled()
            assert gc.isenabled() == enabled
    finally:
        gc.enable()
