// Attention: which pairs of subcomponents make a head look where it looks, by distance, over data and in a prompt.

const otherTerms = { "-1": "Δ", "-2": "bias", "-3": "position", "-4": "other subcomponents" };
const termName = (term) => (term < 0 ? otherTerms[term] : keyOf(term));
const pairName = (query, key) => `${termName(query)}, ${termName(key)}`;
const keyLink = (key) => { const sub = R.byKey.get(key); return el("span", { style: "white-space:nowrap" }, sub ? subLink(sub) : key); };
// With its label, or the tokens that it fires at.
const noted = (key) => { const sub = R.byKey.get(key); return [keyLink(key), sub && sub.label ? el("span", { class: "muted small" }, ` ${spelled(sub.label)}`) : sub && sub.always ? el("span", { class: "muted small" }, " always on") : sub && sub.in.length ? el("span", { class: "small" }, " ", chips(sub.in.slice(0, 3))) : null]; };

// Static interactions by offset: the strongest pairs in colour, the others grey.
function offsetCurves(block, head) {
  const { named, grey } = head.curves;
  const { offsets } = block;
  const values = [...named.map((one) => one[2]), ...grey].flat();
  const margin = { left: 52, right: 12, top: 10, bottom: 24 };
  const draw = (svg, width, height) => {
    const x = d3.scaleLinear().domain([offsets[0], offsets[offsets.length - 1] || 1]).range([margin.left, width - margin.right]);
    const y = d3.scaleLinear().domain(d3.extent([0, ...values])).nice().range([height - margin.bottom, margin.top]);
    axes(svg, x, y, width, height, margin);
    const line = d3.line().x((_, i) => x(offsets[i])).y((v) => y(v));
    const curve = (points) => svg.append("path").datum(points).attr("fill", "none").attr("d", line);
    grey.forEach((points) => curve(points).attr("stroke", "var(--muted)").attr("stroke-opacity", 0.25));
    named.forEach(([, , points], i) => curve(points).attr("stroke", `var(--c${i % 6})`).attr("stroke-width", 1.8).attr("stroke-dasharray", dashOf(i)));
  };
  const names = named.map(([query, key]) => pairName(query, key));
  const figure = frame("Static interaction by distance from key to query, in standard deviations over the head's pairs; the strongest named, others grey", draw, ["offset", ...names], offsets.map((offset, i) => [offset, ...named.map((one) => one[2][i])]));
  figure.querySelector("figcaption").append(legend(names));
  return figure;
}

// Rows and columns of cells; a cell has a strength in [0, 1], a sign and words.
function cellMap({ label, rows, columns, cell, size, left, top, onpoint = null }) {
  const width = left + size * columns.length + top / 2; // names lean over the last column
  const height = top + size * rows.length + 4;
  const svg = d3.create("svg").attr("viewBox", [0, 0, width, height]).attr("role", "img").attr("aria-label", harmless(label)).style("width", `${width}px`).style("max-width", "none").style("height", `${height}px`);
  const text = (x, y, content, end) => svg.append("text").attr("x", x).attr("y", y).attr("text-anchor", end ? "end" : "start").style("font-size", "11px").style("fill", "var(--text)").text(content);
  rows.forEach((name, i) => text(left - 4, top + size * (i + 0.5) + 4, name, true));
  columns.forEach((name, j) => text(0, 0, name, false).attr("transform", `translate(${left + size * (j + 0.5) + 4},${top - 4}) rotate(-60)`));
  const body = svg.append("g");
  const fill = () => {
    body.selectAll("*").remove();
    rows.forEach((_, i) => columns.forEach((__, j) => {
      const found = cell(i, j);
      if (!found) return;
      const place = body.append("g").attr("transform", `translate(${left + size * j},${top + size * i})`);
      place.append("rect").attr("width", size - 1).attr("height", size - 1).attr("fill", "var(--panel)");
      place.append("rect").attr("width", size - 1).attr("height", size - 1).attr("fill", found.minus ? "var(--c1)" : "var(--c0)").attr("fill-opacity", found.strength);
      if (found.minus && found.strength > 0.05) place.append("path").attr("d", `M3,${size / 2}h${size - 7}`).attr("stroke", "var(--text)");
      place.append("title").text(found.words);
      if (onpoint) place.on("click", () => onpoint(i, j));
    }));
  };
  fill();
  return { node: svg.node(), fill };
}

function shareMap(head) {
  const { query, key, share } = head.heat;
  const most = Math.max(...share.map(Math.abs), 1e-9);
  const short = (term) => (term < 0 ? otherTerms[term].split(" ")[0] : String(term - siteOf(term).offset));
  const map = cellMap({ label: `Shares of pairs of head ${head.head}`, rows: query.map(short), columns: key.map(short), size: 14, left: 54, top: 46,
    cell: (i, j) => { const value = share[i * key.length + j]; return { strength: Math.sqrt(Math.abs(value) / most), minus: value < 0, words: `${pairName(query[i], key[j])}: ${percent(value)}` }; } });
  const rows = share.map((value, at) => [termName(query[Math.floor(at / key.length)]), termName(key[at % key.length]), value]).sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, 60);
  return el("figure", {}, el("figcaption", {}, "Queries (rows) by keys (columns), each by its number: the pair's share of the variance of the head's scores among the keys of a query. Darker is more, up to ", percent(most), "; orange with a dash is negative."),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Shares of pairs" }, map.node), asTable(["query", "key", "share"], rows));
}

