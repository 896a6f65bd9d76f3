"""`flexcalc benchmark`: how well model families do on one flexible molecule.

Each part of `STAGES` is a function of the job and the run folder that does what is not done yet
and returns the rows of its JSON file. What another command does, a stage has it do, in a folder
of its own; so every part can be killed and taken up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flexcalc.config import Benchmark
from flexcalc.errors import ConfigError
from flexcalc.workflows.benchmark.crash import crash
from flexcalc.workflows.benchmark.curves import curves, cutoffs
from flexcalc.workflows.benchmark.data import data, subsets
from flexcalc.workflows.benchmark.findings import findings, summary
from flexcalc.workflows.benchmark.job import BenchmarkJob, Stage, opened
from flexcalc.workflows.benchmark.joint import joint
from flexcalc.workflows.benchmark.minima import minima
from flexcalc.workflows.benchmark.paths import paths
from flexcalc.workflows.benchmark.record import write_rows
from flexcalc.workflows.benchmark.testing import barriers, regions
from flexcalc.workflows.benchmark.withheld import withheld
from flexcalc.workflows.runs import open_run

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
"""What a part builds on."""


def run_benchmark(config: Benchmark, output: Path) -> dict[str, Any]:
    """Compare model families on one molecule, stage by stage.

    Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    doi:10.1063/5.0038516.

    Raises:
        InputError: names, files or potentials cannot be used; nothing is written.
    """
    job = opened(config, output)
    wanted = [name for name in STAGES if name in config.stages or not config.stages]
    _check_order(job, wanted)
    with open_run("benchmark", config, output) as here:
        if here.finished is not None:
            return here.finished
        for name in wanted:
            here.say(f"stage {name}")
            write_rows(job, name, STAGES[name](job, here))
        return here.finish(summary(job))


def _check_order(job: BenchmarkJob, wanted: Sequence[str]) -> None:
    """Refuse stages that build on others which are neither done nor to be done.

    Raises:
        ConfigError: says which one is lacking.
    """
    for name in wanted:
        for other in NEEDS.get(name, ()):
            if other not in wanted and not (job.folder / f"{other}.json").exists():
                raise ConfigError(f"stages: {name} needs {other}; run the stage {other} first")


__all__ = ["STAGES", "BenchmarkJob", "run_benchmark"]
