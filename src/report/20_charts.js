// Charts: each is a figure with a caption and the same numbers as a table.

const dashes = [null, "6 3", "2 3", "8 3 2 3", "1 4", "10 4"];

function asTable(columns, rows) {
  return el("details", {}, el("summary", {}, "Show as table"),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The chart's numbers" },
      el("table", {}, el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell, i) => el(i ? "td" : "th", { class: "num", scope: i ? null : "row" }, typeof cell === "number" ? number(cell, 4) : cell))))))));
}

function frame(caption, draw, columns, rows) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", harmless(caption));
  const figure = el("figure", {}, el("figcaption", {}, caption));
  figure.append(svg);
  figure.append(asTable(columns, rows));
  figure.draw = () => {
    const width = Math.max(260, Math.min(svg.clientWidth || 480, 900));
    d3.select(svg).selectAll("*").remove();
    svg.setAttribute("viewBox", `0 0 ${width} 220`);
    draw(d3.select(svg), width, 220);
  };
  return figure;
}
// Once they are in the page, and again when its width changes.
function drawCharts() {
  document.querySelectorAll("figure").forEach((figure) => figure.draw && figure.draw());
}

// Ticks of a logarithmic axis: powers of ten, or where these are few 1, 2 and 5 times them.
function logTicks(scale) {
  const [low, high] = scale.domain();
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
    for (const factor of high / low >= 100 ? [1] : [1, 2, 5]) ticks.push(factor * 10 ** power);
  const inside = ticks.filter((v) => v >= low * 0.999 && v <= high * 1.001);
  const stride = Math.ceil(inside.length / 6);
  return inside.filter((_, i) => i % stride === 0);
}
function axes(svg, x, y, width, height, margin, { log = false } = {}) {
  const values = log ? logTicks(y) : y.ticks(4);
  const left = d3.axisLeft(y).tickValues(values).tickFormat(short).tickSizeOuter(0);
  const bottom = d3.axisBottom(x).tickSizeOuter(0).tickFormat(short);
  bottom.ticks(Math.min(6, width / 80));
  svg.append("g").attr("class", "grid").attr("transform", `translate(${margin.left},0)`)
    .call(d3.axisLeft(y).tickValues(values).tickSize(-(width - margin.left - margin.right)).tickFormat("")).call((g) => g.select(".domain").remove());
  svg.append("g").attr("transform", `translate(0,${height - margin.bottom})`).call(bottom);
  svg.append("g").attr("transform", `translate(${margin.left},0)`).call(left);
}
const short = (x) => (Math.abs(x) >= 1000 ? d3.format(".2~s")(x) : Math.abs(x) < 1e-3 && x !== 0 ? d3.format(".1~e")(x) : number(x, 3));

// series: [{name, points: [[x, y], ...]}]
// A seventh curve has the first one's colour and another dash.
function dashOf(i) {
  return dashes[(i + Math.floor(i / 6)) % 6];
}
function lineChart({ caption, series, xName, log = false }) {
  const all = series.flatMap((one) => one.points);
  const shownLog = log && all.every((p) => p[1] > 0);
  const margin = { left: 52, right: 12, top: 10, bottom: 24 };
  const draw = (svg, width, height) => {
    const extentX = d3.extent(all, (p) => p[0]);
    const extentY = d3.extent(all, (p) => p[1]);
    const x = d3.scaleLinear().domain(extentX[0] === extentX[1] ? [extentX[0] - 1, extentX[0] + 1] : extentX)
      .range([margin.left, width - margin.right]);
    const low = extentY[0];
    const y = (shownLog ? d3.scaleLog() : d3.scaleLinear()).domain(low === extentY[1] ? [low * 0.9 - 1e-9, low * 1.1 + 1e-9] : [low, extentY[1]])
      .range([height - margin.bottom, margin.top]);
    if (!shownLog) y.nice();
    axes(svg, x, y, width, height, margin, { log: shownLog });
    const line = d3.line().x((p) => x(p[0])).y((p) => y(p[1]));
    series.forEach((one, i) => {
      svg.append("path").datum(one.points).attr("fill", "none").attr("stroke", `var(--c${i % 6})`).attr("stroke-width", 1.8)
        .attr("stroke-dasharray", dashOf(i)).attr("d", line);
      if (one.points.length < 12)
        svg.append("g").selectAll("circle").data(one.points).enter().append("circle").attr("r", 2.8).attr("cx", (p) => x(p[0])).attr("cy", (p) => y(p[1])).attr("fill", `var(--c${i % 6})`);
    });
  };
  const xs = [...new Set(all.map((p) => p[0]))].sort((a, b) => a - b);
  const maps = series.map((one) => new Map(one.points));
  const stride = Math.max(1, Math.ceil(xs.length / 60));
  const rows = xs.filter((_, i) => i % stride === 0 || i === xs.length - 1).map((v) => [v, ...maps.map((m) => (m.has(v) ? m.get(v) : "–"))]);
  const figure = frame(caption, draw, [xName, ...series.map((one) => one.name)], rows);
  if (series.length > 1) figure.querySelector("figcaption").append(legend(series.map((one) => one.name)));
  return figure;
}

function legend(names) {
  return el("span", { class: "legend" }, names.map((name, i) => {
    const key = el("span", { class: "key" });
    const svg = d3.select(key).append("svg").attr("width", 26).attr("height", 8).attr("aria-hidden", "true").style("width", "26px").style("display", "inline-block");
    svg.append("line").attr("x1", 0).attr("x2", 26).attr("y1", 4).attr("y2", 4).attr("stroke", `var(--c${i % 6})`).attr("stroke-width", 2).attr("stroke-dasharray", dashOf(i));
    key.append(harmless(name));
    return key;
  }));
}

// bars: [[name, value], ...]
function barChart({ caption, bars, xName, yName, log = false, every = 1 }) {
  const margin = { left: 52, right: 8, top: 10, bottom: 24 };
  const draw = (svg, width, height) => {
    const x = d3.scaleBand().domain(bars.map((b) => b[0])).range([margin.left, width - margin.right]).padding(0.15);
    const most = d3.max(bars, (b) => b[1]) || 1;
    const low = log ? Math.min(1, d3.min(bars.filter((b) => b[1] > 0), (b) => b[1]) || 1) / 2 : 0;
    const y = (log ? d3.scaleLog() : d3.scaleLinear()).domain([low, most]).nice().range([height - margin.bottom, margin.top]);
    const ticks = log ? logTicks(y) : y.ticks(4);
    const shown = new Set(bars.filter((_, i) => i % Math.max(every, Math.ceil(bars.length / (width / 46))) === 0).map((b) => b[0]));
    svg.append("g").attr("transform", `translate(0,${height - margin.bottom})`).call(d3.axisBottom(x).tickValues([...shown]).tickSizeOuter(0));
    svg.append("g").attr("transform", `translate(${margin.left},0)`).call(d3.axisLeft(y).tickValues(ticks).tickFormat(short).tickSizeOuter(0));
    svg.append("g").selectAll("rect").data(bars.filter((b) => b[1] > 0)).enter().append("rect").attr("x", (b) => x(b[0])).attr("width", x.bandwidth())
      .attr("y", (b) => y(b[1])).attr("height", (b) => height - margin.bottom - y(b[1])).attr("fill", "var(--c0)").append("title").text((b) => `${b[0]}: ${number(b[1], 4)}`);
  };
  return frame(caption, draw, [xName, yName], bars);
}
