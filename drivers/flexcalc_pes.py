"""Any flexcalc potential inside i-PI: a PES for `<ffdirect>` and for `i-pi-driver-py`.

    <ffdirect name='flexcalc'>
      <pes> custom </pes>
      <pes_path> drivers/flexcalc_pes.py </pes_path>
      <parameters> { potential: glycine.flex, template: glycine-Ip.xyz } </parameters>
    </ffdirect>

    i-pi-driver-py -u -a NAME -m custom -P drivers/flexcalc_pes.py \\
        -o potential=glycine.flex,template=glycine-Ip.xyz

The conversions, the checks and the virial are those of `flexcalc serve`.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from ipi.pes.dummy import Dummy_driver
from ipi.utils.softexit import softexit

from flexcalc.adapters.ipi.client import molecule
from flexcalc.adapters.ipi.surface import Surface
from flexcalc.adapters.ipi.wire import Answer
from flexcalc.errors import ConfigError
from flexcalc.registry import open_potential

__DRIVER_NAME__ = "flexcalc"
__DRIVER_CLASS__ = "FlexcalcDriver"

Result = tuple[float, np.ndarray, np.ndarray, str]


class FlexcalcDriver(Dummy_driver):
    """A potential as one of i-PI's own surfaces.

    Args:
        potential: address of a potential, such as a model folder or `xtb:GFN2-xTB`.
        template: file of the molecule as i-PI numbers it.

    Raises:
        ConfigError: one of the two is missing.
        AddressError, MoleculeError, FileFormatError: they cannot be opened or do not fit.
    """

    def __init__(self, potential: str = "", template: str = "", **kwargs: Any):
        if not potential or not template:
            raise ConfigError("flexcalc_pes needs the parameters potential and template")
        super().__init__(**kwargs)
        numbers, positions = molecule(str(template))
        self.surface = Surface(open_potential(str(potential), numbers), positions)

    def compute(self, cell: Any, pos: Any) -> Result | list[Result]:
        """Evaluate one frame, or a list of frames in one call of the potential.

        Args:
            cell: (3, 3) in bohr, or a list of such.
            pos: (atoms, 3) in bohr, or a list of such.

        Returns:
            Energy in hartree, forces (atoms, 3) in hartree/bohr, virial (3, 3) in hartree and
            the extras; a list of these for a list.
        """
        batched = isinstance(pos, list)
        try:
            answer = self.surface(*(np.array(x if batched else [x]) for x in (cell, pos)))
        except BaseException as error:
            _end_ipi(error)
            raise
        rows = _rows(answer)
        return rows if batched else rows[0]


def _rows(answer: Answer) -> list[Result]:
    """The answer frame by frame; i-PI writes into the virials, so each is an array of its own."""
    return [
        (float(energy), force.copy(), virial.copy(), extra)
        for energy, force, virial, extra in zip(
            answer.energies, answer.forces, answer.virials, answer.extras, strict=True
        )
    ]


def _end_ipi(error: BaseException) -> None:
    """End an i-PI whose polling thread is about to die; it would wait for that for ever.

    Only `threaded='True'` has one. i-PI then ends with exit code 0, as after any soft exit.
    """
    if threading.current_thread().name.startswith("poll_"):
        softexit.cleanup("bad", f"flexcalc: {error}.")
