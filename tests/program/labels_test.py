"""`vpd labels`, `vpd find` and `vpd show` on a small run: questions that give nothing away, answers that are checked before anything is
written, and tables that agree with the files of the harvest."""

import json
import math
import re
import shutil
import struct
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import DATA, ProgramTest, read_safetensors

STEP = 150
VOCABULARY = 61
# The target knows 61 tokens: these take the first places, <|end|> keeps its own, and single letters follow.
FIRST = ["Ċ", "Ġ", "Ġand", "Ġthe", "Ġdo", ",", ".", "#", "Ã", "Ł"]
TESTS = ("detection", "fuzzing", "intruder")
BEYOND = "h.0.mlp.c_fc:40"  # of 40, which are 0 to 39
SUBCOMPONENT = re.compile(r"^(h\.[01]\.\S+:\d+) ", re.M)
CODES = {"F64": "d", "F32": "f", "I64": "q", "I32": "i", "U8": "B"}


def numbers(path, name):
    dtype, _, data = read_safetensors(path)[name]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(CODES[dtype])}{CODES[dtype]}", data))


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def excerpts(prompt):
    """The numbered lines at the end of a test's prompt."""
    found = re.findall(r"^(\d+)\. (.*)$", prompt.rstrip("\n").rpartition("\n\n")[2], re.M)
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1)), prompt
    return [text for _, text in found]


def tokens_and_mark(excerpt):
    """The tokens of an excerpt that was written without a tokenizer, and which of them is marked."""
    marked = [piece.startswith("«") for piece in excerpt.split()]
    assert sum(marked) == 1, excerpt
    return [int(token) for token in re.findall(r"#(\d+)", excerpt)], marked.index(True)


