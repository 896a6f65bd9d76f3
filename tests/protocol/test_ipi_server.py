"""Against the real i-PI 3.3 and ASE's SocketIOCalculator: the direct call's numbers, always."""

import os
import random
import signal
import sys
import time

import ase
import numpy as np
import pytest
from ase import units
from ase.calculators.socketio import SocketIOCalculator
from ipi_bench import (
    BIN,
    PES,
    client_thread,
    free_port,
    in_process,
    input_xml,
    ipi,
    over_socket,
    received,
    running,
    simulate,
    wait_for_steps,
)
from ipi_springs import GLYCINE, Springs

from flexcalc.errors import ConfigError, FlexcalcError, ServerLostError

pytestmark = pytest.mark.protocol

SPRINGS_ADDRESS = "ase:ipi_springs:SpringCalculator"
TOLERANCE = 1e-11


def assert_direct_numbers(folder, beads=1):
    """Every energy and force that i-PI has is the direct call's at the positions it has."""
    energies, positions, forces = received(folder, beads)
    for bead in range(beads):
        direct = Springs()(positions[:, bead])
        scale = np.abs(direct.forces).max()
        assert np.abs(energies[:, bead] / direct.energies - 1).max() < TOLERANCE
        assert np.abs(forces[:, bead] - direct.forces).max() < TOLERANCE * scale
    assert np.ptp(energies) > 0.1  # it moved


def assert_same_trajectory(folder, calm, at_least=50):
    """As far as the shorter one goes, the same bytes."""
    one, other = ((place / "run.all").read_bytes() for place in (folder, calm))
    length = min(len(one), len(other))
    assert one[:length] == other[:length]
    assert one[:length].count(b"\n") > at_least


def test_i_pi_gets_the_direct_calls_numbers(calm):
    """A unix socket and fused messages, i-PI's default."""
    assert_direct_numbers(calm)


@pytest.mark.parametrize(
    ("mode", "fused", "steps"),
    [
        ("inet", False, 100),
        *(
            pytest.param(mode, fused, 1000, marks=pytest.mark.long)
            for mode in ("unix", "inet")
            for fused in (True, False)
        ),
    ],
)
def test_every_socket_and_message_style_gives_the_same_trajectory(
    tmp_path, socket_name, springs, calm, mode, fused, steps
):
    where = {"unix": socket_name} if mode == "unix" else {"port": free_port()}
    xml = input_xml(over_socket(**where, fused=fused), steps=steps)
    assert simulate(tmp_path, xml, springs, **where) == steps + 1
    assert_direct_numbers(tmp_path)
    assert_same_trajectory(tmp_path, calm)


@pytest.mark.parametrize(
    ("steps", "threaded"),
    [
        (100, False),
        pytest.param(1000, False, marks=pytest.mark.long),
        pytest.param(1000, True, marks=pytest.mark.long),
    ],
)
def test_the_potential_inside_i_pi_gives_the_same_trajectory(tmp_path, calm, steps, threaded):
    with ipi(tmp_path, input_xml(in_process(SPRINGS_ADDRESS, threaded=threaded), steps=steps)) as p:
        output = p.communicate(timeout=300)
    assert p.returncode == 0, output
    assert_direct_numbers(tmp_path)
    assert_same_trajectory(tmp_path, calm)


@pytest.mark.long
def test_i_pi_gets_the_direct_calls_numbers_of_batches_in_process(tmp_path):
    xml = input_xml(in_process(SPRINGS_ADDRESS, batch=4), steps=200, beads=8)
    with ipi(tmp_path, xml) as p:
        output = p.communicate(timeout=300)
    assert p.returncode == 0, output
    assert_direct_numbers(tmp_path, beads=8)


