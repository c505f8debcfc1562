"""Times the report page of a made-up run in a browser, on the real clock, and prints one JSON object.

    report_page.py --program build/release/bin/vpd --subcomponents 10000 --rounds 5

Measured: how long `vpd report` takes and how large the page is; per round, each in a browser that was just started, how long the first
page, the table and a subcomponent take until they can be used, counted from the moment that the address is asked for; what each text typed
into the filter takes; and what the page's own test says of the filter. `blank_ms` is an empty page in the same place: what of all this is
the browser. Several files are measured with `--paged`, a run of yours with `--run`.
"""

import argparse
import json
import os
import platform
import re
import selectors
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
MARK = "report_page.py found "

# Opens the pages in a frame, one after the other, and tells what it found on the browser's log.
WATCH = """<!doctype html><meta charset="utf-8"><body><script>
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const drawn = (w) => new Promise((resolve) => w.requestAnimationFrame(() => setTimeout(resolve, 0)));
async function until(frame, test) {
  for (;;) {
    const root = frame.contentDocument && frame.contentDocument.documentElement;
    if (root && test(root)) return root;
    await wait(1);
  }
}
async function open(address, test) {
  const frame = document.createElement("iframe");
  frame.style = "width:1280px;height:900px;border:0";
  const begin = performance.now();
  frame.src = address;
  document.body.append(frame);
  await until(frame, test);
  const ready = performance.now() - begin;
  await drawn(window);
  return { frame, ready, drawn: performance.now() - begin };
}
const usable = (root) => root.dataset.ready === "1";
(async () => {
  const found = {};
  const blank = await open("BLANK", (root) => root.dataset.blank === "1");
  found.blank_ms = blank.ready;
  blank.frame.remove();
  for (const [name, route] of [["first_page", "#/"], ["table", "#/subs"], ["subcomponent", "#/s/KEY"]]) {
    const page = await open("PAGE" + route, usable);
    found[name + "_ms"] = page.ready;
    found[name + "_drawn_ms"] = page.drawn;
    found.errors = page.frame.contentDocument.documentElement.dataset.errors;
    if (name === "table") {
      const w = page.frame.contentWindow;
      const input = page.frame.contentDocument.getElementById("filter");
      found.filter_ms = {};
      for (const text of FILTERS) {
        input.value = text;
        const begin = w.performance.now();
        input.dispatchEvent(new w.Event("input"));
        found.filter_ms[text] = w.performance.now() - begin;
      }
      const begin = w.performance.now();
      page.frame.contentDocument.querySelector('[data-by="firings"] button').click();
      found.sort_ms = w.performance.now() - begin;
    }
    page.frame.remove();
  }
  const page = await open("PAGE#/selftest", (root) => root.dataset.selftest);
  found.selftest = page.frame.contentDocument.documentElement.dataset.selftest;
  found.selftest_says = [...page.frame.contentDocument.querySelectorAll("#selftest li")].map((one) => one.textContent)
    .filter((text) => text.includes(" ms") || text.startsWith("FAILED"));
  console.log("MARK" + JSON.stringify(found));
})().catch((error) => console.log("MARK" + JSON.stringify({ error: String(error) })));
</script>"""
# What a person types, a key at a time: each is one filtering of the whole table.
FILTERS = ["a", "an", "and", "site:h.1.*", "density<0.01", "label:verb", "token:\" bado\"", "poly", "site:h.1.* g<0.001 poly", ""]


def watch(browser, page, key, directory, limit):
    """What the page in WATCH told, or why there is nothing."""
    (directory / "blank.html").write_text('<!doctype html><html data-blank="1"><body>blank')
    script = WATCH.replace("FILTERS", json.dumps(FILTERS)).replace("BLANK", (directory / "blank.html").as_uri())
    script = script.replace("PAGE", f"file://{quote(str(page))}").replace("KEY", quote(key)).replace("MARK", MARK)
    (directory / "watch.html").write_text(script)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory / 'profile'}",
               "--remote-debugging-port=0", "--enable-logging=stderr", "--allow-file-access-from-files",
               "--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1400,1000", (directory / "watch.html").as_uri()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    end, text = time.monotonic() + limit, b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stderr, selectors.EVENT_READ)
            while time.monotonic() < end:
                if not selector.select(timeout=0.5):
                    continue
                more = os.read(process.stderr.fileno(), 1 << 16)
                text += more
                if found := re.search(rf'"{MARK}(.*)", source: ', text.decode(errors="replace")):
                    return json.loads(found[1])
                if not more:
                    break
    finally:
        os.killpg(process.pid, 9)
        process.communicate()
    raise SystemExit(f"report_page.py: the browser told nothing in {limit} s")


