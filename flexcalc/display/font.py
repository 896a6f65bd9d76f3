"""The font of figures: DejaVu Sans, matplotlib's own, with the few letters that they need.

To embed the complete font in a PDF takes several times as long, as it has 6000 glyphs. Letters that
the small one lacks come from the complete one, letter by letter.

    python -m flexcalc.display.font

writes the small fonts again, from those of the installed matplotlib. They keep the outlines, hints
and kerning; the substitutions (ligatures) and mathematics of the complete one are left out. Their
licence, in fonts/LICENSE_DEJAVU, allows it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

COMPLETE = "DejaVu Sans"
SMALL = "DejaVu Sans Subset"
"""Families."""

FOLDER = Path(__file__).with_name("fonts")
FILES = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf")
"""Where the small fonts are, and the names of the files, which are matplotlib's too."""

LETTERS = (
    "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x100))))
    + "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρςστυφχψω"
    + "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉"
    + "−·×√±≤≥≈∞∆→←–—‘’“”…‡†‰"
)
"""Letters of the small fonts: ASCII, Latin-1, Greek, and the signs of labels."""

FAMILY, PARTS_OF_NAME = 1, (0, 1, 2, 4, 6)
"""Numbers of entries of a font's table of names: its family, and all that are kept."""


@cache
def register() -> None:
    """Let matplotlib know the small fonts; once in a process."""
    from matplotlib.font_manager import fontManager

    for name in FILES:
        fontManager.addfont(FOLDER / name)


def families() -> list[str]:
    """The families of matplotlib's `font.family`: a user who has chosen a font gets that one."""
    import matplotlib

    chosen = matplotlib.rcParams["font.sans-serif"]
    return [SMALL, "sans-serif"] if chosen[:1] == [COMPLETE] else ["sans-serif"]


def make(folder: Path) -> None:
    """Write the small fonts into a folder."""
    import matplotlib
    from fontTools.subset import Options, Subsetter, load_font, save_font

    for name in FILES:
        options = Options(
            layout_features=[],
            legacy_kern=True,
            glyph_names=False,
            notdef_outline=True,
            name_IDs=PARTS_OF_NAME,
            recalc_timestamp=False,
        )
        options.drop_tables = [
            *(table for table in options.drop_tables if table != "kern"),
            *("FFTM", "GDEF", "GPOS", "GSUB", "MATH"),
        ]
        font = load_font(Path(matplotlib.get_data_path(), "fonts", "ttf", name), options)
        chosen = Subsetter(options)
        chosen.populate(text=LETTERS)
        chosen.subset(font)
        for entry in font["name"].names:
            if entry.nameID == FAMILY:
                entry.string = SMALL
        save_font(font, folder / name, options)


if __name__ == "__main__":
    make(FOLDER)
