"""`vpd intervene` and `vpd edit`: they have the reference numbers of tests/data/interpretation, the edited target is the old one but for the
edited matrices, transformers loads it, and what cannot be done is refused."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from harvest_test import GOLDEN, HarvestTest, load
from support import DATA, floats, read_safetensors

CHECKPOINTS = DATA / "huggingface"
FAMILIES = sorted(path.name for path in CHECKPOINTS.iterdir() if path.is_dir())
PYTHON = Path(__file__).parents[2] / ".venv" / "bin" / "python"  # with transformers once tools/test has run
TOKENS = [1, 7, 19, 3, 44, 60, 0, 12]  # a prompt
KEY = "h.0.mlp.c_fc:1"

# For each directory of the list: the logits of TOKENS.
LOGITS = """
import json, sys, torch
from transformers import AutoModelForCausalLM
for directory in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        print(json.dumps(model.double()(torch.tensor([json.loads(sys.argv[1])])).logits[0].flatten().tolist()))
"""


@lru_cache(None)
def has_transformers():
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", "import transformers"], capture_output=True).returncode == 0


def tokens_of(case):
    """The rows of eval.npy."""
    content = (DATA / case / "eval.npy").read_bytes()
    begin = 10 + struct.unpack("<H", content[8:10])[0]
    rows, T = map(int, re.search(rb"\((\d+), (\d+)\)", content).groups())
    tokens = struct.unpack(f"<{rows * T}i", content[begin:])
    return [list(tokens[i * T:(i + 1) * T]) for i in range(rows)]


def listed(tokens):
    return ",".join(map(str, tokens))


def difference(found, wanted):
    """The largest difference, over the largest entry."""
    assert len(found) == len(wanted), (len(found), len(wanted))
    return max(abs(a - b) for a, b in zip(found, wanted)) / max(map(abs, wanted))


def header_of(path):
    content = path.read_bytes()
    return content[:8 + struct.unpack("<Q", content[:8])[0]]


def files_below(directory):
    return {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}


class EditTest(HarvestTest):
    def edit(self, run, *arguments, exit_code=0):
        """Without controls, and so without a harvest."""
        controls = () if "--controls" in arguments else ("--controls", "0")
        self.run_program("edit", run, "--threads", "1", *controls, *arguments, exit_code=exit_code)

    def intervene(self, run, *arguments, tokens=TOKENS):
        text, _ = self.run_program("intervene", run, "--threads", "1", "--prompt-tokens", listed(tokens), "--json", "-", *arguments)
        return json.loads(text)

    def effect(self, run, slug="edit"):
        return json.loads((self.results(run) / "edits" / slug / "effect.json").read_text())

    def logits(self, run, slug):
        return load(self.results(run) / "interventions" / slug / "tokens.safetensors")

    def write_edits(self, name, edits):
        path = self.root / name
        path.write_text(json.dumps(edits))  # JSON is YAML
        return path


class Golden(EditTest):
    """Against numbers that a slow program in double precision has computed."""

    def prepare(self, name):
        self.case = json.loads((GOLDEN / name / "case.json").read_text())
        self.wanted = load(GOLDEN / name / "edits.safetensors")
        self.run_directory = self.make_run(name)
        ends = self.case["columns"][1:] + [10 ** 9]
        self.key = lambda c: next(f"{s}:{c - b}" for s, b, e in zip(self.case["sites"], self.case["columns"], ends) if c < e)
        self.files = [self.write_edits(f"edits_{i}.yaml", [self.spelled(one) for one in edits]) for i, edits in enumerate(self.case["edits"])]

    def spelled(self, edit):
        kind, key = edit["kind"], self.key(edit["column"])
        spelled = {"ablate": lambda: {"ablate": key}, "scale": lambda: {"scale": key, "factor": edit["factor"]},
                   "set": lambda: {"activation": key, "value": edit["value"]},
                   "write": lambda: {"write": key, "direction": f"unembed:#{edit['token']}", "strength": edit["strength"]},
                   "read": lambda: {"read": key, "from": self.key(edit["other"])}}[kind]()
        return spelled | ({"where": edit["where"]} if "where" in edit else {})

    def check_figure(self, name, found, expected):
        kl = "kl" in name
        self.assertLessEqual(abs(found - expected), max(1e-3 * abs(expected), 2e-6 if kl else 1e-6), f"{name}: {found}, not {expected}")

    def check_effect(self, i, near):
        slug = f"edit_{i}_{near}"
        self.edit(self.run_directory, "--from", self.files[i], "--wanted", listed(f"#{token}" for token in self.case["wanted"]), "--near", near,
                  "--threshold", "0.1", "--slug", slug)
        effect = self.effect(self.run_directory, slug)
        wanted = dict(zip(self.case["measures"], self.wanted[f"{i}/measures"].values))
        for part, name in (("near", f"near_{near}_count"), ("far", "far_count"), ("important", "important_count")):
            self.assertEqual(effect[part]["tokens"], wanted[name], f"{name} of edit {i}")
        figures = [(f"near_{near}_kl", effect["near"]["mean"]), ("far_kl", effect["far"]["mean"]), ("kl_all", effect["all"]["mean"]),
                   ("ce_change", effect["ce_change"]["mean"])]
        for short in ("p", "ln_p", "argmax"):
            figures += list(zip((f"wanted_{short}_before", f"wanted_{short}_after"), effect["wanted"][short]))
        for name, found in figures:
            with self.subTest(f"{name} of edit {i}"):
                self.check_figure(name, found, wanted[name])
        for part in ("near", "far", "all", "important", "ce_change"):
            one = effect[part]
            self.assertTrue(one["low"] - 1e-12 <= one["mean"] <= one["high"] + 1e-12, f"{part} of edit {i}: {one}")
        kl, expected = load(self.results(self.run_directory) / "edits" / slug / "tokens.safetensors")["kl"], self.wanted[f"{i}/kl"]
        self.assertEqual(kl.shape, expected.shape)
        for found, one in zip(kl.values, expected.values):
            self.check_figure(f"kl of edit {i}", found, one)

    def check_logits(self, name, row, tokens, *arguments):
        """What `intervene` gives on one row."""
        slug = f"row_{name.replace('/', '_')}_{row}"
        said = self.intervene(self.run_directory, "--slug", slug, *arguments, tokens=tokens)
        found = self.logits(self.run_directory, slug)
        for which, expected in (("target", "logits"), ("edited", name)):
            wanted = self.wanted[expected]
            size = prod(wanted.shape[1:])
            with self.subTest(f"{expected}, row {row}, {which}"):
                self.assertEqual(found[which].shape, wanted.shape[1:])
                self.assertLessEqual(difference(found[which].values, wanted.values[row * size:(row + 1) * size]), 1e-5)
        self.assertEqual(said["tokens"], tokens)
        return said

    def kept(self, name, row):
        """All nodes of a row whose importance is above the threshold."""
        g = load(GOLDEN / name / "harvest.safetensors")["g"]
        _, T, A = g.shape
        return listed(f"{self.key(c)}@{t}" for t in range(T) for c in range(A)
                      if g.values[(row * T + t) * A + c] > self.case["keep_only_threshold"])

    def check_weights(self, name):
        """What is exported of edits that a weight can do: W + Σ q pᵀ."""
        def check(i):
            out = self.root / f"out_{i}"
            self.edit(self.run_directory, "--from", self.files[i], "--out", out, "--slug", f"out_{i}")
            weights = load(out / "model.safetensors")
            names = [one for one in self.wanted if one.startswith(f"{i}/weight/")]
            for one in names:
                site = one.split("/")[-1]
                self.assertLessEqual(difference(weights[site + ".weight"].values, self.wanted[one].values), 1e-6, one)
            effect = self.effect(self.run_directory, f"out_{i}")
            self.assertEqual({written["matrix"] for written in effect["written"]}, {one.split("/")[-1] for one in names})
            self.assertLessEqual(effect["reloaded_difference"], 1e-6)
        everywhere = [i for i in range(len(self.files)) if any(one.startswith(f"{i}/weight/") for one in self.wanted)]
        self.assertEqual(len(everywhere), 4)
        self.each(check, [(i,) for i in everywhere])

    def check_case(self, name):
        self.prepare(name)
        self.harvest(self.run_directory, "--seed", self.case["harvest_seed"])
        self.each(self.check_effect, [(i, near) for i in range(len(self.files)) for near in self.case["near"]])
        rows = tokens_of(name)
        cases = [(f"{i}/logits", i % len(rows), rows[i % len(rows)], "--from", file) for i, file in enumerate(self.files)]
        cases += [("components/logits", row, rows[row], "--in", "components", "--from", self.files[0]) for row in (0, 1)]
        cases += [("keep_only/logits", row, rows[row], "--in", "keep-only", "--keep", self.kept(name, row)) for row in (0, 1)]
        for (of, row, *_), said in zip(cases, self.each(self.check_logits, cases)):
            if f"{of[0]}/kl" in self.wanted:
                for found, expected in zip(said["kl"], self.wanted[f"{of[0]}/kl"].rows()[row]):
                    self.check_figure("kl", found, expected)
        self.check_weights(name)

    def test_plain(self):
        self.check_case("plain")

    def test_grouped(self):
        self.check_case("grouped")


class Shared(EditTest):
    """Tests that share a directory, since a run is only read."""

    @classmethod
    def setUpClass(cls):
        cls.shared = Path(tempfile.mkdtemp(prefix="vpd_edit_"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        shutil.copytree(DATA / "plain", cls.shared, dirs_exist_ok=True)

    def setUp(self):
        super().setUp()
        self.root = self.shared

    def family(self, name, **changes):
        """A run of no steps on a checkpoint of a family."""
        run = self.root / f"run_{name}"
        shutil.copytree(CHECKPOINTS / name, self.root / name)
        attention = "*.attn.*" if name.startswith("gpt2") else "*.self_attn.*"
        sites = [{"pattern": attention, "C": 5}, {"pattern": "*.mlp.*", "C": 7}]
        config = self.configure(f"{name}.json", **{"target": {"type": "hf", "path": name}, "sites": sites, "training__steps": 0, **changes})
        self.run_program("decompose", config, "--out", run)
        return run


class Families(Shared):
    def setUp(self):
        super().setUp()
        if not hasattr(type(self), "runs"):
            with ThreadPoolExecutor(2) as pool:
                type(self).runs = dict(zip(FAMILIES + ["plain"], pool.map(self.make, FAMILIES + ["plain"])))

    def keys(self, name):
        if name == "plain":
            return ["h.0.attn.v_proj:3", "h.1.mlp.down_proj:4"]
        if name.startswith("gpt2"):
            return [f"h.1.attn.{part}_proj:{c}" for c, part in enumerate("qkv")] + ["h.0.mlp.c_proj:4"]
        return ["layers.1.self_attn.k_proj:2", "layers.0.mlp.down_proj:4"]

    def make(self, name):
        run = self.make_run() if name == "plain" else self.family(name)
        edits = [word for key in self.keys(name) for word in ("--ablate", key)]
        self.edit(run, *edits, "--out", self.root / f"edited_{name}")
        self.intervene(run, *edits, "--slug", "prompt")
        return run

    def target(self, name):
        return self.root / "target" if name == "plain" else self.root / name

    def matrices(self, name):
        """The tensors that are edited."""
        def stored(key):
            site = key.split(":")[0]
            if name.startswith("gpt2"):
                return "transformer." + re.sub("[qkv]_proj", "c_attn", site) + ".weight"
            return ("" if name == "plain" else "model.") + site + ".weight"
        return {stored(key) for key in self.keys(name)}

    def test_files(self):
        """Byte for byte those of the target, but for the edited tensors."""
        for name in self.runs:
            with self.subTest(name):
                before, after = files_below(self.target(name)), files_below(self.root / f"edited_{name}")
                self.assertEqual(set(after) - set(before), {"vpd_edit.json"})
                self.assertEqual(set(before) - set(after), set())
                changed = set()
                for file, path in before.items():
                    if not file.startswith("model") or path.suffix != ".safetensors":
                        self.assertEqual(path.read_bytes(), after[file].read_bytes(), file)
                        continue
                    self.assertEqual(header_of(path), header_of(after[file]), file)
                    new = read_safetensors(after[file])
                    changed |= {tensor for tensor, entry in read_safetensors(path).items() if entry != new[tensor]}
                self.assertEqual(changed, self.matrices(name))
                note = json.loads(after["vpd_edit.json"].read_text())
                self.assertEqual(note["edits"], [{"ablate": key} for key in self.keys(name)])
                self.assertEqual((note["run"], note["step"]), (self.runs[name].name, 0))

    def test_figures(self):
        """The files read again are the edit in memory, up to their type."""
        for name, run in self.runs.items():
            with self.subTest(name):
                effect = self.effect(run)
                self.assertEqual([one["matrix"] for one in effect["written"]], sorted(key.split(":")[0] for key in self.keys(name)))
                types = {one["dtype"] for one in effect["written"]}
                self.assertEqual(types, {read_safetensors(path)[tensor][0] for path in self.target(name).glob("model*.safetensors")
                                         for tensor in self.matrices(name) if tensor in read_safetensors(path)})
                error = {"F32": 1e-6, "F16": 5e-3, "BF16": 3e-2}[types.pop()]
                self.assertLessEqual(effect["reloaded_difference"], error)
                for one in effect["written"]:
                    self.assertLessEqual(one["relative_error"], error)

    def test_rounding(self):
        """Each value of an edited matrix is that of W - U Vᵀ in the file's type, and no other part of c_attn has changed."""
        for name, run in self.runs.items():
            components = load(run / "checkpoints" / "step_00000000" / "decomposition.safetensors")
            for place, key in enumerate(self.keys(name)):
                site, c = key.split(":")
                V, U = [row[int(c)] for row in components[site + ".V"].rows()], components[site + ".U"].rows()[int(c)]
                tensor = ("" if name == "plain" else "transformer." if name.startswith("gpt2") else "model.") + site + ".weight"
                part, parts = (place, 3) if "c_attn" in re.sub("[qkv]_proj", "c_attn", tensor) and name.startswith("gpt2") else (0, 1)
                tensor = re.sub("[qkv]_proj", "c_attn", tensor) if parts == 3 else tensor
                old, new = (self.matrix(directory, tensor) for directory in (self.target(name), self.root / f"edited_{name}"))
                bits = {"F32": 24, "F16": 11, "BF16": 8}[old[0]]
                columns = old[1][1]
                for i in range(old[1][0]):
                    for j in range(columns // parts):
                        k = i * columns + part * (columns // parts) + j
                        wanted = old[2][k] - (V[i] * U[j] if name.startswith("gpt2") else U[i] * V[j])
                        self.assertLessEqual(abs(new[2][k] - wanted), 2.0 ** -bits * abs(wanted) * 1.01 + 1e-7, f"{name}: {tensor}[{i}, {j}]")

    def matrix(self, directory, tensor):
        """Type, shape and values."""
        for path in sorted(directory.glob("model*.safetensors")):
            entries = read_safetensors(path)
            if tensor in entries:
                dtype, shape, data = entries[tensor]
                if dtype == "BF16":
                    data = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))
                code = "e" if dtype == "F16" else "f"
                return dtype, shape, struct.unpack(f"<{prod(shape)}{code}", data)
        self.fail(f"{directory}: no {tensor}")

    def test_transformers(self):
        if not has_transformers():
            self.skipTest("NOT TESTED: transformers is not installed; tools/test installs it")
        done = subprocess.run([PYTHON, "-c", LOGITS, json.dumps(TOKENS), *(self.root / f"edited_{name}" for name in FAMILIES)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, line in zip(FAMILIES, done.stdout.splitlines(), strict=True):
            with self.subTest(name):
                found = self.logits(self.runs[name], "prompt")
                wrong = difference(found["edited"].values, json.loads(line))
                self.assertGreater(difference(found["edited"].values, found["target"].values), 1e-3)
                if os.environ.get("VPD_PRINT"):
                    print(f"{name}: {wrong:.3g}")
                dtype = self.matrix(self.target(name), sorted(self.matrices(name))[0])[0]
                self.assertLessEqual(wrong, {"F32": 1e-5, "F16": 5e-3, "BF16": 3e-2}[dtype])

    def test_of_the_export(self):
        """A target whose files are links, as in a cache of downloads, and a path that ends with a slash."""
        content, link = self.root / "blobs", self.root / "snapshots" / "one"
        content.mkdir()
        link.mkdir(parents=True)
        for number, path in enumerate(sorted((self.root / "llama").iterdir())):
            shutil.copy(path, content / f"blob{number}")
            (link / path.name).symlink_to(Path("../../blobs") / f"blob{number}")
        before = {path: path.read_bytes() for path in content.iterdir()}
        for number, more in enumerate((("--set", f"target.path={link}", "--out", "linked"), ("--out", "slash/"))):
            with self.subTest(more[-1]):
                self.edit(self.runs["llama"], "--ablate", self.keys("llama")[0], "--ablate", self.keys("llama")[1], *more, "--slug", f"more{number}")
                out = self.root / more[-1]
                for file, path in files_below(self.root / "edited_llama").items():
                    if file != "vpd_edit.json":
                        self.assertTrue((out / file).is_file() and not (out / file).is_symlink(), file)
                        self.assertTrue((out / file).read_bytes() == path.read_bytes(), file)
        self.assertEqual({path: path.read_bytes() for path in content.iterdir()}, before)

    def test_swallowed(self):
        """An edit that is smaller than the type's rounding; nothing is left behind."""
        out = self.root / "swallowed"
        self.refuse(3, ["model.layers.0.mlp.down_proj.weight", "rounding of BF16", "wider type"], "edit", self.runs["qwen3"], "--scale",
                    "layers.0.mlp.down_proj:4=1.0000001", "--controls", "0", "--out", out)
        self.assertFalse(out.exists())
        self.assertEqual(list(self.root.glob(".tmp-*")), [])

    def test_of_no_edit(self):
        out = self.root / "nothing"
        (self.root / "none.yaml").write_text("[]\n")
        for more in ((), ("--from", self.root / "none.yaml")):
            self.refuse(2, ["expected an edit", "--ablate", "found none"], "edit", self.runs["gpt2"], "--controls", "0", "--out", out, *more)
        self.assertFalse(out.exists())


class Tied(Shared):
    def test_refused(self):
        """A head and an embedding that are one tensor."""
        for name, site in (("gpt2", "wte"), ("qwen2", "embed_tokens")):
            with self.subTest(name):
                run, out = self.family(name, sites=[{"pattern": site, "C": 9}, {"pattern": "*.mlp.*", "C": 7}]), self.root / f"tied_{name}"
                command = ("edit", run, "--ablate", f"{site}:1", "--controls", "0")
                self.refuse(3, [name, site, "the embedding and the head in one", "untie the head"], *command, "--out", out)
                self.assertFalse(out.exists())
                self.run_program(*command)  # measured, it may be

    def test_head(self):
        """A head of its own may be edited; one that is the embedding may not."""
        for name, tied in (("llama", False), ("gpt2_untied", False), ("llama_stretched", True)):
            with self.subTest(name):
                run, out = self.family(name, sites=[{"pattern": "lm_head", "C": 9}]), self.root / f"head_{name}"
                command = ("edit", run, "--ablate", "lm_head:1", "--controls", "0", "--out", out)
                if tied:
                    self.refuse(3, ["lm_head", "untie the head"], *command)
                    self.assertFalse(out.exists())
                else:
                    self.run_program(*command)
                    self.assertEqual([one["tensor"] for one in self.effect(run)["written"]], ["lm_head.weight"])


class Invariants(Shared):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()

    def setUp(self):
        super().setUp()
        self.run_directory = self.root / "run"
        if not self.run_directory.exists():
            self.make_run()
            self.harvest(self.run_directory)

    def test_same_seed(self):
        """The same texts, controls and intervals."""
        generate = ("--scale", f"{KEY}=-3", "--generate", "6", "--samples", "2", "--temperature", "1.5", "--top-p", "0.9", "--controls", "2")
        texts = [self.intervene(self.run_directory, *generate, "--seed", seed)["generations"] for seed in (3, 3, 4)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])
        self.assertEqual([one["who"] for one in texts[0]], [who for who in ("target", "edited", "control 1", "control 2") for _ in range(2)])
        self.assertNotEqual(texts[0][0]["tokens"], texts[0][1]["tokens"])
        for one in texts[0]:
            self.assertEqual(len(one["tokens"]), 6)
            self.assertTrue(all(0 <= token < 61 for token in one["tokens"]))
        effects = []
        for number, seed in enumerate((5, 5, 6)):
            self.edit(self.run_directory, "--ablate", KEY, "--wanted", "#3", "--controls", "3", "--seed", seed, "--slug", f"seed{number}")
            effects.append(self.effect(self.run_directory, f"seed{number}"))
            del effects[-1]["seconds"]
        self.assertEqual(effects[0], effects[1])
        self.assertNotEqual(effects[0]["figures"], effects[2]["figures"])
        self.assertEqual(effects[0]["all"]["mean"], effects[2]["all"]["mean"])
        self.assertEqual(effects[0]["controls"], 3)

    def test_greedy(self):
        """Each token is the most probable one of a pass over the row so far, whatever the seed; the end is the longest row."""
        texts = [self.intervene(self.run_directory, "--ablate", KEY, "--generate", "3", "--seed", seed)["generations"] for seed in (0, 1)]
        self.assertEqual(texts[0], texts[1])
        row = list(TOKENS)
        for token in texts[0][1]["tokens"]:
            next_ones = self.intervene(self.run_directory, "--ablate", KEY, "--top", "61", tokens=row)["next"]
            self.assertEqual(max(next_ones, key=lambda one: one["edited"])["token"], token)
            row.append(token)
        long = (TOKENS * 4)[:30]
        ends = self.intervene(self.run_directory, "--ablate", KEY, "--generate", "10", tokens=long)["generations"]
        self.assertEqual([len(one["tokens"]) for one in ends], [2, 2])
        full = self.intervene(self.run_directory, "--ablate", KEY, "--generate", "10", tokens=TOKENS * 4)["generations"]
        self.assertEqual([one["tokens"] for one in full], [[], []])

    def test_contexts(self):
        """Random masks follow the seed, and an edit that changes nothing changes nothing in any context."""
        for context in ("stochastic", "adversarial"):
            found = [self.intervene(self.run_directory, "--in", context, "--attack-steps", "3", "--scale", f"{KEY}={factor}", "--seed", seed)["kl"]
                     for factor, seed in ((1, 1), (1, 1), (1, 2))]
            self.assertEqual(found[0], found[1])
            self.assertNotEqual(found[0], found[2])
        self.assertLess(max(self.intervene(self.run_directory, "--scale", f"{KEY}=1")["kl"]), 1e-9)

    def test_read_again(self):
        """edits.yaml of a result is the edits of the result."""
        command = ("--ablate", "h.1.attn.q_proj:2", "--swap", "h.1.attn.q_proj:3=h.1.attn.q_proj:4", "--write",
                   "h.1.attn.q_proj:1=h.0.mlp.down_proj:3*2", "--head", "1")
        for number, more in enumerate(((), ("--positions", "3:9"), ("--where", "importance>0.1"), ("--where", "importance>0.1", "--positions", "3:9"))):
            with self.subTest(more):
                first, second = f"first{number}", f"second{number}"
                self.edit(self.run_directory, *command, *more, "--slug", first)
                edits = self.results(self.run_directory) / "edits" / first / "edits.yaml"
                self.edit(self.run_directory, "--from", edits, "--slug", second)
                one, other = self.effect(self.run_directory, first), self.effect(self.run_directory, second)
                for name in ("edits", "all", "near", "far", "important", "ce_change"):
                    self.assertEqual(one[name], other[name], name)

    def test_report(self):
        self.edit(self.run_directory, "--ablate", KEY, "--wanted", "#3", "--controls", "2", "--slug", "shown")
        self.intervene(self.run_directory, "--ablate", KEY, "--slug", "prompt")
        self.run_program("report", self.run_directory, "--out", "page.html")
        text = (self.root / "page.html").read_text()
        meta = json.loads(re.search(r'<script type="application/json" id="meta">(.*?)</script>', text, re.S)[1])
        shown, = (one for one in meta["edits"] if one["name"] == "shown")
        self.assertEqual(shown["edits"], [{"ablate": KEY}])
        self.assertIn("prompt", [one["name"] for one in meta["interventions"]])
        self.assertIn('["edits", "Edits"', text)


class Refused(Shared):
    def setUp(self):
        super().setUp()
        self.run_directory = self.root / "run"
        if not self.run_directory.exists():
            self.make_run()

    def refuse_edits(self, exit_code, *cases):
        self.refuse_each(exit_code, *((words, "edit", self.run_directory, "--controls", "0", *more) for words, *more in cases))

    def refuse_prompts(self, exit_code, *cases):
        self.refuse_each(exit_code, *((words, "intervene", self.run_directory, *more) for words, *more in cases))

    def test_edits(self):
        self.refuse_edits(
            2, (["'h.0.mlp.c_fd'", "did you mean h.0.mlp.c_fc?"], "--ablate", "h.0.mlp.c_fd:1"),
            (["expected one of the 40 subcomponents of h.0.mlp.c_fc", "40"], "--ablate", "h.0.mlp.c_fc:40"),
            (["--ablate", "alone", f"{KEY}=2"], "--ablate", f"{KEY}=2"),
            *((["--scale", KEY], "--scale", text) for text in (KEY, f"{KEY}=", f"{KEY}=two", f"{KEY}=nan", f"{KEY}=1e999", f"{KEY}=2x")),
            (["--activation", "NUMBER"], "--activation", KEY),
            (["did you mean h.0.mlp.c_fc?"], "--read", f"{KEY}=h.0.mlp.c_fd:1"),
            (["--read", "one site"], "--read", f"{KEY}=h.1.mlp.c_fc:1"),
            (["--swap", "one width", "96", "24"], "--swap", f"{KEY}=h.0.mlp.down_proj:1"),
            (["--head", "0 to 2", "h.0.attn.q_proj", "found 3"], "--ablate", "h.0.attn.q_proj:1", "--head", "3"),
            (["--head", "query, key or value", KEY], "--ablate", KEY, "--head", "0"),
            (["--head"], "--ablate", "h.0.attn.q_proj:1", "--head", "-1"),
            *((["--where", "importance>NUMBER"], "--ablate", KEY, "--where", text) for text in ("g>0.1", "importance>", "importance>-1")),
            *((["--positions", "FIRST:END"], "--ablate", KEY, "--positions", text) for text in ("9:3", "3:3", "a:b", "3:", "-1:3")),
            (["'#61'", "below 61"], "--ablate", KEY, "--wanted", "#61"),
            (["expected an edit"],))
        out = ("--out", self.root / "never")
        self.refuse_edits(2, (["some places only", "h.0.mlp.c_fc"], "--ablate", KEY, "--where", "importance>0.1", *out),
                          (["some places only", "h.0.mlp.c_fc"], "--ablate", KEY, "--positions", "3:9", *out),
                          (["holds an activation", "h.0.mlp.c_fc"], "--activation", f"{KEY}=2", *out))
        self.refuse_edits(3, (["--out", "target", "new or an empty directory"], "--ablate", KEY, "--out", self.root / "target"),
                          (["--out", "eval.npy", "directory"], "--ablate", KEY, "--out", self.root / "eval.npy"))
        self.assertFalse((self.root / "never").exists())
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_without_a_harvest(self):
        words = ["expected a harvest", "found none", "vpd harvest"]
        self.refuse_edits(3, (words, "--write", "h.0.mlp.down_proj:1=unembed:#5*3"), (words, "--swap", f"{KEY}=h.0.mlp.c_fc:2"),
                          (words + ["--controls 20"], "--ablate", KEY, "--controls", "20"))
        self.refuse_prompts(3, (words, "--prompt-tokens", "1,2", "--ablate", KEY, "--generate", "2", "--controls", "1"))

    def test_width(self):
        run = self.make_run(name="harvested")
        self.harvest(run)
        words = ["--write", "width 96", "h.0.mlp.c_fc", "found 24"]
        self.refuse_each(2, *((words, "edit", run, "--controls", "0", "--write", f"{KEY}={other}*3") for other in ("unembed:#5", "h.0.mlp.down_proj:2")),
                         (["'#61'"], "edit", run, "--controls", "0", "--write", "h.0.mlp.down_proj:1=unembed:#61"))

    def test_prompts(self):
        edit, prompt = ("--ablate", KEY), ("--prompt-tokens", "1,2,3")
        self.refuse_prompts(
            2, (["--positions 3:9", "has 3"], *edit, *prompt, "--positions", "3:9"),
            (["1 to 32 tokens", "found 33"], *edit, "--prompt-tokens", listed([5] * 33)),
            (["below 61", "found 61"], *edit, "--prompt-tokens", "1,61"),
            (["found -1"], *edit, "--prompt-tokens=-1,2"),
            (["--prompt", "--prompt-tokens", "neither"], *edit),
            (["--prompt-tokens"], *edit, *prompt, "--prompt", "a"),
            (["--prompt", "tokenizer.json"], *edit, "--prompt", "a"),
            (["--keep", "keep-only"], *edit, *prompt, "--keep", KEY),
            (["--keep", "keep-only"], *prompt, "--in", "keep-only"),
            (["--keep", "below 3"], *prompt, "--in", "keep-only", "--keep", f"{KEY}@3"),
            (["did you mean h.0.mlp.c_fc?"], *prompt, "--in", "keep-only", "--keep", "h.0.mlp.c_fd:1"),
            (["--in", "target, components, stochastic, adversarial", "keep-only", "'ablated'"], *edit, *prompt, "--in", "ablated"),
            (["expected an edit"], *prompt))

    def test_files(self):
        """edits.yaml, wrong in several ways; the file is named."""
        where = "edits: [{ablate: 'h.0.mlp.c_fc:1', where: %s}]"
        texts = {"a: [b": "line", "7": "list of edits", "[7]": "edit 1", "[{remove: 'h.0.mlp.c_fc:1'}]": "ablate",
                 "[{ablate: 'h.0.mlp.c_fc:1'}, {scale: 'h.0.mlp.c_fc:1'}]": "edit 2",
                 "[{scale: 'h.0.mlp.c_fc:1', factor: many}]": "line", "[{ablate: 'h.0.mlp.c_fc:1', factor: 2}]": "'factor'",
                 "[{ablate: 'h.0.mlp.c_fc:1', read: 'h.0.mlp.c_fc:2', from: 'h.0.mlp.c_fc:2'}]": "ablate and read",
                 "[{ablate: [1, 2]}]": "line", "[{ablate: 'h.0.mlp.c_fc:1', head: first}]": "line", where % "everywhere": "where",
                 where % "{position: 3}": "where", where % "{positions: [3]}": "positions", where % "{positions: [9, 3]}": "positions",
                 where % "{positions: [-4, 3]}": "positions", where % "{positions: [3, 9, 12]}": "positions",
                 where % "{positions: [3, 9], time: 0.1}": "time", where % "{importance: -1}": "importance",
                 where % "{importance: .nan}": "importance", "[{scale: 'h.0.mlp.c_fc:1', factor: .nan}]": "factor",
                 "[{activation: 'h.0.mlp.c_fc:1', value: .inf}]": "value"}
        cases = []
        for number, (text, word) in enumerate(texts.items()):
            path = self.root / f"edits{number}.yaml"
            path.write_text(text)
            cases.append((text, word, path))

        def check(text, word, path):
            with self.subTest(text):
                self.refuse(3, [path.name, word], "edit", self.run_directory, "--controls", "0", "--from", path)
        self.each(check, cases)
        self.refuse_edits(2, (["--from", "none.yaml"], "--from", self.root / "none.yaml"))

    def test_options_beside_a_file(self):
        """Which would say something of edits that are in the file: they are not left out in silence."""
        path = self.write_edits("one.yaml", [{"ablate": "h.0.attn.q_proj:1"}])
        self.refuse_edits(2, *(([more[0]], "--from", path, *more) for more in (("--head", "1"), ("--where", "importance>0.1"), ("--positions", "3:9"))))

    def test_names(self):
        """Results stay in their directory."""
        for slug in ("../../../escaped", "a/b", "..", "."):
            with self.subTest(slug):
                self.refuse(2, ["--slug"], "edit", self.run_directory, "--controls", "0", "--ablate", KEY, "--slug", slug)
                self.refuse(2, ["--slug"], "intervene", self.run_directory, "--prompt-tokens", "1", "--ablate", KEY, "--slug", slug)


if __name__ == "__main__":
    unittest.main()
