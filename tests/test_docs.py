"""The site: its builder, its pages, and that everything public stands in it.

Pages are built without running their blocks; `make docs` runs them.
"""

import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

import flexcalc
from flexcalc import config
from flexcalc.registry import FAMILIES

pytest.importorskip("material", reason="needs flexcalc[docs]")

from docs.building import assembly, checking, installs, mathematics, reference, running
from docs.building.__main__ import build
from docs.building.execute import Block, BlockError, Runner, blocks_of, without_running
from docs.building.gallery import REPORTS, write_gallery

PAGES = assembly.written_pages()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site with pages that were not run, and what is wrong with it."""
    folder = tmp_path_factory.mktemp("docs")
    faults = build(folder / "site", run=False, work=folder)
    return folder / "site", faults


@pytest.fixture
def runner(tmp_path):
    """Without figures of other tests; a page of the site has a process of its own."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.close("all")
    (tmp_path / "work").mkdir()
    return Runner(tmp_path / "work", tmp_path, "page")


def test_nothing_is_wrong_with_the_site(site):
    """No broken link, no missing page, no option without a text, and mkdocs warns of nothing."""
    folder, faults = site
    assert faults == []
    assert len(list(folder.rglob("*.html"))) > len(PAGES) + len(flexcalc.__all__)


def test_faults_are_found(site, tmp_path):
    folder = shutil.copytree(site[0], tmp_path / "site")
    (folder / "python" / "md.html").unlink()
    page = folder / "index.html"
    links = '<a href="nowhere.html">x</a><a href="#nowhere">y</a><script src="https://a.b/c.js"></script>'
    page.write_text(page.read_text().replace("</body>", f"{links}</body>"))
    faults = checking.faults(folder)
    assert "flexcalc.md has no page" in faults
    assert any("no file nowhere.html" in fault for fault in faults)
    assert any("no heading #nowhere" in fault for fault in faults)
    assert any("fetches https://a.b/c.js" in fault for fault in faults)


def test_every_option_stands_on_the_page_of_its_command():
    pages = reference.pages()
    for name, kind in {**config.COMMANDS, **config.TOOLS}.items():
        for option in config.options(kind):
            if option.name not in {place.lstrip("*") for place in kind.positional}:
                assert f"--{option.name.replace('_', '-')}" in pages[f"commands/{name}.md"]


def test_every_hyperparameter_has_a_row():
    pages = reference.pages()
    for name in FAMILIES:
        for option in config.options(reference.family(name)):
            assert f"--{option.name.replace('_', '-')}<" in pages[f"hyperparameters/{name}.md"]


def test_flags_that_pages_name_exist():
    known = {flag.name for kind in config.COMMANDS.values() for flag in config.every_flag(kind)}
    known |= {flag.name for kind in config.TOOLS.values() for flag in config.flags(kind)}
    known |= {f"no-{name}" for name in known} | {"output", "help", "version", "examples"}
    known |= {"install-completion", "show-completion"}
    others = {"host", "port", "no-dashboard", "nworkers", "nthreads", "no-deps", "gres", "kills"}
    for name, text in PAGES.items():
        flags = set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", text))
        assert flags <= known | others, (name, flags - known - others)


def test_blocks_of_pages_can_be_run():
    """Python compiles, console blocks have prompts, and the page that one continues is there."""
    for name, text in PAGES.items():
        for block in blocks_of(text):
            if block.language == "python":
                compile(block.text, name, "exec")
            if block.language == "console":
                assert block.text.startswith("$ "), name
        before = running.page_before(text)
        assert before is None or before in PAGES


def test_output_stands_below_a_block_and_checks_are_not_shown(runner):
    page = "a\n```python\nx = 2\nprint(x)\n```\nb\n```python check\nassert x == 2\n```\nc\n"
    shown = runner.page(page)
    assert "```{ .text .output }\n2\n```" in shown
    assert "assert" not in shown
    assert "assert" not in without_running(page)


def test_a_figure_that_is_not_what_came_out_stops_the_build(runner):
    with pytest.raises(BlockError, match="AssertionError"):
        runner.page("```python check\nassert 1 == 2\n```\n")


def test_commands_show_their_output_and_must_end_well(runner):
    shown = runner.page(
        "```console\n$ echo one\n$ seq 9\n```\n".replace("console", "console head=2")
    )
    assert "$ echo one\none\n$ seq 9\n1\n2\n... (7 more lines)\n" in shown
    with pytest.raises(BlockError, match="exit code 3"):
        runner.page("```console\n$ exit 3\n```\n")
    assert "$ exit 3" in runner.page("```console exit=3\n$ exit 3\n```\n")


def test_a_block_with_a_title_is_a_file(runner):
    runner.page('```python title="module.py"\nVALUE = 5\n```\n')
    assert (runner.folder / "module.py").read_text() == "VALUE = 5\n"


