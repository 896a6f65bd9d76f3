"""Machine-learned force fields for flexible molecules: train, check, and move on them.

    import flexcalc

    atoms.calc = flexcalc.Calculator("azobenzene.flex")     # an ASE calculator
    potential = flexcalc.load("azobenzene.flex")            # the same object, for batches
    data = flexcalc.read("azobenzene.xyz")                  # a Dataset
    potential = flexcalc.train(data, "sgdml", points=200, seed=0)

Names are imported on first use, so that `import flexcalc` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flexcalc.threads import settle_numexpr

settle_numexpr()

__version__ = "0.1.0"

_HOMES = {
    "Calculator": "flexcalc.adapters.ase",
    "Committee": "flexcalc.models.committee",
    "Dataset": "flexcalc.dataset",
    "Evaluation": "flexcalc.potential",
    "FlexcalcError": "flexcalc.errors",
    "Potential": "flexcalc.potential",
    "Sum": "flexcalc.potential",
    "evaluate": "flexcalc.commands.evaluate",
    "export": "flexcalc.commands.export",
    "info": "flexcalc.commands.info",
    "init": "flexcalc.commands.init",
    "ipi": "flexcalc.commands.ipi",
    "load": "flexcalc.registry",
    "md": "flexcalc.commands.md",
    "metad": "flexcalc.commands.metad",
    "read": "flexcalc.files",
    "report": "flexcalc.commands.report",
    "serve": "flexcalc.commands.serve",
    "train": "flexcalc.workflows",
    "umbrella": "flexcalc.commands.umbrella",
    "write": "flexcalc.files",
}

__all__ = [
    "Calculator",
    "Committee",
    "Dataset",
    "Evaluation",
    "FlexcalcError",
    "Potential",
    "Sum",
    "evaluate",
    "export",
    "info",
    "init",
    "ipi",
    "load",
    "md",
    "metad",
    "read",
    "report",
    "serve",
    "train",
    "umbrella",
    "write",
]

if TYPE_CHECKING:
    from flexcalc.adapters.ase import Calculator
    from flexcalc.commands.evaluate import evaluate
    from flexcalc.commands.export import export
    from flexcalc.commands.info import info
    from flexcalc.commands.init import init
    from flexcalc.commands.ipi import ipi
    from flexcalc.commands.md import md
    from flexcalc.commands.metad import metad
    from flexcalc.commands.report import report
    from flexcalc.commands.serve import serve
    from flexcalc.commands.umbrella import umbrella
    from flexcalc.dataset import Dataset
    from flexcalc.errors import FlexcalcError
    from flexcalc.files import read, write
    from flexcalc.models.committee import Committee
    from flexcalc.potential import Evaluation, Potential, Sum
    from flexcalc.registry import load
    from flexcalc.workflows import train


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flexcalc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
