"""TOML and flags <-> the config dataclasses; messages name file, key and line.

There is one dataclass per command, one field per option. The docstring of a field is its help text
everywhere: in `flexcalc COMMAND --help`, in the TOML that `flexcalc init COMMAND` prints, and
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flexcalc.config.options import Flag, every_flag, flags, options
from flexcalc.config.reading import from_values, load, positional_values
from flexcalc.config.writing import template, to_toml

if TYPE_CHECKING:
    from flexcalc.config.shared import Command

__all__ = [
    "COMMANDS",
    "TOOLS",
    "Flag",
    "every_flag",
    "flags",
    "from_values",
    "load",
    "options",
    "positional_values",
    "template",
    "to_toml",
]


class _Kinds(Mapping[str, "type[Command]"]):
    """Config dataclasses by command; each is imported when it is asked for, as a command needs the
    methods of its own alone."""

    def __init__(self, **homes: str):
        self._homes = homes

    def __getitem__(self, command: str) -> type[Command]:
        module, name = self._homes[command].split(".")
        kind: Any = getattr(import_module(f"flexcalc.config.{module}"), name)
        return kind

    def __contains__(self, command: object) -> bool:
        return command in self._homes

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)


COMMANDS: Mapping[str, type[Command]] = _Kinds(
    demo="demo.Demo",
    label="label.Label",
    train="train.Train",
    evaluate="evaluate.Evaluate",
    path="paths.PathSearch",
    saddle="paths.SaddleSearch",
    network="paths.NetworkSearch",
    md="dynamics.Md",
    metad="dynamics.Metad",
    umbrella="dynamics.UmbrellaSampling",
    serve="ipi.Serve",
    ipi="ipi.Ipi",
    learn="learn.Learn",
    benchmark="benchmark.Benchmark",
)
"""Commands that take a TOML file."""

TOOLS: Mapping[str, type[Command]] = _Kinds(
    init="tools.Init", report="tools.Report", info="tools.Info", export="tools.Export"
)
"""Commands that take none."""
