"""One function a command; each file is imported when it is needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flexcalc.workflows.demo import run_demo
    from flexcalc.workflows.evaluate import run_evaluate
    from flexcalc.workflows.export import export_model
    from flexcalc.workflows.info import describe, lines, toml_template
    from flexcalc.workflows.ipi import run_ipi, run_serve

_HOMES = {
    "describe": "info",
    "export_model": "export",
    "lines": "info",
    "run_demo": "demo",
    "run_evaluate": "evaluate",
    "run_ipi": "ipi",
    "run_serve": "ipi",
    "toml_template": "info",
}

__all__ = [
    "describe",
    "export_model",
    "lines",
    "run_demo",
    "run_evaluate",
    "run_ipi",
    "run_serve",
    "toml_template",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
