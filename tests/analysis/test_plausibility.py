"""What is said of implausible results, and that nothing is said of sound ones."""

from __future__ import annotations

import numpy as np
import pytest

from flexcalc.analysis import plausibility
from flexcalc.models.energies import energies_of
from flexcalc.units import KB, KCAL_MOL

WATER = np.array([8, 1, 1])
BENT = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


# ---------------------------------------------------------------- paths


def test_an_end_that_stays_a_molecule_is_not_warned_of(rng):
    turned = BENT @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 5.0
    assert plausibility.moved_end(WATER, BENT, turned + 0.05, "start") == []
    assert plausibility.moved_end(WATER, BENT, BENT + 0.03 * rng.normal(size=(3, 3)), "end") == []


def test_an_end_with_other_bonds_is_named():
    torn = BENT.copy()
    torn[1] = 2.5, 0, 0
    (line,) = plausibility.moved_end(WATER, BENT, torn, "end")
    assert "the end was relaxed to another molecule (O0-H1 broken)" in line
    (back,) = plausibility.moved_end(WATER, torn, BENT, "start")
    assert "O0-H1 formed" in back


def test_an_end_that_turned_to_another_conformer_is_named():
    chain = np.array([[-0.6, 1.04, 0], [0, 0, 0], [1.5, 0, 0], [2.1, 1.04, 0.0]])
    trans = chain * [[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, -1, 1]]
    (line,) = plausibility.moved_end(np.array([8, 6, 6, 8]), chain, trans, "start")
    assert "the start moved by 0." in line
    assert "another conformer" in line


def test_ends_in_one_minimum_are_named_in_any_order_of_their_atoms():
    swapped = BENT[[0, 2, 1]] + 0.01
    (line,) = plausibility.identical_ends(WATER, BENT, swapped, degenerate=False)
    assert "both ends are the same minimum" in line
    assert plausibility.identical_ends(WATER, BENT, swapped, degenerate=True) == []
    other = BENT.copy()
    other[2] = -0.9, 0.35, 0
    assert plausibility.identical_ends(WATER, BENT, other, degenerate=False) == []


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ([0, 2, 5, 3], None),
        ([0, 1, 2, 3], "the highest image is the last one"),
        ([3, 2, 1, 0], "the path leads downhill"),
        ([0, -1, -2, 0], "no image is higher than the ends"),
        ([0, 0.002, 0.002, 0], "no image is higher than the ends"),
        ([0, -2, 3, 3.5, 3], None),
    ],
)
def test_a_path_without_a_barrier_is_named(profile, said):
    lines = plausibility.no_barrier(-300 + KCAL_MOL * np.array(profile), "on the model")
    assert [said in line for line in lines] == ([] if said is None else [True])


def test_a_saddle_below_its_minima_is_named():
    assert plausibility.negative_barrier(0.3, 0.1, "on the model") == []
    (line,) = plausibility.negative_barrier(0.3, -0.1, "on the model")
    assert "below the end" in line


# ---------------------------------------------------------------- energies


def thermal(rng, atoms, kelvin=500.0, frames=100, minimum=-1000.0):
    """Energies of harmonic frames: (3 atoms - 6) / 2 kT above the minimum on average."""
    return minimum + KB * kelvin * rng.gamma((3 * atoms - 6) / 2, size=frames)


@pytest.mark.physics
@pytest.mark.parametrize("atoms", [3, 10, 42, 200])
def test_the_minimum_of_thermal_frames_is_not_below_their_range(atoms):
    """Even where it is far below all of them, as that of a large molecule is."""
    for seed in range(20):
        known = energies_of(thermal(np.random.default_rng(seed), atoms))
        assert plausibility.below_training([-1000.0], atoms, known, "the path") == []


def test_an_energy_far_outside_the_training_energies_is_named(rng):
    known = energies_of(thermal(rng, 10))
    (line,) = plausibility.below_training([-999.8, -1003.0], 10, known, "the path")
    assert "the path: an energy is" in line
    (line,) = plausibility.above_training(-990.0, 10, known, "the saddle")
    assert "above the highest training energy" in line
    assert plausibility.above_training(known["highest"] + 0.3, 10, known, "the saddle") == []


def test_a_model_without_training_energies_is_silent():
    assert plausibility.below_training([-1e9], 10, None, "the path") == []
    assert plausibility.above_training(1e9, 10, None, "the saddle") == []


