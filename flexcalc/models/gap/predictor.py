"""The GAP potential: a family of files, and QUIP to evaluate them."""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import write_model
from flexcalc.models.gap.quip import Quip, Results, require_quippy
from flexcalc.models.gap.workers import Pool, Worker
from flexcalc.models.gap.xml import MAIN, check_elements, check_files
from flexcalc.potential import Evaluation
from flexcalc.threads import cores

STARTING_S = 1.0
"""Seconds that batches must have taken until processes are started to share them: about as long
as it takes to start one."""
PIECE = 4
"""Rows after which it is asked again whether to share the rest."""


class GAPPotential(TrainedPotential):
    """A Gaussian approximation potential.

    Source: Bartok, Payne, Kondor, Csanyi, Phys. Rev. Lett. 104, 136403 (2010),
    doi:10.1103/PhysRevLett.104.136403; Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013),
    doi:10.1103/PhysRevB.87.184115 (SOAP).

    Args:
        numbers: (atoms,) atomic numbers.
        files: content by name: GAP.xml, and the files of sparse points that it names.
        facts: what is known of the training.
        init_args: which potential of the files, for QUIP; the first by default.

    The result of a row depends neither on the other rows nor on the number of cores.

    Raises:
        FileFormatError: a file is missing or damaged.
        MissingExtraError: quippy-ase is not installed.
        MoleculeError: the model does not know an element.
    """

    def __init__(
        self,
        *,
        numbers: np.ndarray,
        files: Mapping[str, bytes],
        facts: Mapping[str, Any] | None = None,
        init_args: str = "",
        where: object = "GAP",
    ):
        require_quippy()
        self.numbers = np.array(numbers, dtype=int)
        self.files = dict(files)
        self.layout = check_files(self.files, where)
        check_elements(self.layout, self.numbers, where)
        self.facts = dict(facts or {})
        self.init_args = init_args
        self._folder: _Folder | None = None
        self._quip: Quip | None = None
        self._pool: Pool | None = None
        self._seconds = 0.0

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3).

        Raises:
            FileFormatError: QUIP cannot read the files.
        """
        quip = self._opened()
        parts, rest = [], positions
        while len(rest) and not self._shares(len(rest)):
            part, rest = rest[:PIECE], rest[PIECE:]
            begun = time.perf_counter()
            parts.append(quip(part))
            # A single geometry has nothing to share, however many of them come.
            self._seconds += (time.perf_counter() - begun) * (len(positions) > 1)
        if self._pool is not None and len(rest):
            parts.append(self._shared(self._pool, rest, quip))
        if not parts:
            return Evaluation(*quip(positions))  # an empty batch
        energies, forces = zip(*parts, strict=True)
        return Evaluation(np.concatenate(energies), np.concatenate(forces))

    def save(self, folder: Path) -> None:
        """Write the model as a folder.

        Raises:
            InputError: the destination exists and is no model folder.
        """
        write_model(
            folder,
            family="gap",
            numbers=self.numbers,
            hyperparameters=self.facts.get("hyperparameters", {}),
            arrays={},
            facts=self.facts | ({"init_args": self.init_args} if self.init_args else {}),
            files=self.files,
        )

    def close(self) -> None:
        """End the processes and remove the temporary files; both come back when needed."""
        if self._pool is not None:
            self._pool.close()
        self._pool = self._quip = self._folder = None

    def _shares(self, rows: int) -> bool:
        """Whether rows are shared among processes, which are started once that is worth it."""
        if rows < 2 or cores() == 1:
            return False
        if self._pool is None and self._seconds > STARTING_S:
            self._pool = Pool(cores() - 1, self._worker)
        return self._pool is not None

    def _shared(self, pool: Pool, positions: np.ndarray, quip: Quip) -> Results:
        try:
            return pool(positions, quip)
        except BaseException:
            self._pool = None  # it has ended its workers
            raise

    def _opened(self) -> Quip:
        if self._quip is None:
            self._quip = Quip(self._main(), self.numbers, self.init_args)
        return self._quip

    def _worker(self) -> Worker:
        return Worker(self._main(), self.numbers, self.init_args)

    def _main(self) -> Path:
        """Path of the main file, where QUIP can read it."""
        if self._folder is None:
            self._folder = _Folder(self.files)
        return self._folder.path / MAIN

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_folder": None, "_quip": None, "_pool": None}


class _Folder:
    """A private temporary folder with the files of a model; removed with this object."""

    def __init__(self, files: Mapping[str, bytes]):
        self.path = Path(tempfile.mkdtemp(prefix="flexcalc-gap-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        for name, content in files.items():
            (self.path / name).write_bytes(content)
