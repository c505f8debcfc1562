// Tables that sort, and the long one that draws only the rows in view.

// columns: [{name, value(row), cell(row), num, wide}]
function sortTable({ caption, columns, rows, by = null, up = false }) {
  const table = el("table", {}, caption ? el("caption", {}, caption) : null);
  const state = { by, up };
  const fill = () => {
    const ordered = rows.slice();
    if (state.by !== null) {
      const value = columns[state.by].value;
      ordered.sort((a, b) => compare(value(a), value(b)) * (state.up ? 1 : -1));
    }
    const heads = columns.map((column, i) => el("th", { scope: "col", class: [column.num ? "num" : "", column.wide ? "wide" : ""].join(" ").trim() || null,
      "aria-sort": state.by === i ? (state.up ? "ascending" : "descending") : null },
      column.value ? el("button", { type: "button", onclick: () => { state.up = state.by === i ? !state.up : !column.num; state.by = i; fill(); table.querySelectorAll("th button")[columns.slice(0, i).filter((c) => c.value).length].focus(); } }, column.name) : column.name));
    const body = ordered.map((row) => el("tr", {}, columns.map((column, i) => el(i ? "td" : "th", { scope: i ? null : "row",
      class: [column.num ? "num" : "", column.wide ? "wide" : ""].join(" ").trim() || null }, column.cell ? column.cell(row) : column.num ? number(column.value(row)) : column.value(row)))));
    table.querySelectorAll("thead, tbody").forEach((part) => part.remove());
    table.append(el("thead", {}, el("tr", {}, heads)), el("tbody", {}, body));
  };
  fill();
  return el("div", { class: "scroll" }, table);
}
function compare(a, b) {
  if (typeof a === "string" || typeof b === "string") return String(a).localeCompare(String(b), "en", { numeric: true });
  return (a ?? -Infinity) - (b ?? -Infinity);
}

const orders = {
  key: (s) => s.column, label: (s) => s.label || "\uffff", telling: (s) => s.telling, saying: (s) => s.saying, density: (s) => s.density,
  g: (s) => s.g, firings: (s) => s.firings, balance: (s) => s.balance,
};
function sorted(subs) {
  const value = orders[R.order.by];
  const sign = R.order.up ? 1 : -1;
  return subs.sort((a, b) => sign * compare(value(a), value(b)) || a.column - b.column);
}

