"""What several test files share: water on springs, its labels and a model of it."""

import tempfile

import numpy as np
import pytest

import flexcalc
from flexcalc import cli
from flexcalc.dataset import Dataset

WATER = np.array([8, 1, 1])
GEOMETRY = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


def springs(frames, seed=0):
    """Labelled frames of water whose bonds and angle are springs between all pairs."""
    rng = np.random.default_rng(seed)
    positions = GEOMETRY + 0.05 * rng.standard_normal((frames, 3, 3))
    energies, forces = np.zeros(frames), np.zeros_like(positions)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        vectors = positions[:, i] - positions[:, j]
        lengths = np.linalg.norm(vectors, axis=1)
        gap = lengths - np.linalg.norm(GEOMETRY[i] - GEOMETRY[j])
        pull = (-30.0 * gap / lengths)[:, None] * vectors
        energies += 15.0 * gap**2
        forces[:, i] += pull
        forces[:, j] -= pull
    return Dataset(WATER, positions, energies, forces)


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
