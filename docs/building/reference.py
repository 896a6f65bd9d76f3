"""Pages that are generated from flexcalc: commands, functions and classes, hyperparameters.

Nothing is declared here: texts, types and defaults are those of `flexcalc.config` and of
docstrings.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, is_dataclass
from dataclasses import fields as fields_of
from typing import Annotated, Any, Literal, cast, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

import flexcalc
from flexcalc import config
from flexcalc.cli import FOLDERLESS, RUNS, TOOLS, function_of, shape_of
from flexcalc.commands.annotations import in_words
from flexcalc.config.options import Option, field_texts, options, usual_kind
from flexcalc.config.writing import template
from flexcalc.fields import FAMILY
from flexcalc.registry import FAMILIES, family

Pages = dict[str, str]
"""Path of a page below the site's folder -> its Markdown."""

COMMANDS = {**RUNS, **TOOLS}
"""Commands and their line in the overview."""

OF_REPORTS = frozenset(
    {"stand_in", "from_dict", "from_damaged", "figures", "key_figures", "selected_figures"}
    | {"cards", "drawing", "first_geometry", "with_study"}
)
"""Methods of results that reports call, which the pages leave out."""

HEADINGS = ("Args", "Returns", "Raises", "Warns", "Yields", "Example", "Examples")
"""Sections of docstrings that stand on a line of their own."""


def pages() -> Pages:
    """All generated pages."""
    found = {f"commands/{name}.md": command_page(name) for name in COMMANDS}
    found |= {f"python/{name}.md": python_page(name) for name in flexcalc.__all__}
    found |= {f"python/results/{kind.__name__}.md": class_page(kind) for kind in result_classes()}
    found |= {f"hyperparameters/{name}.md": family_page(name) for name in FAMILIES}
    return found | {
        "commands/index.md": commands_index(),
        "python/index.md": python_index(),
        "hyperparameters/index.md": families_index(),
    }


def prose(text: str) -> str:
    """Text of a docstring as Markdown: nothing in it is markup but `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*_\[\]])", r"\\\1", html.escape(part, False))
        for part in parts
    )


def cell(text: str) -> str:
    """Text of a docstring in a table."""
    return prose(" ".join(text.split())).replace("|", "\\|")


def code(text: str) -> str:
    """A word in a table, as code."""
    return f"<code>{html.escape(text).replace('|', '&#124;')}</code>" if text else ""


def first_line(thing: Any) -> str:
    """The first paragraph of a docstring."""
    return inspect.cleandoc(thing.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


# Options


def unannotated(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its bounds, and the bounds; of several values those of one."""
    marks: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            marks += annotation.__metadata__
        inner = [part for part in get_args(annotation) if part not in (type(None), Ellipsis)]
        if get_origin(annotation) is not Annotated and len(inner) != 1:
            return annotation, marks
        annotation = inner[0]


def bounds(option: Option) -> str:
    """The bounds of a number, such as `above 0, at most 1`; very large ones are left out."""
    marks: tuple[Any, ...] = unannotated(option.annotation)[1]
    texts = []
    for mark in marks:
        if isinstance(mark, Ge) and abs(mark.ge) < 1e19:  # type: ignore[arg-type]
            texts.append(f"at least {mark.ge:g}")
        elif isinstance(mark, Gt):
            texts.append(f"above {_rounded(mark.gt)}")
        elif isinstance(mark, Le) and float(mark.le) < 1e5:  # type: ignore[arg-type]
            texts.append(f"at most {mark.le:g}")
        elif isinstance(mark, Lt):
            texts.append(f"below {mark.lt:g}")
    return ", ".join(texts)


def _rounded(limit: Any) -> str:
    """A lower bound; one that is there for arithmetic alone is 0."""
    return "0" if 0 < limit < 1e-4 else f"{limit:g}"


def default(option: Option) -> str:
    """The default of an option, as in TOML; empty where there is none."""
    if option.default is MISSING:
        return "required"
    value = option.default
    if option.choices:
        return code(str(usual_kind(option) or "none"))
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return code("yes" if value else "no")
    if isinstance(value, tuple):
        return code(", ".join(str(entry) for entry in value))
    return code(f"{value:g}" if isinstance(value, float) else str(value))


SPOKEN = {
    "int": "integer",
    "float": "number",
    "str": "text",
    "bool": "yes or no",
    "Path": "file",
    "PotentialLike": "potential",
    "GeometryLike": "geometry",
    "Any": "any",
}
"""Types of options in words."""


