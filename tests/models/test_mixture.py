"""Mixtures: the weights of local models, their energies brought together, and their training."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

import flexcalc
from flexcalc import registry
from flexcalc.cli import main
from flexcalc.config.options import flags
from flexcalc.config.train import Train
from flexcalc.dataset import Dataset
from flexcalc.errors import ConfigError, FileFormatError, InputError
from flexcalc.geometry import Coordinate
from flexcalc.models.gdml import SGDML
from flexcalc.models.mixture import (
    Gate,
    MixturePotential,
    align_energies,
    averages_of,
    background_shares,
)
from flexcalc.models.mixture.features import pair_classes
from flexcalc.models.mixture.gate import MIN_CROSSING_FS, discriminant
from flexcalc.registry import FAMILIES
from flexcalc.training.checkpoints import Checkpoints
from flexcalc.training.mixture import Mixture
from flexcalc.training.regions import regions_of, with_neighbours
from flexcalc.training.tuning import fit_best
from flexcalc.units import FS, KB
from tests import systems
from tests.systems import WATER

OPEN = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
SHUT = np.array([[0.0, 0.0, 0.0], [1.06, 0.0, 0.0], [0.35, 1.00, 0.0]])
SOFT = 4.0
"""1/eV, of the soft minimum of two wells."""


class Springs(systems.Springs):
    """Springs of 15 eV/angstrom^2 around a shape of water."""

    def __init__(self, shape=OPEN, constant=0.0, numbers=WATER):
        super().__init__(15.0, shape, constant, numbers)


def frames(count, seed, scale=0.05, between=False):
    """Water in both shapes, in turn, or on straight lines from one to the other, and rattled."""
    rng = np.random.default_rng(seed)
    part = rng.random(count) if between else np.arange(count) % 2
    start = OPEN + part[:, None, None] * (SHUT - OPEN)
    return start + scale * rng.standard_normal((count, 3, 3))


def two_wells(positions):
    """Labels of the soft minimum of springs around both shapes."""
    wells = [Springs(OPEN)(positions), Springs(SHUT, 0.05)(positions)]
    raised = np.exp([-SOFT * well.energies for well in wells])
    shares = raised / raised.sum(axis=0)
    forces = sum(
        share[:, None, None] * well.forces for share, well in zip(shares, wells, strict=True)
    )
    return Dataset(WATER, positions, -np.log(raised.sum(axis=0)) / SOFT, forces)


def gate_of_water(shared=0.2, coordinates=()):
    """The gate between the two shapes of water."""
    shapes = frames(40, seed=0)
    named = [Coordinate.parse(text) for text in coordinates]
    averages = averages_of(WATER, shapes, np.random.default_rng(0), named)
    return discriminant(averages, WATER, shapes, np.arange(40) % 2, shared)


GATES = {
    "distances": gate_of_water,
    "coordinates": lambda: gate_of_water(coordinates=["angle 1 0 2", "distance 0 1"]),
}


@pytest.fixture(params=GATES)
def gate(request):
    return GATES[request.param]()


def slope_of(energy, positions, h=3e-4):
    """Minus the five-point gradient of an energy; its error goes as h^4, its noise as 1/h."""
    found = np.zeros_like(positions)
    for atom, axis in np.ndindex(positions.shape[1:]):
        step = np.zeros(positions.shape[1:])
        step[atom, axis] = h
        far, near = (energy(positions + n * step) - energy(positions - n * step) for n in (2, 1))
        found[:, atom, axis] = (far - 8 * near) / (12 * h)
    return found


def test_weights_sum_to_one_and_are_exactly_zero_far_from_a_region(gate):
    pure, border = gate(frames(40, seed=1)).weights, gate(frames(40, seed=2, between=True)).weights
    for weights in (pure, border):
        assert np.abs(weights.sum(axis=1) - 1).max() < 1e-15
        assert weights.min() >= 0
    # A fifth of like frames lie on the border; of 40 others 8, with a deviation of 2.5.
    assert 16 >= (pure.min(axis=1) > 0).sum() > 0
    assert np.array_equal(pure.argmax(axis=1), np.arange(40) % 2)
    assert ((border > 0) & (border < 1)).any()


@pytest.mark.physics
def test_no_border_is_crossed_within_a_few_timesteps():
    """Two halves of one cloud, whose border would be a cut: time by moves at the thermal pace."""
    rng = np.random.default_rng(5)
    cloud = OPEN + 0.05 * rng.standard_normal((200, 3, 3))
    halves = (np.linalg.norm(cloud[:, 1] - cloud[:, 0], axis=1) > 0.97).astype(int)
    averages = averages_of(WATER, cloud, rng, [Coordinate.parse("distance 0 1")])
    gate = discriminant(averages, WATER, cloud, halves, 0.01)
    # Hydrogen against oxygen along their bond: the reduced mass sets the pace.
    pace = np.sqrt(KB * 300 * (1 / 1.008 + 1 / 15.999)) * FS
    start = OPEN.copy()
    at = np.linspace(-0.3, 0.3, 3001)
    line = np.repeat(start[None], len(at), axis=0)
    line[:, 1, 0] += at
    mixed = (gate(line).weights > 0).all(axis=1)
    # What is seen is the mean of both bonds, and one bond moves that by half, not by its root.
    assert np.ptp(at[mixed]) / pace == pytest.approx(MIN_CROSSING_FS * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("shared", [0.1, 0.5])
def test_borders_are_as_wide_as_to_hold_the_share_of_frames_they_should(shared):
    """Of the 40 frames the gate was made from, to one frame."""
    weights = gate_of_water(shared)(frames(40, seed=0)).weights
    assert (weights > 0).all(axis=1).sum() == pytest.approx(40 * shared, abs=1)


@pytest.mark.physics
def test_the_force_of_a_gate_is_minus_the_gradient_across_its_border(gate):
    """With constant energies of 0 and 3 eV, the energy is 3 eV times the second weight."""
    positions = frames(60, seed=3, between=True)
    weighing = gate(positions)
    mixed = (weighing.weights > 0).all(axis=1)
    assert 10 < mixed.sum() < 60
    force = weighing.force(np.broadcast_to([0.0, 3.0], (60, 2)))
    slope = slope_of(lambda moved: 3.0 * gate(moved).weights[:, 1], positions)
    assert np.abs(force).max() > 1.0
    # Of the order of steepness^4 h^3, where a step crosses the edge of a region, else of h^4.
    assert np.abs(force - slope).max() < 1e-7 * np.abs(force).max()
    assert np.abs(force[~mixed]).max() == 0.0


def test_energies_of_regions_without_weight_do_not_matter(gate):
    positions = frames(20, seed=4)
    weighing = gate(positions)
    energies = np.where(weighing.weights > 0, 1.5, np.nan)
    assert (weighing.weights == 0).any()
    assert np.abs(weighing.force(energies)).max() < 1e-14


def test_like_atoms_are_exchanged_and_mirrors_taken_without_any_change(gate):
    positions = frames(20, seed=5, between=True)
    weights = gate(positions).weights
    assert np.abs(gate(positions[:, [0, 2, 1]]).weights - weights).max() < 1e-12
    assert np.abs(gate(positions * [1, 1, -1]).weights - weights).max() < 1e-12


def ring(radius, atoms=6):
    angles = 2 * np.pi * np.arange(atoms) / atoms
    return radius * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)


def test_classes_of_pairs_are_the_orbits_of_the_bonds_automorphisms():
    """Benzene: 12 permutations; of 66 pairs, CC and HH three classes each and CH four."""
    numbers = np.array([6] * 6 + [1] * 6)
    bonded = np.zeros((12, 12))
    for atom in range(6):
        for other in ((atom + 1) % 6, atom + 6):
            bonded[atom, other] = bonded[other, atom] = 1.0
    classes = pair_classes(numbers, bonded)
    first, second = np.triu_indices(12, 1)
    found = classes[first, second]
    assert np.array_equal(classes, classes.T)
    assert sorted(np.unique(found, return_counts=True)[1]) == [3, 3, 6, 6, 6, 6, 6, 6, 12, 12]
    turned = np.r_[np.roll(np.arange(6), 1), np.roll(np.arange(6, 12), 1)]
    mirrored = np.r_[0, 5, 4, 3, 2, 1, 6, 11, 10, 9, 8, 7]
    for permutation in (turned, mirrored):
        assert np.array_equal(classes[permutation[:, None], permutation], classes)


def test_averages_do_not_change_when_like_atoms_are_exchanged():
    """The three hydrogens of a methyl group, and the carbons of ethane, in any order."""
    numbers = np.array([6, 6, 1, 1, 1, 1, 1, 1])
    up, down = ring(1.02, 3) + np.array([0, 0, 1.16]), ring(-1.02, 3) - np.array([0, 0, 1.16])
    shape = np.concatenate([[[0, 0, 0.76], [0, 0, -0.76]], up, down])
    rng = np.random.default_rng(6)
    positions = shape + 0.05 * rng.standard_normal((10, 8, 3))
    averages = averages_of(numbers, positions, rng)
    seen = averages(positions)
    assert seen.shape[1] == len(np.unique(averages.classes)) < averages.classes.size
    for methyl in permutations((2, 3, 4)):
        order = np.array([0, 1, *methyl, 5, 6, 7])
        assert np.abs(averages(positions[:, order]) - seen).max() < 1e-13
    ends = np.array([1, 0, 5, 6, 7, 2, 3, 4])
    assert np.abs(averages(positions[:, ends]) - seen).max() < 1e-13


def test_a_member_is_only_asked_where_it_has_weight():
    gate, positions = gate_of_water(), frames(30, seed=7)
    members = [Springs(OPEN), Springs(SHUT)]
    MixturePotential(members, gate, np.zeros(2))(positions)
    weights = gate(positions).weights
    assert [member.calls for member in members] == [[n] for n in (weights > 0).sum(axis=0)]
    assert sum(len(member.calls) for member in members) == 2
    assert (weights > 0).sum() < 45


def test_a_mixture_of_one_surface_is_that_surface(gate):
    positions = frames(30, seed=8, between=True)
    found, expected = (
        MixturePotential([Springs()] * 2, gate, np.zeros(2))(positions),
        Springs()(positions),
    )
    assert np.abs(found.energies - expected.energies).max() < 1e-13
    assert np.abs(found.forces - expected.forces).max() < 1e-12


def test_constants_that_members_lost_are_found_again():
    """Members off by -2 and 5 eV: with the constants back, no border is felt."""
    gate, positions = gate_of_water(shared=0.5), frames(50, seed=9, between=True)
    labels = Springs()(positions)
    data = Dataset(WATER, positions, labels.energies, labels.forces)
    members = [Springs(constant=-2.0), Springs(constant=5.0)]
    constants = align_energies(MixturePotential(members, gate, np.ones(2)), data)
    assert constants == pytest.approx([2.0, -5.0], abs=1e-12)
    found = MixturePotential(members, gate, constants)(positions)
    assert np.abs(found.forces - labels.forces).max() < 1e-11
    unaligned = MixturePotential(members, gate, np.zeros(2))(positions)
    assert np.abs(unaligned.forces - labels.forces).max() > 1.0


def test_a_background_shares_the_say_and_the_surfaces_are_means(gate):
    positions = frames(30, seed=8, between=True)
    members, common = [Springs(OPEN), Springs(SHUT)], Springs(OPEN, 1.0)
    apart = MixturePotential(members, gate, np.zeros(2))(positions)
    shares = np.full((2, 1), 0.25)
    found = MixturePotential(members, gate, np.zeros(2), [common], shares)(positions)
    expected = common(positions)
    assert np.abs(found.energies - 0.75 * apart.energies - 0.25 * expected.energies).max() < 1e-13
    assert np.abs(found.forces - 0.75 * apart.forces - 0.25 * expected.forces).max() < 1e-12


def test_the_share_of_a_background_is_the_best_one():
    """Labels three parts background and one part member, and labels beyond either of them."""
    gate, positions = gate_of_water(), frames(40, seed=13, between=True)
    members, common = [Springs(OPEN), Springs(OPEN)], Springs(SHUT)
    mixture = MixturePotential(members, gate, np.zeros(2), [common])
    for mixed, expected in ((0.75, 0.75), (1.5, 1.0), (-0.5, 0.0)):
        forces = (1 - mixed) * members[0](positions).forces + mixed * common(positions).forces
        data = Dataset(WATER, positions, np.zeros(40), forces)
        found = background_shares(mixture, data)
        assert found == pytest.approx(np.full((2, 1), expected), abs=1e-12)
    assert background_shares(mixture, data[:0]).tolist() == [[0.5], [0.5]]
    alone = MixturePotential(members, gate, np.zeros(2))
    assert background_shares(alone, data).shape == (2, 0)


def test_the_shares_of_several_backgrounds_are_the_best_ones():
    """Of labels that are a mean they are found; of others none that was tried is better."""
    gate, positions = gate_of_water(), frames(60, seed=14, between=True)
    members = [Springs(OPEN), Springs(OPEN)]
    third = OPEN + np.array([[0, 0, 0], [0.3, 0, 0], [0, -0.2, 0]])
    backgrounds = [Springs(SHUT), Springs(third)]
    mixture = MixturePotential(members, gate, np.zeros(2), backgrounds)
    each = np.array([one(positions).forces for one in (members[0], *backgrounds)])
    rng = np.random.default_rng(0)

    def labelled(forces):
        return Dataset(WATER, positions, np.zeros(60), forces)

    mean = np.tensordot([0.2, 0.5, 0.3], each, 1)
    found = background_shares(mixture, labelled(mean))
    assert found == pytest.approx(np.tile([0.5, 0.3], (2, 1)), abs=1e-10)
    other = labelled(each[1] + rng.standard_normal(mean.shape))
    found = background_shares(mixture, other)
    weights = gate(positions).weights
    for shares, weight in zip(found, weights.T, strict=True):
        assert shares.min() >= 0
        assert shares.sum() <= 1 + 1e-12

        def wrong(parts, weight=weight):
            errors = np.tensordot(parts, each, 1) - other.forces
            return (weight[:, None, None] * errors**2).sum()

        least = wrong([1 - shares.sum(), *shares])
        assert all(least <= wrong(parts) + 1e-9 for parts in rng.dirichlet([1, 1, 1], 300))


def test_a_member_without_a_part_in_the_say_is_not_asked():
    gate, positions = gate_of_water(), frames(30, seed=7)
    members, common = [Springs(OPEN), Springs(SHUT)], Springs()
    mixture = MixturePotential(members, gate, np.zeros(2), [common], np.array([[1.0], [0.5]]))
    mixture(positions)
    asked = [one.calls for one in (*members, common)]
    assert asked == [[], [(gate(positions).weights[:, 1] > 0).sum()], [30]]


@pytest.mark.physics
def test_energy_is_conserved_across_the_border(gate):
    """Velocity Verlet from one shape into the other; its error goes as the square of the step."""
    mixture = MixturePotential([Springs(OPEN), Springs(SHUT, 0.3)], gate, np.zeros(2))
    masses = np.array([16.0, 1.0, 1.0])[:, None]
    direction = (SHUT - OPEN) - np.average(SHUT - OPEN, axis=0, weights=masses[:, 0])

    def run(step, steps):
        positions, velocities = OPEN.copy()[None], 3.0 * direction[None]
        found, energies, weights = mixture(positions), [], []
        for _ in range(steps):
            velocities = velocities + 0.5 * step * found.forces / masses
            positions = positions + step * velocities
            found = mixture(positions)
            velocities = velocities + 0.5 * step * found.forces / masses
            energies.append(found.energies[0] + 0.5 * (masses * velocities[0] ** 2).sum())
            weights.append(gate(positions).weights[0, 1])
        return np.ptp(energies), weights

    (coarse, weights), (fine, _) = run(0.01, 600), run(0.005, 1200)
    crossings = np.count_nonzero(np.diff(np.round(weights)))
    assert crossings >= 2
    assert coarse / fine == pytest.approx(4.0, rel=0.2)


def test_regions_that_are_too_small_join_the_nearest():
    rng = np.random.default_rng(10)
    places = np.repeat([0.0, 10.0, 11.5], [40, 40, 5])
    features = places[:, None] + 0.1 * rng.standard_normal((85, 2))
    found = regions_of(features, 3, 20, rng)
    assert np.bincount(found).tolist() in ([40, 45], [45, 40])
    assert len(np.unique(found[40:])) == 1
    assert regions_of(features, 3, 5, rng).max() == 2
    assert regions_of(features, 3, 1000, rng).max() == 0


def test_overlap_adds_the_nearest_of_the_others():
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.02, 0.98], [0.01, 0.99]])
    weights = np.array([[1, 0], [0.9, 0.1], [0.2, 0.8], [0, 1], [0, 1.0]])
    first, second = with_neighbours(weights, shares, 0.34)
    assert first.tolist() == [0, 1, 2, 3]
    assert second.tolist() == [0, 1, 2, 3, 4]
    assert [len(one) for one in with_neighbours(weights, shares, 0.0)] == [3, 4]


def test_a_frame_of_hardly_any_weight_does_not_train_a_region():
    weights = np.array([[1, 0], [1 - 1e-6, 1e-6], [0.9, 0.1], [1e-2, 0.99]])
    first, second = with_neighbours(weights, weights, 0.0)
    assert (first.tolist(), second.tolist()) == ([0, 1, 2, 3], [2, 3])


@pytest.fixture(scope="module")
def labels():
    return two_wells(np.concatenate([frames(60, seed=11), frames(40, 12, between=True)]))


def quick(**changes):
    """Local models alone, with a length scale that is set."""
    own = {"of": (SGDML(sigma=3.0),), "regions": 2, "least_points": 10, "background": False}
    return Mixture(**(own | changes))


def test_two_wells_are_two_regions_and_both_are_learned(labels):
    train, test = labels[:70], labels[70:]
    mixture = quick(overlap=0.5).fit(train, None, np.random.default_rng(0))
    rows = mixture.facts["regions"]
    assert [row["family"] for row in rows] == ["sgdml", "sgdml"]
    assert sum(row["frames"] for row in rows) == 70
    assert sum(row["training_points"] for row in rows) > 70
    error = np.sqrt(np.mean((mixture(test.positions).forces - test.forces) ** 2))
    assert error < 0.1 * test.forces.std()


def test_the_values_of_a_tag_are_the_regions(labels):
    """They come through the splitting of a training, and say their names in the model."""
    well = np.where(labels.positions[:, 1, 0] - labels.positions[:, 0, 0] > 0, "right", "left")
    well[:3] = "rare"
    tagged = replace(labels, tags={"well": well})
    options = {"of": [SGDML(sigma=3.0)], "tag": "well", "least_points": 10, "background": False}
    model = flexcalc.train(tagged, "mixture", points=70, validation_points=20, **options).potential
    names = [row["region"] for row in model.facts["regions"]]
    assert sorted(name for joined in names for name in joined.split(", ")) == sorted(set(well))
    assert len(names) == len(set(well)) - 1
    with pytest.raises(InputError, match="no tag 'cis'; their tags are well"):
        quick(regions=None, tag="cis").fit(tagged, None, np.random.default_rng(0))
    with pytest.raises(InputError, match="they have no tags"):
        quick(regions=None, tag="cis").fit(labels, None, np.random.default_rng(0))
    with pytest.raises(InputError, match="at most 50 values, got 'energy' with 100"):
        quick(regions=None, tag="energy").fit(
            replace(labels, tags={"energy": labels.energies}), None, np.random.default_rng(0)
        )
    with pytest.raises(ConfigError, match="regions or tag"):
        quick(tag="well").fit(tagged, None, np.random.default_rng(0))


def test_one_region_is_a_single_model(labels):
    one = quick(regions=1).fit(labels[:40], None, np.random.default_rng(0))
    single = SGDML(sigma=3.0).fit(labels[:40], None, np.random.default_rng(0))
    found, expected = one(labels.positions), single(labels.positions)
    assert np.abs(found.forces - expected.forces).max() < 1e-12
    assert np.abs(found.energies - expected.energies).max() < 1e-9


def test_each_region_chooses_its_family_and_hyperparameters(labels):
    of = (SGDML(sigma=200.0, descriptor="distances"), SGDML(sigmas=(1.0, 3.0)))
    mixture = quick(of=of).fit(labels[:60], labels[60:], np.random.default_rng(0))
    for row, member in zip(mixture.facts["regions"], mixture.members, strict=True):
        assert row["family"] == "sgdml"
        assert member.sigma in (1.0, 3.0)


def test_without_validation_frames_some_of_its_own_points_choose(labels):
    """As in a cross-validation, whose test frames have no say; the member is trained on all."""
    grid = SGDML(sigmas=(0.05, 3.0, 5.0), descriptor="distances")
    found = quick(of=(grid,), regions=1).fit(labels[:40], None, np.random.default_rng(0))
    (region,) = found.facts["regions"]
    assert region["sigma"] > 1.0
    assert region["training_points"] == 40
    assert len(found.members[0].features) == 40


def test_without_validation_frames_some_of_its_own_points_choose_the_family(labels):
    of = (SGDML(sigma=0.01, descriptor="distances"), SGDML(sigma=3.0))
    found = quick(of=of, regions=1).fit(labels[:40], None, np.random.default_rng(0))
    assert found.facts["regions"][0]["family"] == "sgdml"
    assert found.members[0].sigma == 3.0
    assert len(found.members[0].features) == 40


def test_the_number_of_regions_is_chosen_by_validation(labels):
    family = quick(regions=None, region_numbers=(1, 2), overlap=0.2)
    choice = fit_best(family, labels[:60], labels[60:], np.random.default_rng(0))
    assert [row["regions"] for row in choice.table] == [1, 2]
    assert choice.family.regions in (1, 2)
    with pytest.raises(ConfigError, match="regions is not set"):
        family.fit(labels[:60], labels[60:], np.random.default_rng(0))


@pytest.mark.data
def test_a_killed_training_goes_on_with_the_next_member(labels, tmp_path, monkeypatch):
    expected = fit_best(quick(), labels[:60], labels[60:], np.random.default_rng(0))
    fits, session = [], SGDML.session

    def counted(self, train, *rest):
        fits.append(len(train))
        if len(fits) == 2:
            raise KeyboardInterrupt
        return session(self, train, *rest)

    monkeypatch.setattr(SGDML, "session", counted)
    for attempt in range(2):
        options = {"checkpoints": Checkpoints(tmp_path / "memory")}
        if attempt == 0:
            with pytest.raises(KeyboardInterrupt):
                fit_best(quick(), labels[:60], labels[60:], np.random.default_rng(0), **options)
        else:
            found = fit_best(quick(), labels[:60], labels[60:], np.random.default_rng(0), **options)
    assert len(fits) == 3
    assert fits[1] == fits[2]
    positions = labels.positions
    assert np.array_equal(found.potential(positions).forces, expected.potential(positions).forces)


@pytest.mark.data
def test_a_background_is_trained_once_and_remembered(labels, tmp_path, monkeypatch):
    fits, session = [], SGDML.session

    def counted(self, train, *rest):
        fits.append(len(train))
        return session(self, train, *rest)

    monkeypatch.setattr(SGDML, "session", counted)
    family = quick(regions=None, region_numbers=(2, 3), background=True)

    def search(memory):
        rng = np.random.default_rng(0)
        return fit_best(family, labels[:60], labels[60:], rng, checkpoints=memory).potential

    first = search(Checkpoints(tmp_path))
    assert fits.count(60) == 1
    (tmp_path / "candidate-001.json").unlink()
    count = len(fits)
    again = search(Checkpoints(tmp_path))
    assert len(fits) == count
    assert np.array_equal(again(labels.positions).forces, first(labels.positions).forces)


def test_a_background_of_each_family_that_is_named(labels):
    """With validation frames and without."""
    backgrounds = (SGDML(sigma=2.0), SGDML(sigma=8.0, descriptor="distances"))
    family = quick(background=True, backgrounds=backgrounds)
    for judged in (labels[60:], None):
        found = family.fit(labels[:60], judged, np.random.default_rng(0))
        assert [one.sigma for one in found.backgrounds] == [2.0, 8.0]
        assert [row["sigma"] for row in found.facts["backgrounds"]] == [2.0, 8.0]
        assert all(len(one.features) == 60 for one in found.backgrounds)
        told = [row["background_shares"] for row in found.facts["regions"]]
        assert np.array_equal(told, found.shares)
        error = np.sqrt(np.mean((found(labels.positions).forces - labels.forces) ** 2))
        assert error < 0.1 * labels.forces.std()


def test_points_can_be_placed_where_the_mixture_is_worst(labels):
    placed = flexcalc.train(
        labels,
        "mixture",
        points=50,
        validation_points=20,
        refine_rounds=1,
        of={"kind": "sgdml", "sigma": 3.0},
        regions=2,
        least_points=10,
    )
    assert placed.facts["training_points"] == 50


@pytest.mark.parametrize("background", [False, True])
def test_it_comes_back_from_its_folder_with_its_gate(labels, tmp_path, background):
    family = quick(coordinates=("angle 1 0 2", "distance 0 1"), background=background)
    mixture = family.fit(labels[:60], labels[60:], np.random.default_rng(0))
    assert len(mixture.backgrounds) == background
    mixture.save(tmp_path / "two.flex")
    for again in (flexcalc.load(str(tmp_path / "two.flex")), family.load(tmp_path / "two.flex")):
        found, expected = again(labels.positions), mixture(labels.positions)
        assert np.array_equal(found.forces, expected.forces)
        assert np.array_equal(found.energies, expected.energies)
        assert np.array_equal(again.distance(labels.positions), mixture.distance(labels.positions))
    facts = json.loads((tmp_path / "two.flex" / "model.json").read_text())
    assert facts["hyperparameters"]["of"][0]["kind"] == "sgdml"
    assert registry.make_family("mixture", facts["hyperparameters"]) == family
    # Both bonds are images of the one that was named.
    assert facts["gate"] == ["angle 1 0 2", "distance 0 1", "distance 0 2"]


def test_a_run_file_names_backgrounds_and_every_family_has_its_flags(labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flexcalc.write("water.xyz", labels)
    (tmp_path / "run.toml").write_text(
        'dataset = "water.xyz"\npoints = 60\nvalidation_points = 20\n[family]\nkind = "mixture"\n'
        'regions = 2\nleast_points = 10\nof = [{kind = "sgdml", sigma = 3.0}]\n'
        'backgrounds = [{kind = "sgdml", sigma = 2.0}, {kind = "sgdml", sigma = 8.0}]\n'
    )
    main(["train", "run.toml", "--output", "out"])
    found = flexcalc.load("out/mixture.flex")
    assert [one.sigma for one in found.backgrounds] == [2.0, 8.0]
    for name in FAMILIES:
        assert any(flag.name == "family" for flag in flags(Train, {"family": [name]}))


def test_what_cannot_be_a_mixture_is_refused(labels, tmp_path):
    gate = gate_of_water()
    with pytest.raises(InputError, match="a member and a constant for each of its 2 regions"):
        MixturePotential([Springs()], gate, np.zeros(2))
    with pytest.raises(InputError, match="region 0 of the mixture, a Springs, is no trained"):
        MixturePotential([Springs()] * 2, gate, np.zeros(2)).save(tmp_path / "none.flex")
    with pytest.raises(ConfigError, match="expected other model families"):
        flexcalc.train(labels, "mixture", points=50, of=["mixture"], regions=2)
    with pytest.raises(InputError, match="regions need distances, angles or dihedrals"):
        quick(coordinates=("difference 0 1 0 2",)).fit(labels, None, np.random.default_rng(0))
    member = SGDML(sigma=3.0).fit(labels[:20], None, np.random.default_rng(0))
    with pytest.raises(InputError, match="background 0 of the mixture, a Springs, is no trained"):
        MixturePotential([member] * 2, gate, np.zeros(2), [Springs()]).save(tmp_path / "none.flex")
    small = Gate(gate.terms, gate.slopes[:1], gate.offsets)
    MixturePotential([member] * 2, small, np.zeros(2)).save(tmp_path / "bad.flex")
    with pytest.raises(FileFormatError, match="slopes"):
        flexcalc.load(str(tmp_path / "bad.flex"))
