"""i-PI and its clients for one input file: started, monitored, and ended together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

import numpy as np

from flexcalc.adapters.ipi import inputs, resume, safety
from flexcalc.adapters.ipi import start as begin
from flexcalc.adapters.ipi.client import Server, molecule, resolve, serve
from flexcalc.adapters.ipi.processes import ThreadClient, Worker, owned_socket, worker
from flexcalc.errors import ConfigError, MissingExtraError, ProtocolError, ServerLostError
from flexcalc.fields import Address, PotentialLike
from flexcalc.models.bonding import check_order
from flexcalc.potential import Potential
from flexcalc.printing import complain
from flexcalc.progress import Progress, silent
from flexcalc.registry import open_potential
from flexcalc.storage import JSON, atomic_write, read_file, whole_lines
from flexcalc.units import BOHR, HARTREE

if TYPE_CHECKING:
    import ase

POLL_S = 0.05
PATIENCE_S = 1.0
"""Time that a client in this process waits for i-PI before it checks whether to go on waiting."""
QUIET_S = 2.0
"""Time without output after which i-PI's log is searched for `DEAF`."""
DEAF = b"Exception in thread poll_"
"""In the log of an i-PI that no longer talks to any client, because the death of one in the middle
of an answer has ended its thread (i-PI 3.3.1)."""
MAX_LINES = 2000
"""Approximate number of lines of scalars in a run."""
Job = Mapping[str, JSON] | ThreadClient
"""Settings of a client process, or a client in this process."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Results of a complete i-PI run.

    Args:
        scalars: columns `step`, `time_fs`, `temperature_K`, `potential_eV` and `conserved_eV`,
            each (lines,). With beads the temperature is that of the ring polymer, the potential
            the mean of the beads, and there are `quantum_kinetic_eV`, by the centroid-virial
            estimator, and `gyration_A`, the mean radius of gyration of the ring polymers. With
            beads or several systems also `ensemble_K`, the current temperature of the ensemble of
            each; with several `replica`, its index.
        beads: number of beads of the ring polymers, 1 for classical nuclei.
        images: (images, atoms, 3) in angstrom of the final path of a path search; None otherwise.
        force_difference_max_relative: largest difference between a force component that i-PI
            received and the direct call's, over the largest force; None unless asked for.
        energy_difference_max_relative: the same of the energies.
        clients_lost: number of clients that failed while i-PI went on with the others.
        seconds: wall time of the run.
    """

    scalars: dict[str, np.ndarray]
    beads: int
    images: np.ndarray | None
    force_difference_max_relative: float | None
    energy_difference_max_relative: float | None
    clients_lost: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Options of a run of i-PI.

    Args:
        clients: number of client processes; each evaluates beads on its own. 1 where the
            potential is an object.
        steps: number of steps; overrides the input's.
        start: starting geometry; overrides the input's.
        compare: also compare energies and forces of the first bead with the direct call.
        trust: open model files that can only be read by running code they contain, and inputs
            that can run code, such as a Python file (`safety`).
        allow_remote: let i-PI listen on an address that other machines can reach.
        timeout_s: timeout for the next line of output.
        distances: table that clients append distances to the training data to; see `serve`.
    """

    clients: int = 1
    steps: int | None = None
    start: Path | str | None = None
    compare: bool = False
    trust: bool = False
    allow_remote: bool = False
    timeout_s: float = 600.0
    distances: Path | None = None


def launch(
    input_file: Path | str,
    potential: PotentialLike,
    atoms: ase.Atoms | Path | str,
    folder: Path | str,
    options: Launch = Launch(),
    progress: Progress = silent,
    warn: Callable[[str], None] = complain,
) -> Outcome:
    """Run i-PI on one input together with its clients.

    i-PI goes on if some of several clients fail, and repeats their calculations by the others.

    i-PI runs in `folder` and writes its own outputs, logs and RESTART there. However the run ends
    (normally, by Ctrl-C, by a crash of i-PI, of all clients or of this process), no process is
    left, and its unix socket is removed.

    Args:
        input_file: i-PI's XML with one `<ffsocket>`, or with an `<ffdirect>` and no client.
        potential: address of the potential to serve; or the potential itself, or an ASE
            calculator, which one client in this process serves.
        atoms: the molecule in i-PI's order of atoms, or a file of it.
        folder: run folder; must exist.
        options: all others.
        progress: called with completed steps, total steps, and the temperature.
        warn: called with single lines, such as that a client has failed.

    Raises:
        InputError: the input, the potential or the molecule cannot be used; or another run
            uses the same socket name.
        ProtocolError: i-PI crashed or stopped early.
        ServerLostError: i-PI timed out.
        FlexcalcError: all clients failed; the message is that of the last.
    """
    if find_spec("ipi") is None:
        raise MissingExtraError("ipi", "ipi")
    begun = time.monotonic()
    folder = Path(folder).resolve()
    numbers, positions = molecule(atoms)
    surface = open_potential(potential, numbers, trust=options.trust)
    if options.clients > 1 and not isinstance(potential, str):
        raise ConfigError(
            "clients: expected 1 for a potential that is an object; other processes need an address"
        )
    check_order(surface, positions[None], "the molecule as i-PI has it")
    forces_of = len(numbers) if options.compare else None
    root = _prepared(Path(input_file), options.start, forces_of, options.steps)
    safety.check(root, input_file, folder, options.trust)
    safety.check_folder(folder, options.trust)
    with _listener(root, str(input_file), folder, options) as (server, keep):
        path, lost = _input_in(folder, root, len(numbers), options.trust), 0
        if path is not None:
            jobs: list[Job] = []
            if server is not None and isinstance(potential, str):
                client = _client(potential, numbers, positions, server, options)
                jobs = [client] * options.clients
            elif server is not None and options.clients:
                jobs = [ThreadClient(partial(_answer, surface, positions, server, options))]
            lost = _run(path, keep, jobs, root, options.timeout_s, progress, warn)
    resume.clear(root, folder)
    scalars = _scalars(root, folder)
    beads = inputs.beads(root) if inputs.ring_polymer(root) else 1
    images = inputs.images(inputs.load(folder / resume.RESTART)) if inputs.is_path(root) else None
    force = energy = None
    if options.compare:
        rows = np.concatenate(_of_each_system(root, folder, inputs.FORCES))
        force, energy = _differences(surface, rows)
    return Outcome(scalars, beads, images, force, energy, lost, time.monotonic() - begun)


def _client(
    address: Address, numbers: np.ndarray, positions: np.ndarray, server: Server, options: Launch
) -> Mapping[str, JSON]:
    """The job of a client process (`child`)."""
    return {
        "role": "client",
        "address": address,
        "numbers": numbers.tolist(),
        "positions": positions.tolist(),
        "trust": options.trust,
        "server": asdict(server),
        "distances": None if options.distances is None else str(options.distances),
    }


def _answer(
    potential: Potential, positions: np.ndarray, server: Server, options: Launch, stopped: Event
) -> None:
    """Serve a potential of this process to its i-PI.

    Raises:
        FlexcalcError: see `serve`; also where i-PI was not there before `stopped` was set.
    """
    import ase

    atoms = ase.Atoms(potential.numbers, positions)
    server = replace(server, connect_timeout_s=PATIENCE_S)
    said: list[str] = []  # the first line is that it has connected
    while True:
        try:
            serve(potential, atoms, server, log=said.append, distances=options.distances)
        except ServerLostError:
            if said or stopped.is_set():
                raise
        else:
            return


def _prepared(
    source: Path, start: Path | str | None, forces_of: int | None, steps: int | None
) -> Element:
    """The input for i-PI, before its socket is set."""
    root = inputs.load(source)
    if start is not None:
        begin.put(root, Path(start), source.parent, complain)
    inputs.make_paths_absolute(root, source.parent)
    inputs.set_steps(root, steps or inputs.total_steps(root, str(source)))
    if not inputs.systems(root):
        raise ConfigError(f"{source}: expected a <system>, found none")
    stride = max(1, inputs.total_steps(root, str(source)) // MAX_LINES)
    inputs.add_outputs(root, stride, forces_of)
    resume.add_checkpoints(root, inputs.total_steps(root, str(source)))
    return root


@contextmanager
def _listener(
    root: Element, name: str, folder: Path, options: Launch
) -> Iterator[tuple[Server | None, tuple[int, ...]]]:
    """Where i-PI listens, and file descriptors that it inherits.

    None and no descriptors for an input without a socket, which evaluates in process.

    Raises:
        ConfigError: more than one socket, or neither a socket nor an <ffdirect>.
        BusyError: the socket's name is in use.
    """
    sockets = inputs.sockets(root, name)
    if len(sockets) > 1 or not (sockets or root.find("ffdirect") is not None):
        raise ConfigError(
            f"{name}: expected one <ffsocket>, or an <ffdirect>; found {len(sockets)} sockets"
        )
    # The connection may take as long as a line: on a busy machine i-PI starts slowly.
    waits = partial(Server, timeout_s=options.timeout_s, connect_timeout_s=options.timeout_s)
    if not sockets:
        yield None, ()
    elif sockets[0].mode == "unix":
        with owned_socket(sockets[0].address, folder) as (prefix, lock):
            inputs.set_socket_prefix(root, prefix)
            yield waits(unix=sockets[0].address, socket_prefix=prefix), (lock,)
    else:
        remote = options.allow_remote
        host = resolve(sockets[0].address, remote, complain)
        yield waits(host=host, port=sockets[0].port, allow_remote=remote), ()


def _input_in(folder: Path, root: Element, atoms: int, trust: bool) -> Path | None:
    """Write the input into the run folder, or resume an interrupted run in it.

    Returns:
        The file for i-PI: the input, or the newest checkpoint of the same input; None if that run
        is already complete.

    Raises:
        ConfigError: the folder has a run of another input, or a checkpoint that needs trust.
    """
    path = folder / "input.xml"
    resumed = resume.newest(root, folder) if path.is_file() else None
    if resumed is None:
        atomic_write(path, inputs.to_bytes(root))
        return path
    if not inputs.alike(inputs.load(path), root):
        raise ConfigError(f"{folder}: holds a run of another i-PI input; choose another --output")
    safety.check(resumed, folder / resume.RESTART, folder, trust)
    if inputs.sockets(resumed, resume.RESTART) != inputs.sockets(root, str(path)):
        raise ConfigError(f"{folder}: its RESTART is of another i-PI input; remove it")
    steps = inputs.steps_done(resumed)
    inputs.copy_settings(resumed, root)
    if steps >= inputs.total_steps(root, str(path)):
        return None
    path = folder / resume.RESUME
    atomic_write(path, inputs.to_bytes(resumed))
    resume.truncate_outputs(resumed, folder, steps, atoms)
    resume.clear(resumed, folder)
    return path


def _run(
    path: Path,
    keep: Sequence[int],
    clients: Sequence[Job],
    root: Element,
    timeout_s: float,
    progress: Progress,
    warn: Callable[[str], None],
) -> int:
    """Run i-PI on a prepared file with its clients; all processes have ended on return.

    Returns:
        The number of clients that failed.
    """
    folder = path.parent
    with ExitStack() as stack:
        threads = [stack.enter_context(one) for one in clients if isinstance(one, ThreadClient)]
        ipi = {"role": "server", "input": str(path)}
        server = stack.enter_context(worker(ipi, folder / "i-pi.log", folder, keep))
        workers = [
            stack.enter_context(worker(job, folder / f"client-{number}.log"))
            for number, job in enumerate(clients)
            if isinstance(job, Mapping)
        ]
        crew = Clients([*threads, *workers], warn)
        _watch(server, crew, root, timeout_s, progress)
        return crew.lost


class Clients:
    """The clients of a run, of which some may fail as long as one is left.

    Args:
        clients: all of them.
        warn: called with a line about each that fails and is not the last.
    """

    def __init__(self, clients: Sequence[Worker | ThreadClient], warn: Callable[[str], None]):
        self.total, self.left, self.warn = len(clients), list(clients), warn

    @property
    def lost(self) -> int:
        """Number of clients that have failed."""
        return self.total - len(self.left)

    def check(self) -> None:
        """Take note of clients that have failed.

        Raises:
            FlexcalcError: the error of the last client, if none is left.
        """
        failed = [client for client in self.left if client.code]
        self.left = [client for client in self.left if client not in failed]
        if failed and not self.left:
            raise failed[-1].failure()
        for client in failed:
            self.warn(
                f"{client.failure()} (i-PI goes on with {len(self.left)} of {self.total} clients)"
            )


def _watch(
    server: Worker,
    clients: Clients,
    root: Element,
    timeout_s: float,
    progress: Progress,
) -> None:
    """Monitor i-PI and its clients until i-PI has finished, or until it or all clients fail.

    Raises:
        ProtocolError, ServerLostError: i-PI stopped early, crashed or timed out.
        FlexcalcError: the error of the last client.
    """
    first = inputs.systems(root)[0]
    scalars = inputs.output_file(root, server.log.parent, inputs.SCALARS, first)
    steps = inputs.total_steps(root, "input.xml")
    size, changed = -1, time.monotonic()
    while server.code is None:
        clients.check()
        found = scalars.stat().st_size if scalars.exists() else 0
        if found != size:
            size, changed = found, time.monotonic()
            _report(scalars, steps, progress)
        elif clients.lost and time.monotonic() - changed > QUIET_S and server.said(DEAF):
            raise ProtocolError(
                f"i-PI lost its connection to all clients when one of them died; see {server.log}; "
                "start the same command again to resume the run from its newest checkpoint"
            )
        elif time.monotonic() - changed > timeout_s:
            raise ServerLostError(
                f"i-PI wrote nothing for {timeout_s:g} s; see {server.log}, "
                "or give a longer timeout_s"
            )
        time.sleep(POLL_S)
    if server.code:
        raise server.failure()


def _report(scalars: Path, steps: int, progress: Progress) -> None:
    """Report progress from the last complete line of i-PI's scalars."""
    if progress is silent or not scalars.exists():
        return
    content = read_file(scalars)
    lines = content[: whole_lines(content)].splitlines()
    if lines and not lines[-1].startswith(b"#"):
        step, _, temperature, *_ = map(float, lines[-1].split())
        progress(min(int(step) + 1, steps), steps, f"{temperature:.0f} K")


