"""Trust in model files of other packages, which can contain code."""

from __future__ import annotations

from flexcalc.errors import AddressError


def require_trust(what: object, trust: bool, why: str = "its file can only be read by") -> None:
    """Raise an error for a model file that can run code, unless it is trusted.

    Args:
        what: the file or address, for the message.
        trust: whether the user trusts it.
        why: beginning of the reason, before "running code it contains".

    Raises:
        AddressError: it is not trusted.
    """
    if not trust:
        raise AddressError(
            f"{what}: {why} running code it contains, which may do anything; if you trust where "
            "it comes from, say so: trust = true in the run file, --trust, or trust=True in Python"
        )
