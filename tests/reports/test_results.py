"""Results of run folders, also of incomplete ones: what they draw, their tables and their heads."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from flexcalc import files
from flexcalc.dataset import Dataset
from flexcalc.errors import InputError
from flexcalc.reports import write_report
from flexcalc.results.base import labels_of
from flexcalc.results.demo import DemoRun
from flexcalc.results.errors import Errors
from flexcalc.results.ipi import IpiRun
from flexcalc.results.labels import Labels
from flexcalc.results.path import Path as PathResult
from flexcalc.results.saddle import Saddle
from flexcalc.results.training import Training
from flexcalc.store import FolderStore
from flexcalc.units import KCAL_MOL
from tests.systems import molecule

matplotlib.use("Agg")

KINDS = {one.command: one for one in (Labels, Training, Errors, PathResult, IpiRun)}
DAMAGE = (None, True, [], [1, "x"], {}, "<b>", 10**400, float("nan"), float("inf"), [[1.0]])


def of(folder: Path, kind):
    """The result of a run folder."""
    return kind.from_damaged(json.loads((folder / "results.json").read_text()), FolderStore(folder))


def lines(result, **options):
    return result.plot(Figure().add_subplot(), **options).get_lines()


@pytest.mark.parametrize("command", list(KINDS))
def test_a_result_draws_on_the_axes_that_it_is_given(command, run_of):
    axes = Figure().add_subplot()
    assert of(run_of(command), KINDS[command]).plot(axes) is axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()


@pytest.mark.parametrize("command", list(KINDS))
def test_the_head_for_a_notebook_has_the_cards_of_the_report(command, run_of, page_of_run):
    result = of(run_of(command), KINDS[command])
    cards = result.cards()
    assert cards
    for page in (result._repr_html_(), page_of_run(command)):
        for card in cards:
            assert card.value in page
            assert card.unit in page


def test_a_path_draws_its_images_and_those_of_the_reference(run_of):
    found = of(run_of("path"), PathResult)
    above = (found.energies - found.energies[0]) / KCAL_MOL
    theirs = found.relabelled.energies
    drawn = [line.get_ydata() for line in lines(found) if len(line.get_ydata()) == len(above)]
    for energies in (above, (theirs - theirs[0]) / KCAL_MOL):
        assert any(np.allclose(one, energies) for one in drawn)


def test_tables_of_a_path_and_of_labels_have_a_row_per_frame(run_of):
    pytest.importorskip("pandas")
    found = of(run_of("path"), PathResult)
    files.write(
        found.store.folder / "path.xyz",
        Dataset(
            found.to_dataset().numbers,
            found.to_dataset().positions,
            found.energies,
            np.zeros_like(found.to_dataset().positions),
            tags={"image": np.arange(11), "coordinate": np.arange(11.0)},
        ),
    )
    table = found.to_frame()
    assert len(table) == 11
    assert np.allclose(table["error_kcal_mol"], found.profile_error_kcal_mol)
    labels = of(run_of("label"), Labels)
    assert np.array_equal(labels.to_frame()["energy_eV"], labels.energies)


def test_errors_have_a_table_of_models_and_one_of_regions(run_of):
    pytest.importorskip("pandas")
    folder = run_of("evaluate")
    (row,) = json.loads((folder / "errors.json").read_text())
    found = Errors.from_dict({"dataset": "x.xyz", **row}, FolderStore(folder))
    assert len(found.to_frame()) == 1
    table = found.to_frame("regions")
    assert list(table["coordinate"].unique()) == ["dihedral 0 1 2 3", "distance 1 2"]
    assert table["population"].sum() == 2 * found.frames
    assert table["force_rmse_kcal_mol_A"][0] == pytest.approx(
        row["regions"][0]["bins"][0]["force_rmse_kcal_mol_A"]
    )
    with pytest.raises(InputError, match="models, regions"):
        found.to_frame("atoms")


def test_errors_draw_forces_or_energies_against_the_reference(run_of):
    found = of(run_of("evaluate"), Errors)
    assert "force" in found.plot(Figure().add_subplot()).get_xlabel()
    assert "energy" in found.plot(Figure().add_subplot(), "energies").get_xlabel()
    with pytest.raises(InputError, match="forces, energies"):
        found.plot(quantity="heat")
    (found.store.folder / "parity-0.npz").unlink()
    with pytest.raises(InputError, match="no labels to plot"):
        found.plot()


def test_a_training_has_tables_of_models_candidates_and_sizes(run_of):
    pytest.importorskip("pandas")
    found = of(run_of("train"), Training)
    assert list(found.to_frame("candidates")["sigma"]) == [10, 20, 30, 40, 60, 80, 100]
    assert list(found.to_frame("learning curve")["points"]) == [25, 50, 100, 200]
    assert found.to_frame()["sigma"][0] == 20
    with pytest.raises(InputError, match="models, candidates, learning curve"):
        found.to_frame("epochs")


def test_a_training_draws_its_candidates_or_else_its_learning_curve(run_of):
    found = of(run_of("train"), Training)
    assert found.plot(Figure().add_subplot()).get_xlabel() == "kernel length sigma"
    (found.store.folder / "table.json").unlink()
    assert found.plot(Figure().add_subplot()).get_xlabel() == "training points"
    (found.store.folder / "learning.json").unlink()
    with pytest.raises(InputError, match="nothing to plot"):
        found.plot()


def test_a_saddle_draws_the_reaction_coordinate(tmp_path):
    glycine = molecule("glycine-Ip")
    positions = np.repeat(glycine.positions[None], 5, axis=0)
    energies = np.array([0.0, 0.1, 0.2, 0.1, -0.1])
    descent = Dataset(glycine.numbers, positions, energies, tags={"arc": np.linspace(-1, 1, 5)})
    files.write(tmp_path / "irc.xyz", descent)
    files.write(tmp_path / "saddle.xyz", descent[2:3])
    figures = {"gibbs_activation_kcal_mol": 5.2, "half_life_s": 1.5, "saddle_steps": 4}
    found = Saddle.from_damaged(figures | {"low_modes": "harmonic"}, FolderStore(tmp_path))
    (line, *_) = lines(found)
    assert np.allclose(line.get_ydata(), energies / KCAL_MOL)
    assert [one.value for one in found.cards()] == ["5.20", "1.50", "4"]
    assert found.low_modes == "harmonic"
    assert "Saddle of C₂H₅NO₂" in found._repr_html_()
    (tmp_path / "irc.xyz").unlink()
    with pytest.raises(InputError, match="nothing to plot"):
        found.plot()


def test_a_barrier_is_that_of_the_path_and_not_that_of_its_saddle():
    found = {"barrier_model_kcal_mol": 2.0, "barrier_saddle_kcal_mol": 1.0, "steps": 7}
    path = PathResult.from_damaged(found | {"saddle_steps": 3}, FolderStore("."))
    assert [(one.key, one.value) for one in path.key_figures()] == [
        ("barrier_model_kcal_mol", 2.0),
        ("steps", 7),
    ]


def test_i_pi_draws_the_temperature_of_dynamics_and_the_profile_of_a_path(run_of):
    pytest.importorskip("pandas")
    found = of(run_of("ipi"), IpiRun)
    (line, *_) = lines(found)
    assert np.array_equal(line.get_ydata(), found.scalars["temperature_K"])
    assert len(found.to_frame()) == len(found.scalars["step"])
    files.write(found.store.folder / "path.xyz", files.read(run_of("path") / "path.xyz"))
    sought = of(found.store.folder, IpiRun)
    assert "energy" in sought.plot(Figure().add_subplot()).get_ylabel()


def test_a_demo_has_key_figures_of_its_steps(run_of):
    found = of(run_of("demo"), DemoRun)
    assert [(one.label, one.value) for one in found.cards()] == [
        ("force RMSE, per component", "0.610"),
        ("energy RMSE", "0.220"),
        ("barrier on the model", "2.61"),
        ("barrier of the reference", "2.66"),
        ("training points", "200"),
    ]
    assert "C₂H₅NO₂" in found._repr_html_()


@pytest.mark.inputs
@pytest.mark.parametrize("value", DAMAGE, ids=repr)
@pytest.mark.parametrize("command", [*KINDS, "saddle", "demo"])
def test_a_report_of_damaged_results_is_written(command, value, tmp_path):
    kind = {**KINDS, "saddle": Saddle, "demo": DemoRun}[command]
    declared = [*labels_of(kind), *kind.headline, "sigma", "models", "seconds", "saddle_steps"]
    (tmp_path / "results.json").write_text(
        json.dumps({**dict.fromkeys(declared, value), "command": command})
    )
    assert "flexcalc" in write_report(tmp_path).read_text()


@pytest.mark.inputs
@pytest.mark.parametrize("value", DAMAGE, ids=repr)
@pytest.mark.parametrize("inside", ["", "regions", "bins", "elements"])
def test_a_report_of_damaged_errors_is_written(inside, value, run_of):
    folder = run_of("evaluate")
    content = json.loads((folder / "errors.json").read_text())
    row = content[0]
    if inside:
        row = (row["regions"] if inside == "bins" else row[inside])[0]
        row = row["bins"][0] if inside == "bins" else row
    whole = dict(row)
    for key in whole:
        row |= whole | {key: value}
        (folder / "errors.json").write_text(json.dumps(content))
        Errors.from_damaged(content[0], FolderStore(folder))
    row |= dict.fromkeys(whole, value)
    (folder / "errors.json").write_text(json.dumps(content))
    assert "Accuracy" in write_report(folder).read_text()
