"""mace-torch's own model files (.model): MACE, MACE-OFF, MACE-MP and what its users train.

Such a file is a pickled torch module. Energies are in eV and lengths in angstrom, as mace-torch
has them.

Source: mace-torch 0.3.16, mace/calculators/mace.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.models.mace.potential import MACEPotential, ModuleOptions
from flexcalc.query import read_options
from flexcalc.storage import read_file


def open_model(
    path: Path,
    numbers: np.ndarray,
    options: Mapping[str, str] | None = None,
    trust: bool = False,
) -> MACEPotential:
    """Open a model file of mace-torch.

    Args:
        path: the file.
        numbers: (atoms,) atomic numbers of the molecule.
        options: `precision`, `head`, `charge` and `multiplicity`; see `ModuleOptions`.
        trust: the file may run code.

    Raises:
        AddressError: no trust, or an option that does not fit.
        FileFormatError: no model of MACE.
        MissingExtraError: mace-torch is not installed.
        MoleculeError: an element that the model does not know.
    """
    path = Path(path)
    chosen = read_options(ModuleOptions, options or {}, str(path))
    return MACEPotential(numbers, read_file(path), path, trust, ModuleOptions(**chosen))
