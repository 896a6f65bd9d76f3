"""Training points that networks, GAP, mixtures and committees of them keep in their folders."""

import copy
import pickle

import numpy as np
import pytest

import flexcalc
from flexcalc.domain import domain_of
from flexcalc.models.mixture import MixturePotential
from flexcalc.training.calibration import with_domain
from flexcalc.training.mixture import Mixture
from tests.contract.toy_family import Toy
from tests.systems import springs


def check_same(model, other):
    """Whether two models have the same domain and distances."""
    positions = springs(40, seed=4).positions
    assert domain_of(other) == domain_of(model) is not None
    expected = model.distance(positions)
    assert np.ptp(expected) > 0
    assert np.allclose(other.distance(positions), expected, rtol=1e-5, atol=1e-5)


def test_a_network_keeps_its_training_points_wherever_it_goes(tmp_path):
    pytest.importorskip("schnetpack")
    from flexcalc.models.schnetpack import SchNet

    small = SchNet(features=8, interactions=2, radial_functions=8, epochs=2, compiled="no")
    model = flexcalc.train(springs(80), family=small, points=30).model
    model.save(tmp_path / "one.flex")
    for other in (
        flexcalc.load(tmp_path / "one.flex"),
        flexcalc.load(f"{tmp_path}/one.flex?precision=float32"),
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
    ):
        check_same(model, other)


def test_a_gap_keeps_its_training_points(tmp_path):
    pytest.importorskip("quippy")
    from flexcalc.models.gap import GAP

    small = GAP(cutoff=3.0, n_max=3, l_max=2, n_sparse=10)
    model = flexcalc.train(springs(80), family=small, points=20).model
    model.save(tmp_path / "one.flex")
    check_same(model, flexcalc.load(tmp_path / "one.flex"))


def test_a_mixture_keeps_its_training_points(tmp_path):
    train, rng = springs(60), np.random.default_rng(0)
    family = Mixture(of=(Toy(),), regions=2, least_points=10, background=False)
    mixture = with_domain(family.fit(train, None, rng), train, springs(40, seed=1), rng)
    assert mixture.distance(train.positions).max() < 1e-2
    mixture.save(tmp_path / "one.flex")
    again = MixturePotential.load(tmp_path / "one.flex", Toy.load)
    check_same(mixture, again)
    again.training_set = None
    assert again.distance(train.positions) is None


def test_a_committee_of_kernel_models_is_calibrated_on_its_own_distances(tmp_path):
    run = flexcalc.train(springs(80), points=30, sigma=5.0, symmetry=False, committee=2)
    committee = run.model
    assert committee.training_set is None
    assert "domain" not in committee.members[0].facts
    committee.save(tmp_path / "two.flex")
    check_same(committee, flexcalc.load(tmp_path / "two.flex"))