class LabelsTest(ProgramTest):
    @classmethod
    def setUpClass(cls):
        """The run is trained and harvested once; each test has a copy."""
        cls.made = cls("make_run")
        cls.made.make_root()
        cls.addClassCleanup(cls.made.doCleanups)
        cls.made.make_run()

    def make_root(self):
        super().setUp()
        self.results = self.out / "interpretation" / f"step_{STEP:08d}"
        self.harvest = self.results / "harvest"

    def make_run(self):
        """Trained until few subcomponents fire at a position, and harvested from the 30 rows of the training tokens."""
        config = self.configure(training__steps=STEP, output__checkpoint_every=STEP, output__log_every=STEP)
        self.run_program("decompose", config, "--out", self.out, "--set", "objective.importance_minimality.coefficient=0.02")
        self.run_program("harvest", self.out, "--split", "train")

    def setUp(self):
        self.make_root()
        shutil.copytree(self.made.out, self.out)
        config = self.out / "config.yaml"
        config.write_text(config.read_text().replace(str(self.made.root), str(self.root)))
        self.tokenizer = self.root / "target" / "tokenizer.json"
        tokenizer = json.loads((DATA / "tokenizer" / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        end, *rest = sorted(vocabulary, key=vocabulary.get)
        self.tokens = [end, *FIRST, *(text for text in rest if text not in FIRST)]
        tokenizer["model"]["vocab"] = {text: i for i, text in enumerate(self.tokens)}
        self.tokenizer.write_text(json.dumps(tokenizer))

    # What the files of the harvest say, read without the program.

    def facts(self):
        """[(key, firings)] of all subcomponents in the order of the tables."""
        about = json.loads((self.harvest / "about.json").read_text())
        firings = numbers(self.harvest / "subcomponents.safetensors", "firings")
        keys = [f"{site['name']}:{c}" for site in about["sites"] for c in range(site["C"])]
        self.assertEqual(len(keys), len(firings))
        return list(zip(keys, firings))

    def hottest(self, count):
        return [key for key, _ in sorted(self.facts(), key=lambda fact: -fact[1])[:count]]

    def dead(self):
        return next(key for key, firings in self.facts() if firings == 0)

    def marginal(self):
        return numbers(self.harvest / "input_tokens.safetensors", "marginal")

    def input_counts(self):
        """{key: {token: firings}}"""
        file, keys = self.harvest / "input_tokens.safetensors", [key for key, _ in self.facts()]
        offsets, alive, token, count = (numbers(file, name) for name in ("offsets", "subcomponent", "token", "count"))
        return {keys[c]: dict(zip(token[offsets[i]:offsets[i + 1]], count[offsets[i]:offsets[i + 1]])) for i, c in enumerate(alive)}

    # What is done often.

    def labels(self):
        path = self.results / "labels.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def scores(self):
        return json.loads((self.results / "label_scores.json").read_text())

    def export(self, name, *arguments):
        """The questions and the keys of an export."""
        self.run_program("labels", "export", self.out, "--out", self.root / name, *arguments)
        return read_lines(self.root / name / "prompts.jsonl"), json.loads((self.root / name / "keys.json").read_text())

    def export_all(self, exports):
        """Several exports at once: {name: arguments}."""
        started = [self.start("labels", "export", self.out, "--out", self.root / name, *arguments) for name, arguments in exports.items()]
        for process in started:
            self.finish(process)

    def answers(self, *answers, name="answers.jsonl"):
        """A file of answers: objects, or text or bytes that stand for a line."""
        path = self.root / name
        lines = [line if isinstance(line, (bytes, str)) else json.dumps(line) for line in answers]
        path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
        return path

    def take(self, *answers, arguments=()):
        """What `labels import` says of these answers."""
        return self.run_program("labels", "import", self.out, self.answers(*answers), *arguments)[0]

    def take_json(self, *answers, arguments=()):
        return json.loads(self.take(*answers, arguments=("--json", "-", *arguments)))

    def refuse_each(self, exit_code, cases):
        """Each (words, arguments) is refused with one sentence that has the words; a few run at a time."""
        for first in range(0, len(cases), 4):
            some = cases[first:first + 4]
            for process, (words, arguments) in zip([self.start(*arguments) for _, arguments in some], some):
                with self.subTest(arguments=str(arguments)[-300:]):
                    out, err = self.finish(process, exit_code)
                    self.assertTrue(err.startswith("vpd: error: "), err)
                    self.assertEqual(err.count("\n"), 1, err)
                    self.assertLess(len(err), 2000)
                    self.assertEqual(out, "")
                    for word in words:
                        self.assertIn(word, err)

    def refuse_lines(self, cases, arguments=()):
        """Each (words, line) behind a good first line is refused by file and line, and nothing is written."""
        self.take({"key": "h.0.mlp.c_fc:0", "label": "as it was"})
        good, before = {"key": self.hottest(1)[0], "label": "good"}, (self.results / "labels.json").read_bytes()
        refused = []
        for i, (words, line) in enumerate(cases):
            path = self.answers(good, line, name=f"bad_{i}.jsonl")
            refused.append(([f"{path}: line 2: ", *words], ("labels", "import", self.out, path, *arguments)))
        self.refuse_each(3, refused)
        self.assertEqual((self.results / "labels.json").read_bytes(), before)
        self.assertFalse((self.results / "label_scores.json").exists())

    def find(self, *arguments):
        return json.loads(self.run_program("find", self.out, *arguments, "--json", "-")[0])

    def show(self, key, *arguments):
        return json.loads(self.run_program("show", self.out, key, *arguments, "--json", "-")[0])

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
        self.run_program("labels", "set", self.out, key, "\x1b[1mlooks back")
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

    # find.

    def test_find_agrees_with_the_counts(self):
        counts, marginal, firings = self.input_counts(), self.marginal(), dict(self.facts())
        common = sorted(range(VOCABULARY), key=lambda token: -marginal[token])[:3]
        for tokens in (common[:1], common):
            found = self.find("--tokens", ",".join(f"#{token}" for token in tokens), "--top", "1000")
            self.assertEqual(found["tokens"], sorted(tokens))
            expected = {}
            for key, count in counts.items():
                hits = sum(count.get(token, 0) for token in tokens)
                if hits:
                    expected[key] = (hits / firings[key], hits / sum(marginal[token] for token in tokens), firings[key])
            self.assertEqual({one["key"] for one in found["found"]}, set(expected))
            self.assertGreater(len(expected), 5)
            for one in found["found"]:
                hit, cover, count = expected[one["key"]]
                self.assertAlmostEqual(one["hit"], hit)
                self.assertAlmostEqual(one["cover"], cover)
                self.assertAlmostEqual(one["f1"], 2 * hit * cover / (hit + cover))
                self.assertEqual(one["firings"], count)
            order = [(one["always_on"], -one["f1"]) for one in found["found"]]
            self.assertEqual(order, sorted(order))
        least = sorted(one["firings"] for one in found["found"])[len(expected) // 2]
        some = self.find("--tokens", ",".join(f"#{token}" for token in tokens), "--top", "3", "--min-firings", str(least))
        self.assertEqual(some["found"], [one for one in found["found"] if one["firings"] >= least][:3])

    def test_find_by_text(self):
        by_text = self.find("--tokens", " and, the,\n", "--top", "5")
        self.assertEqual(by_text["tokens"], [self.tokens.index(text) for text in ("Ċ", "Ġand", "Ġthe")])
        self.assertEqual(self.find("--tokens", "#1,#4, #3", "--top", "5"), by_text)
        self.assertEqual(self.find("--tokens", ",", "--top", "1")["tokens"], [self.tokens.index(",")])
        text, _ = self.run_program("find", self.out, "--tokens", " and, the,\n", "--top", "5")
        self.assertEqual(SUBCOMPONENT.findall(text), [one["key"] for one in by_text["found"]])
        self.assertRegex(text.split("\n")[0], r'"\\n".*"·and".*"·the"')
        self.assertNotIn("\x1b", text)
        self.assertLessEqual(max(map(len, text.split("\n"))), 100)

    def test_find_by_what_the_model_says(self):
        found = self.find("--tokens", "#5", "--side", "output", "--top", "1000")["found"]
        _, (alive, width), _ = read_safetensors(self.harvest / "output_tokens.safetensors")["mass"]
        mass = numbers(self.harvest / "output_tokens.safetensors", "mass")
        marginal = numbers(self.harvest / "output_tokens.safetensors", "marginal")
        columns = numbers(self.harvest / "output_tokens.safetensors", "subcomponent")
        keys = self.facts()
        self.assertEqual(width, VOCABULARY)
        self.assertAlmostEqual(sum(marginal), 510, places=2)
        self.assertEqual({one["key"] for one in found}, {keys[column][0] for column in columns})
        self.assertEqual(len(found), alive)
        for one in found:
            row = columns.index([key for key, _ in keys].index(one["key"]))
            self.assertAlmostEqual(one["hit"], mass[row * width + 5] / one["firings"], places=6)
            self.assertAlmostEqual(one["cover"], mass[row * width + 5] / marginal[5], places=6)
            self.assertAlmostEqual(sum(mass[row * width:(row + 1) * width]), one["firings"], delta=1e-3 * one["firings"])

    def test_find_in_sites(self):
        everywhere = self.find("--tokens", "#1, #2, #3, #4, #5, #6", "--top", "1000")["found"]
        for patterns, chosen in ((["h.0.mlp.c_fc,h.1.attn.*"], r"h\.0\.mlp\.c_fc:|h\.1\.attn"),
                                 (["h.0.mlp.c_fc", "--sites", "h.1.attn.*"], r"h\.0\.mlp\.c_fc:|h\.1\.attn")):
            found = self.find("--tokens", "#1, #2, #3, #4, #5, #6", "--top", "1000", "--sites", *patterns)["found"]
            self.assertEqual(found, [one for one in everywhere if re.match(chosen, one["key"])], patterns)
            self.assertGreater(len(found), 0)

    def test_find_by_likeness(self):
        facts = self.facts()
        key = next(key for key in self.hottest(100) if "attn.q_proj" in key)
        site, _, c = key.rpartition(":")
        weights = self.out / "checkpoints" / f"step_{STEP:08d}" / "decomposition.safetensors"
        u, v = numbers(weights, f"{site}.U"), numbers(weights, f"{site}.V")
        C, d = 16, 24  # U is [C, d], V is [d, C]
        vectors = {"U": [u[i * d:(i + 1) * d] for i in range(C)], "V": [v[i::C] for i in range(C)]}

        def cosine(a, b):
            return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))

        for by, arguments in (("U", ()), ("V", ("--by", "V"))):
            found = self.find("--like", key, "--sites", site, "--min-firings", "0", "--top", "100", *arguments)
            self.assertEqual((found["like"], found["by"]), (key, by))
            self.assertEqual(sorted(one["key"] for one in found["found"]), sorted(name for name, _ in facts if name.startswith(site + ":")
                                                                                  and name != key))
            for one in found["found"]:
                i = int(one["key"].rpartition(":")[2])
                for name in "UV":
                    self.assertAlmostEqual(one[f"cosine_{name}"], cosine(vectors[name][i], vectors[name][int(c)]), places=5)
            sizes = [(one["always_on"], -abs(one[f"cosine_{by}"])) for one in found["found"]]
            self.assertEqual(sizes, sorted(sizes))
        both = self.find("--like", key, "--top", "1000", "--by", "V")["found"]
        text, _ = self.run_program("find", self.out, "--like", key, "--top", "1000", "--by", "V")
        self.assertEqual(SUBCOMPONENT.findall(text), [one["key"] for one in both])
        partners = {partner["key"]: partner["jaccard"] for partner in self.show(key, "--top", "1000")["partners"]}
        self.assertGreater(len(partners), 0)
        for one in both:
            self.assertEqual(one["jaccard"], partners.get(one["key"]))

    def test_bad_searches(self):
        key = self.hottest(1)[0]
        self.refuse_each(2, [(words, ("find", self.out, *arguments)) for words, arguments in (
            (["--tokens or --like", "neither"], ()), (["--tokens or --like", "both"], ("--tokens", "#1", "--like", key)),
            (["#61", "below 61"], ("--tokens", "#61")),
            (["#5x", "number of a token"], ("--tokens", "#5x")), (["between commas", "#"], ("--tokens", " and,, the")),
            (["one token", "found 2", '"Q" (#', '"z" (#'], ("--tokens", "Qz")), (["below 61", "#"], ("--tokens", " it")),
            (["--sites", "h.0.mlp.c_fk", '"h.0.mlp.c_fc"'], ("--tokens", "#1", "--sites", "h.0.mlp.c_fk")),
           
            (["SITE:NUMBER"], ("--like", "12")), (["--top", "at least 1"], ("--tokens", "#1", "--top", "0")))])
        self.refuse_each(3, [(["no", "expected the directory of a run"], ("find", self.root / "no", "--tokens", "#1")),
                             (["config.yaml", "tokenizer.json"],
                              ("find", self.out, "--tokens", "#1", "--tokenizer", self.out / "config.yaml"))])

    def test_nothing_found(self):
        text, _ = self.run_program("find", self.out, "--tokens", "#1", "--min-firings", "100000")
        self.assertEqual(SUBCOMPONENT.findall(text), [])
        self.assertIn("none", text)

    # show.

    def test_colours_where_they_are_wanted(self):
        key = self.hottest(1)[0]
        plain, _ = self.run_program("show", self.out, key)
        self.assertNotIn("\x1b", plain)
        self.assertRegex(plain, "«.+»")
        self.assertLessEqual(max(map(len, plain.split("\nExamples")[1].split("\n"))), 100)
        coloured, _ = self.finish(self.start("show", self.out, key, "--color", "always", environment={"NO_COLOR": "1"}))
        self.assertIn("\x1b[48;5;", coloured)
        self.assertEqual(coloured.count("\x1b[48;5;"), coloured.count("\x1b[0m"))
        self.assertNotRegex(coloured, "[«»‹›]")
        self.assertEqual(re.sub("\x1b\\[[0-9;]*m", "", coloured), re.sub("[«»‹›]", "", plain))

    def test_what_is_shown_agrees_with_the_counts(self):
        key = self.hottest(3)[2]
        counts, marginal, firings = self.input_counts()[key], self.marginal(), dict(self.facts())[key]
        shown = self.show(key, "--top", "1000", "--min-count", "5")
        self.assertEqual((shown["key"], shown["step"], shown["firings"], shown["positions"]), (key, STEP, firings, 510))
        self.assertEqual(sum(counts.values()), firings)
        self.assertEqual({one["token"]: (one["count"], one["total"]) for one in shown["input"]},
                         {token: (count, marginal[token]) for token, count in counts.items() if marginal[token] >= 5})
        for one in shown["input"]:
            count, total = one["count"], one["total"]
            self.assertAlmostEqual(one["recall"], count / firings)
            self.assertAlmostEqual(one["precision"], count / total)
            self.assertAlmostEqual(one["pmi"], math.log(count * 510 / (firings * total)))
        for name, order in (("input", "recall"), ("input_pmi", "pmi"), ("output", "recall"), ("output_pmi", "pmi")):
            values = [-one[order] for one in shown[name]]
            self.assertEqual(values, sorted(values), name)
        for example in shown["examples"]:
            self.assertEqual(len(example["tokens"]), 41)
            self.assertGreater(example["importance"][20], 0.1)
            sign = {"random_positive": 1, "random_negative": -1}.get(example["kind"])
            if sign:
                self.assertGreater(sign * example["activation"][20], 0)

    def test_what_never_fired(self):
        text, _ = self.run_program("show", self.out, self.dead())
        self.assertIn("never above 0.1", text)
        shown = self.show(self.dead())
        self.assertEqual((shown["firings"], shown["input"], shown["examples"]), (0, [], []))

    def test_subcomponents_that_are_none(self):
        self.refuse_each(2, [(words, ("show", self.out, *arguments)) for words, arguments in (
            (["h.0.mlp.c_fk", "h.0.mlp.c_fc"], ["h.0.mlp.c_fk:1"]), (["0 to 39", "40"], [BEYOND]), (["SITE:NUMBER"], ["h.0.mlp.c_fc:-1"]))])

    def test_without_a_tokenizer(self):
        key, elsewhere = self.hottest(1)[0], self.root / "elsewhere.json"
        named, _ = self.run_program("show", self.out, key)
        self.tokenizer.rename(elsewhere)
        self.refuse(2, ["' and'", "#NUMBER", "--tokenizer"], "find", self.out, "--tokens", " and")
        text, _ = self.run_program("find", self.out, "--tokens", "#3,#4")
        self.assertRegex(text.split("\n")[0], '"#3".*"#4"')
        text, _ = self.run_program("show", self.out, key)
        self.assertRegex(text, r"«#\d+ ?»")
        questions, _ = self.export("asked", "--top", "2")
        for question in questions:
            self.assertRegex(question["prompt"], r"\n1\. .*«#\d+ ?»")
        self.assertEqual(self.run_program("show", self.out, key, "--tokenizer", elsewhere)[0], named)


if __name__ == "__main__":
    unittest.main()
