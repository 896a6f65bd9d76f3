"""Descriptions of models, datasets, run folders and results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flexcalc.display import atoms, html, molecule, numbers
from flexcalc.errors import InputError
from flexcalc.geometry import Structure
from flexcalc.storage import JSON, atomic_write


@dataclass(frozen=True, eq=False, repr=False)
class Description:
    """Description of an object; printed, it has one line per fact."""

    what: str
    """"model", "dataset", "run folder" or "result"."""
    facts: Mapping[str, JSON]
    """Its facts by name, in the order to be shown; some of them are tables themselves."""
    structure: Structure | None = None
    """Numbered atoms of a dataset's first geometry, bonds and rotatable dihedrals."""

    @property
    def molecule(self) -> str | None:
        """Formula of the molecule, where it is known."""
        molecule = self.facts.get("molecule")
        return None if molecule is None else str(molecule)

    def to_dict(self) -> dict[str, JSON]:
        """Kind, facts and, of a dataset, a row for each atom and the rotatable dihedrals."""
        found: dict[str, JSON] = {"what": self.what, **self.facts}
        if self.structure is not None:
            listed = zip(self.structure.symbols, self.structure.bonded_to, strict=True)
            found["each_atom"] = [
                {"index": index, "element": symbol, "bonded_to": list(near)}
                for index, (symbol, near) in enumerate(listed)
            ]
            found["rotatable_dihedrals"] = list(self.rotatable_dihedrals)
        return found

    @property
    def rotatable_dihedrals(self) -> tuple[str, ...]:
        """Coordinates such as "dihedral 0 1 2 3", one for each bond that may turn, for `by`."""
        found = () if self.structure is None else self.structure.rotatable_dihedrals
        return tuple(one.label for one in found)

    def lines(self) -> list[str]:
        """A line for each fact, atom and rotatable dihedral; tables are indented."""
        found = list(_lines({"what": self.what, **self.facts}))
        if self.structure is not None:
            cells = [atoms.HEAD, *atoms.rows(self.structure)]
            found += ["", *("  ".join(word.ljust(7) for word in row).rstrip() for row in cells)]
            dihedrals = self.structure.rotatable_dihedrals
            found += ["", "dihedrals that turn, for --by:"] if dihedrals else []
            found += [f'  "{one.label}"  {self.structure.chain(one)}' for one in dihedrals]
        return found

    def save_picture(self, path: Path | str) -> None:
        """Write a picture of the molecule with its atoms numbered, as SVG.

        Raises:
            InputError: there is no geometry, another suffix, or the file cannot be written.
        """
        path = Path(path)
        if self.structure is None:
            raise InputError(f"{path}: a {self.what} has no geometry to draw")
        if path.suffix != ".svg":
            raise InputError(f"{path}: expected a name that ends in .svg")
        try:
            atomic_write(path, molecule.standalone(atoms.picture(self.structure, "molecule")))
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None

    def _repr_html_(self) -> str:
        """The facts and, of a dataset, the numbered atoms, for a notebook."""
        name = "" if self.molecule is None else f" of {numbers.formula(self.molecule)}"
        body = html.preformatted("\n".join(_lines(self.facts)))
        if self.structure is not None:
            body = atoms.section(self.structure, f"flexcalc-atoms-{self.molecule}") + body
        return html.in_notebook("flexcalc info", f"{self.what.capitalize()}{name}", body)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def __repr__(self) -> str:
        return f"Description({', '.join(filter(None, (self.what, self.molecule)))})"


def _lines(facts: Mapping[str, JSON], indent: str = "") -> Iterator[str]:
    for key, value in facts.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{key}: {_shown(value)}"


def _shown(value: JSON) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
