"""One HTML page for a run folder: `write_report(folder)`."""

from flexcalc.reports.write import write_report

__all__ = ["write_report"]
