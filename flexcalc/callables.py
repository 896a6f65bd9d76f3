"""Python functions and classes that a user names as "module:name"."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from flexcalc.errors import AddressError
from flexcalc.query import hint


def load_callable(target: str, scheme: str, what: str = "function") -> Any:
    """Import what "module:name" names.

    Args:
        target: the module is a dotted name or a path that ends in .py.
        scheme: what stands before it, for messages.
        what: what is expected, for messages.

    Raises:
        AddressError: the module cannot be imported, or has nothing of that name to call.
    """
    module, separator, name = target.rpartition(":")
    if not (separator and module and name):
        raise AddressError(
            f"{scheme}:{target}: expected {scheme}:module:{what.capitalize()}, found {target!r}"
        )
    try:
        home = _load(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    except Exception as error:  # a foreign module may raise anything on import
        reason = " ".join(str(error).split())
        raise AddressError(
            f"{scheme}:{target}: the module {module} cannot be imported: "
            f"{type(error).__name__}: {reason}"
        ) from error
    found = getattr(home, name, None)
    if not callable(found):
        known = [entry for entry in vars(home) if callable(getattr(home, entry))]
        near = hint(name, known)
        tail = near if "did you mean" in near else ""
        raise AddressError(f"{scheme}:{target}: {module} has no {what} {name!r}{tail}")
    return found


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"flexcalc_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