def value_of(option: Option) -> str:
    """The values that an option takes, and their bounds."""
    if is_family(option):
        return "family"
    if option.choices:
        return ", ".join(map(code, option.choices))
    kind, _ = unannotated(option.annotation)
    if get_origin(kind) is Literal:
        return ", ".join(code(str(choice)) for choice in get_args(kind))
    parts = [part.strip() for part in in_words(option.annotation).split(" | ")]
    words = [SPOKEN.get(part, code(part)) for part in parts if part not in ("None", "Sequence")]
    several = any(part.startswith("Sequence[") for part in parts)
    words = [word for word in words if "Sequence" not in word]
    text = " or ".join(dict.fromkeys(words)) + (", one or several" if several else "")
    return f"{text}, {bounds(option)}" if bounds(option) else text


def option_table(found: Sequence[Option], head: str, name: Any) -> str:
    """A table of options.

    Args:
        found: the options.
        head: title of the first column.
        name: function from an option to its first column.
    """
    lines = [f"| {head} | value | default | meaning |", "|---|---|---|---|"]
    for option in found:
        row = [name(option), value_of(option), default(option), cell(option.help)]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def sections(config_class: Any) -> list[Option]:
    """The options of a config that are sections, except model families."""
    return [option for option in options(config_class) if option.choices and not is_family(option)]


def is_family(option: Option) -> bool:
    """Whether an option holds model families."""
    return FAMILY in getattr(option.annotation, "__metadata__", ())


def section_tables(
    config_class: Any, name: Any, above: str = "", seen: set[tuple[str, type]] | None = None
) -> Iterator[str]:
    """Tables of the sections of a config, and of the sections within them, each once."""
    seen = set() if seen is None else seen
    for option in sections(config_class):
        place = f"{above}{option.name}"
        for kind, inner in option.choices.items():
            if (place, inner) in seen:
                continue
            seen.add((place, inner))
            title = f"{place} = {kind}" if len(option.choices) > 1 else place
            yield f"### {title}\n\n{documented(head_of(inner))}\n"
            found = options(inner)
            if found:
                yield option_table(found, "option", name)
            yield from section_tables(inner, name, f"{place}.", seen)


def head_of(thing: Any) -> str:
    """The docstring of a class or function up to its arguments, as one paragraph."""
    text = inspect.cleandoc(thing.__doc__ or "")
    text = re.split(r"^(?:Args|Returns|Raises):$", text, maxsplit=1, flags=re.MULTILINE)[0]
    return text.strip()


# Commands


def flag_name(option: Option) -> str:
    """The flag of an option."""
    flag = option.name.replace("_", "-")
    if option.annotation in (bool, bool | None):
        return f"{code(f'--{flag}')} {code(f'--no-{flag}')}"
    return code(f"--{flag}")


def command_page(name: str) -> str:
    """The page of a command: what it does, its arguments, and every option."""
    kind: Any = config.COMMANDS.get(name) or config.TOOLS[name]
    places = {place.lstrip("*"): place for place in kind.positional}
    known = {option.name: option for option in options(kind)}
    shape = " ".join(map(shape_of, kind.positional))
    file = " | ".join(filter(None, ["RUN.toml", shape])) if name in RUNS else shape
    function = function_of(name)
    lines = [
        f"# flexcalc {name}\n",
        f"```text\nflexcalc {name} {file} [OPTIONS]\n```\n",
        documented(function.__doc__).partition("**Args**")[0].strip() + "\n",
        f"In Python: [`flexcalc.{name}`](../python/{name}.md), with the same options.\n",
    ]
    if places:
        lines += ["## Arguments\n"]
        lines += [
            option_table(
                [known[key] for key in places], "argument", lambda o: code(shape_of(places[o.name]))
            )
        ]
    rest = [option for key, option in known.items() if key not in places]
    lines += ["## Options\n", options_note(name, rest)]
    lines += [option_table(rest, "option", flag_name)] if rest else []
    lines += list(section_tables(kind, flag_name))
    if name in RUNS:
        lines += [
            "## Run file\n",
            f"`flexcalc init {name}` prints:\n",
            f"```toml\n{template(kind, name)}```\n",
        ]
    return "\n".join(lines)


def options_note(name: str, rest: Sequence[Option]) -> str:
    """What has to be said of the options of a command before their table."""
    notes = []
    if name in RUNS and name not in FOLDERLESS:
        notes.append(
            f"`--output FOLDER` (`-o`) is the output folder, by default `{name}`; an unfinished "
            "run in it is resumed."
        )
    if any(option.choices and not is_family(option) for option in rest):
        notes.append(
            "An option whose values are kinds chooses one of the sections below, whose options "
            "are flags too."
        )
    if any(map(is_family, rest)):
        notes.append(
            "Each family has its [hyperparameters](../hyperparameters/index.md), which are "
            "flags too."
        )
    return " ".join(notes) + "\n"


