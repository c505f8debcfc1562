"""How tools/prepare_tokens ends: what stands in --out and what does not, signals, lost streams, and names that are no text."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from prepare_tokens_support import PYTHON, SCRIPT, PrepareTokens, load_script, needs

FILES = ["tokenizer.json", "train_00000.bin"]


class Places(PrepareTokens):
    """StagingDirectory itself, which needs no package."""

    def setUp(self):
        super().setUp()
        self.script = load_script()
        self.before = sorted(os.listdir(self.root))

    def open(self, out=None):
        staging = self.script.StagingDirectory(out or self.out)
        try:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                staging.open()
        except BaseException:
            staging.close()
            raise
        self.said = said.getvalue()
        self.addCleanup(staging.close)
        return staging

    def write(self, staging):
        for name in FILES:
            (staging.path / name).write_text(name)

    def publish(self, staging):
        self.write(staging)
        staging.publish()
        staging.close()
        self.assert_published(staging.destination)

    def assert_published(self, out):
        self.assertEqual({name: (out / name).read_text() for name in os.listdir(out) if name != "lost+found"}, {name: name for name in FILES})
        self.assert_nothing_beside()

    def assert_nothing_beside(self):
        self.assertEqual([name for name in os.listdir(self.root) if name.startswith(".")], [])

    def refuse(self, words, *arguments):
        with self.assertRaises(self.script.Failure) as caught:
            self.open(*arguments)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_a_new_directory(self):
        staging = self.open()
        self.assertFalse(self.out.exists())
        self.publish(staging)
        self.assertEqual(self.out.stat().st_mode & 0o777, 0o777 & ~self.umask())
        self.publish(self.open(self.root / "a" / "b"))
        self.publish(self.open(self.root / ("n" * 255)))

    def umask(self):
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_what_is_not_published_leaves_nothing(self):
        staging = self.open(self.root / "a" / "b" / "c")
        self.write(staging)
        staging.close()
        self.out.mkdir()
        staging = self.open()
        self.write(staging)
        staging.close()
        self.assertEqual(os.listdir(self.out), [])
        self.assertEqual(sorted(os.listdir(self.root)), sorted(self.before + ["out"]))

    def test_an_empty_directory_is_written_into(self):
        self.out.mkdir()
        inode = self.out.stat().st_ino
        (self.root / "link").symlink_to("out")
        self.publish(self.open(self.root / "link"))
        self.assertEqual(self.out.stat().st_ino, inode)
        self.assertTrue((self.root / "link").is_symlink())
        (self.root / "volume" / "lost+found").mkdir(parents=True)
        self.publish(self.open(self.root / "volume"))

    def test_a_volume(self):
        self.out.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", self.out], capture_output=True).returncode != 0:
            self.skipTest("NOT TESTED: a file system can be mounted by root alone")
        self.addCleanup(subprocess.run, ["umount", "-l", self.out])
        self.publish(self.open())

    def test_what_cannot_be_moved_is_kept(self):
        for out in (self.root / "new", self.root / "empty"):
            if out.name == "empty":
                out.mkdir()
            staging = self.open(out)
            self.write(staging)
            out.mkdir(exist_ok=True)
            (out / "train_00000.bin").write_text("somebody else's")
            with self.assertRaisesRegex(self.script.Failure, "cannot move .*not empty.* lies in .*: move it from there") as caught:
                staging.publish()
            staging.close()
            self.assertIn(str(staging.path), str(caught.exception))
            self.assertEqual(sorted(os.listdir(staging.path)), FILES)
            self.assertEqual((out / "train_00000.bin").read_text(), "somebody else's")
            # The next one says that it lies there, and leaves it alone.
            (out / "train_00000.bin").unlink()
            if out.name == "new":
                out.rmdir()
            again = self.open(out)
            self.assertIn(f"{staging.path}: left by an earlier prepare_tokens", self.said)
            again.close()
            self.assertEqual(sorted(os.listdir(staging.path)), FILES)

    def test_one_at_a_time(self):
        for out in (self.out, self.root / "empty", self.root / "new" / "b"):
            if out.name == "empty":
                out.mkdir()
            first = self.open(out)
            self.refuse(["another prepare_tokens is writing there", f"process {os.getpid()}"], out)
            self.assertTrue(first.path.exists())
            self.publish(first)
            self.refuse(["already exists"], out)

    def test_the_lock_of_one_that_was_killed(self):
        (self.root / ".tmp-out.lock").write_text("process 1\n")
        self.publish(self.open())

    def refuse_renaming(self, refused):
        rename = os.rename

        def some(source, target):
            if refused(Path(source)):
                raise OSError(1, "Operation not permitted")
            rename(source, target)
        os.rename = some
        self.addCleanup(setattr, os, "rename", rename)

    def test_where_no_directory_can_be_renamed(self):
        self.refuse_renaming(lambda path: path.is_dir())
        first = self.open()
        self.refuse(["another prepare_tokens"])
        self.publish(first)

    def test_where_nothing_can_be_renamed(self):
        self.refuse_renaming(lambda path: True)
        self.refuse(["renamed", "another file system"])
        self.assertEqual(sorted(os.listdir(self.root)), self.before)

    def test_a_move_that_fails_in_the_middle(self):
        self.out.mkdir()
        staging = self.open()
        self.write(staging)
        self.refuse_renaming(lambda path: path.name == "tokenizer.json")
        with self.assertRaisesRegex(self.script.Failure, "cannot move"):
            staging.publish()
        staging.close()
        self.assertEqual(sorted(os.listdir(staging.path)), FILES)

    def test_places_that_are_none(self):
        (self.root / "file").write_text("")
        self.refuse(["file already exists"], self.root / "file")
        self.refuse(["cannot write there", "Not a directory"], self.root / "file" / "a")
        self.refuse(["already exists and is not empty"], self.root)

    def test_a_full_disk(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("NOT TESTED: there is no /dev/full")
        writer = self.script.ShardWriter(self.root, "train", 2, 10**6)
        writer.write([1, 2, 3])
        writer.file.file.close()
        writer.file.file = open("/dev/full", "wb", buffering=0)
        self.addCleanup(writer.file.file.close)
        with self.assertRaisesRegex(self.script.Failure, "train_00000.bin: cannot write to this file: No space left on device; free"):
            writer.close()


class Signals(PrepareTokens):
    """The packages are stood in for by one that sleeps, or computes and lets no signal through."""

    def begin(self, body, *arguments):
        (self.root / "tokenizers").mkdir(exist_ok=True)
        (self.root / "tokenizers" / "__init__.py").write_text(f"open('begun', 'w').close()\n{body}\n")
        self.write_text(3)
        process = subprocess.Popen([PYTHON, SCRIPT, "text.txt", "--vocab-size", "300", "--out", self.out, *arguments], cwd=self.root, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(self.root)})
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        end = time.monotonic() + 60
        while not (self.root / "begun").exists():
            self.assertLess(time.monotonic(), end, "not begun in a minute")
            time.sleep(0.002)
        (self.root / "begun").unlink()
        return process

    def end(self, process, name):
        out, error = process.communicate(timeout=60)
        self.assertEqual((process.returncode, error), (130, f"prepare_tokens: interrupted by {name}; nothing was written\n"))
        self.assertEqual([name for name in os.listdir(self.root) if name.startswith(".") or name == "out"], [])

    def test_each_ends_it_with_nothing_left(self):
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
            with self.subTest(name):
                process = self.begin("import time; time.sleep(100)")
                self.assertEqual(len([name for name in os.listdir(self.root) if name.startswith(".tmp-out")]), 2)
                process.send_signal(getattr(signal, name))
                if name == "SIGTERM":
                    process.send_signal(signal.SIGTERM)  # as srun does
                self.end(process, name)

    def test_a_library_that_keeps_the_thread(self):
        process = self.begin("import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 1 << 30)")
        process.send_signal(signal.SIGTERM)
        self.end(process, "SIGTERM")

    def test_a_library_that_swallows_it(self):
        process = self.begin("import time\ntry: time.sleep(100)\nexcept BaseException: pass\n"
                             "class Tokenizer: from_buffer = None")
        process.send_signal(signal.SIGINT)
        self.end(process, "SIGINT")

    def test_a_defect_is_one_sentence(self):
        out, error = self.begin("1 / 0").communicate(timeout=60)
        self.assertRegex(error, r"^prepare_tokens: error: a defect of prepare_tokens: ZeroDivisionError: division by zero .*; nothing was written\n$")
        self.assertFalse(self.out.exists())

    def test_what_is_ignored_stays_ignored(self):
        process = self.begin("import os, signal, time\nos.kill(os.getpid(), signal.SIGHUP)\ntime.sleep(0.1)\nraise ImportError('so far')")
        self.end(process, "SIGHUP")
        code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
        result = subprocess.run([sys.executable, "-c", code, PYTHON, SCRIPT, "text.txt", "--vocab-size", "300", "--out", self.out], cwd=self.root,
                                capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(self.root)})
        self.assertEqual(result.returncode, 3, "as under nohup")
        self.assertIn("so far", result.stderr)


@needs("tokenizers")
class Program(PrepareTokens):
    def setUp(self):
        super().setUp()
        self.write_text(5)
        model = {"type": "WordLevel", "vocab": {"line": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
        (self.root / "words.json").write_text(json.dumps({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model}))

    def command(self, *arguments, **settings):
        return subprocess.run([PYTHON, SCRIPT, *arguments], cwd=self.root, capture_output=settings.pop("capture_output", True), **settings)

    def test_two_at_the_same_time(self):
        os.mkfifo(self.root / "pipe")
        first = subprocess.Popen([PYTHON, SCRIPT, "pipe", "--tokenizer", "words.json", "--out", "out"], cwd=self.root, stdout=subprocess.DEVNULL)
        self.addCleanup(first.kill)
        self.wait_until((self.root / ".tmp-out.lock").exists, first, "lock")
        error = self.prepare("text.txt", "--tokenizer", "words.json", "--out", self.out, exit_code=3).stderr
        self.assertIn("another prepare_tokens is writing there", error)
        (self.root / "pipe").write_text("line line\n")
        self.assertEqual(first.wait(60), 0)
        self.assertEqual(self.tokens(), [0, 0])

    def test_names_and_texts_that_are_no_text(self):
        out, text = b"caf\xe9 \x1b[2J\xe2\x80\xae", b"\xff\x1b[2J\n.txt"
        os.rename(self.root / "text.txt", os.path.join(os.fsencode(self.root), text))
        result = self.command(text, "--tokenizer", "words.json", "--out", out)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(sorted(os.listdir(os.path.join(os.fsencode(self.root), out))), [name.encode() for name in FILES])
        for arguments, exit_code in (((text, "--tokenizer", "words.json", "--out", out), 3),
                                     ((b"absent" + text, "--vocab-size", "300", "--out", "b"), 3),
                                     (("--tokenizer", b"absent" + text, text, "--out", "b"), 3), ((b"--no\x1b[2J\xff", text, "--out", "b"), 2),
                                     ((text, "--vocab-size", b"\x1b[2J\xff", "--out", "b"), 2),
                                     ((text, "--text-column", b"a\xff", "--vocab-size", "300", "--out", "b"), 2)):
            with self.subTest(arguments):
                result = self.command(*arguments)
                self.assertEqual(result.returncode, exit_code, result.stderr)
            said = (result.stdout + result.stderr).decode("utf-8")
            for steering in "\x1b\x9b\u202e\u2028":
                self.assertNotIn(steering, said)
            self.assertNotIn("Traceback", said)
            self.assertEqual(result.stderr.decode().count("error: "), 1)

    def test_terminals_of_few_letters(self):
        os.rename(self.root / "text.txt", self.root / "caf\u00e9.txt")
        result = self.command("caf\u00e9.txt", "--tokenizer", "words.json", "--out", "caf\u00e9", env={**os.environ, "PYTHONIOENCODING": "ascii"})
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertIn(b"caf\\xe9/train", result.stdout)

    def test_lost_streams(self):
        reading, writing = os.pipe()
        os.close(reading)
        result = self.command("text.txt", "--tokenizer", "words.json", "--out", "out", stdout=writing, stderr=subprocess.PIPE, capture_output=False)
        os.close(writing)
        self.assertEqual((result.returncode, result.stderr), (0, b""))
        self.assertEqual(sorted(os.listdir(self.out)), FILES)
        subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', PYTHON, SCRIPT, "text.txt", "--tokenizer", "words.json", "--out", "closed"],
                       cwd=self.root, check=True)
        for name in FILES:
            self.assertEqual((self.root / "closed" / name).read_bytes(), (self.out / name).read_bytes())


if __name__ == "__main__":
    unittest.main()
