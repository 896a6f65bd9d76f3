"""Results show themselves: what they draw, the head of their report, tables, damaged figures."""

import dataclasses
import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.emt import EMT
from matplotlib.figure import Figure

import flexcalc
from flexcalc.display import figures, learning
from flexcalc.errors import FileFormatError, InputError, MissingExtraError
from flexcalc.results.base import Result, Stop, _all_declared, figure, labels_of
from flexcalc.results.errors import Errors
from flexcalc.store import Store
from flexcalc.units import KCAL_MOL

matplotlib.use("Agg")

QUIET = {"keep_bonds": False, "progress": False}


@pytest.fixture(scope="module")
def found():
    """A small result of each kind."""
    water = molecule("H2O")
    grid = {"grid_min": 0.5, "grid_max": 3.0}
    windows = {"low": 0.9, "high": 1.1, "windows": 3, "equilibration": 100}
    two = {"grid_min": [0.5, 0], "grid_max": [3.0, 180]}
    both = ["distance 0 1", "angle 1 0 2"]
    moved = flexcalc.md(EMT(), water, steps=40, replicas=2, **QUIET)
    surface = flexcalc.metad(EMT(), water, both[0], steps=200, pace=20, walkers=2, **grid, **QUIET)
    wide = flexcalc.metad(EMT(), water, both, steps=200, pace=20, walkers=2, **two, **QUIET)
    pytest.importorskip("pymbar")
    profile = flexcalc.umbrella(EMT(), water, both[0], steps=300, **windows, **QUIET)
    return SimpleNamespace(md=moved, surface=surface, wide=wide, profile=profile)


def test_a_result_draws_on_the_axes_that_it_is_given_and_returns_them(found):
    before = dict(matplotlib.rcParams)
    for result in vars(found).values():
        axes = Figure().add_subplot()
        assert result.plot(axes) is axes
        assert axes.get_xlabel()
    assert dict(matplotlib.rcParams) == before


def test_without_axes_there_is_a_new_figure(found):
    import matplotlib.pyplot as plt

    axes = found.md.plot()
    assert axes.figure.number in plt.get_fignums()
    plt.close(axes.figure)


def test_a_trajectory_draws_a_line_per_replica(found):
    axes = found.md.plot(Figure().add_subplot())
    lines = axes.get_lines()[:2]
    for replica, line in enumerate(lines):
        assert np.array_equal(line.get_ydata(), found.md.scalars["temperature_K"][:, replica])
        assert np.allclose(line.get_xdata(), found.md.scalars["time_fs"][:, replica] / 1000)
    change = found.md.plot(Figure().add_subplot(), quantity="conserved").get_lines()
    assert [line.get_ydata()[0] for line in change] == [0.0, 0.0]
    with pytest.raises(InputError, match="temperature, potential, conserved"):
        found.md.plot(quantity="heat")


def test_a_free_energy_is_drawn_and_tabled_in_kcal_mol(found):
    pytest.importorskip("pandas")
    for result in (found.surface, found.profile):
        (line, *_) = result.plot(Figure().add_subplot()).get_lines()
        free = result.free_energy_eV / KCAL_MOL
        drawn = np.where(np.isfinite(free), free, np.nan)
        assert np.allclose(line.get_ydata(), drawn, equal_nan=True)
        table = result.to_frame()
        assert list(table) == ["distance 0 1", "free_energy_kcal_mol", "error_kcal_mol"]
        assert np.array_equal(table["free_energy_kcal_mol"], free)
        assert np.array_equal(table["distance 0 1"], result.nodes[0])


def test_a_table_of_two_coordinates_has_a_row_per_node(found):
    pytest.importorskip("pandas")
    table, nodes = found.wide.to_frame(), found.wide.nodes
    assert len(table) == len(nodes[0]) * len(nodes[1])
    row = table.iloc[len(nodes[1]) + 1]
    assert (row["distance 0 1"], row["angle 1 0 2"]) == (nodes[0][1], nodes[1][1])
    assert np.isclose(row["free_energy_kcal_mol"], found.wide.free_energy_eV[1, 1] / KCAL_MOL)


