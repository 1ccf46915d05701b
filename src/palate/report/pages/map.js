// The near-miss map: every pair a dot on a canvas, zones and axes as a drawing above it.
// Across: how plausible the rejected answer is.  Up: how far apart the two are.  The zones at the
// edges are drawn wider than they are, which the ticks tell, so that their dots can be told apart.

const WIDE = 0.17, LOW = 0.13, HIGH = 0.8;

/** Where a plausibility lies across, 0 to 1: the cartoon zone gets a share of its own. */
function across(value, cartoon) {
  return value < cartoon ? (WIDE * value) / cartoon : WIDE + ((1 - WIDE) * (value - cartoon)) / (1 - cartoon);
}

/** How far up a distance lies, 0 to 1: hairline and strangers get more than their tenth. */
function upward(value, hairline, strangers) {
  if (value < hairline) return (LOW * value) / hairline;
  if (value > strangers) return HIGH + ((1 - HIGH) * (value - strangers)) / (1 - strangers);
  return LOW + ((HIGH - LOW) * (value - hairline)) / (strangers - hairline);
}

/** A value kept within two limits as a ball is by two walls, so that dots at an edge do not pile up. */
function bounce(low, value, high) {
  const [from, to] = [low + 3, high - 3];
  const back = value < from ? 2 * from - value : value > to ? 2 * to - value : value;
  return Math.min(to, Math.max(from, back));
}

/**
 * The map of `dots` ({x, y, zone, named}, values 0..1).  `zones`: [{name, count}]; `limits`: cartoon,
 * hairline, strangers.  `on.pick(index)`, `on.look(index | null, x, y)`.  `show({at, kept})` redraws.
 */
