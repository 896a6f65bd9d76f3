"""i-PI started with its clients: one input, one clean end, whatever happens in between."""

import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from ipi_bench import ROOT, free_port, in_process, input_xml, over_socket
from ipi_springs import GLYCINE, Springs

from flexcalc.adapters.ipi import Launch, inputs, launch, resume
from flexcalc.adapters.ipi.child import closed_by_reset
from flexcalc.adapters.ipi.client import MEASURED_EVERY
from flexcalc.adapters.ipi.launcher import DEAF, Clients, _watch
from flexcalc.adapters.ipi.processes import owned_socket, private_folder
from flexcalc.errors import (
    BusyError,
    ConfigError,
    FileFormatError,
    FlexcalcError,
    InputError,
    ProtocolError,
    ServerLostError,
)
from flexcalc.progress import silent
from flexcalc.units import KB

pytestmark = pytest.mark.protocol

ADDRESS = "ase:ipi_springs:SpringCalculator"


@pytest.fixture(autouse=True)
def springs_in_reach(monkeypatch, tmp_path):
    """The launcher opens the address in this process too; sockets go into the test's folder."""
    monkeypatch.syspath_prepend(os.path.dirname(__file__))
    monkeypatch.setattr("tempfile.tempdir", None)
    short = Path("/tmp") / f"fc{tmp_path.stat().st_ino}"
    short.mkdir()
    monkeypatch.setenv("TMPDIR", str(short))
    yield
    subprocess.run(["rm", "-rf", str(short)], check=True)
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small sGDML model of the springs, as a folder."""
    from flexcalc.dataset import Dataset
    from flexcalc.models.gdml import SGDML

    springs, rng = Springs(), np.random.default_rng(0)
    positions = springs.rest + 0.1 * rng.normal(size=(40, 10, 3))
    labels = springs(positions)
    data = Dataset(springs.numbers, positions, labels.energies, labels.forces)
    folder = tmp_path_factory.mktemp("model") / "springs.flex"
    SGDML(sigma=20).fit(data[:30], data[30:], rng).save(folder)
    return str(folder)


def processes_of(folder):
    """Numbers of the processes that work in a folder or write their log there."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            links = [process / "cwd", process / "fd" / "1"]
            try:
                targets = [os.readlink(link) for link in links]
            except OSError:
                continue  # it has just ended
            if any(target.startswith(str(folder)) for target in targets):
                found.append(int(process.name))
    return found


def holds_files(process):
    """Whether a process may have files open: while any of its threads has not ended.

    Of one that is killed the first thread may be gone, and with it the links that `processes_of`
    reads, while others still hold its files, and locks on them.
    """
    try:
        threads = [task / "stat" for task in Path(f"/proc/{process}/task").iterdir()]
        states = [path.read_text().rpartition(")")[2].split()[0] for path in threads]
    except OSError:
        return Path(f"/proc/{process}").exists()  # asked again where it is just ending
    return any(state not in "ZX" for state in states)


def assert_nothing_runs(folder, within_s=15.0):
    deadline = time.monotonic() + within_s
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(folder) == []
    assert list(private_folder().glob("ipi_*[!k]")) == []  # sockets; .lock files may stay


def assert_distances(path, steps):
    """Distances to the training data at some of the requests; none of springs, which have none."""
    if steps is None:
        assert not path.exists()
        return
    request, row, distance = np.loadtxt(path, delimiter=",", ndmin=2).T
    assert request[0] == 1
    assert np.all(np.diff(request) == MEASURED_EVERY)
    assert abs(len(request) - steps / MEASURED_EVERY) <= 2
    assert not row.any()
    assert np.all((distance > 0) & (distance < 10))


