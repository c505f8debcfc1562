"""What takes long says what it is at: on a terminal at once, elsewhere on standard error after two seconds; and what is secondary
ends nothing."""

import json
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import DATA, PROGRAM, ProgramTest


class Activity(ProgramTest):
    def on_a_terminal(self, *arguments):
        """Standard error as a terminal shows it, and standard output."""
        here, there = pty.openpty()
        said = []

        def read():
            try:
                while part := os.read(here, 4096):
                    said.append(part)
            except OSError:  # the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        process = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.root, stdout=subprocess.PIPE, stderr=there, text=True)
        os.close(there)
        reader.join()
        os.close(here)
        self.assertEqual(process.returncode, 0, b"".join(said))
        return b"".join(said).decode(), process.stdout

    def test_every_command_says_what_it_is_at(self):
        config = self.configure(training__steps=1)
        self.run_program("decompose", config, "--out", self.out)
        for arguments, words in ((["check", config], ["checking data.train", "checking data.eval"]),
                                 (["evaluate", self.out], ["reading the target", "reading the checkpoint", "measuring batch 1 of 1"]),
                                 (["inspect", "train.npy"], ["reading the tokens"]),
                                 (["check-health", self.out], ["metrics.jsonl"])):
            with self.subTest(arguments[0]):
                said, out = self.on_a_terminal(*arguments)
                for word in words:
                    self.assertIn(word, said)
                self.assertTrue(said.endswith("\r\x1b[K"), said)  # nothing of it stays
                self.assertNotIn("\x1b", out)
                self.assertNotIn("reading", out)

    def test_imports_say_it_too(self):
        source = DATA / "import" / "run"
        self.assertTrue(source.exists(), "the files of import_test.py")
        said, _ = self.on_a_terminal("import", source, "--out", self.out)
        for word in ("reading", "writing"):
            self.assertIn(word, said)

    def test_elsewhere_only_what_lasts(self):
        self.run_program("decompose", self.configure(training__steps=1), "--out", self.out)
        _, err = self.run_program("check-health", self.out)
        self.assertEqual(err, "")
        attack = [{"type": "pgd", "name": "long", "steps": 10**6}]
        process = self.start("evaluate", self.out, "--set", f"evaluation.metrics={json.dumps(attack)}")
        begin = time.monotonic()
        line = process.stderr.readline()
        self.assertGreater(time.monotonic() - begin, 1.5)
        self.assertEqual(line, "vpd: measuring batch 1 of 1\n")
        process.terminate()
        self.finish(process, 130)


class Secondary(ProgramTest):
    def test_the_table_comes_before_the_file(self):
        """A full disk under --json takes nothing of what was found."""
        config = self.configure(training__steps=1)
        self.run_program("decompose", config, "--out", self.out)
        for arguments, word in ((["check", config], "training fits"), (["check-health", self.out], "verdict"),
                                (["inspect", "train.npy"], "first tokens"), (["evaluate", self.out], "l0/total")):
            with self.subTest(arguments[0]):
                out, err = self.run_program(*arguments, "--json", "/dev/full", exit_code=3)
                self.assertIn(word, out)
                self.assertIn("/dev/full", err)

    def test_health_without_a_readable_checkpoint(self):
        self.run_program("decompose", self.configure(), "--out", self.out)
        whole, _ = self.run_program("check-health", self.out)
        weights = self.out / "checkpoints" / "step_00000010" / "decomposition.safetensors"
        for damage in (lambda: weights.write_bytes(weights.read_bytes()[:100]), weights.unlink):
            damage()
            out, err = self.run_program("check-health", self.out, "--json", self.root / "health.json")
            causes = lambda table: [line.split()[0] for line in table.splitlines() if line[:1].strip()]
            self.assertEqual(causes(out), causes(whole))
            self.assertIn("warning: ", err)
            self.assertIn("decomposition.safetensors", err)
            self.assertIn("decomposition.safetensors", json.loads((self.root / "health.json").read_text())["warnings"][0])


@unittest.skipUnless(os.geteuid() == 0, "needs root, to become another user to whom a directory is locked")
class LockedDirectory(ProgramTest):
    def setUp(self):
        super().setUp()
        self.root.chmod(0o777)
        self.locked = self.root / "locked"
        self.locked.mkdir()
        shutil.copytree(self.root / "target", self.locked / "target")
        shutil.copy(self.root / "train.npy", self.locked)

    def as_nobody(self, *arguments):
        process = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.root, text=True, capture_output=True, user=65534, group=65534,
                                 extra_groups=[])
        return process

    def refuse_nobody(self, exit_code, *arguments):
        process = self.as_nobody(*arguments)
        self.assertEqual(process.returncode, exit_code, process.stdout + process.stderr)
        self.assertEqual(process.stderr.count("\n"), 1, process.stderr)
        self.assertIn(f"no permission to look into {self.locked}", process.stderr)

    def test_the_sentence_names_it(self):
        if self.as_nobody("--version").returncode != 0:
            self.skipTest("the program itself lies where only root may go")
        run, config = self.locked / "run", self.configure(training__steps=1)
        self.run_program("decompose", config, "--out", run)
        shutil.copy(config, self.locked)
        self.locked.chmod(0o600)
        target = self.configure("target.json", target__path=str(self.locked / "target"))
        initial = self.configure("initial.json", initialize_from=str(run / "checkpoints" / "latest"))
        data = self.configure("data.json", data__train={"type": "tokens", "path": "locked/train.npy", "sequence_length": 17})
        pattern = self.configure("pattern.json", data__train={"type": "tokens", "path": "locked/*.npy", "sequence_length": 17})
        for arguments in (["check", target], ["check", initial], ["check", data], ["check", pattern],
                          ["check", self.locked / "config.json"], ["decompose", target, "--out", self.out]):
            with self.subTest(arguments):
                self.refuse_nobody(2, *arguments)
        for arguments in (["evaluate", run], ["check-health", run], ["inspect", run], ["inspect", self.locked / "target"],
                          ["inspect", self.locked / "train.npy"], ["decompose", "--resume", run],
                          ["import", self.locked / "a.pth", "--out", self.out]):
            with self.subTest(arguments):
                self.refuse_nobody(3, *arguments)
        self.locked.chmod(0o700)


if __name__ == "__main__":
    unittest.main()
