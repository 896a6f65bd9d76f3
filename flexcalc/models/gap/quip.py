"""quippy for one molecule: positions in, energies and forces out, one row after another.

quippy's own calculator makes a new Fortran object of the atoms and reads its results back from
dictionaries in every call. Here one object of the atoms is kept, and the arrays of the results are
handed to the Fortran routine itself.
"""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.errors import FileFormatError, MissingExtraError
from flexcalc.potential import Evaluation

_lock = threading.Lock()
"""QUIP keeps what it computes in variables of its modules: one call at a time."""


def require_quippy() -> None:
    """Raise MissingExtraError where quippy-ase is not installed."""
    try:
        import quippy.potential  # noqa: F401
    except ImportError:
        raise MissingExtraError("quippy-ase", "gap") from None


class Quip:
    """A QUIP potential bound to the atoms of a molecule in vacuum.

    Args:
        path: the main file of a model.
        numbers: (atoms,) atomic numbers.
        init_args: says which potential of the file; the first by default.

    Raises:
        FileFormatError: QUIP cannot read the file.
        MissingExtraError: quippy-ase is not installed.
    """

    def __init__(self, path: Path, numbers: np.ndarray, init_args: str = ""):
        require_quippy()
        from quippy.atoms_types_module import Atoms
        from quippy.potential import Potential

        with _lock:
            try:
                holder = Potential(args_str=init_args, param_filename=str(path))
            except RuntimeError as error:
                raise FileFormatError(f"{path.name}: QUIP: {_last_line(error)}") from None
            self._potential = holder._quip_potential
            # No cell: QUIP then puts the atoms into one of its own, large enough.
            self._atoms = Atoms(len(numbers), np.zeros((3, 3)))
            self._atoms.is_periodic[:] = False
            self._atoms.z[:] = numbers
            self._atoms.set_atoms(self._atoms.z)
            self._positions = self._atoms.pos

    def __call__(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3)."""
        energies = np.empty(len(positions))
        forces = np.empty(positions.shape)
        energy = np.zeros(())
        force = np.zeros(positions.shape[:0:-1], order="F")
        with _lock, _blas().limit(limits=1, user_api="blas"):
            for row, geometry in enumerate(positions):
                self._positions[:] = geometry.T
                self._potential.calc(self._atoms, energy=energy, force=force, args_str="")
                energies[row], forces[row] = energy, force.T
        return Evaluation(energies, forces)


@cache
def _blas() -> Any:
    """The BLAS that quippy brings along; its sums must not depend on the number of cores."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
