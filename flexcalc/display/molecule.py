"""Pictures of molecules as SVG: shaded balls and sticks, all images seen from one side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flexcalc.display import html
from flexcalc.geometry import align, bonds

SCALE = 40.0
"""SVG units to an angstrom."""

STICK = 0.17
"""Width of a bond in angstrom."""

NUMBERS_APART = 0.45
"""Smallest distance of two numbers of atoms in angstrom."""

TILT_DEGREES = (24.0, -18.0)
"""Turn about the horizontal and vertical axis: a flat molecule seen straight on hides atoms."""

HAZE = 0.3
"""Share of the page's colour laid over the farthest atom."""

COLOURS = {
    1: "#eef0f2", 5: "#e8a48f", 6: "#5b636b", 7: "#3d62d8", 8: "#dc3a32", 9: "#6cc24a",
    14: "#d9b98c", 15: "#f08a24", 16: "#e8c52e", 17: "#35b34a", 35: "#a0442c", 53: "#7d3fa0",
}  # fmt: skip
"""The customary colours of the elements, softened; `ase.data.colors` has the others."""


@dataclass(frozen=True, eq=False)
class View:
    """Geometries as seen: x to the right, y up, z towards the reader.

    Args:
        numbers: (atoms,) atomic numbers.
        images: (images, atoms, 3) in angstrom, centred.
        box: half width and half height in angstrom that hold every image.
    """

    numbers: np.ndarray
    images: np.ndarray
    box: tuple[float, float]


def look(numbers: np.ndarray, images: np.ndarray) -> View:
    """Lay all images (images, atoms, 3) on the first and look at them from their flat side."""
    numbers = np.asarray(numbers, dtype=int)
    laid = align(np.asarray(images, dtype=float), images[0] - images[0].mean(axis=0))
    _, _, axes = np.linalg.svd(laid.reshape(-1, 3), full_matrices=True)
    # Which end is which must not depend on rounding: the third moments point one way.
    signs = np.sign(((laid @ axes.T) ** 3).sum(axis=(0, 1)))
    axes = axes * np.where(signs == 0, 1, signs)[:, None]
    axes[2] *= np.sign(np.linalg.det(axes))
    seen = laid @ axes.T @ _tilt().T
    reach = np.abs(seen[..., :2]) + np.array([_radius(number) for number in numbers])[:, None]
    width, height = reach.max(axis=(0, 1)) + 0.15
    return View(numbers, seen, (float(width), float(height)))


