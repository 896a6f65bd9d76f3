"""Facts of models, datasets, run folders and results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from flexcalc import files
from flexcalc.config.reading import LARGEST_FILE
from flexcalc.config.tools import Info
from flexcalc.dataset import Dataset
from flexcalc.domain import Domain
from flexcalc.errors import FileFormatError, InputError, MoleculeError, UnitError
from flexcalc.geometry import Structure
from flexcalc.geometry.fingerprint import count_repeated
from flexcalc.labelling import LABELS
from flexcalc.masses import atomic_masses, isotopes
from flexcalc.models import frames
from flexcalc.models.bonding import FACT
from flexcalc.models.facts import ModelFacts, domain_in
from flexcalc.models.folder import read_facts
from flexcalc.potential import Potential, formula
from flexcalc.registry import open_potential
from flexcalc.results.base import Result
from flexcalc.results.description import Description
from flexcalc.runs.resuming import RESULTS
from flexcalc.storage import JSON, read_json, read_text
from flexcalc.tasks.audit import audit
from flexcalc.tasks.provenance import is_of_a_model
from flexcalc.units import KCAL_MOL


def info(options: Info) -> Description:
    """Describe a file, folder, address or object.

    Raises:
        InputError: it is none of a model, a dataset, a run folder or a result; or there are no
            labels to audit.
    """
    given = options.place
    if options.audit is not None:
        return _audited(_labels_of(options), options)
    if isinstance(given, Result):
        return Description("result", {"command": given.command, **given.to_dict()})
    if isinstance(given, Dataset):
        return _of_dataset(given)
    if not isinstance(given, str | Path):
        return _of_potential(open_potential(given))
    if str(given).startswith(files.SMILES):
        return _of_smiles(str(given).removeprefix(files.SMILES))
    path, _ = files.split_frames(given)
    if (path / "run.toml").exists() or (path / RESULTS).exists():
        return _of_run(path)
    if not os.path.lexists(path) and files.hint_of(path):
        raise InputError(f"{given}: no such file{files.hint_of(path)}")
    if path.is_dir() or not path.exists() or _is_model_file(path):
        return _of_model(str(given), options.trust)
    return _of_dataset(_read_leniently(given, options))


TOLD_FIRST = ("family", "level", "training_points", "errors", "domain", "warnings")
"""Facts of a model that a user needs before all others."""


def _is_model_file(path: Path) -> bool:
    """Whether an npz holds an sGDML model and not a dataset."""
    if path.suffix != ".npz":
        return False
    from flexcalc.models.gdml.exchange import is_model

    return is_model(path)


def _of_run(path: Path) -> Description:
    if not (path / RESULTS).exists():
        text = read_text(path / "run.toml", LARGEST_FILE, errors="replace")
        first = text.partition("\n")[0]
        if not first.startswith("# flexcalc "):
            raise InputError(f"{path}: not a run folder of flexcalc")
        command = first.removeprefix("# flexcalc ")
        return Description("run folder, not finished", {"command": command})
    try:
        facts = read_json(path / RESULTS)
    except OSError as error:
        raise InputError(f"{path / 'results.json'}: cannot be read: {error.strerror}") from None
    if not isinstance(facts, dict):
        raise FileFormatError(f"{path / 'results.json'}: expected the results of a run")
    return Description("run folder", facts)


def _of_model(place: str, trust: bool) -> Description:
    if not (Path(place) / "model.json").exists():
        return _of_potential(open_potential(place, trust=trust))
    facts = read_facts(Path(place))
    facts.pop("files")
    return _model(facts.pop("numbers"), dict(facts))


def _of_potential(potential: Potential) -> Description:
    return _model(potential.numbers, dict(getattr(potential, "facts", {})))


def _model(numbers: Sequence[int] | np.ndarray, facts: Mapping[str, Any]) -> Description:
    shown = {key: value for key, value in facts.items() if key != FACT}
    if facts.get(FACT) is not None:
        shown["bonding"] = "kept: a start whose identical atoms are in another order is refused"
    if facts.get(frames.FACT) is not None:
        shown[frames.FACT] = "kept: frames of the training are found in datasets to evaluate on"
    if facts.get("domain") is not None:
        shown["domain"] = _domain(domain_in(cast(ModelFacts, facts)), facts["domain"]["frames"])
    first = {key: shown.pop(key) for key in TOLD_FIRST if key in shown}
    return Description("model", {"molecule": formula(np.array(numbers)), **first, **shown})


def _domain(domain: Domain, frames: int) -> str:
    """The domain of a calibrated model in words."""
    low, high = (error / KCAL_MOL for error in (domain.errors_eV_A[0], domain.errors_eV_A[-1]))
    return (
        f"up to {domain.limit:.3g} times the largest nearest-neighbour distance within the "
        f"training set; expected force RMSE {low:.3g} to {high:.3g} kcal/mol/A from the nearest to "
        f"the farthest of {frames} validation frames"
    )


def _of_dataset(data: Dataset) -> Description:
    facts: dict[str, JSON] = {
        "molecule": formula(data.numbers),
        "atoms": len(data.numbers),
        "frames": len(data),
        "energies": data.energies is not None,
        "forces": data.forces is not None,
        "level": data.provenance.level,
        "units on disk": data.provenance.units,
        "tags": ", ".join(data.tags) or "none",
        **_warned(data),
        **_isotopes(data),
        "sha256": data.provenance.sha256 or data.sha256(),
    }
    if data.energies is not None and len(data):
        spread = (data.energies.max() - data.energies.min()) / KCAL_MOL
        facts["energy_range_kcal_mol"] = round(float(spread), 3)
    structure = Structure.of(data.numbers, data.positions) if len(data) else None
    return Description("dataset", facts, structure)


def _of_smiles(text: str) -> Description:
    """The molecule of a SMILES, whose atoms are numbered as `flexcalc label` numbers them."""
    from flexcalc.methods.conformers import charge_and_unpaired, embedded

    data = embedded(text)
    charge, unpaired = charge_and_unpaired(text)
    facts: dict[str, JSON] = {
        "molecule": formula(data.numbers),
        "atoms": len(data.numbers),
        "charge": charge,
        "multiplicity": unpaired + 1,
        **_isotopes(data),
    }
    return Description("SMILES", facts, Structure.of(data.numbers, data.positions))


def _warned(data: Dataset) -> dict[str, JSON]:
    """What to know of the frames of a dataset: labels by a model, and repeated geometries."""
    found: dict[str, JSON] = {"repeated frames": count_repeated(data.numbers, data.positions)}
    if is_of_a_model(data):
        found["labels"] = "by a trained model, not by a reference"
    if data.provenance.model_sha256:
        found["model_sha256"] = data.provenance.model_sha256
    return found


def _labels_of(options: Info) -> Dataset:
    """The dataset of a file, of a run folder or of an object.

    Raises:
        InputError: it is none.
    """
    if isinstance(options.place, Dataset):
        return options.place
    if not isinstance(options.place, str | Path):
        raise InputError("info: expected a dataset, whose labels audit computes again")
    given: Path | str = options.place
    given = Path(given) / LABELS if (Path(given) / LABELS).exists() else given
    path, _ = files.split_frames(given)
    if path.suffix not in files.SUFFIXES or not path.is_file() or _is_model_file(path):
        raise InputError(f"{path}: expected a dataset, whose labels --audit computes again")
    return _read_leniently(given, options)


def _audited(data: Dataset, options: Info) -> Description:
    """Facts of a dataset, with what an audit of its labels found."""
    described = _of_dataset(data)
    found = audit(data, options.audit, trust=options.trust)
    shown: dict[str, JSON] = {
        "reference": found.reference,
        "frames computed again": found.frames,
        "findings": len(found.findings),
    }
    lines: dict[str, JSON] = {
        f"finding {number}": line for number, line in enumerate(found.findings, 1)
    }
    return replace(described, facts={**described.facts, "audit": shown | lines})


def _isotopes(data: Dataset) -> dict[str, str]:
    """The isotopes of a dataset's molecule, where it has any."""
    if data.masses is None:
        return {}
    try:
        masses = isotopes(data.numbers, atomic_masses(data.numbers, data.own_masses()))
    except MoleculeError:
        return {"isotopes": "different ones from frame to frame"}
    return {"isotopes": masses} if masses else {}


def _read_leniently(path: Path | str, options: Info) -> Dataset:
    """Read a dataset; one that does not say its units is taken as kcal/mol, as sGDML does."""
    try:
        return options.read(path)
    except UnitError:
        return replace(options, energy_unit=options.energy_unit or "kcal/mol").read(path)
