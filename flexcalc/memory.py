"""How much memory there is, and a refusal before more is asked for."""

from __future__ import annotations

import resource
from pathlib import Path

from flexcalc.errors import InputError


def available_bytes() -> int | None:
    """Memory that this process may still take, in bytes; None where that cannot be known.

    It is bounded by the machine, by the control group and by `ulimit -v`.
    """
    limits = []
    try:
        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        if most != resource.RLIM_INFINITY:
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limits.append(max(most - taken, 0))
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(1024 * int(line.split()[1]))
        allowed = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if allowed != "max":
            limits.append(max(int(allowed) - used, 0))
    except (OSError, ValueError):
        pass  # not Linux, or no control group: the limits found so far count
    return min(limits, default=None)


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Refuse what memory does not suffice for, before anything is taken or written.

    Args:
        needed: bytes.
        what: needs them, such as "1000000000 frames of 21 atoms".
        remedy: what to do, such as "ask for fewer frames".

    Raises:
        InputError: fewer bytes are free.
    """
    free = available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{what} need about {needed / 2**30:.3g} GiB of memory, and {free / 2**30:.3g} GiB are "
            f"free; {remedy}"
        )


def geometry_bytes(count: int, atoms: int, copies: int) -> int:
    """Bytes of so many geometries, in so many arrays (count, atoms, 3) of double precision."""
    return 24 * count * atoms * copies
