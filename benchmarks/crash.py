"""The crash test by hand: how long dynamics on models lasts, and what breaks first.

    python benchmarks/crash.py sGDML=a.flex BPNN=b.flex --starts minima.xyz \
        --reference xtb:GFN2-xTB --coordinate "dihedral 0 1 2 3" --output crash

Models are LABEL=ADDRESS; the starts are the minima, a frame each (tag `minimum` for names). Each
model runs at every temperature from every seed in one batch, and in a folder of its own, so that
the same command goes on where it was. Writes crash.json, whose rows are those of
`flexcalc benchmark`, and prints them as a table. After the TEA challenge of 2023, Chem. Sci. 16,
3720 and 3738 (2025).
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from flexcalc.benchmarking.endurance import Subject, reference_test, run_test
from flexcalc.benchmarking.survival import measure_survival
from flexcalc.methods.crash import CrashTest
from flexcalc.progress import bar
from flexcalc.results.benchmark_rows import CrashRow
from flexcalc.storage import write_json

HEAD = (
    f"{'model':24s} {'K':>5s} {'whole':>7s} {'first, ps':>9s} {'drift':>8s} "
    f"{'F rmse':>7s} {'F max':>7s} {'F max, before':>13s}  what failed; populations"
)


def main(arguments: argparse.Namespace) -> None:
    test = CrashTest(
        temperatures_K=tuple(arguments.temperature_K),
        seeds=arguments.seeds,
        time_ps=arguments.time_ps,
        timestep_fs=arguments.timestep_fs,
        nve_ps=arguments.nve_ps,
        relabelled_frames=arguments.relabelled_frames,
        reference_seeds=arguments.reference_seeds,
        reference_time_ps=arguments.reference_time_ps,
    )
    folder = arguments.output
    subjects = {}
    for text in arguments.models:
        label, _, address = text.partition("=")
        subjects[label] = Subject(
            test=test,
            address=address,
            starts=arguments.starts,
            coordinates=tuple(arguments.coordinate),
            folder=folder / label,
            seed=arguments.seed,
        )
    own = reference_test(next(iter(subjects.values())), arguments.reference, folder / "reference")
    if own is not None:
        with bar("reference") as progress:
            run_test(own, progress)
    rows: list[CrashRow] = []
    print(HEAD)
    for label, subject in subjects.items():
        with bar(label) as progress:
            survival = measure_survival(subject, arguments.reference, own, progress=progress)
        new = [replace(row, model=label) for row in survival.rows]
        rows += new
        write_json(folder / "crash.json", [row.to_dict() for row in rows])
        for row in new:
            print(line(row), flush=True)


def line(row: CrashRow) -> str:
    """A row of the table."""
    failures = Counter(f"{one.kind} {one.what}".strip() for one in row.failures)
    broken = ", ".join(f"{what} x{count}" for what, count in failures.most_common(5))
    if row.failed_without_thermostat:
        broken += f" (+{row.failed_without_thermostat} without thermostat)"
    first = min((one.time_ps for one in row.failures), default=None)
    whole = f"{row.survived}/{row.seeds}"
    shares = " ".join(f"{name} {share:.2f}" for name, share in row.populations.items())
    exact = row.reference_populations or {}
    theirs = " ".join(f"{name} {share:.2f}" for name, share in exact.items())
    return (
        f"{row.model:24s} {row.temperature_K:5g} {whole:>7s} {number(first, 3):>9s} "
        f"{number(row.drift_meV_atom_ps, 4):>8s} "
        f"{number(row.force_rmse_visited_kcal_mol_A, 2):>7s} "
        f"{number(row.force_max_error_kcal_mol_A, 1):>7s} "
        f"{number(row.force_max_error_before_failure_kcal_mol_A, 1):>13s}  "
        f"{broken or '-'}; {shares or '-'}" + (f" (reference {theirs})" if theirs else "")
    )


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The crash test by hand.")
    parser.add_argument("models", nargs="+", metavar="LABEL=ADDRESS")
    parser.add_argument("--starts", type=Path, required=True)
    parser.add_argument("--reference", default="xtb:GFN2-xTB")
    parser.add_argument("--coordinate", nargs="+", required=True)
    parser.add_argument("--output", type=Path, default=Path("crash"))
    parser.add_argument("--temperature-K", type=float, nargs="+", default=[300.0, 500.0, 750.0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--time-ps", type=float, default=10.0)
    parser.add_argument("--timestep-fs", type=float, default=0.5)
    parser.add_argument("--nve-ps", type=float, default=1.0)
    parser.add_argument("--relabelled-frames", type=int, default=100)
    parser.add_argument("--reference-seeds", type=int, default=2)
    parser.add_argument("--reference-time-ps", type=float)
    parser.add_argument("--seed", type=int, default=0)
    main(parser.parse_args())