def _of_each_system(root: Element, folder: Path, name: str) -> list[np.ndarray]:
    """The numbers of a property file (lines, columns), for each system."""
    systems = inputs.systems(root)
    return [_columns(inputs.output_file(root, folder, name, system)) for system in systems]


def _scalars(root: Element, folder: Path) -> dict[str, np.ndarray]:
    """The columns of `Outcome.scalars`; with several systems one line of each in turn."""
    names = inputs.scalar_columns(inputs.load(folder / "input.xml"))  # as the run was begun
    tables = np.stack(_of_each_system(root, folder, inputs.SCALARS), axis=1)
    lines, systems, columns = tables.shape
    if columns != len(names):
        raise ProtocolError(f"{folder}: expected {len(names)} columns of scalars, found {columns}")
    named = dict(zip(names, tables.reshape(-1, columns).T, strict=True))
    if systems > 1:
        named["replica"] = np.tile(np.arange(systems), lines)
    return named


def _columns(path: Path) -> np.ndarray:
    """The numbers of a property file of i-PI (lines, columns)."""
    try:
        return np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{path}: i-PI left no readable output: {error}") from None


def _differences(potential: Potential, rows: np.ndarray) -> tuple[float, float]:
    """Largest relative difference of forces and of energies between i-PI and direct calls.

    A kernel model amplifies the rounding of its input by many orders, so the positions are
    those the client got to the last bit, and each is evaluated alone.

    Args:
        potential: served by the clients.
        rows: (lines, 2 + 6 atoms): step, energy in hartree, positions in bohr and forces in
            hartree/bohr as i-PI has them.
    """
    energies, atoms = rows[:, 1] * HARTREE, (rows.shape[1] - 2) // 6
    positions, forces = rows[:, 2:].reshape(len(rows), 2, atoms, 3).swapaxes(0, 1)
    direct = [potential(frame[None] * BOHR) for frame in positions]
    expected = np.concatenate([evaluation.forces for evaluation in direct])
    energy = np.concatenate([evaluation.energies for evaluation in direct])
    return (
        float(np.abs(forces * (HARTREE / BOHR) - expected).max() / np.abs(expected).max()),
        float(np.abs(energies - energy).max() / np.abs(energy).max()),
    )
