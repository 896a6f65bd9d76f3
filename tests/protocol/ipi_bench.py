"""The real i-PI and clients as processes, for the protocol tests."""

import json
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ipi_springs import GLYCINE

ROOT = Path(__file__).parents[2]
PES = ROOT / "drivers" / "flexcalc_pes.py"
IPI = Path(sys.executable).parent / "i-pi"
ATOMS = 10

INPUT = """
<simulation verbosity='low' floatformat='%.16e' safe_stride='100'>
  <output prefix='run'>
    <properties stride='1' filename='all'> [ step, {columns} ] </properties>
    <properties stride='1' filename='scalars'>
      [ step, potential{{ase}}, conserved{{ase}}, virial_md ]
    </properties>
    {outputs}
  </output>
  <total_steps> {steps} </total_steps>
  <prng> <seed> 7 </seed> </prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> {start} </file>
      <cell mode='abc' units='angstrom'> [ 60, 60, 60 ] </cell>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='flexcalc'/> </forces>
    <ensemble> <temperature units='kelvin'> 300 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 0.5 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""

SOCKET = """
  <ffsocket name='flexcalc' mode='{mode}' pbc='{pbc}'>
    <address> {address} </address> <port> {port} </port> <latency> 1e-4 </latency>
    <timeout> {timeout} </timeout>
    <consolidate_messages> {fused} </consolidate_messages> <batch_size> {batch} </batch_size>
  </ffsocket>
"""

DIRECT = """
  <ffdirect name='flexcalc' pbc='False' threaded='{threaded}'>
    <pes> custom </pes> <pes_path> {pes} </pes_path> <batch_size> {batch} </batch_size>
    <parameters> {{ potential: {address}, template: {template} }} </parameters>
  </ffdirect>
"""


def over_socket(name=None, port=None, *, fused=True, batch=1, pbc=False, timeout=0):
    mode, address = ("unix", name) if name else ("inet", "127.0.0.1")
    return SOCKET.format(
        mode=mode, address=address, port=port or 31415, fused=fused, batch=batch, pbc=pbc,
        timeout=timeout,
    )  # fmt: skip


def in_process(address, *, batch=1, threaded=False):
    return DIRECT.format(
        pes=PES, address=address, template=GLYCINE, batch=batch, threaded=threaded
    )


def input_xml(forcefield, *, steps, beads=1, start=GLYCINE, outputs=""):
    """An NVE input that writes energy, positions and forces of every bead in full digits."""
    columns = ", ".join(
        [f"pot_component{{ase}}(index=0;bead={bead})" for bead in range(beads)]
        + [
            f"{what}{{ase}}(atom={atom};bead={bead})"
            for bead in range(beads)
            for what in ("atom_x", "atom_f")
            for atom in range(ATOMS)
        ]
    )
    return INPUT.format(
        forcefield=forcefield, steps=steps, beads=beads, start=start, columns=columns,
        outputs=outputs,
    )  # fmt: skip


@contextmanager
def running(*command, folder, **kwargs):
    """A process, killed on leaving if it still runs."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ipi(folder, xml):
    """The real i-PI, as users start it."""
    (folder / "input.xml").write_text(xml)
    return running(sys.executable, IPI, "input.xml", folder=folder)


def client(folder, **job):
    return running(
        sys.executable, Path(__file__).parent / "ipi_client.py", json.dumps(job), folder=folder
    )


def simulate(folder, xml, **job):
    """Run i-PI with one client to the end; return the client's standard output."""
    with ipi(folder, xml) as server, client(folder, **job) as worker:
        out, err = worker.communicate(timeout=300)
        server_out = server.communicate(timeout=30)
    assert worker.returncode == 0, (err, server_out)
    assert server.returncode == 0, server_out
    return out


def received(folder, beads=1):
    """What i-PI has of each bead: energies (steps, beads), positions and forces in eV, A."""
    rows = np.loadtxt(folder / "run.all", ndmin=2)
    energies, vectors = rows[:, 1 : 1 + beads], rows[:, 1 + beads :]
    vectors = vectors.reshape(len(rows), beads, 2, ATOMS, 3)
    return energies, vectors[:, :, 0], vectors[:, :, 1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
