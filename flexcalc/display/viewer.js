// Turns every .viewer of the page: a molecule in balls and sticks, dragged with the pointer or
// the arrow keys, and a slider over its frames. No library; the data stand in the page.
"use strict";
document.querySelectorAll(".viewer").forEach((box) => {
  const data = JSON.parse(box.querySelector("script").textContent);
  const canvas = box.querySelector("canvas"), pen = canvas.getContext("2d");
  const slider = box.querySelector("input"), label = box.querySelector("output");
  const button = box.querySelector("button");
  let turn = [1, 0, 0, 0, 1, 0, 0, 0, 1], zoom = 1, playing = 0;

  const times = (a, b) => [0, 3, 6].flatMap((r) =>
    [0, 1, 2].map((c) => a[r] * b[c] + a[r + 1] * b[c + 3] + a[r + 2] * b[c + 6]));
  const rotate = (right, down) => {
    const [c, s, d, t] = [Math.cos(right), Math.sin(right), Math.cos(down), Math.sin(down)];
    turn = times([1, 0, 0, 0, d, -t, 0, t, d], times([c, 0, s, 0, 1, 0, -s, 0, c], turn));
  };

  // Mixes two colours #rrggbb; share 0 is the first.
  const mixed = (one, other, share) => "#" + [1, 3, 5].map((at) => {
    const [a, b] = [one, other].map((colour) => parseInt(colour.slice(at, at + 2), 16));
    return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
  }).join("");

  function draw() {
    const wide = canvas.clientWidth, high = canvas.clientHeight, dots = devicePixelRatio || 1;
    if (canvas.width !== Math.round(wide * dots)) {
      canvas.width = Math.round(wide * dots);
      canvas.height = Math.round(high * dots);
    }
    pen.setTransform(dots, 0, 0, dots, wide * dots / 2, high * dots / 2);
    pen.clearRect(-wide, -high, 2 * wide, 2 * high);
    const paper = getComputedStyle(box).getPropertyValue("--card").trim();
    const scale = zoom * Math.min(0.46 * wide, 0.6 * high) / data.reach;
    const frame = data.frames[slider.value];
    const seen = frame.map(([x, y, z]) => {
      const at = [0, 3, 6].map((r) => turn[r] * x + turn[r + 1] * y + turn[r + 2] * z);
      const near = 1 / (1 - at[2] / (6 * data.reach));
      return { x: at[0] * scale * near, y: -at[1] * scale * near, z: at[2], near };
    });
    const depths = seen.map((one) => one.z), front = Math.max(...depths);
    const span = Math.max(front - Math.min(...depths), 2);
    const haze = (z) => 0.45 * (front - z) / span;
    const pieces = data.bonds[slider.value].map(([i, j]) => {
      const z = (seen[i].z + seen[j].z) / 2;
      return { z, draw: () => stick(i, j, haze(z)) };
    });
    seen.forEach((one, i) => pieces.push({ z: one.z, draw: () => ball(i, haze(one.z)) }));
    pieces.sort((a, b) => a.z - b.z).forEach((piece) => piece.draw());
    label.textContent = data.labels[slider.value];

    function stick(i, j, far) {
      // From ball to ball, or a stick towards the reader would cross the ball it comes from.
      const near = (seen[i].near + seen[j].near) / 2;
      const length = Math.hypot(...frame[i].map((one, k) => one - frame[j][k])) || 1;
      const cut = (from, to) => {
        const share = 0.8 * data.elements[data.atoms[from]][0] / length;
        return ["x", "y"].map((k) => seen[from][k] + share * (seen[to][k] - seen[from][k]));
      };
      const [a, b] = [cut(i, j), cut(j, i)];
      [["#6d757d", 0.17], ["#a9b0b6", 0.1], ["#ced3d7", 0.035]].forEach(([colour, width]) => {
        pen.strokeStyle = mixed(colour, paper, far);
        pen.lineWidth = width * scale * near;
        pen.lineCap = "round";
        pen.beginPath(); pen.moveTo(...a); pen.lineTo(...b); pen.stroke();
      });
    }
    function ball(i, far) {
      const { x, y, near } = seen[i], [radius, ...shades] = data.elements[data.atoms[i]];
      const r = radius * scale * near;
      const light = pen.createRadialGradient(x - 0.32 * r, y - 0.42 * r, 0, x, y, 1.1 * r);
      [0, 0.3, 0.65, 1].forEach((at, k) => light.addColorStop(at, mixed(shades[k], paper, far)));
      pen.fillStyle = light;
      pen.strokeStyle = mixed(shades[4], paper, far);
      pen.lineWidth = 0.7;
      pen.beginPath(); pen.arc(x, y, r, 0, 2 * Math.PI); pen.fill(); pen.stroke();
    }
  }

  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    rotate(event.movementX * 0.01, event.movementY * 0.01);
    draw();
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    zoom = Math.min(4, Math.max(0.5, zoom * Math.exp(-event.deltaY * 0.001)));
    draw();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (!way[event.key]) return;
    event.preventDefault();
    rotate(...way[event.key].map((one) => 0.12 * one));
    draw();
  });
  slider.addEventListener("input", draw);
  button.addEventListener("click", () => {
    const last = data.frames.length - 1;
    button.setAttribute("aria-pressed", String(!playing));
    if (playing) { clearInterval(playing); playing = 0; return; }
    let step = 1;
    playing = setInterval(() => {
      if (+slider.value + step > last || +slider.value + step < 0) step = -step;
      slider.value = +slider.value + step;
      draw();
      box.dispatchEvent(new CustomEvent("frame", { bubbles: true, detail: +slider.value }));
    }, Math.max(60, 2400 / data.frames.length));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  new ResizeObserver(draw).observe(canvas);
  draw();
});
