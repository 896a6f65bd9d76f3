"""Warnings of what is implausible, which results keep too."""

from __future__ import annotations

from collections.abc import Iterable

from flexcalc.store import PlausibilityWarning, Store


def warned(store: Store, *messages: Iterable[str]) -> tuple[str, ...]:
    """Warn of messages of `analysis.plausibility`, and return them for the result."""
    found = tuple(message for part in messages for message in part)
    for message in found:
        store.warn(message, PlausibilityWarning)
    return found
