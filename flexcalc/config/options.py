"""The options of a config dataclass, read off its fields: names, types, help, defaults.

TOML keys, command-line flags, help texts and templates all come from `options`.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from flexcalc.fields import FAMILY, GEOMETRIES, INTERNAL, POTENTIAL
from flexcalc.files import SMILES
from flexcalc.registry import COMMITTEE, FAMILIES, family, is_reference, members_of

PLACES = frozenset(
    {"dataset", "start", "starts", "end", "ends", "model", "models", "relabel", "sampler"}
    | {"reference", "input", "baseline", "teacher", "start_from", "guess", "minima"}
    | {"dispersion", "plumed", "assist"}
)
"""Fields that hold files or addresses."""

WORDS = {"baseline": ("auto", "none")}
"""Words that fields may hold instead of a file or an address."""

FILES_IN = {"scheduler": "tls"}
"""Fields that hold a table, and the table in it whose values are files."""


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
    choices: Mapping[str, type]
    many: bool = False

    @property
    def takes(self) -> str | None:
        """GEOMETRIES or POTENTIAL where objects may be given for it, else None."""
        inner = self.annotation
        while get_origin(inner) in (tuple, Union, types.UnionType):
            inner = get_args(inner)[0]
        marks = getattr(inner, "__metadata__", ())
        return next((mark for mark in marks if mark in (GEOMETRIES, POTENTIAL)), None)

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is MISSING


@cache
def options(config: Any) -> tuple[Option, ...]:
    """The options of a config dataclass: its own in their order, then those of its bases."""
    hints = get_type_hints(config, include_extras=True)
    texts = field_texts(config)
    own = config.__annotations__
    ordered = sorted(fields(config), key=lambda item: item.name not in own)
    asked = [item for item in ordered if not _is_internal(hints[item.name])]
    return tuple(_option(item, hints[item.name], texts) for item in asked)


def _is_internal(hint: Any) -> bool:
    return INTERNAL in getattr(hint, "__metadata__", ())


def _option(item: Any, hint: Any, texts: dict[str, str]) -> Option:
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    many = False
    choices: Mapping[str, type]
    if get_origin(hint) is Annotated and FAMILY in hint.__metadata__:
        many, choices = get_origin(get_args(hint)[0]) is tuple, _Families()
    elif get_origin(hint) is tuple and _sections(get_args(hint)[0]):
        many, choices = True, _sections(get_args(hint)[0])
    else:
        choices = _sections(hint)
    return Option(item.name, hint, texts.get(item.name, ""), default, choices, many)


class _Families(Mapping[str, type]):
    """Model families by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> type:
        return family(name)

    def __contains__(self, name: object) -> bool:
        return name in FAMILIES

    def __iter__(self) -> Iterator[str]:
        return iter(FAMILIES)

    def __len__(self) -> int:
        return len(FAMILIES)


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
        for above, below in pairwise(_definition(cls).body):
            if (
                isinstance(above, ast.AnnAssign)
                and isinstance(above.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                texts[above.target.id] = " ".join(str(below.value.value).split())
    return texts


def paragraph(name: str, text: str) -> list[str]:
    """An entry of an "Args:" list, wrapped; further text of the last one where name is empty."""
    first = f"    {name}: {text}" if name else f"        {text}"
    return textwrap.wrap(first, 92, subsequent_indent="        ", break_on_hyphens=False)


def _definition(cls: type) -> ast.ClassDef:
    """The source of a class; quickly where it is one of a module's, as all of ours are."""
    found = _definitions(cls.__module__).get(cls.__qualname__)
    if found is None:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        found = typing.cast(ast.ClassDef, tree.body[0])
    return found


@cache
def _definitions(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module by name; none where it has no file, as in a notebook."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def located(option: Option, value: Any, folder: Path) -> Any:
    """A value whose relative paths count from a folder; other values stay as they are."""
    inner = FILES_IN.get(option.name)
    if inner and isinstance(value, Mapping) and isinstance(value.get(inner), Mapping):
        files = {key: placed(str(file), folder) for key, file in value[inner].items()}
        return {**value, inner: files}
    if option.name not in PLACES or option.choices:
        return value
    if isinstance(value, list | tuple):
        return [located(option, entry, folder) for entry in value]
    if value in WORDS.get(option.name, ()):
        return value
    if isinstance(value, Mapping):
        return {key: located(option, entry, folder) for key, entry in value.items()}
    return placed(str(value), folder) if isinstance(value, str | Path) and str(value) else value


def placed(text: str, folder: Path) -> str:
    """A file's name or an address whose relative paths count from a folder."""
    if text.startswith(COMMITTEE):
        return COMMITTEE + ",".join(placed(member, folder) for member in members_of(text))
    script = re.fullmatch(r"ase:([^?]+\.py)(:.*)", text)
    if script:
        return f"ase:{_joined(folder, script[1])}{script[2]}"
    if not text or is_reference(text) or text.startswith(SMILES):
        return text
    return _joined(folder, text)


def _joined(folder: Path, text: str) -> str:
    """A path below a folder, tidied by its letters: inputs/../label is label, link or not."""
    return os.path.normpath(folder / text)


@dataclass(frozen=True)
class Flag:
    """A command-line flag for one option, or for the same option of several sections.

    Args:
        name: as typed, without the dashes.
        places: dotted TOML keys that it sets.
        option: what it stands for, in the first of them.
        help: what it does, with the default; by kind where sections of several kinds differ.
        hidden: whether the help leaves it out, as it belongs to families that were not chosen.
        panel: heading under which the help lists it.
    """

    name: str
    places: tuple[str, ...]
    option: Option
    help: str
    hidden: bool = False
    panel: str = ""

    @property
    def chooses(self) -> bool:
        """Whether it chooses the kind of a section."""
        return self.places[0].endswith(".kind")

    @property
    def many(self) -> bool:
        """Whether it may be given more than once."""
        return self.option.many if self.chooses else is_tuple(self.option.annotation)


Kinds = Mapping[str, Sequence[str]]
"""Sections of model families, and the families that are chosen for them."""

FAMILY_SECTIONS = ("family", "of")
"""Sections of model families that flags choose."""


def flags(config: type, kinds: Kinds | None = None) -> list[Flag]:
    """All flags of a config; sections lie flat, and `--SECTION KIND` chooses.

    Args:
        config: a config dataclass.
        kinds: section -> families already chosen on the command line; a section of model families
            shows the flags of these families alone.
    """
    found: dict[str, list[_Leaf]] = {}
    for leaf in _leaves(config, "", _Kind(), kinds or {}):
        found.setdefault(leaf[2].name.replace("_", "-"), []).append(leaf)
    return [
        Flag(
            name,
            tuple(dict.fromkeys(place for place, *_ in entries)),
            entries[0][2],
            _help(entries),
            panel=panel_of(config, entries[0][0], entries[0][2]),
        )
        for name, entries in found.items()
    ]


FIRST_PANEL, OTHER_PANEL = "Options", "More options"
"""Headings of the options that one needs first, and of the others that have no heading."""


def panel_of(config: type, place: str, option: Option) -> str:
    """The heading under which the help of a command lists an option.

    It stands with those that one needs first if it is required or the config names it in `usual`.
    Otherwise under the heading `panel` of the class that declares it, or that of its section.

    Args:
        config: the config of the command.
        place: dotted TOML key of the option.
        option: the option.
    """
    top = place.partition(".")[0]
    if option.name in getattr(config, "usual", ()) or (option.required and place == option.name):
        return FIRST_PANEL
    declaring = next(cls for cls in config.__mro__ if top in inspect.get_annotations(cls))
    own = vars(declaring).get("panel")
    return own or (top.capitalize() if "." in place else OTHER_PANEL)


def values_of(flag: Flag) -> tuple[str, ...]:
    """The values of a flag, where it takes one of a few words."""
    if flag.chooses:
        return tuple(flag.option.choices)
    return _words_of(flag.option.annotation)


def _words_of(annotation: Any) -> tuple[str, ...]:
    """The words of a Literal, alone or inside another type."""
    annotation = getattr(annotation, "__value__", annotation)
    if get_origin(annotation) is Literal:
        return tuple(str(word) for word in get_args(annotation))
    return tuple(word for part in get_args(annotation) for word in _words_of(part))


def every_flag(config: type, kinds: Kinds | None = None) -> list[Flag]:
    """The flags of `flags`, and those of all other model families, which the help does not show.

    A run file may name these families, and a flag that fits none of the chosen ones can be refused
    by what it belongs to.
    """
    shown = {flag.name: flag for flag in flags(config, kinds)}
    every = {
        flag.name: flag for flag in flags(config, dict.fromkeys(FAMILY_SECTIONS, tuple(FAMILIES)))
    }
    return [replace(flag, places=every[name].places) for name, flag in shown.items()] + [
        replace(flag, hidden=True) for name, flag in every.items() if name not in shown
    ]


@dataclass(frozen=True)
class _Kind:
    """The kind of the section an option stands in, and how many kinds it could have."""

    name: str = ""
    of: int = 1


_Leaf = tuple[str, _Kind, Option]
"""Dotted key, kind of the section around it, and option."""


def _help(leaves: list[_Leaf]) -> str:
    """The help of a flag; where it belongs to some kinds only, each says its own."""
    texts: dict[str, list[_Kind]] = {}
    for place, kind, option in leaves:
        texts.setdefault(_help_of(place, option), []).append(kind)
    return " ".join(
        text if len(kinds) >= kinds[0].of else f"({', '.join(kind.name for kind in kinds)}) {text}"
        for text, kinds in texts.items()
    )


def _help_of(place: str, option: Option) -> str:
    default: Any = None if option.required else option.default
    text = option.help
    if place.endswith(".kind"):
        text = f"{text} One of: {', '.join(option.choices)}."
        default = kind_of(default[0] if option.many else default)
    if default is None or default == ():
        return text
    return f"{text} [default: {_shown_value(default)}]"


def _shown_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(_shown_value(entry) for entry in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def kind_of(section: Any) -> str:
    """The kind of a section: a config, a model family, or its name."""
    if isinstance(section, str):
        return section
    return getattr(section, "kind", None) or section.name


def usual_kind(option: Option) -> str | None:
    """The kind of a section that does not name it; None where it has to be named."""
    if option.default is MISSING or option.default == ():
        return next(iter(option.choices)) if len(option.choices) == 1 else None
    return kind_of(option.default[0] if option.many else option.default)


def is_numeric(annotation: Any) -> bool:
    """Whether a field of this type holds a number, perhaps one, or several of them."""
    if annotation in (int, float):
        return True
    if get_origin(annotation) is Literal:  # whose words may be "float64"
        return False
    return any(is_numeric(part) for part in get_args(annotation))


def holds_text(annotation: Any) -> bool:
    """Whether a field of this type may hold text."""
    if get_origin(annotation) is Literal or annotation in (str, Any):
        return True
    return any(holds_text(part) for part in get_args(annotation))


def is_tuple(annotation: Any) -> bool:
    """Whether a field of this type holds several values."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return get_origin(annotation) is tuple


def _leaves(config: type, prefix: str, within: _Kind, kinds: Kinds) -> Iterator[_Leaf]:
    for option in options(config):
        place = prefix + option.name
        if option.name in getattr(config, "file_only", ()):
            continue
        if not option.choices:
            yield place, within, option
            continue
        if len(option.choices) > 1 or isinstance(option.choices, _Families):
            yield f"{place}.kind", within, option
        offered = _offered(option, kinds.get(option.name, ()), config)
        for kind, section in offered:
            inner = _Kind(kind, len(offered)) if len(offered) > 1 else within
            yield from _leaves(section, f"{place}.", inner, kinds)


def _offered(option: Option, kinds: Sequence[str], within: type) -> list[tuple[str, type]]:
    """Sections whose flags are offered: all, but of model families only those chosen.

    None is offered within itself: a mixture of mixtures is refused when it is checked.
    """
    if isinstance(option.choices, _Families):
        chosen = {name: option.choices[name] for name in kinds}
        others = [(name, kind) for name, kind in chosen.items() if kind is not within]
        usual = kind_of(option.default[0])
        return others or [(usual, option.choices[usual])]
    return list(option.choices.items())
