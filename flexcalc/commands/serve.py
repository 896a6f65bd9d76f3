"""`flexcalc serve`: a potential for a running i-PI."""

from __future__ import annotations

from flexcalc.commands.face import tool
from flexcalc.config.ipi import Serve
from flexcalc.tasks import ipi as task


@tool(Serve)
def serve(options: Serve) -> int:
    """Answer a running i-PI server with a potential until the server says EXIT.

    One of `unix` and `port` says where the server listens. It may also be ASE's
    `SocketIOCalculator`, which closes the socket instead.

    Returns:
        The number of geometries that were evaluated. Raises ServerLostError where no server came,
        or it went away or fell silent, and ProtocolError where it broke the protocol.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> try:
        ...     fx.serve(EMT(), molecule("H2O"), unix="no-server", timeout_s=0.2)
        ... except fx.FlexcalcError as error:
        ...     print(type(error).__name__)
        ServerLostError

    Source: the protocol is that of i-PI, Kapil et al., Comput. Phys. Commun. 236, 214 (2019).
    """
    return task.serve(options)
