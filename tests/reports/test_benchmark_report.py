"""The page of a benchmark: whole for any subset of its stages, escaped, and true to its figures."""

import csv
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest

from flexcalc.display import comparison, copying, drawing, styles
from flexcalc.display.svg import house_style, new_figure
from flexcalc.reports import write_report
from flexcalc.reports.folder import RunFolder
from flexcalc.reports.rows import read
from flexcalc.reports.sections.benchmark import CHAPTERS, opening
from flexcalc.reports.sections.benchmark.record import Record, preferred
from flexcalc.results.benchmark_rows import CurveRow, JointRow
from tests.reports import benchmark_folder
from tests.reports.benchmark_folder import MECHANISMS, MODELS, benchmark
from tests.reports.test_report import Page

STAGES = {
    "minima": ["minima"],
    "paths": ["paths"],
    "data": ["data"],
    "curves": ["curves", "criteria", "table", "copies"],
    "cutoffs": ["cutoffs"],
    "regions": ["regions"],
    "barriers": ["barriers"],
    "features": ["features"],
    "joint": ["joint", "copies"],
    "errors": ["explorer"],
    "crash": ["crash"],
    "withheld": ["withheld"],
    "findings": ["findings"],
}
"""The chapters that come of each file."""

HOSTILE = '</script></style><script>alert("1")</script><img src=x onerror=alert(2)>\t\n&\\$_{}'


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmark") / "run"
    benchmark(folder, np.random.default_rng(11))
    return folder


@pytest.fixture
def folder(shelf, tmp_path):
    return shutil.copytree(shelf, tmp_path / "run")


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without the pictures' content, which takes most of the time."""
    monkeypatch.setattr(drawing, "inlined", lambda *_: '<svg role="img"></svg>')


@pytest.fixture
def blank(monkeypatch):
    """Pages without any pictures, for what is asked of the words around them."""
    monkeypatch.setattr(drawing.Drawing, "svg", lambda *_: '<svg role="img"></svg>')


@pytest.fixture
def drawn(monkeypatch):
    """The figures of the comparisons as matplotlib has them, by name."""
    found = {}

    def svg(self, name, _):
        with house_style():
            found[name], axes = new_figure(self.size)
            self.draw(axes)
        return ""

    monkeypatch.setattr(drawing.Drawing, "svg", svg)
    return found


def chapters(page):
    return [one[10:] for one in page.ids if one[10:] in {chapter.anchor for chapter in CHAPTERS}]


def test_a_whole_benchmark_gives_a_well_formed_page_that_needs_nothing_else(page_of_run):
    content = page_of_run("benchmark")
    page = Page(content)
    assert page.open == []
    assert page.mismatched == []
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert chapters(page) == [chapter.anchor for chapter in CHAPTERS]
    for address in page.addresses:
        assert address.startswith(("#", "data:"))
    links = {address[1:] for address in page.addresses if address.startswith("#")}
    links |= set(re.findall(r"url\(#([^)]+)\)", content))
    assert links <= set(page.ids)
    assert "http" not in re.sub(r"xmlns[:\w]*=\"[^\"]*\"", "", content)
    assert len(re.findall(r'<svg [^>]*role="img"', content)) == page.tags["svg"]
    # A viewer's data for each path and for the frames, the frames' errors, and three scripts.
    assert page.tags["script"] == len(MECHANISMS) + 2 + 3
    assert "Not there yet" not in page.text


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_alone_gives_its_own_chapters_and_no_others(stage, folder, blank):
    for path in folder.glob("*.json"):
        if path.stem not in (stage, "results"):
            path.unlink()
    page = Page(write_report(folder).read_text())
    assert page.mismatched == []
    assert chapters(page) == STAGES[stage]


@pytest.mark.parametrize(("ended", "said"), [(True, False), (False, True)])
def test_a_stage_that_nobody_asked_for_is_not_awaited(ended, said, folder, blank):
    (folder / "withheld.json").unlink()
    if not ended:
        (folder / "findings.json").unlink()
    page = Page(write_report(folder).read_text())
    assert ("Not there yet: withheld regions" in page.text) == said


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_stage_takes_only_its_own_chapters_away(stage, folder, blank):
    (folder / f"{stage}.json").unlink()
    page = Page(write_report(folder).read_text())
    assert page.mismatched == []
    gone = set(STAGES[stage]) - {
        one for key, found in STAGES.items() if key != stage for one in found
    }
    assert chapters(page) == [one.anchor for one in CHAPTERS if one.anchor not in gone]


def test_a_benchmark_that_has_only_begun_has_a_page(tmp_path):
    tmp_path.joinpath("run.toml").write_text("# flexcalc benchmark\n")
    assert "No stage of the benchmark has ended yet." in write_report(tmp_path).read_text()


