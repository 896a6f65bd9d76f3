"""sGDML's own model files (.npz), read without unpickling and written for the sgdml package.

Three generations of files are about: old ones name the arrays Rt_desc and Rt_d_desc_alpha and
count the atoms of `perms` from one; newer ones say R_desc and R_d_desc_alpha, count from zero
and add `std`, `e_unit` and `r_unit`. Descriptors are stored as (size, points), or as their
transpose.

Source: sgdml 0.3 to 1.0.3, sgdml/train.py (create_model) and sgdml/predict.py.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flexcalc.errors import FileFormatError, InputError, MoleculeError, UnitError
from flexcalc.files.archive import Archive
from flexcalc.files.units import energy_unit, length_unit
from flexcalc.models.gdml.descriptor import InverseDistances
from flexcalc.models.gdml.groups import is_group
from flexcalc.models.gdml.potential import Expansion, GDMLPotential, check_model
from flexcalc.query import read_options
from flexcalc.storage import atomic_write, sha256_file

ENERGY_UNIT, LENGTH_UNIT = "kcal/mol", "angstrom"
"""What sgdml takes units to be that the file does not name."""


def no_options() -> None:
    """The options that may follow the path of an sGDML file: none."""


def open_npz(
    path: Path,
    numbers: np.ndarray | None = None,
    options: Mapping[str, str] | None = None,
    trust: bool = False,
) -> GDMLPotential:
    """Open a model of the sgdml package.

    Energies are in the unit the file names (`e_unit`), kcal/mol where it names none; `facts`
    says which.

    Args:
        path: the .npz file.
        numbers, options, trust: as any opener of `registry.FOREIGN` has them. The file names its
            atoms and units itself, and is read without running code.

    Raises:
        AddressError: there are options.
        FileFormatError: damaged, no sGDML model, or with features not supported.
        MoleculeError: a periodic model.
        UnitError: the file names an unknown unit.
    """
    path = Path(path)
    read_options(no_options, options or {}, str(path))
    with Archive(path) as archive:
        _check_kind(path, archive)
        numbers = archive.array("z", "iu").ravel().astype(int)
        arrays = _arrays(path, archive, len(numbers))
        numerals = {
            key: _number(path, archive, key) for key in ("sig", "c", "std") if key in archive
        }
        names = {key: archive.text(key) for key in ("e_unit", "r_unit", "code_version")}
        level = archive.text("dataset_theory") or archive.text("theory") or "unknown"
    for key in ("sig", "c"):
        if key not in numerals:
            raise FileFormatError(f"{path}: not a whole sGDML model: the array {key} is missing")
    energy, length = _units(path, names["e_unit"], names["r_unit"])
    sigma = numerals["sig"]
    descriptor = InverseDistances(len(numbers))
    found = len(arrays["permutations"]), len(arrays["features"])
    arrays = _unrolled(descriptor, arrays)
    check_model(path, numbers, arrays, sigma, descriptor)
    # Features, coefficients and sigma are all inverse lengths; the model depends on ratios.
    return GDMLPotential(
        numbers,
        Expansion(
            permutations=arrays["permutations"],
            features=arrays["features"] / length[1],
            coefficients=arrays["coefficients"] / length[1],
            energies=arrays.get("energies"),
            sigma=sigma / length[1],
            scale=numerals.get("std", 1.0) * energy[1],
            constant=numerals["c"] * energy[1],
        ),
        facts={
            "family": "sgdml",
            "format": f"sGDML npz of version {names['code_version'] or 'unknown'}",
            "source": path.name,
            "source_sha256": sha256_file(path),
            "source_units": f"{energy[0]}, {length[0]}",
            "level": level,
            "training_points": found[1],
            "permutations": found[0],
        },
    )


def is_model(path: Path) -> bool:
    """Whether an npz holds an sGDML model, and not a dataset or a task.

    Raises:
        FileFormatError: no whole npz.
    """
    with Archive(path) as archive:
        return "R_desc" in archive or "Rt_desc" in archive


def write_npz(potential: GDMLPotential, path: Path, *, overwrite: bool = True) -> None:
    """Write a model that `sgdml.predict.GDMLPredict` reads, in eV and angstrom.

    Args:
        potential: the model.
        path: the file, replaced whole.
        overwrite: replace another file too, not only an earlier copy of this model.

    Raises:
        InputError: the model has another descriptor than all inverse distances, or a kernel by
            bonds, neither of which sgdml knows; or another file is there.
    """
    if potential.descriptor.arrays() or potential.centres is not None:
        raise InputError(
            f"{path}: the sgdml package knows one kernel of all inverse distances only; to export, "
            'train with descriptor = "distances", kernel = "molecule", metric = "plain" and all '
            "features"
        )
    order = potential.descriptor.relabelled(potential.permutations)
    group, size = order.shape
    linear = (order + size * np.arange(group)[:, None]).ravel(order="F")
    facts = potential.facts
    arrays = dict(
        type=np.array("m"),
        code_version=np.array("1.0.3"),
        dataset_name=np.array("flexcalc"),
        dataset_theory=np.array(str(facts.get("level", "unknown"))),
        solver_name=np.array("analytic"),
        z=potential.numbers.astype(np.uint8),
        R_desc=potential.features.T,
        R_d_desc_alpha=potential.coefficients,
        perms=potential.permutations,
        tril_perms_lin=linear,
        **({} if potential.energies is None else {"alphas_E": potential.energies}),
        sig=np.array(potential.sigma),
        c=np.array(potential.constant),
        std=np.array(potential.scale),
        use_E=np.array(True),
        e_unit=np.array("eV"),
        r_unit=np.array("Ang"),
    )
    if not overwrite and path.exists() and not _holds(path, arrays):
        raise InputError(
            f"{path}: holds something else; choose another name, remove it, or replace it by "
            "--overwrite (overwrite=True)"
        )
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    atomic_write(Path(path), stream.getvalue())


def _holds(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a file has these very arrays."""
    try:
        with Archive(path) as archive:
            return archive.members.keys() == arrays.keys() and all(
                np.array_equal(archive.array(name, "biufSU"), value)
                for name, value in arrays.items()
            )
    except FileFormatError:
        return False


