"""SchNetPack's own model files: `best_model`, which spktrain writes, under any name.

Such a file is a pickled `NeuralNetworkPotential` with its postprocessors switched on. It does not
say its units; the `config.yaml` that spktrain leaves next to it does.

Source: SchNetPack 2.2, schnetpack/task.py (save_model), schnetpack/interfaces/ase_interface.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc.errors import FileFormatError, MissingExtraError
from flexcalc.models.foreign import require_trust
from flexcalc.models.schnetpack.potential import ModelOptions, SchNetPackPotential
from flexcalc.query import read_options
from flexcalc.storage import check_regular


def open_model(
    path: Path,
    numbers: np.ndarray,
    options: Mapping[str, str] | None = None,
    trust: bool = False,
) -> SchNetPackPotential:
    """Open a model file of SchNetPack.

    Args:
        path: the file.
        numbers: (atoms,) atomic numbers of the molecule.
        options: those of `ModelOptions`.
        trust: the file may run code.

    Raises:
        AddressError: no trust, or an option that does not fit.
        FileFormatError: no model of SchNetPack.
        MissingExtraError: SchNetPack is not installed.
        MoleculeError: an element that the model does not know.
        UnitError: the unit of energy is not known.
    """
    path = Path(path)
    chosen = read_options(ModelOptions, options or {}, str(path))
    return SchNetPackPotential(numbers, _unpickled(path, trust), path, ModelOptions(**chosen))


def _unpickled(path: Path, trust: bool) -> Any:
    import warnings

    require_trust(path, trust)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from schnetpack.utils import load_model
    except ImportError:
        raise MissingExtraError("schnetpack", "schnet") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_regular(path)
            model = load_model(str(path), device="cpu")
    except Exception as error:  # a pickle may raise anything
        reason = " ".join(str(error).split())
        raise FileFormatError(f"{path}: not a model of SchNetPack: {reason}") from None
    if not all(
        hasattr(model, name) for name in ("representation", "output_modules", "postprocess")
    ):
        raise FileFormatError(
            f"{path}: expected a NeuralNetworkPotential of SchNetPack, found {type(model).__name__}"
        )
    return model
