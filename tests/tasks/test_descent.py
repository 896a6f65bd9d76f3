"""The descent from a saddle ends in minima, not on other saddles."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from ase import Atoms

import flexcalc as fx
from flexcalc.dataset import Dataset
from tests.methods.triangles import Triangle, sides, triangles

GUESS = Atoms(
    "OCHHH",
    [
        [0.0, 0.0, 0.0],
        [0.0, 0.0, 1.423],
        [1.006389, 0.0, 0.332387],
        [-0.272228, 0.924952, 1.924921],
        [-0.272228, -0.924952, 1.924921],
    ],
)


ISOSCELES = (6, 8, 8)
FORK = 0.3


def forked(x, y):
    """E = (u^2 - 1)^2 + f v^2 (1 / 2 - u) + f v^4, symmetric in v = (x - y) / sqrt 2.

    u is (x + y) / sqrt 2. The way from the saddle at 0 down to larger u is straight, to a saddle
    at (1, 0), and minima are on both sides of it.
    """
    u, v = (x + y) / np.sqrt(2), (x - y) / np.sqrt(2)
    value = (u**2 - 1) ** 2 + FORK * (v**2 * (0.5 - u) + v**4)
    along_u = 4 * u * (u**2 - 1) - FORK * v**2
    along_v = FORK * (2 * v * (0.5 - u) + 4 * v**3)
    return value, (along_u + along_v) / np.sqrt(2), (along_u - along_v) / np.sqrt(2)


SURFACE = Triangle(forked, numbers=ISOSCELES)


def molecule(u, v):
    """The triangle at a point."""
    place = np.array([[u + v, u - v]]) / np.sqrt(2)
    return Atoms(ISOSCELES, triangles(place)[0])


def points(positions):
    """The (u, v) of geometries (batch, 3, 3)."""
    x, y = sides(positions).T
    return np.stack([x + y, x - y], axis=1) / np.sqrt(2)


def searched(surface, *ends, **options):
    """The saddle at the origin of a surface, between given (u, v)."""
    given = [molecule(*end) for end in ends]
    return fx.saddle(surface, molecule(0.03, 0), *given, progress=False, **options)


def minima_of(found):
    """The (u, v) of both minima, in order of u."""
    places = points(np.stack([one.positions for one in found.minima]))
    return places[places[:, 0].argsort()]


def lowest():
    """The minimum with v > 0: v^2 = (u - 1 / 2) / 2, and 4 u (u^2 - 1) = f v^2."""
    u = np.roots([4, 0, -4 - FORK / 2, FORK / 4]).real.max()
    return np.array([u, np.sqrt((u - 0.5) / 2)])


def test_a_descent_that_ends_on_a_saddle_goes_on_to_a_minimum():
    found = searched(SURFACE)
    assert found.first_order
    low, high = minima_of(found)
    assert low == pytest.approx([-1, 0], abs=2e-3)
    assert np.abs(high) == pytest.approx(lowest(), abs=2e-3)
    assert found.frequencies_cm["start"].min() > 0
    assert found.frequencies_cm["end"].min() > 0
    # The minimum with the fork is the lower one and so the end.
    assert found.irc_end_split
    assert found.irc_start_split is None
    assert "irc_start_split" not in found.to_dict()
    u, v = lowest()
    energy = (u**2 - 1) ** 2 + FORK * (v**2 * (0.5 - u) + v**4)
    assert found.barrier_back_kcal_mol == pytest.approx((1 - energy) * 23.0605, abs=1e-3)


def test_the_path_of_a_split_descent_goes_downhill_to_its_minimum():
    descent = searched(SURFACE).irc
    after = descent.tags["arc"] >= 0
    assert np.diff(descent.tags["arc"]).min() > 0
    assert np.diff(descent.energies[after]).max() < 0
    u, v = points(descent.positions[after]).T
    assert np.abs(v[u < 0.8]).max() < 1e-4
    assert abs(v[-1]) == pytest.approx(lowest()[1], abs=0.02)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_way_to_the_given_minimum_is_taken(sign):
    u, v = lowest()
    found = searched(SURFACE, (-1, 0), (u, sign * v))
    assert (found.irc_start_is, found.irc_end_is) == ("start", "end")
    assert minima_of(found)[1] == pytest.approx([u, sign * v], abs=2e-3)


def test_evaluations_after_a_split_are_counted():
    from tests.tasks.test_path_and_saddle import CountedSprings

    surface = CountedSprings()
    surface.numbers, surface.springs = SURFACE.numbers, SURFACE
    found = searched(surface)
    assert found.evaluations.total == surface.geometries
    # Of the saddle, of both ends, and of the end of the further way.
    assert found.evaluations.hessians == 4 * 18


def test_a_split_descent_that_was_cut_off_gives_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ends = (-1, 0), lowest()
    made = searched(SURFACE, *ends, output="whole")
    shutil.copytree("whole", "cut")
    for name in ("results.json", "irc.xyz", "minima.xyz", "end-1.hessian"):
        (tmp_path / "cut" / name).unlink()
    (tmp_path / "cut/irc-end-1.checkpoint").unlink()
    again = searched(SURFACE, *ends, output="cut")
    assert again.to_dict() == made.to_dict()
    for name in ("irc.xyz", "minima.xyz", "rates.csv"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    assert "the path downhill splits" in (tmp_path / "whole/log.txt").read_text()
    assert "On the side of the end the path" in (tmp_path / "whole/report.html").read_text()
    assert json.loads((tmp_path / "whole/results.json").read_text())["irc_end_split"] is True


@pytest.mark.physics
def test_methoxy_goes_on_down_from_both_planar_saddles():
    """To the minima of CH3O and CH2OH on GFN2-xTB, from the published guess of Baker and Chan."""
    pytest.importorskip("tblite")
    found = fx.saddle("xtb:GFN2-xTB?multiplicity=2", Dataset.from_atoms([GUESS]), progress=False)
    assert found.first_order
    assert found.irc_start_split
    assert found.irc_end_split
    for side in ("start", "end"):
        assert found.frequencies_cm[side].min() > 300
    assert found.barrier_kcal_mol == pytest.approx(31.20, abs=0.02)
    assert found.barrier_back_kcal_mol == pytest.approx(39.74, abs=0.02)
