"""Rates against closed forms and against ASE's thermochemistry."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.thermochemistry import IdealGasThermo

from flexcalc.analysis.rates import (
    LONGEST_S,
    StationaryPoint,
    eyring_rate,
    half_life_s,
    vineyard_rate,
    wigner_factor,
)
from flexcalc.errors import InputError
from flexcalc.methods.hessian import Vibrations

pytestmark = pytest.mark.physics


def point(atoms, frequencies, energy=0.0, symmetry=1):
    modes = np.zeros((len(frequencies), len(atoms), 3))
    found = Vibrations(np.array(frequencies, dtype=float), modes, atoms.get_masses())
    return StationaryPoint(energy, atoms.positions, found, symmetry)


@pytest.mark.parametrize(
    ("name", "shape", "symmetry"),
    [("H2O", "nonlinear", 2), ("CO2", "linear", 2), ("NH3", "nonlinear", 3)],
)
@pytest.mark.parametrize("kelvin", [150.0, 298.15, 900.0])
def test_free_energies_are_ases(name, shape, symmetry, kelvin):
    atoms = molecule(name)
    frequencies = np.linspace(80, 3500, 3 * len(atoms) - (5 if shape == "linear" else 6))
    theirs = IdealGasThermo(
        frequencies * units.invcm, shape, 1.5, atoms=atoms, symmetrynumber=symmetry, spin=0
    ).get_gibbs_energy(kelvin, 1e5, verbose=False)
    ours = point(atoms, frequencies, 1.5, symmetry).free_energy_eV(kelvin)
    assert ours == pytest.approx(theirs, abs=1e-10)


def test_a_classical_vineyard_rate_is_eyrings_at_high_temperature():
    """With the same rotor on both sides, and kB T far above all quanta, the two are one.

    The next term of each oscillator is (h nu / kB T)^2 / 24.
    """
    atoms = molecule("H2O")
    below, above = point(atoms, [20, 30, 40]), point(atoms, [-35, 25, 30], 0.1)
    kelvin = 3000.0
    bound = 6 * (40 * units.invcm / (units.kB * kelvin)) ** 2 / 24
    ratio = eyring_rate(below, above, kelvin) / vineyard_rate(below, above, kelvin)
    assert abs(ratio - 1) < bound


def test_vineyards_rate_is_its_closed_form():
    """20 * 30 * 40 / (25 * 30) cm^-1 = 32 cm^-1, times c, times the Boltzmann factor."""
    atoms = molecule("H2O")
    rate = vineyard_rate(point(atoms, [20, 30, 40]), point(atoms, [-35, 25, 30], 0.5), 300.0)
    expected = 32 * 2.99792458e10 * np.exp(-0.5 / (8.617333262e-5 * 300.0))
    # ASE's Boltzmann constant is of 2014: 6e-7 of it, times the exponent of 19.
    assert rate == pytest.approx(expected, rel=2e-5)


def test_eyrings_rate_of_a_bare_barrier_is_kT_over_h():
    """Equal vibrations on both sides but the one that is lost, high above kB T: q = exp(-x/2)."""
    atoms = molecule("H2O")
    below, above = point(atoms, [9000, 500, 700]), point(atoms, [-900, 500, 700], 0.6)
    kelvin, zero_point = 300.0, 9000 * units.invcm / 2
    kT = 8.617333262e-5 * kelvin
    expected = kT / 4.135667696e-15 * np.exp(-(0.6 - zero_point) / kT)
    assert eyring_rate(below, above, kelvin) == pytest.approx(expected, rel=1e-5)


def test_symmetry_numbers_count_equal_ways():
    atoms = molecule("H2O")
    below, above = point(atoms, [500, 600, 700], symmetry=2), point(atoms, [-900, 500, 700], 0.6)
    plain = point(atoms, [500, 600, 700])
    twice = eyring_rate(below, above, 300.0) / eyring_rate(plain, above, 300.0)
    assert twice == pytest.approx(2.0)


def test_quasi_rrho_leaves_stiff_modes_and_bounds_soft_ones():
    atoms = molecule("H2O")
    stiff = point(atoms, [1500, 2500, 3500])
    assert stiff.free_energy_eV(300.0, "quasi-rrho") == pytest.approx(
        stiff.free_energy_eV(300.0), abs=1e-6
    )
    # An oscillator's entropy grows without bound as its frequency falls, a rotor's does not.
    softer = [
        point(atoms, [soft, 2500, 3500]).free_energy_eV(300.0, "quasi-rrho") for soft in (1.0, 0.1)
    ]
    plain = [point(atoms, [soft, 2500, 3500]).free_energy_eV(300.0) for soft in (1.0, 0.1)]
    assert softer[0] - softer[1] < 0.05 * (plain[0] - plain[1])


def test_quasi_rrho_is_grimmes_entropy_half_way():
    """At 100 cm^-1 the two entropies have equal shares; the rotor's is written out here in SI."""
    atoms = molecule("H2O")
    h, k, c = 6.62607015e-34, 1.380649e-23, 2.99792458e10
    kelvin, nu = 298.15, 100.0
    average = atoms.get_moments_of_inertia().mean() * 1.66053906660e-27 * 1e-20
    mu = h / (8 * np.pi**2 * nu * c)
    mu = mu * average / (mu + average)
    rotor = 0.5 + np.log(np.sqrt(8 * np.pi**3 * mu * k * kelvin / h**2))
    x = h * c * nu / (k * kelvin)
    oscillator = x / np.expm1(x) - np.log(-np.expm1(-x))
    changed = -8.617333262e-5 * kelvin * 0.5 * (rotor - oscillator)
    soft = point(atoms, [100.0, 4000, 4500])
    difference = soft.free_energy_eV(kelvin, "quasi-rrho") - soft.free_energy_eV(kelvin)
    assert difference == pytest.approx(changed, rel=1e-5)


