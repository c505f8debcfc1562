"""`output.tensorboard: true`: the `tensorboard` package reads the same numbers as stand in metrics.jsonl, after a resumed run, too."""

import json
import math
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, lines

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    print("NOT TESTED: TensorBoard events, since the package tensorboard is not there")
    sys.exit(0)


class TensorBoard(ProgramTest):
    def check(self):
        found = EventAccumulator(str(self.out / "tensorboard"), size_guidance={"scalars": 0})
        found.Reload()
        wanted = {}
        for line in lines(self.out / "metrics.jsonl"):
            entry = json.loads(line)
            for name, value in entry.items():
                if name != "step" and not isinstance(value, str):
                    wanted.setdefault(name, []).append((entry["step"], value))
        self.assertEqual(set(found.Tags()["scalars"]), set(wanted))
        for name, points in wanted.items():
            events = found.Scalars(name)
            self.assertEqual([event.step for event in events], [step for step, _ in points], name)
            for event, (_, value) in zip(events, points):
                self.assertTrue(math.isclose(event.value, value, rel_tol=1e-6, abs_tol=1e-30), name)

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
