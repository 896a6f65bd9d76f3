"""Paths against closed forms and against ASE."""

from __future__ import annotations

from functools import partial

import ase
import numpy as np
import pytest
from ase.data import covalent_radii
from ase.io import read
from ase.mep import NEB as ASENEB
from ase.mep import idpp_interpolate
from ase.optimize import BFGS

import flexcalc
from flexcalc import files, registry
from flexcalc.adapters.ase import Calculator
from flexcalc.commands.face import run_command
from flexcalc.config.paths import PathSearch
from flexcalc.errors import InputError, LabelError, ShapeError
from flexcalc.geometry import align_consecutive, distances, is_degenerate
from flexcalc.methods.iterate import iterate
from flexcalc.methods.optimisers import FIRE, LBFGS
from flexcalc.methods.path import (
    NEB,
    PairTargets,
    Scan,
    String,
    interpolate,
    match_endpoints,
    path_length,
    respace,
)
from flexcalc.methods.path.geodesic import path_energy
from flexcalc.methods.path.interpolation import interpolate_all
from flexcalc.methods.relax import relax
from flexcalc.parallel.turns import in_one_batch
from flexcalc.units import KCAL_MOL
from tests.systems import INPUTS, Failing


def pyramids():
    """Both minima of the toy ammonia (4, 3), N-H 1.0 and H-H 1.6 angstrom."""
    turn = np.deg2rad([0, 120, 240])
    radius = 1.6 / np.sqrt(3)
    height = np.sqrt(1 - radius**2)
    ring = np.stack([radius * np.cos(turn), radius * np.sin(turn), np.zeros(3)], axis=1)
    up = np.vstack([[0, 0, height], ring])
    down = np.vstack([[0, 0, -height], ring])
    return up, down


def planar_barrier():
    """Lowest energy of the planar triangle of N-H bonds x: 3 k1/2 (x-1)^2 + 3 k2/2 (x sqrt3-1.6)^2.

    Zero slope gives x = (k1 + sqrt3 k2 1.6) / (k1 + 3 k2).
    """
    k1, k2, h = 20.0, 3.0, 1.6
    x = (k1 + np.sqrt(3) * k2 * h) / (k1 + 3 * k2)
    return 1.5 * k1 * (x - 1) ** 2 + 1.5 * k2 * (np.sqrt(3) * x - h) ** 2


@pytest.mark.physics
@pytest.mark.parametrize("optimiser", [LBFGS(), FIRE()])
def test_the_inversion_barrier_is_the_planar_triangles(ammonia, optimiser, rng):
    up, down = pyramids()
    method = NEB(images=7, optimiser=optimiser, force_tolerance_eV_A=1e-4)
    state = method.init(ammonia, interpolate(up, down, 7, "linear"), rng)
    state = iterate(method, ammonia, state, steps=2000, rng=rng)
    assert method.converged(state)
    # The climbing image sits at the saddle: the energy's error is second order in the force.
    assert state.barrier() == pytest.approx(planar_barrier(), abs=1e-7)
    gaps = np.diff(path_length(state.images))
    assert gaps.max() / gaps.min() < 1.2


@pytest.mark.parametrize("optimiser", [LBFGS(), FIRE()])
def test_a_step_to_where_the_potential_fails_is_tried_again_with_shorter_moves(
    ammonia, optimiser, rng
):
    method = NEB(images=7, optimiser=optimiser, force_tolerance_eV_A=1e-4)
    surface = Failing(ammonia, 3, 7, 8)
    state = method.init(surface, interpolate(*pyramids(), 7, "linear"), rng)
    state = iterate(method, surface, state, steps=2000, rng=rng)
    assert method.converged(state)
    assert state.barrier() == pytest.approx(planar_barrier(), abs=1e-7)
    with pytest.raises(LabelError):
        method.step(Failing(ammonia, 1, 2, 3, 4), state, rng)


