"""Two processes that share a run compute what one does, up to the order of sums, and end together whatever happens."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import CHECKPOINT, CONFIG, PROGRAM, ProgramTest, floats, lines, metrics, read_safetensors

ROOT = Path(os.environ.get("VPD_SOURCE_DIR", Path(__file__).parents[2]))
TORCHRUN = ROOT / ".venv" / "bin" / "torchrun"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def adversary(name, routing, **changes):
    persistent = {"type": "persistent", "warmup_steps": 2, "learning_rate": 0.05, **changes}
    return {"type": "adversarial_recon", "name": name, "coefficient": 0.5, "routing": {"type": routing}, "adversary": persistent}


# Every scope of sources, with and without random routing, beside the terms whose sums run over the whole batch.
OBJECTIVE = CONFIG["objective"][:4] + [
    adversary("own", "all", scope="per_position"), adversary("own_subset", "uniform_k_subset", scope="per_position"),
    adversary("shared", "uniform_k_subset", scope="shared_across_batch"), adversary("two", "all", scope="n_sources", sources=2),
    adversary("pool", "all", scope="pooled", sources=2),
    {"type": "adversarial_recon", "name": "fresh", "coefficient": 0.5, "adversary": {"type": "fresh", "steps": 2}}]
CHANGES = {"objective": OBJECTIVE, "training__batch_size": 4, "evaluation__every": 5,
           "evaluation__metrics": [{"type": "ci_l0"}, {"type": "losses"}]}


def has_process_groups():
    """A build without Gloo's headers says so, at once and in one sentence."""
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    result = subprocess.run([PROGRAM, "decompose", "none.yaml", "--process-timeout", "0.1"], capture_output=True, text=True,
                            env=environment)
    return "no process groups" not in result.stderr


@unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
class Processes(ProgramTest):
    def start_two(self, *arguments, kind="torchrun"):
        """Two processes by environment variables alone: those of torchrun, or those of SLURM."""
        port = free_port()
        processes = []
        for rank in range(2):
            if kind == "torchrun":
                variables = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}
            else:
                variables = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_LOCALID": str(rank),
                             "SLURM_NODELIST": "localhost,other[1-2]"}
            processes.append(self.start(*arguments, "--threads", "1", environment={**variables, "MASTER_PORT": port}))
        return processes

    def run_two(self, *arguments, exit_code=0, kind="torchrun"):
        """What each of them said, after all ended with that exit code."""
        return [self.finish(process, exit_code) for process in self.start_two(*arguments, kind=kind)]

    def torchrun(self, *arguments):
        launcher = (TORCHRUN, "--nproc-per-node", "2", "--master-port", free_port(), "--no-python")
        return self.finish(self.start(*arguments, "--threads", "1", launcher=launcher))

    def assert_close(self, found, expected, tolerance, what):
        self.assertLessEqual(abs(found - expected), tolerance * max(abs(expected), 1e-6), f"{what}: {found} and {expected}")

    def assert_close_runs(self, left, right, step):
        """Equal up to the order of float32 sums."""
        ours, theirs = metrics(left), metrics(right)
        self.assertEqual([(entry["step"], sorted(entry)) for entry in ours], [(entry["step"], sorted(entry)) for entry in theirs])
        for entry, reference in zip(ours, theirs):
            for name, value in reference.items():
                # Counts of what passes a threshold change by whole entries.
                counted = "l0" in name or "saturated" in name
                loose = counted or "adversarial" in name or "grad_norm" in name or name.startswith("eval")
                self.assert_close(entry[name], value, 2e-3 if loose else 1e-4, f"step {entry['step']}, {name}")
        for file, tolerance in zip(CHECKPOINT, (1e-5, 1e-4, 2e-2)):
            a, b = (read_safetensors(run / "checkpoints" / f"step_{step:08d}" / file) for run in (left, right))
            self.assertEqual(sorted(a), sorted(b))
            for name, (dtype, shape, data) in b.items():
                self.assertEqual(a[name][:2], [dtype, shape], name)
                wanted, got = floats(data), floats(a[name][2])
                size = sum(x * x for x in wanted) ** 0.5
                error = sum((x - y) ** 2 for x, y in zip(got, wanted)) ** 0.5
                self.assertLessEqual(error, tolerance * size, f"{file}, {name}")

    def test_two_compute_what_one_does(self):
        config = self.configure(**CHANGES)
        one, two, by_torchrun = (self.root / name for name in ("one", "two", "by_torchrun"))
        self.run_program("decompose", config, "--out", one)
        (out, _), (silent, _) = self.run_two("decompose", config, "--out", two)
        self.assertIn("2, each with 2 of the 4 rows of a batch", out)
        self.assertEqual(silent, "")
        self.assert_close_runs(two, one, 10)
        self.assertEqual(json.loads((two / "provenance.json").read_text())["processes"], 2)
        self.assertEqual(json.loads((two / "checkpoints" / "latest" / "state.json").read_text())["processes"], 2)
        # However they are started: the same to the last bit.
        self.torchrun("decompose", config, "--out", by_torchrun)
        self.assert_same_run(by_torchrun, two, 10)

    def forget(self, run, step, name):
        """A copy of the run as it was before the checkpoint of that step."""
        copy = self.root / name
        shutil.copytree(run, copy, symlinks=True)
        shutil.rmtree(copy / "checkpoints" / f"step_{step:08d}")
        return copy

    def test_ten_and_ten_are_twenty(self):
        config = self.configure(**CHANGES, training__steps=20, training__faithfulness_warmup__steps=0)
        self.run_two("decompose", config, "--out", self.out, kind="slurm")
        with_two, with_one = (self.forget(self.out, 20, name) for name in ("with_two", "with_one"))
        (said, _), _ = self.run_two("decompose", "--resume", with_two)
        self.assertIn("resumed after 10 of 20 steps", said)
        self.assertNotIn("last bits", said)
        self.assert_same_run(with_two, self.out, 20)
        said, _ = self.run_program("decompose", "--resume", with_one)
        self.assertIn("with 2 processes of 1 × 1 threads, the run goes on on cpu with 2 × 1 threads", said)
        self.assert_close_runs(with_one, self.out, 20)

    def start_long_run(self, *arguments):
        """Two processes amid a run that would take hours."""
        config = self.configure(training__batch_size=4, training__steps=1000000, output__checkpoint_every=1000000)
        processes = self.start_two("decompose", config, "--out", self.out, *arguments)
        self.wait_until(lambda: len(lines(self.out / "metrics.jsonl")) >= 3, processes[0], "three lines of metrics")
        return processes

    def test_a_signal_to_one_stops_both_at_the_same_step(self):
        processes = self.start_long_run()
        processes[1].send_signal(signal.SIGTERM)
        (_, first), (_, second) = [self.finish(process, 130) for process in processes]
        self.assertIn(f"vpd decompose --resume {self.out}", first)
        self.assertIn("process 1 of 2: interrupted together with process 0", second)
        state = json.loads((self.out / "checkpoints" / "latest" / "state.json").read_text())
        self.assertEqual(json.loads(lines(self.out / "metrics.jsonl")[-1])["step"], state["step"] - 1)
        self.assertIn(f"interrupted after {state['step']} of", first)

    def test_one_that_dies_ends_the_other(self):
        for victim in (0, 1):
            shutil.rmtree(self.out, ignore_errors=True)
            processes = self.start_long_run()
            processes[victim].kill()
            _, err = self.finish(processes[1 - victim], 3)
            self.assertIn("another process of the run ended without a word", err)

    def test_one_that_hangs_ends_the_other(self):
        processes = self.start_long_run("--process-timeout", "2")
        processes[1].send_signal(signal.SIGSTOP)
        _, err = self.finish(processes[0], 3)
        self.assertIn("to the same exchange within 2", err)

    def refuse_two(self, exit_code, words, *arguments):
        """Process 0 says what is wrong, and process 1 that process 0 did."""
        (_, first), (_, second) = self.run_two(*arguments, exit_code=exit_code)
        self.assertTrue(first.startswith("vpd: error: "), first)
        self.assertTrue(second.startswith("vpd: error: process 1 of 2: process 0 failed: "), second)
        for word in words:
            self.assertIn(word, first)
            self.assertIn(word, second)

    def test_what_cannot_be_divided(self):
        self.refuse_two(2, ["training.batch_size", "multiple of the number of processes, which is 2", "found 3"], "decompose",
                        self.configure(), "--out", self.out)
        self.assertFalse(self.out.exists())
        config = self.configure(training__batch_size=12, training__micro_batch_size=4)
        self.refuse_two(2, ["training.micro_batch_size", "the 6 rows", "found 4"], "decompose", config, "--out", self.out)

    def test_a_failure_of_process_zero_alone(self):
        self.out.mkdir()
        (self.out / "notes.txt").write_text("mine")
        self.refuse_two(3, ["not empty"], "decompose", self.configure(training__batch_size=4), "--out", self.out)

    def test_two_that_were_meant_to_be_alone(self):
        """Tasks of one srun, each with a seed and a directory of its own."""
        config, port = self.configure(training__batch_size=4), free_port()
        processes = [self.start("decompose", config, "--set", f"seed={rank}", "--out", self.root / f"seed{rank}", "--threads", "1",
                                environment={"SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_LOCALID": str(rank),
                                             "SLURM_NODELIST": "localhost", "MASTER_PORT": port}) for rank in range(2)]
        said = [self.finish(process, 2)[1] for process in processes]
        for words in ("the options of process 0", "seed=0", "seed=1", "srun -n 1"):
            self.assertIn(words, said[1])
        self.assertFalse((self.root / "seed0").exists())

    def test_one_of_two_that_never_meet(self):
        variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        arguments = ("decompose", self.configure(), "--out", self.out, "--process-timeout", "1")
        _, err = self.finish(self.start(*arguments, environment=variables), 3)
        self.assertIn("expected all processes to meet at 127.0.0.1", err)
        _, err = self.finish(self.start(*arguments, environment={"RANK": "0"}), 2)
        self.assertIn("RANK and WORLD_SIZE together", err)


if __name__ == "__main__":
    unittest.main()
