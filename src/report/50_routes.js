// Which page the address names, the keys, and the first one.

const pages = [
  ["", "Overview", "o", overview], ["question", "Question", "q", question], ["training", "Training", "t", training], ["sites", "Sites", "s", sites], ["subs", "Subcomponents", "c", subs],
  ["clusters", "Clusters", "u", clusters], ["graphs", "Graphs", "r", graphs], ["attention", "Attention", "a", attention], ["attributions", "Attributions", "w", attributions], ["interactions", "Interactions", "i", interactions], ["edits", "Edits", "e", edits],
  ["compare", "Comparison", "p", comparison], ["health", "Health", "h", health], ["limits", "Limits", "l", limits],
];
const main = document.getElementById("main");

function known() {
  const there = { question: R.meta.explain, compare: R.meta.compare, clusters: R.meta.clusters, graphs: R.meta.graphs, attention: R.meta.attention, attributions: R.meta.attributions, interactions: R.meta.interactions,
    edits: R.meta.edits || R.meta.interventions || R.meta.audits };
  return pages.filter(([name]) => !(name in there) || there[name]);
}
function fillNavigation(current) {
  const counts = { subs: R.subs.length || null, sites: R.meta.sites ? R.meta.sites.length : null, health: R.meta.health.filter((f) => f.verdict === "warning").length || null };
  document.getElementById("nav").replaceChildren(...known().map(([route, name]) => el("a", { href: `#/${route}`, "aria-current": route === current ? "page" : null }, el("span", {}, name), counts[route] ? el("span", { class: "count" }, route === "health" ? `${counts[route]} !` : number(counts[route])) : null)));
  const chosen = document.querySelector("nav [aria-current]");
  if (chosen) chosen.parentElement.scrollLeft = chosen.offsetLeft - 60;
}

// An address as it was meant, or as it stands where it is none.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    return text;
  }
}

function broken(error) {
  failed(error);
  main.replaceChildren(el("h1", {}, "This page could not be opened"), el("p", {}, String(error.message || error)));
  root.dataset.ready = "1";
}

let turn = 0;
async function route() {
  turn += 1;
  const mine = turn;
  root.dataset.ready = "0";
  const [address, query] = location.hash.replace(/^#\/?/, "").split("?");
  const path = decoded(address);
  const parameters = new URLSearchParams(query || "");
  R.table = null;
  R.cycleSigns = null;
  R.current = null;
  let made;
  let title = R.meta.run.name;
  if (path.startsWith("s/")) {
    const key = path.slice(2);
    R.current = key;
    title = key;
    fillNavigation("subs");
    made = await subcomponent(key);
  } else if (path === "selftest") {
    fillNavigation("");
    made = [heading("Self-test"), el("ol", { id: "selftest" })];
  } else {
    const page = known().find(([name]) => name === path);
    fillNavigation(page ? page[0] : null);
    title = page ? page[1] : "No such page";
    made = page ? await page[3](parameters) : [heading("No such page"), el("p", {}, el("a", { href: "#/" }, "Overview"))];
  }
  if (mine !== turn) return;
  const { nodes, after } = Array.isArray(made) ? { nodes: made, after: null } : made;
  main.replaceChildren();
  add(main, nodes);
  document.title = `${spelled(title)}: vpd report`;
  if (R.moved) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  R.moved = true;
  if (after) after();
  drawCharts();
  root.dataset.ready = path === "selftest" && !R.testing ? "0" : "1";
  if (path === "selftest" && !R.testing) await selftest();
}

const keys = [["/", "search subcomponents"], ["j  k", "next, previous"], ["Enter", "open the chosen one"], ["[  ]", "a page back, on"], ["g o  g q  g t  g s  g c  g u  g r  g a  g w  g i  g e  g p  g h  g l", "overview, question, training, sites, subcomponents, clusters, graphs, attention, attributions, interactions, edits, comparison, health, limits"], ["e", "examples: all, +, −"], ["?", "this help"]];
function help() {
  const dialog = document.getElementById("help");
  dialog.replaceChildren(el("h2", { id: "help-title", style: "margin-top:0" }, "Keys"), el("table", {}, el("tbody", {}, keys.map(([key, what]) => el("tr", {}, el("th", { scope: "row" }, key.split(/\s{2,}/).map((k) => [el("kbd", {}, k), " "])), el("td", {}, what))))),
    el("form", { method: "dialog" }, el("button", { class: "plain" }, "Close")));
  dialog.showModal();
}

let awaitsPage = false;
function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName || "");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    if (event.key === "Enter" && event.target.id === "filter" && R.shown.length) location.hash = `#/s/${encodeURIComponent(R.shown[0].key)}`;
    return;
  }
  if (document.getElementById("help").open) return;
  const go = (hash) => { location.hash = hash; event.preventDefault(); };
  if (awaitsPage) {
    awaitsPage = false;
    const page = known().find(([, , letter]) => letter === event.key);
    if (page) go(`#/${page[0]}`);
    return;
  }
  const open = (sub) => sub && go(`#/s/${encodeURIComponent(sub.key)}`);
  const table = R.table;
  const at = R.current ? R.shown.findIndex((s) => s.key === R.current) : -1;
  const steps = { j: 1, k: -1, "]": table ? table.page() : 1, "[": table ? -table.page() : -1 };
  if (event.key in steps && table) { table.choose(table.state.chosen + steps[event.key]); event.preventDefault(); }
  else if (event.key in steps && at >= 0) open(R.shown[at + steps[event.key]]);
  else if (event.key === "Enter" && table && (event.target === document.body || event.target === main || event.target === table.box)) open(R.shown[table.state.chosen]);
  else if (event.key === "g") awaitsPage = true;
  else if (event.key === "e" && R.cycleSigns) R.cycleSigns();
  else if (event.key === "?") help();
  else if (event.key === "/" && R.meta.harvest) {
    event.preventDefault();
    if (table) document.getElementById("filter").focus();
    else { R.focusFilter = true; go("#/subs"); }
  }
}

let resized = 0;
window.addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => { drawCharts(); if (R.table) R.table.draw(); }, 120); });
window.addEventListener("hashchange", () => route().then(() => {
  if (R.focusFilter && R.table) { R.focusFilter = false; document.getElementById("filter").focus(); }
}).catch(broken));
document.addEventListener("keydown", pressed);
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });

document.getElementById("brand").textContent = "";
openData().then(() => {
  document.getElementById("brand").textContent = harmless(R.meta.run.name);
  return route();
}).catch(broken);
