"""Make `faulty` importable here and in the worker processes that tests start."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from fake_slurm import FakeSlurm  # noqa: E402


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> FakeSlurm:
    """A pretended Slurm on the PATH, whose jobs can import what the tests can."""
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{fake.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))
    monkeypatch.chdir(tmp_path)
    return fake
