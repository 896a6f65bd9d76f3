"""`flexcalc network`."""

from __future__ import annotations

from flexcalc.commands.face import command
from flexcalc.config.paths import NetworkSearch
from flexcalc.results.network import Network
from flexcalc.store import Store
from flexcalc.tasks import network as task


@command(NetworkSearch, positional=("model", "*starts"))
def network(options: NetworkSearch, store: Store) -> Network:
    """Find the minima of a molecule, the saddles between them, and the rates over these.

    Returns:
        The minima and saddles with energies, Gibbs energies, populations and rates; from these the
        relaxation times of the populations and mean first-passage times.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> found = fx.network(EMT(), molecule("NH3"))
        >>> found.minima_found, found.saddles_found
        (1, 0)

    Source: rates by Eyring, J. Chem. Phys. 3, 107 (1935); first passages by Wales, J. Chem. Phys.
    130, 204111 (2009).
    """
    return task.network(options, store)
