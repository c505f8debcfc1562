"""Checkpoints as other people's programs leave them: weights under a key, beside what only Python can read; shards without an index; one
name for what is tied; tensors of dtypes that nobody needs."""

import json
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import DATA, ProgramTest, read_safetensors, write_safetensors

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"  # with PyTorch


class TrainingCheckpoints(ProgramTest):
    def test_weights_are_found_and_nothing_is_run(self):
        if not PYTHON.exists():
            self.skipTest("NOT TESTED: there is no PyTorch: run tools/setup")
        golden = DATA / "import" / "target"
        self.run_program("import", golden, "--out", self.root / "expected")
        expected = (self.root / "expected" / "model.safetensors").read_bytes()
        files = self.root / "files"
        files.mkdir()
        shutil.copy(golden / "model_config.yaml", files)
        subprocess.run([PYTHON, "-W", "ignore", Path(__file__).parent / "write_training_checkpoints.py", golden / "model_step_100.pt", files],
                       check=True, cwd=self.root)
        names = sorted(path.stem for path in files.glob("*.pt"))
        self.assertEqual(len(names), 13)
        for name in names:
            with self.subTest(name):
                _, err = self.run_program("import", files / f"{name}.pt", "--out", self.root / name)
                self.assertEqual((self.root / name / "model.safetensors").read_bytes(), expected)
                if name == "harmful":
                    self.assertIn("warning: ", err)
                    for word in ("posix.system", "nothing of it was run", "do not load the file in Python"):
                        self.assertIn(word, err)
                else:
                    self.assertEqual(err, "")
        self.assertFalse((self.root / "pwned").exists())

    def test_stale_key_of_the_model_configuration(self):
        target = shutil.copytree(DATA / "plain" / "target", self.root / "stale")
        config = json.loads((target / "model_config.json").read_text())
        config.update(rotary_dim=2 * config["n_embd"] // config["n_head"], flash_attention="sdpa")
        (target / "model_config.json").write_text(json.dumps(config))
        out, err = self.run_program("decompose", self.configure(target={"type": "llama_simple_mlp", "path": "stale"}, training__steps=1), "--out", self.out)
        self.assertIn("rotary_dim: has no effect, found the number 16", out + err)
        self.run_program("decompose", self.configure(training__steps=1), "--out", self.root / "right")
        for name in ("decomposition.safetensors", "causal_importance.safetensors"):
            self.assertEqual(*((run / "checkpoints" / "latest" / name).read_bytes() for run in (self.out, self.root / "right")))


class HuggingFace(ProgramTest):
    def copy(self, name):
        return shutil.copytree(DATA / "huggingface" / name, self.root / name)

    def check(self, name):
        self.run_program("check", self.configure(target={"type": "hf", "path": name}, sites=[{"pattern": "*.mlp.*", "C": 7}]))

    def test_shards_without_an_index(self):
        directory = self.copy("llama")
        (directory / "model.safetensors.index.json").unlink()
        self.check("llama")
        (directory / "model-00002-of-00003.safetensors").rename(self.root / "model-00002-of-00003.safetensors")
        self.refuse(3, ["2 of 3", "no model-00002-of-00003.safetensors"], "inspect", directory)
        directory = self.copy("gpt2")
        (directory / "model.safetensors").rename(directory / "model-00001-of-00001.safetensors")
        self.check("gpt2")

    def test_import_says_that_none_is_needed(self):
        directory = self.copy("llama")
        self.refuse(3, ["Llama", "read as it is", f"target: {{type: hf, path: {directory}}}"], "import", "llama", "--out", self.out)
        self.refuse(3, ["read as it is"], "import", directory / "model-00001-of-00003.safetensors", "--out", self.out)
        self.assertFalse(self.out.exists())

    def test_a_tensor_of_an_unknown_dtype(self):
        path = self.copy("gpt2") / "model.safetensors"
        write_safetensors(path, {**read_safetensors(path), "scales": ["F8_E4M3", [2, 3], bytes(6)]})
        self.check("gpt2")
        for what in (path, path.parent):
            out, _ = self.run_program("inspect", what, "--json", self.root / "inspection.json")
            self.assertIn("F8_E4M3", out)
            row = next(row for row in json.loads((self.root / "inspection.json").read_text())["tensors"] if row["name"] == "scales")
            self.assertEqual([row[key] for key in ("dtype", "shape", "norm")], ["F8_E4M3", [2, 3], None])
        tensors = read_safetensors(path)
        name = "transformer.h.0.attn.c_proj.bias"
        write_safetensors(path, {**tensors, name: ["F8_E4M3", tensors[name][1], bytes(24)]})
        self.refuse(3, [name, "F8_E4M3", "F32"], "check", self.configure(target={"type": "hf", "path": "gpt2"}))


if __name__ == "__main__":
    unittest.main()
