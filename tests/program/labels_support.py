"""A small run with a harvest, and how tests of `vpd labels`, `vpd find` and `vpd show` ask about it."""

import json
import re
import shutil
import struct
import sys
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
