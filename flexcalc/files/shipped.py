"""The files of inputs/, which come with flexcalc."""

from __future__ import annotations

import shutil
from pathlib import Path

from flexcalc.errors import InputError
from flexcalc.storage import copy_file, fresh_folder

INPUTS = "inputs"
"""Name of the folder, in the installed package, in the source tree and where it is copied to."""


def shipped(name: str = "") -> Path:
    """A file of inputs/, or the folder, from the installed package or from the source tree.

    Raises:
        InputError: there is none of that name.
    """
    package = Path(__file__).parents[1]
    for folder in (package / INPUTS, package.parent / INPUTS):
        if (folder / name).exists():
            return folder / name
    raise InputError(f"{name or INPUTS}: no such file among flexcalc's inputs")


def copy_inputs(parent: Path) -> list[Path]:
    """Copy the folder inputs into another folder, completely or not at all.

    Args:
        parent: the folder that will contain inputs.

    Returns:
        The copies.

    Raises:
        InputError: there is an entry of that name already, or it cannot be written.
    """
    target = parent / INPUTS
    if target.exists() or target.is_symlink():
        raise InputError(
            f"{target}: already exists and is not overwritten; move it away, or run this in "
            "another folder"
        )
    sources = sorted(path for path in shipped().iterdir() if path.is_file())
    try:
        fresh = fresh_folder(target)
        try:
            for source in sources:
                copy_file(source, fresh / source.name)
            fresh.rename(target)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return [target / source.name for source in sources]
