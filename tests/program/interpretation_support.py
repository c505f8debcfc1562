"""Runs on which tests look inside a decomposition, and how they ask the program about them."""

import json
import shutil
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import DATA, ProgramTest, read_safetensors

GOLDEN = DATA / "interpretation"
CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "U8": "B"}
TABLES = ("subcomponents", "input_tokens", "output_tokens", "coactivation", "lens", "examples")
CHECKPOINTS = DATA / "huggingface"
TOKENS = [1, 7, 19, 3, 44, 60, 0, 12]  # a prompt
KEY = "h.0.mlp.c_fc:1"


class Tensor:
    """Numbers of a safetensors file and their shape."""

    def __init__(self, dtype, shape, data):
        self.dtype, self.shape = dtype, shape
        self.values = list(struct.unpack(f"<{prod(shape)}{CODES[dtype]}", data))

    def rows(self):
        """Along the first axis."""
        width = prod(self.shape[1:])
        return [self.values[i * width:(i + 1) * width] for i in range(self.shape[0])]


def load(path):
    return {name: Tensor(*entry) for name, entry in read_safetensors(path).items()}


class HarvestTest(ProgramTest):
    def make_run(self, case="plain", name="run"):
        """A run that has ended: its configuration and the two files of weights."""
        run = self.root / name
        checkpoint = run / "checkpoints" / "step_00000000"
        checkpoint.mkdir(parents=True)
        shutil.copy(DATA / case / "initial" / "decomposition.safetensors", checkpoint)
        shutil.copy(GOLDEN / case / "causal_importance.safetensors", checkpoint)
        text = (DATA / case / "config.yaml").read_text()
        for file in ("target", "train.npy", "eval.npy"):
            text = text.replace(f"path: {file}\n", f"path: {DATA / case / file}\n")
        (run / "config.yaml").write_text(text)
        return run

    def harvest(self, run, *arguments, exit_code=0):
        return self.run_program("harvest", run, "--threads", "1", *arguments, exit_code=exit_code)

    def each(self, do, cases):
        """Several of the program at once, since most of their time is their start."""
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(lambda case: do(*case), cases))

    def refuse_each(self, exit_code, *cases):
        """Each of (words, argument, argument, …)."""
        self.each(lambda words, *arguments: self.refuse(exit_code, words, *arguments), cases)

    def results(self, run):
        return run / "interpretation" / "step_00000000"

    def about(self, run):
        return json.loads((self.results(run) / "harvest" / "about.json").read_text())

    def table_files(self, run):
        """What a finished harvest has written, but about.json; the parts that it was made of are gone."""
        self.assertEqual([path.name for path in self.results(run).iterdir()], ["harvest"])
        names = {path.name for path in (self.results(run) / "harvest").iterdir()}
        self.assertEqual(names, {f"{table}.safetensors" for table in TABLES} | {"about.json"})
        return {table: self.results(run) / "harvest" / f"{table}.safetensors" for table in TABLES}

    def table_bytes(self, run):
        return {table: path.read_bytes() for table, path in self.table_files(run).items()}

    def tables(self, run):
        """{table: {column: Tensor}}"""
        return {table: load(path) for table, path in self.table_files(run).items()}

    def assert_same_tables(self, found, wanted):
        for table in TABLES:
            self.assertTrue(found[table] == wanted[table], f"{table}.safetensors differs")

    def assert_close(self, found, wanted, what, tolerance=1e-5):
        """The largest difference, over the largest entry."""
        self.assertEqual(len(found), len(wanted), what)
        worst = max(abs(a - b) for a, b in zip(found, wanted))
        self.assertLessEqual(worst, tolerance * max(map(abs, wanted)), what)


def listed(tokens):
    return ",".join(map(str, tokens))


def difference(found, wanted):
    """The largest difference, over the largest entry."""
    assert len(found) == len(wanted), (len(found), len(wanted))
    return max(abs(a - b) for a, b in zip(found, wanted)) / max(map(abs, wanted))


class EditTest(HarvestTest):
    def edit(self, run, *arguments):
        controls = () if "--controls" in arguments else ("--controls", "0")  # and so without a harvest
        self.run_program("edit", run, "--threads", "1", *controls, *arguments)

    def intervene(self, run, *arguments, tokens=TOKENS):
        text, _ = self.run_program("intervene", run, "--threads", "1", "--prompt-tokens", listed(tokens), "--json", "-", *arguments)
        return json.loads(text)

    def effect(self, run, slug="edit"):
        return json.loads((self.results(run) / "edits" / slug / "effect.json").read_text())

    def logits(self, run, slug):
        return load(self.results(run) / "interventions" / slug / "tokens.safetensors")

    def write_edits(self, name, edits):
        path = self.root / name
        path.write_text(json.dumps(edits))  # JSON is YAML
        return path


class Shared(EditTest):
    """Tests that share a directory, since a run is only read."""

    @classmethod
    def setUpClass(cls):
        cls.shared = Path(tempfile.mkdtemp(prefix="vpd_edit_"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        shutil.copytree(DATA / "plain", cls.shared, dirs_exist_ok=True)

    def setUp(self):
        super().setUp()
        self.root = self.shared

    def family(self, name, **changes):
        """A run of no steps on a checkpoint of a family."""
        run = self.root / f"run_{name}"
        shutil.copytree(CHECKPOINTS / name, self.root / name)
        sites = [{"pattern": "*.attn.*" if name.startswith("gpt2") else "*.self_attn.*", "C": 5}, {"pattern": "*.mlp.*", "C": 7}]
        config = self.configure(f"{name}.json", **{"target": {"type": "hf", "path": name}, "sites": sites, "training__steps": 0, **changes})
        self.run_program("decompose", config, "--out", run)
        return run


def prompts(count, first, target, **more):
    return [{"tokens": [(first + 3 * i) % 61, (first + 7 * i) % 61, (first + i) % 61], "target": target, **more} for i in range(count)]


class UnlearnTest(EditTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()
        likely = self.likely_target()
        self.behaviour = self.write("behaviour.jsonl", [{**one, "group": "ab"[i % 2]} for i, one in enumerate(prompts(24, 5, likely))])
        self.against = self.write("against.jsonl", prompts(24, 11, (likely + 1) % 61))

    def write(self, name, lines):
        path = self.root / name
        path.write_text("".join(json.dumps(one) + "\n" for one in lines))
        return path

    def likely_target(self):
        """The token that the target says most often behind such prompts."""
        said = self.intervene(self.run_directory, "--ablate", "h.0.mlp.c_fc:1", tokens=prompts(1, 5, 0)[0]["tokens"])
        return max(said["next"], key=lambda one: one["target"])["token"]

    def both(self):
        return ("--prompts", self.behaviour, "--against", self.against)

    def unlearn(self, *arguments, exit_code=0):
        return self.run_program("unlearn", self.run_directory, "--threads", "1", *self.both(), *arguments, exit_code=exit_code)

    def report(self, slug):
        return json.loads((self.results(self.run_directory) / "audits" / slug / "report.json").read_text())


def sections(table, *names):
    """{subcomponent: its entries} of a table that has the entries of one subcomponent after those of another."""
    offsets = table["offsets"].values
    columns = [table[name].rows() if len(table[name].shape) > 1 else table[name].values for name in names]
    return {c: list(zip(*(column[offsets[i]:offsets[i + 1]] for column in columns)))
            for i, c in enumerate(table["subcomponent"].values)}