function nearMissMap({ dots, zones, limits, on }) {
  const [cartoon, hairline, strangers] = limits;
  const canvas = make("canvas", { tabindex: -1, role: "img", "aria-label": "every pair as a dot; the list below names them" });
  const drawing = make("svg:svg", { "aria-hidden": "true" });
  const box = make("div", { class: "plot", id: "plot" }, canvas, drawing);
  const view = { at: null, over: null, kept: null, spots: [], width: 0, height: 0 };
  const area = () => ({ left: 40, right: view.width - 6, top: 8, bottom: view.height - 46 });

  function layout() {
    const { left, right, top, bottom } = area();
    const px = (x) => left + (right - left) * across(x, cartoon), py = (y) => bottom - (bottom - top) * upward(y, hairline, strangers);
    view.px = px;
    view.py = py;
    const crowd = new Map(), edge = px(cartoon);
    view.spots = dots.map((dot) => {  // dots of one place lie in a spiral around it, but never out of their zone
      const place = `${Math.round(px(dot.x) / 6)} ${Math.round(py(dot.y) / 6)}`, n = crowd.get(place) ?? 0;
      crowd.set(place, n + 1);
      const far = (dot.zone === "cartoon" ? 8 : 3.2) * Math.sqrt(n), turn = 2.399963 * n;  // the golden angle
      const x = px(dot.x) + far * Math.cos(turn), y = py(dot.y) + far * Math.sin(turn);
      if (dot.zone === "cartoon") return [bounce(left, x, edge), bounce(top, y, bottom)];
      const [high, low] = { strangers: [top, py(strangers)], hairline: [py(hairline), bottom] }[dot.zone] ?? [py(strangers), py(hairline)];
      return [bounce(edge, x, right), bounce(high, y, low)];
    });
  }

  function paint() {
    const style = getComputedStyle(box), colour = (name) => style.getPropertyValue(name).trim();
    const scale = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = Math.round(view.width * scale);
    canvas.height = Math.round(view.height * scale);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, view.width, view.height);
    const { left, right, top, bottom } = area();
    pen.fillStyle = colour("--quiet");
    const from = view.px(cartoon);
    pen.fillRect(left, top, from - left, bottom - top);
    pen.fillRect(from, top, right - from, view.py(strangers) - top);
    pen.fillRect(from, view.py(hairline), right - from, bottom - view.py(hairline));
    const size = (dots.length > 4000 ? 2 : dots.length > 800 ? 3 : dots.length > 150 ? 4 : 5) * (view.width < 480 ? 0.75 : 1);
    for (const named of [false, true]) {
      pen.fillStyle = colour(named ? "--ink" : "--none");
      dots.forEach((dot, i) => {
        if (dot.named !== named) return;
        pen.globalAlpha = view.kept && !view.kept.has(i) ? 0.07 : named ? 0.8 : 0.6;
        pen.beginPath();
        pen.arc(view.spots[i][0], view.spots[i][1], size, 0, 2 * Math.PI);
        pen.fill();
      });
    }
    pen.globalAlpha = 1;
    ring(pen, view.over, size + 3, 1.5, colour);
    ring(pen, view.at, size + 5, 2.5, colour);
  }

  function ring(pen, index, radius, width, colour) {
    if (index === null) return;
    const [x, y] = view.spots[index];
    for (const [name, wide] of [["--paper", width + 3], ["--ink", width]]) {
      pen.strokeStyle = colour(name);
      pen.lineWidth = wide;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  function legend() {
    const { left, right, top, bottom } = area(), { px, py } = view;
    const text = (x, y, anchor, says, kind = "") => make("svg:text", { x, y, "text-anchor": anchor, class: kind }, says);
    const line = (x1, y1, x2, y2, kind) => make("svg:line", { x1, y1, x2, y2, class: kind });
    const tick = (x) => text(px(x), bottom + 14, x === 0 ? "start" : x === 1 ? "end" : "middle", `${Math.round(100 * x)}%`, "tick");
    const counts = Object.fromEntries(zones.map((zone) => [zone.name, zone.count.toLocaleString("en")]));
    const middle = (px(cartoon) + right) / 2;
    drawing.setAttribute("viewBox", `0 0 ${view.width} ${view.height}`);
    drawing.replaceChildren(
      make("svg:rect", { x: left, y: top, width: right - left, height: bottom - top, class: "frame" }),
      line(px(cartoon), py(strangers), right, py(strangers), "edge"), line(px(cartoon), py(hairline), right, py(hairline), "edge"),
      line(px(cartoon), top, px(cartoon), bottom, "edge"),
      ...[0, cartoon, 0.25, 0.5, 0.75, 1].map(tick),
      ...[0, hairline, 0.5, strangers, 1].map((y) => text(left - 5, py(y) + 4, "end", `${Math.round(100 * y)}%`, "tick")),
      text(middle, (top + py(strangers)) / 2 + 4, "middle", `strangers ${counts.strangers}`, "zone"),
      text(middle, (bottom + py(hairline)) / 2 + 4, "middle", `hairline ${counts.hairline}`, "zone"),
      text(middle, py(hairline) - 12, "middle", `near miss ${counts["near miss"]}`, "zone"),
      text((left + px(cartoon)) / 2, py(hairline) - 28, "middle", "cartoon", "zone"),
      text((left + px(cartoon)) / 2, py(hairline) - 12, "middle", counts.cartoon, "zone"),
      text(right, bottom + 34, "end", "how plausible the rejected answer is →"), make("svg:text", { transform: `translate(9 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "share of words that differ →"));
  }

  function nearest(event) {
    const frame = canvas.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
    let found = null, best = 16 * 16;
    view.spots.forEach(([a, b], i) => {
      const far = (a - x) ** 2 + (b - y) ** 2;
      if (far < best && (!view.kept || view.kept.has(i))) [found, best] = [i, far];
    });
    return found;
  }

  function look(index) {
    if (index === view.over) return;
    view.over = index;
    requestAnimationFrame(paint);
    const frame = canvas.getBoundingClientRect(), spot = index === null ? [0, 0] : view.spots[index];
    on.look(index, frame.left + spot[0], frame.top + spot[1]);
  }

  function fit() {
    view.width = Math.max(260, box.clientWidth);
    view.height = Math.round(Math.min(540, Math.max(340, view.width * 0.72)));
    box.style.setProperty("height", `${view.height}px`);
    layout();
    paint();
    legend();
  }

  canvas.addEventListener("mousemove", (event) => look(nearest(event)));
  canvas.addEventListener("mouseleave", () => look(null));
  canvas.addEventListener("click", (event) => {
    const found = nearest(event);
    if (found !== null) on.pick(found);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  matchMedia("print").addEventListener("change", paint);
  window.addEventListener("resize", fit);
  return {
    box, fit, spot: (index) => view.spots[index],
    show: ({ at = view.at, kept = view.kept }) => { Object.assign(view, { at, kept }); paint(); },
  };
}
