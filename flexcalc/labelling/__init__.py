"""The queue of reference calculations, on this machine or on Dask.

`queue` is its interface: it labels geometries and keeps the labels. `pool` distributes the
calculations over processes of this machine or Dask workers (`flexcalc.parallel`); `worker` runs in
these processes; `audit` compares existing labels with a reference.
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
