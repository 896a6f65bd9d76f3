"""The queue of reference calculations, on this machine or on Dask.

`queue` is the whole of it seen from outside: what is to be done, what is on disk. `pool` has the
calculations done by processes of this machine or by Dask (`flexcalc.parallel`); `worker` is what
runs over there; `audit` finds labels that are not what they claim to be.
"""

from flexcalc.labelling.audit import audit
from flexcalc.labelling.queue import (
    LabelCount,
    Pool,
    label,
    label_with,
    open_pool,
    read_labels,
    try_reference,
)

__all__ = ["LabelCount", "Pool", "audit", "label", "label_with", "open_pool", "read_labels"]
__all__ += ["try_reference"]
