"""Each file of configs/recipes, and configs/demo/every_term.yaml, is checked, makes two steps on the demo's target, in fewer and
shorter rows, and is evaluated."""

import json
import math
import re
import shutil
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
    def overrides(self, path):
        settings = list(SMALL)
        if path.stem == "targeted":  # its prompts are as long as they are
            settings = [one for one in settings if "sequence_length" not in one]
            settings += ["data.background.sequence_length=8", "training.background_batch_size=2"]
        return [word for setting in settings for word in ("--set", setting)]

    def test_there_are_six(self):
        self.assertEqual([path.stem for path in RECIPES], ["apd", "report", "spd", "targeted", "vpd", "vpd_smooth_l0"])

    def test_each_makes_two_steps(self):
        for path in (*RECIPES, EVERY_TERM):
            with self.subTest(recipe=path.stem):
                out = self.root / path.stem
                text, _ = self.run_program("check", path, *self.overrides(path))
                self.assertIn("training fits", text)
                self.run_program("decompose", path, "--out", out, *self.overrides(path), "--set", "evaluation.final=false")
                steps = metrics(out)
                self.assertEqual([step["step"] for step in steps], [0, 1])
                for step in steps:
                    losses = {name: value for name, value in step.items() if name.startswith("train/loss/")}
                    self.assertGreater(len(losses), 3)
                    self.assertTrue(all(math.isfinite(value) for value in losses.values()), losses)
                self.run_program("evaluate", out, "--json", self.root / "evaluation.json")
                values = json.loads((self.root / "evaluation.json").read_text())["metrics"]
                # A term that begins later has no loss in the first steps.
                later = {"adversarial_recon"} if path.stem == "targeted" else set()
                self.assertEqual({name[5:] for name in values if name.startswith("loss/") and name.count("/") == 1},
                                 {name[11:] for name in losses if name != "train/loss/total"} | later)

    def test_a_targeted_run_resumes_bit_for_bit(self):
        """Two streams of rows, prompts of two lengths, and an attack that begins on the way."""
        recipe = next(path for path in RECIPES if path.stem == "targeted")
        settings = ["--set", "training.steps=10", "--set", "training.batch_size=4", "--set", "training.background_batch_size=2",
                    "--set", "output.log_every=1", "--set", "output.keep=2", "--set", "evaluation.every=5"]
        whole, parts = self.root / "whole", self.root / "parts"
        self.run_program("decompose", recipe, "--out", whole, *settings, "--set", "output.checkpoint_every=10")
        self.run_program("decompose", recipe, "--out", parts, *settings, "--set", "output.checkpoint_every=5")
        shutil.rmtree(parts / "checkpoints" / "step_00000010")
        (parts / "checkpoints" / "latest").unlink()
        (parts / "checkpoints" / "latest").symlink_to("step_00000005")
        self.run_program("decompose", "--resume", parts)
        self.assert_same_run(whole, parts, 10)
        steps = metrics(whole)
        self.assertNotIn("train/loss/adversarial_recon", steps[0])
        self.assertIn("train/loss/adversarial_recon", [step for step in steps if step["step"] == 9][0])
        self.assertIn("train/background_l0", steps[0])
        evaluation = json.loads((whole / "evaluation.json").read_text())["metrics"]
        self.assertIn("loss/background", evaluation)
        self.assertIn("background/l0/total", evaluation)
        self.assertIn("ce_kl/kl_rounded_0", evaluation)
        self.assertNotIn("ce_kl/ce_rounded_0", evaluation)  # nothing is known behind a prompt's last position
        self.assertIn("data.background", json.loads((whole / "provenance.json").read_text())["reads"])

    def test_bad_streams_are_refused_in_a_sentence(self):
        recipe = next(path for path in RECIPES if path.stem == "targeted")
        for exit_code, setting, words in (
                (2, "data.background=null", "expected target without rows in data.background"),
                (2, "training.background_batch_size=0", "at least 1"),
                (3, "data.train.sequence_length=3", "expected a prompt of 1 to 3 tokens"),
                (2, "objective.background.delta=2", "to 1"),
                (2, "objective.adversarial_recon.coefficient={points: [[0.5, 1], [0.2, 1]]}", "expected [fraction, value]")):
            with self.subTest(setting):
                self.refuse(exit_code, [words], "check", recipe, "--set", setting)

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
