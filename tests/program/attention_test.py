"""`vpd attention`: its files agree with each other and with golden numbers, its page draws them, and what cannot be done is refused. Its numbers have
references in tests/interpretation."""

import json
import math
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import GOLDEN, TOKENS, EditTest, Shared, listed, load
from page_support import needs_browser, tour
from support import DATA, PROGRAM

PROMPT = ("--prompt-tokens", listed(TOKENS))
ABLATED = ["h.1.attn.q_proj:10", "h.1.attn.k_proj:11"]  # as in attention.json of the golden numbers
ABLATE = ("--ablate", ABLATED[0], "--ablate", ABLATED[1])
FILES = {"about.json", "heads.json", "heads.safetensors", "ov.safetensors", "pairs.safetensors", "static.safetensors"}


class AttentionTest(EditTest):
    def attention(self, run, *arguments, layer="1"):
        text, errors = self.run_program("attention", run, "--threads", "1", "--layer", layer, "--offsets", "0:8", *arguments)
        return text, errors, self.results(run) / "attention" / f"block_{layer}"


def at(tensor, *index):
    """An entry of a tensor."""
    place = 0
    for i, size in zip(index, tensor.shape, strict=True):
        place = place * size + i
    return tensor.values[place]


class Found(AttentionTest):
    def test_files(self):
        run = self.make_run()
        self.harvest(run)
        choice = json.loads((GOLDEN / "plain" / "attention.json").read_text())
        text, _, directory = self.attention(run, *PROMPT, "--slug", "one", "--min-importance", "0", *ABLATE, "--pairs", "4")
        self.assertEqual({path.name for path in directory.iterdir()}, FILES | {"prompts"})
        golden, pairs, heads = load(GOLDEN / "plain" / "attention.safetensors"), load(directory / "pairs.safetensors"), load(directory / "heads.safetensors")
        still, moved = load(directory / "static.safetensors"), load(directory / "ov.safetensors")
        for name, tensor in (("offsets", heads["offsets"]), ("offsets_ablated", heads["offsets_ablated"]), ("norms/q", heads["norm_q"]), ("spread/v", heads["spread_v"])):
            self.assertEqual(tensor.shape, golden[name].shape, name)
            self.assert_close(tensor.values, golden[name].values, name, 2e-5)
        for name in ("read_cosine", "write_cosine", "value_alignment", "output_alignment"):
            self.assert_close(moved[name].values, golden[f"ov/{name}"].values, name, 2e-3)
        # Subcomponents that are kept apart are some of the golden ones.
        sites = {site["name"]: site["offset"] for site in self.about(run)["sites"]}
        queries, keys = ([column - sites[f"h.1.attn.{side}_proj"] for column in still[name].values] for side, name in (("q", "query"), ("k", "key")))
        self.assertTrue(8 < len(queries) < 17 and 8 < len(keys) < 17)
        self.assertEqual(pairs["query"].values[:len(queries)], still["query"].values)
        self.assertEqual(pairs["query"].values[len(queries):], [-1, -4])
        head, each = choice["head"], [(i, j, q, k) for i, q in enumerate(queries) for j, k in enumerate(keys)]
        for name, found, wanted in (
                ("static", [at(still["strength"], 3, head, i, j) for i, j, _, _ in each], [at(golden["static"], 3, head, q, k) for _, _, q, k in each]),
                ("share", [at(pairs["share"], head, i, j) for i, j, _, _ in each], [at(golden["summary/share"], q, k) for _, _, q, k in each]),
                ("mean", [at(pairs["mean"], 3, head, i, j) for i, j, _, _ in each], [at(golden["summary/mean"], 3, q, k) for _, _, q, k in each])):
            self.assert_close(found, wanted, name, 2e-5)
        self.assertEqual([at(pairs["both_count"], i, j) for i, j, _, _ in each], [at(golden["summary/both_count"], q, k) for _, _, q, k in each])
        for name in ("share", "share_within"):
            for share in pairs[name].rows():
                self.assertAlmostEqual(sum(share), 1.0, 5)
        document = json.loads((directory / "heads.json").read_text())
        self.assertEqual(len(document["by_head"]), 3)
        for one in document["by_head"]:
            self.assertAlmostEqual(sum(one["shares"].values()), 1.0, 5)
            self.assertEqual(len(one["pairs"]), 4)
            self.assertEqual([each["key"] for each in one["without"]], ABLATED)
        self.assertTrue(document["keys_of_values"])
        together, firings = load(self.results(run) / "harvest" / "coactivation.safetensors"), load(self.results(run) / "harvest" / "subcomponents.safetensors")["firings"].values
        for one in document["keys_of_values"]:
            value, key = (sites[text.split(":")[0]] + int(text.split(":")[1]) for text in (one["value"], one["key"]))
            row = together["subcomponent"].values.index(value)
            begin, end = together["offsets"].values[row:row + 2]
            count = together["count"].values[begin + together["partner"].values[begin:end].index(key)]
            self.assertAlmostEqual(one["key_given_value"], count / firings[value])
            self.assertAlmostEqual(one["value_given_key"], count / firings[key])
        self.assertIn("by chance", text)
        self.check_prompt(directory / "prompts", "one")
        # Prompts of the same weights stay, and so does everything else.
        _, _, again = self.attention(run, "--prompt-tokens", "3,4,5", "--slug", "two", "--min-importance", "0", *ABLATE, "--pairs", "4")
        self.assertEqual({path.name for path in (again / "prompts").iterdir()}, {f"{slug}.{kind}" for slug in ("one", "two") for kind in ("json", "safetensors")})
        self.assertEqual(load(again / "pairs.safetensors")["share"].values, pairs["share"].values)

    def check_prompt(self, directory, slug):
        tensors, described = load(directory / f"{slug}.safetensors"), json.loads((directory / f"{slug}.json").read_text())
        self.assertEqual(described["tokens"], TOKENS)
        self.assertEqual(len(described["pairs"]), 32)
        score, given, rest = tensors["score"], tensors["contribution"], tensors["rest"]
        heads, T = score.shape[0], score.shape[1]
        largest = [max(map(abs, pair)) for pair in given.rows()]
        self.assertEqual(largest, sorted(largest, reverse=True))
        for h in range(heads):
            for t in range(T):
                for u in range(T):
                    parts = sum(at(given, p, h, t, u) for p in range(32)) + at(rest, h, t, u)
                    self.assertLess(abs(parts - at(score, h, t, u)), 1e-4 * max(map(abs, score.values)))
                    if u > t:
                        self.assertEqual(at(score, h, t, u), 0.0)

    def test_without_a_harvest(self):
        """A first pass over the rows finds what is alive, and the same signs."""
        found = []
        for name, harvested in (("one", True), ("two", False)):
            run = self.make_run(name=name)
            if harvested:
                self.harvest(run)
            _, _, directory = self.attention(run)
            found.append(load(directory / "static.safetensors"))
            document = json.loads((directory / "heads.json").read_text())
            self.assertEqual(bool(document["keys_of_values"]), harvested)
        for name in ("query", "key", "strength"):
            self.assertEqual(found[0][name].values, found[1][name].values, name)

    def test_chosen_rows(self):
        """Fewer positions are read where fewer are asked for, and where only some are important they weigh alone."""
        run = self.make_run()
        documents = [json.loads(self.attention(run, "--json", "-", *more)[0]) for more in (
            ("--positions", "20"), ("--given", "h.1.attn.k_proj:3"), ("--split", "train", "--positions", "17"), ("--seed", "5"), ("--threshold", "0.9"), ("--tokens", DATA / "plain" / "train.npy", "--positions", "17"))]
        self.assertEqual([one["positions"] for one in documents[:3:2]], [34, 17])
        self.assertLess(documents[1]["ov"]["positions"], documents[1]["positions"])
        self.assertEqual(documents[1]["ov"]["given"], "h.1.attn.k_proj:3")
        self.assertNotEqual(documents[3]["by_head"][0]["previous_token_random"], documents[1]["by_head"][0]["previous_token_random"])
        self.assertEqual(documents[3]["by_head"][0]["previous_token"], documents[1]["by_head"][0]["previous_token"])
        counts = [sum(pair.get("both_count", 0) for head in one["by_head"] for pair in head["pairs"]) for one in (documents[4], documents[3])]
        self.assertLess(counts[0], counts[1])
        self.assertEqual(documents[5]["by_head"], documents[2]["by_head"])

    def test_one_head(self):
        """Tables show one head; files have all."""
        text, _, directory = self.attention(self.make_run(), "--head", "2", "--pairs", "3")
        self.assertIn("head 2: of the variance", text)
        self.assertNotIn("head 0:", text)
        self.assertEqual(load(directory / "pairs.safetensors")["share"].shape[0], 3)

    def test_dry_run(self):
        run = self.make_run()
        text, _, directory = self.attention(run, "--dry-run")
        self.assertIn("two: the first says what is alive", text)
        self.assertFalse(directory.exists())

    def test_grouped_keys(self):
        run = self.make_run("grouped")
        _, errors, directory = self.attention(run, layer="2")
        document = json.loads((directory / "heads.json").read_text())
        self.assertEqual((document["heads"], document["key_heads"]), (4, 2))
        self.assertIn("bias", document["by_head"][0]["shares"])
        self.assertNotIn("value_alignment", load(directory / "ov.safetensors"))  # v is no site there
        self.assertTrue(all(math.isfinite(x) for x in load(directory / "pairs.safetensors")["share"].values))
        self.assertNotIn("one term", errors)


