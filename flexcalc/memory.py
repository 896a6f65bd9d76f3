"""Available memory, checks before large allocations, and pauses of the garbage collector."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flexcalc.errors import InputError


def available_bytes() -> int | None:
    """Memory that this process can still allocate, in bytes; None if unknown.

    It is limited by the machine, by the control group and by `ulimit -v`.
    """
    limits = []
    try:
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            limits.append(max(limit - used, 0))
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                limits.append(1024 * int(line.split()[1]))
        allowed = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if allowed != "max":
            limits.append(max(int(allowed) - used, 0))
    except (OSError, ValueError):
        pass  # not Linux, or no control group: use the limits found so far
    return min(limits, default=None)


def require_memory(needed: int, what: str, remedy: str) -> None:
    """Raise an error if memory does not suffice, before anything is allocated or written.

    Args:
        needed: required memory in bytes.
        what: that needs it, such as "1000000000 frames of 21 atoms".
        remedy: advice, such as "ask for fewer frames".

    Raises:
        InputError: less memory is free.
    """
    free = available_bytes()
    if free is not None and needed > free:
        raise InputError(
            f"{what} need about {needed / 2**30:.3g} GiB of memory, and {free / 2**30:.3g} GiB are "
            f"free; {remedy}"
        )


def geometry_bytes(count: int, atoms: int, copies: int) -> int:
    """Bytes of `copies` arrays (count, atoms, 3) in double precision."""
    return 24 * count * atoms * copies


@contextmanager
def without_collector() -> Iterator[None]:
    """No garbage is collected in a block that makes many objects that stay, as imports do.

    The collector would walk through them again and again, which takes a twentieth of a short
    command.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
