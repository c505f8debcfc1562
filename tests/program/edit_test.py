"""`vpd intervene` and `vpd edit`: they have the reference numbers of tests/data/interpretation, the edited target is the old one but for
the edited matrices, transformers loads it, and what cannot be done is refused."""

import json
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from harvest_test import GOLDEN, HarvestTest, load
from prepare_tokens_support import PYTHON, needs
from support import DATA, read_safetensors

CHECKPOINTS = DATA / "huggingface"
FAMILIES = sorted(path.name for path in CHECKPOINTS.iterdir() if path.is_dir())
ROUNDING = {"F32": 1e-6, "F16": 5e-3, "BF16": 3e-2}  # of logits, relative to the largest, and of changes
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


def listed(tokens):
    return ",".join(map(str, tokens))


def difference(found, wanted):
    """The largest difference, over the largest entry."""
    assert len(found) == len(wanted), (len(found), len(wanted))
    return max(abs(a - b) for a, b in zip(found, wanted)) / max(map(abs, wanted))


def files_below(directory):
    return {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}


class EditTest(HarvestTest):
    def edit(self, run, *arguments):
        controls = () if "--controls" in arguments else ("--controls", "0")  # and so without a harvest
        self.run_program("edit", run, "--threads", "1", *controls, *arguments)

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
        self.files = [self.write_edits(f"edits_{i}.yaml", list(map(self.spelled, edits))) for i, edits in enumerate(self.case["edits"])]

    def spelled(self, edit):
        kind, key = edit["kind"], self.key(edit["column"])
        more = {"ablate": lambda: {}, "scale": lambda: {"factor": edit["factor"]}, "set": lambda: {"value": edit["value"]},
                "write": lambda: {"direction": f"unembed:#{edit['token']}", "strength": edit["strength"]},
                "read": lambda: {"from": self.key(edit["other"])}}[kind]()
        return {"activation" if kind == "set" else kind: key, **more, **({"where": edit["where"]} if "where" in edit else {})}

    def check_figure(self, name, found, expected):
        self.assertLessEqual(abs(found - expected), max(1e-3 * abs(expected), 2e-6), f"{name}: {found}, not {expected}")

    def check_effect(self, i, near):
        slug = f"edit_{i}_{near}"
        tokens = listed(f"#{token}" for token in self.case["wanted"])
        self.edit(self.run_directory, "--from", self.files[i], "--wanted", tokens, "--near", near, "--threshold", "0.1", "--slug", slug)
        effect = self.effect(self.run_directory, slug)
        wanted = dict(zip(self.case["measures"], self.wanted[f"{i}/measures"].values))
        for part, name in (("near", f"near_{near}"), ("far", "far"), ("important", "important")):
            self.assertEqual(effect[part]["tokens"], wanted[name + "_count"], f"{name} of edit {i}")
        parts = {f"near_{near}_kl": "near", "far_kl": "far", "kl_all": "all", "ce_change": "ce_change"}
        figures = {name: effect[part]["mean"] for name, part in parts.items()}
        for short in ("p", "ln_p", "argmax"):
            figures |= zip((f"wanted_{short}_before", f"wanted_{short}_after"), effect["wanted"][short])
        for name, found in figures.items():
            self.check_figure(f"{name} of edit {i}", found, wanted[name])
        self.assertTrue(effect["all"]["low"] <= effect["all"]["mean"] <= effect["all"]["high"])
        kl, expected = load(self.results(self.run_directory) / "edits" / slug / "tokens.safetensors")["kl"], self.wanted[f"{i}/kl"]
        for found, one in zip(kl.values, expected.values, strict=True):
            self.check_figure(f"kl of edit {i}", found, one)

    def check_logits(self, name, row, tokens, *arguments):
        """What `intervene` gives on one row."""
        slug = f"{name.replace('/', '_')}_{row}"
        said, found = self.intervene(self.run_directory, "--slug", slug, *arguments, tokens=tokens), self.logits(self.run_directory, slug)
        for which, expected in (("target", "logits"), ("edited", name)):
            wanted = self.wanted[expected]
            self.assertEqual(found[which].shape, wanted.shape[1:])
            self.assertLessEqual(difference(found[which].values, wanted.rows()[row]), 1e-5, f"{expected}, row {row}, {which}")
        return said

    def kept(self, name, row):
        """All nodes of a row whose importance is above the threshold."""
        g = load(GOLDEN / name / "harvest.safetensors")["g"]
        nodes = zip(product(*map(range, g.shape[1:])), g.rows()[row])
        return listed(f"{self.key(c)}@{t}" for (t, c), importance in nodes if importance > self.case["keep_only_threshold"])

    def check_weights(self, name):
        """What is exported of edits that a weight can do: W + Σ q pᵀ."""
        def check(i):
            out = self.root / f"out_{i}"
            self.edit(self.run_directory, "--from", self.files[i], "--out", out, "--slug", f"out_{i}")
            weights, effect = load(out / "model.safetensors"), self.effect(self.run_directory, f"out_{i}")
            sites = {one.split("/")[-1] for one in self.wanted if one.startswith(f"{i}/weight/")}
            for site in sites:
                self.assertLessEqual(difference(weights[site + ".weight"].values, self.wanted[f"{i}/weight/{site}"].values), 1e-6)
            self.assertEqual({written["matrix"] for written in effect["written"]}, sites)
            self.assertLessEqual(effect["reloaded_difference"], 1e-6)
        self.each(check, [(0,), (3,), (6,), (7,)])

    def check_case(self, name):
        self.prepare(name)
        self.harvest(self.run_directory, "--seed", self.case["harvest_seed"])
        self.each(self.check_effect, [(i, near) for near, few in ((20, range(8)), (2, (0, 4, 7))) for i in few])
        B, T, _ = self.wanted["logits"].shape
        tokens = struct.unpack(f"<{B * T}i", (DATA / name / "eval.npy").read_bytes()[-4 * B * T:])
        rows = [list(tokens[i * T:(i + 1) * T]) for i in range(B)]
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
        sites = [{"pattern": "*.attn.*" if name.startswith("gpt2") else "*.self_attn.*", "C": 5}, {"pattern": "*.mlp.*", "C": 7}]
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
        return self.root / ("target" if name == "plain" else name)

    def stored(self, name, key):
        """The tensor that holds a matrix, and which of how many parts of it."""
        site = key.split(":")[0]
        if name.startswith("gpt2") and "attn" in site:
            return f"transformer.{site[:-6]}c_attn.weight", "qkv".index(site.split(".")[-1][0]), 3
        return ("" if name == "plain" else "transformer." if name.startswith("gpt2") else "model.") + site + ".weight", 0, 1

    def test_files(self):
        """Byte for byte those of the target, but for the edited tensors."""
        for name, run in self.runs.items():
            with self.subTest(name):
                before, after = files_below(self.target(name)), files_below(self.root / f"edited_{name}")
                self.assertEqual(set(after), {*before, "vpd_edit.json"})
                changed = set()
                for file, path in before.items():
                    if not file.startswith("model") or path.suffix != ".safetensors":
                        self.assertEqual(path.read_bytes(), after[file].read_bytes(), file)
                        continue
                    old, new = path.read_bytes(), after[file].read_bytes()
                    header = 8 + struct.unpack("<Q", old[:8])[0]
                    self.assertEqual((len(old), old[:header]), (len(new), new[:header]), file)
                    new = read_safetensors(after[file])
                    changed |= {tensor for tensor, entry in read_safetensors(path).items() if entry != new[tensor]}
                self.assertEqual(changed, {self.stored(name, key)[0] for key in self.keys(name)})
                note, edits = json.loads(after["vpd_edit.json"].read_text()), [{"ablate": key} for key in self.keys(name)]
                self.assertEqual((note["run"], note["step"], note["edits"]), (run.name, 0, edits))
                # Read again, the files are the edit in memory, up to their type.
                effect, dtype = self.effect(run), self.matrix(self.target(name), self.stored(name, self.keys(name)[0])[0])[0]
                self.assertEqual([one["matrix"] for one in effect["written"]], sorted(key.split(":")[0] for key in self.keys(name)))
                self.assertEqual({one["dtype"] for one in effect["written"]}, {dtype})
                for error in (effect["reloaded_difference"], *(one["relative_error"] for one in effect["written"])):
                    self.assertLessEqual(error, ROUNDING[dtype])

    def test_rounding(self):
        """Each value of an edited matrix is that of W - U Vᵀ in the file's type, and no other part of c_attn has changed."""
        for name, run in self.runs.items():
            components = load(run / "checkpoints" / "step_00000000" / "decomposition.safetensors")
            for key in self.keys(name):
                site, c = key.split(":")
                V, U = [row[int(c)] for row in components[site + ".V"].rows()], components[site + ".U"].rows()[int(c)]
                rows, columns = (V, U) if name.startswith("gpt2") else (U, V)
                tensor, part, parts = self.stored(name, key)
                (dtype, shape, old), (_, _, new) = (self.matrix(of, tensor) for of in (self.target(name), self.root / f"edited_{name}"))
                self.assertEqual(shape, [len(rows), len(columns) * parts])
                unit = 1.01 * 2.0 ** -{"F32": 24, "F16": 11, "BF16": 8}[dtype]
                for i, j in product(range(len(rows)), range(len(columns))):
                    k = i * shape[1] + part * len(columns) + j
                    wanted = old[k] - rows[i] * columns[j]
                    self.assertLessEqual(abs(new[k] - wanted), unit * abs(wanted) + 1e-7, f"{name}: {tensor}, {k}")

    def matrix(self, directory, tensor):
        """Type, shape and values."""
        for path in sorted(directory.glob("model*.safetensors")):
            entries = read_safetensors(path)
            if tensor in entries:
                dtype, shape, data = entries[tensor]
                if dtype == "BF16":
                    data = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))
                return dtype, shape, struct.unpack(f"<{prod(shape)}{'e' if dtype == 'F16' else 'f'}", data)
        self.fail(f"{directory}: no {tensor}")

    @needs("transformers")
    def test_transformers(self):
        done = subprocess.run([PYTHON, "-c", LOGITS, json.dumps(TOKENS), *(self.root / f"edited_{name}" for name in FAMILIES)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, line in zip(FAMILIES, done.stdout.splitlines(), strict=True):
            with self.subTest(name):
                found = self.logits(self.runs[name], "prompt")
                self.assertGreater(difference(found["edited"].values, found["target"].values), 1e-3)
                dtype = self.effect(self.runs[name])["written"][0]["dtype"]
                self.assertLessEqual(difference(found["edited"].values, json.loads(line)), max(1e-5, ROUNDING[dtype]))

    def test_places(self):
        """A target whose files are links, as in a cache of downloads, and a path that ends with a slash."""
        content, link = self.root / "blobs", self.root / "snapshots" / "one"
        content.mkdir()
        link.mkdir(parents=True)
        for number, path in enumerate(sorted((self.root / "llama").iterdir())):
            shutil.copy(path, content / str(number))
            (link / path.name).symlink_to(Path("../../blobs") / str(number))
        edits = [word for key in self.keys("llama") for word in ("--ablate", key)]
        for number, more in enumerate((("--set", f"target.path={link}", "--out", "linked"), ("--out", "slash/"))):
            with self.subTest(more[-1]):
                self.edit(self.runs["llama"], *edits, *more, "--slug", f"more{number}")
                for file, path in files_below(self.root / "edited_llama").items():
                    copied = self.root / more[-1] / file
                    self.assertTrue(file == "vpd_edit.json" or copied.read_bytes() == path.read_bytes(), file)
                    self.assertFalse(copied.is_symlink(), file)
        for path in content.iterdir():
            self.assertTrue(path.read_bytes() == sorted((self.root / "llama").iterdir())[int(path.name)].read_bytes(), "it was changed")

    def test_swallowed(self):
        """By rounding; nothing is left behind."""
        command = ("edit", self.runs["qwen3"], "--scale", "layers.0.mlp.down_proj:4=1.0000001", "--controls", "0", "--out", "swallowed")
        self.refuse(3, ["model.layers.0.mlp.down_proj.weight", "rounding of BF16", "wider type"], *command)
        self.assertEqual([*self.root.glob("swallowed"), *self.root.glob(".tmp-*")], [])

    def test_inside_the_target(self):
        """A copy of a directory into itself."""
        target = re.search(r"path: ([^,}\n]+)", (self.runs["plain"] / "config.yaml").read_text())[1]
        command = ("edit", self.runs["plain"], "--ablate", KEY, "--controls", "0", "--out", f"{target}/edited")
        _, err = self.refuse(3, ["--out", "target"], *command)
        self.assertNotIn(".tmp-", err)


class Heads(Shared):
    def test_tied(self):
        """A tensor that is the embedding and the head in one may be measured, but not written; a head of its own may be written."""
        transformer = {"type": "global_shared_transformer", "d_model": 8, "n_blocks": 1, "n_heads": 2, "d_mlp": 8}
        for name, site, tied in (("gpt2", "wte", True), ("llama_stretched", "lm_head", True), ("llama", "lm_head", False)):
            with self.subTest(name):
                run = self.family(name, sites=[{"pattern": site, "C": 9}], causal_importance=transformer)
                command, out = ("edit", run, "--ablate", f"{site}:1", "--controls", "0"), self.root / f"head_{name}"
                self.run_program(*command, *(() if tied else ("--out", out)))
                if tied:
                    self.refuse(3, [name, site, "the embedding and the head in one", "untie the head"], *command, "--out", out)
                self.assertEqual(out.exists(), not tied)
                self.assertEqual([one["tensor"] for one in self.effect(run)["written"]], [] if tied else ["lm_head.weight"])


class Invariants(Shared):
    def setUp(self):
        super().setUp()
        self.run_directory = self.root / "run"
        if not self.run_directory.exists():
            self.harvest(self.make_run())

    def test_same_seed(self):
        """The same texts, controls and intervals."""
        generate = ("--scale", f"{KEY}=-3", "--generate", "6", "--samples", "2", "--temperature", "1.5", "--top-p", "0.9")
        cases = [(self.run_directory, *generate, "--controls", "2", "--seed", seed) for seed in (3, 3, 4)]
        texts = [said["generations"] for said in self.each(self.intervene, cases)]
        self.assertEqual(texts[0], texts[1])
        self.assertNotEqual(texts[0], texts[2])
        self.assertEqual([one["who"] for one in texts[0][::2]], ["target", "edited", "control 1", "control 2"])
        self.assertNotEqual(texts[0][0]["tokens"], texts[0][1]["tokens"])
        command = (self.run_directory, "--ablate", KEY, "--wanted", "#3", "--controls", "3", "--slug")
        self.each(self.edit, [(*command, f"seed{number}", "--seed", seed) for number, seed in enumerate((5, 5, 6))])
        effects = [self.effect(self.run_directory, f"seed{number}") | {"seconds": 0} for number in range(3)]
        self.assertEqual(effects[0], effects[1])
        self.assertNotEqual(effects[0]["figures"], effects[2]["figures"])
        self.assertEqual((effects[0]["all"]["mean"], effects[0]["controls"]), (effects[2]["all"]["mean"], 3))

    def test_greedy(self):
        """Each token is the most probable one of a pass over the row so far, whatever the seed; the end is the longest row."""
        texts = [self.intervene(self.run_directory, "--ablate", KEY, "--generate", "3", "--seed", seed)["generations"] for seed in (0, 1)]
        self.assertEqual(texts[0], texts[1])
        row = list(TOKENS)
        for token in texts[0][1]["tokens"]:
            next_ones = self.intervene(self.run_directory, "--ablate", KEY, "--top", "61", tokens=row)["next"]
            self.assertEqual(max(next_ones, key=lambda one: one["edited"])["token"], token)
            row.append(token)
        for length in (30, 32):
            ends = self.intervene(self.run_directory, "--ablate", KEY, "--generate", "10", tokens=(TOKENS * 4)[:length])["generations"]
            self.assertEqual([len(one["tokens"]) for one in ends], [32 - length] * 2)

    def test_contexts(self):
        """Random masks follow the seed, and an edit that changes nothing changes nothing in any context."""
        for context in ("stochastic", "adversarial"):
            command = (self.run_directory, "--in", context, "--attack-steps", "3", "--scale", f"{KEY}=2", "--seed")
            found = [said["kl"] for said in self.each(self.intervene, [(*command, seed) for seed in (1, 1, 2)])]
            self.assertEqual(found[0], found[1])
            self.assertNotEqual(found[0], found[2])
        self.assertLess(max(self.intervene(self.run_directory, "--scale", f"{KEY}=1")["kl"]), 1e-9)

    def test_read_again(self):
        """edits.yaml of a result is the edits of the result."""
        command = ("--ablate", "h.1.attn.q_proj:2", "--swap", "h.1.attn.q_proj:4=h.1.attn.q_proj:8", "--write",
                   "h.1.attn.q_proj:9=h.0.mlp.down_proj:3*2", "--head", "1")
        important = ("--where", "importance>0.1")
        for number, more in enumerate(((), ("--positions", "3:9"), important, (*important, "--positions", "3:9"))):
            with self.subTest(more):
                first, second = (f"{which}{number}" for which in ("first", "second"))
                self.edit(self.run_directory, *command, *more, "--slug", first)
                self.edit(self.run_directory, "--from", self.results(self.run_directory) / "edits" / first / "edits.yaml", "--slug", second)
                one, other = self.effect(self.run_directory, first), self.effect(self.run_directory, second)
                for name in ("edits", "all", "near", "far", "important", "ce_change"):
                    self.assertEqual(one[name], other[name], name)

    def test_report(self):
        self.edit(self.run_directory, "--ablate", KEY, "--wanted", "#3", "--controls", "2", "--slug", "shown")
        self.intervene(self.run_directory, "--ablate", KEY, "--slug", "prompt")
        self.run_program("report", self.run_directory, "--out", "page.html")
        text = (self.root / "page.html").read_text()
        meta = json.loads(re.search(r'id="meta">(.*?)</script>', text, re.S)[1])
        shown, = (one for one in meta["edits"] if one["name"] == "shown")
        self.assertEqual(shown["edits"], [{"ablate": KEY}])
        self.assertIn("prompt", [one["name"] for one in meta["interventions"]])
        self.assertIn('["edits", "Edits"', text)


class Refused(EditTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()

    def refuse_edits(self, exit_code, *cases):
        self.refuse_each(exit_code, *((words, "edit", self.run_directory, *(() if "--controls" in more else ("--controls", "0")), *more)
                                      for words, *more in cases))

    def refuse_prompts(self, exit_code, *cases):
        self.refuse_each(exit_code, *((words, "intervene", self.run_directory, *more) for words, *more in cases))

    def test_edits(self):
        self.refuse_edits(
            2, (["'h.0.mlp.c_fd'", "did you mean h.0.mlp.c_fc?"], "--ablate", "h.0.mlp.c_fd:1"),
            (["expected one of the 40 subcomponents of h.0.mlp.c_fc", "40"], "--ablate", "h.0.mlp.c_fc:40"),
            (["--ablate", "alone", f"{KEY}=2"], "--ablate", f"{KEY}=2"),
            *((["--scale", KEY], "--scale", text) for text in (KEY, f"{KEY}=", f"{KEY}=two", f"{KEY}=nan", f"{KEY}=1e999", f"{KEY}=2x")),
            (["--activation", "NUMBER"], "--activation", KEY), (["did you mean h.0.mlp.c_fc?"], "--read", f"{KEY}=h.0.mlp.c_fd:1"),
            (["--read", "one site"], "--read", f"{KEY}=h.1.mlp.c_fc:1"),
            (["--swap", "one width", "96", "24"], "--swap", f"{KEY}=h.0.mlp.down_proj:1"),
            (["--head", "0 to 2", "h.0.attn.q_proj", "found 3"], "--ablate", "h.0.attn.q_proj:1", "--head", "3"),
            (["--head", "query, key or value", KEY], "--ablate", KEY, "--head", "0"), (["--head"], "--ablate", KEY, "--head", "-1"),
            *((["--where", "importance>NUMBER"], "--ablate", KEY, "--where", text) for text in ("g>0.1", "importance>", "importance>-1")),
            *((["--positions", "FIRST:END"], "--ablate", KEY, "--positions", text) for text in ("9:3", "3:3", "a:b", "3:", "-1:3")),
            (["'#61'", "below 61"], "--ablate", KEY, "--wanted", "#61"),
            (["expected an edit", "--ablate", "found none"],), (["expected an edit"], "--from", self.write_edits("empty.yaml", [])))
        out = ("--out", self.root / "never")
        some = (["some places only", "h.0.mlp.c_fc"], "--ablate", KEY)
        self.refuse_edits(2, (*some, "--where", "importance>0.1", *out), (*some, "--positions", "3:9", *out),
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

    def test_options_without_an_effect(self):
        prompt = ("--prompt-tokens", "1,2")
        self.refuse_prompts(
            2, (["--controls 2", "found no --generate"], *prompt, "--ablate", KEY, "--controls", "2"),
            (["--controls 2", "found no edit"], *prompt, "--in", "components", "--generate", "2", "--controls", "2"),
            (["--samples 3", "found no --generate"], *prompt, "--ablate", KEY, "--samples", "3"),
            (["--samples 3", "found a temperature of 0"], *prompt, "--ablate", KEY, "--generate", "2", "--samples", "3"))

    def test_width(self):
        self.harvest(self.run_directory)
        words, other = ["--write", "width 96", "h.0.mlp.c_fc", "found 24"], "h.0.mlp.down_proj"
        self.refuse_edits(2, (words, "--write", f"{KEY}=unembed:#5*3"), (words, "--write", f"{KEY}={other}:2*3"),
                          (["'#61'"], "--write", f"{other}:1=unembed:#61"))

    def test_prompts(self):
        edit, prompt = ("--ablate", KEY), ("--prompt-tokens", "1,2,3")
        self.refuse_prompts(
            2, (["--positions 3:9", "has 3"], *edit, *prompt, "--positions", "3:9"),
            (["1 to 32 tokens", "found 33"], *edit, "--prompt-tokens", listed([5] * 33)),
            (["below 61", "found 61"], *edit, "--prompt-tokens", "1,61"), (["-1,2"], *edit, "--prompt-tokens=-1,2"),
            (["--prompt-tokens"], *edit, "--prompt-tokens", ""), (["--temperature"], *edit, *prompt, "--temperature", "nan"),
            (["--prompt", "--prompt-tokens", "neither"], *edit), (["--prompt-tokens"], *edit, *prompt, "--prompt", "a"),
            (["--prompt", "tokenizer.json"], *edit, "--prompt", "a"),
            (["--keep", "keep-only"], *edit, *prompt, "--keep", KEY), (["--keep", "keep-only"], *prompt, "--in", "keep-only"),
            (["--keep", "below 3"], *prompt, "--in", "keep-only", "--keep", f"{KEY}@3"),
            (["did you mean h.0.mlp.c_fc?"], *prompt, "--in", "keep-only", "--keep", "h.0.mlp.c_fd:1"),
            (["--in", "target, components, stochastic, adversarial", "keep-only", "'ablated'"], *edit, *prompt, "--in", "ablated"),
            (["expected an edit"], *prompt))

    def test_files(self):
        """edits.yaml, wrong in several ways; the file is named."""
        texts = {"a: [b": "line", "7": "list of edits", "[7]": "edit 1", "[{remove: K}]": "ablate", "[{ablate: K}, {scale: K}]": "edit 2",
                 "[{scale: K, factor: many}]": "line", "[{ablate: K, factor: 2}]": "'factor'", "[{ablate: [1, 2]}]": "line",
                 "[{ablate: K, read: K, from: K}]": "ablate and read", "[{ablate: K, head: first}]": "line",
                 "[{scale: K, factor: .nan}]": "factor", "[{activation: K, value: .inf}]": "value"}
        wheres = {"everywhere": "where", "{position: 3}": "where", "{positions: [3]}": "positions", "{positions: [9, 3]}": "positions",
                  "{positions: [-4, 3]}": "positions", "{positions: [3, 9, 12]}": "positions", "{positions: [3, 9], time: 1}": "time",
                  "{importance: -1}": "importance", "{importance: .nan}": "importance"}
        texts |= {f"edits: [{{ablate: K, where: {where}}}]": word for where, word in wheres.items()}

        def check(number, text, word):
            path = self.root / f"edits{number}.yaml"
            path.write_text(re.sub(r"\bK\b", f"'{KEY}'", text))
            try:
                self.refuse(3, [path.name, word], "edit", self.run_directory, "--controls", "0", "--from", path)
            except AssertionError as error:
                return f"{text}: {error}".split("\nstep")[0]
        self.assertEqual(list(filter(None, self.each(check, [(number, *case) for number, case in enumerate(texts.items())]))), [])
        # Options that say something of an edit do not say it of those in the file, and so are not taken in silence.
        command, options = ("--from", self.write_edits("one.yaml", [{"ablate": "h.0.attn.q_proj:1"}])), ("--head 1", "--positions 3:9")
        self.refuse_edits(2, (["none.yaml"], "--from", "none.yaml"), *(([more[:5]], *command, *more.split()) for more in options))

    def test_names(self):
        """Results stay in their directory."""
        for slug in ("../../../escaped", "../harvest", "a/b", "..", "."):
            with self.subTest(slug):
                for command in (("edit", "--controls", "0"), ("intervene", "--prompt-tokens", "1")):
                    self.refuse(2, ["--slug"], command[0], self.run_directory, *command[1:], "--ablate", KEY, "--slug", slug)


if __name__ == "__main__":
    unittest.main()
