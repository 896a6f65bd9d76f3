"""The simplified string method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flexcalc.geometry import align
from flexcalc.methods.path.chain import Chain
from flexcalc.methods.path.interpolation import respaced


@dataclass(frozen=True, kw_only=True)
class String(Chain):
    """String method: images move across the path and are spaced evenly after each step.

    The highest image climbs; the images on either side of it are spaced on their own. Moves
    follow the force across the path, which has the same fixed points as the whole force of the
    simplified method, and which an optimiser can follow in larger steps.

    Sources: E, Ren and Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007),
    doi:10.1063/1.2720838; Ren and Vanden-Eijnden, J. Chem. Phys. 138, 134105 (2013),
    doi:10.1063/1.4798344.
    """

    kind: ClassVar[str] = "string"

    def placed(self, images: np.ndarray, climber: int | None) -> np.ndarray:
        """Images at equal distances; a climbing one stays and parts the string."""
        if climber is None:
            parts = [respaced(images, self.align)]
        else:
            parts = [respaced(images[: climber + 1], self.align)]
            parts.append(respaced(images[climber:], self.align)[1:])
        even = np.concatenate(parts)
        if self.align:
            # Spacing lays images on each other; the optimiser must not take that for a move.
            even[1:-1] = align(even[1:-1], images[1:-1])
        even[[0, -1]] = images[[0, -1]]
        if climber is not None:
            even[climber] = images[climber]
        return even

    def spring(self, ahead: np.ndarray, behind: np.ndarray, energies: np.ndarray) -> float:
        """None: spacing does it."""
        return 0.0
