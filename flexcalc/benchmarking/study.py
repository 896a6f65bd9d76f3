"""The stages of a benchmark, in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flexcalc.benchmarking.crash import crash
from flexcalc.benchmarking.curves import curves, cutoffs
from flexcalc.benchmarking.data import data, subsets
from flexcalc.benchmarking.findings import findings, result_of
from flexcalc.benchmarking.job import BenchmarkJob, Stage, open_job
from flexcalc.benchmarking.joint import joint
from flexcalc.benchmarking.minima import minima
from flexcalc.benchmarking.paths import paths
from flexcalc.benchmarking.record import write_rows
from flexcalc.benchmarking.testing import barriers, regions
from flexcalc.benchmarking.withheld import withheld
from flexcalc.config.benchmark import Benchmark
from flexcalc.errors import ConfigError
from flexcalc.results.benchmark import BenchmarkResult
from flexcalc.store import Store

STAGES: Mapping[str, Stage] = {
    "minima": minima,
    "paths": paths,
    "data": data,
    "subsets": subsets,
    "curves": curves,
    "cutoffs": cutoffs,
    "regions": regions,
    "barriers": barriers,
    "joint": joint,
    "crash": crash,
    "withheld": withheld,
    "findings": findings,
}
"""The parts of a benchmark, in their order; each writes NAME.json."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    "paths": ("minima",),
    "data": ("minima", "paths"),
    "subsets": ("data",),
    "curves": ("subsets",),
    "cutoffs": ("subsets",),
    "regions": ("paths", "curves"),
    "barriers": ("paths", "curves"),
    "joint": ("paths", "data"),
    "crash": ("minima", "joint"),
    "withheld": ("minima", "paths", "data"),
}
"""The stages that a stage needs."""


def compare(options: Benchmark, store: Store) -> BenchmarkResult:
    """Compare model families on one molecule, stage by stage.

    Raises:
        InputError: names, files or potentials cannot be used; nothing is written.
    """
    job = open_job(options, store)
    wanted = [name for name in STAGES if name in options.stages or not options.stages]
    _check_order(job, wanted)
    complete = store.begin(options)
    if complete is not None:
        return BenchmarkResult.from_dict(complete, store)
    for name in wanted:
        store.say(f"stage {name}")
        write_rows(job, name, STAGES[name](job))
    return result_of(job)


def _check_order(job: BenchmarkJob, wanted: Sequence[str]) -> None:
    """Refuse stages that need others which are neither done nor asked for.

    Raises:
        ConfigError: names the missing stage.
    """
    for name in wanted:
        for other in NEEDS.get(name, ()):
            if other not in wanted and job.store.get(f"{other}.json") is None:
                raise ConfigError(f"stages: {name} needs {other}; run the stage {other} first")
