"""What decides whether a finding of the study that the benchmark follows holds here.

Pure functions: the stages' rows in, a sentence with our figures and a verdict out.

Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
doi:10.1063/5.0038516.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from flexcalc.results.benchmark_rows import (
    CurveRow,
    CutoffRow,
    JointRow,
    NaiveRow,
    PathRow,
    RegionBin,
    RegionRow,
)

Holds = Literal["yes", "no", "partly", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The chemical formula of the molecule, and the rows of the stages."""

    formula: str = ""
    paths: Sequence[PathRow] = ()
    naive: Sequence[NaiveRow] = ()
    curves: Sequence[CurveRow] = ()
    cutoffs: Sequence[CutoffRow] = ()
    regions: Sequence[RegionRow] = ()
    joint: Sequence[JointRow] = ()


ACCURATE = 1.0
"""Chemical accuracy: kcal/mol, and kcal/mol/angstrom."""
LOWER = 0.8
"""Share of an energy error that a choice has to come down to for having lowered it."""
ALIKE = 0.05
"""Relative difference under which two errors count as the same."""
AZOBENZENE, GLYCINE = "C12H10N2", "C2H5NO2"
STUDIED = ("sgdml", "schnet", "gap")
"""Families that the study finds accurate."""
EXPECTED_TO_CONVERGE = {AZOBENZENE: False, GLYCINE: True}
"""Molecules of the study: whether band and string find a way by themselves."""


class Verdict(NamedTuple):
    """What a finding comes to: our figures in words, and whether it holds."""

    ours: str
    holds: Holds


NOTHING: Holds = "not measured"


def unmeasured(lacking: str) -> Verdict:
    """A finding that these tables say nothing about."""
    return Verdict(f"Needs {lacking}.", NOTHING)


def descriptor_by_mechanism(tables: Tables) -> Verdict:
    """Which descriptor is the better one for sGDML, mechanism by mechanism."""
    found = {}
    for name in _mechanisms(tables.curves):
        rows = [
            row
            for row in tables.curves
            if row.mechanism == name and row.family == "sgdml" and row.by == "joint"
        ]
        by_kind = {
            kind: [row for row in rows if row.hyperparameters.get("descriptor") == kind]
            for kind in ("distances", "extended")
        }
        shared = {row.points for row in by_kind["distances"]} & {
            row.points for row in by_kind["extended"]
        }
        if shared:
            found[name] = [
                min(
                    row.mean_force_rmse_kcal_mol_A
                    for row in by_kind[kind]
                    if row.points == max(shared)
                )
                for kind in ("distances", "extended")
            ]
    if not found:
        return unmeasured("sGDML models with both descriptors")
    text = "; ".join(
        f"{name}: {plain:.2f} kcal/mol/A with distances alone, {more:.2f} with angles and dihedrals"
        for name, (plain, more) in found.items()
    )
    better = {_better(plain, more) for plain, more in found.values()}
    if len(found) < 2:
        return Verdict(f"{text}. A second mechanism is lacking.", NOTHING)
    holds: Holds = "yes" if better >= {"first", "second"} else "partly" if len(better) > 1 else "no"
    return Verdict(f"{text}.", holds)


