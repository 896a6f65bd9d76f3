"""The folder of a run: its lock, options, log, results, and how it is resumed."""

from flexcalc.runs.folder import RunFolder

__all__ = ["RunFolder"]
