"""Machine-learned force fields for flexible molecules: train, check, and move on them.

    import flexcalc

    atoms.calc = flexcalc.Calculator("azobenzene.flex")     # an ASE calculator
    potential = flexcalc.load("azobenzene.flex")            # the same object, for batches
    data = flexcalc.read("azobenzene.xyz")                  # a Dataset
    fit = flexcalc.train(data, "sgdml", points=200, seed=0)  # fit.model is the potential

Names are imported on first use, so that `import flexcalc` is quick.
"""

from importlib import import_module
from typing import Any

from flexcalc.threads import settle_numexpr

settle_numexpr()

__version__ = "0.2.0"

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
    "demo": "flexcalc.demonstration.command",
    "evaluate": "flexcalc.commands.evaluate",
    "export": "flexcalc.commands.export",
    "info": "flexcalc.commands.info",
    "init": "flexcalc.commands.init",
    "ipi": "flexcalc.commands.ipi",
    "label": "flexcalc.commands.label",
    "learn": "flexcalc.commands.learn",
    "load": "flexcalc.registry",
    "md": "flexcalc.commands.md",
    "metad": "flexcalc.commands.metad",
    "network": "flexcalc.commands.network",
    "path": "flexcalc.commands.path",
    "read": "flexcalc.files",
    "report": "flexcalc.commands.report",
    "saddle": "flexcalc.commands.saddle",
    "serve": "flexcalc.commands.serve",
    "train": "flexcalc.commands.train",
    "umbrella": "flexcalc.commands.umbrella",
    "write": "flexcalc.files",
}
"""Names of the package and their modules; `python -m flexcalc.stub` tells them to type checkers."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flexcalc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
