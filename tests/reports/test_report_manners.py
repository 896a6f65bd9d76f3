"""Manners of reports in a real browser, by axe-core and by `docs/building/manners.py`."""

import pytest
from ase import Atoms

import flexcalc
from docs.building import manners
from tests.systems import FLAT, GEOMETRY, PEROXIDE, WATER, Torsion, turned

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


def learned(folder):
    """A learning of water, far too short to be any good."""
    flexcalc.learn(
        Atoms(WATER, GEOMETRY),
        reference="ase:ase.calculators.emt:EMT",
        **{"budget": 32, "first": 14, "batch": 8, "checks": 2, "replicas": 4, "committee": 2},
        **{"time_ps": 0.02, "temperatures_K": (300.0, 600.0), "sigma": 10.0, "workers": 1},
        output=folder,
    )


def with_saddle(folder):
    """A path with its saddle, descent, vibrations and rates."""
    ends = [Atoms(PEROXIDE, turned(FLAT, (1, 2), [3], degrees)) for degrees in (65, 170)]
    options = {"images": 7, "temperatures_K": [298.15], "saddle": True}
    flexcalc.path(Torsion(), *ends, **options, output=folder)


@missing
@pytest.mark.long
@pytest.mark.parametrize("run", [learned, with_saddle], ids=["learn", "path --saddle"])
def test_a_report_of_a_run_has_manners(run, tmp_path):
    """Of those whose folders have too much to be made up."""
    run(tmp_path / "run")
    assert list(manners.faults([tmp_path / "run" / "report.html"])) == []


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
