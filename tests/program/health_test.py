"""`vpd check-health` reads a run's files and gives a verdict on each cause; the run itself warns while it goes on."""

import copy
import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import CONFIG, ProgramTest, metrics

CAUSES = ["ci_collapse", "density", "weak_adversary", "dead_subcomponents", "ci_gradient_growth", "saturated_sources", "under_training"]


class Health(ProgramTest):
    def collapsing(self):
        """A configuration whose minimality terms outweigh everything else."""
        objective = copy.deepcopy(CONFIG["objective"])
        objective[1]["coefficient"] = 50.0
        objective[2]["coefficient"] = 0.0
        return self.configure(objective=objective, training__steps=80, training__learning_rate=0.03,
                              evaluation__metrics=[{"type": "ci_l0"}, {"type": "alive"}])

    def findings(self, run):
        out, err = self.run_program("check-health", run, "--json", self.root / "health.json")
        self.assertEqual(err, "")
        report = json.loads((self.root / "health.json").read_text())
        self.assertEqual([finding["cause"] for finding in report["findings"]], CAUSES)
        for finding in report["findings"]:
            self.assertIn(f"{finding['cause']:<20}{finding['verdict']:<10}{finding['evidence']}\n", out)
            self.assertIn(finding["verdict"], ("ok", "warning", "unknown"))
            self.assertEqual(finding["verdict"] == "warning", finding["remedy"] != "")
        return report, {finding["cause"]: finding for finding in report["findings"]}

    def test_a_run_that_collapses(self):
        out, _ = self.run_program("decompose", self.collapsing(), "--out", self.out)
        warnings = [line for line in out.split("\n") if line.startswith("health: ci_collapse: ")]
        self.assertTrue(1 <= len(warnings) <= 10, out)
        self.assertIn("lower the coefficients of the minimality terms", warnings[0])
        self.assertIn(warnings[0], (self.out / "log.txt").read_text())
        report, findings = self.findings(self.out)
        self.assertEqual((report["made"], report["steps"]), (80, 80))
        self.assertEqual(findings["ci_collapse"]["verdict"], "warning")
        self.assertEqual(findings["dead_subcomponents"]["verdict"], "unknown")
        self.run_program("evaluate", self.out)
        self.assertEqual(self.findings(self.out)[1]["dead_subcomponents"]["verdict"], "warning")

    def test_saturated_sources_are_measured(self):
        self.run_program("decompose", self.configure(), "--out", self.out)
        for step in metrics(self.out):
            self.assertTrue(0 < step["train/saturated_sources/adversarial_recon"] < 1)
        _, findings = self.findings(self.out)
        self.assertNotEqual(findings["saturated_sources"]["verdict"], "unknown")

    def test_a_run_of_no_steps(self):
        self.run_program("decompose", self.configure(training__steps=0), "--out", self.out)
        _, findings = self.findings(self.out)
        self.assertEqual({finding["verdict"] for finding in findings.values()}, {"unknown"})

    def test_files_that_cannot_be_read(self):
        self.refuse(3, ["nowhere"], "check-health", self.root / "nowhere")
        self.refuse(3, ["config.yaml"], "check-health", self.root)
        self.run_program("decompose", self.configure(), "--out", self.out)
        for name, content, word in (("metrics.jsonl", "{\"step\": 1}\nnonsense\n", "line 2"), ("evaluation.json", "[]", "metrics"),
                                    ("config.yaml", "seeed: 1\n", "seeed")):
            with self.subTest(name):
                kept = (self.out / name).read_text() if (self.out / name).exists() else None
                (self.out / name).write_text(content)
                self.refuse(3, [name, word], "check-health", self.out)
                if kept is None:
                    (self.out / name).unlink()
                else:
                    (self.out / name).write_text(kept)
        self.refuse(2, ["run"], "check-health")


if __name__ == "__main__":
    unittest.main()
