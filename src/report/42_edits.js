// What edits did: effects beside their controls, and interventions on prompts.

const figureWords = {
  near_kl: "KL near", far_kl: "KL far (g = 0)", important_kl: "KL where important", all_kl: "KL everywhere", ce_change: "CE change",
  stream_cosine: "cosine of what it writes with the stream", stream_gain: "gain along the stream", attention_change: "attention across the boundary: change",
  wanted_p_lost: "wanted: probability lost", wanted_ln_p_lost: "wanted: ln p lost", wanted_argmax_lost: "wanted: most probable, lost",
};
function editWords(edit) {
  const kind = ["ablate", "scale", "activation", "write", "read", "swap"].find((name) => name in edit);
  const key = edit[kind];
  const sub = R.byKey.get(key);
  const rest = { scale: ` × ${edit.factor}`, activation: ` = ${edit.value}`, write: ` → ${edit.direction} × ${edit.strength}`, read: ` ← ${edit.from}`, swap: ` ↔ ${edit.with}` }[kind] || "";
  const where = edit.where ? (edit.where.importance !== undefined ? `, where important (> ${edit.where.importance})` : `, at positions ${edit.where.positions.join(" to ")}`) : "";
  return el("li", {}, `${kind} `, sub ? subLink(sub) : key, spelled(`${rest}${edit.head !== undefined ? `, head ${edit.head}` : ""}${where}`), sub && sub.in.length ? [" ", el("span", { class: "muted small" }, "fires at ", chips(sub.in.slice(0, 4)))] : null);
}
function figureTable(figures, caption) {
  return sortTable({ caption, rows: Object.entries(figures).map(([name, f]) => ({ name: figureWords[name] || name, ...f })), columns: [
    { name: "Figure", value: (r) => r.name }, { name: "Edit", num: true, value: (r) => r.mean }, { name: "95 % interval", num: true, cell: (r) => `${number(r.low)} to ${number(r.high)}` },
    { name: "Controls", num: true, value: (r) => r.control_mean ?? null, cell: (r) => (r.control_mean === undefined ? "–" : `${number(r.control_mean)} ± ${number(r.control_spread, 2)}`) },
    { name: "Above", num: true, value: (r) => r.percentile ?? null, cell: (r) => (r.percentile === undefined ? "–" : share(r.percentile)) },
    { name: "Positions", num: true, wide: true, value: (r) => r.tokens }] });
}
function effect(result) {
  return el("section", {}, el("h2", {}, spelled(result.name)), el("ul", {}, result.edits.map(editWords)),
    result.wanted ? el("p", {}, "Wanted: ", result.wanted.tokens.map((t) => [el("span", { class: "tok" }, spelled(t)), " "]), el("span", { class: "muted" }, `probability ${number(result.wanted.p[0])} before, ${number(result.wanted.p[1])} after, at ${number(result.wanted.positions)} positions where it is important`)) : null,
    el("p", { class: "notice" }, spelled(result.sentence)),
    figureTable(result.figures, `${number(result.positions)} held-out positions, ${number(result.controls)} controls of the same sites and density`),
    Object.keys(result.mechanism || {}).length ? figureTable(result.mechanism, "What it does inside the target") : null,
    result.out ? el("p", { class: "small muted" }, `Written: ${result.written.map((w) => `${w.matrix} (${w.dtype}, rounding ${number(w.relative_error, 2)})`).join(", ")}`) : null);
}
function intervention(result) {
  const most = Math.max(...result.kl, 1e-9);
  return el("section", {}, el("h2", {}, spelled(result.name)), el("p", { class: "muted" }, `in ${result.context}; behind each token its KL from the target`),
    el("p", { class: "ex" }, result.texts.map((text, i) => el("span", { class: result.kl[i] > 1e-6 ? `f plus l${Math.min(4, Math.floor((5 * result.kl[i]) / most))}` : null, title: `KL ${number(result.kl[i])}` }, spelled(text).replace(/·/g, " ")))),
    el("div", { class: "two" }, el("div", {}, sortTable({ caption: "Next token", columns: [{ name: "Token", value: (r) => spelled(r.text) }, { name: "Target", num: true, value: (r) => r.target }, { name: "Edited", num: true, value: (r) => r.edited }], rows: result.next })),
      result.generations.length ? el("div", {}, el("p", { class: "muted small" }, "Texts that go on from there"), el("dl", { class: "facts", style: "grid-template-columns:1fr" }, result.generations.map((g) => el("div", {}, el("dt", {}, spelled(g.who)), el("dd", {}, spelled(g.text.replace(/\n/g, "↵")))))) ) : null));
}
function auditSection(result) {
  if (result.curves) return unlearnSection(result);
  return el("section", {}, el("h2", {}, spelled(result.name)), el("p", { class: "muted" }, `Audit: figures from ${number(result.prompts)} prompts of the behaviour and ${number(result.against)} against it; mean p(target) ${number(result.probability)}.`),
    sortTable({ caption: "Effect: change of the metric when it is taken out (below 0: it serves the behaviour). Score: effect for the damage done to the other prompts.", columns: [
      { name: "Subcomponent", value: (r) => r.key, cell: (r) => { const sub = R.byKey.get(r.key); return [sub ? subLink(sub) : r.key, r.label ? el("span", { class: "muted" }, ` ${spelled(r.label)}`) : null]; } },
      { name: "Score", num: true, value: (r) => r.score }, { name: "Effect", num: true, value: (r) => r.effect }, { name: "95 % interval", num: true, wide: true, cell: (r) => `${number(r.effect_low)} to ${number(r.effect_high)}` },
      { name: "Side KL", num: true, value: (r) => r.side }, { name: "Specificity", num: true, wide: true, value: (r) => r.specificity ?? null, cell: (r) => (r.specificity === undefined ? "–" : number(r.specificity, 2)) }, { name: "AUC g", num: true, wide: true, value: (r) => r.auc_importance }, { name: "AUC a", num: true, wide: true, value: (r) => r.auc_activation }], rows: result.ranking.slice(0, 30) }));
}
function unlearnSection(result) {
  const most = 2 * Math.max(result.budget, result.side.mean); // what does far more damage would squeeze the rest together
  const fall = (points) => points.filter((p) => p.side <= most).map((p) => [p.side, -p.effect]).sort((a, b) => a[0] - b[0]);
  return el("section", {}, el("h2", {}, spelled(result.name)),
    el("p", {}, `Taken out to unlearn a behaviour: p(target) ${number(result.probability)} before, ${number(result.probability_after)} after; mean KL on the other prompts ${number(result.side.mean)} (budget ${number(result.budget)}), 99th percentile ${number(result.side.percentile_99)}. `,
      Number.isFinite(result.stayed) ? `The metric of a prompt that is to stay changes by ${number(result.stayed)} at most${result.stay > 0 ? ` (allowed ${number(result.stay)})` : ""}. ` : null,
      el("span", { class: "muted" }, `From ${number(result.prompts)} prompts of the behaviour and ${number(result.against)} others. Other prompts chose the set, unless a warning says that some serve both.`)),
    result.warnings?.length ? notices(result.warnings) : null,
    el("ul", {}, result.set.map((one) => { const sub = R.byKey.get(one.key); return el("li", {}, sub ? subLink(sub) : one.key, one.label ? el("span", { class: "muted" }, ` ${spelled(one.label)}`) : null, one.made_up_for ? el("span", { class: "muted small" }, " – others make up for it in the target") : null); })),
    lineChart({ caption: "Fall of the metric for the damage done elsewhere", xName: "mean KL on the others", series: result.curves.map((c) => ({ name: c.name, points: fall(c.points) })) }),
    sortTable({ caption: "Each way of taking the behaviour out, on the same prompts", columns: [
      { name: "Method", value: (r) => r.name }, { name: "What it is", wide: true, value: (r) => r.description }, { name: "Fall at budget", num: true, value: (r) => r.fall_at_budget },
      { name: "Mean fall below it", num: true, value: (r) => r.area }, { name: "p(target) at its strongest", num: true, value: (r) => r.points[r.points.length - 1].probability }, { name: "KL there", num: true, value: (r) => r.points[r.points.length - 1].side }], rows: result.curves }),
    result.groups.length ? sortTable({ caption: "By group of prompts", columns: [{ name: "Group", value: (r) => spelled(r.name) }, { name: "Prompts", num: true, value: (r) => r.prompts }, { name: "p before", num: true, value: (r) => r.p[0] }, { name: "p after", num: true, value: (r) => r.p[1] }], rows: result.groups }) : null,
    result.relearning.length ? lineChart({ caption: "p(target) when it is trained on the behaviour again", xName: "step", series: result.relearning.map((c) => ({ name: c.name, points: c.steps.map((step, i) => [step, c.probability[i]]) })) }) : null,
    el("p", { class: "muted small" }, "A token that is suppressed is not a concept that is gone: paraphrases, other positions and a little training may bring it back."));
}
function edits() {
  return [heading("Edits", "What was changed in the target, what it did, and what random subcomponents of the same sites and density did when they were changed likewise."),
    (R.meta.edits || []).map(effect), (R.meta.interventions || []).map(intervention), (R.meta.audits || []).map(auditSection),
    el("p", { class: "muted" }, "An effect beside its controls says that this subcomponent matters for these tokens more than others do. It does not say that nothing else does, nor what the model would learn again."), claimLine()];
}
