"""One question about a model from end to end: rows of a background, a targeted decomposition, evidence, graphs, removals and the page;
what is interrupted goes on, and what cannot be asked is refused in a sentence."""

import json
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import PROGRAM, ProgramTest

DEMO = Path(__file__).parents[2] / "configs" / "demo"
QUESTION = ("--prompt", "And the children", "--continuation", " of", "--prompt", "And it came to", "--continuation", " pass")


def small(layers="1:2", budget="2"):
    return ("--tokenizer", DEMO / "tokenizer.json", "--budget", budget, "--layers", layers, "--threads", "2", "--set", "training.steps=150",
            "--set", "training.batch_size=8", "--set", "training.background_batch_size=2", "--set", "causal_importance.hidden_dims=[32]")


class Explain(ProgramTest):
    def ask(self, out, *more, exit_code=0):
        return self.run_program("explain", DEMO / "target", *QUESTION, *small(), "--out", out, *more, exit_code=exit_code)

    def interrupt_while_it_decomposes(self, out):
        """Ctrl-C saves, and says how to go on."""
        process = subprocess.Popen([PROGRAM, "explain", DEMO / "target", *QUESTION, *small(), "--out", out], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        log = out / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.stat().st_size > 0) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=120)[1]
        self.assertEqual(process.returncode, 130, error)
        self.assertIn("interrupted", error)
        self.assertEqual(list(json.loads((out / "explain.json").read_text())["stages"]), ["background", "settings"])

    def look_into(self, out):
        """Its run's own rows are prompts of several lengths, which nothing can be summed over; other text can."""
        run, key, edit = out / "run", "h.1.mlp.down_proj:1", "data.eval={type: tokens, path: %s, sequence_length: 8}" % (out / "background.bin")
        for command in (("attributions",), ("interactions",), ("attention", "--layer", "1"), ("attention", "--layer", "1", "--dry-run"), ("cluster",), ("harvest",)):
            with self.subTest(command):
                self.refuse(2, ["rows of one length", "3 to 4", "--tokens " + str((out / "background.bin").resolve())], *command[:1], run, *command[1:])
                self.run_program(*command[:1], run, *command[1:], "--tokens", out / "background.bin", "--positions", "500",
                                 *(("--dry-run",) if command == ("harvest",) else ()))
        self.refuse(2, ["rows of one length", "--set", 'background.bin", sequence_length'], "edit", run, "--ablate", key)
        self.run_program("edit", run, "--ablate", key, "--controls", "2", "--measure-positions", "500", "--set", edit)
        asked = self.root / "of.jsonl"
        asked.write_text('{"prompt": "And the children", "target": " of"}\n')
        for more in ((), ("--against", out / "background.bin")):
            self.run_program("audit", run, "--prompts", asked, *more)  # with the tokenizer that the explanation was given

    def test_from_prompts_to_the_page(self):
        out, result = self.root / "explained", self.root / "result.json"
        self.interrupt_while_it_decomposes(out)
        text, _ = self.ask(out, "--json", result, "--resume")
        self.assertIn("And the children", text)
        found = json.loads(result.read_text())
        self.assertEqual([prompt["continuation"] for prompt in found["prompts"]], [" of", " pass"])
        self.assertGreater(found["prompts"][0]["probability"][0], 0.9)
        self.assertEqual(found["steps"], 150)
        self.assertEqual(found["sites"], 6)
        self.assertEqual(list(found["stage_seconds"]), ["background", "settings", "decompose", "evaluate", "harvest", "graphs", "specificity", "removal", "report"])
        self.assertGreaterEqual(found["background_positions"], 512)
        self.assertGreater(len(found["subcomponents"]), 1)
        self.assertEqual(len({one["key"] for one in found["subcomponents"]}), len(found["subcomponents"]))
        for one in found["subcomponents"]:
            self.assertEqual(len(one["kl"]), 2)
            self.assertAlmostEqual(one["specificity"], max(one["kl"]) / (one["kl_99"] + 1e-6), delta=1e-6 * one["specificity"])
        ranks = [one["specificity"] for one in found["subcomponents"]]
        self.assertEqual(ranks, sorted(ranks, reverse=True))
        self.assertEqual([removal["prompt"] for removal in found["removals"]], [0, 1])
        for removal in found["removals"]:
            self.assertEqual(len(removal["before"]), 2)
            # Measured on rows that had no part in the choice.
            chose = sum("target" not in json.loads(line) for line in (out / f"against_{removal['prompt'] + 1}.jsonl").read_text().splitlines())
            rows, length = found["background_rows"], removal["positions"] // (found["background_rows"] - chose)
            self.assertEqual(removal["positions"], length * (rows - chose))
            self.assertGreater(removal["positions"], 10_000)
        for name in ("config.yaml", "prompts.jsonl", "background.bin", "run/report.html", "run/evaluation.json"):
            self.assertTrue((out / name).exists(), name)
        self.assertEqual(len((out / "prompts.jsonl").read_text().splitlines()), 2)
        # The configuration runs by itself.
        self.run_program("check", out / "config.yaml")
        # Nothing is left to do, and nothing is done again.
        again, _ = self.ask(out, "--resume", "--json", result)
        self.assertEqual(json.loads(result.read_text())["stage_seconds"], found["stage_seconds"])
        self.refuse(2, ["found another"], "explain", DEMO / "target", *small(), "--prompt", "And the king", "--out", out, "--resume")
        self.refuse(2, ["found one", "--resume"], "explain", DEMO / "target", *QUESTION, *small(), "--out", out)
        self.look_into(out)
        # A state that is damaged or of another version is said to be so.
        whole = (out / "explain.json").read_text()
        for damage in (whole[: len(whole) // 2], "[]", json.dumps({**json.loads(whole), "settings": {}})):
            (out / "explain.json").write_text(damage)
            self.refuse(3, ["explain.json", "choose another --out"], "explain", DEMO / "target", *QUESTION, *small(), "--out", out, "--resume")
        (out / "explain.json").write_text(whole)
        # A stage that is forgotten is made again, and those before it are not.
        state = json.loads((out / "explain.json").read_text())
        del state["stages"]["evaluate"]
        for removal in state["removals"]:
            for curve in removal["curves"]:
                del curve["stayed"]  # as an earlier version left it
        (out / "explain.json").write_text(json.dumps(state))
        self.ask(out, "--resume", "--json", result)
        second = json.loads(result.read_text())["stage_seconds"]
        self.assertEqual(second["decompose"], found["stage_seconds"]["decompose"])
        self.assertNotEqual(second["evaluate"], found["stage_seconds"]["evaluate"])

    def test_what_cannot_be_asked(self):
        out = self.root / "out"
        target = DEMO / "target"
        self.refuse(2, ["tokenizer"], "explain", target, *QUESTION, "--out", out)
        self.refuse(2, ["--continuation", "3 prompts"], "explain", target, *QUESTION, "--prompt", "x", *small(), "--out", out)
        self.refuse(2, ["--layers", "0:2"], "explain", target, *QUESTION, *small(layers="1:5"), "--out", out)
        _, error = self.run_program("explain", target, *QUESTION, *small(budget="0.00001"), "--out", self.root / "short", exit_code=2)
        self.assertIn("--budget: expected enough minutes for 100 steps", error)
        _, error = self.run_program("explain", target, *QUESTION, *small(), "--out", self.root / "start", "--start-token", "1024", exit_code=2)
        self.assertIn("--start-token: expected a token below 1024", error)
        run = self.root / "a_run"
        (run / "checkpoints").mkdir(parents=True)
        self.refuse(2, ["a model's directory", "found a run"], "explain", run, *QUESTION, *small(), "--out", out)
        self.refuse(3, ["found none"], "explain", target, *QUESTION, *small(), "--out", out / "x", "--resume")

    def test_one_prompt(self):
        """No other prompt is there to stay as it was."""
        out, result = self.root / "one", self.root / "one.json"
        self.run_program("explain", DEMO / "target", *QUESTION[:4], *small(), "--out", out, "--json", result)
        found = json.loads(result.read_text())
        self.assertEqual([len(removal["before"]) for removal in found["removals"]], [1])
        self.assertTrue(all(baseline["stayed"] is None for baseline in found["removals"][0]["baselines"]))
        self.assertEqual(list(found["stage_seconds"])[-1], "report")

    def test_a_plan_alone(self):
        out = self.root / "planned"
        text, _ = self.ask(out, "--plan")
        self.assertIn("config.yaml", text)
        self.assertTrue((out / "config.yaml").exists())
        self.assertFalse((out / "run").exists())
        self.refuse(2, ["the same command with --resume"], "explain", DEMO / "target", *QUESTION, *small(), "--out", out)


if __name__ == "__main__":
    unittest.main()
