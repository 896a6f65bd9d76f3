"""GAP files made by hand with gap_fit, or published."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.models.gap import trial
from flexcalc.models.gap.fitting import Log
from flexcalc.models.gap.potential import GAPPotential
from flexcalc.models.gap.xml import read_files
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
    """Open a GAP of gap_fit, with the files of sparse points next to it.

    Args:
        path: the main file.
        numbers: (atoms,) atomic numbers of the molecule, which the file does not tell.
        options: see `xml_options`.
        trust: not needed; no code is run.

    Raises:
        AddressError: an unknown option.
        FileFormatError: no GAP, damaged, or a file of sparse points is missing.
        MissingExtraError: QUIP must evaluate it, and quippy-ase is not installed.
        MoleculeError: an element of the molecule is none that the model knows.
    """
    path = Path(path)
    values = read_options(xml_options, options or {}, str(path))
    files = read_files(path)
    potential = GAPPotential(numbers=numbers, files=files, where=path, **values)
    if potential.needs_quip:
        _try_out(path, numbers, **values)
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
    """Let another process open a file first, because QUIP ends the process on a bad file.

    Raises:
        FileFormatError: says why, in QUIP's words.
    """
    chain = np.zeros((len(numbers), 3))
    chain[:, 0] = 1.5 * np.arange(len(numbers))
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"from {trial.__name__} import main; main()"],
        input=trial.question(path, np.asarray(numbers), init_args, chain),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
    )
    if run.returncode or run.stdout != trial.DONE:
        log = Log(0)
        for line in run.stderr.decode(errors="replace").splitlines():
            if line.strip():
                log.read(line.strip())
        raise FileFormatError(f"{path}: QUIP cannot open it: {log.reason()}")
