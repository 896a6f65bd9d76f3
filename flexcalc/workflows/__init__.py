"""One function a command, and `train` for Python; each file is imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flexcalc.workflows.benchmark import run_benchmark
    from flexcalc.workflows.fitting import run_train, train

_HOMES = {
    "run_benchmark": "benchmark",
    "run_train": "fitting",
    "train": "fitting",
}

__all__ = [
    "run_benchmark",
    "run_train",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