def path_length(numbers: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Length along a path to each image (images,) in angstrom, all laid on the first."""
    seen = look(numbers, images).images
    steps = np.sqrt(((seen[1:] - seen[:-1]) ** 2).sum(axis=(1, 2)))
    return np.concatenate([[0.0], np.cumsum(steps)])


def picture(view: View, index: int, name: str, title: str, *, numbered: bool = False) -> str:
    """One image as SVG.

    Args:
        view: from `look`; all its images have one scale and one side.
        index: of the image.
        name: prefix of ids, unique in the page.
        title: what a screen reader says.
        numbered: whether the index of each atom stands on it.
    """
    positions = view.images[index]
    depth = positions[:, 2]
    span = max(float(depth.max() - depth.min()), 2.0)

    def haze(z: float) -> float:
        return HAZE * (float(depth.max()) - z) / span

    pieces = [
        (z, _bond(view.numbers, positions, pair, haze(z))) for pair, z in _sticks(view, positions)
    ]
    for number, place in zip(view.numbers, positions, strict=True):
        z = float(place[2])
        pieces.append((z, _ball(int(number), place, name, haze(z))))
    pieces.sort(key=lambda piece: piece[0])
    width, height = (2 * SCALE * half for half in view.box)
    gradients = "".join(_gradient(int(number), name) for number in np.unique(view.numbers))
    return (
        f'<svg class="molecule" role="img" aria-labelledby="{name}-title" '
        f'viewBox="{-width / 2:.0f} {-height / 2:.0f} {width:.0f} {height:.0f}">'
        f'<title id="{name}-title">{html.text(title)}</title><defs>{gradients}</defs>'
        f"{''.join(drawn for _, drawn in pieces)}{_indices(positions) if numbered else ''}</svg>"
    )


def _tilt() -> np.ndarray:
    a, b = np.radians(TILT_DEGREES)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return about_x @ about_y


def _radius(number: int) -> float:
    """Radius of a ball in angstrom: small enough to show the bonds."""
    from ase.data import covalent_radii

    return 0.22 + 0.28 * float(covalent_radii[number])


def _sticks(view: View, positions: np.ndarray) -> list[tuple[tuple[int, int], float]]:
    """Bonds with the depth at which to draw them: between their two atoms."""
    pairs = bonds(view.numbers, positions)
    return [((int(i), int(j)), float(positions[[i, j], 2].mean())) for i, j in pairs]


def _bond(numbers: np.ndarray, positions: np.ndarray, pair: tuple[int, int], haze: float) -> str:
    """A stick from ball to ball: a dark line, and a lighter one within as its sheen."""
    i, j = pair
    along = positions[j] - positions[i]
    along = along / max(float(np.linalg.norm(along)), 1e-9)
    start = positions[i] + 0.8 * _radius(int(numbers[i])) * along
    end = positions[j] - 0.8 * _radius(int(numbers[j])) * along
    (x1, y1), (x2, y2) = ((SCALE * p[0], -SCALE * p[1]) for p in (start, end))
    line = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke-linecap="round"'
    layers = [("#6d757d", STICK, 1.0), ("#a9b0b6", 0.6 * STICK, 1.0)]
    layers += [("#ced3d7", 0.2 * STICK, 1.0), ("var(--card)", 1.2 * STICK, haze)]
    return "".join(
        f'<line {line} stroke="{colour}" stroke-width="{SCALE * width:.1f}" '
        f'opacity="{opacity:.2f}"/>'
        for colour, width, opacity in layers
        if opacity > 0.02
    )


def _ball(number: int, place: np.ndarray, name: str, haze: float) -> str:
    """A shaded ball; the haze of the far ones is the page's own colour laid over them."""
    from ase.data import chemical_symbols

    at = f'cx="{SCALE * place[0]:.1f}" cy="{-SCALE * place[1]:.1f}"'
    at += f' r="{SCALE * _radius(number):.1f}"'
    symbol = chemical_symbols[number]
    ball = f'<circle {at} fill="url(#{name}-{symbol})" stroke="{_mixed(number, 0.55, 0)}"/>'
    if haze < 0.02:
        return ball
    return f'{ball}<circle {at} fill="var(--card)" opacity="{haze:.2f}"/>'


def _indices(positions: np.ndarray) -> str:
    """The number of each atom on its ball, in front of all balls; see `_apart`."""
    style = (
        'fill="#111" stroke="#fff" stroke-width="3" paint-order="stroke" text-anchor="middle" '
        f'font-family="sans-serif" font-weight="bold" font-size="{0.36 * SCALE:.1f}"'
    )
    texts = [
        f'<text x="{SCALE * x:.1f}" y="{-SCALE * y + 0.13 * SCALE:.1f}">{atom}</text>'
        for atom, (x, y) in _apart(positions).items()
    ]
    return f"<g {style}>{''.join(texts)}</g>"


def _apart(positions: np.ndarray) -> dict[int, np.ndarray]:
    """Places (2,) in angstrom of numbers on atoms (atoms, 3), the nearest atom first.

    A number that would stand on that of a nearer atom moves off it.
    """
    places: dict[int, np.ndarray] = {}
    for atom in np.argsort(-positions[:, 2], kind="stable").tolist():
        place = positions[atom, :2]
        for other in places.values():
            away = place - other
            distance = float(np.linalg.norm(away))
            if distance < NUMBERS_APART:
                way = away / distance if distance > 1e-3 else np.array([1.0, 0.0])
                place = other + NUMBERS_APART * way
        places[atom] = place
    return places


def standalone(drawn: str) -> str:
    """A picture as a file of its own: with its namespace, on white paper."""
    drawn = drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return drawn.replace("var(--card)", "#ffffff") + "\n"


def shades(number: int) -> tuple[float, str, str, str, str, str]:
    """How an element's ball looks: radius in angstrom, four shades inward out, and its rim."""
    light = [_mixed(number, 1, white) for white in (0.75, 0.3, 0)]
    dark = [_mixed(number, brightness, 0) for brightness in (0.66, 0.55)]
    return (round(_radius(number), 3), light[0], light[1], light[2], dark[0], dark[1])


def _gradient(number: int, name: str) -> str:
    from ase.data import chemical_symbols

    stops = zip((0, 0.25, 0.62, 1), shades(number)[1:5], strict=True)
    drawn = "".join(f'<stop offset="{at}" stop-color="{colour}"/>' for at, colour in stops)
    return (
        f'<radialGradient id="{name}-{chemical_symbols[number]}" cx="0.42" cy="0.4" r="0.62" '
        f'fx="0.34" fy="0.28">{drawn}</radialGradient>'
    )


def _mixed(number: int, brightness: float, white: float) -> str:
    """An element's colour, darkened by a factor or mixed with a share of white."""
    if number in COLOURS:
        code = COLOURS[number]
        colour = np.array([int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    else:
        from ase.data.colors import jmol_colors

        colour = np.array(jmol_colors[number])
    shade = np.clip((colour * brightness) * (1 - white) + white, 0, 1)
    return "#" + "".join(f"{round(255 * part):02x}" for part in shade)
