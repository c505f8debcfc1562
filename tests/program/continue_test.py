"""One command begins a run or goes on with it, and status.json tells how it stands."""

import json
import os
import signal
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, lines, metrics


def status(run):
    return json.loads((run / "status.json").read_text())


class Continue(ProgramTest):
    def test_one_command_to_begin_and_to_go_on(self):
        config = self.configure(training__steps=300, output__checkpoint_every=1000)
        command = ("decompose", config, "--out", self.out, "--continue")
        _, err = self.interrupt(self.start(*command), lambda: len(lines(self.out / "metrics.jsonl")) >= 3, "three lines of metrics")
        saved = status(self.out)
        self.assertEqual((saved["state"], saved["steps"], saved["exit_code"]), ("interrupted", 300, 130))
        self.assertGreaterEqual(saved["step"], 3)
        out, _ = self.run_program(*command)
        self.assertIn(f"resumed after {saved['step']} of 300 steps", out)
        reference = self.root / "reference"
        self.run_program("decompose", config, "--out", reference)
        self.assert_same_run(self.out, reference, 300)

        measured = metrics(self.out)
        out, _ = self.run_program(*command)
        self.assertIn("nothing is left to do", out)
        self.assertEqual(metrics(self.out), measured)
        self.assertEqual(status(self.out)["state"], "done")

    def test_of_another_configuration(self):
        config = self.configure(training__steps=4)
        command = ("decompose", config, "--out", self.out, "--continue")
        self.run_program(*command)
        done = status(self.out)
        self.refuse(2, ["training.steps: 4 became 8"], *command, "--set", "training.steps=8")
        self.assertEqual(status(self.out), done)
        self.refuse(2, ["--continue", "--out"], "decompose", config, "--continue")
        self.refuse(2, ["--continue", "--resume"], "decompose", config, "--continue", "--resume", self.out)

    def test_after_a_death_before_the_run_began(self):
        (self.out / "checkpoints").mkdir(parents=True)
        (self.out / "log.txt").write_text("")
        self.run_program("decompose", self.configure(training__steps=2), "--out", self.out, "--continue")
        self.assertEqual(status(self.out)["state"], "done")


class Status(ProgramTest):
    def test_while_it_runs(self):
        config = self.configure(training__steps=10**6, output__checkpoint_every=20, evaluation__final=False)
        job = {"SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "4714"}
        process = self.start("decompose", config, "--out", self.out, environment=job)
        self.wait_until(lambda: (self.out / "status.json").exists() and status(self.out)["step"] >= 40, process, "two checkpoints")
        found = status(self.out)
        self.assertEqual((found["state"], found["steps"], found["exit_code"], found["job"], found["process"]),
                         ("running", 10**6, None, "4711_3", process.pid))
        self.assertEqual(found["host"], os.uname().nodename)
        provenance = json.loads((self.out / "provenance.json").read_text())
        self.assertEqual((provenance["host"], provenance["job"]), (os.uname().nodename, "4711_3"))
        process.kill()
        process.communicate()
        self.assertEqual(status(self.out)["state"], "running", "a killed program cannot say so: docs/formats.md")

    def test_of_a_run_that_diverges(self):
        config = self.configure(training__steps=200, training__learning_rate={"start": 1e25})
        self.run_program("decompose", config, "--out", self.out, exit_code=4)
        found = status(self.out)
        self.assertEqual((found["state"], found["exit_code"]), ("diverged", 4))
        self.assertIn("NaN", found["sentence"])

    def test_of_a_run_that_fails(self):
        config = self.configure(training__steps=10**6, output__checkpoint_every=10**6)
        process = self.start("decompose", config, "--out", self.out)
        self.wait_until(lambda: len(lines(self.out / "metrics.jsonl")) >= 3, process, "three lines of metrics")
        checkpoints = self.out / "checkpoints"
        checkpoints.rename(self.out / "gone")
        checkpoints.write_text("in the way")
        process.send_signal(signal.SIGTERM)
        self.finish(process, 3)
        found = status(self.out)
        self.assertEqual((found["state"], found["exit_code"]), ("failed", 3))
        self.assertIn("checkpoints", found["sentence"])


class FinalFigures(ProgramTest):
    METRICS = [{"type": "ci_l0", "threshold": 0.0}, {"type": "pgd", "name": "slow_pgd", "steps": 2, "slow": True}]

    def final(self):
        return [entry for entry in metrics(self.out) if any(name.startswith("eval/") for name in entry)]

    def test_are_always_there(self):
        config = self.configure(training__steps=5, evaluation__final=True, evaluation__every=2, evaluation__slow_every=4, evaluation__metrics=self.METRICS)
        out, _ = self.run_program("decompose", config, "--out", self.out)
        self.assertEqual([entry["step"] for entry in self.final()], [2, 4, 5])
        self.assertIn("eval/pgd/slow_pgd", self.final()[-1])
        self.assertIn("slow_pgd", out)
        evaluation = json.loads((self.out / "evaluation.json").read_text())
        self.assertEqual((evaluation["step"], evaluation["checkpoint"]), (5, "checkpoints/step_00000005"))
        self.assertEqual(evaluation["metrics"]["pgd/slow_pgd"], self.final()[-1]["eval/pgd/slow_pgd"])

    def test_unless_they_are_not_wanted(self):
        config = self.configure(training__steps=5, evaluation__final=False, evaluation__metrics=self.METRICS)
        self.run_program("decompose", config, "--out", self.out)
        self.assertEqual(self.final(), [])
        self.run_program("decompose", "--resume", self.out, "--set", "evaluation.final=true")
        self.assertEqual([entry["step"] for entry in self.final()], [5])

    def test_for_programs(self):
        place = self.root / "result.json"
        config = self.configure(training__steps=5, evaluation__final=True)
        self.run_program("decompose", config, "--out", self.out, "--json", place)
        result = json.loads(place.read_text())
        self.assertEqual((result["run"], result["state"], result["step"], result["exit_code"]), (str(self.out), "done", 5, 0))
        self.assertEqual(result["metrics"]["eval/l0/total"], self.final()[-1]["eval/l0/total"])
        self.assertIn("train/loss/total", result["metrics"])
        out, err = self.run_program("decompose", config, "--out", self.root / "second", "--json", "-")
        self.assertEqual(json.loads(out)["state"], "done")
        self.assertIn("finished 5 steps", err)

    def test_for_programs_of_a_run_that_was_interrupted(self):
        place = self.root / "result.json"
        config = self.configure(training__steps=10**6)
        process = self.start("decompose", config, "--out", self.out, "--json", place)
        self.interrupt(process, lambda: len(lines(self.out / "metrics.jsonl")) >= 3, "three lines of metrics", signal.SIGTERM)
        self.assertEqual(json.loads(place.read_text())["state"], "interrupted")


if __name__ == "__main__":
    unittest.main()
