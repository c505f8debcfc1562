"""What `vpd harvest`, `find` and `show` do with bad input: a sentence, an exit code, and nothing half done."""

import shutil
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import HarvestTest
from support import read_safetensors, write_safetensors, write_shard


class BadInput(HarvestTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()
        self.weights = self.run_directory / "checkpoints" / "step_00000000"

    def refuse_harvest(self, exit_code, words, *arguments):
        self.refuse(exit_code, words, "harvest", self.run_directory, *arguments)

    def put(self, file, name, value):
        """Another first number of a tensor of the checkpoint."""
        tensors = read_safetensors(self.weights / file)
        dtype, shape, data = tensors[name]
        tensors[name] = [dtype, shape, struct.pack("<f", value) + data[4:]]
        write_safetensors(self.weights / file, tensors)

    def test_options(self):
        threshold = "--threshold: expected a number of at least 0 and below 1"
        shard = "--shard: expected a part and the number of parts, from 0/8 to 7/8"
        sparse = ("--sparse", self.root / "sparse")
        cases = [([threshold, value], "--threshold", value) for value in ("1.5", "-0.1", "1")]
        cases += [([shard, f'"{value}"'], "--shard", value) for value in ("3/2", "2/2", "-1/2", "two", "1/2/3")]
        cases += [(["--sparse: expected one process without --shard"], *sparse, *more) for more in (("--shard", "0/2"), ("--merge",))]
        cases += [(["--split: expected eval or train", '"test"'], "--split", "test"),
                  (["--output-tokens", '"exact" or a whole number', '"few"'], "--output-tokens", "few"),
                  (["--json", "found no directory"], "--json", self.root / "no" / "a.json")]
        self.refuse_each(2, *((words, "harvest", self.run_directory, *more) for words, *more in cases))
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_all_words_of_an_option(self):
        self.refuse_harvest(2, ["--coactivation", '"all"', '"none"', '"some"'], "--coactivation", "some")

    def test_runs(self):
        self.refuse(3, ["nowhere", "expected the directory of a run"], "harvest", "nowhere")
        self.refuse_harvest(3, ["expected a checkpoint of step 5, found those of 0"], "--checkpoint", "5")
        shutil.rmtree(self.weights)
        self.refuse_harvest(3, ["expected a complete checkpoint", "vpd decompose --resume"])

    def test_weights_that_are_not_finite(self):
        for file, name in (("decomposition.safetensors", "h.0.mlp.c_fc.V"), ("causal_importance.safetensors", "proj_out.bias")):
            before = (self.weights / file).read_bytes()
            self.put(file, name, float("nan"))
            self.refuse_harvest(3, [file, f"'{name}'", "expected finite values", "1 that is NaN or infinite"])
            (self.weights / file).write_bytes(before)
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_parts(self):
        one_row = ("--batch-size", "1")
        self.refuse_harvest(3, ["harvest.parts: expected the parts of a harvest, found none", "--shard"], "--merge")
        self.harvest(self.run_directory, *one_row, "--shard", "1/2")
        self.refuse_harvest(3, ["expected all 2 parts, found none of shard 0: run those first"], *one_row, "--merge")
        self.harvest(self.run_directory, *one_row, "--shard", "0/2", "--window", "3", "--seed", "4")
        # Whichever part is read first, the key on which it differs is named, with both values.
        self.refuse_harvest(3, ["settings.json", '"window"', "20", "3", "go on with the same options, or remove"], *one_row, "--merge")
        for more, key in (((*one_row, "--seed", "4"), '"seed"'), ((*one_row, "--threshold", "0.3"), '"threshold"'),
                          ((*one_row, "--positions", "20"), '"rows"'), ((*one_row, "--output-tokens", "7"), '"output_tokens"'),
                          (("--batch-size", "2"), '"batch_rows"')):
            self.refuse_harvest(3, ["settings.json", key], *more, "--shard", "1/2")
        self.harvest(self.run_directory, *one_row, "--shard", "0/3")
        self.refuse_harvest(3, ["expected parts of one number of shards, found several; remove"], *one_row, "--merge")

    def test_parts_of_other_weights(self):
        self.harvest(self.run_directory, "--batch-size", "1", "--shard", "0/2")
        self.put("decomposition.safetensors", "h.0.mlp.c_fc.V", 0.5)
        self.refuse_harvest(3, ["settings.json", '"weights"'], "--batch-size", "1", "--shard", "0/2")

    def test_parts_of_other_overrides(self):
        """A model in other numbers, and rows in another order: together they would be no harvest of anything."""
        command = ("--split", "train", "--batch-size", "4", "--set", "data.train.shuffle=true")
        for override in ("precision=bf16", "seed=1"):
            with self.subTest(override):
                self.harvest(self.run_directory, *command, "--shard", "0/2")
                self.harvest(self.run_directory, *command, "--shard", "1/2", "--set", override)
                self.refuse_harvest(3, ["settings.json", override.split("=")[0]], *command, "--merge")
            shutil.rmtree(self.run_directory / "interpretation", ignore_errors=True)

    def test_tokens(self):
        _, err = self.harvest(self.run_directory, "--positions", "1e6")
        self.assertIn("--positions 1000000: there are only 51, and all are taken", err)
        self.assertEqual(self.about(self.run_directory)["positions"], 51)
        self.assertIn("there are only 51", " ".join(self.about(self.run_directory)["warnings"]))
        self.refuse_harvest(3, ["none.npy", "cannot open the file"], "--tokens", self.root / "none.npy")
        write_shard(self.root / "short.bin", [1] * 16)
        self.refuse_harvest(3, ["short.bin", "sequence_length = 17", "found 16"], "--tokens", self.root / "short.bin")
        write_shard(self.root / "large.bin", [1] * 30 + [61] + [2] * 20)
        words = ["large.bin", "below the vocabulary size 61", "found 61 at position 30"]
        self.refuse_harvest(3, words, "--tokens", self.root / "large.bin")

    def test_after_bad_tokens(self):
        """What has saved nothing is in nobody's way."""
        write_shard(self.root / "large.bin", [61] * 17)
        self.refuse_harvest(3, ["large.bin", "found 61"], "--tokens", self.root / "large.bin")
        self.harvest(self.run_directory)

    def test_a_relative_path(self):
        """Of the command line, and so from where the command is given."""
        self.harvest(self.run_directory, "--tokens", "train.npy")
        self.assertEqual(self.about(self.run_directory)["positions"], 30 * 17)

    def test_readers(self):
        show, find = ("show", self.run_directory), ("find", self.run_directory)
        nothing = ["harvest: expected what `vpd harvest", "found nothing: run it first"]
        self.refuse_each(3, (nothing, *show, "h.0.mlp.c_fc:1"), (nothing, *find, "--tokens", "#5"))
        self.harvest(self.run_directory)
        form, beyond = ["expected a subcomponent as SITE:NUMBER"], "expected one of the 40 subcomponents of h.0.mlp.c_fc, 0 to 39"
        self.refuse_each(
            2, (["'h.0.mlp.c_fd'", "did you mean h.0.mlp.c_fc?"], *show, "h.0.mlp.c_fd:1"),
            *(([beyond, c], *show, f"h.0.mlp.c_fc:{c}") for c in ("40", "1000000")),
            *((form, *show, key) for key in ("h.0.mlp.c_fc", "h.0.mlp.c_fc:-1", "7x")),
            (["did you mean h.0.mlp.c_fc?"], *find, "--like", "h.0.mlp.c_fd:1"),
            (["expected --tokens or --like, found neither"], *find),
            (["--tokens excludes --by"], *find, "--tokens", "#5", "--by", "V"),
            (["--side excludes --like"], *find, "--like", "h.0.mlp.c_fc:1", "--side", "output"),
            (["'#61'", "below 61"], *find, "--tokens", "#5,#61"),
            (["' of'", "--tokenizer"], *find, "--tokens", " of"),
            (["'h.0.mlp.c_fd'", "h.0.mlp.c_fc"], *find, "--tokens", "#5", "--sites", "h.0.mlp.c_fd"))
        self.refuse(3, ["step_00000007", "steps that have it: 0"], *show, "h.0.mlp.c_fc:1", "--checkpoint", "7")
        self.put("decomposition.safetensors", "h.0.mlp.c_fc.V", 0.5)
        changed = ["about.json", "decomposition.safetensors", "made of other weights; make it again"]
        self.refuse_each(3, (changed, *show, "h.0.mlp.c_fc:1"), (changed, *find, "--tokens", "#5"))


if __name__ == "__main__":
    unittest.main()
