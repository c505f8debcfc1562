// Graphs of prompts: subcomponents by position and stage, the edges between them, and what an adversary made of it.

const nodeWords = { subcomponent: "subcomponent", cluster: "cluster of subcomponents", delta: "Δ of a matrix", embedding: "token that is read", feature: "feature that is read", logit: "token that is said", output: "output" };
const nodeShapes = { subcomponent: "circle", cluster: "circle", delta: "diamond", embedding: "square", feature: "square", logit: "triangle", output: "triangle" };
const isRead = (node) => node.kind === "embedding" || node.kind === "feature";
const isSaid = (node) => node.kind === "logit" || node.kind === "output";
function nodeShape(kind, r) {
  return { circle: `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`, square: `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`, diamond: `M0,${-1.3 * r}L${1.3 * r},0L0,${1.3 * r}L${-1.3 * r},0z`, triangle: `M0,${-1.3 * r}L${1.2 * r},${r}L${-1.2 * r},${r}z` }[nodeShapes[kind]];
}
function nodeName(graph, node) {
  const text = graph.texts[node.at];
  if (node.kind === "logit") return `says ${spelled(node.name)}`;
  if (node.kind === "embedding") return `reads ${spelled(node.name)}`;
  if (isRead(node) || isSaid(node)) return spelled(node.name);
  return `${node.name} at ${spelled(text)}`;
}

// Where nodes stand: a column for each position, a row for each stage, side by side within a cell.
function placeNodes(graph) {
  const layers = [...new Set(graph.nodes.filter((n) => !isRead(n)).map((n) => n.layer))].sort((a, b) => a - b);
  const row = (node) => (isRead(node) ? 0 : 1 + layers.indexOf(node.layer));
  const cells = new Map();
  for (const node of graph.nodes.slice().sort((a, b) => b.influence - a.influence)) {
    const cell = `${node.at},${row(node)}`;
    cells.set(cell, [...(cells.get(cell) || []), node]);
  }
  const step = 26;
  const widths = graph.texts.map((text, t) => 44 + step * Math.max(spelled(text).length / 4, ...[...cells].filter(([cell]) => Number(cell.split(",")[0]) === t).map(([, nodes]) => nodes.length)));
  const starts = widths.map((_, t) => 70 + widths.slice(0, t).reduce((a, b) => a + b, 0));
  const height = 60 + 46 * (layers.length + 1);
  const places = new Map();
  for (const [cell, nodes] of cells) {
    const [t, r] = cell.split(",").map(Number);
    nodes.forEach((node, i) => places.set(node.id, { x: starts[t] + widths[t] / 2 + step * (i - (nodes.length - 1) / 2), y: height - 46 - 46 * r }));
  }
  return { places, layers, starts, widths, width: 80 + widths.reduce((a, b) => a + b, 0), height };
}

function graphFacts(graph, node, choose) {
  const named = new Map(graph.nodes.map((n) => [n.id, n]));
  const side = (edges, other, title) => el("div", {}, sortTable({ caption: title, rows: edges.slice(0, 12), columns: [
    { name: "Node", value: (e) => nodeName(graph, named.get(other(e))), cell: (e) => el("button", { class: "plain", onclick: () => choose(other(e)) }, nodeName(graph, named.get(other(e)))) },
    { name: "Edge", num: true, value: (e) => e[2] }] }));
  const largest = (edges) => edges.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
  const into = largest(graph.edges.filter((e) => e[1] === node.id && named.has(e[0])));
  const out = largest(graph.edges.filter((e) => e[0] === node.id && named.has(e[1])));
  const sub = node.key ? R.byKey.get(node.key) : null;
  return [el("h3", {}, sub ? [subLink(sub), ` at ${spelled(graph.texts[node.at])}`] : nodeName(graph, node)),
    el("p", { class: "muted small" }, `${nodeWords[node.kind]}, position ${node.at}; influence ${number(node.influence)}`, node.importance !== undefined ? `; importance ${number(node.importance)} (${number(node.importance_before)} before pruning)` : "", node.p !== undefined ? `; probability ${number(node.p)} under the importances as masks` : "", node.share !== undefined ? `; ${percent(node.share)} of all outputs' magnitudes under the importances as masks` : ""),
    node.members ? el("p", { class: "small" }, node.members.map((n, i) => [i ? ", " : "", n.key])) : null,
    node.balance ? balanceBars(node, isSaid(node) ? (node.kind === "logit" ? "logit" : "output") : "activation") : null,
    el("div", { class: "two" }, into.length ? side(into, (e) => e[0], "Leads into it") : null, out.length ? side(out, (e) => e[1], "It leads into") : null)];
}

