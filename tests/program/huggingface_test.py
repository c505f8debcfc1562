"""Checkpoints in Hugging Face's layout through the program: what it says of them, two steps on each family, and what it refuses."""

import json
import shutil
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import DATA, ProgramTest, read_safetensors, write_safetensors

CHECKPOINTS = DATA / "huggingface"
NAMES = sorted(path.name for path in CHECKPOINTS.iterdir() if path.is_dir())
SITES = [{"pattern": "*.attn.*", "C": 5}, {"pattern": "*.mlp.*", "C": 7}]
LLAMA_SITES = [{"pattern": "*.self_attn.*", "C": 5}, {"pattern": "*.mlp.*", "C": 7}]


def sites_of(name):
    return SITES if name.startswith("gpt2") else LLAMA_SITES


class HuggingFaceTest(ProgramTest):
    def configure_for(self, name, **changes):
        return self.configure(**{"target": {"type": "hf", "path": name}, "sites": sites_of(name), "training__steps": 2, **changes})

    def copy(self, name):
        return shutil.copytree(CHECKPOINTS / name, self.root / name)


class Families(HuggingFaceTest):
    def test_two_steps(self):
        for name in NAMES:
            with self.subTest(name):
                self.copy(name)
                out = self.root / f"out_{name}"
                self.run_program("decompose", self.configure_for(name), "--out", out)
                sites = {tensor.rsplit(".", 1)[0] for tensor in read_safetensors(out / "checkpoints" / "latest" / "decomposition.safetensors")}
                self.assertEqual(len(sites), 12 if name.startswith("gpt2") else 14)
                first, last = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
                self.assertGreater(first["train/loss/stochastic_recon"], 0.0)
                self.assertNotEqual(first["train/loss/total"], last["train/loss/total"])
                self.run_program("evaluate", out)
                # Every file that the numbers depend on is among the inputs.
                inputs = json.loads((out / "provenance.json").read_text())["inputs"]
                for file in (self.root / name).iterdir():
                    self.assertIn(str(file), inputs)

    def test_shapes_from_config_json_alone(self):
        for name in ("gpt2", "llama", "qwen3"):
            with self.subTest(name):
                target, config = self.copy(name), self.configure_for(name)
                self.run_program("check", config, "--json", self.root / "with.json")
                for file in target.glob("*.safetensors*"):
                    file.unlink()
                self.refuse(3, ["model.safetensors"], "check", config)
                self.run_program("check", config, "--without-weights", "--json", self.root / "without.json")
                there, gone = (json.loads((self.root / f"{which}.json").read_text()) for which in ("with", "without"))
                for report in (there, gone):
                    report["memory"] = [part for part in report["memory"] if part["part"] != "the program itself"]
                for key in ("sites", "operations", "memory"):
                    self.assertEqual(there[key], gone[key], key)
                self.refuse(2, ["--without-weights", "--measure"], "check", config, "--without-weights", "--measure")

    def test_a_model_of_seven_billion_parameters(self):
        """What its targeted step takes is told from its shapes."""
        self.run_program("check", Path(__file__).parents[2] / "benchmarks" / "targeted_7b.yaml", "--device", "cuda", "--without-weights",
                         "--json", self.root / "check.json")
        report = json.loads((self.root / "check.json").read_text())
        self.assertEqual(len(report["sites"]), 5)
        self.assertGreater(report["memory_total"], 30 << 30)
        self.assertGreater(report["operations_total"], 5e13)

    def test_configurations(self):
        """Those of configs/hf, two steps each on a small checkpoint of the family, with fewer subcomponents."""
        files = sorted((Path(__file__).parents[2] / "configs" / "hf").glob("*.yaml"))
        self.assertEqual([file.stem for file in files], ["gpt2_small", "qwen3_0.6b", "smollm2_135m"])
        transformer = ["training.micro_batch_size=1", *(f"sites.{i}.C={3 + i}" for i in range(5)),
                       *(f"causal_importance.{key}" for key in ("d_model=16", "n_blocks=1", "n_heads=2", "d_mlp=8"))]
        last_block = ["sites.0={pattern: layers.1.mlp.down_proj, C: 3}", "causal_importance.hidden_dims=[8]"]
        for file, name, smaller in zip(files, ("gpt2", "qwen3", "llama"), (transformer, transformer, last_block)):
            self.copy(name)
            out = self.root / f"out_{file.stem}"
            small = [f"target.path={self.root / name}", "training.steps=2", "training.batch_size=2", *smaller,
                     "training.faithfulness_warmup.steps=1", "evaluation.batch_size=2", "evaluation.final=false", "output.log_every=1",
                     *(f"data.{role}.{key}" for role in ("train", "eval") for key in (f"path={self.root / (role + '.npy')}", "sequence_length=8"))]
            self.run_program("decompose", file, "--out", out, *(word for setting in small for word in ("--set", setting)))
            self.assertEqual(len((out / "metrics.jsonl").read_text().splitlines()), 2)
            self.run_program("evaluate", out)

    def test_embeddings(self):
        """Sites of their own, through training, resumption and evaluation; the tied head stays as it is."""
        for name, embedding in (("gpt2", "wte"), ("qwen2", "embed_tokens")):
            with self.subTest(name):
                self.copy(name)
                sites = [{"pattern": embedding, "C": 9}, *sites_of(name)]
                config = self.configure_for(name, sites=sites, output__checkpoint_every=1)
                whole, halves = self.root / f"whole_{name}", self.root / f"halves_{name}"
                self.run_program("decompose", config, "--out", whole)
                checkpoint = read_safetensors(whole / "checkpoints" / "latest" / "decomposition.safetensors")
                self.assertEqual(checkpoint[embedding + ".V"][1], [61, 9])
                self.assertEqual(checkpoint[embedding + ".U"][1], [9, 24])
                self.run_program("decompose", config, "--out", halves)
                shutil.rmtree(halves / "checkpoints" / "step_00000002")
                (halves / "checkpoints" / "latest").unlink()
                (halves / "checkpoints" / "latest").symlink_to("step_00000001")
                self.assertIn("resumed after 1 of 2 steps", self.run_program("decompose", "--resume", halves)[0])
                self.assert_same_run(whole, halves, 2)
                self.run_program("evaluate", whole, "--json", self.root / "evaluation.json", "--set",
                                 "evaluation.metrics=[{type: ce_kl}, {type: hidden_acts}, {type: losses}, {type: pgd, name: two_steps, steps: 2}]")
                metrics = json.loads((self.root / "evaluation.json").read_text())["metrics"]
                self.assertGreater(metrics["ce_kl/kl_stochastic"], 0.0)

    def test_an_embedding_without_an_input_vector(self):
        self.copy("gpt2")
        config = self.configure_for("gpt2", sites=[{"pattern": "wte", "C": 9}], causal_importance={"type": "shared_mlp", "hidden_dims": [4]})
        for command in (("decompose", config, "--out", self.out), ("check", config)):
            self.refuse(2, ["causal_importance.type", "shared_mlp", "wte"], *command)

    def test_gpt2(self):
        self.copy("gpt2")
        config = self.configure_for("gpt2", target={"type": "gpt2", "path": "gpt2"}, training__steps=2)
        self.run_program("decompose", config, "--out", self.out)
        self.copy("llama")
        self.refuse(3, ["GPT-2", "Llama", "type: hf"], "decompose",
                    self.configure_for("llama", target={"type": "gpt2", "path": "llama"}), "--out", self.root / "other")

    def test_inspect_and_check(self):
        for name in NAMES:
            with self.subTest(name):
                self.copy(name)
                self.run_program("inspect", name, "--json", self.root / "inspection.json")
                inspection = json.loads((self.root / "inspection.json").read_text())
                self.run_program("check", self.configure_for(name), "--json", self.root / "report.json")
                report = json.loads((self.root / "report.json").read_text())
                self.assertEqual(inspection["kind"], "target")
                self.assertEqual(inspection["parameters"], report["parameters"]["target"])
                self.assertEqual(inspection["elements"], report["parameters"]["target"])
                matrices = {matrix["name"]: matrix for matrix in inspection["matrices"]}
                for site in report["sites"]:
                    self.assertEqual([matrices[site["name"]][key] for key in ("d_in", "d_out")], [site["d_in"], site["d_out"]])

    def test_a_directory_of_the_other_layout(self):
        self.refuse_run(3, ["config.json", "llama_simple_mlp"], self.configure(target={"type": "hf", "path": "target"}))
        self.copy("gpt2")
        self.refuse_run(3, ["model_config", "hf"], self.configure(target={"type": "llama_simple_mlp", "path": "gpt2"}))


