"""Stage: the minima on the reference."""

from __future__ import annotations

from flexcalc import files
from flexcalc.benchmarking.job import BenchmarkJob
from flexcalc.dataset import Dataset, Provenance
from flexcalc.methods.relax import relax
from flexcalc.results.benchmark_rows import MinimumRow
from flexcalc.units import KCAL_MOL


def minima(job: BenchmarkJob) -> list[MinimumRow]:
    """Relax the minima; write minima.xyz, and minima/NAME.xyz for runs that start from one."""
    place = job.folder / "minima.xyz"
    if not place.exists():
        files.write(place, _label_minima(job))
    data = job.minima
    energies, _ = data.labels()
    names = [str(name) for name in data.tags["minimum"]]
    (job.folder / "minima").mkdir(exist_ok=True)
    for index, name in enumerate(names):
        files.write(job.minimum(name), data[[index]])
    above = (energies - energies.min()) / KCAL_MOL
    values = {one.label: one.values(data.positions) for one in job.coordinates}
    return [
        MinimumRow(
            name=name,
            energy_kcal_mol=float(above[index]),
            coordinates={label: float(value[index]) for label, value in values.items()},
        )
        for index, name in enumerate(names)
    ]


def _label_minima(job: BenchmarkJob) -> Dataset:
    """The minima with the reference's labels, relaxed if that is wanted."""
    reference, positions = job.reference(), job.starts.positions
    if job.config.relax_minima:
        state = relax(reference, positions)
        positions, labels = state.positions, state.evaluation
        job.store.say(f"minima: largest force left {state.largest_force():.4f} eV/A")
    else:
        labels = reference(positions)
    level = Provenance(level=job.config.reference)
    return Dataset(
        job.numbers, positions, labels.energies, labels.forces, dict(job.starts.tags), level
    )
