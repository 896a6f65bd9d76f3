"""A model on disk: a folder NAME.flex with model.json and weights.safetensors.

`model.json` has the metadata of the model and the SHA-256 of every other file and of itself.
Nothing is unpickled, and nothing is used before its hash, type and size have been checked. A
composite model, such as a committee, contains the folders of its members and the SHA-256 of their
model.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from flexcalc import __version__
from flexcalc.errors import FileFormatError, InputError
from flexcalc.models.facts import ModelFacts, Row
from flexcalc.storage import (
    atomic_write,
    check_regular,
    fresh_folder,
    read_json,
    sha256_file,
    sync_folder,
    write_json,
)

FORMAT = "flexcalc model"
VERSION = 1
FACTS = "model.json"
WEIGHTS = "weights.safetensors"

LARGEST_FACTS = 16 << 20
"""Maximum size of model.json in bytes."""

OWN = (
    *("format", "version", "family", "numbers", "units", "hyperparameters", "versions", "files"),
    "members",
)
"""Keys of model.json that `write_model` sets itself."""


OF_THE_MODEL = (
    *("family", "numbers", "hyperparameters", "files", "baseline", "baseline_sha256"),
    "baselines",
    *("gate", "init_args"),
)
"""Keys of model.json that energies and forces depend on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelContent:
    """What a model folder holds.

    Args:
        family: name of the family that can load it.
        numbers: (atoms,) atomic numbers.
        hyperparameters: of the family, or of the composite model.
        arrays: float64, float32 or int64 arrays.
        facts: such as errors at training time.
        files: additional files by name, for families whose weights are not arrays.
        members: folder names of the members of a composite model, with functions that write them.
    """

    family: str
    numbers: np.ndarray
    hyperparameters: Row
    arrays: Mapping[str, np.ndarray]
    facts: ModelFacts
    files: Mapping[str, bytes] = field(default_factory=dict)
    members: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)

    def sha256(self) -> str:
        """Hash of all but the facts and the members: of what energies and forces depend on."""
        numbers, other = list(map(int, self.numbers)), dict(self.hyperparameters)
        head = [self.family, numbers, other, self.facts.get("gate"), self.facts.get("init_args")]
        digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        for name, array in sorted(self.arrays.items()):
            array = np.ascontiguousarray(array)
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        for name, data in sorted(self.files.items()):
            digest.update(name.encode() + data)
        return digest.hexdigest()


