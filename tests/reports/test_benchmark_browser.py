"""The benchmark's page in a real browser: pointing at an error shows the geometry behind it."""

import json
import re

import pytest

from flexcalc.display import palette
from tests.reports.test_report_browser import BROWSER, browse

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

PLAY = """<pre id="verdict"></pre><script>
addEventListener("load", () => {
  const box = document.querySelector(".explorer"), canvas = box.querySelector(".scatter canvas");
  const seen = () => ({
    frame: +box.querySelector(".viewer input").value,
    label: box.querySelector(".viewer output").textContent,
    told: box.querySelector(".told").textContent,
    picture: box.querySelector(".viewer canvas").toDataURL().length > 2000
      ? box.querySelector(".viewer canvas").toDataURL() : "",
    cells: [...box.querySelectorAll("tbody td")].map((one) => one.textContent),
  });
  const at = (kind, x, y) => {
    const place = canvas.getBoundingClientRect();
    const how = { clientX: place.left + x, clientY: place.top + y, bubbles: true };
    const Kind = kind === "click" ? MouseEvent : PointerEvent;
    canvas.dispatchEvent(new Kind(kind, how));
  };
  const press = (key) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const choose = (name, value) => {
    const one = box.querySelector(`select[name=${name}]`);
    one.value = value;
    one.dispatchEvent(new Event("change"));
  };
  const steps = { start: seen() };
  const meet = (kind, from) => {
    for (let x = from; x < canvas.clientWidth; x += 6)
      for (let y = canvas.clientHeight - 60; y > 10; y -= 6) {
        at(kind, x, y);
        if (seen().frame !== steps.start.frame) return;
      }
  };
  meet("pointermove", 80);
  steps.pointed = seen();
  canvas.dispatchEvent(new PointerEvent("pointerleave"));
  steps.left = seen();
  meet("click", 80);
  steps.clicked = seen();
  press("ArrowRight");
  steps.right = seen();
  press("End");
  steps.end = seen();
  choose("model", 3); choose("error", "energy"); choose("axis", 2);
  press("Home");
  steps.home = seen();
  const copy = document.querySelector(".copy");
  steps.copied = copy.querySelector("textarea").value.split("\\n").length;
  const root = document.documentElement;
  document.getElementById("verdict").textContent = JSON.stringify({
    troubles, steps, overflow: root.scrollWidth - root.clientWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    fetched: performance.getEntriesByType("resource").map((one) => one.name),
  });
});
</script>"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 500)])
def test_pointing_clicking_and_keys_show_the_geometry_behind_an_error(
    scheme, width, page_of_run, tmp_path
):
    content = page_of_run("benchmark")
    flag = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    verdict, log = browse(content, tmp_path, flag, f"--window-size={width},900", look=PLAY)
    assert "CONSOLE" not in log
    assert verdict["troubles"] == []
    assert verdict["fetched"] == []
    assert verdict["overflow"] <= 0
    colours = palette.DARK if scheme == "dark" else palette.LIGHT
    red, green, blue = (int(colours["paper"][k : k + 2], 16) for k in (1, 3, 5))
    assert verdict["paper"] == f"rgb({red}, {green}, {blue})"
    steps, data = verdict["steps"], errors_in(content)
    force, turns = data["y"]["force"]["models"][0], data["x"][0]["values"]
    worst = max(range(len(force)), key=force.__getitem__)
    assert steps["start"]["frame"] == steps["left"]["frame"] == worst
    for name in ("pointed", "clicked", "right", "end"):
        step = steps[name]
        assert step["label"].startswith(f"frame {step['frame']}, ")
        assert f"force RMSE {force[step['frame']]:.3g}"[:14] in step["told"]
        numbers = [round(float(cell.replace("−", "-")), 6) for cell in step["cells"]]
        rows = [data["y"][what]["models"] for what in ("force", "energy")]
        expected = [float(f"{one[step['frame']]:.3g}") for models in rows for one in models]
        assert numbers == pytest.approx(expected, rel=6e-3)
    assert steps["pointed"]["frame"] == steps["clicked"]["frame"] != worst
    assert steps["pointed"]["picture"] != steps["start"]["picture"] == steps["left"]["picture"]
    assert steps["clicked"]["picture"] == steps["pointed"]["picture"] != ""
    order = sorted(range(len(turns)), key=turns.__getitem__)
    assert steps["right"]["frame"] == order[order.index(steps["clicked"]["frame"]) + 1]
    assert steps["end"]["frame"] == order[-1]
    energies = data["x"][2]["values"]
    assert steps["home"]["frame"] == min(range(len(energies)), key=energies.__getitem__)
    assert steps["home"]["told"].startswith("mixture: energy error ")
    assert steps["copied"] > 5


def errors_in(content):
    """The data of the plot as they stand in the page."""
    found = re.findall(r'<script type="application/json">([^<]*)</script></figure>', content)
    return next(one for text in found if "kinds" in (one := json.loads(text)))
