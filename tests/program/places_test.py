"""Where results go: file systems without links, mount points, directories that two programs want, names of every kind."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, ProgramTest, lines, write_safetensors, read_safetensors

# What a file system says that lacks something, put before the C library's own functions.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
static int refuses(const char* name) {
  const char* value = getenv(name);
  if (value) errno = atoi(value);
  return value != 0;
}
int symlink(const char* target, const char* path) {
  if (refuses("SHIM_SYMLINK")) return -1;
  return ((int (*)(const char*, const char*))dlsym(RTLD_NEXT, "symlink"))(target, path);
}
int fsync(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) == 0 && S_ISDIR(status.st_mode) && refuses("SHIM_FSYNC_DIRECTORY")) return -1;
  return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(descriptor);
}
"""


class Links(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.place = Path(tempfile.mkdtemp(prefix="vpd_shim_"))
        (cls.place / "shim.c").write_text(SHIM)
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("c++")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", cls.place / "shim.so", cls.place / "shim.c", "-ldl"], check=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.place)

    def shim(self, **errors):
        return {"LD_PRELOAD": str(self.place / "shim.so"), **{name: str(code) for name, code in errors.items()}}

    def test_a_file_system_without_links(self):
        for code in (1, 95, 38):  # EPERM, EOPNOTSUPP, ENOSYS
            with self.subTest(os.strerror(code)):
                shutil.rmtree(self.out, ignore_errors=True)
                config = self.configure(training__steps=6, output__checkpoint_every=2)
                process = self.start("decompose", config, "--out", self.out, environment=self.shim(SHIM_SYMLINK=code))
                out, _ = self.finish(process)
                self.assertEqual(out.count("warning:"), 1, out)
                self.assertIn("the one of the highest step", out)
                self.assertFalse(os.path.lexists(self.out / "checkpoints" / "latest"))
                out, _ = self.run_program("evaluate", self.out)
                self.assertIn("step_00000006", out)
                process = self.start("decompose", "--resume", self.out, environment=self.shim(SHIM_SYMLINK=code))
                self.finish(process)

    def test_a_file_system_that_flushes_no_directories(self):
        config = self.configure(training__steps=4, output__checkpoint_every=2)
        for code in (5, 22, 38, 9):  # EIO, EINVAL, ENOSYS, EBADF
            with self.subTest(os.strerror(code)):
                shutil.rmtree(self.out, ignore_errors=True)
                self.finish(self.start("decompose", config, "--out", self.out, environment=self.shim(SHIM_FSYNC_DIRECTORY=code)))

    def test_what_stands_in_the_links_place(self):
        config = self.configure(training__steps=6, output__checkpoint_every=2)
        self.run_program("decompose", config, "--out", self.out, "--set", "training.steps=6")
        link = self.out / "checkpoints" / "latest"
        for make in ("directory", "file", "stale link"):
            with self.subTest(make):
                other = self.root / make.replace(" ", "_")
                process = self.start("decompose", self.configure(training__steps=10**6, output__checkpoint_every=10**6), "--out", other)
                self.wait_until(lambda: len(lines(other / "metrics.jsonl")) >= 2, process, "two lines of metrics")
                link = other / "checkpoints" / "latest"
                if make == "directory":
                    shutil.copytree(self.out / "checkpoints" / "step_00000006", link)
                elif make == "file":
                    link.write_text("step_00000002")
                else:
                    link.symlink_to("step_00000002")
                process.terminate()
                self.finish(process, 130)
                saved = [path for path in (other / "checkpoints").glob("step_*")]
                self.assertEqual([os.readlink(link)], [path.name for path in saved])
                self.assertEqual((other / "checkpoints" / "latest.copy").exists(), make == "directory")
                # And where there is no way to make one, nothing stale remains.
                process = self.start("decompose", "--resume", other, environment=self.shim(SHIM_SYMLINK=1))
                self.wait_until(lambda: len(lines(other / "metrics.jsonl")) >= 40, process, "more lines of metrics")
                process.terminate()
                self.finish(process, 130)
                self.assertFalse(os.path.lexists(link))


class Outputs(ProgramTest):
    def pretraining(self, steps=20):
        config = self.root / "pretrain.json"
        config.write_text(json.dumps({
            "model": {"type": "tms", "n_features": 5, "n_hidden": 2},
            "data": {"train": {"type": "sparse_features", "probability": 0.05}},
            "training": {"steps": steps, "batch_size": 64, "learning_rate": {"start": 0.001}}, "log_every": 10}))
        return config

    MADE = ["metrics.jsonl", "model.safetensors", "model_config.json", "pretrain.json"]

    def test_two_programs_and_one_place(self):
        process = self.start("pretrain", self.pretraining(10**7), "--out", self.out)
        self.wait_until((self.out / ".tmp-work" / "metrics.jsonl").exists, process, "the first one's metrics")
        self.refuse(3, [str(self.out), "another program"], "pretrain", self.pretraining(20), "--out", self.out)
        process.terminate()
        self.finish(process, 130)
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), self.MADE)
        self.refuse(3, ["new or an empty directory"], "pretrain", self.pretraining(20), "--out", self.out)

    def test_a_mount_point(self):
        self.out.mkdir()
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.out], capture_output=True).returncode != 0:
            self.skipTest("NOT TESTED: mounting a tmpfs needs root")
        self.addCleanup(subprocess.run, ["umount", "-l", self.out])
        self.run_program("pretrain", self.pretraining(), "--out", self.out)
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), self.MADE)

    def test_an_empty_directory_that_is_there(self):
        self.out.mkdir()
        inode = self.out.stat().st_ino
        self.run_program("pretrain", self.pretraining(), "--out", self.out)
        self.assertEqual(self.out.stat().st_ino, inode)

    def test_what_a_killed_program_left(self):
        (self.out / ".tmp-work").mkdir(parents=True)
        (self.out / ".tmp-work" / "model.safetensors").write_text("half")
        self.run_program("pretrain", self.pretraining(), "--out", self.out)
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), self.MADE)

    def test_finished_work_is_never_deleted(self):
        process = self.start("pretrain", self.pretraining(10**7), "--out", self.out)
        work = self.out / ".tmp-work"
        self.wait_until((work / "metrics.jsonl").exists, process, "the first metrics")
        (self.out / "model_config.json").mkdir()  # in the way of a file
        (self.out / "model_config.json" / "x").write_text("")
        process.terminate()
        _, err = self.finish(process, 3)
        self.assertIn(str(work), err)
        self.assertTrue((work / "model.safetensors").exists())
        shutil.rmtree(self.out / "model_config.json")
        for name in ("metrics.jsonl", "pretrain.json"):
            (self.out / name).unlink(missing_ok=True)
        self.refuse(3, [str(work), "finished work"], "pretrain", self.pretraining(), "--out", self.out)
        self.assertTrue((work / "model.safetensors").exists())

    def test_a_mistake_leaves_nothing(self):
        self.refuse(2, ["model"], "pretrain", self.configure(), "--out", self.out)
        self.assertFalse(self.out.exists())

    def test_names_that_are_no_utf8(self):
        config = self.configure(training__steps=4, evaluation__final=True)
        out = os.fsencode(self.root) + b"/caf\xe9 \x1b[2J\nx"
        run = subprocess.run([PROGRAM, "decompose", config, "--out", out], cwd=self.root, capture_output=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertNotIn(b"\x1b", run.stdout)
        self.assertIn(b"caf\\xe9 \\x1b[2J\\nx", run.stdout)
        for name in ("provenance.json", "status.json", "evaluation.json"):
            json.loads(Path(os.fsdecode(out), name).read_text(encoding="utf-8"))
        for arguments in (["decompose", "--resume", out], ["evaluate", out, "--json", "-"]):
            run = subprocess.run([PROGRAM, *arguments], cwd=self.root, capture_output=True, timeout=60)
            self.assertEqual(run.returncode, 0, run.stderr)
        json.loads(run.stdout.decode("utf-8"))

    def test_the_command_to_go_on_can_be_pasted(self):
        out = self.root / "it's $HOME"
        process = self.start("decompose", self.configure(training__steps=10**6), "--out", out)
        _, err = self.interrupt(process, lambda: len(lines(out / "metrics.jsonl")) >= 2, "two lines of metrics")
        command = err[err.index("vpd decompose --resume"):].strip()
        found = subprocess.run(["bash", "-c", f'vpd() {{ printf "%s\\n" "$@"; }}; {command}'], capture_output=True, text=True)
        self.assertEqual(found.stdout.splitlines(), ["decompose", "--resume", str(out)])


class ReadOnly(ProgramTest):
    def test_a_run_that_may_only_be_read(self):
        self.run_program("decompose", self.configure(training__steps=3), "--out", self.out)
        place = self.root / "figures.json"
        if os.geteuid() == 0:
            if subprocess.run(["mount", "--bind", self.out, self.out], capture_output=True).returncode != 0:
                self.skipTest("NOT TESTED: a mount that may only be read needs the right to mount")
            self.addCleanup(subprocess.run, ["umount", "-l", self.out])
            subprocess.run(["mount", "-o", "remount,bind,ro", self.out], check=True)
        else:
            self.out.chmod(0o500)
            self.addCleanup(self.out.chmod, 0o700)
        out, err = self.run_program("evaluate", self.out, "--json", place)
        self.assertIn("l0/total", out)
        self.assertIn("warning: the figures are kept nowhere but here", err)
        self.assertIn("l0/total", json.loads(place.read_text())["metrics"])

    def test_inputs_that_changed(self):
        self.run_program("decompose", self.configure(training__steps=3), "--out", self.out)
        (self.root / "other.npy").write_bytes((self.root / "train.npy").read_bytes())
        self.run_program("evaluate", self.out, "--set", f"data.eval.path={self.root}/other.npy")
        kept = (self.root / "eval.npy").read_bytes()
        (self.root / "eval.npy").write_bytes((self.root / "train.npy").read_bytes())
        self.refuse(3, ["eval.npy", "changed since"], "evaluate", self.out)
        (self.root / "eval.npy").write_bytes(kept)
        self.run_program("evaluate", self.out)
        path = self.root / "target" / "model.safetensors"
        tensors = read_safetensors(path)
        first = next(iter(tensors.values()))
        first[2] = bytes([first[2][0] ^ 1]) + first[2][1:]
        write_safetensors(path, tensors)
        self.refuse(3, [str(path), "changed since"], "evaluate", self.out)


if __name__ == "__main__":
    unittest.main()
