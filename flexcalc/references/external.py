"""Any ASE calculator as a reference: `ase:module:Class?keyword=value`."""

from __future__ import annotations

import re
import socket
import subprocess
import tomllib
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flexcalc.callables import load_callable
from flexcalc.errors import AddressError, MissingProgramError
from flexcalc.potential import CheckedPotential, Evaluation
from flexcalc.references.electrons import failed

NO_SUCH_COMMAND = 127
"""A shell's exit code."""


class ASEPotential(CheckedPotential):
    """An ASE calculator, created at the first evaluation in each process.

    Only its name and keywords are copied or pickled, so that every worker process has a
    calculator of its own.

    Args:
        numbers: (atoms,) atomic numbers.
        target: "module:Class", where the module is a dotted name or a path that ends in .py,
            and the class may be any callable that returns an ASE calculator.
        keywords: passed to it.

    Raises:
        AddressError: the module cannot be imported, or has no such class.
    """

    expensive = True

    def __init__(self, numbers: ArrayLike, target: str, **keywords: Any):
        self.numbers = np.array(numbers, dtype=int)
        module, separator, name = target.rpartition(":")
        if not (separator and module and name):
            raise AddressError(f"ase:{target}: expected ase:module:Class, found {target!r}")
        # An absolute path is valid in a worker process in another folder.
        self._module = str(Path(module).resolve()) if module.endswith(".py") else module
        self._name = name
        self.target = target
        self.keywords = keywords
        self._calculator: Any = None
        self._kept: Any = None
        load_callable(f"{self._module}:{name}", "ase", "class")

    @classmethod
    def around(cls, calculator: Any, numbers: ArrayLike) -> ASEPotential:
        """The potential of an existing ASE calculator."""
        potential = cls.__new__(cls)
        potential.numbers = np.array(numbers, dtype=int)
        potential.target, potential.keywords = type(calculator).__name__, {}
        potential._module, potential._name = "", ""
        potential._calculator = potential._kept = calculator
        return potential

    @classmethod
    def from_address(
        cls, text: str, numbers: ArrayLike, options: Mapping[str, str]
    ) -> ASEPotential:
        """Open `ase:TEXT?options`.

        Args:
            text: "module:Class".
            numbers: (atoms,) atomic numbers.
            options: keywords of the calculator; each text is read as a TOML value (a number,
                true, false, an array, a quoted string), and as a plain string if it is none.

        Raises:
            AddressError: see the class.
        """
        return cls(numbers, text, **{name: _value(entry) for name, entry in options.items()})

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of each row, by one calculation per row.

        Raises:
            AddressError: the calculator cannot be made from its keywords or is not set up, or
                has no energies or forces.
            MissingProgramError: its program cannot be started.
            LabelError: the calculation of a row failed.
        """
        if self._calculator is None:
            self._calculator = self._make()
        energies = np.zeros(len(positions))
        forces = np.zeros(positions.shape)
        for row, geometry in enumerate(positions):
            energies[row], forces[row] = self._row(row, geometry)
        return Evaluation(energies, forces)

    def _row(self, row: int, positions: np.ndarray) -> tuple[float, np.ndarray]:
        from ase import Atoms
        from ase.calculators import calculator as ase_calculator

        setup = (
            ase_calculator.CalculatorSetupError,
            ase_calculator.PropertyNotImplementedError,
            ase_calculator.PropertyNotPresent,
        )
        atoms = Atoms(self.numbers, positions, calculator=self._calculator)
        try:
            # Forces first: for the energy alone a file-based code would run twice.
            forces = np.array(atoms.get_forces(), dtype=float)
            energy = float(atoms.get_potential_energy())
        except setup as error:
            reason = " ".join(str(error).split())
            raise AddressError(
                f"ase:{self.target}: expected a calculator that is set up and gives energies "
                f"and forces, found {type(error).__name__}: {reason}"
            ) from error
        except Exception as error:  # a foreign code can raise any exception
            self._calculator = self._kept
            lacking = _what_cannot_be_started(error)
            if lacking:
                raise MissingProgramError(
                    f"ase:{self.target}: {lacking} on {socket.gethostname()}; install it, or set "
                    "the calculator's command"
                ) from error
            raise failed(row, self.target, error) from error
        if forces.shape != positions.shape:
            raise failed(row, self.target, ValueError(f"forces of shape {forces.shape}"))
        return energy, forces

    def _make(self) -> Any:
        maker = load_callable(f"{self._module}:{self._name}", "ase", "class")
        try:
            calculator = maker(**self.keywords)
        except Exception as error:  # a foreign constructor can raise any exception
            reason = " ".join(str(error).split())
            raise AddressError(
                f"ase:{self.target}: cannot be made with {self.keywords or 'no keywords'}: "
                f"{type(error).__name__}: {reason}"
            ) from error
        if not hasattr(calculator, "get_potential_energy") or not hasattr(calculator, "get_forces"):
            raise AddressError(
                f"ase:{self.target}: expected an ASE calculator, "
                f"found {type(calculator).__name__}, which has no get_forces"
            )
        return calculator

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_calculator": self._kept}


def _what_cannot_be_started(error: BaseException | None) -> str:
    """Message about a program that a calculator could not start; empty if it started."""
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        if isinstance(error, OSError) and frames and frames[-1].filename == subprocess.__file__:
            return f"its program cannot be started, {error.strerror}: {error.filename!r}"
        in_words = re.search(rf"error code {NO_SUCH_COMMAND}\b", str(error))
        if in_words or getattr(error, "returncode", None) == NO_SUCH_COMMAND:
            return f"the shell finds no such program: {' '.join(str(error).split())}"
        error = error.__cause__ or error.__context__
    return ""


def _value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if set(table) == {"value"} else text
