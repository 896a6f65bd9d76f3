"""i-PI: any potential as a client of an i-PI server, and i-PI started with its clients.

wire      the protocol as messages and bytes, without sockets and potentials
surface   a potential as i-PI sees it, in atomic units; also under the driver in drivers/
client    the socket, and `serve`
inputs    i-PI's input files
start     replacement of the starting file, and its cell
geometry  the geometry that an input starts from, as i-PI reads it
safety    inputs that need trust
launcher  `launch`: i-PI and its clients for one input, from start to end
processes its worker processes, and their socket
child     main program of the worker processes
"""

from flexcalc.adapters.ipi.client import Server, serve
from flexcalc.adapters.ipi.geometry import check_start
from flexcalc.adapters.ipi.geometry import read as read_geometry
from flexcalc.adapters.ipi.launcher import Launch, Outcome, launch

__all__ = ["Launch", "Outcome", "Server", "check_start", "launch", "read_geometry", "serve"]
