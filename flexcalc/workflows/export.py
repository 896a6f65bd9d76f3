"""`flexcalc export`: a model as a file that another package reads."""

from __future__ import annotations

from pathlib import Path

from flexcalc.errors import InputError
from flexcalc.registry import open_potential

SUFFIX = ".npz"


def export_model(model: str, file: Path) -> Path:
    """Write an sGDML model for the sgdml package, in eV and angstrom.

    Args:
        model: address of the model.
        file: .npz file to write; one that is there is replaced.

    Raises:
        InputError: not an sGDML model, or one that the package cannot compute.
    """
    from flexcalc.models.gdml import GDMLPotential
    from flexcalc.models.gdml.exchange import write_npz

    file = Path(file)
    if file.suffix != SUFFIX:
        raise InputError(
            f"{file}: expected a name that ends in {SUFFIX}, the sgdml package's format"
        )
    potential = open_potential(model)
    if not isinstance(potential, GDMLPotential):
        raise InputError(f"{model}: only sGDML models can be exported so far")
    write_npz(potential, file)
    return file
