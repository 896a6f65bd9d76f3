"""A command as a function: its options become the signature, its result comes back.

The options of a command are declared once, in its dataclass in `config`. `command` makes the
function that Python users call of it, and of the task behind it; the command line calls the same
one with the options that it has read (`run_command`). `tool` does so for commands that keep
nothing, and so have no folder of their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flexcalc.commands.annotations import Default, Words, type_of
from flexcalc.config import from_values, options
from flexcalc.config.options import Option, paragraph
from flexcalc.config.reading import Table
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, GuardError
from flexcalc.fields import FAMILY, GEOMETRIES
from flexcalc.parallel.batches import ended_by_interrupts
from flexcalc.results.base import Result
from flexcalc.runs import RunFolder
from flexcalc.store import Store

Task = Callable[[Any, Store], Result]
"""What a command does: options and a store -> result."""

Tool = Callable[[Any], Any]
"""What a command does that keeps nothing: options -> anything."""

OUTPUT = "output"
PROGRESS = "progress"
SECTION_OPTIONS = "section_options"

BY_PLACE, BY_NAME = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
FURTHER = inspect.Parameter.VAR_KEYWORD


def command(config: Any, *, positional: Sequence[str] = ()) -> Callable[[Task], Any]:
    """Decorate a task, so that it becomes a function for Python users.

    Args:
        config: dataclass of the command's options.
        positional: options that may be given without their name; by default as on the command
            line.
    """
    order = [name.lstrip("*") for name in positional or config.positional]

    def decorate(task: Task) -> Any:
        def call(
            *given: Any, output: Path | str | None = None, progress: bool = True, **named: Any
        ) -> Result:
            chosen = _chosen(config, task.__name__, order, given, named)
            # Absolute, as the arrays of the result are read when they are asked for.
            folder = None if output is None else Path(output).absolute()
            return _carried_out(task, chosen, folder, progress)

        return _public(call, task, config, order, keeps=True)

    return decorate


def tool(config: Any) -> Callable[[Tool], Any]:
    """Decorate the task of a command that keeps nothing; see `command`.

    Args:
        config: dataclass of the command's options.
    """
    order = [name.lstrip("*") for name in config.positional]

    def decorate(task: Tool) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            return task(_chosen(config, task.__name__, order, given, named))

        return _public(call, task, config, order, keeps=False)

    return decorate


def _public(call: Any, task: Callable, config: Any, order: Sequence[str], *, keeps: bool) -> Any:
    """The function with the name, signature and documentation that users see."""
    call.__name__ = call.__qualname__ = task.__name__
    call.__module__ = task.__module__
    call.__doc__ = _documented(task, config, keeps)
    call.__signature__ = _signature(config, order, task, keeps)
    call.task, call.config, call.keeps = task, config, keeps
    return call


def _chosen(
    config: Any, name: str, order: Sequence[str], given: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """The options of a command from the values of a call."""
    return from_values(config, _as_datasets(config, _bound(name, order, given, named)))


def run_command(
    function: Any,
    chosen: Any,
    folder: Path,
    echo: Callable[[str], None] | None,
    *,
    progress: bool = True,
) -> Result:
    """Run a command for the command line: in a run folder, with printed messages.

    Raises:
        InputError: something that was given cannot be used; nothing is written.
        GuardError: a guard stopped the run; what went before is on disk.
    """
    result = _carried_out(function.task, chosen, folder, progress, echo)
    if result.stopped is not None:
        stop = result.stopped
        raise GuardError(stop.message, stop.reason, stop.replicas, stop.positions)
    return result


@ended_by_interrupts()
def _carried_out(
    task: Task,
    chosen: Any,
    output: Path | str | None,
    progress: bool,
    echo: Callable[[str], None] | None = None,
) -> Result:
    """Run a task in memory, or in a folder with results.json and report."""
    if output is None:
        with Store(progress=progress) as memory:
            return task(chosen, memory)
    from flexcalc.reports import write_report

    folder, target = _places(task.__name__, chosen, Path(output))
    with RunFolder(task.__name__, folder, echo=echo, progress=progress, target=target) as run:
        result = task(run.with_former_defaults(chosen), run)
        if result.stopped is not None:
            run.log(f"stopped: {result.stopped.message}")
            write_report(run.folder)
        elif not run.finished:
            run.say(result.summary())
            run.finish(result.to_dict())
            run.say(f"report: {write_report(run.folder)}")
    return result


def _places(name: str, chosen: Any, output: Path) -> tuple[Path, Path | None]:
    """The run folder, and the model folder that is wanted where the output names one.

    With an output NAME.flex of a command that makes a model, the run folder is NAME-COMMAND.
    """
    if output.suffix == ".flex" and getattr(chosen, "makes_model", False):
        return output.with_name(f"{output.stem}-{name}"), output
    return output, None


def _bound(
    name: str, order: Sequence[str], given: Sequence[Any], named: Mapping[str, Any]
) -> Table:
    """Values by option.

    Raises:
        TypeError: too many values, or one that is given twice.
    """
    if len(given) > len(order):
        raise TypeError(f"{name}() takes {len(order)} positional arguments, got {len(given)}")
    values = dict(zip(order, given, strict=False))
    twice = [key for key in values if key in named]
    if twice:
        raise TypeError(f"{name}() got {twice[0]!r} twice")
    return {key: value for key, value in (values | dict(named)).items() if value is not None}


def _as_datasets(config: Any, values: Mapping[str, Any]) -> Table:
    """The values, with Datasets for geometries that are given as objects."""
    places = {option.name: option for option in options(config) if option.takes == GEOMETRIES}
    return {
        name: as_geometries(value) if name in places else value for name, value in values.items()
    }


def as_geometries(given: Any) -> Any:
    """A Dataset of ase.Atoms, of a list of them, or of a result that has images.

    Files stay as they are, and so do lists of them.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(given, str | Path | Dataset):
        return given
    if hasattr(given, "to_dataset"):
        return given.to_dataset()
    if hasattr(given, "get_positions"):
        return Dataset.from_atoms([given])
    if isinstance(given, Sequence) and given and all(hasattr(a, "get_positions") for a in given):
        return Dataset.from_atoms(given)
    if isinstance(given, Sequence):
        return [as_geometries(entry) for entry in given]
    raise ConfigError(
        "expected geometries (a file, a Dataset, ase.Atoms, a list of them, or a result with "
        f"images), got {type(given).__name__}"
    )


