"""GAP files made by hand with gap_fit, or published."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.models.gap import workers
from flexcalc.models.gap.fitting import Log
from flexcalc.models.gap.predictor import GAPPotential
from flexcalc.models.gap.quip import require_quippy
from flexcalc.models.gap.xml import MAIN, check_elements, layout, read_files
from flexcalc.query import read_options
from flexcalc.storage import sha256_file


def xml_options(*, init_args: str = "") -> None:
    """The options that may follow the path of a GAP file.

    Args:
        init_args: which potential of the file, in QUIP's words; the first by default.
    """


def open_xml(
    path: Path,
    numbers: np.ndarray,
    options: Mapping[str, str] | None = None,
    trust: bool = False,
) -> GAPPotential:
    """Open a GAP of gap_fit, with the files of sparse points beside it.

    Args:
        path: the main file.
        numbers: (atoms,) atomic numbers of the molecule, which the file does not tell.
        options: see `xml_options`.
        trust: not needed; no code is run.

    Raises:
        AddressError: an unknown option.
        FileFormatError: no GAP, damaged, or a file of sparse points is missing.
        MissingExtraError: quippy-ase is not installed.
        MoleculeError: an element of the molecule is none that the model knows.
    """
    path = Path(path)
    values = read_options(xml_options, options or {}, str(path))
    files = read_files(path)
    require_quippy()
    check_elements(layout(files[MAIN], path), numbers, path)
    _try_out(path, numbers, **values)
    potential = GAPPotential(numbers=numbers, files=files, where=path, **values)
    potential.facts = {
        "family": "gap",
        "format": "GAP of gap_fit",
        "source": path.name,
        "source_sha256": sha256_file(path),
        "level": "unknown",
        "sparse_points": potential.layout.points,
        "descriptors": list(potential.layout.descriptors),
    }
    return potential


def _try_out(path: Path, numbers: np.ndarray, init_args: str = "") -> None:
    """Let another process open a file first: QUIP ends the process that gives it a bad one.

    Raises:
        FileFormatError: says why, in QUIP's words.
    """
    chain = np.zeros((1, len(numbers), 3))
    chain[0, :, 0] = 1.5 * np.arange(len(numbers))
    first = workers.job(path, np.asarray(numbers), init_args) + workers.question(chain)
    run = subprocess.run(input=first, capture_output=True, check=False, **workers.command())
    if run.returncode or len(run.stdout) != 8 * (1 + chain.size):
        log = Log(0)
        for line in run.stderr.decode(errors="replace").splitlines():
            if line.strip():
                log.read(line.strip())
        raise FileFormatError(f"{path}: QUIP cannot open it: {log.reason()}")
