"""`flexcalc network`: minima, saddles and rates of a torsion whose every value is known."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT

import flexcalc as fx
from flexcalc.analysis.rates import StationaryPoint, eyring_rate
from flexcalc.errors import InputError
from flexcalc.geometry.rotations import rotational_symmetry
from flexcalc.masses import atomic_masses
from flexcalc.methods.hessian import hessian, vibrations
from flexcalc.results.network import NetworkBarrier
from flexcalc.units import KB, KCAL_MOL
from tests.systems import FLAT, PEROXIDE, Torsion, peroxide_frames, turned

T = 400.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("network") / "run"


@pytest.fixture(scope="module")
def found(folder):
    model = Torsion()
    starts = peroxide_frames(model)
    return fx.network(
        model, starts, temperature_K=T, relabel=Torsion(a=0.6), output=folder, progress=False
    )


def point(place):
    model = Torsion()
    found = model(place[None]).energies[0]
    curved = hessian(model, place[None])[0]
    symmetry = rotational_symmetry(PEROXIDE, place)
    vibrating = vibrations(place, curved, atomic_masses(PEROXIDE))
    return StationaryPoint(float(found), place, vibrating, symmetry.number)


def test_the_symmetry_of_a_geometry_is_found():
    angles = {0: (2, False), 180: (2, False), 70: (2, True)}
    for degrees, expected in angles.items():
        assert rotational_symmetry(PEROXIDE, turned(FLAT, (1, 2), [3], degrees)) == expected
    shapes = {"NH3": (3, False), "CH4": (12, False), "H2O": (2, False), "C6H6": (12, False)}
    for name, expected in shapes.items():
        atoms = molecule(name)
        assert rotational_symmetry(atoms.numbers, atoms.positions) == expected
    chiral = Atoms(
        "CHFClBr", [[0, 0, 0], [0.6, 0.6, 0.6], [0.8, -0.8, -0.8], [-1, 1, -1], [-1.1, -1.1, 1.1]]
    )
    assert rotational_symmetry(chiral.numbers, chiral.positions) == (1, True)


def test_all_minima_and_saddles_are_found_and_joined(found):
    model = Torsion()
    anti, gauche, cis, between = map(model.torsion, model.extremes())
    heights = [row.energy_kcal_mol for row in found.minima]
    assert heights == pytest.approx([0.0, gauche - anti], abs=1e-3)
    assert [(row.symmetry_number, row.chiral) for row in found.minima] == [(2, False), (2, True)]
    barriers = {(row.start, row.end): row.energy_kcal_mol for row in found.barriers}
    assert barriers == {
        ("minimum-1", "minimum-2"): pytest.approx(between - anti, abs=1e-3),
        ("minimum-2", "minimum-2"): pytest.approx(cis - gauche, abs=1e-3),
    }
    assert (found.minima_found, found.saddles_found, found.parts) == (2, 2, 1)
    assert found.evaluations.total > 1000
    assert found.points.tags["kind"].tolist() == ["minimum"] * 2 + ["saddle"] * 2


def test_rates_count_both_mirror_images_and_keep_detailed_balance(found):
    """From anti there are two ways, to gauche and to its mirror image."""
    places = found.points.positions
    anti, gauche, saddle = point(places[0]), point(places[1]), point(places[2])
    row = next(row for row in found.barriers if row.start != row.end)
    saddle = point(places[2 + found.barriers.index(row)])
    assert row.rate_per_s == pytest.approx(2 * eyring_rate(anti, saddle, T), rel=1e-6)
    assert row.rate_back_per_s == pytest.approx(eyring_rate(gauche, saddle, T), rel=1e-6)
    balance = found.populations * found.rates_per_s.sum(axis=1)
    assert balance[0] == pytest.approx(balance[1], rel=1e-9)
    gap = gauche.free_energy_eV(T) - anti.free_energy_eV(T)
    ratio = 2 * np.exp(-gap / (KB * T))
    assert found.populations[1] / found.populations[0] == pytest.approx(ratio, rel=1e-6)
    rate = row.rate_per_s + row.rate_back_per_s
    assert found.relaxation_times_s == pytest.approx([1 / rate])
    assert found.slowest_relaxation_s == pytest.approx(1 / rate)
    assert found.mean_first_passage_s[0, 1] == pytest.approx(1 / row.rate_per_s)


def test_the_reference_says_which_barriers_hold(found):
    """With a larger a, gauche is higher by about 0.15 kcal/mol, and the cis barrier lower."""
    other = Torsion(a=0.6)
    for row in (*found.minima[1:], *found.barriers):
        index = found.points.tags["name"].tolist().index(row.name)
        start = getattr(row, "start", "minimum-1")
        at = found.points.tags["name"].tolist().index(start)
        energies = other(found.points.positions[[at, index]]).energies / KCAL_MOL
        assert row.reference_kcal_mol == pytest.approx(energies[1] - energies[0], abs=1e-6)
    assert found.checked.minima_compared == 1
    assert found.checked.barriers_compared == 2
    assert "barriers" in found.summary()


def test_the_report_shows_the_graph_and_the_tables(found, folder):
    page = fx.report(folder).read_text()
    for text in ("Disconnectivity graph", "Mean first-passage times", "minimum-2", "saddle-1"):
        assert text in page
    plt.close(found.plot().figure)
    assert list(found.to_frame()["name"]) == ["minimum-1", "minimum-2"]


def test_a_second_call_reads_and_an_interrupted_one_goes_on(found, folder, tmp_path):
    model, starts = Torsion(), peroxide_frames(Torsion())
    again = fx.network(
        model, starts, temperature_K=T, relabel=Torsion(a=0.6), output=folder, progress=False
    )
    assert again.to_dict() == found.to_dict()
    assert [row.to_dict() for row in again.barriers] == [row.to_dict() for row in found.barriers]


def test_a_gibbs_energy_that_is_not_known_is_none(found, folder, tmp_path):
    """As where a frequency is zero within the noise: nothing stands for it in files and report."""
    row = replace(found.barriers[0], activation_kcal_mol=None, rate_per_s=0.0)
    assert NetworkBarrier.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "barriers.json").write_text(json.dumps([row.to_dict()]))
    assert "Mean first-passage times" in fx.report(copy).read_text()


def test_parts_that_no_saddle_joins_are_told(tmp_path):
    """Nothing above 0.1 kcal/mol is of interest, so the minima stay alone."""
    found = fx.network(
        Torsion(), peroxide_frames(Torsion()), max_barrier_kcal_mol=0.1, rounds=2, progress=False
    )
    assert (found.minima_found, found.saddles_found, found.parts) == (2, 0, 2)
    assert "IN 2 PARTS" in found.summary()
    assert np.isinf(found.mean_first_passage_s[0, 1])
    assert found.slowest_relaxation_s is None


def test_a_rigid_molecule_has_one_minimum():
    found = fx.network(EMT(), molecule("NH3"), progress=False)
    assert (found.minima_found, found.saddles_found, found.parts) == (1, 0, 1)
    assert found.populations == pytest.approx([1.0])
    assert json.dumps(found.to_dict())


def test_what_cannot_be_searched_is_refused(tmp_path):
    with pytest.raises(InputError, match="starts"):
        fx.network(Torsion(), output=tmp_path / "none")
    with pytest.raises(InputError):
        fx.network(Torsion(), molecule("NH3"), output=tmp_path / "none")
    assert not (tmp_path / "none").exists()
