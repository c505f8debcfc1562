"""`vpd find` and `vpd show` on a small run: tables that agree with the files of the harvest."""

import math
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from labels_support import BEYOND, STEP, SUBCOMPONENT, VOCABULARY, LabelsTest, numbers
from support import read_safetensors


class FindAndShow(LabelsTest):
    # find.

    def test_find_agrees_with_the_counts(self):
        counts, marginal, firings = self.input_counts(), self.marginal(), dict(self.facts())
        common = sorted(range(VOCABULARY), key=lambda token: -marginal[token])[:3]
        for tokens in (common[:1], common):
            found = self.find("--tokens", ",".join(f"#{token}" for token in tokens), "--top", "1000")
            self.assertEqual(found["tokens"], sorted(tokens))
            expected = {}
            for key, count in counts.items():
                hits = sum(count.get(token, 0) for token in tokens)
                if hits:
                    expected[key] = (hits / firings[key], hits / sum(marginal[token] for token in tokens), firings[key])
            self.assertEqual({one["key"] for one in found["found"]}, set(expected))
            self.assertGreater(len(expected), 5)
            for one in found["found"]:
                hit, cover, count = expected[one["key"]]
                self.assertAlmostEqual(one["hit"], hit)
                self.assertAlmostEqual(one["cover"], cover)
                self.assertAlmostEqual(one["f1"], 2 * hit * cover / (hit + cover))
                self.assertEqual(one["firings"], count)
            order = [(one["always_on"], -one["f1"]) for one in found["found"]]
            self.assertEqual(order, sorted(order))
        least = sorted(one["firings"] for one in found["found"])[len(expected) // 2]
        some = self.find("--tokens", ",".join(f"#{token}" for token in tokens), "--top", "3", "--min-firings", str(least))
        self.assertEqual(some["found"], [one for one in found["found"] if one["firings"] >= least][:3])

    def test_find_by_text(self):
        by_text = self.find("--tokens", " and, the,\n", "--top", "5")
        self.assertEqual(by_text["tokens"], [self.tokens.index(text) for text in ("Ċ", "Ġand", "Ġthe")])
        self.assertEqual(self.find("--tokens", "#1,#4, #3", "--top", "5"), by_text)
        self.assertEqual(self.find("--tokens", ",", "--top", "1")["tokens"], [self.tokens.index(",")])
        text, _ = self.run_program("find", self.out, "--tokens", " and, the,\n", "--top", "5")
        self.assertEqual(SUBCOMPONENT.findall(text), [one["key"] for one in by_text["found"]])
        self.assertRegex(text.split("\n")[0], r'"\\n".*"·and".*"·the"')
        self.assertNotIn("\x1b", text)
        self.assertLessEqual(max(map(len, text.split("\n"))), 100)

    def test_find_by_what_the_model_says(self):
        found = self.find("--tokens", "#5", "--side", "output", "--top", "1000")["found"]
        _, (alive, width), _ = read_safetensors(self.harvest / "output_tokens.safetensors")["mass"]
        mass = numbers(self.harvest / "output_tokens.safetensors", "mass")
        marginal = numbers(self.harvest / "output_tokens.safetensors", "marginal")
        columns = numbers(self.harvest / "output_tokens.safetensors", "subcomponent")
        keys = self.facts()
        self.assertEqual(width, VOCABULARY)
        self.assertAlmostEqual(sum(marginal), 510, places=2)
        self.assertEqual({one["key"] for one in found}, {keys[column][0] for column in columns})
        self.assertEqual(len(found), alive)
        for one in found:
            row = columns.index([key for key, _ in keys].index(one["key"]))
            self.assertAlmostEqual(one["hit"], mass[row * width + 5] / one["firings"], places=6)
            self.assertAlmostEqual(one["cover"], mass[row * width + 5] / marginal[5], places=6)
            self.assertAlmostEqual(sum(mass[row * width:(row + 1) * width]), one["firings"], delta=1e-3 * one["firings"])

    def test_find_in_sites(self):
        everywhere = self.find("--tokens", "#1, #2, #3, #4, #5, #6", "--top", "1000")["found"]
        for patterns, chosen in ((["h.0.mlp.c_fc,h.1.attn.*"], r"h\.0\.mlp\.c_fc:|h\.1\.attn"),
                                 (["h.0.mlp.c_fc", "--sites", "h.1.attn.*"], r"h\.0\.mlp\.c_fc:|h\.1\.attn")):
            found = self.find("--tokens", "#1, #2, #3, #4, #5, #6", "--top", "1000", "--sites", *patterns)["found"]
            self.assertEqual(found, [one for one in everywhere if re.match(chosen, one["key"])], patterns)
            self.assertGreater(len(found), 0)

    def test_find_by_likeness(self):
        facts = self.facts()
        key = next(key for key in self.hottest(100) if "attn.q_proj" in key)
        site, _, c = key.rpartition(":")
        weights = self.out / "checkpoints" / f"step_{STEP:08d}" / "decomposition.safetensors"
        u, v = numbers(weights, f"{site}.U"), numbers(weights, f"{site}.V")
        C, d = 16, 24  # U is [C, d], V is [d, C]
        vectors = {"U": [u[i * d:(i + 1) * d] for i in range(C)], "V": [v[i::C] for i in range(C)]}

        def cosine(a, b):
            return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))

        for by, arguments in (("U", ()), ("V", ("--by", "V"))):
            found = self.find("--like", key, "--sites", site, "--min-firings", "0", "--top", "100", *arguments)
            self.assertEqual((found["like"], found["by"]), (key, by))
            self.assertEqual(sorted(one["key"] for one in found["found"]), sorted(name for name, _ in facts if name.startswith(site + ":")
                                                                                  and name != key))
            for one in found["found"]:
                i = int(one["key"].rpartition(":")[2])
                for name in "UV":
                    self.assertAlmostEqual(one[f"cosine_{name}"], cosine(vectors[name][i], vectors[name][int(c)]), places=5)
            sizes = [(one["always_on"], -abs(one[f"cosine_{by}"])) for one in found["found"]]
            self.assertEqual(sizes, sorted(sizes))
        both = self.find("--like", key, "--top", "1000", "--by", "V")["found"]
        text, _ = self.run_program("find", self.out, "--like", key, "--top", "1000", "--by", "V")
        self.assertEqual(SUBCOMPONENT.findall(text), [one["key"] for one in both])
        partners = {partner["key"]: partner["jaccard"] for partner in self.show(key, "--top", "1000")["partners"]}
        self.assertGreater(len(partners), 0)
        for one in both:
            self.assertEqual(one["jaccard"], partners.get(one["key"]))

    def test_bad_searches(self):
        key = self.hottest(1)[0]
        self.refuse_each(2, [(words, ("find", self.out, *arguments)) for words, arguments in (
            (["--tokens or --like", "neither"], ()), (["--tokens or --like", "both"], ("--tokens", "#1", "--like", key)),
            (["#61", "below 61"], ("--tokens", "#61")),
            (["#5x", "number of a token"], ("--tokens", "#5x")), (["between commas", "#"], ("--tokens", " and,, the")),
            (["one token", "found 2", '"Q" (#', '"z" (#'], ("--tokens", "Qz")), (["below 61", "#"], ("--tokens", " it")),
            (["--sites", "h.0.mlp.c_fk", '"h.0.mlp.c_fc"'], ("--tokens", "#1", "--sites", "h.0.mlp.c_fk")),
           
            (["SITE:NUMBER"], ("--like", "12")), (["--top", "at least 1"], ("--tokens", "#1", "--top", "0")))])
        self.refuse_each(3, [(["no", "expected the directory of a run"], ("find", self.root / "no", "--tokens", "#1")),
                             (["config.yaml", "tokenizer.json"],
                              ("find", self.out, "--tokens", "#1", "--tokenizer", self.out / "config.yaml"))])

    def test_nothing_found(self):
        text, _ = self.run_program("find", self.out, "--tokens", "#1", "--min-firings", "100000")
        self.assertEqual(SUBCOMPONENT.findall(text), [])
        self.assertIn("none", text)

    # show.

    def test_colours_where_they_are_wanted(self):
        key = self.hottest(1)[0]
        plain, _ = self.run_program("show", self.out, key)
        self.assertNotIn("\x1b", plain)
        self.assertRegex(plain, "«.+»")
        self.assertLessEqual(max(map(len, plain.split("\nExamples")[1].split("\n"))), 100)
        coloured, _ = self.finish(self.start("show", self.out, key, "--color", "always", environment={"NO_COLOR": "1"}))
        self.assertIn("\x1b[48;5;", coloured)
        self.assertEqual(coloured.count("\x1b[48;5;"), coloured.count("\x1b[0m"))
        self.assertNotRegex(coloured, "[«»‹›]")
        self.assertEqual(re.sub("\x1b\\[[0-9;]*m", "", coloured), re.sub("[«»‹›]", "", plain))

    def test_what_is_shown_agrees_with_the_counts(self):
        key = self.hottest(3)[2]
        counts, marginal, firings = self.input_counts()[key], self.marginal(), dict(self.facts())[key]
        shown = self.show(key, "--top", "1000", "--min-count", "5")
        self.assertEqual((shown["key"], shown["step"], shown["firings"], shown["positions"]), (key, STEP, firings, 510))
        self.assertEqual(sum(counts.values()), firings)
        self.assertEqual({one["token"]: (one["count"], one["total"]) for one in shown["input"]},
                         {token: (count, marginal[token]) for token, count in counts.items() if marginal[token] >= 5})
        for one in shown["input"]:
            count, total = one["count"], one["total"]
            self.assertAlmostEqual(one["recall"], count / firings)
            self.assertAlmostEqual(one["precision"], count / total)
            self.assertAlmostEqual(one["pmi"], math.log(count * 510 / (firings * total)))
        for name, order in (("input", "recall"), ("input_pmi", "pmi"), ("output", "recall"), ("output_pmi", "pmi")):
            values = [-one[order] for one in shown[name]]
            self.assertEqual(values, sorted(values), name)
        for example in shown["examples"]:
            self.assertEqual(len(example["tokens"]), 41)
            self.assertGreater(example["importance"][20], 0.1)
            sign = {"random_positive": 1, "random_negative": -1}.get(example["kind"])
            if sign:
                self.assertGreater(sign * example["activation"][20], 0)

    def test_what_never_fired(self):
        text, _ = self.run_program("show", self.out, self.dead())
        self.assertIn("never above 0.1", text)
        shown = self.show(self.dead())
        self.assertEqual((shown["firings"], shown["input"], shown["examples"]), (0, [], []))

    def test_subcomponents_that_are_none(self):
        self.refuse_each(2, [(words, ("show", self.out, *arguments)) for words, arguments in (
            (["h.0.mlp.c_fk", "h.0.mlp.c_fc"], ["h.0.mlp.c_fk:1"]), (["0 to 39", "40"], [BEYOND]), (["SITE:NUMBER"], ["h.0.mlp.c_fc:-1"]))])

    def test_without_a_tokenizer(self):
        key, elsewhere = self.hottest(1)[0], self.root / "elsewhere.json"
        named, _ = self.run_program("show", self.out, key)
        self.tokenizer.rename(elsewhere)
        self.refuse(2, ["' and'", "#NUMBER", "--tokenizer"], "find", self.out, "--tokens", " and")
        text, _ = self.run_program("find", self.out, "--tokens", "#3,#4")
        self.assertRegex(text.split("\n")[0], '"#3".*"#4"')
        text, _ = self.run_program("show", self.out, key)
        self.assertRegex(text, r"«#\d+ ?»")
        questions, _ = self.export("asked", "--top", "2")
        for question in questions:
            self.assertRegex(question["prompt"], r"\n1\. .*«#\d+ ?»")
        self.assertEqual(self.run_program("show", self.out, key, "--tokenizer", elsewhere)[0], named)


if __name__ == "__main__":
    unittest.main()
