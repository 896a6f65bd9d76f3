"""The files of inputs/, which come with flexcalc."""

from __future__ import annotations

from pathlib import Path

from flexcalc.errors import InputError


def shipped(name: str) -> Path:
    """A file of inputs/, from the installed package or from the source tree.

    Raises:
        InputError: there is none of that name.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "inputs", package.parent / "inputs"):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{name}: no such file among flexcalc's inputs")