def test_a_band_takes_one_call_a_step_for_all_images(ammonia, rng):
    up, down = pyramids()
    method = NEB(images=7, force_tolerance_eV_A=1e-3)
    state = method.init(ammonia, interpolate(up, down, 7, "linear"), rng)
    state = iterate(method, ammonia, state, steps=200, rng=rng)
    assert ammonia.calls == state.step + 1


@pytest.mark.physics
def test_turning_single_images_changes_nothing(ammonia, rng):
    """Forces on the band do not know how its images lie in space."""
    from scipy.spatial.transform import Rotation

    up, down = pyramids()
    path = interpolate(up, down, 7, "linear") + rng.normal(scale=0.02, size=(7, 4, 3))
    turns = Rotation.random(7, rng=rng).as_matrix()
    turned = np.einsum("iab,inb->ina", turns, path) + rng.normal(size=(7, 1, 3))
    method = NEB(images=7)
    one, other = method.init(ammonia, path, rng), method.init(ammonia, turned, rng)
    back = np.einsum("iba,inb->ina", turns[1:-1], other.band)
    assert np.abs(back - one.band).max() < 1e-9
    assert one.residual == pytest.approx(other.residual, abs=1e-9)


@pytest.mark.physics
def test_glycine_agrees_with_ases_band_on_the_same_surface(rng):
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    potential = registry.load("xtb:GFN2-xTB?threads=2", start)
    last, _ = match_endpoints(start.numbers, start.positions, end.positions)
    path = interpolate(start.positions, last, 11)
    method = NEB(force_tolerance_eV_A=0.005)
    state = iterate(method, potential, method.init(potential, path, rng), steps=400, rng=rng)
    assert method.converged(state)
    images = [ase.Atoms(start.numbers, image) for image in path]
    for image in images:
        image.calc = Calculator(potential)
    band = ASENEB(images, climb=True, method="improvedtangent", k=2.0)
    BFGS(band, logfile=None).run(fmax=0.02, steps=300)
    theirs = max(image.get_potential_energy() for image in images)
    theirs = (theirs - images[0].get_potential_energy()) / KCAL_MOL
    assert state.barrier() / KCAL_MOL == pytest.approx(theirs, abs=0.01)
    string = String(force_tolerance_eV_A=0.005)
    other = iterate(string, potential, string.init(potential, path, rng), steps=400, rng=rng)
    assert string.converged(other)
    assert other.barrier() / KCAL_MOL == pytest.approx(theirs, abs=0.01)


@pytest.mark.physics
def test_a_geodesic_of_two_atoms_is_even_in_the_metric():
    """In one dimension the shortest path is any; at even speed, q moves in equal steps.

    Half-way points in r are not half way in q: the steps differ by the curvature of q over one.
    """
    ends = np.array([[[0, 0, 0], [0, 0, r]] for r in (0.8, 1.6)], dtype=float)
    path = interpolate(*ends, 31, "geodesic", np.array([1, 1]))
    rest = 2 * covalent_radii[1]
    lengths = np.linalg.norm(path[:, 1] - path[:, 0], axis=1)
    q = np.exp(-1.7 * (lengths - rest) / rest) + 0.01 * rest / lengths
    steps = -np.diff(q)
    assert steps == pytest.approx(np.full(30, steps.mean()), rel=5e-3)


@pytest.mark.physics
def test_the_energy_of_a_path_has_its_gradient(rng):
    up, down = pyramids()
    path = interpolate(up, down, 5, "linear") + rng.normal(scale=0.1, size=(5, 4, 3))
    pairs = np.tril_indices(4, -1)
    rest = np.full(6, 1.0)
    direction, h = rng.normal(size=path.shape), 1e-5
    ahead, behind = (path_energy(path + step * direction, rest, pairs)[0] for step in (h, -h))
    along = (path_energy(path, rest, pairs)[1] * direction).sum()
    assert (ahead - behind) / (2 * h) == pytest.approx(along, rel=1e-6)


