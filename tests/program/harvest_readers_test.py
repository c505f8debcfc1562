"""What other programs read of a harvest: delphi's cache of firings, and the example that people copy."""

import json
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import GOLDEN, HarvestTest, load, sections
from prepare_tokens_support import PYTHON, ROOT, has, needs
from support import DATA


class ForDelphi(HarvestTest):
    def test_sparse(self):
        """A directory a site, with every firing as (row, position, subcomponent) and its importance."""
        run = self.make_run()
        self.harvest(run, "--sparse", self.root / "sparse", "--batch-size", "2")
        counts = self.tables(run)["subcomponents"]
        g = load(GOLDEN / "plain" / "harvest.safetensors")["g"]
        rows, T, A = g.shape
        sites = self.about(run)["sites"]
        self.assertEqual({path.name for path in (self.root / "sparse").iterdir()}, {site["name"] for site in sites})
        for site in sites:
            place = self.root / "sparse" / site["name"]
            self.assertEqual({path.name for path in place.iterdir()}, {f"0_{site['C'] - 1}.safetensors", "config.json"})
            stored = load(place / f"0_{site['C'] - 1}.safetensors")
            self.assertEqual({name: tensor.dtype for name, tensor in stored.items()},
                             {"locations": "I32", "activations": "F16", "tokens": "I32"})
            self.assertEqual(stored["tokens"].shape, [rows, T])
            locations = [tuple(place) for place in stored["locations"].rows()]
            self.assertEqual(len(set(locations)), len(locations))
            for (row, t, c), activation in zip(locations, stored["activations"].values, strict=True):
                self.assertAlmostEqual(activation, g.values[(row * T + t) * A + site["offset"] + c], delta=1e-3)
            found = [sum(which == c for _, _, which in locations) for c in range(site["C"])]
            self.assertEqual(found, counts["firings"].values[site["offset"]:site["offset"] + site["C"]])
            config = json.loads((place / "config.json").read_text())
            self.assertEqual((config["ctx_len"], config["n_tokens"]), (T, rows * T))
            self.assertEqual(config["model_name"], str(DATA / "plain" / "target"))
            self.assertEqual(config["dataset_repo"], str(DATA / "plain" / "eval.npy"))

    def test_a_place_that_cannot_be_written(self):
        (self.root / "file").write_text("")
        run = self.make_run()
        self.refuse(3, [str(self.root / "file"), "directory"], "harvest", run, "--sparse", self.root / "file" / "sparse")
        self.assertFalse((run / "interpretation").exists(), "known before anything is computed")


class Example(HarvestTest):
    @needs("numpy", "safetensors")
    def test_read_evidence(self):
        """examples/read_evidence.py, which people copy."""
        script = ROOT / "examples" / "read_evidence.py"
        self.assertLessEqual(len(script.read_text().splitlines()), 25)
        run = self.make_run()
        for beside in (False, True):
            if beside:
                shutil.copy(DATA / "tokenizer" / "tokenizer.json", self.root)
            self.harvest(run, "--tokens", self.root / "train.npy")
            done = subprocess.run([PYTHON, script, run], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            tables = self.tables(run)
            firings = tables["subcomponents"]["firings"].values
            names = [f"{site['name']}:{c}" for site in self.about(run)["sites"] for c in range(site["C"])]
            most = sorted(range(len(firings)), key=lambda c: -firings[c])[:10]
            printed = done.stdout.splitlines()
            self.assertEqual(len(printed), 10)
            for line, c in zip(printed, most):
                self.assertRegex(line, rf"^{re.escape(names[c])} +fires +{firings[c]} times, at ")
                entries = sections(tables["input_tokens"], "count", "token")[c]
                for count, token in sorted(entries, key=lambda entry: (-entry[0], entry[1]))[:3]:
                    text = " '.+'" if beside and has("tokenizers") else ""
                    self.assertRegex(line, rf"#{token}{text} {count} times")


if __name__ == "__main__":
    unittest.main()
