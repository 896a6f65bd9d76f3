"""The bytes of a text file as text: UTF-8, with or without the mark that Windows puts first."""

from __future__ import annotations

from flexcalc.errors import FileFormatError

UTF16 = (b"\xff\xfe", b"\xfe\xff")
UTF8_MARK = b"\xef\xbb\xbf"


def without_mark(content: bytes) -> bytes:
    """The bytes of a text file after a UTF-8 byte-order mark, if there is one."""
    return content.removeprefix(UTF8_MARK)


def decoded(content: bytes) -> str:
    """The text of a file.

    Raises:
        FileFormatError: it is UTF-16, or no UTF-8 text; without the file, which the caller knows.
    """
    if content.startswith(UTF16):
        raise FileFormatError("it is UTF-16 text; save it as UTF-8")
    try:
        return without_mark(content).decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"byte {error.start} is not UTF-8 text") from None
