"""The command line: `flexcalc COMMAND`; every option is declared in `flexcalc.config`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

HELP = "Machine-learned force fields for flexible molecules: train, check, and move on them."

RUNS = {
    "demo": ("Run the main job on glycine, from nothing to a report.", "run_demo"),
    "label": ("Sample geometries of a molecule and label them with a reference.", "run_label"),
    "train": ("Train one or several model families on a dataset.", "run_train"),
    "evaluate": ("Measure errors of potentials, overall and by region.", "run_evaluate"),
    "path": ("Find a minimum-energy path and check its barrier.", "run_path"),
    "md": ("Run molecular dynamics of many replicas.", "run_md"),
    "ipi": ("Start i-PI and its clients for one i-PI input.", "run_ipi"),
}
"""Commands that fill a run folder: their line in the overview, and their workflow."""

OTHERS = ("serve", "init", "report", "info")


def build(words: Sequence[str]) -> typer.Typer:
    """The application; only the command that `words` name gets its options.

    The overview must answer at once, and options come from modules that import numpy.
    """
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback()(version)
    wanted = next((word for word in words if not word.startswith("-")), None)
    for name, (line, workflow) in RUNS.items():
        function = run_command(name, workflow, words) if name == wanted else not_yet
        app.command(name, help=line)(function)
    app.command("serve", help="Serve a potential to a running i-PI.")(
        serve_command(words) if wanted == "serve" else not_yet
    )
    app.command("init")(init)
    app.command("report")(report)
    app.command("info")(info)
    return app


def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Print the version."""
    if show:
        from flexcalc import __version__

        print(f"flexcalc {__version__}")
        raise typer.Exit


def not_yet() -> NoReturn:
    """Stands in the overview for a command whose options are not needed."""
    raise RuntimeError("a command was called without being built")


def run_command(name: str, workflow: str, words: Sequence[str]) -> Callable[..., None]:
    """A command that reads its config and fills a run folder."""

    def command(arguments: list[str], output: Path, overrides: dict[str, Any]) -> None:
        from flexcalc import workflows

        getattr(workflows, workflow)(configured(name, arguments, overrides), output)

    return with_options(name, command, words, Path(name))


def serve_command(words: Sequence[str]) -> Callable[..., None]:
    """The command `serve`, which has no run folder."""

    def command(arguments: list[str], output: Path | None, overrides: dict[str, Any]) -> None:
        from flexcalc import workflows

        workflows.run_serve(configured("serve", arguments, overrides))

    return with_options("serve", command, words, None)


def configured(name: str, arguments: Sequence[str], overrides: dict[str, Any]) -> Any:
    """The config of a command, from RUN.toml or positional words and from flags."""
    from flexcalc import config

    kind = config.COMMANDS[name]
    if arguments and arguments[0].endswith(".toml"):
        rest = config.positional_values(kind, arguments[1:])
        return config.load(kind, Path(arguments[0]), {**rest, **overrides})
    return config.load(kind, None, {**config.positional_values(kind, arguments), **overrides})


def with_options(
    name: str, command: Callable[..., None], words: Sequence[str], output: Path | None
) -> Callable[..., None]:
    """Give a command the arguments, flags and help texts of its config."""
    from flexcalc import config

    kind = config.COMMANDS[name]
    flags = {
        flag.name.replace("-", "_"): flag
        for flag in config.flags(kind, chosen_sections(words))
        if flag.option.name not in {place.lstrip("*") for place in kind.positional}
    }
    shape = " ".join(
        f"{place[1:].upper()}..." if place.startswith("*") else place.upper()
        for place in kind.positional
    )
    metavar = f"[RUN.toml | {shape}]" if shape else "[RUN.toml]"
    parameters = [
        parameter(
            "arguments", Annotated[list[str], typer.Argument(metavar=metavar, help=READ)], None
        )
    ]
    if output is not None:
        text = "Run folder, made or taken up."
        parameters.append(
            parameter("output", Annotated[Path, typer.Option("--output", "-o", help=text)], output)
        )
    parameters += [flag_parameter(key, flag) for key, flag in flags.items()]

    def run(**given: Any) -> None:
        arguments, folder = given.pop("arguments") or [], given.pop("output", None)
        overrides = {
            place: list(value) if isinstance(value, tuple) else value
            for key, value in given.items()
            if value not in (None, [], ())
            for place in flags[key].places
        }
        command(arguments, folder, overrides)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


READ = "A TOML file (see `flexcalc init`), or what to work on."


def chosen_sections(words: Sequence[str]) -> dict[str, str]:
    """Sections whose kind stands in the words, such as `--family sgdml`."""
    return {word[2:]: following for word, following in pairwise(words) if word == "--family"}


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A keyword parameter for a command's signature."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def flag_parameter(key: str, flag: Any) -> inspect.Parameter:
    """The typer option of a flag; its value goes to the config, which checks it."""
    option, by_kind = flag.option, flag.places[0].endswith(".kind")
    many = option.many if by_kind else "tuple" in str(option.annotation)
    text = option.help
    if by_kind:
        text = f"{text} One of: {', '.join(option.choices)}."
    if not option.required and not by_kind and option.default not in (None, ()):
        text = f"{text} [default: {option.default}]"
    if option.annotation is bool:
        declared = typer.Option(f"--{flag.name}/--no-{flag.name}", help=text)
        return parameter(key, Annotated[bool | None, declared], None)
    kind: Any = list[str] if many else str
    declared = typer.Option(f"--{flag.name}", help=text, metavar=metavar_of(option, by_kind))
    return parameter(key, Annotated[kind | None, declared], None)


def metavar_of(option: Any, by_kind: bool) -> str:
    """What stands behind a flag in the help."""
    shown = str(option.annotation)
    if by_kind:
        return "KIND"
    for part, name in (("int", "INTEGER"), ("float", "NUMBER"), ("Path", "FILE")):
        if part in shown:
            return name
    return "TEXT"


def init(
    command: Annotated[str, typer.Argument(help="A command that takes a TOML file.")],
) -> None:
    """Print a commented TOML file with every field of a command."""
    from flexcalc import workflows

    print(workflows.toml_template(command), end="")


def report(folder: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html, one page, for a run folder."""
    from flexcalc.report import write_report

    print(write_report(folder))


def info(place: Annotated[str, typer.Argument(help="A model, a dataset or a run folder.")]) -> None:
    """Say what a model, a dataset or a run folder is."""
    from flexcalc import workflows

    for key, value in workflows.describe(place).items():
        print(f"{key}: {value}")


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line; errors are one line, and the exit code says what kind."""
    from flexcalc.errors import FlexcalcError

    words = sys.argv[1:] if words is None else words
    try:
        build(words)(args=list(words), prog_name="flexcalc")
    except FlexcalcError as error:
        print(f"flexcalc: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("flexcalc: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
