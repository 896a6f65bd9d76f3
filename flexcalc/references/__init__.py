"""Reference methods, which compute labels. Each is a Potential that is opened by an address.

`xtb` is tight binding, `dft` is PySCF with `dispersion` of Tkatchenko and Scheffler, `external`
is any ASE calculator. The packages behind them are imported only when a reference is made.
"""

import os
from pathlib import Path

# PySCF executes a .pyscf_conf.py of the working folder when it is imported, and that folder may
# have come from anyone. A file that its user names, and one in the home folder, are the user's own.
_home = Path(os.environ.get("HOME", "/nonexistent")) / ".pyscf_conf.py"
if not os.path.isfile(os.environ.get("PYSCF_CONFIG_FILE", "")):
    _own = Path(__file__).with_name("pyscf_conf.py")
    os.environ["PYSCF_CONFIG_FILE"] = str(_home if _home.is_file() else _own)
