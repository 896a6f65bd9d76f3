"""Main program of the launcher's worker processes: i-PI itself, or one client (`python -m`).

The job comes as one line of JSON on standard input. The launcher keeps that pipe open; when it
closes, the launcher is gone, however it died, and the process ends itself: no orphans.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from flexcalc.adapters.ipi.processes import GRACE_S, STOPPED_EARLY
from flexcalc.errors import FlexcalcError
from flexcalc.printing import complain


def main() -> int:
    """Run the job on standard input; return the exit code."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    role = job.pop("role")
    try:
        return simulate(job["input"]) if role == "server" else answer(job)
    except FlexcalcError as error:
        complain(str(error))
        return error.exit_code


def simulate(path: str) -> int:
    """Run i-PI on an input file, as its own `i-pi` script does.

    That script always ends with exit code 0; this tells a finished run from a stopped one.
    """
    from ipi.engine.simulation import Simulation
    from ipi.interfaces.sockets import DriverSocket
    from ipi.utils.softexit import softexit

    DriverSocket.recv_into = closed_by_reset(DriverSocket.recv_into)
    try:
        with open(path) as stream:
            simulation = Simulation.load_from_xml(stream, request_banner=True)
        simulation.run()
    except SystemExit:
        return STOPPED_EARLY  # also of an input that i-PI refuses
    stopped = softexit.triggered
    softexit.cleanup(simulation.exit_status, simulation.exit_message)
    return STOPPED_EARLY if stopped else 0


def closed_by_reset(receive: Callable[..., int]) -> Callable[..., int]:
    """A `recv_into` for which a connection that is reset is one that is closed.

    A client that is killed before it has read all of a message resets its connection. i-PI 3.3.1
    gives the work of a client with a closed connection to another, but a reset ends its thread.
    """

    def receive_into(*args: Any) -> int:
        try:
            return receive(*args)
        except ConnectionResetError:
            return 0

    return receive_into


def answer(job: dict) -> int:
    """Serve a potential, given by its address, to the launcher's i-PI."""
    import ase

    from flexcalc.adapters.ipi.client import Server, serve
    from flexcalc.registry import open_potential

    atoms = ase.Atoms(job["numbers"], job["positions"])
    potential = open_potential(job["address"], atoms.numbers, trust=job["trust"])
    serve(potential, atoms, Server(**job["server"]), distances=job["distances"])
    return 0


def _end_with_the_launcher() -> None:
    """Wait for the end of standard input, then end this process, first by SIGTERM."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