function drawGraph(graph) {
  const { places, layers, starts, widths, width, height } = placeNodes(graph);
  const svg = d3.create("svg").attr("viewBox", [0, 0, width, height]).attr("role", "group").attr("aria-label", `Graph of ${graph.nodes.length} nodes`).style("max-height", "78vh").style("max-width", `${Math.max(520, 1.3 * width)}px`).style("touch-action", "none");
  const inner = svg.append("g");
  svg.call(d3.zoom().scaleExtent([0.4, 8]).on("zoom", () => inner.attr("transform", d3.event.transform)));
  graph.texts.forEach((text, t) => {
    if (t % 2) inner.append("rect").attr("x", starts[t]).attr("y", 0).attr("width", widths[t]).attr("height", height).attr("fill", "var(--panel)");
    inner.append("text").attr("x", starts[t] + widths[t] / 2).attr("y", height - 14).attr("text-anchor", "middle").style("font-size", "12px").style("fill", "var(--text)").text(`${spelled(text)}`);
  });
  layers.forEach((layer, i) => {
    const one = graph.nodes.find((n) => n.layer === layer && !isRead(n) && !isSaid(n));
    inner.append("text").attr("x", 4).attr("y", height - 46 * (i + 2) + 4).text(one ? (one.members ? one.members[0].key : one.name).replace(/^Δ /, "").replace(/:\d+$/, "").replace(/\.(q|k|v)_proj$/, ".qkv") : graph.tokens.length ? "says" : "gives");
  });
  inner.append("text").attr("x", 4).attr("y", height - 42).text("reads");
  const sums = d3.nest().key((e) => e[1]).rollup((edges) => d3.sum(edges, (e) => Math.abs(e[2]))).object(graph.edges);
  const part = (e) => Math.abs(e[2]) / (sums[e[1]] || 1);
  const edges = inner.append("g").selectAll("path").data(graph.edges.filter((e) => places.has(e[0]) && places.has(e[1])).sort((a, b) => part(a) - part(b))).enter().append("path")
    .attr("d", (e) => { const a = places.get(e[0]), b = places.get(e[1]), m = (a.y + b.y) / 2; return `M${a.x},${a.y}C${a.x},${m} ${b.x},${m} ${b.x},${b.y}`; })
    .attr("fill", "none").attr("stroke", (e) => (e[2] < 0 ? "var(--c1)" : "var(--c0)")).attr("stroke-dasharray", (e) => (e[2] < 0 ? "4 3" : null)).attr("stroke-width", (e) => 0.5 + 4 * part(e)).attr("stroke-opacity", (e) => 0.15 + 0.6 * part(e));
  const handoffs = (graph.handoffs || []).filter((e) => places.has(e[0]) && places.has(e[1]));
  inner.append("g").selectAll("path").data(handoffs).enter().append("path").attr("data-handoff", (e) => e[0])
    .attr("d", (e) => { const a = places.get(e[0]), b = places.get(e[1]); return `M${a.x},${a.y}L${b.x},${b.y}`; })
    .attr("fill", "none").attr("stroke", "var(--c3)").attr("stroke-dasharray", "1 5").attr("stroke-width", 2).append("title").text((e) => `said, and read next: ln p ${number(e[2])}`);
  const facts = el("div", { "aria-live": "polite" });
  const asked = graph.nodes.filter((n) => isSaid(n) && graph.targets.some((t) => t.at === n.at && (t.token === null || t.token === n.token)));
  const most = d3.max(graph.nodes, (n) => n.influence) || 1;
  let pinned = null;
  const nodes = inner.append("g").selectAll("path").data(graph.nodes).enter().append("path").attr("tabindex", 0).attr("role", "button").attr("aria-label", (n) => nodeName(graph, n))
    .attr("data-node", (n) => n.id).attr("transform", (n) => `translate(${places.get(n.id).x},${places.get(n.id).y})`).attr("d", (n) => nodeShape(n.kind, 5 + 6 * Math.sqrt(n.influence / most)))
    .attr("fill", (n) => ({ circle: n.members ? "var(--c5)" : "var(--c0)", diamond: "var(--c4)", square: "var(--c2)", triangle: "var(--c3)" }[nodeShapes[n.kind]])).attr("stroke", "var(--bg)").attr("stroke-width", 1.5).style("cursor", "pointer");
  nodes.append("title").text((n) => nodeName(graph, n));
  const choose = (id) => {
    pinned = id;
    const near = new Set([id, ...graph.edges.filter((e) => e[0] === id).map((e) => e[1]), ...graph.edges.filter((e) => e[1] === id).map((e) => e[0])]);
    nodes.attr("opacity", (n) => (near.has(n.id) ? 1 : 0.25)).attr("stroke", (n) => (n.id === id ? "var(--text)" : "var(--bg)"));
    edges.attr("stroke-opacity", (e) => (e[0] === id || e[1] === id ? 0.35 + 0.6 * part(e) : 0.05));
    facts.replaceChildren();
    add(facts, graphFacts(graph, graph.nodes.find((n) => n.id === id), choose));
  };
  nodes.on("click", (n) => choose(n.id)).on("keydown", (n) => { if (d3.event.key === "Enter" || d3.event.key === " ") { d3.event.preventDefault(); choose(n.id); } });
  if (asked.length) choose(asked[0].id);
  return [el("figure", {}, el("figcaption", {}, `Position by stage. Filled circles are subcomponents, squares tokens that are read, triangles tokens that are said, diamonds what the decomposition leaves over; dashed edges are negative${handoffs.length ? ", dotted ones lead from a token that is said to where it is read" : ""}. Click a node; drag and scroll to move.`), svg.node()), facts];
}