def test_the_gallery_has_the_reports_of_runs(tmp_path):
    run = tmp_path / "learn"
    (run / "output").mkdir(parents=True)
    (run / "folder" / "learn").mkdir(parents=True)
    (run / "folder" / "learn" / "report.html").write_text("of /tmp/flexcalc-docs-ab1/folder/x.xyz")
    write_gallery(tmp_path / "pages", {"tutorials/learn.md": run / "output"})
    assert "[learn](learn-learn.html)" in (tmp_path / "pages" / "gallery" / "index.md").read_text()
    assert (tmp_path / "pages" / "gallery" / "learn-learn.html").read_text() == "of x.xyz"


def test_reports_of_the_gallery_are_made_by_tutorials():
    for run, (tutorial, _) in REPORTS.items():
        model = run.replace("-train", ".flex")
        assert re.search(rf"--output ({run}|{model})\b", PAGES[f"tutorials/{tutorial}.md"]), run


def test_a_figure_needs_a_text(runner):
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
    with pytest.raises(BlockError, match="figure="):
        runner.page(f"```python\n{draw}```\n")
    shown = runner.page(f'```python figure="a line"\n{draw}```\n')
    picture = re.search(r"!\[a line\]\((\S+)\)", shown)
    assert (runner.pictures / picture[1]).exists()


def test_a_page_is_run_again_only_if_it_changed(tmp_path):
    told = []
    page = {"a.md": "```python\nprint(1)\n```\n"}
    for text in ("print(1)", "print(1)", "print(2)"):
        page["a.md"] = f"```python\n{text}\n```\n"
        folder = running.executed(page, tmp_path, 1, told.append)["a.md"]
    assert len(told) == 2
    assert "2" in (folder / "page.md").read_text()


def test_a_page_goes_on_in_the_folder_of_another(tmp_path):
    first = '```text title="left.txt"\nhere\n```\n```python\nprint(0)\n```\n'
    second = "<!-- after: one.md -->\n```python\nprint(open('left.txt').read())\n```\n"
    folders = running.executed({"two.md": second, "one.md": first}, tmp_path, 2, lambda _: None)
    assert "here" in (folders["two.md"] / "page.md").read_text()


def test_a_page_that_fails_is_named(tmp_path):
    told = []
    with pytest.raises(running.PageError, match="1 pages failed"):
        running.executed({"a.md": "```python\n1 / 0\n```\n"}, tmp_path, 1, told.append)
    assert told[0].startswith("a.md: failed")
    assert "ZeroDivisionError" in told[0]


def test_equations_become_mathml_and_code_stays():
    shown = mathematics.with_mathml(
        "$E = mc^2$ and `$x$`\n\n$$\nF = ma\n$$\n\n```sh\n$ ls $HOME\n```\n"
    )
    assert shown.count("<math") == 2
    assert "`$x$`" in shown
    assert "$ ls $HOME" in shown


def test_progress_is_no_output_of_a_page():
    lines = "sample 1/1: 2003 of 2650, 33.4/s, about 19 s left; 500 K\nsampled 240 geometries\n"
    assert assembly.NOISE.sub("", lines) == "sampled 240 geometries\n"


def test_a_fence_is_parsed():
    (block,) = blocks_of('```python check title="a b" head=3\nx\n```\n')
    assert block == Block("python", frozenset({"check"}), {"title": "a b", "head": "3"}, "x\n")


def test_indices_link_to_every_page_beside_them():
    for index in (Path(name) for name in PAGES if name.endswith("/index.md")):
        beside = {Path(name).name for name in PAGES if Path(name).parent == index.parent} - {
            "index.md"
        }
        assert beside <= set(re.findall(r"\]\(([\w.-]+)\)", PAGES[index.as_posix()]))


def test_the_citation_has_the_version():
    text = (assembly.ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {flexcalc.__version__}\n" in text


def test_the_table_of_installs_has_a_column_for_each_python(tmp_path):
    rows = {
        "wheel": "flexcalc-0.2.0-py3-none-any.whl",
        "date": "2026-11-30",
        "machine": "Linux x86_64",
    }
    for python, said in (("3.13.1", "yes"), ("3.12.9", "installation failed: no | wheel")):
        found = {**rows, "python": python, "extras": {"": "yes", "xtb": said}}
        (tmp_path / f"{python}.json").write_text(json.dumps(found))
    page = tmp_path / "install.md"
    page.write_text(f"before\n{installs.BEGIN}old\n{installs.END}after\n")
    installs.write(sorted(tmp_path.glob("*.json"), reverse=True), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| extra | Python 3.12.9 | Python 3.13.1 |" in text
    assert "| none | yes | yes |" in text
    assert "| `xtb` | installation failed: no / wheel | yes |" in text
    assert "| `gap` |" not in text
    assert "Not tried yet: `dft`, " in text


def test_every_extra_for_users_is_tried():
    """The table has a row for each extra of the wheel that users install."""
    with (assembly.ROOT / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    assert set(installs.TRIALS) - {""} == set(extras) - {"all", "test", "docs", "dev"}
