"""A SLURM of the tests' own, and jobs in it. It lives in namespaces whose first process reads from this one (./cluster): whatever ends this
process, nothing of it stays."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "program"))
from support import PROGRAM, ProgramTest

ROOT = Path(os.environ.get("VPD_SOURCE_DIR", Path(__file__).parents[2]))
SBIN = {**os.environ, "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"}
NAMESPACES = ("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--net", "--uts", "sh", "-ec",
              "ip link add br0 type bridge; ip link add v0 type veth peer name v1; "
              "mount --bind /etc/hosts /etc/hosts; hostname n1; setpriv --clear-groups true")


def hindrance():
    """Why no SLURM can be started here, or None."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "srun", "sbatch", "ip", "unshare", "nsenter")
               if not shutil.which(name, path=SBIN["PATH"])]
    if missing:
        return f"{', '.join(missing)} not found; tools/test installs SLURM as root"
    if os.geteuid() != 0:
        return "starting a SLURM needs root"
    tried = subprocess.run(NAMESPACES, capture_output=True, text=True, env=SBIN, stdin=subprocess.DEVNULL)
    if tried.returncode:
        return f"namespaces, or what is done in them, are not allowed here: {tried.stderr.strip()}"
    return None


class Cluster:
    def __init__(self):
        self.process = subprocess.Popen([Path(__file__).with_name("cluster")], text=True, env=SBIN, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.entrance = self.process.stdout.readline().strip()
        if not self.entrance:
            self.stop()
            raise RuntimeError("no SLURM came up; what it said is above")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=120)
        self.process.stdout.close()

    def run(self, *command, **options):
        """Standard output of a command on the head machine."""
        result = subprocess.run([self.entrance, *map(str, command)], text=True, capture_output=True, timeout=120, **options)
        if result.returncode:
            raise RuntimeError(f"{command}: exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result.stdout

    def set(self, line):
        """One more line of slurm.conf; returns what takes it back."""
        conf = Path(self.entrance).with_name("slurm.conf")
        before = conf.read_text()

        def become(text):
            conf.write_text(text)
            self.run("scontrol", "reconfigure")

        become(before + line + "\n")
        return lambda: become(before)

    def log(self, lines=15):
        """The last lines of each daemon's log, but for those of a plugin for MPI that nobody needs."""
        said = ""
        for path in sorted((Path(self.entrance).parent / "log").glob("slurm*")):
            if path.suffix != ".out":
                kept = [line for line in path.read_text(errors="replace").splitlines() if "mpi" not in line.lower()]
                said += f"--- {path.name}:\n" + "\n".join(kept[-lines:]) + "\n"
        return said


class SlurmTest(ProgramTest):
    """A test has a directory as other tests of the program do; its jobs run there, and find `vpd` and `torchrun` on their PATH."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster()
        cls.addClassCleanup(cls.cluster.stop)

    def setUp(self):
        super().setUp()
        programs = self.root / "bin"
        programs.mkdir()
        (programs / "vpd").symlink_to(PROGRAM)
        (programs / "torchrun").symlink_to(ROOT / ".venv" / "bin" / "torchrun")
        self.environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        self.addCleanup(self.end_jobs)

    def end_jobs(self):
        """A test that failed may leave some."""
        end = time.monotonic() + 60
        while jobs := self.cluster.run("squeue", "-h", "-o", "%A").split():
            subprocess.run([self.cluster.entrance, "scancel", *jobs], capture_output=True)
            subprocess.run([self.cluster.entrance, "scancel", "--full", "--signal=KILL", *jobs], capture_output=True)
            if time.monotonic() > end:
                raise RuntimeError(f"jobs do not end: {jobs}")
            time.sleep(0.1)

    def submit(self, script, *options, directory=None):
        """The job's number. The script is the text of one, or what comes after its first line; what the job says goes to job-NUMBER.txt."""
        directory = directory or self.root
        text = script if script.startswith("#!") else "#!/bin/bash\n" + script
        (directory / "job.sh").write_text(text)
        options = ("--parsable", "--open-mode=append", "--output=job-%A.txt", *options)
        return self.cluster.run("sbatch", *options, "job.sh", cwd=directory, env=self.environment).strip()

    def tasks(self, job):
        """What SLURM knows of the job, one dictionary for each task of an array."""
        lines = self.cluster.run("scontrol", "show", "job", "-o", job).splitlines()
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]

    def states(self, job):
        return [task["JobState"] for task in self.tasks(job)]

    def wait_for(self, condition, what, every=0.1):
        end = time.monotonic() + 120
        while not condition():
            if time.monotonic() > end:
                self.fail(f"no {what} in two minutes\n{self.told()}")
            time.sleep(every)

    def told(self):
        """What jobs and SLURM said, for people who look for the cause of a failure."""
        said = "".join(f"--- {path.name}:\n{path.read_text(errors='replace')}" for path in sorted(self.root.rglob("job-*.txt")))
        return f"{said}{self.cluster.run('squeue')}{self.cluster.log()}"

    def said(self, job, directory=None):
        return ((directory or self.root) / f"job-{job}.txt").read_text()

    def has_ended(self, job):
        going = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "PREEMPTED")
        return not set(self.states(job)) & set(going)

    def wait_for_end(self, job, state="COMPLETED"):
        """All tasks of the job end, and in that state; returns what SLURM knows of the first."""
        self.wait_for(lambda: self.has_ended(job), f"end of job {job}")
        tasks = self.tasks(job)
        self.assertEqual({task["JobState"] for task in tasks}, {state}, self.told())
        return tasks[0]

    def wait_for_requeue(self, job):
        """The job waits to be started again; SLURM would let it wait longer, and must not start it in the second in which it ended."""
        queued = lambda: self.states(job) == ["PENDING"] and self.tasks(job)[0]["Restarts"] != "0"
        self.wait_for(lambda: queued() or self.has_ended(job), f"requeue of job {job}")
        self.assertTrue(queued(), self.told())
        self.cluster.run("scontrol", "update", "job", job, "StartTime=now+2")
