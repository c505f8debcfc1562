"""Each file of configs/recipes, and configs/demo/every_term.yaml, is checked, makes two steps on the demo's target, in fewer and
shorter rows, and is evaluated."""

import json
import math
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, metrics

EVERY_TERM = Path(__file__).parents[2] / "configs" / "demo" / "every_term.yaml"
RECIPES = sorted((Path(__file__).parents[2] / "configs" / "recipes").glob("*.yaml"))
SMALL = ("training.steps=2", "training.batch_size=2", "training.faithfulness_warmup.steps=1", "output.log_every=1",
         "data.train.sequence_length=8", "data.eval.sequence_length=8", "evaluation.batch_size=2", "evaluation.batches=1")


class Recipes(ProgramTest):
    def overrides(self):
        return [word for setting in SMALL for word in ("--set", setting)]

    def test_there_are_five(self):
        self.assertEqual([path.stem for path in RECIPES], ["apd", "report", "spd", "vpd", "vpd_smooth_l0"])

    def test_each_makes_two_steps(self):
        for path in (*RECIPES, EVERY_TERM):
            with self.subTest(recipe=path.stem):
                out = self.root / path.stem
                text, _ = self.run_program("check", path, *self.overrides())
                self.assertIn("training fits", text)
                self.run_program("decompose", path, "--out", out, *self.overrides(), "--set", "evaluation.final=false")
                steps = metrics(out)
                self.assertEqual([step["step"] for step in steps], [0, 1])
                for step in steps:
                    losses = {name: value for name, value in step.items() if name.startswith("train/loss/")}
                    self.assertGreater(len(losses), 3)
                    self.assertTrue(all(math.isfinite(value) for value in losses.values()), losses)
                self.run_program("evaluate", out, "--json", self.root / "evaluation.json")
                values = json.loads((self.root / "evaluation.json").read_text())["metrics"]
                self.assertEqual({name[5:] for name in values if name.startswith("loss/") and name.count("/") == 1},
                                 {name[11:] for name in losses if name != "train/loss/total"})

    def test_every_term_has_every_kind(self):
        """Of terms, and of what they hold: adversaries, masks, routings, penalties."""
        text = EVERY_TERM.read_text()
        reference, _ = self.run_program("schema", "--markdown")
        kinds = re.findall(r"^#+ `objective\[\][\w.]*`, type `(\w+)`", reference, re.MULTILINE)
        self.assertIn("static_probability", kinds)
        for kind in kinds:
            if kind not in ("all", "adam", "constant"):  # the defaults
                self.assertRegex(text, rf"type: {kind}\b")


if __name__ == "__main__":
    unittest.main()
