"""A model as a file that another package reads, or as one model folder."""

from __future__ import annotations

from pathlib import Path

from flexcalc.config.tools import Export
from flexcalc.errors import InputError
from flexcalc.models.family import TrainedPotential
from flexcalc.registry import name_of, open_potential

SUFFIX, FOLDER = ".npz", ".flex"


def export(options: Export) -> Path:
    """Write a model as a model folder, or an sGDML model for the sgdml package.

    Raises:
        InputError: not a trained model; or for .npz no sGDML model, or one that the package
            cannot compute; or another model is there.
    """
    from flexcalc.models.gdml import GDMLPotential
    from flexcalc.models.gdml.exchange import write_npz

    file, model = options.file, name_of(options.model)
    if file.suffix not in (SUFFIX, FOLDER):
        raise InputError(
            f"{file}: expected a name that ends in {FOLDER}, a model folder, or {SUFFIX}, the "
            "sgdml package's format"
        )
    potential = open_potential(options.model, trust=options.trust)
    if file.suffix == FOLDER:
        if not isinstance(potential, TrainedPotential):
            raise InputError(f"{model}: expected a trained model, which can be saved")
        potential.save(file, overwrite=options.overwrite)
        return file
    if not isinstance(potential, GDMLPotential):
        raise InputError(f"{model}: only sGDML models can be exported so far")
    write_npz(potential, file, overwrite=options.overwrite)
    return file
