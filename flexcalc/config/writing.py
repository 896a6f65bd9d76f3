"""Configs as TOML: the resolved run on disk, and commented templates."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import MISSING, is_dataclass
from pathlib import Path
from typing import Any

from flexcalc.config.options import Option, kind_of, located, options, usual_kind
from flexcalc.dataset import Dataset
from flexcalc.potential import Potential, formula
from flexcalc.registry import name_of


def to_toml(config: Any) -> str:
    """A config as TOML that `load` reads back, with every path absolute."""
    lines: list[str] = []
    sections: list[str] = []
    for option in options(config.__class__):
        value = getattr(config, option.name)
        if option.choices:
            for entry in value if option.many else (value,):
                sections += ["", _header(option), f'kind = "{kind_of(entry)}"']
                sections += _flat(entry)
        elif value is not None:
            lines.append(f"{option.name} = {_literal(located(option, value, Path.cwd()))}")
    return "\n".join(lines + sections) + "\n"


def _flat(section: Any) -> list[str]:
    """The fields of a section; sections inside it as inline tables."""
    lines = []
    for option in options(section.__class__):
        value = getattr(section, option.name)
        if value is not None:
            lines.append(f"{option.name} = {_literal(value)}")
    return lines


def template(config: type, title: str) -> str:
    """A commented TOML with every field of a config, defaults commented out."""
    summary = (config.__doc__ or "").strip().splitlines()[0]
    lines = [f"# {summary}", f"# Run it with: flexcalc {title} {title}.toml", ""]
    sections: list[str] = []
    for option in options(config):
        if option.choices:
            sections += _template_section(option)
        else:
            lines += _template_field(option)
    return "\n".join(lines + sections).rstrip() + "\n"


def _template_section(option: Option) -> list[str]:
    kind = usual_kind(option) or next(iter(option.choices))
    others = [name for name in option.choices if name != kind]
    also = f" Also: {', '.join(others)}." if others else ""
    lines = [f"# {option.help}{also}", _header(option), f'kind = "{kind}"', ""]
    usual = option.default[0] if option.many and option.default not in ((), MISSING) else None
    for inner in options(option.choices[kind]):
        if inner.default is MISSING and hasattr(usual, inner.name):
            shown = _literal(getattr(usual, inner.name))
            lines += [f"# {inner.help}", f"{inner.name} = {shown}", ""]
        else:
            lines += _template_field(inner)
    if option.default == ():  # none of them unless it is asked for, so set in from the others
        values = re.compile(r"(# )?(\[|\w+ =)")
        return [f"#   {line.removeprefix('# ')}" if values.match(line) else line for line in lines]
    return lines


def _template_field(option: Option) -> list[str]:
    if option.default is MISSING:
        shown = f"{option.name} = {_unset(option)}"
    elif option.default is None:
        shown = f"# {option.name} ="
    else:
        shown = f"# {option.name} = {_literal(option.default)}"
    return [f"# {option.help}", shown, ""]


def _unset(option: Option) -> str:
    """What stands for a value that has to be given."""
    if option.choices:
        return f'{{kind = "{usual_kind(option) or next(iter(option.choices))}"}}'
    shape = str(option.annotation)
    return "[]" if "tuple" in shape else "{}" if "dict" in shape else '""'


def _header(option: Option) -> str:
    return f"[[{option.name}]]" if option.many else f"[{option.name}]"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        # JSON leaves the delete character alone, which TOML wants escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_literal(entry) for entry in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(k)} = {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Dataset):
        frames = f"{len(value)} frame{'s' * (len(value) > 1)}"
        return _literal(f"python: {formula(value.numbers)}, {frames}, sha256 {value.sha256()}")
    if not is_dataclass(value) or isinstance(value, Potential):  # a potential may be a dataclass
        facts = json.dumps(getattr(value, "facts", None), sort_keys=True, default=str)
        return _literal(f"{name_of(value)}, sha256 {hashlib.sha256(facts.encode()).hexdigest()}")
    inner = [f'kind = "{kind_of(value)}"', *_flat(value)]
    return "{" + ", ".join(inner) + "}"
