"""Mode following in internal coordinates against saddles that are known."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io import read

from flexcalc import registry
from flexcalc.methods.follow import Top, Walk, follow
from flexcalc.methods.hessian import hessian, vibrations
from flexcalc.methods.iterate import iterate
from flexcalc.methods.path import NEB, Stage
from flexcalc.methods.saddle import RFO
from flexcalc.potential import Counted, Evaluation
from flexcalc.units import KCAL_MOL
from tests.methods.test_path_search import planar_barrier, pyramids
from tests.systems import INPUTS, Failing

METHOD = RFO(saddle_force_eV_A=0.001)


def top_of(surface, images):
    return Top.of(images, surface(images))


@pytest.mark.physics
def test_the_saddle_of_the_inversion_is_the_planar_triangle(ammonia, rng):
    first = NEB(images=6).first(ammonia.numbers, pyramids()[0][None], pyramids()[1])
    walk = Walk(ammonia.numbers, top_of(ammonia, first), METHOD)
    follow(ammonia, [walk])
    low = float(ammonia(np.stack(pyramids())).energies.min())
    assert walk.converged
    assert walk.curvature < 0
    # The error of the energy is second order in the force that is left.
    assert walk.energy - low == pytest.approx(planar_barrier(), abs=1e-5)


@pytest.fixture(scope="module")
def glycine():
    """GFN2-xTB of glycine and an initial path from Ip to IIIp."""
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    first = NEB(images=9).first(start.numbers, start.positions[None], end.positions)
    return registry.load("xtb:GFN2-xTB", start), first, start.get_masses()


@pytest.mark.physics
@pytest.mark.parametrize("below_eV_A", [10.0, 1.0, 0.3])
def test_glycines_saddle_is_found_from_any_stage_of_a_band(glycine, below_eV_A, rng):
    """2.037 kcal/mol above Ip: the same from 61 refined evaluations with exact Hessians."""
    surface, first, masses = glycine
    method = Stage(NEB(images=9), 9, below_eV_A)
    state = iterate(method, surface, method.init(surface, first, rng), steps=50, rng=rng)
    assert not method.method.converged(state)
    walk = Walk(surface.numbers, Top.of(state.images, state.evaluation), METHOD)
    follow(surface, [walk])
    assert walk.converged
    assert walk.step < 30
    assert (walk.energy - state.evaluation.energies[0]) / KCAL_MOL == pytest.approx(2.037, abs=2e-3)
    curved = hessian(surface, walk.positions[None])[0]
    assert vibrations(walk.positions, curved, masses).imaginary() == 1


@pytest.mark.physics
def test_a_step_to_where_the_potential_fails_is_shortened(ammonia):
    first = NEB(images=6).first(ammonia.numbers, pyramids()[0][None], pyramids()[1])
    top = top_of(ammonia, first)
    walk = Walk(ammonia.numbers, top, METHOD)
    asked = walk.trial
    surface = Failing(ammonia, 1)
    follow(surface, [walk])
    assert walk.converged
    low = float(ammonia(np.stack(pyramids())).energies.min())
    assert walk.energy - low == pytest.approx(planar_barrier(), abs=1e-5)
    refused = Walk(ammonia.numbers, top, METHOD)
    refused.refuse()
    moves = [np.linalg.norm(trial - top.positions[1]) for trial in (refused.trial, asked)]
    assert 0 < moves[0] < moves[1]


def test_a_walk_is_lost_where_the_potential_fails_everywhere(ammonia):
    """One beside it in the batch goes on."""
    first = NEB(images=6).first(ammonia.numbers, pyramids()[0][None], pyramids()[1])
    walks = [Walk(ammonia.numbers, top_of(ammonia, first), METHOD) for _ in range(2)]
    steps = walks[0].trial[None]
    follow(Failing(ammonia, *range(1, 200)), walks[:1])
    assert walks[0].lost
    assert not np.array_equal(walks[0].trial[None], steps)
    follow(Failing(ammonia, 1, 2), walks[1:])
    assert walks[1].converged


@pytest.mark.physics
def test_walks_in_one_batch_are_those_on_their_own(ammonia):
    up, down = pyramids()
    paths = [NEB(images=count).first(ammonia.numbers, up[None], down) for count in (5, 6, 9)]
    alone = [Walk(ammonia.numbers, top_of(ammonia, path), METHOD) for path in paths]
    together = [Walk(ammonia.numbers, top_of(ammonia, path), METHOD) for path in paths]
    for walk in alone:
        follow(ammonia, [walk])
    counted = Counted(ammonia)
    ammonia.calls = 0
    follow(counted, together)
    assert ammonia.calls == max(walk.step for walk in alone)
    assert counted.geometries == sum(walk.step for walk in alone)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.positions, other.positions)


def test_a_walk_that_leaves_the_path_is_lost(ammonia):
    """A saddle that lies far below the ends of the path is not the path's."""
    up, down = pyramids()
    images = NEB(images=5).first(ammonia.numbers, up[None], down)
    found = ammonia(images)
    high = Evaluation(found.energies + 5.0, found.forces)
    walk = Walk(ammonia.numbers, Top.of(images, high), METHOD)
    follow(ammonia, [walk])
    assert walk.lost
    assert not walk.converged


def test_an_end_is_no_top(ammonia):
    up, down = pyramids()
    images = NEB(images=5).first(ammonia.numbers, up[None], down)
    rising = Evaluation(np.arange(5.0), np.zeros(images.shape))
    assert Top.of(images, rising) is None
