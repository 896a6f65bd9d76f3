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


class Squares:
    """A share of a work that tells as it goes; what goes wrong is chosen by the arguments."""

    def __init__(self, numbers, *, here=None, fails="", model=None, batch=None):
        self.numbers, self.here, self.fails = numbers, here, fails
        self.model, self.batch = model, batch

    def __call__(self, tell):
        away = os.getpid() != self.here
        if self.fails == "everywhere" or (self.fails == "away" and away):
            raise ZeroDivisionError
        for number in self.numbers:
            tell((number, os.getpid()))
            if self.fails == "killed" and away:
                os.kill(os.getpid(), signal.SIGKILL)
            while self.fails == "endless" and away:
                time.sleep(0.01)
                tell((number, os.getpid()))
            time.sleep(0.02)
        found = [number**2 for number in self.numbers]
        if self.model is None:
            return found
        for _ in range(3):
            energies = self.model(self.batch).energies
        return [*found, *energies, len(batches._batch_pool(os.getpid())._workers or ())]


def work(**more):
    return [Squares(range(one, one + 8), here=os.getpid(), **more) for one in range(0, 24, 8)]


SQUARES = [[number**2 for number in range(one, one + 8)] for one in range(0, 24, 8)]


def test_shares_of_a_work_are_done_by_processes_that_tell(workers):
    told = []
    assert batches.do_shares(work(), told.append) == SQUARES
    assert sorted(number for number, _ in told) == list(range(24))
    by = {number // 8: process for number, process in told}
    assert by[0] == os.getpid()
    assert len(set(by.values())) == 3
    assert not workers._taken.locked()


@pytest.mark.parametrize("fails", ["away", "killed"])
def test_a_share_that_fails_in_a_worker_is_done_here(workers, fails):
    told = []
    assert batches.do_shares(work(fails=fails), told.append) == SQUARES
    # Here, not in the next worker.
    away = [number // 8 for number, process in told if process != os.getpid()]
    assert len(away) == len(set(away)) <= 2
    assert {number for number, process in told if process == os.getpid()} == set(range(24))
    assert not workers._taken.locked()


def test_an_error_of_a_share_comes_out_and_leaves_no_worker_at_it(workers, model, batch):
    with pytest.raises(ZeroDivisionError):
        batches.do_shares(work(fails="everywhere"), lambda _: None)

    def told(message):
        if message[1] != os.getpid():
            raise KeyboardInterrupt

    workers._start()
    deadline = time.monotonic() + 60
    while len(workers._there()) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(KeyboardInterrupt):
        batches.do_shares(work(fails="endless"), told)
    assert not workers._taken.locked()
    assert_same(evaluate_in_pieces(model, batch, ROWS), alone(model, batch))


def test_shares_that_cannot_be_sent_or_have_one_core_are_done_here(workers, monkeypatch):
    told = []
    shares = [*work(), lambda tell: tell((24, os.getpid()))]
    assert batches.do_shares(shares, told.append) == [*SQUARES, None]
    assert {process for _, process in told} == {os.getpid()}
    monkeypatch.setattr(batches, "cores", lambda: 1)
    assert batches.do_shares(work(), told.append) == SQUARES
    assert {process for _, process in told} == {os.getpid()}


def test_batches_within_a_share_are_cut_alike_and_evaluated_by_its_process(
    workers, model, batch, monkeypatch
):
    from flexcalc.models.gdml import potential

    monkeypatch.setattr(potential, "cores", lambda: 3)
    big = np.tile(batch, (20, 1, 1))
    here = model(big).energies
    for _ in range(3):
        found = batches.do_shares(work(model=model, batch=big), lambda _: None)
    for squares, one in zip(SQUARES, found, strict=True):
        assert one[:8] == squares
        assert np.array_equal(one[8:-1], here)
    # Those of this process, and none in the workers.
    assert [one[-1] for one in found] == [2, 0, 0]


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
