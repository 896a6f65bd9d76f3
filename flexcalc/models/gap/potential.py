"""The GAP potential: its files, and their evaluation, natively or by QUIP."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.models.facts import ModelFacts
from flexcalc.models.family import TrainedPotential
from flexcalc.models.folder import ModelContent
from flexcalc.models.gap.native import energies
from flexcalc.models.gap.quip import Quip, require_quippy
from flexcalc.models.gap.terms import Energies
from flexcalc.models.gap.xml import MAIN, check_elements, check_files
from flexcalc.models.training_set import training_set_arrays
from flexcalc.potential import Evaluation
from flexcalc.storage import write_bytes


class GAPPotential(TrainedPotential):
    """A Gaussian approximation potential.

    Source: Bartok, Payne, Kondor, Csanyi, Phys. Rev. Lett. 104, 136403 (2010),
    doi:10.1103/PhysRevLett.104.136403; Bartok, Kondor, Csanyi, Phys. Rev. B 87, 184115 (2013),
    doi:10.1103/PhysRevB.87.184115 (SOAP).

    Args:
        numbers: (atoms,) atomic numbers.
        files: content by name: GAP.xml, and the files of sparse points that it names.
        facts: metadata of the training.
        init_args: selects a potential of the files, for QUIP; the first by default.

    Models of SOAP with the dot-product kernel, and of distances, are evaluated natively (`native`),
    in batches on all cores. Unsupported descriptors are evaluated by QUIP, row by row. The result
    of a row does not depend on the number of cores.

    Raises:
        FileFormatError: a file is missing or damaged.
        MissingExtraError: QUIP must evaluate it, and quippy-ase is not installed.
        MoleculeError: the model lacks an element.
    """

    def __init__(
        self,
        *,
        numbers: np.ndarray,
        files: Mapping[str, bytes],
        facts: ModelFacts | None = None,
        init_args: str = "",
        where: object = "GAP",
    ):
        self.numbers = np.array(numbers, dtype=int)
        self.files = dict(files)
        self.layout = check_files(self.files, where)
        check_elements(self.layout, self.numbers, where)
        self.facts: ModelFacts = {**(facts or {})}
        self.init_args = init_args
        self._folder: _Folder | None = None
        self._energies: Energies | Quip | None = energies(
            self.files, self.numbers, init_args, where
        )
        self.needs_quip = self._energies is None
        """Whether the model needs QUIP for its evaluation."""
        if self.needs_quip:
            require_quippy()

    def evaluate(self, positions: np.ndarray) -> Evaluation:
        """Energies and forces of positions (batch, atoms, 3).

        Raises:
            FileFormatError: QUIP cannot read the files.
        """
        return self._opened()(positions)

    def content(self) -> ModelContent:
        """See `TrainedPotential.content`."""
        return ModelContent(
            family="gap",
            numbers=self.numbers,
            hyperparameters=self.facts.get("hyperparameters", {}),
            arrays=training_set_arrays(self),
            facts=self.facts | ({"init_args": self.init_args} if self.init_args else {}),
            files=self.files,
        )

    def _opened(self) -> Energies | Quip:
        if self._energies is None and not self.needs_quip:
            self._energies = energies(self.files, self.numbers, self.init_args, "GAP")
        if self._energies is None:
            self._folder = _Folder(self.files)
            self._energies = Quip(self._folder.path / MAIN, self.numbers, self.init_args)
        return self._energies

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_folder": None, "_energies": None}


class _Folder:
    """A private temporary folder with the files of a model; removed with this object."""

    def __init__(self, files: Mapping[str, bytes]):
        self.path = Path(tempfile.mkdtemp(prefix="flexcalc-gap-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        for name, content in files.items():
            write_bytes(self.path / name, content)
