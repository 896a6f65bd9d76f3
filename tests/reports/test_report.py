"""The report page: whole, escaped, self-contained, and there for half a run too."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from flexcalc.display import html, molecule, numbers, palette, plots
from flexcalc.display.viewer import viewer
from flexcalc.errors import InputError
from flexcalc.reports import facts, write_report
from flexcalc.results.labels import Labels

COMMANDS = ("label", "train", "evaluate", "path", "md", "ipi")
VOID = {"meta", "link", "br", "hr", "img", "input"}
SCRIPTS = {"path": 2, "demo": 2}
"""A viewer's data, and once a page the script that shows it."""


class Page(HTMLParser):
    """Ids, addresses, tags that do not match, and the text a reader sees."""

    def __init__(self, content):
        super().__init__()
        self.ids, self.addresses, self.open, self.mismatched = [], [], [], []
        self.tags, self.text = Counter(), ""
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href"):
                self.addresses.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.mismatched.append(tag)

    def handle_data(self, data):
        self.text += data


def page_of(folder):
    return write_report(folder).read_text()


@pytest.mark.parametrize("command", [*COMMANDS, "metad", "umbrella", "demo"])
def test_a_run_folder_gives_a_well_formed_page_that_needs_nothing_else(command, page_of_run):
    content = page_of_run(command)
    page = Page(content)
    assert page.open == []
    assert page.mismatched == []
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    assert content.count("<script") == SCRIPTS.get(command, 0)
    for address in page.addresses:
        assert address.startswith(("#", "data:"))
    links = {address[1:] for address in page.addresses if address.startswith("#")}
    links |= set(re.findall(r"url\(#([^)]+)\)", content))
    assert links <= set(page.ids)
    assert "http" not in re.sub(r"xmlns[:\w]*=\"[^\"]*\"", "", content)
    assert page.tags["svg"] >= 1
    assert len(re.findall(r'<svg [^>]*role="img"', content)) == page.tags["svg"]


def test_windows_are_listed_and_those_that_keep_apart_are_told(run_of, page_of_run):
    text = Page(page_of_run("umbrella")).text
    assert "Too little overlap of windows 0 and 1 (-120 and -60)" in text
    assert "into 2 pieces" in text
    assert "windowcentremeanspread" in text.replace("\n", "")
    two = Page(page_of(run_of("umbrella", coordinates=2)))
    assert two.ids.count("umbrella-profile-title") == 1
    assert "centre, angle 0 1 2" in two.text


def test_a_damaged_file_of_windows_is_told(run_of):
    folder = run_of("umbrella")
    np.savez(folder / "umbrella.npz", profile=np.zeros(3))
    text = Page(page_of(folder)).text
    assert "umbrella.npz lacks a part" in text
    assert "There is no profile yet." in text


def test_a_demo_has_all_sections_and_its_headline(page_of_run):
    page = Page(page_of_run("demo"))
    assert [one for one in page.ids if one in COMMANDS] == list(COMMANDS)
    head = page.text[: page.text.index("Reference data")]
    for shown in ("Glycine, C₂H₅NO₂", "0.610", "0.220", "2.61", "2.66", "200", "3 min 43 s"):
        assert shown in head


def test_every_figure_states_its_numbers(page_of_run):
    """Each caption holds a number or a table of the numbers drawn."""
    content = page_of_run("demo")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", content, flags=re.DOTALL)
    assert len(captions) >= 16
    for caption in captions:
        assert (
            re.search(r"\d|<table>", caption)
            or "energies of the model" in caption
            or ("last frame of each replica" in caption or "Potential energy" in caption)
        )


def test_the_page_is_the_same_when_written_again(run_of, page_of_run):
    assert page_of(run_of("path")) == page_of_run("path")