@pytest.mark.long
def test_i_pis_own_python_driver_runs_the_same_surface(tmp_path, socket_name):
    driver = (
        BIN / "i-pi-driver-py", "-u", "-a", socket_name, "-m", "custom", "-P", PES,
        "-o", f"potential={SPRINGS_ADDRESS},template={GLYCINE}",
    )  # fmt: skip
    with ipi(tmp_path, input_xml(over_socket(socket_name), steps=200)) as server:
        while not os.path.exists(f"/tmp/ipi_{socket_name}") and server.poll() is None:
            time.sleep(0.05)
        with running(sys.executable, *driver, folder=tmp_path) as client:
            server.communicate(timeout=300)
            client.communicate(timeout=30)
    assert server.returncode == client.returncode == 0
    assert_direct_numbers(tmp_path)


@pytest.mark.parametrize(
    ("beads", "batch", "steps"),
    [
        (6, 4, 20),
        pytest.param(16, 16, 100, marks=pytest.mark.long),
        pytest.param(16, 5, 100, marks=pytest.mark.long),
    ],
)
def test_beads_in_batches_get_the_direct_calls_numbers(
    tmp_path, socket_name, springs, beads, batch, steps
):
    """6 beads in batches of 4: the second of them is padded with two copies."""
    xml = input_xml(over_socket(socket_name, batch=batch), steps=steps, beads=beads)
    count = simulate(tmp_path, xml, springs, unix=socket_name)
    assert count <= beads * (steps + 1)
    assert max(springs.batches) == batch
    assert_direct_numbers(tmp_path, beads)


@pytest.mark.long
def test_extras_reach_i_pis_output(tmp_path, socket_name):
    """i-PI writes a field of the JSON as numbers, one line a step."""
    kind = "deviation_eV_A"
    outputs = f"<trajectory filename='{kind}' stride='1' extra_type='{kind}'> extras </trajectory>"
    xml = input_xml(over_socket(socket_name), steps=5, outputs=outputs)
    simulate(tmp_path, xml, Springs(deviation=True), unix=socket_name)
    found = np.loadtxt(tmp_path / f"run.{kind}_0", ndmin=2)
    positions = received(tmp_path)[1][:, 0]
    assert np.abs(found - Springs(deviation=True)(positions).deviation).max() < TOLERANCE


@pytest.mark.long
def test_a_client_outlives_no_killed_i_pi(tmp_path, socket_name, clients):
    job = {"unix": socket_name, "springs": {"delay_s": 0.01}, "stderr": str(tmp_path / "said")}
    with ipi(tmp_path, input_xml(over_socket(socket_name), steps=100_000)) as server:
        clients.start(**job)
        # i-PI opens its outputs before any client is there; a line in them is a client's answer.
        wait_for_steps(tmp_path, 2, server)
        server.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert clients.code() == ServerLostError.exit_code
        assert time.monotonic() - killed < 5


def is_deaf(folder):
    """Whether i-PI has lost the thread that talks to clients.

    i-PI 3.3.1 catches what a client's death does while it waits for an answer, but not between the
    head of an answer and the rest, a moment that a busy machine makes long.
    """
    return "Exception in thread poll_" in (folder / "stderr").read_text()


