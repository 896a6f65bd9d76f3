"""`flexcalc init`: the run file of a command."""

from __future__ import annotations

from flexcalc.commands.face import tool
from flexcalc.config import COMMANDS, Init, template
from flexcalc.errors import InputError


@tool(Init)
def init(options: Init) -> str:
    """Return a commented TOML file with every field of a command, as the command line prints it.

    Returns:
        The text of the file. Raises InputError where no command of that name takes one.

    Example:
        >>> import flexcalc as fx
        >>> print(fx.init("md").splitlines()[1])
        # Run it with: flexcalc md md.toml
    """
    name = options.command
    if name not in COMMANDS:
        raise InputError(f"init: no TOML for {name!r}; expected one of {', '.join(COMMANDS)}")
    return template(COMMANDS[name], name)
