"""Dynamics with a bias computed by PLUMED, from a PLUMED input file.

PLUMED keeps state between calls: it adds hills, accumulates averages and writes files. Every
    replica
has its own PLUMED kernel, which is called once per step and modifies the forces of the model. The
sizes of its files after each step are part of the state, so that a restart truncates them to the
checkpoint, and PLUMED reads them as it does on RESTART. A bias without history resumes exactly to
the byte; hills resume with the digits in HILLS (its FMT).

Source: Tribello, Bonomi, Branduardi, Camilloni and Bussi, Comput. Phys. Commun. 185, 604 (2014),
doi:10.1016/j.cpc.2013.09.018.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from flexcalc.errors import FileFormatError, GuardError, InputError, MissingExtraError
from flexcalc.files.plumed_input import check_plumed_input, read_plumed_input
from flexcalc.methods.biased import BiasedState
from flexcalc.methods.dynamics import Integrator
from flexcalc.methods.dynamics.state import masses
from flexcalc.methods.plumed_kernel import has_action, start_kernel
from flexcalc.potential import CheckedPotential, Evaluation, Potential
from flexcalc.storage import open_regular
from flexcalc.units import KB, KJ_MOL

UNITS = {"Energy": 1 / KJ_MOL, "Length": 0.1, "Time": 1e-3, "Mass": 1.0, "Charge": 1.0}
"""eV, angstrom, fs, amu and e in PLUMED's kJ/mol, nm, ps, amu and e."""

PLUMED_ERRORS = (RuntimeError, ValueError, TypeError, OSError, LookupError, ArithmeticError)
"""Python exceptions that PLUMED's errors are converted to."""

COLUMNS = b"#! FIELDS"
"""First bytes of files to which PLUMED appends lines; others, such as grids, are rewritten."""


@dataclass(frozen=True, eq=False)
class PlumedState(BiasedState):
    """Replicas under PLUMED.

    Args:
        written: file name -> size in bytes of PLUMED's files after this step.
    """

    written: dict[str, int]


