"""`flexcalc export`: a model as a file that another package reads, or as one model folder."""

from __future__ import annotations

from pathlib import Path

from flexcalc.errors import InputError
from flexcalc.models.family import TrainedPotential
from flexcalc.registry import open_potential

SUFFIX, FOLDER = ".npz", ".flex"


def export_model(model: str, file: Path, *, trust: bool = False) -> Path:
    """Write a model as a model folder, or an sGDML model for the sgdml package.

    Args:
        model: address of the model; of a committee (`committee:a.flex,b.flex`), whose folder then
            holds its members.
        file: .flex folder or .npz file to write, in eV and angstrom; a model that is there is
            replaced.
        trust: open files that can only be read by running code they contain.

    Raises:
        InputError: not a trained model; or for .npz no sGDML model, or one that the package
            cannot compute.
    """
    from flexcalc.models.gdml import GDMLPotential
    from flexcalc.models.gdml.exchange import write_npz

    file = Path(file)
    if file.suffix not in (SUFFIX, FOLDER):
        raise InputError(
            f"{file}: expected a name that ends in {FOLDER}, a model folder, or {SUFFIX}, the "
            "sgdml package's format"
        )
    potential = open_potential(model, trust=trust)
    if file.suffix == FOLDER:
        if not isinstance(potential, TrainedPotential):
            raise InputError(f"{model}: expected a trained model, which can be saved")
        potential.save(file)
        return file
    if not isinstance(potential, GDMLPotential):
        raise InputError(f"{model}: only sGDML models can be exported so far")
    write_npz(potential, file)
    return file