@pytest.mark.parametrize(
    ("name", "steps", "clients"),
    [
        ("ipi-nvt", 20, 1),
        pytest.param("ipi-nvt", 1000, 1, marks=pytest.mark.long),
        pytest.param("ipi-pimd", 100, 2, marks=pytest.mark.long),
    ],
)
@pytest.mark.inputs
def test_the_shipped_inputs_run(tmp_path, model, name, steps, clients):
    """NVT on a trained model; PIMD on springs, whose rows do not know of their batch."""
    seen = []
    # i-PI works in the run folder; a numpy.py there is data, not code.
    (tmp_path / "numpy.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w').close()")
    outcome = launch(
        ROOT / "inputs" / f"{name}.xml",
        model if name == "ipi-nvt" else ADDRESS,
        GLYCINE,
        tmp_path,
        Launch(steps=steps, clients=clients, compare=True, distances=tmp_path / "distances.csv"),
        progress=lambda *state: seen.append(state),
    )
    assert_distances(tmp_path / "distances.csv", steps if name == "ipi-nvt" else None)
    assert outcome.force_difference_max_relative < 1e-11
    assert outcome.energy_difference_max_relative < 1e-11
    assert outcome.scalars["step"].tolist() == list(range(steps + 1))
    assert all(np.isfinite(column).all() for column in outcome.scalars.values())
    assert seen[-1][:2] == (steps, steps)
    assert not (tmp_path / "canary").exists()
    assert_nothing_runs(tmp_path)


