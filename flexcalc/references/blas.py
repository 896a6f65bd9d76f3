"""The linear algebra of PySCF, on processors that are younger than it."""

from __future__ import annotations

import os
import sys

YOUNGER = ("Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids")
"""Processors, as NumPy's OpenBLAS names them, that have all that a Haswell has."""

VARIABLE = "OPENBLAS_CORETYPE"


def import_pyscf() -> None:
    """Import PySCF so that it computes as fast as this processor can.

    Its packages bring an OpenBLAS of 2018, which takes the processors made since for one of 2004
    and multiplies matrices at half the speed or less. NumPy's knows them. What the user has set in
    OPENBLAS_CORETYPE is left.

    Raises:
        ImportError: PySCF is not installed.
    """
    told = "pyscf" not in sys.modules and VARIABLE not in os.environ and _young()
    if told:
        os.environ[VARIABLE] = "Haswell"
    try:
        import pyscf  # noqa: F401
    finally:
        if told:
            del os.environ[VARIABLE]  # libraries that are loaded later know the processor


def _young() -> bool:
    """Whether NumPy's OpenBLAS knows the processor as a young one; no, for another library."""
    import numpy  # noqa: F401 - a library must be loaded to be found
    from threadpoolctl import threadpool_info

    return any(library.get("architecture") in YOUNGER for library in threadpool_info())