def test_a_geodesic_of_glycine_is_shorter_than_idpp_in_its_own_measure():
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    last, _ = match_endpoints(start.numbers, start.positions, end.positions)
    pairs = np.tril_indices(10, -1)
    rest = covalent_radii[start.numbers][pairs[0]] + covalent_radii[start.numbers][pairs[1]]
    energies = []
    for kind in ("geodesic", "idpp"):
        path = interpolate(start.positions, last, 9, kind, start.numbers)
        assert np.array_equal(path[0], start.positions)
        energies.append(path_energy(align_consecutive(path), rest, pairs)[0])
    assert energies[0] < 0.9 * energies[1]


def test_a_path_that_does_not_converge_says_what_is_left_and_where(tmp_path):

    config = PathSearch(
        model="xtb:GFN2-xTB",
        start=INPUTS / "glycine-Ip.xyz",
        end=INPUTS / "glycine-IIIp.xyz",
        method=String(images=5, interpolation="geodesic"),
        relax_ends=False,
        steps=2,
        equivalents=True,
    )
    results = run_command(flexcalc.path, config, tmp_path / "path", None).to_dict()
    assert results["converged"] is False
    image = results["force_residual_image"]
    assert f"is left on image {image} where 0.01 is wanted" in results["advice"]
    assert "try more --steps, --optimiser fire" in results["advice"]
    # Two hydrogens on nitrogen and two on carbon: four labellings, all of other paths.
    assert results["equivalent_paths"] == 4
    found = files.read(tmp_path / "path/equivalents.xyz")
    energies = found.energies.reshape(4, 5)
    assert np.abs(energies - energies[0]).max() < 1e-6


def test_like_atoms_are_relabelled_before_a_path_is_laid():
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    swapped = end.positions[[0, 1, 2, 3, 4, 6, 5, 8, 7, 9]]
    one, _ = match_endpoints(start.numbers, start.positions, end.positions)
    other, order = match_endpoints(start.numbers, start.positions, swapped)
    assert np.abs(one - other).max() < 1e-8
    assert sorted(order) == list(range(10))


def turned(positions, rng):
    """The same geometry, turned and moved at random."""
    from scipy.spatial.transform import Rotation

    return positions @ Rotation.random(random_state=rng).as_matrix().T + rng.normal(size=3)


def methyl(torsion):
    """Ethane (8, 3) whose second methyl group is turned by an angle in degrees."""
    turn = np.radians([0, 120, 240])
    ring = 1.03 * np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1)
    cosine, sine = np.cos(np.radians(torsion)), np.sin(np.radians(torsion))
    other = ring @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    carbons = [[0, 0, 0], [0, 0, 1.53]]
    return np.vstack([carbons, ring - np.array([0, 0, 0.36]), other + np.array([0, 0, 1.89])])


def enol():
    """Both forms of malonaldehyde's enol (9, 3): the proton is at the other oxygen."""
    heavy = [[-1.25, 1.1, 0], [-1.22, -0.13, 0], [0, -0.85, 0], [1.18, -0.12, 0], [1.28, 1.19, 0]]
    atoms = np.vstack(
        [heavy, [[-2.14, -0.72, 0], [0, -1.93, 0], [2.11, -0.68, 0], [0.35, 1.55, 0]]]
    )
    return atoms, (atoms * [-1, 1, 1])[[4, 3, 2, 1, 0, 7, 6, 5, 8]]


DEGENERATE = {
    "inversion": (np.array([7, 1, 1, 1]), *pyramids()),
    "a methyl group by a third": (np.array([6, 6, *[1] * 6]), methyl(60), methyl(180)),
    "proton transfer": (np.array([8, 6, 6, 6, 8, 1, 1, 1, 1]), *enol()),
}