def test_beads_give_the_same_energies_batched_and_one_by_one(tmp_path):
    """The 16 beads of the shipped input, in one message and in 16."""
    text = (ROOT / "inputs" / "ipi-pimd.xml").read_text()
    scalars = []
    for name, xml in {
        "batched": text,
        "single": text.replace("<batch_size>16</batch_size>", ""),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "given.xml"
        path.write_text(xml)
        outcome = launch(path, ADDRESS, GLYCINE, folder, Launch(steps=5, start=GLYCINE))
        scalars.append(np.stack(list(outcome.scalars.values())))
    batched, single = (columns[1:, 1:] for columns in scalars)  # without step, and time zero
    assert np.abs(batched / single - 1).max() < 1e-11
    assert np.ptp(batched[2]) > 0.1  # the potential moved
    assert outcome.beads == 16
    kinetic, gyration = (outcome.scalars[name] for name in ("quantum_kinetic_eV", "gyration_A"))
    assert kinetic[0] == pytest.approx(1.5 * 10 * KB * 300, rel=1e-5)  # collapsed: classical
    assert gyration[0] < 1e-12
    assert gyration[-1] > 1e-4
    assert np.ptp(kinetic) > 1e-3
    own = np.loadtxt(folder / "pimd.out", ndmin=2)
    assert own[0, 4] == pytest.approx(kinetic[0], rel=1e-12)


def test_bosons_and_paths_have_no_estimator_for_distinguishable_nuclei():
    """i-PI stops at the centroid-virial estimator of bosons."""
    text = (ROOT / "inputs" / "ipi-pimd.xml").read_text()
    assert inputs.ring_polymer(ElementTree.fromstring(text))
    bosons = text.replace(
        "<forces>", "<normal_modes><bosons> [0, 1] </bosons></normal_modes><forces>"
    )
    assert not inputs.ring_polymer(ElementTree.fromstring(bosons))
    assert not inputs.ring_polymer(inputs.load(ROOT / "inputs" / "ipi-neb.xml"))
    assert not inputs.ring_polymer(inputs.load(ROOT / "inputs" / "ipi-remd.xml"))


def test_a_run_of_a_version_that_requested_fewer_columns_is_the_same_run():
    """Its outputs keep their columns, whose names follow from its own input."""
    path = ROOT / "inputs" / "ipi-pimd.xml"
    now, before = inputs.load(path), inputs.load(path)
    for root in (now, before):
        inputs.add_outputs(root, 1, None)
    added = before.findall("output/properties")[-1]
    added.text = "[ step, time{femtosecond}, temperature{kelvin}, potential{ase}, conserved{ase} ]"
    assert inputs.alike(before, now)
    assert inputs.scalar_columns(before) == inputs.scalar_columns(now)[:5]
    assert inputs.scalar_columns(now)[5:] == ["quantum_kinetic_eV", "gyration_A", "ensemble_K"]
    added.text = "[ step, volume ]"
    with pytest.raises(FileFormatError, match="outputs that flexcalc adds"):
        inputs.scalar_columns(before)


def test_replicas_that_exchange_their_ensembles_are_told_apart(tmp_path):
    """Each of the shipped four is somewhere at every step, as i-PI's own record says."""
    path = tmp_path / "given.xml"
    text = (ROOT / "inputs" / "ipi-remd.xml").read_text()
    path.write_text(text.replace("<stride> 10 </stride>", "<stride> 2 </stride>"))
    outcome = launch(
        path, ADDRESS, GLYCINE, tmp_path, Launch(steps=30, start=GLYCINE, compare=True)
    )
    assert outcome.force_difference_max_relative < 1e-11
    scalars = outcome.scalars
    assert scalars["step"].tolist() == np.repeat(np.arange(31), 4).tolist()
    assert scalars["replica"].tolist() == [0, 1, 2, 3] * 31
    kelvin = np.array([300, 360, 430, 520])
    has = abs(scalars["ensemble_K"].reshape(31, 4, 1) - kelvin).argmin(axis=2)
    assert (np.sort(has, axis=1) == np.arange(4)).all()
    swaps = np.loadtxt(tmp_path / "remd.remd_idx", dtype=int, ndmin=2)
    assert len(swaps) > 3
    for step, *expected in swaps:
        assert has[step + 1].tolist() == expected
    assert_nothing_runs(tmp_path)


def test_a_path_that_i_pi_seeks_comes_back_with_its_images(tmp_path):
    """The ends stay; what is between goes down in energy."""
    from flexcalc import files
    from flexcalc.registry import open_potential

    first = files.read(ROOT / "inputs" / "glycine-path.xyz")
    given = ROOT / "inputs" / "ipi-neb.xml"
    start = ROOT / "inputs" / "glycine-path.xyz"
    outcome = launch(given, ADDRESS, start, tmp_path, Launch(steps=5, start=start))
    assert np.abs(outcome.images[[0, -1]] - first.positions[[0, -1]]).max() < 1e-8
    springs = open_potential(ADDRESS, first.numbers)
    before, after = springs(first.positions).energies, springs(outcome.images).energies
    assert after[1:-1].sum() < before[1:-1].sum()


def test_an_i_pi_that_refuses_its_input_is_quoted(tmp_path):
    """i-PI 3.3 has a string method, but will not run it; its exit code would be 0."""
    text = (ROOT / "inputs" / "ipi-neb.xml").read_text()
    for old, new in (("mode='neb'", "mode='string'"), ("neb_optimizer", "string_optimizer")):
        text = text.replace(old, new)
    (tmp_path / "given.xml").write_text(text)
    start = ROOT / "inputs" / "glycine-path.xyz"
    with pytest.raises(ProtocolError, match=r"i-PI stopped early; .*comment out this trigger"):
        launch(tmp_path / "given.xml", ADDRESS, start, tmp_path, Launch(start=start))
    assert_nothing_runs(tmp_path)


@pytest.mark.inputs
def test_the_shipped_in_process_input_runs_without_a_client(tmp_path):
    address = "xtb:GFN2-xTB"
    given = ROOT / "drivers" / "in-process.xml"
    outcome = launch(given, address, GLYCINE, tmp_path, Launch(steps=5, compare=True, trust=True))
    assert outcome.force_difference_max_relative < 1e-11
    assert not list(tmp_path.glob("client-*"))


@pytest.mark.long
def test_the_launch_script_runs_i_pi_with_two_clients(tmp_path):
    text = (ROOT / "inputs" / "ipi-nvt.xml").read_text().replace(">2000<", ">20<")
    (tmp_path / "input.xml").write_text(text.replace("glycine-Ip.xyz </file>", f"{GLYCINE}</file>"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = (ROOT / "drivers" / "local.sh", "input.xml", ADDRESS, GLYCINE, "glycine-nvt", "2")
    done = subprocess.run(
        [str(word) for word in script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert np.loadtxt(tmp_path / "nvt.out")[-1, 0] == 20
    assert_nothing_runs(tmp_path)


@pytest.mark.long
def test_an_internet_socket_is_served(tmp_path):
    (tmp_path / "given.xml").write_text(input_xml(over_socket(port=free_port()), steps=20))
    outcome = launch(tmp_path / "given.xml", ADDRESS, GLYCINE, tmp_path, Launch(compare=True))
    assert outcome.force_difference_max_relative < 1e-11


def test_a_client_that_fails_ends_the_run_with_its_own_error(tmp_path):
    with pytest.raises(FlexcalcError, match=r"^force request 4: ") as error:
        launch(
            ROOT / "inputs" / "ipi-nvt.xml",
            ADDRESS + "?fail_at=4",
            GLYCINE,
            tmp_path,
            Launch(clients=1),
        )
    assert "\n" not in str(error.value)
    assert_nothing_runs(tmp_path)


@pytest.mark.long
def test_an_i_pi_that_crashes_ends_the_run(tmp_path):
    xml = input_xml(over_socket("crash"), steps=20).replace("mode='nve'", "mode='nonsense'")
    (tmp_path / "given.xml").write_text(xml)
    with pytest.raises(ProtocolError, match=r"i-PI died .*nonsense"):
        launch(tmp_path / "given.xml", ADDRESS, GLYCINE, tmp_path)
    assert_nothing_runs(tmp_path)


@pytest.mark.long
def test_a_client_that_is_killed_ends_the_run(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        given = ROOT / "inputs" / "ipi-nvt.xml"
        run = pool.submit(launch, given, ADDRESS, GLYCINE, tmp_path)
        wait_for_lines(tmp_path / "nvt.flexcalc", run)
        os.kill(part_of(tmp_path, "client-0.log"), signal.SIGKILL)
        with pytest.raises(ProtocolError, match=r"a client died \(exit code -9\)"):
            run.result(300)
    assert_nothing_runs(tmp_path)


class Ended:
    """A client with this exit code, or one that runs."""

    def __init__(self, code=None):
        self.code = code

    def failure(self):
        return ProtocolError(f"a client died (exit code {self.code})")


def test_clients_that_fail_are_reported_once_and_only_the_last_ends_the_run():
    said, one, two, three = [], Ended(), Ended(), Ended()
    clients = Clients([one, two, three], said.append)
    clients.check()
    assert (said, clients.lost) == ([], 0)
    two.code = 3
    for _ in range(2):
        clients.check()
    assert said == ["a client died (exit code 3) (i-PI goes on with 2 of 3 clients)"]
    one.code = 0  # i-PI has said EXIT
    clients.check()
    assert clients.lost == 1
    one.code, three.code = 1, 9
    with pytest.raises(ProtocolError, match="exit code 9"):
        clients.check()


def launch_with_two_clients(folder, said):
    """A launch of beads that two clients share, in a thread of its own."""
    text = (ROOT / "inputs" / "ipi-pimd.xml").read_text()
    text = text.replace("<batch_size>16</batch_size>", "").replace("glycine-Ip.xyz", str(GLYCINE))
    path = folder / "given.xml"
    path.write_text(text.replace("nbeads='16'", "nbeads='4'"))
    options = Launch(steps=60, clients=2)
    return launch(path, ADDRESS, GLYCINE, folder, options, warn=said.append)


def test_a_client_of_two_that_is_killed_does_not_end_the_run(tmp_path):
    said = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(launch_with_two_clients, tmp_path, said)
        wait_for_lines(tmp_path / "pimd.flexcalc", run)
        os.kill(part_of(tmp_path, "client-0.log"), signal.SIGKILL)
        error = run.exception(300)
    if error is None:
        outcome = run.result()
        assert outcome.clients_lost == 1
    else:  # killed in the middle of an answer: i-PI has lost its thread
        assert "start the same command again" in str(error)
        outcome = launch_with_two_clients(tmp_path, said)
    (line,) = said
    assert "a client died (exit code -9)" in line
    assert "(i-PI goes on with 1 of 2 clients)" in line
    assert outcome.scalars["step"].tolist() == list(range(61))
    assert_nothing_runs(tmp_path)


@pytest.mark.long
def test_the_last_client_that_is_killed_ends_the_run(tmp_path):
    said = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(launch_with_two_clients, tmp_path, said)
        wait_for_lines(tmp_path / "pimd.flexcalc", run)
        for name in ("client-0.log", "client-1.log"):
            os.kill(part_of(tmp_path, name), signal.SIGKILL)
        with pytest.raises(ProtocolError, match=r"a client died \(exit code -9\)"):
            run.result(300)
    assert len(said) < 2
    assert_nothing_runs(tmp_path)


def test_a_connection_that_is_reset_is_a_closed_one_for_i_pi():
    """Its other end is closed with a message unread."""
    ours, theirs = socket.socketpair()
    ours.sendall(b"unread")
    theirs.close()
    with pytest.raises(ConnectionResetError):
        ours.recv_into(bytearray(1))
    ours, theirs = socket.socketpair()
    ours.sendall(b"unread")
    theirs.close()
    assert closed_by_reset(socket.socket.recv_into)(ours, bytearray(1), 1) == 0


def test_an_i_pi_that_lost_its_thread_with_a_client_is_not_waited_for(tmp_path, monkeypatch):
    """Its main thread goes on waiting for ever; so far only its log tells."""
    monkeypatch.setattr("flexcalc.adapters.ipi.launcher.QUIET_S", 0.0)
    server = SimpleNamespace(code=None, log=tmp_path / "i-pi.log", said=lambda text: text == DEAF)
    clients = Clients([Ended(), Ended(-9)], lambda line: None)
    root = ElementTree.fromstring(input_xml(over_socket("deaf"), steps=5))
    with pytest.raises(ProtocolError, match="start the same command again"):
        _watch(server, clients, root, 60.0, silent)


LAUNCH = """
import sys
from flexcalc.adapters.ipi import Launch, launch
model, options = "ase:ipi_springs:SpringCalculator", Launch(steps=1999)
launch(sys.argv[1], model, *sys.argv[2:4], options)
"""


def start_launcher(folder):
    """A launcher as a process of its own, with its i-PI under way."""
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, ROOT / "inputs" / "ipi-nvt.xml", GLYCINE, folder],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_lines(folder / "nvt.flexcalc")
    return process


def wait_for_lines(scalars, run=None, within_s=300.0):
    """Wait until i-PI has written steps, not only the head that it writes before any client."""
    deadline = time.monotonic() + within_s
    while not (scalars.exists() and scalars.read_text().count("\n") > 12):
        assert run is None or not run.done(), run.result()
        assert time.monotonic() < deadline, "i-PI did not start"
        time.sleep(0.05)


def test_a_killed_launcher_leaves_no_orphans_and_its_socket_is_recovered(tmp_path):
    process = start_launcher(tmp_path)
    with pytest.raises(BusyError, match="glycine-nvt"), owned_socket("glycine-nvt", tmp_path):
        pass
    started = processes_of(tmp_path)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 15
    while any(map(holds_files, started)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(tmp_path) == []
    with owned_socket("glycine-nvt", tmp_path) as (prefix, _):
        assert not Path(f"{prefix}glycine-nvt").exists()


def test_ctrl_c_ends_everything(tmp_path):
    process = start_launcher(tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) != 0
    assert_nothing_runs(tmp_path)
    assert (tmp_path / "RESTART").exists()
    before = np.loadtxt(tmp_path / "nvt.flexcalc")
    assert before[:, 0].tolist() == list(range(len(before)))
    with pytest.raises(ConfigError, match="another i-PI input"):
        launch(ROOT / "inputs" / "ipi-pimd.xml", ADDRESS, GLYCINE, tmp_path)


@pytest.mark.long
def test_a_run_that_was_interrupted_can_be_taken_up(tmp_path):
    """Stopped somewhere and started again: every step once, up to the last."""
    process = start_launcher(tmp_path)
    process.send_signal(signal.SIGINT)
    process.wait(300)
    steps = len(np.loadtxt(tmp_path / "nvt.flexcalc")) + 40
    outcome = launch(
        ROOT / "inputs" / "ipi-nvt.xml", ADDRESS, GLYCINE, tmp_path, Launch(steps=steps)
    )
    assert outcome.scalars["step"].tolist() == list(range(steps + 1))


@pytest.mark.long
def test_a_run_that_was_stopped_five_times_is_the_uninterrupted_one(tmp_path):
    """An NVE run of 400 steps; i-PI's RESTART keeps 17 digits."""
    path = tmp_path / "given.xml"
    path.write_text(input_xml(over_socket("stopped"), steps=400))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    expected = launch(path, ADDRESS, GLYCINE, whole).scalars
    for steps in (50, 120, 121, 300, 400):
        found = launch(path, ADDRESS, GLYCINE, broken, Launch(steps=steps)).scalars
    assert np.abs(found["conserved_eV"] / expected["conserved_eV"] - 1).max() < 1e-11


def part_of(folder, log):
    """The process of a run that writes that log, once it is there."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for process in processes_of(folder):
            try:
                if os.readlink(f"/proc/{process}/fd/1").endswith(log):
                    return process
            except OSError:
                continue
        time.sleep(0.02)
    raise AssertionError(f"no process writes {log}")


TRAJECTORY = "<trajectory stride='7' filename='positions' format='ase'> positions </trajectory>"


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.long)])
@pytest.mark.parametrize("victim", ["i-pi.log", "client-0.log"])
def test_a_run_killed_at_random_moments_ends_as_the_undisturbed_one(tmp_path, victim, kills):
    """kill -9 leaves no RESTART of that moment; nothing is lost, nothing is twice."""
    path, rng = tmp_path / "given.xml", random.Random(victim)
    path.write_text(input_xml(over_socket("killed"), steps=400, outputs=TRAJECTORY))
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    expected = launch(path, ADDRESS, GLYCINE, whole).scalars
    killed = 0
    with ThreadPoolExecutor(1) as pool:
        for _ in range(kills):
            run = pool.submit(launch, path, ADDRESS, GLYCINE, broken, Launch(timeout_s=300.0))
            process = part_of(broken, victim)
            time.sleep(rng.uniform(0, 2 if killed else 1))
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            error = run.exception(300)
            if error is None:  # it had come to its end before
                break
            assert isinstance(error, ProtocolError)
            assert "died" in str(error)
            killed += 1
            assert_nothing_runs(broken)
    assert killed
    found = launch(path, ADDRESS, GLYCINE, broken).scalars
    assert found["step"].tolist() == list(range(401))
    assert np.abs(found["conserved_eV"] / expected["conserved_eV"] - 1).max() < 1e-11
    for name in ("run.positions_0.extxyz", "run.flexcalc"):
        sizes = [len((folder / name).read_text().splitlines()) for folder in (whole, broken)]
        assert sizes[0] == sizes[1] > 400
    assert not list(broken.glob("*flexcalc-restart*"))


@pytest.mark.data
@pytest.mark.parametrize("swapfile", ["remd_idx", "mine"])
def test_exchanges_after_the_checkpoint_are_cut_off_and_torn_lines_with_them(tmp_path, swapfile):
    """Whatever the record is called, and wherever a kill has cut it."""
    root = ElementTree.fromstring(
        "<simulation><output prefix='run'/><smotion mode='remd'><remd>"
        f"<swapfile> {swapfile} </swapfile></remd></smotion></simulation>"
    )
    record = tmp_path / f"run.{swapfile}"
    whole = "         2     1     0\n         6     0     1\n"
    for torn in ("", "   ", "         9     1     0\n", "         1"):
        record.write_text(whole + torn)
        resume.truncate_outputs(root, tmp_path, 7, 10)
        assert record.read_text() == whole
    resume.truncate_outputs(root, tmp_path, 6, 10)
    assert record.read_text() == whole.splitlines(True)[0]


def test_a_silent_i_pi_is_given_up(tmp_path):
    """A client waits for its i-PI, and i-PI for a client that never comes."""
    (tmp_path / "given.xml").write_text(input_xml(over_socket("silent"), steps=20))
    with pytest.raises(ServerLostError, match="wrote nothing for 1 s"):
        launch(tmp_path / "given.xml", ADDRESS, GLYCINE, tmp_path, Launch(clients=0, timeout_s=1.0))
    assert_nothing_runs(tmp_path)


# What is refused before anything starts


def refuse(tmp_path, xml, error, match, **job):
    path = tmp_path / "given.xml"
    path.write_text(xml)
    with pytest.raises(error, match=match) as caught:
        launch(path, ADDRESS, GLYCINE, tmp_path, Launch(**job))
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given.xml"]


GOOD = input_xml(over_socket("azo"), steps=10)


@pytest.mark.inputs
@pytest.mark.parametrize(
    ("old", "new", "error", "match"),
    [
        ("</simulation>", "", FileFormatError, "malformed XML"),
        ("simulation", "restart", FileFormatError, "expected <simulation>"),
        ("<simulation", "<!DOCTYPE a><simulation", FileFormatError, "document type"),
        ("mode='unix'", "mode='shm'", ConfigError, "expected unix or inet"),
        ("<port> 31415", "<port> 99999", ConfigError, "expected 1 to 65535"),
        ("<port> 31415", "<port> many", ConfigError, "expected 1 to 65535"),
        ("<total_steps> 10", "<total_steps> ten", ConfigError, "whole number"),
        ("prefix='run'", "prefix='../run'", ConfigError, "plain name"),
        ("prefix='run'", "prefix='/tmp/run'", ConfigError, "plain name"),
        ("<address> azo", "<address> ../azo", ConfigError, "socket name"),
        ("<ffsocket", "<other", FileFormatError, "malformed XML"),
        (str(GLYCINE), "nowhere.xyz", FileFormatError, "no such file"),
    ],
)
def test_an_input_that_cannot_be_run_is_refused(tmp_path, old, new, error, match):
    refuse(tmp_path, GOOD.replace(old, new), error, match)


@pytest.mark.inputs
def test_two_sockets_or_none_are_refused(tmp_path):
    both = over_socket("one") + over_socket("two").replace("name='flexcalc'", "name='b'")
    refuse(tmp_path, input_xml(both, steps=5), ConfigError, "expected one <ffsocket>")
    refuse(tmp_path, input_xml("<fflj/>", steps=5), ConfigError, "expected one <ffsocket>")


@pytest.mark.security
def test_an_input_that_runs_a_python_file_needs_trust(tmp_path):
    refuse(tmp_path, input_xml(in_process(ADDRESS), steps=5), ConfigError, "trust = true")


@pytest.mark.security
def test_an_address_that_other_machines_reach_is_refused(tmp_path):
    xml = input_xml(over_socket(port=31415), steps=5).replace("127.0.0.1", "0.0.0.0")
    refuse(tmp_path, xml, ConfigError, "--allow-remote")


# Sockets and hostile strings


@pytest.mark.security
def test_sockets_lie_in_a_folder_that_only_the_user_enters(tmp_path):
    folder = private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with owned_socket("azo", tmp_path) as (prefix, _):
        assert Path(prefix).parent == folder


@pytest.mark.security
def test_a_socket_folder_that_others_may_enter_is_refused():
    private_folder().chmod(0o755)
    with pytest.raises(InputError, match="0700"):
        private_folder()


@pytest.mark.security
def test_a_socket_folder_that_is_a_link_is_refused(tmp_path):
    folder = private_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="0700"):
        private_folder()


@pytest.mark.security
def test_runs_in_two_folders_may_use_one_name(tmp_path):
    with owned_socket("azo", tmp_path / "a") as one, owned_socket("azo", tmp_path / "b") as other:
        assert one[0] != other[0]


@pytest.mark.security
def test_a_stale_socket_is_removed_and_a_live_one_is_not(socket_name, tmp_path):
    with owned_socket(socket_name, tmp_path) as (prefix, _):
        path = Path(f"{prefix}{socket_name}")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with owned_socket(socket_name, tmp_path):
        assert not path.exists()
        with socket.socket(socket.AF_UNIX) as live:
            live.bind(str(path))
            with pytest.raises(BusyError, match=socket_name), owned_socket(socket_name, tmp_path):
                pass
            assert path.exists()
    assert not path.exists()


def hostile_strings(count=200):
    """Strings made to break out of XML, of paths, of shells and of i-PI's own lists."""
    rng = random.Random(0)
    pieces = [
        "<", ">", "&", "&amp;", "&#0;", "&lt;!--", "-->", "<![CDATA[", "]]>", "'", '"', "</file>",
        "<file>", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "&x;", "%", "{", "}", "[", "]", ",",
        ":", ";", "\\", "/", "..", "~", "$(id)", "`id`", " ", "  ", "\t", "\n", "\r", "\r\n", "\0",
        "\x01", "\x0b", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffe", "\uffff", "\ud800", "é",
        "e\u0301", "漢字", "🧪", "a", "glycine.xyz", "1e-4", "True", "\u202e", "\u00a0", "\x1b[31m",
    ]  # fmt: skip
    return pieces + [
        "".join(rng.choices(pieces, k=rng.randint(2, 6))) for _ in range(count - len(pieces))
    ]


def read_by_i_pi(xml):
    """The text of the first <file>, and the sockets' prefix, as i-PI's own reader sees them."""
    from ipi.utils.io.inputs.io_xml import xml_parse_string

    def find(node, name):
        for tag, child in node.fields:
            if tag == name:
                return child
            if tag != "_text" and (found := find(child, name)) is not None:
                return found
        return None

    root = xml_parse_string(xml)
    texts = [value for tag, value in find(root, "file").fields if tag == "_text"]
    return "".join(texts).strip(), find(root, "simulation").attribs["sockets_prefix"]


@pytest.mark.security
def test_hostile_strings_reach_i_pi_exactly_or_not_at_all():
    exact = refused = 0
    for text in hostile_strings():
        root = ElementTree.fromstring(GOOD)
        try:
            inputs.set_start(root, Path("/start") / text)
            inputs.set_socket_prefix(root, text)
            xml = inputs.to_bytes(root)
        except (ConfigError, ValueError):
            refused += 1
            continue
        start, prefix = read_by_i_pi(xml)
        assert start == str((Path("/start") / text).resolve())
        assert prefix == text
        exact += 1
    assert exact > 50
    assert refused > 50
    assert exact + refused == 200


@pytest.mark.security
@pytest.mark.parametrize("text", ["a,b", "a{b", "}"])
def test_a_path_that_would_break_i_pis_lists_is_refused(tmp_path, text):
    (tmp_path / text).mkdir()
    template = "ase:a:B"
    root = ElementTree.fromstring(input_xml(in_process(template), steps=5))
    next(root.iter("parameters")).text = "{ template: " + "start.xyz }"
    (tmp_path / text / "start.xyz").write_text("")
    with pytest.raises(ConfigError, match="comma or a brace"):
        inputs.make_paths_absolute(root, tmp_path / text)


def test_files_of_plumed_are_those_beside_the_input(tmp_path):
    text = input_xml(over_socket("biased"), steps=5)
    forcefield = (
        "<ffplumed name='p'><file> a.xyz </file><plumed_dat> p.dat </plumed_dat></ffplumed>"
    )
    root = ElementTree.fromstring(text.replace("<system>", f"{forcefield}<system>", 1))
    for element in root.iter("initialize"):
        element.clear()
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(FileFormatError, match=r"p\.dat: no such file, named by <plumed_dat>"):
        inputs.make_paths_absolute(root, tmp_path)
    (tmp_path / "p.dat").write_text("")
    inputs.make_paths_absolute(root, tmp_path)
    found = [element.text for element in root.find("ffplumed")]
    assert [Path(one.strip()) for one in found] == [tmp_path / "a.xyz", tmp_path / "p.dat"]


def test_springs_are_the_same_as_a_potential_and_as_a_calculator():
    from flexcalc.registry import open_potential

    springs = Springs()
    positions = springs.rest[None] * 1.05
    one, other = springs(positions), open_potential(ADDRESS, springs.numbers)(positions)
    assert np.array_equal(one.forces, other.forces)
