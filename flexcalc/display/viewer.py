"""A molecule that can be turned, with a slider over its frames, inside the page.

The script is `viewer.js`; `html.page` puts it in once where a page has a viewer. It fetches
nothing: the data stand in the page as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from flexcalc.display import html, molecule
from flexcalc.geometry import bonds

MOST_FRAMES = 200
"""Frames that a viewer carries unless it is asked for more."""


def viewer(
    numbers: np.ndarray,
    frames: np.ndarray,
    labels: Sequence[str],
    title: str,
    start: int = 0,
    most: int = MOST_FRAMES,
) -> str:
    """HTML of a viewer.

    Args:
        numbers: (atoms,) atomic numbers.
        frames: (frames, atoms, 3) in angstrom; they are laid on the first and centred.
        labels: what stands under each frame.
        title: what a screen reader says.
        start: index of the frame shown first.
        most: frames to carry; of more, evenly spaced ones are shown.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), most)).astype(int))
    seen = molecule.look(numbers, frames).images[chosen]
    kinds = np.unique(numbers)
    data = {
        "atoms": np.searchsorted(kinds, numbers).tolist(),
        "elements": [molecule.shades(int(number)) for number in kinds],
        "frames": np.round(seen, 3).tolist(),
        "bonds": [bonds(numbers, frame).tolist() for frame in seen],
        "labels": [str(labels[index]) for index in chosen],
        "reach": round(float(np.linalg.norm(seen, axis=-1).max()) + 0.6, 3),
    }
    # A label may come from a file, and must not end the element that it stands in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    last, first = len(chosen) - 1, int(np.abs(chosen - start).argmin())
    return (
        f'<div class="viewer"><canvas tabindex="0" role="img" aria-label="{html.text(title)}">'
        "</canvas><div>"
        '<button type="button" aria-pressed="false" aria-label="Play"></button>'
        f'<input type="range" min="0" max="{last}" value="{first}" aria-label="Frame">'
        f"<output>{html.text(data['labels'][first])}</output></div>"
        f'<script type="application/json">{text}</script></div>'
    )
