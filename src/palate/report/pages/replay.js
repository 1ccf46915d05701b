// Over time: one row at a dozen checkpoints.  SFT's flat push, the objective's fading one, the curve.

/** Build the section if the data holds a replay: a choice of rows, three panels, a slider. */
function buildReplay(data) {
  const stories = data.replay ?? [];
  if (!stories.length) return;
  const section = byId("replay"), stage = make("div", { class: "stage" });
  const choice = make("div", { class: "choices" });
  const pick = (story) => {
    for (const button of choice.children) button.setAttribute("aria-pressed", String(button.dataset.number === String(story.number)));
    stage.replaceChildren(...staged(story, data));
  };
  for (const story of stories) {
    const button = make("button", { type: "button", "data-number": story.number }, `pair ${story.number}`);
    button.addEventListener("click", () => pick(story));
    choice.append(button);
  }
  section.append(make("header", { class: "title" }, make("h2", {}, "The same pair while it is learnt"), stories.length > 1 ? choice : ""), stage);
  section.hidden = false;
  pick(stories[0]);
}

/** The panels of one row, and the slider that turns its frames. */
function staged(story, data) {
  const tokens = story.sides.map((side) => unpacked(side, data.texts, data.wide));
  const imitation = tokens[0].map((token) => ({ ...token, kind: "a", instead: [], net: null }));
  for (const token of tokens.flat()) Object.assign(token, { instead: [], net: null });
  const name = data.objective.toUpperCase(), [first] = story.frames;
  const panels = [
    panel("SFT imitates", "Every token of the target, at every step, with the same weight.", [[imitation, story.imitated, 0, "chosen"]]),
    panel(`${name} compares`, "What both sides share cancels; the rest fades as the pair is learnt.",
      tokens.map((side, place) => [side, story.frames, place, story.names[place]])),
    slope(story, data),
  ];
  const says = make("p", { class: "words", role: "status" });
  const turnTo = (at) => {
    const { step, margin, weights } = story.frames[at], flat = story.imitated[at].weights[0];
    Object.assign(byId("replay").dataset, { step, frame: at });
    says.replaceChildren(...sentence(`Step ${step}: the {margin} is ${show(margin, true)}, so ${name} pushes each side with {weight} ${show(Math.abs(weights[0]))}`
      + (at ? `, ${percent(Math.abs(weights[0] / (first.weights[0] || 1)))} of what it began with` : "") + `. {SFT} ${at ? "still pushes" : "pushes"} each token with ${show(flat)}.`));
    for (const { update } of panels) update(at);
  };
  const controls = slider(story.frames, turnTo);
  turnTo(0);
  return [make("p", { class: "prompt" }, story.prompt.length > 400 ? `… ${story.prompt.slice(-400)}` : story.prompt), says, controls,
    make("div", { class: "panels" }, ...panels.map(({ node }) => node))];
}

/** A panel of sides whose tokens are heated anew per frame; full colour is its own largest push. */
function panel(title, note, parts) {
  const every = parts.flatMap(([, frames, place]) => frames.flatMap((frame) => figures(frame.pushes[place])));
  const full = Math.max(...every, 0), node = make("section", { class: "side" }, make("h3", {}, title), make("p", { class: "note" }, note));
  const boxes = parts.map(([tokens, frames, place, name]) => {
    const way = direction(frames[0].weights[place]), weight = make("span", { class: "mono" });
    const box = heated(tokens, { way, ratio: 1, scale: () => 0 });
    node.append(make("p", { class: "caption" }, make("span", { class: way }, `${way === "down" ? "▼" : "▲"} ${name}`), " weight ", weight), box);
    return { tokens, frames, place, box, weight, way };
  });
  node.append(make("p", { class: "note" }, `Full colour: a push of ${show(full)}.`));
  const update = (at) => boxes.forEach(({ tokens, frames, place, box, weight, way }) => {
    const pushes = figures(frames[at].pushes[place]), logps = figures(frames[at].logps[place] ?? "");
    weight.textContent = show(frames[at].weights[place], true);
    tokens.forEach((token, i) => {
      const logp = logps[i] ?? token.logp, ratio = token.ref === null ? null : logp - token.ref;
      Object.assign(token, { push: pushes[i] ?? 0, logp, ratio });
      heat(box.children[i], way, token.kind === "s" || !full ? 0 : token.push / full);
    });
  });
  return { node, update };
}

/** The curve, the whole way the pair goes on it, and its dot. */
function slope(story, data) {
  const own = data.own === null ? { x: [], y: [] } : data.switched[data.own];
  const trail = story.frames.filter((frame) => frame.margin !== null).map((frame) => [frame.margin, frame.weights[0]]);
  const [x, y] = trail[0] ?? [0, 0];
  const drawing = curve({ x: own.x, y: own.y, trail, height: 240, dots: [{ x, y, label: `step ${story.frames[0].step}`, way: "up" }] });
  const node = make("section", { class: "side" }, make("h3", {}, "The pair slides down the curve"),
    make("p", { class: "note" }, "Up: the weight. Across: the margin, how far the model has come to prefer chosen."), drawing);
  const update = (at) => {
    const frame = story.frames[at];
    if (frame.margin !== null) drawing.moveDot(frame.margin, frame.weights[0], `step ${frame.step}: ${show(frame.weights[0])}`);
  };
  return { node, update };
}

/** A range over the frames with a play button; where motion is unwelcome the button goes one on. */
function slider(frames, turnTo) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const range = make("input", { type: "range", min: 0, max: frames.length - 1, value: 0, step: 1, "aria-label": "step of training", id: "frame" });
  const button = make("button", { type: "button", id: "play" }, still ? "next step" : "▶ play");
  const last = make("span", { class: "mono" }, `step ${frames[0].step} … ${frames.at(-1).step}`);
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; if (!still) button.textContent = "▶ play"; };
  const go = (at) => { range.value = at; range.setAttribute("aria-valuetext", `step ${frames[at].step}`); turnTo(at); };
  const on = () => { const at = Number(range.value) + 1; if (at < frames.length) go(at); else stop(); };
  range.addEventListener("input", () => { stop(); go(Number(range.value)); });
  button.addEventListener("click", () => {
    if (Number(range.value) === frames.length - 1) go(0);
    else if (still) on();
    if (still) return;
    if (timer) return stop();
    button.textContent = "❚❚ pause";
    timer = setInterval(on, 900);
  });
  return make("div", { class: "controls" }, button, range, last);
}
