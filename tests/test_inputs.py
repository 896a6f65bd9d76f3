"""Every file in inputs/ runs, shortened, in the order in which they build on each other."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.cli import main
from flexcalc.config import COMMANDS, load
from flexcalc.config.learn import Learn
from flexcalc.geometry import Coordinate
from flexcalc.tasks.learn.job import prepared
from tests.systems import INPUTS

SAMPLING = ["--equilibration-fs", "20", "--spacing-fs", "4", "--patience", "1"]
RUNS = {
    "label.toml": ["label", "--frames", "40", *SAMPLING, "--workers", "1"],
    "train.toml": [
        *["train", "--points", "20", "--validation-points", "10"],
        # Fitted energies round at 1e-11 of the forces, and differently in batches of beads.
        *["--sigmas", "10", "--learning-curve", "10", "--energies", "labelled"],
    ],
    "learn.toml": [
        *["learn", "--budget", "38", "--checks", "4", "--first", "24", "--batch", "10"],
        *["--committee", "2", "--replicas", "4", "--time-ps", "0.02", "--conformers", "2"],
        *["--workers", "2"],
    ],
    "evaluate.toml": ["evaluate", "--bins", "4", "--frames", "20"],
    "path.toml": ["path", "--images", "5", "--steps", "3"],
    "network.toml": ["network", "--turned", "2", "--max-pairs", "2", "--rounds", "1"],
    "md.toml": ["md", "--steps", "20"],
    "metad.toml": ["metad", "--steps", "20", "--pace", "5"],
    "umbrella.toml": ["umbrella", "--steps", "40", "--equilibration", "10", "--colvar-every", "5"],
    "ipi.toml": ["ipi", "--steps", "3"],
    "ipi-pimd.xml": ["ipi", "--steps", "2"],
    "ipi-remd.xml": ["ipi", "--steps", "2"],
    "ipi-neb.xml": ["ipi", "--steps", "2"],
}
"""Files that are run in a chain, with the command and the flags that shorten it."""

GEOMETRIES = {
    "alanine-dipeptide.xyz": "C6H12N2O2",
    "azobenzene-cis.xyz": "C12H10N2",
    "azobenzene-inversion.xyz": "C12H10N2",
    "azobenzene-trans.xyz": "C12H10N2",
    "ethanol.xyz": "C2H6O",
    "glycine-IIIp.xyz": "C2H5NO2",
    "glycine-Ip.xyz": "C2H5NO2",
    "glycine-path.xyz": "C2H5NO2",
}

MECHANISMS = {
    f"path-azobenzene-{name}.toml" for name in ("rotation", "inversion", "assisted", "optimised")
}
BENCHMARKS = {
    f"benchmark-{molecule}{size}.toml"
    for molecule in ("glycine", "azobenzene")
    for size in ("", "-small")
} | {"benchmark-glycine-tiny.toml"}
LEARNINGS = {
    f"learn-{name}.toml"
    for name in ("glycine-dft", "alanine-dipeptide", "azobenzene", "azobenzene-dft")
}
ELSEWHERE = {
    *("serve.toml", "ipi-nvt.xml", "demo.toml", "label-fhi-aims.toml", "fhi_aims.py"),
    "saddle.toml",
    *MECHANISMS,
    *BENCHMARKS,
    *LEARNINGS,
}
"""Files with a test of their own below."""


@pytest.fixture(scope="module")
def place(tmp_path_factory, own_sockets):
    """A folder with a copy of inputs/, and in it the folders of the runs."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(INPUTS, folder / "inputs", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def output_of(name):
    return Path(Path(name).stem)


