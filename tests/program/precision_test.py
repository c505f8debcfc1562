"""The demo's first 200 steps in bfloat16 end where float32's do: within the spread that three seeds have there, widened by as much on
either side, for the losses and the number of subcomponents that are kept."""

import statistics
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, metrics

DEMO = Path(__file__).parents[2] / "configs" / "demo" / "config.yaml"
SETTINGS = ("training.steps=200", "output.log_every=1", "evaluation.every=1000", "evaluation.slow_every=1000")


class Precision(ProgramTest):
    def steps(self, precision, seed):
        out = self.root / f"{precision}_{seed}"
        words = [word for setting in (*SETTINGS, f"precision={precision}", f"seed={seed}") for word in ("--set", setting)]
        self.run_program("decompose", DEMO, "--out", out, "--device", "cpu", "--set", "evaluation.final=false", *words)
        return metrics(out)

    def test_bfloat16_ends_within_the_spread_of_float32(self):
        exact = [self.steps("fp32", seed) for seed in range(3)]
        rounded = self.steps("bf16", 0)
        names = [name for name in exact[0][0] if name.startswith("train/loss/")]
        self.assertGreater(len(names), 4)
        for name in names:  # on the same step and weights
            self.assertAlmostEqual(rounded[0][name] / exact[0][0][name], 1.0, delta=0.01, msg=name)
        for name in ("train/loss/total", "train/loss/stochastic_recon", "train/loss/adversarial_recon", "train/l0"):
            last = [statistics.mean(step[name] for step in run[180:]) for run in (*exact, rounded)]
            spread = max(last[:3]) - min(last[:3])
            self.assertGreater(last[3], min(last[:3]) - spread, f"{name}: {last}")
            self.assertLess(last[3], max(last[:3]) + spread, f"{name}: {last}")

    def test_an_embedding_may_be_a_site(self):  # whose matrix is a transposed table
        settings = ("precision=bf16", "training.steps=2", "sites=[{pattern: wte, C: 64}, {pattern: h.*.mlp.*, C: 64}]")
        words = [word for setting in settings for word in ("--set", setting)]
        self.run_program("decompose", DEMO, "--out", self.out, "--device", "cpu", "--set", "evaluation.final=false", *words)
        self.assertGreater(metrics(self.out)[0]["train/loss/faithfulness"], 0.0)


if __name__ == "__main__":
    unittest.main()
