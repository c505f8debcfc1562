"""Runs as jobs of a real SLURM with two machines: the scripts of docs/clusters.md as they stand there, and what that page promises."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import cluster
from cluster import ROOT, SlurmTest
from processes_test import has_process_groups
from support import WEIGHTS, lines

PAGE = (ROOT / "docs" / "clusters.md").read_text()
SCRIPTS = {re.search(r"^# (\S+\.sh)$", text, re.MULTILINE)[1]: text
           for text in re.findall(r"^```bash\n(#!.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)}

JQ = re.findall(r"^```bash\n(jq .*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
HINDRANCE = cluster.hindrance()


def status(run):
    path = run / "status.json"
    return json.loads(path.read_text()) if path.exists() else {}


def processes(**variables):
    """Paths in /proc of the processes that have these variables in their environment."""
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if wanted <= set((place / "environ").read_bytes().split(b"\0")):
                found.append(place)
        except OSError:
            pass  # it has ended
    return found


@unittest.skipIf(HINDRANCE, f"NOT TESTED: {HINDRANCE}")
class Slurm(SlurmTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.root / "runs" / "my_run"

    def configure_run(self, name="my_run.yaml", **changes):
        """With paths that hold in any directory, for two processes, and a checkpoint now and then."""
        inputs = {"target__path": str(self.root / "target"), "data__train__path": str(self.root / "train.npy"),
                  "data__eval__path": str(self.root / "eval.npy")}
        return self.configure(name, **{**inputs, "training__batch_size": 4, "output__checkpoint_every": 20, **changes})

    step_seconds = None  # of one process at its quickest, measured once

    def steps_of(self, seconds):
        """Steps that take one process at least that time."""
        if not Slurm.step_seconds:
            config = self.configure_run("measured.yaml", training__steps=30)
            self.run_program("decompose", config, "--out", self.root / "measured", "--threads", "1")
            entries = [json.loads(line) for line in lines(self.root / "measured" / "metrics.jsonl")]
            Slurm.step_seconds = min(entry["perf/step_ms"] for entry in entries if "perf/step_ms" in entry) / 1000
        return max(40, int(seconds / Slurm.step_seconds))

    def wait_for_steps(self, steps, run=None):
        metrics = (run or self.run_directory) / "metrics.jsonl"
        self.wait_for(lambda: len(lines(metrics)) >= steps, f"{steps} lines in {metrics}", every=0.01)

    def assert_done(self, run, steps):
        said = status(run)
        self.assertEqual([said.get(key) for key in ("state", "step", "steps", "exit_code")], ["done", steps, steps, 0], self.told())

    def assert_interrupted(self, run, steps):
        """Between its beginning and its end, and with what it had learned saved; returns the step."""
        said = status(run)
        self.assertEqual([said.get(key) for key in ("state", "steps", "exit_code")], ["interrupted", steps, 130], self.told())
        self.assertTrue(0 < said["step"] < steps, said)
        self.assertTrue((run / "checkpoints" / f"step_{said['step']:08d}" / "state.json").exists())
        return said["step"]

    def test_nothing_outlives_a_test_that_is_killed(self):
        program = "import cluster; print(cluster.Cluster().entrance, flush=True); input()"
        test = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)})
        self.addCleanup(test.communicate)
        entrance = Path(test.stdout.readline().strip())
        subprocess.run([entrance, "sbatch", "--wrap", "touch began; exec sleep 1000"], check=True, capture_output=True, cwd=self.root)
        self.wait_for((self.root / "began").exists, "start of a job")
        conf = str(entrance.with_name("slurm.conf"))
        self.assertGreaterEqual(len(processes(SLURM_CONF=conf)), 5)  # the daemons and the job
        test.kill()
        self.wait_for(lambda: not processes(SLURM_CONF=conf) and not entrance.parent.exists(), "end of all that was started")

    def test_the_scripts_of_the_page(self):
        self.assertEqual(sorted(SCRIPTS), ["one_run.sh", "sweep.sh", "two_machines.sh", "with_torchrun.sh", "without_srun.sh"])
        self.assertEqual(len(JQ), 1)

    def test_a_warning_and_the_queue_again(self):
        """SIGUSR1, as SLURM sends it before the time limit."""
        steps = self.steps_of(seconds=2)
        self.configure_run(training__steps=steps)
        job = self.submit(SCRIPTS["one_run.sh"])
        self.wait_for_steps(5)
        self.cluster.run("scancel", "--signal=USR1", job)
        self.wait_for_requeue(job)
        step = self.assert_interrupted(self.run_directory, steps)
        self.wait_for_end(job)
        self.assert_done(self.run_directory, steps)
        self.assertIn(f"resumed after {step} of {steps} steps", (self.run_directory / "log.txt").read_text())

    def test_queued_again_for_its_exit_code(self):
        self.addCleanup(self.cluster.set("RequeueExit=130"))
        steps = self.steps_of(seconds=2)
        self.configure_run(training__steps=steps)
        job = self.submit(SCRIPTS["without_srun.sh"])
        self.wait_for_steps(5)
        self.cluster.run("scancel", "--batch", "--signal=USR1", job)
        self.wait_for_requeue(job)
        self.assert_interrupted(self.run_directory, steps)
        self.wait_for_end(job)
        self.assert_done(self.run_directory, steps)

    def test_a_sweep(self):
        self.configure_run(training__steps=4)
        self.wait_for_end(self.submit(SCRIPTS["sweep.sh"]))
        runs = sorted((self.root / "runs").iterdir())
        self.assertEqual([run.name for run in runs], [f"seed_{seed}_minimality_{c}" for seed in (0, 1) for c in ("1e-4", "4e-4")])
        for run in runs:
            self.assert_done(run, 4)
        weights = {(run / "checkpoints" / "latest" / WEIGHTS[0]).read_bytes() for run in runs}
        self.assertEqual(len(weights), 4, "each has a seed or a coefficient of its own")
        if shutil.which("jq"):
            told = subprocess.run(["bash", "-ec", JQ[0]], cwd=self.root, capture_output=True, text=True, check=True).stdout
            self.assertEqual([line.split("\t")[:3] for line in told.splitlines()],
                             [[f"runs/{run.name}/status.json", "done", "4/4"] for run in runs])

    @unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
    def test_preempted_on_two_machines(self):
        """The job that takes the machines is the same run, which nothing interrupts."""
        steps, whole = self.steps_of(seconds=2.5), self.root / "whole"
        whole.mkdir()
        for name in ("my_run.yaml", whole / "my_run.yaml"):
            self.configure_run(name, training__steps=steps)
        script, options = SCRIPTS["two_machines.sh"], ("--ntasks-per-node=1", "--exclusive")
        job = self.submit(script, *options)
        self.wait_for_steps(5)
        other = self.submit(script, *options, "--partition=high", directory=whole)
        self.wait_for_requeue(job)
        step = self.assert_interrupted(self.run_directory, steps)
        self.wait_for_end(other)
        self.wait_for_end(job)
        self.assert_done(self.run_directory, steps)
        self.assertIn(f"resumed after {step} of {steps} steps", (self.run_directory / "log.txt").read_text())
        self.assertEqual(json.loads((self.run_directory / "provenance.json").read_text())["processes"], 2)
        self.assert_same_run(self.run_directory, whole / "runs" / "my_run", steps)

    @unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
    def test_cancelled_amid_an_evaluation_of_two(self):
        """An attack that would take hours: the job ends of itself, before SLURM kills it, and does not come back."""
        self.configure_run(training__steps=4, evaluation__every=2, output__checkpoint_every=1000,
                           evaluation__metrics=[{"type": "pgd", "name": "pgd", "steps": 10_000_000}])
        job = self.submit(SCRIPTS["two_machines.sh"], "--ntasks-per-node=1")
        self.wait_for_steps(2)
        self.cluster.run("scancel", job)
        task = self.wait_for_end(job, "CANCELLED")
        self.assertEqual(task["Restarts"], "0")
        self.assertEqual(self.assert_interrupted(self.run_directory, 4), 2)

    @unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
    def test_torchrun(self):
        """A signal to torchrun saves, and the job is queued again; a process that dies is started again with the others."""
        steps = self.steps_of(seconds=3)
        self.configure_run(training__steps=steps)
        job = self.submit(SCRIPTS["with_torchrun.sh"], "--gpus-per-node=2")
        self.wait_for_steps(5)
        self.cluster.run("scancel", "--signal=TERM", job)
        self.wait_for_requeue(job)
        step = self.assert_interrupted(self.run_directory, steps)
        self.wait_for_steps(step + 5)
        (victim,) = processes(SLURM_JOB_ID=job, RANK=1)
        os.kill(int(victim.name), signal.SIGKILL)
        self.wait_for_end(job)
        self.assert_done(self.run_directory, steps)
        self.assertEqual((self.run_directory / "log.txt").read_text().count("resumed after"), 2)

    def test_a_torchrun_that_fails_is_not_queued_again(self):
        """An interruption that status.json tells of may be that of the start before."""
        (self.root / "bin" / "torchrun").unlink()
        (self.root / "bin" / "torchrun").symlink_to("/bin/false")
        self.run_directory.mkdir(parents=True)
        (self.run_directory / "status.json").write_text('{\n "state": "interrupted"\n}\n')
        task = self.wait_for_end(self.submit(SCRIPTS["with_torchrun.sh"]), "FAILED")
        self.assertEqual((task["ExitCode"], task["Restarts"]), ("1:0", "0"))

    @unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
    def test_a_step_on_the_second_machine(self):
        self.configure_run(training__steps=4)
        self.wait_for_end(self.submit("srun -N 1 -n 2 -w n2 vpd decompose my_run.yaml --out runs/my_run --process-timeout 30",
                                      "--nodes=2", "--ntasks-per-node=2"))
        self.assert_done(self.run_directory, 4)
        self.assertEqual(status(self.run_directory)["host"], "n2")
        self.assertEqual(json.loads((self.run_directory / "provenance.json").read_text())["processes"], 2)

    @unittest.skipUnless(has_process_groups(), "NOT TESTED: this build has no process groups")
    def test_steps_side_by_side(self):
        self.configure_run(training__steps=4)
        each = "srun --exact -n 2 vpd decompose my_run.yaml --set seed={0} --out runs/{0} --process-timeout 30 &\nsteps+=($!)\n"
        script = each.format(0) + each.format(1) + 'wait "${steps[0]}" && wait "${steps[1]}"'
        self.wait_for_end(self.submit(script, "--ntasks=4"))
        for seed in (0, 1):
            self.assert_done(self.root / "runs" / str(seed), 4)
            provenance = json.loads((self.root / "runs" / str(seed) / "provenance.json").read_text())
            self.assertEqual((provenance["seed"], provenance["processes"]), (seed, 2))

    def test_a_plain_line_of_a_batch_script(self):
        """It has the variables of the job's tasks, but is none of them."""
        self.configure_run(training__steps=4)
        self.wait_for_end(self.submit("vpd decompose my_run.yaml --out runs/my_run", "--ntasks=2"))
        self.assertEqual(json.loads((self.run_directory / "provenance.json").read_text())["processes"], 1)

    def test_tasks_that_are_runs_of_their_own(self):
        self.configure_run(training__steps=4)
        self.wait_for_end(self.submit(
            "srun -n 2 bash -c 'vpd decompose my_run.yaml --alone --set seed=$SLURM_PROCID --out runs/$SLURM_PROCID'", "--ntasks=2"))
        for seed in (0, 1):
            self.assert_done(self.root / "runs" / str(seed), 4)


if __name__ == "__main__":
    if HINDRANCE:
        print(f"NOT TESTED: {HINDRANCE}", flush=True)
    unittest.main()
