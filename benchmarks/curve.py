"""Error against number of labels: a table in Markdown and a figure, from what others measured.

    python benchmarks/fewest.py DATA --points 50 100 200 400 --output fewest.json
    python benchmarks/students.py DATA --molecules ethanol azobenzene --output students
    python benchmarks/curve.py fewest.json [--students students/students.json]
        [--molecules ethanol ...] [--picture few-labels.png]

Rows are those of fewest.json without a baseline, on GFN2-xTB and on several baselines, students,
and the published errors of MACE. Errors are mean absolute errors in meV and meV/angstrom, means
over the splits that were measured, with their standard deviations where there are two or more. Of
several kernels or sets of baselines, each is a row of its own; the figure has the best of them.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from fewest import MACE

from flexcalc.display.palette import LIGHT, series
from flexcalc.display.svg import house_style, log_axis

ERRORS = ("energy_mae_meV", "force_mae_meV_A")
NONE, GFN2, COMBINED, STUDENT = "no baseline", "GFN2-xTB", "combined", "student"
PUBLISHED = "MACE, published"
KINDS = (NONE, GFN2, COMBINED, STUDENT, PUBLISHED)
LEGENDS = {
    NONE: "no baseline",
    GFN2: "on GFN2-xTB",
    COMBINED: "on several baselines",
    STUDENT: "student",
    PUBLISHED: "MACE, published",
}
MARKERS = {NONE: "o", GFN2: "s", COMBINED: "D", STUDENT: "^", PUBLISHED: "*"}
WHAT = ("energies", "forces")
AXES = ("energy MAE / meV", "force MAE / meV Å⁻¹")


def kind_of(baselines):
    """What a row of fewest.json is in the table; None of another single baseline."""
    if "," in baselines:
        return COMBINED
    return {"none": NONE, "xtb:GFN2-xTB": GFN2}.get(baselines)


def collected(fewest, students):
    """(molecule, kind, kernel, baselines) -> points -> rows of energy and force errors."""
    found = defaultdict(lambda: defaultdict(list))
    for row in fewest:
        kind = kind_of(row["baselines"])
        if kind is not None:
            own = row["baselines"] if kind == COMBINED else ""
            key = row["molecule"], kind, row.get("kernel", ""), own
            found[key][row["points"]].append([row[name] for name in ERRORS])
    for row in students:
        if row["model"] == "student":
            key = row["molecule"], STUDENT, "", ""
            found[key][row["points"]].append([row[name] for name in ERRORS])
    for molecule in {key[0] for key in found} & MACE.keys():
        found[molecule, PUBLISHED, "", ""][50].append(list(MACE[molecule]))
    return found


def cell(rows):
    """Energy and force error, with their spreads."""
    rows = np.array(rows)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    if len(rows) == 1:
        return " / ".join(f"{value:.1f}" for value in mean)
    return " / ".join(f"{value:.1f} ± {own:.1f}" for value, own in zip(mean, spread, strict=True))


def table(found):
    """Lines of Markdown."""
    sizes = sorted({points for rows in found.values() for points in rows})
    yield "| | | " + " | ".join(f"{points} labels" for points in sizes) + " |"
    yield "|---" * (len(sizes) + 2) + "|"
    for key in sorted(found, key=lambda one: (one[0], KINDS.index(one[1]), *one[2:])):
        molecule, kind, kernel, baselines = key
        more = [part for part in (kernel and f"kernel {kernel}", baselines) if part]
        name = f"{kind} ({', '.join(more)})" if more else kind
        cells = [cell(found[key][points]) if points in found[key] else "" for points in sizes]
        yield f"| {molecule} | {name} | " + " | ".join(cells) + " |"


def lines_of(found, molecule, error):
    """kind -> points -> lowest of the mean errors of a kind, and their spread over the splits."""
    lines = defaultdict(dict)
    for (name, kind, _, _), sizes in found.items():
        if name != molecule:
            continue
        for points, rows in sizes.items():
            values = np.array(rows)[:, error]
            new = float(values.mean()), float(values.std())
            lines[kind][points] = min(new, lines[kind].get(points, new))
    return lines


def draw(found, molecules, picture):
    """A row of panels for each molecule: errors of energies and of forces."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with house_style():
        figure, panels = plt.subplots(
            len(molecules),
            2,
            figsize=(8.6, 0.5 + 3.4 * len(molecules)),
            squeeze=False,
            layout="constrained",
            facecolor=LIGHT["card"],
        )
        for row, molecule in zip(panels, molecules, strict=True):
            for error, (panel, label) in enumerate(zip(row, AXES, strict=True)):
                draw_panel(panel, lines_of(found, molecule, error), label)
                panel.set_title(f"{molecule}: {WHAT[error]}", loc="left", color=LIGHT["ink"])
        handles, names = panels.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=len(names))
        figure.savefig(picture, dpi=120)


def draw_panel(panel, lines, label):
    """The lines of one molecule and one error, with a bar for the spread over the splits."""
    sizes = sorted({points for line in lines.values() for points in line})
    for index, kind in enumerate(KINDS):
        if kind not in lines:
            continue
        points = sorted(lines[kind])
        means, spreads = np.array([lines[kind][one] for one in points]).T
        style = {"color": series(index), "marker": MARKERS[kind], "label": LEGENDS[kind]}
        if kind == PUBLISHED:
            style |= {"linestyle": "", "markersize": 11, "markeredgewidth": 0}
        if kind == STUDENT:
            style |= {"linestyle": (0, (3, 2))}
        panel.plot(points, means, **style)
        panel.errorbar(points, means, spreads, fmt="none", ecolor=series(index), elinewidth=1.2)
    panel.set(xlabel="number of labels", ylabel=label)
    for which in "xy":
        log_axis(panel, which)
    low, high = panel.get_ylim()
    steps = [step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5)]
    panel.set_ylim(
        max(step for step in steps if step <= low), min(step for step in steps if step >= high)
    )
    panel.set_xticks(sizes, [f"{points}" for points in sizes])
    panel.set_xticks([], minor=True)
    panel.grid(visible=False, axis="x")


def main():
    """Print the table, and draw if a picture is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fewest", type=Path)
    parser.add_argument("--students", type=Path)
    parser.add_argument("--molecules", nargs="+")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    students = [] if options.students is None else json.loads(options.students.read_text())
    found = collected(json.loads(options.fewest.read_text()), students)
    molecules = options.molecules or sorted({key[0] for key in found})
    found = {key: rows for key, rows in found.items() if key[0] in molecules}
    print("\n".join(table(found)))
    if options.picture is not None:
        draw(found, molecules, options.picture)


if __name__ == "__main__":
    main()
