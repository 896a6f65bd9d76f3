"""Numbers as a reader wants them: few digits, a true minus, thousands apart."""

from __future__ import annotations

import math
import re
from typing import Any

THIN = "\u202f"
MINUS = "\u2212"
NONE = "\u2013"


def number(value: Any, digits: int = 3) -> str:
    """A number with so many significant digits, or a dash where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return NONE if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN).replace("-", MINUS)
    if not math.isfinite(value):
        return NONE
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa} × 10{superscript(int(exponent))}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    return f"{value:,.{decimals}f}".replace(",", THIN).replace("-", MINUS)


def fixed(value: float, decimals: int, sign: bool = False) -> str:
    """A number with so many decimals, for columns; with a plus sign where asked."""
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", MINUS)


def between(value: Any, interval: Any, digits: int = 3) -> str:
    """A value with its interval: 0.52 (0.48 to 0.57)."""
    if not isinstance(interval, list | tuple) or len(interval) != 2:
        return number(value, digits)
    low, high = (number(edge, digits) for edge in interval)
    return f"{number(value, digits)} ({low} to {high})"


def counted(count: int, what: str) -> str:
    """A count with its noun: 1 frame, 2 frames."""
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time such as 4 min 05 s."""
    if seconds < 60:
        return f"{number(float(seconds), 2)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def superscript(exponent: int) -> str:
    """An exponent in raised digits."""
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def unit(text: str) -> str:
    """A unit as it is typeset: kcal/mol/Å for kcal/mol/A, cm⁻¹ for cm^-1."""
    raised = re.sub(r"\^(-?\d+)", lambda exponent: superscript(int(exponent[1])), text)
    return re.sub(r"\bA\b", "Å", raised)


def formula(text: str) -> str:
    """A chemical formula with lowered digits."""
    return text.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
