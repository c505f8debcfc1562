"""`vpd import` converts what the original PyTorch code wrote, `vpd evaluate` gives that code's numbers, and nothing in a file is run."""

import json
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import DATA, ProgramTest, read_safetensors

GOLDEN = DATA / "import"


class Import(ProgramTest):
    def test_run(self):
        out, err = self.run_program("import", GOLDEN / "run", "--tokens", GOLDEN / "tokens.npy", "--out", self.out, "--json", "import.json")
        for words in ("a run after 10 steps", "12, with 300 subcomponents", "global_shared_transformer", str(self.out)):
            self.assertIn(words, out)
        # What its configuration does not say has a sentence each.
        self.assertEqual([line.split(":")[0] for line in err.splitlines()], ["warning"] * 2, err)
        summary = json.loads((self.root / "import.json").read_text())
        self.assertEqual([summary[key] for key in ("kind", "step", "sites", "subcomponents")], ["run", 10, 12, 300])
        self.assertEqual(len(summary["warnings"]), 2)
        provenance = json.loads((self.out / "provenance.json").read_text())
        self.assertIn("import", provenance["command_line"])

        self.run_program("evaluate", self.out, "--device", "cpu")
        found = json.loads((self.out / "evaluation.json").read_text())
        self.assertEqual([found["step"], found["checkpoint"]], [10, "checkpoints/step_00000010"])
        expected = json.loads((GOLDEN / "expected.json").read_text())["evaluation"]
        for name, value in expected.items():
            with self.subTest(metric=name):
                self.assertLessEqual(abs(found["metrics"][name] - value), 2e-5 * abs(value))

        # A checkpoint of weights alone: a new run goes on from it, and none resumes.
        self.refuse(3, ["state.json", "initialize_from"], "decompose", "--resume", self.out)
        self.run_program("decompose", self.out / "config.yaml", "--out", self.root / "more", "--set", "training.steps=1",
                         "--set", f"initialize_from={self.out / 'checkpoints' / 'latest'}", "--set", "device=cpu")
        self.assertIn("12, with 300 subcomponents", (self.root / "more" / "log.txt").read_text())

    def test_target(self):
        out, err = self.run_program("import", GOLDEN / "target" / "model_step_100.pt", "--out", self.out)
        self.assertIn("a target after 100 steps", out)
        self.assertEqual(err, "")
        self.assertEqual(sorted(path.name for path in self.out.iterdir()), ["model.safetensors", "model_config.json", "provenance.json"])
        self.assertIn("15408 elements", self.run_program("inspect", self.out)[0])
        # The run's own target, given by hand, is the same.
        self.run_program("import", GOLDEN / "run", "--target", self.out, "--out", self.root / "run")
        imported = (read_safetensors(path / "model.safetensors") for path in (self.out, self.root / "run" / "target"))
        self.assertTrue(next(imported) == next(imported))

    def test_hostile_file_is_refused_by_name_and_runs_nothing(self):
        content = (GOLDEN / "hostile.pth").read_bytes()
        self.assertIn(b"cposix\nsystem\n", content)
        self.assertIn(b"touch pwned", content)  # in the directory in which the program runs
        shutil.copy(GOLDEN / "hostile.pth", self.root / "model_10.pth")
        before = sorted(self.root.iterdir())
        self.refuse(3, ["model_10.pth", "posix.system", "nothing of it was run"], "import", "model_10.pth", "--out", self.out)
        self.refuse(3, ["posix.system"], "import", self.root, "--out", self.out)
        self.assertEqual(sorted(self.root.iterdir()), before)

    def test_truncated_file(self):
        content = (GOLDEN / "run" / "model_10.pth").read_bytes()
        for size in (0, 1, 1000, len(content) // 2, len(content) - 1):
            (self.root / "model_10.pth").write_bytes(content[:size])
            self.refuse(3, ["model_10.pth", "expected", "found"], "import", "model_10.pth", "--out", self.out)
            self.assertFalse(self.out.exists())

    def test_exit_codes(self):
        target = GOLDEN / "target"
        self.refuse(2, ["--out", "vpd import --help"], "import", target)
        self.refuse(2, ["path", "vpd import --help"], "import", "--out", self.out)
        self.refuse(2, ["--step"], "import", target, "--step", "-1", "--out", self.out)
        self.refuse(2, ["--step", "a file"], "import", target / "model_step_100.pt", "--step", 100, "--out", self.out)
        self.refuse(2, ["--tokens", "belong to a run"], "import", target, "--tokens", GOLDEN / "tokens.npy", "--out", self.out)
        self.refuse(3, ["nowhere", "found nothing of that name"], "import", "nowhere", "--out", self.out)
        self.refuse(3, ["step 7", "those of 100"], "import", target, "--step", 7, "--out", self.out)
        self.refuse(3, ["train.npy", "torch.save"], "import", "train.npy", "--out", self.out)
        self.refuse(3, ["nowhere"], "import", GOLDEN / "run", "--tokens", "nowhere", "--out", self.out)
        self.refuse(3, ["nowhere"], "import", GOLDEN / "run", "--target", "nowhere", "--out", self.out)
        self.assertFalse(self.out.exists())
        self.out.mkdir()
        (self.out / "something").write_text("precious")
        self.refuse(3, [str(self.out), "choose another --out"], "import", target, "--out", self.out)
        self.assertEqual((self.out / "something").read_text(), "precious")
        # Where nobody may write, root included.
        self.refuse(3, ["cannot make this directory"], "import", target, "--out", "/proc/imported")
        self.refuse(3, ["cannot make this directory"], "import", target, "--out", "train.npy/imported")

    def test_help_has_examples(self):
        out, _ = self.run_program("import", "--help")
        for words in ("--target", "--tokens", "--step", "--json", "Examples:", "vpd evaluate"):
            self.assertIn(words, out)


if __name__ == "__main__":
    unittest.main()
