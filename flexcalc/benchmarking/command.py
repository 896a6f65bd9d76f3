"""`flexcalc benchmark`: how well model families do on one flexible molecule."""

from __future__ import annotations

from flexcalc.benchmarking import study
from flexcalc.commands.face import command
from flexcalc.config.benchmark import Benchmark
from flexcalc.results.benchmark import BenchmarkResult
from flexcalc.store import Store


@command(Benchmark)
def benchmark(options: Benchmark, store: Store) -> BenchmarkResult:
    """Compare model families on minima, mechanisms and barriers of one flexible molecule.

    The reference is an address and the minima are files, because other processes open them too.
    Without `output` everything is kept in a temporary folder as long as the result exists.

    Returns:
        The barriers, the best models and the findings; `rows` has the tables of all stages.

    Example:
        >>> import tempfile, flexcalc as fx
        >>> from ase.build import molecule
        >>> start = tempfile.mkdtemp() + "/peroxide.xyz"
        >>> molecule("H2O2").write(start)
        >>> turn = {"kind": "scan", "drive": ["dihedral 2 0 1 3"]}
        >>> result = fx.benchmark(
        ...     reference="ase:ase.calculators.emt:EMT",
        ...     minima={"skew": start},
        ...     mechanisms=[{"name": "turn", "start": "skew", "end": "skew", "method": turn}],
        ...     models=[{"label": "sGDML", "family": "sgdml"}],
        ...     coordinates=["dihedral 2 0 1 3"],
        ...     sizes=[10],
        ...     stages=["minima"],
        ... )
        >>> result.rows("minima")[0].name
        'skew'

    Source: Vassilev-Galindo, Fonseca, Poltavsky and Tkatchenko, J. Chem. Phys. 154, 094119 (2021),
    doi:10.1063/5.0038516.
    """
    return study.compare(options, store)