def commands_index() -> str:
    """The list of commands."""
    rows = [f"| [`flexcalc {name}`]({name}.md) | {line} |" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "# Commands\n",
            "Each command takes a TOML file, or its arguments and flags; `flexcalc COMMAND "
            "--help` shows the same.\n",
            "| command | purpose |\n|---|---|",
            *rows,
            "",
            "Exit codes: 0 complete; 1 failed; 2 invalid input, with a message of one line and "
            "nothing written; 3 stopped by a guard, such as a force that is not a number, with the "
            "last good state kept; 130 interrupted, and the same command resumes.\n",
        ]
    )


# Hyperparameters


def family_page(name: str) -> str:
    """The hyperparameters of a family of models."""
    kind = family(name)
    return "\n".join(
        [
            f"# {name}\n",
            documented(kind.__doc__) + "\n",
            "## Hyperparameters\n",
            f"Flags of `flexcalc train --family {name}`, keys of its TOML section, and keywords in "
            "Python are the same.\n",
            option_table(options(kind), "option", flag_name),
            *section_tables(kind, flag_name),
        ]
    )


def families_index() -> str:
    """The list of families."""
    rows = [f"| [`{name}`]({name}.md) | {cell(first_line(family(name)))} |" for name in FAMILIES]
    head = "# Hyperparameters\n\nOne table for each family of models.\n\n"
    return head + "\n".join(["| `--family` | model |", "|---|---|", *rows]) + "\n"


# Python


def documented(text: str | None) -> str:
    """A docstring as Markdown: its sections are lists, its examples blocks."""
    lines = inspect.cleandoc(text or "").splitlines()
    found: list[str] = []
    while lines:
        line = lines.pop(0)
        if line.rstrip(":") in HEADINGS and line.endswith(":"):
            body = []
            while lines and (not lines[0].strip() or lines[0].startswith(" ")):
                body.append(lines.pop(0))
            found += [
                "",
                f"**{line.rstrip(':')}**",
                "",
                *entries(inspect.cleandoc("\n".join(["", *body]))),
            ]
        elif line.startswith(">>>"):
            example = [line]
            while lines and lines[0].strip():
                example.append(lines.pop(0))
            found += ["```pycon", *example, "```"]
        elif line.startswith("    "):
            example = [line]
            while lines and (not lines[0].strip() or lines[0].startswith("    ")):
                example.append(lines.pop(0))
            found += ["```text", inspect.cleandoc("\n".join(["", *example])), "```", ""]
        else:
            found.append(bullet(line))
    return "\n".join(found)


def bullet(line: str) -> str:
    """A line of a docstring; lists keep their bullets."""
    return f"- {prose(line[2:])}" if line.startswith("- ") else prose(line)


def entries(text: str) -> list[str]:
    """The body of a section of a docstring: `name: what it is`, or examples, or a paragraph."""
    if text.lstrip().startswith(">>>"):
        return ["```pycon", text, "```", ""]
    items: list[list[str]] = []
    for line in text.splitlines():
        if line and not line.startswith(" ") and re.match(r"[\w*, .]+: ", line):
            items.append([line])
        elif items:
            items[-1].append(line.strip())
        else:
            items.append([line])
    shown = []
    for item in items:
        name, mark, rest = " ".join(item).partition(": ")
        named = mark and re.fullmatch(r"[\w*, .]+", name)
        shown.append(f"- `{name}`: {prose(rest)}" if named else prose(" ".join(item)))
    return [*shown, ""]


