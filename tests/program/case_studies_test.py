"""The case studies: their prompts are those that the script draws, their words are tokens, their configuration runs, and the page has the tables
of its figures."""

import json
import math
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import ProgramTest, metrics

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = ROOT / "configs" / "case_studies"
SMALL = ("training.steps=2", "training.batch_size=2", "training.faithfulness_warmup.steps=1", "output.log_every=1", "data.train.sequence_length=8",
         "data.eval.sequence_length=8", "evaluation.batch_size=2", "evaluation.batches=1", "evaluation.final=false")

sys.path.insert(0, str(ROOT / "tools"))
from case_study import smollm2, smollm2_tables
from case_study.program import Failure
from case_study.studies import STUDIES
from case_study.tables import filled, tables
from case_study.tokens import Tokens


class CaseStudies(ProgramTest):
    def test_prompts_are_those_that_are_drawn(self):
        subprocess.run([sys.executable, ROOT / "tools" / "case_study" / "make_prompts.py", "--out", self.root / "prompts"], check=True,
                       capture_output=True)
        drawn = {path.name: path.read_bytes() for path in (self.root / "prompts").iterdir()}
        self.assertEqual(drawn, {path.name: path.read_bytes() for path in (CONFIGURATION / "prompts").iterdir()})
        behaviours = {f"{behaviour}.jsonl" for study in STUDIES for behaviour in study.behaviours}
        self.assertEqual(set(drawn), behaviours | {"other.jsonl"})

    def test_words_are_one_token_each(self):
        second, demo = Tokens(CONFIGURATION / "tokenizer.json"), Tokens(ROOT / "configs" / "demo" / "tokenizer.json")
        for study in STUDIES:
            for word in study.words:
                self.assertIsNotNone(second.number(word), word)
                self.assertEqual(demo.number(word) is None, study.name == "adverbs", word)

    def test_the_second_target_is_decomposed(self):
        out = self.root / "run"
        overrides = [word for setting in SMALL for word in ("--set", setting)]
        self.run_program("decompose", CONFIGURATION / "config.yaml", "--out", out, *overrides)
        steps = metrics(out)
        self.assertEqual([step["step"] for step in steps], [0, 1])
        self.assertTrue(all(math.isfinite(step["train/loss/total"]) for step in steps), steps)

    def test_the_pages_have_the_tables_of_their_figures(self):
        for name, tables_of in (("case_studies", tables), ("case_studies_smollm2", smollm2_tables.tables)):
            page = (ROOT / "docs" / f"{name}.md").read_text()
            made = tables_of(json.loads((ROOT / "docs" / f"{name}.json").read_text()))
            self.assertEqual(filled(page, made), page)
            self.assertEqual(sorted(re.findall(r"<!-- table: (.*) -->", page)), sorted(made))  # each once
            with self.assertRaisesRegex(Failure, "found 'other'"):
                filled("<!-- table: other -->\n<!-- end -->", made)

    def test_one_for_all_is_the_largest_difference(self):
        """Against every other choice of as many prompts."""
        kl = {"both": [3.0, 2.0, 2.5, 0.5, 0.1], "first": [9.0, 0.0, 0.0, 0.0, 0.0], "adverbs": [0.0, 0.0, 0.2, 1.0, 1.5]}
        found = smollm2.one_for_all({"subcomponents": [{"key": key, "kl": values, "kl_99": 0.01} for key, values in kl.items()]})
        self.assertEqual((found["conjunctions"]["key"], found["conjunctions"]["difference"], found["conjunctions"]["larger"]), ("both", 1.5, 0))
        self.assertEqual((found["adverbs"]["key"], found["adverbs"]["larger"]), ("adverbs", 0))
        self.assertAlmostEqual(found["adverbs"]["difference"], 0.8)
        self.assertEqual(len(found["adverbs"]["others"]), 9)

    def test_wrong_arguments_are_sentences(self):
        for words, sentence in ((("--runs", "demo:0,other:1"), "--runs: expected demo or case_studies, a colon and a seed, as in demo:0, found other:1"),
                                (("--runs", "demo"), "as in demo:0, found demo"),
                                (("--program", self.root / "none"), "--program: expected the built program, found nothing at")):
            done = subprocess.run([ROOT / "tools" / "case_studies", *words], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(sentence, done.stderr)
        done = subprocess.run([ROOT / "tools" / "case_studies_smollm2", "--program", self.root / "none"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("--program: expected the built program, found nothing at", done.stderr)


if __name__ == "__main__":
    unittest.main()