// softmax(z - Σ D of the pairs that are out), row by row; index of (t, u): t (t + 1) / 2 + u.
const below = (t, u) => (t * (t + 1)) / 2 + u;
function patternOf(T, part, out) {
  const pattern = new Array(part.score.length);
  for (let t = 0; t < T; t += 1) {
    const scores = d3.range(t + 1).map((u) => part.score[below(t, u)] - d3.sum(out, (p) => part.pairs[p][2][below(t, u)]));
    const top = Math.max(...scores);
    const powers = scores.map((z) => Math.exp(z - top));
    const sum = d3.sum(powers);
    powers.forEach((power, u) => { pattern[below(t, u)] = power / sum; });
  }
  return pattern;
}

function promptMap(prompt, which) {
  const part = prompt.heads[which];
  const T = prompt.texts.length;
  const before = patternOf(T, part, []);
  let now = before;
  const out = new Set();
  const words = prompt.texts.map((text, t) => `${spelled(text)} ${t}`);
  const said = el("p", { class: "small muted", role: "status" });
  const map = cellMap({ label: `Attention of head ${which} in ${prompt.name}`, rows: words, columns: words, size: 22, left: 100, top: 84,
    cell: (t, u) => (u > t ? null : { strength: now[below(t, u)], minus: false, words: `${words[t]} looks at ${words[u]}: ${number3(now[below(t, u)])}${out.size ? ` (${number3(before[below(t, u)])} with all pairs)` : ""}` }) });
  const refresh = () => {
    now = patternOf(T, part, [...out]);
    map.fill();
    const moved = d3.mean(d3.range(T), (t) => d3.sum(d3.range(t + 1), (u) => Math.abs(now[below(t, u)] - before[below(t, u)])) / 2);
    said.textContent = out.size ? `Without ${out.size === 1 ? "this pair" : `these ${out.size} pairs`} ${percent(moved)} of the attention goes elsewhere, mean over queries.` : "All pairs are in.";
  };
  const largest = (given) => { let best = 0; given.forEach((value, i) => { if (Math.abs(value) > Math.abs(given[best])) best = i; }); return given[best]; };
  const boxes = part.pairs.map(([query, key, given], p) => el("li", {}, el("label", {}, el("input", { type: "checkbox", checked: true, "data-pair": p, onchange: (event) => { if (event.target.checked) out.delete(p); else out.add(p); refresh(); } }), " ", termName(query), ", ", termName(key)),
    el("span", { class: "muted small" }, ` gives ${number(largest(given))} at most`)));
  refresh();
  return el("div", { "data-prompt": prompt.name }, el("h3", {}, spelled(prompt.name)), el("div", { class: "two" },
    el("figure", {}, el("figcaption", {}, "Each token (row) looks at those before it (columns); darker is more attention."), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Attention between tokens" }, map.node)),
    el("div", {}, el("p", { class: "small" }, "Take a pair out of the scores, and the softmax is made again without it:"), el("ul", { style: "list-style:none;padding:0" }, boxes), said)));
}
const number3 = (x) => number(x, 2);

function headTable(block, chosen, link) {
  return sortTable({ caption: `Heads of block ${block.block}`, rows: block.by_head, columns: [
    { name: "Head", value: (h) => h.head, cell: (h) => el("a", { href: link(h.head), "aria-current": h.head === chosen ? "true" : null }, h.head) },
    { name: "Score", num: true, wide: true, value: (h) => h.score_mean, cell: (h) => `${number(h.score_mean)} ± ${number(h.score_sd)}` },
    { name: "Previous token", num: true, value: (h) => h.previous_token }, { name: "on random tokens", num: true, wide: true, value: (h) => h.previous_token_random }, { name: "Induction", num: true, value: (h) => h.induction },
    { name: "Pairs of subcomponents", num: true, value: (h) => h.shares.subcomponents, cell: (h) => percent(h.shares.subcomponents) },
    { name: "Largest pair", wide: true, value: (h) => h.pairs[0].share, cell: (h) => [keyLink(h.pairs[0].query), ", ", keyLink(h.pairs[0].key), ` ${percent(h.pairs[0].share)}`] }] });
}
function pairTable(head) {
  return sortTable({ caption: `Head ${head.head}: pairs with the largest share of its scores' variance among the keys of a query`, rows: head.pairs, columns: [
    { name: "Query", value: (p) => p.query, cell: (p) => noted(p.query) }, { name: "Key", value: (p) => p.key, cell: (p) => noted(p.key) }, { name: "Share", num: true, value: (p) => p.share, cell: (p) => percent(p.share) }, { name: "of all", num: true, wide: true, value: (p) => p.share_of_all, cell: (p) => percent(p.share_of_all) },
    { name: "Largest mean", num: true, value: (p) => p.mean, cell: (p) => `${number(p.mean)} at ${p.offset}` }, { name: "Where both", num: true, wide: true, value: (p) => p.both_mean ?? null, cell: (p) => (p.both_count ? number(p.both_mean) : "–") }, { name: "Times", num: true, wide: true, value: (p) => p.both_count ?? null }] });
}
function movedTables(block, head) {
  const nearest = (cosines) => cosines.map((value, h) => ({ h, value })).filter((one) => one.h !== head.head).sort((a, b) => b.value - a.value)[0];
  const { chance } = block.ov;
  const read = nearest(block.ov.read_cosine[head.head]);
  const write = nearest(block.ov.write_cosine[head.head]);
  const table = (rows, caption) => (rows.length ? el("div", {}, sortTable({ caption, rows, columns: [{ name: "Subcomponent", value: (r) => r.key, cell: (r) => noted(r.key) }, { name: "Weighted", num: true, value: (r) => r.weighted }, { name: "Plain", num: true, wide: true, value: (r) => r.plain }] })) : null);
  const keys = block.keys_of_values.filter((one, i, all) => head.values.some((v) => v.key === one.value) && all.slice(0, i).filter((before) => before.value === one.value).length < 2);
  return [read ? el("p", {}, `It reads most like head ${read.h} (cosine ${number(read.value)}; by chance ${number(chance.read[0], 2)} ± ${number(chance.read[1], 2)}) and writes most like head ${write.h} (${number(write.value)}; by chance ${number(chance.write[0], 2)} ± ${number(chance.write[1], 2)}), weighted by ${number(block.ov.positions)} positions${block.ov.given ? ` where ${block.ov.given} is important` : ""}.`) : null,
    el("div", { class: "two" }, table(head.values, "Values that it moves most"), table(head.outputs, "Outputs that it writes most")),
    keys.length ? sortTable({ caption: "Keys that fire at the positions of these values", rows: keys, columns: [{ name: "Value", value: (r) => r.value, cell: (r) => noted(r.value) }, { name: "Key", value: (r) => r.key, cell: (r) => noted(r.key) }, { name: "P(key | value)", num: true, value: (r) => r.key_given_value }, { name: "P(value | key)", num: true, value: (r) => r.value_given_key }] }) : null];
}

function attention(parameters) {
  const all = R.meta.attention;
  const block = all.find((b) => String(b.block) === parameters.get("b")) || all[0];
  const head = block.by_head.find((h) => String(h.head) === parameters.get("h")) || block.by_head[0];
  const link = (h, b = block.block) => `#/attention?b=${b}&h=${h}`;
  return [heading("Attention", "Which pairs of subcomponents make a head look where it looks."),
    all.length > 1 ? el("p", {}, all.map((b) => [el("a", { href: link(0, b.block), "aria-current": b === block ? "page" : null }, `block ${b.block}`), " "])) : null,
    headTable(block, head.head, link), el("h2", {}, `Head ${head.head}`), pairTable(head),
    el("div", { class: "charts", style: "margin-top:1.2rem" }, head.curves ? offsetCurves(block, head) : null,
      lineChart({ caption: "Attention by distance from key to query, mean over queries that have such a key", xName: "offset", series: [{ name: "on the data", points: block.offsets.map((o, i) => [o, head.looks[i]]) }, { name: "on random tokens", points: block.offsets.map((o, i) => [o, head.random_looks[i]]) }] })),
    el("h3", { style: "margin:1.2rem 0 .4rem" }, "Pairs by share"), shareMap(head),
    block.prompts.length ? [el("h2", {}, "Prompts"), block.prompts.map((prompt) => promptMap(prompt, head.head))] : null,
    el("h2", {}, "What it moves"), movedTables(block, head),
    el("p", { class: "muted small" }, "A head's score is the sum over all pairs, so a share says what the scores follow on this data and not what the pair is for, and pairs cancel each other. Shares are of the variance among the keys of a query, since the softmax leaves out what all of them have in common; beside them stand shares of all variance."), claimLine()];
}

// What #/selftest tries here: a pair that is taken out and put back.
async function attentionSelftest(visit, note) {
  const block = (R.meta.attention || []).find((b) => b.prompts.length);
  if (!block) return;
  await visit(`#/attention?b=${block.block}&h=0`);
  const box = main.querySelector("[data-pair]");
  const said = box.closest("[data-prompt]").querySelector("[role=status]");
  const before = said.textContent;
  box.click();
  note("a pair that is out moves attention", said.textContent.includes("goes elsewhere"), said.textContent);
  const [prompt] = block.prompts;
  const T = prompt.texts.length;
  const pattern = patternOf(T, prompt.heads[0], [0]);
  const sums = d3.range(T).map((t) => d3.sum(d3.range(t + 1), (u) => pattern[below(t, u)]));
  note("what is left of it adds up to 1", sums.every((sum) => Math.abs(sum - 1) < 1e-9), d3.extent(sums));
  box.click();
  note("a pair that is put back leaves all as it was", said.textContent === before, said.textContent);
}
