"""Lets the tests of the i-PI client share their helpers, and pins them to one thread."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def quiet_processes(monkeypatch):
    """Processes started here find the helpers and use one thread."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


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