@pytest.mark.security
def test_text_from_the_folder_is_escaped(run_of):
    hostile = '</style><script>alert("1")</script><img src=x onerror=alert(2)>'
    folder = run_of("demo")
    for name in ("results.json", "label/results.json"):
        results = json.loads((folder / name).read_text())
        results |= {"molecule": hostile, "reference": hostile, hostile: hostile}
        (folder / name).write_text(json.dumps(results))
    errors = json.loads((folder / "evaluate/errors.json").read_text())
    errors = [errors[0] | {"model": hostile, "warnings": [hostile]}, {}]
    errors[0]["regions"][0]["coordinate"] = hostile
    (folder / "evaluate/errors.json").write_text(json.dumps(errors))
    for name in ("log.txt", "run.toml"):
        (folder / "md" / name).write_text(hostile)
    page = Page(page_of(folder))
    assert page.tags["script"] == SCRIPTS["demo"]
    assert page.tags["img"] == 0
    assert page.mismatched == []
    assert page.text.count("<script>") >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_a_page_shows_what_there_is_whichever_file_is_missing_or_cut(command, run_of, tmp_path):
    whole = run_of(command)
    data = [path for path in sorted(whole.iterdir()) if path.suffix not in (".toml", ".txt")]
    for index, path in enumerate(data):
        for kind in ("missing", "cut") if path.is_file() else ("missing",):
            folder = tmp_path / f"{kind}{index}"
            shutil.copytree(whole, folder)
            there = folder / path.name
            if path.is_dir():
                shutil.rmtree(there)
            elif kind == "missing":
                there.unlink()
            else:
                content = there.read_bytes()
                there.write_bytes(content[: len(content) * 2 // 3])
            page = Page(page_of(folder))
            assert page.open == []
            assert command in page.ids


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_that_has_just_begun_gives_a_page(command, run_of, tmp_path):
    """Nothing but the results' first lines: no data file yet."""
    folder = tmp_path / "begun"
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"command": command}))
    assert re.search(r"\b(no|not)\b", Page(page_of(folder)).text)


def test_a_running_demo_says_so_and_shows_its_finished_parts(run_of):
    folder = run_of("demo")
    (folder / "results.json").unlink()
    for name in ("path", "md", "ipi"):
        shutil.rmtree(folder / name)
    page = Page(page_of(folder))
    assert [one for one in page.ids if one in COMMANDS] == ["label", "train", "evaluate"]
    assert "in progress or was interrupted" in page.text


def with_results(folder, **more):
    path = folder / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    return Page(page_of(folder)).text


def test_i_pis_replicas_at_several_temperatures_have_no_common_mean(run_of):
    folder = run_of("ipi")
    assert "dashed: the mean" in with_results(folder)
    ensembles = {"ensembles_K": [300.0, 520.0], "ensembles_mean_K": [301.5, 498.7]}
    text = with_results(folder, **ensembles, ensembles_error_K=[4.4, 7.7])
    assert "dashed: the mean" not in text
    assert "By ensemble" in text
    for shown in ("300", "520", "301.5", "498.7", "4.4", "7.7"):
        assert shown in text
    assert "301.5" in with_results(folder, **ensembles, ensembles_error_K=None)  # earlier versions


def test_i_pis_quantum_nuclei_are_told_apart_from_their_temperature(run_of):
    folder = run_of("ipi")
    assert "Quantum nuclei" not in with_results(folder, temperature_mean_K=299.5)
    text = with_results(
        folder,
        beads=16,
        quantum_kinetic_mean_eV=1.1253,
        quantum_kinetic_error_eV=0.0042,
        classical_kinetic_eV=0.38778,
        gyration_mean_A=0.177,
    )
    for shown in ("Quantum nuclei", "of 16 beads", "1.1253", "0.0042", "0.38778", "0.177"):
        assert shown in text
    assert "mean temperature of the ring polymers" in text


def test_i_pis_clients_that_failed_are_in_the_report(run_of):
    folder = run_of("ipi")
    assert "clients failed" not in with_results(folder, clients=3, clients_lost=0)
    assert "2 of 3 clients failed" in with_results(folder, clients_lost=2)


def test_a_damaged_file_is_named_on_the_page(run_of):
    folder = run_of("evaluate")
    (folder / "parity-0.npz").write_bytes(b"no archive")
    (folder / "errors.json").write_text("{")
    text = Page(page_of(folder)).text
    assert "parity-0.npz cannot be read" in text
    assert "errors.json is not JSON" in text


def test_several_models_are_compared(run_of):
    folder = run_of("evaluate", models=3)
    page = Page(page_of(folder))
    assert page.text.count("model-2.flex") >= 2
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


