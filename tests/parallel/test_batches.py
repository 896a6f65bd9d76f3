"""The processes that share a batch of a potential."""

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
from flexcalc.parallel import batches
from flexcalc.parallel.batches import evaluate_in_pieces
from flexcalc.potential import Evaluation, concatenate

ROWS = 5


@pytest.fixture(scope="module")
def model(water_shelf):
    return flexcalc.load(water_shelf / "water.flex")


@pytest.fixture
def batch():
    start = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    return start + 0.05 * np.random.default_rng(4).standard_normal((23, 3, 3))


@pytest.fixture
def workers(monkeypatch, model, batch):
    """Two workers that have started; ends with the test."""
    monkeypatch.setattr(batches, "PATIENCE", 0.0)
    monkeypatch.setattr(batches, "cores", lambda: 3)
    batches._batch_pool.cache_clear()
    mine = batches._batch_pool(os.getpid())
    deadline = time.monotonic() + 60
    while len(mine._there()) < 2 and time.monotonic() < deadline:
        evaluate_in_pieces(model, batch, ROWS)
    assert len(mine._there()) == 2
    yield mine
    mine.end()
    batches._batch_pool.cache_clear()


def alone(model, batch):
    """The same pieces, one after the other."""
    with batches.one_blas_thread():
        parts = [model.alone(batch[at : at + ROWS]) for at in range(0, len(batch), ROWS)]
    return concatenate(parts)


def assert_same(one: Evaluation, other: Evaluation):
    np.testing.assert_array_equal(one.energies, other.energies)
    np.testing.assert_array_equal(one.forces, other.forces)


def test_worker_processes_give_the_same_bytes_as_one_process(workers, model, batch):
    assert_same(evaluate_in_pieces(model, batch, ROWS), alone(model, batch))
    assert_same(evaluate_in_pieces(model, batch[:7], ROWS), alone(model, batch[:7]))


def test_no_worker_is_started_for_little_work(monkeypatch, model, batch):
    monkeypatch.setattr(batches, "cores", lambda: 3)
    batches._batch_pool.cache_clear()
    evaluate_in_pieces(model, batch, ROWS)
    assert batches._batch_pool(os.getpid())._workers is None


def test_no_worker_is_started_where_there_is_one_core(monkeypatch, model, batch):
    monkeypatch.setattr(batches, "PATIENCE", 0.0)
    monkeypatch.setattr(batches, "cores", lambda: 1)
    batches._batch_pool.cache_clear()
    evaluate_in_pieces(model, batch, ROWS)
    assert batches._batch_pool(os.getpid())._workers == []
    batches._batch_pool.cache_clear()


def test_each_potential_is_sent_once_and_forgotten_when_it_is_gone(workers, model, batch):
    twin = model.finished(1.0, {})
    expected = alone(model, batch)
    for _ in range(3):
        found = evaluate_in_pieces(twin, batch, ROWS)
        np.testing.assert_array_equal(found.forces, expected.forces)
        assert_same(evaluate_in_pieces(model, batch, ROWS), expected)
    assert all(len(worker._known) == 2 for worker in workers._workers)
    del twin
    assert all(len(worker._known) == 1 for worker in workers._workers)


@pytest.mark.data
def test_a_worker_that_is_killed_is_done_without(workers, model, batch):
    expected = alone(model, batch)
    os.kill(workers._workers[0]._process.pid, signal.SIGKILL)
    for _ in range(3):
        assert_same(evaluate_in_pieces(model, batch, ROWS), expected)
    assert len(workers._workers) == 1


@pytest.mark.data
def test_a_worker_that_is_killed_at_work_is_done_without(workers, model, batch, monkeypatch):
    expected = alone(model, batch)
    worker = workers._workers[1]
    os.kill(worker._process.pid, signal.SIGSTOP)
    threading.Timer(0.2, lambda: os.kill(worker._process.pid, signal.SIGKILL)).start()
    assert_same(evaluate_in_pieces(model, batch, ROWS), expected)
    assert worker.gone


def test_an_error_comes_out_as_without_workers(workers, model, batch):
    with pytest.raises(IndexError, match="out of bounds"):
        alone(model, batch[:, :2])
    with pytest.raises(IndexError, match="out of bounds"):
        evaluate_in_pieces(model, batch[:, :2], ROWS)
    assert_same(evaluate_in_pieces(model, batch, ROWS), alone(model, batch))


def test_an_interrupt_leaves_nothing_behind_for_the_next_batch(workers, model, batch, monkeypatch):
    """The workers' answers to the first batch must not be taken for the second's."""
    expected = alone(model, batch)

    class Interrupted:
        def alone(self, positions):
            raise KeyboardInterrupt

        def __reduce__(self):
            return model.__class__.finished, (model, 3.0, {})

    with pytest.raises(KeyboardInterrupt):
        evaluate_in_pieces(Interrupted(), batch, ROWS)
    assert_same(evaluate_in_pieces(model, batch, ROWS), expected)


def test_an_interrupt_just_after_the_workers_were_taken_leaves_them_to_the_next_run(
    workers, model, batch
):
    @batches.ended_by_interrupts()
    def interrupted():
        workers._taken.acquire()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    deadline = time.monotonic() + 60
    while len(workers._there()) < 2 and time.monotonic() < deadline:
        evaluate_in_pieces(model, batch, ROWS)
    assert len(workers._there()) == 2


def test_two_threads_do_not_mix_their_batches(workers, model, batch):
    expected, found = alone(model, batch), []

    def go():
        for _ in range(20):
            found.append(evaluate_in_pieces(model, batch, ROWS))

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
from flexcalc.parallel import batches
batches.PATIENCE, batches.cores = 0.0, lambda: 2
model = flexcalc.load(sys.argv[1])
batch = np.tile(flexcalc.read(sys.argv[2]).positions[:1], (20, 1, 1))
while not (workers := batches._batch_pool(os.getpid())._there()):
    batches.evaluate_in_pieces(model, batch, 5)
print(workers[0]._process.pid, flush=True)
if sys.argv[3] == "stay":
    time.sleep(600)
"""


@pytest.mark.data
@pytest.mark.parametrize("how", ["leave", "stay"])
def test_the_workers_end_with_their_process_however_that_ends(water_shelf, how):
    words = [str(water_shelf / "water.flex"), str(water_shelf / "start.xyz"), how]
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, text=True
    ) as process:
        worker = int(process.stdout.readline())
        if how == "stay":
            process.kill()
        process.wait(60)
    deadline = time.monotonic() + 20
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")
