"""The processes that share the work of a batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import flexcalc
from flexcalc import crew
from flexcalc.crew import shared
from flexcalc.potential import Evaluation

ROWS = 5


@pytest.fixture(scope="module")
def model(water_shelf):
    return flexcalc.load(water_shelf / "water.flex")


@pytest.fixture
def batch():
    start = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return start + 0.05 * np.random.default_rng(4).standard_normal((23, 3, 3))


@pytest.fixture
def mates(monkeypatch, model, batch):
    """A crew of two that is there; ends with the test."""
    monkeypatch.setattr(crew, "PATIENCE", 0.0)
    monkeypatch.setattr(crew, "cores", lambda: 3)
    crew._crew.cache_clear()
    mine = crew._crew(os.getpid())
    deadline = time.monotonic() + 60
    while len(mine._there()) < 2 and time.monotonic() < deadline:
        shared(model, batch, ROWS)
    assert len(mine._there()) == 2
    yield mine
    mine.end()
    crew._crew.cache_clear()


def alone(model, batch):
    """The same pieces, one after the other."""
    with crew.one_blas_thread():
        parts = [model.alone(batch[at : at + ROWS]) for at in range(0, len(batch), ROWS)]
    return crew.joined(parts)


def assert_same(one: Evaluation, other: Evaluation):
    np.testing.assert_array_equal(one.energies, other.energies)
    np.testing.assert_array_equal(one.forces, other.forces)


def test_a_crew_gives_the_same_bytes_as_one_process(mates, model, batch):
    assert_same(shared(model, batch, ROWS), alone(model, batch))
    assert_same(shared(model, batch[:7], ROWS), alone(model, batch[:7]))


def test_nobody_is_hired_for_little_work(monkeypatch, model, batch):
    monkeypatch.setattr(crew, "cores", lambda: 3)
    crew._crew.cache_clear()
    shared(model, batch, ROWS)
    assert crew._crew(os.getpid())._mates is None


def test_nobody_is_hired_where_there_is_one_core(monkeypatch, model, batch):
    monkeypatch.setattr(crew, "PATIENCE", 0.0)
    monkeypatch.setattr(crew, "cores", lambda: 1)
    crew._crew.cache_clear()
    shared(model, batch, ROWS)
    assert crew._crew(os.getpid())._mates == []
    crew._crew.cache_clear()


def test_each_potential_is_sent_once_and_forgotten_when_it_is_gone(mates, model, batch):
    twin = model.finished(1.0, {})
    expected = alone(model, batch)
    for _ in range(3):
        found = shared(twin, batch, ROWS)
        np.testing.assert_array_equal(found.forces, expected.forces)
        assert_same(shared(model, batch, ROWS), expected)
    assert all(len(mate._known) == 2 for mate in mates._mates)
    del twin
    assert all(len(mate._known) == 1 for mate in mates._mates)


@pytest.mark.data
def test_a_mate_that_is_killed_is_done_without(mates, model, batch):
    expected = alone(model, batch)
    os.kill(mates._mates[0]._process.pid, signal.SIGKILL)
    for _ in range(3):
        assert_same(shared(model, batch, ROWS), expected)
    assert len(mates._mates) == 1


@pytest.mark.data
def test_a_mate_that_is_killed_at_work_is_done_without(mates, model, batch, monkeypatch):
    expected = alone(model, batch)
    mate = mates._mates[1]
    os.kill(mate._process.pid, signal.SIGSTOP)
    threading.Timer(0.2, lambda: os.kill(mate._process.pid, signal.SIGKILL)).start()
    assert_same(shared(model, batch, ROWS), expected)
    assert mate.gone


def test_an_error_comes_out_as_without_a_crew(mates, model, batch):
    with pytest.raises(IndexError, match="out of bounds"):
        alone(model, batch[:, :2])
    with pytest.raises(IndexError, match="out of bounds"):
        shared(model, batch[:, :2], ROWS)
    assert_same(shared(model, batch, ROWS), alone(model, batch))


def test_an_interrupt_leaves_nothing_behind_for_the_next_batch(mates, model, batch, monkeypatch):
    """The mates' answers to the first batch must not be taken for the second's."""
    expected = alone(model, batch)

    class Interrupted:
        def alone(self, positions):
            raise KeyboardInterrupt

        def __reduce__(self):
            return model.__class__.finished, (model, 3.0, {})

    with pytest.raises(KeyboardInterrupt):
        shared(Interrupted(), batch, ROWS)
    assert_same(shared(model, batch, ROWS), expected)


def test_two_threads_do_not_mix_their_batches(mates, model, batch):
    expected, found = alone(model, batch), []

    def go():
        for _ in range(20):
            found.append(shared(model, batch, ROWS))

    threads = [threading.Thread(target=go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60
    for one in found:
        assert_same(one, expected)


RUN = """
import os, sys, time
import numpy as np
import flexcalc
from flexcalc import crew
crew.PATIENCE, crew.cores = 0.0, lambda: 2
model = flexcalc.load(sys.argv[1])
batch = np.tile(flexcalc.read(sys.argv[2]).positions[:1], (20, 1, 1))
while not (mates := crew._crew(os.getpid())._there()):
    crew.shared(model, batch, 5)
print(mates[0]._process.pid, flush=True)
if sys.argv[3] == "stay":
    time.sleep(600)
"""


@pytest.mark.data
@pytest.mark.parametrize("how", ["leave", "stay"])
def test_the_crew_ends_with_its_process_however_that_ends(water_shelf, how):
    words = [str(water_shelf / "water.flex"), str(water_shelf / "start.xyz"), how]
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        mate = int(process.stdout.readline())
        if how == "stay":
            process.kill()
        process.wait(60)
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{mate}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{mate}")