def test_several_families_are_compared(run_of):
    folder = run_of("train")
    for name in ("table", "learning"):
        shutil.copy(folder / f"{name}.json", folder / f"{name}-gap.json")
    results = json.loads((folder / "results.json").read_text())
    rows = [{"model": f"{name}.flex", "force_rmse_kcal_mol_A": 0.5} for name in ("sgdml", "gap")]
    (folder / "results.json").write_text(json.dumps(results | {"models": rows}))
    page = Page(page_of(folder))
    assert "gap.flex" in page.text
    assert page.text.count("Learning curve: errors") == 2
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


def test_folds_are_shown_with_their_mean_and_spread(run_of):
    """0.6, 0.7 and 0.8 have the mean 0.7 and the sample deviation 0.1."""
    folder = run_of("train")
    rows = [
        {"fold": n, "force_rmse_kcal_mol_A": 0.6 + 0.1 * n, "energy_rmse_kcal_mol": 0.2 + 0.05 * n}
        for n in range(3)
    ]
    (folder / "folds.json").write_text(json.dumps(rows))
    page = Page(page_of(folder))
    assert "force RMSE 0.700 ± 0.100, energy RMSE 0.250 ± 0.0500" in page.text
    assert page_of(folder).count("<svg") == 3


def test_a_refinement_shows_its_rounds_and_the_clusters(run_of):
    folder = run_of("train")
    key = "force_rmse_by_cluster_kcal_mol_A"
    rounds = [
        {"points": 50, "force_rmse_kcal_mol_A": 1.9, key: [3.0, None, 1.0]},
        {"points": 100, "force_rmse_kcal_mol_A": 1.1, key: [1.4, None, 0.9]},
    ]
    record = {"frames": [20, 5, 10], "rounds": rounds, "train": [1, 2]}
    (folder / "refinement.json").write_text(json.dumps(record))
    page = Page(page_of(folder))
    assert "Refinement: each round" in page.text
    assert page_of(folder).count("<svg") == 3
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


@pytest.mark.parametrize("rounds", [7, [], [3], [{}], [{"points": 5}] * 2, [{"points": "<b>"}]])
def test_a_damaged_refinement_leaves_the_rest_of_the_page(rounds, run_of):
    folder = run_of("train")
    (folder / "refinement.json").write_text(json.dumps({"rounds": rounds}))
    assert "Learning curve: errors" in Page(page_of(folder)).text


def test_features_are_shown_by_distance_and_by_pair(run_of):
    """Two pictures; what is kept is counted, and an angle has no place among the pairs."""
    folder = run_of("train")
    before = page_of(folder).count("<svg")
    rows = [
        {"atoms": atoms, "distance_A": length, "importance_kcal_mol_A": 0.5, "kept": length < 2.5}
        for atoms, length in (([1, 0], 1.5), ([2, 0], 3.0), ([2, 1], 1.5), ([0, 1, 2], 3.0))
    ]
    tried = [{"percentile": 0.0, "features": 4}, {"percentile": 50.0, "features": 2}]
    (folder / "reduction.json").write_text(json.dumps({"features": rows, "tried": tried}))
    page = Page(page_of(folder))
    assert "2 of 4 features are kept; the longest kept spans 1.5" in page.text
    assert page_of(folder).count("<svg") == before + 2
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


def feature_row(atoms, length):
    return {"atoms": atoms, "distance_A": length, "importance_kcal_mol_A": 1.0}


@pytest.mark.parametrize(
    "rows",
    [7, [], [3], [{}], [feature_row([0, 10**9], 1.0)], [feature_row([0, 1], "<b>")]],
)
def test_a_damaged_reduction_leaves_the_rest_of_the_page(rows, run_of):
    folder = run_of("train")
    (folder / "reduction.json").write_text(json.dumps({"features": rows, "tried": rows}))
    assert "Learning curve: errors" in Page(page_of(folder)).text