function verdictTable(graph) {
  const rows = [["target", "the target"], ["unmasked", "all subcomponents"], ["importance", "importances as masks"], ["rounded", "rounded up to 1"], ["stochastic", "random masks, mean of 32"], ["adversarial_4x1", "attack, 4 steps of 1.0"], ["adversarial_20x0.1", "attack, 20 steps of 0.1"], ["zeroed", "none"]];
  return sortTable({ caption: "Probability of what is explained (or the loss), under masks; loss in nats", rows, columns: [{ name: "Masks", value: (r) => r[1] }, ...graph.pruned.map((one) => ({ name: `${one.masks} (${one.nodes} nodes)`, num: true, value: (r) => one.verdict[r[0]].p ?? one.verdict[r[0]].D, cell: (r) => { const o = one.verdict[r[0]]; return o.p === undefined ? `loss ${number(o.D)}` : `${number(o.p)} (${number(o.D)})`; } }))] });
}

function graphs(parameters) {
  const all = R.meta.graphs;
  const diffs = (R.meta.graph_diffs || []).map(graphDiff);
  const graph = all.find((g) => g.name === parameters.get("g")) || all[0];
  const shown = readingOf(graph, parameters.get("rule") || graph.rule);
  const subs = shown.nodes.filter((n) => n.kind === "subcomponent").sort((a, b) => b.influence - a.influence);
  return [heading("Graphs", "Which subcomponents, at which positions, made the model say this, and how they feed each other."),
    all.length > 1 ? el("p", {}, all.map((g) => [el("a", { href: `#/graphs?g=${encodeURIComponent(g.name)}`, "aria-current": g === graph ? "page" : null }, spelled(g.name)), " "])) : null,
    el("h2", {}, graph.texts.map((t) => el("span", { class: "tok" }, spelled(t)))),
    graph.said > 1 ? el("p", { class: "muted" }, `The last ${graph.said - 1} of these tokens, and one behind them, were said by the model itself.`) : null,
    el("p", { class: "notice" }, el("b", {}, graph.faithful ? "Faithful. " : "Not faithful. "), graph.faithful ? "An adversary that chooses which of the removed parts come back, and how much, does not take the behaviour away." : spelled(graph.reason)),
    el("p", { class: "muted" }, `${number(graph.kept)} of ${number(graph.alive)} subcomponents at positions are left after pruning; ${number(subs.length)} of them, with 80 % of the influence on what is said, are drawn.`),
    readingChoice(graph, shown, parameters),
    besideOthers(graph, drawGraph(parameters.get("clusters") === "1" ? grouped(shown) : shown), parameters),
    scoresLine(shown), checkLine(shown), verdictTable(graph),
    sortTable({ caption: "Nodes", rows: subs, columns: [{ name: "Subcomponent", value: (n) => n.key, cell: (n) => { const sub = R.byKey.get(n.key); return [sub ? subLink(sub) : n.key, n.label ? el("span", { class: "muted" }, ` ${spelled(n.label)}`) : null]; } }, { name: "At", value: (n) => n.at, cell: (n) => el("span", { class: "tok" }, spelled(graph.texts[n.at])) }, { name: "Influence", num: true, value: (n) => n.influence }, { name: "Importance", num: true, value: (n) => n.importance }, { name: "Before", num: true, wide: true, value: (n) => n.importance_before }] }),
    diffs, claimLine()];
}
