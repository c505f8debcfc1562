// Graphs by either rule, nodes of a cluster as one, what a node's activation is made of, and two graphs beside each other.

const ruleWords = {
  published: "derivatives: into norms and through attention these are contrasts, not shares that add up, and what they leave of a node's activation is its rest",
  complete: "norms' denominators and attention patterns are held, and activation functions act by their secant, so that what leads into a node adds up to it; queries and keys lead nowhere",
};

// A graph as one of its readings has it: what is drawn of nodes and edges.
function readingOf(graph, rule) {
  const other = graph.other_reading;
  if (!other || rule !== other.rule) return { ...graph, nodes: graph.nodes.filter((n) => n.shown) };
  const said = new Map(other.nodes.map((n) => [n.id, n]));
  return { ...graph, rule: other.rule, scores: other.scores, edges: other.edges, check: other.check, nodes: graph.nodes.map((n) => ({ ...n, ...said.get(n.id) })).filter((n) => n.shown) };
}

// Nodes of one cluster at one position as one node, where the most influential of them stands.
function grouped(graph) {
  const named = new Map(graph.nodes.map((n) => [n.id, n]));
  const group = new Map();
  const nodes = [];
  for (const cluster of graph.clusters) {
    for (const [at, members] of d3.nest().key((n) => n.at).entries(cluster.nodes.map((id) => named.get(id)).filter((n) => n && !group.has(n.id))).map((e) => [e.key, e.values])) {
      if (members.length < 2) continue;
      const id = `${cluster.name}@${at}`;
      const first = members.slice().sort((a, b) => b.influence - a.influence)[0];
      nodes.push({ id, kind: "cluster", name: `${cluster.name} (${members.length})`, at: Number(at), layer: first.layer, influence: d3.sum(members, (n) => n.influence), members });
      members.forEach((n) => group.set(n.id, id));
    }
  }
  const of = (id) => group.get(id) ?? id;
  const sums = new Map();
  for (const [source, target, weight] of graph.edges) {
    if (of(source) === of(target)) continue;
    const key = `${of(source)} ${of(target)}`;
    const edge = sums.get(key) || [of(source), of(target), 0];
    edge[2] += weight;
    sums.set(key, edge);
  }
  return { ...graph, nodes: [...graph.nodes.filter((n) => !group.has(n.id)), ...nodes], edges: [...sums.values()] };
}

// F and its parts as bars from one line: to the right what adds, to the left what takes away.
function balanceBars(node, name) {
  const parts = [[name, node.F], ...Object.entries(node.balance).filter(([, x]) => Math.abs(x) > 1e-6 * Math.abs(node.F))];
  const low = Math.min(0, d3.min(parts, (p) => p[1])), high = Math.max(0, d3.max(parts, (p) => p[1]));
  const x = d3.scaleLinear().domain([low, high === low ? low + 1 : high]).range([90, 330]);
  const svg = d3.create("svg").attr("viewBox", [0, 0, 400, 18 * parts.length]).attr("role", "img").attr("aria-label", parts.map(([what, value]) => `${what} ${number(value)}`).join(", ")).style("max-width", "480px");
  const row = svg.selectAll("g").data(parts).enter().append("g").attr("transform", (_, i) => `translate(0,${18 * i})`);
  row.append("text").attr("x", 80).attr("y", 13).attr("text-anchor", "end").style("font-size", "12px").style("fill", "var(--text)").text((p) => p[0]);
  row.append("rect").attr("x", (p) => Math.min(x(0), x(p[1]))).attr("y", 3).attr("height", 12).attr("width", (p) => Math.max(1, Math.abs(x(p[1]) - x(0)))).attr("fill", (p, i) => (i === 0 ? "var(--c3)" : p[1] < 0 ? "var(--c1)" : "var(--c0)"));
  row.append("text").attr("x", 338).attr("y", 13).style("font-size", "12px").style("fill", "var(--text)").text((p) => number(p[1]));
  svg.append("line").attr("x1", x(0)).attr("x2", x(0)).attr("y1", 0).attr("y2", 18 * parts.length).attr("stroke", "var(--muted)");
  return el("figure", { "data-balance": node.id }, el("figcaption", {}, `${name}, and the parts that add up to it`), svg.node());
}

