"""Machine-learned force fields for flexible molecules: train, check, and move on them.

    import flexcalc

    atoms.calc = flexcalc.Calculator("azobenzene.flex")     # an ASE calculator
    potential = flexcalc.load("azobenzene.flex")            # the same object, for batches
    data = flexcalc.read("azobenzene.xyz")                  # a Dataset
    fit = flexcalc.train(data, "sgdml", points=200, seed=0)  # fit.model is the potential

Names are imported on first use, so that `import flexcalc` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flexcalc.threads import settle_numexpr

settle_numexpr()

__version__ = "0.1.0"

_HOMES = {
    "AsIs": "flexcalc.config.methods",
    "Calculator": "flexcalc.adapters.ase",
    "Committee": "flexcalc.models.committee",
    "Dataset": "flexcalc.dataset",
    "Displaced": "flexcalc.config.methods",
    "Evaluation": "flexcalc.potential",
    "FIRE": "flexcalc.config.methods",
    "FlexcalcError": "flexcalc.errors",
    "Guards": "flexcalc.config.methods",
    "IRC": "flexcalc.config.methods",
    "LBFGS": "flexcalc.config.methods",
    "Langevin": "flexcalc.config.methods",
    "NEB": "flexcalc.config.methods",
    "NVE": "flexcalc.config.methods",
    "NoseHoover": "flexcalc.config.methods",
    "PlainHills": "flexcalc.config.methods",
    "Potential": "flexcalc.potential",
    "RFO": "flexcalc.config.methods",
    "Rescaling": "flexcalc.config.methods",
    "Scan": "flexcalc.config.methods",
    "String": "flexcalc.config.methods",
    "Sum": "flexcalc.potential",
    "Thermal": "flexcalc.config.methods",
    "WellTempered": "flexcalc.config.methods",
    "benchmark": "flexcalc.benchmarking.command",
    "label": "flexcalc.commands.label",
    "load": "flexcalc.registry",
    "md": "flexcalc.commands.md",
    "metad": "flexcalc.commands.metad",
    "path": "flexcalc.commands.path",
    "read": "flexcalc.files",
    "saddle": "flexcalc.commands.saddle",
    "serve": "flexcalc.adapters.ipi",
    "train": "flexcalc.commands.train",
    "umbrella": "flexcalc.commands.umbrella",
    "write": "flexcalc.files",
}

__all__ = [
    "FIRE",
    "IRC",
    "LBFGS",
    "NEB",
    "NVE",
    "RFO",
    "AsIs",
    "Calculator",
    "Committee",
    "Dataset",
    "Displaced",
    "Evaluation",
    "FlexcalcError",
    "Guards",
    "Langevin",
    "NoseHoover",
    "PlainHills",
    "Potential",
    "Rescaling",
    "Scan",
    "String",
    "Sum",
    "Thermal",
    "WellTempered",
    "benchmark",
    "label",
    "load",
    "md",
    "metad",
    "path",
    "read",
    "saddle",
    "serve",
    "train",
    "umbrella",
    "write",
]

if TYPE_CHECKING:
    from flexcalc.adapters.ase import Calculator
    from flexcalc.adapters.ipi import serve
    from flexcalc.benchmarking.command import benchmark
    from flexcalc.commands.label import label
    from flexcalc.commands.md import md
    from flexcalc.commands.metad import metad
    from flexcalc.commands.path import path
    from flexcalc.commands.saddle import saddle
    from flexcalc.commands.train import train
    from flexcalc.commands.umbrella import umbrella
    from flexcalc.config.methods import (
        FIRE,
        IRC,
        LBFGS,
        NEB,
        NVE,
        RFO,
        AsIs,
        Displaced,
        Guards,
        Langevin,
        NoseHoover,
        PlainHills,
        Rescaling,
        Scan,
        String,
        Thermal,
        WellTempered,
    )
    from flexcalc.dataset import Dataset
    from flexcalc.errors import FlexcalcError
    from flexcalc.files import read, write
    from flexcalc.models.committee import Committee
    from flexcalc.potential import Evaluation, Potential, Sum
    from flexcalc.registry import load


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flexcalc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
