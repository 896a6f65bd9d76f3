"""Descriptions of models, datasets, run folders and results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from flexcalc.storage import JSON


@dataclass(frozen=True, eq=False, repr=False)
class Description:
    """Description of an object; printed, it has one line per fact."""

    what: str
    """"model", "dataset", "run folder" or "result"."""
    facts: Mapping[str, JSON]
    """Its facts by name, in the order to be shown; some of them are tables themselves."""

    @property
    def molecule(self) -> str | None:
        """Formula of the molecule, where it is known."""
        molecule = self.facts.get("molecule")
        return None if molecule is None else str(molecule)

    def to_dict(self) -> dict[str, JSON]:
        """Kind and facts."""
        return {"what": self.what, **self.facts}

    def lines(self) -> list[str]:
        """A line for each fact; tables inside them indented."""
        return list(_lines(self.to_dict()))

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
