"""The client on its socket: whom it talks to, when it gives up, what it never sends."""

import os
import signal
import socket
import threading
import time

import numpy as np
import pytest
from ase.build import molecule
from ipi_bench import (
    accept,
    client_thread,
    everything,
    free_port,
    init,
    listening,
    posdata,
    word,
)
from ipi_springs import Springs

from flexcalc.adapters.ipi import Server, serve
from flexcalc.adapters.ipi.client import socket_path
from flexcalc.domain import Domain
from flexcalc.errors import (
    ConfigError,
    MoleculeError,
    NonFiniteError,
    ProtocolError,
    ServerLostError,
    ShapeError,
)

pytestmark = pytest.mark.protocol

HELLO = word("STATUS") + init() + word("STATUS")
ASK = word("GETFORCE")


def play(springs, name, *stream, **job):
    """Send a stream to a client and close; return what it sent and its future."""
    job["unix"] = name
    with (
        listening(name) as server,
        client_thread(springs, **job) as client,
        accept(server) as connection,
    ):
        connection.sendall(b"".join(stream))
        connection.shutdown(socket.SHUT_WR)
        return everything(connection), client


def test_exit_ends_the_client_with_the_number_of_evaluations(springs, socket_name):
    frame = posdata(springs.rest) + ASK
    sent, client = play(springs, socket_name, HELLO, frame, frame, word("EXIT"))
    assert client.result(5) == 2
    assert sent.count(b"FORCEREADY") == 2


class Known(Springs):
    """Springs that know geometries up to a stretch of 20 % along x."""

    domain = Domain(1.2)

    def distance(self, positions):
        return np.ptp(positions[..., 0], axis=1) / np.ptp(self.rest[:, 0])


def test_the_first_geometry_outside_the_training_data_is_logged_once(socket_name, tmp_path):
    springs, said, table = Known(), [], tmp_path / "distances.csv"
    inside, outside = (posdata(springs.rest * scale) + ASK for scale in (1.0, 1.3))
    frames = [inside] * 11 + [outside] * 23
    job = {"log": said.append, "distances": table}
    play(springs, socket_name, HELLO, *frames, word("EXIT"), **job)
    warned = [line for line in said if "training data" in line]
    assert len(warned) == 1
    assert "force request 12" in warned[0]
    rows = np.loadtxt(table, delimiter=",")
    np.testing.assert_array_equal(rows[:, 0], [1, 12, 23, 34])
    np.testing.assert_allclose(rows[:, 2], [1.0, 1.3, 1.3, 1.3])


def test_an_energy_above_those_of_the_training_data_is_outside(socket_name, tmp_path):
    springs, said, table = Known(), [], tmp_path / "distances.csv"
    low, high = (springs((springs.rest * s)[None]).energies[0] for s in (1.0, 1.1))
    springs.domain = Domain(1.2, energies_eV=(low, low + (high - low) / 4))
    inside, outside = (posdata(springs.rest * scale) + ASK for scale in (1.0, 1.1))
    job = {"log": said.append, "distances": table}
    play(springs, socket_name, HELLO, *[inside] * 11, outside, word("EXIT"), **job)
    assert sum("outside the training data" in line for line in said) == 1
    np.testing.assert_allclose(np.loadtxt(table, delimiter=",")[:, 2], [1.0, 2.4])


@pytest.mark.parametrize("size", [1, 7])
def test_messages_may_arrive_in_pieces(springs, socket_name, size):
    stream = HELLO + posdata(springs.rest) + ASK + word("EXIT")
    with listening(socket_name) as server, client_thread(springs, unix=socket_name) as client:
        with accept(server) as connection:
            for start in range(0, len(stream), size):
                connection.sendall(stream[start : start + size])
            assert everything(connection).count(b"FORCEREADY") == 1
        assert client.result(5) == 1


@pytest.mark.parametrize(
    ("how", "error"),
    [("nan", NonFiniteError), ("infinite", NonFiniteError), ("misshapen", ShapeError)],
)
def test_a_bad_result_at_step_k_is_never_sent(socket_name, how, error):
    springs = Springs(fail_at=4, how=how)
    stream = [posdata(springs.rest) + ASK] * 6
    sent, client = play(springs, socket_name, HELLO, *stream)
    with pytest.raises(error, match="force request 4"):
        client.result(5)
    assert sent.count(b"FORCEREADY") == 3


def test_a_bad_result_ends_the_process_with_one_line(clients, tmp_path, socket_name):
    job = {"unix": socket_name, "springs": {"fail_at": 2}, "stderr": str(tmp_path / "stderr")}
    rest = Springs().rest
    with listening(socket_name) as server:
        clients.start(**job)
        with accept(server) as connection:
            connection.sendall(HELLO + (posdata(rest) + ASK) * 2)
            sent = everything(connection)
            assert clients.code() == NonFiniteError.exit_code != 0
    assert sent.count(b"FORCEREADY") == 1
    connected, error = (tmp_path / "stderr").read_text().splitlines()
    assert connected.startswith("flexcalc: connected")
    assert error.startswith("flexcalc: force request 2: ")


