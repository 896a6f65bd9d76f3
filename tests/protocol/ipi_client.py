"""A client process for the tests: `python ipi_client.py '{"unix": NAME, "spoil": {...}}'`."""

import json
import sys

from ipi_springs import GLYCINE, Springs

import flexcalc.adapters.ipi
from flexcalc.errors import FlexcalcError

job = json.loads(sys.argv[1])
potential = Springs(**job.pop("springs", {}))
try:
    print(flexcalc.adapters.ipi.serve(potential, GLYCINE, **job))
except FlexcalcError as error:
    print(f"flexcalc: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
