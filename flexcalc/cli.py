"""The command line: `flexcalc COMMAND`; every option is declared in `flexcalc.config`.

Typer parses the arguments and returns the work to do, which `main` then executes. So all failures,
including typer's own, become one line and an exit code in one place.
"""

from __future__ import annotations

import difflib
import gc
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from flexcalc.fields import POTENTIAL
from flexcalc.memory import without_collector
from flexcalc.printing import complain, say

if TYPE_CHECKING:
    from flexcalc.config.reading import Keys

Work = Callable[[], None]
"""The work of a command, after its arguments were parsed."""

USAGE_ERROR: Any = typer.BadParameter.__base__
"""Typer's class of usage errors, which has no public name."""

HELP = "Machine-learned force fields for flexible molecules: train, validate, and run dynamics."

RUNS = {
    "demo": "Run the complete workflow on glycine, from two geometries to a report.",
    "label": "Sample geometries of a molecule and label them with a reference.",
    "train": "Train one or several model families on a dataset.",
    "evaluate": "Measure errors of potentials, overall and by region.",
    "path": "Find a minimum-energy path and check its barrier.",
    "saddle": "Refine a saddle, find the minima it connects, and compute rates.",
    "network": "Find minima, the saddles between them, and rates over these.",
    "md": "Run molecular dynamics of many replicas.",
    "metad": "Run metadynamics for a free-energy surface.",
    "umbrella": "Run umbrella sampling for a free-energy profile.",
    "learn": "Learn a force field by itself: explore, label where unsure, train, repeat.",
    "benchmark": "Compare model families on one flexible molecule.",
    "ipi": "Start i-PI and its clients for one i-PI input.",
    "serve": "Serve a potential to a running i-PI.",
}
"""Commands that take a TOML file, and their line in the overview."""

TOOLS = {
    "init": "Print a commented TOML file with every field of a command, or copy example inputs.",
    "report": "Write report.html, one page, for a run folder.",
    "info": "Describe a model, dataset or run folder.",
    "export": "Write a model as a file of the sgdml package (.npz), or a committee as one folder.",
}
"""Commands that take none, and print what comes of them."""

FOLDERLESS = ("serve",)
"""Commands with a TOML file that fill no run folder."""

MAX_MESSAGE = 500
"""Maximum number of characters of an error message."""

EPILOG = (
    "RUN.toml is a file as printed by `flexcalc init {}`; flags override it. It is code, like a "
    "Makefile: Python files named in it are executed, so read files of others before running them."
)


