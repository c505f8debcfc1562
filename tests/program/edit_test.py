"""`vpd intervene` and `vpd edit`: they have the reference numbers of tests/data/interpretation, the edited target is the old one but for
the edited matrices, transformers loads it, and what cannot be done is refused."""

import json
import re
import struct
import sys
import unittest
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import GOLDEN, KEY, TOKENS, EditTest, Shared, difference, listed, load
from support import DATA


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
