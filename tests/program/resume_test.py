"""A run that is interrupted or killed, and goes on, ends with the files of one that was left alone."""

import json
import random
import signal
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import CHECKPOINT, ProgramTest, lines, metrics, read_safetensors, write_safetensors


def checkpoints(run):
    return sorted(path for path in (run / "checkpoints").glob("step_*") if not path.is_symlink())


class Resume(ProgramTest):
    def reference(self, config):
        """The same run without an interruption."""
        run = self.root / "reference"
        self.run_program("decompose", config, "--out", run)
        return run

    def finished_run(self, **changes):
        config = self.configure(**changes)
        self.run_program("decompose", config, "--out", self.out)
        return config

    def test_interrupts(self):
        steps = 300
        config = self.configure(training__steps=steps, output__checkpoint_every=1000, evaluation__every=7)
        logged = lambda n: lambda: len(lines(self.out / "metrics.jsonl")) >= n
        _, err = self.interrupt(self.start("decompose", config, "--out", self.out), logged(5), "five lines of metrics")
        self.assertIn(f"vpd decompose --resume {self.out}", err)
        self.assertEqual(len(checkpoints(self.out)), 1)
        for which in (signal.SIGTERM, signal.SIGHUP):
            before, saved = len(lines(self.out / "metrics.jsonl")), int(checkpoints(self.out)[-1].name[5:])
            out, err = self.interrupt(self.start("decompose", "--resume", self.out), logged(before + 5), "five more lines", which)
            self.assertIn(f"resumed after {saved} of {steps} steps", out)
        self.run_program("decompose", "--resume", self.out)
        self.assert_same_run(self.out, self.reference(config), steps)
        self.assertIn("interrupted after", (self.out / "log.txt").read_text())

    def test_kills_at_any_moment(self):
        steps = 60
        config = self.configure(training__steps=steps, output__checkpoint_every=1)
        dice = random.Random(0)
        kills = 0
        arguments = ("decompose", config, "--out", self.out)
        while True:
            process = self.start(*arguments)
            before = checkpoints(self.out)
            self.wait_until(lambda: checkpoints(self.out) != before, process, "a new checkpoint")
            # Some kills are meant to come before this run's next checkpoint is complete, some after a few.
            time.sleep(dice.uniform(0, 0.06))
            process.kill()
            process.communicate()
            kills += 1
            for checkpoint in checkpoints(self.out):
                self.assertEqual(sorted(path.name for path in checkpoint.iterdir()), sorted(CHECKPOINT + ("state.json",)))
            arguments = ("decompose", "--resume", self.out)
            if kills >= 8 or checkpoints(self.out)[-1].name == f"step_{steps:08d}":
                break
        self.run_program(*arguments)
        self.assert_same_run(self.out, self.reference(config), steps)
        self.assertEqual([path.name for path in checkpoints(self.out)], [f"step_{steps - 1:08d}", f"step_{steps:08d}"])
        self.assertEqual([path for path in (self.out / "checkpoints").iterdir() if path.name.startswith(".")], [])

    def test_killed_before_the_first_checkpoint(self):
        config = self.configure(training__steps=300, output__checkpoint_every=1000)
        process = self.start("decompose", config, "--out", self.out)
        self.wait_until(lambda: len(lines(self.out / "metrics.jsonl")) >= 3, process, "three lines of metrics")
        process.kill()
        process.communicate()
        out, _ = self.run_program("decompose", "--resume", self.out)
        self.assertIn("starting over", out)
        self.assert_same_run(self.out, self.reference(config), 300)

    def test_interrupted_in_the_warm_up(self):
        config = self.configure(training__faithfulness_warmup__steps=1000000)
        warming_up = lambda: "warm-up 1/" in "".join(lines(self.out / "log.txt"))
        _, err = self.interrupt(self.start("decompose", config, "--out", self.out), warming_up, "the warm-up")
        self.assertIn("starts over", err)
        self.assertEqual(checkpoints(self.out), [])

    def test_an_interrupt_cuts_an_evaluation_short(self):
        """An attack that would take hours: the run is saved as it was before, and its end asked for again."""
        config = self.configure(training__steps=4, output__log_every=1, evaluation__every=2,
                                evaluation__metrics=[{"type": "pgd", "name": "pgd", "steps": 10_000_000}])
        evaluating = lambda: len(lines(self.out / "metrics.jsonl")) == 2
        _, err = self.interrupt(self.start("decompose", config, "--out", self.out), evaluating, "two lines of metrics")
        self.assertIn("interrupted after 2 of 4 steps, which are saved", err)
        self.assertEqual([path.name for path in checkpoints(self.out)], ["step_00000002"])
        self.assertEqual(len(lines(self.out / "metrics.jsonl")), 2)

    def test_a_second_interrupt_stops_at_once(self):
        ages = {"type": "stochastic_recon", "coefficient": 1.0, "samples": 100_000_000}
        process = self.start("decompose", self.configure(objective=[ages]), "--out", self.out)
        self.wait_until(lambda: lines(self.out / "log.txt"), process, "the first step")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)
        self.assertIsNone(process.poll(), "the first one waits for the step")
        process.send_signal(signal.SIGINT)
        self.finish(process, 131)

    def test_a_finished_run_stays_as_it_is(self):
        self.finished_run(training__steps=4, evaluation__every=2)
        before = {path.name: path.read_bytes() for path in checkpoints(self.out)[-1].iterdir()}
        measured = metrics(self.out)
        self.run_program("decompose", "--resume", self.out)
        self.assertEqual({path.name: path.read_bytes() for path in checkpoints(self.out)[-1].iterdir()}, before)
        self.assertEqual(metrics(self.out), measured)

    def test_a_run_that_is_still_going(self):
        config = self.configure(training__faithfulness_warmup__steps=1000000)
        process = self.start("decompose", config, "--out", self.out)
        self.wait_until((self.out / "config.yaml").exists, process, "the run directory")
        self.refuse(3, ["another program"], "decompose", "--resume", self.out)

    def test_killed_before_it_began(self):
        """What is left then is no run, and --out takes the directory as if it were empty."""
        (self.out / "checkpoints" / ".tmp-step_00000000.1").mkdir(parents=True)
        for name in ("log.txt", "provenance.json", ".tmp-config.yaml.1"):
            (self.out / name).write_text("")
        config = self.configure(training__steps=2)
        self.refuse(3, ["found no config.yaml", "--out"], "decompose", "--resume", self.out)
        self.run_program("decompose", config, "--out", self.out)
        self.assertTrue((self.out / "checkpoints" / "latest").exists())
        self.refuse(3, ["not empty"], "decompose", config, "--out", self.out)

    def test_what_is_no_run(self):
        self.refuse(3, ["nowhere", "nothing of that name"], "decompose", "--resume", self.root / "nowhere")
        self.refuse(3, ["config.yaml"], "decompose", "--resume", self.root)
        self.refuse(2, ["--out", "--resume"], "decompose", "--resume", self.root, "--out", self.out)

    def test_a_changed_configuration(self):
        config = self.finished_run(training__steps=4)
        stored = (self.out / "config.yaml").read_text()
        self.refuse(2, ["training.steps: 4 became 8", "seed: 0 became 3"], "decompose", "--resume", self.out, "--set",
                    "training.steps=8", "--set", "seed=3")
        self.refuse(2, ["device: cpu became auto"], "decompose", "--resume", self.out, "--device", "auto")
        other = self.configure("other.json", training__steps=4, sites=[{"pattern": "h.*.mlp.c_fc", "C": 8}])
        self.refuse(2, ["sites[0].C: 40 became 8"], "decompose", other, "--resume", self.out)
        (self.out / "config.yaml").write_text(stored.replace("batch_size: 3", "batch_size: 6", 1))
        self.refuse(2, ["batch_size: 3 became 6"], "decompose", "--resume", self.out)
        (self.out / "config.yaml").write_text(stored)
        self.run_program("decompose", config, "--resume", self.out, "--device", "cpu")

    def test_what_may_change(self):
        self.finished_run(training__steps=4)
        self.run_program("decompose", "--resume", self.out, "--set", "output.keep=7", "--set", "evaluation.every=2")
        self.assertIn("keep: 7", (self.out / "config.yaml").read_text())

    def test_a_target_that_changed(self):
        self.finished_run(training__steps=4)
        path = self.root / "target" / "model.safetensors"
        tensors = read_safetensors(path)
        first = next(iter(tensors.values()))
        first[2] = bytes([first[2][0] ^ 1]) + first[2][1:]
        write_safetensors(path, tensors)
        self.refuse(3, [str(path), "changed since"], "decompose", "--resume", self.out)

    def test_a_damaged_checkpoint(self):
        self.finished_run(training__steps=4)
        path = self.out / "checkpoints" / "step_00000004" / "training_state.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        self.refuse(3, [str(path), "SHA-256"], "decompose", "--resume", self.out)

    def test_an_earlier_checkpoint_in_place_of_a_damaged_one(self):
        config = self.configure(training__steps=6, output__checkpoint_every=2, output__keep=3)
        self.run_program("decompose", config, "--out", self.out)
        path = self.out / "checkpoints" / "step_00000006" / "decomposition.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        self.refuse(3, [str(path), f"vpd decompose --resume {self.out} --checkpoint 4"], "decompose", "--resume", self.out)
        self.refuse(3, ["step 5", "those of 2, 4, 6"], "decompose", "--resume", self.out, "--checkpoint", 5)
        self.refuse(2, ["--checkpoint 4", "--resume"], "decompose", config, "--out", self.root / "new", "--checkpoint", 4)
        out, _ = self.run_program("decompose", "--resume", self.out, "--checkpoint", 2)
        self.assertIn("resumed after 2 of 6 steps", out)
        self.assert_same_run(self.out, self.reference(config), 6)
        self.assertEqual([path.name for path in checkpoints(self.out)],
                         ["step_00000002", "step_00000004", "step_00000004.set_aside", "step_00000006", "step_00000006.set_aside"])

    def test_inputs_that_were_moved(self):
        config = self.configure(training__steps=300, output__checkpoint_every=1000)
        self.interrupt(self.start("decompose", config, "--out", self.out),
                       lambda: len(lines(self.out / "metrics.jsonl")) >= 3, "three lines of metrics")
        (self.root / "elsewhere").mkdir()
        for name in ("target", "train.npy"):
            (self.root / name).rename(self.root / "elsewhere" / name)
        moved = ("--set", f"target.path={self.root}/elsewhere/target", "--set", f"data.train.path={self.root}/elsewhere/train.npy")
        other = ("--set", f"data.train.path={self.root}/eval.npy", *moved[:2])
        self.refuse(3, [f"{self.root}/eval.npy", "changed since"], "decompose", "--resume", self.out, *other)
        self.run_program("decompose", "--resume", self.out, *moved)
        (self.root / "elsewhere" / "target").rename(self.root / "target")
        (self.root / "elsewhere" / "train.npy").rename(self.root / "train.npy")
        self.assert_same_run(self.out, self.reference(config), 300)

    def test_the_checkpoint_says_where_it_stands(self):
        self.finished_run(training__steps=4)
        state = json.loads((self.out / "checkpoints" / "latest" / "state.json").read_text())
        self.assertEqual((state["step"], state["data_position"], sorted(state["sha256"])), (4, 12, sorted(CHECKPOINT)))


if __name__ == "__main__":
    unittest.main()