def oscillating_energies(tables: Tables) -> Verdict:
    """Rises of sGDML's energy error with the size, by either choice of hyperparameters."""
    series: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in sorted(tables.curves, key=lambda row: row.points):
        if row.family == "sgdml":
            one = series.setdefault((row.mechanism, row.model), {"force": [], "joint": []})
            one[row.by].append(row.mean_energy_rmse_kcal_mol)
    long = {key: one for key, one in series.items() if len(one["force"]) > 2}
    if not long:
        return unmeasured("sGDML models of three sizes or more")
    rises = {by: max(_rise(one[by]) for one in long.values()) for by in ("force", "joint")}
    text = (
        f"With the size the energy error rises by up to {rises['force']:.2f} kcal/mol in all when "
        f"hyperparameters are chosen by force, and by {rises['joint']:.2f} when chosen jointly."
    )
    pairs = [pair for one in long.values() for pair in zip(one["force"], one["joint"], strict=True)]
    by_force, jointly = max(pairs, key=lambda pair: pair[0] - pair[1])
    if by_force - jointly > ALIKE * by_force:
        text += f" At one size the joint choice takes it from {by_force:.2f} to {jointly:.2f}."
    least = ALIKE * max(one["force"][0] for one in long.values())
    if rises["force"] <= least:
        return Verdict(text, "partly" if jointly < LOWER * by_force else "no")
    cured = rises["joint"] <= max(least, 0.5 * rises["force"])
    return Verdict(text, "yes" if cured else "partly")


def _rise(errors: Sequence[float]) -> float:
    """The sum of all rises along a curve that should only fall."""
    return float(np.maximum(np.diff(errors), 0.0).sum())


def uneven_schnet(tables: Tables) -> Verdict:
    """SchNet's force error near the minima over that near the top of the path."""
    ratios = {}
    there = any(row.family == "schnet" for row in tables.curves)
    for path in tables.paths if there else ():
        tops = _bins_of(tables, path, "schnet")
        for label, (near, top) in tops.items():
            ratios[f"{path.mechanism}, {label}"] = near / top
    if not ratios:
        return unmeasured("a SchNet model and regions with frames at the minima and at the top")
    text = "; ".join(f"{name}: {ratio:.1f}" for name, ratio in ratios.items())
    largest = max(ratios.values())
    holds: Holds = "yes" if largest >= 3.0 else "partly" if largest > 1.0 + ALIKE else "no"
    return Verdict(f"Force error at the minima over that at the top of the path: {text}.", holds)


def _bins_of(tables: Tables, path: PathRow, family: str) -> dict[str, tuple[float, float]]:
    """For each model of a family: force errors in the bins of the minima and in that of the top."""
    coordinate = path.coordinate
    top = path.progress[int(np.argmax(path.profile_kcal_mol))]
    ends = path.progress[0], path.progress[-1]
    families = {row.model: row.family for row in tables.curves}
    found = {}
    for row in tables.regions:
        asked = row.mechanism == path.mechanism and row.coordinate == coordinate
        if not asked or families.get(row.model) != family:
            continue
        near = [_in_bin(row.bins, value, row.unit) for value in ends]
        there = [error for error in near if error is not None]
        at_top = _in_bin(row.bins, top, row.unit)
        if there and at_top is not None:
            found[row.model] = (max(there), at_top)
    return found


def _in_bin(bins: Sequence[RegionBin], value: float, unit: str) -> float | None:
    """The force error of the bin that a value lies in; of a circle's degrees any turn counts."""
    turns = (-360.0, 0.0, 360.0) if unit == "degrees" else (0.0,)
    for one in bins:
        if any(one.low <= value + turn <= one.high for turn in turns):
            return one.force_rmse_kcal_mol_A
    return None


def gap_floor(tables: Tables) -> Verdict:
    """How far GAP's force error still falls, and what cutoffs change."""
    parts, flat = [], []
    for name in _mechanisms(tables.curves):
        for label, rows in _by_model(tables.curves, name, "gap").items():
            if len(rows) < 2:
                continue
            last, before = rows[-1].mean_force_rmse_kcal_mol_A, rows[-2].mean_force_rmse_kcal_mol_A
            parts.append(
                f"{name}, {label}: {before:.2f} at {rows[-2].points} points and {last:.2f} "
                f"kcal/mol/A at {rows[-1].points}"
            )
            flat.append(last > ACCURATE and last > 0.9 * before)
    if not parts:
        return unmeasured("GAP models of two sizes or more")
    for row in _best_cutoffs(tables.cutoffs):
        parts.append(
            f"{row.mechanism}: the best cutoff is {row.cutoff_A:g} A with "
            f"{row.force_rmse_kcal_mol_A:.2f} kcal/mol/A"
        )
    holds: Holds = "yes" if all(flat) else "partly" if any(flat) else "no"
    return Verdict("; ".join(parts) + ".", holds)


