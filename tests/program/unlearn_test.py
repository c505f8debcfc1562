"""`vpd audit` and `vpd unlearn`: what they leave agrees with what `vpd edit` and the target's files say, the set is within its budget, and
what cannot be done is refused. Their numbers have references in tests/interpretation."""

import json
import re
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import UnlearnTest, load, prompts
from support import DATA, PROGRAM


class Found(UnlearnTest):
    def test_audit(self):
        self.run_program("audit", self.run_directory, "--threads", "1", *self.both(), "--candidates", "30")
        found, ranking = self.report("audit"), load(self.results(self.run_directory) / "audits" / "audit" / "ranking.safetensors")
        self.assertEqual(len(found["ranking"]), 30)
        for i, one in enumerate(found["ranking"]):
            self.assertEqual(set(one["groups"]), {"a", "b"})
            self.assertLess(min(one["groups"].values()) - 1e-9, one["effect"])
            self.assertGreater(max(one["groups"].values()) + 1e-9, one["effect"])
            self.assertAlmostEqual(one["specificity"], one["kl_wanted"] / (one["kl_elsewhere_99"] + 1e-6), delta=1e-3 * one["specificity"] + 1e-9)
            self.assertLess(abs(ranking["kl_wanted"].values[i] - one["kl_wanted"]), 1e-6)

    def test_graphs(self):
        """Candidates are what optimised importances keep: in one prompt at least is more than in all."""
        def audited(slug, share):
            self.run_program("audit", self.run_directory, "--threads", "1", *self.both(), "--candidates-from", "graphs", "--graph-steps", "20",
                             "--graph-share", share, "--slug", slug)
            return {one["key"] for one in self.report(slug)["ranking"]}
        some, all_of_them = audited("some", "0.05"), audited("all", "1")
        self.assertTrue(all_of_them < some)
        self.refuse(2, ["--candidates-from"], "audit", self.run_directory, *self.both(), "--candidates-from", "tea")

    def test_unlearn(self):
        self.harvest(self.run_directory)
        out = self.root / "unlearned"
        text, _ = self.unlearn("--budget", "0.05", "--controls", "3", "--fit-steps", "5", "--graph-steps", "5", "--relearn", "2", "--out", out)
        found = self.report("unlearn")
        keys = [one["key"] for one in found["set"]]
        self.assertTrue(keys)
        for word in ("side KL", "rank_4", "in the circuit", "p(target) after", *keys):
            self.assertIn(word, text)
        self.assertEqual([one["name"] for one in found["curves"]],
                         ["subcomponents", "random", "activation", "importance", "estimate", "graphs", "mean_difference", "rank_1", "rank_4"])
        whole = found["curves"][0]["points"][-1]
        self.assertAlmostEqual(whole["effect"], found["effect"]["mean"], places=5)
        self.assertAlmostEqual(whole["side"], found["side"]["mean"], places=6)
        self.assertEqual(len(found["curves"][0]["points"]), len(keys) + 1)
        self.assertEqual([one["name"] for one in found["groups"]], ["a", "b"])
        self.assertEqual([one["steps"] for one in found["relearning"]][0], [0, 1, 2])
        # A small fall is enough: what was chosen first, alone.
        self.assertGreater(len(keys), 1)
        self.unlearn("--budget", "0.05", "--baselines", "none", "--enough", "1e-6", "--slug", "enough")
        self.assertEqual([one["key"] for one in self.report("enough")["set"]], keys[:1])
        # And where the others are to stay, they do.
        self.unlearn("--budget", "0.05", "--baselines", "none", "--stay", "0.01", "--slug", "stay")
        self.assertLess(self.report("stay")["stayed"], found["stayed"])
        # The files are the target with that very edit: `vpd edit` makes the same of edits.yaml.
        again = self.root / "again"
        self.edit(self.run_directory, "--from", self.results(self.run_directory) / "audits" / "unlearn" / "edits.yaml", "--out", again)
        self.assertEqual((out / "model.safetensors").read_bytes(), (again / "model.safetensors").read_bytes())
        # And the page shows it.
        self.run_program("report", self.run_directory, "--out", "page.html")
        meta = json.loads(re.search(r'id="meta">(.*?)</script>', (self.root / "page.html").read_text(), re.S)[1])
        self.assertEqual(meta["audits"][0]["set"][0]["key"], keys[0])

    def test_twice_the_same(self):
        pages = []
        for slug in ("one", "two"):
            self.unlearn("--baselines", "importance,rank_1", "--fit-steps", "3", "--slug", slug)
            pages.append({name: value for name, value in self.report(slug).items() if name != "seconds"})
        self.assertEqual(*pages)

    def test_against(self):
        """Held-out rows, rows of a file, and text."""
        def measured(slug, *arguments):
            self.run_program("unlearn", self.run_directory, "--threads", "1", "--prompts", self.behaviour, "--baselines", "none",
                             "--slug", slug, *arguments)
            return self.report(slug)
        held_out, file = measured("rows", "--against-rows", "8"), measured("file", "--against", DATA / "plain" / "eval.npy", "--against-rows", "8")
        self.assertEqual(held_out["side"], file["side"])
        self.assertLessEqual(held_out["against"], 8)

    def test_mechanism(self):
        self.harvest(self.run_directory)
        self.edit(self.run_directory, "--ablate", "h.1.mlp.down_proj:3", "--along-stream", "--across", "#3,#7", "--controls", "2")
        found = self.effect(self.run_directory)
        self.assertLessEqual(abs(found["stream"]["cosine"]["mean"]), 1.0)
        self.assertAlmostEqual(found["attention"]["after"]["mean"] - found["attention"]["before"]["mean"], found["attention"]["change"]["mean"], places=6)
        self.assertEqual(set(found["mechanism"]), {"stream_cosine", "stream_gain", "attention_change"})
        self.assertIn("control_mean", found["mechanism"]["stream_gain"])
        self.assertGreater(found["specificity"], 0.0)