// The graph's figure, beside those of other prunings where there are some: what an attack breaks looks just as convincing.
function besideOthers(graph, drawn, parameters) {
  if (!(graph.beside || []).length) return drawn;
  const masks = { adversarial: "random and adversarial masks", stochastic: "random masks alone", importance: "its importances alone, and no mask" };
  const panel = (one, figure) => {
    const { target, adversarial_4x1: short, "adversarial_20x0.1": long } = one.pruned[0].verdict;
    const worst = short.D > long.D ? short : long;
    const said = (o) => (o.p === undefined ? `a loss of ${number(o.D)}` : `p ${number(o.p)}`);
    return el("section", { class: one.faithful ? null : "broken", "data-pruned": one.masks },
      el("h3", {}, one.faithful ? "Faithful" : "Not faithful", el("span", { class: "muted" }, `: pruned under ${masks[one.masks] || one.masks}`)),
      el("p", { class: "small" }, `${number(one.kept)} subcomponents at positions; ${said(target)} in the target, ${said(worst)} under the worst attack.`), figure);
  };
  const others = graph.beside.slice().sort((a, b) => a.kept - b.kept).map((other) => {
    const drawnNodes = { ...other, nodes: other.nodes.filter((n) => n.shown) };
    return panel(other, drawGraph(parameters.get("clusters") === "1" ? grouped(drawnNodes) : drawnNodes));
  });
  return el("div", { class: "beside" }, panel(graph, drawn), others);
}

function scoresLine(graph) {
  if (!graph.scores) return null;
  return el("p", { class: "muted" }, `By this reading ${percent(graph.scores.replacement)} of the paths behind what is explained end in what is read, the rest in what the graph leaves out (Δ, what was pruned${graph.rule === "published" ? ", and what derivatives do not account for" : ""}); ${percent(graph.scores.completeness)} of what leads into nodes are nodes.`);
}

function checkLine(graph) {
  if (!graph.check) return null;
  return el("p", { class: "muted" }, `Of ${number(graph.check.edges.length)} of the strongest edges the sources were taken out one by one, all else being held: the correlation of edges and effects is ${number(graph.check.correlation, 4)}, the worst ratio ${number(graph.check.worst_ratio)}.`);
}

// Links to the ways in which a graph can be read.
function readingChoice(graph, shown, parameters) {
  const link = (changes, text, current) => {
    const next = new URLSearchParams(parameters);
    next.set("g", graph.name);
    Object.entries(changes).forEach(([name, value]) => (value ? next.set(name, value) : next.delete(name)));
    return current ? el("b", {}, text) : el("a", { href: `#/graphs?${next}` }, text);
  };
  const rules = graph.other_reading ? [graph.rule, graph.other_reading.rule] : [];
  const clusters = (graph.clusters || []).length > 0;
  return [
    rules.length ? el("p", {}, "Edges by the rule ", rules.map((rule) => [link({ rule }, rule, rule === shown.rule), " "])) : null,
    clusters ? el("p", {}, link({ clusters: null }, "each subcomponent", !parameters.get("clusters")), " or ", link({ clusters: "1" }, "clusters as one node", parameters.get("clusters") === "1")) : null,
    el("p", { class: "muted small" }, `The ${shown.rule} rule: ${ruleWords[shown.rule]}.`)];
}

function graphDiff(diff) {
  const at = (node, side) => (node[side] ? spelled(diff[side].texts[node[side].at] ?? "") : "–");
  const influence = (side) => ({ name: side.toUpperCase(), num: true, value: (n) => (n[side] ? n[side].influence : 0), cell: (n) => (n[side] ? number(n[side].influence) : "–") });
  const nodes = [["both", diff.shared], ["A alone", diff.only_a], ["B alone", diff.only_b]].flatMap(([where, list]) => list.slice(0, 40).map((n) => ({ ...n, where })));
  return [el("h2", {}, `${spelled(diff.a.name)} (A) beside ${spelled(diff.b.name)} (B)`),
    el("p", {}, `${number(diff.shared.length)} subcomponents at positions are in both, ${number(diff.only_a.length)} in A alone, ${number(diff.only_b.length)} in B alone, positions counted from the ${diff.align}. Of the edges between shared nodes (${diff.rule} rule) ${number(diff.edges.shared)} are in both, of ${number(diff.edges.a)} and ${number(diff.edges.b)}; their weights' correlation is ${number(diff.edges.correlation)}.`),
    sortTable({ caption: "Nodes, and their influence in either graph", rows: nodes, columns: [
      { name: "Subcomponent", value: (n) => n.key, cell: (n) => { const sub = R.byKey.get(n.key); return [sub ? subLink(sub) : n.key, n.label ? el("span", { class: "muted" }, ` ${spelled(n.label)}`) : null]; } },
      { name: "In", value: (n) => n.where }, { name: "At", value: (n) => at(n, n.a ? "a" : "b"), cell: (n) => el("span", { class: "tok" }, at(n, n.a ? "a" : "b")) }, influence("a"), influence("b")] })];
}