class Kernels:
    """One PLUMED kernel per replica, all in one folder; the files of replica n end in .n if there
    are several.

    Args:
        script: PLUMED's input; `{replica}` and `{replicas}` in it are replaced by the index of the
            replica, from 0, and the number of replicas, as for WALKERS_ID and WALKERS_N.
        folder: working folder, for relative paths in the input and for output files.
        numbers: (atoms,) atomic numbers.
        replicas: number of replicas.
        dynamics: integrator of the replicas; gives PLUMED its timestep and temperature.
    """

    def __init__(
        self, script: str, folder: Path, numbers: np.ndarray, replicas: int, dynamics: Integrator
    ):
        self.script, self.folder, self.numbers = script, Path(folder), numbers
        self.replicas, self.dynamics = replicas, dynamics
        self.masses = masses(numbers, dynamics.masses)[:, 0].copy()
        self._kernels: list[Any] = []

    @property
    def running(self) -> bool:
        """Whether PLUMED has been started."""
        return bool(self._kernels)

    def start(self, *, restart: bool = False) -> None:
        """Start PLUMED for every replica.

        Raises:
            MissingExtraError: its Python package is not installed.
            InputError: PLUMED's library is not found, or PLUMED rejects its input.
            FileFormatError: the folder contains a link.
        """
        temperatures = self.dynamics.target_K(0, self.replicas)
        self._refuse_links()
        with self._inside():
            for replica, kelvin in enumerate(temperatures):
                kernel = start_kernel()
                self._kernels.append(kernel)
                try:
                    self._configure(kernel, replica, kelvin, restart)
                except PLUMED_ERRORS as error:
                    message = _message(error)
                    raise InputError(f"PLUMED does not accept its input: {message}") from None

    def resume(self, state: PlumedState) -> None:
        """Restart PLUMED from a checkpoint, with its files truncated to their sizes then.

        The first call of a kernel is at the step of the checkpoint, because PLUMED adds no hill at
        its first call. The lines written by that call are already in the files, and are removed.

        Raises:
            InputError: PLUMED rejects its input.
            FileFormatError: a file is shorter than at the checkpoint, or a link.
        """
        self._refuse_links()
        self._truncate(state.written)
        self.start(restart=True)
        self(state.positions, state.evaluation, state.step)
        self._truncate(state.written)

    def __call__(
        self, positions: np.ndarray, model: Evaluation, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bias (replicas,) in eV and its forces (replicas, atoms, 3) in eV/angstrom.

        Args:
            positions: (replicas, atoms, 3) in angstrom.
            model: energies and forces there, which a bias on the energy needs.
            step: of the dynamics; each step once, in order.

        Raises:
            GuardError: PLUMED stopped.
        """
        positions = np.ascontiguousarray(positions)
        bias, forces = np.zeros(self.replicas), model.forces.copy()
        with self._inside():
            for replica, kernel in enumerate(self._kernels):
                energy = np.zeros(1)
                try:
                    kernel.cmd("setStep", step)
                    kernel.cmd("setMasses", self.masses)
                    kernel.cmd("setPositions", positions[replica])
                    kernel.cmd("setEnergy", float(model.energies[replica]))
                    kernel.cmd("setForces", forces[replica])
                    kernel.cmd("calc")
                    kernel.cmd("getBias", energy)
                except PLUMED_ERRORS as error:
                    raise GuardError(
                        f"step {step}: PLUMED stopped replica {replica}: {_message(error)}"
                    ) from None
                bias[replica] = energy[0]
        return bias, forces - model.forces

    def written(self) -> dict[str, int]:
        """The sizes in bytes of the files in the folder."""
        with os.scandir(self.folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def close(self) -> None:
        """Stop PLUMED, which then writes its last files."""
        if self.running:
            with self._inside():
                while self._kernels:
                    self._kernels.pop().finalize()

    def _configure(self, kernel: Any, replica: int, kelvin: float, restart: bool) -> None:
        """Set up a kernel before its first step."""
        for name, unit in UNITS.items():
            kernel.cmd(f"setMD{name}Units", unit)
        kernel.cmd("setMDEngine", "flexcalc")
        kernel.cmd("setTimestep", float(self.dynamics.timestep_fs))
        kernel.cmd("setKbT", float(KB * kelvin))
        kernel.cmd("setNatoms", len(self.numbers))
        kernel.cmd("setNoVirial")
        ending = f".{replica}" if self.replicas > 1 else ""
        kernel.cmd("setLogFile", f"log{ending}.txt")
        kernel.cmd("setRestart", int(restart))
        kernel.cmd("init")
        if ending:
            kernel.cmd("readInputLine", f"_SET_SUFFIX {ending}")
        script = _fill_in(self.script, replica, self.replicas)
        kernel.cmd("readInputLines", script + "\n")
        # If the process is killed, lines of steps before the checkpoint must be on disk.
        kernel.cmd("readInputLine", "FLUSH STRIDE=1")

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """Change to the working folder, in which PLUMED opens and writes files at every call."""
        self.folder.mkdir(exist_ok=True)
        with contextlib.chdir(self.folder):
            yield

    def _refuse_links(self) -> None:
        """Refuse links in the folder, through which PLUMED would write elsewhere.

        Raises:
            FileFormatError: the folder, or something in it, is a link.
        """
        for path in (self.folder, *self.folder.glob("*")):
            if path.is_symlink():
                raise FileFormatError(
                    f"{path}: is a link, and PLUMED would write where it points; remove it, or "
                    "choose another --output"
                )

    def _truncate(self, written: dict[str, int]) -> None:
        """Truncate files of lines to the sizes in `written`."""
        for name, size in self.written().items():
            path, before = self.folder / name, written.get(name, 0)
            with open_regular(path, None) as stream:
                if not stream.read(len(COLUMNS)).startswith(COLUMNS):
                    continue
            if size < before:
                raise FileFormatError(
                    f"{path}: expected at least {before} bytes, found {size}; the file was "
                    "changed since its checkpoint, so start in another folder"
                )
            os.truncate(path, before)


def read_script(
    path: Path,
    numbers: np.ndarray,
    replicas: int,
    dynamics: Integrator,
    *,
    folder: Path | None = None,
    trust: bool = False,
) -> str:
    """Read PLUMED's input, and have PLUMED check it.

    Args:
        folder: working folder of PLUMED.
        trust: whether the input may run code and write elsewhere.

    Raises:
        MissingExtraError: PLUMED's Python package is not installed.
        InputError: it cannot be read or needs trust, PLUMED's library is not found, or PLUMED
            rejects the input.
    """
    script = read_plumed_input(path)
    for replica in range(replicas if "{replica}" in script else 1):
        check_plumed_input(
            _fill_in(script, replica, replicas),
            folder or Path("plumed"),
            trust,
            name=str(path),
            exists=has_action,
        )
    with tempfile.TemporaryDirectory() as scratch:
        kernels = Kernels(script, Path(scratch), numbers, replicas, dynamics)
        with contextlib.closing(kernels):
            try:
                kernels.start()
            except MissingExtraError:
                raise
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
    return script


@dataclass(frozen=True, kw_only=True)
class UnderPlumed:
    """Dynamics with a bias from PLUMED, called once per step and replica.

    Args:
        dynamics: integrator of the replicas.
        kernels: PLUMED; a new run removes the files of an earlier one from its folder.
    """

    dynamics: Integrator
    kernels: Kernels

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> PlumedState:
        """Start replicas from positions (replicas, atoms, 3) in angstrom.

        Raises:
            InputError: PLUMED rejects its input.
        """
        shutil.rmtree(self.kernels.folder, ignore_errors=True)
        self.kernels.start()
        biased = _AtStep(potential, self.kernels, 0)
        dynamics = self.dynamics.init(biased, positions, rng)
        return PlumedState(dynamics, biased.model, biased.bias, self.kernels.written())

    def step(self, potential: Potential, state: PlumedState, rng: Generator) -> PlumedState:
        """Advance every replica by one timestep; one potential call for the batch.

        Args:
            potential: surface of the molecule, in eV and angstrom; the bias is added here.
            state: of the replicas; after a restart first that of the checkpoint.
            rng: source of the thermal noise.

        Raises:
            GuardError: PLUMED stopped.
        """
        if not self.kernels.running:
            self.kernels.resume(state)
        biased = _AtStep(potential, self.kernels, state.step + 1)
        moved = self.dynamics.step(biased, state.dynamics, rng)
        return replace(
            state,
            dynamics=moved,
            evaluation=biased.model,
            bias=biased.bias,
            written=self.kernels.written(),
        )


class _AtStep(CheckedPotential):
    """The sum of a potential and PLUMED's bias of one step, which may be called once."""

    def __init__(self, potential: Potential, kernels: Kernels, step: int):
        self.potential, self.kernels, self.at = potential, kernels, step
        self.numbers = potential.numbers
        self.model: Evaluation
        self.bias: np.ndarray

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        self.model = self.potential(positions)
        self.bias, forces = self.kernels(positions, self.model, self.at)
        return replace(
            self.model,
            energies=self.model.energies + self.bias,
            forces=self.model.forces + forces,
        )


def _fill_in(script: str, replica: int, replicas: int) -> str:
    """PLUMED's input with the placeholders replaced for one replica."""
    return script.replace("{replicas}", str(replicas)).replace("{replica}", str(replica))


def _message(error: Exception) -> str:
    """PLUMED's error message on one line, without positions in its source code."""
    words = str(error).split("+++ message follows +++")[-1].split()
    return " ".join(words)