def test_candidates_in_two_dimensions_are_a_curve_each(run_of):
    """Force errors against sigma, one curve for each regularization, and all numbers below."""
    folder = run_of("train")
    rows = [
        {
            "sigma": sigma,
            "regularization": regularization,
            "force_rmse_kcal_mol_A": 1.0 + regularization,
            "energy_rmse_kcal_mol": 0.5,
        }
        for regularization, sigmas in ((1e-10, (10, 20, 30)), (1e-2, (10, 20)))
        for sigma in sigmas
    ]
    (folder / "table.json").write_text(json.dumps(rows))
    page = Page(page_of(folder))
    assert "Force errors on the validation points for each candidate sigma" in page.text
    assert "regularization 1e-10" in page_of(folder)
    assert "regularization 0.01" in page_of(folder)


def test_the_worst_frames_carry_their_own_errors(run_of):
    """The force RMSE under a picture is that of the frame's rows in the parity file."""
    folder = run_of("evaluate")
    worst = json.loads((folder / "errors.json").read_text())[0]["worst_frames"][0]
    with np.load(folder / "parity-0.npz") as arrays:
        error = (arrays["forces_predicted"] - arrays["forces_reference"])[worst]
    shown = numbers.number(float(np.sqrt((error**2).mean()) * 23.060548))
    assert f"frame {worst}{shown} kcal/mol/Å" in Page(page_of(folder)).text


def test_a_path_that_did_not_converge_says_so(run_of):
    folder = run_of("path")
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"converged": False}))
    assert "before the path converged: run on with more steps." in Page(page_of(folder)).text
    left = {"converged": False, "advice": "0.3 eV/A is left on image 4; try <more> steps"}
    (folder / "results.json").write_text(json.dumps(results | left))
    assert "on image 4; try <more> steps." in Page(page_of(folder)).text


def data_of_viewers(content):
    found = re.findall(r'<script type="application/json">(.*?)</script>', content, re.DOTALL)
    return [json.loads(text) for text in found]


def test_a_viewer_has_every_image_as_the_pictures_have_it(page_of_run):
    (data,) = data_of_viewers(page_of_run("path"))
    assert len(data["frames"]) == len(data["bonds"]) == len(data["labels"]) == 11
    assert data["labels"][0] == "image 0. 0.00 kcal/mol"
    place = np.array(data["frames"][0])
    lengths = np.linalg.norm(place[:, None] - place, axis=-1)
    assert {(i, j) for i, j in data["bonds"][0]} <= set(zip(*np.where(lengths < 1.7), strict=True))
    assert len(data["atoms"]) == 10
    assert len(data["elements"]) == 4


@pytest.mark.security
def test_a_viewers_labels_cannot_leave_their_place():
    place = np.array([[[0, 0, 0], [0, 0, 1.0]]])
    hostile = "</script><script>alert(1)</script>"
    content = viewer(np.array([1, 1]), place, [hostile], hostile)
    page = Page(content)
    assert page.tags["script"] == 1
    assert page.mismatched == []
    assert data_of_viewers(content)[0]["labels"] == [hostile]


def test_several_paths_are_compared_on_one_page(run_of, tmp_path):
    folder = tmp_path / "both"
    for number, name in enumerate(("first", "second")):
        shutil.copytree(run_of("path") if not number else tmp_path / "path", folder / name)
    results = json.loads((folder / "second/results.json").read_text())
    results |= {"barrier_model_kcal_mol": 1.25, "converged": False, "method": "<scan>"}
    (folder / "second/results.json").write_text(json.dumps(results))
    content = page_of(folder)
    page = Page(content)
    assert page.open == []
    assert page.mismatched == []
    assert len(data_of_viewers(content)) == 2
    assert page.text.index("1.25") < page.text.index("2.61")
    assert "<scan>, not converged" in page.text


@pytest.mark.inputs
def test_a_folder_that_is_no_run_folder_is_refused_in_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing of ours")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="run folder") as caught:
            write_report(folder)
        assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt"]


def test_figures_follow_the_colour_scheme(page_of_run):
    """No colour of the light palette is left in a figure, and each variable is defined twice."""
    content = page_of_run("demo")
    _, body = content.split("</style>", 1)
    for name, colour in palette.LIGHT.items():
        assert colour not in body, name
    style = content.split("</style>")[0]
    for name in set(re.findall(r"var\(--([\w-]+)\)", content)) - {"columns"}:
        assert f"--{name}: {palette.LIGHT[name]}" in style
        assert f"--{name}: {palette.DARK[name]}" in style