@pytest.mark.inputs
@pytest.mark.parametrize("content", ["[1, null, {}]", "{}", '"x"', "[[", "[{}]", "null"])
def test_a_damaged_file_costs_no_more_than_its_own_chapters(content, folder, blank):
    for stage in STAGES:
        whole = (folder / f"{stage}.json").read_text()
        (folder / f"{stage}.json").write_text(content)
        record = Record.of(RunFolder(folder))
        (folder / f"{stage}.json").write_text(whole)
        lost = {one for one in STAGES[stage] if one != "copies"}
        assert lost.isdisjoint(
            one.anchor for one in CHAPTERS if one.anchor in lost and one.body(record)
        )
    for stage in STAGES:
        (folder / f"{stage}.json").write_text(content)
    assert Page(write_report(folder).read_text()).mismatched == []


@pytest.mark.inputs
@pytest.mark.parametrize("turn", range(2))
def test_a_value_that_is_none_costs_no_page(turn, folder, undrawn):
    """In every file each key of the last row is spoiled in turn, each time in another way."""
    bad = (None, [], {}, "x", -1, True, 10**400, float("nan"), [None, "a"])
    texts = {name: folder.joinpath(f"{name}.json").read_text() for name in STAGES}
    for path in folder.glob("*.json"):
        path.unlink()
    (folder / "run.toml").write_text("# flexcalc benchmark\n")
    for name, text in texts.items():
        content = json.loads(text)
        content = content if name == "errors" else content[-2:]
        row = (content["frames"] if name == "errors" else content)[-1]
        for place, (key, whole) in enumerate(list(row.items())):
            row[key] = bad[(place + 4 * turn) % len(bad)]
            (folder / f"{name}.json").write_text(json.dumps(content))
            record = Record.of(RunFolder(folder))
            assert all(isinstance(one.body(record), str) for one in CHAPTERS)
            row[key] = whole
        (folder / f"{name}.json").unlink()


@pytest.mark.security
def test_text_from_a_benchmark_is_escaped(folder, blank):
    for path in folder.glob("*.json"):
        text = path.read_text()
        for name in (*MODELS, *MECHANISMS, benchmark_folder.DIHEDRAL, "C0-H14", "cis", "yes"):
            text = text.replace(json.dumps(name), json.dumps(HOSTILE + name))
        path.write_text(text)
    page = Page(write_report(folder).read_text())
    assert page.mismatched == []
    assert page.tags["img"] == 0
    # No path is found under such a name, so only the frames have a viewer.
    assert page.tags["script"] == 2 + 3
    assert page.text.count("<script>") >= 20


@pytest.mark.security
@pytest.mark.parametrize("name", ["..", "../../secret", "/etc", "a/b", "", " "])
def test_a_mechanism_cannot_name_a_folder_elsewhere(name, folder):
    assert Record.of(RunFolder(folder)).path(name) is None


def test_the_first_words_tell_the_lowest_joint_error(folder):
    rows = json.loads((folder / "joint.json").read_text())
    for row, error in zip(rows, np.linspace(3, 2, len(rows)), strict=True):
        row |= {"force_rmse_kcal_mol_A": error, "ratio": 4.0}
    # The lowest of all is at the smaller budget, and does not count.
    rows[0]["force_rmse_kcal_mol_A"] = 0.5
    rows[3] |= {"force_rmse_kcal_mol_A": 1.234, "ratio": 1.75}
    (folder / "joint.json").write_text(json.dumps(rows))
    first, rest = opening.sentences(Record.of(RunFolder(folder)))
    assert first.startswith(
        f"As one model for everything, with 600 points in all, {rows[3]['model']} has the lowest "
        "force error, 1.23 kcal/mol/Å, and its worst region is 1.8 times as bad as its best; next "
    )
    assert "Of 2 paths by xtb:GFN2-xTB, inversion has the lowest barrier, 24.4 kcal/mol" in rest
    assert "Of 4 findings of the study that were measured, 2 hold, 1 in part." in rest


def test_rows_that_lack_something_are_counted_and_left_out(tmp_path):
    tmp_path.joinpath("run.toml").write_text("# flexcalc benchmark\n")
    rows = [{"model": "a", "budget": 3}, {"model": "a"}, {"budget": 3}, 7]
    tmp_path.joinpath("joint.json").write_text(json.dumps(rows))
    run = RunFolder(tmp_path)
    assert [(row.model, row.budget) for row in read(run, JointRow)] == [("a", 3)]
    assert run.problems == ["joint.json: 3 of 4 rows lack model, budget and are left out"]


def test_a_family_has_a_colour_and_its_models_lines_of_their_own():
    found = styles.line_styles(
        [
            ("a", "sgdml"),
            ("b", "sgdml"),
            ("SchNet big", ""),
            ("sGDML mixture", ""),
            ("?", ""),
            ("a", ""),
        ]
    )
    assert [look.colour for look in found.values()] == [
        *("model", "model", "reference", "seventh", "eighth"),
    ]
    assert found["a"].line != found["b"].line
    assert found["a"].mark != found["b"].mark