@pytest.mark.parametrize(
    ("soft_cm", "low_modes", "kcal_mol"),
    [
        (1.0, "quasi-rrho-grimme", 1.545403),
        (1.0, "quasi-rrho", 1.674096),
        (10.0, "quasi-rrho-grimme", 0.855900),
        (10.0, "quasi-rrho", 0.871977),
    ],
)
def test_quasi_rrho_is_its_figures_worked_out_by_hand(soft_cm, low_modes, kcal_mol):
    """Grimme's equations 3 to 8 for one mode of CO2 at 298.15 K, in SI and by hand.

    mu = h / (8 pi^2 nu) is 2.79928e-46 kg m^2 at 1 cm^-1 and 2.79928e-47 at 10. Two oxygens of
    15.999 amu at 1.16 A have the moments 0, I and I, I = 2 * 15.999 * 1.16^2 amu A^2, and so the
    mean B = 4.76647e-46 kg m^2. mu' = mu B / (mu + B) is with the paper's B = 1e-44 kg m^2
    2.72305e-46 and 2.79146e-47, with the molecule's own 1.76356e-46 and 2.64400e-47 kg m^2.
    8 pi^3 mu' k T / h^2 is 633.288 and 64.9198 (paper), 410.144 and 61.4903 (own), so that
    S_rotor / R = 1/2 + 1/2 ln of it is 3.725463 and 2.586576, 3.508254 and 2.559440.
    x = h nu / k T is 0.004825681 and 0.04825681: S_oscillator / R = 6.333804 and 4.031315.
    The change is R T (1 - w) (S_oscillator - S_rotor) / R with R T = 0.5924849 kcal/mol and
    w = 1 / (1 + (100 / nu)^4) of 1.0e-8 and 9.999e-5: 1.545403 = 0.5924849 * 2.608341, ...
    """
    atoms = molecule("CO2")
    atoms.positions = [[0, 0, 0], [0, 0, 1.16], [0, 0, -1.16]]
    mode = point(atoms, [soft_cm])
    change = mode.free_energy_eV(298.15, low_modes) - mode.free_energy_eV(298.15)
    # The rounding of the figures, and the constants of 2014 that ASE's units are of.
    assert change / (units.kcal / units.mol) == pytest.approx(kcal_mol, abs=3e-6)


def test_wigners_factor_and_the_half_life_are_their_closed_forms():
    x = 1000 * 1.438776877 / 300.0  # h c nu / k T
    assert wigner_factor(-1000, 300.0) == pytest.approx(1 + x**2 / 24, rel=1e-6)
    assert half_life_s(np.log(2)) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-250])
def test_a_half_life_without_end_is_a_number_that_json_can_hold(rate):
    assert half_life_s(rate) == pytest.approx(LONGEST_S)
    assert json.loads(json.dumps(half_life_s(rate), allow_nan=False)) == pytest.approx(LONGEST_S)


def test_a_mode_without_frequency_has_no_partition_function():
    with pytest.raises(InputError, match="zero within the noise"):
        point(molecule("H2O"), [-3.0, 500, 600]).free_energy_eV(300.0)


def test_a_saddle_of_second_order_has_no_vineyard_rate():
    atoms = molecule("H2O")
    with pytest.raises(InputError, match="not of first order"):
        vineyard_rate(point(atoms, [500, 600, 700]), point(atoms, [-900, -50, 700]), 300.0)
