"""Work on a GPU that is recorded once and replayed.

A small batch is hundreds of small kernels, and a GPU spends most of its time waiting for the next
one to be launched. A recording launches all of them in one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3
"""Runs before a recording, in which libraries choose their kernels."""
KEPT = 8
"""Maximum number of recordings in the cache, each for one batch size."""

Work = Callable[..., tuple[torch.Tensor, ...]]
"""Maps tensors to tensors, all on a GPU, by the same kernels whatever the values."""


def recorded(work: Work, example: tuple[torch.Tensor, ...]) -> Work:
    """The same work, replayed.

    Args:
        work: to be recorded.
        example: its arguments; later ones have their shapes and types.

    Raises:
        Exception: whatever torch raises where something cannot be recorded.
    """
    inputs = [part.detach().clone() for part in example]
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            work(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = work(*inputs)

    def run(*batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        for place, part in zip(inputs, batch, strict=True):
            place.copy_(part)
        graph.replay()
        return tuple(part.clone() for part in outputs)

    return run


class Replayed:
    """Work of one argument, recorded for each size of batch that comes a second time.

    What cannot be recorded is done as it is.
    """

    def __init__(self, work: Work, record: Callable[..., Work] = recorded):
        self.work, self.record = work, record
        self._known: dict[torch.Size, Work | None] = {}

    def __call__(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What the work makes of the batch."""
        again = batch.shape in self._known
        run = self._known.pop(batch.shape, None)
        if again and run is None:
            run = self._recording(batch)
        self._known[batch.shape] = run  # the last one used is the last to go
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        return (run or self.work)(batch)

    def _recording(self, batch: torch.Tensor) -> Work:
        try:
            return self.record(self.work, (batch,))
        except Exception:  # torch may raise anything here; the work itself still does
            return self.work
