"""i-PI: any potential as a client of an i-PI server, and i-PI started with its clients.

wire      the protocol as messages and bytes; knows neither sockets nor potentials
surface   a potential as i-PI sees it, in atomic units; also under the driver in drivers/
client    the socket, and `serve`
inputs    i-PI's input files
start     a file in place of the one they start from, and its cell
safety    what of them needs trust
launcher  `launch`: i-PI and its clients for one input, from start to a clean end
processes the processes it starts, and their socket
child     what the launcher's processes run
"""

from flexcalc.adapters.ipi.client import serve
from flexcalc.adapters.ipi.launcher import Outcome, launch

__all__ = ["Outcome", "launch", "serve"]
