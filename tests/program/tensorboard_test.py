"""`output.tensorboard: true`: the `tensorboard` package reads the same numbers as stand in metrics.jsonl, after a resumed run, too."""

import json
import math
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from prepare_tokens_support import PYTHON, needs
from support import ProgramTest, lines

READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
found.Reload()
print(json.dumps({name: [[event.step, event.value] for event in found.Scalars(name)] for name in found.Tags()["scalars"]}))
"""


class TensorBoard(ProgramTest):
    def check(self):
        done = subprocess.run([PYTHON, "-c", READ, str(self.out / "tensorboard")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        found, wanted = json.loads(done.stdout), {}
        for line in lines(self.out / "metrics.jsonl"):
            entry = json.loads(line)
            for name, value in entry.items():
                if name != "step" and not isinstance(value, str):
                    wanted.setdefault(name, []).append((entry["step"], value))
        self.assertEqual(set(found), set(wanted))
        for name, points in wanted.items():
            self.assertEqual([step for step, _ in found[name]], [step for step, _ in points], name)
            for (_, read), (_, value) in zip(found[name], points):
                self.assertTrue(math.isclose(read, value, rel_tol=1e-6, abs_tol=1e-30), name)

    @needs("tensorboard")
    def test_numbers_are_those_of_the_log(self):
        config = self.configure(training__steps=6, output__checkpoint_every=3, output__tensorboard=True, evaluation__every=3)
        self.run_program("decompose", config, "--out", self.out)
        self.check()
        # A run that goes on from the middle writes its events anew.
        self.run_program("decompose", "--resume", self.out, "--checkpoint", "3")
        self.check()

    def test_nobody_asked(self):
        self.run_program("decompose", self.configure(training__steps=2), "--out", self.out)
        self.assertFalse((self.out / "tensorboard").exists())


if __name__ == "__main__":
    unittest.main()
