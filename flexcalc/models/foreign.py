"""What openers of other packages' model files have in common."""

from __future__ import annotations

from flexcalc.errors import AddressError


def require_trust(what: object, trust: bool, why: str = "its file can only be read by") -> None:
    """Refuse to run code that comes with a model, unless its user said so.

    Args:
        what: the file or address, for the message.
        trust: what the user said.
        why: ends before "running code it contains".

    Raises:
        AddressError: there is no trust.
    """
    if not trust:
        raise AddressError(
            f"{what}: {why} running code it contains, which may do anything; if you trust where "
            "it comes from, say so: trust = true in the run file, --trust, or trust=True in Python"
        )
