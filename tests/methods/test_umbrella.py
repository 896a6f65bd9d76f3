"""Umbrella sampling and MBAR against closed forms, exact draws and a direct histogram."""

from __future__ import annotations

import numpy as np
import pytest
from freesurfaces import CHAIN, KT, DoubleWell, Torsion, along
from scipy.special import erf, logsumexp

from flexcalc.analysis.umbrella import (
    LEAST_OVERLAP,
    binned,
    inefficiency_of,
    neighbours,
    solved,
    spring_energies,
    study,
    thinned,
)
from flexcalc.errors import InputError, ShapeError
from flexcalc.files.plumed import WindowSamples
from flexcalc.geometry import Coordinate
from flexcalc.methods.dynamics import NVE, Langevin, conserved_energy
from flexcalc.methods.iterate import iterate
from flexcalc.methods.umbrella import SIGMAS_APART, Springs, Umbrella, Windows
from flexcalc.potential import Sum
from flexcalc.units import KCAL_MOL

pytest.importorskip("pymbar")

pytestmark = pytest.mark.physics

SHORT = Langevin(timestep_fs=1.0, friction_per_ps=30.0, rigid_motion="free")


def sampled(method, potential, frames, steps, rng, every=10):
    """Samples of a run after its equilibration, kept in memory as COLVAR keeps them."""
    rows = []

    def watch(state):
        if state.step > method.equilibration and state.step % every == 0:
            rows.append(method.values(state.positions))

    state = method.init(potential, method.starts(frames), rng)
    iterate(method, potential, state, steps=steps, rng=rng, observers=[watch])
    return as_samples(np.stack(rows))


def as_samples(values):
    """Samples of values (times, windows, d)."""
    times, windows, d = values.shape
    return WindowSamples(
        time_fs=np.repeat(np.arange(times), windows).astype(float),
        values=values.reshape(-1, d),
        energies=np.zeros(times * windows),
        temperature_K=np.full(times * windows, 300.0),
        window=np.tile(np.arange(windows), times),
    )


def over_bins(surface, nodes):
    """Free energy of bins about evenly spaced nodes: that of the mean Boltzmann factor."""
    width = nodes[1] - nodes[0]
    within = nodes[:, None] + width * ((np.arange(64) + 0.5) / 64 - 0.5)
    return -KT * np.log(np.exp(-surface(within) / KT).mean(axis=1))


def in_errors(found, exact):
    """The profile's differences from a closed form in standard errors, where it has some."""
    profile = found.profile
    best = int(np.argmin(profile.energies))
    known = np.isfinite(profile.energies) & (profile.errors > 0)
    apart = profile.energies - (exact - exact.flat[best])
    return apart[known] / profile.errors[known]


def check_within_errors(found, exact):
    """Half of the bins within one standard error, and none beyond what their number allows.

    Of 60 Gaussians one lies beyond 4 in one run of 260. Each bin's difference is from the same
    lowest bin, so that all of them may be off to one side; the seed is fixed.
    """
    apart = in_errors(found, exact)
    assert len(apart) > 25
    assert np.abs(apart).max() < 4
    assert np.median(np.abs(apart)) < 1.5


def test_a_double_well_is_within_its_errors(rng):
    """The barrier and the difference of the two wells lie within three standard errors."""
    potential = DoubleWell()
    method = Umbrella.on(
        [along(0)], SHORT, Windows(low=[-1.4], high=[1.4], windows=[13]), equilibration=300
    )
    samples = sampled(method, potential, np.array([[[-1.0, -0.3, 0.0]]]), 3000, rng)
    assert potential.calls == 3001
    found = study(samples, method, 300.0)
    exact = over_bins(potential.surface, found.nodes[0])
    check_within_errors(found, exact)
    best = int(np.argmin(found.profile.energies))
    for place in (0.0, 1.0):
        node = int(np.abs(found.nodes[0] - place).argmin())
        apart = found.profile.energies[node] - (exact[node] - exact[best])
        assert 0 < found.profile.errors[node] < 0.5 * KT
        assert abs(apart) < 3 * found.profile.errors[node]
    assert found.warning() is None


