"""`vpd check` predicts the memory of a run within 15 %: a run in which buffers, and one in which the program itself, are most of it."""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, ProgramTest, read_safetensors, write_safetensors, write_shard

CONFIGS = Path(__file__).parents[2] / "configs"

# Runs a command and prints the most memory it held, in KiB.
MEASURE = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); " \
          "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"


@unittest.skipIf("ASAN_OPTIONS" in os.environ, "the sanitizers keep shadows of all memory")
class Memory(ProgramTest):
    simple_stories = None  # a target of that size, made once

    def make_simple_stories(self):
        if not Memory.simple_stories:
            Memory.simple_stories = Path(tempfile.mkdtemp(prefix="vpd_ss_2l_")) / "ss_2l"
            self.addClassCleanup(shutil.rmtree, Memory.simple_stories.parent)
            self.run_program("pretrain", CONFIGS / "ss_2l_target.yaml", "--out", Memory.simple_stories, "--set", "training.steps=0")
        return Memory.simple_stories

    def compare(self, config, *overrides):
        sets = [word for override in overrides for word in ("--set", override)]
        self.predict("check", config, "--threads", "2", "--json", self.root / "check.json", *sets)
        predicted = json.loads((self.root / "check.json").read_text())["memory_total"]
        command = [PROGRAM, "decompose", config, "--out", self.out, "--threads", "2", "--set", "training.steps=3", *sets]
        measured = self.measure(command)
        self.assertLess(abs(predicted / measured - 1), 0.15, f"predicted {predicted}, measured {measured}")

    def predict(self, *arguments):
        """A prediction begins with what its own process holds, which has to be one that was started."""
        self.finish(self.start(*arguments))

    def measure(self, command):
        result = subprocess.run([sys.executable, "-c", MEASURE, *map(str, command)], check=True, text=True, capture_output=True)
        return 1024 * int(result.stdout.split()[-1])

    def test_small(self):
        self.compare(self.configure())

    def test_harvest(self):
        """`vpd harvest --dry-run`, of a run in which half of the subcomponents fire, about 200 of them at a position, as it assumes."""
        draws = random.Random(0)
        write_shard(self.root / "tokens.bin", draws.choices(range(4019), [1 / (v + 3) for v in range(4019)], k=16 * 512))
        tokens, target = self.root / "tokens.bin", self.make_simple_stories()
        sets = [f"target.path={target}", f"data.train.path={tokens}", f"data.eval.path={tokens}", "training.steps=0", "device=cpu",
                "training.faithfulness_warmup.steps=0", "evaluation.metrics=[]", "objective=[{type: faithfulness, coefficient: 1.0}]"]
        self.run_program("decompose", CONFIGS / "ss_2l.yaml", "--out", self.out, *(word for one in sets for word in ("--set", one)))
        checkpoint = self.out / "checkpoints" / "step_00000000"
        file = checkpoint / "causal_importance.safetensors"
        before = sha256(file.read_bytes()).hexdigest()
        tensors = read_safetensors(file)
        tensors["proj_out.bias"] = ["F32", [7104], struct.pack("<7104f", *[-3.6, -1000.0] * 3552)]
        write_safetensors(file, tensors)
        state = checkpoint / "state.json"
        state.write_text(state.read_text().replace(before, sha256(file.read_bytes()).hexdigest()))
        command = ("harvest", self.out, "--threads", "2", "--batch-size", "4")
        self.predict(*command, "--dry-run", "--json", self.root / "forecast.json")
        forecast = json.loads((self.root / "forecast.json").read_text())
        for merged, more in (("", ()), ("merge_", ("--merge",))):
            if merged:
                for shard in ("0/2", "1/2"):
                    self.run_program(*command, "--shard", shard)
            measured = self.measure([PROGRAM, *command, *more, "--json", self.root / "harvest.json"])
            harvest = json.loads((self.root / "harvest.json").read_text())
            self.assertAlmostEqual(harvest["alive"] / forecast["alive"], 1, delta=0.05)
            self.assertAlmostEqual(harvest["firings_a_position"] / forecast["l0"], 1, delta=0.2)
            predicted = forecast[f"{merged}memory_bytes"]
            self.assertGreater(measured, 2 ** 30)
            self.assertLess(abs(predicted / measured - 1), 0.25, f"{more}: predicted {predicted}, measured {measured}")

    def compare_simple_stories(self, *overrides, final="false"):
        draws = random.Random(0)
        write_shard(self.root / "tokens.bin", [draws.randrange(4019) for _ in range(10_000)])
        tokens = self.root / "tokens.bin"
        self.compare(CONFIGS / "ss_2l.yaml", "training.batch_size=2", "data.train.sequence_length=128", "data.eval.sequence_length=128",
                     f"target.path={self.make_simple_stories()}", f"data.train.path={tokens}", f"data.eval.path={tokens}", "evaluation.every=null",
                     "evaluation.slow_every=null", "training.faithfulness_warmup.steps=1", "device=cpu", f"evaluation.final={final}", *overrides)

    def test_simple_stories(self):
        self.compare_simple_stories()

    def compare_evaluation(self, metric):
        self.compare_simple_stories("evaluation.every=1", "evaluation.batch_size=12", f"evaluation.metrics=[{metric}]")

    def test_cross_entropies(self):
        self.compare_evaluation("{type: ce_kl}")

    def test_hidden_activations(self):
        self.compare_evaluation("{type: hidden_acts}")

    def test_attacks(self):
        self.compare_evaluation("{type: pgd, name: attack, steps: 2}")

    def test_networks_of_subcomponents(self):
        self.compare_simple_stories("causal_importance={type: vector_mlp, hidden_dims: [16, 16]}")

    def test_networks_of_sites(self):
        self.compare_simple_stories("causal_importance={type: shared_mlp, hidden_dims: [1024, 512]}")

    def test_huggingface(self):
        """A Qwen3 large enough that its buffers are most of the memory: grouped heads, norms of heads and a gated MLP."""
        d, heads, key_heads, width, hidden, vocabulary, layers = 256, 8, 2, 32, 768, 4019, 2
        config = dict(model_type="qwen3", vocab_size=vocabulary, hidden_size=d, intermediate_size=hidden, num_hidden_layers=layers,
                      num_attention_heads=heads, num_key_value_heads=key_heads, head_dim=width, max_position_embeddings=512,
                      tie_word_embeddings=True)
        shapes = {"model.embed_tokens.weight": [vocabulary, d], "model.norm.weight": [d]}
        for layer in range(layers):
            inside = {"input_layernorm": [d], "post_attention_layernorm": [d], "self_attn.q_norm": [width], "self_attn.k_norm": [width],
                      "self_attn.q_proj": [heads * width, d], "self_attn.k_proj": [key_heads * width, d],
                      "self_attn.v_proj": [key_heads * width, d], "self_attn.o_proj": [d, heads * width],
                      "mlp.gate_proj": [hidden, d], "mlp.up_proj": [hidden, d], "mlp.down_proj": [d, hidden]}
            shapes.update({f"model.layers.{layer}.{name}.weight": shape for name, shape in inside.items()})
        draws = random.Random(0)
        some = [draws.gauss(0.0, 0.05) for _ in range(4099)]
        tensors = {}
        for name, shape in shapes.items():
            count = shape[0] * (shape[1] if len(shape) == 2 else 1)
            values = some * (count // len(some) + 1) if len(shape) == 2 else [1.0] * count
            tensors[name] = ["F32", shape, struct.pack(f"<{count}f", *values[:count])]
        (self.root / "qwen3").mkdir()
        (self.root / "qwen3" / "config.json").write_text(json.dumps(config))
        write_safetensors(self.root / "qwen3" / "model.safetensors", tensors)
        write_shard(self.root / "tokens.bin", [draws.randrange(vocabulary) for _ in range(10_000)])
        data = {"type": "tokens", "path": "tokens.bin", "sequence_length": 256, "shuffle": False}
        self.compare(self.configure(target={"type": "hf", "path": "qwen3"}, data={"train": data, "eval": data},
                                    sites=[{"pattern": "embed_tokens", "C": 128}, {"pattern": "*.self_attn.*", "C": 192},
                                           {"pattern": "*.mlp.*", "C": 512}],
                                    training__batch_size=4, causal_importance__d_model=128, causal_importance__d_mlp=256))


if __name__ == "__main__":
    unittest.main()
