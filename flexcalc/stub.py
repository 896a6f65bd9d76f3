"""The stub of the package, for editors and type checkers: `python -m flexcalc.stub` writes it.

The functions of the face get their parameters from configs as the package is used; tools that read
source code alone see them in `flexcalc/__init__.pyi`, which says the same.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import flexcalc
from flexcalc.commands.annotations import Default, in_words
from flexcalc.commands.face import SECTION_OPTIONS
from flexcalc.config import flags, options
from flexcalc.fields import FAMILY

FILE = Path(__file__).parent / "__init__.pyi"

OTHERWISE = {"Path": "PathResult"}
"""Classes of flexcalc that have another name in the stub."""

HEAD = '''\
"""{doc}"""

# Written by `python -m flexcalc.stub`; do not edit.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, overload

from ase import Atoms
from ase.calculators.calculator import BaseCalculator

{imports}

class HasImages(Protocol):
    """A result that has images."""

    def to_dataset(self) -> Dataset: ...

Geometries: TypeAlias = str | Path | Atoms | Dataset | HasImages
GeometryLike: TypeAlias = Geometries | Sequence[Geometries]
PotentialLike: TypeAlias = str | Path | Potential | BaseCalculator

__version__: str
__all__ = {names}

'''


def stub() -> str:
    """The text of the stub."""
    homes = vars(flexcalc)["_HOMES"]
    names = {name: getattr(import_module(home), name) for name, home in homes.items()}
    functions = {name: one for name, one in names.items() if hasattr(one, "config")}
    public = [(homes[name], name) for name in names if name not in functions]
    classes = {("flexcalc.models.family", "Family")}
    for function in functions.values():
        classes |= set(_classes(function))
    used = sorted((home, name) for home, name in classes if name not in names)
    lines = [f"from {home} import {name} as {name}" for home, name in sorted(public)]
    lines += [f"from {home} import {_renamed(name)}" for home, name in used]
    doc = (flexcalc.__doc__ or "").strip()
    head = HEAD.format(doc=doc, imports="\n".join(lines), names=list(names))
    return head + "\n".join(map(_function, functions.values()))


def _classes(function: Any) -> Iterator[tuple[str, str]]:
    """Module and name of the classes that stand in a function's signature."""
    for result in _results(function):
        if result.__module__.startswith("flexcalc."):
            yield result.__module__, result.__name__
    for option in options(function.config):
        if not _holds_families(option):
            for kind in option.choices.values():
                yield kind.__module__, kind.__name__


def _results(function: Any) -> tuple[Any, ...]:
    """The class that a function returns, or the classes of which it returns one."""
    found = inspect.get_annotations(function.task, eval_str=True)["return"]
    return get_args(found) if isinstance(found, UnionType) else (found,)


def _renamed(name: str) -> str:
    """A class of flexcalc, imported so that it leaves pathlib's Path alone."""
    return f"{name} as {OTHERWISE[name]}" if name in OTHERWISE else name


def _holds_families(option: Any) -> bool:
    return FAMILY in getattr(option.annotation, "__metadata__", ())


def _function(function: Any) -> str:
    """The definition of a function, with the options of its sections by name too."""
    signature = inspect.signature(function)
    named = [p for p in signature.parameters.values() if p.name != SECTION_OPTIONS]
    by_place = [_parameter(p) for p in named if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_name = [_parameter(p) for p in named if p.kind is p.KEYWORD_ONLY]
    known = signature.parameters.keys()
    for flag in flags(function.config):
        name = flag.name.replace("-", "_")
        if name not in known:
            words = in_words(flag.option.annotation)
            by_name.append(f"{name}: {words} = ...")
    if any(map(_holds_families, options(function.config))):
        by_name.append(f"**{SECTION_OPTIONS}: Any")  # of whichever family
    results = _results(function)
    # A class that is returned where an option is given names it as `asked_by`.
    asked_by = {getattr(kind, "asked_by", None) for kind in results} - {None}
    definitions = []
    for kind in results:
        own = getattr(kind, "asked_by", None)
        others = asked_by - {own}
        chosen = [one for one in by_name if one.partition(":")[0] not in others]
        chosen = [
            one.partition(" = ")[0] if one.partition(":")[0] == own else one for one in chosen
        ]
        definitions.append(_definition(function, by_place, chosen, kind))
    return "".join(f"@overload\n{one}" for one in definitions) if asked_by else definitions[0]


def _definition(function: Any, by_place: list[str], by_name: list[str], kind: Any) -> str:
    """The definition of a function that returns an object of one class."""
    star = ["*"] if by_name and not by_name[0].startswith("**") else []
    lines = "".join(f"    {one},\n" for one in [*by_place, *star, *by_name])
    ours = kind.__module__.startswith("flexcalc.")
    result = OTHERWISE.get(kind.__name__, kind.__name__) if ours else kind.__name__
    doc = textwrap.indent(inspect.cleandoc(function.__doc__), "    ").strip()
    return f'def {function.__name__}(\n{lines}) -> {result}:\n    """{doc}\n    """\n'


def _parameter(parameter: inspect.Parameter) -> str:
    words = parameter.annotation if isinstance(parameter.annotation, str) else "bool"
    default = parameter.default
    if default is parameter.empty:
        return f"{parameter.name}: {words}"
    return f"{parameter.name}: {words} = {'...' if isinstance(default, Default) else repr(default)}"


if __name__ == "__main__":
    FILE.write_text(stub())
