"""`vpd harvest` and what reads it, `vpd find` and `vpd show`: they have the reference numbers of tests/data/interpretation, whatever the
rows are divided into and whatever comes between."""

import json
import shutil
import struct
import sys
import unittest
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import GOLDEN, TABLES, HarvestTest, load, sections
from processes_test import TORCHRUN, free_port, has_process_groups
from prepare_tokens_support import ROOT
from support import DATA

KINDS = ("random_positive", "random_negative", "strongest")  # of examples, by their number in the file
COUNTS = ("firings", "positive_firings", "negative_firings", "rows", "position_firings")
AT_FIRINGS = ("firing_activation_sum", "firing_activation_abs_sum", "activation_min", "activation_max")


class Golden(HarvestTest):
    """Against numbers that a slow program in double precision has computed, with tables as wide as the vocabulary."""

    def compare(self, found, wanted, names, prefix):
        for name in names:
            with self.subTest(name):
                self.assertEqual(found[name].shape, wanted[prefix + name].shape)
                if wanted[prefix + name].dtype == "F32":
                    self.assert_close(found[name].values, wanted[prefix + name].values, name)
                else:
                    self.assertEqual(found[name].values, wanted[prefix + name].values)

    def check_case(self, name):
        case = json.loads((GOLDEN / name / "case.json").read_text())
        wanted = load(GOLDEN / name / "harvest.safetensors")
        run = self.make_run(name)
        options = ("--output-tokens", "exact", "--coactivation", "all", "--examples", "3", "--strongest", "2", "--seed",
                   case["harvest_seed"], "--batch-size", "2")
        self.harvest(run, *options, "--threshold", "0")
        self.compare(self.tables(run)["subcomponents"], wanted, COUNTS + AT_FIRINGS, "0/")
        self.harvest(run, *options, "--threshold", "0.1")
        tables = self.tables(run)
        about = self.about(run)
        self.assertEqual([(site["name"], site["offset"]) for site in about["sites"]], list(zip(case["sites"], case["columns"])))
        rows, T, A = wanted["g"].shape
        self.assertEqual((about["rows"], about["row_length"], about["positions"]), (rows, T, rows * T))
        self.compare(tables["subcomponents"], wanted, COUNTS + AT_FIRINGS + (
            "importance_sum", "importance_square_sum", "activation_sum", "activation_square_sum", "importance_histogram",
            "sign_balance", "sign_divergence", "null_divergence", "polysemantic"), "0.1/")
        self.check_input(tables["input_tokens"], wanted, A)
        self.check_output(tables["output_tokens"], wanted, A)
        self.check_halves(tables["input_tokens"], wanted)
        self.check_partners(tables, wanted, A)
        self.check_examples(tables["examples"], wanted, A)
        self.check_lens(tables["lens"], wanted, case)
        self.check_find(run, wanted, case)
        self.check_show(run, wanted, case)

    def check_input(self, table, wanted, A):
        self.assertEqual(table["marginal"].values, wanted["0.1/input_marginal"].values)
        V = len(table["marginal"].values)
        for part in ("positive", "negative", "half"):
            dense = [0] * (A * V)
            for c, entries in sections(table, "token", part).items():
                for token, count in entries:
                    dense[c * V + token] = count
            with self.subTest(f"input {part}"):
                self.assertEqual(dense, wanted[f"0.1/input_{part}"].values)

    def check_output(self, table, wanted, A):
        self.assert_close(table["marginal"].values, wanted["0.1/output_marginal"].values, "output marginal")
        V = len(table["marginal"].values)
        for part in ("mass", "positive", "half"):
            dense = [0.0] * (A * V)
            for c, masses in zip(table["subcomponent"].values, table[part].rows()):
                dense[c * V:(c + 1) * V] = masses
            with self.subTest(f"output {part}"):
                self.assert_close(dense, wanted[f"0.1/output_{part}"].values, part)

    def check_halves(self, table, wanted):
        """`half` counts the firings of the rows whose bit is 0."""
        rows, T, A = wanted["g"].shape
        firings = [0] * A
        for row, importance in zip(wanted["row_half"].values, wanted["g"].rows()):
            for i, g in enumerate(importance):
                firings[i % A] += row == 0 and g > 0.1
        found = {c: sum(half for half, in entries) for c, entries in sections(table, "half").items()}
        self.assertEqual([found.get(c, 0) for c in range(A)], firings)

    def check_partners(self, tables, wanted, A):
        triangle = iter(wanted["0.1/coactivation"].values)
        expected = {(i, j): count for i in range(A) for j in range(i, A) if (count := next(triangle))}
        found = {(c, other): count for c, entries in sections(tables["coactivation"], "partner", "count").items()
                 for other, count in entries}
        for i, j in found:
            self.assertEqual(found[i, j], found[j, i])
        upper = {pair: count for pair, count in found.items() if pair[0] < pair[1]}
        upper |= {(c, c): count for c, count in enumerate(tables["subcomponents"]["firings"].values) if count}
        self.assertEqual(upper, expected)

    def check_examples(self, table, wanted, A):
        _, T, _ = wanted["g"].shape
        entries = sections(table, "row", "centre", "kind")
        for number, kind in enumerate(KINDS):
            expected = wanted[f"0.1/example_{kind}"].rows()
            for c in range(A):
                positions = [row * T + centre for row, centre, which in entries.get(c, []) if which == number]
                self.assertEqual(positions, [n for n in expected[c] if n >= 0], f"{kind} of {c}")
        g = wanted["g"].values
        for c, shown in sections(table, "row", "centre", "importance", "token").items():
            for row, centre, importance, tokens in shown:
                w = len(importance) // 2
                for i, (found, token) in enumerate(zip(importance, tokens)):
                    if token >= 0:
                        self.assertAlmostEqual(found, g[(row * T + centre + i - w) * A + c], delta=1e-3)

    def check_lens(self, table, wanted, case):
        """The file has the ten highest and the ten lowest of what is known of all tokens."""
        dots = wanted["lens_dot"].rows()
        cosines = dict(zip(case["score_columns"], wanted["lens_cosine"].rows()))
        largest = max(map(abs, wanted["lens_dot"].values))
        for c, (tokens, found) in enumerate(zip(table["token"].rows(), table["dot"].rows())):
            highest, lowest = sorted(dots[c], reverse=True)[:10], sorted(dots[c])[:10]
            for what, expected in (("its rank", highest + lowest), ("its token", [dots[c][token] for token in tokens])):
                worst = max(abs(a - b) for a, b in zip(found, expected, strict=True))
                self.assertLessEqual(worst, 1e-5 * largest, f"{what}, column {c}")
            for end in (tokens[:10], tokens[10:]):
                self.assertEqual(len(set(end)), 10)
            if c in cosines:
                self.assert_close(table["cosine"].rows()[c], [cosines[c][token] for token in tokens], f"cosine of {c}")

    def keys(self, case):
        """Names of columns."""
        ends = case["columns"][1:] + [10 ** 9]
        return lambda c: next(f"{site}:{c - begin}" for site, begin, end in zip(case["sites"], case["columns"], ends) if c < end)

    def check_find(self, run, wanted, case):
        key = self.keys(case)
        tokens = ",".join(f"#{token}" for token in case["find"])
        for side in ("input", "output"):
            text, _ = self.run_program("find", run, "--tokens", tokens, "--side", side, "--top", "100000", "--json", "-")
            result = json.loads(text)
            self.assertEqual(result["tokens"], case["find"])
            # Best first, and what is always on after all others.
            self.assertEqual(result["found"], sorted(result["found"], key=lambda one: (one["always_on"], -one["f1"])))
            found = {one["key"]: one for one in result["found"]}
            always = {key(c) for c, total in enumerate(wanted["0.1/importance_sum"].values) if total > 0.5 * prod(wanted["g"].shape[:2])}
            self.assertEqual({name for name, one in found.items() if one["always_on"]}, always & set(found))
            hits, covers, f1s = wanted[f"0.1/find_{side}"].rows()
            self.assertEqual(set(found), {key(c) for c, f1 in enumerate(f1s) if f1 > 0})
            for name, expected in (("hit", hits), ("cover", covers), ("f1", f1s)):
                ours = [found[key(c)][name] if key(c) in found else 0.0 for c in range(len(expected))]
                self.assert_close(ours, expected, f"{side} {name}")

    def check_show(self, run, wanted, case):
        """Scores of tokens and partners; those that are not shown have none."""
        key = self.keys(case)
        A = len(wanted["sigma"].values)
        V = len(wanted["0.1/input_marginal"].values)
        texts = self.each(lambda c: self.run_program("show", run, key(c), "--top", "100000", "--min-count", "0", "--json", "-")[0],
                          [(c,) for c in case["score_columns"]])
        for place, (c, text) in enumerate(zip(case["score_columns"], texts)):
            shown = json.loads(text)
            self.assertEqual(shown["firings"], wanted["0.1/firings"].values[c])
            self.assertEqual(shown["sign"], wanted["sigma"].values[c])
            lists = [(side, score, {token["token"]: token[score] for token in shown[side]}, range(V))
                     for side in ("input", "output") for score in ("recall", "precision", "lift", "pmi")]
            partners = {other: one for one in shown["partners"] for other in range(A) if key(other) == one["key"]}
            lists += [("partner", score, {other: one[score] for other, one in partners.items()}, range(A))
                      for score in ("jaccard", "conditional", "log_lift", "phi")]
            for side, score, found, all_of_them in lists:
                expected = wanted[f"0.1/{side}_{score}"].rows()[place]
                with self.subTest(f"{side} {score} of {key(c)}"):
                    for other in all_of_them:
                        # The correlation of two that never fire together is negative and not shown, and c is no partner of its own.
                        if other not in found and (score == "phi" or side == "partner" and other == c):
                            continue
                        self.assertAlmostEqual(found.get(other, 0.0), expected[other], delta=1e-5 * max(1.0, abs(expected[other])))

    def test_plain(self):
        self.check_case("plain")

    def test_grouped(self):
        self.check_case("grouped")


