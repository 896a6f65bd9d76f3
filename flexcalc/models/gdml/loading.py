"""Loading an sGDML model folder, with checks of its content."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from flexcalc.errors import FileFormatError
from flexcalc.models.folder import check_arrays, read_model
from flexcalc.models.gdml.descriptor import Descriptor, from_arrays
from flexcalc.models.gdml.groups import is_group
from flexcalc.models.gdml.potential import Expansion, GDMLPotential


def read_potential(folder: Path, family: str) -> GDMLPotential:
    """Read a model folder of this family.

    Raises:
        FileFormatError: damaged, of another family, or its arrays do not fit together.
    """
    facts, arrays = read_model(folder, family)
    numbers = np.array(facts["numbers"])
    if len(numbers) < 2:
        raise FileFormatError(f"{folder}: expected at least two atoms")
    descriptor = from_arrays(len(numbers), arrays, folder)
    points = len(arrays.get("features", ()))
    shapes: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "permutations": ("i", (None, len(numbers))),
        "features": ("f", (None, descriptor.size)),
        "coefficients": ("f", (points, descriptor.size)),
        "scale": ("f", ()),
        "constant": ("f", ()),
    }
    if "energies" in arrays:
        shapes["energies"] = ("f", (points,))
    check_arrays(folder, arrays, shapes)
    sigma = facts["hyperparameters"].get("sigma")
    check_model(folder, numbers, arrays, sigma, descriptor)
    return GDMLPotential(
        numbers,
        Expansion(
            permutations=arrays["permutations"],
            features=arrays["features"],
            coefficients=arrays["coefficients"],
            energies=arrays.get("energies"),
            sigma=cast(float, sigma),
            scale=float(arrays["scale"]),
            constant=float(arrays["constant"]),
        ),
        descriptor=descriptor,
        facts=facts,
    )


def check_model(
    where: object,
    numbers: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    sigma: Any,
    descriptor: Descriptor,
) -> None:
    """Refuse arrays of valid shapes that are not a valid sGDML model.

    Args:
        where: the file or folder, for the message.
        numbers: (atoms,) atomic numbers.
        arrays: `permutations` (group, atoms) and `features` (points, size).
        sigma: anything at all.
        descriptor: of the features.

    Raises:
        FileFormatError: says which of them cannot be used.
    """
    permutations = arrays["permutations"]
    if len(numbers) < 2 or not len(arrays["features"]):
        raise FileFormatError(f"{where}: expected at least two atoms and one training point")
    if type(sigma) not in (int, float) or not 0 < sigma < np.inf:
        raise FileFormatError(f"{where}: sigma: expected a positive number, found {sigma!r}")
    if not len(permutations) or (np.sort(permutations) != np.arange(len(numbers))).any():
        raise FileFormatError(f"{where}: permutations: expected each atom once in every row")
    if (numbers[permutations] != numbers).any():
        raise FileFormatError(f"{where}: permutations exchange unlike atoms: another molecule's?")
    if not is_group(permutations):
        raise FileFormatError(f"{where}: permutations: expected a closed group, each member once")
    if not descriptor.closed_under(permutations).all():
        raise FileFormatError(f"{where}: permutations: they take features to others than these")