def test_a_model_chosen_twice_is_drawn_by_the_joint_criterion():
    rows = [
        CurveRow.from_damaged({"mechanism": "m", "model": model, "by": by, "points": points})
        for model, by, points in (("a", "force", 1), ("a", "joint", 1), ("b", "force", 1))
    ]
    assert preferred(rows) == rows[1:]


def test_a_curve_runs_along_the_best_fold_and_its_band_to_the_worst(folder, drawn):
    rows = json.loads((folder / "curves.json").read_text())
    mixture = [row for row in rows if row["model"] == "mixture" and row["mechanism"] == "rotation"]
    (folder / "curves.json").write_text(json.dumps(mixture))
    record = Record.of(RunFolder(folder))
    next(one for one in CHAPTERS if one.anchor == "curves").body(record)
    axes = drawn["benchmark-curve-0-force"].axes[0]
    folds = np.array([row["fold_force_rmse_kcal_mol_A"] for row in mixture])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), folds.min(axis=1))
    edge = axes.collections[0].get_paths()[0].vertices
    for points, worst in zip(benchmark_folder.SIZES, folds.max(axis=1), strict=True):
        assert np.isclose(edge[edge[:, 0] == points, 1].max(), worst)


def test_survival_falls_by_each_failure_when_it_happens(drawn):
    times = np.array([5.0, np.nan, 2.0, np.nan])
    comparison.survival([(styles.LineStyle("model"), times)], 10.0).svg("s", "")
    line = drawn["s"].axes[0].lines[0]
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(line.get_xdata(), [0, 2, 5, 10])
    np.testing.assert_allclose(line.get_ydata(), [100, 75, 50, 50])


def test_the_crash_test_says_what_failed_and_of_which_model(folder, blank):
    broken = {"kind": "bond broken", "what": "C3-H9"}
    failures = [{"time_ps": 4.5, **broken}, {"time_ps": 1.25, **broken}, {"kind": "non-finite"}]
    row = {"model": "GAP", "temperature_K": 300, "seeds": 5, "survived": 2, "failures": failures}
    rows = [{**row, "mechanism": "rotation"}, {**row, "mechanism": "joint", "failures": []}]
    (folder / "crash.json").write_text(json.dumps(rows))
    chapter = next(one for one in CHAPTERS if one.anchor == "crash")
    cells = re.findall(r"<t[hd][^>]*>([^<]*)<", chapter.body(Record.of(RunFolder(folder))))
    first, second = (cells.index(name) for name in ("GAP, rotation", "GAP"))
    told = [*("300", "2 of 5", "1.25", "–", "–", "–"), "C3-H9\u00a0×\u00a02, non-finite"]
    assert cells[first + 1 : first + 8] == told
    assert cells[second + 1 : second + 8] == ["300", "2 of 5", *"–––––"]


def test_a_gap_between_bins_stays_empty(folder, drawn):
    """Bins of which none lies between 0 and 40 degrees: no bar and no line over the gap."""
    row = json.loads((folder / "regions.json").read_text())[0]
    row["bins"] = [one for one in row["bins"] if not 0 <= one["from"] < 40][::-1]
    (folder / "regions.json").write_text(json.dumps([row]))
    next(one for one in CHAPTERS if one.anchor == "regions").body(Record.of(RunFolder(folder)))
    axes, behind = drawn["benchmark-region-0-force"].axes
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in behind.patches}
    assert bars[20] == 0
    assert all(bars[round(one["from"] + 10)] == one["population"] for one in row["bins"])
    marks = axes.lines[1]
    errors = {one["from"] + 10: one["force_rmse_kcal_mol_A"] for one in row["bins"]}
    assert dict(zip(marks.get_xdata(), marks.get_ydata(), strict=True)) == errors


def test_a_table_to_copy_reads_back_cell_by_cell():
    head, rows = (
        ("model", "error, Å"),
        [("a\tb\nc", "−1.50"), ("d & e_f", "12\u202f000"), ("g", "–")],
    )
    found = list(csv.reader(copying.tabbed(head, rows).splitlines(), delimiter="\t"))
    assert found == [["model", "error, Å"], ["a b c", "-1.50"], ["d & e_f", "12000"], ["g", ""]]
    latex = copying.latex(head, rows).splitlines()
    assert latex[0] == r"\begin{tabular}{lr}"
    assert r"model & error, \AA{} \\" in latex
    assert r"d \& e\_f & 12000 \\" in latex
    assert copying.latex(("x",), [("\\~^{",)]).splitlines()[4] == (
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\{ \\"
    )
