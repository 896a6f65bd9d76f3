"""Fixtures of several test files: labelled water and ethanol, a model of water, a command line."""

import tempfile
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.dataset import Dataset
from flexcalc.reports import write
from tests.systems import (
    GEOMETRY,
    WATER,
    ethanol_frames,
    labelled,
    springs,
    toy_labels,
    turned,
    water_frames,
)


@pytest.fixture(autouse=True)
def without_figures(request, monkeypatch):
    """Runs write no figures/NAME.svg and .pdf, which takes longer than most tests."""
    if "with_figures" not in request.fixturenames:
        monkeypatch.setattr(write, "collected", lambda: nullcontext({}))


@pytest.fixture
def with_figures():
    """Runs write their figures, as they do outside of tests."""


@pytest.fixture
def rng():
    return np.random.default_rng(20261121)


@pytest.fixture(scope="session")
def toy():
    """The functions of the toy surface, for tests that make their own molecules."""
    return SimpleNamespace(
        labels=toy_labels,
        labelled=labelled,
        ethanol_frames=ethanol_frames,
        water_frames=water_frames,
        turned=turned,
    )


@pytest.fixture
def water(rng):
    """Sixty labelled frames of water."""
    return labelled(*water_frames(60, rng))


@pytest.fixture(scope="session")
def ethanol():
    """Eighty labelled frames of ethanol."""
    return labelled(*ethanol_frames(80, np.random.default_rng(7)))


@pytest.fixture(scope="session")
def water_shelf(tmp_path_factory):
    """A folder with labels of water (water.xyz), a start (start.xyz) and a model (water.flex)."""
    folder = tmp_path_factory.mktemp("water")
    flexcalc.write(folder / "water.xyz", springs(60))
    flexcalc.write(folder / "start.xyz", Dataset(WATER, GEOMETRY[None]))
    model = flexcalc.train(springs(60), points=20, sigma=5.0, symmetry=False)
    model.save(folder / "water.flex")
    return folder


@pytest.fixture
def here(water_shelf, tmp_path, monkeypatch):
    """A folder to work in, with the shelf's things in it."""
    for entry in water_shelf.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def run():
    """Runs a command line in this process; returns its exit code."""

    def run(*words):
        try:
            cli.main([str(word) for word in words])
        except SystemExit as end:
            return end.code or 0
        return 0

    return run


@pytest.fixture(scope="module")
def own_sockets(tmp_path_factory):
    """A short temporary folder for i-PI's sockets, so that two suites may run side by side."""
    tmp_path_factory.getbasetemp()  # of all tests, so not in a folder that goes with this module
    with tempfile.TemporaryDirectory(prefix="fx", dir="/tmp") as folder:
        before = tempfile.tempdir
        tempfile.tempdir = folder
        yield folder
        tempfile.tempdir = before


LONGEST = ("test_readme.py", "test_benchmark.py", "test_benchmark_crash.py")
"""Files that take minutes. They go first, so that no process is left with one at the end."""


COLLECTED = pytest.StashKey[int]()
"""How many tests were collected, before any was deselected (`test_suite.py`)."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    config.stash[COLLECTED] = len(items)
    items.sort(key=lambda item: item.path.name not in LONGEST)
