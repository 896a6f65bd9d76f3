"""The options of a config dataclass, read off its fields: names, types, help, defaults.

TOML keys, command-line flags, help texts and templates all come from `options`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from flexcalc.config.commands import FAMILY
from flexcalc.registry import FAMILIES, family


@dataclass(frozen=True)
class Option:
    """One field of a config.

    Args:
        name: of the field, and of its TOML key.
        annotation: its type, bounds included; for a section, of one of its choices.
        help: the text under the field.
        default: its default, or MISSING.
        choices: kind -> dataclass where the field is a section, else empty.
        many: whether the field holds several sections.
    """

    name: str
    annotation: Any
    help: str
    default: Any
    choices: dict[str, type]
    many: bool = False

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is MISSING


@cache
def options(config: Any) -> tuple[Option, ...]:
    """The options of a config dataclass, in their order."""
    hints = get_type_hints(config, include_extras=True)
    texts = field_texts(config)
    return tuple(_option(item, hints[item.name], texts) for item in fields(config))


def _option(item: Any, hint: Any, texts: dict[str, str]) -> Option:
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    many = False
    choices: dict[str, type]
    if get_origin(hint) is Annotated and FAMILY in hint.__metadata__:
        many, choices = True, _Families()
    elif get_origin(hint) is tuple and _sections(get_args(hint)[0]):
        many, choices = True, _sections(get_args(hint)[0])
    else:
        choices = _sections(hint)
    return Option(item.name, hint, texts.get(item.name, ""), default, choices, many)


class _Families(dict):
    """Model families by name, each imported when it is asked for."""

    def __init__(self) -> None:
        super().__init__(FAMILIES)

    def __getitem__(self, name: str) -> type:
        return family(name)


def _sections(hint: Any) -> dict[str, type]:
    """kind -> dataclass of a dataclass or a union of dataclasses; empty for anything else."""
    hint = getattr(hint, "__value__", hint)
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if not all(isinstance(member, type) and is_dataclass(member) for member in members):
        return {}
    return {member.kind: member for member in members}


def field_texts(config: type) -> dict[str, str]:
    """The string literal under each field of a dataclass and its bases, on one line."""
    texts: dict[str, str] = {}
    for cls in reversed([cls for cls in config.__mro__ if is_dataclass(cls)]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        for above, below in pairwise(typing.cast(ast.ClassDef, tree.body[0]).body):
            if (
                isinstance(above, ast.AnnAssign)
                and isinstance(above.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                texts[above.target.id] = " ".join(str(below.value.value).split())
    return texts


@dataclass(frozen=True)
class Flag:
    """A command-line flag for one option, or for the same option of several sections.

    Args:
        name: as typed, without the dashes.
        places: dotted TOML keys that it sets.
        option: what it stands for.
    """

    name: str
    places: tuple[str, ...]
    option: Option


def flags(config: type, kinds: dict[str, str] | None = None) -> list[Flag]:
    """All flags of a config; sections lie flat, and `--SECTION KIND` chooses.

    Args:
        config: a config dataclass.
        kinds: section -> kind already chosen on the command line; a section of model families
            shows the flags of that family alone.
    """
    found: dict[str, Flag] = {}
    for place, option in _leaves(config, "", kinds or {}):
        name = option.name.replace("_", "-")
        if name in found:
            places = (*found[name].places, place)
            found[name] = Flag(name, tuple(dict.fromkeys(places)), found[name].option)
        else:
            found[name] = Flag(name, (place,), option)
    return list(found.values())


def _leaves(config: type, prefix: str, kinds: dict[str, str]) -> Iterator[tuple[str, Option]]:
    for option in options(config):
        place = prefix + option.name
        if not option.choices:
            yield place, option
            continue
        if len(option.choices) > 1 or isinstance(option.choices, _Families):
            yield f"{place}.kind", option
        for kind, section in _shown(option, kinds.get(option.name)):
            del kind
            yield from _leaves(section, f"{place}.", kinds)


def _shown(option: Option, kind: str | None) -> list[tuple[str, type]]:
    """Sections whose flags are offered: all, but of model families only the one chosen."""
    if isinstance(option.choices, _Families):
        name = kind or str(option.default[0])
        return [(name, option.choices[name])]
    return list(option.choices.items())