def run(name):
    """Run a file and those before it in the chain, each once; returns its results."""
    for earlier, (command, *flags) in RUNS.items():
        folder = output_of(earlier)
        if not (folder / "results.json").exists():
            words = [f"inputs/{earlier}"]
            if earlier.endswith(".xml"):
                start = "glycine-path.xyz" if earlier == "ipi-neb.xml" else "glycine-Ip.xyz"
                words = [f"inputs/{earlier}", "train/sgdml.flex", f"inputs/{start}"]
            main([command, *words, *flags, "--output", str(folder)])
        if earlier == name:
            return json.loads((folder / "results.json").read_text())
    raise KeyError(name)


def test_every_file_is_covered_here_and_in_the_table():
    names = {path.name for path in INPUTS.iterdir() if path.name != "__pycache__"}
    assert names - {"README.md"} == RUNS.keys() | GEOMETRIES.keys() | ELSEWHERE
    table = set(re.findall(r"`([\w-]+\.\w+)`", (INPUTS / "README.md").read_text()))
    assert table == names - {"README.md"}


@pytest.mark.parametrize("name", [name for name in RUNS if name.endswith(".toml")])
def test_the_file_says_how_to_run_it(name):
    top = (INPUTS / name).read_text().split("\n\n")[0]
    assert f"flexcalc {RUNS[name][0]} inputs/{name} --output {output_of(name)}" in top


def test_label_gives_labelled_frames_of_both_minima(here):
    results = run("label.toml")
    # The flag --frames goes to both samplings.
    assert results["frames"] == 80
    assert results["quarantined"] == 0
    labels = flexcalc.read("label/labels.xyz")
    assert set(labels.tags["start"]) == {"glycine-Ip", "glycine-IIIp"}
    assert set(labels.tags["sampling"]) == {"md", "displacement"}


def test_train_makes_a_model_of_those_labels(here):
    results = run("train.toml")
    assert results["training_points"] == 20
    assert len(flexcalc.read("train/heldout.xyz")) == 80 - 20 - 10
    curve = json.loads(Path("train/learning.json").read_text())
    assert [row["points"] for row in curve] == [10, 20]
    assert flexcalc.load("train/sgdml.flex").facts["level"] == "xtb:GFN2-xTB"


def test_evaluate_measures_the_model_by_region(here):
    results = run("evaluate.toml")
    assert results["frames"] == 20
    tables = json.loads(Path("evaluate/errors.json").read_text())
    bins = tables[0]["regions"][0]["bins"]
    assert sum(row["population"] for row in bins) == 20


def test_path_is_checked_by_the_reference(here):
    results = run("path.toml")
    assert results["images"] == 5
    model, reference = flexcalc.read("path/path.xyz"), flexcalc.read("path/relabelled.xyz")
    np.testing.assert_array_equal(model.positions, reference.positions)
    # Above the first image; so short a search on so few points may dip below it on the way.
    barriers = [data.energies.max() - data.energies[0] for data in (model, reference)]
    assert results["barrier_model_kcal_mol"] == pytest.approx(barriers[0] * 23.0605, rel=1e-4)
    assert results["barrier_reference_kcal_mol"] == pytest.approx(barriers[1] * 23.0605, rel=1e-4)


def test_network_says_what_the_reference_makes_of_its_minima(here):
    results = run("network.toml")
    assert results["minima_found"] >= 1
    assert results["minima_compared"] == results["minima_found"] - 1


@pytest.mark.parametrize("name", sorted(MECHANISMS))
def test_a_mechanism_of_azobenzene_runs(here, name):
    """Three images and one step; where half way is depends on what is driven."""
    output = f"azobenzene/{name.removeprefix('path-azobenzene-').removesuffix('.toml')}"
    assert f"path inputs/{name} --output {output}\n" in (INPUTS / name).read_text()
    words = ["path", f"inputs/{name}", "--images", "3", "--steps", "1", "--output", output]
    main(words)
    results = json.loads((here / output / "results.json").read_text())
    assert 15 < results["barrier_model_kcal_mol"] < 40
    path = flexcalc.read(here / output / "path.xyz")
    bend, turn = (
        Coordinate.parse(text).values(path.positions)[1]
        for text in ("angle 5 6 7", "dihedral 5 6 7 8")
    )
    if "inversion" in name or "assisted" in name:
        assert bend > 175
    else:
        assert 95 < turn < 105