@pytest.mark.parametrize(
    ("kills", "steps"), [(5, 250), pytest.param(100, 4000, marks=pytest.mark.long)]
)
def test_killed_clients_leave_no_trace_in_the_trajectory(tmp_path, clients, calm, kills, steps):
    """Kill the client at random moments and start another: the same bytes as undisturbed.

    Where that has made i-PI deaf, all that it has got is right too, and another run goes on.
    """
    moments, done = random.Random(4), 0
    for run in range(kills + 1):
        folder, port = tmp_path / str(run), free_port()
        folder.mkdir()
        job = {"port": port, "springs": {"delay_s": 0.004}, "stderr": os.devnull}
        xml = input_xml(over_socket(port=port), steps=steps)
        with open(folder / "stderr", "w") as said, ipi(folder, xml, stderr=said) as server:
            process = clients.start(**job)
            wait_for_steps(folder, 1, server)  # so that every kill falls into the run
            while done < kills and not is_deaf(folder):
                time.sleep(moments.uniform(0, 0.15))
                os.kill(process, signal.SIGKILL)
                assert clients.code() == -signal.SIGKILL
                assert server.poll() is None
                done += 1
                process = clients.start(**job)
            while server.poll() is None and not is_deaf(folder):
                time.sleep(0.1)
            if is_deaf(folder):
                os.kill(process, signal.SIGKILL)
            code = clients.code()
        if not is_deaf(folder):
            break
        assert_same_trajectory(folder, calm, at_least=0)
    assert (code, server.returncode, done) == (0, 0, kills)
    assert_direct_numbers(folder)
    assert_same_trajectory(folder, calm)


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        ("unix", 100),
        ("inet", 20),  # ASE's server leaves Nagle's delay on: 40 ms a step
        pytest.param("unix", 1000, marks=pytest.mark.long),
        pytest.param("inet", 1000, marks=pytest.mark.long),
    ],
)
def test_ase_gets_the_direct_calls_numbers(springs, socket_name, mode, steps):
    """ASE's own server; it sends every message separately."""
    port = free_port()
    theirs = {"unixsocket": socket_name} if mode == "unix" else {"port": port}
    ours = {"unix": socket_name} if mode == "unix" else {"port": port}
    rng = np.random.default_rng(0)
    atoms = ase.Atoms(springs.numbers, springs.rest)
    with client_thread(springs, **ours) as client:
        with SocketIOCalculator(**theirs, timeout=30) as atoms.calc:
            for _ in range(steps):
                atoms.positions = springs.rest + 0.1 * rng.normal(size=(10, 3))
                direct = Springs()(atoms.positions[None])
                scale = np.abs(direct.forces).max()
                assert abs(atoms.get_potential_energy() / direct.energies[0] - 1) < TOLERANCE
                assert np.abs(atoms.get_forces() - direct.forces[0]).max() < TOLERANCE * scale
        assert client.result(10) == steps  # ASE closed the socket, and sent no EXIT
    assert springs.calls == steps


@pytest.fixture(scope="module")
def driver():
    """The class that i-PI finds in drivers/flexcalc_pes.py."""
    from ipi.pes import load_pes

    return load_pes("custom", PES)


@pytest.fixture
def springs_in_reach(monkeypatch):
    monkeypatch.syspath_prepend(os.path.dirname(__file__))


def test_the_driver_without_its_parameters_says_so(driver):
    with pytest.raises(ConfigError, match="potential and template"):
        driver(potential=SPRINGS_ADDRESS)


@pytest.mark.usefixtures("springs_in_reach")
def test_the_driver_takes_a_list_of_frames_as_one_batch(driver, springs):
    surface = driver(potential=SPRINGS_ADDRESS, template=GLYCINE)
    rng = np.random.default_rng(0)
    frames = [(springs.rest + 0.1 * rng.normal(size=(10, 3))) / units.Bohr for _ in range(3)]
    cells = [np.eye(3) * 100] * 3
    for row, (energy, forces, virial, extras) in enumerate(surface(cells, frames)):
        alone = surface(cells[row], frames[row])
        assert energy == alone[0]
        assert np.array_equal(forces, alone[1])
        assert np.array_equal(virial, alone[2])
        assert extras == ""
        virial[:] = 0.0  # i-PI writes into what it gets


@pytest.mark.usefixtures("springs_in_reach")
def test_the_driver_never_returns_a_nan(driver):
    surface = driver(potential=SPRINGS_ADDRESS + "?fail_at=2", template=GLYCINE)
    frame = Springs().rest / units.Bohr
    surface(np.eye(3) * 100, frame)
    with pytest.raises(FlexcalcError, match="force request 2"):
        surface(np.eye(3) * 100, frame * 1.01)


@pytest.mark.long
@pytest.mark.parametrize("threaded", [True, False])
def test_i_pi_ends_when_the_potential_inside_it_fails(tmp_path, threaded):
    xml = input_xml(in_process(SPRINGS_ADDRESS + "?fail_at=10", threaded=threaded), steps=100)
    with ipi(tmp_path, xml) as server:
        output = "".join(server.communicate(timeout=600))
    assert "force request 10" in output
    assert threaded or server.returncode != 0  # i-PI's soft exit knows only exit code 0
    energies, _, forces = received(tmp_path)
    assert np.isfinite(energies).all()
    assert np.isfinite(forces).all()
    assert len(energies) == 9
