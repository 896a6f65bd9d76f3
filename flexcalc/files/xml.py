"""Safe parsing of XML of others; all XML is parsed here.

A document type can define entities that make a small file huge or that stand for other files; no
format read here needs one. What is parsed is text in UTF-8, or in UTF-16 with its byte-order mark:
an encoding that a file declares itself is not heeded, so that no other program that reads the
file sees in it what was not seen here.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from flexcalc.errors import FileFormatError
from flexcalc.storage import check_regular, read_file

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_xml(path: Path, largest: int, what: str) -> Element:
    """The root of an XML file.

    Args:
        path: the file.
        largest: bytes it may have.
        what: description of the expected file, for the message.

    Raises:
        FileFormatError: not a file, too large, or not safe and complete XML.
    """
    try:
        check_regular(path, None)
        if path.stat().st_size > largest:
            raise FileFormatError(f"{path}: larger than {largest} bytes; not {what}")
        content = read_file(path, largest)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_xml(content, path)


def parse_xml(content: bytes, where: object) -> Element:
    """The root of an XML document.

    Args:
        content: the document.
        where: its path, for messages.

    Raises:
        FileFormatError: a document type, another encoding, or damaged.
    """
    encoding = "utf-16" if content.startswith(UTF_16) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{where}: expected XML in UTF-8, byte {error.start} is none; save it as UTF-8"
        ) from None
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(text)
        return parser.close()
    except _RefusedError as error:
        raise FileFormatError(f"{where}: {error}") from None
    except (ElementTree.ParseError, ValueError) as error:
        raise FileFormatError(f"{where}: incomplete or malformed XML: {error}") from None


class _RefusedError(Exception):
    """Well-formed, but not to be read."""


class _Builder(ElementTree.TreeBuilder):
    """Stops at a document type, before anything in it."""

    def doctype(self, *_: object) -> None:
        raise _RefusedError("expected XML with no DOCTYPE, found a document type")