// site:h.1.* density<0.01 poly label:verb token:" and" word
function parseFilter(text) {
  const tests = [];
  const pattern = /(\w+):"([^"]*)"|(\w+)(<=|>=|<|>|=)(-?[\d.]+(?:e-?\d+)?)|(\w+):(\S+)|"([^"]*)"|(\S+)/gi;
  for (const part of text.matchAll(pattern)) {
    const [, quotedName, quotedValue, field, relation, value, name, word, quoted, bare] = part;
    if (field && ["density", "g", "firings", "balance", "f1", "rows"].includes(field.toLowerCase())) {
      const limit = Number(value);
      const of = field.toLowerCase() === "f1" ? (s) => s.telling : (s) => s[field.toLowerCase()];
      tests.push({ "<": (s) => of(s) < limit, ">": (s) => of(s) > limit, "<=": (s) => of(s) <= limit, ">=": (s) => of(s) >= limit, "=": (s) => of(s) === limit }[relation]);
      continue;
    }
    const filterName = (quotedName || name || "").toLowerCase();
    const wanted = quotedName ? quotedValue : word;
    if (filterName === "site") {
      const glob = new RegExp(`^${wanted.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".")}$`);
      tests.push((s) => glob.test(s.site));
    } else if (filterName === "label") {
      const low = wanted.toLowerCase();
      tests.push((s) => s.label.toLowerCase().includes(low));
    } else if (filterName === "token") {
      const ids = idsOf(wanted);
      tests.push((s) => s.in.some((id) => ids.has(id)) || s.out.some((id) => ids.has(id)));
    } else if (bare === "poly") tests.push((s) => s.poly);
    else if (bare === "always") tests.push((s) => s.always);
    else {
      const low = (quoted ?? part[0]).toLowerCase();
      const ids = new Set(Object.keys(R.meta.tokens).map(Number).filter((id) => (token(id).text || "").toLowerCase().includes(low)));
      tests.push((s) => s.key.toLowerCase().includes(low) || s.label.toLowerCase().includes(low) || s.in.some((id) => ids.has(id)));
    }
  }
  return (s) => tests.every((test) => test(s));
}
// Tokens of that text, with or without the space in front.
function idsOf(text) {
  if (/^#\d+$/.test(text)) return new Set([Number(text.slice(1))]);
  return new Set(Object.keys(R.meta.tokens).map(Number).filter((id) => [text, ` ${text}`].includes(token(id).text)));
}
function applyFilter(text) {
  R.filter = text;
  R.shown = sorted(R.subs.filter(parseFilter(text)));
}

// The table of all subcomponents.
function subTable() {
  const rowHeight = 40;
  const columns = [
    ["key", "Subcomponent", "", (s) => [subLink(s), s.label ? el("span", { class: "muted" }, ` ${spelled(s.label)}`) : null]],
    ["telling", "Fires at", "", (s) => (s.always ? el("span", { class: "muted" }, "always on") : chips(s.in.slice(0, 4)))],
    ["saying", "Model says there", "wide", (s) => chips(s.out.slice(0, 3))],
    ["firings", "Firings", "num", (s) => number(s.firings)],
    ["density", "Density", "num wide", (s) => percent(s.density)],
    ["g", "Mean g", "num wide", (s) => number(s.g)],
    ["balance", "Signs (by the rarer)", "num wide", (s) => [s.poly ? el("b", { title: "fires with both signs, on different tokens" }, "± two ") : "", `${share(s.pos / s.firings)} +`]],
  ];
  const head = el("tr", {});
  const body = el("tbody", {});
  const table = el("table", { "aria-rowcount": R.shown.length }, el("caption", { class: "small" }, "Alive subcomponents. Choose a column to sort by it."), el("thead", {}, head), body);
  const box = el("div", { class: "virtual", tabindex: "0", role: "region", "aria-label": "Subcomponents" }, table);
  const state = { chosen: 0 };
  const heads = () => {
    head.replaceChildren(...columns.map(([by, name, kind]) => el("th", { scope: "col", class: kind || null, "data-by": by, "aria-sort": R.order.by === by ? (R.order.up ? "ascending" : "descending") : null },
      el("button", { type: "button", onclick: () => { order(by); head.querySelector(`[data-by="${by}"] button`).focus(); } }, name))));
  };
  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / rowHeight) - 8);
    const last = Math.min(R.shown.length, first + Math.ceil((box.clientHeight || 600) / rowHeight) + 16);
    const rows = [];
    if (first > 0) rows.push(el("tr", { class: "space", "aria-hidden": "true" }, el("td", { colspan: columns.length, style: `height:${first * rowHeight}px` })));
    for (let i = first; i < last; i += 1) {
      const sub = R.shown[i];
      rows.push(el("tr", { class: i === state.chosen ? "row chosen" : "row", "aria-rowindex": i + 1, "data-key": sub.key },
        columns.map(([, , kind, cell], k) => el(k ? "td" : "th", { class: kind || null, scope: k ? null : "row" }, cell(sub)))));
    }
    if (last < R.shown.length) rows.push(el("tr", { class: "space", "aria-hidden": "true" }, el("td", { colspan: columns.length, style: `height:${(R.shown.length - last) * rowHeight}px` })));
    body.replaceChildren(...rows);
  };
  const order = (by) => {
    R.order = { by, up: R.order.by === by ? !R.order.up : by === "key" || by === "label" };
    sorted(R.shown);
    refresh();
  };
  const refresh = () => {
    table.setAttribute("aria-rowcount", R.shown.length);
    state.chosen = 0;
    box.scrollTop = 0;
    heads();
    draw();
  };
  const choose = (to) => {
    state.chosen = Math.max(0, Math.min(R.shown.length - 1, to));
    const top = state.chosen * rowHeight;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + 2 * rowHeight > box.scrollTop + box.clientHeight) box.scrollTop = top + 2 * rowHeight - box.clientHeight;
    draw();
  };
  box.addEventListener("scroll", () => draw(), { passive: true });
  heads();
  return { box, draw, refresh, order, choose, state, page: () => Math.max(1, Math.floor(box.clientHeight / rowHeight) - 2) };
}