class Stopped(UnlearnTest):
    def test_interrupted(self):
        """Ctrl-C ends with exit code 130, and leaves no half of a result."""
        many = self.write("many.jsonl", prompts(20000, 5, self.likely_target()))
        for command in ("audit", "unlearn"):
            process = subprocess.Popen([PROGRAM, command, self.run_directory, "--prompts", many, "--against", self.against],
                                       stderr=subprocess.PIPE, text=True)
            self.assertTrue(process.stderr.readline(), "the program ended before it could be stopped")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, errors)
            self.assertIn("interrupted", errors)
        self.assertFalse((self.results(self.run_directory) / "audits").exists())


class Refused(UnlearnTest):
    def refuse_unlearning(self, exit_code, *cases):
        self.refuse_each(exit_code, *((words, "unlearn", self.run_directory, *more) for words, *more in cases))

    def test_options(self):
        none = ("--baselines", "none")
        self.refuse_unlearning(
            2, (["--budget", "above 0"], *self.both(), *none, "--budget", "0"), (["--budget"], *self.both(), *none, "--budget", "nan"),
            (["--enough", "at least 0"], *self.both(), *none, "--enough", "-1"),
            (["--stay", "at least 0"], *self.both(), *none, "--stay", "-1"),
            (["--baselines", "rank_4", "'rank_3'"], *self.both(), "--baselines", "rank_3"), (["--relearn-rate"], *self.both(), *none, "--relearn-rate", "0"),
            (["two sets of prompts", "same twice"], "--prompts", self.behaviour, "--against", self.behaviour, *none),
            (["vpd harvest", "--baselines"], *self.both(), "--baselines", "random"), (["--slug"], *self.both(), *none, "--slug", "a/b"),
            (["behaviour that the target shows", "below 0.01"], "--prompts", self.write("absent.jsonl", prompts(24, 5, self.unlikely())), *self.both()[2:], *none),
            (["--out", "within the budget"], *self.both(), *none, "--budget", "1e-12", "--out", self.root / "never"))
        self.refuse_unlearning(3, (["--out", "new or an empty directory"], *self.both(), *none, "--out", self.root / "target"),
                               (["line 1", "JSON"], "--prompts", self.write_text("no.jsonl", "hello\n"), *self.both()[2:], *none),
                               (["expected text, found none"], *self.both()[:2], "--against", self.write_text("empty.txt", "\n"), *none),
                               (["tokenizer.json"], *self.both()[:2], "--against", self.write_text("some.txt", "hello\n"), *none))
        self.assertFalse((self.root / "never").exists())

    def unlikely(self):
        said = self.logits_of_last()
        return min(range(61), key=lambda token: said[token])

    def logits_of_last(self):
        self.intervene(self.run_directory, "--ablate", "h.0.mlp.c_fc:1", "--slug", "last", tokens=prompts(1, 5, 0)[0]["tokens"])
        return self.logits(self.run_directory, "last")["target"].rows()[-1]

    def write_text(self, name, text):
        path = self.root / name
        path.write_text(text)
        return path


if __name__ == "__main__":
    unittest.main()
