// Clusters: subcomponents that are important together, and how the description length led to them.

// The cluster of each subcomponent that is in one, by key.
function clusterOf(key) {
  if (!R.clusterOf) {
    R.clusterOf = new Map();
    if (R.meta.clusters)
      for (const cluster of [...R.meta.clusters.clusters, ...R.meta.clusters.loose]) for (const member of cluster.members) R.clusterOf.set(member, cluster);
  }
  return R.clusterOf.get(key);
}
const clusterLink = (cluster) => el("a", { href: `#/clusters?of=${encodeURIComponent(cluster.members[0])}` }, `${number(cluster.members.length)} members`);
const looseWords = (cluster) => (R.meta.clusters.loose.includes(cluster) ? " (loose: merged because its members are rare)" : "");

function memberLink(key) {
  const sub = R.byKey.get(key);
  return sub ? subLink(sub) : key;
}
function memberItem(key) {
  const sub = R.byKey.get(key);
  return el("li", {}, memberLink(key), sub && sub.label ? el("span", { class: "muted" }, ` ${spelled(sub.label)}`) : null,
    sub && sub.always ? el("span", { class: "muted small" }, " always on") : sub && sub.in.length ? el("span", { class: "small" }, " fires at ", chips(sub.in.slice(0, 5))) : null);
}
// What few tokens tell of its members together: the tokens that most of them fire at.
function clusterTokens(cluster) {
  const counts = new Map();
  for (const sub of cluster.members.map((key) => R.byKey.get(key)).filter((s) => s && !s.always)) for (const id of sub.in.slice(0, 4)) counts.set(id, (counts.get(id) || 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, 4).map(([id]) => id);
}
// Its members are put out once they are asked for: of a large run there are thousands.
function membersCell(cluster) {
  const list = el("details", { class: "small", style: "font-weight:400" }, el("summary", {}, `all ${cluster.members.length}`));
  list.addEventListener("toggle", () => { if (!list.querySelector("ul")) list.append(el("ul", {}, cluster.members.map(memberItem))); });
  return [memberLink(cluster.members[0]), cluster.label ? el("span", { class: "muted" }, ` ${spelled(cluster.label)}`) : null, list];
}
function clusterTable(list, positions) {
  const seeds = list.some((c) => c.stability !== null);
  return sortTable({ rows: list, by: 1, columns: [
    { name: "Members", value: (c) => c.members[0], cell: (c) => membersCell(c) },
    { name: "Number", num: true, value: (c) => c.members.length },
    { name: "Cohesion", num: true, value: (c) => c.cohesion },
    { name: "Within", num: true, wide: true, value: (c) => c.within_density },
    { name: "Count", num: true, value: (c) => c.count },
    { name: "Density", num: true, wide: true, value: (c) => c.count, cell: (c) => percent(c.count / positions) },
    ...(seeds ? [{ name: "Stability", num: true, value: (c) => c.stability }] : []),
    { name: "Tokens", wide: true, cell: (c) => chips(clusterTokens(c)) }] });
}
function clusterCurve(data) {
  const apart = data.subcomponents;
  const points = data.curve.map(([merges, bits]) => [apart - merges, bits]);
  const { groups, alpha } = data.alphas[0];
  const low = Math.min(...points.map((p) => p[1]));
  const high = Math.max(...points.filter((p) => p[0] >= groups).map((p) => p[1]));
  // What is merged far beyond the smallest length costs so much that it would squeeze the rest together.
  const shown = points.filter((p) => p[1] <= low + 1.5 * (high - low) + 1e-9);
  return lineChart({ caption: `Description length against the number of groups, alpha ${number(alpha)}: the smallest is at ${number(groups)}`, xName: "groups",
    series: [{ name: "bits a position", points: shown }, { name: `${number(groups)} groups`, points: [[groups, low], [groups, Math.max(...shown.map((p) => p[1]))]] }] });
}
function clusters(parameters) {
  const data = R.meta.clusters;
  const { settings } = data;
  const asked = clusterOf(parameters.get("of"));
  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const rand = data.adjusted_rand;
  const grouped = data.alphas[0];
  return [heading("Clusters", "Subcomponents that are important at the same positions, grouped so that it takes few bits to say which groups are important where."),
    el("dl", { class: "tiles" }, tile("Groups", number(grouped.groups), `of ${number(data.subcomponents)} subcomponents`), tile("Clusters", number(grouped.clusters), "of two or more that hold together"),
      tile("Alone", number(grouped.alone), "subcomponents in no cluster"), tile("Bits a position", number(grouped.bits / data.positions), `${number(grouped.bits_before / data.positions)} before`),
      rand.length ? tile("Seeds agree", number(mean(rand)), `adjusted Rand index with ${rand.length} other${rand.length > 1 ? "s" : ""}`) : null),
    el("p", { class: "notice" }, "Subcomponents that are rarely important merge, too, even where they never are together, because naming fewer groups is cheaper. Cohesion tells: the chance that another member is important where one is."),
    asked ? [el("h2", {}, `The cluster of ${asked.members[0]}`), el("p", {}, `${number(asked.members.length)} members${looseWords(asked)}, cohesion ${number(asked.cohesion)}, within ${number(asked.within_density)}, at ${number(asked.count)} positions${asked.stability === null ? "" : `, stability ${number(asked.stability)}`}`),
      el("ul", {}, asked.members.map(memberItem))] : null,
    el("h2", {}, "How many groups"), el("div", { class: "charts" }, clusterCurve(data)),
    data.alphas.length > 1 ? sortTable({ caption: "More alpha, bits for each member of a group, leaves smaller groups.", rows: data.alphas, columns: [
      { name: "Alpha", num: true, value: (a) => a.alpha }, { name: "Groups", num: true, value: (a) => a.groups }, { name: "Clusters", num: true, value: (a) => a.clusters }, { name: "Loose", num: true, value: (a) => a.loose },
      { name: "Alone", num: true, value: (a) => a.alone }, { name: "Bits a position", num: true, value: (a) => a.bits / data.positions }] }) : null,
    el("h2", {}, "Clusters that hold together"),
    data.clusters.length ? [el("p", { class: "muted small" }, "Within: the part of its members that is important where one is. Count: positions where one is. Stability: the best match with a group of another seed, in the mean."), clusterTable(data.clusters, data.positions)] : el("p", { class: "muted" }, "There is none."),
    data.loose.length ? el("details", {}, el("summary", {}, `${number(data.loose.length)} more below a cohesion of ${number(data.least_cohesion)}, which were merged because their members are rare`), clusterTable(data.loose, data.positions)) : null,
    el("p", { class: "small muted" }, `Importances above ${settings.threshold} at ${number(data.positions)} positions, ${data.per_row} of each of ${number(data.rows)} rows; ${settings.greedy ? "always the cheapest merge" : `merges drawn by rank, gamma ${settings.gamma}`}${settings.require_coactivation ? "; only groups that are ever important together merge" : ""}.`),
    claimLine()];
}

// On a subcomponent's page.
function clusterSection(sub) {
  const cluster = clusterOf(sub.key);
  if (!cluster) return null;
  const others = cluster.members.filter((key) => key !== sub.key);
  return [el("h2", {}, "Its cluster"), el("p", {}, clusterLink(cluster), `${looseWords(cluster)}, cohesion ${number(cluster.cohesion)}`),
    el("ul", {}, others.slice(0, 8).map(memberItem)), others.length > 8 ? el("p", { class: "small muted" }, `and ${number(others.length - 8)} more`) : null];
}
