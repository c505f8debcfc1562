"use strict";
// The page's data and the few helpers that everything else uses. Whatever comes from files is put out as text,
// never as markup.

const root = document.documentElement;
const R = { errors: 0, pages: {}, filter: "", order: { by: "telling", up: false } };

function failed(what) {
  R.errors += 1;
  root.dataset.errors = String(R.errors);
  root.dataset.lastError = String(what).slice(0, 400);
}
window.addEventListener("error", (event) => failed(event.message));
window.addEventListener("unhandledrejection", (event) => failed(event.reason));

// Marks that turn the direction of text, and controls, are shown by their number.
const steering = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const byNumber = (c) => `[${c.codePointAt(0).toString(16).padStart(4, "0")}]`;
const spelled = (text) => text.replace(steering, byNumber);
// The same for whole texts, in which lines end.
const harmless = (text) => text.replace(steering, (c) => (c === "\n" || c === "\t" ? c : byNumber(c)));

// An element: attributes (class, data, handlers on...), then children; text stays text.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : ["title", "aria-label"].includes(name) ? harmless(String(value)) : String(value));
  }
  add(node, children);
  return node;
}
function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(harmless(String(child))));
  }
  return node;
}

const whole = new Intl.NumberFormat("en");
function number(x, digits = 3) {
  if (x === null || x === undefined || Number.isNaN(x)) return "–";
  if (x === 0) return "0";
  if (Number.isInteger(x) && Math.abs(x) >= 1000) return whole.format(x);
  const size = Math.abs(x);
  if (size >= 1e6 || size < 1e-4) return x.toExponential(2);
  return String(Number(x.toPrecision(digits)));
}
const percent = (x) => (x === null ? "–" : `${number(100 * x, 3)} %`);
const share = (x) => (x > 0 && x < 0.005 ? "< 1 %" : x < 1 && x > 0.995 ? "> 99 %" : `${Math.round(100 * x)} %`);

function token(id) {
  const entry = R.meta.tokens[id];
  return entry ? { id, text: entry[0], count: entry[1], mass: entry[2] } : { id, text: null, count: 0, mass: 0 };
}
// A token by itself: spaces can be seen.
function tokenText(id) {
  const { text } = token(id);
  if (text === null) return `#${id}`;
  return spelled(text.replace(/\n/g, "↵").replace(/\t/g, "⇥")).replace(/ /g, "·");
}
// A token in its sentence.
function runningText(id) {
  const { text } = token(id);
  if (text === null) return `#${id} `;
  return spelled(text.replace(/\n/g, "↵").replace(/\t/g, " "));
}
const chip = (id) => el("span", { class: "tok", title: `token ${id}` }, tokenText(id));
const chips = (ids) => ids.map((id, i) => [i ? " " : "", chip(id)]);

async function inflate(text) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser cannot open packed data: it needs DecompressionStream (Chromium 80, Firefox 113, Safari 16.4)");
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// Chunks lie in this file, or in files beside it that call vpdPage.
const chunkCache = new Map();
const waiting = new Map();
window.vpdPage = (number, text) => {
  const there = waiting.get(number) || {};
  there.text = text;
  waiting.set(number, there);
  if (there.resolve) there.resolve(text);
};
function chunkText(number) {
  const here = document.getElementById(`chunk-${number}`);
  if (here) return Promise.resolve(here.textContent);
  const known = waiting.get(number);
  if (known && known.text) return Promise.resolve(known.text);
  return new Promise((resolve, reject) => {
    waiting.set(number, { resolve });
    const file = String(R.meta.files[number]).padStart(3, "0");
    const script = el("script", { src: `data/${file}.js` });
    script.onerror = () => reject(new Error(`data/${file}.js is missing beside this page`));
    document.head.append(script);
  });
}
function chunk(number) {
  if (!chunkCache.has(number)) chunkCache.set(number, chunkText(number).then(inflate));
  return chunkCache.get(number);
}
async function detailOf(sub) {
  const size = R.meta.chunk;
  return (await chunk(Math.floor(sub.place / size)))[sub.place % size];
}

function siteOf(column) {
  const sites = R.meta.sites;
  let low = 0;
  let high = sites.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (sites[middle].offset <= column) low = middle;
    else high = middle - 1;
  }
  return sites[low];
}
function keyOf(column) {
  const site = siteOf(column);
  return `${site.name}:${column - site.offset}`;
}
const f1 = ([hit, cover]) => (hit + cover > 0 ? (2 * hit * cover) / (hit + cover) : 0);

async function openData() {
  R.meta = JSON.parse(document.getElementById("meta").textContent);
  R.meta.tokens = R.meta.tokens || {};
  R.subs = [];
  R.byColumn = new Map();
  R.byKey = new Map();
  const packed = document.getElementById("index");
  if (!packed) return;
  const index = await inflate(packed.textContent);
  const positions = R.meta.harvest.positions;
  index.column.forEach((column, place) => {
    const site = siteOf(column);
    const sub = {
      place, column, site: site.name, c: column - site.offset, key: keyOf(column),
      firings: index.firings[place], density: index.firings[place] / positions, rows: index.rows[place], g: index.g[place],
      pos: index.pos[place], neg: index.neg[place], poly: index.poly[place] === 1, balance: index.balance[place],
      always: index.g[place] > 0.5, a: index.a[place], abs: index.abs[place],
      in: index.in[place], out: index.out[place], inScore: index.inScore[place], outScore: index.outScore[place], label: index.label[place],
    };
    sub.telling = sub.always ? 0 : f1(sub.inScore);
    sub.saying = sub.always ? 0 : f1(sub.outScore);
    R.subs.push(sub);
    R.byColumn.set(column, sub);
    R.byKey.set(sub.key, sub);
  });
  R.shown = sorted(R.subs.slice());
}

const subLink = (sub, text) => el("a", { href: `#/s/${encodeURIComponent(sub.key)}` }, text || sub.key);
function columnLink(column) {
  const sub = R.byColumn.get(column);
  return sub ? subLink(sub, sub.label ? `${sub.key} ${spelled(sub.label)}` : sub.key) : keyOf(column);
}

// An example: tokens with the importance as background and the activation's sign as underline.
function exampleText(example) {
  const [, , , centre, tokens, marks] = example;
  return tokens.map((id, i) => {
    const mark = marks[i];
    const text = runningText(id);
    if (mark === ".") return text;
    const minus = mark >= "a";
    const level = minus ? mark.charCodeAt(0) - 97 : Number(mark);
    const name = `f ${minus ? "minus" : "plus"} l${Math.floor(level / 2)}${i === centre ? " centre" : ""}`;
    const title = `importance ${level / 10} to ${(level + 1) / 10}, activation ${minus ? "−" : "+"}`;
    return el("span", { class: name, title }, text);
  });
}
const exampleKinds = ["drawn at random, activation +", "drawn at random, activation −", "strongest"];

function heading(title, subtitle) {
  return [el("h1", {}, title), subtitle ? el("p", { class: "muted" }, subtitle) : null];
}
function claimLine() {
  return el("p", { class: "claim" }, R.meta.claim);
}
