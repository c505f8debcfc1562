"""One question about a model from end to end: rows of a background, a targeted decomposition, evidence, graphs, removals and the page;
what is interrupted goes on, and what cannot be asked is refused in a sentence."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest

DEMO = Path(__file__).parents[2] / "configs" / "demo"
QUESTION = ("--prompt", "And the children", "--continuation", " of", "--prompt", "And it came to", "--continuation", " pass")


def small(layers="1:2", budget="2"):
    return ("--tokenizer", DEMO / "tokenizer.json", "--budget", budget, "--layers", layers, "--threads", "2", "--set", "training.steps=150",
            "--set", "training.batch_size=8", "--set", "training.background_batch_size=2", "--set", "causal_importance.hidden_dims=[32]")


class Explain(ProgramTest):
    def ask(self, out, *more, exit_code=0):
        return self.run_program("explain", DEMO / "target", *QUESTION, *small(), "--out", out, *more, exit_code=exit_code)

    def test_from_prompts_to_the_page(self):
        out, result = self.root / "explained", self.root / "result.json"
        text, _ = self.ask(out, "--json", result)
        self.assertIn("And the children", text)
        found = json.loads(result.read_text())
        self.assertEqual([prompt["continuation"] for prompt in found["prompts"]], [" of", " pass"])
        self.assertGreater(found["prompts"][0]["probability"][0], 0.9)
        self.assertEqual(found["steps"], 150)
        self.assertEqual(found["sites"], 6)
        self.assertEqual(list(found["stage_seconds"]), ["background", "settings", "decompose", "evaluate", "harvest", "graphs", "removal", "report"])
        self.assertEqual([removal["prompt"] for removal in found["removals"]], [0, 1])
        for removal in found["removals"]:
            self.assertEqual(len(removal["before"]), 2)
            self.assertGreater(removal["positions"], 10_000)
        for name in ("config.yaml", "prompts.jsonl", "background.bin", "run/report.html", "run/evaluation.json"):
            self.assertTrue((out / name).exists(), name)
        self.assertEqual(len((out / "prompts.jsonl").read_text().splitlines()), 2)
        # The configuration runs by itself.
        self.run_program("check", out / "config.yaml")
        # Nothing is left to do, and nothing is done again.
        again, _ = self.ask(out, "--resume", "--json", result)
        self.assertEqual(json.loads(result.read_text())["stage_seconds"], found["stage_seconds"])
        self.refuse(2, ["found another"], "explain", DEMO / "target", *small(), "--prompt", "And the king", "--out", out, "--resume")
        self.refuse(2, ["found one", "--resume"], "explain", DEMO / "target", *QUESTION, *small(), "--out", out)
        # A stage that is forgotten is made again, and those before it are not.
        state = json.loads((out / "explain.json").read_text())
        del state["stages"]["evaluate"]
        (out / "explain.json").write_text(json.dumps(state))
        self.ask(out, "--resume", "--json", result)
        second = json.loads(result.read_text())["stage_seconds"]
        self.assertEqual(second["decompose"], found["stage_seconds"]["decompose"])
        self.assertNotEqual(second["evaluate"], found["stage_seconds"]["evaluate"])

    def test_what_cannot_be_asked(self):
        out = self.root / "out"
        target = DEMO / "target"
        self.refuse(2, ["tokenizer"], "explain", target, *QUESTION, "--out", out)
        self.refuse(2, ["--continuation", "3 prompts"], "explain", target, *QUESTION, "--prompt", "x", *small(), "--out", out)
        self.refuse(2, ["--layers", "0:2"], "explain", target, *QUESTION, *small(layers="1:5"), "--out", out)
        _, error = self.run_program("explain", target, *QUESTION, *small(budget="0.00001"), "--out", self.root / "short", exit_code=2)
        self.assertIn("--budget: expected enough minutes for 100 steps", error)
        self.refuse(3, ["found none"], "explain", target, *QUESTION, *small(), "--out", out / "x", "--resume")

    def test_a_plan_alone(self):
        out = self.root / "planned"
        text, _ = self.ask(out, "--plan")
        self.assertIn("config.yaml", text)
        self.assertTrue((out / "config.yaml").exists())
        self.assertFalse((out / "run").exists())


if __name__ == "__main__":
    unittest.main()
