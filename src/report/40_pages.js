// A function for each page: it returns what stands in main.

const metric = (name) => (R.meta.evaluation ? R.meta.evaluation.metrics[name] : undefined);
const verdictMarks = { ok: "✓", warning: "!", unknown: "?" };
const verdictWords = { ok: "ok", warning: "warning", unknown: "unknown" };
const causeWords = (cause) => cause.replace(/_/g, " ");

function verdictBadges(findings) {
  return el("ul", { class: "verdicts" }, findings.map((f) => el("li", { class: `badge ${f.verdict}`, title: f.evidence },
    el("b", { "aria-hidden": "true" }, verdictMarks[f.verdict]), ` ${causeWords(f.cause)}`, f.verdict === "ok" ? null : el("span", { class: "muted" }, ` ${verdictWords[f.verdict]}`))));
}
function tile(name, value, note) {
  return el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null));
}
function meter(name, value) {
  return el("div", { class: "meter" }, el("span", {}, name), el("i", { "aria-hidden": "true" }, el("span", { style: `width:${Math.round(100 * value)}%` })), el("span", { class: "num" }, percent(value)));
}
function notices(list) {
  return list.map((text) => el("p", { class: "notice" }, spelled(text)));
}

function pgdTile() {
  if (!R.meta.evaluation) return null;
  const name = Object.keys(R.meta.evaluation.metrics).filter((m) => m in R.meta.evaluation.budgets)[0];
  return name ? tile("KL under attack", number(metric(name)), `${name.slice(4)}${R.meta.evaluation.budgets[name] ? `, ${R.meta.evaluation.budgets[name]}` : ""}; zeroed ${number(metric("ce_kl/kl_zero"))}`) : null;
}

async function overview() {
  const { run, harvest, health } = R.meta;
  const nodes = [];
  const made = run.made !== undefined ? `${number(run.made)} of ${number(run.planned)} steps` : `${number(run.planned)} steps planned`;
  nodes.push(heading(run.name, `A decomposition of a ${run.target} target: ${made}${run.state && run.state !== "done" ? ` (${run.state})` : ""}, seed ${run.seed}.`));
  nodes.push(verdictBadges(health));
  const difference = metric("ce_kl/ce_rounded_0") !== undefined && metric("ce_kl/ce_target") !== undefined ? metric("ce_kl/ce_rounded_0") - metric("ce_kl/ce_target") : undefined;
  const l0 = metric("l0/total");
  const total = harvest ? harvest.total : undefined;
  nodes.push(el("dl", { class: "tiles" },
    metric("ce_kl/kl_unmasked") !== undefined ? tile("KL unmasked", number(metric("ce_kl/kl_unmasked")), "all subcomponents on, Δ off") : null,
    difference !== undefined ? tile("CE rounded", `${difference >= 0 ? "+" : ""}${number(difference)}`, "over the target, only g > 0 kept") : null,
    pgdTile(),
    l0 !== undefined ? tile("L0", number(l0), `subcomponents a position${total ? `, of ${number(total)}` : ""}`) : null,
    harvest ? tile("Alive", number(harvest.alive), `of ${number(harvest.total)}, in ${number(harvest.positions)} positions`) : null));
  if (R.meta.highlights && R.meta.highlights.length) {
    nodes.push(el("h2", {}, "What is in here"));
    nodes.push(el("p", { class: "muted" }, "Subcomponents whose firings a few tokens tell best. Hit: the part of its firings at those tokens. Cover: the part of those tokens where it fires."));
    nodes.push(exampleLegend());
    const cards = await Promise.all(R.meta.highlights.map(([place, side]) => card(R.subs[place], side)));
    nodes.push(el("div", { class: "cards" }, cards));
    nodes.push(el("p", {}, el("a", { href: "#/subs" }, `All ${number(R.subs.length)} alive subcomponents`)));
  } else if (!harvest) {
    nodes.push(el("h2", {}, "No evidence yet"), notices(R.meta.missing));
  }
  nodes.push(claimLine());
  return nodes;
}

