"""`flexcalc md`: molecular dynamics."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.dynamics import Md
from flexcalc.results.trajectory import Trajectory
from flexcalc.store import Store
from flexcalc.tasks import md as task


@command(Md)
def md(options: Md, store: Store) -> Trajectory:
    """Run molecular dynamics of many replicas in one batch.

    Returns:
        The trajectory, whose frames have the labels of the model without any bias. Where a guard
        stops the run, `stopped` says why, and the result holds what went before.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> run = fx.md(EMT(), molecule("H2O"), steps=40, replicas=2, keep_bonds=False)
        >>> run.positions.shape
        (3, 2, 3, 3)

    Source: the integrators name theirs, such as `help(flexcalc.Langevin)`.
    """
    return task.md(options, store)
