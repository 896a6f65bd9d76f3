"""The colours of curves: told apart with all kinds of colour vision, and on their paper."""

from itertools import combinations

import numpy as np
import pytest

from flexcalc.display.palette import DARK, LIGHT, SERIES
from flexcalc.display.styles import FAMILIES

MACHADO = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""How linear RGB is seen: Machado and others, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009)."""

XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]
"""Of linear sRGB, IEC 61966-2-1."""
WHITE = (0.95047, 1.0, 1.08883)

LEAST_OF_FOUR, LEAST_OF_ALL = 15.0, 9.0
"""CIEDE2000 between two colours of curves: of the first four, and of all."""
LEAST_CONTRAST = 3.0
"""Of lines and marks with the paper, WCAG 2.1 criterion 1.4.11."""


def linear(colour):
    """Linear RGB of #rrggbb."""
    rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(rgb):
    ratio = np.array(XYZ) @ rgb / WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def ciede2000(one, other):
    """Colour difference; source: Sharma and others, Color Res. Appl. 30, 21 (2005)."""
    (L1, a1, b1), (L2, a2, b2) = one, other
    seventh = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(seventh / (seventh + 25.0**7))
    C1, C2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, stretch * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if C1 * C2 else 0.0
    dH = 2 * np.sqrt(C1 * C2) * np.sin(np.radians(turn / 2))
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    h = (h1 + turn / 2) % 360 if C1 * C2 else h1 + h2
    T = (
        1
        - 0.17 * np.cos(np.radians(h - 30))
        + 0.24 * np.cos(np.radians(2 * h))
        + 0.32 * np.cos(np.radians(3 * h + 6))
        - 0.20 * np.cos(np.radians(4 * h - 63))
    )
    lightness = (L2 - L1) / (1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2))
    chroma, hue = (C2 - C1) / (1 + 0.045 * C), dH / (1 + 0.015 * C * T)
    angle = np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))
    turned = -2 * np.sqrt(C**7 / (C**7 + 25.0**7)) * np.sin(angle)
    return np.sqrt(lightness**2 + chroma**2 + hue**2 + turned * chroma * hue)


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, -1, 2), (50, 0, 0), 2.3669),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_measure_is_that_of_its_authors(one, other, difference):
    assert ciede2000(one, other) == pytest.approx(difference, abs=1e-4)


@pytest.mark.parametrize("vision", MACHADO)
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_the_colours_of_curves_are_told_apart_with_any_vision(palette, vision):
    seen = [np.clip(np.array(MACHADO[vision]) @ linear(palette[one]), 0, 1) for one in SERIES]
    lab = [cielab(one) for one in seen]
    for first, second in combinations(range(len(lab)), 2):
        least = LEAST_OF_FOUR if second < 4 else LEAST_OF_ALL
        assert ciede2000(lab[first], lab[second]) >= least, (SERIES[first], SERIES[second])


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_the_colours_of_curves_stand_out_from_their_paper(palette):
    paper = linear(palette["card"]) @ XYZ[1]
    for name in SERIES:
        own = linear(palette[name]) @ XYZ[1]
        contrast = (max(own, paper) + 0.05) / (min(own, paper) + 0.05)
        assert contrast >= LEAST_CONTRAST, name


def test_every_family_has_a_colour_of_curves():
    assert set(FAMILIES.values()) <= set(SERIES)
