"""Bad input ends in one sentence that names the culprit, and in the right exit code, before a directory is made."""

import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import CONFIG, ProgramTest, read_safetensors, write_safetensors, write_shard

POINTER = (b"version https://git-lfs.github.com/spec/v1\n"
           b"oid sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nsize 548105171\n")


class Configuration(ProgramTest):
    def test_keys(self):
        self.refuse_run(2, ["config.json", "trainng", "training"], self.configure(trainng={}))
        self.refuse_run(2, ["training.batchsize", "batch_size"], self.configure(training__batchsize=3))
        config = self.configure()
        config.write_text(config.read_text().replace('"batch_size": 3, "learning_rate"', '"learning_rate"'))
        self.refuse_run(2, ["training", "batch_size"], config)

    def test_values(self):
        self.refuse_run(2, ["training.steps", "many"], self.configure(training__steps="many"))
        self.refuse_run(2, ["training.steps", "-1"], self.configure(training__steps=-1))
        self.refuse_run(2, ["sites[0].C", "0"], self.configure(sites=[{"pattern": "h.*", "C": 0}]))
        self.refuse_run(2, ["objective[0]", "faithfullness"], self.configure(objective=[{"type": "faithfullness", "coefficient": 1}]))
        self.refuse_run(2, ["training.steps", "-4"], self.configure(), "--set", "training.steps=-4")

    def test_sites(self):
        self.refuse_run(2, ["h.*.mlp.up_proj"], self.configure(sites=[{"pattern": "h.*.mlp.up_proj", "C": 4}]))
        taken = [{"pattern": "h.*", "C": 4}, {"pattern": "h.0.mlp.c_fc", "C": 8}]
        self.refuse_run(2, ["h.0.mlp.c_fc"], self.configure(sites=taken))

    def test_files(self):
        self.refuse_run(2, ["absent.yaml"], self.root / "absent.yaml")
        self.refuse_run(2, ["target", "elsewhere"], self.configure(target__path="elsewhere"))
        self.refuse_run(2, ["train.npy", "no text"], self.root / "train.npy")
        broken = self.root / "broken.yaml"
        broken.write_text("seed: [1\n")
        self.refuse_run(2, ["broken.yaml"], broken)

        empty = self.root / "empty.yaml"
        empty.write_text("")
        self.refuse_run(2, ["empty.yaml", "target"], empty)

    def test_a_configuration_that_is_no_file(self):
        pipe = self.root / "pipe"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(self.configure().read_text(),))
        writer.start()
        self.refuse_run(2, ["pipe", "expected a regular file"], pipe)
        writer.join()

    def test_sequences_longer_than_the_target_allows(self):
        write_shard(self.root / "long.bin", [1] * 20000)
        data = {"type": "tokens", "path": "long.bin", "sequence_length": 9999, "shuffle": False}
        self.refuse_run(2, ["data.train.sequence_length", "9999"], self.configure(data__train=data))

    def test_devices(self):
        self.refuse_run(2, ["cuda:99"], self.configure(), "--device", "cuda:99")
        self.refuse_run(2, ["device", "tpu"], self.configure(), "--device", "tpu")

    def test_usage(self):
        for arguments in ([], ["decompse"], ["decompose"], ["decompose", "a", "b"], ["decompose", "--no-such-option"],
                          ["decompose", "--threads", "0"]):
            out, err = self.run_program(*arguments, exit_code=2)
            self.assertTrue(err.startswith("vpd: error: ") and err.count("\n") == 1, err)

        for arguments, words in ((["evalute", "x"], ('found "evalute"; did you mean "evaluate"?',)),
                                 (["decompose", "--threads", "0"], ("--threads", "at least 1", '"0"')),
                                 (["audit", "a", "--no-such-option"], ("--prompts is required", "it has no option --no-such-option")),
                                 (["audit", "a", "--promts", "b"], ("--prompts is required", "did you mean --prompts in place of --promts?")),
                                 ([], ("expected a subcommand (decompose, ", "found none")),
                                 (["labels", "exprt"], ('expected a subcommand (export, import, set), found "exprt"; did you mean "export"?',)),
                                 (["evaluate", "a", "--chekpoint", "3"], ("vpd evaluate: expected one of its options, found --chekpoint; did you mean --checkpoint?",)),
                                 (["evaluate", "a", "--checkpoint", "three"], ("--checkpoint: expected a whole number, found three",)),
                                 (["decompose", "a", "b", "c"], ("vpd decompose: expected no further argument, found b c",)),
                                 (["audit", "a", "--prompts", "none.jsonl"], ("--prompts: expected a file, found nothing of the name none.jsonl",)),
                                 (["audit", "a", "--prompts", "/"], ("--prompts: expected a file, found the directory /",)),
                                 (["decompose", "a.yaml", "--out", ""], ("--out", "expected a path")),
                                 (["pretrain", "a.yaml", "--out", ""], ("--out", "expected a path")),
                                 (["import", "a.pth", "--out", ""], ("--out", "expected a path")),
                                 (["selftest", "--seed", "-1"], ("--seed", "at least 0", '"-1"')),
                                 (["selftest", "--set", "training.stepz=20"], ("training.stepz", "steps"))):
            out, _ = self.refuse(2, words, *arguments)
            self.assertEqual(out, "")

    def test_standard_output_that_cannot_be_written(self):
        with open("/dev/full", "w") as full:
            process = subprocess.run([os.environ["VPD_PROGRAM"], "schema"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(process.returncode, 3)
        self.assertIn("cannot write to standard output", process.stderr)

    def test_a_directory_that_is_not_a_run(self):
        self.configure()
        (self.root / "config.json").rename(self.root / "config.yaml")
        before = sorted(self.root.iterdir())
        for arguments in (["decompose", "--resume", self.root], ["evaluate", self.root], ["check-health", self.root]):
            self.refuse(3, ["expected the directory of a run"], *arguments)
        self.assertEqual(sorted(self.root.iterdir()), before)

    def test_help(self):
        whole, _ = self.run_program("--help")
        commands = re.findall(r"^  ([a-z-]+) ", whole.split("Subcommands:")[1].split("Exit codes:")[0], re.MULTILINE)
        self.assertIn("check-health", commands)
        self.assertGreater(len(commands), 20)
        for command in commands:
            out, _ = self.run_program(command, "--help")
            self.assertIn(f"  vpd {command}", out)
            whole += out
        # Commands to copy are whole, all else fits.
        self.assertEqual([line for line in whole.splitlines() if len(line) > 100 and not line.startswith("  vpd ")], [])
        self.assertIn("vpd ", self.run_program("--version")[0])


class Target(ProgramTest):
    def setUp(self):
        super().setUp()
        self.path = self.root / "target" / "model.safetensors"
        self.tensors = read_safetensors(self.path)
        self.name = "h.1.mlp.c_fc.weight"

    def refuse_target(self, *words):
        self.refuse_run(3, ["model.safetensors", *words], self.configure())

    def test_truncated(self):
        self.path.write_bytes(self.path.read_bytes()[:-7])
        self.refuse_target()
        self.path.write_bytes(b"")
        self.refuse_target()

    def test_another_format(self):
        whole = self.path.read_bytes()
        for content, words in ((POINTER, ["a Git LFS pointer in place of a file of 523 MiB", "git lfs pull"]),
                               (b"<!DOCTYPE html>\n<html></html>", ["a page in HTML", "download it again"]),
                               (gzip.compress(whole), ["packed by gzip", "gunzip -k"])):
            self.path.write_bytes(content)
            self.refuse_target(*words)
            self.refuse(3, words, "inspect", self.root / "target")
        self.path.write_bytes(whole)
        (self.root / "target" / "._model.safetensors").write_bytes(b"\0\5\x16\7")
        self.run_program("check", self.configure())
        (self.root / "target" / "model_config.json").write_bytes(POINTER)
        self.refuse_run(3, ["model_config.json", "a Git LFS pointer"], self.configure())

    def test_wrong_shape(self):
        dtype, (rows, columns), data = self.tensors[self.name]
        self.tensors[self.name] = [dtype, [columns, rows], data]
        write_safetensors(self.path, self.tensors)
        self.refuse_target(self.name, str(rows), str(columns))

    def test_missing_tensor(self):
        del self.tensors[self.name]
        write_safetensors(self.path, self.tensors)
        self.refuse_target(self.name)

    def test_not_a_number(self):
        dtype, shape, data = self.tensors[self.name]
        self.tensors[self.name] = [dtype, shape, data[:20] + struct.pack("<f", float("nan")) + data[24:]]
        write_safetensors(self.path, self.tensors)
        self.refuse_target(self.name)

    def test_unknown_tensor_is_a_warning(self):
        self.tensors["rotary_buffer"] = ["F32", [1], struct.pack("<f", 1.0)]
        write_safetensors(self.path, self.tensors)
        out, _ = self.run_program("decompose", self.configure(training__steps=1), "--out", self.out)
        self.assertIn("rotary_buffer", out)
        self.assertIn("rotary_buffer", (self.out / "log.txt").read_text())


class Tokens(ProgramTest):
    def setUp(self):
        super().setUp()
        self.path = self.root / "tokens.bin"
        write_shard(self.path, [1, 2, 3] * 200)

    def with_tokens(self, which="train"):
        data = {"type": "tokens", "path": "tokens.bin", "sequence_length": 17, "shuffle": False}
        return self.configure(training__steps=1, **{f"data__{which}": data})

    def refuse_tokens(self, *words):
        for which in ("train", "eval"):
            self.refuse_run(3, ["tokens.bin", *words], self.with_tokens(which))

    def test_good_ones(self):
        self.run_program("decompose", self.with_tokens(), "--out", self.out)

    def test_truncated(self):
        self.path.write_bytes(self.path.read_bytes()[:-5])
        self.refuse_tokens()

    def test_empty(self):
        self.path.write_bytes(b"")
        self.refuse_tokens()
        write_shard(self.path, [])
        self.refuse_tokens()

    def test_wrong_magic(self):
        write_shard(self.path, [1] * 100, magic=7)
        self.refuse_tokens("magic", "7")

    def test_another_format(self):
        headerless = struct.pack("<600H", *[1, 2, 3] * 200)
        for name, content, words in (
                ("tokens.bin", POINTER, ["a Git LFS pointer", "git lfs pull"]),
                ("tokens.bin", headerless, ["nanoGPT", "numpy.memmap", "'uint16'"]),
                ("tokens.bin", gzip.compress(headerless), ["packed by gzip", "gunzip -k"]),
                ("tokens.bin", b'{"text": "a"}\n{"text": "b"}\n', ["JSON Lines", "tools/prepare_tokens"]),
                ("tokens.npy", b"PK\3\4" + bytes(22) + b"\x09\0\0\0arr_0.npy", [".npz", "numpy.save"]),
                ("tokens.npy", b"\x80\4\x95abc", ["a Python pickle"]),
                ("tokens.parquet", b"PAR1", ["a parquet file", "tools/prepare_tokens"])):
            (self.root / name).write_bytes(content)
            data = {"type": "tokens", "path": name, "sequence_length": 17, "shuffle": False}
            with self.subTest(words[0]):
                self.refuse_run(3, [name, *words], self.configure(data__train=data))

    def test_what_the_cure_of_bare_tokens_makes(self):
        self.path.write_bytes(struct.pack("<600H", *[1, 2, 3] * 200))
        _, err = self.refuse(3, ["python3 -c"], "decompose", self.with_tokens(), "--out", self.out)
        command = err[err.index("python3 -c"):].strip()
        if subprocess.run(["python3", "-c", "import numpy"], capture_output=True).returncode != 0:
            self.skipTest("NOT TESTED: python3 has no numpy")
        subprocess.run(command, shell=True, check=True, cwd=self.root)
        found, _ = self.run_program("inspect", self.root / "tokens.npy", "--json", "-")
        self.assertEqual(json.loads(found)["first_tokens"][:4], [1, 2, 3, 1])

    def test_a_directory_is_meant_literally(self):
        for name, token in (("data[1]", 5), ("data1", 60000)):
            (self.root / name).mkdir()
            write_shard(self.root / name / "train_0.bin", [token] * 100)
            write_shard(self.root / name / "._train_0.bin", [60000] * 100)
        data = {"type": "tokens", "path": "data[1]/train_*.bin", "sequence_length": 17, "shuffle": False}
        config = self.configure(training__steps=1, data__train=data)
        self.run_program("decompose", config, "--out", self.out)
        found, _ = self.run_program("inspect", "data[1]/train_*.bin", "--json", "-")
        self.assertEqual(json.loads(found)["files"][0]["largest"], 5)
        shutil.rmtree(self.root / "data[1]")
        self.refuse(3, ["data1/train_0.bin", "60000"], "check", config)

    def test_data_that_may_not_be_read(self):
        if os.geteuid() != 0:
            self.skipTest("NOT TESTED: becoming another user needs root")
        self.root.chmod(0o755)
        closed = self.root / "closed"
        closed.mkdir(mode=0o700)
        write_shard(closed / "a.bin", [1] * 100)
        shutil.copytree(self.root / "target", closed / "target")

        def refuse(exit_code, *arguments):
            process = subprocess.run([os.environ["VPD_PROGRAM"], *map(str, arguments)], capture_output=True, text=True,
                                     cwd=self.root, user=65534, group=65534, extra_groups=[])
            self.assertEqual(process.returncode, exit_code, process.stderr)
            self.assertIn(f"found no permission to look into {closed}", process.stderr)
            self.assertEqual(process.stderr.count("\n"), 1, process.stderr)

        for path in ("closed/a.bin", "closed/*.bin"):
            data = {"type": "tokens", "path": path, "sequence_length": 17, "shuffle": False}
            refuse(2, "check", self.configure(data__train=data))
            refuse(3, "inspect", self.root / path)
        refuse(2, "check", self.configure(target__path="closed/target"))
        refuse(3, "inspect", closed / "target")
        refuse(3, "evaluate", closed / "run")
        refuse(3, "import", closed / "x.pth", "--out", "/tmp/never")

    def test_data_that_are_shared_are_a_warning(self):
        (self.root / "data").mkdir()
        for name in ("train_0.bin", "eval_0.bin"):
            write_shard(self.root / "data" / name, [1, 2, 3] * 50)
        (self.root / "link.bin").symlink_to("data/eval_0.bin")

        def data(path):
            return {"type": "tokens", "path": path, "sequence_length": 17, "shuffle": False}

        for held_out in ("data/eval_*.bin", "link.bin"):
            config = self.configure(training__steps=1, data={"train": data("data"), "eval": data(held_out)})
            out, _ = self.run_program("check", config)
            self.assertRegex(out, "warning: data.train and data.eval share 1 file.*eval_0.bin")
            out, _ = self.run_program("decompose", config, "--out", self.root / f"run of {Path(held_out).stem}")
            self.assertRegex(out, "warning: data.train and data.eval share 1 file.*eval_0.bin")
        config = self.configure(training__steps=1, data={"train": data("data/train_*"), "eval": data("data/eval_*")})
        self.assertNotIn("data.eval share", self.run_program("check", config)[0])

    def test_too_few_for_a_row(self):
        write_shard(self.path, [1] * 16)
        self.refuse_tokens("17")

    def test_beyond_the_vocabulary(self):
        # Far from the rows that the first step would read.
        write_shard(self.path, [1] * 590 + [60000] + [1] * 9)
        self.refuse_tokens("60000", "590")


class Output(ProgramTest):
    def test_exists(self):
        self.out.mkdir()
        (self.out / "notes.txt").write_text("mine")
        self.refuse(3, [str(self.out), "not empty"], "decompose", self.configure(), "--out", self.out)
        self.assertEqual((self.out / "notes.txt").read_text(), "mine")
        file = self.root / "file"
        file.write_text("")
        self.refuse(3, [str(file)], "decompose", self.configure(), "--out", file)

    def test_two_that_want_the_same(self):
        config = self.configure(training__steps=3)
        both = [self.start("decompose", config, "--out", self.out) for _ in range(2)]
        said = [process.communicate(timeout=300)[1] for process in both]
        self.assertEqual(sorted(process.returncode for process in both), [0, 3], said)
        loser = said[0] if both[0].returncode else said[1]
        self.assertTrue("another program" in loser or "not empty" in loser, loser)
        for name in ("config.yaml", "provenance.json", "metrics.jsonl", "log.txt", "checkpoints/latest"):
            self.assertTrue((self.out / name).exists(), name)

    def test_several_that_name_none(self):
        config = self.configure(training__steps=1)
        for process in [self.start("decompose", config) for _ in range(3)]:
            self.finish(process)
        self.assertEqual(len(list((self.root / "runs").glob("*/checkpoints/latest"))), 3)

    def test_json_goes_where_it_is_told(self):
        config = self.configure()
        text, _ = self.run_program("check", config, "--json", "-")
        report = json.loads(text)
        real, link = self.root / "real.json", self.root / "link.json"
        link.symlink_to("real.json")
        self.run_program("check", config, "--json", link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(json.loads(real.read_text())["config"], report["config"])
        pipe = self.root / "pipe"
        os.mkfifo(pipe)
        process = self.start("check", config, "--json", pipe)
        self.assertEqual(json.loads(pipe.read_text())["config"], report["config"])
        self.finish(process)
        self.assertTrue(pipe.is_fifo())

    def test_not_writable(self):
        if os.geteuid() == 0:
            out = Path("/proc/vpd/out")  # where even root makes no directory
        else:
            (self.root / "closed").mkdir(mode=0o555)
            out = self.root / "closed" / "out"
        self.refuse(3, [str(out)], "decompose", self.configure(), "--out", out)

    def test_full_disk(self):
        disk = self.root / "disk"
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("NOT TESTED: mounting a small disk needs root")
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        run = disk / "run"
        self.refuse(3, [str(run), "space"], "decompose", self.configure(), "--out", run)
        self.assertEqual(list((run / "checkpoints").iterdir()), [])

        subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
        self.run_program("decompose", "--resume", run)
        self.run_program("decompose", self.configure(), "--out", self.out)
        self.assert_same_run(run, self.out, CONFIG["training"]["steps"])

    def test_a_monitor_is_not_trained_on_silently(self):
        objective = CONFIG["objective"] + [{"type": "ci_masked_recon", "coefficient": 0.5}]
        out, _ = self.run_program("decompose", self.configure(objective=objective, training__steps=1), "--out", self.out)
        self.assertIn("WARNING", out)


if __name__ == "__main__":
    unittest.main()
