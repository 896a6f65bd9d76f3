"""The units of the field in flexcalc's own: eV, angstrom, atomic mass unit.

Multiply by a constant to get into flexcalc's units, divide to get out: `energy / KCAL_MOL`.
"""

from ase import units

KCAL_MOL = units.kcal / units.mol
"""1 kcal/mol in eV."""
KJ_MOL = units.kJ / units.mol
"""1 kJ/mol in eV."""
MEV = 1e-3
"""1 meV in eV."""
HARTREE = units.Hartree
"""1 hartree in eV."""
BOHR = units.Bohr
"""1 bohr in angstrom."""
FS = units.fs
"""1 femtosecond in angstrom sqrt(amu/eV)."""
KB = units.kB
"""Boltzmann's constant in eV/K."""
INVCM = units.invcm
"""The energy of a photon of 1 cm^-1, in eV."""
HBAR = units._hbar * units.J * units.s
"""Planck's constant over 2 pi in eV times ASE's unit of time, angstrom sqrt(amu/eV)."""
WAVENUMBER = INVCM / HBAR
"""1 cm^-1 as an angular frequency in sqrt(eV/amu)/angstrom."""
PER_SECOND = units.s
"""A rate of 1 per ASE's unit of time, in 1/s."""
BAR = units.bar
"""1 bar in eV/angstrom^3."""
AMU_KG = units._amu
"""1 atomic mass unit in kg."""
