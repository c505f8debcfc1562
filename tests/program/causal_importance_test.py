"""Every kind of causal importance: a run of two steps, its evaluation, what `vpd check` and `vpd inspect` say of it, and bad input."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, metrics, read_safetensors

KINDS = ({"type": "mlp", "hidden_dims": [6]}, {"type": "mlp", "hidden_dims": [5, 4], "initialization": "framework"},
         {"type": "vector_mlp", "hidden_dims": [6]}, {"type": "shared_mlp", "hidden_dims": [20]}, {"type": "shared_mlp", "hidden_dims": []},
         {"type": "global_shared_mlp", "hidden_dims": [24, 20]})


class CausalImportance(ProgramTest):
    def test_each_kind(self):
        for number, kind in enumerate(KINDS):
            with self.subTest(kind):
                config = self.configure(causal_importance=kind, training__steps=2)
                run = self.root / f"run_{number}"
                self.run_program("decompose", config, "--out", run)
                self.assertEqual([entry["step"] for entry in metrics(run)], [0, 1])
                self.assertGreater(metrics(run)[0]["train/grad_norm/causal_importance"], 0)
                self.run_program("evaluate", run, "--json", self.root / "evaluation.json")
                self.assertIn("l0/total", json.loads((self.root / "evaluation.json").read_text())["metrics"])

                weights = read_safetensors(run / "checkpoints" / "step_00000002" / "causal_importance.safetensors")
                parameters = sum(len(data) // 4 for _, _, data in weights.values())
                prefix = "" if kind["type"] == "global_shared_mlp" else "h.0.attn.q_proj."
                for layer in range(len(kind["hidden_dims"]) + 1):
                    self.assertIn(f"{prefix}layers.{layer}.weight", weights)
                    self.assertIn(f"{prefix}layers.{layer}.bias", weights)
                self.run_program("check", config, "--json", self.root / "check.json")
                self.assertEqual(json.loads((self.root / "check.json").read_text())["parameters"]["causal_importance"], parameters)
                out, _ = self.run_program("inspect", run / "checkpoints" / "step_00000002")
                self.assertIn(f"causal-importance function: {parameters} parameters", out)

    def test_bad_input(self):
        for kind, words in (({"type": "mlp", "hidden_dims": []}, ("causal_importance.hidden_dims", "at least one entry", "an empty list")),
                            ({"type": "shared_mlp", "hidden_dims": [8, 0]}, ("causal_importance.hidden_dims[1]", "at least 1", "the number 0")),
                            ({"type": "vector_mpl", "hidden_dims": [8]}, ("causal_importance.type", "vector_mpl", 'the nearest is "vector_mlp"')),
                            ({"type": "custom", "name": "mine"}, ("causal_importance.name", "it registers none", '"mine"'))):
            with self.subTest(kind):
                self.refuse_run(2, words, self.configure(causal_importance=kind))

    def test_weights_of_another_kind(self):
        self.run_program("decompose", self.configure(causal_importance=KINDS[0], training__steps=1), "--out", self.root / "first")
        start = str(self.root / "first" / "checkpoints" / "step_00000001")
        config = self.configure(causal_importance=KINDS[3])
        self.refuse_run(3, ("causal_importance.safetensors", "layers.0.weight"), config, "--set", f"initialize_from={start}")


if __name__ == "__main__":
    unittest.main()
