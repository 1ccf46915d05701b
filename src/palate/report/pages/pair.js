// The opened row: its prompt, both sides with heat, the legend, and beside them curve and figures.

function heading(row) {
  const place = state.order.indexOf(row) + 1, steps = make("span", { class: "steps" });
  for (const [step, says, key] of [[-1, "previous", "k"], [1, "next", "j"]]) {
    const button = make("button", { type: "button", "aria-label": says }, step < 0 ? "‹" : "›", make("kbd", {}, key));
    button.addEventListener("click", () => move(step));
    steps.append(button);
  }
  const facts = [`line ${rows.line[row]}`, rows.tag[row] ? `tag ${rows.tag[row]}` : null,
    COUNT > 1 ? `${place.toLocaleString("en")} of ${COUNT.toLocaleString("en")} by ${state.sort === "mass" ? "gradient mass" : state.sort}${state.turned ? ", turned round" : ""}` : null];
  return make("header", {}, make("div", { class: "title" },
    make("h2", {}, `What ${NOUN} ${rows.number[row]} teaches`), COUNT > 1 ? steps : null),
  make("p", { class: "sub" }, facts.filter(Boolean).join(" · ")),
  COUNT > 1 ? make("p", { class: "words" }, rows.words[row]) : null,
  state.view.own ? null : make("p", { class: "note", role: "status" },
    `Seen through ${state.view.label}; the rows were looked at with ${ownLabel()}.`));
}

function promptBox(row) {
  const text = rows.prompt[row], box = make("div", { class: "prompt" });
  if (text.length < 700) return box.append(text), box;
  box.append(make("details", {}, make("summary", {}, `the prompt, ${text.length.toLocaleString("en")} characters; its end:`), text),
    make("p", { class: "end" }, `… ${text.slice(-400)}`));
  return box;
}

const WAYS = { up: "▲ pushed up", down: "▼ pushed down", none: "no push" };

function sideCard(row, place, tokens) {
  const side = sides[place], weight = state.view.weight(place, row), way = direction(weight);
  const turned = ratio(place, row), mass = side.mass[row];
  const facts = [
    [term("log-prob"), show(side.logp[row]), `logp-${side.name}`],
    side.ref[row] === null ? null : [term("reference"), show(side.ref[row]), `ref-${side.name}`],
    side.ref[row] === null ? null : [term("log-ratio"), show(side.ratio[row], true), `ratio-${side.name}`],
    state.view.own && data.reward ? [term("reward"), show(side.reward[row], true), `reward-${side.name}`] : null,
    [term("weight"), show(weight, true), `weight-${side.name}`],
    mass === null ? null : [term("gradient mass", "mass"), show(mass * Math.abs(turned)), `mass-${side.name}`],
    ["tokens", String(side.count[row]), `count-${side.name}`],
  ].filter(Boolean);
  const full = fullPush(), lost = !state.view.own && !side.weight[row] && weight;
  return make("section", { class: `side ${PAIRS ? side.name : "only"}` },
    make("h3", {}, make("span", { class: way }, side.name), make("span", { class: `way ${way}` }, WAYS[way])),
    make("div", { class: "facts" }, ...facts.map((fact) => listed([fact]))),
    tokens ? heated(tokens, { way, ratio: turned, scale: (push) => full ? push / full : 0 })
      : make("p", { class: "note" }, "Tokens are carried for the heaviest rows only; --detail carries more."),
    lost ? make("p", { class: "note" }, "Looked at with a weight of 0: there is no push to scale.") : null);
}

function legend(row) {
  const full = fullPush(), swap = make("button", { type: "button", class: "plain", "data-full": state.full },
    state.full === "file" ? "the file’s largest push" : `as this ${NOUN}’s largest`);
  swap.addEventListener("click", () => { state.full = state.full === "file" ? "row" : "file"; draw(); });
  const scale = (way, says) => make("span", { class: "scale" }, make("span", {}, says),
    make("i", { class: `ramp ${way}` }), make("span", { class: "mono" }, `0 – ${show(full)}`));
  return make("div", { class: "legend" },
    make("p", {}, scale("up", "pushed up"), PAIRS ? scale("down", "pushed down") : null, COUNT > 1 ? make("span", {}, "full colour: ", swap) : null),
    PAIRS ? make("p", {}, make("s", {}, "shared"), ` tokens, the same on both sides from the start, get no push as targets: the two sides cancel. They are still trained as context, through keys and values that later tokens read. `,
      make("span", { class: "boxed" }, "boxed"), " is the first token that differs: there only the difference of the two tokens is pushed.") : null);
}

/** How the shared tokens' own log-probs moved: one bar each, up or down. */
function sharedMoves(row, detail) {
  const moved = detail[0].filter((token) => token.kind === "s" && token.ratio !== null);
  if (!moved.length || rows.shared[row] === 0) return null;
  const sum = moved.reduce((all, token) => all + token.ratio, 0);
  const most = Math.max(...moved.map((token) => Math.abs(token.ratio)), 1e-9);
  const wide = Math.max(3, Math.min(14, 520 / moved.length));
  const drawing = make("svg:svg", { viewBox: `0 0 ${wide * moved.length} 44`, width: wide * moved.length, height: 44, role: "img", "aria-label": "log-ratio of each shared token" });
  drawing.append(make("svg:line", { x1: 0, x2: wide * moved.length, y1: 22, y2: 22, class: "axis" }));
  moved.forEach((token, i) => {
    const size = (20 * Math.abs(token.ratio)) / most;
    drawing.append(make("svg:rect", { x: i * wide + 0.5, width: wide - 1, y: token.ratio > 0 ? 22 - size : 22, height: size, class: "rug" },
      make("svg:title", {}, `${visible(token.text)} ${show(token.ratio, true)}`)));
  });
  return make("div", { class: "moved" }, make("p", {}, `Without a push of their own, the ${moved.length === 1 ? "shared token" : `${moved.length} shared tokens`} moved by `,
    make("b", { class: "mono" }, show(sum, true)), " nats against the reference, one bar each; the longest is ", make("span", { class: "mono" }, show(most)), "."), drawing);
}

