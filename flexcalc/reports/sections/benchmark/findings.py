"""The study's findings compared with ours."""

from __future__ import annotations

from collections import Counter

from flexcalc.display import html
from flexcalc.reports.sections.benchmark.record import Record

VERDICTS = {
    "yes": ("✓", "holds"),
    "partly": ("◐", "holds in part"),
    "no": ("✗", "does not hold"),
    "not measured": ("–", "not measured"),
}
"""Mark and text of each verdict in findings.json."""


def body(record: Record) -> str:
    """Each finding with its verdict, the result of the study, and the result here."""
    items = []
    for row in record.findings:
        verdict = row.holds
        mark, text = VERDICTS.get(verdict, ("–", verdict or "not measured"))
        kind = verdict.split()[0] if verdict in VERDICTS else "not"
        sides = "".join(
            f"<div><dt>{title}</dt><dd>{html.text(words or '–')}</dd></div>"
            for title, words in (("The study", row.paper), ("Here", row.ours))
        )
        items.append(
            f'<li class="{kind}"><p class="verdict"><span aria-hidden="true">{mark}</span> '
            f"{html.text(text)}</p><h4>{html.text(row.finding)}</h4><dl>{sides}</dl></li>"
        )
    return f'<ul class="findings">{"".join(items)}</ul>' if items else ""


def counted(record: Record) -> Counter[str]:
    """Number of findings by verdict."""
    return Counter(
        row.holds if row.holds in VERDICTS else "not measured" for row in record.findings
    )
