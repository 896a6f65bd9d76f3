"""`flexcalc info` and `flexcalc init`: what a thing is, and what a command can be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flexcalc import files
from flexcalc.config import COMMANDS, template
from flexcalc.config.reading import LARGEST_FILE
from flexcalc.dataset import Dataset
from flexcalc.errors import FileFormatError, InputError, MoleculeError, UnitError
from flexcalc.labelling import LABELS
from flexcalc.masses import atomic_masses, isotopes
from flexcalc.models.bonding import FACT
from flexcalc.models.folder import read_facts
from flexcalc.potential import formula
from flexcalc.registry import open_potential
from flexcalc.storage import read_json, read_text
from flexcalc.tasks.audit import audit as audited
from flexcalc.units import KCAL_MOL


def describe(
    place: str,
    *,
    trust: bool = False,
    energy_key: str | None = None,
    forces_key: str | None = None,
    audit: str | None = None,
) -> dict[str, Any]:
    """Facts of a model, a dataset or a run folder, in the order to be shown.

    Args:
        place: file, folder or address.
        trust: open files that can only be read by running code they contain.
        energy_key: key of a dataset's energies, and
        forces_key: of its forces; by default the usual ones.
        audit: address of the potential that a dataset's labels are said to come from; a sample
            of them is computed again and compared.

    Raises:
        InputError: it is none of these, or there are no labels to audit.
    """
    path = Path(place)
    if audit is not None:
        return _audited(path, audit, trust, {"energy_key": energy_key, "forces_key": forces_key})
    if (path / "run.toml").exists() or (path / "results.json").exists():
        return _run_facts(path)
    if path.is_dir() or not path.exists() or _is_model_file(path):
        return _model_facts(place, trust)
    return _dataset_facts(path, {"energy_key": energy_key, "forces_key": forces_key})


def lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Facts as lines to read; tables inside them indented."""
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_model_file(path: Path) -> bool:
    """Whether an npz holds an sGDML model and not a dataset."""
    if path.suffix != ".npz":
        return False
    from flexcalc.models.gdml.exchange import is_model

    return is_model(path)


def _run_facts(path: Path) -> dict[str, Any]:
    if not (path / "results.json").exists():
        text = read_text(path / "run.toml", LARGEST_FILE, errors="replace")
        first = text.partition("\n")[0]
        if not first.startswith("# flexcalc "):
            raise InputError(f"{path}: not a run folder of flexcalc")
        command = first.removeprefix("# flexcalc ")
        return {"what": "run folder, not finished", "command": command}
    try:
        facts = read_json(path / "results.json")
    except OSError as error:
        raise InputError(f"{path / 'results.json'}: cannot be read: {error.strerror}") from None
    if not isinstance(facts, dict):
        raise FileFormatError(f"{path / 'results.json'}: expected the results of a run")
    return {"what": "run folder", **facts}


def _model_facts(place: str, trust: bool) -> dict[str, Any]:
    if (Path(place) / "model.json").exists():
        facts = read_facts(Path(place))
        facts.pop("files")
        numbers = facts.pop("numbers")
    else:
        potential = open_potential(place, trust=trust)
        facts, numbers = dict(getattr(potential, "facts", {})), potential.numbers
    if facts.pop(FACT, None) is not None:
        facts["bonding"] = "kept: a start whose like atoms are in another order is refused"
    return {"what": "model", "molecule": formula(np.array(numbers)), **facts}


def _dataset_facts(path: Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    data = _read_leniently(path, wanted)
    facts: dict[str, Any] = {
        "what": "dataset",
        "molecule": formula(data.numbers),
        "atoms": len(data.numbers),
        "frames": len(data),
        "energies": data.energies is not None,
        "forces": data.forces is not None,
        "level": data.provenance.level,
        "units on disk": data.provenance.units,
        "tags": ", ".join(data.tags) or "none",
        **_isotopes(data),
        "sha256": data.provenance.sha256,
    }
    if data.energies is not None and len(data):
        spread = (data.energies.max() - data.energies.min()) / KCAL_MOL
        facts["energy_range_kcal_mol"] = round(float(spread), 3)
    return facts


def _audited(path: Path, reference: str, trust: bool, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a dataset, or of the labels in a run folder, with what an audit of them found."""
    path = path / LABELS if (path / LABELS).exists() else path
    if path.suffix not in files.SUFFIXES or not path.is_file() or _is_model_file(path):
        raise InputError(f"{path}: expected a dataset, whose labels --audit computes again")
    facts = _dataset_facts(path, wanted)
    found = audited(_read_leniently(path, wanted), reference, trust=trust)
    shown = {
        "reference": found.reference,
        "frames computed again": found.frames,
        "findings": len(found.findings),
    }
    lines = {f"finding {number}": line for number, line in enumerate(found.findings, 1)}
    return {**facts, "audit": shown | lines}


def _isotopes(data: Dataset) -> dict[str, str]:
    """The isotopes of a dataset's molecule, where it has any."""
    if data.masses is None:
        return {}
    try:
        told = isotopes(data.numbers, atomic_masses(data.numbers, data.own_masses()))
    except MoleculeError:
        return {"isotopes": "different ones from frame to frame"}
    return {"isotopes": told} if told else {}


def _read_leniently(path: Path, wanted: Mapping[str, Any]) -> Dataset:
    """Read a dataset; one that does not say its units is taken as kcal/mol, as sGDML does."""
    try:
        return files.read(path, **wanted)
    except UnitError:
        return files.read(path, energy_unit="kcal/mol", **wanted)


def toml_template(command: str) -> str:
    """The commented TOML of a command.

    Raises:
        InputError: no command of that name takes a TOML.
    """
    if command not in COMMANDS:
        raise InputError(f"init: no TOML for {command!r}; expected one of {', '.join(COMMANDS)}")
    return template(COMMANDS[command], command)
