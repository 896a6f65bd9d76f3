"""`flexcalc init`: the run file of a command, and the example inputs."""

from __future__ import annotations

from pathlib import Path

from flexcalc.commands.face import tool
from flexcalc.config import COMMANDS, template
from flexcalc.config.tools import Init
from flexcalc.errors import InputError
from flexcalc.files.shipped import copy_inputs


@tool(Init)
def init(options: Init) -> str:
    """Return a commented TOML file with every field of a command, as the command line prints it.

    With `examples=True` the example inputs are copied into a new folder `inputs` instead.

    Returns:
        The text of the file, or a line that says what was copied. Raises InputError where no
        command of that name takes one, or if there is a folder `inputs` already.

    Example:
        >>> import flexcalc as fx
        >>> print(fx.init("md").splitlines()[1])
        # Run it with: flexcalc md md.toml
    """
    known = ", ".join(COMMANDS)
    if options.examples and options.command is None:
        copies = copy_inputs(Path())
        readme = copies[0].with_name("README.md")
        return f"{copies[0].parent}: {len(copies)} files; {readme} says what each is for"
    if options.command is None or options.examples:
        raise InputError(f"init: expected COMMAND or --examples; commands with a file: {known}")
    if options.command not in COMMANDS:
        raise InputError(f"init: no TOML for {options.command!r}; expected one of {known}")
    return template(COMMANDS[options.command], options.command)
