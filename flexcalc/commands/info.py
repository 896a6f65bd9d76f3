"""`flexcalc info`: description of a model, dataset or run folder."""

from __future__ import annotations

from dataclasses import replace

from flexcalc.commands.face import as_geometries, tool
from flexcalc.config.tools import Info
from flexcalc.results.description import Description
from flexcalc.tasks import info as task


@tool(Info)
def info(options: Info) -> Description:
    """Describe a model, a dataset, a run folder, or an object that is one of these.

    Returns:
        The facts, which print as a line each. Raises InputError where it is none of these.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> found = fx.info(molecule("H2O"))
        >>> found.what, found.molecule, found.facts["frames"]
        ('dataset', 'H2O', 1)
        >>> found.structure.bonded_to
        ((1, 2), (0,), (0,))
        >>> fx.info(molecule("CH3CH2OH")).rotatable_dihedrals
        ('dihedral 6 0 1 2', 'dihedral 0 1 2 3')
    """
    if hasattr(options.place, "get_positions") or isinstance(options.place, list | tuple):
        options = replace(options, place=as_geometries(options.place))
    found = task.info(options)
    if options.picture is not None:
        found.save_picture(options.picture)
    return found
