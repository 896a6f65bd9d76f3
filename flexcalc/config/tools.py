"""Options of the commands that take no run file: they describe something or write one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from flexcalc.config.shared import LabelledFrames, OpensPotentials
from flexcalc.fields import PotentialLike


@dataclass(frozen=True, kw_only=True)
class Init:
    """Print a commented TOML file with every field of a command, or copy the example inputs."""

    positional: ClassVar[tuple[str, ...]] = ("command",)

    command: str | None = None
    """Name of the command, such as label."""
    examples: bool = False
    """Copy the example inputs that come with flexcalc, run files and geometries, into a new folder
    inputs in the current folder."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write report.html, one page, for a run folder."""

    positional: ClassVar[tuple[str, ...]] = ("folder",)

    folder: Path
    """Output folder of a command, such as label; or a folder with several of `flexcalc path`, which
    are compared."""
    exports: bool = True
    """Also write the plots as figures/NAME.svg and .pdf, in the size of a journal's column, and the
    numbers as tables/NAME.csv."""


@dataclass(frozen=True, kw_only=True)
class Info(LabelledFrames, OpensPotentials):
    """Describe a model, dataset or run folder."""

    positional: ClassVar[tuple[str, ...]] = ("place",)

    place: Any
    """File, folder, address or smiles:TEXT; in Python also a potential, a Dataset, ase.Atoms or a
    result. Of geometries, atoms are numbered and dihedrals listed."""
    picture: Path | None = None
    """File NAME.svg to write: a picture of the molecule with its atoms numbered."""
    audit: PotentialLike | None = None
    """Potential that a dataset's labels come from: a sample is computed again and compared with it,
    which finds wrong units, signs, zeros of energy and orders of atoms."""


@dataclass(frozen=True, kw_only=True)
class Export(OpensPotentials):
    """Write a model as a file of the sgdml package (.npz), or a committee as one folder (.flex)."""

    positional: ClassVar[tuple[str, ...]] = ("model", "file")

    model: PotentialLike
    """Trained model, or a committee such as committee:a.flex,b.flex."""
    file: Path
    """File or folder to write, NAME.npz or NAME.flex."""
    overwrite: bool = False
    """Replace another model that is there; without it that is refused."""