class Invariants(HarvestTest):
    """What holds of any harvest; this one has 30 rows of 17 tokens and windows that reach over their ends."""

    WINDOW = 5

    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()

    def harvested(self, *arguments):
        self.harvest(self.run_directory, "--split", "train", "--window", self.WINDOW, "--batch-size", "4", *arguments)
        return self.tables(self.run_directory)

    def data_rows(self, file="train.npy"):
        """The tokens of a file of int32, in rows of 17."""
        content = (DATA / "plain" / file).read_bytes()
        begin = 10 + struct.unpack("<H", content[8:10])[0]
        tokens = struct.unpack(f"<{(len(content) - begin) // 4}i", content[begin:])
        return [list(tokens[i:i + 17]) for i in range(0, len(tokens), 17)]

    def test_sums(self):
        tables = self.harvested("--coactivation", "all", "--output-tokens", "exact")
        facts, inputs, outputs = tables["subcomponents"], tables["input_tokens"], tables["output_tokens"]
        firings = facts["firings"].values
        alive = [c for c, count in enumerate(firings) if count]
        positions = 30 * 17
        for table in ("input_tokens", "output_tokens", "coactivation", "examples"):
            self.assertEqual(tables[table]["subcomponent"].values, alive)
        self.assertEqual(facts["importance_histogram"].rows()[21], firings)
        for counts in zip(*facts["importance_histogram"].rows()[:21]):
            self.assertEqual(sum(counts), positions)
        self.assertEqual([sum(bins) for bins in zip(*facts["position_firings"].rows())], firings)
        self.assertEqual(sum(inputs["marginal"].values), positions)
        self.assertAlmostEqual(sum(outputs["marginal"].values), positions, delta=1e-5 * positions)
        for c, entries in sections(inputs, "token", "count", "positive", "negative", "half").items():
            self.assertEqual(sum(entry[1] for entry in entries), firings[c])
            self.assertEqual(sum(entry[2] for entry in entries), facts["positive_firings"].values[c])
            self.assertEqual(sum(entry[3] for entry in entries), facts["negative_firings"].values[c])
            self.assertEqual([entry[0] for entry in entries], sorted({entry[0] for entry in entries}))
            for token, count, positive, negative, half in entries:
                self.assertGreaterEqual(count, positive + negative)
                self.assertGreaterEqual(count, half)
                self.assertGreaterEqual(inputs["marginal"].values[token], count)
        for c, mass, positive in zip(alive, outputs["mass"].rows(), outputs["positive"].rows()):
            self.assertAlmostEqual(sum(mass), firings[c], delta=1e-5 * firings[c])
            self.assertAlmostEqual(sum(positive), facts["positive_firings"].values[c], delta=1e-5 * firings[c])
        together = {(c, other): count for c, entries in sections(tables["coactivation"], "partner", "count").items()
                    for other, count in entries}
        for (c, other), count in together.items():
            self.assertNotEqual(c, other)
            self.assertEqual(together[other, c], count)
            self.assertTrue(0 < count <= min(firings[c], firings[other]))

    def test_fewer_are_the_largest(self):
        """Some partners of each subcomponent, and the most probable tokens of a position alone."""
        whole = self.harvested("--coactivation", "all")
        some = self.harvested("--coactivation", "3", "--output-tokens", "5")
        partners = sections(whole["coactivation"], "partner", "count")
        for c, entries in sections(some["coactivation"], "partner", "count").items():
            largest = sorted(partners[c], key=lambda entry: (-entry[1], entry[0]))[:3]
            self.assertEqual(entries, sorted(largest))
        firings = some["subcomponents"]["firings"].values
        everything = dict(zip(whole["output_tokens"]["subcomponent"].values, whole["output_tokens"]["mass"].rows()))
        for c, entries in sections(some["output_tokens"], "token", "mass").items():
            self.assertLessEqual(sum(mass for _, mass in entries), firings[c] * (1 + 1e-5))
            for token, mass in entries:
                self.assertLessEqual(mass, everything[c][token] * (1 + 1e-5))
        self.assertEqual(some["subcomponents"]["importance_sum"].values, whole["subcomponents"]["importance_sum"].values)
        self.harvest(self.run_directory, "--coactivation", "none")
        self.assertFalse((self.results(self.run_directory) / "harvest" / "coactivation.safetensors").exists())

    def test_windows(self):
        """An example's firing is in the middle, with the row's own tokens around it and -1 beyond the row."""
        tables = self.harvested("--examples", "3", "--strongest", "2")
        rows, w = self.data_rows(), self.WINDOW
        ends = set()
        for c, entries in sections(tables["examples"], "row", "centre", "kind", "token", "importance", "activation").items():
            taken = [(row, kind) for row, _, kind, *_ in entries]
            self.assertEqual(len(set(taken)), len(taken), "one of a row and kind")
            for row, centre, kind, tokens, importance, activation in entries:
                self.assertEqual(len(tokens), 2 * w + 1)
                places = range(centre - w, centre + w + 1)
                self.assertEqual(tokens, [rows[row][t] if 0 <= t < 17 else -1 for t in places])
                self.assertTrue(all(importance[i] == 0 == activation[i] for i, t in enumerate(places) if not 0 <= t < 17))
                self.assertGreater(importance[w], 0.0999)
                if kind < 2:
                    self.assertEqual(activation[w] > 0, KINDS[kind] == "random_positive")
                ends.add(centre)
        self.assertEqual(ends, set(range(17)), "examples at every position of a row")


