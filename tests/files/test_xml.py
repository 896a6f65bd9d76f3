"""XML of others: a document type is seen in any encoding, and there is one reader for all."""

import ast
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flexcalc.errors import FileFormatError
from flexcalc.files.xml import parse_xml, read_xml
from flexcalc.models.gap.xml import layout

pytestmark = [pytest.mark.security, pytest.mark.inputs]

SOURCES = sorted((Path(__file__).parents[2] / "flexcalc").rglob("*.py"))
BOMB = "<!DOCTYPE a [<!ENTITY n 'ha'>]><a>&n;</a>"
TOLD = "<?xml version='1.0' encoding='{}'?>"


@pytest.mark.parametrize(
    "content",
    [
        BOMB.encode(),
        BOMB.encode("utf-8-sig"),
        BOMB.encode("utf-16"),
        (TOLD.format("utf-16") + BOMB).encode("utf-16"),
        (TOLD.format("latin-1") + BOMB).encode(),
        (TOLD.format("cp037") + BOMB).encode(),
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
        b"<!DOCTYPE a><a/>",
    ],
    ids=range(8),
)
def test_a_document_type_is_refused_in_any_encoding(content):
    with pytest.raises(FileFormatError, match=r"^given: .*DOCTYPE, found a document type$"):
        parse_xml(content, "given")
    with pytest.raises(FileFormatError, match="no DOCTYPE"):
        layout(content, "GAP.xml")


@pytest.mark.parametrize(
    "content",
    [
        TOLD.format("cp037").encode() + "<!DOCTYPE a><a/>".encode("cp037"),
        (TOLD.format("utf-16") + BOMB).encode("utf-16-le"),
        "<a>x</a>".encode("utf-32"),
        "<a>é</a>".encode("latin-1"),
        b"<a>&unknown;</a>",
        b"<a><b></a>",
        b"\xff\xfe",
        b"\0\1",
        b"",
    ],
    ids=range(9),
)
def test_what_no_reader_of_utf_8_would_read_is_refused_in_one_line(content):
    with pytest.raises(FileFormatError, match=r"^given: ") as error:
        parse_xml(content, "given")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_whole_whatever_stands_in_it(encoding):
    text = "<a b='ü'>é<!-- no -->漢<?no no?>字<![CDATA[<&>]]></a>"
    for head in ("", TOLD.format("utf-8"), TOLD.format("latin-1")):
        root = parse_xml((head + text).encode(encoding), "given")
        assert (root.text, root.attrib) == ("é漢字<&>", {"b": "ü"})
    assert ElementTree.tostring(parse_xml(b"<a>b</a>", "")) == b"<a>b</a>"


def test_a_pipe_a_device_and_a_folder_are_no_files_to_wait_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "endless", "folder"):
        with pytest.raises(FileFormatError, match="expected a file, found a"):
            read_xml(tmp_path / name, 100, "XML")
    (tmp_path / "large").write_bytes(b"<a>" + b" " * 100 + b"</a>")
    with pytest.raises(FileFormatError, match="larger than 100 bytes; not a GAP"):
        read_xml(tmp_path / "large", 100, "a GAP")


def test_no_other_source_parses_xml():
    parsers = ("ElementTree.fromstring", "ElementTree.parse", "XMLParser", "minidom", "sax", "lxml")
    for path in SOURCES:
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        names = [ast.unparse(node.func) for node in calls]
        found = [name for name in names if any(parser in name for parser in parsers)]
        assert found == (["ElementTree.XMLParser"] if path.match("files/xml.py") else []), path