def test_a_dihedral_goes_all_the_way_round_within_its_errors(rng):
    potential = Torsion()
    dynamics = Langevin(timestep_fs=2.0, friction_per_ps=20.0)
    method = Umbrella.on([potential.dihedral], dynamics, Windows(windows=[18]), equilibration=600)
    found = study(sampled(method, potential, CHAIN[None], 2600, rng), method, 300.0)
    assert found.nodes[0].shape == (54,)
    exact = over_bins(potential.surface, found.nodes[0])
    check_within_errors(found, exact)
    assert (0, 17) in [tuple(sorted(pair)) for pair in found.pairs]
    assert found.warning() is None
    assert found.parts() == 1
    top = int(np.argmax(exact))
    best = int(np.argmin(found.profile.energies))
    apart = found.profile.energies[top] - (exact[top] - exact[best])
    assert abs(apart) < 3 * found.profile.errors[top]


def test_two_coordinates_give_a_surface_within_its_errors(rng):
    """The double well over x and y; 12 x 4 windows in one batch."""
    potential = DoubleWell()
    method = Umbrella.on(
        [along(0), along(1)],
        SHORT,
        Windows(low=[-1.3, -0.4], high=[1.3, 0.4], windows=[12, 4]),
        equilibration=200,
    )
    start = np.array([[[-1.0, -0.3, 0.0]], [[1.0, 0.3, 0.0]]])
    found = study(sampled(method, potential, start, 1700, rng, every=15), method, 300.0)
    assert potential.calls == 1701
    x, y = found.nodes
    exact = potential.surface(*np.meshgrid(x, y, indexing="ij"))
    # Bins are 0.08 wide; the mean over one differs from its middle by less than kT/20.
    apart = in_errors(found, exact)
    assert np.median(np.abs(apart)) < 1.2
    assert (np.abs(apart) < 3).mean() > 0.98
    assert len(found.pairs) == 11 * 4 + 12 * 3


def drawn(rng, samples, windows=9, kappa=20 * KT, stiffness=3 * KT):
    """Exact draws of springs on a spring: Gaussians, and the windows."""
    method = Umbrella.on(
        [along(0)],
        SHORT,
        Windows(low=[-2.0], high=[2.0], windows=[windows], kappa_kcal_mol=[kappa / KCAL_MOL]),
    )
    centres = method.centres[:, 0]
    spread = np.sqrt(KT / (kappa + stiffness))
    values = rng.normal(centres * kappa / (kappa + stiffness), spread, (samples, windows))
    return method, as_samples(values[..., None])


def test_free_energies_of_windows_are_those_of_springs_on_a_spring(rng):
    """F_i = k K c_i^2 / (2 (k + K)) up to a constant; the spread over runs is the error told."""
    stiffness, kappa, misses = 3 * KT, 20 * KT, []
    for _ in range(12):
        method, samples = drawn(rng, 100)
        centres = method.centres[:, 0]
        reduced = spring_energies(method.lines, samples.values) / KT
        found = solved(reduced, np.bincount(samples.window))
        exact = stiffness * kappa / (2 * (stiffness + kappa)) * centres**2 / KT
        misses.append(found.free_energies - (exact - exact[0]))
    misses = np.array(misses)
    error = misses.std(axis=0, ddof=1) / np.sqrt(len(misses))
    assert (np.abs(misses.mean(axis=0))[1:] < 4 * error[1:]).all()
    np.testing.assert_allclose(found.in_windows.sum(axis=0), 1, rtol=1e-8)


def test_the_error_is_the_spread_of_many_runs(rng):
    """Profiles of 40 independent sets of draws spread by what each says; 40 give 11 percent."""
    edges = np.linspace(-2, 2, 9)
    profiles, told = [], []
    for _ in range(40):
        method, samples = drawn(rng, 60)
        equations = solved(
            spring_energies(method.lines, samples.values) / KT, np.bincount(samples.window)
        )
        bins = np.digitize(samples.values[:, 0], edges) - 1
        bins[bins == 8] = -1
        populations, variances = equations.populations(bins, 8)
        best = int(np.argmax(populations))
        assert best in (3, 4)
        profiles.append(-np.log(populations / populations[best]))
        told.append(np.sqrt(variances))
    exact = -np.log(np.diff(erf(np.sqrt(1.5) * edges)))
    apart = np.array(profiles) - (exact - exact[3])
    spread = np.sqrt((apart[:, [0, 1, 6, 7]] ** 2).mean(axis=0))
    assert spread == pytest.approx(np.array(told)[:, [0, 1, 6, 7]].mean(axis=0), rel=0.4)