async function card(sub, side) {
  const detail = await detailOf(sub);
  const example = detail.e.filter((e) => e[0] === 2)[0] || detail.e[0];
  const score = side === "out" ? sub.outScore : sub.inScore;
  return el("article", { class: "card" },
    el("h3", {}, subLink(sub), sub.label ? el("span", { class: "muted" }, ` ${spelled(sub.label)}`) : null),
    el("div", { class: "says" }, side === "out" ? "The model says " : "Fires at ", chips((side === "out" ? sub.out : sub.in).slice(0, 6)), side === "out" ? " there" : null),
    meter("hit", score[0]), meter("cover", score[1]),
    el("div", { class: "small muted" }, side === "out" ? ["Fires at ", chips(sub.in.slice(0, 4))] : sub.out.length ? ["The model says ", chips(sub.out.slice(0, 3))] : null),
    example ? el("p", { class: "ex" }, shortExample(example)) : null);
}
// The middle of an example, for a card.
function shortExample(example) {
  const [kind, row, position, centre, tokens, marks] = example;
  const begin = Math.max(0, centre - 9);
  const end = Math.min(tokens.length, centre + 6);
  return exampleText([kind, row, position, centre - begin, tokens.slice(begin, end), marks.slice(begin, end)]);
}
function exampleLegend() {
  return el("p", { class: "legend" },
    el("span", { class: "key" }, el("span", { class: "f plus l3" }, " fires, + "), el("span", { class: "f minus l3" }, " fires, − ")),
    el("span", {}, "darker: more important; the underline shows the activation's sign (solid +, dotted −); the frame is the firing that was drawn"));
}

function curvesNamed(test) {
  return Object.entries(R.meta.curves).filter(([name, points]) => test(name) && points.length > 1);
}
function pairOf(name) {
  const series = [{ name: R.meta.run.name, points: R.meta.curves[name] || [] }];
  const other = R.meta.compare && R.meta.compare.curves[name];
  if (other && other.length) series.push({ name: R.meta.compare.name, points: other });
  return series.filter((one) => one.points.length);
}

