"""Opens pages of a report in a browser without a network, and reads what they show."""

import base64
import concurrent.futures
import functools
import html.parser
import json
import re
import shutil
import subprocess
import tempfile
import unittest
import zlib
from pathlib import Path
from urllib.parse import quote

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDS_BROWSER = "there is no chromium, chromium-browser or google-chrome to open pages with"
needs_browser = unittest.skipUnless(BROWSER, f"NOT TESTED: {NEEDS_BROWSER}")


class Document(html.parser.HTMLParser):
    """A page's elements, and the text between them that is shown."""

    SILENT = ("script", "style", "template", "noscript")

    def __init__(self, text):
        super().__init__()
        self.elements, self.root, self.text, self.silent = [], {}, "", 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        attributes = {name: value or "" for name, value in attributes}
        self.elements.append((tag, attributes))
        self.silent += tag in self.SILENT
        if tag == "html":
            self.root = attributes

    def handle_endtag(self, tag):
        self.silent -= tag in self.SILENT

    def handle_data(self, data):
        if not self.silent:
            self.text += data


def browse(address, *options):
    """Opens an address and returns what the browser said on standard output."""
    with tempfile.TemporaryDirectory(prefix="vpd_browser_", ignore_cleanup_errors=True) as profile:
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--virtual-time-budget=8000",
                   "--host-resolver-rules=MAP * ~NOTFOUND", *options, address]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=True).stdout.decode()


def address_of(page, route):
    return f"file://{quote(str(page))}#/{route}"


@functools.cache
def opened(page, route):
    return Document(browse(address_of(page, route), "--dump-dom"))


def at_once(function, arguments):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, arguments))


# Opens each way in a frame of its own, goes on to the further addresses of the way, and notes what it finds at its end.
TOUR = """<!doctype html><meta charset="utf-8"><body><pre id="found"></pre><script>
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const all = (root, selector) => [...root.querySelectorAll(selector)];
(async () => {
  const found = [];
  for (const way of WAYS) {
    const frame = document.createElement("iframe");
    frame.style = "width:WIDTHpx;height:900px;border:0";
    frame.src = way[0];
    document.body.append(frame);
    const until = async (test) => {
      for (let i = 0; i < 300; i += 1) {
        await wait(10);
        const root = frame.contentDocument && frame.contentDocument.documentElement;
        if (root && test(root.dataset)) break;
      }
    };
    await until((data) => (way[0].endsWith("selftest") ? data.selftest : data.ready === "1"));
    for (const next of way.slice(1)) {
      frame.contentWindow.location.hash = new URL(next).hash;
      await wait(50);
      await until((data) => data.ready === "1");
    }
    const root = frame.contentDocument.documentElement;
    const shown = root.cloneNode(true);
    all(shown, "script, style, template, noscript").forEach((part) => part.remove());
    const right = (one) => one.getBoundingClientRect().right;
    const outside = (one) => right(one) > root.clientWidth + 1 && !one.closest(".virtual, .scroll");
    found.push({
      ready: root.dataset.ready, errors: root.dataset.errors, last: root.dataset.lastError || "", selftest: root.dataset.selftest,
      failed: all(root, '[data-ok="0"]').map((one) => one.textContent), hostile: typeof frame.contentWindow.hostile,
      loose: all(root, "main img, main script, main iframe, main object, main [onerror], main [onload]").map((one) => one.outerHTML),
      text: shown.querySelector("body").textContent,
      spoken: [frame.contentDocument.title, ...all(shown, "*").flatMap((one) => ["title", "aria-label", "value"].map((name) =>
        one.getAttribute(name))).filter((value) => value)],
      facts: Object.fromEntries(all(root, "dt").map((one) => [one.textContent, one.nextElementSibling.textContent])),
      tables: all(root, "main table").map((table) => all(table, "tr").map((row) => [...row.cells].map((cell) => cell.textContent))),
      needed: root.scrollWidth, width: root.clientWidth,
      wide: all(root, "main *").filter(outside).slice(0, 3).map((one) => one.outerHTML.slice(0, 200)),
      clipped: all(root, ".virtual th a").filter((one) => right(one) > right(one.closest("th"))).map((one) => one.textContent),
    });
    frame.remove();
  }
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""


def tour(page, ways, width=1000):
    """{way: what was found}; a way of several addresses is a tuple."""
    addresses = [[address_of(page, route) for route in ([way] if isinstance(way, str) else way)] for way in ways]
    with tempfile.TemporaryDirectory(prefix="vpd_tour_") as directory:
        wrapper = Path(directory) / "tour.html"
        wrapper.write_text(TOUR.replace("WAYS", json.dumps(addresses).replace("<", "\\u003c")).replace("WIDTH", str(width)))
        text = browse(f"file://{wrapper}", "--allow-file-access-from-files", "--virtual-time-budget=200000", "--window-size=1400,1000",
                      "--dump-dom")
    return dict(zip(ways, json.loads(Document(text).text), strict=True))


def embedded(page):
    """The data of a page of one file: its meta, and what it has of each subcomponent."""
    text = page.read_text()
    meta = json.loads(re.search(r'<script type="application/json" id="meta">(.*?)</script>', text, re.S)[1])
    return meta, [sub for packed in re.findall(r'id="chunk-\d+">([^<]*)<', text) for sub in unpacked(packed)]


def unpacked(text):
    return json.loads(zlib.decompress(base64.b64decode(text)))
