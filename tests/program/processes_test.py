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
from support import CHECKPOINT, CONFIG, PROGRAM, ProgramTest, floats, lines, metrics, read_safetensors, write_shard

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


def torchrun_variables(rank):
    return {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"}


def batch_script_variables(job="42"):
    """What SLURM sets in a batch script with --nodes=2 --ntasks=2."""
    return {"SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "other[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_LOCALID": "0", "SLURM_NNODES": "2",
            "SLURM_NODEID": "0", "SLURM_NODELIST": "other[1-2]", "SLURM_NPROCS": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "0",
            "SLURM_TASKS_PER_NODE": "1(x2)", "SLURM_TOPOLOGY_ADDR": "other1"}


def slurm_variables(rank, job="42"):
    """And in a task of `srun -N1 -n2` in it, on a machine that is not the first of the job."""
    return {**batch_script_variables(job), "SLURM_LOCALID": str(rank), "SLURM_NNODES": "1", "SLURM_PROCID": str(rank),
            "SLURM_STEPID": "0", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1",
            "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_TASKS_PER_NODE": "2"}


def has_process_groups():
    """A build without Gloo's headers says so, at once and in one sentence."""
    environment = {**os.environ, "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    result = subprocess.run([PROGRAM, "decompose", "none.yaml", "--process-timeout", "0.1"], capture_output=True, text=True,
                            env=environment)
    return "no process groups" not in result.stderr


@unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
class Processes(ProgramTest):
    def start_two(self, *arguments, variables=torchrun_variables, port=None):
        """Two processes by environment variables alone: those of torchrun, or those of SLURM."""
        port = port or free_port()
        return [self.start(*arguments, "--threads", "1", environment={**variables(rank), "MASTER_PORT": port}) for rank in range(2)]

    def run_two(self, *arguments, exit_code=0, variables=torchrun_variables):
        """What each of them said, after all ended with that exit code."""
        return [self.finish(process, exit_code) for process in self.start_two(*arguments, variables=variables)]

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
        self.run_two("decompose", config, "--out", self.out, variables=slurm_variables)
        with_two, with_one = (self.forget(self.out, 20, name) for name in ("with_two", "with_one"))
        (said, _), _ = self.run_two("decompose", "--resume", with_two)
        self.assertIn("resumed after 10 of 20 steps", said)
        self.assertNotIn("last bits", said)
        self.assert_same_run(with_two, self.out, 20)
        said, _ = self.run_program("decompose", "--resume", with_one)
        self.assertIn("with 2 processes of 1 × 1 threads, the run goes on on cpu with 2 × 1 threads", said)
        self.assert_close_runs(with_one, self.out, 20)

    def start_long_run(self, *arguments, **how):
        """Two processes amid a run that would take hours."""
        config = self.configure(training__batch_size=4, training__steps=1000000, output__checkpoint_every=1000000)
        processes = self.start_two("decompose", config, "--out", self.out, *arguments, **how)
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
        for victim in (0, 1):
            shutil.rmtree(self.out, ignore_errors=True)
            processes = self.start_long_run("--process-timeout", "2")
            processes[victim].send_signal(signal.SIGSTOP)
            _, err = self.finish(processes[1 - victim], 3)
            self.assertIn("to the same exchange within 2", err)

    def stop_soon(self, processes, *asked):
        """SIGTERM to processes of these numbers; all end within seconds, and say that they were interrupted."""
        for number in asked:
            processes[number].send_signal(signal.SIGTERM)
        begin = time.monotonic()
        said = [self.finish(process, 130)[1] for process in processes]
        self.assertLess(time.monotonic() - begin, 15)  # seconds on a busy machine, where tenths are expected
        return said

    def test_a_signal_cuts_an_evaluation_short(self):
        config = self.configure(training__batch_size=4, training__steps=4, evaluation__every=2,
                                evaluation__metrics=[{"type": "pgd", "name": "pgd", "steps": 10_000_000}])
        for asked in ((0, 1), (0,), (1,)):
            shutil.rmtree(self.out, ignore_errors=True)
            processes = self.start_two("decompose", config, "--out", self.out)
            self.wait_until(lambda: len(lines(self.out / "metrics.jsonl")) == 2, processes[0], "two lines of metrics")
            time.sleep(0.3)  # to the evaluation, which says nothing at its beginning
            first, second = self.stop_soon(processes, *asked)
            self.assertIn("interrupted after 2 of 4 steps, which are saved", first)
            self.assertIn("process 1 of 2: interrupted together with process 0", second)
            state = json.loads((self.out / "checkpoints" / "latest" / "state.json").read_text())
            self.assertEqual(state["step"], 2)

    def test_a_signal_in_the_warm_up(self):
        config = self.configure(training__batch_size=4, training__faithfulness_warmup__steps=1000000)
        processes = self.start_two("decompose", config, "--out", self.out)
        self.wait_until(lambda: any("warm-up" in line for line in lines(self.out / "log.txt")), processes[0], "the warm-up")
        first, _ = self.stop_soon(processes, 1)
        self.assertIn("interrupted in the faithfulness warm-up", first)

    def test_a_signal_while_tokens_are_checked(self):
        """Process 1 waits for process 0, which reads a file of zeros that would take it long."""
        tokens = 1_000_000_000
        write_shard(self.root / "long.bin", [0], count=tokens)
        os.truncate(self.root / "long.bin", 1024 + 2 * tokens)
        config = self.configure(training__batch_size=4, data__train__path="long.bin")
        for asked in ((0, 1), (0,), (1,)):
            processes = self.start_two("decompose", config, "--out", self.out)
            maps = [Path(f"/proc/{process.pid}/maps") for process in processes]
            self.wait_until(lambda: all("long.bin" in places.read_text() for places in maps), processes[0], "the tokens")
            time.sleep(0.2)
            first, second = self.stop_soon(processes, *asked)
            if 0 in asked:
                self.assertIn("reading the tokens was interrupted", first)
            if 1 not in asked:
                self.assertIn("ended together with process 0, which said: reading the tokens was interrupted", second)
            if 0 not in asked:
                self.assertIn("ended together with process 1, which said: interrupted before training began", first)
            self.assertFalse(self.out.exists())

    def test_a_signal_while_the_others_are_waited_for(self):
        for rank in (0, 1):
            process = self.start("decompose", self.configure(), "--out", self.out,
                                 environment={**torchrun_variables(rank), "MASTER_PORT": free_port()})
            time.sleep(1.5)
            said, = self.stop_soon([process], 0)
            self.assertIn(f"process {rank} of 2: interrupted while it waited for the other processes", said)
        self.assertFalse(self.out.exists())

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
                                environment={**slurm_variables(rank), "MASTER_PORT": port}) for rank in range(2)]
        said = [self.finish(process, 2)[1] for process in processes]
        for words in ("the options of process 0", "seed=0", "seed=1", "--alone"):
            self.assertIn(words, said[1])
        self.assertFalse((self.root / "seed0").exists())

    def test_one_process_alone(self):
        """In a batch script without srun, and where a task of two starts a program of its own."""
        config = self.configure()
        said, _ = self.finish(self.start("decompose", config, "--out", self.root / "script", environment=batch_script_variables()))
        self.assertNotIn("processes", said)
        for number, variables in enumerate((slurm_variables(1), torchrun_variables(1))):
            run = self.root / f"alone{number}"
            said, _ = self.finish(self.start("decompose", config, "--out", run, "--alone", environment=variables))
            self.assertIn("finished 10 steps", said)
            self.assert_same_run(run, self.root / "script", 10)

    def test_one_of_two_that_never_meet(self):
        variables = {**torchrun_variables(0), "MASTER_PORT": free_port()}
        arguments = ("decompose", self.configure(), "--out", self.out, "--process-timeout", "1")
        _, err = self.finish(self.start(*arguments, environment=variables), 3)
        self.assertIn("expected all processes to meet at 127.0.0.1", err)
        self.assertIn("process 1 did not come", err)
        _, err = self.finish(self.start(*arguments, environment={"RANK": "0"}), 2)
        self.assertIn("RANK and WORLD_SIZE together", err)

    def test_a_name_that_leads_nowhere(self):
        begin = time.monotonic()
        variables = {**slurm_variables(1), "SLURM_STEP_NODELIST": "no-such-machine.invalid"}
        _, err = self.finish(self.start("decompose", self.configure(), "--out", self.out, environment=variables), 3)
        self.assertLess(time.monotonic() - begin, 40)
        for words in ("process 1 of 2", "MASTER_ADDR", "no-such-machine.invalid", "--alone"):
            self.assertIn(words, err)

    def test_two_jobs_with_one_port(self):
        """The second ends with sentences, and the first goes on."""
        port = free_port()
        for first_kind, second_kind in ((slurm_variables, lambda rank: slurm_variables(rank, "667")), (torchrun_variables, torchrun_variables)):
            shutil.rmtree(self.out, ignore_errors=True)
            first = self.start_long_run(variables=first_kind, port=port)
            second = self.start_two("decompose", self.configure(training__batch_size=4), "--out", self.root / "second",
                                    variables=second_kind, port=port)
            begin = time.monotonic()
            for process in second:
                _, err = self.finish(process, 3)
                self.assertIn("MASTER_PORT of its own", err)
            self.assertLess(time.monotonic() - begin, 30)
            self.assertFalse((self.root / "second").exists())
            self.stop_soon(first, 0)

    def test_restarts_by_torchrun(self):
        """Attempts share torchrun's store, and so do programs that one attempt calls one after the other."""
        config = self.configure(training__batch_size=4, training__steps=2)
        command = f'"{PROGRAM}" decompose "{config}" --threads 1 --out "{self.root}"'
        script = f'if [ $TORCHELASTIC_RESTART_COUNT = 0 ]; then {command}/a; exit 1; else {command}/b && {command}/c; fi'
        launcher = [TORCHRUN, "--nproc-per-node", "2", "--max-restarts", "1", "--master-port", free_port(), "--no-python"]
        result = subprocess.run([*map(str, launcher), "bash", "-c", script], cwd=self.root, capture_output=True, text=True, timeout=300)
        self.assertEqual(result.returncode, 0, result.stderr)
        for name in "bc":
            self.assert_same_run(self.root / name, self.root / "a", 2)


if __name__ == "__main__":
    unittest.main()
