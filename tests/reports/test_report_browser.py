"""The page in a real browser: nothing on the console, every picture to be seen."""

import json
import re
import subprocess
from html import escape

import pytest

from docs.building.browser import find_chromium
from flexcalc.display import palette

BROWSER = find_chromium()
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

CATCH = "<script>var troubles = []; onerror = (text) => { troubles.push(text); };</script>"
"""Stands first in the head of the copy under test."""

LOOK = """<pre id="verdict"></pre><script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const pictures = [...document.querySelectorAll("svg, img, svg image")].map((one) => {
    const seen = one.getBoundingClientRect(), drawn = one.getBBox ? one.getBBox() : seen;
    const style = getComputedStyle(one);
    return {
      name: one.textContent.trim().slice(0, 40), width: seen.width, height: seen.height,
      drawn: drawn.width * drawn.height,
      hidden: style.visibility !== "visible" || style.display === "none" || style.opacity === "0",
      loaded: one.tagName !== "IMG" || (one.complete && one.naturalWidth > 0),
    };
  });
  const root = document.documentElement;
  document.getElementById("verdict").textContent = JSON.stringify({
    troubles, pictures, fetched: performance.getEntriesByType("resource").map((one) => one.name),
    paper: getComputedStyle(document.body).backgroundColor,
    overflow: root.scrollWidth - root.clientWidth,
  });
});
</script>"""


def browse(content, folder, *flags, look=LOOK):
    """Open a page in headless Chromium; returns what the script `look` saw, and the log."""
    page = folder / "page.html"
    content = content.replace("<head>", f"<head>{CATCH}", 1).replace("</body>", f"{look}</body>")
    page.write_text(content)
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", "--enable-logging=stderr", "--v=0", f"--user-data-dir={folder}/profile",
        "--virtual-time-budget=10000", "--dump-dom", *flags, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    found = re.search(r'<pre id="verdict">(\{.*?\})</pre>', done.stdout, flags=re.DOTALL)
    assert found, done.stderr[-2000:]
    from html import unescape

    return json.loads(unescape(found[1])), done.stderr


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 500)])
def test_the_page_opens_without_a_complaint_and_shows_every_picture(
    scheme, width, page_of_run, tmp_path
):
    """At a desk in the light, and on a phone in the dark."""
    flag = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    verdict, log = browse(page_of_run("demo"), tmp_path, flag, f"--window-size={width},900")
    assert "CONSOLE" not in log
    assert verdict["troubles"] == []
    assert verdict["fetched"] == []
    assert len(verdict["pictures"]) >= 40
    for picture in verdict["pictures"]:
        sides = sorted((picture["width"], picture["height"]))
        assert sides[0] > 8, picture  # a scale of colours is narrow
        assert sides[1] > 40, picture
        assert picture["drawn"] > 0, picture
        assert picture["loaded"], picture
        assert not picture["hidden"], picture
    colours = palette.DARK if scheme == "dark" else palette.LIGHT
    red, green, blue = (int(colours["paper"][k : k + 2], 16) for k in (1, 3, 5))
    assert verdict["paper"] == f"rgb({red}, {green}, {blue})"
    # Wide tables and figures scroll in themselves; the page as a whole does not.
    assert verdict["overflow"] <= 0


def test_the_browser_test_would_notice_an_error_and_a_lost_picture(page_of_run, tmp_path):
    """The check of the check: a page broken on purpose is seen to be so."""
    broken = page_of_run("label").replace(
        "</main>", '<img src="gone.png" width="50" height="50"><script>lost()</script></main>'
    )
    verdict, log = browse(broken, tmp_path)
    assert any("lost" in text for text in verdict["troubles"])
    assert "CONSOLE" in log
    assert not all(picture["loaded"] for picture in verdict["pictures"])


PHONE = """<pre id="verdict"></pre><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  page.querySelectorAll("details").forEach((one) => { one.open = true; });
  const loose = [...page.querySelectorAll("table, svg, pre")].filter((one) => {
    const right = one.getBoundingClientRect().right;
    return right > root.clientWidth + 1 && !one.closest(".scroll, pre");
  });
  document.getElementById("verdict").textContent = JSON.stringify({
    wide: root.clientWidth, overflow: root.scrollWidth - root.clientWidth,
    loose: loose.map((one) => one.textContent.trim().slice(0, 40)),
    tables: page.querySelectorAll("table").length,
  });
});
</script>"""


def test_nothing_sticks_out_of_the_page_on_a_phone(page_of_run, tmp_path):
    """390 pixels wide, in a frame, as a window of a browser cannot be as narrow."""
    frame = "width: 390px; height: 800px; border: 0"
    page = f'<iframe style="{frame}" srcdoc="{escape(page_of_run("demo"))}"></iframe>'
    content = f"<!DOCTYPE html><html><head></head><body>{page}</body></html>"
    verdict, _ = browse(content, tmp_path, look=PHONE)
    assert verdict["wide"] >= 370
    assert verdict["tables"] >= 10
    assert verdict["overflow"] <= 0
    assert verdict["loose"] == []