def middle(rounds):
    """The median, the smallest and the largest of each number."""
    summary = {}
    for name, value in rounds[0].items():
        if isinstance(value, dict):
            summary[name] = middle([one[name] for one in rounds])
        elif isinstance(value, float | int):
            values = [one[name] for one in rounds]
            parts = {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}
            summary[name] = {part: round(one, 1) for part, one in parts.items()}
    return summary


def first_key(run):
    """A subcomponent that fires."""
    harvest = max((run / "interpretation").glob("step_*")) / "harvest"
    from support import read_safetensors
    alive = read_safetensors(harvest / "input_tokens.safetensors")["subcomponent"][2]
    column = int.from_bytes(alive[len(alive) // 8 * 4:][:4], "little")
    site = [one for one in json.loads((harvest / "about.json").read_text())["sites"] if one["offset"] <= column][-1]
    return f"{site['name']}:{column - site['offset']}"


def processor():
    try:
        return re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def said_by(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.environ.get("VPD_PROGRAM", str(ROOT / "build" / "release" / "bin" / "vpd")))
    parser.add_argument("--subcomponents", type=int, default=10_000)
    parser.add_argument("--vocabulary", type=int, default=5_000)
    parser.add_argument("--run", type=Path, help="a run with a harvest, in place of a made-up one")
    parser.add_argument("--paged", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=120, help="seconds that a browser may take")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        raise SystemExit("report_page.py: there is no chromium, chromium-browser or google-chrome")
    os.environ.setdefault("VPD_PROGRAM", arguments.program)  # which support.py asks for
    sys.path.insert(0, str(ROOT / "tests" / "program"))
    from support import CONFIG
    from synthetic_harvest import write_run
    with tempfile.TemporaryDirectory(prefix="vpd_report_page_", ignore_cleanup_errors=True) as place:
        place = Path(place)
        run = arguments.run
        if run is None:
            run = place / "run"
            write_run(run, CONFIG, arguments.subcomponents, arguments.vocabulary)
        written = []
        for _ in range(arguments.rounds):
            out = place / ("pages" if arguments.paged else "page.html")
            form = "--paged" if arguments.paged else "--single"
            command = [arguments.program, "report", str(run), "--out", str(out), "--json", "-", form]
            begin = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
            if done.returncode != 0:
                raise SystemExit(f"report_page.py: {done.stderr.strip()}")
            told = json.loads(done.stdout)
            written.append({"wall_s": time.monotonic() - begin, "says_s": told["seconds"]})
        rounds = []
        for number in range(arguments.rounds):
            directory = place / f"round{number}"
            directory.mkdir()
            rounds.append(watch(browser, Path(told["page"]).absolute(), first_key(run), directory, arguments.limit))
            if "error" in rounds[-1]:
                raise SystemExit(f"report_page.py: {rounds[-1]['error']}")
        result = {"what": "made-up run" if arguments.run is None else str(run), "subcomponents": told["subcomponents"],
                  "paged": told["paged"], "bytes": told["bytes"], "rounds": arguments.rounds, "write": middle(written),
                  "page": middle(rounds),
                  "selftest": sorted({one["selftest"] for one in rounds}), "errors": sorted({one["errors"] for one in rounds}),
                  "selftest_says": [one["selftest_says"] for one in rounds], "machine": processor(), "cores": os.cpu_count(),
                  "load": os.getloadavg()[0], "browser": said_by(browser, "--version"), "vpd": said_by(arguments.program, "--version")}
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        Path(arguments.json).write_text(text + "\n")


if __name__ == "__main__":
    main()
