"""Manners of reports in a real browser, by axe-core and by `docs/building/manners.py`."""

import pytest

from docs.building import manners

missing = pytest.mark.skipif(bool(manners.missing()), reason=f"no {', '.join(manners.missing())}")

COMMANDS = (
    *("demo", "label", "train", "evaluate", "path", "md", "metad", "umbrella", "ipi"),
    "benchmark",
)


@missing
@pytest.mark.long
@pytest.mark.parametrize("command", COMMANDS)
def test_a_report_has_manners(command, page_of_run, tmp_path):
    """Screen readers, dark mode, a telephone, the keyboard and paper."""
    page = tmp_path / "report.html"
    page.write_text(page_of_run(command))
    assert list(manners.faults([page])) == []


BROKEN = """<!DOCTYPE html><html lang="en"><head><title>Broken</title><style>
:focus { outline: none; } @media print { body { background: #222; } }
</style></head><body><main><h1>Broken</h1><img src="gone.png"><p style="color: #bbb">pale</p>
<a href="#top">here</a><div style="width: 500px">wide</div><details><summary>more</summary>
<p>inner</p></details><script>fetch("https://example.invalid/x").catch(() => {});
addEventListener("keydown", (event) => {
  document.querySelector("a").focus();
  event.preventDefault(); }); lost();</script></main></body></html>"""


@missing
def test_the_check_of_manners_finds_what_is_wrong(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(BROKEN)
    found = "\n".join(manners.faults([page]))
    for fault in (
        *("light: image-alt (critical", "light: color-contrast (serious"),
        *("dark: color-contrast", "narrow: the page is ", 'narrow: div "wide" reaches beyond'),
        *("the focus cannot be seen on a", 'the keyboard does not reach summary "more"'),
        *("paper: body is dark", "paper: details", "fetches https://example.invalid/x"),
        *("lost is not defined", "gone.png"),
    ):
        assert fault in found, found


PALE = """<!DOCTYPE html><html lang="en"><head><title>Pale</title>
<link rel="stylesheet" href="pale.css"></head>
<body><main><h1>Pale</h1><p>words</p></main></body></html>"""
DARK = """@media screen and (prefers-color-scheme: dark) {
body { background: #111; color: #eee; } p { color: %s; } }"""


@missing
def test_what_is_pale_in_the_dark_alone_is_found_without_the_thorough_check(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(PALE)
    (tmp_path / "pale.css").write_text(DARK % "#333")
    found = list(manners.faults([page], thorough=False))
    assert len(found) == 1
    assert "dark: color-contrast (serious" in found[0]


@missing
def test_the_check_does_not_ask_for_style_sheets_itself(tmp_path):
    """Chromium refuses a script on disk that does, and says so on the console."""
    page = tmp_path / "page.html"
    page.write_text(PALE)
    (tmp_path / "pale.css").write_text(DARK % "#eee")
    assert list(manners.faults([page])) == []
