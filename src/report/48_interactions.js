// Which subcomponents of an MLP's first matrix share neurons at the same positions.

// A cell's character: "." is 0, then six levels for each power of ten from 1e-4 on.
const levelOf = (c) => (c === "." ? -1 : parseInt(c, 36));
const levelWords = (level) => (level < 0 ? "0" : `about ${number(10 ** (-4 + (level + 0.5) / 6), 2)}`);

function heatMap(table, order) {
  const { rows, columns, cells } = table.map;
  const square = table.site === table.columns;
  const place = (sums) => d3.range(sums.length).sort((a, b) => (order === "strength" ? sums[b] - sums[a] : a - b));
  const total = (n, of) => d3.range(n).map((i) => d3.sum(of(i), (c) => 10 ** (levelOf(c) / 6)));
  const down = place(total(rows.length, (i) => cells[i]));
  const along = square ? down : place(total(columns.length, (j) => cells.map((line) => line[j])));
  const canvas = el("canvas", { role: "img", "aria-label": `Strengths of ${rows.length} by ${columns.length} subcomponents`, style: "width:100%;max-width:720px;touch-action:manipulation;image-rendering:pixelated" });
  const told = el("p", { class: "small", "aria-live": "polite" }, "Point at a cell to read it.");
  const figure = el("figure", {}, el("figcaption", {}, `${table.site}${square ? "" : ` with ${table.columns}`}: how strongly a row interacts with a column, from 0.0001 (pale) to 1 and more (full)`), canvas, told);
  figure.draw = () => {
    const size = Math.max(2, Math.floor(720 / Math.max(rows.length, columns.length)));
    canvas.width = size * columns.length;
    canvas.height = size * rows.length;
    const context = canvas.getContext("2d");
    const style = getComputedStyle(root);
    context.fillStyle = style.getPropertyValue("--c0").trim() || "#246";
    down.forEach((i, y) => along.forEach((j, x) => {
      const level = levelOf(cells[i][j]);
      if (level < 0) return;
      context.globalAlpha = Math.min(1, (level + 2) / 26);
      context.fillRect(size * x, size * y, size, size);
    }));
  };
  const read = (event) => {
    const box = canvas.getBoundingClientRect();
    const y = Math.floor(((event.clientY - box.top) / box.height) * rows.length);
    const x = Math.floor(((event.clientX - box.left) / box.width) * columns.length);
    if (down[y] === undefined || along[x] === undefined) return;
    const i = down[y];
    const j = along[x];
    told.replaceChildren();
    add(told, [columnLink(rows[i]), " with ", columnLink(columns[j]), `: ${levelWords(levelOf(cells[i][j]))}`]);
  };
  canvas.addEventListener("mousemove", read);
  canvas.addEventListener("click", read);
  return figure;
}

function interactionSection(table) {
  const clusters = table.clusters;
  const curvature = table.strongest.some((pair) => pair.curvature !== undefined);
  const edges = table.histogram.edges;
  const bars = table.histogram.counts.map((count, i) => [i < edges.length ? number(edges[i], 2) : "more", count]);
  const stripe = (list) => list.slice(0, 3).map((one, i) => [i ? ", " : "", keyCell(one.key), ` (${percent(one.share)})`]);
  return [el("p", {}, `${number(table.alive)}${table.site === table.columns ? "" : ` by ${number(table.alive_columns)}`} subcomponents fire. Of ${number(table.pairs)} pairs ${percent(table["above_0.1"])} are above 0.1 and ${percent(table.above_1)} above 1; the mean is ${number(table.mean)}.${table.few ? ` ${number(table.few)} rows that fire at fewer than 10 positions are left out of these figures: a few positions decide them.` : ""}`),
    clusters ? el("p", {}, `Inside clusters: ${percent(clusters.strength_inside)} of all strength, in ${percent(clusters.pairs_inside)} of the pairs.`) : null,
    table.stripes.rows.length ? el("p", { class: "small" }, "Largest rows (they meet many others for their own size): ", stripe(table.stripes.rows), ". Largest columns (many meet them): ", stripe(table.stripes.columns), ".") : null,
    table.map.left ? el("p", { class: "muted small" }, `The picture has the ${number(table.map.rows.length)} rows with the largest sums; ${number(table.map.left)} are left out.`) : null,
    barChart({ caption: "Pairs by strength (logarithmic)", bars, xName: "strength up to", yName: "pairs", log: true, every: 3 }),
    sortTable({ caption: "The strongest pairs. Strength is the product of how the row shares neurons and how it shares positions, in units of the row with itself.", rows: table.strongest, columns: [
      { name: "Row", value: (p) => p.row, cell: (p) => keyCell(p.row) },
      { name: "Column", value: (p) => p.column, cell: (p) => keyCell(p.column) },
      { name: "Strength", num: true, value: (p) => p.strength }, { name: "Weights", num: true, wide: true, value: (p) => p.weight_overlap },
      { name: "Positions", num: true, wide: true, value: (p) => p.activation_overlap }, ...(curvature ? [{ name: "Curvature", num: true, value: (p) => p.curvature }] : [])] })];
}

function interactions() {
  const { tables, positions, order } = R.meta.interactions;
  const shown = tables.filter((table) => table.alive && table.alive_columns);
  if (!shown.length) return [heading("Interactions"), el("p", {}, "No subcomponent of these sites fired.")];
  const site = el("select", { "aria-label": "Site" }, shown.map((table, i) => el("option", { value: i }, table.site === table.columns ? table.site : `${table.site} with ${table.columns}`)));
  const by = el("select", { "aria-label": "Order of rows and columns" }, el("option", { value: "given" }, order === "clusters" ? "clusters" : "their numbers"), el("option", { value: "strength" }, "strength"));
  const box = el("div", {});
  const show = () => {
    const table = shown[Number(site.value)];
    box.replaceChildren();
    add(box, [heatMap(table, by.value), interactionSection(table)]);
    drawCharts();
  };
  site.addEventListener("change", show);
  by.addEventListener("change", show);
  return { nodes: [heading("Interactions", `Subcomponents of one MLP that bend the same neurons at the same positions: there, reading them one by one is unsafe. ${number(positions)} positions.`),
    el("div", { class: "tools" }, el("label", {}, "Site ", site), el("label", {}, "Order by ", by)), box, claimLine()], after: show };
}
