// #/selftest: the page tries itself, and writes what it found where a script can read it.

async function selftest() {
  R.testing = true;
  const results = [];
  const note = (name, ok, found) => results.push({ name, ok: Boolean(ok), found: String(found) });
  const ready = async () => {
    for (let i = 0; i < 400 && root.dataset.ready !== "1"; i += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  const visit = async (hash) => {
    if (location.hash === hash) return;
    root.dataset.ready = "0";
    location.hash = hash;
    await ready();
  };
  const press = (key, target = document.body) => target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  try {
    for (const [name, title] of known()) {
      await visit(`#/${name}`);
      note(`page ${title}`, main.querySelector("h1"), main.querySelector("h1") && main.querySelector("h1").textContent);
    }
    if (R.subs.length) {
      await visit("#/subs");
      const input = document.getElementById("filter");
      const type = (text) => {
        input.value = text;
        const begin = performance.now();
        input.dispatchEvent(new Event("input"));
        return performance.now() - begin;
      };
      note("all rows", R.shown.length === R.subs.length, R.shown.length);
      const site = R.subs[0].site;
      const slow = type(`site:${site}`);
      note("filter by site", R.shown.length > 0 && R.shown.every((s) => s.site === site), R.shown.length);
      note("filter within 100 ms", slow <= 100, `${slow.toFixed(1)} ms`);
      type("density<0.01");
      note("filter by density", R.shown.every((s) => s.density < 0.01), R.shown.length);
      type("no subcomponent has this name");
      note("filter that nothing passes", R.shown.length === 0 && main.querySelector("[role=status]").textContent.startsWith("0 of"), main.querySelector("[role=status]").textContent);
      const told = R.subs.find((s) => !s.always && s.in.length && token(s.in[0]).text);
      if (told) {
        type(`token:"${token(told.in[0]).text.replace(/"/g, "")}"`);
        note("filter by token", R.shown.includes(told) || /"/.test(token(told.in[0]).text), R.shown.length);
      }
      type("");
      main.querySelector('[data-by="firings"] button').click();
      note("sort by firings", R.shown.every((s, i) => !i || R.shown[i - 1].firings >= s.firings), R.shown[0].firings);
      main.querySelector('[data-by="firings"] button').click();
      note("sort upwards", R.shown.every((s, i) => !i || R.shown[i - 1].firings <= s.firings), R.shown[0].firings);
      press("j");
      note("j chooses the next", R.shown.length < 2 || R.table.state.chosen === 1, R.table.state.chosen);
      press("k");
      note("k goes back", R.table.state.chosen === 0, R.table.state.chosen);
      const first = R.shown[0].key;
      root.dataset.ready = "0";
      press("Enter");
      await ready();
      note("Enter opens it", main.querySelector("h1").textContent === first, main.querySelector("h1").textContent);
      note("examples", main.querySelectorAll(".exs li").length > 0, main.querySelectorAll(".exs li").length);
      press("e");
      note("e changes the examples' sign", main.querySelector('[data-sign="plus"]').getAttribute("aria-pressed") === "true", "plus");
      note("charts are drawn", [...main.querySelectorAll("figure svg")].every((svg) => svg.childNodes.length > 0), main.querySelectorAll("figure svg").length);
      press("g");
      root.dataset.ready = "0";
      press("s");
      await ready();
      note("g s goes to the sites", main.querySelector("h1").textContent === "Sites", main.querySelector("h1").textContent);
    }
    await attentionSelftest(visit, note);
    press("?");
    note("? opens the help", document.getElementById("help").open, document.getElementById("help").open);
    document.getElementById("help").close();
    note("nothing foreign ran", window.hostile === undefined && !document.querySelector("main script, main iframe, main img"), typeof window.hostile);
  } catch (error) {
    note("the test itself", false, error);
  }
  await visit("#/selftest");
  document.getElementById("selftest").replaceChildren(...results.map((r) => el("li", { "data-ok": r.ok ? "1" : "0" }, `${r.ok ? "ok" : "FAILED"}: ${r.name} (${r.found})`)));
  R.testing = false;
  root.dataset.selftest = results.every((r) => r.ok) && R.errors === 0 ? "ok" : "failed";
  root.dataset.ready = "1";
}
