"""No signal and no lost stream costs a run what it has done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, ProgramTest, lines

AT_ONCE = 131  # of a run that a second Ctrl-C stopped, unsaved


def status(run):
    return json.loads((run / "status.json").read_text())


class Stops(ProgramTest):
    def endless(self, **changes):
        return self.configure(training__steps=10**6, output__checkpoint_every=10**6, **changes)

    def saved(self):
        return [path.name for path in (self.out / "checkpoints").glob("step_*")]

    def begun(self, process, n=3):
        self.wait_until(lambda: len(lines(self.out / "metrics.jsonl")) >= n, process, f"{n} lines of metrics")

    def assert_interrupted(self):
        self.assertEqual(len(self.saved()), 1)
        found = status(self.out)
        self.assertEqual((found["state"], found["exit_code"]), ("interrupted", 130))
        self.assertEqual(self.saved(), [f"step_{found['step']:08d}"])
        self.assertIn("which are saved: go on with vpd decompose --resume", found["sentence"])

    def test_repeated_signals_of_a_scheduler(self):
        for which in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            with self.subTest(which.name):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start("decompose", self.endless(), "--out", self.out)
                self.begun(process)
                for _ in range(20):
                    if process.poll() is None:
                        process.send_signal(which)
                    time.sleep(0.004)
                self.finish(process, 130)
                self.assert_interrupted()

    def test_every_signal_saves(self):
        for name in ("SIGINT", "SIGUSR2", "SIGQUIT", "SIGXCPU", "SIGALRM", "SIGPWR"):
            with self.subTest(name):
                shutil.rmtree(self.out, ignore_errors=True)
                process = self.start("decompose", self.endless(), "--out", self.out)
                self.begun(process)
                process.send_signal(getattr(signal, name))
                self.finish(process, 130)
                self.assert_interrupted()

    def test_timeout_signals_child_and_group(self):
        process = self.start("decompose", self.endless(), "--out", self.out, launcher=("timeout", "2"))
        self.finish(process, 124)  # the code of timeout itself
        self.assert_interrupted()

    def test_a_limit_of_processor_time(self):
        process = self.start("decompose", self.endless(), "--out", self.out,
                             launcher=("bash", "-c", 'ulimit -S -t 2; exec "$0" "$@"'))
        self.finish(process, 130)
        self.assert_interrupted()

    def test_a_second_ctrl_c(self):
        # Nobody reads the lines, so that the run waits in the middle of one of them and cannot save.
        def stuck():
            shutil.rmtree(self.out, ignore_errors=True)
            process = self.start("decompose", self.endless(), "--out", self.out)
            self.begun(process)
            before = -1
            while (after := len(lines(self.out / "metrics.jsonl"))) != before:
                before = after
                time.sleep(0.3)
            return process

        process = stuck()
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(5), AT_ONCE)
        self.assertEqual(self.saved(), [])
        self.assertEqual((status(self.out)["state"], status(self.out)["exit_code"]), ("interrupted", AT_ONCE))
        self.assertIn("not saved", status(self.out)["sentence"])

        process = stuck()
        for which in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):  # of one event; and a scheduler's
            process.send_signal(which)
            time.sleep(0.05)
        time.sleep(0.6)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        self.assertIsNone(process.poll())
        self.finish(process, 130)  # reads what it said, so that it goes on
        self.assert_interrupted()

    def test_nohup_outlives_its_terminal(self):
        config = self.configure(training__steps=300)
        process = self.start("decompose", config, "--out", self.out, launcher=("nohup",))
        self.begun(process)
        process.send_signal(signal.SIGHUP)
        self.finish(process, 0)
        self.assertEqual(status(self.out)["state"], "done")

    def test_a_reader_that_goes_away(self):
        config = self.configure(training__steps=200)
        process = self.start("decompose", config, "--out", self.out)
        for _ in range(3):
            process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.stderr.read(), "")
        self.assertIn("finished 200 steps", (self.out / "log.txt").read_text())
        self.assertEqual(len(lines(self.out / "metrics.jsonl")), 200)

    def test_streams_that_are_closed(self):
        for closed in (">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
            with self.subTest(closed):
                shutil.rmtree(self.out, ignore_errors=True)
                config = self.configure(training__steps=20)
                command = f'exec "$0" decompose "$1" --out "$2" --threads 2 {closed}'
                run = subprocess.run(["bash", "-c", command, PROGRAM, config, self.out], cwd=self.root, timeout=60, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
                self.assertEqual(run.returncode, 0)
                said = lines(self.out / "log.txt")
                self.assertEqual(len([line for line in said if line.startswith("step 7/20")]), 1)
                self.assertEqual(len(lines(self.out / "metrics.jsonl")), 20)
                for line in lines(self.out / "metrics.jsonl"):
                    json.loads(line)

    def test_a_full_place_for_lines_ends_nothing(self):
        if not Path("/dev/full").exists():
            self.skipTest("NOT TESTED: there is no /dev/full")
        config = self.configure(training__steps=20)
        with open("/dev/full", "w") as full:
            run = subprocess.run([PROGRAM, "decompose", config, "--out", self.out], stdout=full, cwd=self.root, timeout=60)
        self.assertEqual(run.returncode, 0)
        self.assertEqual(status(self.out)["state"], "done")

    def test_a_limit_of_sizes_is_an_error_and_no_death(self):
        process = self.start("decompose", self.configure(training__steps=5), "--out", self.out,
                             launcher=("bash", "-c", 'ulimit -f 40; exec "$0" "$@"'))
        _, err = self.finish(process, 3)
        self.assertIn("File too large", err)
        self.assertEqual(status(self.out)["state"], "failed")

    def long_evaluation(self):
        attack = {"type": "pgd", "name": "long", "steps": 10**6, "step_size": 0.1, "init": "random", "scope": "shared_across_batch"}
        return f"evaluation.metrics={json.dumps([attack])}"

    def test_evaluate(self):
        self.run_program("decompose", self.configure(training__steps=3, evaluation__final=True), "--out", self.out)
        before = (self.out / "evaluation.json").read_bytes()
        process = self.start("evaluate", self.out, "--set", self.long_evaluation())
        time.sleep(1.0)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        _, err = self.finish(process, 130)
        self.assertIn("stopping", err)
        self.assertEqual((self.out / "evaluation.json").read_bytes(), before)

    def test_evaluate_into_a_pipe_that_closes(self):
        self.run_program("decompose", self.configure(training__steps=3), "--out", self.out)
        figures = self.root / "figures.json"
        command = 'set -o pipefail; "$0" evaluate "$1" --json "$2" | true'
        run = subprocess.run(["bash", "-c", command, PROGRAM, self.out, figures], cwd=self.root, capture_output=True, text=True, timeout=60)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        self.assertIn("metrics", json.loads(figures.read_text()))

    def test_pretrain(self):
        config = self.root / "pretrain.json"
        config.write_text(json.dumps({
            "model": {"type": "tms", "n_features": 5, "n_hidden": 2},
            "data": {"train": {"type": "sparse_features", "probability": 0.05}},
            "training": {"steps": 10**7, "batch_size": 64, "learning_rate": {"start": 0.001}}, "log_every": 100}))
        process = self.start("pretrain", config, "--out", self.out)
        metrics = self.out / ".tmp-work" / "metrics.jsonl"
        self.wait_until(lambda: len(lines(metrics)) >= 2, process, "two lines of metrics")
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        _, err = self.finish(process, 130)
        self.assertIn("the target as it was then is in", err)
        self.assertEqual(sorted(path.name for path in self.out.iterdir()),
                         ["metrics.jsonl", "model.safetensors", "model_config.json", "pretrain.json"])

    def test_selftest(self):
        process = self.start("selftest", environment={"TMPDIR": str(self.root)})
        self.wait_until(lambda: list(self.root.glob("vpd-selftest-*/target/.tmp-work")), process, "the toy model's training")
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
        self.finish(process, 130)
        self.assertEqual(list(self.root.glob("vpd-selftest-*")), [])


if __name__ == "__main__":
    unittest.main()
