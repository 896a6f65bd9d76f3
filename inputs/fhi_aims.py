"""PBE+TS with FHI-aims as flexcalc's reference, the level of the seed paper.

Copy this file next to your run, set the three lines below for your machine, and name it
wherever flexcalc takes an address of a potential. The part before the last colon is the path of
this file, the part after it the function; keywords follow a question mark:

    flexcalc label "ase:fhi_aims.py:pbe_ts" START.xyz --output labels
    flexcalc path MODEL START.xyz END.xyz --relabel "ase:fhi_aims.py:pbe_ts?settings=light"

or in a run file:

    reference = "ase:fhi_aims.py:pbe_ts?charge=1.0"

Keywords that the function does not name go to FHI-aims' control.in as they are. Every worker
process makes its own calculator and runs in a folder of its own. A frame that FHI-aims does not
finish or converge goes to quarantine with its reason. Any other ASE calculator works the same
way, and one that needs no setting up can be named without such a file, such as
`ase:tblite.ase:TBLite?method=GFN1-xTB&verbosity=0`.
"""

import os
import socket
from pathlib import Path
from typing import Any

from ase.calculators.aims import Aims, AimsProfile

COMMAND = os.environ.get("AIMS_COMMAND", "mpirun -np 4 aims.x")
SPECIES = Path(os.environ.get("AIMS_SPECIES", "species_defaults/defaults_2020"))
SCRATCH = Path(os.environ.get("AIMS_SCRATCH", "aims"))


def pbe_ts(settings: str = "tight", **keywords: Any) -> Aims:
    """FHI-aims with PBE and the Tkatchenko-Scheffler correction, self-consistent to 1e-4 eV/A.

    Args:
        settings: FHI-aims' numerical settings: light, intermediate or tight.
        keywords: further lines of control.in, such as charge=1.0 or spin="collinear".
    """
    profile = AimsProfile(command=COMMAND, default_species_directory=SPECIES / settings)
    return Aims(
        profile=profile,
        directory=SCRATCH / f"{socket.gethostname()}-{os.getpid()}",
        xc="pbe",
        vdw_correction_hirshfeld=True,
        relativistic="atomic_zora scalar",
        sc_accuracy_rho=1e-5,
        sc_accuracy_etot=1e-6,
        sc_accuracy_forces=1e-4,
        **keywords,
    )
