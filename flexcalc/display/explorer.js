// Every .explorer of the page: errors of frames as points on a canvas. The one pointed at, clicked
// or reached with the arrow keys is shown by the viewer in the same box. No library.
"use strict";
document.querySelectorAll(".explorer").forEach((box) => {
  const data = JSON.parse(box.querySelector(":scope > script").textContent);
  const canvas = box.querySelector(".scatter canvas"), pen = canvas.getContext("2d");
  const told = box.querySelector(".told"), slider = box.querySelector(".viewer input");
  const choice = Object.fromEntries(["model", "error", "axis"].map((name) =>
    [name, box.querySelector(`select[name=${name}]`)]));
  const rows = box.querySelectorAll(":scope > .scroll tbody tr");
  const edge = { left: 58, right: 14, top: 14, bottom: 48 }, reach = 18;
  let kept = +slider.value, over = -1, places = [];

  const axis = () => data.x[choice.axis.value];
  const named = () => data.y[choice.error.value];
  const errors = () => named().models[choice.model.value];
  const shown = () => over < 0 ? kept : over;
  const fine = (value) => value === null ? "–" : value.toPrecision(3).replace("-", "−");
  const unitOf = () => choice.error.value === "force" ? "kcal/mol/Å" : "kcal/mol";

  // Round steps so that an axis has some five numbers.
  function ticks(low, high) {
    const rough = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
    if (axis().unit === "°" && high - low > 200) step = 90;
    const found = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(n * step);
    return found.map((one) => +one.toPrecision(12));
  }

  function limits(values, zero) {
    const seen = values.filter((one) => one !== null);
    if (!seen.length) return [0, 1];
    let [low, high] = [Math.min(...seen), Math.max(...seen)];
    if (zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
    const room = 0.04 * (high - low || 1);
    return [zero && low === 0 ? 0 : low - room, high + room];
  }

  function draw() {
    const wide = canvas.clientWidth, high = canvas.clientHeight, dots = devicePixelRatio || 1;
    if (canvas.width !== Math.round(wide * dots) || canvas.height !== Math.round(high * dots)) {
      canvas.width = Math.round(wide * dots);
      canvas.height = Math.round(high * dots);
    }
    pen.setTransform(dots, 0, 0, dots, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const style = getComputedStyle(box), colour = (name) => style.getPropertyValue(name).trim();
    const [x, y] = [axis().values, errors()];
    const [xs, ys] = [limits(x, false), limits(y, true)];
    const right = (value) => edge.left + (value - xs[0]) / (xs[1] - xs[0]) * (wide - edge.left - edge.right);
    const up = (value) => high - edge.bottom - (value - ys[0]) / (ys[1] - ys[0]) * (high - edge.top - edge.bottom);
    frameOf(wide, high, right, up, xs, ys, colour, style.fontFamily);
    places = x.map((value, k) => value === null || y[k] === null ? null : [right(value), up(y[k])]);
    places.forEach((place, k) => place && dot(place, colour(data.kinds[data.kind[k]]), 3.4, 0.62));
    const marked = places[shown()];
    if (marked) {
      dot(marked, colour(data.kinds[data.kind[shown()]]), 5.5, 1);
      pen.strokeStyle = colour("--ink");
      pen.lineWidth = 1.8;
      pen.beginPath(); pen.arc(...marked, 8.5, 0, 2 * Math.PI); pen.stroke();
    }
    tell();
  }

  function dot([x, y], colour, radius, opacity) {
    pen.globalAlpha = opacity;
    pen.fillStyle = colour;
    pen.beginPath(); pen.arc(x, y, radius, 0, 2 * Math.PI); pen.fill();
    pen.globalAlpha = 1;
  }

  function frameOf(wide, high, right, up, xs, ys, colour, font) {
    const line = (points, name, width, dash = []) => {
      pen.strokeStyle = colour(name); pen.lineWidth = width; pen.setLineDash(dash);
      pen.beginPath(); pen.moveTo(...points[0]); pen.lineTo(...points[1]); pen.stroke();
      pen.setLineDash([]);
    };
    const across = (value, ...how) => line([[edge.left, up(value)], [wide - edge.right, up(value)]], ...how);
    pen.font = `12px ${font}`;
    pen.fillStyle = colour("--muted");
    const text = (one) => String(one).replace("-", "−");
    pen.textAlign = "right"; pen.textBaseline = "middle";
    ticks(...ys).forEach((one) => { across(one, "--grid", 1); pen.fillText(text(one), edge.left - 8, up(one)); });
    pen.textAlign = "center"; pen.textBaseline = "top";
    ticks(...xs).forEach((one) => pen.fillText(text(one), right(one), high - edge.bottom + 8));
    // Chemical accuracy on both sides of an energy's zero, above that of a force.
    [1, ...(choice.error.value === "energy" ? [-1] : [])].forEach((one) => {
      if (one > ys[0] && one < ys[1]) across(one, "--muted", 1, [3, 3]);
    });
    if (ys[0] < 0) across(0, "--muted", 1);
    line([[edge.left, high - edge.bottom], [wide - edge.right, high - edge.bottom]], "--muted", 1);
    line([[edge.left, edge.top], [edge.left, high - edge.bottom]], "--muted", 1);
    const unit = axis().unit ? ` / ${axis().unit}` : "";
    pen.fillText(axis().label + unit, (edge.left + wide - edge.right) / 2, high - 18);
    pen.save();
    pen.translate(6, (edge.top + high - edge.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText(named().label, 0, 0);
    pen.restore();
  }

  // The frame's numbers in words, for the eye and for a screen reader, and all models on it.
  function tell() {
    const k = shown(), unit = (one) => one === "°" ? one : one ? ` ${one}` : "";
    const where = data.x.map((one) => `${one.label} = ${fine(one.values[k])}${unit(one.unit)}`);
    ["force", "energy"].forEach((name, row) => data.y[name].models.forEach((values, n) => {
      const cell = rows[row].cells[n + 1];
      cell.textContent = fine(values[k]);
      cell.className = n === +choice.model.value ? "chosen" : "";
    }));
    const model = choice.model.selectedOptions[0].textContent;
    const what = choice.error.value === "force" ? "force RMSE" : "energy error";
    const words = `${model}: ${what} ${fine(errors()[k])} ${unitOf()}. ${where.join(", ")}.`;
    if (told.textContent !== words) told.textContent = words;
  }

  function show(frame) {
    if (+slider.value !== frame) {
      slider.value = frame;
      slider.dispatchEvent(new Event("input"));
    }
    draw();
  }

  function nearest(event) {
    const seen = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - seen.left, event.clientY - seen.top];
    let found = -1, least = reach;
    places.forEach((place, k) => {
      const away = place ? Math.hypot(place[0] - x, place[1] - y) : Infinity;
      if (away < least) [found, least] = [k, away];
    });
    return found;
  }

  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const found = nearest(event);
    if (found === over) return;
    over = found;
    canvas.style.cursor = over < 0 ? "crosshair" : "pointer";
    show(shown());
  });
  canvas.addEventListener("pointerleave", () => { over = -1; show(kept); });
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    if (found >= 0) { kept = found; show(kept); }
  });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
    if (!(event.key in way)) return;
    event.preventDefault();
    // Left and right along the axis, up and down by the error.
    const along = event.key === "ArrowUp" || event.key === "ArrowDown" ? errors() : axis().values;
    const order = places.map((_, k) => k).filter((k) => places[k]).sort((a, b) => along[a] - along[b]);
    if (!order.length) return;
    const next = Math.max(0, order.indexOf(kept)) + way[event.key];
    over = -1;
    kept = order[Math.min(order.length - 1, Math.max(0, next))];
    show(kept);
  });
  slider.addEventListener("input", () => { if (over < 0) kept = +slider.value; draw(); });
  box.addEventListener("frame", (event) => { if (over < 0) kept = event.detail; draw(); });
  Object.values(choice).forEach((one) => one.addEventListener("change", draw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
  // The worst frame of the first model is where a reader looks first.
  kept = errors().reduce((worst, one, k) => (one ?? -1) > (errors()[worst] ?? -1) ? k : worst, 0);
  show(kept);
});
