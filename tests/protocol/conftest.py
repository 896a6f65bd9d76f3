"""Lets the tests of the i-PI client share their helpers, and pins them to one thread."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def quiet_processes(monkeypatch):
    """Processes started here find the helpers and use one thread."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def clients(tmp_path_factory):
    """Client processes that start quickly, one at a time."""
    from ipi_bench import client_processes

    with client_processes(tmp_path_factory.mktemp("clients")) as made:
        yield made


@pytest.fixture(scope="session")
def calm(tmp_path_factory):
    """Folder of 250 steps of i-PI with one undisturbed client on a unix socket."""
    from ipi_bench import input_xml, over_socket, simulate
    from ipi_springs import Springs

    folder = tmp_path_factory.mktemp("calm")
    name = f"flexcalc-calm-{folder.stat().st_ino}"
    assert simulate(folder, input_xml(over_socket(name), steps=250), Springs(), unix=name) == 251
    return folder


@pytest.fixture
def springs():
    from ipi_springs import Springs

    return Springs()


@pytest.fixture
def socket_name():
    """A unix socket name of its own, removed afterwards."""
    import uuid

    name = f"flexcalc-test-{uuid.uuid4().hex[:12]}"
    yield name
    Path(f"/tmp/ipi_{name}").unlink(missing_ok=True)