def test_a_saddle_far_from_its_guess_is_named():
    assert plausibility.implausible_saddle(BENT, BENT + 1, -3.0, -3.01) == []
    far = np.array([[0.0, 0, 0], [3, 0, 0], [0, 3, 0]])
    lines = plausibility.implausible_saddle(far, BENT, 33.0, -3.0)
    assert "from the guess" in lines[0]
    assert "kcal/mol above the guess" in lines[1]


# ---------------------------------------------------------------- dynamics

FREEDOM, RELAXATION, STEP = 30, 200.0, 0.5


def records(rng, ratio, replicas=4, picoseconds=4.0, every_fs=5.0, relaxation=RELAXATION):
    """Times, and kinetic temperatures that follow targets (records,) K with correlated noise."""
    time = np.arange(0, picoseconds * 1e3, every_fs)
    targets = np.broadcast_to(ratio, len(time))
    kept = np.exp(-every_fs / relaxation)
    noise = np.zeros((len(time), replicas))
    for row in range(1, len(time)):
        fresh = np.sqrt(1 - kept**2) * rng.normal(size=replicas)
        noise[row] = kept * noise[row - 1] + fresh
    spread = np.sqrt(2 / FREEDOM)
    return time, targets[:, None] * (1 + spread * noise)


def said_of(time, found, targets, **more):
    targets = np.broadcast_to(np.reshape(targets, (-1, 1)), found.shape)
    settings = {"freedom": FREEDOM, "relaxation_fs": RELAXATION, "timestep_fs": STEP}
    return plausibility.mean_temperature(time, found, targets, **settings, **more)


@pytest.mark.parametrize("picoseconds", [0.1, 0.5, 4.0, 20.0])
def test_sound_temperatures_raise_no_alarm(picoseconds):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        time, found = records(rng, 300.0, picoseconds=picoseconds)
        assert said_of(time, found, 300.0) == []
        # From a minimum without potential energy, and from one with too much.
        for start in (-0.5, 0.5):
            off = start * np.exp(-time / RELAXATION)[:, None]
            assert said_of(time, found * (1 + off), 300.0) == []


@pytest.mark.parametrize(
    ("kelvin", "picoseconds"), [(823.0, 0.5), (420.0, 4.0), (345.0, 40.0), (180.0, 4.0)]
)
def test_temperatures_that_miss_the_bath_are_named(rng, kelvin, picoseconds):
    time, found = records(rng, kelvin, picoseconds=picoseconds)
    (line,) = said_of(time, found, 300.0)
    assert "misses that of the bath, 300 K" in line


@pytest.mark.parametrize("schedule", [(50.0, 600.0), (600.0, 50.0)])
def test_a_ramp_is_followed_with_a_delay_and_raises_no_alarm(rng, schedule):
    time, _ = records(rng, 300.0)
    bath = np.interp(time, [0, 2000.0], schedule)
    followed = plausibility._followed(time, bath, RELAXATION)
    _, found = records(rng, followed)
    assert said_of(time, found, bath) == []
    assert len(said_of(time, found + 250, bath)) == 1


def test_a_delayed_temperature_is_the_closed_form():
    """Behind a ramp of rate r by r tau (1 - exp(-t/tau))."""
    time = np.linspace(0, 1000.0, 11)
    followed = plausibility._followed(time, 300 + 0.2 * time, 150.0)
    behind = 0.2 * 150.0 * (1 - np.exp(-time / 150.0))
    assert followed == pytest.approx(300 + 0.2 * time - behind, abs=1e-9)


def test_the_work_of_a_bias_is_granted(rng):
    time, found = records(rng, 400.0)
    work = 100.0 * FREEDOM * KB * time[-1] / RELAXATION
    heating = plausibility.bias_heating_K(work, time[-1], RELAXATION, FREEDOM)
    assert heating == pytest.approx(200.0)
    assert len(said_of(time, found, 300.0)) == 1
    assert said_of(time, found, 300.0, heating_K=heating) == []


def test_a_replica_that_explodes_is_named(rng):
    time, found = records(rng, 300.0)
    targets = np.full(found.shape, 300.0)
    assert plausibility.exploded(time, found, targets, FREEDOM) == []
    found[400:, 2] = 9e4
    (line,) = plausibility.exploded(time, found, targets, FREEDOM)
    assert "replica 2 exploded: it had 9e+04 K at 2 ps" in line
