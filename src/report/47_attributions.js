// Who usually feeds whom, summed over data: the strongest edges, and those of one subcomponent.

const keyCell = (key) => { const sub = R.byKey.get(key); return sub ? [subLink(sub), sub.label ? el("span", { class: "muted" }, ` ${spelled(sub.label)}`) : null] : spelled(key); };
const signed = (x) => (x > 0 ? `+${number(x)}` : number(x).replace("-", "−"));

function attributions(parameters) {
  const all = R.meta.attributions;
  const result = all.find((one) => one.name === parameters.get("r")) || all[0];
  const absolute = result.strongest.some((edge) => edge.absolute !== undefined);
  return [heading("Attributions", `Which subcomponents usually feed which: edges summed over ${number(result.positions)} positions.`),
    all.length > 1 ? el("p", {}, all.map((one) => [el("a", { href: `#/attributions?r=${encodeURIComponent(one.name)}`, "aria-current": one === result ? "page" : null }, spelled(one.name)), " "])) : null,
    el("p", { class: "notice" }, el("b", {}, `Rule ${spelled(result.rule)}. `), spelled(result.caveat)),
    sortTable({ caption: `The ${number(result.strongest.length)} strongest edges between subcomponents. Normalised: over the source's importance in all and the root mean square of the target's activation.`, rows: result.strongest, columns: [
      { name: "From", value: (e) => e.source, cell: (e) => keyCell(e.source) }, { name: "Into", value: (e) => e.target, cell: (e) => keyCell(e.target) },
      { name: "Normalised", num: true, value: (e) => Math.abs(e.normalised), cell: (e) => signed(e.normalised) },
      { name: "Sum", num: true, wide: true, value: (e) => Math.abs(e.sum), cell: (e) => signed(e.sum) },
      ...(absolute ? [{ name: "To its size", num: true, wide: true, value: (e) => e.absolute, cell: (e) => signed(e.absolute) }] : [])] }),
    (result.tokens || []).map((one) => sortTable({ caption: `What feeds the logit of ${spelled(one.text)}`, rows: one.edges, columns: [
      { name: "From", value: (e) => e.source, cell: (e) => keyCell(e.source) }, { name: "Normalised", num: true, value: (e) => Math.abs(e.normalised), cell: (e) => signed(e.normalised) }, { name: "Sum", num: true, wide: true, value: (e) => Math.abs(e.sum), cell: (e) => signed(e.sum) }] })),
    el("p", { class: "muted small" }, "Of each subcomponent the strongest on both sides stand on its own page. A sign says whether the source raises or lowers the target's activation; which sign of that activation means what is arbitrary."),
    claimLine()];
}

// flat: [source or target, normalised, ...]; sources from the number of all subcomponents on are tokens.
function wiredTo(wiring) {
  if (!wiring) return null;
  const { rule, caveat, columns } = R.meta.wiring;
  const rows = (flat, test) => d3.range(0, flat.length, 2).map((i) => ({ end: flat[i], value: flat[i + 1] })).filter((r) => test(r.end));
  const value = { name: "Normalised", num: true, value: (r) => Math.abs(r.value), cell: (r) => signed(r.value) };
  const table = (caption, list, title) => (list.length ? sortTable({ caption, rows: list, columns: [{ name: title, value: (r) => keyOf(r.end), cell: (r) => columnLink(r.end) }, value] }) : el("p", { class: "muted" }, `${caption}: none is among the strongest sources that were kept of each target.`));
  const tokens = rows(wiring[0], (end) => end >= columns);
  return [el("h2", {}, "Wired to"), el("p", { class: "muted small" }, `Over data, rule ${spelled(rule)}. ${spelled(caveat)}`),
    el("div", { class: "two" }, table("Fed by", rows(wiring[0], (end) => end < columns), "From"), table("Feeds", rows(wiring[1], () => true), "Into")),
    tokens.length ? el("p", {}, "By tokens' own vectors: ", tokens.map((r) => [chip(r.end - columns), el("span", { class: "muted small" }, ` ${signed(r.value)} `)])) : null];
}
