"""Dispersion on its own: what it adds to a functional is what `dft:` adds."""

import numpy as np
import pytest

import flexcalc
from flexcalc.errors import AddressError
from flexcalc.references import dispersion as ts

pytest.importorskip("pyscf")

NUMBERS = np.array([8, 1, 1, 8, 1, 1])
DIMER = np.array(
    [
        [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]],
        [[2.9, 0.1, 0.2], [3.4, 0.8, 0.4], [3.3, -0.7, -0.1]],
    ]
).reshape(1, 6, 3)


@pytest.mark.parametrize("kind", ["D3(BJ)", "D3(0)", "D4"])
def test_with_it_a_functional_is_the_one_with_dispersion(kind):
    """Both fields are converged to 1e-10 hartree; the correction itself has no such noise."""
    whole = flexcalc.load(f"dft:PBE-{kind}/STO-3G", NUMBERS)(DIMER)
    bare = flexcalc.load("dft:PBE/STO-3G", NUMBERS)(DIMER)
    alone = flexcalc.load(f"dispersion:{kind}/PBE", NUMBERS)(DIMER)
    assert alone.energies[0] < 0
    assert whole.energies - bare.energies == pytest.approx(alone.energies, abs=1e-8)
    assert np.abs(whole.forces - bare.forces - alone.forces).max() < 1e-6


def test_ts_with_the_volumes_of_a_geometry_is_ts_there():
    """Forces of a label depend on where its field started by up to 5e-5 eV/angstrom."""
    field = flexcalc.load("dft:PBE-TS/STO-3G", NUMBERS)
    bare = flexcalc.load("dft:PBE/STO-3G", NUMBERS)(DIMER)
    volumes = field.volumes(DIMER)
    assert volumes.shape == (1, 6)
    text = ",".join(map(repr, volumes[0].tolist()))
    alone = flexcalc.load(f"dispersion:TS/PBE?volumes={text}", NUMBERS)(DIMER)
    whole = field(DIMER)
    assert whole.energies - bare.energies == pytest.approx(alone.energies, abs=1e-7)
    assert np.abs(whole.forces - bare.forces - alone.forces).max() < 1e-4


def test_without_volumes_ts_takes_free_atoms():
    found = flexcalc.load("dispersion:TS/PBE", NUMBERS)(DIMER)
    energies, forces = ts.pairwise(NUMBERS, DIMER, np.ones(6), ts.damping_range("PBE"))
    assert np.array_equal(found.energies, energies)
    assert np.array_equal(found.forces, forces)


def test_d4_depends_on_the_charge():
    neutral = flexcalc.load("dispersion:D4/PBE", NUMBERS)(DIMER)
    charged = flexcalc.load("dispersion:D4/PBE?charge=1", NUMBERS)(DIMER)
    assert abs(neutral.energies - charged.energies).max() > 1e-3


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("D5/PBE", "dispersion 'D5' is unknown"),
        ("D4", "expected KIND/FUNCTIONAL"),
        ("D4/LDA", "no parameters of d4 are known"),
        ("TS/M06", "no Tkatchenko-Scheffler damping"),
        ("TS/PBE?volumes=1,2", "expected 6 positive numbers"),
        ("TS/PBE?volumes=1,1,1,1,1,-1", "expected 6 positive numbers"),
        ("TS/PBE?volumes=a", "expected 6 positive numbers"),
        ("D4/PBE?volumes=1,1,1,1,1,1", "volumes are for TS alone"),
        ("D4/PBE?colour=red", "unknown option 'colour'"),
    ],
)
def test_what_cannot_be_opened_is_said(text, said):
    with pytest.raises(AddressError, match=said):
        flexcalc.load(f"dispersion:{text}", NUMBERS)