class Divided(HarvestTest):
    """The same tables whatever the rows are divided into."""

    OPTIONS = ("--split", "train", "--examples", "3", "--strongest", "2", "--output-tokens", "exact")

    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()
        self.harvest(self.run_directory, *self.OPTIONS, "--batch-size", "2")
        self.whole, self.whole_bytes = self.tables(self.run_directory), self.table_bytes(self.run_directory)
        shutil.rmtree(self.run_directory / "interpretation")

    def test_shards(self):
        for shards in (1, 2, 8):
            arguments = (*self.OPTIONS, "--batch-size", "2", "--threads", "1")
            # Two at once, as they would be on several machines, and the last ones first.
            for i in reversed(range(0, shards, 2)):
                for part in [self.start("harvest", self.run_directory, *arguments, "--shard", f"{k}/{shards}")
                             for k in range(i, min(i + 2, shards))]:
                    self.finish(part)
            if shards > 1:
                self.assertFalse((self.results(self.run_directory) / "harvest").exists())
                self.run_program("harvest", self.run_directory, *arguments, "--merge")
            self.assert_same_tables(self.table_bytes(self.run_directory), self.whole_bytes)
            shutil.rmtree(self.run_directory / "interpretation")

    def test_torchrun(self):
        if not TORCHRUN.exists() or not has_process_groups():
            self.skipTest("NOT TESTED: this build has no process groups, or there is no torchrun")
        launcher = (TORCHRUN, "--nproc-per-node", "2", "--master-port", free_port(), "--no-python")
        arguments = ("harvest", self.run_directory, *self.OPTIONS, "--batch-size", "2", "--threads", "1")
        said, _ = self.finish(self.start(*arguments, launcher=launcher))
        self.assertEqual(said.count("510 in 30 rows"), 1, said)
        self.assert_same_tables(self.table_bytes(self.run_directory), self.whole_bytes)

    def test_batch_sizes(self):
        """Whole numbers and examples; other batches add floats up in another order."""
        for size in ("1", "7", "30"):
            self.harvest(self.run_directory, *self.OPTIONS, "--batch-size", size)
            found = self.tables(self.run_directory)
            for table in TABLES:
                for name, wanted in self.whole[table].items():
                    with self.subTest(f"{table}, {name}, batches of {size}"):
                        ours = found[table][name]
                        self.assertEqual((ours.dtype, ours.shape), (wanted.dtype, wanted.shape))
                        if wanted.dtype.startswith("F"):
                            self.assert_close(ours.values, wanted.values, name, 1e-3 if wanted.dtype == "F16" else 1e-5)
                        elif name != "key":
                            self.assertEqual(ours.values, wanted.values)
            # The key of a strongest example is its strength, a float.
            keys = [[key for key, kind in zip(one["key"].values, one["kind"].values) if KINDS[kind] != "strongest"]
                    for one in (found["examples"], self.whole["examples"])]
            self.assertEqual(*keys)


