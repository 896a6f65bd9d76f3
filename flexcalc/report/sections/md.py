"""Dynamics: temperature and energy of every replica, and what should be conserved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.report import facts, html, molecule, plots
from flexcalc.report.folder import RunFolder
from flexcalc.report.numbers import number
from flexcalc.report.style import SMALL, WIDE
from flexcalc.units import KCAL_MOL, MEV

TITLE = "Dynamics"
KEYS = (
    *("isotopes", "method", "replicas", "steps", "time_ps"),
    *("temperature_K", "temperature_mean_K", "steps_per_second", "ns_per_day", "seconds"),
)
COLUMNS = ("time_fs", "temperature_K", "potential_eV", "conserved_eV")
MOST_PICTURES = 8
LARGEST_A = 100.0
"""Extent of a geometry in angstrom beyond which no picture is made of it."""


@dataclass(frozen=True, eq=False)
class Trace:
    """The scalars of one replica, arrays (steps,) as in scalars.csv."""

    replica: int
    time_fs: np.ndarray
    temperature_K: np.ndarray
    potential_eV: np.ndarray
    conserved_eV: np.ndarray

    def drift(self) -> float:
        """Slope of the conserved energy in eV a picosecond, by least squares."""
        if len(self.time_fs) < 2 or np.ptp(self.time_fs) == 0:
            return 0.0
        time = (self.time_fs - self.time_fs.mean()) / 1000
        return float(time @ self.conserved_eV / (time @ time))


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    traces = read_traces(folder)
    intro = (
        "Replicas of the molecule moved together on the model, one call a step for all. Without "
        "a thermostat the conserved energy is the total energy; with one, it has the heat that "
        "was exchanged taken off, so that its drift measures the integration alone."
    )
    results = dict(folder.results)
    if traces:
        results.setdefault("replicas", len(traces))
    parts = [html.paragraph(intro, "lead"), html.cards(facts.chosen(results, KEYS))]
    parts.append(_stopped(folder))
    if (folder.path / "plumed.dat").exists():
        biased = (
            "PLUMED added its bias (plumed.dat) to every replica; what it wrote is in the folder "
            "plumed. The potential energy is the model's alone, the conserved energy has the bias, "
            "and rises where hills are added."
        )
        parts.append(html.paragraph(biased))
    if traces:
        parts.append(pictures(traces, "md"))
        parts.append(_table(traces, folder))
    else:
        parts.append(html.paragraph("No step has been written yet."))
    parts.append(_last_frames(folder))
    return "".join(parts)


def read_traces(folder: RunFolder) -> list[Trace]:
    """The traces of scalars.csv by replica; without a replica column there is one."""
    table = folder.table("scalars.csv", *COLUMNS)
    if table is None:
        return []
    replica = table.get("replica", np.zeros(len(table["time_fs"])))
    traces = []
    for which in np.unique(replica):
        rows = replica == which
        traces.append(Trace(int(which), *(table[name][rows] for name in COLUMNS)))
    return traces


def pictures(traces: list[Trace], name: str) -> str:
    """Temperature, potential energy and conserved energy over time.

    Args:
        traces: one a replica.
        name: prefix of ids.
    """
    time = [trace.time_fs / 1000 for trace in traces]
    lowest = min(float(trace.potential_eV.min()) for trace in traces)
    mean = float(np.mean(np.concatenate([trace.temperature_K for trace in traces])))
    potential = [(trace.potential_eV - lowest) / KCAL_MOL for trace in traces]
    conserved = [(trace.conserved_eV - trace.conserved_eV[0]) / MEV for trace in traces]
    largest = max(float(np.abs(one).max()) for one in conserved)
    lines = "a line for each replica" if len(traces) > 1 else "one replica"

    def drawn(key: str, values: list[np.ndarray], label: str, caption: str) -> str:
        wide = key == "conserved"
        svg = plots.traces(
            time,
            values,
            ("time / ps", label),
            f"{name}-{key}",
            f"{key.capitalize()} over time",
            mean=key == "temperature",
            size=WIDE if wide else SMALL,
        )
        return html.figure(svg, caption, wide=wide)

    temperature = drawn(
        "temperature",
        [trace.temperature_K for trace in traces],
        "temperature / K",
        f"Kinetic temperature in K, {lines}; dashed the mean, {number(mean, 4)} K.",
    )
    energy = drawn(
        "potential",
        potential,
        "potential energy / kcal mol⁻¹",
        f"Potential energy in kcal/mol above the lowest met, {number(lowest, 8)} eV; {lines}.",
    )
    total = drawn(
        "conserved",
        conserved,
        "conserved energy, change / meV",
        f"Change of the conserved energy since the start in meV, {lines}; {number(largest)} meV "
        "at most.",
    )
    return html.figures(temperature, energy) + total


def _table(traces: list[Trace], folder: RunFolder) -> str:
    frames = folder.frames("trajectory.xyz")
    atoms = None if frames is None else len(frames.numbers)
    rows = []
    for trace in traces:
        drift = trace.drift() / MEV
        rows.append(
            (
                str(trace.replica),
                number(float(trace.time_fs[-1]) / 1000),
                number(float(trace.temperature_K.mean()), 4),
                number(float(trace.temperature_K.std()), 3),
                number(drift),
                number(None if atoms is None else drift / atoms),
            )
        )
    head = ("replica", "time, ps", "mean T, K", "spread of T, K", "drift", "drift an atom")
    caption = (
        "Drift is the slope of the conserved energy, in meV a ps and in meV an atom a ps. "
        "The kinetic temperature of a small molecule spreads widely, as it must: by "
        "T·√(2/n) for n degrees of freedom."
    )
    return html.heading("By replica") + html.table(head, rows, caption)


def _stopped(folder: RunFolder) -> str:
    """What guards stopped the run for, if they did."""
    frames = folder.frames("stopped.xyz")
    if frames is None:
        return ""
    # What has flown apart altogether cannot be drawn.
    drawable = np.flatnonzero(np.ptp(frames.positions, axis=1).max(axis=1) < LARGEST_A)
    shown = frames[drawable[:MOST_PICTURES]]
    if not len(shown):
        return html.heading("Where a guard stopped it") + html.paragraph("See log.txt.")
    view = molecule.look(shown.numbers, shown.positions)
    tiles = []
    for index, replica in enumerate(shown.tags["replica"]):
        title = f"Replica {replica} where it was stopped"
        picture = molecule.picture(view, index, f"md-stopped-{index}", title)
        tiles.append((picture, f"replica {replica}", str(shown.tags["reason"][index])))
    caption = (
        f"{len(frames)} geometries that a guard has stopped the run for, in stopped.xyz; log.txt "
        "says more. They are not in the trajectory. Label them and train again, or loosen the "
        "guard, and start the same command again: it goes on from the state before."
    )
    return html.heading("Where a guard stopped it") + html.figure(html.film(tiles), caption)


def _last_frames(folder: RunFolder) -> str:
    frames = folder.frames("trajectory.xyz")
    if frames is None:
        return ""
    replica = frames.tags.get("replica", np.zeros(len(frames), dtype=int))
    last = [int(np.flatnonzero(replica == which)[-1]) for which in np.unique(replica)]
    shown = frames[last[:MOST_PICTURES]]
    view = molecule.look(shown.numbers, shown.positions)
    time = shown.tags.get("time_fs")
    tiles = []
    for index, which in enumerate(np.unique(replica)[:MOST_PICTURES]):
        second = "" if time is None else f"{number(float(time[index]) / 1000)} ps"
        title = f"Replica {which} at its last frame"
        tiles.append(
            (molecule.picture(view, index, f"md-{index}", title), f"replica {which}", second)
        )
    caption = "The last frame of each replica, laid on the first replica's and seen from one side."
    return html.heading("Where the replicas are") + html.figure(html.film(tiles), caption)
