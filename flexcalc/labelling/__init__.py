"""The queue of reference calculations, on this machine or on Dask.

`queue` is the whole of it seen from outside: what is to be done, what is kept. `pool` has the
calculations done by processes of this machine or by Dask (`flexcalc.parallel`); `worker` is what
runs over there; `audit` finds labels that are not what they claim to be.
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