def test_errors_and_overlap_are_those_of_pymbar(rng):
    """Ours come from products of weights, pymbar's from all states at once."""
    import pymbar

    method, samples = drawn(rng, 80)
    counts = np.bincount(samples.window)
    order = np.argsort(samples.window, kind="stable")
    values = samples.values[order, 0]
    reduced = spring_energies(method.lines, values[:, None]) / KT
    equations = solved(reduced, counts)
    edges = np.linspace(-1.8, 1.8, 13)
    bins = np.digitize(values, edges) - 1
    bins[(bins < 0) | (bins > 11)] = -1
    populations, variances = equations.populations(bins, 12)
    theirs = pymbar.FES(reduced, counts)
    theirs.generate_fes(np.zeros(len(values)), values, "histogram", {"bin_edges": [edges]})
    middles = (edges[1:] + edges[:-1]) / 2
    told = theirs.get_fes(middles, reference_point="from-lowest", uncertainty_method="analytical")
    np.testing.assert_allclose(-np.log(populations / populations.max()), told["f_i"], atol=1e-6)
    np.testing.assert_allclose(np.sqrt(variances), told["df_i"], atol=1e-6)
    overlap = pymbar.MBAR(reduced, counts).compute_overlap()["matrix"]
    np.testing.assert_allclose(equations.overlap, overlap, atol=1e-6)


def test_mbar_is_wham_of_narrow_bins(rng):
    """The histogram equations of WHAM, iterated here, give the same as bins get narrow."""
    method, samples = drawn(rng, 200)
    counts = np.bincount(samples.window)
    values = samples.values[:, 0]
    equations = solved(spring_energies(method.lines, samples.values) / KT, counts)
    edges = np.linspace(-4, 4, 4001)
    middles = (edges[1:] + edges[:-1]) / 2
    seen = np.histogram(values, edges)[0]
    boltzmann = -spring_energies(method.lines, middles[:, None]) / KT
    free = np.zeros(len(counts))
    for _ in range(3000):
        density = seen / np.exp(logsumexp(free[:, None] + boltzmann, b=counts[:, None], axis=0))
        new = -logsumexp(boltzmann, b=density[None], axis=1)
        done = np.abs(new - new[0] - free).max() < 1e-10
        free = new - new[0]
        if done:
            break
    # A sample is moved by half a bin, 0.001, at most, and by 0.0006 in the mean of squares; the
    # springs' energies change by up to kappa * 1 * 0.001 = 0.02 kT, differently for each sample.
    np.testing.assert_allclose(equations.free_energies, free, atol=0.02)


def test_one_window_without_a_spring_is_a_direct_histogram(rng):
    """With springs that pull by nothing the weights are even, and the errors binomial."""
    values = rng.normal(size=500)
    equations = solved(np.zeros((2, 500)), np.array([250, 250]))
    bins = np.digitize(values, [-1.0, 1.0])
    populations, variances = equations.populations(bins, 3)
    shares = np.bincount(bins) / 500
    np.testing.assert_allclose(populations, shares, rtol=1e-12)
    # var(ln(p_a/p_b)) of a multinomial is 1/n_a + 1/n_b.
    exact = 1 / (500 * shares) + 1 / (500 * shares[1])
    np.testing.assert_allclose(variances[[0, 2]], exact[[0, 2]], rtol=1e-9)


def test_windows_that_do_not_overlap_are_named(rng):
    """Springs so strong that each window keeps to itself; those of one pair are let meet."""
    method, samples = drawn(rng, 100, windows=5, kappa=200 * KT)
    found = study(samples, method, 300.0)
    assert found.parts() == 5
    assert found.apart() == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert "windows 0 and 1 (-2 and -1), 1 and 2 (-1 and 0)" in found.warning()
    assert "into 5 pieces" in found.warning()
    assert len(found.apart()) == 4
    values = samples.values.copy()
    values[samples.window == 1] += 0.5
    values[samples.window == 2] -= 0.5
    met = study(WindowSamples(**{**vars(samples), "values": values}), method, 300.0)
    assert met.parts() == 4
    assert (1, 2) not in met.apart()


def test_a_window_that_never_got_to_its_place_is_named(rng):
    """It sits two widths off, on the far side: MBAR alone would take its word that it overlaps."""
    method, samples = drawn(rng, 100, windows=5, kappa=4 * KT, stiffness=0)
    assert study(samples, method, 300.0).apart() == []
    values = samples.values.copy()
    values[samples.window == 0] = rng.normal(-3.0, 0.05, (100, 1))
    stuck = study(WindowSamples(**{**vars(samples), "values": values}), method, 300.0)
    assert min(stuck.overlap[0, 1], stuck.overlap[1, 0]) > LEAST_OVERLAP
    assert stuck.apart() == [(0, 1)]


