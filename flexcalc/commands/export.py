"""`flexcalc export`: a model for another package, or as one folder."""

from __future__ import annotations

from pathlib import Path

from flexcalc.commands.face import tool
from flexcalc.config.tools import Export
from flexcalc.tasks import export as task


@tool(Export)
def export(options: Export) -> Path:
    """Write an sGDML model as a file of the sgdml package (.npz), or a model as one folder (.flex).

    Returns:
        The path that was written. Raises InputError where the model is not a trained one, or for
        .npz no sGDML model, or one that the package cannot compute.

    Example:
        >>> import numpy as np
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> water = molecule("H2O")
        >>> jitter = 0.05 * np.random.default_rng(0).standard_normal((40, 3, 3))
        >>> potential = fx.load(EMT(), water)
        >>> positions = water.positions + jitter
        >>> found = potential(positions)
        >>> data = fx.Dataset(water.numbers, positions, found.energies, found.forces)
        >>> model = fx.train(data, points=20, sigma=5.0, symmetry=False)
        >>> print(fx.export(model, "water.flex"))
        water.flex

    Source: the format is that of Chmiela et al., Comput. Phys. Commun. 240, 38 (2019).
    """
    return task.export(options)
