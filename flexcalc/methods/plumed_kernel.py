"""Find PLUMED's library, and start PLUMED kernels.

PLUMED's Python package on PyPI needs a library that it does not contain. The wheel `hillclimber`
contains one (and a copy of the package, which takes precedence if both are installed).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.errors import InputError, MissingExtraError

LIBRARY = "libplumedKernel.dylib" if sys.platform == "darwin" else "libplumedKernel.so"
WHEEL = "hillclimber"
"""On PyPI: PLUMED 2.11.0-dev under the LGPL 3, for Linux on x86-64 and ARM with CPython 3.11 to
3.14, and for macOS 15 on ARM."""


def kernel_file() -> str | None:
    """PLUMED's library: that of PLUMED_KERNEL, else of the wheel, else of an installed PLUMED."""
    named = os.environ.get("PLUMED_KERNEL")
    return named or next((str(path) for path in _candidate_paths() if path.is_file()), None)


def start_kernel() -> Any:
    """A new PLUMED kernel without any settings.

    Raises:
        MissingExtraError: its Python package is not installed.
        InputError: the library is not found, or does not load.
    """
    try:
        from plumed import Plumed
    except ImportError:
        raise MissingExtraError("plumed", "plumed") from None
    path = kernel_file()
    try:
        if path is None:
            return Plumed()  # a package that was built with its own library
        _load(path)
        return Plumed(kernel=path)
    except (RuntimeError, OSError) as error:
        reason = "PLUMED_KERNEL is not set" if path is None else f"{path} does not load: {error}"
        raise InputError(
            f"PLUMED's library was not found ({' '.join(reason.split())}): pip install "
            f"--no-deps {WHEEL} brings one for Linux and macOS 15; elsewhere install PLUMED, for "
            f"example from conda-forge, and set PLUMED_KERNEL to its {LIBRARY}"
        ) from None


def has_action(name: str) -> bool:
    """Whether PLUMED has an action of this name.

    Raises:
        MissingExtraError, InputError: as `start_kernel`.
    """
    found = np.zeros(1, dtype=np.intc)
    start_kernel().cmd(f"checkAction {name}", found)
    return bool(found[0])


def _candidate_paths() -> Iterator[Path]:
    """Other possible paths of the library, in order."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    yield from (Path(str(file.locate())) for file in files if file.name == LIBRARY)
    yield Path(sys.prefix, "lib", LIBRARY)
    program = shutil.which("plumed")
    if program:
        yield Path(program).resolve().parents[1] / "lib" / LIBRARY


@functools.cache
def _load(path: str) -> ctypes.CDLL:
    """Load a library permanently: reloading it for each kernel is slow and not safe.

    Raises:
        OSError: the system cannot load it.
    """
    return ctypes.CDLL(path, mode=os.RTLD_NOW | getattr(os, "RTLD_DEEPBIND", 0))
