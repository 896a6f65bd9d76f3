"""How many threads a process takes, whatever stands in OMP_NUM_THREADS."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flexcalc import threads

HERE = 8
"""Processors of the machine in these tests."""

VALUES = {
    "": HERE,
    "1": 1,
    "3": 3,
    " 2 ": 2,
    "2,1": 2,
    "1,1": 1,
    "4, 2 ,1": 4,
    "007": 7,
    "64": HERE,
    "999999999999999999999999": HERE,
    "9" * 5000: HERE,
    "0": HERE,
    "-1": HERE,
    "0,4": HERE,
    "2,,": HERE,
    "2,words": HERE,
    "words": HERE,
    "2.5": HERE,
    "1e3": HERE,
    "٣": HERE,
    ",": HERE,
}
"""Values of OMP_NUM_THREADS, and the processors that flexcalc takes of eight."""


@pytest.mark.guard
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value[:12]))
def test_the_first_number_counts_and_what_openmp_ignores_is_ignored(monkeypatch, value):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(HERE)))
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads.cores() == VALUES[value]


@pytest.mark.guard
@pytest.mark.parametrize("value", ["1,1", "0", "words", "100000"])
def test_numexpr_never_reads_what_it_would_fail_for(value):
    pytest.importorskip("numexpr")
    environment = {**os.environ, "OMP_NUM_THREADS": value}
    environment.pop("NUMEXPR_NUM_THREADS", None)
    words = [sys.executable, "-c", "import flexcalc, numexpr"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Error" not in done.stderr


def test_a_number_for_numexpr_that_a_user_gives_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("NUMEXPR_NUM_THREADS", "2")
    threads.settle_numexpr()
    assert os.environ["NUMEXPR_NUM_THREADS"] == "2"


def test_the_blas_of_scipy_is_limited_once_it_is_loaded():
    """Its import takes longer than most commands need, so that it is not loaded for this."""
    code = """
import numpy
from flexcalc.threads import SCIPY_BLAS, one_blas_thread
from threadpoolctl import threadpool_info

def threads():
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

import sys
with one_blas_thread():
    assert SCIPY_BLAS not in sys.modules
    assert threads() == [1]
import scipy.linalg
assert SCIPY_BLAS in sys.modules
every = threads()
assert set(every) != {1}
with one_blas_thread():
    assert set(threads()) == {1}
assert threads() == every
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_evaluate_imports_no_method_that_it_does_not_run():
    code = "import sys, flexcalc.commands.evaluate as e; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = {name for name in done.stdout.decode().split() if name.startswith("flexcalc.methods")}
    assert loaded == set()
