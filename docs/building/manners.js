// What `manners.py` asks of a page. Each function returns a list of texts, empty where all is well.
"use strict";
var manners = (() => {
  const name = (one) => {
    const words = (one.getAttribute("aria-label") || one.textContent || "").trim().replace(/\s+/g, " ");
    const kind = typeof one.className === "string" && one.className ? "." + one.className.split(" ")[0] : "";
    return `${one.tagName.toLowerCase()}${kind} "${words.slice(0, 40)}"`;
  };
  const seen = (one) => one.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const scrolls = (one) => {
    for (let above = one.parentElement; above; above = above.parentElement) {
      const flow = getComputedStyle(above).overflowX;
      if ((flow === "auto" || flow === "scroll") && above !== document.body) return true;
    }
    return false;
  };
  // Text that only screen readers get is cut to a point on purpose.
  const tiny = (one) => one.clientWidth <= 2 || one.clientHeight <= 2;

  function unfold() {
    document.querySelectorAll("details").forEach((one) => { one.open = true; });
    document.querySelectorAll("video, audio").forEach((one) => one.pause());
  }

  function cut() {
    const root = document.documentElement, faults = [];
    if (root.scrollWidth > root.clientWidth)
      faults.push(`the page is ${root.scrollWidth - root.clientWidth} px wider than the window`);
    document.querySelectorAll("body *").forEach((one) => {
      if (!seen(one) || one.closest("svg svg, svg *, math *")) return;
      const box = one.getBoundingClientRect();
      // What hides to the left of the window, such as a drawer, is closed.
      if (box.width && box.left >= 0 && box.left < root.clientWidth && box.right > root.clientWidth + 1 && !scrolls(one))
        faults.push(`${name(one)} reaches beyond the window`);
      const style = getComputedStyle(one), flow = style.overflowX;
      const shortened = style.textOverflow === "ellipsis";
      if ((flow === "hidden" || flow === "clip") && !tiny(one) && one.scrollWidth > one.clientWidth + 1
          && box.left >= 0 && !shortened && one !== document.body && one.tagName !== "svg")
        faults.push(`${name(one)} is cut`);
    });
    return [...new Set(faults)];
  }

  // Controls that the keyboard must reach; of radio buttons one of a group.
  function controls() {
    const kinds = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
    return [...document.querySelectorAll(kinds)].filter((one) =>
      seen(one) && !one.disabled && one.tabIndex >= 0 && !one.closest("[inert]"));
  }

  const look = (one) => {
    const style = getComputedStyle(one);
    const outline = style.outlineStyle === "none" || parseFloat(style.outlineWidth) === 0 ? "none"
      : [style.outlineStyle, style.outlineWidth, style.outlineColor].join(" ");
    return [outline, style.boxShadow, style.backgroundColor, style.borderColor, style.color, style.textDecoration].join("|");
  };
  const looks = (one) => {
    const label = one.id && document.querySelector(`label[for="${CSS.escape(one.id)}"]`);
    return [one, one.parentElement, label].filter(Boolean).map(look).join(" ");
  };

  let reached, plain;
  function beginKeyboard() {
    reached = new Set();
    document.activeElement.blur();
    document.documentElement.style.setProperty("scroll-behavior", "auto");
    document.querySelectorAll("*").forEach((one) => { one.style.transition = "none"; });
    plain = new Map(controls().map((one) => [one, looks(one)]));
  }

  // After the Tab key was pressed: what is wrong with the control that has the focus, or null at the end.
  function focused() {
    const one = document.activeElement;
    if (one === document.body || reached.has(one)) return null;
    reached.add(one);
    return plain.has(one) && looks(one) === plain.get(one) ? [`the focus cannot be seen on ${name(one)}`] : [];
  }

  const missed = () => [...plain.keys()].filter((one) => !reached.has(one) && seen(one)
    && !(one.type === "radio" && document.querySelectorAll(`[name="${one.name}"]`).length > 1))
    .map((one) => `the keyboard does not reach ${name(one)}`);

  // On paper: light, nothing folded, nothing that scrolls, all within the page.
  function paper() {
    const faults = [], root = document.documentElement;
    for (const one of [root, document.body]) {
      const [red, green, blue, opacity = 1] = getComputedStyle(one).backgroundColor.match(/[\d.]+/g).map(Number);
      if (opacity > 0 && Math.min(red, green, blue) < 200) faults.push(`${name(one).split(" ")[0]} is dark`);
    }
    document.querySelectorAll("details").forEach((one) => {
      const inner = one.querySelector(":scope > :not(summary)");
      // What can only be turned or copied has no use on paper.
      if (inner && !one.querySelector("canvas, textarea") && !inner.checkVisibility({ contentVisibilityAuto: true })) faults.push(`${name(one)} is folded`);
    });
    document.querySelectorAll("body *").forEach((one) => {
      if (!seen(one) || one.closest("svg *, math *")) return;
      const flow = getComputedStyle(one).overflowX;
      if (flow !== "visible" && !tiny(one) && one.scrollWidth > one.clientWidth + 1 && one.tagName !== "svg"
          && !["INPUT", "TEXTAREA"].includes(one.tagName))
        faults.push(`${name(one)} is cut`);
    });
    return faults;
  }

  // Without preload: it would ask for the style sheets again, which no page may do on disk.
  async function axe_() {
    const found = await axe.run(document, { resultTypes: ["violations"], iframes: false, preload: false });
    return found.violations.filter((one) => ["serious", "critical"].includes(one.impact)).map((one) =>
      `${one.id} (${one.impact}, ${one.nodes.length} times): ${one.help}, such as ${one.nodes[0].html.slice(0, 120)}: `
      + one.nodes[0].failureSummary.split("\n").slice(1).join(" ").trim().slice(0, 200));
  }

  return { unfold, cut, beginKeyboard, focused, missed, paper, axe: axe_ };
})();
