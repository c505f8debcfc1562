// The question that a targeted decomposition was made for: what the model says, what makes it say so, what an adversary could still
// do, what removing it does elsewhere, and what the method cannot tell.

function keyList(keys) {
  return keys.map((key, i) => { const sub = R.byKey.get(key); return [i ? ", " : "", sub ? subLink(sub) : spelled(key)]; });
}
function removalSection(result, removal) {
  const prompt = result.prompts[removal.prompt];
  const said = el("span", { class: "tok" }, spelled(prompt.continuation));
  if (!removal.keys.length) return el("section", {}, el("h3", {}, "Without ", said), el("p", { class: "notice" }, "No subcomponent lowers it within the damage that is allowed."));
  return el("section", {}, el("h3", {}, "Without ", said, " behind ", el("q", {}, spelled(prompt.text))),
    el("p", {}, `Taken out of the weights: ${number(removal.keys.length)} subcomponents, `, keyList(removal.keys), "."),
    sortTable({ caption: "Probability of the first token behind each prompt", columns: [
      { name: "Prompt", value: (r) => spelled(r.text) }, { name: "Says", value: (r) => spelled(r.continuation) }, { name: "Before", num: true, value: (r) => r.before }, { name: "After", num: true, value: (r) => r.after }],
      rows: result.prompts.map((p, i) => ({ ...p, before: removal.before[i], after: removal.after[i] })) }),
    el("p", {}, `Elsewhere, on ${number(removal.positions)} positions of other text: KL ${number(removal.kl_mean)} in the mean, ${number(removal.kl_99)} at the 99th percentile. `,
      removal.redundant ? `${number(removal.redundant)} of them ${removal.redundant === 1 ? "is" : "are"} made up for by others in the target: alone in the circuit ${removal.redundant === 1 ? "it counts" : "they count"}.` : "None of them is made up for by others in the target."),
    removal.baselines.length ? sortTable({ caption: "The same by other means, on the same prompts", columns: [
      { name: "Method", value: (r) => r.name }, { name: "p at its strongest", num: true, value: (r) => r.probability }, { name: "KL there, on what is to stay", num: true, value: (r) => r.side },
      ...(result.prompts.length > 1 ? [{ name: "Largest change of ln p at the other prompts", num: true, value: (r) => r.stayed ?? null }] : [])], rows: removal.baselines }) : null);
}
// Of a line each: what a subcomponent does behind each prompt, and to other text.
function specificitySection(result) {
  if (!(result.subcomponents || []).length) return null;
  return el("section", {}, el("h2", {}, "What each part does alone"),
    el("p", {}, `The most influential subcomponents of the graphs, taken out of the weights one by one. What counts is how much more a part does behind a prompt than on ${number(result.background_positions)} positions of other text.`),
    sortTable({ caption: "KL from the target behind each prompt; its 99th percentile elsewhere; specificity: the largest of the former over the latter", columns: [
      { name: "Subcomponent", value: (r) => r.key, cell: (r) => keyList([r.key]) },
      ...result.prompts.map((p, i) => ({ name: spelled(p.text), num: true, value: (r) => r.kl[i] })),
      { name: "Elsewhere", num: true, value: (r) => r.kl_99 }, { name: "Specificity", num: true, value: (r) => r.specificity },
      { name: "Made up for", value: (r) => (r.made_up_for ? "yes" : "no") }], rows: result.subcomponents }),
    el("p", { class: "muted" }, "Made up for: ln p falls by more than 0.2 where only the circuit acts, and by less than 0.1 in the whole target, where something else then does the same. What is removed for good has to take that along."));
}
function question() {
  const all = R.meta.explain;
  return [heading("Question"), ...all.map((result) => el("div", {},
    el("section", {}, el("h2", {}, "What the model says"), sortTable({ caption: "p: probability of the continuation in the target. With the circuit alone: only the nodes of the prompt's graph act. Attacked: the worst masks that an adversary found for everything else.", columns: [
      { name: "Prompt", value: (r) => spelled(r.text) }, { name: "Continuation", value: (r) => spelled(r.continuation) }, { name: "p", num: true, value: (r) => r.probability[0] },
      { name: "Circuit alone", num: true, value: (r) => (r.rounded.length ? r.rounded[0] : null) }, { name: "Attacked", num: true, value: (r) => r.attacked }, { name: "Nodes", num: true, value: (r) => r.nodes },
      { name: "Withstands", value: (r) => (r.faithful ? "yes" : "no") }], rows: result.prompts }),
      el("p", {}, R.meta.graphs ? el("a", { href: "#/graphs" }, "The graphs") : "The graphs", " show which parts these are, and how they feed each other.")),
    el("section", {}, el("h2", {}, "The decomposition"), el("p", {}, `${number(result.alive)} subcomponents are alive in ${number(result.sites)} matrices (${number(result.alive / Math.max(1, result.sites), 2)} each), after ${number(result.steps)} steps. On the prompts, KL from the target is ${number(result.rounded_kl)} with those alone that are important there, and ${number(result.attacked_kl)} after 20 steps of an attack through everything else. `,
      result.excluded_rows ? `${number(result.excluded_rows)} rows of other text held a prompt and were left out.` : "")),
    specificitySection(result),
    el("section", {}, el("h2", {}, "What removing it does"), result.removals.map((removal) => removalSection(result, removal))),
    el("section", {}, el("h2", {}, "What this cannot tell"), el("ul", {},
      el("li", {}, "What lies before the first decomposed block, and what is left in the weights (Δ), may also make the model say this. Only what the prompts need is decomposed."),
      el("li", {}, "A subcomponent is known only in the directions that these prompts span. Two mechanisms that always act together on them are found as one; a mechanism that another makes up for can be missed."),
      el("li", {}, "The attack has a budget. A longer one, or one on the weights themselves, may do more."),
      el("li", {}, "A completion that is gone behind these prompts may come back behind a paraphrase, or after a little training.")))))];
}