def test_without_pandas_one_line_says_so(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pandas is not installed; .*flexcalc\[pandas\]"):
        found.md.to_frame()


def test_the_head_for_a_notebook_has_the_key_figures_and_no_script(found):
    for result in vars(found).values():
        page = result._repr_html_()
        assert "<script" not in page
        for card in result.cards():
            assert card.value in page
    assert "Trajectory of H₂O" in found.md._repr_html_()


@pytest.mark.security
def test_the_head_for_a_notebook_is_escaped(found):
    hostile = "<script>alert(1)</script>"
    stop = Stop(hostile, "broken bond", np.zeros(1, int), np.zeros((1, 3, 3)))
    page = dataclasses.replace(found.md, method=hostile, stopped=stop)._repr_html_()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 2


def test_a_result_that_draws_nothing_says_so():
    with pytest.raises(InputError, match="nothing to plot"):
        Bare(store=Store(), number=1).plot()


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Bare(Result):
    """A result of one figure and one that it leaves out."""

    command = "bare"
    headline = ("other", "number")

    number: int = figure("a number", "eV", key="number_eV")
    other: float | None = figure("another", default=None)


def test_key_figures_are_those_that_are_known_in_the_order_of_the_headline():
    assert [one.key for one in Bare(store=Store(), number=1).key_figures()] == ["number_eV"]
    both = Bare(store=Store(), number=1, other=2.0)
    assert [(one.label, one.value) for one in both.cards()] == [
        ("another", "2.00"),
        ("a number", "1"),
    ]


def every_class():
    """All classes of results."""
    for path in sorted((Path(flexcalc.__file__).parent / "results").glob("[!_]*.py")):
        module = import_module(f"flexcalc.results.{path.stem}")
        for one in vars(module).values():
            if (
                isinstance(one, type)
                and issubclass(one, Result)
                and one.__module__ == module.__name__
            ):
                yield one


def with_a_command():
    """The classes of results that a command returns."""
    return [kind for kind in every_class() if hasattr(kind, "command")]


WITHOUT_FIELD = ("sigma", "frames", *Errors.headline)
"""A hyperparameter, and errors: key figures that have no field of their own."""


@pytest.mark.parametrize("kind", list(every_class()), ids=lambda kind: kind.__name__)
def test_what_stands_in_a_headline_is_a_figure_with_a_label(kind):
    known = {item.name: item.metadata["label"] for item, _ in _all_declared(kind)}
    for name in kind.headline:
        assert known.get(name) or name in WITHOUT_FIELD


DAMAGE = (None, True, [], [1, "x"], {}, "<b>", 10**400, float("nan"), float("inf"), [[1.0]])


@pytest.mark.inputs
@pytest.mark.parametrize("kind", with_a_command(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("value", DAMAGE, ids=repr)
def test_a_damaged_figure_is_none_and_never_an_error(kind, value):
    keys = [*labels_of(kind), *WITHOUT_FIELD, "force_max_kcal_mol_A", "models"]
    result = kind.from_damaged(dict.fromkeys(keys, value), Store())
    for card in result.cards():
        assert card.value == str(value)
    assert "flexcalc" in result._repr_html_()


@pytest.mark.inputs
@pytest.mark.parametrize("value", DAMAGE, ids=repr)
@pytest.mark.parametrize("name", ["md", "metad", "umbrella"])
def test_a_report_of_damaged_results_is_written(name, value, found, tmp_path):
    result = {"md": found.md, "metad": found.surface, "umbrella": found.profile}[name]
    (tmp_path / "results.json").write_text(
        json.dumps({"command": name, **dict.fromkeys([*result.to_dict(), "seconds"], value)})
    )
    from flexcalc.reports import write_report

    assert f'id="{name}"' in write_report(tmp_path).read_text()


@pytest.mark.inputs
@pytest.mark.parametrize("change", ["missing", "scalar", "short", "text", "flat"])
def test_damaged_arrays_of_free_energies_are_told(change, found, tmp_path):
    from flexcalc.display import free_energy

    def damaged(arrays, name):
        other = dict(arrays)
        whole = other.pop(name)
        if change == "scalar":
            other[name] = np.float64(1.0)
        elif change == "short":
            other[name] = whole[:-1] if whole.ndim and whole.size else np.zeros(3)
        elif change == "text":
            other[name] = np.full(whole.shape, "x")
        elif change == "flat":
            other[name] = whole.ravel()[None]
        return other

    def surface(arrays):
        free_energy.Surface.of(arrays).drawing(300.0).on(Figure().add_subplot())

    def profile(arrays):
        free_energy.check_profile(arrays)
        for draw in (free_energy.profile, free_energy.window_samples):
            draw(arrays).on(Figure().add_subplot())

    names = ("nodes_0", "surface", "errors", "minima", "time_fs", "differences", "units")
    cases = [(surface, found.surface.arrays, name) for name in names]
    cases += [(profile, found.profile.arrays, name) for name in free_energy.PROFILE_ARRAYS]
    for draw, arrays, name in cases:
        # What damage of this kind leaves as it was is drawn.
        if change != "text" or name not in free_energy.TEXTS:
            with pytest.raises(FileFormatError, match="lacks a part"):
                draw(damaged(arrays, name))


def drawings():
    """Every figure that a result of any command may draw, of made-up numbers."""
    rng = np.random.default_rng(3)
    x, y = np.linspace(1.0, 4.0, 9), rng.random(9)
    errors = {"force RMSE / kcal mol⁻¹ Å⁻¹": y}
    edges, population = np.linspace(-180, 180, 10), np.arange(9)
    return {
        "energies": figures.energies(figures.groups({"start": np.arange(9) % 2}, y)),
        "forces": figures.forces(rng.normal(size=(4, 3, 3))),
        "validation": figures.validation_curve(x, errors),
        "training": figures.training_curve(x, errors),
        "learning": figures.learning_curve(x, errors),
        "folds": figures.fold_errors(errors),
        "parity": figures.parity("energies", y, y + 0.01),
        "regions": figures.errors_by_region(edges, y, population, ("dihedral", "force RMSE")),
        "profile": figures.energy_profile(x, y, y + 0.1),
        "profiles": figures.energy_profiles({"a": y, "b": x}),
        "convergence": figures.convergence(x, y, "largest force / eV Å⁻¹", log=True),
        "reaction": figures.reaction_coordinate(x, y),
        "half-lives": figures.half_lives(x, y),
        "temperature": figures.temperature([x], [y], 0.5),
        "potential": figures.potential_energy([x, x], [y, y]),
        "conserved": figures.conserved_energy([x], [y]),
        "calibration": learning.calibration({"random frames": (y, 0 * y)}, 2.0),
        "dihedral": learning.dihedral_map(x[:, None], {"first": y[:, None]}, ["dihedral"]),
        "dihedrals": learning.dihedral_map(np.zeros((0, 2)), {}, ["dihedral 0", "dihedral 1"]),
    }


@pytest.mark.parametrize("name", list(drawings()))
def test_every_figure_is_drawn_on_axes_and_as_svg(name):
    drawing = drawings()[name]
    axes = drawing.on(Figure().add_subplot())
    assert axes.get_ylabel()
    svg = drawing.svg(name, "A title")
    assert svg.startswith('<svg class="plot"')
    assert f'id="{name}-title"' in svg


@pytest.mark.parametrize("count", [3, 12, 400])
def test_steps_are_counted_in_whole_numbers(count):
    drawing = figures.convergence(np.arange(count, dtype=float), np.ones(count), "largest force")
    ticks = drawing.on(Figure().add_subplot()).get_xticks()
    assert len(ticks) > 1
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_a_map_of_dihedrals_has_the_first_one_on_its_horizontal_axis():
    explored = np.array([[101.0, -99.0], [102.0, -98.0], [-180.0, 180.0]])
    groups = {"random": np.array([[10.0, 20.0]])}
    axes = learning.dihedral_map(explored, groups, ["first", "second"]).on(Figure().add_subplot())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("first", "second")
    density = axes.images[0].get_array()
    seen = np.argwhere(~np.ma.getmaskarray(np.ma.masked_invalid(density)))
    # Rows from below, cells of 5 degrees: -99 is in the 17th from -180, 101 in the 57th.
    assert seen.tolist() == [[16, 56], [71, 0]]
    assert density[16, 56] == pytest.approx(np.log(3))
    assert axes.lines[0].get_xydata().tolist() == [[10, 20]]


def test_the_band_of_a_calibration_lies_between_half_and_twice_the_prediction():
    pair = np.array([1.0, 4.0]), np.array([2.0, 3.0])
    axes = learning.calibration({"frames": pair}, 2.0).on(Figure().add_subplot())
    x, y = axes.collections[0].get_paths()[0].vertices.T
    assert {round(ratio, 9) for ratio in y / x} == {0.5, 2.0}
    diagonal, points = axes.lines
    np.testing.assert_array_equal(*diagonal.get_xydata().T)
    np.testing.assert_array_equal(points.get_xydata().T, pair)
