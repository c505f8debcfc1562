"""`vpd check` predicts the memory of a run within 15 %: a run in which buffers, and one in which the program itself, are most of it."""

import json
import os
import random
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, ProgramTest, write_shard

CONFIGS = Path(__file__).parents[2] / "configs"

# Runs a command and prints the most memory it held, in KiB.
MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); " \
          "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


@unittest.skipIf("ASAN_OPTIONS" in os.environ, "the sanitizers keep shadows of all memory")
class Memory(ProgramTest):
    def compare(self, config, *overrides):
        sets = [word for override in overrides for word in ("--set", override)]
        self.run_program("check", config, "--threads", "2", "--json", self.root / "check.json", *sets)
        predicted = json.loads((self.root / "check.json").read_text())["memory_total"]
        command = [PROGRAM, "decompose", config, "--out", self.out, "--threads", "2", "--set", "training.steps=3", *sets]
        measured = self.measure(command)
        self.assertLess(abs(predicted / measured - 1), 0.15, f"predicted {predicted}, measured {measured}")

    def measure(self, command):
        result = subprocess.run([sys.executable, "-c", MEASURE, *map(str, command)], check=True, text=True, capture_output=True)
        return 1024 * int(result.stdout.split()[-1])

    def test_small(self):
        self.compare(self.configure())

    def compare_simple_stories(self, *overrides):
        self.run_program("pretrain", CONFIGS / "ss_2l_target.yaml", "--out", self.root / "ss_2l", "--set", "training.steps=0")
        draws = random.Random(0)
        write_shard(self.root / "tokens.bin", [draws.randrange(4019) for _ in range(10_000)])
        tokens = self.root / "tokens.bin"
        self.compare(CONFIGS / "ss_2l.yaml", "training.batch_size=2", "data.train.sequence_length=128", "data.eval.sequence_length=128",
                     f"target.path={self.root / 'ss_2l'}", f"data.train.path={tokens}", f"data.eval.path={tokens}", "evaluation.every=null",
                     "evaluation.slow_every=null", "training.faithfulness_warmup.steps=1", "device=cpu", *overrides)

    def test_simple_stories(self):
        self.compare_simple_stories()

    def test_networks_of_subcomponents(self):
        self.compare_simple_stories("causal_importance={type: vector_mlp, hidden_dims: [16, 16]}")

    def test_networks_of_sites(self):
        self.compare_simple_stories("causal_importance={type: shared_mlp, hidden_dims: [1024, 512]}")


if __name__ == "__main__":
    unittest.main()