def test_a_killed_server_ends_the_client(springs, socket_name):
    sent, client = play(springs, socket_name, HELLO, posdata(springs.rest), ASK)
    with pytest.raises(ServerLostError, match="went away"):
        client.result(5)
    assert sent.count(b"FORCEREADY") == 1


ASE_HELLO = word("STATUS") + init("\0") + word("STATUS")


def test_ases_server_may_close_the_socket_once_it_has_its_forces(springs, socket_name):
    frame = posdata(springs.rest) + ASK
    sent, client = play(springs, socket_name, ASE_HELLO, frame, frame)
    assert client.result(5) == 2
    assert sent.count(b"FORCEREADY") == 2


@pytest.mark.parametrize(
    "rest", [b"", posdata(Springs().rest), posdata(Springs().rest) + ASK + b"STAT"], ids=len
)
def test_ases_server_that_is_gone_before_it_has_its_forces_is_lost(springs, socket_name, rest):
    """After its greeting, before it asked for the forces of a frame, and within a message."""
    _, client = play(springs, socket_name, ASE_HELLO, rest)
    with pytest.raises(ServerLostError, match="went away"):
        client.result(5)


def test_ases_silent_server_ends_the_client_at_its_timeout(springs, socket_name):
    """Also where it could have closed the socket."""
    job = {"unix": socket_name, "timeout_s": 0.3}
    with (
        listening(socket_name) as server,
        client_thread(springs, **job) as client,
        accept(server) as connection,
    ):
        connection.sendall(ASE_HELLO + posdata(springs.rest) + ASK)
        with pytest.raises(ServerLostError, match=r"silent for 0\.3 s"):
            client.result(5)


def test_a_server_killed_in_the_middle_of_a_message_ends_the_client(springs, socket_name):
    _, client = play(springs, socket_name, HELLO, posdata(springs.rest)[:200])
    with pytest.raises(ServerLostError, match="went away"):
        client.result(5)


@pytest.mark.parametrize("stream", [b"", HELLO, HELLO + b"POSDATA "], ids=["mute", "idle", "half"])
def test_a_stopped_server_ends_the_client_at_its_timeout(springs, socket_name, stream):
    job = {"unix": socket_name, "timeout_s": 0.3}
    with (
        listening(socket_name) as server,
        client_thread(springs, **job) as client,
        accept(server) as connection,
    ):
        connection.sendall(stream)
        with pytest.raises(ServerLostError, match=r"silent for 0\.3 s"):
            client.result(5)


def test_a_server_that_takes_no_answer_ends_the_client_at_its_timeout(springs, socket_name):
    """The answers of 4000 frames overflow the socket's buffer."""
    job = {"unix": socket_name, "timeout_s": 0.3}
    flood = HELLO + (posdata(springs.rest) + ASK) * 4000
    with (
        listening(socket_name) as server,
        client_thread(springs, **job) as client,
        accept(server) as connection,
    ):
        pump = threading.Thread(target=_pour, args=(connection, flood))
        pump.start()
        with pytest.raises(ServerLostError, match="silent"):
            client.result(30)
        pump.join()


def _pour(connection, data):
    try:
        connection.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return  # the client has given up, as it should


@pytest.mark.parametrize("where", ["unix", "inet"])
def test_an_absent_server_ends_the_client_at_its_timeout(springs, socket_name, where):
    job = {"unix": socket_name} if where == "unix" else {"port": free_port()}
    with pytest.raises(ServerLostError, match="no i-PI server at"):
        serve(springs, molecule_of(springs), Server(connect_timeout_s=0.3, **job), log=str)


def test_a_stale_socket_is_no_server(springs, socket_name):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"/tmp/ipi_{socket_name}")
    with pytest.raises(ServerLostError, match="no i-PI server at"):
        serve(
            springs, molecule_of(springs), Server(unix=socket_name, connect_timeout_s=0.3), log=str
        )


def test_a_server_may_come_later_than_the_client(springs, socket_name):
    with client_thread(springs, unix=socket_name) as client:
        time.sleep(0.3)
        with listening(socket_name) as server, accept(server) as connection:
            connection.sendall(word("EXIT"))
            assert client.result(5) == 0


def test_waiting_costs_no_processor_time(springs, socket_name):
    """Less than 5 % of a second of silence, in the thread's own processor time."""
    spent = []

    def wait():
        begun = time.thread_time()
        with pytest.raises(ServerLostError):
            serve(springs, molecule_of(springs), Server(unix=socket_name, timeout_s=1.0), log=str)
        spent.append(time.thread_time() - begun)

    with listening(socket_name) as server:
        client = threading.Thread(target=wait)
        client.start()
        with accept(server):
            client.join(30)
    assert spent[0] < 0.05


def test_a_client_process_of_a_mute_server_ends_itself(clients, socket_name):
    with listening(socket_name) as server:
        clients.start(unix=socket_name, timeout_s=0.5, stderr=os.devnull)
        with accept(server):
            assert clients.code() == ServerLostError.exit_code != 0