class DryRun(HarvestTest):
    def test_says_what_it_would_take(self):
        run = self.make_run()
        before = sorted(path for path in run.rglob("*"))
        text, _ = self.harvest(run, "--dry-run", "--sparse", self.root / "sparse", "--json", self.root / "forecast.json")
        for word in ("51 in 3 rows of 17", "operations", "memory", "disk", "time"):
            self.assertIn(word, text)
        forecast = json.loads((self.root / "forecast.json").read_text())
        self.assertEqual((forecast["positions"], forecast["rows"]), (51, 3))
        for name in ("batch_rows", "operations_a_position", "memory_bytes", "disk_bytes", "seconds"):
            self.assertGreater(forecast[name], 0, name)
        self.assertEqual(sorted(path for path in run.rglob("*")), before)
        self.assertFalse((self.root / "sparse").exists())


    def test_more_than_can_be_counted(self):
        """Of rows that never end."""
        toys = ROOT / "configs" / "toys"
        target, run = self.root / "toy", self.root / "toy_run"
        changes = ("training.steps=2", "training.batch_size=64", "evaluation.batch_size=64")
        small = [word for change in changes for word in ("--set", change)]
        self.run_program("pretrain", toys / "tms_5-2_target.yaml", "--out", target, *small, "--set", "evaluation.batches=1")
        self.run_program("decompose", toys / "tms_5-2.yaml", "--out", run, *small, "--set", f"target.path={target}")
        for more in ((), ("--dry-run",)):
            self.refuse(2, ["--positions: expected at most 134217728", "found 134217729"], "harvest", run, "--positions", 2 ** 27 + 1, *more)


if __name__ == "__main__":
    unittest.main()