def _check_kind(path: Path, archive: Archive) -> None:
    if "lattice" in archive:
        raise MoleculeError(f"{path}: a periodic model; flexcalc is for molecules in vacuum")
    kind = archive.text("type")
    if kind not in (None, "m") or "z" not in archive or "perms" not in archive:
        raise FileFormatError(f"{path}: expected an sGDML model, found an archive of another kind")


def _arrays(path: Path, archive: Archive, atoms: int) -> dict[str, np.ndarray]:
    """Features and coefficients (points, size), permutations (group, atoms) from zero."""
    old = "Rt_desc" in archive
    names = ("Rt_desc", "Rt_d_desc_alpha") if old else ("R_desc", "R_d_desc_alpha")
    for name in names:
        if name not in archive:
            raise FileFormatError(f"{path}: not a whole sGDML model: the array {name} is missing")
    permutations = np.atleast_2d(archive.array("perms", "iu").astype(int))
    if permutations.ndim != 2 or permutations.shape[1] != atoms:
        raise FileFormatError(
            f"{path}: perms: expected shape (group, {atoms}), found {permutations.shape}"
        )
    size = InverseDistances(atoms).size
    features, coefficients = (archive.array(name, "f").astype(float) for name in names)
    if features.ndim == 2 and features.shape[0] == size:
        features = features.T
    if coefficients.ndim == 3 and coefficients.shape[2] == 1:
        coefficients = coefficients[..., 0]
    if features.ndim != 2 or features.shape[1] != size or coefficients.shape != features.shape:
        raise FileFormatError(
            f"{path}: {names[0]}: expected shape ({size}, points) for {atoms} atoms and "
            f"{names[1]} (points, {size}), found {features.shape} and {coefficients.shape}"
        )
    arrays = {
        "permutations": permutations - permutations.min(initial=1),
        "features": features,
        "coefficients": coefficients,
    }
    if "alphas_E" in archive:
        energies = archive.array("alphas_E", "f").astype(float).ravel()
        if len(energies) != len(features):
            raise FileFormatError(
                f"{path}: alphas_E: expected {len(features)} numbers, found {len(energies)}"
            )
        arrays["energies"] = energies
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise FileFormatError(f"{path}: {' or '.join(names)} has numbers that are not finite")
    return arrays


def _unrolled(descriptor: InverseDistances, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same model without permutations, where these are not a group (as flexcalc's are)."""
    permutations = arrays["permutations"]
    atoms = permutations.shape[1]
    valid = (np.sort(permutations) == np.arange(atoms)).all() and len(permutations)
    if not valid or is_group(permutations):
        return arrays  # what is not valid is refused by check_model
    order = descriptor.relabelled(permutations)
    unrolled: dict[str, np.ndarray] = {
        key: arrays[key][:, order].reshape(-1, descriptor.size)
        for key in ("features", "coefficients")
    }
    if "energies" in arrays:
        unrolled["energies"] = np.repeat(arrays["energies"], len(order))
    return unrolled | {"permutations": np.arange(atoms)[None]}


def _number(path: Path, archive: Archive, key: str) -> float:
    values = archive.array(key, "fiu").ravel()
    if len(values) != 1 or not np.isfinite(values).all():
        raise FileFormatError(f"{path}: {key}: expected one finite number")
    return float(values[0])


def _units(
    path: Path, energy: str | None, length: str | None
) -> tuple[tuple[str, float], tuple[str, float]]:
    try:
        return energy_unit(energy or ENERGY_UNIT), length_unit(length or LENGTH_UNIT)
    except UnitError as error:
        raise UnitError(f"{path}: {error}") from None
