"""A synthetic demo folder: every file that the workflows write, with made-up numbers."""

import json

import numpy as np
import pytest

from flexcalc import files
from flexcalc.analysis.accuracy import Binning, accuracy
from flexcalc.analysis.study import study
from flexcalc.dataset import Dataset, Provenance
from flexcalc.domain import Domain
from flexcalc.files import plumed
from flexcalc.geometry import Coordinate
from flexcalc.methods.bias import Axis
from flexcalc.methods.path import interpolate, match_endpoints
from flexcalc.potential import Evaluation
from flexcalc.reports import write_report
from flexcalc.results.domain_errors import DomainErrors
from flexcalc.results.free_energy import FreeEnergyProfile, FreeEnergySurface
from flexcalc.store import FolderStore, Store
from tests.reports.benchmark_folder import benchmark
from tests.systems import molecule


def ends():
    start, end = molecule("glycine-Ip"), molecule("glycine-IIIp")
    laid, _ = match_endpoints(start.numbers, start.positions, end.positions)
    return start.numbers, start.positions, laid


def results(folder, command, **numbers):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"command": command, **numbers}
    (folder / "results.json").write_text(json.dumps(content))
    (folder / "run.toml").write_text(f"# flexcalc {command}\nseed = 0\n")
    (folder / "log.txt").write_text("started\ndone <b>well</b>\n")


def sampled(frames, rng):
    numbers, start, end = ends()
    share = rng.integers(2, size=frames)
    centres = np.where(share[:, None, None] == 0, start, end)
    return Dataset(
        numbers=numbers,
        positions=centres + rng.normal(scale=0.06, size=centres.shape),
        energies=-500 + 0.03 * rng.chisquare(24, size=frames),
        forces=rng.normal(scale=1.2, size=centres.shape),
        tags={"start": np.where(share == 0, "Ip", "IIIp"), "index": np.arange(frames)},
        provenance=Provenance(level="xtb:GFN2-xTB"),
    )


def label(folder, rng):
    results(folder, "label", reference="xtb:GFN2-xTB", frames=300, quarantined=3, seconds=41.0)
    data = sampled(300, rng)
    files.write(folder / "labels.xyz", data)
    files.write(folder / "geometries.xyz", data)
    bad = Dataset(
        data.numbers,
        data.positions[:3],
        tags={"reason": np.array(["SCF <not> converged & so on", "timed out", "timed out"])},
    )
    files.write(folder / "quarantine.xyz", bad)


def train(folder, rng):
    results(
        folder,
        "train",
        family="sgdml",
        training_points=200,
        validation_points=100,
        sigma=20,
        force_rmse_kcal_mol_A=0.61,
        energy_rmse_kcal_mol=0.22,
    )
    table = [
        {
            "sigma": s,
            "force_rmse_kcal_mol_A": 0.6 + 0.2 * np.log(s / 20) ** 2,
            "energy_rmse_kcal_mol": 0.22 + 0.1 * np.log(s / 25) ** 2,
        }
        for s in (10, 20, 30, 40, 60, 80, 100)
    ]
    (folder / "table.json").write_text(json.dumps(table))
    learning = [
        {"points": n, "force_rmse_kcal_mol_A": 30 / n**0.75, "energy_rmse_kcal_mol": 9 / n**0.7}
        for n in (25, 50, 100, 200)
    ]
    (folder / "learning.json").write_text(json.dumps(learning))
    (folder / "glycine.flex").mkdir()


