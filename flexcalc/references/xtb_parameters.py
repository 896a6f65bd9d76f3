"""Parameters of extended tight binding: which there are, and methods with some of them changed.

The names are the paths of tblite's parameter files: `element.C.levels.0` is the first level of
carbon, in its unit there (eV).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any

import numpy as np

from flexcalc.errors import AddressError, InputError

SHARE = 0.1
"""Step of a parameter, relative to itself."""
LEAST = {"kcn": 0.01, "shpoly": 0.01, "gam3": 0.02, "dkernel": 0.005, "qkernel": 0.001}
"""Smallest steps of parameters that may be near zero."""
OF_SHELLS = ("levels", "slater", "shpoly", "kcn", "lgam")
OF_ELEMENTS = ("gam", "gam3", "zeff", "arep", "en", "dkernel", "qkernel")
GLOBAL = (
    *("hamiltonian.xtb.wexp", "hamiltonian.xtb.enscale", "hamiltonian.xtb.shell.ss"),
    *("hamiltonian.xtb.shell.pp", "dispersion.d4.s8", "dispersion.d4.a1", "dispersion.d4.a2"),
    *("dispersion.d3.s8", "dispersion.d3.a1", "dispersion.d3.a2"),
    *("repulsion.effective.kexp", "charge.effective.gexp"),
)
"""Parameters that are fitted, where a method has them and they are not zero."""


def parsed(text: str) -> dict[str, float]:
    """Changes by the name of the parameter, from `NAME:CHANGE,NAME:CHANGE`.

    Raises:
        AddressError: it is not of that form.
    """
    changes = {}
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([\w.-]+):([-+.\deE]+)", part)
        try:
            change = float(match[2]) if match else float("nan")
        except ValueError:
            change = float("nan")
        if match is None or not isfinite(change):
            raise AddressError(
                f"xtb: parameters: expected NAME:CHANGE, such as element.C.levels.0:0.1, "
                f"found {part!r}"
            )
        changes[match[1]] = change
    return changes


def text_of(changes: Mapping[str, float]) -> str:
    """Changes as an address has them; see `parsed`."""
    return ",".join(f"{name}:{change:.6g}" for name, change in changes.items() if change)


def steps(method: str, numbers: np.ndarray) -> dict[str, float]:
    """The parameters of a molecule that are fitted, with a step for each."""
    table = _table(method)
    names = list(GLOBAL)
    for element in _elements(numbers):
        own = table["element"][element]
        for kind in OF_SHELLS:
            # The first of these is one by definition.
            shells = range(1 if kind == "lgam" else 0, len(own[kind]))
            names += [f"element.{element}.{kind}.{shell}" for shell in shells]
        names += [f"element.{element}.{kind}" for kind in OF_ELEMENTS]
    found = {}
    for name in names:
        value = _value(table, name)
        if value:
            least = next((LEAST[part] for part in name.split(".") if part in LEAST), 0.0)
            found[name] = max(SHARE * abs(value), least)
    return found


def changed(method: str, numbers: np.ndarray, changes: Mapping[str, float]) -> dict[str, Any]:
    """The parameters of a method for a molecule's elements, some of them changed, for tblite.

    Raises:
        AddressError: it has no such parameter.
    """
    whole = _table(method)
    elements = {name: whole["element"][name] for name in _elements(numbers)}
    table = copy.deepcopy({**whole, "element": elements})
    for name, change in changes.items():
        value = _value(table, name)
        if value is None:
            raise AddressError(f"xtb: {method} of this molecule has no parameter {name!r}")
        *path, last = name.split(".")
        inner: Any = table
        for part in path:
            inner = inner[int(part) if isinstance(inner, list) else part]
        inner[int(last) if isinstance(inner, list) else last] = value + change
    return table


def _value(table: Any, name: str) -> float | None:
    """A parameter by its path; None where there is none."""
    for part in name.split("."):
        try:
            table = table[int(part) if isinstance(table, list) else part]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return float(table) if type(table) in (int, float) else None


def _elements(numbers: np.ndarray) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in sorted(set(numbers.tolist()))]


@cache
def _table(method: str) -> dict[str, Any]:
    """All parameters of a method, as tblite has them.

    Raises:
        InputError: tblite is too old to tell them.
    """
    from tblite import library

    try:
        export = {
            "GFN2-xTB": library.export_gfn2_param,
            "GFN1-xTB": library.export_gfn1_param,
            "IPEA1-xTB": library.export_ipea1_param,
        }[method]
        param, table = library.new_param(), library.new_table()
        export(param)
        library.dump_param(param, table)
        return dict(library.table_to_dict(table))
    except AttributeError:
        raise InputError("xtb: parameters need tblite 0.8: pip install -U tblite") from None
