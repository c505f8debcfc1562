"""Runs and pages that several tests of `vpd report` read, and what they look at there."""

import functools
import json
import os
import re
import shutil
import struct
import sys
import unittest
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from page_support import opened, tour, unpacked
from support import ProgramTest, read_safetensors
from synthetic_harvest import HOSTILE, write_tokenizer

SLOWER = 8 if "ASAN_OPTIONS" in os.environ else 1  # the sanitizers
TOYS = Path(__file__).parents[2] / "configs" / "toys"

ROUTES = ("", "training", "sites", "subs", "health", "limits")
METRICS = [{"type": "ce_kl"}, {"type": "ci_l0", "threshold": 0.0}, {"type": "alive"}, {"type": "pgd", "name": "two", "steps": 2}]
EVIL = HOSTILE[1] + "\u202e"
LABEL = "</script><img src=x onerror=window.hostile=1>\u202e{{META}} \"'\\\u2028\x1b[31m"
# Controls, and what turns the direction of text or breaks lines: it stands nowhere as it is, but for the page's own new lines and tabs.
STEERING = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def numbers(path, name):
    """A tensor, flat."""
    dtype, _, data = read_safetensors(path)[name]
    code = {"I64": "q", "I32": "i", "F32": "f", "F64": "d", "U8": "B"}[dtype]
    return struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data)


def harvest_of(run):
    return next((run / "interpretation").glob("step_*")) / "harvest"


def firings(run):
    return numbers(harvest_of(run) / "subcomponents.safetensors", "firings")


def column_of(run, key):
    site, c = key.rsplit(":", 1)
    about = json.loads((harvest_of(run) / "about.json").read_text())
    return next(one["offset"] for one in about["sites"] if one["name"] == site) + int(c)


def colours(png, enough):
    """Width of a PNG of 8 bits a channel, and how many colours it has, until there are enough."""
    content, at, packed = png.read_bytes(), 8, b""
    assert content.startswith(b"\x89PNG\r\n\x1a\n"), png
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at:at + 8])
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", content[at + 8:at + 18])
        if kind == b"IDAT":
            packed += content[at + 8:at + 8 + size]
        at += 12 + size
    assert depth == 8 and colour in (2, 6), (depth, colour)
    step = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(packed), width * step
    seen, above = set(), bytearray(stride)
    for begin in range(0, height * (stride + 1), stride + 1):
        kind, line = raw[begin], bytearray(raw[begin + 1:begin + 1 + stride])
        for i in range(stride):
            left, up, corner = (line[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda value: abs(guess - value))  # the first of equals
            line[i] = (line[i] + (0, left, up, (left + up) // 2, nearest)[kind]) & 255
        seen.update(bytes(line[i:i + step]) for i in range(0, stride, step))
        if len(seen) >= enough:
            break
        above = line
    return width, len(seen)


@functools.cache
def maker():
    """Has made what several tests read."""
    one = ProgramTest()
    one.setUp()
    unittest.addModuleCleanup(one.doCleanups)
    write_tokenizer(one.root / "target" / "tokenizer.json", 61)
    return one


@functools.cache
def trained(seed):
    """A run of a few steps with its evaluation and its harvest."""
    one, run = maker(), maker().root / f"seed{seed}"
    config = one.configure(f"seed{seed}.json", training__steps=6, output__checkpoint_every=6, evaluation__metrics=METRICS,
                           evaluation__every=3, evaluation__final=True, seed=seed)
    one.run_program("decompose", config, "--out", run)
    one.run_program("evaluate", run)
    one.run_program("harvest", run, "--split", "train")
    return run


@functools.cache
def reported():
    """The run's page, and the subcomponent that has a hostile label."""
    one, run, page = maker(), trained(0), maker().root / "report.html"
    key = next(f"h.1.mlp.c_fc:{c}" for c in range(40) if firings(run)[column_of(run, f"h.1.mlp.c_fc:{c}")] > 0)
    one.run_program("labels", "set", run, key, LABEL)
    one.run_program("report", run, "--out", page, "--json", one.root / "report.json")
    return page, key


class ReportTest(ProgramTest):
    def copy(self, name="run", seed=0):
        return shutil.copytree(trained(seed), self.root / name, symlinks=True)

    def report(self, run, *arguments):
        """Writes the page, and returns its path, what --json told, and the warnings."""
        _, err = self.run_program("report", run, "--json", self.root / "told.json", *arguments)
        told = json.loads((self.root / "told.json").read_text())
        return Path(told["page"]), told, err

    def assert_sound(self, found):
        """What a tour found: every page is ready, none failed, and none took a text for something else."""
        for route, one in found.items():
            with self.subTest(route=route):
                self.assertEqual((one["ready"], one["errors"], one["last"], one["hostile"], one["loose"]), ("1", "0", "", "undefined", []))
                self.assert_not_steered(one["text"], *one["spoken"])
                if route == "selftest":
                    self.assertEqual((one["selftest"], one["failed"]), ("ok", []))

    def assert_not_steered(self, *texts):
        for text in texts:
            found = STEERING.search(text)
            self.assertIsNone(found, found and ascii(text[max(0, found.start() - 60):found.end() + 20]))

    def assert_fits(self, page, routes, width):
        """Nothing has to be scrolled sideways."""
        for route, one in tour(page, routes, width).items():
            with self.subTest(route=route, width=width):
                self.assertLessEqual(one["needed"], one["width"], one["wide"])

    def assert_tried(self, page):
        """The page tries itself, opened as a person would open it."""
        document = opened(page, "selftest")
        found = tuple(document.root.get(f"data-{name}") for name in ("selftest", "ready", "errors"))
        self.assertEqual(found, ("ok", "1", "0"), re.findall("FAILED: [^)]*", document.text))

    def assert_many_files(self, page, told, harvest):
        files = sorted((page.parent / "data").iterdir())
        self.assertEqual([path.name for path in files], [f"{i:03d}.js" for i in range(len(files))])
        self.assertLessEqual(max(path.stat().st_size for path in files), 256 * 1024)
        self.assertEqual((told["paged"], told["bytes"]), (True, sum(path.stat().st_size for path in [page, *files])))
        self.assertNotIn('id="chunk-', page.read_text())
        lines = [line for path in files for line in path.read_text().splitlines()]
        chunks = {int(number): unpacked(text) for number, text in
                  (re.fullmatch(r'vpdPage\((\d+),"([A-Za-z0-9+/=]*)"\);', line).groups() for line in lines)}
        found = [len(sub["e"]) for number in range(len(chunks)) for sub in chunks[number]]
        per = numbers(harvest / "examples.safetensors", "offsets")
        self.assertEqual(found, [end - begin for begin, end in zip(per, per[1:])])
        return files
