"""Metadynamics: the free-energy surface, how it converged, and the verdict."""

from __future__ import annotations

from flexcalc.report import facts, html
from flexcalc.report.folder import RunFolder

TITLE = "Metadynamics"
KEYS = ("method", "walkers", "steps", "time_ps", "temperature_mean_K", "seconds")


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    return html.cards(facts.chosen(folder.results, KEYS))