class Damaged(HuggingFaceTest):
    def refuse_checkpoint(self, name, *words):
        self.refuse_run(3, words, self.configure_for(name))
        if "finite" not in words:  # which it shows in its table
            self.refuse(3, words, "inspect", name)

    def edit_json(self, path, change):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def test_unsupported_model_type(self):
        self.edit_json(self.copy("gpt2") / "config.json", lambda config: config.update(model_type="bloom"))
        self.refuse_checkpoint("gpt2", "config.json", "model_type", "bloom", "gpt2, llama, qwen2, qwen3")

    def test_unsupported_key(self):
        self.edit_json(self.copy("llama") / "config.json",
                       lambda config: config.update(rope_parameters={"rope_type": "yarn", "factor": 2.0}))
        self.refuse_checkpoint("llama", "config.json", "rope_type", "yarn", "default, linear, llama3")

    def test_missing_shard(self):
        (self.copy("llama") / "model-00002-of-00003.safetensors").unlink()
        self.refuse_checkpoint("llama", "model.safetensors.index.json", "model-00002-of-00003.safetensors")

    def test_index_that_names_an_absent_tensor(self):
        index = self.copy("llama") / "model.safetensors.index.json"
        self.edit_json(index, lambda content: content["weight_map"].update({"lm_head.weight": "model-00002-of-00003.safetensors"}))
        self.refuse_checkpoint("llama", "model-00002-of-00003.safetensors", "lm_head.weight")

    def test_index_without_a_tensor(self):
        index = self.copy("llama") / "model.safetensors.index.json"
        self.edit_json(index, lambda content: content["weight_map"].pop("model.norm.weight"))
        self.refuse_checkpoint("llama", "model.safetensors.index.json", "model.norm.weight")

    def test_weights(self):
        path = self.copy("gpt2") / "model.safetensors"
        tensors, name = read_safetensors(path), "transformer.h.1.attn.c_attn.weight"
        dtype, (rows, columns), data = tensors[name]
        write_safetensors(path, {**tensors, name: [dtype, [columns, rows], data]})
        self.refuse_checkpoint("gpt2", name, "[24, 72]", "[72, 24]")
        write_safetensors(path, {**tensors, name: [dtype, [rows, columns], data[:40] + struct.pack("<f", float("nan")) + data[44:]]})
        self.refuse_checkpoint("gpt2", name, "finite", "[0, 10]")
        tensors.pop(name)
        write_safetensors(path, tensors)
        self.refuse_checkpoint("gpt2", name)
        path.write_bytes(path.read_bytes()[:-9])
        self.refuse_checkpoint("gpt2", "model.safetensors", "truncated")
        path.unlink()
        self.refuse_checkpoint("gpt2", "model.safetensors", "model.safetensors.index.json")


if __name__ == "__main__":
    unittest.main()
