"""All that a benchmark's folder holds, however little, read once for every chapter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from flexcalc.dataset import Dataset
from flexcalc.display.styles import LineStyle, line_styles
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import Row, dicts, listed, read, word

FORCE, ENERGY = "force_rmse_kcal_mol_A", "energy_rmse_kcal_mol"
FORCE_LABEL, ENERGY_LABEL = "force RMSE / kcal mol⁻¹ Å⁻¹", "energy RMSE / kcal mol⁻¹"
QUANTITIES = (
    (FORCE, FORCE_LABEL, "force", "kcal/mol/Å"),
    (ENERGY, ENERGY_LABEL, "energy", "kcal/mol"),
)
"""Key, label of an axis, word and unit of the two errors that are drawn everywhere."""

ACCURATE = 1.0
"""Chemical accuracy: kcal/mol for energies, kcal/mol/A for forces."""


@dataclass(frozen=True, eq=False)
class Record:
    """The rows of each file; a list is empty while its stage is not there.

    Args:
        looks: of every model that any stage names.
        models: labels in order of first mention.
        errors: the content of errors.json, with lists of rows in "frames".
    """

    run: RunFolder
    minima: list[Row]
    paths: list[Row]
    naive: list[Row]
    data: list[Row]
    curves: list[Row]
    cutoffs: list[Row]
    regions: list[Row]
    barriers: list[Row]
    features: list[Row]
    joint: list[Row]
    crash: list[Row]
    withheld: list[Row]
    findings: list[Row]
    errors: Row
    looks: dict[str, LineStyle]

    @classmethod
    def of(cls, run: RunFolder) -> Record:
        """Read a folder; what is damaged is left out, and `run.problems` says so."""
        by_model = ("mechanism", "model")
        curves = read(run, "curves.json", by_model, ("points",))
        joint = read(run, "joint.json", ("model",), ("budget",))
        crash = read(run, "crash.json", ("model",), ("temperature_K",))
        others = {
            "cutoffs": read(run, "cutoffs.json", by_model, ("cutoff_A",)),
            "regions": read(run, "regions.json", (*by_model, "coordinate")),
            "barriers": read(run, "barriers.json", by_model),
            "features": read(run, "features.json", by_model),
            "withheld": read(run, "withheld.json", ("model",)),
        }
        errors = run.json("errors.json")
        errors = errors if isinstance(errors, dict) else {}
        every = [*curves, *joint, *crash, *(row for rows in others.values() for row in rows)]
        named = [(word(row, "model"), word(row, "family")) for row in every]
        named += [(str(label), "") for label in listed(errors.get("models"))]
        return cls(
            run=run,
            minima=read(run, "minima.json", ("name",)),
            paths=read(run, "paths.json", ("mechanism",)),
            naive=read(run, "naive.json", ("method",)),
            data=read(run, "data.json", ("mechanism", "kind")),
            curves=curves,
            joint=joint,
            crash=crash,
            **others,
            findings=read(run, "findings.json", ("finding",)),
            errors={**errors, "frames": dicts(errors.get("frames"))},
            looks=line_styles(named),
        )

    @property
    def mechanisms(self) -> list[str]:
        """Names in order of first mention."""
        stages = (self.paths, self.data, self.curves, self.regions, self.barriers)
        return list(dict.fromkeys(word(row, "mechanism") for rows in stages for row in rows))

    def path(self, mechanism: str) -> Dataset | None:
        """The frames of a mechanism's path."""
        # A name from a file must not lead out of the folder.
        if not re.fullmatch(r"[\w .+-]{1,100}", mechanism) or set(mechanism) <= {".", " "}:
            return None
        return self.run.frames(str(PurePosixPath("paths", mechanism, "path.xyz")))

    def shown(self, rows: list[Row]) -> dict[str, LineStyle]:
        """The looks of those models that some rows are about, in order."""
        present = {word(row, "model") for row in rows}
        return {label: look for label, look in self.looks.items() if label in present}


def preferred(rows: list[Row]) -> list[Row]:
    """Rows of the joint criterion where a model was chosen by both, and all others."""
    both = {
        (word(row, "mechanism"), word(row, "model")) for row in rows if word(row, "by") == "joint"
    }
    return [
        row
        for row in rows
        if word(row, "by") != "force" or (word(row, "mechanism"), word(row, "model")) not in both
    ]


def unit_sign(unit: str) -> str:
    """A unit as it stands in a label."""
    return {"degrees": "°", "degree": "°", "deg": "°", "angstrom": "Å", "A": "Å"}.get(unit, unit)
