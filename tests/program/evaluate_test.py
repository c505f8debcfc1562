"""What `vpd evaluate` keeps: metrics chosen with --metrics are the same as among all, and take nobody's place in evaluation.json."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest

METRICS = [{"type": "ci_l0", "threshold": 0.0}, {"type": "alive"}, {"type": "losses"},
           {"type": "pgd", "name": "first", "steps": 2}, {"type": "pgd", "name": "second", "steps": 3, "step_size": 0.2}]


class Evaluate(ProgramTest):
    def setUp(self):
        super().setUp()
        config = self.configure(training__steps=4, output__checkpoint_every=2, evaluation__metrics=METRICS, evaluation__every=4)
        self.run_program("decompose", config, "--out", self.out)
        self.run_program("evaluate", self.out)
        self.whole = self.kept()

    def kept(self):
        return json.loads((self.out / "evaluation.json").read_text())

    def test_a_choice_of_metrics_is_only_a_choice(self):
        self.run_program("evaluate", self.out, "--metrics", "second,ci_l0", "--json", self.root / "some.json")
        some = json.loads((self.root / "some.json").read_text())
        self.assertEqual({name.split("/")[0] for name in some["metrics"]}, {"l0", "pgd"})
        for name, value in some["metrics"].items():
            self.assertEqual(value, self.whole["metrics"][name], name)
        self.assertEqual(self.kept(), self.whole)

    def test_another_step_or_configuration_takes_no_place(self):
        for arguments in (("--checkpoint", "2"), ("--set", "seed=5")):
            _, err = self.run_program("evaluate", self.out, "--metrics", "ci_l0", *arguments)
            self.assertIn("evaluation.json stays as it is", err)
            self.assertEqual(self.kept(), self.whole)
        self.run_program("evaluate", self.out, "--checkpoint", "2")
        self.assertEqual(self.kept()["step"], 2)

    def test_the_same_overrides_belong_together(self):
        self.run_program("evaluate", self.out, "--set", "seed=5")
        other = self.kept()
        self.assertEqual(other["overrides"], ["seed=5"])
        self.run_program("evaluate", self.out, "--metrics", "pgd", "--set", "seed=5")
        self.assertEqual(self.kept(), other)
        _, err = self.run_program("evaluate", self.out, "--metrics", "pgd")
        self.assertIn("evaluation.json stays as it is", err)
        self.assertEqual(self.kept(), other)

    def test_attacks_stand_beside_their_budgets(self):
        self.assertEqual(self.whole["budgets"], {"loss/adversarial_recon": "20 \u00d7 0.1", "pgd/first": "2 \u00d7 0.1", "pgd/second": "3 \u00d7 0.2"})
        text, _ = self.run_program("evaluate", self.out, "--metrics", "pgd")
        self.assertRegex(text, r"pgd/second .*3 \u00d7 0.2")
        log = (self.out / "log.txt").read_text()
        self.assertRegex(log, r"evaluation after 4 steps.*loss/adversarial_recon [^ ]+ \(20 \u00d7 0.1\).*pgd/first [^ ]+ \(2 \u00d7 0.1\)")

    def test_half_a_line_is_not_read(self):
        with open(self.out / "metrics.jsonl", "a") as file:
            file.write('{"step": 5, "train/lo')
        text, _ = self.run_program("inspect", self.out)
        self.assertIn("last logged metrics", text)

    def test_a_damaged_evaluation_hides_nothing_else(self):
        (self.out / "evaluation.json").write_text('{"step": 4, "met')
        text, _ = self.run_program("inspect", self.out)
        self.assertIn("last logged metrics", text)
        self.assertRegex(text, "warning: .*evaluation.json")

    def test_a_run_is_no_checkpoint(self):
        config = self.configure("again.json")
        self.refuse(3, ["expected a checkpoint", "checkpoints/latest"], "decompose", config, "--out", self.root / "again",
                    "--set", f"initialize_from={self.out}")

    def test_a_file_that_cannot_be_written_is_known_before(self):
        for path, word in ((self.root, "expected a file, found the directory"), (self.root / "no" / "a.json", "found no directory")):
            self.refuse(2, ["--json", word], "evaluate", self.out, "--json", path)


if __name__ == "__main__":
    unittest.main()
