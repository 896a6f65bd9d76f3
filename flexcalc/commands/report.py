"""`flexcalc report`: the page of a run folder."""

from __future__ import annotations

from pathlib import Path

from flexcalc.commands.face import tool
from flexcalc.config.tools import Report


@tool(Report)
def report(options: Report) -> Path:
    """Write report.html, one self-contained page, for a run folder.

    The plots stand in figures/NAME.svg and figures/NAME.pdf too, 3.3 inches wide, and the numbers
    in tables/NAME.csv; those of a demo in the folders of its steps.

    A folder of a run that is going on, or lacks files, gives a page of what there is.

    Returns:
        The path of the page. Raises InputError where the folder is none of a run.

    Example:
        >>> import flexcalc as fx
        >>> from ase.build import molecule
        >>> from ase.calculators.emt import EMT
        >>> run = fx.md(EMT(), molecule("H2O"), steps=20, keep_bonds=False, output="md")
        >>> print(fx.report("md"))
        md/report.html
    """
    from flexcalc.reports import write_report

    return write_report(options.folder, exports=options.exports)
