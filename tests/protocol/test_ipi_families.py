"""Every family through `flexcalc serve` in a run of the real i-PI."""

import subprocess
import sys

import ase.io
import numpy as np
import pytest
from ipi_bench import BIN, running

import flexcalc
from flexcalc import registry
from tests.contract.test_potential_contract import METHANOL, NUMBERS, trained

pytestmark = pytest.mark.protocol

STEPS = 200
INPUT = """
<simulation verbosity='low' floatformat='%.16e'>
  <output prefix='run'>
    <properties stride='1' filename='out'> [ step, potential{{ase}} ] </properties>
    <trajectory stride='1' filename='positions' format='ase'> positions{{ase}} </trajectory>
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 7 </seed> </prng>
  <ffsocket name='flexcalc' mode='unix' pbc='False'>
    <address> {name} </address> <latency> 1e-4 </latency>
  </ffsocket>
  <system>
    <initialize nbeads='1'>
      <file mode='ase'> start.xyz </file>
      <cell mode='abc' units='angstrom'> [ 60, 60, 60 ] </cell>
      <velocities mode='thermal' units='kelvin'> 100 </velocities>
    </initialize>
    <forces> <force forcefield='flexcalc'/> </forces>
    <ensemble> <temperature units='kelvin'> 100 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 0.2 </timestep>
        <thermostat mode='langevin'> <tau units='femtosecond'> 100 </tau> </thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


@pytest.mark.parametrize("name", registry.FAMILIES)
def test_i_pi_gets_the_direct_calls_energies(name, tmp_path, socket_name):
    """200 steps at constant temperature; positions are written with 8 digits after the point.

    An energy is off by a force times the rounding of 5e-9 angstrom, for each of 18 coordinates.
    """
    trained(name).save(tmp_path / "model.flex")
    ase.io.write(tmp_path / "start.xyz", ase.Atoms(NUMBERS, METHANOL))
    (tmp_path / "input.xml").write_text(INPUT.format(steps=STEPS, name=socket_name))
    words = [BIN / "flexcalc", "serve", "model.flex", "start.xyz", "--unix", socket_name]
    with running(sys.executable, BIN / "i-pi", "input.xml", folder=tmp_path) as server:
        client = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert client.returncode == 0, client.stderr
        assert server.wait(600) == 0
    energies = np.loadtxt(tmp_path / "run.out")[:, 1]
    assert len(energies) == STEPS + 1
    frames = ase.io.read(tmp_path / "run.positions_0.extxyz", ":")
    direct = flexcalc.load(str(tmp_path / "model.flex"))(np.array([f.positions for f in frames]))
    bound = 5e-9 * 18 * np.abs(direct.forces).max() + 1e-11 * np.abs(direct.energies).max()
    assert np.ptp(energies) > 1e3 * bound
    assert np.abs(energies - direct.energies).max() < bound
