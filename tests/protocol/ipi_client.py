"""Client processes for the tests, forked from one that has everything imported.

Every line on standard input is a job, in JSON: the keywords of `serve`, `springs` for those of
the potential, and `stderr`, the file for standard error. Back come two lines: the number of
the client's process, and in the end its exit code.
"""

import json
import os
import sys

from ipi_springs import GLYCINE, Springs

from flexcalc.adapters.ipi import Server, serve
from flexcalc.errors import FlexcalcError


def run(job):
    """Be a client; return the exit code."""
    sys.stderr = open(job.pop("stderr"), "w")  # noqa: SIM115 - closed by the end of the process
    potential = Springs(**job.pop("springs", {}))
    try:
        serve(potential, GLYCINE, Server(**{"connect_timeout_s": 300.0} | job))
    except FlexcalcError as error:
        print(f"flexcalc: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os._exit(run(json.loads(line)))
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