function tokenTable(detail) {
  const box = make("details", { class: "table" }, make("summary", {}, "Every token in figures"));
  box.addEventListener("toggle", () => {
    if (!box.open || box.querySelector("table")) return;
    detail.forEach((tokens, place) => {
      const turned = Math.abs(ratio(place, state.at)), sign = direction(state.view.weight(place, state.at)) === "down" ? -1 : 1;
      const line = (token) => [visible(token.text), KINDS[token.kind].split(" ")[0], show(token.logp), show(token.ref), show(token.ratio, true),
        token.kind === "s" ? "0" : show(sign * token.push * turned, true), token.instead.length ? `${visible(token.instead[0].text)} ${percent(token.instead[0].p)}` : ""];
      const cells = (texts, tag) => make("tr", {}, ...texts.map((text) => make(tag, {}, text)));
      box.append(make("div", { class: "wide" }, make("table", {}, make("caption", {}, sides[place].name),
        make("thead", {}, cells(["token", "kind", "log-prob", "reference", "log-ratio", "push", "likeliest"], "th")),
        make("tbody", {}, ...tokens.map((token) => cells(line(token), "td"))))));
    });
  });
  return box;
}

// ---- beside it: the curve, the switch, the figures

/** An example's dearest guesses: what the model would have said there, and how hard it is unlearnt. */
function ratherCard(detail) {
  const found = (detail?.[0] ?? []).flatMap((token) => {
    const other = token.instead.find(({ text, push }) => text !== token.text && push < 0);
    return other ? [{ token, other }] : [];
  }).sort((a, b) => a.other.push - b.other.push).slice(0, 8);
  if (!found.length) return null;
  const lines = found.map(({ token, other }) => make("tr", {},
    make("td", { class: "up" }, visible(token.text)), make("td", { class: "said down" }, visible(other.text)),
    make("td", {}, percent(other.p)), make("td", {}, show(other.push, true))));
  return make("section", { class: "card", id: "rather" }, make("h3", {}, "What it would rather have said"),
    make("table", {}, make("thead", {}, make("tr", {}, ...["target ▲", "instead ▼", "p", "push"].map((text) => make("th", {}, text)))),
      make("tbody", {}, ...lines)),
    make("p", { class: "note" }, "Where its own guess is pushed down hardest."));
}

function curveCard(row) {
  const { view } = state, weight = view.weight(0, row);
  const title = make("h3", {}, term("weight", "Weight"), " against ", term("margin"));
  if (!view.x.length) return make("section", { class: "card" }, title, make("p", { class: "note" }, `No curve is carried for ${view.label}.`));
  return make("section", { class: "card", id: "curve" }, title, make("p", { class: "sub" }, view.label),
    curve({ x: view.x, y: view.y, others: COUNT > 1 ? view.margin : [], dots: [{ x: view.margin[row], y: weight, label: `this pair ${show(weight)}`, way: direction(weight) }] }),
    make("p", { class: "note" }, "Across: the margin, how far the model has come to prefer chosen.", COUNT > 1 ? " Below the line: all pairs of the file." : ""));
}

function switchCard() {
  const { pick } = state.view, here = pick === null ? null : switched[pick];
  const button = (says, on, act, hook) => {
    const node = make("button", { type: "button", "aria-pressed": String(on), ...hook }, says);
    node.addEventListener("click", act);
    return node;
  };
  const objectives = [...groups.keys()].map((name) => button(name, name === here?.objective, () => choose(name), { "data-objective": name }));
  const settings = (groups.get(here?.objective ?? [...groups.keys()][0]) ?? []).map((place) =>
    button(switched[place].value, place === pick, () => see(place), { "data-pick": place }));
  const back = state.view.own ? null : button("back to the run’s own", false, () => see(data.own), { class: "plain", "data-own": "" });
  return make("section", { class: "card switch", id: "switch" }, make("h3", {}, "Seen through another ", term("objective")),
    make("p", { class: "name" }, "objective ", make("kbd", {}, "o")), make("div", { class: "choices" }, ...objectives),
    make("p", { class: "name" }, `${here?.setting ?? "beta"} `, make("kbd", {}, "b")), make("div", { class: "choices" }, ...settings), back);
}

function figuresCard(row, detail) {
  const { view } = state, facts = [[term("loss"), show(view.loss[row]), "loss"]];
  if (PAIRS) facts.unshift([term("margin"), show(view.margin[row], true), "margin"]);
  facts.push(...sides.map((side, place) => [PAIRS ? `${side.name}’s weight` : "weight", show(view.weight(place, row), true), PAIRS ? `sum-${side.name}` : "weight"]));
  if (PAIRS && detail) {
    const after = detail.map((tokens) => tokens.filter((token) => token.kind === "a").length);
    facts.push(["tokens shared", String(rows.shared[row]), "shared"], ["after, each side", after.join(" · "), "after"]);
  }
  if (massOf(row) !== null) facts.push([term("gradient mass"), show(massOf(row)), "mass"]);
  return make("section", { class: "card" }, make("h3", {}, "In figures"), listed(facts));
}
