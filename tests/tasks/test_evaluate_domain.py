"""Errors inside and outside the domain of a model, and what guards and `info` say of it."""

import json
from pathlib import Path

import numpy as np
import pytest

import flexcalc
from flexcalc.dataset import Dataset
from flexcalc.domain import Domain
from flexcalc.potential import distances_of
from flexcalc.results.domain_errors import DomainErrors
from flexcalc.units import KCAL_MOL
from tests.systems import WATER, Springs, springs


def shifted(factor, frames=40):
    """Frames whose bonds are longer than those of the training set, with their labels."""
    positions = factor * springs(frames, seed=9).positions
    labels = Springs()(positions)
    return Dataset(WATER, positions, labels.energies, labels.forces)


def test_evaluation_tells_errors_inside_and_outside_the_domain(here):
    model = flexcalc.load("water.flex")
    data = shifted(1.1)
    found = flexcalc.evaluate(model, data).domain
    distances = distances_of(model, data.positions, model(data.positions).energies)
    inside = model.domain.contains(distances)
    assert 0 < inside.sum() < len(data)
    squares = np.mean((model(data.positions).forces - data.forces) ** 2, axis=(1, 2))
    assert found.share_outside == pytest.approx(np.mean(~inside))
    assert found.largest_distance == pytest.approx(distances.max())
    assert found.inside_kcal_mol_A == pytest.approx(np.sqrt(squares[inside].mean()) / KCAL_MOL)
    assert found.outside_kcal_mol_A == pytest.approx(np.sqrt(squares[~inside].mean()) / KCAL_MOL)
    ranks = [np.argsort(np.argsort(values)) for values in (distances, squares)]
    assert found.rank_correlation == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert found.left


def test_the_last_line_says_that_frames_are_outside_the_domain(here, run, capsys):
    flexcalc.write("far.xyz", shifted(1.4))
    assert run("evaluate", "water.flex", "far.xyz", "-o", "far") == 0
    last = capsys.readouterr().out.strip().splitlines()[-2]  # followed by the report's place
    assert "100 % of the frames are outside the domain of the model" in last
    results = json.loads(Path("far/results.json").read_text())
    assert results["domain_share_outside"] == 1.0
    again = flexcalc.evaluate("water.flex", "far.xyz", output="far")
    assert again.domain.summary() in last
    assert again.domain.knots == flexcalc.load("water.flex").domain.distances


def test_frames_of_the_same_kind_raise_no_word(here):
    result = flexcalc.evaluate("water.flex", springs(200, seed=5))
    assert result.domain.share_outside <= 0.02
    assert "outside" not in result.summary()


def test_a_reference_has_no_domain(here):
    result = flexcalc.evaluate(Springs(), springs(10))
    assert result.domain is None
    assert not any(key.startswith("domain") for key in result.to_dict())


def test_frames_without_forces_have_distances_alone():
    found = DomainErrors.of(Domain(1.0), np.array([0.5, 2.0]), None)
    assert (found.share_outside, found.inside_kcal_mol_A) == (0.5, None)
    assert found.summary().endswith("up to 2, limit 1)")


def test_info_tells_the_domain_of_a_model(here):
    model = flexcalc.load("water.flex")
    said = flexcalc.info("water.flex").facts["domain"]
    assert said.startswith(f"up to {model.domain.limit:.3g} times the largest nearest-neighbour")
    assert f"{model.facts['domain']['frames']} validation frames" in said