def _best_cutoffs(rows: Sequence[CutoffRow]) -> list[CutoffRow]:
    groups: dict[tuple[str, str], list[CutoffRow]] = {}
    for row in rows:
        groups.setdefault((row.mechanism, row.model), []).append(row)
    return [min(g, key=lambda row: row.force_rmse_kcal_mol_A) for g in groups.values()]


def sensitivity(tables: Tables) -> Verdict:
    """How much the force errors of the folds of one model differ, by family."""
    spreads: dict[str, list[float]] = {}
    for row in tables.curves:
        folds = row.fold_force_rmse_kcal_mol_A
        if row.by == "joint" and len(folds) > 1:
            relative = float(np.std(folds, ddof=1) / np.mean(folds))
            spreads.setdefault(row.family, []).append(relative)
    if len(spreads) < 2:
        return unmeasured("two families or more")
    means = {family: float(np.mean(values)) for family, values in spreads.items()}
    ordered = sorted(means, key=lambda family: -means[family])
    text = ", ".join(f"{family} {100 * means[family]:.1f} %" for family in ordered)
    apart = means[ordered[0]] / max(means[ordered[-1]], 1e-12)
    holds: Holds = "yes" if apart >= 2.0 else "partly" if apart > 1.25 else "no"
    return Verdict(f"Spread of the force error over the folds: {text}.", holds)


def spurious_symmetries(tables: Tables) -> Verdict:
    """Permutations that sGDML recovers from all mechanisms together, and from each alone."""
    together = [(row, row.permutations) for row in tables.joint if row.permutations is not None]
    if not together:
        return unmeasured("an sGDML model of all mechanisms")
    alone: dict[str, list[int]] = {}
    for row in tables.curves:
        if row.permutations is not None:
            alone.setdefault(row.model, []).append(row.permutations)
    pairs = [(row, found, alone[row.model]) for row, found in together if row.model in alone]
    if not pairs:
        return unmeasured("the same sGDML models of single mechanisms")
    text = "; ".join(
        f"{row.model}, {row.budget} points: {found} permutations on the mixed "
        f"set, {min(known)} to {max(known)} on single mechanisms"
        for row, found, known in pairs
    )
    more = [found > max(known) for _, found, known in pairs]
    return Verdict(f"{text}.", "yes" if all(more) else "partly" if any(more) else "no")


def dispersion_raises_barriers(tables: Tables) -> Verdict:
    """What dispersion adds to each barrier."""
    added = {
        row.mechanism: row.barrier_kcal_mol - row.barrier_without_dispersion_kcal_mol
        for row in tables.paths
        if row.barrier_without_dispersion_kcal_mol is not None
    }
    if not added:
        return unmeasured("`dispersion`, the reference without its dispersion")
    text = ", ".join(f"{name} {value:+.2f} kcal/mol" for name, value in added.items())
    high = [value > ACCURATE for value in added.values()]
    return Verdict(f"{text}.", "yes" if all(high) else "partly" if any(high) else "no")


def naive_paths(tables: Tables) -> Verdict:
    """Whether band and string find a way from an interpolation that knows only the ends.

    A way counts as found where the search converged and is no higher than those known.
    """
    rows = tables.naive
    formula = tables.formula
    if not rows:
        return unmeasured("`naive_steps`")
    text = "; ".join(
        f"{row.method} from {row.interpolation}, {row.start} to {row.end}: {_ending(row)}"
        for row in rows
    )
    if formula not in EXPECTED_TO_CONVERGE:
        return Verdict(f"{text}. The study says nothing about {formula}.", NOTHING)
    methods = {row.method for row in rows}
    found = {
        method: any(_is_reasonable(row, tables.paths) for row in rows if row.method == method)
        for method in methods
    }
    as_said = [one == EXPECTED_TO_CONVERGE[formula] for one in found.values()]
    return Verdict(f"{text}.", "yes" if all(as_said) else "partly" if any(as_said) else "no")


