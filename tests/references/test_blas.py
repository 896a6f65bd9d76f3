"""Does PySCF's linear algebra know the processor?"""

import os
import subprocess
import sys

import pytest

from flexcalc.references import blas

pytest.importorskip("pyscf")

CORE_OF_PYSCF = """
import os

import flexcalc

flexcalc.load("dft:PBE/sto-3g", [1, 1])
from threadpoolctl import threadpool_info
print(os.environ.get("OPENBLAS_CORETYPE"))
found = [one for one in threadpool_info() if one.get("internal_api") == "openblas"]
print(*(one["architecture"] for one in found if "/pyscf/" in one["filepath"]))
"""


def core_of_pyscf(**variables):
    environment = {k: v for k, v in os.environ.items() if k != blas.VARIABLE} | variables
    found = subprocess.run(
        [sys.executable, "-c", CORE_OF_PYSCF],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.splitlines()


def test_a_processor_of_today_is_not_taken_for_one_of_2004():
    if not blas._young():
        pytest.skip("a processor that PySCF's OpenBLAS need not know")
    variable, found = core_of_pyscf()
    assert variable == "None"  # for libraries that are loaded later
    if not found:
        pytest.skip("this PySCF has no OpenBLAS of its own")
    assert found in blas.YOUNGER


def test_the_users_choice_counts():
    variable, found = core_of_pyscf(OPENBLAS_CORETYPE="Prescott")
    assert variable == "Prescott"
    assert found in ("Prescott", "")
