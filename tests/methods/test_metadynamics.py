"""Metadynamics against closed forms, finite differences and an independent sum of hills."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from freesurfaces import CHAIN, KT, DoubleWell, Torsion, along

from flexcalc.analysis.freeenergy import Profile, log_weights, node_of, reweighted, surface
from flexcalc.analysis.transitions import judge
from flexcalc.errors import GuardError, InputError
from flexcalc.files import plumed
from flexcalc.files.plumed import Colvar, HillList
from flexcalc.geometry import Coordinate
from flexcalc.methods.bias import Axis, Bias, Wall, Walls, empty_grid, on_grid, with_hills
from flexcalc.methods.dynamics import NVE, Langevin, conserved_energy
from flexcalc.methods.iterate import iterate
from flexcalc.methods.metadynamics import Metadynamics, PlainHills, WellTempered
from flexcalc.potential import CheckedPotential, Evaluation, Sum
from flexcalc.units import KCAL_MOL

pytestmark = pytest.mark.physics


def sampled(method, potential, start, steps, rng, every):
    """Hills and samples of a run, kept in memory as the files keep them."""
    state = method.init(potential, start, rng)
    kept, left = [], []
    bias = method.bias(potential.numbers, state.grid)

    def watch(state):
        time = state.step * method.dynamics.timestep_fs
        values = bias.values(state.positions)
        if state.step % every == 0:
            kept.append((time, values, state.bias, state.walls, state.evaluation.energies))
        if state.heights.any():
            left.append((time, values, state.heights))

    state = iterate(method, potential, state, steps=steps, rng=rng, observers=[watch])
    walkers = len(start)

    def column(rows, n):
        return np.concatenate([np.broadcast_to(row[n], (walkers,)) for row in rows])

    number = np.tile(np.arange(walkers), len(kept))
    values = np.concatenate([row[1] for row in kept])
    colvar = Colvar(
        column(kept, 0),
        values,
        *(column(kept, n) for n in (2, 3, 4)),
        np.full(len(values), 300.0),
        number,
    )
    centres = np.concatenate([row[1] for row in left])
    hills = HillList(
        column(left, 0),
        centres,
        np.broadcast_to(method.sigmas, centres.shape),
        column(left, 2),
        np.tile(np.arange(walkers), len(left)),
        getattr(method.hills, "bias_factor", None),
    )
    return state, colvar, hills


def late(colvar, share=0.3):
    kept = colvar.time_fs >= share * colvar.time_fs.max()
    return Colvar(**{name: column[kept] for name, column in vars(colvar).items()})


def walkers_on(potential, coordinates, *, walkers, steps, seed, start, sigma, low=(), high=()):
    """A well-tempered run that lasts until the bias has long stopped growing fast."""
    method = Metadynamics.on(
        coordinates,
        Langevin(timestep_fs=3.0, temperature_K=300.0, friction_per_ps=20.0),
        WellTempered(
            height_kcal_mol=0.03, pace=20, sigma=sigma, bias_factor=6.0, grid_min=low, grid_max=high
        ),
    )
    rng = np.random.default_rng(seed)
    start = np.broadcast_to(start, (walkers, *np.shape(start)))
    return method, *sampled(method, potential, start, steps, rng, 20)


def regions_of(method, colvar, edges):
    """Reweighted free energies of the intervals between edges of the first coordinate."""
    colvar = colvar[0], late(colvar[1])
    hills, samples = colvar
    weight = log_weights(samples, hills, method.axes, 300.0)
    bins = np.digitize(samples.values[:, 0], edges) - 1
    bins = np.where(bins < len(edges) - 1, bins, -1)
    # A walker is a block: they share the bias, and nothing else.
    return reweighted(bins, len(edges) - 1, weight, samples.walker, 300.0)


def exact_regions(energy, edges, kT=KT):
    """-kT ln of the integral over each interval, the lowest zero."""
    found = []
    for low, high in pairwise(edges):
        x = np.linspace(low, high, 400)
        found.append(-kT * np.log(np.trapezoid(np.exp(-energy(x) / kT), x)))
    return np.array(found) - min(found)


def agree(profile: Profile, exact, deviations=3.0):
    """Whether all differences are within so many standard errors, and the errors are small."""
    best = int(np.argmin(profile.energies))
    apart = profile.energies - (exact - exact[best])
    apart = np.delete(apart, best)
    errors = np.delete(profile.errors, best)
    assert errors.max() < 0.5 * KT
    assert np.abs(apart / errors).max() < deviations


# ---------------------------------------------------------------- closed forms


def test_a_double_well_has_the_free_energy_it_should():
    """Both ways of reading it: by reweighting within 3 standard errors, and off the hills."""
    potential = DoubleWell()
    method, _, colvar, hills = walkers_on(
        potential, [along(0)], walkers=48, steps=3000, seed=5, start=[[-1.0, 0, 0]],
        sigma=(0.1,), low=(-2.5,), high=(2.5,),
    )  # fmt: skip
    edges = np.array([-1.6, -0.6, 0.0, 0.6, 1.6])

    def over_x(x):
        return potential.surface(x)

    agree(regions_of(method, (hills, colvar), edges), exact_regions(over_x, edges))
    points = method.axes[0].points
    low = potential.surface(points) < potential.surface(points).min() + 6 * KT
    apart = (surface(hills, method.axes) - potential.surface(points))[low]
    # The last hills are a few per cent of kT high, and some ten of them overlap.
    assert np.ptp(apart) < 1.0 * KT
    verdict, found = judge(colvar, hills, method.axes, 300.0)
    assert len(found) == 2
    assert verdict.word == "driven"


def test_a_dihedral_has_the_free_energy_it_should():
    potential = Torsion()
    method, _, colvar, hills = walkers_on(
        potential, [potential.dihedral], walkers=48, steps=3000, seed=6, start=CHAIN, sigma=(15.0,)
    )
    edges = np.array([-180.0, -120, -60, 0, 60, 120, 180])
    agree(regions_of(method, (hills, colvar), edges), exact_regions(potential.surface, edges), 3.0)


def test_two_coordinates_have_the_free_energy_they_should():
    """Quadrants of the plane, by reweighting from a bias on both coordinates."""
    potential = DoubleWell()
    method, _, colvar, hills = walkers_on(
        potential, [along(0), along(1)], walkers=48, steps=3000, seed=7, start=[[-1.0, -0.3, 0]],
        sigma=(0.15, 0.15), low=(-2.5, -2.5), high=(2.5, 2.5),
    )  # fmt: skip
    edges = np.array([-1.6, -0.6, 0.0, 0.6, 1.6])

    def over_x(x):
        # The spring in y leans with x, but is as wide everywhere.
        return potential.surface(x)

    agree(regions_of(method, (hills, colvar), edges), exact_regions(over_x, edges))
    exact = potential.surface(*np.meshgrid(*(a.points for a in method.axes), indexing="ij"))
    low = exact < exact.min() + 4 * KT
    apart = (surface(hills, method.axes) - exact)[low]
    assert apart.std() < 0.5 * KT


@pytest.mark.long
def test_two_free_atoms_have_the_entropy_of_their_distance():
    """F(r) = U(r) - 2 kT ln r, over many walkers and a longer run."""
    stiffness, rest = 1.0, 1.5

    class Bond(CheckedPotential):
        numbers = np.array([6, 6])

        def evaluate(self, positions):
            apart = positions[:, 0] - positions[:, 1]
            length = np.linalg.norm(apart, axis=1)
            pull = (-stiffness * (length - rest) / length)[:, None] * apart
            energies = stiffness / 2 * (length - rest) ** 2
            return Evaluation(energies, np.stack([pull, -pull], axis=1))

    method, _, colvar, hills = walkers_on(
        Bond(), [Coordinate.parse("distance 0 1")], walkers=64, steps=12000, seed=8,
        start=[[0.0, 0, 0], [1.5, 0, 0]], sigma=(0.05,), low=(0.3,), high=(3.5,),
    )  # fmt: skip
    edges = np.array([1.0, 1.2, 1.4, 1.6, 1.8, 2.0])

    def over_r(r):
        return stiffness / 2 * (r - rest) ** 2 - 2 * KT * np.log(r)

    agree(regions_of(method, (hills, colvar), edges), exact_regions(over_r, edges))


# ---------------------------------------------------------------- the bias


AXES = (Axis(-180, 180, 90, True), Axis(0, 4, 81), Axis(0, 8, 134))
NAMED = ("dihedral 0 1 2 3", "coordination 0 1 : 2 3 r0=1.5", "distance 0 3")
SIGMAS = np.array([20.0, 0.25, 0.3])


def random_hills(d, rng, hills=40):
    centres = rng.uniform([-180, 0.2, 0.5], [180, 3.8, 6], size=(hills, 3))[:, :d]
    return centres, np.broadcast_to(SIGMAS[:d], (hills, d)), rng.uniform(0.02, 0.05, hills)


def summed(centres, sigmas, heights, values, periodic):
    """Gaussians added one by one, with their periodic images: no code of the package."""
    energy = np.zeros(len(values))
    for centre, sigma, height in zip(centres, sigmas, heights, strict=True):
        factor = np.ones(len(values))
        for n in range(len(centre)):
            images = (-360, 0, 360) if periodic[n] else (0,)
            factor *= sum(
                np.exp(-((values[:, n] - centre[n] - image) ** 2) / (2 * sigma[n] ** 2))
                for image in images
            )
        energy += height * factor
    return energy


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_grid_holds_the_sum_of_hills(d, rng):
    hills = random_hills(d, rng)
    grid = with_hills(empty_grid(AXES[:d]), AXES[:d], *hills)
    bias = Bias(np.array([6] * 4), [Coordinate.parse(one) for one in NAMED[:d]], AXES[:d], grid)
    positions = rng.normal(size=(50, 4, 3))
    exact = summed(*hills, bias.values(positions), (True, False, False))
    # A Hermite cubic is off by h^4/384 of the fourth derivative, 3/sigma^4, in each coordinate.
    assert np.abs(bias(positions).energies - exact).max() < 2e-5 * d * hills[2].sum()


@pytest.mark.parametrize("d", [1, 2, 3])
def test_bias_forces_are_minus_the_gradient_of_the_bias_used(d, rng):
    grid = with_hills(empty_grid(AXES[:d]), AXES[:d], *random_hills(d, rng))
    bias = Bias(np.array([6] * 4), [Coordinate.parse(one) for one in NAMED[:d]], AXES[:d], grid)
    positions = rng.normal(size=(8, 4, 3))
    # Central differences: rounding 1e-16/h and curvature of a kinked cubic, h times its jump.
    assert difference(bias, positions) < 1e-6


def test_wall_forces_are_minus_the_gradient(rng):
    walls = [
        Wall.parse("distance 0 1 at 1.2 kappa 30", upper=True),
        Wall.parse("angle 0 1 2 at 100 kappa 0.1", upper=False),
    ]
    both = Walls(np.array([6] * 4), walls)
    positions = rng.normal(size=(8, 4, 3))
    assert difference(both, positions) < 1e-6
    length = np.linalg.norm(positions[:, 0] - positions[:, 1], axis=1)
    first = Walls(both.numbers, walls[:1])(positions).energies
    assert np.allclose(first, 30 * KCAL_MOL * np.maximum(length - 1.2, 0) ** 2, atol=1e-12)


def difference(potential, positions, h=1e-5):
    """Largest difference of forces and central differences, in eV/angstrom."""
    forces, worst = potential(positions).forces, 0.0
    for atom in range(positions.shape[1]):
        for axis in range(3):
            ahead, back = positions.copy(), positions.copy()
            ahead[:, atom, axis] += h
            back[:, atom, axis] -= h
            slope = (potential(ahead).energies - potential(back).energies) / (2 * h)
            worst = max(worst, np.abs(slope + forces[:, atom, axis]).max())
    return worst


def test_a_hill_on_the_seam_of_a_dihedral_is_felt_on_both_sides():
    axis = (Axis(-180, 180, 90, True),)
    grid = with_hills(
        empty_grid(axis), axis, np.array([[179.0]]), np.array([[10.0]]), np.array([1.0])
    )
    energies, slopes = on_grid(grid, axis, np.array([[-179.0], [177.0], [180.0], [-180.0]]))
    # Alike up to the error of a cubic, h^3/sigma^4 of the slope at a spacing of 4 degrees.
    assert energies[0] == pytest.approx(energies[1], rel=1e-3)
    assert slopes[0, 0] == pytest.approx(-slopes[1, 0], rel=3e-2)
    assert energies[2] == pytest.approx(energies[3], abs=1e-12)


# ---------------------------------------------------------------- the method


def simple(hills, dynamics=None, walls=()):
    dynamics = dynamics or Langevin(timestep_fs=2.0, temperature_K=300.0, friction_per_ps=10.0)
    return Metadynamics.on([along(0)], dynamics, hills, walls)


RANGE = {"grid_min": (-3.0,), "grid_max": (3.0,), "sigma": (0.2,)}


def test_the_model_is_asked_once_a_step_and_the_bias_grows_only_at_its_pace(rng):
    potential, grids = DoubleWell(), []
    method = simple(PlainHills(pace=4, **RANGE))
    start = np.broadcast_to([[-1.0, 0, 0]], (3, 1, 3))
    state = method.init(potential, start, rng)
    iterate(method, potential, state, steps=20, rng=rng, observers=[lambda s: grids.append(s.grid)])
    assert potential.calls == 21
    grown = [n for n in range(1, 20) if not np.array_equal(grids[n], grids[n - 1])]
    assert grown == [3, 7, 11, 15, 19]


def test_walkers_share_the_sum_of_their_hills(rng):
    potential = DoubleWell()
    method = simple(PlainHills(pace=5, **RANGE))
    start = np.broadcast_to([[-1.0, 0, 0]], (6, 1, 3))
    state, _, hills = sampled(method, potential, start, 40, rng, 5)
    assert len(hills) == 6 * 8
    one_by_one = empty_grid(method.axes)
    for n in range(len(hills)):
        only = slice(n, n + 1)
        one_by_one = with_hills(
            one_by_one, method.axes, hills.centres[only], hills.sigmas[only], hills.heights[only]
        )
    assert np.abs(one_by_one - state.grid).max() < 1e-12


def test_the_next_step_starts_from_the_hill_that_was_just_left(rng):
    """The cached evaluation is that of model, walls and the new bias together."""
    potential = DoubleWell()
    walls = (Wall(along(0), 0.5, 5.0, True),)
    method = simple(PlainHills(pace=5, height_kcal_mol=2.0, **RANGE), walls=walls)
    start = np.broadcast_to([[-1.0, 0, 0]], (4, 1, 3))
    state = iterate(method, potential, method.init(potential, start, rng), steps=5, rng=rng)
    whole = Sum(potential, method.bias(potential.numbers, state.grid), Walls([1], walls))
    fresh = whole(state.positions)
    assert np.abs(fresh.energies - state.dynamics.evaluation.energies).max() < 1e-12
    assert np.abs(fresh.forces - state.dynamics.evaluation.forces).max() < 1e-12
    assert np.array_equal(potential(state.positions).forces, state.evaluation.forces)


def test_without_a_thermostat_energy_and_hills_add_up(rng):
    """What hills add is booked as heat, so that the rest is conserved to second order."""
    drifts = []
    for timestep in (1.0, 0.5):
        potential, kept = DoubleWell(), []
        method = simple(
            PlainHills(pace=round(25 / timestep), height_kcal_mol=0.5, **RANGE),
            NVE(timestep_fs=timestep, temperature_K=0.0, rigid_motion="free"),
        )
        state = method.init(potential, np.array([[[-0.8, 0.1, 0]]]), rng)
        iterate(
            method, potential, state, steps=round(400 / timestep), rng=rng,
            observers=[lambda s, k=kept: k.append(conserved_energy(s.dynamics, [1])[0])],
        )  # fmt: skip
        drifts.append(np.ptp(kept))
    assert drifts[0] < 2e-3
    assert drifts[0] / drifts[1] == pytest.approx(4.0, rel=0.3)


def test_at_no_temperature_a_walker_is_pushed_out_of_its_well(rng):
    """Frozen at the bottom it piles hills up until they are as steep as the well."""
    potential = DoubleWell()
    cold = Langevin(timestep_fs=2.0, temperature_K=1e-6, friction_per_ps=100.0)
    method = simple(PlainHills(pace=50, height_kcal_mol=0.1, **RANGE), cold)
    bottom = minimum(potential)
    state = method.init(potential, np.array([[[bottom, potential.lean * bottom, 0]]]), rng)
    state = iterate(method, potential, state, steps=50, rng=rng)
    # The first hill stands where the walker is, and moves it nowhere.
    assert abs(state.positions[0, 0, 0] - bottom) < 1e-4
    assert state.bias[0] == 0
    assert state.grid[0].max() == pytest.approx(0.1 * KCAL_MOL, rel=1e-2)
    state = iterate(method, potential, state, steps=6000, rng=rng)
    assert abs(state.positions[0, 0, 0] - bottom) > 0.2


def minimum(potential):
    from scipy.optimize import minimize_scalar

    return minimize_scalar(potential.surface, bounds=(-1.5, -0.5), method="bounded").x


def test_well_tempered_hills_are_as_high_as_the_bias_lets_them(rng):
    """h = W exp(-V / (gamma - 1) kT), V before the hills of the step."""
    potential = DoubleWell()
    method = simple(WellTempered(pace=5, height_kcal_mol=1.0, bias_factor=5.0, **RANGE))
    start = np.broadcast_to([[-1.0, 0, 0]], (4, 1, 3))
    state = method.init(potential, start, rng)
    for _ in range(30):
        old = state
        state = method.step(potential, old, rng)
        if state.heights.any():
            bias = method.bias(potential.numbers, old.grid)(state.positions).energies
            expected = KCAL_MOL * np.exp(-bias / (4 * KT))
            assert np.allclose(state.heights, expected, rtol=1e-12)
    assert state.heights.min() < 0.5 * KCAL_MOL


def test_a_walker_off_the_grid_ends_the_run(rng):
    method = simple(PlainHills(grid_min=(-1.05,), grid_max=(-0.95,), sigma=(0.02,)))
    potential = DoubleWell()
    state = method.init(potential, np.array([[[-1.0, 0, 0]]]), rng)
    with pytest.raises(GuardError, match=r"walker 0: python:test:x is .* off the grid"):
        iterate(method, potential, state, steps=1000, rng=rng)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("texts", "hills", "message"),
    [
        ([], {}, "expected one to three, found 0"),
        (["angle 0 1 2"], {"sigma": (1.0, 2.0)}, "sigma: expected one for each of the 1"),
        (["distance 0 1"], {}, "grid_min, grid_max: expected both bounds of distance 0 1"),
        (["distance 0 1"], {"grid_min": (3.0,), "grid_max": (1.0,)}, "the lower first"),
        (["dihedral 0 1 2 3"], {"sigma": (90.0,)}, "a hill would overlap with itself"),
        (["angle 0 1 2"], {"grid_spacing": (1e-6,)}, "expected at most 4000000 nodes"),
    ],
)
def test_what_does_not_fit_the_coordinates_is_refused(texts, hills, message):
    coordinates = [Coordinate.parse(text) for text in texts]
    with pytest.raises(InputError, match=message):
        Metadynamics.on(coordinates, Langevin(), WellTempered(**hills))


@pytest.mark.inputs
@pytest.mark.parametrize(
    "text", ["", "distance 0 1", "distance 0 1 at x kappa 1", "distance 0 1 at 1 kappa -1"]
)
def test_a_bad_wall_is_refused(text):
    with pytest.raises(InputError, match="cannot read the wall"):
        Wall.parse(text, upper=True)


# ---------------------------------------------------------------- PLUMED's files


@pytest.mark.parametrize("gamma", [None, 8.0])
def test_hills_read_back_are_the_hills_that_were_left(gamma, rng, tmp_path):
    """The file alone, summed by other code in PLUMED's units, gives the surface of the grid."""
    potential = Torsion()
    coordinates = [potential.dihedral, Coordinate.parse("distance 0 3")]
    chosen = {"pace": 5, "sigma": (15.0, 0.2), "grid_min": (0.0, 0.5), "grid_max": (0.0, 5.0)}
    hills = PlainHills(**chosen) if gamma is None else WellTempered(bias_factor=gamma, **chosen)
    method = Metadynamics.on(coordinates, Langevin(timestep_fs=2.0), hills)
    start = np.broadcast_to(CHAIN, (3, 4, 3))
    state, _, left = sampled(method, potential, start, 60, rng, 5)
    content = plumed.hills_head(coordinates, 3)
    for n in range(0, len(left), 3):
        content += plumed.hills_lines(
            coordinates, left.time_fs[n], left.centres[n : n + 3], method.sigmas,
            left.heights[n : n + 3], gamma,
        )  # fmt: skip
    (tmp_path / "HILLS").write_bytes(content)
    again = plumed.read_hills(tmp_path / "HILLS", coordinates)
    assert np.allclose(again.heights, left.heights, rtol=1e-12)
    assert np.allclose(again.centres, left.centres, rtol=1e-12)
    assert again.bias_factor == gamma
    assert list(again.walker[:4]) == [0, 1, 2, 0]
    table = np.loadtxt(tmp_path / "HILLS")
    nodes = np.stack(np.meshgrid(*(a.points for a in method.axes), indexing="ij"), axis=-1)
    in_nm_and_radians = nodes.reshape(-1, 2) * [np.pi / 180, 0.1]
    total = np.zeros(len(in_nm_and_radians))
    for row in table:
        turn = in_nm_and_radians[:, 0] - row[1]
        turn -= 2 * np.pi * np.rint(turn / (2 * np.pi))
        total += row[5] * np.exp(
            -(turn**2) / (2 * row[3] ** 2)
            - (in_nm_and_radians[:, 1] - row[2]) ** 2 / 2 / row[4] ** 2
        )
    kj_mol = 0.0103642697
    factor = 1.0 if gamma is None else gamma / (gamma - 1)
    bias = state.grid[0, 0].ravel()
    assert np.allclose(total * kj_mol, factor * bias, rtol=1e-6, atol=1e-9)
    assert row[6] == (-1 if gamma is None else gamma)


def test_plumed_heads_name_fields_and_period():
    head = plumed.hills_head([Coordinate.parse("dihedral 0 1 2 3")], 1).decode().splitlines()
    assert head[0] == ("#! FIELDS time dihedral_0_1_2_3 sigma_dihedral_0_1_2_3 height biasf")
    assert "#! SET min_dihedral_0_1_2_3 -pi" in head


def test_regions_of_samples_weighted_evenly_are_counted(rng):
    """Without a bias, reweighting counts; its error is that of a binomial."""
    bins = (rng.random(40000) < 0.2).astype(int)
    profile = reweighted(bins, 2, np.zeros(40000), np.arange(40000) // 400, 300.0)
    share = bins.mean()
    assert profile.energies[1] == pytest.approx(-KT * np.log(share / (1 - share)), rel=1e-9)
    assert profile.errors[1] == pytest.approx(KT / np.sqrt(40000 * 0.2 * 0.8), rel=0.25)


def test_nodes_are_found_across_the_seam():
    axes = (Axis(-180, 180, 36, True), Axis(0, 1, 11))
    values = np.array([[179.9, 0.0], [-180.0, 1.0], [0.0, 0.52]])
    assert list(node_of(axes, values)) == [0, 10, 18 * 11 + 5]