def joint_sha256(*parts: str) -> str:
    """Hash of the hashes of the parts of a model."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def write_model(folder: Path, content: ModelContent, *, overwrite: bool = True) -> None:
    """Write a model folder atomically: a new folder next to the destination, then a rename.

    Args:
        folder: the destination; a model folder there is replaced.
        content: of the folder.
        overwrite: replace another model too, not only an earlier copy of this one.

    Raises:
        InputError: the destination exists and is not a model folder, or holds another model.
        OSError: the disk is full or not writable; the old model stays.
    """
    folder = Path(folder)
    _check_destination(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = fresh_folder(folder)
    try:
        for name, data in {WEIGHTS: _weights(content.arrays), **content.files}.items():
            atomic_write(fresh / name, data)
        for name, save in content.members.items():
            save(fresh / name)
        summary = {
            "format": FORMAT,
            "version": VERSION,
            "family": content.family,
            "numbers": [int(number) for number in content.numbers],
            "units": {"energy": "eV", "length": "angstrom"},
            "hyperparameters": dict(content.hyperparameters),
            **{key: value for key, value in content.facts.items() if key not in OWN},
            "versions": {
                "flexcalc": __version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            "files": {
                path.name: sha256_file(path) for path in sorted(fresh.iterdir()) if path.is_file()
            },
        }
        if content.members:
            summary["members"] = {
                name: sha256_file(fresh / name / FACTS) for name in content.members
            }
        write_json(fresh / FACTS, summary | {"sha256": _digest(summary)})
        if not overwrite and not _is_free(folder) and not is_same_model(folder, fresh):
            raise InputError(
                f"{folder}: holds another model; choose another name, remove it, or ask to "
                "overwrite it (overwrite=True, --overwrite)"
            )
        _replace(folder, fresh)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def read_facts(folder: Path) -> ModelFacts:
    """Read model.json, without the weights.

    Raises:
        FileFormatError: not a model folder, or model.json is damaged.
    """
    path = Path(folder) / FACTS
    try:
        facts = read_json(path, LARGEST_FACTS, _refuse_constant)
    except OSError as error:
        raise FileFormatError(f"{path}: not a model folder: {error.strerror}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise FileFormatError(f"{path}: expected the format {FORMAT!r}; not a model of flexcalc")
    if facts.get("version") != VERSION:
        raise FileFormatError(
            f"{path}: expected version {VERSION}, found {facts.get('version')!r}; "
            "the model was made by another flexcalc"
        )
    try:
        same = facts.pop("sha256", None) == _digest(facts)
    except ValueError as error:  # such as 1e999, which is infinite
        raise FileFormatError(f"{path}: not whole JSON: {error}") from None
    if not same:
        raise FileFormatError(f"{path}: changed since it was written; its hash does not fit")
    _check_facts(path, facts)
    return cast(ModelFacts, facts)


def read_model(folder: Path, family: str | None = None) -> tuple[ModelFacts, dict[str, np.ndarray]]:
    """Facts and arrays of a model folder, checked.

    Args:
        folder: the model folder.
        family: the family that the model must be of; any by default.

    Raises:
        FileFormatError: a file is missing, damaged, of another size than it says, or has
            numbers that are not finite; or it is of another family.
    """
    folder = Path(folder)
    facts = read_facts(folder)
    if family is not None and facts["family"] != family:
        raise FileFormatError(
            f"{folder}: expected a model of the family {family}, found {facts['family']!r}"
        )
    for name, digest in facts["files"].items():
        path = folder / name
        if not path.is_file():
            raise FileFormatError(f"{path}: missing from the model folder")
        if sha256_file(path) != digest:
            raise FileFormatError(f"{path}: damaged: its hash is not the one in {FACTS}")
    return facts, _read_weights(folder / WEIGHTS)


def read_members(folder: Path, facts: ModelFacts) -> dict[str, Path]:
    """The folders of the models that a model is made of, by name, none of them changed.

    Each one's files are checked when it is opened itself.

    Args:
        folder: the model folder.
        facts: from `read_facts` or `read_model`.

    Raises:
        FileFormatError: one is missing, a link, or not the one that was written.
    """
    found = {}
    members = cast(Mapping[str, str], facts.get("members", {}))
    for name, digest in members.items():
        path = Path(folder) / name
        if path.is_symlink() or not (path / FACTS).is_file():
            raise FileFormatError(f"{path}: missing from the model folder")
        if sha256_file(path / FACTS) != digest:
            raise FileFormatError(f"{path}: not the model that was written here; its hash differs")
        found[name] = path
    return found


def check_arrays(
    folder: Path,
    arrays: Mapping[str, np.ndarray],
    expected: Mapping[str, tuple[str, tuple[int | None, ...]]],
) -> None:
    """Refuse arrays that are not the ones a family needs.

    Args:
        folder: named in the message.
        arrays: from `read_model`.
        expected: name -> (kind, shape), the kind being numpy's "f" or "i" and None standing
            for any length.

    Raises:
        FileFormatError: an array is missing or has another type or shape.
    """
    for name, (kind, shape) in expected.items():
        if name not in arrays:
            raise FileFormatError(f"{folder}: {WEIGHTS} has no array {name!r}")
        array = arrays[name]
        fits = len(shape) == array.ndim and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if array.dtype.kind != kind or not fits:
            wanted = tuple("any" if length is None else length for length in shape)
            raise FileFormatError(
                f"{folder}: array {name!r}: expected shape {wanted} of type {kind}8, "
                f"found {array.shape} of {array.dtype}"
            )


def _check_destination(folder: Path) -> None:
    if _is_free(folder):
        return
    if folder.is_dir() and not folder.is_symlink():
        try:
            if read_json(folder / FACTS)["format"] == FORMAT:
                return
        except (OSError, FileFormatError, KeyError, TypeError):
            pass  # no model of ours: refused below
    raise InputError(f"{folder}: exists and is not a model folder; choose another name")


def _is_free(folder: Path) -> bool:
    """Whether there is nothing at a place, or an empty folder."""
    if folder.is_dir() and not folder.is_symlink():
        return not any(folder.iterdir())
    return not os.path.lexists(folder)


def is_same_model(first: Path, second: Path) -> bool:
    """Whether two model folders hold the same model, whatever else their model.json says."""
    try:
        one, other = read_facts(first), read_facts(second)
    except FileFormatError:
        return False
    return all(one.get(key) == other.get(key) for key in OF_THE_MODEL) and all(
        is_same_model(first / name, second / name)
        for name in {*one.get("members", ()), *other.get("members", ())}
    )


def _replace(folder: Path, fresh: Path) -> None:
    """Put the fresh folder in place; the old one steps aside first and is then removed."""
    old = None
    if folder.exists():
        old = fresh_folder(folder, "old")
        os.replace(folder, old)
    try:
        os.replace(fresh, folder)
    except BaseException:
        if old is not None:
            os.replace(old, folder)
        raise
    sync_folder(folder.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _weights(arrays: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({name: np.array(array, order="C") for name, array in arrays.items()})


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays; safetensors checks that the sizes in the header add up to the file's."""
    from safetensors import SafetensorError, safe_open

    arrays = {}
    check_regular(path)
    try:
        with safe_open(path, framework="numpy") as stream:
            for name in stream.keys():  # noqa: SIM118 - not a dictionary
                arrays[name] = stream.get_tensor(name)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FileFormatError(f"{path}: not whole safetensors: {error}") from None
    for name, array in arrays.items():
        if array.dtype not in (np.float64, np.float32, np.int64):
            raise FileFormatError(
                f"{path}: {name}: expected float64, float32 or int64, got {array.dtype}"
            )
        if not np.isfinite(array).all():
            raise FileFormatError(f"{path}: {name}: has numbers that are not finite")
    return arrays


