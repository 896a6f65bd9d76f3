"""The real i-PI, clients and stand-in servers, for the protocol tests."""

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from ipi_springs import GLYCINE

from flexcalc.adapters.ipi import Server, serve
from flexcalc.units import BOHR

ROOT = Path(__file__).parents[2]
PES = ROOT / "drivers" / "flexcalc_pes.py"
BIN = Path(sys.executable).parent
ATOMS = 10
PATIENCE_S = 300.0
"""How long a test waits for what must come: on a busy machine i-PI may take minutes to start."""

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
      <cell mode='abc' units='angstrom'> [ {cell}, {cell}, {cell} ] </cell>
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
    <consolidate_messages> {fused} </consolidate_messages> <batch_size> {batch} </batch_size>
  </ffsocket>
"""

DIRECT = """
  <ffdirect name='flexcalc' pbc='False' threaded='{threaded}'>
    <pes> custom </pes> <pes_path> {pes} </pes_path> <batch_size> {batch} </batch_size>
    <parameters> {{ potential: {address}, template: {template} }} </parameters>
  </ffdirect>
"""


def over_socket(unix=None, port=None, *, fused=True, batch=1, pbc=False):
    """The XML of a socket forcefield."""
    mode, address = ("unix", unix) if unix else ("inet", "127.0.0.1")
    port = port or 31415
    return SOCKET.format(mode=mode, address=address, port=port, fused=fused, batch=batch, pbc=pbc)


def in_process(address, *, batch=1, threaded=False):
    """The XML of a forcefield inside i-PI, by the driver in drivers/."""
    return DIRECT.format(pes=PES, address=address, template=GLYCINE, batch=batch, threaded=threaded)


def input_xml(forcefield, *, steps, beads=1, start=GLYCINE, cell=60, outputs=""):
    """An NVE input that writes energy, positions and forces of every bead in full digits."""
    columns = [f"pot_component{{ase}}(index=0;bead={bead})" for bead in range(beads)]
    columns += [
        f"{what}{{ase}}(atom={atom};bead={bead})"
        for bead in range(beads)
        for what in ("atom_x", "atom_f")
        for atom in range(ATOMS)
    ]
    return INPUT.format(
        forcefield=forcefield,
        steps=steps,
        beads=beads,
        start=start,
        cell=cell,
        columns=", ".join(columns),
        outputs=outputs,
    )


@contextmanager
def running(*command, folder, **kwargs):
    """A process, killed on leaving if it still runs."""
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | kwargs,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ipi(folder, xml, **kwargs):
    """The real i-PI, as users start it."""
    (folder / "input.xml").write_text(xml)
    return running(sys.executable, BIN / "i-pi", "input.xml", folder=folder, **kwargs)


class Clients:
    """Client processes, one at a time."""

    def __init__(self, process):
        self.process = process

    def start(self, **job):
        """Start a client; return its process number."""
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def code(self):
        """Wait for the client to end; return its exit code, negative for a signal."""
        return int(self.process.stdout.readline())


@contextmanager
def client_processes(folder):
    """Makes Clients."""
    script = Path(__file__).parent / "ipi_client.py"
    with running(sys.executable, script, folder=folder, stdin=subprocess.PIPE) as process:
        yield Clients(process)


@contextmanager
def client_thread(potential, log=lambda line: None, distances=None, **job):
    """A client in a thread; yields its future."""
    server = Server(**{"timeout_s": PATIENCE_S, "connect_timeout_s": PATIENCE_S, **job})
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lambda: serve(potential, GLYCINE, server, log=log, distances=distances))


def simulate(folder, xml, potential, **job):
    """Run i-PI with one client to the end; return what `serve` returned."""
    with ipi(folder, xml) as server, client_thread(potential, **job) as client:
        count = client.result(timeout=2 * PATIENCE_S)
        output = server.communicate(timeout=PATIENCE_S)
    assert server.returncode == 0, output
    return count


def wait_for_steps(folder, count, server, within_s=PATIENCE_S):
    """Wait until i-PI has written so many steps, each of which a client has answered."""
    path, deadline = folder / "run.all", time.monotonic() + within_s
    while not path.exists() or steps_in(path) < count:
        assert server.poll() is None, server.communicate()
        assert time.monotonic() < deadline, "no client has answered"
        time.sleep(0.02)


def steps_in(path):
    """Whole lines of numbers in a file of properties."""
    return sum(line.endswith("\n") and line[0] != "#" for line in open(path))


def received(folder, beads=1):
    """What i-PI has of each bead: energies (steps, beads), positions and forces in eV, A."""
    rows = np.loadtxt(folder / "run.all", ndmin=2)
    energies, vectors = rows[:, 1 : 1 + beads], rows[:, 1 + beads :]
    vectors = vectors.reshape(len(rows), beads, 2, ATOMS, 3)
    return energies, vectors[:, :, 0], vectors[:, :, 1]


def free_port():
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# A stand-in server that says what a test wants it to say.


def word(text):
    return text.ljust(12).encode()


def integer(value):
    return np.int32(value).tobytes()


def init(text=" ", bead=0):
    return word("INIT") + integer(bead) + integer(len(text)) + text.encode()


def posdata(positions, atoms=None, cell=None):
    """POSDATA of one frame; positions (atoms, 3) in angstrom."""
    cell = np.eye(3) * 100 if cell is None else cell
    count = integer(len(positions) if atoms is None else atoms)
    return word("POSDATA") + cell.tobytes() * 2 + count + (positions / BOHR).tobytes()


def posdata_batch(positions, atoms=None):
    """POSDATA of a batch; positions (batch, atoms, 3) in angstrom."""
    count = integer(positions.shape[1] if atoms is None else atoms)
    cells = (np.eye(3) * 100).tobytes() * 2 * len(positions)
    return word("POSDATA") + count + cells + (positions / BOHR).tobytes()


@contextmanager
def listening(name):
    """A unix socket that listens where i-PI's would."""
    path = Path(f"/tmp/ipi_{name}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(PATIENCE_S)
        try:
            yield server
        finally:
            path.unlink(missing_ok=True)


def accept(server):
    """The connection of the client that comes next."""
    connection, _ = server.accept()
    connection.settimeout(PATIENCE_S)
    return connection


def everything(connection):
    """All bytes until the client closes its end, which resets it if it left some unread."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"")
    return b"".join(parts)
