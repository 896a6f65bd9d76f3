"""The i-PI client: any potential behind a unix or an internet socket of an i-PI server."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flexcalc.adapters.ipi.surface import Surface
from flexcalc.adapters.ipi.wire import Conversation
from flexcalc.adapters.watch import DomainWatch
from flexcalc.errors import ConfigError, MoleculeError, ServerLostError
from flexcalc.fields import Address
from flexcalc.models.bonding import check_order
from flexcalc.potential import Potential, check_molecule
from flexcalc.printing import complain

if TYPE_CHECKING:
    import ase

SOCKET_PREFIX = "/tmp/ipi_"
"""i-PI puts the unix socket of address NAME at this prefix + NAME."""
SOCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LONGEST_PATH = 100
RETRY_S = 0.1


@dataclass(frozen=True, kw_only=True)
class Server:
    """An i-PI server: where it listens, and how long it is waited for.

    Args:
        unix: name of its unix socket, the `<address>` of its input.
        host: address of its internet socket, used with `port`.
        port: its port, the `<port>` of its input.
        allow_remote: let `host` be another machine.
        socket_prefix: prefix of `unix`; the `-S` option of i-PI.
        timeout_s: timeout for the next message or part of it.
        connect_timeout_s: timeout for the connection.
    """

    unix: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    allow_remote: bool = False
    socket_prefix: str = SOCKET_PREFIX
    timeout_s: float = 600.0
    connect_timeout_s: float = 60.0


def serve(
    potential: Potential | Address | Path,
    atoms: ase.Atoms | Path | str,
    server: Server,
    *,
    trust: bool = False,
    log: Callable[[str], None] = complain,
    distances: Path | str | None = None,
) -> int:
    """Serve a potential to an i-PI server until it sends EXIT, or to ASE's until it disconnects.

    A line is logged when a geometry is first outside the training data of a model.

    Args:
        potential: surface of the molecule, or the address of one.
        atoms: the molecule in i-PI's order of atoms, or a file of it; the first frame is compared
            with i-PI's, which sends no elements.
        server: where i-PI listens.
        trust: open files that can only be read by running code they contain.
        log: called with single lines.
        distances: table that distances to the training data are appended to, for a model that
            knows them: the columns `request`, `row` and `distance` without a header.

    Returns:
        The number of geometries evaluated.

    Raises:
        MoleculeError: the atoms are not the potential's molecule, or i-PI's first frame is not.
        ConfigError: the socket's name, host or port cannot be used.
        ServerLostError: no connection, or the server timed out or disconnected; that of ASE
            (`SocketIOCalculator`) sends no EXIT, and may disconnect once it has its forces.
        ProtocolError: the server broke the protocol.
        ShapeError, NonFiniteError: the potential gave a result that must not be sent.
    """
    deadline = time.monotonic() + min(server.connect_timeout_s, server.timeout_s)
    if (server.unix is None) == (server.port is None):
        raise ConfigError("say where i-PI listens: either unix, or port (and host)")
    numbers, template = molecule(atoms)
    potential = _bound(potential, numbers, trust)
    check_order(potential, template[None], "the molecule as i-PI has it")
    surface = Surface(potential, template, _DistanceLog(potential, log, distances))
    conversation = Conversation(surface, len(numbers))
    if server.unix is not None:
        name = socket_path(server.unix, server.socket_prefix)
        connection = _connect(socket.AF_UNIX, name, deadline)
    else:
        target = (resolve(server.host, server.allow_remote, log), _port(server.port))
        name = f"{server.host}:{server.port}"
        connection = _connect(socket.AF_INET, target, deadline)
    with connection:
        log(f"connected to i-PI at {name}")
        line = Line(connection, name, server.timeout_s)
        end = _answer_until_the_end(conversation, line)
    log(f"{end} after {surface.evaluations} evaluations")
    return surface.evaluations


def _answer_until_the_end(conversation: Conversation, line: Line) -> str:
    """Answer messages until the server wants no more; returns how it said so."""
    while not (conversation.may_be_over and line.is_closed()):
        reply = conversation.turn(line.receive)
        if reply is None:
            return f"i-PI at {line.name} said EXIT"
        line.send(reply)
    return f"ASE at {line.name} closed the socket"


MEASURED_EVERY = 11
"""Force requests between two measurements of the distance to the training data. Beads come in
turn: their number is seldom a multiple of this one, so that each is measured in its turn."""


class _DistanceLog:
    """Measures the distance to the training data at some of the force requests.

    Args:
        potential: that is served.
        log: called with one line when a geometry is first outside.
        path: table that distances are appended to; None for none.
    """

    def __init__(self, potential: Potential, log: Callable[[str], None], path: Path | str | None):
        self.watch, self.log, self.path = DomainWatch(potential, MEASURED_EVERY), log, path
        self.told = False

    def __call__(self, frames: np.ndarray, energies_eV: np.ndarray) -> None:
        """Take note of the frames (batch, atoms, 3) in angstrom of a request."""
        found, domain = self.watch(frames, energies_eV), self.watch.domain
        if found is None or domain is None:
            return
        request = self.watch.calls
        if self.path is not None:
            lines = [f"{request},{row},{value!r}\n" for row, value in enumerate(found.tolist())]
            with open(self.path, "a", encoding="ascii") as table:
                table.write("".join(lines))
        if self.watch.outside and not self.told:
            self.told = True
            row = int(found.argmax())
            frame = f", row {row} of {len(found)}" if len(found) > 1 else ""
            self.log(
                f"warning: at force request {request}{frame} the geometry is outside the training "
                f"data of the model: its distance is {found[row]:.2f}, the limit "
                f"{domain.limit:.2f}; forces are not supported by the training data there"
            )


class Line:
    """A connected socket with a strict timeout.

    Args:
        connection: the socket.
        name: the server's name in errors.
        timeout_s: timeout to receive or send a part of a message.
    """

    def __init__(self, connection: socket.socket, name: str, timeout_s: float):
        self.connection = connection
        self.name = name
        self.timeout_s = timeout_s

    def receive(self, count: int) -> bytes:
        """Receive exactly `count` bytes.

        Raises:
            ServerLostError: the server closed the socket or fell silent.
        """
        buffer = bytearray(count)
        view, done = memoryview(buffer), 0
        deadline = time.monotonic() + self.timeout_s
        while done < count:
            got = self._receive_into(view[done:], deadline)
            if not got:
                raise self._lost("it closed the socket without EXIT")
            done += got
        return bytes(buffer)

    def is_closed(self) -> bool:
        """Wait for the next message; True where the server has closed the socket instead.

        Raises:
            ServerLostError: the server broke the connection or fell silent.
        """
        deadline = time.monotonic() + self.timeout_s
        return not self._receive_into(memoryview(bytearray(1)), deadline, socket.MSG_PEEK)

    def _receive_into(self, view: memoryview, deadline: float, flags: int = 0) -> int:
        """Receive some bytes; returns their number, 0 where the server has closed the socket."""
        try:
            self.connection.settimeout(max(1e-3, deadline - time.monotonic()))
            return self.connection.recv_into(view, 0, flags)
        except TimeoutError:
            raise self._silent() from None
        except OSError as error:
            raise self._lost(error.strerror) from None

    def send(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            ServerLostError: the server closed the socket or takes nothing any more.
        """
        try:
            self.connection.settimeout(self.timeout_s)
            self.connection.sendall(data)
        except TimeoutError:
            raise self._silent() from None
        except OSError as error:
            raise self._lost(error.strerror) from None

    def _silent(self) -> ServerLostError:
        return ServerLostError(
            f"i-PI at {self.name} has been silent for {self.timeout_s:g} s; "
            "if it is still at work, give a longer timeout_s"
        )

    def _lost(self, reason: str | None) -> ServerLostError:
        return ServerLostError(f"i-PI at {self.name} went away: {reason}; see its own output")


