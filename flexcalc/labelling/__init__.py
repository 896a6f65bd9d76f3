"""The queue of reference calculations, on this machine or on Dask.

`queue` is the whole of it seen from outside: what is to be done, what is kept. `local` runs
the calculations in worker processes of this machine and `cluster` on Dask, whose workers may be
the jobs of a `jobqueue`; `worker` is what runs over there; `audit` finds labels that are not what
they claim to be.
"""

from flexcalc.labelling.audit import audit
from flexcalc.labelling.queue import (
    LABELS,
    QUARANTINE,
    LabelCount,
    Pool,
    Workers,
    has_labels,
    label_with,
    open_pool,
    read_labels,
    try_reference,
)

__all__ = ["LABELS", "QUARANTINE", "LabelCount", "Pool", "Workers", "audit", "has_labels"]
__all__ += ["label_with", "open_pool", "read_labels", "try_reference"]