def evaluate(folder, rng, models=1):
    data = sampled(400, rng)
    found = []
    folder.mkdir(parents=True, exist_ok=True)
    coordinates = [Coordinate.parse("dihedral 0 1 2 3"), Coordinate.parse("distance 1 2")]
    for index in range(models):
        noise = 0.02 * (1 + index)
        prediction = Evaluation(
            data.energies + rng.normal(scale=noise / 2, size=len(data)),
            data.forces + rng.normal(scale=noise, size=data.forces.shape),
        )
        one = accuracy(data, prediction, by=Binning(coordinates=coordinates), rng=rng, resamples=50)
        distances = rng.uniform(0.5, 1.2, len(data))
        domain = Domain(1.0, (0.6, 0.9), (0.01 * (1 + index), 0.02 * (1 + index)))
        off = np.sqrt(np.mean((prediction.forces - data.forces) ** 2, axis=(1, 2)))
        by_domain = DomainErrors.of(domain, distances, off).to_dict()
        found.append({"model": f"model-{index}.flex", **one.to_dict(), **by_domain})
        np.savez(
            folder / f"parity-{index}.npz",
            energies_reference=data.energies,
            energies_predicted=prediction.energies,
            forces_reference=data.forces,
            forces_predicted=prediction.forces,
            distances=distances,
        )
    found[0]["warnings"] = ["the slope smells of <kcal/mol>"]
    (folder / "errors.json").write_text(json.dumps(found))
    files.write(folder / "worst.xyz", data[found[0]["worst_frames"]])
    results(folder, "evaluate", frames=len(data), seconds=3.0)


def path(folder, rng):
    numbers, start, end = ends()
    images = interpolate(start, end, 11)
    share = np.linspace(0, 1, 11)
    energy = -500 + 0.1 * np.sin(np.pi * share) ** 2 + 0.03 * share
    model = Dataset(numbers, images, energy, np.zeros_like(images), {"coordinate": 3.4 * share})
    results(
        folder,
        "path",
        barrier_model_kcal_mol=2.61,
        barrier_reference_kcal_mol=2.66,
        images=11,
        steps=60,
    )
    files.write(folder / "path.xyz", model)
    shifted = energy + 0.01 * np.sin(7 * share)
    files.write(folder / "relabelled.xyz", Dataset(numbers, images, shifted, np.zeros_like(images)))
    lines = [f"{n},{np.exp(-n / 12)},{2.6 + 3 * np.exp(-n / 9)}" for n in range(60)]
    text = "\n".join(["step,force_eV_A,barrier_kcal_mol", *lines]) + "\n"
    (folder / "convergence.csv").write_text(text)


def scalars(path, rng, replicas):
    names = ["step", "time_fs", "temperature_K", "potential_eV", "kinetic_eV", "conserved_eV"]
    if replicas > 1:
        names.insert(2, "replica")
    lines = [",".join(names)]
    for step in range(0, 1000, 5):
        for replica in range(replicas):
            heat = 300 + 60 * rng.normal()
            row = [step, step * 0.5, heat, -500 + 0.1 * rng.random(), 0.4]
            row.append(-499.5 + 1e-4 * rng.normal() + 1e-6 * step)
            if replicas > 1:
                row.insert(2, replica)
            lines.append(",".join(map(str, row)))
    path.write_text("\n".join(lines) + "\n")


def md(folder, rng):
    results(folder, "md", replicas=4, steps=1000, temperature_K=300.0)
    scalars(folder / "scalars.csv", rng, 4)
    data = sampled(8, rng)
    tags = {"replica": np.arange(8) % 4, "time_fs": np.repeat([0.0, 500.0], 4)}
    frames = Dataset(data.numbers, data.positions, data.energies, data.forces, tags)
    files.write(folder / "trajectory.xyz", frames)