def molecule(atoms: ase.Atoms | Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (atoms,) and positions (atoms, 3) in angstrom of atoms or of a file's first frame.

    Raises:
        MoleculeError: the atoms are periodic.
        FileFormatError: the file cannot be read.
    """
    if isinstance(atoms, (str, Path)):
        from flexcalc import files

        dataset = files.read(atoms)
        return dataset.numbers, dataset.positions[0]
    if atoms.pbc.any():
        raise MoleculeError(
            "flexcalc is for molecules in vacuum, got periodic atoms; "
            "set atoms.pbc = False if the cell is only a box around the molecule"
        )
    return np.array(atoms.numbers), np.array(atoms.positions)


def socket_path(name: str, prefix: str = SOCKET_PREFIX) -> str:
    """Path of the unix socket that i-PI makes for an `<address>`.

    Raises:
        ConfigError: the name is not a plain name, or the path too long for a socket.
    """
    if not SOCKET_NAME.fullmatch(name):
        raise ConfigError(
            f"unix socket name {name[:80]!r}: expected 1 to 64 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    if len(os.fsencode(prefix + name)) > LONGEST_PATH:
        raise ConfigError(f"unix socket path {prefix + name}: longer than {LONGEST_PATH} bytes")
    return prefix + name


def _bound(potential: Potential | Address | Path, numbers: np.ndarray, trust: bool) -> Potential:
    if isinstance(potential, (str, Path)):
        from flexcalc.registry import open_potential

        return open_potential(str(potential), numbers, trust=trust)
    check_molecule(potential.numbers, numbers, "template")
    return potential


def _port(port: int | None) -> int:
    if port is None or not 1 <= port <= 65535:
        raise ConfigError(f"port: expected 1 to 65535, got {port}")
    return port


def resolve(host: str, allow_remote: bool, log: Callable[[str], None]) -> str:
    """The host's address, resolved once; another machine only where that is allowed."""
    try:
        address = socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host {host[:80]!r} cannot be found: {error}") from None
    if not ipaddress.ip_address(address).is_loopback:
        if not allow_remote:
            raise ConfigError(
                f"host {host} is another machine ({address}); the protocol is neither encrypted "
                "nor authenticated: use an ssh tunnel, or say --allow-remote"
            )
        log(f"warning: talking to {host} ({address}) unencrypted and unauthenticated")
    return address


def _connect(family: int, target: str | tuple[str, int], deadline: float) -> socket.socket:
    """Connect, trying again until the deadline: a client may be started before its server.

    Raises:
        ServerLostError: no server was listening before the deadline.
    """
    while True:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(RETRY_S, deadline - time.monotonic()))
            connection.connect(target)
        except OSError as error:
            connection.close()
            if time.monotonic() + RETRY_S > deadline:
                raise ServerLostError(
                    f"no i-PI server at {_shown(target)}: {error.strerror or error}; "
                    "start i-PI first, or check the address in its input"
                ) from None
            time.sleep(RETRY_S)
        else:
            if family == socket.AF_INET:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def _shown(target: str | tuple[str, int]) -> str:
    return target if isinstance(target, str) else f"{target[0]}:{target[1]}"
