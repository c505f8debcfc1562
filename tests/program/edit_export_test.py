"""`vpd edit --out` for each family of checkpoints: the old files but for the edited tensors, transformers loads them, and what
cannot be written is refused."""

import json
import re
import shutil
import struct
import subprocess
import sys
import unittest
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import CHECKPOINTS, KEY, TOKENS, Shared, difference, load
from prepare_tokens_support import PYTHON, needs
from support import read_safetensors

FAMILIES = sorted(path.name for path in CHECKPOINTS.iterdir() if path.is_dir())
ROUNDING = {"F32": 1e-6, "F16": 5e-3, "BF16": 3e-2}  # of logits, relative to the largest, and of changes

# For each directory of the list: the logits of TOKENS.
LOGITS = """
import json, sys, torch
from transformers import AutoModelForCausalLM
for directory in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        print(json.dumps(model.double()(torch.tensor([json.loads(sys.argv[1])])).logits[0].flatten().tolist()))
"""


def files_below(directory):
    return {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}


class Families(Shared):
    def setUp(self):
        super().setUp()
        if not hasattr(type(self), "runs"):
            with ThreadPoolExecutor(2) as pool:
                type(self).runs = dict(zip(FAMILIES + ["plain"], pool.map(self.make, FAMILIES + ["plain"])))

    def keys(self, name):
        if name == "plain":
            return ["h.0.attn.v_proj:3", "h.1.mlp.down_proj:4"]
        if name.startswith("gpt2"):
            return [f"h.1.attn.{part}_proj:{c}" for c, part in enumerate("qkv")] + ["h.0.mlp.c_proj:4"]
        return ["layers.1.self_attn.k_proj:2", "layers.0.mlp.down_proj:4"]

    def make(self, name):
        run = self.make_run() if name == "plain" else self.family(name)
        edits = [word for key in self.keys(name) for word in ("--ablate", key)]
        self.edit(run, *edits, "--out", self.root / f"edited_{name}")
        self.intervene(run, *edits, "--slug", "prompt")
        return run

    def target(self, name):
        return self.root / ("target" if name == "plain" else name)

    def stored(self, name, key):
        """The tensor that holds a matrix, and which of how many parts of it."""
        site = key.split(":")[0]
        if name.startswith("gpt2") and "attn" in site:
            return f"transformer.{site[:-6]}c_attn.weight", "qkv".index(site.split(".")[-1][0]), 3
        return ("" if name == "plain" else "transformer." if name.startswith("gpt2") else "model.") + site + ".weight", 0, 1

    def test_files(self):
        """Byte for byte those of the target, but for the edited tensors."""
        for name, run in self.runs.items():
            with self.subTest(name):
                before, after = files_below(self.target(name)), files_below(self.root / f"edited_{name}")
                self.assertEqual(set(after), {*before, "vpd_edit.json"})
                changed = set()
                for file, path in before.items():
                    if not file.startswith("model") or path.suffix != ".safetensors":
                        self.assertEqual(path.read_bytes(), after[file].read_bytes(), file)
                        continue
                    old, new = path.read_bytes(), after[file].read_bytes()
                    header = 8 + struct.unpack("<Q", old[:8])[0]
                    self.assertEqual((len(old), old[:header]), (len(new), new[:header]), file)
                    new = read_safetensors(after[file])
                    changed |= {tensor for tensor, entry in read_safetensors(path).items() if entry != new[tensor]}
                self.assertEqual(changed, {self.stored(name, key)[0] for key in self.keys(name)})
                note, edits = json.loads(after["vpd_edit.json"].read_text()), [{"ablate": key} for key in self.keys(name)]
                self.assertEqual((note["run"], note["step"], note["edits"]), (run.name, 0, edits))
                # Read again, the files are the edit in memory, up to their type.
                effect, dtype = self.effect(run), self.matrix(self.target(name), self.stored(name, self.keys(name)[0])[0])[0]
                self.assertEqual([one["matrix"] for one in effect["written"]], sorted(key.split(":")[0] for key in self.keys(name)))
                self.assertEqual({one["dtype"] for one in effect["written"]}, {dtype})
                for error in (effect["reloaded_difference"], *(one["relative_error"] for one in effect["written"])):
                    self.assertLessEqual(error, ROUNDING[dtype])

    def test_rounding(self):
        """Each value of an edited matrix is that of W - U Vᵀ in the file's type, and no other part of c_attn has changed."""
        for name, run in self.runs.items():
            components = load(run / "checkpoints" / "step_00000000" / "decomposition.safetensors")
            for key in self.keys(name):
                site, c = key.split(":")
                V, U = [row[int(c)] for row in components[site + ".V"].rows()], components[site + ".U"].rows()[int(c)]
                rows, columns = (V, U) if name.startswith("gpt2") else (U, V)
                tensor, part, parts = self.stored(name, key)
                (dtype, shape, old), (_, _, new) = (self.matrix(of, tensor) for of in (self.target(name), self.root / f"edited_{name}"))
                self.assertEqual(shape, [len(rows), len(columns) * parts])
                unit = 1.01 * 2.0 ** -{"F32": 24, "F16": 11, "BF16": 8}[dtype]
                for i, j in product(range(len(rows)), range(len(columns))):
                    k = i * shape[1] + part * len(columns) + j
                    wanted = old[k] - rows[i] * columns[j]
                    self.assertLessEqual(abs(new[k] - wanted), unit * abs(wanted) + 1e-7, f"{name}: {tensor}, {k}")

    def matrix(self, directory, tensor):
        """Type, shape and values."""
        for path in sorted(directory.glob("model*.safetensors")):
            entries = read_safetensors(path)
            if tensor in entries:
                dtype, shape, data = entries[tensor]
                if dtype == "BF16":
                    data = b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2))
                return dtype, shape, struct.unpack(f"<{prod(shape)}{'e' if dtype == 'F16' else 'f'}", data)
        self.fail(f"{directory}: no {tensor}")

    @needs("transformers")
    def test_transformers(self):
        done = subprocess.run([PYTHON, "-c", LOGITS, json.dumps(TOKENS), *(self.root / f"edited_{name}" for name in FAMILIES)],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        for name, line in zip(FAMILIES, done.stdout.splitlines(), strict=True):
            with self.subTest(name):
                found = self.logits(self.runs[name], "prompt")
                self.assertGreater(difference(found["edited"].values, found["target"].values), 1e-3)
                dtype = self.effect(self.runs[name])["written"][0]["dtype"]
                self.assertLessEqual(difference(found["edited"].values, json.loads(line)), max(1e-5, ROUNDING[dtype]))

    def test_places(self):
        """A target whose files are links, as in a cache of downloads, and a path that ends with a slash."""
        content, link = self.root / "blobs", self.root / "snapshots" / "one"
        content.mkdir()
        link.mkdir(parents=True)
        for number, path in enumerate(sorted((self.root / "llama").iterdir())):
            shutil.copy(path, content / str(number))
            (link / path.name).symlink_to(Path("../../blobs") / str(number))
        edits = [word for key in self.keys("llama") for word in ("--ablate", key)]
        for number, more in enumerate((("--set", f"target.path={link}", "--out", "linked"), ("--out", "slash/"))):
            with self.subTest(more[-1]):
                self.edit(self.runs["llama"], *edits, *more, "--slug", f"more{number}")
                for file, path in files_below(self.root / "edited_llama").items():
                    copied = self.root / more[-1] / file
                    self.assertTrue(file == "vpd_edit.json" or copied.read_bytes() == path.read_bytes(), file)
                    self.assertFalse(copied.is_symlink(), file)
        for path in content.iterdir():
            self.assertTrue(path.read_bytes() == sorted((self.root / "llama").iterdir())[int(path.name)].read_bytes(), "it was changed")

    def test_swallowed(self):
        """By rounding; nothing is left behind."""
        command = ("edit", self.runs["qwen3"], "--scale", "layers.0.mlp.down_proj:4=1.0000001", "--controls", "0", "--out", "swallowed")
        self.refuse(3, ["model.layers.0.mlp.down_proj.weight", "rounding of BF16", "wider type"], *command)
        self.assertEqual([*self.root.glob("swallowed"), *self.root.glob(".tmp-*")], [])

    def test_inside_the_target(self):
        """A copy of a directory into itself."""
        target = re.search(r"path: ([^,}\n]+)", (self.runs["plain"] / "config.yaml").read_text())[1]
        command = ("edit", self.runs["plain"], "--ablate", KEY, "--controls", "0", "--out", f"{target}/edited")
        _, err = self.refuse(3, ["--out", "target"], *command)
        self.assertNotIn(".tmp-", err)


class Heads(Shared):
    def test_tied(self):
        """A tensor that is the embedding and the head in one may be measured, but not written; a head of its own may be written."""
        transformer = {"type": "global_shared_transformer", "d_model": 8, "n_blocks": 1, "n_heads": 2, "d_mlp": 8}
        for name, site, tied in (("gpt2", "wte", True), ("llama_stretched", "lm_head", True), ("llama", "lm_head", False)):
            with self.subTest(name):
                run = self.family(name, sites=[{"pattern": site, "C": 9}], causal_importance=transformer)
                command, out = ("edit", run, "--ablate", f"{site}:1", "--controls", "0"), self.root / f"head_{name}"
                self.run_program(*command, *(() if tied else ("--out", out)))
                if tied:
                    self.refuse(3, [name, site, "the embedding and the head in one", "untie the head"], *command, "--out", out)
                self.assertEqual(out.exists(), not tied)
                self.assertEqual([one["tensor"] for one in self.effect(run)["written"]], [] if tied else ["lm_head.weight"])


if __name__ == "__main__":
    unittest.main()
