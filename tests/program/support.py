"""What the tests of the program share: a small run to start, files to damage, and what a refusal looks like."""

import copy
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from warm_program import WarmProgram

PROGRAM = os.environ["VPD_PROGRAM"]
WARM = WarmProgram(os.environ["VPD_WARM_PROGRAM"]) if "VPD_WARM_PROGRAM" in os.environ else None
DATA = Path(os.environ.get("VPD_TEST_DATA", Path(__file__).parents[1] / "data"))
WEIGHTS = ("decomposition.safetensors", "causal_importance.safetensors")
CHECKPOINT = WEIGHTS + ("training_state.safetensors",)

# The golden run `plain` with random masks and random routing added, so that every stream of random numbers is in use.
CONFIG = {
    "seed": 0, "device": "cpu", "precision": "fp32",
    "target": {"type": "llama_simple_mlp", "path": "target"},
    "data": {"train": {"type": "tokens", "path": "train.npy", "sequence_length": 17, "shuffle": True},
             "eval": {"type": "tokens", "path": "eval.npy", "sequence_length": 17, "shuffle": False}},
    "sites": [{"pattern": "h.*.mlp.c_fc", "C": 40}, {"pattern": "h.*.mlp.down_proj", "C": 37},
              {"pattern": "h.*.attn.*_proj", "C": 16}],
    "causal_importance": {"type": "global_shared_transformer", "d_model": 32, "n_blocks": 2, "n_heads": 4, "d_mlp": 48},
    "objective": [
        {"type": "faithfulness", "coefficient": 100.0},
        {"type": "importance_minimality", "coefficient": 0.002, "p": {"start": 2.0, "end": 0.4}, "eps": 1e-12},
        {"type": "frequency_minimality", "coefficient": 0.001},
        {"type": "stochastic_recon", "coefficient": 0.5, "routing": {"type": "uniform_k_subset"}},
        {"type": "adversarial_recon", "coefficient": 0.5, "routing": {"type": "all"},
         "adversary": {"type": "persistent", "scope": "per_position", "init": {"type": "uniform"}, "warmup_steps": 2,
                       "optimizer": {"type": "adam", "beta1": 0.5, "beta2": 0.99, "eps": 1e-8},
                       "learning_rate": {"start": 0.05, "warmup_fraction": 0.25, "schedule": "constant"}}}],
    "training": {"steps": 10, "batch_size": 3,
                 "learning_rate": {"start": 0.001, "schedule": "cosine", "final_fraction": 0.1},
                 "gradient_clip": {"components": 0.01, "causal_importance": None},
                 "faithfulness_warmup": {"steps": 2}},
    "evaluation": {"every": None, "final": False, "batch_size": 3, "batches": 1, "metrics": [{"type": "ci_l0", "threshold": 0.0}]},
    "output": {"log_every": 1, "checkpoint_every": 10, "keep": 2},
}


class ProgramTest(unittest.TestCase):
    """Each test has a directory of its own with a target, tokens and a configuration."""

    maxDiff = None

    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="vpd_program_"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        shutil.copytree(DATA / "plain" / "target", self.root / "target")
        for name in ("train.npy", "eval.npy"):
            shutil.copy(DATA / "plain" / name, self.root)
        self.out = self.root / "out"

    def configure(self, name="config.json", **changes):
        """Writes the configuration with values replaced: configure(training__steps=5)."""
        config = copy.deepcopy(CONFIG)
        for path, value in changes.items():
            *way, last = path.split("__")
            place = config
            for key in way:
                place = place[key]
            place[last] = value
        path = self.root / name
        path.write_text(json.dumps(config))
        return path

    def invocation(self, *arguments):
        """How the program is called; `decompose` computes on two threads."""
        command = [PROGRAM, *map(str, arguments)]
        if arguments and arguments[0] == "decompose" and "--help" not in arguments and "--threads" not in arguments:
            command += ["--threads", "2"]
        return command

    def start(self, *arguments, launcher=(), environment=None):
        """Starts the program in the test's directory and does not wait."""
        command = [*launcher, *self.invocation(*arguments)]
        process = subprocess.Popen(command, cwd=self.root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env={**os.environ, **(environment or {})})

        def end():
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def finish(self, process, exit_code=0):
        """Waits for the end and returns what the program said on standard output and standard error."""
        out, err = process.communicate(timeout=300)
        return self.ended(process.returncode, exit_code, out, err)

    def ended(self, code, expected, out, err):
        self.assertEqual(code, expected, f"standard output:\n{out}\nstandard error:\n{err}")
        return out, err

    def run_program(self, *arguments, exit_code=0):
        """Runs the program in the test's directory, without its start where a copy of it is loaded already."""
        if WARM is None:
            return self.finish(self.start(*arguments), exit_code)
        done = WARM.run(self.invocation(*arguments), self.root)
        return self.ended(done.returncode, exit_code, done.stdout, done.stderr)

    def refuse(self, exit_code, words, *arguments):
        """The program says one sentence with all the words on standard error, and ends with the exit code."""
        out, err = self.run_program(*arguments, exit_code=exit_code)
        self.assertTrue(err.startswith("vpd: error: "), err)
        self.assertEqual(err.count("\n"), 1, err)
        for word in words:
            self.assertIn(word, err)
        return out, err

    def refuse_run(self, exit_code, words, config, *arguments):
        """The same of a new run, of which no directory may remain."""
        self.refuse(exit_code, words, "decompose", config, "--out", self.out, *arguments)
        self.assertFalse(self.out.exists())

    def wait_until(self, condition, process, what):
        """Polls until `condition` holds, while the process runs."""
        end = time.monotonic() + 120
        while not condition():
            if process.poll() is not None:
                self.fail(f"the program ended before {what}: {process.communicate()}")
            self.assertLess(time.monotonic(), end, f"no {what} in two minutes")
            time.sleep(0.002)

    def interrupt(self, process, when, what, which=signal.SIGINT):
        """Sends the signal as soon as `when` holds, and returns what the program said."""
        self.wait_until(when, process, what)
        process.send_signal(which)
        return self.finish(process, 130)

    def assert_same_run(self, left, right, step):
        """The checkpoints after `step` steps are equal byte for byte, and so are all metrics but those of speed."""
        for name in CHECKPOINT:
            a, b = (run / "checkpoints" / f"step_{step:08d}" / name for run in (left, right))
            self.assertTrue(a.read_bytes() == b.read_bytes(), f"{a} and {b} differ")
        self.assertEqual(metrics(left), metrics(right))


def lines(path):
    """Whole lines of a file that may not exist yet."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


def metrics(run):
    """metrics.jsonl without what depends on the machine's speed."""
    entries = [json.loads(line) for line in lines(run / "metrics.jsonl")]
    return [{name: value for name, value in entry.items() if not name.startswith("perf/")} for entry in entries]


def read_safetensors(path):
    """{name: [dtype, shape, bytes]}"""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    return {name: [entry["dtype"], entry["shape"], content[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]]]
            for name, entry in header.items()}


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def write_shard(path, tokens, magic=20240520, version=1, count=None):
    """An llm.c shard of uint16."""
    header = [magic, version, len(tokens) if count is None else count] + [0] * 253
    path.write_bytes(struct.pack("<256i", *header) + struct.pack(f"<{len(tokens)}H", *tokens))