def _check_facts(path: Path, facts: Mapping[str, Any]) -> None:
    numbers, files = facts.get("numbers"), facts.get("files")
    if not _all_are(int, numbers) or not all(1 <= number <= 118 for number in numbers or ()):
        raise FileFormatError(f"{path}: numbers: expected atomic numbers from 1 to 118")
    if not isinstance(files, dict) or WEIGHTS not in files or not _all_are(str, files.values()):
        raise FileFormatError(f"{path}: files: expected a SHA-256 for {WEIGHTS}")
    members = facts.get("members", {})
    if not isinstance(members, dict) or (members and not _all_are(str, members.values())):
        raise FileFormatError(f"{path}: members: expected a SHA-256 for each")
    if any(Path(name).name != name or name in (".", "..") for name in [*files, *members]):
        raise FileFormatError(f"{path}: files: expected names inside the folder")
    if facts.get("units") != {"energy": "eV", "length": "angstrom"}:
        raise FileFormatError(f"{path}: units: expected eV and angstrom")
    if not isinstance(facts.get("hyperparameters"), dict) or not _all_are(
        str, [facts.get("family")]
    ):
        raise FileFormatError(f"{path}: expected a family and its hyperparameters")


def _all_are(kind: type, values: Iterable[Any] | None) -> bool:
    return values is not None and bool(values) and all(type(value) is kind for value in values)


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