def metad(folder, rng, coordinates=2):
    """Walkers that hop about on a made-up surface, and what is read off them."""
    texts = ("dihedral 0 1 2 3", "angle 0 1 2", "angle 1 2 3")[:coordinates]
    chosen = [Coordinate.parse(text) for text in texts]
    axes = (Axis(-180, 180, 60, True), Axis(0, 180, 31), Axis(0, 180, 11))[:coordinates]
    middle = np.array([[-120.0, 60, 90], [60.0, 120, 90]])[:, :coordinates]
    hills_text, colvar_text = plumed.hills_head(chosen, 2), plumed.colvar_head(chosen)
    for step in range(1, 200):
        values = middle[(step // 15 + np.arange(2)) % 2] + rng.normal(
            scale=12, size=(2, coordinates)
        )
        height = np.full(2, 0.01 * np.exp(-step / 150))
        time = 20.0 * step
        flat = (np.zeros(2), np.zeros(2), rng.normal(size=2))
        hills_text += plumed.hills_lines(chosen, time, values, [15.0] * coordinates, height, 8.0)
        colvar_text += plumed.colvar_lines(chosen, time, values, flat, np.full(2, 300.0))
    results(folder, "metad")
    (folder / "HILLS").write_bytes(hills_text)
    (folder / "COLVAR").write_bytes(colvar_text)
    hills = plumed.read_hills(folder / "HILLS", chosen)
    colvar = plumed.read_colvar(folder / "COLVAR", chosen)
    found = study(colvar, hills, axes, 300.0)
    FolderStore(folder).put("surface.npz", found.arrays(chosen))
    shown = FreeEnergySurface(**biased(chosen), method="well-tempered", walkers=2, hills=len(hills))
    results(folder, "metad", **shown.with_study(found).to_dict())


def biased(coordinates):
    """What results of biased dynamics have in common."""
    speed = {"steps_per_second": 100.0, "ns_per_day": 1.0}
    how = {"coordinates": tuple(one.label for one in coordinates), "temperature_K": 300.0}
    return {"store": Store(), "model": "model.flex", "steps": 100, "time_ps": 0.1, **how, **speed}


def umbrella(folder, rng, coordinates=1):
    """Windows on a flat surface, two of which keep apart."""
    pytest.importorskip("pymbar")
    from flexcalc.analysis.umbrella import study
    from flexcalc.methods.dynamics import Langevin
    from flexcalc.methods.umbrella import Umbrella, Windows

    chosen = [Coordinate.parse(text) for text in ("dihedral 0 1 2 3", "angle 0 1 2")[:coordinates]]
    low, high = ([-120.0, 90.0], [120.0, 110.0])
    method = Umbrella.on(
        chosen,
        Langevin(),
        Windows(low=low[:coordinates], high=high[:coordinates], windows=[5, 3][:coordinates]),
    )
    windows = len(method.centres)
    spread = np.array([30.0, 5.0])[:coordinates]
    values = method.centres + spread * rng.normal(size=(60, windows, coordinates))
    values[:, 0] = method.centres[0] - 2 * spread + 0.1 * rng.normal(size=(60, coordinates))
    samples = plumed.WindowSamples(
        np.repeat(np.arange(60.0), windows),
        values.reshape(-1, coordinates),
        np.zeros(60 * windows),
        np.full(60 * windows, 300.0),
        np.tile(np.arange(windows), 60),
    )
    found = study(samples, method, 300.0)
    shown = FreeEnergyProfile(**biased(chosen), windows=windows)
    results(folder, "umbrella", **shown.with_study(found).to_dict())
    FolderStore(folder).put("umbrella.npz", found.arrays())


def ipi(folder, rng):
    results(folder, "ipi", steps=200, force_difference_max_relative=3.1e-13)
    scalars(folder / "scalars.csv", rng, 1)


PARTS = {
    "label": label,
    "train": train,
    "evaluate": evaluate,
    "path": path,
    "md": md,
    "metad": metad,
    "umbrella": umbrella,
    "ipi": ipi,
}
ALONE = {"benchmark": benchmark}
"""What is no step of a demo."""


def demo(folder, rng):
    results(
        folder,
        "demo",
        molecule="glycine",
        force_rmse_kcal_mol_A=0.61,
        energy_rmse_kcal_mol=0.22,
        barrier_model_kcal_mol=2.61,
        barrier_reference_kcal_mol=2.66,
        training_points=200,
        seconds=223.4,
    )
    for name, part in PARTS.items():
        if name != "umbrella":
            part(folder / name, rng)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def run_of(tmp_path, rng):
    """Makes the run folder of one command, or of a whole demo, to do with as one likes."""

    def make(command, **options):
        folder = tmp_path / command
        ({**PARTS, **ALONE, "demo": demo}[command])(folder, rng, **options)
        return folder

    return make


@pytest.fixture(scope="session")
def page_of_run(tmp_path_factory):
    """The text of the page of an undamaged run; each is written once."""
    pages = {}

    def page(command):
        if command not in pages:
            folder = tmp_path_factory.mktemp("pages") / command
            make = {**PARTS, **ALONE, "demo": demo}[command]
            make(folder, np.random.default_rng(11))
            pages[command] = write_report(folder).read_text()
        return pages[command]

    return page