def _ending(row: NaiveRow) -> str:
    if not row.converged:
        return "did not converge"
    return f"converged in {row.steps} steps to {row.barrier_kcal_mol:.1f} kcal/mol"


def _is_reasonable(row: NaiveRow, paths: Sequence[PathRow]) -> bool:
    """Whether a search converged to a path that is no higher than the lowest one known."""
    ends = row.start, row.end
    known = [p.barrier_kcal_mol for p in paths if (p.start, p.end) == ends]
    lowest = min(known, default=float("inf"))
    height = row.barrier_kcal_mol
    return row.converged and height is not None and height <= lowest + ACCURATE


def chemical_accuracy(tables: Tables) -> Verdict:
    """From how many points on the energies of each of the study's three families are accurate."""
    parts, reached = [], []
    for family in STUDIED:
        rows = [r for r in tables.curves if r.family == family and r.by == "joint"]
        if not rows:
            continue
        firsts = []
        for name in _mechanisms(rows):
            good = [
                row.points
                for row in rows
                if row.mechanism == name and row.best_energy_rmse_kcal_mol < ACCURATE
            ]
            firsts.append(min(good, default=None))
            shown = "never" if firsts[-1] is None else f"from {firsts[-1]} points"
            parts.append(f"{family}, {name}: {shown}")
        reached.append(all(first is not None and first < 1000 for first in firsts))
    if not parts:
        return unmeasured("sGDML, SchNet or GAP models")
    complete = len(reached) == len(STUDIED) and all(reached)
    holds: Holds = "yes" if complete else "partly" if any(reached) else "no"
    return Verdict(f"Energy error of the best fold under 1 kcal/mol: {'; '.join(parts)}.", holds)


def local_models(tables: Tables) -> Verdict:
    """Whether joined local models do better than single ones with as many training points."""
    parts, best = [], []
    for budget in sorted({row.budget for row in tables.joint}):
        rows = [row for row in tables.joint if row.budget == budget]
        local = [row for row in rows if row.family == "mixture"]
        single = [row for row in rows if row.family != "mixture"]
        if local and single:
            ours, theirs = (
                min(group, key=lambda row: row.force_rmse_kcal_mol_A) for group in (local, single)
            )
            low, other = ours.force_rmse_kcal_mol_A, theirs.force_rmse_kcal_mol_A
            parts.append(
                f"{budget} points: {low:.2f} kcal/mol/A of {ours.model}, {other:.2f} of "
                f"{theirs.model}"
            )
            best.append(low < other)
    if not parts:
        return unmeasured("a mixture of local models and a single one with the same budget")
    holds: Holds = "yes" if all(best) else "partly" if any(best) else "no"
    return Verdict("; ".join(parts) + ".", holds)


def _mechanisms(rows: Iterable[CurveRow]) -> list[str]:
    return list(dict.fromkeys(row.mechanism for row in rows))


def _by_model(rows: Sequence[CurveRow], mechanism: str, family: str) -> dict[str, list[CurveRow]]:
    """The jointly chosen rows of each model of a family, by ascending size."""
    found: dict[str, list[CurveRow]] = {}
    for row in sorted(rows, key=lambda row: row.points):
        if (row.mechanism, row.family, row.by) == (mechanism, family, "joint"):
            found.setdefault(row.model, []).append(row)
    return found


def _better(first: float, second: float) -> str:
    """Which of two errors is the smaller one, or that they are alike."""
    if abs(first - second) <= ALIKE * max(first, second):
        return "neither"
    return "first" if first < second else "second"
