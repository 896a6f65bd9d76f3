"""TOML and flags <-> the config dataclasses; messages name file, key and line."""

from flexcalc.config.benchmark import Benchmark, Mechanism, Model, Sample
from flexcalc.config.commands import (
    COMMANDS,
    Demo,
    Evaluate,
    Ipi,
    Label,
    Md,
    Metad,
    NetworkSearch,
    PathSearch,
    SaddleSearch,
    Serve,
    Train,
    UmbrellaSampling,
)
from flexcalc.config.learn import Learn
from flexcalc.config.options import Flag, every_flag, flags, options
from flexcalc.config.reading import from_values, load, positional_values
from flexcalc.config.tools import TOOLS, Export, Info, Init, Report
from flexcalc.config.writing import template, to_toml

__all__ = [
    "COMMANDS",
    "TOOLS",
    "Benchmark",
    "Demo",
    "Evaluate",
    "Export",
    "Flag",
    "Info",
    "Init",
    "Ipi",
    "Label",
    "Learn",
    "Md",
    "Mechanism",
    "Metad",
    "NetworkSearch",
    "Model",
    "PathSearch",
    "Report",
    "SaddleSearch",
    "Sample",
    "Serve",
    "Train",
    "UmbrellaSampling",
    "every_flag",
    "flags",
    "from_values",
    "load",
    "options",
    "positional_values",
    "template",
    "to_toml",
]
