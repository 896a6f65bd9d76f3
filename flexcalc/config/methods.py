"""The methods and option sets that Python users make themselves, documented with their options.

They are declared where they belong, in `methods/`; here their docstrings get the options, whose
texts are declared once, under their fields.
"""

from __future__ import annotations

import inspect
from typing import Any

from flexcalc.config.options import options, paragraph
from flexcalc.methods.dynamics import NVE, Langevin, NoseHoover, Rescaling
from flexcalc.methods.guard import Guards
from flexcalc.methods.irc import IRC
from flexcalc.methods.metadynamics import PlainHills, WellTempered
from flexcalc.methods.optimisers import FIRE, LBFGS
from flexcalc.methods.path import NEB, Scan, String
from flexcalc.methods.saddle import RFO
from flexcalc.methods.sampling import AsIs, Displaced, Thermal

METHODS: tuple[Any, ...] = (
    *(NEB, String, Scan, LBFGS, FIRE, RFO, IRC),
    *(Langevin, NVE, Rescaling, NoseHoover),
    *(WellTempered, PlainHills, Guards),
    *(Thermal, Displaced, AsIs),
)


def documented(method: Any) -> str:
    """The docstring of a dataclass, with every option before its source."""
    text = inspect.cleandoc(method.__doc__ or "")
    head, mark, source = text.partition("\n\nSource")
    known = options(method)
    lines = [head, "", "Args:"] if known else [head]
    for option in known:
        lines += paragraph(option.name, option.help)
        if option.choices:
            kinds = " | ".join(sorted({kind.__name__ for kind in option.choices.values()}))
            lines += paragraph("", f"One of {kinds}.")
    return "\n".join(lines) + mark + source + "\n"


for method in METHODS:
    method.__doc__ = documented(method)

__all__ = [
    "FIRE",
    "IRC",
    "LBFGS",
    "NEB",
    "NVE",
    "RFO",
    "AsIs",
    "Displaced",
    "Guards",
    "Langevin",
    "NoseHoover",
    "PlainHills",
    "Rescaling",
    "Scan",
    "String",
    "Thermal",
    "WellTempered",
]
