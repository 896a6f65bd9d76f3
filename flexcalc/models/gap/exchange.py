"""GAP files made by hand with gap_fit, or published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.errors import AddressError
from flexcalc.models.gap.predictor import GAPPotential
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
    numbers: np.ndarray | None = None,
    options: Mapping[str, str] | None = None,
    trust: bool = False,
) -> GAPPotential:
    """Open a GAP of gap_fit, with the files of sparse points beside it.

    Args:
        path: the main file.
        numbers: (atoms,) atomic numbers of the molecule; needed, as the file tells none.
        options: see `xml_options`.
        trust: not needed; no code is run.

    Raises:
        AddressError: no molecule, or an unknown option.
        FileFormatError: no GAP, damaged, or a file of sparse points is missing.
        MissingExtraError: quippy-ase is not installed.
        MoleculeError: an element of the molecule is none that the model knows.
    """
    path = Path(path)
    values = read_options(xml_options, options or {}, str(path))
    if numbers is None:
        raise AddressError(
            f"{str(path)!r} is a model for any molecule: say which one, "
            f'as in flexcalc.load("{path}", atoms)'
        )
    files = read_files(path)
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