def _signature(config: Any, order: Sequence[str], task: Callable, keeps: bool) -> inspect.Signature:
    """Options as parameters: those in order first, all others by name."""
    known = {option.name: option for option in options(config)}
    parameters = []
    for name in sorted(known, key=lambda name: order.index(name) if name in order else len(order)):
        parameters.append(_parameter(known[name], BY_PLACE if name in order else BY_NAME))
    if keeps:
        place = Words("Path | str | None")
        parameters += [
            inspect.Parameter(OUTPUT, BY_NAME, default=None, annotation=place),
            inspect.Parameter(PROGRESS, BY_NAME, default=True, annotation=bool),
        ]
    if any(option.choices for option in known.values()):
        parameters.append(inspect.Parameter(SECTION_OPTIONS, FURTHER, annotation=Any))
    result = inspect.signature(task).return_annotation
    return inspect.Signature(parameters, return_annotation=Words(result))


def _parameter(option: Option, kind: Any) -> inspect.Parameter:
    """An option as a parameter."""
    default = Default(option.default) if option.choices else option.default
    if option.required:
        default = inspect.Parameter.empty
    words = Words(type_of(option))
    return inspect.Parameter(option.name, kind, default=default, annotation=words)


def _documented(task: Callable, config: Any, keeps: bool) -> str:
    """The docstring of the task, with every option."""
    text = inspect.cleandoc(task.__doc__ or "")
    head, mark, rest = text.partition("\n\nReturns:")
    lines = [head, "", "Args:"]
    for option in options(config):
        lines += paragraph(option.name, option.help)
        if option.choices:
            lines += paragraph("", f"One of {_kinds(option)}; its own options may stand here too.")
    if keeps:
        lines += paragraph(
            OUTPUT,
            "Folder that everything is kept in; an unfinished run in it is resumed. Without it "
            "nothing is written.",
        )
        lines += paragraph(PROGRESS, "Show a progress bar, on a terminal or in a notebook.")
    return "\n".join(lines) + mark + rest + "\n"


def _kinds(option: Option) -> str:
    """What may be given for a section: classes, or names of model families."""
    if FAMILY in getattr(option.annotation, "__metadata__", ()):
        return ", ".join(map(repr, option.choices))
    return " | ".join(sorted({kind.__name__ for kind in option.choices.values()}))