def test_a_client_that_is_ended_lets_the_server_go(clients, socket_name):
    with listening(socket_name) as server:
        process = clients.start(unix=socket_name, stderr=os.devnull)
        with accept(server) as connection:
            os.kill(process, signal.SIGTERM)
            assert everything(connection) == b""
        assert clients.code() == -signal.SIGTERM


def test_a_client_that_is_killed_at_work_closes_the_connection_and_does_not_reset_it(
    clients, socket_name
):
    """i-PI sends positions and GETFORCE in one piece; what is left unread would reset it."""
    with listening(socket_name) as server:
        process = clients.start(unix=socket_name, springs={"delay_s": 60.0}, stderr=os.devnull)
        with accept(server) as connection:
            connection.sendall(HELLO)
            assert connection.recv(12) + connection.recv(12) == word("NEEDINIT") + word("READY")
            connection.sendall(posdata(Springs().rest) + ASK)
            time.sleep(0.5)  # it is at work by now
            os.kill(process, signal.SIGKILL)
            assert connection.recv(1) == b""
        assert clients.code() == -signal.SIGKILL


HOSTILE_NAMES = [
    "", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", "a\nb", "a b", "-x", "a;b", "$(id)",
    "`id`", "a'b", 'a"b', "<a>", "&amp;", "é", "a\u202eb", "x" * 65, "~", "*", "a\\b", "\x7f",
]  # fmt: skip


@pytest.mark.security
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_socket_name_is_refused(springs, name):
    with pytest.raises(ConfigError) as error:
        serve(springs, molecule_of(springs), Server(unix=name), log=str)
    assert "\n" not in str(error.value)


@pytest.mark.security
def test_the_socket_lies_where_i_pi_puts_it():
    assert socket_path("azo") == "/tmp/ipi_azo"


@pytest.mark.security
def test_a_socket_path_that_no_socket_can_have_is_refused():
    with pytest.raises(ConfigError, match="longer than"):
        socket_path("azo", "/tmp/" + "x" * 200)


@pytest.mark.security
@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0"])
def test_another_machine_needs_permission(springs, host):
    with pytest.raises(ConfigError, match="--allow-remote"):
        serve(springs, molecule_of(springs), Server(host=host, port=31415), log=str)


@pytest.mark.security
def test_another_machine_with_permission_gets_a_warning(springs):
    """0.0.0.0 reaches this machine, and is not of its loopback."""
    said = []
    with pytest.raises(ServerLostError):
        serve(
            springs,
            molecule_of(springs),
            Server(host="0.0.0.0", port=free_port(), allow_remote=True, connect_timeout_s=0.1),
            log=said.append,
        )
    assert len(said) == 1
    assert said[0].startswith("warning: ")


@pytest.mark.parametrize(
    "job",
    [{}, {"unix": "a", "port": 1}, {"port": 0}, {"port": 70000}, {"host": "127.0.0.1"}],
    ids=str,
)
def test_an_address_that_cannot_be_is_refused(springs, job):
    with pytest.raises(ConfigError):
        serve(springs, molecule_of(springs), Server(**job), log=str)


def test_a_host_name_that_means_nothing_is_refused(springs):
    with pytest.raises(ConfigError, match="cannot be found"):
        serve(springs, molecule_of(springs), Server(host="no such host", port=31415), log=str)


def test_a_template_of_another_molecule_is_refused(springs, socket_name):
    with pytest.raises(MoleculeError, match="C2H5NO2"):
        serve(springs, molecule("CH3CH2OH"), Server(unix=socket_name), log=str)


def test_a_template_in_another_order_is_refused(springs, socket_name):
    atoms = molecule_of(springs)[::-1]
    with pytest.raises(MoleculeError, match="order"):
        serve(springs, atoms, Server(unix=socket_name), log=str)


def test_a_periodic_template_is_refused(springs, socket_name):
    atoms = molecule_of(springs)
    atoms.set_cell([10, 10, 10])
    atoms.pbc = True
    with pytest.raises(MoleculeError, match="periodic"):
        serve(springs, atoms, Server(unix=socket_name), log=str)


def test_a_first_frame_of_another_order_gets_no_force(springs, socket_name):
    sent, client = play(springs, socket_name, HELLO, posdata(springs.rest[::-1].copy()), ASK)
    with pytest.raises(MoleculeError):
        client.result(5)
    assert b"FORCEREADY" not in sent
    assert springs.calls == 0


def test_broken_streams_on_a_socket_end_in_one_error_without_hanging(springs, socket_name):
    rng = np.random.default_rng(0)
    good = HELLO + posdata(springs.rest) + ASK + word("STATUS")
    for _ in range(40):
        cut = good[: rng.integers(1, len(good))]
        noise = rng.bytes(int(rng.integers(12, 40)))
        _, client = play(springs, socket_name, cut, noise, timeout_s=5.0)
        with pytest.raises((ProtocolError, MoleculeError)):
            client.result(10)


def molecule_of(springs):
    import ase

    return ase.Atoms(springs.numbers, springs.rest)