def signature(name: str, thing: Any) -> str:
    """The signature of a function or class, a line for each parameter."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    if is_protocol(thing):
        return f"class {name}(Protocol)"
    lines = []
    star = False
    for parameter in found.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            lines.append("    *,")
        text = str(parameter.replace(annotation=shown_type(parameter.annotation)))
        lines.append(f"    {text},")
    returned = found.return_annotation
    arrow = "" if returned in (found.empty, None) else f" -> {shown_type(returned)}"
    prefix = "class " if inspect.isclass(thing) else ""
    body = "\n".join(lines)
    return f"{prefix}{name}(\n{body}\n){arrow}" if lines else f"{prefix}{name}(){arrow}"


class Plain(str):
    """An annotation that is printed as it is."""

    def __repr__(self) -> str:
        return str(self)


def shown_type(annotation: Any) -> Any:
    """A type as it would be written."""
    if annotation is inspect.Parameter.empty:
        return annotation
    if isinstance(annotation, str):
        return Plain(annotation)
    if get_origin(annotation) is not None or isinstance(annotation, type):
        return Plain(in_words(annotation))
    return annotation


def is_protocol(thing: Any) -> bool:
    """Whether a class is a protocol."""
    return bool(getattr(thing, "_is_protocol", False))


def python_page(name: str) -> str:
    """The page of a public name."""
    thing = getattr(flexcalc, name)
    if inspect.isclass(thing):
        return class_page(thing, name)
    lines = [
        f"# flexcalc.{name}\n",
        f"```python\n{signature(name, thing)}\n```\n",
        documented(thing.__doc__),
    ]
    if name in COMMANDS:
        lines.append(f"\nOn the command line: [`flexcalc {name}`](../commands/{name}.md).")
        result = inspect.get_annotations(thing.task, eval_str=True).get("return")
        if inspect.isclass(result) and result in result_classes():
            lines.append(f"\nIt returns a [`{result.__name__}`](results/{result.__name__}.md).")
    return "\n".join(lines) + "\n"


def class_page(kind: Any, name: str = "") -> str:
    """The page of a class: its fields, and its public methods and properties."""
    title = f"flexcalc.{name}" if name else kind.__name__
    lines = [f"# {title}\n"]
    if name and not issubclass(kind, Exception):
        lines.append(f"```python\n{signature(name, kind)}\n```\n")
    lines.append(documented(kind.__doc__) + "\n")
    lines += field_table(kind)
    lines += members(kind)
    return "\n".join(lines)


def field_table(kind: Any) -> list[str]:
    """The fields of a dataclass that have a text."""
    if not is_dataclass(kind):
        return []
    texts = field_texts(cast(type, kind))
    try:
        hints = get_type_hints(kind, include_extras=True)
    except NameError:
        hints = {}
    rows = [
        f"| {code(name)} | {code(in_words(hints.get(name, '')))} | {cell(texts[name])} |"
        for name in (item.name for item in fields_of(kind))
        if texts.get(name)
    ]
    return ["## Fields\n", "| field | type | meaning |\n|---|---|---|", *rows, ""] if rows else []


def members(kind: Any) -> list[str]:
    """The public methods and properties of a class that flexcalc declares."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("flexcalc"):
            found |= {key: value for key, value in vars(base).items() if not key.startswith("_")}
    lines = []
    for key, value in found.items():
        inner = value.fget if isinstance(value, property) else getattr(value, "func", value)
        inner = getattr(inner, "__func__", inner)
        if key in OF_REPORTS or not inspect.isfunction(inner) or not inner.__doc__:
            continue
        attribute = isinstance(value, property) or hasattr(value, "func")
        shown = key if attribute else signature(key, inner)
        lines += [f"## {key}\n", f"```python\n{shown}\n```\n", documented(inner.__doc__), ""]
    return lines


def result_classes() -> list[Any]:
    """The classes that commands return, by name."""
    found = {
        inspect.get_annotations(function_of(name).task, eval_str=True).get("return")
        for name in COMMANDS
    }
    ours = [kind for kind in found if getattr(kind, "__module__", "").startswith("flexcalc")]
    return sorted(ours, key=lambda kind: kind.__name__)


def python_index() -> str:
    """The list of public names and of the classes of results."""
    rows = [
        f"| [`{name}`]({name}.md) | {cell(first_line(getattr(flexcalc, name)))} |"
        for name in sorted(flexcalc.__all__, key=str.lower)
    ]
    kinds = [
        f"| [`{kind.__name__}`](results/{kind.__name__}.md) | {cell(first_line(kind))} |"
        for kind in result_classes()
    ]
    return "\n".join(
        [
            "# Python\n",
            "Every command is a function of the same name, with the same options and units.\n",
            "| name | purpose |\n|---|---|",
            *rows,
            "\n## Results\n",
            "| class | purpose |\n|---|---|",
            *kinds,
            "",
        ]
    )


def undescribed() -> list[str]:
    """Options of commands, and hyperparameters, that have no text."""
    found = {**config.COMMANDS, **config.TOOLS, **{name: family(name) for name in FAMILIES}}
    missing = []
    for name, kind in found.items():
        missing += [f"{name}.{place}" for place, option in all_options(kind) if not option.help]
    return missing


def all_options(kind: Any, above: str = "") -> Iterator[tuple[str, Option]]:
    """The options of a config and of its sections, with their dotted names."""
    for option in options(kind):
        yield above + option.name, option
        if option.choices and not is_family(option):
            for inner in option.choices.values():
                yield from all_options(inner, f"{above}{option.name}.")
