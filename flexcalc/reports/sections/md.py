"""Dynamics: temperature and energy of every replica, and what should be conserved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from flexcalc.display import figures, html, molecule, plots
from flexcalc.display.drawing import Drawing
from flexcalc.display.figures import MOST_TRACES
from flexcalc.display.numbers import number
from flexcalc.reports import facts
from flexcalc.reports.exports import columns_of
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import read
from flexcalc.results.coverage import DISTANCES, Coverage
from flexcalc.results.exchange import EXCHANGES, ExchangedPair, Exchanges
from flexcalc.results.trajectory import Trajectory
from flexcalc.units import MEV

TITLE = "Dynamics"
SEVERAL = "replicas have different temperatures, at which they stay while geometries are exchanged"
COLUMNS = ("time_fs", "temperature_K", "potential_eV", "conserved_eV")
MOST_PICTURES = 8
LARGEST_A = 100.0
"""Extent of a geometry in angstrom beyond which no picture is made of it."""


@dataclass(frozen=True, eq=False)
class Trace:
    """The scalars of one replica: figures of all its rows, and the rows that are drawn.

    Args:
        replica: its number.
        time_fs, temperature_K, potential_eV, conserved_eV: (drawn,) as in scalars.csv, the first
            and the last row among them.
        mean_K, spread_K: of the temperature over all rows.
        lowest_eV: potential energy.
        drift_eV_ps: slope of the conserved energy, by least squares.
    """

    replica: int
    time_fs: np.ndarray
    temperature_K: np.ndarray
    potential_eV: np.ndarray
    conserved_eV: np.ndarray
    mean_K: float
    spread_K: float
    lowest_eV: float
    drift_eV_ps: float


@dataclass(frozen=True, eq=False)
class Scalars:
    """What scalars.csv says, whatever its length.

    Args:
        traces: of the replicas that are shown, at most `MOST_TRACES`.
        replicas: how many there are.
        mean_K: temperature of all of them.
        lowest_eV: potential energy of any of them.
        largest_change_eV: of the conserved energy since the start, of any of them.
    """

    traces: list[Trace]
    replicas: int
    mean_K: float
    lowest_eV: float
    largest_change_eV: float

    @property
    def shown(self) -> str:
        """Which replicas are drawn, in words."""
        if self.replicas == 1:
            return "one replica"
        if len(self.traces) == self.replicas:
            return "a line for each replica"
        return f"a line for each of {len(self.traces)} replicas out of {self.replicas}"


def body(folder: RunFolder) -> str:
    """The section as HTML."""
    found = read_scalars(folder)
    intro = (
        "Replicas of the molecule were propagated in one batch, with one evaluation of the model "
        "per step. Without a thermostat the conserved energy is the total energy; with one, the "
        "heat exchanged with the thermostat is subtracted, so that the drift measures the "
        "integration error alone."
    )
    result = facts.typed(Trajectory, folder)
    if found and result.replicas is None:
        result = replace(result, replicas=found.replicas)
    parts = [html.paragraph(intro, "lead"), facts.cards(result, folder)]
    parts.append(html.notes(result.warnings))
    parts.append(facts.coverage_note(result.coverage))
    parts.append(_stopped(folder))
    if (folder.path / "plumed.dat").exists():
        biased = (
            "PLUMED added its bias (plumed.dat) to every replica; its output is in the folder "
            "plumed. The potential energy is that of the model alone; the conserved energy "
            "includes the bias, and rises where hills are added."
        )
        parts.append(html.paragraph(biased))
    if found:
        several = result.exchanges is not None
        parts.append(pictures(found, "md", SEVERAL if several else ""))
        parts.append(_exchanges(folder, result.exchanges))
        parts.append(_distances(folder, result.coverage))
        parts.append(_table(found, folder))
    else:
        parts.append(html.paragraph("No step has been written yet."))
    parts.append(_last_frames(folder))
    return "".join(parts)


def _exchanges(folder: RunFolder, found: Exchanges | None) -> str:
    """How replicas exchanged their temperatures; nothing where they do not."""
    pairs = read(folder, ExchangedPair)
    if not pairs:
        return ""
    folder.tables[ExchangedPair.stage] = columns_of([pair.to_dict() for pair in pairs])
    cells = [
        (
            f"{number(pair.cold_K)} and {number(pair.hot_K)}",
            str(pair.attempts),
            number(None if pair.acceptance is None else 100 * pair.acceptance, 3),
        )
        for pair in pairs
    ]
    caption = (
        "Exchanges of geometries between replicas of neighbouring temperatures. About a fifth or "
        "more should be accepted, so that walkers pass from the lowest temperature to the highest "
        "and back."
    )
    table = html.table(("temperatures, K", "attempts", "accepted, %"), cells, caption)
    return html.heading("Replica exchange") + _walkers(folder, found) + table


def _walkers(folder: RunFolder, found: Exchanges | None) -> str:
    """The temperatures of walkers over time, as far as the table has whole records."""
    if found is None or not found.temperatures_K:
        return ""
    kelvin, columns = np.array(found.temperatures_K), ("time_fs", "replica", "walker")
    blocks = [
        np.stack([block[name] for name in columns]) for block in folder.blocks(EXCHANGES, *columns)
    ]
    if not blocks:
        return ""
    time, replica, walker = np.concatenate(blocks, axis=1)
    good = np.isin(replica, np.arange(len(kelvin)))
    lines = [good & (walker == which) for which in plots.thinned(len(kelvin), MOST_TRACES)]
    drawing = figures.walkers(
        [time[line] for line in lines], [kelvin[replica[line].astype(int)] for line in lines]
    )
    caption = "Temperature of each walker, the geometry that passes from replica to replica."
    svg = drawing.svg("md-walkers", "Temperatures of walkers over time")
    return html.figures(html.figure(svg, caption))


def read_scalars(folder: RunFolder) -> Scalars | None:
    """What scalars.csv says by replica; without a replica column there is one.

    The file is gone through twice, a block at a time: it may be larger than memory.
    """
    sums = _Sums()
    for block in _blocks(folder):
        sums.add(block)
    if not sums.rows.sum():
        return None
    replicas = np.flatnonzero(sums.rows)
    shown = replicas[plots.thinned(len(replicas), MOST_TRACES)]
    chosen = {int(which): plots.thinned(int(sums.rows[which])) for which in shown}
    parts: dict[int, list[np.ndarray]] = {which: [] for which in chosen}
    done = np.zeros(len(sums.rows), dtype=int)
    for block in _blocks(folder):
        owner = _owner(block)
        for which, wanted in chosen.items():
            mine = np.flatnonzero(owner == which)
            here = wanted[(wanted >= done[which]) & (wanted < done[which] + len(mine))]
            rows = mine[here - done[which]]
            parts[which].append(np.stack([block[name][rows] for name in COLUMNS]))
            done[which] += len(mine)
    drawn = {which: np.concatenate(part, axis=1) for which, part in parts.items()}
    return sums.scalars([sums.trace(which, columns) for which, columns in drawn.items()])


def _blocks(folder: RunFolder) -> Iterator[dict[str, np.ndarray]]:
    """The rows of scalars.csv, without those that no run can have written.

    A run writes finite numbers, and rows of all replicas at each step: the number of a replica is
    below the number of rows so far.
    """
    rows = 0
    for block in folder.blocks("scalars.csv", *COLUMNS):
        owner = block.get("replica", np.zeros(len(block["time_fs"])))
        rows += len(owner)
        good = np.isfinite([block[name] for name in COLUMNS]).all(axis=0)
        good &= (owner >= 0) & (owner < rows) & (owner == np.floor(owner))
        problem = "scalars.csv has rows that are left out: no finite numbers, or no such replica"
        if not good.all() and problem not in folder.problems:
            folder.problems.append(problem)
        if good.any():
            yield {name: column[good] for name, column in block.items()}


def _owner(block: Mapping[str, np.ndarray]) -> np.ndarray:
    """The replica (rows,) of each row."""
    return block.get("replica", np.zeros(len(block["time_fs"]))).astype(int)


class _Sums:
    """Sums over the rows of each replica, (replicas,), from which its figures follow.

    Values are taken from those of the first row, so that differences of large numbers keep their
    digits.
    """

    def __init__(self) -> None:
        self.rows = np.zeros(0, dtype=int)
        self.first = np.zeros((len(COLUMNS), 0))
        self.sums = np.zeros((6, 0))
        self.lowest, self.change = np.zeros(0), np.zeros(0)

    def add(self, block: Mapping[str, np.ndarray]) -> None:
        """Take further rows into account."""
        owner = _owner(block)
        self._grow(int(owner.max()) + 1)
        columns = np.stack([block[name] for name in COLUMNS])
        seen, at = np.unique(owner, return_index=True)
        fresh = self.rows[seen] == 0
        self.first[:, seen[fresh]] = columns[:, at[fresh]]
        time, kelvin, _, conserved = columns - self.first[:, owner]
        terms = kelvin, kelvin**2, time, time**2, conserved, time * conserved
        size = len(self.rows)
        self.sums += [np.bincount(owner, term, size) for term in terms]
        self.rows += np.bincount(owner, minlength=size)
        np.minimum.at(self.lowest, owner, columns[2])
        np.maximum.at(self.change, owner, np.abs(conserved))

    def _grow(self, size: int) -> None:
        more = max(0, size - len(self.rows))
        self.rows = np.pad(self.rows, (0, more))
        self.first = np.pad(self.first, ((0, 0), (0, more)))
        self.sums = np.pad(self.sums, ((0, 0), (0, more)))
        self.lowest = np.pad(self.lowest, (0, more), constant_values=np.inf)
        self.change = np.pad(self.change, (0, more))

    def trace(self, which: int, drawn: np.ndarray) -> Trace:
        """The trace of a replica with the rows of `COLUMNS` (4, drawn) that are drawn."""
        rows = self.rows[which]
        kelvin, squares, time, times, conserved, products = self.sums[:, which] / rows
        spread = float(np.sqrt(max(squares - kelvin**2, 0.0)))
        variance = times - time**2
        slope = (products - time * conserved) / variance if variance > 0 else 0.0
        mean = float(self.first[1, which] + kelvin)
        lowest = float(self.lowest[which])
        return Trace(
            which, drawn[0], drawn[1], drawn[2], drawn[3], mean, spread, lowest, float(slope * 1000)
        )

    def scalars(self, traces: list[Trace]) -> Scalars:
        """All of it, with the traces that are shown."""
        there = self.rows > 0
        kelvin = (self.first[1] * self.rows + self.sums[0])[there].sum() / self.rows.sum()
        return Scalars(
            traces,
            int(there.sum()),
            float(kelvin),
            float(self.lowest[there].min()),
            float(self.change[there].max()),
        )


def pictures(found: Scalars, name: str, several_baths: str = "") -> str:
    """Temperature, potential energy and conserved energy over time.

    Args:
        found: what scalars.csv says.
        name: prefix of ids.
        several_baths: where replicas have different temperatures, which have no common mean, a
            sentence that says so.
    """
    traces, lines = found.traces, found.shown
    mean = None if several_baths else found.mean_K
    level = several_baths or f"dashed: the mean, {number(mean, 4)} K"
    time = [trace.time_fs for trace in traces]
    kelvin = [trace.temperature_K for trace in traces]
    potential = [trace.potential_eV for trace in traces]
    conserved = [trace.conserved_eV for trace in traces]

    def drawn(key: str, drawing: Drawing, caption: str) -> str:
        svg = drawing.svg(f"{name}-{key}", f"{key.capitalize()} over time")
        return html.figure(svg, caption, wide=key == "conserved")

    temperature = drawn(
        "temperature",
        figures.temperature(time, kelvin, mean),
        f"Kinetic temperature in K, {lines}; {level}.",
    )
    energy = drawn(
        "potential",
        figures.potential_energy(time, potential, found.lowest_eV),
        "Potential energy in kcal/mol relative to the lowest value, "
        f"{number(found.lowest_eV, 8)} eV; {lines}.",
    )
    total = drawn(
        "conserved",
        figures.conserved_energy(time, conserved),
        f"Change of the conserved energy since the start in meV, {lines}; "
        f"at most {number(found.largest_change_eV / MEV)} meV.",
    )
    return html.figures(temperature, energy) + total


def _distances(folder: RunFolder, coverage: Coverage | None) -> str:
    """The distance to the training data over time; nothing for a potential without a domain."""
    if coverage is None or coverage.limit is None:
        return ""
    columns = ("time_fs", "replica", "distance")
    blocks = [
        np.stack([block[name] for name in columns])
        for block in folder.blocks(DISTANCES, *columns)
        if all(np.isfinite(block[name]).all() for name in columns)
    ]
    if not blocks:
        return ""
    time, replica, distance = np.concatenate(blocks, axis=1)
    replicas = np.unique(replica)
    lines = [replica == which for which in replicas[plots.thinned(len(replicas), MOST_TRACES)]]
    drawing = figures.training_distance(
        [time[line] for line in lines], [distance[line] for line in lines], coverage.limit
    )
    caption = (
        "Distance of each replica to the nearest training point of the model, in multiples of the "
        "largest nearest-neighbour distance within the training set; dashed: the limit "
        f"{number(coverage.limit)}, beyond which errors are not known."
    )
    svg = drawing.svg("md-distance", "Distance to the training data")
    return html.figures(html.figure(svg, caption))


def _table(found: Scalars, folder: RunFolder) -> str:
    frame = folder.first_frame("trajectory.xyz")
    atoms = None if frame is None else len(frame.numbers)
    rows = []
    for trace in found.traces:
        drift = trace.drift_eV_ps / MEV
        rows.append(
            (
                str(trace.replica),
                number(float(trace.time_fs[-1]) / 1000),
                number(trace.mean_K, 4),
                number(trace.spread_K, 3),
                number(drift),
                number(None if atoms is None else drift / atoms),
            )
        )
    head = ("replica", "time, ps", "mean T, K", "std. dev. of T, K", "drift", "drift per atom")
    caption = (
        "Drift is the slope of the conserved energy, in meV per ps, and in meV per atom and ps. "
        "The kinetic temperature of a small molecule fluctuates strongly: by "
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
        return html.heading("Stopped by a guard") + html.paragraph("See log.txt.")
    view = molecule.look(shown.numbers, shown.positions)
    tiles = []
    for index, replica in enumerate(shown.tags["replica"]):
        title = f"Replica {replica} where it was stopped"
        picture = molecule.picture(view, index, f"md-stopped-{index}", title)
        tiles.append((picture, f"replica {replica}", str(shown.tags["reason"][index])))
    caption = (
        f"{len(frames)} geometries at which a guard stopped the run, in stopped.xyz; details are "
        "in log.txt. They are not in the trajectory. Label them and retrain, or loosen the guard, "
        "and run the same command again: it resumes from the state before."
    )
    return html.heading("Stopped by a guard") + html.figure(html.film(tiles), caption)


def _last_frames(folder: RunFolder) -> str:
    frames = folder.last_frames("trajectory.xyz")
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
    caption = "The last frame of each replica, aligned with that of the first."
    return html.heading("Last frames") + html.figure(html.film(tiles), caption)