def test_mechanisms_are_compared_on_one_page(here):
    """The folder that holds the runs of the test before."""
    for name in sorted(MECHANISMS):
        test_a_mechanism_of_azobenzene_runs(here, name)
    main(["report", "azobenzene"])
    page = (here / "azobenzene/report.html").read_text()
    for name in ("rotation", "inversion", "assisted", "optimised"):
        results = json.loads((here / f"azobenzene/{name}/results.json").read_text())
        assert f'<th scope="row">{name}</th>' in page
        assert f"{results['barrier_model_kcal_mol']:.2f}" in page


def test_md_writes_a_frame_of_every_replica(here):
    assert run("md.toml")["steps"] == 20
    assert list(flexcalc.read("md/trajectory.xyz").tags["replica"]) == [*range(8), *range(8)]


def test_metad_leaves_hills_of_every_walker(here):
    assert run("metad.toml")["hills"] == 8 * 4
    assert len(np.loadtxt("metad/HILLS")) == 8 * 4


@pytest.mark.parametrize("name", sorted(LEARNINGS))
def test_further_learnings_name_a_molecule_and_a_reference_that_can_be_used(name, here):
    job = prepared(load(Learn, Path("inputs", name)))
    assert [one.label for one in job.coordinates] == list(job.options.coordinate)
    assert (not job.baselines.opened) == ("dft" not in name)
    top = (INPUTS / name).read_text().split("\n\n")[0]
    assert f"flexcalc learn inputs/{name} --output {output_of(name)}" in top


def test_the_coordinate_of_azobenzene_is_the_dihedral_of_its_double_bond(here):
    (text,) = prepared(load(Learn, Path("inputs/learn-azobenzene.toml"))).options.coordinate
    ends = [flexcalc.read(f"inputs/azobenzene-{one}.xyz") for one in ("trans", "cis")]
    trans, cis = (abs(Coordinate.parse(text).values(end.positions)[0]) for end in ends)
    assert trans > 170
    assert cis < 20


def test_learn_spends_its_budget_and_no_more(here):
    results = run("learn.toml")
    assert 30 <= results["labels"] + results["quarantined"] <= 38
    assert len(flexcalc.read("learn/labels.xyz")) == results["labels"]
    assert Path("learn/model.flex/model.json").exists()


def test_umbrella_samples_every_window(here):
    results = run("umbrella.toml")
    assert results["windows"] == 24
    assert results["samples"] == 24 * 6
    assert np.load("umbrella/umbrella.npz")["overlap"].shape == (24, 24)


@pytest.mark.parametrize("name", [name for name in RUNS if RUNS[name][0] == "ipi"])
def test_ipi_gets_the_numbers_of_the_direct_call(here, name):
    results = run(name)
    assert results["force_difference_max_relative"] < 1e-11
    assert results["energy_difference_max_relative"] < 1e-11


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_a_benchmark_goes_through_all_its_stages(here, name):
    """With sGDML alone, on a handful of frames, unfinished paths and some steps of a crash test;
    large ones to the paths."""
    output = Path(name).stem
    text = (INPUTS / name).read_text()
    assert f"flexcalc benchmark inputs/{name} --output {output}\n" in text
    for number, few in (("(time|nve)_ps", "0.005"), ("seeds", "1"), ("relabelled_frames", "3")):
        text = re.sub(
            rf"{number} = [\d.]+", lambda found, few=few: f"{found[0].split()[0]} = {few}", text
        )
    (here / "inputs" / name).write_text(text)
    few = ["--frames", "10", "--timestep-fs", "0.5", "--spacing-fs", "0.5", "--images", "11"]
    few += ["--equilibration-fs", "0", "--replicas", "1", "--steps", "1", "--naive-steps", "0"]
    few += ["--sizes", "3", "--folds", "2", "--cutoff-points", "3", "--budgets", "4"]
    few += ["--validation-points", "2", "--workers", "1", "--only", "sGDML", "--no-relax-minima"]
    small = "small" in name or "tiny" in name
    few += [] if small else ["--stages", "minima", "--stages", "paths"]
    main(["benchmark", f"inputs/{name}", *few, "--output", output])
    results = json.loads((here / output / "results.json").read_text())
    assert results["models"] > 1
    assert [row["images"] for row in json.loads((here / output / "paths.json").read_text())]
    if not small:
        return
    rows = json.loads((here / output / "curves.json").read_text())
    assert {(row["model"], row["points"]) for row in rows} == {("sGDML", 3)}
    for row in rows:
        assert len(row["fold_force_rmse_kcal_mol_A"]) == 2
    assert (here / output / "findings.json").exists()