def water(*turns):
    """A water molecule, turned by rotation matrices."""
    place = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    return np.array([8, 1, 1]), np.array([place @ turn + 3.0 for turn in turns])


def test_all_images_are_seen_from_one_side(rng):
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(4)]
    turns = [turn * np.sign(np.linalg.det(turn)) for turn in turns]
    view = molecule.look(*water(np.eye(3), *turns))
    assert np.allclose(view.images, view.images[0], atol=1e-9)


def test_a_picture_does_not_mirror_the_molecule(rng):
    """Seen coordinates are turned, never reflected: the signed volume of a chiral body stays."""
    place = rng.normal(size=(1, 5, 3))
    seen = molecule.look(np.array([6, 1, 9, 17, 35]), place).images[0]
    before = np.linalg.det(place[0, 1:4] - place[0, 0])
    assert np.isclose(np.linalg.det(seen[1:4] - seen[0]), before)


def test_near_atoms_are_drawn_over_far_ones_and_all_fit_the_box():
    view = molecule.look(*water(np.eye(3)))
    svg = molecule.picture(view, 0, "w", "water <1>")
    assert "water &lt;1&gt;" in svg
    balls = re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)" r="([\d.]+)" fill="url', svg)
    assert len(balls) == 3
    assert svg.count("<line") >= 2 * 3
    left, top, width, height = map(float, re.search(r'viewBox="([^"]+)"', svg)[1].split())
    order = np.argsort(view.images[0][:, 2])
    for (cx, cy, r), atom in zip(balls, order, strict=True):
        assert np.isclose(float(cx), molecule.SCALE * view.images[0][atom, 0], atol=0.1)
        assert left <= float(cx) - float(r)
        assert float(cx) + float(r) <= left + width
        assert top <= float(cy) - float(r)
        assert float(cy) + float(r) <= top + height


def test_a_figure_draws_text_with_dollars_as_it_is():
    svg = plots.histogram({"a $x$ <b>": np.arange(9.0), "c": np.ones(3)}, "$E$").svg("h", "t <t>")
    assert "a $x$ &lt;b&gt;" in svg
    assert "t &lt;t&gt;" in svg
    assert Page(svg).open == []


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.parity(np.arange(3.0), np.arange(3.0), "energy").svg("p", "t")
    assert dict(matplotlib.rcParams) == before


def test_a_density_counts_every_point_once():
    """The opacity is zero exactly where no pair of values falls."""
    x = np.array([0.05, 0.05, 0.95])
    image = plots._density(x, x, (0.0, 1.0))
    filled = np.argwhere(image[..., 3] > 0)
    assert filled.tolist() == [[6, 6], [114, 114]]
    assert image[6, 6, 3] > image[114, 114, 3]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.61234, "0.612"),
        (-2.5, "−2.50"),
        (12345, "12\u202f345"),
        (123.4, "123"),
        (3.1e-13, "3.10 × 10⁻¹³"),
        (0, "0"),
        (0.0, "0"),
        (None, "–"),
        (float("nan"), "–"),
        ("xtb", "xtb"),
    ],
)
def test_numbers_are_shown_with_three_digits(value, shown):
    assert numbers.number(value) == shown


def test_times_and_intervals_are_words():
    assert numbers.duration(12.0) == "12 s"
    assert numbers.duration(223.4) == "3 min 43 s"
    assert numbers.duration(7325) == "2 h 02 min"
    assert numbers.between(0.52, [0.48, 0.571]) == "0.520 (0.480 to 0.571)"
    assert numbers.between(0.52, None) == "0.520"


def test_key_figures_are_those_asked_for_in_order():
    results = {"seconds": 5.0, "frames": 10, "reference": "x", "quarantined": [], "other": 1}
    run = SimpleNamespace(results=results, value=results.get)
    found = facts.cards(facts.typed(Labels, run), run)
    values = [found.find(f">{value}<") for value in ("x", "10", "5.0 s")]
    assert -1 not in values
    assert values == sorted(values)
    assert html.cards([]) == ""
