"""Descriptors read back from the arrays of a model folder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.gdml.descriptor.composite import KINDS, CompositeDescriptor
from flexcalc.models.gdml.descriptor.distances import InverseDistances, RootDistances
from flexcalc.models.gdml.descriptor.interface import Descriptor

ASYMMETRY = 1e-9
"""Share of a transform's largest number by which it may differ from its transpose."""


def from_arrays(
    atoms: int, arrays: Mapping[str, np.ndarray], where: object = "descriptor"
) -> Descriptor:
    """The descriptor that wrote `arrays()`; other keys than its own are left alone.

    Without any of the keys, as in older models, it is the inverse distances of all pairs.

    Args:
        atoms: number of atoms, at least two.
        arrays: any of `pairs` (n, 2), `angles` (n, 3), `dihedrals` (n, 4), `weights` (parts,)
            and `transform` (size, size).
        where: the file or folder, for the message.

    Raises:
        FileFormatError: the arrays are not those of a descriptor of so many atoms.
    """
    try:
        return _read(atoms, arrays)
    except InputError as error:
        raise FileFormatError(f"{where}: {error}") from None


def _read(atoms: int, arrays: Mapping[str, np.ndarray]) -> Descriptor:
    parts = tuple(kind(atoms, arrays[kind.key]) for kind in KINDS if kind.key in arrays)
    if "weights" in arrays:
        if "transform" in arrays:
            raise InputError("expected weights of several parts or a transform, found both")
        return CompositeDescriptor(
            parts, tuple(_floats("weights", arrays["weights"], (len(parts),)))
        )
    if len(parts) > 1:
        raise InputError(f"{len(parts)} kinds of features without the array weights")
    part = parts[0] if parts else InverseDistances(atoms)
    if "transform" not in arrays:
        return part
    if not isinstance(part, InverseDistances):
        raise InputError(f"expected a transform of pairs, found one of {part.key}")
    transform = _floats("transform", arrays["transform"], (part.size, part.size))
    if np.abs(transform - transform.T).max() > ASYMMETRY * np.abs(transform).max():
        raise InputError("transform: expected a symmetric matrix")
    return RootDistances(part, transform)


def _floats(key: str, given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(given)
    if array.dtype.kind != "f" or array.shape != shape or not np.isfinite(array).all():
        raise InputError(
            f"{key}: expected finite numbers of shape {shape}, found {array.shape} of {array.dtype}"
        )
    return array.astype(float)
