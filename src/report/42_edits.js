// What edits did: effects beside their controls, and interventions on prompts.

const figureWords = {
  near_kl: "KL near", far_kl: "KL far (g = 0)", important_kl: "KL where important", all_kl: "KL everywhere", ce_change: "CE change",
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
function effect(result) {
  const rows = Object.entries(result.figures).map(([name, f]) => ({ name: figureWords[name] || name, ...f }));
  return el("section", {}, el("h2", {}, spelled(result.name)), el("ul", {}, result.edits.map(editWords)),
    result.wanted ? el("p", {}, "Wanted: ", result.wanted.tokens.map((t) => [el("span", { class: "tok" }, spelled(t)), " "]), el("span", { class: "muted" }, `probability ${number(result.wanted.p[0])} before, ${number(result.wanted.p[1])} after, at ${number(result.wanted.positions)} positions where it is important`)) : null,
    el("p", { class: "notice" }, spelled(result.sentence)),
    sortTable({ caption: `${number(result.positions)} held-out positions, ${number(result.controls)} controls of the same sites and density`, columns: [
      { name: "Figure", value: (r) => r.name }, { name: "Edit", num: true, value: (r) => r.mean }, { name: "95 % interval", num: true, cell: (r) => `${number(r.low)} to ${number(r.high)}` },
      { name: "Controls", num: true, value: (r) => r.control_mean ?? null, cell: (r) => (r.control_mean === undefined ? "–" : `${number(r.control_mean)} ± ${number(r.control_spread, 2)}`) },
      { name: "Above", num: true, value: (r) => r.percentile ?? null, cell: (r) => (r.percentile === undefined ? "–" : share(r.percentile)) },
      { name: "Positions", num: true, wide: true, value: (r) => r.tokens }], rows }),
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
  return el("section", {}, el("h2", {}, spelled(result.name)), el("p", { class: "muted" }, `Audit: figures from ${number(result.prompts)} prompts of the behaviour and ${number(result.against)} against it; mean p(target) ${number(result.probability)}.`),
    sortTable({ caption: "Effect: change of the metric when it is taken out (below 0: it serves the behaviour). Score: effect for the damage done to the other prompts.", columns: [
      { name: "Subcomponent", value: (r) => r.key, cell: (r) => { const sub = R.byKey.get(r.key); return [sub ? subLink(sub) : r.key, r.label ? el("span", { class: "muted" }, ` ${spelled(r.label)}`) : null]; } },
      { name: "Score", num: true, value: (r) => r.score }, { name: "Effect", num: true, value: (r) => r.effect }, { name: "95 % interval", num: true, wide: true, cell: (r) => `${number(r.effect_low)} to ${number(r.effect_high)}` },
      { name: "Side KL", num: true, value: (r) => r.side }, { name: "AUC g", num: true, wide: true, value: (r) => r.auc_importance }, { name: "AUC a", num: true, wide: true, value: (r) => r.auc_activation }], rows: result.ranking.slice(0, 30) }));
}
function edits() {
  return [heading("Edits", "What was changed in the target, what it did, and what random subcomponents of the same sites and density did when they were changed likewise."),
    (R.meta.edits || []).map(effect), (R.meta.interventions || []).map(intervention), (R.meta.audits || []).map(auditSection),
    el("p", { class: "muted" }, "An effect beside its controls says that this subcomponent matters for these tokens more than others do. It does not say that nothing else does, nor what the model would learn again."), claimLine()];
}
