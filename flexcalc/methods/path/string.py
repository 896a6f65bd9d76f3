"""The simplified string method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from flexcalc.geometry import align
from flexcalc.methods.path.chain import Chain
from flexcalc.methods.path.interpolation import respace


@dataclass(frozen=True, kw_only=True)
class String(Chain):
    """String method: images move across the path, and are spaced evenly after each step.

    The highest image climbs; the images on either side of it are spaced separately. Moves follow
    the force perpendicular to the path. It has the same fixed points as the full force of the
    simplified method, and allows an optimiser larger steps.

    Sources: E, Ren and Vanden-Eijnden, J. Chem. Phys. 126, 164103 (2007),
    doi:10.1063/1.2720838; Ren and Vanden-Eijnden, J. Chem. Phys. 138, 134105 (2013),
    doi:10.1063/1.4798344.
    """

    kind: ClassVar[str] = "string"

    def respace(self, images: np.ndarray, climber: int | None) -> np.ndarray:
        """Images at equal distances; a climbing image stays and divides the string."""
        if climber is None:
            parts = [respace(images, self.align)]
        else:
            parts = [respace(images[: climber + 1], self.align)]
            parts.append(respace(images[climber:], self.align)[1:])
        even = np.concatenate(parts)
        if self.align:
            # Spacing rotates images; the optimiser must not take that for a move.
            even[1:-1] = align(even[1:-1], images[1:-1])
        even[[0, -1]] = images[[0, -1]]
        if climber is not None:
            even[climber] = images[climber]
        return even

    def spring(self, ahead: np.ndarray, behind: np.ndarray, energies: np.ndarray) -> float:
        """No springs, as images are spaced after each step."""
        return 0.0
