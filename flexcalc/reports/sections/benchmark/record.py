"""The rows of a benchmark folder, complete or not, read once for all chapters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple, Protocol

from flexcalc.dataset import Dataset
from flexcalc.display.styles import LineStyle, line_styles
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import read
from flexcalc.results.benchmark_rows import (
    BarrierRow,
    CrashRow,
    CurveRow,
    CutoffRow,
    DataRow,
    ErrorsByFrame,
    FeatureRow,
    Finding,
    JointRow,
    MinimumRow,
    NaiveRow,
    PathRow,
    Quantity,
    RegionRow,
    WithheldRow,
)


class WithModel(Protocol):
    """A row about a model."""

    @property
    def model(self) -> str: ...


class WithMechanism(Protocol):
    """A row about a mechanism."""

    @property
    def mechanism(self) -> str: ...


class DrawnError(NamedTuple):
    """An error that is drawn: of what, the label of its axis, and its unit."""

    what: Quantity
    label: str
    unit: str


FORCE_LABEL, ENERGY_LABEL = "force RMSE / kcal mol⁻¹ Å⁻¹", "energy RMSE / kcal mol⁻¹"
QUANTITIES = (
    DrawnError("force", FORCE_LABEL, "kcal/mol/Å"),
    DrawnError("energy", ENERGY_LABEL, "kcal/mol"),
)

ACCURATE = 1.0
"""Chemical accuracy: kcal/mol for energies, kcal/mol/A for forces."""


@dataclass(frozen=True, eq=False)
class Record:
    """The rows of each file; a list is empty while its stage is not there.

    Args:
        styles: of every model that any stage names, in order of first mention.
        errors: the content of errors.json.
    """

    run: RunFolder
    minima: list[MinimumRow]
    paths: list[PathRow]
    naive: list[NaiveRow]
    data: list[DataRow]
    curves: list[CurveRow]
    cutoffs: list[CutoffRow]
    regions: list[RegionRow]
    barriers: list[BarrierRow]
    features: list[FeatureRow]
    joint: list[JointRow]
    crash: list[CrashRow]
    withheld: list[WithheldRow]
    findings: list[Finding]
    errors: ErrorsByFrame
    styles: dict[str, LineStyle]

    @classmethod
    def of(cls, run: RunFolder) -> Record:
        """Read a folder; what is damaged is left out, and `run.problems` says so."""
        curves, joint, crash = read(run, CurveRow), read(run, JointRow), read(run, CrashRow)
        cutoffs, regions = read(run, CutoffRow), read(run, RegionRow)
        barriers, features = read(run, BarrierRow), read(run, FeatureRow)
        withheld = read(run, WithheldRow)
        content = run.json(f"{ErrorsByFrame.stage}.json")
        errors = ErrorsByFrame.from_damaged(content if isinstance(content, dict) else {})
        families = [(row.model, row.family) for row in curves]
        families += [(row.model, row.family) for row in joint]
        others: list[WithModel] = [*crash, *cutoffs, *regions, *barriers, *features, *withheld]
        families += [(label, "") for label in (*(row.model for row in others), *errors.models)]
        return cls(
            run=run,
            minima=read(run, MinimumRow),
            paths=read(run, PathRow),
            naive=read(run, NaiveRow),
            data=read(run, DataRow),
            curves=curves,
            cutoffs=cutoffs,
            regions=regions,
            barriers=barriers,
            features=features,
            joint=joint,
            crash=crash,
            withheld=withheld,
            findings=read(run, Finding),
            errors=errors,
            styles=line_styles(families),
        )

    @property
    def mechanisms(self) -> list[str]:
        """Names in order of first mention."""
        rows: list[WithMechanism] = [*self.paths, *self.data, *self.curves]
        rows += [*self.regions, *self.barriers]
        return list(dict.fromkeys(row.mechanism for row in rows))

    def path(self, mechanism: str) -> Dataset | None:
        """The frames of a mechanism's path."""
        # A name from a file must not lead out of the folder.
        if not re.fullmatch(r"[\w .+-]{1,100}", mechanism) or set(mechanism) <= {".", " "}:
            return None
        return self.run.frames(str(PurePosixPath("paths", mechanism, "path.xyz")))

    def shown(self, rows: Iterable[WithModel]) -> dict[str, LineStyle]:
        """The styles of those models that some rows are about, in order."""
        present = {row.model for row in rows}
        return {label: style for label, style in self.styles.items() if label in present}


def preferred(rows: Sequence[CurveRow]) -> list[CurveRow]:
    """Rows of the joint criterion where a model was chosen by both, and all others."""
    both = {(row.mechanism, row.model) for row in rows if row.by == "joint"}
    return [row for row in rows if row.by != "force" or (row.mechanism, row.model) not in both]


def unit_sign(unit: str) -> str:
    """The sign of a unit in labels."""
    return {"degrees": "°", "degree": "°", "deg": "°", "angstrom": "Å", "A": "Å"}.get(unit, unit)