function training() {
  const { run } = R.meta;
  const charts = (title, test, log) => {
    const found = curvesNamed(test);
    if (!found.length) return null;
    return [el("h2", {}, title), el("div", { class: "charts" }, found.map(([name]) => lineChart({ caption: name.replace(/^(train|eval)\//, ""), series: pairOf(name), xName: "step", log })))];
  };
  const noise = (name) => /_(std|batches|spread|stderr)$/.test(name) || /\/(std|batches)$/.test(name);
  return [
    heading("Training", `${run.objective.join(", ")}; batches of ${run.batch}`),
    charts("Losses", (n) => n.startsWith("train/loss/"), true),
    charts("Sparsity, gradients before clipping, the adversary's saturated sources, and speed", (n) => /^train\/(l0$|grad_norm|saturated)|^perf\/step_ms$/.test(n), false),
    ladder(),
    charts("On held-out rows", (n) => n.startsWith("eval/") && !noise(n) && /eval\/(ce_kl|l0\/total|alive\/total|pgd)/.test(n), false),
    Object.keys(R.meta.curves).length ? null : el("p", { class: "muted" }, "Nothing was logged yet."),
    claimLine(),
  ];
}

// How much damage each way of masking does, from none to everything.
function ladder() {
  if (!R.meta.evaluation) return null;
  const names = { "ce_kl/kl_unmasked": "all on", "ce_kl/kl_ci_masked": "masked by importance", "ce_kl/kl_stochastic": "stochastic masks", "ce_kl/kl_random": "random masks", "ce_kl/kl_rounded_0": "only g > 0", "ce_kl/kl_rounded_0.1": "only g > 0.1", "ce_kl/kl_rounded_0.5": "only g > 0.5", "ce_kl/kl_zero": "everything off" };
  const rows = Object.entries(names).filter(([name]) => metric(name) !== undefined).map(([name, words]) => ({ words, kl: metric(name), ce: metric(name.replace("kl_", "ce_").replace("ce_kl/ce_", "ce_kl/ce_")) }));
  for (const [name, budget] of Object.entries(R.meta.evaluation.budgets || {}))
    if (metric(name) !== undefined) rows.push({ words: `attack ${name.replace(/^pgd\//, "")} (${budget})`, kl: metric(name), ce: undefined });
  if (!rows.length) return null;
  rows.sort((a, b) => a.kl - b.kl);
  const most = Math.max(...rows.map((r) => r.kl));
  const width = (kl) => Math.max(1, Math.round((110 * Math.log1p(1e4 * kl)) / Math.log1p(1e4 * most)));
  return [el("h2", {}, "Ladder of maskings"), el("p", { class: "muted" }, `On held-out rows, step ${number(R.meta.evaluation.step)}. KL to the target in nats a position; bars are logarithmic.`),
    sortTable({ columns: [
      { name: "Masking", value: (r) => r.words },
      { name: "KL", num: true, value: (r) => r.kl, cell: (r) => number(r.kl) },
      { name: "", cell: (r) => el("span", { class: "bar", style: `width:${width(r.kl)}px`, "aria-hidden": "true" }) },
      { name: "CE", num: true, value: (r) => r.ce ?? null, cell: (r) => number(r.ce) }], rows })];
}

function sites() {
  const { harvest } = R.meta;
  if (!harvest) return [heading("Sites"), notices(R.meta.missing)];
  const list = R.meta.sites;
  const nodes = [heading("Sites", `${list.length} decomposed matrices; a subcomponent fires where its importance is above ${harvest.threshold}`)];
  const most = Math.max(...list.map((s) => s.l0));
  nodes.push(sortTable({ caption: "Firings are counted over all harvested positions.", columns: [
    { name: "Site", value: (s) => s.name, cell: (s) => el("a", { href: `#/subs?f=${encodeURIComponent(`site:${s.name}`)}` }, s.name) },
    { name: "In × out", num: true, wide: true, value: (s) => s.in * s.out, cell: (s) => `${s.in} × ${s.out}` },
    { name: "C", num: true, value: (s) => s.C },
    { name: "Alive", num: true, value: (s) => s.alive },
    { name: "Fire a position", num: true, value: (s) => s.l0 },
    { name: "", wide: true, cell: (s) => el("span", { class: "bar", style: `width:${Math.round((120 * s.l0) / most)}px`, "aria-hidden": "true" }) },
    { name: "Always on", num: true, wide: true, value: (s) => s.always },
    { name: "Two signs", num: true, wide: true, value: (s) => s.poly }], rows: list }));
  const select = el("select", { "aria-label": "Site of the charts" }, list.map((s, i) => el("option", { value: i }, s.name)));
  const charts = el("div", { class: "charts" });
  const show = () => {
    const site = list[Number(select.value)];
    const cut = harvest.threshold;
    const spectrum = site.spectrum.map(([rank, g]) => [rank, Math.max(g, 1e-7)]);
    const widths = harvest.bins.map((first, i) => Math.max(0, Math.min(harvest.length, harvest.bins[i + 1] ?? 2 * first) - first));
    const rate = site.positions.map((count, i) => [harvest.bins[i], widths[i] ? count / (harvest.rows * widths[i]) : 0]).filter((_, i) => widths[i] > 0);
    charts.replaceChildren(
      lineChart({ caption: `${site.name}: mean importance by rank`, series: [{ name: "mean importance", points: spectrum }, { name: `threshold ${cut}`, points: [[1, cut], [site.C, cut]] }], xName: "rank", log: true }),
      barChart({ caption: `${site.name}: subcomponents that fire, by position in the row`, bars: rate.map(([at, v]) => [String(at), v]), xName: "from position", yName: "fire a position" }));
    drawCharts();
  };
  select.addEventListener("change", show);
  nodes.push(el("h2", {}, "One site"), el("div", { class: "tools" }, el("label", {}, "Site ", select)), charts, claimLine());
  return { nodes, after: show };
}

function subs(parameters) {
  if (!R.meta.harvest) return [heading("Subcomponents"), notices(R.meta.missing)];
  const asked = parameters.get("f");
  if (asked !== null) applyFilter(asked);
  const table = subTable();
  R.table = table;
  const count = el("p", { class: "muted small", role: "status", "aria-live": "polite" });
  const search = el("div", { class: "tools", role: "search" });
  const input = el("input", { type: "search", id: "filter", value: R.filter, placeholder: "and   site:h.1.*   density<0.01   token:\" and\"   poly", "aria-label": "Filter subcomponents", autocomplete: "off", spellcheck: "false" });
  const tell = () => { count.textContent = `${number(R.shown.length)} of ${number(R.subs.length)} alive subcomponents`; };
  input.addEventListener("input", () => {
    applyFilter(input.value);
    table.refresh();
    tell();
  });
  search.append(input);
  tell();
  return { nodes: [heading("Subcomponents"), search,
    el("details", { class: "small" }, el("summary", {}, "How to filter"), el("p", {}, "Words look in names, labels and the tokens that it fires at. site:h.1.* (pattern), token:\" and\" or token:#5, label:word; density, g, firings, f1 with < > <= >= =; poly (two signs, different tokens), always (always on). All have to hold.")),
    count, table.box, claimLine()], after: () => table.draw() };
}

const sideNames = { in: "Tokens where it fires", out: "What the model says there" };
function tokenTable(flat, side, sub) {
  const { positions } = R.meta.harvest;
  const rows = [];
  for (let i = 0; i < flat.length; i += 3) {
    const t = token(flat[i]);
    const total = side === "in" ? t.count : t.mass;
    const count = flat[i + 1];
    rows.push({ id: flat[i], count, plus: flat[i + 2], recall: count / sub.firings, precision: total > 0 ? count / total : 0, pmi: count > 0 && total > 0 ? Math.log((count * positions) / (sub.firings * total)) : 0 });
  }
  if (!rows.length) return null;
  return el("section", {}, el("h2", {}, sideNames[side]), sortTable({ by: 2, caption: side === "in" ? "Share: of its firings at the token. Coverage: of the token's occurrences where it fires." : "Share: of the model's probability where it fires. Coverage: of all probability that the token gets.", columns: [
    { name: "Token", value: (r) => tokenText(r.id), cell: (r) => chip(r.id) },
    { name: side === "in" ? "Times" : "Mass", num: true, value: (r) => r.count },
    { name: "Share", num: true, value: (r) => r.recall, cell: (r) => percent(r.recall) },
    { name: "Coverage", num: true, value: (r) => r.precision, cell: (r) => percent(r.precision) },
    { name: "PMI", num: true, value: (r) => r.pmi },
    { name: "+", num: true, wide: true, value: (r) => r.plus / r.count, cell: (r) => share(r.plus / r.count) }], rows }));
}

async function subcomponent(key) {
  const sub = R.byKey.get(key);
  if (!sub) return [heading("No such subcomponent"), el("p", {}, `“${spelled(key)}” is not among the alive subcomponents of this report.`), el("p", {}, el("a", { href: "#/subs" }, "All subcomponents"))];
  const d = await detailOf(sub);
  const { harvest } = R.meta;
  const site = siteOf(sub.column);
  const at = R.shown.indexOf(sub);
  const near = (step) => (at >= 0 && R.shown[at + step] ? R.shown[at + step] : null);
  const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  const score = (s) => `hit ${percent(s[0])}, cover ${percent(s[1])}`;
  const nodes = [el("div", { class: "crumbs" }, el("a", { href: "#/subs" }, "← Subcomponents"), el("span", {}, near(-1) ? subLink(near(-1), "previous") : null, " ", near(1) ? subLink(near(1), "next") : null))];
  nodes.push(heading(sub.key, sub.label ? spelled(sub.label) : null));
  if (sub.always) nodes.push(el("p", {}, "Always on: its mean importance is above one half, so no token tells where it fires."));
  else {
    if (sub.in.length) nodes.push(el("p", {}, "Fires at ", chips(sub.in), el("span", { class: "muted" }, ` (${score(sub.inScore)})`)));
    if (sub.out.length) nodes.push(el("p", {}, "The model says ", chips(sub.out), " there", el("span", { class: "muted" }, ` (${score(sub.outScore)})`)));
  }
  if (sub.poly) nodes.push(el("p", { class: "notice" }, `Fires with both signs, on different tokens: these may be two roles. The signs' tokens differ by ${number(d.s[0])} bits (noise ${number(d.s[1])}), what is said by ${number(d.s[2])} (${number(d.s[3])}).`));
  nodes.push(el("dl", { class: "facts" },
    fact("Firings", `${number(sub.firings)} of ${number(harvest.positions)} positions`), fact("Density", percent(sub.density)), fact("Rows with a firing", `${number(sub.rows)} of ${number(harvest.rows)}`),
    fact("Mean importance", number(sub.g)), fact("Activation where it fires", `${number(sub.a)} in the mean, ${number(d.r[0])} to ${number(d.r[1])}`), fact("Signs", `${number(sub.pos)} +, ${number(sub.neg)} −`),
    fact("Site", [el("a", { href: `#/subs?f=${encodeURIComponent(`site:${site.name}`)}` }, site.name), ` (${site.in} × ${site.out})`])));

  const list = el("ul", { class: "exs" });
  const state = { sign: "all" };
  const buttons = [["all", "All"], ["plus", "+"], ["minus", "−"]].map(([sign, name]) => el("button", { type: "button", class: "plain", "data-sign": sign, "aria-pressed": sign === "all" ? "true" : "false", onclick: () => show(sign) }, name));
  const show = (sign) => {
    state.sign = sign;
    buttons.forEach((b) => b.setAttribute("aria-pressed", b.dataset.sign === sign ? "true" : "false"));
    const wanted = d.e.filter((e) => sign === "all" || (e[5][e[3]] >= "a" ? "minus" : "plus") === sign);
    list.replaceChildren(...wanted.map((e) => el("li", {}, el("span", { class: "where" }, `row ${e[1]}, position ${e[2]}${e[2] === 0 ? " (window start)" : ""}, ${exampleKinds[e[0]]}`), el("p", { class: "ex" }, exampleText(e)))));
    if (!wanted.length) list.replaceChildren(el("li", { class: "muted" }, "None of that sign was kept."));
  };
  R.cycleSigns = () => show({ all: "plus", plus: "minus", minus: "all" }[state.sign]);
  show("all");
  nodes.push(el("h2", {}, "Examples"), el("div", { class: "tools" }, buttons, exampleLegend()), list);
  nodes.push(el("div", { class: "two" }, tokenTable(d.i, "in", sub), tokenTable(d.o, "out", sub)));
  nodes.push(partners(d.p, sub), wiredTo(d.w), clusterSection(sub), lensSection(d.l));
  const widths = harvest.bins.map((first, i) => Math.max(0, Math.min(harvest.length, harvest.bins[i + 1] ?? 2 * first) - first));
  nodes.push(el("h2", {}, "Where, and how strongly"), el("div", { class: "charts" },
    barChart({ caption: "Positions by importance (logarithmic)", bars: d.h.slice(0, 21).map((v, i) => [i === 0 ? "0" : number(i / 20), v]), xName: "importance up to", yName: "positions", log: true, every: 4 }),
    barChart({ caption: "Density by position in the row", bars: d.q.map((v, i) => [String(harvest.bins[i]), widths[i] ? v / (harvest.rows * widths[i]) : 0]).filter((_, i) => widths[i] > 0), xName: "from position", yName: "density" })));
  nodes.push(claimLine());
  return nodes;
}

function partners(flat, sub) {
  const { positions } = R.meta.harvest;
  const rows = [];
  for (let i = 0; i < flat.length; i += 2) {
    const other = R.byColumn.get(flat[i]);
    if (!other) continue;
    const both = flat[i + 1];
    rows.push({ column: flat[i], both, jaccard: both / (sub.firings + other.firings - both), given: both / other.firings, lift: Math.log((both * positions) / (sub.firings * other.firings)) });
  }
  if (!rows.length) return null;
  return [el("h2", {}, "Fires together with"), sortTable({ by: 1, columns: [
    { name: "Subcomponent", value: (r) => keyOf(r.column), cell: (r) => columnLink(r.column) },
    { name: "Jaccard", num: true, value: (r) => r.jaccard },
    { name: "P(this | other)", num: true, value: (r) => r.given, cell: (r) => percent(r.given) },
    { name: "ln lift", num: true, wide: true, value: (r) => r.lift },
    { name: "Times", num: true, value: (r) => r.both }], rows })];
}

function lensSection(flat) {
  if (!flat.length) return null;
  const half = flat.length / 2;
  const line = (from, to) => {
    const parts = [];
    for (let i = from; i < to; i += 2) parts.push(chip(flat[i]), el("span", { class: "muted small" }, ` ${number(flat[i + 1], 2)} `));
    return parts;
  };
  return [el("h2", {}, "What its vector points at"), el("p", { class: "muted small" }, "From the weights alone: the cosine with tokens' rows of the head (what it writes) or of the embedding (what it reads), with the sign that it mostly fires with."),
    el("p", {}, "Most: ", line(0, half)), el("p", {}, "Least: ", line(half, flat.length))];
}

function health() {
  return [heading("Health", "Known ways in which a decomposition goes wrong, read off the run's own numbers."),
    el("div", { class: "cards" }, R.meta.health.map((f) => el("article", { class: `card ${f.verdict}` },
      el("h3", {}, el("b", { "aria-hidden": "true" }, `${verdictMarks[f.verdict]} `), `${causeWords(f.cause)}: ${verdictWords[f.verdict]}`), el("p", { class: "small" }, f.evidence), f.remedy ? el("p", { class: "small" }, el("strong", {}, "What to do: "), f.remedy) : null))), claimLine()];
}

function limits() {
  const { run, harvest, evaluation } = R.meta;
  const item = (text) => el("li", {}, text);
  const licence = document.getElementById("d3-licence").content.textContent;
  return [heading("Limits", "What this page does not tell, and what it was made of."),
    el("h2", {}, "What the numbers claim"), el("ul", {}, item(R.meta.claim),
      item("A subcomponent that fires may be needed there under the masks that were tried; that it does what its label says is a guess until an intervention shows it."),
      item("Labels, tokens and examples describe when it fires. They are chosen by frequency and do not cover all it does."),
      harvest ? item(`Firings are importances above ${harvest.threshold} at ${number(harvest.positions)} positions (${number(harvest.rows)} rows of ${harvest.length}). Another threshold or other text gives other lists.`) : null,
      harvest && harvest.outputTokens > 0 ? item(`What the model says is counted over the ${harvest.outputTokens} most probable tokens of a position.`) : null,
      harvest ? item("Of several firings in one row an example keeps one at most: nothing may be counted from examples.") : null,
      evaluation && Object.keys(evaluation.budgets || {}).length ? item(`Attacks had these budgets: ${Object.entries(evaluation.budgets).map(([name, b]) => `${name.replace(/^pgd\//, "")} ${b}`).join(", ")}. A stronger one may break more.`) : item("No attack was measured: how far an adversary can break the model is not known.")),
    R.meta.missing.length ? [el("h2", {}, "Missing here"), el("ul", {}, R.meta.missing.map((m) => item(spelled(m))))] : null,
    R.meta.warnings.length ? [el("h2", {}, "Warnings"), notices(R.meta.warnings)] : null,
    el("h2", {}, "Made from"), el("ul", {}, item(`Run ${run.name}, seed ${run.seed}${run.start_time ? `, begun ${run.start_time}` : ""}${run.device ? `, on ${run.device}` : ""}.`),
      harvest ? item(`Evidence of step ${number(harvest.step)}, harvested ${harvest.time}.`) : null, item(`vpd ${run.version} (${run.revision.slice(0, 12)}).`), run.command_line ? item(["Run by: ", spelled(run.command_line)]) : null),
    el("details", {}, el("summary", {}, "Charts are drawn by D3; its licence"), el("pre", { class: "small", style: "white-space:pre-wrap;font-family:inherit" }, licence)), claimLine()];
}

function comparison() {
  const other = R.meta.compare;
  const names = [R.meta.run.name, other.name];
  const same = names[0] === names[1];
  const [mine, theirs] = same ? [`${names[0]} (this)`, `${names[1]} (other)`] : names;
  const figures = [["KL unmasked", "ce_kl/kl_unmasked"], ["KL stochastic", "ce_kl/kl_stochastic"], ["KL, only g > 0", "ce_kl/kl_rounded_0"], ["CE, only g > 0", "ce_kl/ce_rounded_0"], ["L0", "l0/total"], ["Alive (mean g)", "alive/total"]];
  for (const m of Object.keys((R.meta.evaluation || { metrics: {} }).metrics)) if (/^pgd\/[^/]+$/.test(m) && R.meta.evaluation.budgets[m]) figures.push([`Attack ${m.slice(4)}`, m]);
  const rows = figures.map(([name, m]) => ({ name, a: metric(m), b: (other.metrics || {})[m] })).filter((r) => r.a !== undefined || r.b !== undefined);
  const nodes = [heading("Comparison", `${mine}, step ${number(other.steps[0])}, beside ${theirs}, step ${number(other.steps[1])}`)];
  if (rows.length) nodes.push(el("h2", {}, "Figures on held-out rows"), sortTable({ columns: [{ name: "Figure", value: (r) => r.name }, { name: mine, num: true, value: (r) => r.a ?? null, cell: (r) => number(r.a) }, { name: theirs, num: true, value: (r) => r.b ?? null, cell: (r) => number(r.b) }], rows }));
  nodes.push(el("h2", {}, "Matched subcomponents"), el("p", { class: "muted" }, "Within a site every alive subcomponent of one run gets at most one of the other, so that the cosines of their rank-one matrices are largest together. The common sign of U and V is arbitrary: means are of absolute values. Matched: the matrices' cosine is above 0.7."),
    sortTable({ columns: [
      { name: "Site", value: (s) => s.name }, { name: "Alive", num: true, value: (s) => s.alive[0], cell: (s) => `${s.alive[0]} and ${s.alive[1]}` },
      { name: "Matched", num: true, value: (s) => (s.pairs ? s.matched / s.pairs : 0), cell: (s) => (s.pairs ? `${s.matched} of ${s.pairs}` : "–") },
      { name: "|cos U|", num: true, value: (s) => (s.mean ? s.mean[0] : null), cell: (s) => number(s.mean && s.mean[0]) },
      { name: "|cos V|", num: true, value: (s) => (s.mean ? s.mean[1] : null), cell: (s) => number(s.mean && s.mean[1]) },
      { name: "cos matrix", num: true, value: (s) => (s.mean ? s.mean[2] : null), cell: (s) => number(s.mean && s.mean[2]) }], rows: other.sites }));
  const select = el("select", { "aria-label": "Site of the pairs" }, other.sites.map((s, i) => el("option", { value: i }, s.name)));
  const pairs = el("div", {});
  const show = () => {
    const site = other.sites[Number(select.value)];
    const link = (c) => { const sub = R.byKey.get(`${site.name}:${c}`); return sub ? [subLink(sub, `:${c}`), " ", chips(sub.in.slice(0, 3))] : `:${c}`; };
    pairs.replaceChildren(sortTable({ caption: "The best pairs of the site", columns: [
      { name: mine, value: (p) => p[1], cell: (p) => link(p[1]) }, { name: theirs, value: (p) => p[2], cell: (p) => `:${p[2]}` },
      { name: "cos U", num: true, value: (p) => p[3] }, { name: "cos V", num: true, value: (p) => p[4] }, { name: "cos matrix", num: true, value: (p) => p[5] }], rows: other.pairs.filter((p) => p[0] === Number(select.value)).slice(0, 100) }));
  };
  select.addEventListener("change", show);
  nodes.push(el("h2", {}, "Pairs"), el("div", { class: "tools" }, el("label", {}, "Site ", select)), pairs);
  const shared = Object.keys(R.meta.curves).filter((n) => /^train\/(loss|l0)/.test(n) && (other.curves[n] || []).length > 1 && R.meta.curves[n].length > 1);
  if (shared.length) nodes.push(el("h2", {}, "Curves"), el("div", { class: "charts" }, shared.map((name) => lineChart({ caption: name.slice(6), series: [{ name: mine, points: R.meta.curves[name] }, { name: theirs, points: other.curves[name] }], xName: "step", log: name !== "train/l0" }))));
  nodes.push(claimLine());
  return { nodes, after: show };
}