def test_a_ring_that_is_open_at_one_place_is_of_one_piece(rng):
    """A flat surface with a wall in one place, which nobody leans across."""
    kappa = 2 * KT * (SIGMAS_APART / 30) ** 2
    ring = Umbrella.on(
        [Coordinate.parse("dihedral 0 1 2 3")],
        SHORT,
        Windows(windows=[12], kappa_kcal_mol=[kappa / KCAL_MOL]),
    )
    lean = rng.normal(0, np.sqrt(KT / kappa), (200, 12))
    lean[:, 3], lean[:, 4] = -np.abs(lean[:, 3]), np.abs(lean[:, 4])
    found = study(as_samples((ring.centres[:, 0] + lean)[..., None]), ring, 300.0)
    assert found.apart() == [(3, 4)]
    assert found.parts() == 1
    assert "held together by other pairs" in found.warning()


def test_correlated_samples_are_thinned_to_independent_ones(rng):
    """x' = a x + noise is worth (1 + a)/(1 - a) samples for one; its estimate is good to 20 %."""
    a, values = 0.8, [np.zeros(2)]
    for _ in range(20000):
        values.append(a * values[-1] + rng.normal(size=2) * [1.0, 0.1])
    found = inefficiency_of(np.array(values))
    assert found == pytest.approx((1 + a) / (1 - a), rel=0.2)
    rows = thinned(np.arange(1000), 4.0)
    assert len(rows) == 250
    assert set(np.diff(rows)) == {4}
    assert inefficiency_of(np.zeros((50, 1))) == 50


def test_bins_go_round_a_ring_and_end_at_an_open_line():
    ring = Umbrella.on([Coordinate.parse("dihedral 0 1 2 3")], SHORT, Windows(windows=[12]))
    (nodes,), (bins,) = binned(ring.lines, np.array([[-180.0], [180.0], [174.0], [-166], [0.0]]))
    assert nodes[1] == -180
    assert list(bins) == [1, 1, 0, 2, 19]
    line = Umbrella.on([along(0)], SHORT, Windows(low=[0.0], high=[1.0], windows=[2]))
    (nodes,), (bins,) = binned(line.lines, np.array([[-0.51], [-0.49], [1.49], [1.51]]))
    assert np.allclose(nodes, (np.arange(6) - 1) / 3)
    assert list(bins) == [-1, 0, 5, -1]


def test_neighbours_lie_side_by_side_along_either_coordinate():
    dihedral = Coordinate.parse("dihedral 0 1 2 3")
    two = Umbrella.on(
        [along(0), dihedral], SHORT, Windows(low=[0, -180], high=[1, 180], windows=[2, 3])
    )
    assert two.centres.tolist() == [
        [0, -180],
        [0, -60],
        [0, 60],
        [1, -180],
        [1, -60],
        [1, 60],
    ]
    pairs = {(tuple(sorted(pair)), n) for pair, n in neighbours(two.lines)}
    rings = {(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5)}
    assert pairs == {(pair, 0) for pair in ((0, 3), (1, 4), (2, 5))} | {(p, 1) for p in rings}


def test_springs_pull_by_minus_their_gradient_the_short_way_round(rng):
    dihedral, angle = Coordinate.parse("dihedral 0 1 2 3"), Coordinate.parse("angle 0 1 2")
    method = Umbrella.on(
        [dihedral, angle], SHORT, Windows(low=[170, 90], high=[190, 100], windows=[2, 2])
    )
    positions = CHAIN + 0.1 * rng.normal(size=(4, 4, 3))
    springs = Springs(np.array([6] * 4), method.lines, method.centres)
    found, h = springs(positions), 1e-5
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        move = np.zeros((4, 3))
        move[atom, axis] = h
        slope = (springs(positions + move).energies - springs(positions - move).energies) / (2 * h)
        np.testing.assert_allclose(found.forces[:, atom, axis], -slope, atol=1e-6)
    values = method.values(positions)
    turn = (values[:, 0] - method.centres[:, 0] + 180) % 360 - 180
    bend = values[:, 1] - method.centres[:, 1]
    kappas = [line.kappa for line in method.lines]
    np.testing.assert_allclose(
        found.energies, kappas[0] / 2 * turn**2 + kappas[1] / 2 * bend**2, rtol=1e-10
    )
    with pytest.raises(ShapeError, match="expected 4 rows, found 3"):
        springs(positions[:3])


