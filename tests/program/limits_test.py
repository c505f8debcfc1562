"""Memory, cores and threads are bounded by what this process was given: by control groups, limits, SLURM and the command line."""

import json
import os
import resource
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, ProgramTest

# What a test of limits must not inherit.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMP_NUM_THREADS", "MKL_NUM_THREADS"))}


class ControlGroup:
    """A group below this process's own in the hierarchy of a controller, of either version; `made` says why there is none."""

    def __init__(self, controller):
        self.path, self.made, self.unified = None, "", False
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        for mount in mounts:
            kind, options = mount[mount.index("-") + 1], mount[mount.index("-") + 3].split(",")
            if kind == "cgroup" and controller in options:
                own = next(path for _, names, path in groups if controller in names.split(","))
            elif kind == "cgroup2" and controller in Path(mount[4], "cgroup.controllers").read_text().split():
                own, self.unified = "/", True
            else:
                continue
            try:
                parent = Path(mount[4] + own)
                if self.unified:
                    (parent / "cgroup.subtree_control").write_text(f"+{controller}")
                self.path = parent / f"vpd_test_{os.getpid()}_{controller}"
                self.path.mkdir()
                return
            except OSError as error:
                self.path, self.made = None, f"cannot make a control group: {error}"
        self.made = self.made or f"no hierarchy with the controller {controller} is mounted"

    def set(self, name, value):
        (self.path / name).write_text(str(value))

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        end = time.monotonic() + 10
        while self.path and self.path.exists():
            try:
                self.path.rmdir()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)


class Limits(ProgramTest):
    def check(self, *arguments, prepare=None, exit_code=0, **environment):
        """What `vpd check` says of the demo-sized run, as text and as JSON."""
        report = self.root / "report.json"
        process = subprocess.run([PROGRAM, "check", self.configure(), "--json", report, *map(str, arguments)], cwd=self.root, text=True,
                                 capture_output=True, preexec_fn=prepare, env={**PLAIN, **environment})
        self.assertEqual(process.returncode, exit_code, process.stderr)
        return process.stdout, json.loads(report.read_text())

    def group(self, controller):
        group = ControlGroup(controller)
        self.addCleanup(group.remove)
        if not group.path:
            self.skipTest(group.made)
        return group

    def test_memory_of_a_control_group(self):
        group = self.group("memory")
        try:
            group.set("memory.max" if group.unified else "memory.limit_in_bytes", 2**30)
        except OSError as error:
            self.skipTest(f"cannot set a limit: {error}")
        text, report = self.check("--threads", 1, prepare=group.enter)
        self.assertIn("that the control group leaves", text)
        self.assertTrue(2**28 < report["memory_available"] <= 2**30, report["memory_available"])
        self.assertTrue(report["fits"])
        # What would fit into the machine's memory does not fit into this.
        large = ["--set", "causal_importance.d_model=1024", "--set", "causal_importance.d_mlp=32768"]
        text, report = self.check("--threads", 1, *large, prepare=group.enter)
        self.assertGreater(report["memory_total"], 2**30)
        self.assertIn("training DOES NOT FIT", text)
        self.assertRegex(text, r"of 1 GiB that the control group leaves|of \d+ MiB that the control group leaves")

    def test_cores_of_a_control_group(self):
        group = self.group("cpu")
        try:
            if group.unified:
                group.set("cpu.max", "50000 100000")
            else:
                group.set("cpu.cfs_period_us", 100000)
                group.set("cpu.cfs_quota_us", 50000)
        except OSError as error:
            self.skipTest(f"cannot set a quota: {error}")
        text, report = self.check(prepare=group.enter)
        self.assertEqual((report["threads"], report["lanes"]), (1, 1))
        if os.cpu_count() > 1:
            self.assertIn("1 thread, no more because of the control group's CPU quota of 0.5", text)
        self.assertEqual(self.check("--threads", 2, prepare=group.enter)[1]["lanes"], 2)  # who asks for two gets two

    def test_processes_of_a_control_group(self):
        group = self.group("pids")
        group.set("pids.max", 8)
        self.assertLessEqual(self.check(prepare=group.enter)[1]["threads"], 4)
        process = subprocess.run([PROGRAM, "check", self.configure(), "--threads", "32"], cwd=self.root, text=True, capture_output=True,
                                 preexec_fn=group.enter, env=PLAIN)
        self.assertEqual(process.returncode, 2)
        self.assertIn("the control group leaves no more (pids.max)", process.stderr)

    def test_an_affinity_mask(self):
        first = min(os.sched_getaffinity(0))
        self.assertEqual(self.check(prepare=lambda: os.sched_setaffinity(0, {first}))[1]["threads"], 1)

    def test_a_limit_on_the_address_space(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, 8 * 2**30))

        text, report = self.check("--threads", 1, prepare=limit)
        if report["memory_available"] > 8 * 2**30:
            self.fail(report["memory_available"])
        if "(ulimit -v)" not in text:  # on a machine that has less than that
            self.assertRegex(text, "of .* available")

    def test_a_slurm_job(self):
        text, report = self.check("--threads", 1, SLURM_JOB_ID="7", SLURM_MEM_PER_NODE="1024")
        self.assertIn("of 1 GiB that the SLURM job was given", text)
        self.assertEqual(report["memory_available"], 2**30)
        self.assertEqual(self.check(SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK="1")[1]["threads"], 1)

    def test_openmp(self):
        self.assertEqual(self.check(OMP_NUM_THREADS="1")[1]["threads"], 1)
        self.assertLessEqual(self.check(OMP_NUM_THREADS="5000")[1]["threads"], os.cpu_count())

    def test_nothing_bounds_where_nothing_does(self):
        text, report = self.check()
        if "available" not in text.split("training fits")[1]:
            self.skipTest("this machine bounds its processes")
        self.assertNotIn("memory_available_giver", report)
        self.assertNotIn("threads_bound", report)

    def test_threads_beyond_all_sense_are_not_started(self):
        self.configure()
        for threads in ("1000000", "100000", "99999999999999999999999"):
            for arguments in (["check", "config.json"], ["decompose", "config.json", "--out", self.out], ["evaluate", "run"],
                              ["pretrain", "config.json", "--out", self.out], ["selftest"]):
                with self.subTest(arguments[0], threads=threads):
                    self.refuse(2, ["--threads", "expected at most", "found"], *arguments, "--threads", threads)
        self.assertFalse(self.out.exists())


if __name__ == "__main__":
    unittest.main()