def test_saddle_takes_its_first_step(here):
    """The whole run, half a minute long, is in benchmarks/saddles.py."""
    words = ["--steps", "1", "--hessian-every", "0", "--arc-steps", "2"]
    main(["saddle", "inputs/saddle.toml", *words, "--output", "saddle"])
    results = json.loads(Path("saddle/results.json").read_text())
    assert results["saddle_steps"] == 1
    assert results["imaginary_modes"] >= 1
    assert results["saddle_converged"] is False


def test_serve_answers_an_ipi_started_by_hand(here):
    """As the top of serve.toml says, on a socket name of our own."""
    run("train.toml")
    name = f"inputs-{socket.gethostname()[:20]}-{time.time_ns()}"
    text = (INPUTS / "ipi-nvt.xml").read_text()
    text = text.replace("glycine-nvt", name).replace("2000</total_steps>", "3</total_steps>")
    (here / "inputs/short.xml").write_text(text)
    ipi = subprocess.Popen(
        [Path(sys.executable).parent / "i-pi", "short.xml"],
        cwd=here / "inputs",
        stdout=subprocess.DEVNULL,
    )
    try:
        main(["serve", "inputs/serve.toml", "--unix", name])
        assert ipi.wait(600) == 0
    finally:
        ipi.kill()
        Path(f"/tmp/ipi_{name}").unlink(missing_ok=True)
    lines = (here / "inputs/nvt.out").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 1


def test_demo_file_holds_the_defaults():
    """`make demo` and the file are the same; the demo itself has its own test."""
    assert load(COMMANDS["demo"], INPUTS / "demo.toml") == COMMANDS["demo"]()


def test_fhi_aims_is_called_up_to_its_missing_program(here, monkeypatch, capsys):
    species = here / "species"
    for element in ("01_H", "06_C", "07_N", "08_O"):
        (species / "light").mkdir(parents=True, exist_ok=True)
        (species / "light" / f"{element}_default").write_text("# basis functions\n")
    monkeypatch.setenv("AIMS_COMMAND", "no-such-aims")
    monkeypatch.setenv("AIMS_SPECIES", str(species))
    words = ["label", "inputs/label-fhi-aims.toml", "--frames", "2", *SAMPLING]
    with pytest.raises(SystemExit) as end:
        main([*words, "--output", "aims-labels"])
    assert end.value.code == 1
    assert "No such file or directory: 'no-such-aims'" in capsys.readouterr().err
    control = next((here / "aims").glob("*/control.in")).read_text()
    assert "vdw_correction_hirshfeld" in control


@pytest.mark.parametrize(("name", "formula"), GEOMETRIES.items())
def test_start_geometry_is_the_molecule_it_is_named_for(name, formula):
    from flexcalc.potential import formula as formula_of

    data = flexcalc.read(INPUTS / name)
    frames = 11 if name == "glycine-path.xyz" else 1
    assert (len(data), formula_of(data.numbers)) == (frames, formula)