class Families(Shared):
    def test_families(self):
        """Positions, biases, head norms, and a key matrix that is not decomposed."""
        def read(name, **changes):
            run = self.family(name, **changes)
            text, errors = self.run_program("attention", run, "--threads", "1", "--layer", "0", "--offsets", "0:4", "--min-importance", "0", *PROMPT)
            pairs = load(self.results(run) / "attention" / "block_0" / "pairs.safetensors")
            for share in pairs["share"].rows() + pairs["share_within"].rows():
                self.assertAlmostEqual(sum(share), 1.0, 4)
            return text, errors
        for name in ("gpt2", "llama", "qwen2", "qwen3"):
            read(name)
        text, errors = read("gpt2_untied", sites=[{"pattern": "*.attn.q_proj", "C": 5}, {"pattern": "*.mlp.*", "C": 7}])
        self.assertIn("is not decomposed: it enters as one term", errors)
        self.assertIn("all of", text)


class Page(AttentionTest):
    @needs_browser
    def test_page(self):
        run = self.make_run()
        self.harvest(run)
        self.attention(run, *PROMPT)
        self.attention(run, layer="0")
        self.run_program("report", run, "--out", "page.html")
        for width in (400, 1280):
            found = tour(self.root / "page.html", ["attention", "attention?b=1&h=2", "selftest"], width)
            for way, page in found.items():
                self.assertEqual((page["ready"], page["errors"], page["last"]), ("1", "0", ""), way)
                self.assertLessEqual(page["needed"], page["width"] + 1, (way, page["wide"]))
            self.assertIn("Heads of block 0", found["attention"]["text"])
            self.assertIn("Take a pair out", found["attention?b=1&h=2"]["text"])
            self.assertEqual(found["selftest"]["selftest"], "ok", found["selftest"]["failed"])