@pytest.mark.physics
@pytest.mark.parametrize("name", DEGENERATE)
def test_ends_that_differ_by_labels_alone_keep_them(name, rng):
    """Every atom ends where the end as it is given has it, and the way there has a length."""
    numbers, start, end = DEGENERATE[name]
    assert is_degenerate(numbers, start, turned(end, rng))
    last, order = match_endpoints(numbers, start, turned(end, rng))
    assert order.tolist() == list(range(len(numbers)))
    assert path_length(np.stack([start, last]))[-1] > 0.5
    assert np.abs(distances(last[None]) - distances(end[None])).max() < 1e-9
    assert not is_degenerate(numbers, start, turned(start, rng))


@pytest.mark.physics
def test_mirror_images_are_two_ends_unless_labels_make_them_one(rng):
    """Hydrogen peroxide's have no labels that would; ammonia's inversion is its mirror image."""
    numbers, peroxide = (
        np.array([1, 8, 8, 1]),
        np.array([[0.3, 0.92, 0.0], [0.0, 0.0, 0.0], [1.46, 0.0, 0.0], [1.16, -0.4, 0.83]]),
    )
    mirror = turned(peroxide * [1, 1, -1], rng)
    last, _ = match_endpoints(numbers, peroxide, mirror)
    assert path_length(np.stack([peroxide, last]))[-1] > 0.5
    assert not is_degenerate(numbers, peroxide, mirror)
    up, _ = pyramids()
    assert is_degenerate(np.array([7, 1, 1, 1]), up, turned(up * [1, -1, 1], rng))


@pytest.mark.physics
def test_a_degenerate_rearrangement_has_its_barrier(ammonia, rng):
    """The toy ammonia turned at will and relabelled, against the planar triangle's energy."""
    up, down = pyramids()
    band = NEB(images=9, force_tolerance_eV_A=1e-3)
    first = band.first(ammonia.numbers, up[None], turned(down, rng))
    state = iterate(band, ammonia, band.init(ammonia, first, rng), steps=500, rng=rng)
    assert band.converged(state)
    assert state.barrier() == pytest.approx(planar_barrier(), abs=1e-4)


@pytest.mark.inputs
@pytest.mark.parametrize("method", [NEB(), String(), Scan(drive=("distance 0 1",))])
def test_ends_that_are_one_geometry_are_refused_in_one_line(method, rng):
    numbers, (up, _) = np.array([7, 1, 1, 1]), pyramids()
    with pytest.raises(InputError, match="is the geometry of the start") as caught:
        method.first(numbers, up[None], turned(up, rng))
    assert "\n" not in str(caught.value)


def test_idpp_is_ases():
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    last, _ = match_endpoints(start.numbers, start.positions, end.positions)
    linear = interpolate(start.positions, last, 5, "linear")
    images = [ase.Atoms(start.numbers, image) for image in linear]
    idpp_interpolate(images, traj=None, log=None, fmax=0.01, steps=100)
    objective = PairTargets(linear)
    theirs = objective(np.stack([image.positions for image in images[1:-1]])).energies
    inner = relax(objective, linear[1:-1], force_tolerance_eV_A=1e-5, steps=2000).positions
    ours = objective(inner).energies
    # Their band has springs along the path; ours is each image's own minimum.
    assert (ours <= theirs + 1e-6).all()
    assert np.abs(ours - theirs).max() < 0.05 * objective(linear[1:-1]).energies.max()


@pytest.mark.physics
def test_the_idpp_objective_has_its_gradient(rng):
    up, down = pyramids()
    objective = PairTargets(interpolate(up, down, 5, "linear"))
    inner = rng.normal(size=(3, 4, 3))
    direction = rng.normal(size=inner.shape)
    h = 1e-5
    slope = objective(inner + h * direction).energies - objective(inner - h * direction).energies
    along = (objective(inner).forces * direction).sum(axis=(1, 2))
    assert slope / (2 * h) == pytest.approx(-along, rel=1e-6, abs=1e-6)


def test_images_are_respaced_evenly():
    up, down = pyramids()
    share = np.array([0.0, 0.05, 0.1, 0.6, 1.0])[:, None, None]
    even = respace((1 - share) * up + share * down)
    gaps = np.diff(path_length(even))
    assert gaps == pytest.approx(np.full(4, gaps.mean()), rel=1e-9)
    assert np.array_equal(even[0], up)