def build(words: Sequence[str]) -> typer.Typer:
    """The application; only the command named in `words` gets its options.

    The overview must be fast, and options come from modules that import numpy.
    """
    wanted = next((word for word in words if not word.startswith("-")), None)
    app = typer.Typer(
        help=HELP,
        add_completion=wanted not in RUNS | TOOLS or COMPLETING in os.environ,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback()(version)
    for name, line in RUNS.items():
        function = run_command_of(name, words) if name == wanted else not_yet
        app.command(name, cls=RunCommand, help=line, epilog=EPILOG.format(name))(function)
    for name, line in TOOLS.items():
        app.command(name, help=line)(tool_command_of(name) if name == wanted else not_yet)
    return app


class RunCommand(TyperCommand):
    """A command with a TOML file; its help has its positional arguments and panels of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments that stand in place of RUN.toml, and the options in panels."""
        from flexcalc import config
        from flexcalc.config.options import FIRST_PANEL, OTHER_PANEL

        kind = config.COMMANDS[str(self.name)]
        texts = {option.name: option.help for option in config.options(kind)}
        rows = [(shape_of(place), texts[place.lstrip("*")]) for place in kind.positional]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        panels: dict[str, list[tuple[str, str]]] = {FIRST_PANEL: [], OTHER_PANEL: []}
        for given in self.get_params(ctx):
            row = given.get_help_record(ctx)
            if row is not None:
                panel = getattr(given, "rich_help_panel", None) or FIRST_PANEL
                panels.setdefault(panel, []).append(row)
        for panel, rows in panels.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl(rows)


def shape_of(place: str) -> str:
    """A positional argument as the help names it."""
    return f"{place[1:].upper()}..." if place.startswith("*") else place.upper()


def function_of(name: str) -> Any:
    """The function of a command, the same that Python users call."""
    import flexcalc

    return getattr(import_module(vars(flexcalc)["_HOMES"][name]), name)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        from flexcalc import __version__

        print(f"flexcalc {__version__}")
        raise typer.Exit


def version(
    show: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """Options before the command."""


def not_yet() -> NoReturn:
    """Placeholder in the overview for a command whose options are not needed."""
    raise RuntimeError("a command was called without being built")


def run_command_of(name: str, words: Sequence[str]) -> Callable[..., Work]:
    """A command that takes a TOML file, with the arguments and flags of its config."""
    from flexcalc import config

    kind = config.COMMANDS[name]
    positional = {place.lstrip("*") for place in kind.positional}
    flags = {
        flag.name.replace("-", "_"): flag
        for flag in config.every_flag(kind, chosen_sections(words))
        if flag.option.name not in positional
    }
    parameters = [arguments_parameter(kind.positional)]
    if name not in FOLDERLESS:
        parameters.append(output_parameter(Path(name)))
    parameters += [flag_parameter(key, flag) for key, flag in flags.items()]

    def command(**given: Any) -> Work:
        arguments = given.pop("arguments") or []
        folder = [given.pop("output")] if "output" in given else []
        overrides = {
            flags[key].places: listed(flags[key], value)
            for key, value in given.items()
            if value not in (None, [], ())
        }

        def work() -> None:
            with without_collector():
                chosen, function = configured(name, arguments, overrides), function_of(name)
            if name in FOLDERLESS:
                function.task(chosen)
            else:
                from flexcalc.commands.face import run_command

                run_command(function, chosen, folder[0], echo=say)

        return work

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def tool_command_of(name: str) -> Callable[..., Work]:
    """A command without a TOML file, with the arguments and flags of its config."""
    from flexcalc import config

    kind = config.TOOLS[name]
    flags = {flag.name.replace("-", "_"): flag for flag in config.flags(kind)}
    arguments = {place: flags.pop(place) for place in kind.positional}
    parameters = [argument_parameter(key, flag) for key, flag in arguments.items()]
    parameters += [flag_parameter(key, flag) for key, flag in flags.items()]

    def command(**given: Any) -> Work:
        def work() -> None:
            values = {key: value for key, value in given.items() if value is not None}
            show(function_of(name).task(config.load(kind, None, values)))

        return work

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def configured(name: str, arguments: Sequence[str], overrides: Mapping[Keys, Any]) -> Any:
    """The config of a command, from RUN.toml or positional words and from flags."""
    from flexcalc import config

    kind = config.COMMANDS[name]
    run_file = None
    if arguments and arguments[0].endswith(".toml"):
        run_file, arguments = Path(arguments[0]), arguments[1:]
    values: dict[Any, Any] = config.positional_values(kind, arguments)
    return config.load(kind, run_file, values | dict(overrides))


def chosen_sections(words: Sequence[str]) -> dict[str, list[str]]:
    """Families that are chosen in the arguments, such as `--family mixture --of sgdml`."""
    from flexcalc.config.options import FAMILY_SECTIONS

    split = [part for word in words for part in word.split("=", 1)]
    return {
        section: [following for word, following in pairwise(split) if word == f"--{section}"]
        for section in FAMILY_SECTIONS
    }


def listed(flag: Any, value: Any) -> Any:
    """The values of a flag that may be repeated; numbers also stand together, as in 50,100."""
    if not isinstance(value, list | tuple):
        return value
    if flag.chooses or flag.option.takes == POTENTIAL or "str" in str(flag.option.annotation):
        return list(value)
    return [part for text in value for part in text.split(",")]


def parameter(name: str, annotation: Any, default: Any = None) -> inspect.Parameter:
    """A keyword parameter for a command's signature."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def arguments_parameter(positional: Sequence[str]) -> inspect.Parameter:
    """RUN.toml, or the positional arguments in place of it."""
    shape = " ".join(map(shape_of, positional))
    metavar = f"RUN.toml | {shape}" if shape else "RUN.toml"
    return parameter(
        "arguments", Annotated[list[str], typer.Argument(metavar=metavar, hidden=True)]
    )


def argument_parameter(key: str, flag: Any) -> inspect.Parameter:
    """An argument that is given by its place."""
    from flexcalc.config.options import values_of

    words = tuple(RUNS) if key == "command" else values_of(flag)
    declared = typer.Argument(
        metavar=key.upper(), help=flag.help, autocompletion=completion_of(words)
    )
    if flag.option.required:
        return parameter(key, Annotated[str, declared], inspect.Parameter.empty)
    return parameter(key, Annotated[str | None, declared])


def output_parameter(default: Path) -> inspect.Parameter:
    """The option --output."""
    declared = typer.Option(
        "--output",
        "-o",
        help="Output folder; an unfinished run in it is resumed.",
        metavar="FOLDER",
    )
    return parameter("output", Annotated[Path, declared], default)


def flag_parameter(key: str, flag: Any) -> inspect.Parameter:
    """The typer option of a flag; its value is checked by the config."""
    name = f"--{flag.name}"
    if flag.option.annotation in (bool, bool | None):
        declared = typer.Option(
            f"{name}/--no-{flag.name}",
            help=flag.help,
            hidden=flag.hidden,
            rich_help_panel=flag.panel,
        )
        return parameter(key, Annotated[bool | None, declared])
    from flexcalc.config.options import values_of

    kind: Any = list[str] if flag.many else str
    declared = typer.Option(
        name,
        help=flag.help,
        metavar=metavar_of(flag),
        hidden=flag.hidden,
        rich_help_panel=flag.panel,
        autocompletion=completion_of(values_of(flag)),
    )
    return parameter(key, Annotated[kind | None, declared])


def completion_of(words: Sequence[str]) -> Callable[[str], list[str]] | None:
    """The function that completes one of a few words; None where shells complete files."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete if words else None


COMPLETING = "_FLEXCALC_COMPLETE"
"""Environment variable by which a shell asks for completions."""


def words_to_complete() -> list[str]:
    """The words before the one that a shell asks to complete; none without such a question."""
    if COMPLETING not in os.environ:
        return []
    if "COMP_WORDS" in os.environ:
        return os.environ["COMP_WORDS"].split()[1 : int(os.environ["COMP_CWORD"])]
    line = os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return line.split()[1:] if line.endswith(" ") else line.split()[1:-1]


MANY_WORDS = 8
"""As many values of a flag are not listed in its placeholder."""


def metavar_of(flag: Any) -> str:
    """Placeholder of a flag's value in the help."""
    if flag.chooses:
        return "KIND"
    from flexcalc.config.options import values_of

    if words := values_of(flag):
        return "|".join(words) if len(words) < MANY_WORDS else "NAME"
    shown = str(flag.option.annotation)
    for part, name in (("int", "INTEGER"), ("float", "NUMBER"), ("Path", "FILE")):
        if part in shown:
            return name
    return "TEXT"


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; errors are one line, and the exit code says what kind."""
    from flexcalc.errors import FlexcalcError

    own_process = words is None
    words = list(sys.argv[1:] if words is None else words)
    try:
        with without_collector():
            work = parsed(words or ["--help"])
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            work()
    except FlexcalcError as error:
        fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        fail("interrupted; the same command resumes from here", 130)
    except BrokenPipeError:
        # The reader, such as `head`, has gone.
        drop_output()
        sys.exit(1)
    except OSError as error:
        if error.filename == STDOUT:
            drop_output()
        fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)
    except (MemoryError, RuntimeError) as error:
        if not of_memory(error):
            raise
        fail(f"out of memory{memory_here()}: {error or 'an allocation failed'}; {LESS}", 1)
    finally:
        if own_process and "torch" not in sys.modules:
            # The collections of Python's end would walk through all objects. With torch they do, as
            # its compiler complains of objects that are left.
            gc.freeze()


STDOUT = "standard output"
"""Name of the output stream in error messages."""


def show(text: object, end: str = "\n") -> None:
    """Print, with the output stream named in errors."""
    from flexcalc.storage import naming

    with naming(STDOUT):
        for line in str(text).split("\n"):
            say(line)


def drop_output() -> None:
    """Discard output that could not be printed, so that Python's last flush does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


LESS = "use smaller batches or systems, or a machine with more memory"
"""Advice if memory does not suffice."""

MEMORY_WORDS = ("allocate memory", "out of memory", "bad_alloc", "start new thread")
"""Messages of RuntimeErrors of torch, C++ and Python's threads if memory does not suffice."""


def of_memory(error: Exception) -> bool:
    """Whether an error means that memory does not suffice."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in MEMORY_WORDS)


def memory_here() -> str:
    """Text about the memory limit of this process; empty without one."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return ""
    return f" (the limit of this process, ulimit -v, is {limit / 2**30:.2g} GiB)"


def parsed(words: Sequence[str]) -> Work:
    """Parse the arguments to the work to do.

    Raises:
        ConfigError: no such command or option.
        SystemExit: help was requested, and is printed.
    """
    try:
        app = build(words_to_complete() or words)
        work = app(args=list(words), prog_name="flexcalc", standalone_mode=False)
    except USAGE_ERROR as error:
        from flexcalc.errors import ConfigError

        raise ConfigError(usage_line(error)) from None
    if not callable(work):
        sys.exit(work)
    return work


def usage_line(error: Any) -> str:
    """Typer's message on one line, with a suggestion."""
    text = error.format_message().rstrip(".").replace(". Did", "; did")
    if getattr(error, "possibilities", None):
        near = difflib.get_close_matches(error.option_name, error.possibilities, n=1)
        text = error.message + (f"; did you mean {near[0]}?" if near else "")
    if not text.endswith("?"):
        text = f"{text}; see {getattr(error.ctx, 'command_path', 'flexcalc')} --help"
    return text[0].lower() + text[1:]


def fail(text: str, code: int) -> NoReturn:
    """End with one line on standard error."""
    complain(" ".join(text.split())[:MAX_MESSAGE])
    sys.exit(code)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    """Show a FileWarning as one line on standard error, other warnings as Python does."""
    from flexcalc.files import FileWarning

    if issubclass(category, FileWarning):
        complain(f"warning: {message}")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


if __name__ == "__main__":
    main()