class Refused(AttentionTest):
    def test_options(self):
        run = self.make_run()
        self.refuse_each(2, *((words, "attention", run, "--layer", *more) for words, *more in (
            (["--layer", "0 to 1", "found 2"], "2"), (["--head", "0 to 2", "found 3"], "1", "--head", "3"),
            (["--offsets", "range like 0:32"], "1", "--offsets", "4"), (["--offsets", "17"], "1", "--offsets", "0:18"), (["--offsets", "3:3"], "1", "--offsets", "3:3"),
            (["--ablate", "h.1.attn.k_prj"], "1", "--ablate", "h.1.attn.k_prj:3"), (["--given", "16"], "1", "--given", "h.1.attn.k_proj:16"),
            (["--threshold"], "1", "--threshold", "1"), (["--min-importance", "none"], "1", "--min-importance", "0.999"), (["--min-importance"], "1", "--min-importance", "-1"),
            (["below 61"], "1", "--prompt-tokens", "61"), (["--slug"], "1", *PROMPT, "--slug", "a/b"), (["tokenizer.json"], "1", "--prompt", "x"),
            (["--given", "important somewhere"], "1", "--given", "h.1.attn.k_proj:3", "--threshold", "0.9999999"),
            (["--layer", "0 to 1"], "7", "--dry-run"))))
        self.assertFalse((run / "interpretation").exists())

    def test_interrupted(self):
        run = self.make_run()
        endless = ("--set", "data.eval={type: induction, sequence_length: 17}", "--positions", "1000000000")
        process = subprocess.Popen([PROGRAM, "attention", run, "--layer", "1", *endless], stderr=subprocess.PIPE, text=True)
        self.assertTrue(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertFalse((run / "interpretation").exists())


if __name__ == "__main__":
    unittest.main()