def test_chained_images_lie_on_each_other():
    from scipy.spatial.transform import Rotation

    up, down = pyramids()
    path = interpolate(up, down, 5, "linear")
    turned = np.stack([image @ Rotation.random(rng=k).as_matrix() for k, image in enumerate(path)])
    laid = align_consecutive(turned)
    assert np.array_equal(laid[0], turned[0])
    steps = np.sqrt((np.diff(laid, axis=0) ** 2).sum(axis=(1, 2)))
    assert np.cumsum(steps) == pytest.approx(path_length(path)[1:], abs=1e-9)


@pytest.mark.parametrize("images", [0, 2])
def test_a_path_needs_an_inside(images):
    up, down = pyramids()
    with pytest.raises(ShapeError, match="at least 3 images"):
        interpolate(up, down, images)


@pytest.mark.physics
@pytest.mark.parametrize("optimiser", [LBFGS(), FIRE()])
def test_relaxation_takes_every_row_to_its_minimum(ammonia, optimiser, rng):
    from flexcalc.methods.relax import Relax

    up, down = pyramids()
    start = np.stack([up, down, up]) + rng.normal(scale=0.05, size=(3, 4, 3))
    method = Relax(optimiser=optimiser, force_tolerance_eV_A=1e-6)
    state = iterate(method, ammonia, method.init(ammonia, start, rng), steps=2000, rng=rng)
    assert method.converged(state)
    # The energy's error is the square of the force over twice the stiffness.
    assert np.abs(state.evaluation.energies).max() < 1e-10


@pytest.mark.parametrize("optimiser", [LBFGS(), FIRE()])
@pytest.mark.parametrize("rows", ["path", "image"])
@pytest.mark.parametrize("chain", [NEB, String])
def test_bands_that_step_together_are_those_that_step_alone(chain, optimiser, rows, ammonia, rng):
    """They begin at different turns, so that their histories differ, and climb when they are
    ready."""
    method = chain(images=7, force_tolerance_eV_A=0.02, optimiser=optimiser, rows=rows)
    up, down = pyramids()
    line = interpolate(up, down, 7, "linear")
    paths = [line + rng.normal(scale=scale, size=line.shape) for scale in (0.01, 0.03, 0.05)]

    def search(delay, path, potential):
        for _ in range(delay):
            potential(path[:1])
        state = method.init(potential, path, rng)
        return iterate(method, potential, state, steps=25, rng=rng)

    works = [partial(search, *one) for one in zip((0, 3, 16), paths, strict=True)]
    for work, state in zip(works, in_one_batch(ammonia, works), strict=True):
        alone = work(ammonia)
        assert (state.step, state.climbing) == (alone.step, alone.climbing)
        assert state.images == pytest.approx(alone.images, abs=1e-8)
        assert state.memory.moves.shape == alone.memory.moves.shape


@pytest.mark.parametrize("kind", ["idpp", "geodesic"])
def test_initial_paths_in_one_batch_are_those_of_each_pair(kind, rng):
    start, end = (read(INPUTS / f"glycine-{name}.xyz") for name in ("Ip", "IIIp"))
    last, _ = match_endpoints(start.numbers, start.positions, end.positions)
    pairs = [(start.positions, last), (last, start.positions)]
    pairs.append((start.positions, start.positions + rng.normal(scale=0.1, size=last.shape)))
    pairs.append((start.positions, start.positions + rng.normal(scale=1e-7, size=last.shape)))
    starts, ends = (np.stack(one) for one in zip(*pairs, strict=True))
    together = interpolate_all(starts, ends, 7, kind, start.numbers)
    for pair, path in zip(pairs, together, strict=True):
        assert path == pytest.approx(interpolate(*pair, 7, kind, start.numbers), abs=1e-6)
