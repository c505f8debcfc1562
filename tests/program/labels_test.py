"""`vpd labels` on a small run: questions that give nothing away, and answers that are checked before anything is written."""

import json
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from labels_support import BEYOND, STEP, TESTS, VOCABULARY, LabelsTest, excerpts, numbers, read_lines, tokens_and_mark
from support import read_safetensors


class Labels(LabelsTest):
    # Questions.

    def test_a_round_trip(self):
        questions, keys = self.export("asked", "--top", "4")
        self.assertEqual(sorted(question["key"] for question in questions), sorted(self.hottest(4)))
        self.assertEqual(keys, {})
        answers = []
        for i, question in enumerate(questions):
            self.assertEqual(list(question), ["id", "key", "task", "template", "prompt", "schema"])
            self.assertEqual((question["id"], question["task"]), (question["key"], "label"))
            self.assertEqual(set(question["schema"]["properties"]), {"input_label", "output_label", "label", "reasoning", "confidence"})
            answers.append({"id": question["id"], "label": f"name {i}", "input_label": f"in {i}", "output_label": f"out {i}",
                            "reasoning": "because", "confidence": ("low", "medium", "high", None)[i]})
        text = self.take(*answers, arguments=("--source", "a model"))
        self.assertIn("4 labels", text)
        kept = self.labels()
        self.assertEqual(list(kept), sorted(kept))
        for i, question in enumerate(questions):
            label = kept[question["key"]]
            self.assertRegex(label.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            expected = {"label": f"name {i}", "input_label": f"in {i}", "output_label": f"out {i}", "source": "a model"}
            if answers[i]["confidence"]:
                expected["confidence"] = answers[i]["confidence"]
            self.assertEqual({name: label[name] for name in expected}, expected)
            self.assertLessEqual(set(label), {*expected, "reasoning"})
        text, _ = self.run_program("show", self.out, questions[1]["key"])
        self.assertEqual(text.split("\n")[0].split(), [questions[1]["key"], "name", "1"])
        found = self.find("--tokens", ",".join(f"#{token}" for token in range(VOCABULARY)), "--top", "1000")["found"]
        named = {one["key"]: one["label"] for one in found if one["label"]}
        self.assertEqual(named, {question["key"]: f"name {i}" for i, question in enumerate(questions)})

    def test_the_same_export_twice(self):
        tasks = ("label", *TESTS)
        self.export_all({f"{task}_{i}": ("--task", task) for task in tasks for i in (1, 2)})
        asked = [{question["key"] for question in read_lines(self.root / f"{task}_1" / "prompts.jsonl")} for task in tasks]
        some = sorted(set.intersection(*asked))[:2]
        (self.root / "some.txt").write_text("\n".join(some) + "\n")
        self.export_all({**{f"{task}_other": ("--task", task, "--seed", "1") for task in TESTS},
                         **{f"{task}_some": ("--task", task, "--keys", self.root / "some.txt") for task in ("label", "detection")}})
        for task in tasks:
            for name in ("prompts.jsonl", "keys.json", "README"):
                self.assertEqual((self.root / f"{task}_1" / name).read_bytes(), (self.root / f"{task}_2" / name).read_bytes(), (task, name))
        for task in ("label", "detection"):
            # A subcomponent's questions do not depend on what else is asked.
            whole, part = (read_lines(self.root / f"{task}_{name}" / "prompts.jsonl") for name in ("1", "some"))
            self.assertEqual({question["key"] for question in part}, set(some))
            self.assertEqual(sorted((q["id"], q["prompt"]) for q in part),
                             sorted((q["id"], q["prompt"]) for q in whole if q["key"] in some), task)
        for task in TESTS:
            for name in ("prompts.jsonl", "keys.json"):
                self.assertNotEqual((self.root / f"{task}_1" / name).read_bytes(), (self.root / f"{task}_other" / name).read_bytes(), task)

    def test_a_question_fits(self):
        roomy, _ = self.export("roomy", "--top", "5", "--max-tokens", "100000", "--examples", "30")
        sizes = [len(question["prompt"].encode()) for question in roomy]
        least = max(sizes) // 4 - 200
        tight, _ = self.export("tight", "--top", "5", "--max-tokens", str(least), "--examples", "30")
        self.assertEqual([question["id"] for question in tight], [question["id"] for question in roomy])
        self.assertGreater(max(sizes), 4 * least)
        for question, before in zip(tight, roomy):
            self.assertLessEqual(len(question["prompt"].encode()), 4 * least)
            self.assertLessEqual(len(question["prompt"]), len(before["prompt"]))
            self.assertEqual(question["prompt"].splitlines()[-1], before["prompt"].splitlines()[-1])
        few, _ = self.export("few", "--top", "5", "--examples", "2")
        for question in few:
            self.assertIn("\n2. ", question["prompt"])
            self.assertNotIn("\n3. ", question["prompt"])
        self.refuse(2, ["--max-tokens 50", "expected room for a question about h.", "takes about"],
                    "labels", "export", self.out, "--out", self.root / "none", "--max-tokens", "50")
        self.assertFalse((self.root / "none").exists())

    def test_somebody_elses_readme(self):
        out = self.root / "project"
        out.mkdir()
        (out / "README").write_text("My project.\n")
        self.refuse(2, [f"--out {out}", "found another README"], "labels", "export", self.out, "--out", out)
        self.assertEqual([path.name for path in out.iterdir()], ["README"])
        self.assertEqual((out / "README").read_text(), "My project.\n")
        (out / "README").unlink()
        for top in ("2", "3"):
            self.export("project", "--top", top)

    def test_bad_exports(self):
        keys = self.root / "keys.txt"
        keys.write_text(f"{self.hottest(1)[0]}\n\nh.0.mlp.c_fk:1\n")
        dead = self.root / "dead.txt"
        dead.write_text(self.dead() + "\n")
        out = ("--out", self.root / "questions")
        self.refuse_each(3, [([f"{keys}: line 3", "h.0.mlp.c_fc"], ("labels", "export", self.out, *out, "--keys", keys)),
                             (["expected subcomponents with enough examples", "detection"],
                              ("labels", "export", self.out, *out, "--keys", dead, "--task", "detection")),
                             (["vpd harvest", f"steps that have it: {STEP}"], ("labels", "export", self.out, *out, "--checkpoint", "7"))])
        self.refuse_each(2, [(["--task", "intruder"], ("labels", "export", self.out, *out, "--task", "lable")),
                             (["--keys", "--top"], ("labels", "export", self.out, *out, "--keys", dead, "--top", "3"))])
        self.assertFalse((self.root / "questions").exists())

    # Tests of labels.

    def test_right_answers_are_in_the_keys_alone(self):
        """Perfect, empty and wrong answers have the scores that they should have."""
        self.export_all({task: ("--task", task, "--top", "40") for task in TESTS})
        keys = {}
        for task in TESTS:
            questions, of_task = read_lines(self.root / task / "prompts.jsonl"), json.loads((self.root / task / "keys.json").read_text())
            self.assertEqual([question["id"] for question in questions], list(of_task))
            self.assertEqual(len(of_task), len(questions))
            for question in questions:
                key = of_task[question["id"]]
                self.assertEqual(list(question), ["id", "key", "task", "template", "prompt", "schema"])
                self.assertNotIn(question["key"], question["prompt"])
                self.assertEqual((key["task"], key["key"]), (task, question["key"]))
                self.assertEqual(len(excerpts(question["prompt"])), key["windows"])
                self.assertEqual(key["answer"], sorted(set(key["answer"])))
                self.assertEqual(question["schema"]["required"], ["answer"])
            keys.update(of_task)
        path = self.root / "all_keys.json"
        path.write_text(json.dumps(keys))
        arguments = ("--keys", path, "--source", "a model")
        right = {i: set(key["answer"]) for i, key in keys.items()}
        wrong = {i: set(range(1, key["windows"] + 1)) - right[i] for i, key in keys.items()}
        # One number needs no list around it.
        said = self.take_json(*({"id": i, "answer": sorted(numbers) if len(numbers) > 1 else min(numbers)} for i, numbers in right.items()),
                              arguments=arguments)
        self.assertEqual(set(said["scores"]), set(TESTS))
        for task, score in said["scores"].items():
            self.assertEqual((score["accuracy"], score["balanced_accuracy"]), (1.0, 1.0), task)
            kept = self.scores()[task]
            self.assertEqual((kept["accuracy"], kept["source"]), (1.0, "a model"))
            self.assertEqual(set(kept["subcomponents"]), {key["key"] for key in keys.values() if key["task"] == task})
        empty = self.take_json(*({"id": i, "answer": []} for i in keys), arguments=arguments)["scores"]
        none = self.take_json(*({"id": i, "answer": sorted(numbers)} for i, numbers in wrong.items()), arguments=arguments)["scores"]
        for task in TESTS:
            self.assertAlmostEqual(empty[task]["balanced_accuracy"], 0.0 if task == "intruder" else 0.5)
            self.assertEqual((none[task]["accuracy"], none[task]["balanced_accuracy"]), (0.0, 0.0))
        for task in ("detection", "fuzzing"):
            windows = [(len(right[i]), key["windows"]) for i, key in keys.items() if key["task"] == task]
            self.assertAlmostEqual(empty[task]["accuracy"], 1 - sum(a for a, _ in windows) / sum(b for _, b in windows))

    def test_the_keys_are_true(self):
        """What fires at each marked token is read from the file of all firings."""
        self.tokenizer.unlink()
        self.run_program("harvest", self.out, "--split", "train", "--coactivation", "all", "--sparse", self.root / "sparse")
        rows, fires = {}, set()
        for site in {key.rpartition(":")[0] for key, _ in self.facts()}:
            for file in (self.root / "sparse" / site).glob("*.safetensors"):
                _, (_, length), _ = read_safetensors(file)["tokens"]
                tokens, places = numbers(file, "tokens"), numbers(file, "locations")
                rows = {tuple(tokens[at:at + length]): at // length for at in range(0, len(tokens), length)}
                fires |= {(f"{site}:{places[i + 2]}", places[i], places[i + 1]) for i in range(0, len(places), 3)}
        self.assertEqual(len(rows), 30)
        self.export_all({task: ("--task", task) for task in TESTS})
        for task in TESTS:
            questions, keys = read_lines(self.root / task / "prompts.jsonl"), json.loads((self.root / task / "keys.json").read_text())
            wrong, count = [], 0
            for question in questions:
                for i, excerpt in enumerate(excerpts(question["prompt"]), 1):
                    tokens, mark = tokens_and_mark(excerpt)  # all of a row of 17, or a part of it
                    places = [(row, at + mark) for whole, row in rows.items() for at in range(len(whole) - len(tokens) + 1)
                              if list(whole[at:at + len(tokens)]) == list(tokens)]
                    self.assertTrue(places, excerpt)
                    chosen, there = i in keys[question["id"]]["answer"], any((question["key"], *place) in fires for place in places)
                    wrong += [f"{question['id']} {i}"] * (there != (chosen != (task == "intruder")))
                    count += 1
            with self.subTest(task=task):
                self.assertGreater(count, 100)
                self.assertEqual(len(wrong), 0, f"{len(wrong)} of {count} excerpts have a wrong answer, such as {wrong[:3]}")

    def test_the_place_of_the_mark_tells_nothing(self):
        """Whoever takes marks in the middle for right ones must not do well."""
        self.tokenizer.unlink()
        self.run_program("harvest", self.out, "--split", "train", "--window", "3")
        for task in ("detection", "fuzzing"):
            questions, keys = self.export(task, "--task", task)
            right = count = 0
            for question in questions:
                for i, excerpt in enumerate(excerpts(question["prompt"]), 1):
                    tokens, mark = tokens_and_mark(excerpt)
                    right += (mark == len(tokens) - 1 - mark) == (i in keys[question["id"]]["answer"])
                    count += 1
            with self.subTest(task=task):
                self.assertGreater(count, 100)
                self.assertLess(right / count, 0.65)

    def test_scores_of_tests_stand_beside_each_other(self):
        for task in ("detection", "fuzzing"):
            _, keys = self.export(task, "--task", task, "--top", "10")
            answers = [{"id": i, "answer": key["answer"]} for i, key in keys.items()]
            self.take(*answers, arguments=("--merge", "--keys", self.root / task / "keys.json"))
        self.assertEqual(set(self.scores()), {"detection", "fuzzing"})

    def test_answers_of_tests_leave_labels_alone(self):
        key = self.export("first", "--task", "detection")[0][0]["key"]
        self.run_program("labels", "set", self.out, key, "by hand")
        before = (self.results / "labels.json").read_bytes()
        questions, keys = self.export("asked", "--task", "detection")
        self.assertTrue(any('"by hand"' in question["prompt"] for question in questions if question["key"] == key))
        self.take(*({"id": i, "answer": []} for i in keys), arguments=("--keys", self.root / "asked" / "keys.json"))
        self.assertEqual((self.results / "labels.json").read_bytes(), before)

    def test_a_damaged_file_of_keys(self):
        i = "detection/h.0.mlp.c_fc:0/0"
        answers, cases = self.answers({"id": i, "answer": [1]}), []
        good = {"task": "detection", "key": "h.0.mlp.c_fc:0", "windows": 2, "answer": [1]}
        for n, keys in enumerate(("{", {i: 3}, {i: {"windows": 10}}, {i: {**good, "answer": ["x"]}}, {i: {**good, "answer": None}})):
            path = self.root / f"keys_{n}.json"
            path.write_text(keys if isinstance(keys, str) else json.dumps(keys))
            cases.append(([str(path), "expected"], ("labels", "import", self.out, answers, "--keys", path)))
        self.refuse_each(3, cases)
        self.assertFalse((self.results / "label_scores.json").exists())

    # Labels.

    def test_hostile_labels_are_cleaned(self):
        keys = self.hottest(6)
        script = "</script><script>window.hostile=1</script>"
        texts = {script: script, "\u202eright\u202c to \u2066left\u2069\u200f": "right to left",
                 "\x1b[31mred\x1b[0m\u009b1m": "[31mred[0m1m", "a\nb\r\tc\x00\x7fd\u2028e": "a b  cde",
                 "\u00e9" * 200: "\u00e9" * 200, "zero\u200bwidth\ufeff": "zerowidth"}
        self.take(*({"key": key, "label": text, "input_label": text, "output_label": text} for key, text in zip(keys, texts)),
                  arguments=("--source", "\x1b[1mbold"))
        for key, text in zip(keys, texts.values()):
            label = self.labels()[key]
            self.assertEqual([label[name] for name in ("label", "input_label", "output_label", "source")], [text, text, text, "[1mbold"])
        shown = [self.run_program("show", self.out, key)[0] for key in keys[1:3]]
        shown.append(self.run_program("find", self.out, "--tokens", ",".join(f"#{i}" for i in range(VOCABULARY)), "--top", "999")[0])
        for text in shown:
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e\u2066]")
        self.run_program("report", self.out)
        self.assertNotIn("</script><script>", (self.out / "report.html").read_text())

    def test_a_label_of_spaces_is_none(self):
        key = self.hottest(1)[0]
        self.refuse_lines([(["label", "none"], {"key": key, "label": "   "})])
        self.refuse(3, ["expected a label", key], "labels", "set", self.out, key, "  ")

    def test_bad_lines_are_refused_by_file_and_line(self):
        key, other = self.hottest(2)
        self.refuse_lines([
            (["JSON object"], "not JSON"), (["JSON object"], "[1]"),
            (["JSON object"], b'{"key": "' + key.encode() + b'", "label": "a\xff"}'),
            (['"id" or "key"'], {"label": "a"}),
            (['"id"', "text", "number"], {"id": 3, "label": "a"}),
            (["h.0.mlp.c_fk", "h.0.mlp.c_fc"], {"key": "h.0.mlp.c_fk:1", "label": "a"}),
            (["h.0.mlp.c_fc", "0 to 39", "40"], {"key": BEYOND, "label": "a"}),
            (["label", key, "none"], {"key": key}),
            (["label", "none"], {"key": key, "label": "\u202e\u200b\x00"}),
            (['"label"', "text", "number"], {"key": key, "label": 3}),
            (['"confidence"', "low, medium or high", "sure"], {"key": key, "label": "a", "confidence": "sure"}),
            (['"label"', "200 characters"], {"key": other, "label": "a" * 201}),
            (['"input_label"', "200 characters"], {"key": other, "label": "a", "input_label": "a" * (1 << 20)}),
            (["answer of a test", "--keys"], {"id": f"detection/{key}/0", "answer": [1]})])

    def test_bad_answers_are_refused_by_file_and_line(self):
        _, keys = self.export("asked", "--task", "detection", "--top", "10")
        i = next(iter(keys))
        path = self.root / "asked" / "keys.json"
        self.refuse_lines([
            (["1 to 10", "11"], {"id": i, "answer": [1, 11]}), (["1 to 10", "0"], {"id": i, "answer": 0}),
            (["1 to 10", "1.5"], {"id": i, "answer": [1.5]}),
            (['"answer"', "string"], {"id": i, "answer": "3, 4"}),
            ([str(path), "detection/x/0"], {"id": "detection/x/0", "answer": [1]})], arguments=("--keys", path))

    def test_no_answers(self):
        self.refuse(3, ["answers.jsonl", "expected answers, one a line, found none"], "labels", "import", self.out, self.answers())
        self.refuse(3, ["expected answers"], "labels", "import", self.out, self.answers("", "  "))
        self.assertFalse((self.results / "labels.json").exists())

    def test_the_last_answer_counts(self):
        key, other = self.hottest(2)
        said = self.take({"key": key, "label": "first"}, {"key": other, "label": "other"}, {"id": key, "label": "last"})
        self.assertIn("2 labels in the run\n1 answered more than once", said)
        self.assertEqual({key: self.labels()[key]["label"] for key in self.labels()}, {key: "last", other: "other"})
        _, keys = self.export("asked", "--task", "detection", "--top", "10")
        i = next(iter(keys))
        said = self.take_json({"id": i, "answer": []}, {"id": i, "answer": keys[i]["answer"]},
                              arguments=("--keys", self.root / "asked" / "keys.json"))
        self.assertEqual(said["duplicates"], 1)
        self.assertEqual(said["scores"]["detection"], {"judgements": 10, "accuracy": 1.0, "balanced_accuracy": 1.0})

    def test_merge_keeps_what_has_no_new_answer(self):
        first, second, third = self.hottest(3)
        self.take({"key": first, "label": "old"}, {"key": second, "label": "old"}, arguments=("--source", "a"))
        self.run_program("labels", "set", self.out, third, "by hand")
        self.take({"key": second, "label": "new"}, arguments=("--merge", "--source", "b"))
        kept = {key: (label["label"], label["source"]) for key, label in self.labels().items()}
        self.assertEqual(kept, {first: ("old", "a"), second: ("new", "b"), third: ("by hand", "hand")})
        self.take({"key": second, "label": "alone"})
        self.assertEqual({key: label["label"] for key, label in self.labels().items()}, {second: "alone", third: "by hand"})

    def test_one_label_by_hand(self):
        key, dead = self.hottest(1)[0], self.dead()
        said, _ = self.run_program("labels", "set", self.out, key, "\x1b[1mlooks back")
        self.assertIn(f"{key} is labelled", said)
        self.run_program("labels", "set", self.out, dead, "unused")
        self.assertEqual({key: label["label"] for key, label in self.labels().items()}, {key: "[1mlooks back", dead: "unused"})
        self.assertEqual(self.labels()[key]["source"], "hand")
        before = (self.results / "labels.json").read_bytes()
        self.refuse_each(3, [(["200 characters"], ("labels", "set", self.out, key, "a" * 100_000)),
                             (["expected a label", key], ("labels", "set", self.out, key, "")),
                             (["UTF-8"], ("labels", "set", self.out, key, "a\udcff"))])
        self.refuse_each(2, [(["h.0.mlp.c_fc"], ("labels", "set", self.out, "h.0.mlp.c_fk:1", "a")),
                             (["label is required"], ("labels", "set", self.out, key))])
        self.assertEqual((self.results / "labels.json").read_bytes(), before)

    def test_a_damaged_file_of_labels(self):
        key = self.hottest(1)[0]
        for text in ("{", '{"%s": 3}' % key):
            (self.results / "labels.json").write_text(text)
            self.refuse(3, ["labels.json", "expected an object"], "show", self.out, key)


if __name__ == "__main__":
    unittest.main()
