"""The whole job as a script: nothing is written unasked, and figures are those of the commands."""

import json
import warnings
from pathlib import Path

import pytest
from ase.calculators.emt import EMT

import flexcalc as fx
from flexcalc.store import FlexcalcWarning
from tests.systems import INPUTS, molecule

XTB = "xtb:GFN2-xTB"
DIHEDRAL = "dihedral 0 1 2 3"
"""N-C-C=O of glycine."""

IP, IIIP = INPUTS / "glycine-Ip.xyz", INPUTS / "glycine-IIIp.xyz"
MODEL = "train/sgdml.flex"

SPEEDS = {
    *("seconds", "labelling_seconds", "steps_per_second", "ns_per_day"),
    *("training_seconds", "call_ms"),
}
ADDRESSES = {"command", "model", "models", "dataset"}
"""What a script has as objects, and a command line as files."""

pytestmark = [
    pytest.mark.data,
    pytest.mark.filterwarnings("ignore::flexcalc.store.FlexcalcWarning"),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The results of the script by the command's name, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("script")
    ip, iiip = molecule("glycine-Ip"), molecule("glycine-IIIp")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", FlexcalcWarning)
        patch.chdir(folder)
        data = fx.label(XTB, [ip, iiip], frames=240, temperature_K=500, workers=2)
        fit = fx.train(data, "sgdml", points=120, validation_points=60)
        errors = fx.evaluate(fit.model, fit.held_out, by=DIHEDRAL)
        path = fx.path(fit.model, ip, iiip, method=fx.NEB(images=7), relabel=XTB)
        saddle = fx.saddle(fit.model, path)
        moved = fx.md(fit.model, ip, method=fx.Langevin(temperature_K=300), steps=100, replicas=4)
        surface = fx.metad(
            fit.model, ip, coordinate=DIHEDRAL, walkers=2, steps=200, pace=40, colvar_every=10
        )
        profile = fx.umbrella(
            fit.model, ip, coordinate=DIHEDRAL, steps=400, equilibration=200, colvar_every=10
        )
        assert list(folder.iterdir()) == []
        kept = fx.md(
            fit.model, ip, method=fx.Langevin(temperature_K=300), steps=100, replicas=4, output="md"
        )
        assert kept.positions.shape[1:] == (4, 10, 3)
        page = fx.report("md")
    found = {"label": data, "train": fit, "evaluate": errors, "path": path, "saddle": saddle}
    found |= {"md": moved, "metad": surface, "umbrella": profile}
    return folder, found, kept, page


@pytest.fixture(scope="module")
def commands(tmp_path_factory, run):
    """A folder in which the same was done by commands, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("commands")
    sampled = ["--coordinate", DIHEDRAL, "--colvar-every", 10]
    lines = {
        "label": [XTB, IP, IIIP, "--frames", 240, "--temperature-K", 500, "--workers", 2],
        "train": ["label/labels.xyz", "--points", 120, "--validation-points", 60],
        "evaluate": [MODEL, "train/heldout.xyz", "--by", DIHEDRAL],
        "path": [MODEL, IP, IIIP, "--method", "neb", "--images", 7, "--relabel", XTB],
        "saddle": [MODEL, "path/path.xyz"],
        "md": [MODEL, IP, "--steps", 100, "--replicas", 4],
        "metad": [MODEL, IP, "--walkers", 2, "--steps", 200, "--pace", 40, *sampled],
        "umbrella": [MODEL, IP, "--steps", 400, "--equilibration", 200, *sampled],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, words in lines.items():
            assert run(name, *words, "-o", name) == 0
    return folder


def test_a_script_writes_nothing_but_what_was_asked_for(script):
    folder, _, _, page = script
    assert [entry.name for entry in folder.iterdir()] == ["md"]
    written = {entry.name for entry in (folder / "md").iterdir()}
    assert {"run.toml", "results.json", "trajectory.xyz", "scalars.csv", "report.html"} <= written
    assert page.name == "report.html"


@pytest.mark.parametrize(
    "name", ["label", "train", "evaluate", "path", "saddle", "md", "metad", "umbrella"]
)
def test_its_figures_are_those_of_the_command_line_to_the_last_digit(script, commands, name):
    found = json.loads(json.dumps(script[1][name].to_dict()))
    written = json.loads((commands / name / "results.json").read_text())
    without = SPEEDS | ADDRESSES
    assert known(found, without) == known(written, without)
    assert len(known(found, without)) > 2


def known(figures, without):
    """Figures without some keys, in tables too."""
    if isinstance(figures, dict):
        return {key: known(one, without) for key, one in figures.items() if key not in without}
    return [known(one, without) for one in figures] if isinstance(figures, list) else figures


def test_what_a_script_keeps_has_the_figures_of_its_memory(script):
    folder, found, kept, _ = script
    assert (found["md"].positions == kept.positions).all()
    written = json.loads(Path(folder / "md/results.json").read_text())
    assert known(written, SPEEDS | {"command"}) == known(
        json.loads(json.dumps(found["md"].to_dict())), SPEEDS
    )


def test_an_ase_calculator_gives_the_figures_of_its_address():
    address = "ase:ase.calculators.emt:EMT"
    flat, other = fx.read(IP), fx.read(IIIP)
    ways = {
        "md": {"start": flat, "steps": 4, "replicas": 2, "keep_bonds": False},
        "path": {"start": flat, "end": other, "steps": 2, "relax_ends": False, "images": 5},
    }
    without = SPEEDS | ADDRESSES
    for name, options in ways.items():
        ours, theirs = (getattr(fx, name)(model, **options) for model in (EMT(), address))
        assert ours.model == "python:EMT"
        assert known(ours.to_dict(), without) == known(theirs.to_dict(), without)
