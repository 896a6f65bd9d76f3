"""`flexcalc ipi`: i-PI with its clients."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.ipi import Ipi
from flexcalc.results.ipi import IpiRun
from flexcalc.store import Store
from flexcalc.tasks import ipi as task


@command(Ipi)
def ipi(options: Ipi, store: Store) -> IpiRun:
    """Run i-PI on an input file together with its clients, from start to end.

    A potential that is given as an object is served by one client in this process. The input
    starts from its `<file>`, or from `start` where it has none.

    Returns:
        The records of the run, or the path that i-PI sought, and how far what i-PI received is
        from direct calls. Without `output`, i-PI's own files are in a temporary folder that goes
        with the result.

    Example:
        >>> import flexcalc as fx
        >>> from ase.calculators.emt import EMT
        >>> from flexcalc.files.shipped import shipped
        >>> run = fx.ipi(shipped("ipi-nvt.xml"), EMT(), steps=3)
        >>> run.steps
        3

    Source: Kapil et al., Comput. Phys. Commun. 236, 214 (2019).
    """
    return task.ipi(options, store)
