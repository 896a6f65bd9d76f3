"""What one takes away from a run: plots for a paper, tables as CSV, conformers."""

import csv
import re

import numpy as np
import pytest

import flexcalc as fx
from flexcalc.dataset import Dataset, Provenance
from flexcalc.display import figures, plots
from flexcalc.display.drawing import collected
from flexcalc.display.svg import house_style, lay_out, new_figure
from flexcalc.errors import InputError
from flexcalc.registry import family
from flexcalc.reports import write_report
from flexcalc.reports.exports import columns_of, csv_text, write_figures, write_tables
from tests.systems import GEOMETRY, WATER, springs

POINTS = 72
"""In an inch."""


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def profile():
    along = np.linspace(0, 2, 7)
    return figures.energy_profile(along, 0.1 * np.sin(along), 0.1 * np.sin(along) + 0.01)


def test_a_plot_is_a_file_of_the_width_of_a_column_whose_text_is_text():
    content = profile().files()
    assert sorted(content) == ["pdf", "svg"]
    svg, pdf = content["svg"].decode(), content["pdf"]
    width = float(re.search(r'<svg[^>]* width="([\d.]+)pt"', svg)[1])
    assert width == pytest.approx(3.3 * POINTS)
    assert re.search(r"<text[^>]*>length along the path / Å</text>", svg)
    sizes = {float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", svg)}
    assert sizes == {7.0, 8.0}
    assert pdf.startswith(b"%PDF")
    box = [float(one) for one in re.search(rb"/MediaBox \[ ([\d. ]+) \]", pdf)[1].split()]
    assert box[2] == pytest.approx(3.3 * POINTS)
    assert b"/FontFile2" in pdf  # the font is in it


def test_the_same_plot_gives_the_same_bytes():
    assert profile().files() == profile().files()


def test_a_plot_for_a_column_changes_no_plot_of_the_page():
    before = profile().svg("one", "A profile")
    profile().files()
    assert profile().svg("one", "A profile") == before


def test_drawings_are_collected_where_a_page_is_made_of_them():
    with collected() as found:
        profile().svg("path-profile", "A profile")
    profile().svg("another", "A profile")
    assert found == {"path-profile": profile().files()}


def test_a_small_figure_of_the_page_is_that_of_the_column_and_a_wide_one_is_not():
    small = plots.histogram({"frames": np.arange(9.0)}, "energy")
    for drawing, width in ((small, 3.3), (profile(), 8.6)):
        with collected() as found:
            page = drawing.svg("name", "A title")
        assert found["name"] == drawing.files()
        assert page == drawing.svg("name", "A title")
        box = re.search(r'viewBox="0 0 ([\d.]+) ', page)
        assert float(box[1]) == pytest.approx(width * POINTS)


def laid_out(drawing, column):
    with house_style(column=column):
        figure, axes = new_figure((3.3, 2.4) if column else drawing.size)
        drawing.draw(axes)
        lay_out(figure)
        return figure, axes


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("walkers", [2, 8, 20])
def test_the_numbered_legend_of_walkers_is_not_cut_off(walkers, column):
    nodes = np.linspace(-180, 180, 9)
    ways = [(np.array([0.0, k]), np.array([k, 0.0])) for k in range(walkers)]
    labels = ("dihedral 0 1 2 3 / degrees", "dihedral 1 2 3 4 / degrees", "free energy / kcal")
    values = np.add.outer(nodes**2, nodes**2) / 1e4
    figure, axes = laid_out(plots.surface((nodes, nodes), values, ways, [(0, 0)], labels), column)
    box = axes.get_legend().get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert axes.bbox.y1 <= box.y0 < box.y1 <= figure.bbox.height
    assert axes.bbox.height > 0.4 * 2.4 * figure.dpi
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(names) == min(walkers, 8)
    assert names[0] == ("walker 0, 8 …" if walkers == 20 else "walker 0")


def test_a_label_of_a_legend_that_is_too_long_is_wrapped():
    along = np.arange(4.0)
    name = "permutations of identical atoms yes, length scale of the other descriptor 12.5"
    curves = plots.curves(along, {name: along, "short": -along}, ("sigma", "error"))
    figure, axes = laid_out(curves, True)
    assert axes.get_legend().get_window_extent().x1 <= figure.bbox.width
    assert " ".join(axes.get_legend().get_texts()[0].get_text().split()) == name


@pytest.mark.parametrize("column", [False, True])
def test_the_coordinate_below_the_errors_of_regions_is_not_cut_off(column):
    edges = np.linspace(-180, 180, 19)
    label = "dihedral 0 1 2 3 / degrees"
    shown = figures.errors_by_region(edges, edges[1:] + 200, np.arange(18), (label, "force RMSE"))
    _, axes = laid_out(shown, column)
    (below,) = axes.child_axes
    assert below.xaxis.label.get_text() == label
    assert below.xaxis.label.get_window_extent().y0 >= -1


def test_a_table_is_csv_with_texts_gaps_and_all_digits():
    rows = [{"model": 'a "b", c', "rmse": 1 / 3}, {"model": "d", "points": 2, "rmse": float("nan")}]
    text = csv_text(columns_of(rows))
    assert text == f'model,rmse,points\n"a ""b"", c",{1 / 3!r},\nd,,2\n'


def test_a_folder_that_leads_elsewhere_is_refused(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (run / "tables").symlink_to(other)
    with pytest.raises(InputError, match="leads out of the folder"):
        write_tables(run, {"models": {"model": ["a"]}})
    (run / "figures").symlink_to(other)
    with pytest.raises(InputError, match="leads out of the folder"):
        write_figures(run, {"profile": {"svg": b"<svg/>"}})
    assert list(other.iterdir()) == []


def test_a_run_leaves_its_figures_and_tables_next_to_its_report(with_figures, tmp_path):
    data, kind = springs(60), family("sgdml")(sigma=5.0, symmetry=False)
    trained = fx.train(
        data, [kind, kind], points=20, validation_points=10, output=tmp_path / "train"
    )
    rows = rows_of(tmp_path / "train" / "tables" / "models.csv")
    assert [row["model"] for row in rows] == ["sgdml.flex", "sgdml-2.flex"]
    for row, fit in zip(rows, trained.fits, strict=True):
        assert float(row["training_seconds"]) == fit.training_seconds > 0
        assert float(row["call_ms"]) == fit.call_ms > 0
    page = (tmp_path / "train" / "report.html").read_text()
    assert "time per call" in page
    errors = fx.evaluate(
        trained.model, trained.held_out, by="distance 0 1", output=tmp_path / "errors"
    )
    folder = tmp_path / "errors"
    for name in ("evaluate-0-energies", "evaluate-0-forces", "evaluate-0-regions-0"):
        assert (folder / "figures" / f"{name}.svg").read_bytes().startswith(b"<?xml")
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    energies = rows_of(folder / "tables" / "parity-0-energies.csv")
    assert [float(row["predicted_energy_eV"]) for row in energies] == pytest.approx(
        errors.parity["energies_predicted"], rel=1e-11
    )
    forces = rows_of(folder / "tables" / "parity-0-forces.csv")
    assert len(forces) == 3 * errors.frames
    assert (forces[4]["frame"], forces[4]["atom"]) == ("1", "1")
    for who in ("reference", "predicted"):
        found = [float(forces[4][f"{who}_force_{axis}_eV_A"]) for axis in "xyz"]
        assert found == pytest.approx(errors.parity[f"forces_{who}"][1, 1], rel=1e-11)
    regions = rows_of(folder / "tables" / "regions.csv")
    assert sum(int(row["population"]) for row in regions) == errors.frames
    assert [float(row["from"]) for row in regions] == sorted(float(row["from"]) for row in regions)


def test_conformers_are_shown_and_exported_with_their_energies(tmp_path):
    energies = np.array([-10.0, -9.9, -9.8])
    names = np.array([f"conformer-{rank}" for rank in range(3)])
    frames = Dataset(
        WATER,
        GEOMETRY + np.arange(3)[:, None, None] * 0.01,
        energies,
        tags={"start": names},
        provenance=Provenance(level="toy"),
    )
    fx.write(tmp_path / "conformers.xyz", frames)
    (tmp_path / "run.toml").write_text("# flexcalc label\n")
    page = write_report(tmp_path).read_text()
    assert "conformer-2" in page
    assert "4.61 kcal/mol" in page
    assert page.count('<svg class="molecule"') >= 3
    rows = rows_of(tmp_path / "tables" / "conformers.csv")
    assert [row["conformer"] for row in rows] == names.tolist()
    assert float(rows[2]["energy_kcal_mol"]) == pytest.approx(0.2 * 23.0605, abs=1e-3)


def test_a_report_without_exports_is_a_page_alone(with_figures, tmp_path):
    fx.write(tmp_path / "conformers.xyz", springs(2))
    (tmp_path / "run.toml").write_text("# flexcalc label\n")
    before = sorted(one.name for one in tmp_path.iterdir())
    fx.report(tmp_path, exports=False)
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted([*before, "report.html"])
