"""The small fonts of figures."""

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from matplotlib.ft2font import FT2Font, LoadFlags

from flexcalc.display import font, plots


def complete(name):
    return Path(matplotlib.get_data_path(), "fonts", "ttf", name)


@pytest.mark.parametrize("name", font.FILES)
def test_a_small_font_has_the_letters_outlines_and_kerning_of_the_complete_one(name):
    small, whole = TTFont(font.FOLDER / name), TTFont(complete(name))
    assert set(small.getBestCmap()) >= set(map(ord, font.LETTERS))
    for letter in map(ord, font.LETTERS):
        ours, theirs = small.getBestCmap()[letter], whole.getBestCmap()[letter]
        outline, other = (f["glyf"][n].getCoordinates(f["glyf"]) for f, n in
                          ((small, ours), (whole, theirs)))  # fmt: skip
        assert list(outline[0]) == list(other[0])
        assert small["hmtx"][ours] == whole["hmtx"][theirs]
    widths = []  # with kerning
    for path in (font.FOLDER / name, complete(name)):
        drawn = FT2Font(path)
        drawn.set_size(10, 72)
        drawn.set_text("AVATo LTy., energy / kcal mol⁻¹ Å⁻¹", 0, flags=LoadFlags.NO_HINTING)
        widths.append(drawn.get_width_height())
    assert widths[0] == widths[1]


def test_the_small_fonts_are_those_that_the_module_makes(tmp_path):
    font.make(tmp_path)
    for name in font.FILES:
        made, kept = TTFont(tmp_path / name), TTFont(font.FOLDER / name)
        assert set(made.getBestCmap()) == set(kept.getBestCmap())
        assert made["name"].getDebugName(font.FAMILY) == font.SMALL
        assert (font.FOLDER / name).stat().st_size < 60_000


def test_a_user_who_has_chosen_a_font_gets_it():
    assert font.families() == [font.SMALL, "sans-serif"]
    with matplotlib.rc_context({"font.sans-serif": ["DejaVu Serif", font.COMPLETE]}):
        assert font.families() == ["sans-serif"]
        assert fonts_of("energy")[0] == [b"DejaVuSerif"]


def fonts_of(label):
    """The fonts that a PDF embeds, and the families that its SVG names."""
    files = plots.histogram({"a": np.arange(9.0)}, label).files()
    return (
        re.findall(rb"/FontName /[A-Z]{6}\+(\S+)", files["pdf"]),
        set(re.findall(rb"font(?:-family)?: [^\"]*?'([^']*)'", files["svg"])),
    )


def test_a_pdf_embeds_one_font_of_its_signs_and_letters():
    embedded, families = fonts_of("energy − 1 / kcal mol⁻¹ Å⁻¹")
    assert embedded == [b"DejaVuSans"]
    assert families == {b"DejaVu Sans"}


def test_a_letter_that_the_small_font_lacks_comes_from_the_complete_one():
    assert fonts_of("энергия")[0] == [b"DejaVuSans", b"DejaVuSans"]