def test_default_springs_are_half_as_wide_as_their_distance():
    line = Umbrella.on([along(0)], SHORT, Windows(low=[0.0], high=[1.0], windows=[11])).lines[0]
    assert np.sqrt(KT / line.kappa) == pytest.approx(0.1 / SIGMAS_APART)
    dihedral = Umbrella.on([Coordinate.parse("dihedral 0 1 2 3")], SHORT).lines[0]
    assert len(dihedral.centres) == 24
    assert dihedral.ring


def test_a_window_starts_from_its_nearest_frame_and_is_pulled_from_there(rng):
    """Across 180 degrees, and evenly until half of the equilibration is over."""
    torsion = Torsion()
    method = Umbrella.on([torsion.dihedral], SHORT, Windows(windows=[6]), equilibration=40)
    frames = np.stack([CHAIN, CHAIN * [1, 1, -1]])
    near = method.starts(frames)
    turns = torsion.dihedral.values(frames)
    for window, centre in enumerate(method.centres[:, 0]):
        away = np.abs((turns - centre + 180) % 360 - 180)
        assert np.array_equal(near[window], frames[away.argmin()])
    begun = method.values(near)
    assert np.allclose((method.restraint_centres(begun, 0) - begun + 180) % 360, 180)
    assert np.array_equal(method.restraint_centres(begun, 20), method.centres)
    half = method.restraint_centres(begun, 10) - method.centres
    whole = method.restraint_centres(begun, 0) - method.centres
    np.testing.assert_allclose(half, whole / 2)
    assert np.abs(whole).max() <= 180


def test_the_work_of_pulling_is_booked_as_heat(rng):
    """Without a bath the conserved energy stays while the springs move, to the order h^2."""
    potential, drifts = Torsion(), []
    # All springs of the chain at rest: two sides of 1.5 with 2.5 between their ends.
    along_chain, across = 1.5 * 7 / 18, 1.5 * np.sqrt(1 - (7 / 18) ** 2)
    chain = np.array(
        [[-along_chain, across, 0], [0, 0, 0], [1.5, 0, 0], [1.5 + along_chain, 0, across]]
    )
    for timestep, steps in ((0.5, 400), (0.25, 800)):
        dynamics = NVE(timestep_fs=timestep)
        method = Umbrella.on(
            [potential.dihedral], dynamics, Windows(windows=[8]), equilibration=2 * steps
        )
        state = method.init(potential, method.starts(chain[None]), np.random.default_rng(3))
        begun = conserved_energy(state.dynamics, potential.numbers)
        state = iterate(method, potential, state, steps=steps, rng=rng)
        drifts.append(np.abs(conserved_energy(state.dynamics, potential.numbers) - begun).max())
        assert np.abs(state.dynamics.heat).max() > 5 * drifts[-1]
        both = Sum(potential, method.springs(potential.numbers, state.begun, steps))
        now = both(state.positions)
        np.testing.assert_allclose(state.dynamics.evaluation.forces, now.forces, atol=1e-10)
    assert drifts[1] < 0.5 * drifts[0]


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("texts", "words", "said"),
    [
        ([], {}, "coordinate: expected one or two, found 0"),
        (["angle 0 1 2"], {}, "low, high: expected both bounds of angle 0 1 2"),
        (["angle 0 1 2"], {"low": [90], "high": [80]}, "the lower first, found 90 and 80"),
        (["dihedral 0 1 2 3"], {"low": [0], "high": [361]}, "at most 360 degrees apart"),
        (["dihedral 0 1 2 3"], {"low": [0], "high": [350], "windows": [5]}, "leave no gap"),
        (["dihedral 0 1 2 3"], {"windows": [2]}, "windows: expected at least 3"),
        (["angle 0 1 2"], {"low": [80], "high": [90], "windows": [1]}, "expected at least 2"),
        (["dihedral 0 1 2 3"], {"windows": [5, 5]}, "expected one for each of the 1 coordinates"),
        (["dihedral 0 1 2 3"], {"windows": [10001]}, "expected at most 10000 in all, found 10001"),
    ],
    ids=str,
)
def test_windows_that_do_not_fit_are_refused(texts, words, said):
    with pytest.raises(InputError) as caught:
        Umbrella.on([Coordinate.parse(text) for text in texts], SHORT, Windows(**words))
    assert said in str(caught.value)
