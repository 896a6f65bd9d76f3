"""`flexcalc saddle`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.paths import SaddleSearch
from flexcalc.results.saddle import Saddle
from flexcalc.store import Store
from flexcalc.tasks import saddle as task


@command(SaddleSearch)
def saddle(options: SaddleSearch, store: Store) -> Saddle:
    """Refine a guess to a saddle, find the minima that it connects, and compute rates.

    Returns:
        The saddle with its imaginary mode, the minima at the ends of the reaction coordinate, and
        rates at any temperature.

    Example:
        >>> import flexcalc as fx
        >>> from ase import Atoms
        >>> from ase.calculators.lj import LennardJones
        >>> rhombus = Atoms("Ar4", [[0.56, 0, 0], [-0.56, 0, 0], [0, 0.97, 0], [0, -0.97, 0]])
        >>> top = fx.saddle(LennardJones(), rhombus)  # between two tetrahedra
        >>> top.first_order, top.degenerate, len(top.minima)
        (True, True, 2)
        >>> f"{top.rates(300.0).half_life_s:.0f} s"
        '49 s'

    Source: `help(flexcalc.RFO)` for the refinement, `help(flexcalc.IRC)` for the descent, and
    Eyring, J. Chem. Phys. 3, 107 (1935), doi:10.1063/1.1749604, for the rates.
    """
    return task.saddle(options, store)
