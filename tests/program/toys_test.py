"""The toy models through the program: every file of configs/toys pretrains, decomposes and evaluates for two steps; a toy's run
resumes bit for bit; data and metrics that do not fit a toy are refused in a sentence."""

import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, CHECKPOINT, ProgramTest, metrics

TOYS = Path(__file__).parents[2] / "configs" / "toys"
NAMES = sorted(path.stem.removesuffix("_target") for path in TOYS.glob("*_target.yaml"))
TARGETED = ["residual_mlp_1", "tms_5-2_identity"]  # these have a targeted decomposition, too
SMALL = ["--set", "training.batch_size=64", "--set", "evaluation.batch_size=64"]


class Toys(ProgramTest):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="vpd_toys_"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.out = self.root / "out"

    def pretrain(self, name, steps=2):
        target = self.root / name
        self.run_program("pretrain", TOYS / f"{name}_target.yaml", "--out", target, "--threads", "2",
                         "--set", f"training.steps={steps}", *SMALL, "--set", "evaluation.batches=1")
        return target

    def decompose(self, name, target, out, *arguments):
        return self.run_program("decompose", TOYS / f"{name}.yaml", "--out", out, "--set", f"target.path={target}",
                                *SMALL, *arguments)

    def test_every_configuration_runs(self):
        self.assertEqual(len(NAMES), 8)
        self.assertEqual({path.name for path in TOYS.glob("*.yaml")},
                         {f"{name}{part}.yaml" for name in NAMES for part in ("", "_target")} |
                         {f"{name}_targeted.yaml" for name in (*TARGETED, "redundancy")} | {"residual_mlp_1_targeted_C5.yaml"})
        for name in NAMES:
            with self.subTest(name):
                target, run = self.pretrain(name), self.root / f"{name}_run"
                checked, _ = self.run_program("check", TOYS / f"{name}.yaml", "--set", f"target.path={target}", *SMALL)
                self.assertIn("training fits", checked)
                self.assertIn("data.train: new rows of", checked)
                self.decompose(name, target, run, "--set", "training.steps=2", "--set", "training.faithfulness_warmup.steps=2")
                self.run_program("evaluate", run, "--threads", "2", "--json", self.root / "figures.json")
                figures = json.loads((self.root / "figures.json").read_text())
                self.assertEqual(figures["step"], 2)
                expected = "induction_match/accuracy_alone" if name == "induction" else "identity_ci_error/total"
                self.assertIn(expected, figures["metrics"])
                self.assertIn("l0/total", figures["metrics"])
                found, _ = self.run_program("inspect", target)
                family = {"t": "TMS", "r": "ResidualMLP", "i": "InductionTransformer"}[name[0]]
                self.assertIn(f"a target, {family}", found)

    def test_targeted_decompositions_run(self):
        for name in TARGETED:
            with self.subTest(name):
                target, run = self.pretrain(name), self.root / f"{name}_targeted"
                self.decompose(f"{name}_targeted", target, run, "--set", "training.steps=2", "--set", "training.background_batch_size=32")
                figures = json.loads((run / "evaluation.json").read_text())["metrics"]
                self.assertIn("background/l0/total", figures)
                self.assertIn("loss/background", figures)

    def test_three_inputs_need_three_neurons(self):
        target = self.pretrain("residual_mlp_1", steps=1000)
        for name in ("residual_mlp_1_targeted", "residual_mlp_1_targeted_C5"):
            with self.subTest(name):
                run = self.root / name
                self.run_program("decompose", TOYS / f"{name}.yaml", "--out", run, "--set", f"target.path={target}", "--set", "evaluation.batch_size=512",
                                 "--threads", "1")
                figures = json.loads((run / "evaluation.json").read_text())["metrics"]
                self.assertEqual(figures["alive/total"], 3, figures)
                self.assertLess(figures["background/l0/total"], 0.05)  # three of 100 inputs are on 0.03 times in a row

    def test_features_need_one_subcomponent_of_each_matrix(self):
        """The smallest targeted decomposition recovers what is known, in a part of its steps: of the matrix between the halves, no more than its rank."""
        target = self.pretrain("tms_5-2_identity", steps=2000)
        for features, hidden in (([2], 1), ([1, 2, 3], 2)):
            with self.subTest(features):
                run = self.root / f"targeted_{len(features)}"
                self.run_program("decompose", TOYS / "tms_5-2_identity_targeted.yaml", "--out", run, "--set", f"target.path={target}",
                                 "--set", f"data.train.only={features}", "--set", f"data.eval.only={features}", "--set", "training.steps=2000",
                                 "--set", "training.batch_size=256", "--set", "evaluation.batch_size=512", "--threads", "1")
                figures = json.loads((run / "evaluation.json").read_text())["metrics"]
                self.assertEqual([figures[f"alive/{site}"] for site in ("linear1", "hidden_layers.0", "linear2")],
                                 [len(features), hidden, len(features)], figures)
                self.assertLess(figures["pgd/pgd_20"], 0.01)
                self.assertLess(figures["background/l0/total"], 1.0)

    def test_what_is_there_twice_is_found_once_and_said_to_be_made_up_for(self):
        """Two layers copy a token, and either is enough: the circuit keeps one of them, and in the target the other makes up for it."""
        target, run = self.root / "redundancy", self.root / "redundant"
        subprocess.run([sys.executable, TOYS / "redundancy_target.py", target], check=True)
        prompts = ["--set", f"data.train.path={target}/prompts.jsonl", "--set", f"data.eval.path={target}/prompts.jsonl",
                   "--set", f"data.background.path={target}/background.bin"]
        self.run_program("decompose", TOYS / "redundancy_targeted.yaml", "--out", run, "--set", f"target.path={target}", *prompts, "--threads", "1")
        figures = json.loads((run / "evaluation.json").read_text())["metrics"]
        self.assertLess(figures["pgd/pgd_20"], 0.2, figures)
        self.run_program("audit", run, "--prompts", target / "prompts.jsonl", "--against", target / "against.jsonl",
                         "--json", self.root / "audit.json")
        found = json.loads((self.root / "audit.json").read_text())["ranking"]
        twice = [one for one in found if one["made_up_for"]]
        self.assertTrue(twice, found)
        for one in twice:
            self.assertGreater(one["effect"], -0.1)
            self.assertLess(one["effect_in_circuit"], -0.2)

    def test_resuming_a_toy_is_exact(self):
        for name in ("tms_5-2_identity", "induction"):
            with self.subTest(name):
                target = self.pretrain(name)
                whole, parts = self.root / f"{name}_whole", self.root / f"{name}_parts"
                settings = ["--set", "training.steps=8", "--set", "output.log_every=1", "--set", "output.keep=2"]
                self.decompose(name, target, whole, *settings, "--set", "output.checkpoint_every=8")
                self.decompose(name, target, parts, *settings, "--set", "output.checkpoint_every=5")
                shutil.rmtree(parts / "checkpoints" / "step_00000008", ignore_errors=True)
                (parts / "checkpoints" / "latest").unlink()
                if not (parts / "checkpoints" / "step_00000005").exists():
                    self.fail("no checkpoint after 5 steps was kept")
                (parts / "checkpoints" / "latest").symlink_to("step_00000005")
                self.run_program("decompose", "--resume", parts)
                self.assert_same_run(whole, parts, 8)

    def test_the_same_seed_gives_the_same_target(self):
        first = (self.pretrain("tms_5-2") / "model.safetensors").read_bytes()
        shutil.rmtree(self.root / "tms_5-2")
        self.assertEqual((self.pretrain("tms_5-2") / "model.safetensors").read_bytes(), first)

    def test_data_of_another_kind(self):
        target = self.pretrain("tms_5-2")
        tokens = "data.train={type: induction, sequence_length: 8}"
        self.refuse(2, ["data.train.type", "sparse_features", "5 features", "induction"], "decompose", TOYS / "tms_5-2.yaml",
                    "--out", self.out, "--set", f"target.path={target}", "--set", tokens)
        self.refuse(2, ["data.train.type", "sparse_features"], "pretrain", TOYS / "tms_5-2_target.yaml", "--out", self.out,
                    "--set", tokens)
        features = "data.eval={type: sparse_features, probability: 0.05}"
        target = self.pretrain("induction")
        self.refuse(2, ["data.eval.type", "tokens", "sparse_features"], "decompose", TOYS / "induction.yaml",
                    "--out", self.out, "--set", f"target.path={target}", "--set", features)
        self.assertFalse(self.out.exists())

    def test_metrics_of_another_kind(self):
        for name, metric, words in (("tms_5-2", "{type: ce_kl}", ["ce_kl", "language model"]),
                                    ("induction", "{type: ce_kl}", ["ce_kl", "language model"]),
                                    ("tms_5-2", "{type: induction_match}", ["induction_match", "induction"]),
                                    ("induction", "{type: mmcs, sites: ['*']}", ["mmcs", "features"]),
                                    ("tms_5-2", "{type: mmcs, sites: ['mlp*']}", ["metrics[0].sites", "mlp*", "linear1"]),
                                    ("tms_5-2", "{type: dense_ci_error, sites: {linear1: 101}}", ["linear1", "101", "100"])):
            with self.subTest(name, metric=metric):
                target = self.root / name
                if not target.exists():
                    self.pretrain(name)
                self.refuse(2, [f"{name}.yaml: evaluation.metrics[0]", *words], "decompose", TOYS / f"{name}.yaml", "--out", self.out,
                            "--set", f"target.path={target}", "--set", f"evaluation.metrics=[{metric}]")
                self.assertFalse(self.out.exists())

    def test_another_toys_checkpoint(self):
        target = self.pretrain("tms_5-2")
        self.refuse(3, ["model_config.json", "model_type", "ResidualMLP", "TMS"], "decompose", TOYS / "residual_mlp_1.yaml",
                    "--out", self.out, "--set", f"target.path={target}")

    def test_selftest_says_what_it_found(self):
        report = self.root / "report.json"
        out, err = self.run_program("selftest", "--threads", "2", "--json", report, "--out", self.out,
                                    "--set", "training.steps=3", exit_code=4)
        self.assertIn("DOES NOT RECOVER", out)
        self.assertTrue(err.startswith("vpd: error: "), err)
        figures = json.loads(report.read_text())
        self.assertFalse(figures["recovered"])
        self.assertEqual({figure["name"] for figure in figures["figures"]},
                         {f"{metric}/{site}" for metric in ("identity_ci_error", "mmcs", "l2_ratio") for site in ("linear1", "linear2")})
        for seed in ("seed_0", "seed_1"):  # a second attempt
            self.assertTrue((self.out / seed / "target" / "model.safetensors").exists())
        self.refuse(3, ["empty directory"], "selftest", "--out", self.out)


if __name__ == "__main__":
    unittest.main()
