"""Dynamics under a bias that PLUMED computes, as its own input file says.

PLUMED is a library with a memory: it adds hills, averages and writes files as it is called. There
is one of it for each replica, called once a step, with the forces of the model to change. What it
has written after each step is part of the state, so that a restart cuts its files back to the
checkpoint and lets PLUMED read them as it does on RESTART. A bias without memory goes on to the
byte; hills go on with the digits that HILLS has of them (its FMT).

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

STOPS = (RuntimeError, ValueError, TypeError, OSError, LookupError, ArithmeticError)
"""What PLUMED's own errors become in Python."""

COLUMNS = b"#! FIELDS"
"""Begins a file to which PLUMED adds lines; it writes others, such as grids, whole."""


@dataclass(frozen=True, eq=False)
class PlumedState(BiasedState):
    """Replicas in motion under PLUMED.

    Args:
        written: file -> bytes, of what PLUMED had written after this step.
    """

    written: dict[str, int]


class Kernels:
    """One PLUMED for each replica, all in one folder; replica n's files end in .n if there are
    several.

    Args:
        script: PLUMED's input; `{replica}` and `{replicas}` in it become the number of the
            replica, from 0, and how many there are, as WALKERS_ID and WALKERS_N want them.
        folder: where relative names in it are looked for and files are written.
        numbers: (atoms,) atomic numbers.
        replicas: how many.
        dynamics: what will move them; PLUMED is told its timestep and temperature.
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

    def begin(self, *, restart: bool = False) -> None:
        """Start PLUMED for every replica.

        Raises:
            MissingExtraError: its Python package is not installed.
            InputError: there is no kernel, or PLUMED does not accept its input.
            FileFormatError: something in the folder is a link.
        """
        temperatures = self.dynamics.target_K(0, self.replicas)
        self._refuse_links()
        with self._inside():
            for replica, kelvin in enumerate(temperatures):
                kernel = start_kernel()
                self._kernels.append(kernel)
                try:
                    self._tell(kernel, replica, kelvin, restart)
                except STOPS as error:
                    raise InputError(f"PLUMED does not accept its input: {_said(error)}") from None

    def resume(self, state: PlumedState) -> None:
        """Start PLUMED anew where a checkpoint was made, with its files as they were then.

        The first call of a kernel is at the step of the checkpoint: PLUMED adds no hill at its
        first one. What it writes at that call stands in its files already, and is taken back.

        Raises:
            InputError: PLUMED does not accept its input.
            FileFormatError: a file is shorter than it was, or a link.
        """
        self._refuse_links()
        self._cut(state.written)
        self.begin(restart=True)
        self(state.positions, state.evaluation, state.step)
        self._cut(state.written)

    def __call__(
        self, positions: np.ndarray, model: Evaluation, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The bias (replicas,) in eV and its forces (replicas, atoms, 3) in eV/angstrom.

        Args:
            positions: (replicas, atoms, 3) in angstrom.
            model: energies and forces there, which a bias on the energy needs.
            step: of the dynamics; to be given once each, in turn.

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
                except STOPS as error:
                    raise GuardError(
                        f"step {step}: PLUMED stopped replica {replica}: {_said(error)}"
                    ) from None
                bias[replica] = energy[0]
        return bias, forces - model.forces

    def written(self) -> dict[str, int]:
        """The sizes in bytes of the files in the folder."""
        with os.scandir(self.folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def close(self) -> None:
        """End PLUMED, whose last files are written then."""
        if self.running:
            with self._inside():
                while self._kernels:
                    self._kernels.pop().finalize()

    def _tell(self, kernel: Any, replica: int, kelvin: float, restart: bool) -> None:
        """All that a kernel has to know before its first step."""
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
        script = _filled_in(self.script, replica, self.replicas)
        kernel.cmd("readInputLines", script + "\n")
        # A kill must not take what is written of a step that a checkpoint counts as done.
        kernel.cmd("readInputLine", "FLUSH STRIDE=1")

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        """In the folder, which is where PLUMED opens and writes files whenever it is called."""
        self.folder.mkdir(exist_ok=True)
        with contextlib.chdir(self.folder):
            yield

    def _refuse_links(self) -> None:
        """PLUMED makes no links; through one of another's making it would write elsewhere.

        Raises:
            FileFormatError: the folder, or something in it, is a link.
        """
        for path in (self.folder, *self.folder.glob("*")):
            if path.is_symlink():
                raise FileFormatError(
                    f"{path}: is a link, and PLUMED would write where it points; remove it, or "
                    "choose another --output"
                )

    def _cut(self, written: dict[str, int]) -> None:
        """Take back what was added to files of lines since they were as long as `written` says."""
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
    """The text of PLUMED's input, which PLUMED has read once without a complaint.

    Args:
        folder: in which PLUMED is going to run.
        trust: whether the input may run code and write elsewhere.

    Raises:
        MissingExtraError: PLUMED's Python package is not installed.
        InputError: it cannot be read, needs trust, there is no kernel, or PLUMED does not accept
            it.
    """
    script = read_plumed_input(path)
    for replica in range(replicas if "{replica}" in script else 1):
        check_plumed_input(
            _filled_in(script, replica, replicas),
            folder or Path("plumed"),
            trust,
            name=str(path),
            exists=has_action,
        )
    with tempfile.TemporaryDirectory() as scratch:
        kernels = Kernels(script, Path(scratch), numbers, replicas, dynamics)
        with contextlib.closing(kernels):
            try:
                kernels.begin()
            except MissingExtraError:
                raise
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
    return script


@dataclass(frozen=True, kw_only=True)
class UnderPlumed:
    """Dynamics under PLUMED, which gets one call a step for each replica.

    Args:
        dynamics: what moves the replicas.
        kernels: PLUMED; a fresh start removes what an earlier one has written in its folder.
    """

    dynamics: Integrator
    kernels: Kernels

    def init(self, potential: Potential, positions: np.ndarray, rng: Generator) -> PlumedState:
        """Start replicas from positions (replicas, atoms, 3) in angstrom.

        Raises:
            InputError: PLUMED does not accept its input.
        """
        shutil.rmtree(self.kernels.folder, ignore_errors=True)
        self.kernels.begin()
        biased = _AtStep(potential, self.kernels, 0)
        dynamics = self.dynamics.init(biased, positions, rng)
        return PlumedState(dynamics, biased.model, biased.bias, self.kernels.written())

    def step(self, potential: Potential, state: PlumedState, rng: Generator) -> PlumedState:
        """Advance every replica by one timestep; one call of the potential for the batch.

        Args:
            potential: surface of the molecule, in eV and angstrom; the bias is added here.
            state: the replicas; the first one after a restart is that of the checkpoint.
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
    """A potential with PLUMED's bias of one step added, to be called once."""

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


def _filled_in(script: str, replica: int, replicas: int) -> str:
    """PLUMED's input for one replica."""
    return script.replace("{replicas}", str(replicas)).replace("{replica}", str(replica))


def _said(error: Exception) -> str:
    """What PLUMED says, on one line, without the places in its source."""
    words = str(error).split("+++ message follows +++")[-1].split()
    return " ".join(words)
